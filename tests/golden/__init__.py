"""Repositories as earlier versions of the program wrote them. They are never made again: newer programs must read them.

``python -m tests.golden FOLDER`` makes one of the present format, for the day when there is a next one.
"""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from pathlib import Path

from tests.acceptance import fidelity
from tests.integration.engine.restore.helpers import Recorder
from tests.servers import TestServer
from tui_backup.engine.logical.backup import BackupRequest, backup_database
from tui_backup.manifest import JobFacts, Manifest
from tui_backup.model import StopFlag
from tui_backup.repository.directory import DirectoryStore
from tui_backup.repository.format import FORMAT_VERSION
from tui_backup.repository.open import initialize
from tui_backup.repository.run import backup_run

HERE = Path(__file__).parent
TENANT = uuid.UUID("6f1d3c52-0000-4000-8000-000000000001")
JOB = uuid.UUID("6f1d3c52-0000-4000-8000-00000000000a")
EXPECTED = "expected.json"
DATABASE = "fidelity_golden"
# what is big only to be big would lie in the project's history for ever
_FEWER_ROWS = """
DELETE FROM bulk.events WHERE id > 3000;
DELETE FROM texts.toasted WHERE id > 1;
UPDATE texts.toasted SET raw = substr(raw, 1, 20000)
"""


def make(folder: Path, server: TestServer) -> None:
    """Back the fidelity database up and write down what is in its tables."""
    store = DirectoryStore(folder / "repository")
    store.check(create=True)
    initialize(store)
    server.drop_database(DATABASE)
    fidelity.load(server, DATABASE)
    server.execute(_FEWER_ROWS, DATABASE)
    at = datetime.now(UTC)
    with backup_run(store, TENANT, JOB, "golden") as run:
        request = BackupRequest(conninfo=server.dsn(DATABASE), chunk_blocks=8, application_name="golden")
        contents = backup_database(request, run.sink, progress=Recorder(), stop=StopFlag())
        facts = JobFacts(
            id=JOB,
            tenant_id=TENANT,
            source_name="golden",
            job_type="full",
            created_at=at,
            started_at=at,
            completed_at=at,
        )
        run.finish(Manifest(format_version=FORMAT_VERSION, program="golden", job=facts, contents=contents))
    tables = fidelity.fingerprint(server, DATABASE)["tables"]
    (folder / EXPECTED).write_text(json.dumps({"major": server.major, "tables": tables}, indent=1) + "\n")
    server.drop_database(DATABASE)
