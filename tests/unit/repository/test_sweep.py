"""Deletions beside everything else: nothing that is needed goes."""

from __future__ import annotations

import threading
import time
from datetime import timedelta
from uuid import uuid4

import pytest

from tests.unit.repository.builders import TENANT, back_up, make_manifest, rows, write_stream
from tests.unit.repository.fakes import BreakingStore, MemoryStore
from tui_backup.errors import CancelledError, StoreFullError, StoreUnavailableError
from tui_backup.manifest import Manifest
from tui_backup.model import StopFlag
from tui_backup.repository import holds
from tui_backup.repository.check import verify_files
from tui_backup.repository.holds import Hold, release_holds, sweeping
from tui_backup.repository.keys import holds_prefix, manifest_key, packs_prefix, sweeps_prefix
from tui_backup.repository.manifests import read_manifest
from tui_backup.repository.packs import PackWriter
from tui_backup.repository.run import backup_run
from tui_backup.repository.sweep import delete_backup, sweep


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def packs(store: MemoryStore) -> set[str]:
    return {found.key for found in store.list(packs_prefix(TENANT))}


def whole(store: MemoryStore, manifest: Manifest) -> bool:
    return verify_files(store, read_manifest(store, TENANT, manifest.job.id), deep=True).is_whole


def test_the_only_backup_leaves_nothing(store: MemoryStore) -> None:
    manifest = back_up(store, {"orders": rows(1)})
    held = sum(len(data) for data in store.objects.values())
    done = delete_backup(store, TENANT, manifest.job.id)
    assert store.objects == {}
    assert (done.bytes_freed, done.packs_deleted, done.kept_because) == (held, 1, None)


def test_what_another_backup_needs_stays(store: MemoryStore) -> None:
    first = back_up(store, {"orders": rows(1), "items": rows(2)})
    second = back_up(store, {"orders": rows(1), "items": rows(3)})
    assert delete_backup(store, TENANT, first.job.id).packs_deleted == 0
    assert whole(store, second)
    # it names its own pack and the one that it shared with the first
    assert delete_backup(store, TENANT, second.job.id).packs_deleted == 2
    assert store.objects == {}


def test_orphans_go_after_a_day(store: MemoryStore) -> None:
    """Packs of a run that died without a hold or a manifest."""
    sink = PackWriter(store, TENANT)
    write_stream(sink, rows(1))
    sink.flush()
    sink.close()
    sweep(store, TENANT)
    assert len(packs(store)) == 1
    store.clock_ahead = timedelta(hours=25)
    assert sweep(store, TENANT).packs_deleted == 1
    assert packs(store) == set()


def test_the_newer_one_may_go_first(store: MemoryStore) -> None:
    first = back_up(store, {"orders": rows(1)})
    second = back_up(store, {"orders": rows(1), "items": rows(3)})
    delete_backup(store, TENANT, second.job.id)
    assert whole(store, first)
    delete_backup(store, TENANT, first.job.id)
    assert store.objects == {}


def test_a_backup_that_is_not_there(store: MemoryStore) -> None:
    kept = back_up(store, {"orders": rows(1)})
    assert delete_backup(store, TENANT, uuid4()).bytes_freed == 0
    assert whole(store, kept)


def test_no_pack_goes_while_a_backup_runs(store: MemoryStore) -> None:
    """The running one counts on frames of the backup that is deleted beside it (F1)."""
    first = back_up(store, {"orders": rows(1)})
    job_id = uuid4()
    with backup_run(store, TENANT, job_id, "shop") as run:
        done = delete_backup(store, TENANT, first.job.id)
        assert done.kept_because is not None
        assert str(job_id) in done.kept_because
        streams = {"orders": write_stream(run.sink, rows(1))}
        schema = write_stream(run.sink, b"PGDMP pretended archive")
        run.sink.flush()
        assert run.sink.statistics.blobs_new == 0
        manifest = make_manifest(run.sink, streams, schema, job_id=job_id)
        run.finish(manifest)
    assert whole(store, manifest)
    assert not list(store.list(holds_prefix(TENANT)))


@pytest.mark.timeout(30)
def test_a_backup_waits_for_a_sweep_that_came_first(store: MemoryStore) -> None:
    began = threading.Event()
    order: list[str] = []

    def back_up_later() -> None:
        began.set()
        back_up(store, {"orders": rows(1)})
        order.append("backup")

    with sweeping(store, TENANT) as (held_by, _):
        assert held_by == []
        thread = threading.Thread(target=back_up_later)
        thread.start()
        began.wait(5)
        time.sleep(0.3)
        assert packs(store) == set()
        order.append("sweep")
    thread.join(10)
    assert order == ["sweep", "backup"]


@pytest.mark.timeout(30)
def test_the_wait_for_a_sweep_is_bounded_and_can_be_stopped(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with sweeping(store, TENANT):
        stop = StopFlag()
        threading.Timer(0.2, stop.set, [CancelledError("cancelled")]).start()
        with pytest.raises(CancelledError):
            Hold(store, TENANT, uuid4()).take(stop)
        monkeypatch.setattr(holds, "_SWEEP_WAIT_S", 0.2)
        with pytest.raises(StoreUnavailableError, match="being deleted"):
            Hold(store, TENANT, uuid4()).take()
    assert store.objects == {}


def test_marks_of_the_dead_do_not_last(store: MemoryStore) -> None:
    manifest = back_up(store, {"orders": rows(1)})
    Hold(store, TENANT, uuid4()).take()
    store.put(f"{sweeps_prefix(TENANT)}{'0' * 32}", b"a sweep that died")
    store.clock_ahead = timedelta(hours=2)
    Hold(store, TENANT, uuid4()).take()
    assert delete_backup(store, TENANT, manifest.job.id).kept_because is not None
    store.clock_ahead = timedelta(hours=27)
    assert sweep(store, TENANT).kept_because is None
    assert packs(store) == set()


def test_the_hold_of_a_job_that_is_known_to_be_over(store: MemoryStore) -> None:
    manifest = back_up(store, {"orders": rows(1)})
    dead, alive = uuid4(), uuid4()
    Hold(store, TENANT, dead).take()
    other = Hold(store, TENANT, alive)
    other.take()
    release_holds(store, TENANT, dead)
    assert delete_backup(store, TENANT, manifest.job.id).kept_because == f"a backup is running (job {alive})"
    other.release()
    sweep(store, TENANT)
    assert not list(store.list(holds_prefix(TENANT)))


def test_a_long_run_renews_its_hold(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    hold = Hold(store, TENANT, uuid4())
    hold.take()
    [before] = store.list(holds_prefix(TENANT))
    hold.renew_if_due()
    assert [found.key for found in store.list(holds_prefix(TENANT))] == [before.key]
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 3700)
    hold.renew_if_due()
    [after] = store.list(holds_prefix(TENANT))
    assert after.key != before.key
    hold.release()
    hold.renew_if_due()
    assert store.objects == {}


def test_an_unreadable_manifest_keeps_every_pack(store: MemoryStore) -> None:
    """Nobody knows what it names, so nothing may go: a damaged manifest must not cost another backup its packs."""
    first = back_up(store, {"orders": rows(1)})
    second = back_up(store, {"orders": rows(2)})
    before = packs(store)
    damaged = manifest_key(TENANT, second.job.id)
    store.objects[damaged] = store.objects[damaged][:-5]
    done = delete_backup(store, TENANT, first.job.id)
    assert done.kept_because is not None
    assert "damaged" in done.kept_because
    assert packs(store) == before
    assert manifest_key(TENANT, first.job.id) not in store.objects
    # the damaged one itself can be deleted, and with it the block is gone
    delete_backup(store, TENANT, second.job.id)
    store.clock_ahead = timedelta(hours=25)
    sweep(store, TENANT)
    assert packs(store) == set()


def test_a_list_that_fails_takes_the_manifest_and_no_pack() -> None:
    broken: list[str] = []

    def fail(operation: str, key: str) -> None:
        if operation == "list" and key.endswith("/manifests/") and broken:
            raise StoreUnavailableError("cut")

    store = BreakingStore(fail)
    one, two = (back_up(store, {"orders": rows(seed)}) for seed in (1, 2))
    before = packs(store)
    broken.append("now")
    # the backup is gone from here on; to call the deletion failed would let it count as a good one
    assert delete_backup(store, TENANT, one.job.id).kept_because == "cut"
    broken.clear()
    assert store.stat(manifest_key(TENANT, one.job.id)) is None
    assert packs(store) == before
    assert not list(store.list(sweeps_prefix(TENANT)))
    assert whole(store, two)


def test_a_failed_run_takes_its_packs_away_and_nothing_else(store: MemoryStore) -> None:
    kept = back_up(store, {"orders": rows(1)})
    before = dict(store.objects)
    with pytest.raises(ZeroDivisionError), backup_run(store, TENANT, uuid4(), "shop") as run:
        write_stream(run.sink, rows(1))
        write_stream(run.sink, rows(2))
        run.sink.flush()
        assert len(packs(store)) == 2
        raise ZeroDivisionError
    assert store.objects == before
    assert whole(store, kept)


def test_a_failed_run_beside_another_leaves_its_packs(store: MemoryStore) -> None:
    """Two attempts of one job make the same packs: the late one's clean-up must not take them from the other."""
    job_id = uuid4()
    with backup_run(store, TENANT, job_id, "shop") as second:
        with pytest.raises(ZeroDivisionError), backup_run(store, TENANT, job_id, "shop") as first:
            write_stream(first.sink, rows(1))
            first.sink.flush()
            raise ZeroDivisionError
        streams = {"orders": write_stream(second.sink, rows(1))}
        schema = write_stream(second.sink, b"schema")
        second.sink.flush()
        manifest = make_manifest(second.sink, streams, schema, job_id=job_id)
        second.finish(manifest)
    assert whole(store, manifest)


def test_a_full_store_fails_the_run_and_the_old_backups_stay() -> None:
    full: list[str] = []

    def fail(operation: str, key: str) -> None:
        if operation == "put" and full and "/packs/" in key:
            raise StoreFullError("no room")

    store = BreakingStore(fail)
    kept = back_up(store, {"orders": rows(1)})
    full.append("now")
    with pytest.raises(StoreFullError):
        back_up(store, {"orders": rows(2)})
    assert whole(store, kept)
    assert len([key for key in store.objects if "/manifests/" in key]) == 1


def test_deletions_and_backups_at_random_lose_nothing(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four threads back the same few tables up and delete older backups for a while; whatever is left is whole."""
    monkeypatch.setattr(holds, "_POLL_S", 0.005)
    made: list[Manifest] = []
    lock = threading.Lock()
    failures: list[BaseException] = []

    def work(worker: int) -> None:
        try:
            for turn in range(12):
                manifest = back_up(store, {"a": rows((worker + turn) % 3, 50), "b": rows(turn % 2, 50)})
                with lock:
                    made.append(manifest)
                    oldest = made.pop(0) if len(made) > 3 else None
                if oldest is not None:
                    delete_backup(store, TENANT, oldest.job.id)
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert made
    assert all(whole(store, manifest) for manifest in made)
    assert not list(store.list(holds_prefix(TENANT)))
    assert not list(store.list(sweeps_prefix(TENANT)))
