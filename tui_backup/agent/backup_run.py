"""The body of a backup run: read the source, store it, prove that it is stored, then write the manifest."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from tui_backup import __version__
from tui_backup.agent.parents import choose_parent, find_candidates, find_earlier
from tui_backup.agent.places import open_repository, password_file
from tui_backup.agent.records import failure_columns, patiently
from tui_backup.agent.runs import Procedure, Run
from tui_backup.agent.stored_objects import note_stored
from tui_backup.agent.tenant_scope import earlier_tables, name_source, read_request, told_of_tenant
from tui_backup.engine.logical.backup import BackupRequest, backup_database
from tui_backup.engine.logical.tenants.reading import TenantRequest
from tui_backup.errors import AgentLostError, ObjectMissingError, TuiBackupError
from tui_backup.manifest import FORMAT_VERSION, Contents, JobFacts, Manifest, Reuse
from tui_backup.repository.holds import release_holds
from tui_backup.repository.inventory import objects_of
from tui_backup.repository.keys import manifest_key
from tui_backup.repository.manifests import finished_earlier
from tui_backup.repository.run import backup_run
from tui_backup.repository.store import Store

log = logging.getLogger(__name__)

_MOST_REASONS = 50
"""Tables whose reason for being read whole is kept in the job's row."""

_CATALOG_PATIENCE_S = 300.0
"""How long a backup that has read everything waits for a catalog that is away, rather than begin anew."""


@dataclass(frozen=True, slots=True)
class _Read:
    """What came out of the source, and what storing it took.

    Args:
        contents: of the backup.
        stored: the objects to enter into the catalog's ledger, with their sizes in bytes.
        bytes_stored: put by this run.
        blobs_new: frames put by this run.
        blobs_reused: frames that were there.
    """

    contents: Contents
    stored: Mapping[str, int]
    bytes_stored: int
    blobs_new: int
    blobs_reused: int


async def run_backup(run: Run) -> Mapping[str, Any]:
    """Back up the claimed job's source.

    Returns:
        The columns of the completed row.

    Raises:
        TuiBackupError: whatever stood in the way.
    """
    job = run.claim.row
    source = await run.records.row("sources", job["source_id"])
    repository = await run.records.row("repositories", job["repository_id"])
    if source is None or repository is None:
        raise ObjectMissingError("The job's source or repository is gone.", hint="Add it again and start a new backup.")
    tenant = await read_request(run, source)
    candidates = await find_candidates(run.records, run.claim)
    earlier = await find_earlier(run.records, run.claim)
    store = await run.in_thread(lambda: open_repository(repository))
    try:
        read = await run.in_thread(
            lambda: _back_up(run, store, source, candidates, earlier_tables(store, tenant, earlier))
        )
    finally:
        await run.in_thread(store.close)
    # before the row says completed: a run that dies between the two is adopted, and enters the same once more
    await patiently(lambda: note_stored(run.records, job, read.stored))
    return _columns(job, store, read)


def _back_up(
    run: Run, store: Store, source: Mapping[str, Any], candidates: Sequence[UUID], whose: TenantRequest | None
) -> _Read:
    job = run.claim.row
    agent = run.config.settings.agent
    tenant: UUID = job["tenant_id"]
    if run.claim.was_interrupted:
        release_holds(store, tenant, job["id"])
    if finished := finished_earlier(store, tenant, job["id"]):
        # an earlier attempt died after its manifest, before it could say so: that backup is complete
        log.info("%s: adopting the backup that an earlier attempt finished", job["id"])
        return _Read(finished.contents, objects_of(store, finished), 0, 0, 0)
    bin_dir = run.config.settings.tools.bin_dir
    with (
        name_source(source, tenant),
        backup_run(
            store,
            tenant,
            job["id"],
            source["source_name"],
            parents=candidates,
            stop=run.stop,
            level=agent.compression_level,
        ) as writing,
    ):
        contents = backup_database(
            BackupRequest(
                conninfo=source["conninfo"],
                passfile=password_file(run.config, source),
                tables=job["chosen_tables"],
                workers=agent.workers or None,
                lock_timeout_s=agent.lock_timeout_seconds,
                application_name=run.claim.application_name,
                tools=Path(bin_dir) if bin_dir else None,
                parent=choose_parent(job, candidates, writing.parents),
                tenant=whose,
            ),
            writing.sink,
            progress=run.counter,
            stop=run.stop,
        )
        run.counter(phase="writing the manifest")
        stats = writing.sink.statistics
        read = _Read(contents, {}, stats.bytes_stored, stats.blobs_new, stats.blobs_reused)
        manifest = _manifest(run, source["source_name"], read, job)
        # the one moment that makes a backup exist: nobody else may have taken the run over
        check = patiently(lambda: run.records.check_current(run.claim), _CATALOG_PATIENCE_S)
        run.wait_for(check, _CATALOG_PATIENCE_S + 30)
        writing.finish(manifest)
    return replace(read, stored=writing.stored)


def _manifest(run: Run, source_name: str, read: _Read, job: Mapping[str, Any]) -> Manifest:
    return Manifest(
        format_version=FORMAT_VERSION,
        program=f"tui-backup {__version__}",
        job=JobFacts(
            id=job["id"],
            tenant_id=job["tenant_id"],
            source_name=source_name,
            job_type=job["job_type"],
            created_at=job["created_at"],
            started_at=job["started_at"],
            completed_at=datetime.now(tz=job["started_at"].tzinfo),
            backup_name=job["backup_name"],
            description=job["description"],
            tags=job["tags"],
            schedule_name=job["metadata"].get("schedule_name"),
            parent_job_id=read.contents.reuse.parent_job_id if read.contents.reuse else None,
        ),
        contents=read.contents,
    )


def _columns(job: Mapping[str, Any], store: Store, read: _Read) -> dict[str, Any]:
    contents = read.contents
    blobs = {blob.id: blob for _, blob in contents.all_blobs()}
    with_rows = [table for table in contents.tables if table.kind == "r"]
    metadata = {
        **{key: value for key, value in job["metadata"].items() if key != "last_error"},
        "server_version": contents.server.version,
        "snapshot_at": contents.snapshot.taken_at.isoformat(),
        "snapshot_lsn": contents.snapshot.lsn,
        "pg_dump": contents.schema.tool,
        "bytes_stored": read.bytes_stored,
        "blobs_new": read.blobs_new,
        "blobs_reused": read.blobs_reused,
        "left_out": [{"what": item.what, "reason": item.reason} for item in contents.left_out],
    }
    if contents.reuse is not None:
        metadata |= _reuse(contents.reuse)
    if contents.tenant is not None:
        metadata |= told_of_tenant(contents.tenant)
    return {
        "parent_job_id": contents.reuse.parent_job_id if contents.reuse else None,
        "backup_size": contents.raw_bytes,
        "compressed_size_bytes": sum(blob.stored_bytes for blob in blobs.values()),
        "storage_path": manifest_key(job["tenant_id"], job["id"]),
        "storage_bucket": store.location,
        "tables_count": len(with_rows),
        "rows_count": contents.rows,
        "files_count": len({blob.pack for blob in blobs.values()}) + 1,
        "metadata": metadata,
    }


def _reuse(reuse: Reuse) -> dict[str, Any]:
    """What an incremental took over, for people; the manifest has all of it."""
    whole = dict(list(reuse.read_whole.items())[:_MOST_REASONS])
    return {
        "chunks_reused": reuse.chunks_reused,
        "chunks_read": reuse.chunks_read,
        "bytes_read": reuse.bytes_read,
        "read_everything_because": reuse.reason,
        "tables_read_whole": whole,
        "tables_read_whole_count": len(reuse.read_whole),
    }


async def take_over_backup(run: Run) -> Mapping[str, Any] | None:
    """Count the lost attempt and go on, unless too many were lost."""
    job = run.claim.row
    if job["retry_count"] >= run.config.settings.agent.max_retries:
        lost = AgentLostError("The agent that ran this is gone, and so were those before it.")
        return {"status": "failed", **failure_columns(lost)}
    job["retry_count"] += 1
    await run.records.update(run.claim, {"retry_count": job["retry_count"]})
    return None


async def clean_up_backup(run: Run, error: TuiBackupError) -> Mapping[str, Any]:
    """Nothing to put back: without a manifest a backup does not exist, and backup_run() took its packs away."""
    return {}


BACKUP = Procedure(
    subject="backup_jobs",
    body=run_backup,
    on_failure=clean_up_backup,
    on_interrupted=take_over_backup,
    may_retry=True,
)
