"""Bounded waiting for an agent: gives up when none is alive, outlasts a catalog that is away for a moment."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from tui_backup.errors import AgentLostError, CatalogUnavailableError, WorkFailedError
from tui_backup.services.agents import get_agents
from tui_backup.services.session import Session

T = TypeVar("T")

AGENT_PATIENCE_S = 60.0
_CATALOG_PATIENCE_S = 120.0
_LOOK_EVERY_S = 0.5
_AGENT_LOOK_EVERY_S = 5.0


class AgentWatch:
    """Notices that no agent has been alive for too long.

    Args:
        session: open.
        patience_s: how long the silence may last.
    """

    def __init__(self, session: Session, patience_s: float = AGENT_PATIENCE_S) -> None:
        self._session = session
        self._patience_s = patience_s
        self._alive_at = time.monotonic()
        self._looked_at = float("-inf")

    async def check(self) -> None:
        """Look, every few seconds at most.

        Raises:
            AgentLostError: the silence has lasted too long.
        """
        now = time.monotonic()
        if now - self._looked_at < min(_AGENT_LOOK_EVERY_S, self._patience_s / 4):
            return
        self._looked_at = now
        if any(agent.is_alive for agent in await get_agents(self._session)):
            self._alive_at = now
        elif now - self._alive_at > self._patience_s:
            raise AgentLostError(
                f"No agent has been alive for {self._patience_s:.0f} s; nothing will happen until one is.",
                hint="Start one: `tui-backup agent start`. The work is still queued.",
            )


async def wait_until(
    session: Session,
    is_done: Callable[[], Awaitable[bool]],
    *,
    timeout_s: float | None,
    what: str,
    agent_patience_s: float = AGENT_PATIENCE_S,
) -> None:
    """Ask again and again until it is done.

    Args:
        session: open.
        is_done: the question; what it raises ends the waiting.
        timeout_s: limit in all; None for work of any length (a dead agent ends the waiting even so).
        what: for the message ("deleting the backup").
        agent_patience_s: how long no agent may be alive.

    Raises:
        AgentLostError: no agent is alive.
        CatalogUnavailableError: the catalog stayed away.
        WorkFailedError: the time is up.
    """
    watch = AgentWatch(session, agent_patience_s)
    started = reached = time.monotonic()
    while True:
        try:
            if await is_done():
                return
            await watch.check()
            reached = time.monotonic()
        except CatalogUnavailableError:
            if time.monotonic() - reached > _CATALOG_PATIENCE_S:
                raise
        if timeout_s is not None and time.monotonic() - started > timeout_s:
            raise WorkFailedError(
                f"{what[:1].upper()}{what[1:]} takes longer than {timeout_s:.0f} s.",
                hint="It goes on. Look again in a while.",
            )
        await asyncio.sleep(_LOOK_EVERY_S)
