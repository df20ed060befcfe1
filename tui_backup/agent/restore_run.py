"""The body of a restore run: into a new database, by swap, into a side schema, or in place."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypedDict

from tui_backup.agent.places import OpenBackup, open_backup, password_file
from tui_backup.agent.records import failure_columns
from tui_backup.agent.runs import Procedure, Run
from tui_backup.agent.safety_backup import make_safety_backup
from tui_backup.engine.logical.backup import default_workers
from tui_backup.engine.logical.createdb import drop_unfinished
from tui_backup.engine.logical.inplace import restore_in_place
from tui_backup.engine.logical.restore import restore_database
from tui_backup.engine.logical.result import RestoreResult
from tui_backup.engine.logical.sideschema import restore_side_schema
from tui_backup.engine.logical.swap import SwapRecord, SwapState, inspect_swap, record_swap, reopen_live, swap_databases
from tui_backup.engine.logical.target import Target
from tui_backup.errors import AgentLostError, NotFoundError, TuiBackupError
from tui_backup.model import ProgressReport, RestoreRequest, RestoreTarget, StopFlag

log = logging.getLogger(__name__)

_BROUGHT_BACK = (RestoreTarget.NEW_DATABASE, RestoreTarget.SWAP)


async def run_restore(run: Run) -> Mapping[str, Any]:
    """Carry the claimed restore out.

    Returns:
        The columns of the completed row.

    Raises:
        TuiBackupError: whatever stood in the way; the target is as it was, or the error's details say what is left.
    """
    row = run.claim.row
    job = await run.records.row("backup_jobs", row["backup_job_id"])
    source = await run.records.row("sources", row["target_source_id"])
    if job is None or job["status"] != "completed" or job["deleted_at"] is not None or source is None:
        raise NotFoundError("The backup, or the source it shall go to, is gone.")
    repository = await run.records.row("repositories", job["repository_id"])
    request = _request(row)
    if request.target is RestoreTarget.IN_PLACE and request.safety_backup:
        safety = await make_safety_backup(run, source, repository, request.tables or job["chosen_tables"])
        await run.records.update(run.claim, {"safety_job_id": safety})
        run.counter.restart("restoring")
    result = await run.in_thread(lambda: _restore(run, request, job, repository, source))
    columns: dict[str, Any] = {
        "tables_restored": result.tables_restored,
        "rows_restored": result.rows_restored,
        "target_database": result.database,
        "restore_point": datetime.fromisoformat(job["metadata"]["snapshot_at"]),
        "metadata": {**row["metadata"], **result.to_json()},
    }
    if request.target is RestoreTarget.SWAP:
        columns |= await _swap(run, source, row, result)
    if request.target in _BROUGHT_BACK and not request.tables and result.compare and result.compare.identical:
        await _record_proof(run, job, result)
    return columns


async def _record_proof(run: Run, job: Mapping[str, Any], result: RestoreResult) -> None:
    """The backup has been brought back whole and found equal: its proof is that of a restore, with its date."""
    await run.records.query(
        "INSERT INTO tui_backup.backup_verifications (backup_job_id, tenant_id, kind, status, started_at, completed_at,"
        " bytes_read, restore_log_id, created_by) VALUES (%(job)s, %(tenant)s, 'restored', 'completed', %(started)s,"
        " now(), %(bytes)s, %(log)s, %(who)s)",
        {
            "job": job["id"],
            "tenant": job["tenant_id"],
            "started": run.claim.row["started_at"],
            "bytes": result.bytes_restored,
            "log": run.claim.id,
            "who": run.claim.row["initiated_by"],
        },
    )


def _request(row: Mapping[str, Any]) -> RestoreRequest:
    options = row["options"]
    return RestoreRequest(
        job_id=row["backup_job_id"],
        target=RestoreTarget(row["target"]),
        database=row["target_database"],
        schema=row["target_schema"],
        tables=row["chosen_tables"],
        confirm_restore=True,
        compare=options.get("compare", True),
        safety_backup=options.get("safety_backup", True),
        no_owner=options.get("no_owner", False),
        notes=row["notes"],
    )


def _restore(
    run: Run,
    request: RestoreRequest,
    job: Mapping[str, Any],
    repository: Mapping[str, Any] | None,
    source: Mapping[str, Any],
) -> RestoreResult:
    with open_backup(job, repository) as backup:
        if request.target in _BROUGHT_BACK:
            return _into_database(run, request, backup, source)
        contents, reader = backup.manifest.contents, backup.reader
        if request.target is RestoreTarget.SIDE_SCHEMA:
            return restore_side_schema(
                request, contents, reader, source["conninfo"], restore_id=run.claim.id, **_session(run, source)
            )
        lock_timeout_s = run.config.settings.agent.lock_timeout_seconds
        return restore_in_place(
            request, contents, reader, source["conninfo"], lock_timeout_s=lock_timeout_s, **_session(run, source)
        )


class _Session(TypedDict):
    passfile: Path | None
    application_name: str
    progress: ProgressReport
    stop: StopFlag
    jobs: int


def _session(run: Run, source: Mapping[str, Any]) -> _Session:
    """What every way of restoring takes."""
    return {
        "passfile": password_file(run.config, source),
        "application_name": run.claim.application_name,
        "progress": run.counter,
        "stop": run.stop,
        "jobs": run.config.settings.agent.workers or default_workers(),
    }


def _into_database(run: Run, request: RestoreRequest, backup: OpenBackup, source: Mapping[str, Any]) -> RestoreResult:
    bin_dir = run.config.settings.tools.bin_dir
    return restore_database(
        request,
        backup.manifest.contents,
        backup.reader,
        source["conninfo"],
        restore_id=run.claim.id,
        work_name=_work_name(run),
        tools_dir=Path(bin_dir) if bin_dir else None,
        **_session(run, source),
    )


def _work_name(run: Run) -> str:
    """The new database's name while it is in the making; no two restores share it, so a rescue may drop it."""
    return f"tui_backup_restore_{run.claim.id.hex[:12]}"


def _target(run: Run, source: Mapping[str, Any]) -> Target:
    return Target(source["conninfo"], password_file(run.config, source), run.claim.application_name)


async def _swap(
    run: Run, source: Mapping[str, Any], row: Mapping[str, Any], result: RestoreResult
) -> Mapping[str, Any]:
    """Record what will be exchanged, exchange it, and say how it can be undone."""
    run.counter.restart("swapping")
    target = _target(run, source)
    live = await run.in_thread(lambda: _database_of(target))
    record = await run.in_thread(lambda: record_swap(target, live=live, new=result.database, at=datetime.now(UTC)))
    metadata = {**row["metadata"], **result.to_json(), "swap": record.to_json()}
    # recorded before the first rename: whoever takes over can tell from the oids where it stands
    await run.records.update(run.claim, {"metadata": metadata})
    run.claim.row["metadata"] = metadata
    warnings = await run.in_thread(lambda: swap_databases(target, record))
    return {
        "target_database": record.live,
        "undo_state": "kept",
        "metadata": {**metadata, "database": record.live, "warnings": [*metadata["warnings"], *warnings]},
    }


def _database_of(target: Target) -> str:
    with target.connect() as conn:
        return conn.info.dbname


async def clean_up_restore(run: Run, error: TuiBackupError) -> Mapping[str, Any]:
    """What the engine undid, as columns; and a swap that had not happened leaves no new database behind."""
    row = run.claim.row
    columns: dict[str, Any] = {}
    if error.details.get("rollback_executed"):
        columns |= {"rollback_executed": True, "rollback_at": datetime.now(UTC)}
    if "swap" in row["metadata"]:
        columns |= await _settle_swap(run)
    return columns


async def _settle_swap(run: Run) -> dict[str, Any]:
    """After an error around the renames: say truthfully which side of them we are on."""
    row = run.claim.row
    source = await run.records.row("sources", row["target_source_id"])
    if source is None:
        return {}
    record = SwapRecord.from_json(row["metadata"]["swap"])
    target = _target(run, source)
    state = await asyncio.to_thread(lambda: inspect_swap(target, record))
    if state is SwapState.SWAPPED:
        return {"undo_state": "kept"}
    await asyncio.to_thread(lambda: reopen_live(target, record))
    await asyncio.to_thread(lambda: drop_unfinished(target, run.claim.id, work_name=_work_name(run)))
    return {"rollback_executed": True, "rollback_at": datetime.now(UTC)}


async def take_over_restore(run: Run) -> Mapping[str, Any] | None:
    """After the death of its agent a restore is put back, not repeated: a person decides again.

    A swap whose renames were done is complete, and is recorded as such.
    """
    row = run.claim.row
    source = await run.records.row("sources", row["target_source_id"])
    lost = AgentLostError(
        "The agent that ran this restore is gone; what it had begun was taken back.",
        hint="The target is as it was. Start the restore again.",
    )
    if source is None:
        return {"status": "failed", **failure_columns(lost)}
    target = _target(run, source)
    if "swap" in row["metadata"]:
        record = SwapRecord.from_json(row["metadata"]["swap"])
        if await run.in_thread(lambda: inspect_swap(target, record)) is SwapState.SWAPPED:
            return {"target_database": record.live, "undo_state": "kept"}
        # the agent may have died after it had closed the live database and before the renames
        await run.in_thread(lambda: reopen_live(target, record))
    await run.in_thread(
        lambda: drop_unfinished(
            target,
            run.claim.id,
            session_name=run.claim.lost_application_name,
            work_name=_work_name(run),
        )
    )
    return {
        "status": "failed",
        **failure_columns(lost),
        "rollback_executed": True,
        "rollback_at": datetime.now(UTC),
    }


RESTORE = Procedure(
    subject="backup_restore_logs",
    body=run_restore,
    on_failure=clean_up_restore,
    on_interrupted=take_over_restore,
    may_retry=False,
)
