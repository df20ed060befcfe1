"""One backup or restore of ours in a process of its own, as the agent does it; prints the seconds of the work.

The process's start is not counted (an agent is started once); CPU and memory, read by the parent, hold all of it.
"""

from __future__ import annotations

import sys
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path

from tui_backup import __version__
from tui_backup.engine.logical.backup import BackupRequest, backup_database, default_workers
from tui_backup.engine.logical.incremental import Parent
from tui_backup.engine.logical.restore import restore_database
from tui_backup.engine.logical.sideschema import restore_side_schema
from tui_backup.manifest import FORMAT_VERSION, JobFacts, Manifest
from tui_backup.model import RestoreRequest, RestoreTarget, StopFlag
from tui_backup.repository.check import verify_files
from tui_backup.repository.manifests import read_manifest
from tui_backup.repository.open import initialize, open_store
from tui_backup.repository.packs import PackReader
from tui_backup.repository.run import backup_run

TENANT = uuid.UUID(int=1)
JOB = uuid.UUID(int=2)


def _quiet(**_counters: object) -> None:
    return None


def backup(conninfo: str, repository: str, tools: str, *, job: uuid.UUID, parent: uuid.UUID | None) -> None:
    """A backup into a directory: a full one, or an incremental upon the parent."""
    store = open_store(repository)
    store.check(create=True)
    initialize(store)
    stop = StopFlag()
    started = datetime.now(UTC)
    parents = [parent] if parent else []
    with backup_run(store, TENANT, job, "bench", parents=parents, stop=stop) as run:
        request = BackupRequest(
            conninfo=conninfo,
            workers=default_workers(),
            tools=Path(tools),
            parent=Parent(parent, run.parents[parent].contents) if parent else None,
        )
        contents = backup_database(request, run.sink, progress=_quiet, stop=stop)
        facts = JobFacts(
            id=job,
            tenant_id=TENANT,
            source_name="bench",
            job_type="incremental" if parent else "full",
            created_at=started,
            started_at=started,
            completed_at=datetime.now(UTC),
        )
        run.finish(Manifest(format_version=FORMAT_VERSION, program=__version__, job=facts, contents=contents))
    if contents.reuse is not None and contents.reuse.reason is not None:
        sys.exit(f"nothing was taken over: {contents.reuse.reason}")


def restore_table(conninfo: str, repository: str, table: str) -> None:
    """One table into a side schema."""
    store = open_store(repository)
    restore_side_schema(
        RestoreRequest(
            job_id=JOB, target=RestoreTarget.SIDE_SCHEMA, schema="look", tables=(table,), confirm_restore=True
        ),
        read_manifest(store, TENANT, JOB).contents,
        PackReader(store, TENANT),
        conninfo,
        restore_id=uuid.uuid4(),
        progress=_quiet,
        stop=StopFlag(),
    )


def verify(repository: str) -> None:
    """Read every byte of the full backup back."""
    store = open_store(repository)
    report = verify_files(store, read_manifest(store, TENANT, JOB), workers=default_workers())
    if not report.is_whole:
        sys.exit("the repository is damaged")


def restore(conninfo: str, repository: str, tools: str, database: str, *, compare: bool) -> None:
    """A restore into a new database."""
    store = open_store(repository)
    manifest = read_manifest(store, TENANT, JOB)
    restore_database(
        RestoreRequest(job_id=JOB, database=database, confirm_restore=True, compare=compare),
        manifest.contents,
        PackReader(store, TENANT),
        conninfo,
        restore_id=uuid.uuid4(),
        progress=_quiet,
        stop=StopFlag(),
        jobs=default_workers(),
        tools_dir=Path(tools),
    )


def main() -> None:
    """``ours.py WHAT CONNINFO REPOSITORY TOOLS [MORE]``."""
    what, conninfo, repository, tools, *rest = sys.argv[1:]
    since = time.perf_counter()
    if what == "backup":
        backup(conninfo, repository, tools, job=JOB, parent=None)
    elif what == "incremental":
        parent, job = (uuid.UUID(each) for each in rest) if rest else (JOB, uuid.uuid4())
        backup(conninfo, repository, tools, job=job, parent=parent)
    elif what == "table":
        restore_table(conninfo, repository, rest[0])
    elif what == "verify":
        verify(repository)
    else:
        restore(conninfo, repository, tools, rest[0], compare=what == "restore+compare")
    print(f"{time.perf_counter() - since:.3f}")


if __name__ == "__main__":
    main()
