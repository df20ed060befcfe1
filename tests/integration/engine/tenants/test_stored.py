"""What two tenants' backups leave in one repository: nothing in common, and nothing that tells of the other."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from tests.servers import TestServer
from tests.unit.engine.fakes import Counts
from tui_backup.engine.logical.backup import BackupRequest, backup_database
from tui_backup.engine.logical.tenants.reading import TenantRequest
from tui_backup.engine.logical.tenants.settings import TenantMapSettings
from tui_backup.manifest import FORMAT_VERSION, JobFacts, Manifest
from tui_backup.model import StopFlag
from tui_backup.repository.check import verify_files
from tui_backup.repository.keys import pack_key, tenant_prefix
from tui_backup.repository.open import initialize, open_store
from tui_backup.repository.packs import WriteStatistics
from tui_backup.repository.run import backup_run
from tui_backup.repository.store import Store

ACME, BETA = UUID(int=1), UUID(int=2)
NOW = datetime(2026, 11, 27, tzinfo=UTC)


@pytest.fixture(scope="module")
def twins(pg: TestServer) -> Iterator[str]:
    """Two tenants; the shared table's rows are byte for byte the same in both."""
    name = pg.create_database()
    pg.execute(
        f"""
        CREATE TABLE owners (id int PRIMARY KEY, tenant_id uuid);
        CREATE TABLE words (owner int NOT NULL REFERENCES owners, word text);
        CREATE TABLE countries (code text PRIMARY KEY);
        INSERT INTO owners VALUES (1, '{ACME}'), (2, '{BETA}');
        INSERT INTO words SELECT o, 'word ' || i FROM generate_series(1, 2) o, generate_series(1, 5000) i;
        INSERT INTO countries SELECT 'c' || i FROM generate_series(1, 5000) i;
        """,
        name,
    )
    yield name
    pg.drop_database(name)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = new_store(tmp_path / "repo")
    yield opened
    opened.close()


def new_store(folder: Path) -> Store:
    store = open_store(str(folder))
    store.check(create=True)
    initialize(store)
    return store


def back_up(server: TestServer, dbname: str, store: Store, tenant: UUID) -> tuple[Manifest, WriteStatistics]:
    rules = {"countries": {"shared": "missing"}}
    request = BackupRequest(
        conninfo=server.dsn(dbname),
        tenant=TenantRequest(tenant, str(tenant), TenantMapSettings.from_json({"tables": rules})),
    )
    job_id = uuid4()
    with backup_run(store, tenant, job_id, "shop") as run:
        contents = backup_database(request, run.sink, progress=Counts(), stop=StopFlag())
        job = JobFacts(
            id=job_id,
            tenant_id=tenant,
            source_name="shop",
            job_type="full",
            created_at=NOW,
            started_at=NOW,
            completed_at=NOW,
        )
        manifest = Manifest(format_version=FORMAT_VERSION, program="test", job=job, contents=contents)
        run.finish(manifest)
        return manifest, run.sink.statistics


def listed(store: Store, tenant: UUID) -> dict[str, int]:
    return {found.key: found.size_bytes for found in store.list(tenant_prefix(tenant))}


def objects_named(manifest: Manifest, tenant: UUID) -> set[str]:
    return {pack_key(tenant, blob.pack) for _, blob in manifest.contents.all_blobs()}


def test_equal_rows_share_no_object(pg: TestServer, twins: str, store: Store, tmp_path: Path) -> None:
    mine, first = back_up(pg, twins, store, ACME)
    before = listed(store, ACME)
    theirs, second = back_up(pg, twins, store, BETA)
    # frames of one content are in both: each tenant stored them, and found nothing there
    assert {blob.id for _, blob in mine.contents.all_blobs()} & {blob.id for _, blob in theirs.contents.all_blobs()}
    assert first.blobs_reused == second.blobs_reused == 0
    assert second.blobs_new == first.blobs_new
    # nothing of one lies under, or is named by, the other
    assert listed(store, ACME) == before
    assert objects_named(mine, ACME) <= set(before)
    assert objects_named(theirs, BETA) <= set(listed(store, BETA))
    assert not set(before) & set(listed(store, BETA))
    # a repository in which the other never was looks the same to the tenant
    alone = new_store(tmp_path / "alone")
    _, without = back_up(pg, twins, alone, BETA)
    assert (without.blobs_new, without.blobs_reused) == (second.blobs_new, 0)
    assert len(listed(alone, BETA)) == len(listed(store, BETA))
    alone.close()


def test_each_tenants_backup_stands_alone(pg: TestServer, twins: str, store: Store) -> None:
    back_up(pg, twins, store, ACME)
    theirs, _ = back_up(pg, twins, store, BETA)
    for key in listed(store, ACME):
        store.delete(key)
    assert verify_files(store, theirs, deep=True).is_whole
