"""Turns due schedules into jobs, once for each due time, by the catalog's clock.

The row is locked, the job inserted and the next due time written in one transaction, and a unique index on
(schedule, due time) stands behind it. A run that was missed while no agent lived fires once on return, and its
metadata says how late it is.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from tui_backup.agent.records import Records
from tui_backup.errors import CatalogUnavailableError, TuiBackupError
from tui_backup.services.schedules import next_runs

log = logging.getLogger(__name__)

_LOOK_EVERY_S = 2.0
_LATE_AFTER_S = 60.0

_DUE = """
SELECT s.*, now() AS catalog_now,
       coalesce(s.repository_id, (SELECT r.id FROM tui_backup.repositories r
                                   WHERE r.tenant_id = s.tenant_id AND r.is_default)) AS into_repository
  FROM tui_backup.backup_schedules s
 WHERE s.is_enabled AND (s.next_run_at IS NULL OR s.next_run_at <= now())
 ORDER BY s.next_run_at NULLS FIRST LIMIT 1
   FOR UPDATE OF s SKIP LOCKED
"""

_INSERT = """
INSERT INTO tui_backup.backup_jobs (job_type, tenant_id, source_id, repository_id, schedule_id, scheduled_for,
                                    chosen_tables, tenant_scope, metadata, backup_name, created_by)
VALUES (%(job_type)s, %(tenant_id)s, %(source_id)s, %(repository_id)s, %(schedule_id)s, %(scheduled_for)s,
        %(chosen_tables)s, %(tenant_scope)s, %(metadata)s, %(backup_name)s, %(created_by)s)
ON CONFLICT (schedule_id, scheduled_for) WHERE schedule_id IS NOT NULL AND scheduled_for IS NOT NULL DO NOTHING
"""

_WAITING = """
SELECT 1 FROM tui_backup.backup_jobs WHERE schedule_id = %(id)s AND status = 'pending' AND deleted_at IS NULL LIMIT 1
"""

_SKIP = """
UPDATE tui_backup.backup_schedules SET metadata = metadata || %(why)s WHERE id = %(id)s
"""

_ADVANCE = """
UPDATE tui_backup.backup_schedules SET next_run_at = %(next)s, last_run_at = coalesce(%(ran)s, last_run_at),
       last_run_status = coalesce(%(status)s, last_run_status) WHERE id = %(id)s
"""


async def fire_due(records: Records) -> int:
    """Enqueue every due schedule; returns how many fired."""
    fired = 0
    while True:
        async with records.transaction() as conn:
            row = await (await conn.execute(_DUE)).fetchone()
            if row is None:
                return fired
            try:
                async with conn.transaction():
                    fired += await _fire(conn, row)
            except (psycopg.OperationalError, psycopg.InterfaceError):
                raise
            except Exception as exc:
                # the boundary: one schedule that cannot be fired must not end the agent, nor keep the others waiting
                log.exception("schedule %s cannot be fired", row["id"])
                await _disable(conn, row, f"Unexpected {type(exc).__name__} when it was due.")


async def _fire(conn: psycopg.AsyncConnection[dict[str, Any]], row: dict[str, Any]) -> int:
    now: datetime = row["catalog_now"]
    due: datetime | None = row["next_run_at"]
    try:
        following = next_runs(row["cron_expression"], row["timezone"], count=1, after=now)[0]
    except TuiBackupError as exc:
        # an expression or zone that was fine once (a zone can vanish from tzdata): stop it where people see it
        log.error("schedule %s cannot be computed: %s", row["id"], exc.message)
        await _disable(conn, row, exc.message)
        return 0
    status: str | None = None
    if due is not None:
        status = await _insert_job(conn, row, due, late_s=(now - due).total_seconds())
    await conn.execute(_ADVANCE, {"id": row["id"], "next": following, "ran": now if status else None, "status": status})
    return int(status == "pending")


async def _disable(conn: psycopg.AsyncConnection[dict[str, Any]], row: dict[str, Any], why: str) -> None:
    await conn.execute(
        "UPDATE tui_backup.backup_schedules SET is_enabled = false, next_run_at = NULL, last_run_status = 'failed',"
        " metadata = metadata || %(why)s WHERE id = %(id)s",
        {"id": row["id"], "why": Jsonb({"disabled_because": why})},
    )


async def _insert_job(
    conn: psycopg.AsyncConnection[dict[str, Any]], row: dict[str, Any], due: datetime, *, late_s: float
) -> str | None:
    if row["into_repository"] is None:
        log.error("schedule %s: there is no repository", row["id"])
        return "failed"
    if await (await conn.execute(_WAITING, {"id": row["id"]})).fetchone():
        # a schedule that is faster than its backups would fill the queue
        log.warning("schedule %s: skipped, the last one due has not begun yet", row["schedule_name"])
        why = {"skipped_for": due.isoformat(), "skipped_because": "The job of an earlier due time has not begun yet."}
        await conn.execute(_SKIP, {"id": row["id"], "why": Jsonb(why)})
        return None
    metadata: dict[str, Any] = {"schedule_name": row["schedule_name"]}
    if late_s > _LATE_AFTER_S:
        metadata["late_seconds"] = round(late_s)
        log.warning("schedule %s fires %d s late", row["schedule_name"], round(late_s))
    inserted = await conn.execute(
        _INSERT,
        {
            "job_type": row["job_type"],
            "tenant_id": row["tenant_id"],
            "source_id": row["source_id"],
            "repository_id": row["into_repository"],
            "schedule_id": row["id"],
            "scheduled_for": due,
            "chosen_tables": row["chosen_tables"],
            "tenant_scope": row["tenant_scope"],
            "metadata": Jsonb(metadata),
            "backup_name": row["schedule_name"],
            "created_by": row["created_by"],
        },
    )
    # a time that has been fired before leaves the schedule's status as that job has left it
    return "pending" if inserted.rowcount else None


async def keep_firing(records: Records) -> None:
    """Look for due schedules until cancelled."""
    while True:
        try:
            await fire_due(records)
        except CatalogUnavailableError as exc:
            log.warning("scheduler: %s", exc.message)
        await asyncio.sleep(_LOOK_EVERY_S)
