"""The session every other service function takes first: configuration, open catalog, verified identity."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType

from tui_backup.catalog.connections import member_conninfo
from tui_backup.catalog.identity import open_catalog
from tui_backup.catalog.pool import Catalog
from tui_backup.config import Config
from tui_backup.embedded import EmbeddedPostgres
from tui_backup.errors import NotSetUpError, TuiBackupError
from tui_backup.model import Identity

Notice = Callable[[str], None]


class Session:
    """An open catalog and who we are in it. Made by :func:`open_session`; close it, or use ``async with``.

    Args:
        config: as it was read.
        identity: as the catalog's connection says.
        catalog: open.
    """

    def __init__(self, config: Config, identity: Identity, catalog: Catalog) -> None:
        self.config = config
        self.identity = identity
        self.catalog = catalog

    @property
    def is_connected(self) -> bool:
        """Whether the last use of the catalog reached it."""
        return self.catalog.error is None

    @property
    def error(self) -> TuiBackupError | None:
        """Why the last use of the catalog did not reach it."""
        return self.catalog.error

    async def close(self) -> None:
        """Close the catalog's connections; safe to call twice."""
        await self.catalog.close()

    async def __aenter__(self) -> Session:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.close()


async def open_session(config: Config, *, notice: Notice | None = None, tenant: str = "") -> Session:
    """Open the catalog and find out who we are; an embedded server is started, a catalog never upgraded.

    Args:
        config: says where the catalog is.
        tenant: name or id of the one to act in, of which the login is a member; the configured one when ''.
        notice: gets a sentence for people about what was started.

    Raises:
        NotSetUpError: no catalog is configured, or the embedded one has not been made.
        EmbeddedServerError: the embedded server does not start.
        CatalogUnavailableError: the server does not answer.
        CatalogVersionError: the catalog is of another version, or there is none.
        AuthenticationError: the login is refused, or a member of no tenant.
    """
    settings = config.settings.catalog
    if not config.is_set_up:
        raise NotSetUpError("No catalog is set up here.")
    if settings.embedded:
        await start_embedded(config, notice=notice)
    tokens = None
    if settings.takes_tokens:
        from tui_backup.catalog.tokens import open_token

        tokens = await asyncio.to_thread(open_token, config)
    catalog, identity = await open_catalog(
        member_conninfo(config), tenant=tenant or settings.tenant, tokens=tokens, application_name="tui-backup"
    )
    return Session(config, identity, catalog)


async def start_embedded(config: Config, *, notice: Notice | None = None) -> None:
    """Make sure that an embedded server which was made before runs.

    Raises:
        NotSetUpError: it has not been made.
        EmbeddedServerError: it does not start.
    """
    server = EmbeddedPostgres(config.state_dir)
    if not await asyncio.to_thread(lambda: server.is_initialized):
        raise NotSetUpError(f"The embedded catalog of {config.state_dir} has not been made.")
    if not await asyncio.to_thread(lambda: server.is_running):
        await asyncio.to_thread(server.ensure_running)
        if notice:
            notice("Started the embedded catalog.")
