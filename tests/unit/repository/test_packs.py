"""Any streams, from any threads, come back as they were."""

from __future__ import annotations

import gc
import hashlib
import random
import secrets
import threading
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.repository.builders import TENANT, rows, write_stream
from tests.unit.repository.fakes import BreakingStore, MemoryStore
from tui_backup.errors import CancelledError, DamagedError, ObjectMissingError, StoreError, StoreFullError
from tui_backup.model import BackupReader, BackupSink, BlobRef, PendingBlob, StopFlag
from tui_backup.repository.directory import DirectoryStore
from tui_backup.repository.frames import decode_index, index_bytes
from tui_backup.repository.keys import pack_key, packs_prefix
from tui_backup.repository.packs import PackReader, PackWriter
from tui_backup.repository.store import Store


def small_writer(store: Store, **options: object) -> PackWriter:
    return PackWriter(store, TENANT, **{"pack_bytes": 2_000, "frame_raw_bytes": 700, **options})  # type: ignore[arg-type]


def read_back(store: Store, sink: PackWriter, pending: list[PendingBlob]) -> bytes:
    reader = PackReader(store, TENANT)
    return b"".join(reader.read_blob(sink.locate(one)) for one in pending)


def test_they_are_what_the_engine_expects() -> None:
    sink: BackupSink = PackWriter(MemoryStore(), TENANT)
    reader: BackupReader = PackReader(MemoryStore(), TENANT)
    assert isinstance(sink, PackWriter)
    assert isinstance(reader, PackReader)


streams = st.lists(
    st.tuples(st.sampled_from(range(4)), st.lists(st.binary(max_size=900) | st.just(b"same " * 300), max_size=6)),
    max_size=10,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(streams=streams, shuffle=st.randoms(use_true_random=False))
def test_any_streams_from_several_threads(streams: list[tuple[int, list[bytes]]], shuffle: random.Random) -> None:
    store = MemoryStore(max_object_bytes=8_000)
    sink = small_writer(store)
    shuffle.shuffle(streams)
    by_worker: dict[int, list[tuple[bytes, list[PendingBlob]]]] = {}

    def work(worker: int) -> None:
        for owner, blocks in streams:
            if owner == worker:
                blob = sink.open_blob()
                for block in blocks:
                    blob.write(block)
                by_worker.setdefault(worker, []).append((b"".join(blocks), blob.close()))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    sink.flush()
    raw = 0
    for pairs in by_worker.values():
        for data, pending in pairs:
            raw += len(data)
            assert read_back(store, sink, pending) == data
            assert sum(one.raw_bytes for one in pending) == len(data)
            assert all(0 < one.raw_bytes <= 700 for one in pending)
    statistics = sink.statistics
    assert statistics.bytes_raw == raw
    assert statistics.bytes_stored == sum(len(data) for data in store.objects.values())
    assert statistics.packs_written == len(store.objects)
    for key, data in store.objects.items():
        assert key == pack_key(TENANT, hashlib.sha256(data).hexdigest())
    sink.close()


def test_an_empty_stream_has_no_frames() -> None:
    store = MemoryStore()
    sink = small_writer(store)
    assert write_stream(sink, b"") == []
    sink.flush()
    assert store.objects == {}
    sink.close()


def test_an_aborted_stream_leaves_the_sink_usable() -> None:
    store = MemoryStore()
    sink = small_writer(store)
    blob = sink.open_blob()
    blob.write(b"x" * 5_000)
    blob.abort()
    pending = write_stream(sink, b"kept")
    sink.flush()
    assert read_back(store, sink, pending) == b"kept"
    sink.close()


def test_the_caller_may_reuse_its_buffer() -> None:
    store = MemoryStore()
    sink = PackWriter(store, TENANT)
    blob = sink.open_blob()
    buffer = bytearray(b"first   ")
    blob.write(buffer)
    buffer[:] = b"second  "
    blob.write(memoryview(buffer))
    pending = blob.close()
    sink.flush()
    assert read_back(store, sink, pending) == b"first   second  "
    sink.close()


def test_a_frame_is_stored_once() -> None:
    store = MemoryStore()
    data = rows(1)
    sink = PackWriter(store, TENANT)
    first, again = write_stream(sink, data), write_stream(sink, data)
    sink.flush()
    later = write_stream(sink, data)
    sink.flush()
    assert {sink.locate(one) for one in first} == {sink.locate(one) for one in again + later}
    assert (sink.statistics.blobs_new, sink.statistics.blobs_reused) == (1, 2)
    known = {ref.id: ref for ref in (sink.locate(one) for one in first)}
    sink.close()

    second = PackWriter(store, TENANT, known=known)
    pending = write_stream(second, data)
    second.flush()
    assert second.statistics.packs_written == 0
    assert read_back(store, second, pending) == data
    second.close()


def test_a_frame_is_not_located_before_it_is_stored() -> None:
    sink = PackWriter(MemoryStore(), TENANT)
    [pending] = write_stream(sink, b"data")
    with pytest.raises(StoreError):
        sink.locate(pending)
    sink.flush()
    assert sink.locate(pending).id == hashlib.sha256(b"data").hexdigest()
    sink.close()


@pytest.mark.parametrize("limit", [5_000, 60_000, 1_000_000])
def test_no_object_exceeds_the_limit(limit: int) -> None:
    store = MemoryStore(max_object_bytes=limit)
    sink = PackWriter(store, TENANT)
    data = secrets.token_bytes(limit * 3)
    pending = write_stream(sink, data)
    tiny = [write_stream(sink, b"%d" % number) for number in range(300)]
    sink.flush()
    assert read_back(store, sink, pending) == data
    assert b"".join(read_back(store, sink, one) for one in tiny) == b"".join(b"%d" % number for number in range(300))
    assert max(len(found) for found in store.objects.values()) <= limit
    sink.close()


def test_a_limit_too_small_for_anything() -> None:
    with pytest.raises(StoreError, match="too small"):
        PackWriter(MemoryStore(max_object_bytes=1_000), TENANT)


def test_the_index_tells_what_a_pack_holds() -> None:
    store = MemoryStore()
    sink = PackWriter(store, TENANT)
    pending = [write_stream(sink, rows(seed))[0] for seed in range(3)]
    sink.flush()
    [pack] = store.objects.values()
    index = decode_index(pack[-index_bytes(pack[-8:]) :])
    spans = index.spans()
    for one in pending:
        ref = sink.locate(one)
        assert spans[ref.id, ref.offset] == (ref.stored_bytes, ref.raw_bytes)
    assert len(spans) == 3
    sink.close()


# -- faults -------------------------------------------------------------------------------------------------


@pytest.mark.timeout(30)
def test_the_first_failed_put_stops_everything() -> None:
    puts: list[str] = []

    def fail(operation: str, key: str) -> None:
        if operation == "put":
            puts.append(key)
            raise StoreFullError("no room")

    stop = StopFlag()
    sink = small_writer(BreakingStore(fail), stop=stop)

    def work(seed: int) -> None:
        while True:
            write_stream(sink, random.Random(seed).randbytes(3_000))
            seed += 10

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(work, seed) for seed in range(4)]:
            with pytest.raises(StoreFullError):
                done.result()
    assert len(puts) == 1
    assert isinstance(stop.reason, StoreFullError)
    for use in (sink.flush, sink.open_blob):
        with pytest.raises(StoreFullError):
            use()
    sink.close()


@pytest.mark.timeout(30)
def test_an_unexpected_error_of_a_store_reaches_the_workers() -> None:
    def fail(operation: str, _: str) -> None:
        if operation == "put":
            raise ZeroDivisionError

    sink = small_writer(BreakingStore(fail))
    write_stream(sink, b"x")
    with pytest.raises(ZeroDivisionError):
        sink.flush()
    sink.close()


@pytest.mark.timeout(30)
def test_stopping_ends_a_wait_for_a_slow_store() -> None:
    release = threading.Event()

    def slow(operation: str, _: str) -> None:
        if operation == "put":
            release.wait(20)

    stop = StopFlag()
    store = BreakingStore(slow)
    sink = small_writer(store, stop=stop)
    threading.Timer(0.3, stop.set, [CancelledError("cancelled by a user")]).start()
    began = time.monotonic()
    with pytest.raises(CancelledError):
        write_stream(sink, secrets.token_bytes(100_000))
    with pytest.raises(CancelledError):
        sink.flush()
    assert time.monotonic() - began < 3
    release.set()
    sink.close()
    assert len(store.objects) == 1


def test_a_store_that_holds_something_else_is_noticed() -> None:
    class Lying(MemoryStore):
        def put(self, key: str, data: bytes | bytearray | memoryview):
            return super().put(key, bytes(data)[:-1])

    sink = PackWriter(Lying(), TENANT)
    write_stream(sink, b"data")
    with pytest.raises(DamagedError, match="does not hold"):
        sink.flush()
    sink.close()


def test_a_damaged_pack_under_the_same_name_is_mended() -> None:
    """The same frames in the same order make the same name, and what lies there is never overwritten."""
    store = MemoryStore()
    for _ in range(2):
        sink = PackWriter(store, TENANT)
        pending = write_stream(sink, rows(1))
        sink.flush()
        assert read_back(store, sink, pending) == rows(1)
        sink.close()
        [first, *others] = sorted(store.objects)
        if not others:
            store.objects[first] = b"\0" + store.objects[first][1:]
    assert len(store.objects) == 2


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda data, ref: data[: ref.offset + 20] + b"\xff\xff" + data[ref.offset + 22 :], "damaged"),
        (lambda data, ref: data[: ref.offset + ref.stored_bytes - 1], "truncated"),
        (
            lambda data, ref: data[: ref.offset] + data[: ref.stored_bytes] + data[ref.offset + ref.stored_bytes :],
            "any",
        ),
        (lambda _data, _ref: b"", "truncated"),
    ],
)
def test_damage_has_a_name(damage, problem: str) -> None:
    store = MemoryStore()
    sink = PackWriter(store, TENANT)
    write_stream(sink, rows(1))
    [pending] = write_stream(sink, rows(2))
    sink.flush()
    ref = sink.locate(pending)
    assert ref.offset > 0
    sink.close()
    key = pack_key(TENANT, ref.pack)
    store.objects[key] = damage(store.objects[key], ref)
    for look in (PackReader(store, TENANT).read_blob, lambda ref: PackReader(store, TENANT).check_blobs([ref])):
        with pytest.raises(DamagedError) as failure:
            look(ref)
        assert problem in ("any", failure.value.details["problem"])


def test_another_frame_in_its_place_is_swapped() -> None:
    store = MemoryStore()
    sink = PackWriter(store, TENANT)
    one, two = (write_stream(sink, data)[0] for data in (b"1" * 5_000, b"2" * 5_000))
    sink.flush()
    first, second = sink.locate(one), sink.locate(two)
    sink.close()
    lying = BlobRef(first.id, second.pack, second.offset, second.stored_bytes, second.raw_bytes)
    for look in (PackReader(store, TENANT).read_blob, lambda ref: PackReader(store, TENANT).check_blobs([ref])):
        with pytest.raises(DamagedError) as failure:
            look(lying)
        assert failure.value.details == {"problem": "swapped", "pack": second.pack, "blob": first.id}


def test_a_missing_pack() -> None:
    ref = BlobRef("a" * 64, "b" * 64, 0, 10, 10)
    with pytest.raises(ObjectMissingError):
        PackReader(MemoryStore(), TENANT).read_blob(ref)
    with pytest.raises(ObjectMissingError):
        PackReader(MemoryStore(), TENANT).check_blobs([ref])


class _Counting(MemoryStore):
    """Knows how often it was asked for whole objects and for parts."""

    wholes = parts = 0

    def get(self, key: str) -> bytes:
        self.wholes += 1
        return super().get(key)

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        self.parts += 1
        return MemoryStore.get(self, key)[offset : offset + length]


def _in_one_pack(store: MemoryStore, count: int) -> list[BlobRef]:
    sink = PackWriter(store, TENANT)
    pending = [write_stream(sink, rows(number))[0] for number in range(count)]
    sink.flush()
    sink.close()
    return [sink.locate(one) for one in pending]


def test_a_pack_that_is_wanted_whole_is_fetched_once_to_be_checked() -> None:
    store = _Counting()
    refs = _in_one_pack(store, 10)
    PackReader(store, TENANT).check_blobs(refs)
    assert (store.wholes, store.parts) == (0, 1), "one pack smaller than the window"


def test_a_pack_larger_than_the_window_is_checked_whole() -> None:
    store = _Counting()
    sink = PackWriter(store, TENANT)
    pending = [one for number in range(3) for one in write_stream(sink, random.Random(number).randbytes(1_700_000))]
    sink.flush()
    sink.close()
    refs = [sink.locate(one) for one in pending]
    PackReader(store, TENANT).check_blobs(refs)
    assert (store.wholes, store.parts) == (0, 3)
    key = pack_key(TENANT, refs[0].pack)
    store.objects[key] = store.objects[key][:100] + b"?" + store.objects[key][101:]
    with pytest.raises(DamagedError):
        PackReader(store, TENANT).check_blobs(refs)


def test_a_frame_of_a_large_pack_is_fetched_once_to_be_checked_and_read() -> None:
    store = _Counting()
    refs = _in_one_pack(store, 10)
    reader = PackReader(store, TENANT)
    reader.check_blobs(refs[3:4])
    assert reader.read_blob(refs[3]) == rows(3)
    assert (store.wholes, store.parts) == (0, 1)


def test_damage_beside_the_wanted_frames_does_not_matter() -> None:
    store = MemoryStore()
    refs = _in_one_pack(store, 10)
    key = pack_key(TENANT, refs[0].pack)
    store.objects[key] = store.objects[key][:-200] + b"?" + store.objects[key][-199:]
    PackReader(store, TENANT).check_blobs(refs[:9])


def test_memory_stays_flat(tmp_path: Path) -> None:
    """Sixteen times as much data, hardly more memory: two packs and the workers' open frames."""
    store = DirectoryStore(tmp_path / "repo")
    store.check(create=True)
    block = secrets.token_bytes(1 << 20)

    def peak(total_mib: int) -> int:
        sink = PackWriter(store, TENANT, pack_bytes=1 << 20, frame_raw_bytes=1 << 20)
        gc.collect()
        tracemalloc.start()

        def work(worker: int) -> None:
            blob = sink.open_blob()
            for number in range(total_mib // 2):
                blob.write(worker.to_bytes(4, "big") + number.to_bytes(4, "big"))
                blob.write(block)
            blob.close()

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(work, range(2)))
        sink.flush()
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        sink.close()
        return most

    small, large = peak(4), peak(64)
    assert large < small + 3 * (1 << 20)
    assert large < 14 * (1 << 20)
    assert sum(found.size_bytes for found in store.list(packs_prefix(TENANT))) > 64 << 20
