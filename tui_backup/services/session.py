"""The session every other service function takes first: configuration, open catalog, verified identity."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType

from tui_backup.config import Config
from tui_backup.model import Identity

Notice = Callable[[str], None]


class Session:
    """An open catalog and who we are in it."""

    config: Config
    identity: Identity

    @property
    def is_connected(self) -> bool:
        """Whether the last use of the catalog succeeded."""
        raise NotImplementedError

    async def close(self) -> None:
        """Close the catalog's connections."""
        raise NotImplementedError

    async def __aenter__(self) -> Session:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.close()


async def open_session(config: Config, *, notice: Notice | None = None) -> Session:
    """Open the catalog and find out who we are."""
    raise NotImplementedError
