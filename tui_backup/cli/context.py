"""What every command gets: configuration, output, a session, and what to say on Ctrl-C."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import cached_property
from typing import TYPE_CHECKING

from tui_backup.cli.output import Output

if TYPE_CHECKING:
    from tui_backup.config import Config
    from tui_backup.services.session import Session

NO_AGENT = "No agent is alive: the work waits until one runs (`tui-backup agent start`)."


class Context:
    """One run of the command line.

    Args:
        output: where words go.
    """

    def __init__(self, output: Output) -> None:
        self.output = output
        self.going_on: tuple[str, str] | None = None
        """Work that goes on when this command is interrupted: a sentence and a hint."""

    @cached_property
    def config(self) -> Config:
        """The configuration, read once."""
        from tui_backup.config import load_config

        config = load_config()
        if config.settings.dashboard.ascii:
            self.use_ascii()
        return config

    def use_ascii(self) -> None:
        """Show no symbols, whatever the locale says."""
        self.output.symbols = False

    @asynccontextmanager
    async def session(self, *, agent: bool = False, tenant: str = "") -> AsyncGenerator[Session]:
        """An open session.

        Args:
            tenant: name or id of the one to act in, of which the login is a member; the configured one when ''.
            agent: the command leaves work to an agent: start one where that is ours to do, else say that none is alive.
        """
        from tui_backup.services.session import open_session

        async with await open_session(self.config, notice=self.output.note, tenant=tenant) as session:
            if agent:
                from tui_backup.services.agents import ensure_agent

                if not await ensure_agent(session, notice=self.output.note):
                    self.output.note(NO_AGENT)
            yield session
