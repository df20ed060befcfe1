"""Finds what dead agents left behind and puts it back on its way.

The queue keeps a job of a killed worker in 'doing', with its lock, until somebody retries it; the row keeps saying
'running'. Both are looked for every few seconds, by the catalog's clock.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from uuid import UUID

import procrastinate
from procrastinate.exceptions import ProcrastinateException

from tui_backup.agent.records import LOST_AFTER_S, Records
from tui_backup.agent.runs import LiveRuns
from tui_backup.errors import CatalogUnavailableError

log = logging.getLogger(__name__)

_LOOK_EVERY_S = 4.0

_TABLES = (
    ("backup_jobs", "backup", "'source:' || r.source_id"),
    ("backup_restore_logs", "restore", "'source:' || r.target_source_id"),
    ("backup_verifications", "verify", "'verify:' || r.id"),
)

_ERRANDS = (
    ("undo", "backup_restore_logs", "target_source_id", "r.undo_state IN ('undo_requested', 'finish_requested')"),
    ("settle", "backup_restore_logs", "target_source_id", "r.metadata ? 'unsettled'"),
    ("delete", "backup_jobs", "source_id", "r.metadata ? 'delete_requested' AND r.deleted_at IS NULL"),
)
"""Work that was asked for beside the runs, and how its row says so."""

_LOST = """r.status = 'running' AND (NOT EXISTS (
    SELECT FROM tui_backup.agents a WHERE a.id = r.agent_id AND a.stopped_at IS NULL
       AND a.heartbeat_at > now() - %(silence)s * interval '1 s')
    OR (r.agent_id = %(me)s AND NOT r.attempt_token = ANY (%(tokens)s)))"""

_NOT_QUEUED = """NOT EXISTS (
    SELECT FROM tui_backup_queue.procrastinate_jobs q
     WHERE q.task_name = 'tui_backup.' || %(kind)s AND q.args ->> 'subject_id' = r.id::text
       AND q.status IN ('todo', 'doing'))"""


async def rescue(app: procrastinate.App, records: Records, live: LiveRuns) -> int:
    """One look; returns how many pieces of work were put back."""
    found = 0
    for job in await app.job_manager.get_stalled_jobs(seconds_since_heartbeat=LOST_AFTER_S):
        subject = job.task_kwargs.get("subject_id")
        if job.id is None or (subject and live.works_on(UUID(str(subject)))):
            # this process was asleep, or the catalog away: it is still at it
            continue
        log.warning("queue job %s (%s) has lost its agent, back to the queue", job.id, job.task_name)
        await app.job_manager.retry_job_by_id_async(job.id, retry_at=datetime.now(UTC))
        found += 1
    who = {"silence": LOST_AFTER_S, "me": records.agent_id, "tokens": live.tokens}
    for table, kind, lock in _TABLES:
        await records.query(
            f"UPDATE tui_backup.{table} r SET status = 'cancelled', completed_at = now(), attempt_token = NULL"
            " WHERE r.cancel_requested AND r.status = 'pending'",
            who,
        )
        rows = await records.query(
            f"SELECT r.id, tui_backup.enqueue(%(kind)s, r.id, {lock}) FROM tui_backup.{table} r"
            f" WHERE (({_LOST}) OR (r.status = 'pending' AND r.updated_at < now() - interval '10 s'))"
            f" AND {_NOT_QUEUED}",
            {**who, "kind": kind},
        )
        found += len(rows)
    for kind, table, source, asked in _ERRANDS:
        rows = await records.query(
            f"SELECT r.id, tui_backup.enqueue(%(kind)s, r.id, 'source:' || r.{source}) FROM tui_backup.{table} r"
            f" WHERE {asked} AND r.status IN ('completed', 'failed', 'cancelled')"
            f" AND r.updated_at < now() - interval '10 s' AND {_NOT_QUEUED}",
            {"kind": kind},
        )
        found += len(rows)
    return found


async def keep_rescuing(app: procrastinate.App, records: Records, live: LiveRuns) -> None:
    """Look every few seconds until cancelled, also after own runs that somebody else has taken over."""
    while True:
        try:
            await live.check_all()
            await rescue(app, records, live)
        except (CatalogUnavailableError, ProcrastinateException) as exc:
            log.warning("rescue: %s", exc)
        await asyncio.sleep(_LOOK_EVERY_S)
