"""Manifests, and what they say is there already."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID, uuid4

import msgspec
import pytest

from tests.unit.repository.builders import TENANT, back_up, rows
from tests.unit.repository.fakes import MemoryStore, known
from tui_backup.errors import AlreadyExistsError, DamagedError, ObjectMissingError, RepositoryVersionError
from tui_backup.manifest import Manifest
from tui_backup.repository.format import decode_manifest, encode_manifest, ref_of
from tui_backup.repository.frames import compress_whole, decompress_whole
from tui_backup.repository.keys import manifest_key, pack_key, packs_prefix
from tui_backup.repository.manifests import list_manifests, read_manifest, write_manifest
from tui_backup.repository.packs import PackReader
from tui_backup.repository.run import backup_run

OTHER_TENANT = UUID("00000000-0000-0000-0000-00000000000b")


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def test_a_manifest_comes_back(store: MemoryStore) -> None:
    manifest = back_up(store, {"orders": rows(1), "empty": b""})
    assert read_manifest(store, TENANT, manifest.job.id) == manifest
    [entry] = list_manifests(store, TENANT)
    assert (entry.job_id, entry.size_bytes) == (
        manifest.job.id,
        len(store.objects[manifest_key(TENANT, manifest.job.id)]),
    )
    assert list(list_manifests(store, OTHER_TENANT)) == []


def test_foreign_names_among_the_manifests_are_passed_over(store: MemoryStore) -> None:
    manifest = back_up(store, {"orders": rows(1)})
    store.objects[f"{TENANT}/manifests/README"] = b"?"
    assert [entry.job_id for entry in list_manifests(store, TENANT)] == [manifest.job.id]


def test_a_missing_manifest(store: MemoryStore) -> None:
    with pytest.raises(ObjectMissingError):
        read_manifest(store, TENANT, uuid4())


def test_every_flipped_bit_is_noticed(store: MemoryStore) -> None:
    manifest = back_up(store, {"orders": rows(1)})
    key = manifest_key(TENANT, manifest.job.id)
    whole = store.objects[key]
    unnoticed = 0
    for place in range(0, len(whole), 7):
        store.objects[key] = whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :]
        try:
            unnoticed += read_manifest(store, TENANT, manifest.job.id) != manifest
        except DamagedError as error:
            assert error.details["job_id"] == str(manifest.job.id)
    assert unnoticed == 0


@pytest.mark.parametrize("cut", [0, 1, 10, 200, -1])
def test_a_truncated_manifest(store: MemoryStore, cut: int) -> None:
    manifest = back_up(store, {"orders": rows(1)})
    key = manifest_key(TENANT, manifest.job.id)
    store.objects[key] = store.objects[key][:cut]
    with pytest.raises(DamagedError):
        read_manifest(store, TENANT, manifest.job.id)


def test_more_behind_a_manifest(store: MemoryStore) -> None:
    manifest = back_up(store, {"orders": rows(1)})
    store.objects[manifest_key(TENANT, manifest.job.id)] += b"more"
    with pytest.raises(DamagedError):
        read_manifest(store, TENANT, manifest.job.id)


def test_the_manifest_of_another_job_or_tenant_is_swapped(store: MemoryStore) -> None:
    one, two = (back_up(store, {"orders": rows(seed)}) for seed in (1, 2))
    theirs = back_up(store, {"orders": rows(3)}, tenant_id=OTHER_TENANT)
    mine = manifest_key(TENANT, one.job.id)
    for other in (manifest_key(TENANT, two.job.id), manifest_key(OTHER_TENANT, theirs.job.id)):
        store.objects[mine] = store.objects[other]
        with pytest.raises(DamagedError) as failure:
            read_manifest(store, TENANT, one.job.id)
        assert failure.value.details["problem"] == "swapped"


def altered(manifest: Manifest, **changes: object) -> bytes:
    document = msgspec.json.decode(msgspec.json.encode(manifest))
    document.update(changes)
    return compress_whole(msgspec.json.encode(document), 3)


def test_a_newer_format_says_what_to_do(store: MemoryStore) -> None:
    manifest = back_up(store, {"orders": rows(1)})
    store.objects[manifest_key(TENANT, manifest.job.id)] = altered(manifest, format_version=99, contents="unknown")
    with pytest.raises(RepositoryVersionError, match="format 99") as failure:
        read_manifest(store, TENANT, manifest.job.id)
    assert "newest tui-backup" in failure.value.hint


@pytest.mark.parametrize(
    "changes", [{"job": None}, {"contents": {}}, {"format_version": "1"}, {"format_version": None}, {"program": 7}]
)
def test_a_document_that_is_no_manifest(store: MemoryStore, changes: dict[str, object]) -> None:
    manifest = back_up(store, {"orders": rows(1)})
    with pytest.raises(DamagedError):
        decode_manifest(altered(manifest, **changes), tenant_id=TENANT, job_id=manifest.job.id)


def test_what_is_stored_is_one_frame_of_json(store: MemoryStore) -> None:
    manifest = back_up(store, {"orders": rows(1)})
    raw = decompress_whole(encode_manifest(manifest), 1 << 20)
    assert msgspec.json.decode(raw)["job"]["id"] == str(manifest.job.id)


def test_a_manifest_is_not_written_over_missing_packs(store: MemoryStore) -> None:
    manifest = back_up(store, {"orders": rows(1)})
    key = manifest_key(TENANT, manifest.job.id)
    pack = manifest.contents.tables[0].chunks[0].blobs[0].pack
    store.delete(key)
    kept = store.objects[pack_key(TENANT, pack)]
    for content in (None, kept[:-200]):
        store.objects.pop(pack_key(TENANT, pack))
        if content is not None:
            store.objects[pack_key(TENANT, pack)] = content
        with pytest.raises(DamagedError, match=r"public\.orders|schema"):
            write_manifest(store, manifest)
        assert key not in store.objects
        store.objects[pack_key(TENANT, pack)] = kept
    write_manifest(store, manifest)


def test_a_second_attempt_finds_the_backup_complete(store: MemoryStore) -> None:
    manifest = back_up(store, {"orders": rows(1)})
    before = dict(store.objects)
    with (
        pytest.raises(AlreadyExistsError),
        backup_run(store, TENANT, manifest.job.id, "shop"),
    ):
        pytest.fail("not reached")
    assert store.objects == before


# -- what need not be written again -------------------------------------------------------------------------


def test_a_second_backup_writes_only_what_changed(store: MemoryStore) -> None:
    back_up(store, {"orders": rows(1), "items": rows(2)})
    packs = set(store.list(packs_prefix(TENANT)))
    second = back_up(store, {"orders": rows(1), "items": rows(3)})
    [new] = set(store.list(packs_prefix(TENANT))) - packs
    assert new.size_bytes < sum(found.size_bytes for found in packs)
    reader = PackReader(store, TENANT)
    for table, data in zip(second.contents.tables, (rows(1), rows(3)), strict=True):
        assert b"".join(reader.read_blob(ref_of(blob)) for blob in table.chunks[0].blobs) == data


def test_nothing_is_shared_between_tenants_or_sources(store: MemoryStore) -> None:
    back_up(store, {"orders": rows(1)})
    assert known(store, OTHER_TENANT, "shop") == {}
    assert known(store, TENANT, "another") == {}
    assert len(known(store, TENANT, "shop")) == 2


def test_only_the_newest_backups_count(store: MemoryStore) -> None:
    for seed in range(4):
        store.clock_ahead = timedelta(hours=seed)
        back_up(store, {"orders": rows(seed)})
    # each has its table and the schema that all share
    assert len(known(store, TENANT, "shop", newest=2)) == 3
    assert len(known(store, TENANT, "shop", newest=9)) == 5


def test_packs_that_are_gone_or_short_do_not_count(store: MemoryStore) -> None:
    manifest = back_up(store, {"orders": rows(1)})
    key = pack_key(TENANT, manifest.contents.schema.blobs[0].pack)
    whole = store.objects[key]
    store.objects[key] = whole[:100]
    assert known(store, TENANT, "shop") == {}
    del store.objects[key]
    assert known(store, TENANT, "shop") == {}
    again = back_up(store, {"orders": rows(1)})
    assert store.objects[key] == whole
    assert PackReader(store, TENANT).read_blob(ref_of(again.contents.tables[0].chunks[0].blobs[0])) == rows(1)


def test_a_damaged_manifest_only_costs_space(store: MemoryStore) -> None:
    manifest = back_up(store, {"orders": rows(1)})
    store.objects[manifest_key(TENANT, manifest.job.id)] = b"damaged"
    assert known(store, TENANT, "shop") == {}
