"""Deletes a backup's files, then its row."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from tui_backup.agent.places import open_repository
from tui_backup.agent.records import Records, patiently
from tui_backup.agent.runs import Runner
from tui_backup.agent.stored_objects import catalog_time, forget_deleted
from tui_backup.errors import CatalogUnavailableError, TuiBackupError
from tui_backup.repository.sweep import Deletion, delete_backup

log = logging.getLogger(__name__)

_IN_USE = """
SELECT 1 FROM tui_backup.backup_restore_logs
 WHERE (backup_job_id = %(id)s OR safety_job_id = %(id)s) AND status IN ('pending', 'running')
UNION ALL
SELECT 1 FROM tui_backup.backup_verifications WHERE backup_job_id = %(id)s AND status IN ('pending', 'running')
"""


async def delete_backup_files(runner: Runner, job_id: UUID) -> None:
    """Delete one backup; why it could not be deleted is written to its row, where the asker reads it."""
    records = runner.records
    job = await records.row("backup_jobs", job_id)
    if job is None or job["deleted_at"] is not None:
        return
    if await records.query(_IN_USE, {"id": job_id}):
        await _tell(records, job_id, {"error": "wrong_state", "message": "The backup is being restored or verified."})
        return
    asked_at = await catalog_time(records)
    try:
        done = await _delete_files(records, job)
    except CatalogUnavailableError:
        raise
    except TuiBackupError as exc:
        log.warning("deleting %s: %s", job_id, exc.message)
        await _tell(records, job_id, exc.to_json())
        return
    log.info("backup %s deleted, %s bytes freed", job_id, done.bytes_freed if done else 0)
    await patiently(lambda: _drop_row(records, job, done, asked_at))


async def _delete_files(records: Records, job: Mapping[str, Any]) -> Deletion | None:
    """Delete what is stored; None where the repository was not asked."""
    if job["started_at"] is None and job["storage_path"] is None:
        return None
    repository = await records.row("repositories", job["repository_id"])

    def delete() -> Deletion:
        store = open_repository(repository)
        try:
            return delete_backup(store, job["tenant_id"], job["id"])
        finally:
            store.close()

    try:
        return await asyncio.to_thread(delete)
    except TuiBackupError as exc:
        if job["status"] == "completed":
            raise
        # as far as anybody knows nothing of it is there; its row must not stay for want of the repository
        log.warning("deleting the failed job %s: %s", job["id"], exc.message)
        return None


async def _drop_row(records: Records, job: Mapping[str, Any], done: Deletion | None, asked_at: datetime) -> None:
    """Drop the row, and what is not stored any more; a row that restores or later jobs point at stays, marked."""
    job_id = job["id"]
    async with records.transaction() as conn:
        if done is not None:
            await forget_deleted(conn, job, done, asked_at)
        await conn.execute("DELETE FROM tui_backup.backup_verifications WHERE backup_job_id = %s", [job_id])
        await conn.execute(
            "UPDATE tui_backup.backup_jobs SET deleted_at = now(),"
            " metadata = metadata - '{delete_error,delete_requested}'::text[] WHERE id = %s",
            [job_id],
        )
        await conn.execute(
            "DELETE FROM tui_backup.backup_jobs j WHERE id = %(id)s"
            " AND NOT EXISTS (SELECT FROM tui_backup.backup_restore_logs r"
            "                  WHERE r.backup_job_id = j.id OR r.safety_job_id = j.id)"
            " AND NOT EXISTS (SELECT FROM tui_backup.backup_jobs c WHERE c.parent_job_id = j.id)",
            {"id": job_id},
        )


async def _tell(records: Records, job_id: UUID, error: Mapping[str, Any]) -> None:
    await records.query(
        "UPDATE tui_backup.backup_jobs SET metadata = (metadata - 'delete_requested') || %(why)s WHERE id = %(id)s",
        {"id": job_id, "why": Jsonb({"delete_error": dict(error)})},
    )
