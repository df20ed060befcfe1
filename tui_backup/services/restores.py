"""Restores: plan, start, look, undo, finish."""

from __future__ import annotations

from uuid import UUID

from tui_backup.model import BackupRestoreLog, RestorePlan, RestoreRequest
from tui_backup.services.session import Session


async def plan_restore(session: Session, request: RestoreRequest) -> RestorePlan:
    """What a restore will do, and whether it can; changes nothing."""
    raise NotImplementedError


async def restore_from_backup(session: Session, request: RestoreRequest) -> BackupRestoreLog:
    """Queue a confirmed restore."""
    raise NotImplementedError


async def get_restore_logs(session: Session, limit: int = 100) -> list[BackupRestoreLog]:
    """Restores, newest first."""
    raise NotImplementedError


async def get_restore_log_by_id(session: Session, restore_id: UUID | str) -> BackupRestoreLog:
    """One restore by id or unique prefix."""
    raise NotImplementedError


async def cancel_restore(session: Session, restore_id: UUID | str) -> BackupRestoreLog:
    """Ask for a pending or running restore to be cancelled."""
    raise NotImplementedError


async def undo_restore(
    session: Session, restore_id: UUID | str, *, timeout_s: float = 300
) -> BackupRestoreLog:
    """Swap back; waits for the agent."""
    raise NotImplementedError


async def finish_restore(
    session: Session, restore_id: UUID | str, *, confirm: bool, timeout_s: float = 300
) -> BackupRestoreLog:
    """Drop the kept old database; waits for the agent."""
    raise NotImplementedError
