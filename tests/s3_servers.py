"""Real S3 servers for tests: seaweedfs (a good one) and rclone (a poor one), started once a session on first use.

Both are found beside the running Python, where their wheels put them. Credentials reach the product as a user gives
them: by a profile in the shared credentials file, which ``S3Server.location()`` names.
"""

from __future__ import annotations

import functools
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

READ_ONLY_PROFILE = "seaweedfs-reader"
_START_S = 60.0
# seaweedfs ignores SIGTERM
_WATCHDOG = '"$@" </dev/null & read -r _; kill -9 $!; wait; rm -rf -- "$0"'


@dataclass(frozen=True)
class S3Server:
    """A running server. ``name`` is also the profile that may do everything."""

    name: str
    endpoint: str
    port: int
    access_key: str
    secret_key: str

    def client(self) -> Any:
        """A boto3 client with all rights, for a test's own look at the server."""
        import boto3
        from botocore.config import Config

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            config=Config(
                connect_timeout=5,
                read_timeout=20,
                s3={"addressing_style": "path"},
                request_checksum_calculation="when_required",
                retries={"total_max_attempts": 1},
            ),
        )

    def create_bucket(self) -> str:
        """A new empty bucket; returns its name."""
        bucket = f"test-{secrets.token_hex(6)}"
        _shared_client(self).create_bucket(Bucket=bucket)
        return bucket

    def location(
        self, bucket: str | None = None, prefix: str = "repo", *, profile: str | None = None, port: int | None = None
    ) -> str:
        """A repository location; a new bucket when none is named, another port to go through a proxy."""
        bucket = bucket or self.create_bucket()
        endpoint = self.endpoint if port is None else f"http://127.0.0.1:{port}"
        return f"s3://{bucket}/{prefix}?endpoint={endpoint}&profile={profile or self.name}"


@pytest.fixture(scope="session")
def s3_profiles() -> Iterator[Path]:
    """The shared credentials file of this session; boto3 finds it by AWS_SHARED_CREDENTIALS_FILE."""
    folder = Path(tempfile.mkdtemp(prefix="tui-backup-s3-"))
    settings = {
        "AWS_SHARED_CREDENTIALS_FILE": str(folder / "credentials"),
        "AWS_CONFIG_FILE": str(folder / "config"),
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    before = {name: os.environ.get(name) for name in settings}
    (folder / "credentials").touch(mode=0o600)
    (folder / "config").touch(mode=0o600)
    os.environ.update(settings)
    try:
        yield folder / "credentials"
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def seaweedfs(s3_profiles: Path) -> Iterator[S3Server]:
    """Checks checksums, honours conditional puts, has identities (also a read-only one)."""
    binary = _binary("weed")
    folder = Path(tempfile.mkdtemp(prefix="tui-backup-weed-"))
    ports = dict(zip(("master", "volume", "filer", "s3"), _free_ports(4, also_above=10000), strict=True))
    server = S3Server("seaweedfs", f"http://127.0.0.1:{ports['s3']}", ports["s3"], "full", secrets.token_hex(16))
    reader_secret = secrets.token_hex(16)
    (folder / "s3.json").write_text(json.dumps(_identities(server.secret_key, reader_secret)))
    # a bucket takes seven volumes at once by default, and there are only so many
    (folder / "master.toml").write_text("[master.volume_growth]\ncopy_1 = 1\n")
    (folder / "data").mkdir()
    command = [binary, f"-logdir={folder}", "server", f"-dir={folder / 'data'}", "-ip=127.0.0.1"]
    command += ["-ip.bind=127.0.0.1", f"-master.port={ports['master']}", f"-volume.port={ports['volume']}"]
    command += ["-master.volumeSizeLimitMB=128", "-volume.max=2000", "-filer", f"-filer.port={ports['filer']}"]
    command += [
        "-s3",
        f"-s3.port={ports['s3']}",
        "-s3.port.iceberg=0",
        # its fixed default port would let only one of two test processes start
        "-s3.port.lance=0",
        "-s3.autoCreateBucket=false",
        f"-s3.config={folder / 's3.json'}",
    ]
    _add_profile(s3_profiles, server.name, server.access_key, server.secret_key)
    _add_profile(s3_profiles, READ_ONLY_PROFILE, "reader", reader_secret)
    yield from _running(server, command, folder)


@pytest.fixture(scope="session")
def rclone_s3(s3_profiles: Path) -> Iterator[S3Server]:
    """Overwrites in spite of a condition, checks no SHA-256, keeps no times finer than it must."""
    binary = _binary("rclone")
    folder = Path(tempfile.mkdtemp(prefix="tui-backup-rclone-"))
    (folder / "data").mkdir()
    [port] = _free_ports(1)
    server = S3Server("rclone", f"http://127.0.0.1:{port}", port, "full", secrets.token_hex(16))
    command = [binary, "serve", "s3", f"--addr=127.0.0.1:{port}", f"--config={folder / 'none.conf'}"]
    command += [f"--auth-key={server.access_key},{server.secret_key}", str(folder / "data")]
    _add_profile(s3_profiles, server.name, server.access_key, server.secret_key)
    yield from _running(server, command, folder)


@pytest.fixture(params=["seaweedfs", "rclone_s3"])
def s3_server(request: pytest.FixtureRequest) -> S3Server:
    """Each of the servers in turn."""
    return request.getfixturevalue(request.param)


@functools.cache
def _shared_client(server: S3Server) -> Any:
    return server.client()


def _identities(full_secret: str, reader_secret: str) -> dict[str, Any]:
    def identity(name: str, secret: str, actions: list[str]) -> dict[str, Any]:
        return {"name": name, "credentials": [{"accessKey": name, "secretKey": secret}], "actions": actions}

    everything = ["Admin", "Read", "Write", "List", "Tagging"]
    return {
        "identities": [identity("full", full_secret, everything), identity("reader", reader_secret, ["Read", "List"])]
    }


def _binary(name: str) -> str:
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        message = f"{name} is not on this machine: pip install -e '.[test]'"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return found


def _free_ports(count: int, *, also_above: int | None = None) -> list[int]:
    """Ports that are free now, all held until the last is found; ``also_above``: the port plus this is free too.

    All lie below 32768, where systems begin to give ports to outgoing connections.
    """
    lowest, highest = 20000, 32000 - (also_above or 0)
    held: list[socket.socket] = []
    ports: list[int] = []
    try:
        while len(ports) < count:
            port = lowest + secrets.randbelow(highest - lowest)
            wanted = [port] if also_above is None else [port, port + also_above]
            taken: list[socket.socket] = []
            try:
                for one in wanted:
                    listener = socket.socket()
                    taken.append(listener)
                    listener.bind(("127.0.0.1", one))
            except OSError:
                for listener in taken:
                    listener.close()
                continue
            held += taken
            ports.append(port)
    finally:
        for listener in held:
            listener.close()
    return ports


def _add_profile(file: Path, name: str, key: str, secret: str) -> None:
    with file.open("a") as out:
        out.write(f"[{name}]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n")


def _running(server: S3Server, command: list[str], folder: Path) -> Iterator[S3Server]:
    log = (folder / "output.log").open("wb")
    guarded = ["sh", "-c", _WATCHDOG, str(folder), *command]
    process = subprocess.Popen(
        guarded, stdin=subprocess.PIPE, stdout=log, stderr=log, cwd=folder, start_new_session=True
    )
    try:
        _wait_for_first_put(server, process, folder / "output.log")
        yield server
    finally:
        _shared_client(server).close()
        _end(process)
        log.close()
        shutil.rmtree(folder, ignore_errors=True)


def _wait_for_first_put(server: S3Server, process: subprocess.Popen[bytes], log: Path) -> None:
    """A listening port proves little: seaweedfs refuses to store for some seconds more."""
    from botocore.exceptions import BotoCoreError, ClientError

    client = server.client()
    deadline = time.monotonic() + _START_S
    try:
        while True:
            try:
                client.create_bucket(Bucket="started")
                client.put_object(Bucket="started", Key="a", Body=b"a")
            except (BotoCoreError, ClientError) as error:
                if isinstance(error, ClientError) and error.response["Error"]["Code"] == "BucketAlreadyExists":
                    client.put_object(Bucket="started", Key="a", Body=b"a")
                    return
                if process.poll() is not None or time.monotonic() > deadline:
                    pytest.fail(f"{server.name} does not start: {error}\n{log.read_text(errors='replace')[-3000:]}")
                time.sleep(0.25)
            else:
                return
    finally:
        client.close()


def _end(process: subprocess.Popen[bytes]) -> None:
    """Let the watchdog end the server; it does the same when pytest itself is killed."""
    assert process.stdin is not None
    process.stdin.close()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)
