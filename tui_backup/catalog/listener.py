"""The connection that hears of changes: LISTEN on a channel whose messages are ids and nothing else."""

from __future__ import annotations

import asyncio
from uuid import UUID

from tui_backup.catalog.failures import catalog_errors
from tui_backup.catalog.pool import Catalog, Connection, connect
from tui_backup.errors import CatalogUnavailableError

CHANNEL = "tui_backup_changed"
_PROBE_TIMEOUT_S = 10.0


class Listener:
    """One connection outside the pool; use :meth:`open` and :meth:`close`.

    Args:
        catalog: whose changes.
    """

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._connection: Connection | None = None

    async def open(self) -> None:
        """Connect and listen.

        Raises:
            CatalogUnavailableError, AuthenticationError: no session.
        """
        catalog = self._catalog
        connection = await connect(
            catalog.conninfo, passfile=catalog.passfile, application_name=f"{catalog.application_name} listen"
        )
        try:
            with catalog_errors():
                await connection.execute(f"LISTEN {CHANNEL}".encode())
        except BaseException:
            await connection.close()
            raise
        self._connection = connection

    async def ids(self, timeout_s: float) -> set[UUID]:
        """The ids that came within the time; returns as soon as there are some.

        Raises:
            CatalogUnavailableError: the connection is gone.
        """
        connection = self._connection
        if connection is None:
            raise CatalogUnavailableError("The catalog's connection is closed.")
        found: set[UUID] = set()
        with catalog_errors():
            async for message in connection.notifies(timeout=timeout_s, stop_after=1):
                found.update(_id(message.payload))
        return found

    async def probe(self) -> None:
        """Make sure that somebody is at the other end.

        Raises:
            CatalogUnavailableError: nobody answers.
        """
        if self._connection is None:
            raise CatalogUnavailableError("The catalog's connection is closed.")
        try:
            with catalog_errors():
                async with asyncio.timeout(_PROBE_TIMEOUT_S):
                    await self._connection.execute(b"SELECT 1")
        except TimeoutError as exc:
            raise CatalogUnavailableError("The catalog does not answer.") from exc

    async def close(self) -> None:
        """Close the connection; safe to call twice."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            await connection.close()


def _id(payload: str) -> set[UUID]:
    """Any login can NOTIFY on the channel, so what is no id is left alone."""
    try:
        return {UUID(payload)}
    except ValueError:
        return set()
