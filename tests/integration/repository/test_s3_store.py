"""The S3 store on real servers: the suite of stores, and what only S3 has."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from tests.s3_servers import READ_ONLY_PROFILE, S3Server
from tests.unit.repository.store_suite import LIMIT, StoreSuite
from tui_backup.errors import DamagedError, StoreDeniedError, StorePublicError, StoreUnavailableError
from tui_backup.repository.location import S3Location, parse_location
from tui_backup.repository.s3 import S3Store
from tui_backup.repository.s3_client import S3Limits

QUICK = S3Limits(connect_timeout_s=2, read_timeout_s=5, attempts=1, part_bytes=5 * 1024 * 1024)


def store_at(location: str, limits: S3Limits = QUICK, max_object_bytes: int = LIMIT) -> S3Store:
    at = parse_location(location)
    assert isinstance(at, S3Location)
    return S3Store(at, max_object_bytes=max_object_bytes, limits=limits)


@pytest.fixture(scope="module")
def shared_clients() -> Iterator[dict[str, Any]]:
    clients: dict[str, Any] = {}
    yield clients
    for client in clients.values():
        client.close()


class TestS3(StoreSuite):
    """Objects above 6 MiB go up in parts of 5 MiB here."""

    @pytest.fixture
    def store(self, s3_server: S3Server, shared_clients: dict[str, Any]) -> S3Store:
        # making a boto3 client takes most of such a test's time
        limits = replace(QUICK, attempts=4)
        store = store_at(s3_server.location(), limits)
        if s3_server.name not in shared_clients:
            shared_clients[s3_server.name] = store._client  # pyright: ignore[reportPrivateUsage]
        store._made = shared_clients[s3_server.name]  # pyright: ignore[reportPrivateUsage]
        return store


@pytest.fixture
def raw(s3_server: S3Server) -> Iterator[Any]:
    client = s3_server.client()
    yield client
    client.close()


def test_two_prefixes_of_a_bucket_do_not_meet(s3_server: S3Server) -> None:
    bucket = s3_server.create_bucket()
    one, two = (store_at(s3_server.location(bucket, prefix)) for prefix in ("a/one", "a/one-more"))
    one.put("x", b"1")
    two.put("x", b"2")
    assert [found.key for found in one.list()] == ["x"]
    assert (one.get("x"), two.get("x")) == (b"1", b"2")


def test_without_a_prefix(s3_server: S3Server, raw: Any) -> None:
    bucket = s3_server.create_bucket()
    store = store_at(s3_server.location(bucket, ""))
    store.check()
    store.put("config", b"{}")
    assert [found.key for found in store.list()] == ["config"]
    assert raw.get_object(Bucket=bucket, Key="config")["Body"].read() == b"{}"


def test_more_than_a_page_is_listed(s3_server: S3Server, raw: Any) -> None:
    bucket = s3_server.create_bucket()
    store = store_at(s3_server.location(bucket))
    with ThreadPoolExecutor(8) as pool:
        for done in [
            pool.submit(raw.put_object, Bucket=bucket, Key=f"repo/p/{number:04}", Body=b"") for number in range(1003)
        ]:
            done.result()
    assert [found.key for found in store.list("p/")] == [f"p/{number:04}" for number in range(1003)]


def test_a_missing_bucket_is_no_empty_one(s3_server: S3Server) -> None:
    store = store_at(s3_server.location("no-such-bucket"))
    for use in (
        store.check,
        lambda: store.check(create=True),
        lambda: store.put("a", b"1"),
        lambda: store.get("a"),
        lambda: store.stat("a"),
        lambda: list(store.list()),
    ):
        with pytest.raises(StoreUnavailableError):
            use()


def test_an_unfinished_upload_leaves_nothing(s3_server: S3Server, raw: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = s3_server.create_bucket()
    store = store_at(s3_server.location(bucket))
    data = secrets.token_bytes(LIMIT)
    client = store._client  # pyright: ignore[reportPrivateUsage]
    send_part = client.upload_part

    def breaking(**arguments: Any) -> Any:
        if arguments["PartNumber"] == 2:
            raise KeyboardInterrupt
        return send_part(**arguments)

    monkeypatch.setattr(client, "upload_part", breaking)
    with pytest.raises(KeyboardInterrupt):
        store.put("big", data)
    assert raw.list_multipart_uploads(Bucket=bucket).get("Uploads", []) == []
    assert store.stat("big") is None
    monkeypatch.undo()
    assert store.put("big", data).sha256 == hashlib.sha256(data).hexdigest()


def test_wrong_secret(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = s3_server.create_bucket()
    location = s3_server.location(bucket).partition("&profile=")[0]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not the secret")
    store = store_at(location)
    for use in (store.check, lambda: store.put("a", b"1"), lambda: store.get("a"), lambda: store.stat("a")):
        with pytest.raises(StoreDeniedError) as failure:
            use()
        assert not failure.value.retryable
        assert "not the secret" not in str(failure.value.to_json())
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_server.secret_key)
    store.close()
    store.put("a", b"1")


def test_no_credentials_at_all(s3_server: S3Server) -> None:
    location = s3_server.location(s3_server.create_bucket())
    for missing in (location.partition("&profile=")[0], location.replace(f"profile={s3_server.name}", "profile=none")):
        with pytest.raises(StoreDeniedError) as failure:
            store_at(missing).check()
        assert "AWS_ACCESS_KEY_ID" in failure.value.hint


def test_a_reader_may_read_and_nothing_else(seaweedfs: S3Server) -> None:
    bucket = seaweedfs.create_bucket()
    store_at(seaweedfs.location(bucket)).put("a", b"1")
    reader = store_at(seaweedfs.location(bucket, profile=READ_ONLY_PROFILE))
    assert reader.get("a") == b"1"
    for use in (lambda: reader.put("b", b"2"), lambda: reader.delete("a"), reader.check):
        with pytest.raises(StoreDeniedError):
            use()
    assert reader.get("a") == b"1"


def test_a_public_bucket_is_refused(seaweedfs: S3Server) -> None:
    bucket = seaweedfs.create_bucket()
    store = store_at(seaweedfs.location(bucket))
    store.check()
    everybody = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{bucket}/*"}
    client = seaweedfs.client()
    try:
        client.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": [everybody]}))
    finally:
        client.close()
    with pytest.raises(StorePublicError):
        store.check()
    assert list(store.list()) == []


@pytest.mark.parametrize("size", [10, LIMIT])
def test_a_late_writer_meets_the_condition(seaweedfs: S3Server, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """The other one comes between our look and our put; a store with conditional puts tells."""
    bucket = seaweedfs.create_bucket()
    store = store_at(seaweedfs.location(bucket))
    mine, other = bytes(size), secrets.token_bytes(20)
    head = store._head  # pyright: ignore[reportPrivateUsage]
    looks: list[str] = []

    def look_then_lose(key: str) -> Any:
        found = head(key)
        if not looks:
            store_at(seaweedfs.location(bucket)).put(key, other)
        looks.append(key)
        return found

    monkeypatch.setattr(store, "_head", look_then_lose)
    with pytest.raises(DamagedError, match="other content"):
        store.put("contended", mine)
    assert store.get("contended") == other


def test_what_arrives_damaged_is_refused(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes that change after the checksum was made never count as stored."""
    from tui_backup.repository import s3

    class Flipping(s3.BytesIO):
        def __init__(self, view: memoryview) -> None:
            super().__init__(b"\xff" + bytes(view)[1:])

    store = store_at(s3_server.location())
    monkeypatch.setattr(s3, "BytesIO", Flipping)
    with pytest.raises(Exception) as failure:
        store.put("a", b"content")
    assert type(failure.value).__name__ in ("StoreError", "DamagedError")
    assert store.stat("a") is None


def test_a_swapped_object_is_no_same_object(s3_server: S3Server, raw: Any) -> None:
    bucket = s3_server.create_bucket()
    store = store_at(s3_server.location(bucket))
    store.put("a", b"content")
    raw.put_object(Bucket=bucket, Key="repo/a", Body=b"CONTENT")
    with pytest.raises(DamagedError):
        store.put("a", b"content")


def test_no_secret_in_what_it_says(s3_server: S3Server) -> None:
    store = store_at(s3_server.location())
    assert s3_server.secret_key not in f"{store.location} {store!r} {vars(store)}"
