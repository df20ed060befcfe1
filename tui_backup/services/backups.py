"""Backup jobs: ask for one, look at them, cancel, delete, download."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, LiteralString
from uuid import UUID

from tui_backup.catalog import rows
from tui_backup.errors import (
    ConfirmationRequiredError,
    JobStateError,
    PermissionRefusedError,
    TuiBackupError,
    ValidationError,
    WorkFailedError,
)
from tui_backup.model import BUILT_TYPES, BackupJob, BackupJobInsert, JobStatus, Progress
from tui_backup.services import lookup
from tui_backup.services.new_file import new_file
from tui_backup.services.patience import wait_until
from tui_backup.services.repositories import free_bytes_of, get_repository
from tui_backup.services.session import Session
from tui_backup.services.sources import get_source, list_source_tables
from tui_backup.services.stored import check_restorable, opened_backup, storage_allows
from tui_backup.services.transfer import Transfer

_TEXT: LiteralString = """(
    strpos(lower(concat_ws(' ', j.backup_name, j.description, j.status, j.job_type, j.error_message, j.id::text,
                           array_to_string(j.tags, ' '))), lower(%(text)s)) > 0
    OR j.source_id IN (SELECT id FROM tui_backup.sources WHERE strpos(lower(source_name), lower(%(text)s)) > 0))"""


@dataclass(frozen=True, slots=True)
class JobFilters:
    """Which jobs to list, newest first.

    Args:
        status: only this one.
        source: name of the only source.
        text: must occur in name, source, description, status, tags, error or id.
        limit: at most so many.
        before: only jobs created before, to page on.
        completed_only: only backups that can be restored.
        include_deleted: also rows that only keep the memory of a deleted backup.
    """

    status: JobStatus | None = None
    source: str | None = None
    text: str | None = None
    limit: int = 500
    before: datetime | None = None
    completed_only: bool = False
    include_deleted: bool = False


@dataclass(frozen=True, slots=True)
class BackupTable:
    """One table inside a backup. ``name`` is quoted as SQL needs it; sizes are bytes."""

    name: str
    rows: int
    raw_bytes: int
    stored_bytes: int
    chunks: int


@dataclass(frozen=True, slots=True)
class BackupEstimate:
    """What a backup will need, from the source's sizes and the last backup; None where unknown."""

    bytes_needed: int | None
    seconds: int | None
    bytes_free: int | None
    repository: str


async def create_backup_job(session: Session, job: BackupJobInsert) -> BackupJob:
    """Insert a job and put it into the queue, as one transaction.

    Raises:
        NotFoundError: no such source or repository.
        ValidationError: a type that is not built, chosen tables of one tenant's rows, or a value that cannot be stored.
        PermissionRefusedError: the role may not back up.
    """
    if job.job_type not in BUILT_TYPES:
        raise ValidationError("job_type", f"Backups of the type {job.job_type} are not possible yet.")
    if job.tenant_scope and job.tables:
        raise ValidationError(
            "tables",
            "A backup of one tenant's rows takes no chosen tables.",
            hint="Leave a table out with `tui-backup source map SOURCE --set TABLE=left-out`.",
        )
    source = await get_source(session, job.source)
    repository = await get_repository(session, job.repository)
    created = await session.catalog.one(
        "insert_job",
        {
            "job_type": job.job_type.value,
            "backup_name": job.backup_name or None,
            "description": job.description or None,
            "tags": list(job.tags),
            "source_id": source.id,
            "repository_id": repository.id,
            "tables": list(job.tables),
            "tenant_scope": job.tenant_scope,
        },
    )
    return await get_backup_job_by_id(session, created["id"])


async def get_backup_jobs(session: Session, filters: JobFilters | None = None) -> list[BackupJob]:
    """List jobs, newest first.

    Args:
        session: open.
        filters: all newest jobs that are not deleted, when None.
    """
    wanted = filters or JobFilters()
    conditions: list[LiteralString] = []
    params: dict[str, Any] = {}
    if wanted.completed_only:
        conditions.append("j.status = 'completed'")
    elif wanted.status is not None:
        conditions.append("j.status = %(status)s")
        params["status"] = wanted.status.value
    if not wanted.include_deleted or wanted.completed_only:
        conditions.append("j.deleted_at IS NULL")
    if wanted.source:
        conditions.append("j.source_id IN (SELECT id FROM tui_backup.sources WHERE source_name = %(source)s)")
        params["source"] = wanted.source
    if wanted.before is not None:
        conditions.append("j.created_at < %(before)s")
        params["before"] = wanted.before
    if wanted.text:
        conditions.append(_TEXT)
        params["text"] = wanted.text
    order: LiteralString = "ORDER BY j.created_at DESC, j.id"
    found = await lookup.read(session, "jobs", conditions, params, order=order, limit=wanted.limit)
    return [rows.backup_job(row) for row in found]


async def get_backup_job_by_id(session: Session, job_id: UUID | str) -> BackupJob:
    """One job by id or unique prefix (at least 4 characters).

    Raises:
        NotFoundError: there is none, or it belongs to another tenant.
        ValidationError: several ids start so.
    """
    return rows.backup_job(await lookup.read_one(session, "jobs", job_id, what="job"))


async def cancel_backup_job(session: Session, job_id: UUID | str) -> BackupJob:
    """Cancel a pending job at once; ask the agent to stop a running one (it does within seconds).

    Raises:
        JobStateError: it has ended already.
        PermissionRefusedError: the role may not cancel.
    """
    job = await get_backup_job_by_id(session, job_id)
    done = await session.catalog.row("request_cancel", {"id": job.id})
    if not done or not done["done"]:
        raise JobStateError(f"The job is {job.status}, there is nothing to cancel.")
    return await get_backup_job_by_id(session, job.id)


async def delete_backup_job(session: Session, job_id: UUID | str, *, confirm: bool, timeout_s: float = 120) -> None:
    """Have the agent delete a backup's files, and wait until it has.

    Args:
        session: open.
        job_id: id or prefix.
        confirm: the explicit confirmation.
        timeout_s: how long to wait.

    Raises:
        ConfirmationRequiredError: not confirmed.
        JobStateError: the job has not ended, or is being restored or verified.
        PermissionRefusedError: only an admin may delete.
        AgentLostError: no agent is alive to do it.
        WorkFailedError: the files could not be deleted.
    """
    job = await get_backup_job_by_id(session, job_id)
    if not confirm:
        raise ConfirmationRequiredError(
            f"Deleting the backup {job.id} cannot be undone.", hint="Repeat the command with --confirm."
        )
    if not job.status.is_final:
        raise JobStateError(f"The job is {job.status}.", hint="Cancel it first, or wait for its end.")
    done = await session.catalog.row("request_delete", {"id": job.id})
    if not done or not done["done"]:
        raise JobStateError("The backup has been deleted already.")

    async def is_gone() -> bool:
        found = await lookup.read(session, "jobs", ["j.id = %(id)s"], {"id": job.id})
        if not found or found[0]["deleted_at"] is not None:
            return True
        failure: dict[str, Any] | None = found[0]["metadata"].get("delete_error")
        if failure:
            raise _told(failure)
        return False

    await wait_until(session, is_gone, timeout_s=timeout_s, what="deleting the backup")


def _told(failure: dict[str, Any]) -> TuiBackupError:
    """What the agent wrote about a failed deletion."""
    message = str(failure.get("message") or "The backup could not be deleted.")
    if failure.get("error") == JobStateError.code:
        return JobStateError(message, hint="Try again when that has ended.")
    return WorkFailedError(message, hint=failure.get("hint"), details={"cause": failure.get("error")})


async def get_backup_contents(session: Session, job_id: UUID | str) -> list[BackupTable]:
    """The tables of a completed backup, from its manifest, by name.

    Raises:
        JobStateError: it is not completed, or deleted.
        StoreError, DamagedError: the manifest cannot be read.
    """
    job = await get_backup_job_by_id(session, job_id)
    check_restorable(job)
    repository = await get_repository(session, job.repository_name)

    def read() -> list[BackupTable]:
        from tui_backup.engine.logical.names import shown

        with opened_backup(repository, job) as backup:
            tables = backup.manifest.contents.tables
        return [
            BackupTable(
                name=shown((table.schema, table.name)),
                rows=table.rows,
                raw_bytes=table.raw_bytes,
                stored_bytes=sum(blob.stored_bytes for chunk in table.chunks for blob in chunk.blobs),
                chunks=len(table.chunks),
            )
            for table in sorted(tables, key=lambda table: (table.schema, table.name))
        ]

    return await asyncio.to_thread(read)


async def download_backup_file(
    session: Session,
    job_id: UUID | str,
    output: Path,
    *,
    on_progress: Callable[[Progress], None] | None = None,
) -> int:
    """Write a backup as plain SQL that psql loads into an empty database.

    Args:
        session: open.
        job_id: id or prefix of a completed backup.
        output: a file that does not exist yet; made with mode 0600.
        on_progress: called about once a second, in the event loop.

    Returns:
        The bytes written.

    Raises:
        AlreadyExistsError: the file exists.
        PermissionRefusedError: only an admin may read a tenant's files.
        StoreError, DamagedError: the backup cannot be read.
        WorkFailedError: the file cannot be written; what was written is removed.
    """
    job = await get_backup_job_by_id(session, job_id)
    check_restorable(job)
    if not await storage_allows(session, "view"):
        raise PermissionRefusedError("Only an admin of the tenant may download its backups.")
    repository = await get_repository(session, job.repository_name)
    transfer = Transfer("download", on_progress)
    bin_dir = session.config.settings.tools.bin_dir
    tools_dir = Path(bin_dir) if bin_dir else None

    def write() -> int:
        from tui_backup.engine.logical.plain_sql import write_plain_sql

        with new_file(output) as part, opened_backup(repository, job) as backup:
            contents = backup.manifest.contents
            with part.open("wb") as stream:
                write_plain_sql(
                    contents, backup.reader, stream, progress=transfer, stop=transfer.stop, tools_dir=tools_dir
                )
                stream.flush()
                os.fsync(stream.fileno())
                return stream.tell()

    return await transfer.run(write)


async def estimate_backup(
    session: Session, source: str, tables: Sequence[str] = (), repository: str | None = None
) -> BackupEstimate:
    """Room and time that a backup will need, told by the last full backup and by the source's sizes.

    Args:
        session: open.
        source: name.
        tables: chosen tables, quoted as in BackupJobInsert; empty means all.
        repository: name; the default one when None.

    Raises:
        NotFoundError: no such source or repository.
        TuiBackupError: the source does not answer.
    """
    into = await get_repository(session, repository)
    known = await get_source(session, source)
    last = await session.catalog.row("last_full_backup", {"source_id": known.id, "tenant_scope": False})
    found, free = await asyncio.gather(list_source_tables(session, source), free_bytes_of(into))
    heap = sum(table.bytes for table in found)
    chosen = sum(table.bytes for table in found if table.quoted_name in set(tables)) if tables else heap
    share = chosen / heap if heap else 1.0
    # without a backup to learn from: text of a heap compresses to about a third of it
    needed, seconds = round(chosen / 3), None
    if last:
        needed = round((last["compressed_size_bytes"] or 0) * share)
        seconds = max(1, round((last["duration_seconds"] or 0) * share))
    return BackupEstimate(needed, seconds, free, into.repository_name)
