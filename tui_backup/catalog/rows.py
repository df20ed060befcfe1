"""Rows of the catalog as the product's nouns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

from tui_backup.model import (
    AgentInfo,
    BackupJob,
    BackupRestoreLog,
    BackupSchedule,
    BackupStatistics,
    JobStatus,
    JobType,
    Progress,
    Proof,
    Repository,
    RestoreTarget,
    RestoreType,
    Source,
    Verification,
)

Row = Mapping[str, Any]
T = TypeVar("T")


def _plain(cls: type[T], row: Row, **converted: Any) -> T:
    """A dataclass from the columns of the same names; what a query did not select keeps its default."""
    names = {field.name for field in fields(cls)}  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    return cls(**{**{name: row[name] for name in names if name in row}, **converted})


def progress(row: Row) -> Progress | None:
    """The joined progress columns; None when the subject has none."""
    if row.get("phase") is None:
        return None
    return Progress(
        phase=row["phase"],
        tables_done=row["tables_done"],
        tables_total=row["tables_total"],
        rows_done=row["rows_done"],
        bytes_done=row["bytes_done"],
        bytes_total=row["bytes_total"],
        bytes_per_second=row["bytes_per_second"],
        eta_seconds=row["eta_seconds"],
        updated_at=row["progress_at"],
    )


def backup_job(row: Row) -> BackupJob:
    """A row of the ``jobs`` statement."""
    return _plain(
        BackupJob,
        row,
        job_type=JobType(row["job_type"]),
        status=JobStatus(row["status"]),
        proof=Proof(row["proof"]) if row.get("proof") else Proof.NONE,
        progress=progress(row),
    )


def restore_log(row: Row) -> BackupRestoreLog:
    """A row of the ``restores`` statement."""
    return _plain(
        BackupRestoreLog,
        row,
        restore_type=RestoreType(row["restore_type"]),
        status=JobStatus(row["status"]),
        target=RestoreTarget(row["target"]),
        progress=progress(row),
    )


def verification(row: Row) -> Verification:
    """A row of the ``verifications`` statement."""
    return _plain(Verification, row, kind=Proof(row["kind"]), status=JobStatus(row["status"]), progress=progress(row))


def backup_schedule(row: Row) -> BackupSchedule:
    """A row of the ``schedules`` statement."""
    return _plain(BackupSchedule, row, job_type=JobType(row["job_type"]))


def source(row: Row) -> Source:
    """A row of sources."""
    return _plain(Source, row)


def repository(row: Row) -> Repository:
    """A row of repositories."""
    return _plain(Repository, row)


def agent(row: Row) -> AgentInfo:
    """A row of the ``agents`` statement."""
    return _plain(AgentInfo, row)


def statistics(row: Row) -> BackupStatistics:
    """The row of get_backup_statistics()."""
    return _plain(BackupStatistics, row)
