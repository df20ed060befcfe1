"""The backup that is made of what a restore in place is about to replace."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID, uuid4

from psycopg.types.json import Jsonb

from tui_backup.agent.backup_run import run_backup
from tui_backup.agent.records import Claim, failure_columns
from tui_backup.agent.runs import Run
from tui_backup.errors import CancelledError, NotFoundError, TuiBackupError

_INSERT = """
INSERT INTO tui_backup.backup_jobs (job_type, status, started_at, tenant_id, source_id, repository_id, chosen_tables,
       tenant_scope, backup_name, description, tags, created_by, metadata, attempt_token, agent_id)
VALUES ('full', 'running', now(), %(tenant)s, %(source)s, %(repository)s, %(tables)s,
       %(scope)s, %(name)s, %(description)s, ARRAY['safety'], %(who)s, %(metadata)s, %(token)s, %(agent)s)
RETURNING *
"""


async def make_safety_backup(
    run: Run,
    source: Mapping[str, Any],
    repository: Mapping[str, Any] | None,
    tables: Sequence[str],
    *,
    tenant_scope: bool = False,
) -> UUID:
    """Back the tables up inside the restore's run, as a job of its own.

    Args:
        run: the restore's.
        source: what is about to be written to.
        repository: where the restored backup is.
        tables: chosen ones, empty for all.
        tenant_scope: only the rows of the restore's tenant.

    Returns:
        The id of the completed job.

    Raises:
        TuiBackupError: it failed; the restore must not go on.
    """
    if repository is None:
        raise NotFoundError("The backup's repository is not in the catalog any more.")
    run.counter(phase="safety backup")
    token = uuid4()
    rows = await run.records.query(
        _INSERT,
        {
            "tenant": run.claim.row["tenant_id"],
            "source": source["id"],
            "repository": repository["id"],
            "tables": list(tables),
            "scope": tenant_scope,
            "name": "safety backup",
            "description": f"Made before restore {run.claim.id} replaced these {'rows' if tenant_scope else 'tables'}.",
            "who": run.claim.row["initiated_by"],
            "metadata": Jsonb({"restore_log_id": str(run.claim.id)}),
            "token": token,
            "agent": run.records.agent_id,
        },
    )
    # one stop flag and one counter for both: who cancels the restore cancels this too
    inner = Run(Claim("backup_jobs", rows[0], token, was_interrupted=False), run.records, run.config, run.live)
    inner.counter, inner.stop = run.counter, run.stop
    try:
        with run.live.expected(token):
            run.live.add(inner)
            columns = await run_backup(inner)
    except asyncio.CancelledError:
        await asyncio.shield(_end(inner, "cancelled", CancelledError("Cancelled together with its restore.")))
        raise
    except TuiBackupError as exc:
        await _end(inner, "cancelled" if isinstance(exc, CancelledError) else "failed", exc)
        raise
    await run.records.finish(
        inner.claim,
        {"status": "completed", "completed_at": "now", "duration_seconds": inner.seconds, **columns},
    )
    return inner.claim.id


async def _end(inner: Run, status: str, error: TuiBackupError) -> None:
    await inner.records.finish(inner.claim, {"status": status, "completed_at": "now", **failure_columns(error)})
