"""The open catalog: a small pool of connections that know who they work for.

A direct login chooses its tenant once per connection. A gateway login carries verified claims, which are set for one
transaction at a time, so they can never be met by the next user of the same connection.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool

from tui_backup.catalog.failures import catalog_errors
from tui_backup.catalog.queries import query
from tui_backup.errors import CatalogUnavailableError, PermissionRefusedError, TuiBackupError

if TYPE_CHECKING:
    # its library loads cryptography, which only a gateway's user needs
    from tui_backup.catalog.tokens import TokenFile

Connection = psycopg.AsyncConnection[DictRow]
Query = bytes | sql.SQL | sql.Composed
Params = Mapping[str, Any] | Sequence[Any] | None

POOL_TIMEOUT_S = 10.0
SESSION_SETTINGS = {
    "statement_timeout": "15s",
    "search_path": "pg_catalog",
    "TimeZone": "UTC",
    # The catalog is small and in memory. With the default for disks the planner walks the index over all tenants'
    # times, past everybody else's jobs, in place of the one that begins with the tenant.
    "random_page_cost": "1.1",
}
# A peer that vanishes without a word is noticed in seconds: people look at this connection.
_LINE = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}

# A catalog that is down is shown by the screens; without a handler of its own the pool's warnings would be written
# across them by logging's last resort.
logging.getLogger("psycopg.pool").addHandler(logging.NullHandler())


def connection_settings(conninfo: str, passfile: Path | None, application_name: str) -> dict[str, Any]:
    """Keyword arguments for a catalog connection; the user's own settings win over ours."""
    given = conninfo_to_dict(conninfo)
    settings: dict[str, Any] = {**_LINE, **given, "application_name": application_name, "client_encoding": "UTF8"}
    if passfile is not None:
        settings["passfile"] = str(passfile)
    return settings


async def connect(conninfo: str, *, passfile: Path | None, application_name: str) -> Connection:
    """One connection outside the pool, in autocommit mode.

    Raises:
        CatalogUnavailableError, AuthenticationError: no session.
    """
    with catalog_errors():
        settings = connection_settings(conninfo, passfile, application_name)
        return await Connection.connect("", autocommit=True, row_factory=dict_row, **settings)


async def _check_connection(connection: Connection) -> None:
    await connection.execute(b"")


class Catalog:
    """An open catalog. Made by :func:`open_catalog`."""

    def __init__(
        self,
        conninfo: str,
        *,
        passfile: Path | None,
        application_name: str,
        tenant_id: UUID | None,
        tokens: TokenFile | None,
        max_size: int = 4,
    ) -> None:
        self.conninfo = conninfo
        self.passfile = passfile
        self.application_name = application_name
        self._tenant = str(tenant_id) if tenant_id else ""
        self._tokens = tokens
        self._error: TuiBackupError | None = None
        self._since = datetime.now(UTC)
        self._pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            "",
            connection_class=Connection,
            kwargs={
                **connection_settings(conninfo, passfile, application_name),
                "autocommit": True,
                "row_factory": dict_row,
            },
            min_size=1,
            max_size=max_size,
            open=False,
            configure=self._configure,
            # a server restart leaves dead connections behind: found here and not by the user's query
            check=_check_connection,
            timeout=POOL_TIMEOUT_S,
            reconnect_timeout=POOL_TIMEOUT_S,
            name=application_name,
        )

    async def _configure(self, connection: Connection) -> None:
        settings = {**SESSION_SETTINGS, "tui_backup.tenant": self._tenant}
        await connection.execute(
            "SELECT set_config(name, value, false) FROM unnest(%s::text[], %s::text[]) AS s(name, value)",
            (list(settings), list(settings.values())),
        )

    async def start(self) -> None:
        """Open the pool; connections come in the background."""
        await self._pool.open(wait=False)

    async def close(self) -> None:
        """Close every connection."""
        await self._pool.close(timeout=5.0)

    @property
    def error(self) -> TuiBackupError | None:
        """Why the catalog could not be reached at its last use; None when it could."""
        return self._error

    @property
    def since(self) -> datetime:
        """When it was lost or reached again, by this machine's clock."""
        return self._since

    def note(self, error: TuiBackupError | None) -> None:
        """Remember how the last use ended."""
        if (error is None) != (self._error is None):
            self._since = datetime.now(UTC)
        self._error = error

    @asynccontextmanager
    async def _connection(self) -> AsyncGenerator[Connection]:
        # before a connection is taken: a token that has run out must not use the catalog up
        try:
            with catalog_errors():
                async with self._pool.connection() as connection:
                    yield connection
        except CatalogUnavailableError as exc:
            self.note(exc)
            raise
        self.note(None)

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[Connection]:
        """One transaction as our identity.

        Raises:
            TuiBackupError: whatever the catalog's answer means.
        """
        claims = await asyncio.to_thread(self._tokens.claims) if self._tokens else None
        async with self._connection() as connection, connection.transaction():
            if claims is not None:
                await connection.execute("SELECT set_config('request.jwt.claims', %s, true)", (json.dumps(claims),))
            yield connection

    async def rows(self, statement: str | Query, params: Params = None) -> list[DictRow]:
        """All rows of one statement.

        Args:
            statement: a name in queries.sql, or composed SQL.
            params: its parameters.
        """
        text = query(statement) if isinstance(statement, str) else statement
        if self._tokens is None:
            async with self._connection() as connection:
                cursor = await connection.execute(text, params)
                return await cursor.fetchall() if cursor.description else []
        async with self.transaction() as connection:
            cursor = await connection.execute(text, params)
            return await cursor.fetchall() if cursor.description else []

    async def row(self, statement: str | Query, params: Params = None) -> DictRow | None:
        """The first row of one statement, None when there is none."""
        found = await self.rows(statement, params)
        return found[0] if found else None

    async def one(self, statement: str | Query, params: Params = None) -> DictRow:
        """The row of a statement that always gives one.

        Raises:
            PermissionRefusedError: it gave none, which only row security can do.
        """
        found = await self.rows(statement, params)
        if not found:
            raise PermissionRefusedError("Your role may not do this.")
        return found[0]
