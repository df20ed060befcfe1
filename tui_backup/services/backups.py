"""Backup jobs: ask for one, look at them, cancel, delete, download."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from uuid import UUID

from tui_backup.model import BackupJob, BackupJobInsert, JobStatus, Progress
from tui_backup.services.session import Session


@dataclass(frozen=True, slots=True)
class JobFilters:
    """Which jobs to list, newest first."""

    status: JobStatus | None = None
    source: str | None = None
    text: str | None = None
    limit: int = 500
    before: datetime | None = None
    completed_only: bool = False
    include_deleted: bool = False


@dataclass(frozen=True, slots=True)
class BackupTable:
    """One table inside a backup."""

    name: str
    rows: int
    raw_bytes: int
    stored_bytes: int
    chunks: int


@dataclass(frozen=True, slots=True)
class BackupEstimate:
    """What a backup will need, from the source's sizes and the last backups; None where unknown."""

    bytes_needed: int | None
    seconds: int | None
    bytes_free: int | None
    repository: str


async def create_backup_job(session: Session, job: BackupJobInsert) -> BackupJob:
    """Queue a backup."""
    raise NotImplementedError


async def get_backup_jobs(session: Session, filters: JobFilters | None = None) -> list[BackupJob]:
    """List jobs, newest first."""
    raise NotImplementedError


async def get_backup_job_by_id(session: Session, job_id: UUID | str) -> BackupJob:
    """One job by id or unique prefix (at least 4 characters)."""
    raise NotImplementedError


async def cancel_backup_job(session: Session, job_id: UUID | str) -> BackupJob:
    """Ask for a pending or running job to be cancelled."""
    raise NotImplementedError


async def delete_backup_job(
    session: Session, job_id: UUID | str, *, confirm: bool, timeout_s: float = 120
) -> None:
    """Have the agent delete a backup's files, and wait for it."""
    raise NotImplementedError


async def download_backup_file(
    session: Session,
    job_id: UUID | str,
    output: Path,
    *,
    on_progress: Callable[[Progress], None] | None = None,
) -> int:
    """Write a backup as plain SQL that psql loads; returns the bytes written."""
    raise NotImplementedError


async def get_backup_contents(session: Session, job_id: UUID | str) -> list[BackupTable]:
    """The tables of a backup, from its manifest."""
    raise NotImplementedError


async def estimate_backup(
    session: Session, source: str, tables: Sequence[str] = (), repository: str | None = None
) -> BackupEstimate:
    """Room and time that a backup will need."""
    raise NotImplementedError
