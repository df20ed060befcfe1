"""A check names each frame that is not what was written, and only those."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.unit.repository.builders import TENANT, back_up, make_manifest, rows, write_stream
from tests.unit.repository.fakes import MemoryStore, known
from tui_backup.errors import CancelledError, StoreError, StoreUnavailableError
from tui_backup.manifest import Blob, Manifest
from tui_backup.model import StopFlag
from tui_backup.repository.check import verify_files
from tui_backup.repository.directory import DirectoryStore
from tui_backup.repository.keys import pack_key
from tui_backup.repository.packs import PackWriter

JOB = UUID("11111111-1111-1111-1111-111111111111")
BOTH = pytest.mark.parametrize("deep", [False, True])


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def in_small_packs(store: MemoryStore) -> Manifest:
    """Six tables of four frames each, two frames a pack."""
    sink = PackWriter(store, TENANT, frame_raw_bytes=20_000, pack_bytes=20_000)
    streams = {f"t{number}": write_stream(sink, rows(number)) for number in range(6)}
    schema = write_stream(sink, b"schema")
    sink.flush()
    manifest = make_manifest(sink, streams, schema, job_id=JOB)
    sink.close()
    return manifest


def blobs(manifest: Manifest, table: int) -> list[Blob]:
    return manifest.contents.tables[table].chunks[0].blobs


def kinds(problems: list[dict[str, Any]]) -> list[tuple[str, str, list[str]]]:
    return sorted((problem["kind"], problem["blob"], problem["belongs_to"]) for problem in problems)


@BOTH
def test_a_whole_backup(store: MemoryStore, deep: bool) -> None:
    manifest = in_small_packs(store)
    assert len(store.objects) > 5
    report = verify_files(store, manifest, deep=deep)
    assert report.is_whole
    assert report.packs == len(store.objects)
    assert report.blobs == len({blob for _, blob in manifest.contents.all_blobs()})
    assert report.bytes_read >= sum(len(data) for data in store.objects.values())


@BOTH
def test_any_flipped_byte_names_its_frame(store: MemoryStore, deep: bool) -> None:
    manifest = in_small_packs(store)
    for table, number, place in [(0, 0, 0), (2, 1, 9), (3, 3, -1), (5, 2, 500)]:
        blob = blobs(manifest, table)[number]
        key = pack_key(TENANT, blob.pack)
        kept = store.objects[key]
        at = blob.offset + (place if place >= 0 else blob.stored_bytes + place)
        store.objects[key] = kept[:at] + bytes([kept[at] ^ 1]) + kept[at + 1 :]
        report = verify_files(store, manifest, deep=deep)
        assert kinds(report.problems) == [("damaged", blob.id, [f"public.t{table}"])]
        store.objects[key] = kept


@BOTH
def test_a_missing_pack_names_all_its_frames(store: MemoryStore, deep: bool) -> None:
    manifest = in_small_packs(store)
    pack = blobs(manifest, 1)[0].pack
    del store.objects[pack_key(TENANT, pack)]
    report = verify_files(store, manifest, deep=deep)
    lost = [(label, blob) for label, blob in manifest.contents.all_blobs() if blob.pack == pack]
    assert len(lost) > 1
    assert kinds(report.problems) == sorted(("missing", blob.id, [label]) for label, blob in lost)


@BOTH
def test_a_truncated_pack_keeps_what_is_before_the_cut(store: MemoryStore, deep: bool) -> None:
    manifest = in_small_packs(store)
    pack = blobs(manifest, 1)[0].pack
    inside = sorted((blob for _, blob in manifest.contents.all_blobs() if blob.pack == pack), key=lambda b: b.offset)
    key = pack_key(TENANT, pack)
    store.objects[key] = store.objects[key][: inside[-1].offset + 5]
    report = verify_files(store, manifest, deep=deep)
    assert [problem["kind"] for problem in report.problems] == ["truncated"]
    assert report.problems[0]["blob"] == inside[-1].id
    store.objects[key] = b""
    report = verify_files(store, manifest, deep=deep)
    assert [problem["kind"] for problem in report.problems] == ["truncated"] * len(inside)


@BOTH
def test_two_packs_in_each_others_place(store: MemoryStore, deep: bool) -> None:
    manifest = in_small_packs(store)
    one, two = (pack_key(TENANT, blobs(manifest, table)[0].pack) for table in (0, 4))
    store.objects[one], store.objects[two] = store.objects[two], store.objects[one]
    report = verify_files(store, manifest, deep=deep)
    found = {problem["kind"] for problem in report.problems}
    assert found <= {"swapped", "truncated"}
    assert "swapped" in found
    touched = {problem["pack"] for problem in report.problems}
    assert touched == {blobs(manifest, 0)[0].pack, blobs(manifest, 4)[0].pack}


@BOTH
def test_a_manifest_that_points_to_another_frame(store: MemoryStore, deep: bool) -> None:
    """Two equally long frames whose places are swapped in the manifest; every pack agrees with its own name."""
    sink = PackWriter(store, TENANT)
    streams = {"a": write_stream(sink, b"1" * 9_000), "b": write_stream(sink, b"2" * 9_000)}
    schema = write_stream(sink, b"schema")
    sink.flush()
    right = make_manifest(sink, streams, schema, job_id=JOB)
    assert verify_files(store, right, deep=deep).is_whole
    first, second = blobs(right, 0)[0], blobs(right, 1)[0]
    assert first.stored_bytes == second.stored_bytes
    blobs(right, 0)[0] = Blob(first.id, second.pack, second.offset, second.stored_bytes, second.raw_bytes)
    report = verify_files(store, right, deep=deep)
    assert kinds(report.problems) == [("swapped", first.id, ["public.a"])]
    sink.close()


def test_a_frame_of_several_tables_names_all_of_them(store: MemoryStore) -> None:
    manifest = back_up(store, {"a": rows(1), "b": rows(1), "c": rows(2)})
    blob = blobs(manifest, 0)[0]
    assert blob == blobs(manifest, 1)[0]
    key = pack_key(TENANT, blob.pack)
    data = bytearray(store.objects[key])
    data[blob.offset + 30] ^= 255
    store.objects[key] = bytes(data)
    report = verify_files(store, manifest)
    assert kinds(report.problems) == [("damaged", blob.id, ["public.a", "public.b"])]


def test_damage_where_another_backup_lies_is_not_ours(store: MemoryStore) -> None:
    first = back_up(store, {"a": rows(1), "b": rows(2)})
    second = back_up(store, {"a": rows(1)})
    theirs = blobs(first, 1)[0]
    key = pack_key(TENANT, theirs.pack)
    data = bytearray(store.objects[key])
    data[theirs.offset + 30] ^= 255
    store.objects[key] = bytes(data)
    assert verify_files(store, second).is_whole
    assert not verify_files(store, first).is_whole


def test_after_a_check_found_damage_the_next_backup_mends(store: MemoryStore) -> None:
    tables = {"a": rows(1)}
    first = back_up(store, tables)
    blob = blobs(first, 0)[0]
    key = pack_key(TENANT, blob.pack)
    data = bytearray(store.objects[key])
    data[blob.offset + 30] ^= 255
    store.objects[key] = bytes(data)
    # nobody knows of it yet, so it is counted on
    assert not verify_files(store, back_up(store, tables)).is_whole
    assert known(store, TENANT, "shop") == {}
    mended = back_up(store, tables)
    assert verify_files(store, mended, deep=True).is_whole
    assert not verify_files(store, first).is_whole


def test_a_check_with_read_only_rights(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = back_up(store, {"a": rows(1)})
    store.objects[pack_key(TENANT, blobs(manifest, 0)[0].pack)] = b"x"

    def refuse(*_: object) -> None:
        raise StoreError("read only")

    monkeypatch.setattr(store, "put", refuse)
    assert not verify_files(store, manifest).is_whole


def test_a_sector_that_cannot_be_read(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """An I/O error in one place is damage there, not the end of the check."""
    manifest = in_small_packs(store)
    bad = blobs(manifest, 2)[1]
    get_range = store.get_range

    def reading(key: str, offset: int, length: int) -> bytes:
        if key == pack_key(TENANT, bad.pack) and offset <= bad.offset + 3 < offset + length:
            raise StoreError("Cannot read: Input/output error")
        return get_range(key, offset, length)

    monkeypatch.setattr(store, "get_range", reading)
    assert kinds(verify_files(store, manifest).problems) == [("damaged", bad.id, ["public.t2"])]


@BOTH
def test_a_store_that_is_gone_proves_nothing(store: MemoryStore, monkeypatch: pytest.MonkeyPatch, deep: bool) -> None:
    manifest = in_small_packs(store)

    def gone(*_: object) -> bytes:
        raise StoreUnavailableError("gone")

    monkeypatch.setattr(store, "get_range", gone)
    with pytest.raises(StoreUnavailableError):
        verify_files(store, manifest, deep=deep)


@pytest.mark.timeout(20)
def test_stopped_in_the_middle(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = in_small_packs(store)
    get_range = store.get_range

    def slowly(key: str, offset: int, length: int) -> bytes:
        time.sleep(0.1)
        return get_range(key, offset, length)

    monkeypatch.setattr(store, "get_range", slowly)
    stop = StopFlag()
    threading.Timer(0.3, stop.set, [CancelledError("cancelled")]).start()
    began = time.monotonic()
    with pytest.raises(CancelledError):
        verify_files(store, manifest, stop=stop)
    assert time.monotonic() - began < 2


def test_progress_adds_up(store: MemoryStore) -> None:
    manifest = in_small_packs(store)
    told: list[dict[str, Any]] = []
    verify_files(store, manifest, progress=lambda **facts: told.append(facts))
    assert told[0] == {"phase": "verify", "bytes_total": sum(len(data) for data in store.objects.values())}
    assert sum(facts.get("bytes_", 0) for facts in told) == told[0]["bytes_total"]


def test_on_a_real_directory(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "repo")
    store.check(create=True)
    manifest = back_up(store, {"a": rows(1), "b": os.urandom(9_000_000)})
    assert verify_files(store, manifest).is_whole
    second = blobs(manifest, 1)[1]
    with (tmp_path / "repo" / pack_key(TENANT, second.pack)).open("r+b") as file:
        file.seek(second.offset + 500_000)
        file.write(b"?")
    assert kinds(verify_files(store, manifest).problems) == [("damaged", second.id, ["public.b"])]
