"""Wait for work that an agent does."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from tui_backup.model import BackupJob, BackupRestoreLog, Verification
from tui_backup.services.session import Session


async def wait_for_job(
    session: Session, job_id: UUID, *, on_progress: Callable[[BackupJob], None] | None = None
) -> BackupJob:
    """Return the job when it is final."""
    raise NotImplementedError


async def wait_for_restore(
    session: Session, restore_id: UUID, *, on_progress: Callable[[BackupRestoreLog], None] | None = None
) -> BackupRestoreLog:
    """Return the restore when it is final."""
    raise NotImplementedError


async def wait_for_verification(
    session: Session, verification_id: UUID, *, on_progress: Callable[[Verification], None] | None = None
) -> Verification:
    """Return the verification when it is final."""
    raise NotImplementedError
