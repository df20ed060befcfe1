"""Agents: who is alive, and starting or stopping the one on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tui_backup.config import Config
from tui_backup.model import AgentInfo
from tui_backup.services.session import Notice, Session


@dataclass(frozen=True, slots=True)
class AgentStatus:
    """The agent of this installation on this machine."""

    running: bool
    pid: int | None
    log: Path


async def get_agents(session: Session) -> list[AgentInfo]:
    """Agents that are alive or lately were, newest sign of life first."""
    raise NotImplementedError


async def start_agent(config: Config, *, wait_s: float = 15) -> int:
    """Start a detached agent and return its pid."""
    raise NotImplementedError


async def stop_agent(config: Config, *, wait_s: float = 60) -> bool:
    """Stop this installation's agent; False when none ran."""
    raise NotImplementedError


async def agent_status(config: Config) -> AgentStatus:
    """Whether this installation's agent runs here."""
    raise NotImplementedError


async def ensure_agent(session: Session, *, notice: Notice | None = None) -> bool:
    """Start an agent when none is alive and the catalog is embedded; True when one is alive then."""
    raise NotImplementedError
