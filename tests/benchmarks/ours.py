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
from tui_backup.engine.logical.restore import restore_database
from tui_backup.manifest import FORMAT_VERSION, JobFacts, Manifest
from tui_backup.model import RestoreRequest, StopFlag
from tui_backup.repository.manifests import read_manifest
from tui_backup.repository.open import initialize, open_store
from tui_backup.repository.packs import PackReader
from tui_backup.repository.run import backup_run

TENANT = uuid.UUID(int=1)
JOB = uuid.UUID(int=2)


def _quiet(**_counters: object) -> None:
    return None


def backup(conninfo: str, repository: str, tools: str) -> None:
    """A full backup into a directory."""
    store = open_store(repository)
    store.check(create=True)
    initialize(store)
    stop = StopFlag()
    started = datetime.now(UTC)
    with backup_run(store, TENANT, JOB, "bench", stop=stop) as run:
        request = BackupRequest(conninfo=conninfo, workers=default_workers(), tools=Path(tools))
        contents = backup_database(request, run.sink, progress=_quiet, stop=stop)
        facts = JobFacts(
            id=JOB,
            tenant_id=TENANT,
            source_name="bench",
            job_type="full",
            created_at=started,
            started_at=started,
            completed_at=datetime.now(UTC),
        )
        run.finish(Manifest(format_version=FORMAT_VERSION, program=__version__, job=facts, contents=contents))


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
    """``ours.py backup|restore|restore+compare CONNINFO REPOSITORY TOOLS [DATABASE]``."""
    what, conninfo, repository, tools, *rest = sys.argv[1:]
    since = time.perf_counter()
    if what == "backup":
        backup(conninfo, repository, tools)
    else:
        restore(conninfo, repository, tools, rest[0], compare=what == "restore+compare")
    print(f"{time.perf_counter() - since:.3f}")


if __name__ == "__main__":
    main()
