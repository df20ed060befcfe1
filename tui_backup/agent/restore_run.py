"""The body of a restore run: into a new database, by swap, into a side schema, or in place."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypedDict

from tui_backup.agent.places import OpenBackup, open_backup, password_file
from tui_backup.agent.records import failure_columns, patiently
from tui_backup.agent.runs import Procedure, Run
from tui_backup.agent.safety_backup import make_safety_backup
from tui_backup.agent.settle import settle, target_of, unsettled, work_name
from tui_backup.agent.tenancy import check_contents, check_request, read_tenancy
from tui_backup.engine.logical.backup import default_workers
from tui_backup.engine.logical.inplace import restore_in_place
from tui_backup.engine.logical.own_catalog import refuse_catalog
from tui_backup.engine.logical.restore import restore_database
from tui_backup.engine.logical.result import RestoreResult
from tui_backup.engine.logical.sideschema import restore_side_schema
from tui_backup.engine.logical.swap import record_swap, swap_databases
from tui_backup.engine.logical.target import Target
from tui_backup.engine.logical.tenants.restore import Tenancy, restore_tenant
from tui_backup.engine.logical.tenants.side_schema import show_tenant
from tui_backup.errors import AgentLostError, CatalogUnavailableError, NotFoundError, TuiBackupError
from tui_backup.model import ProgressReport, RestoreRequest, RestoreTarget, StopFlag

log = logging.getLogger(__name__)

_NOTE_PATIENCE_S = 60.0
"""How long a restore waits, with its work done and its locks held, for a catalog that is away."""

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
    tenancy = await read_tenancy(run, job, source)
    check_request(request, job, source, tenancy)
    if request.target is RestoreTarget.IN_PLACE and request.safety_backup and not request.dry_run:
        tables = request.tables or job["chosen_tables"]
        safety = await make_safety_backup(run, source, repository, tables, tenant_scope=tenancy is not None)
        await run.records.update(run.claim, {"safety_job_id": safety})
        run.counter.restart("restoring")
    if request.target is RestoreTarget.SWAP:
        # before hours of work: a live database must be there, and one that may be replaced
        await run.in_thread(lambda: _database_of(_target(run, source)))
    work = _Work(run, request, job, source, tenancy)
    result = await run.in_thread(lambda: _restore(work, repository))
    work.hide_place(result)
    if request.dry_run:
        return {"target_database": result.database, "metadata": {**row["metadata"], **result.to_json()}}
    columns: dict[str, Any] = {
        **_facts(job, result),
        "target_database": result.database,
        "metadata": {**row["metadata"], **result.to_json()},
    }
    if request.target is RestoreTarget.SWAP:
        columns |= await _swap(run, source, result)
    if request.target in _BROUGHT_BACK and not request.tables and result.compare and result.compare.identical:
        try:
            await _record_proof(run, job, result)
        except CatalogUnavailableError as exc:
            # the restore has happened: it must not be called failed for want of a second row about it
            log.warning("%s: its proof could not be recorded: %s", run.claim.id, exc.message)
    return columns


def _facts(job: Mapping[str, Any], result: RestoreResult) -> dict[str, Any]:
    return {
        "tables_restored": result.tables_restored,
        "rows_restored": result.rows_restored,
        "restore_point": datetime.fromisoformat(job["metadata"]["snapshot_at"]),
    }


def _note(run: Run, job: Mapping[str, Any], result: RestoreResult, **notes: Any) -> None:
    """Write down, from the restore's thread, what is about to happen, so that somebody else can ask whether it has.

    Raises:
        FencedError: another agent owns the restore by now; nothing may happen.
    """
    metadata = {**run.claim.row["metadata"], **result.to_json(), **notes}
    columns = {**_facts(job, result), "metadata": metadata}
    run.wait_for(patiently(lambda: run.records.update(run.claim, columns), _NOTE_PATIENCE_S), _NOTE_PATIENCE_S + 30)
    run.claim.row["metadata"] = metadata


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
        dry_run=options.get("dry_run", False),
        replace_all=options.get("replace_all", False),
        notes=row["notes"],
    )


@dataclass(frozen=True, slots=True)
class _Work:
    """What is restored, and where to. ``tenancy`` is set for a backup of one tenant's rows."""

    run: Run
    request: RestoreRequest
    job: Mapping[str, Any]
    source: Mapping[str, Any]
    tenancy: Tenancy | None

    def hide_place(self, result: RestoreResult) -> None:
        """Of a source that is only shared with the tenant its members know the name, and nothing of where it is."""
        if self.source["tenant_id"] != self.job["tenant_id"]:
            result.database = self.source["source_name"]

    def note(self, result: RestoreResult, xid: str) -> None:
        """Write the transaction down before its commit."""
        self.hide_place(result)
        _note(self.run, self.job, result, transaction=xid)


def _restore(work: _Work, repository: Mapping[str, Any] | None) -> RestoreResult:
    run, request, job, source = work.run, work.request, work.job, work.source
    with open_backup(job, repository) as backup:
        contents, reader = backup.manifest.contents, backup.reader
        check_contents(contents, job, work.tenancy)
        if request.target in _BROUGHT_BACK:
            return _into_database(run, request, job, backup, source)
        if work.tenancy is not None:
            return _restore_tenant(work, backup, work.tenancy)
        if request.target is RestoreTarget.SIDE_SCHEMA:
            return restore_side_schema(
                request,
                contents,
                reader,
                source["conninfo"],
                restore_id=run.claim.id,
                before_commit=work.note,
                **_session(run, source),
            )
        return restore_in_place(
            request,
            contents,
            reader,
            source["conninfo"],
            lock_timeout_s=run.config.settings.agent.lock_timeout_seconds,
            before_commit=work.note,
            **_session(run, source),
        )


def _restore_tenant(work: _Work, backup: OpenBackup, tenancy: Tenancy) -> RestoreResult:
    run, contents, reader = work.run, backup.manifest.contents, backup.reader
    conninfo, session = work.source["conninfo"], _session(run, work.source)
    if work.request.target is RestoreTarget.SIDE_SCHEMA:
        return show_tenant(
            work.request,
            contents,
            reader,
            conninfo,
            tenancy,
            restore_id=run.claim.id,
            before_commit=work.note,
            **session,
        )
    return restore_tenant(
        work.request,
        contents,
        reader,
        conninfo,
        tenancy,
        lock_timeout_s=run.config.settings.agent.lock_timeout_seconds,
        before_commit=work.note,
        **session,
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


def _into_database(
    run: Run, request: RestoreRequest, job: Mapping[str, Any], backup: OpenBackup, source: Mapping[str, Any]
) -> RestoreResult:
    bin_dir = run.config.settings.tools.bin_dir
    return restore_database(
        request,
        backup.manifest.contents,
        backup.reader,
        source["conninfo"],
        restore_id=run.claim.id,
        work_name=work_name(run.claim.id),
        tools_dir=Path(bin_dir) if bin_dir else None,
        before_finish=lambda result: _note(run, job, result, made=result.database_oid),
        **_session(run, source),
    )


def _target(run: Run, source: Mapping[str, Any]) -> Target:
    return target_of(run.config, source, run.claim.application_name)


async def _swap(run: Run, source: Mapping[str, Any], result: RestoreResult) -> Mapping[str, Any]:
    """Record what will be exchanged, exchange it, and say how it can be undone."""
    run.counter.restart("swapping")
    target = _target(run, source)
    live = await run.in_thread(lambda: _database_of(target))
    record = await run.in_thread(lambda: record_swap(target, live=live, new=result.database, at=datetime.now(UTC)))
    metadata = {**run.claim.row["metadata"], **result.to_json(), "swap": record.to_json()}
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
    with target.session(what="looking at the live database") as conn:
        refuse_catalog(conn)
        return conn.info.dbname


async def clean_up_restore(run: Run, error: TuiBackupError) -> Mapping[str, Any]:
    """What the engine undid, as columns; where its word is not enough the target is asked."""
    row = run.claim.row
    columns: dict[str, Any] = {}
    if error.details.get("rollback_executed"):
        columns |= {"rollback_executed": True, "rollback_at": datetime.now(UTC)}
    begun = any(note in row["metadata"] for note in ("made", "swap", "transaction"))
    if not (begun or run.claim.was_interrupted or "left_over" in error.details):
        return columns
    source = await run.records.row("sources", row["target_source_id"])
    if source is None:
        return columns
    lost = run.claim.lost_application_name
    try:
        # not in the run's thread: that one has been told to stop
        return columns | await asyncio.to_thread(settle, _target(run, source), row, lost)
    except TuiBackupError as exc:
        log.warning("%s: the target cannot be asked how it ended: %s", run.claim.id, exc.message)
        return columns | {"metadata": unsettled(row, exc, lost)}


async def take_over_restore(run: Run) -> Mapping[str, Any] | None:
    """After the death of its agent a restore is put back, not repeated: a person decides again.

    What had happened before the agent died is complete, and is recorded as such.
    """
    row = run.claim.row
    source = await run.records.row("sources", row["target_source_id"])
    lost = AgentLostError(
        "The agent that ran this restore is gone; what it had begun was taken back.",
        hint="The target is as it was. Start the restore again.",
    )
    if source is None:
        return {"status": "failed", **failure_columns(lost)}
    name = run.claim.lost_application_name
    try:
        columns = await run.in_thread(lambda: settle(_target(run, source), row, name))
    except TuiBackupError as exc:
        unknown = AgentLostError(
            "The agent that ran this restore is gone, and its target cannot be looked at.",
            hint=f"It is looked at again until it answers. It says: {exc.message}",
        )
        return {"status": "failed", **failure_columns(unknown), "metadata": unsettled(row, exc, name)}
    return columns if "status" in columns else {"status": "failed", **failure_columns(lost), **columns}


RESTORE = Procedure(
    subject="backup_restore_logs",
    body=run_restore,
    on_failure=clean_up_restore,
    on_interrupted=take_over_restore,
    may_retry=False,
)
