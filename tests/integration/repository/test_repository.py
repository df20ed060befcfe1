"""A whole repository's life on each S3 server: set up, back up twice, damage, check, delete."""

from __future__ import annotations

import secrets

import pytest

from tests.integration.repository.fault_proxy import Fault, FaultProxy
from tests.integration.repository.test_s3_store import store_at
from tests.s3_servers import S3Server
from tests.unit.repository.builders import TENANT, back_up, rows
from tui_backup.errors import StoreUnavailableError
from tui_backup.repository.check import verify_files
from tui_backup.repository.format import ref_of
from tui_backup.repository.keys import pack_key
from tui_backup.repository.manifests import list_manifests, read_manifest
from tui_backup.repository.open import initialize, load_config, open_store
from tui_backup.repository.packs import PackReader
from tui_backup.repository.sweep import delete_backup


def test_its_life(s3_server: S3Server) -> None:
    bucket = s3_server.create_bucket()
    store = open_store(s3_server.location(bucket))
    made = initialize(store)
    assert initialize(store) == load_config(store) == made

    noise = secrets.token_bytes(300_000)
    first = back_up(store, {"orders": rows(1), "noise": noise})
    second = back_up(store, {"orders": rows(1), "items": rows(2)})
    assert {entry.job_id for entry in list_manifests(store, TENANT)} == {first.job.id, second.job.id}
    assert read_manifest(store, TENANT, second.job.id) == second
    reader = PackReader(store, TENANT)
    assert b"".join(reader.read_blob(ref_of(blob)) for blob in first.contents.tables[1].chunks[0].blobs) == noise
    for manifest in (first, second):
        assert verify_files(store, manifest, deep=True).is_whole
        assert verify_files(store, manifest).is_whole

    blob = first.contents.tables[1].chunks[0].blobs[0]
    key = f"repo/{pack_key(TENANT, blob.pack)}"
    client = s3_server.client()
    data = bytearray(client.get_object(Bucket=bucket, Key=key)["Body"].read())
    data[blob.offset + 1000] ^= 1
    client.put_object(Bucket=bucket, Key=key, Body=bytes(data))
    client.close()
    [problem] = verify_files(store, first).problems
    assert (problem["kind"], problem["belongs_to"]) == ("damaged", ["public.noise"])
    assert verify_files(store, second).is_whole

    delete_backup(store, TENANT, first.job.id)
    assert verify_files(store, second).is_whole
    delete_backup(store, TENANT, second.job.id)
    assert [found.key for found in store.list()] == ["config"]
    store.close()


@pytest.mark.parametrize("s3_server", ["seaweedfs"], indirect=True)
@pytest.mark.parametrize("cut_after", [3_000, 40_000])
def test_a_line_that_breaks_during_a_backup(s3_server: S3Server, cut_after: int) -> None:
    """The run fails, no manifest appears, and what is there stays whole."""
    bucket = s3_server.create_bucket()
    direct = store_at(s3_server.location(bucket))
    initialize(direct)
    kept = back_up(direct, {"orders": rows(1)})
    proxy = FaultProxy(s3_server.port)
    try:
        proxy.fault = Fault(cut_upload_after=cut_after)
        store = store_at(s3_server.location(bucket, port=proxy.port))
        with pytest.raises(StoreUnavailableError):
            back_up(store, {"orders": secrets.token_bytes(500_000)})
        store.close()
    finally:
        proxy.close()
    assert [entry.job_id for entry in list_manifests(direct, TENANT)] == [kept.job.id]
    assert verify_files(direct, kept, deep=True).is_whole
    direct.close()
