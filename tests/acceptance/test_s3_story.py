"""Backups in S3 by commands alone: two real servers, the whole life of a backup, and what goes wrong with a bucket."""

from __future__ import annotations

import json
import os
import secrets
import socket
import time
from collections.abc import Generator
from contextlib import contextmanager

import pytest

from tests.acceptance.bench import ORDERS, Bench
from tests.integration.repository.fault_proxy import Fault, FaultProxy
from tests.s3_servers import READ_ONLY_PROFILE, S3Server

CREDENTIALS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
PROFILES = ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE", "AWS_EC2_METADATA_DISABLED")


@contextmanager
def _credentials(bench: Bench, key: str, secret: str) -> Generator[None]:
    """The agent and the commands have these in their environment, as a unit file or a shell gives them."""
    bench.words.add(secret)
    with bench.agent(
        AWS_ACCESS_KEY_ID=key, AWS_SECRET_ACCESS_KEY=secret, AWS_EC2_METADATA_DISABLED="true", AWS_MAX_ATTEMPTS="1"
    ):
        yield


def _location(server: S3Server, bucket: str | None = None, port: int | None = None) -> str:
    """A location without a profile: the credentials are the environment's."""
    return server.location(bucket, port=port).partition("&profile=")[0]


def _name() -> str:
    return f"s3-{secrets.token_hex(3)}"


def _keys(server: S3Server, bucket: str) -> set[str]:
    client = server.client()
    try:
        return {found["Key"] for found in client.list_objects_v2(Bucket=bucket).get("Contents", [])}
    finally:
        client.close()


@pytest.mark.slow
@pytest.mark.parametrize("s3_server", ["seaweedfs", "rclone_s3"], indirect=True)
def test_the_life_of_a_backup(bench: Bench, s3_server: S3Server) -> None:
    bucket, name = s3_server.create_bucket(), _name()
    with _credentials(bench, s3_server.access_key, s3_server.secret_key):
        added = bench.ok("repo", "add", name, _location(s3_server, bucket))
        assert added["location"] == _location(s3_server, bucket) and not added["is_default"]
        empty = _keys(s3_server, bucket)

        job = bench.ok("backup", "shop", "--repo", name, "--wait")
        assert (job["status"], job["rows_count"], job["repository_name"]) == ("completed", ORDERS + 100, name)
        assert job["storage_bucket"] == added["location"]
        stored = _keys(s3_server, bucket)
        assert f"repo/{job['storage_path']}" in stored and len(stored) == len(empty) + job["files_count"]

        tables = bench.ok("job", "show", job["id"], "--tables")["tables"]
        assert {table["name"]: table["rows"] for table in tables} == {
            "public.orders": ORDERS,
            "public.customers": 100,
        }
        bench.ok("verify", job["id"], "--files")

        restored = bench.ok("restore", job["id"], "--into-database", "bench_from_s3", "--confirm", "--wait")
        assert restored["rows_restored"] == ORDERS + 100 and restored["metadata"]["compare"]["identical"] is True
        bench.server.drop_database("bench_from_s3")

        # a restore points at it: the row stays, the files go
        bench.ok("job", "delete", job["id"], "--confirm")
        assert _keys(s3_server, bucket) == empty
        (row,) = bench.catalog(f"SELECT deleted_at FROM tui_backup.backup_jobs WHERE id = '{job['id']}'")
        assert row["deleted_at"] is not None


def test_wrong_credentials(bench: Bench, seaweedfs: S3Server) -> None:
    location = _location(seaweedfs)
    bench.words.add(seaweedfs.secret_key)
    for env in (
        {"AWS_ACCESS_KEY_ID": seaweedfs.access_key, "AWS_SECRET_ACCESS_KEY": bench.secret()},
        {"AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": seaweedfs.secret_key},
        {"AWS_EC2_METADATA_DISABLED": "true"},
    ):
        failure = bench.fails(1, "repository_denied", "repo", "add", _name(), location, **env)
        assert location in failure.message
        assert "credentials" in failure.hint or "AWS_ACCESS_KEY_ID" in failure.hint
    assert _keys(seaweedfs, location.split("/")[2]) == set()


@pytest.mark.slow
def test_an_agent_with_wrong_credentials_or_none(bench: Bench, seaweedfs: S3Server) -> None:
    """Whoever added the repository had good ones; the agent's environment is another one."""
    name = _name()
    bench.words.add(seaweedfs.secret_key)
    good = dict(zip(CREDENTIALS, (seaweedfs.access_key, seaweedfs.secret_key), strict=True))
    bench.ok("repo", "add", name, _location(seaweedfs), **good)
    with _credentials(bench, seaweedfs.access_key, bench.secret()):
        failed = bench.failed_backup("repository_denied", "shop", "--repo", name)
        assert "credentials" in failed.hint
    with bench.agent(AWS_EC2_METADATA_DISABLED="true"):
        failed = bench.failed_backup("repository_denied", "shop", "--repo", name)
        assert "AWS_ACCESS_KEY_ID" in failed.hint and "agent" in failed.hint


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("s3://key:secret@bucket/x", "AWS_"),
        ("s3://bucket/x?secret_access_key=abc", "AWS_"),
        ("s3://bucket/x?endpoint=http://key:secret@host", "AWS_"),
        ("s3://UP_/x", "s3://bucket"),
        ("s3://bucket/../x", "letters"),
        ("gs://bucket/x", "s3://bucket"),
    ],
)
@pytest.mark.slow
def test_a_location_that_cannot_be(bench: Bench, wrong: str, said: str) -> None:
    failure = bench.fails(2, "invalid_value", "repo", "add", _name(), wrong)
    assert said in failure.hint and "=abc" not in failure.message and "key:" not in failure.message


@pytest.mark.slow
def test_a_bucket_that_is_not_there(bench: Bench, s3_server: S3Server) -> None:
    bucket, name = s3_server.create_bucket(), _name()
    location = _location(s3_server, bucket)
    with _credentials(bench, s3_server.access_key, s3_server.secret_key):
        missing = location.replace(bucket, "no-such-bucket")
        failure = bench.fails(1, "repository_unavailable", "repo", "add", name, missing)
        assert "bucket first" in failure.hint
        bench.ok("repo", "add", name, location)
        client = s3_server.client()
        try:
            for key in _keys(s3_server, bucket):
                client.delete_object(Bucket=bucket, Key=key)
            # an empty bucket in its place is no repository
            failed = bench.failed_backup("repository_unavailable", "shop", "--repo", name)
            assert "repo add" in failed.hint and _keys(s3_server, bucket) == set()
            client.delete_bucket(Bucket=bucket)
        finally:
            client.close()
        failed = bench.failed_backup("repository_unavailable", "shop", "--repo", name)
        assert "bucket first" in failed.hint


@pytest.mark.slow
def test_an_endpoint_that_never_answers(bench: Bench, seaweedfs: S3Server) -> None:
    """Somebody waits for the answer of `repo add`: it comes within a minute."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        mute_port = mute.getsockname()[1]
        with _credentials(bench, seaweedfs.access_key, seaweedfs.secret_key):
            location = _location(seaweedfs, "any-bucket", port=mute_port)
            began = time.monotonic()
            failure = bench.fails(1, "repository_unavailable", "repo", "add", _name(), location)
            assert "endpoint up" in failure.hint and time.monotonic() - began < 60


@pytest.mark.slow
def test_an_endpoint_that_is_down_and_back(bench: Bench, seaweedfs: S3Server) -> None:
    bucket, name = seaweedfs.create_bucket(), _name()
    proxy = FaultProxy(seaweedfs.port)
    try:
        with _credentials(bench, seaweedfs.access_key, seaweedfs.secret_key):
            bench.ok("repo", "add", name, _location(seaweedfs, bucket, port=proxy.port))
            before = _keys(seaweedfs, bucket)
            proxy.fault = Fault(cut_upload_after=100_000)
            proxy.cut_all()
            failed = bench.failed_backup("repository_unavailable", "shop", "--repo", name)
            assert "endpoint up" in failed.hint
            proxy.fault = None
            proxy.cut_all()
            # what was uploaded in the meantime is no backup and is taken away by the next one
            job = bench.ok("backup", "shop", "--repo", name, "--wait")
            bench.ok("verify", job["id"], "--files")
            assert len(_keys(seaweedfs, bucket)) >= len(before) + job["files_count"]
    finally:
        proxy.close()


@pytest.mark.slow
def test_a_public_bucket(bench: Bench, seaweedfs: S3Server) -> None:
    """Refused when it is added, and refused when it became public later."""
    bucket, name = seaweedfs.create_bucket(), _name()
    location = _location(seaweedfs, bucket)
    everybody = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{bucket}/*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [everybody]})
    client = seaweedfs.client()
    try:
        with _credentials(bench, seaweedfs.access_key, seaweedfs.secret_key):
            bench.ok("repo", "add", name, location)
            stored = _keys(seaweedfs, bucket)
            client.put_bucket_policy(Bucket=bucket, Policy=policy)
            failure = bench.fails(3, "repository_public", "repo", "add", _name(), location)
            assert "block public access" in failure.hint
            bench.failed_backup("repository_public", "shop", "--repo", name)
            assert _keys(seaweedfs, bucket) == stored
    finally:
        client.close()


@pytest.mark.slow
def test_a_profile_that_may_only_read(bench: Bench, seaweedfs: S3Server) -> None:
    """The credentials are a profile's in the shared file; the location names it and nothing more."""
    bucket, name = seaweedfs.create_bucket(), _name()
    profiles = {key: os.environ[key] for key in PROFILES}
    with bench.agent(**profiles):
        bench.ok("repo", "add", name, seaweedfs.location(bucket))
        job = bench.ok("backup", "shop", "--table", "public.customers", "--repo", name, "--wait")
        bench.ok("verify", job["id"], "--files")
        reader = seaweedfs.location(bucket, profile=READ_ONLY_PROFILE)
        failure = bench.fails(1, "repository_denied", "repo", "add", _name(), reader)
        assert "credentials" in failure.hint
        none = seaweedfs.location(bucket, profile="no-such-profile")
        assert "profile" in bench.fails(1, "repository_denied", "repo", "add", _name(), none).hint
