"""What a repository holds and whose it is, against the objects that are really there."""

from __future__ import annotations

from uuid import uuid4

import pytest

from tests.unit.repository.builders import TENANT, back_up, make_manifest, rows, write_stream
from tests.unit.repository.fakes import MemoryStore
from tui_backup.errors import CancelledError
from tui_backup.model import StopFlag
from tui_backup.repository.inventory import objects_of, take_inventory
from tui_backup.repository.keys import manifest_key, object_name, packs_prefix
from tui_backup.repository.packs import PackWriter
from tui_backup.repository.run import backup_run
from tui_backup.repository.sweep import delete_backup, sweep


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def there(store: MemoryStore) -> dict[str, int]:
    """Every object of the tenant."""
    return {object_name(TENANT, key): len(data) for key, data in store.objects.items() if key.startswith(str(TENANT))}


def test_a_run_says_what_it_has_put(store: MemoryStore) -> None:
    back_up(store, {"orders": rows(1)})
    before = there(store)
    with backup_run(store, TENANT, uuid4(), "shop") as run:
        assert run.stored == {}
        job_id = uuid4()
        streams = {"orders": write_stream(run.sink, rows(1)), "items": write_stream(run.sink, rows(2))}
        schema = write_stream(run.sink, b"PGDMP another archive")
        run.sink.flush()
        manifest = make_manifest(run.sink, streams, schema, job_id=job_id)
        run.finish(manifest)
    assert run.stored == {name: size for name, size in there(store).items() if name not in before}
    assert len(run.stored) == 2, "one pack and the manifest; what was there is not its own"


def test_each_object_is_the_oldest_backups_that_names_it(store: MemoryStore) -> None:
    first = back_up(store, {"orders": rows(1)})
    shared = {name for name in there(store) if name.startswith("packs/")}
    second = back_up(store, {"orders": rows(1), "items": rows(2)})
    found = take_inventory(store, TENANT)
    assert found.sizes == there(store)
    assert set(found.owners) == set(found.sizes) and found.unreadable == 0
    # both were made at the same moment of the test's clock: the order of their ids decides, and nothing else
    oldest = min(first.job.id, second.job.id)
    assert {found.owners[name] for name in shared} == {oldest}
    assert found.source_names == {first.job.id: "shop", second.job.id: "shop"}
    assert objects_of(store, first).items() <= found.sizes.items()
    assert set(objects_of(store, second)) >= shared


def test_what_nobody_names_has_no_owner(store: MemoryStore) -> None:
    manifest = back_up(store, {"orders": rows(1)})
    sink = PackWriter(store, TENANT)
    write_stream(sink, rows(9))
    sink.flush()
    sink.close()
    found = take_inventory(store, TENANT)
    (orphan,) = set(found.sizes) - set(found.owners)
    assert sink.stored_packs == {orphan.rsplit("/", 1)[-1]: found.sizes[orphan]}
    # what cannot be read may name anything
    store.objects[manifest_key(TENANT, manifest.job.id)] = b"no manifest"
    found = take_inventory(store, TENANT)
    assert found.unreadable == 1
    assert set(found.owners) == {f"manifests/{manifest.job.id}.json.zst"}


def test_what_is_lost_is_not_counted(store: MemoryStore) -> None:
    manifest = back_up(store, {"orders": rows(1)})
    (pack,) = store.list(packs_prefix(TENANT))
    store.delete(pack.key)
    assert set(objects_of(store, manifest)) == {f"manifests/{manifest.job.id}.json.zst"}
    assert set(take_inventory(store, TENANT).owners) == {f"manifests/{manifest.job.id}.json.zst"}
    store.delete(manifest_key(TENANT, manifest.job.id))
    assert objects_of(store, manifest) == {}


def test_it_can_be_stopped(store: MemoryStore) -> None:
    back_up(store, {"orders": rows(1)})
    stop = StopFlag()
    stop.set(CancelledError("cancelled"))
    with pytest.raises(CancelledError):
        take_inventory(store, TENANT, stop)


def test_a_deletion_says_what_is_left(store: MemoryStore) -> None:
    first = back_up(store, {"orders": rows(1)})
    second = back_up(store, {"orders": rows(1), "items": rows(2)})
    assert sweep(store, TENANT).left == set(there(store))
    assert delete_backup(store, TENANT, first.job.id).left == set(there(store)) != set()
    with backup_run(store, TENANT, uuid4(), "shop"):
        # it did not look, so it says nothing
        assert delete_backup(store, TENANT, uuid4()).left is None
    assert delete_backup(store, TENANT, second.job.id).left == set() == set(there(store))
