"""Figures for the header: statistics and the answer to "are we safe?"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from tui_backup.model import AgentInfo, BackupSchedule, BackupStatistics, Safety, SourceSafety
from tui_backup.services.session import Session


@dataclass(frozen=True, slots=True)
class SafetyOverview:
    """Everything the "are we safe?" bar shows. Ages are by the catalog's clock."""

    safety: Safety
    headline: str
    sources: Sequence[SourceSafety]
    agents: Sequence[AgentInfo]
    running: int
    failed: int
    stored_bytes: int
    next_schedule: BackupSchedule | None
    checked_at: datetime


async def get_backup_statistics(session: Session) -> BackupStatistics:
    """The catalog's own figures for our tenant."""
    raise NotImplementedError


async def get_safety(session: Session) -> SafetyOverview:
    """Whether every source is inside its RPO, worst first."""
    raise NotImplementedError
