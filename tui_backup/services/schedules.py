"""Schedules: when backups start by themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from tui_backup.model import BackupSchedule, BackupScheduleInsert
from tui_backup.services.session import Session


@dataclass(frozen=True, slots=True)
class Preset:
    """A ready-made cron expression."""

    id: str
    label: str
    cron: str


PRESETS: Sequence[Preset] = (
    Preset("daily", "Daily 02:00", "0 2 * * *"),
    Preset("every-6-hours", "Every 6 hours", "0 */6 * * *"),
    Preset("every-12-hours", "Every 12 hours", "0 */12 * * *"),
    Preset("weekly", "Weekly, Sunday 02:00", "0 2 * * 0"),
    Preset("monthly", "Monthly, first day 02:00", "0 2 1 * *"),
)


async def create_backup_schedule(session: Session, schedule: BackupScheduleInsert) -> BackupSchedule:
    """Store a schedule."""
    raise NotImplementedError


async def get_backup_schedules(session: Session) -> list[BackupSchedule]:
    """All schedules, by name."""
    raise NotImplementedError


async def get_backup_schedule(session: Session, name_or_id: UUID | str) -> BackupSchedule:
    """One schedule by name, id or unique id prefix."""
    raise NotImplementedError


async def update_backup_schedule(
    session: Session, schedule_id: UUID | str, updates: Mapping[str, Any]
) -> BackupSchedule:
    """Change fields of a schedule (keys of BackupScheduleInsert)."""
    raise NotImplementedError


async def toggle_backup_schedule(
    session: Session, schedule_id: UUID | str, is_enabled: bool
) -> BackupSchedule:
    """Switch a schedule on or off."""
    raise NotImplementedError


async def delete_backup_schedule(session: Session, schedule_id: UUID | str) -> None:
    """Remove a schedule; its backups stay."""
    raise NotImplementedError


def next_runs(
    cron_expression: str, timezone: str, *, count: int = 5, after: datetime | None = None
) -> list[datetime]:
    """When a schedule will fire, in its own zone."""
    raise NotImplementedError


def validate_schedule(insert: BackupScheduleInsert) -> dict[str, str]:
    """What is wrong with a schedule, by field; empty when nothing is."""
    raise NotImplementedError
