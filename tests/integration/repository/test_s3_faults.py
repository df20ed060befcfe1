"""Networks and servers that fail: every wait ends, nothing half written counts."""

from __future__ import annotations

import secrets
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.integration.repository.fault_proxy import Fault, FaultProxy
from tests.integration.repository.test_s3_store import LIMIT, QUICK, store_at
from tests.s3_servers import S3Server
from tui_backup.errors import StoreError, StoreUnavailableError
from tui_backup.repository.s3 import S3Store
from tui_backup.repository.s3_client import S3Limits


@pytest.fixture
def proxy(s3_server: S3Server) -> Iterator[FaultProxy]:
    proxy = FaultProxy(s3_server.port)
    yield proxy
    proxy.close()


@pytest.fixture
def bucket(s3_server: S3Server) -> str:
    return s3_server.create_bucket()


@pytest.fixture
def direct(s3_server: S3Server, bucket: str) -> Iterator[S3Store]:
    store = store_at(s3_server.location(bucket))
    yield store
    store.close()


def through(server: S3Server, bucket: str, proxy: FaultProxy, limits: S3Limits = QUICK) -> S3Store:
    return store_at(server.location(bucket, port=proxy.port), limits)


@pytest.mark.parametrize("cut_after", [0, 300, 5_000, 200_000])
def test_cut_while_sending(
    s3_server: S3Server, bucket: str, proxy: FaultProxy, direct: S3Store, cut_after: int
) -> None:
    store = through(s3_server, bucket, proxy)
    proxy.fault = Fault(cut_upload_after=cut_after)
    with pytest.raises(StoreUnavailableError) as failure:
        store.put("a/b", secrets.token_bytes(400_000))
    assert failure.value.retryable
    assert direct.stat("a/b") is None
    assert list(direct.list()) == []


@pytest.mark.parametrize("cut_after", [0, 60, 2_000, 200_000])
def test_cut_while_reading(
    s3_server: S3Server, bucket: str, proxy: FaultProxy, direct: S3Store, cut_after: int
) -> None:
    direct.put("a", secrets.token_bytes(400_000))
    store = through(s3_server, bucket, proxy)
    proxy.fault = Fault(cut_answer_after=cut_after)
    uses = [lambda: store.get("a"), lambda: store.get_range("a", 0, 400_000)]
    if cut_after < 100:
        uses += [lambda: store.stat("a"), lambda: list(store.list())]
    for use in uses:
        proxy.cut_all()
        with pytest.raises(StoreUnavailableError):
            use()


def test_a_cut_multipart_upload(s3_server: S3Server, bucket: str, proxy: FaultProxy, direct: S3Store) -> None:
    store = through(s3_server, bucket, proxy)
    proxy.fault = Fault(cut_upload_after=7_000_000)
    with pytest.raises(StoreUnavailableError):
        store.put("big", secrets.token_bytes(LIMIT))
    assert direct.stat("big") is None


def test_a_short_failure_is_tried_again(s3_server: S3Server, bucket: str, proxy: FaultProxy, direct: S3Store) -> None:
    store = through(s3_server, bucket, proxy, S3Limits(connect_timeout_s=2, read_timeout_s=5, attempts=4))
    proxy.fault = Fault(cut_upload_after=100, only_connections=2)
    data = secrets.token_bytes(200_000)
    assert store.put("a", data).size_bytes == 200_000
    assert direct.get("a") == data
    assert proxy.connections >= 3


def test_an_answer_lost_after_the_put(s3_server: S3Server, bucket: str, proxy: FaultProxy, direct: S3Store) -> None:
    """The server stored it, the client never heard: the second attempt meets its own object."""
    store = through(s3_server, bucket, proxy, S3Limits(connect_timeout_s=2, read_timeout_s=5, attempts=4))
    data = secrets.token_bytes(50_000)
    # the first connection carries HEAD (answered) and then PUT, whose answer is cut
    proxy.fault = Fault(cut_answer_after=450, only_connections=1)
    store.put("a", data)
    assert direct.get("a") == data


@pytest.mark.timeout(60)
def test_a_server_that_takes_and_never_answers(s3_server: S3Server, bucket: str, proxy: FaultProxy) -> None:
    store = through(s3_server, bucket, proxy, S3Limits(connect_timeout_s=1, read_timeout_s=0.5, attempts=2))
    proxy.fault = Fault(mute=True)
    for use in (store.check, lambda: store.put("a", b"1"), lambda: store.get("a"), lambda: list(store.list())):
        began = time.monotonic()
        with pytest.raises(StoreUnavailableError):
            use()
        assert time.monotonic() - began < 10


@pytest.mark.timeout(60)
def test_a_drip_of_bytes_ends(s3_server: S3Server, bucket: str, proxy: FaultProxy, direct: S3Store) -> None:
    direct.put("a", secrets.token_bytes(2_000_000))
    limits = S3Limits(connect_timeout_s=1, read_timeout_s=1, attempts=1, slowest_bytes_per_second=10_000_000)
    store = through(s3_server, bucket, proxy, limits)
    proxy.fault = Fault(bytes_per_second=300_000)
    began = time.monotonic()
    with pytest.raises(StoreUnavailableError, match="too slowly"):
        store.get("a")
    assert time.monotonic() - began < 8


@pytest.mark.timeout(60)
@pytest.mark.parametrize("s3_server", ["seaweedfs"], indirect=True)
def test_a_slow_line_is_no_dead_one(s3_server: S3Server, bucket: str, proxy: FaultProxy, direct: S3Store) -> None:
    """Sending takes longer than the connect time-out, which urllib3 puts on the socket while it sends."""
    limits = S3Limits(connect_timeout_s=2, read_timeout_s=20, attempts=1)
    store = store_at(s3_server.location(bucket, port=proxy.port), limits, max_object_bytes=40_000_000)
    proxy.fault = Fault(upload_bytes_per_second=4_000_000)
    data = secrets.token_bytes(16_000_000)
    began = time.monotonic()
    assert store.put("slow", data).size_bytes == len(data)
    assert time.monotonic() - began > 3
    assert direct.get("slow") == data


def test_nobody_listens(s3_server: S3Server, bucket: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    store = store_at(s3_server.location(bucket, port=port))
    with pytest.raises(StoreUnavailableError):
        store.check()


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (503, "SlowDown", "StoreUnavailableError"),
        (500, "InternalError", "StoreUnavailableError"),
        (507, "InsufficientStorage", "StoreFullError"),
        (403, "AccessDenied", "StoreDeniedError"),
        (418, "Teapot", "StoreError"),
    ],
)
def test_what_an_endpoint_answers_has_a_name(s3_profiles: object, status: int, code: str, kind: str) -> None:
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>secret-message</Message></Error>".encode()
    head = f"HTTP/1.1 {status} X\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\n\r\n"
    with _Answering(head.encode() + body) as port, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "a")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "b")
        store = store_at(f"s3://bucket/p?endpoint=http://127.0.0.1:{port}")
        with pytest.raises(StoreError) as failure:
            store.get("a")
        assert type(failure.value).__name__ == kind
        assert failure.value.details["code"] == code


def test_a_page_of_something_else(s3_profiles: object) -> None:
    body = b"<html><body>Log in to the guest network"
    head = f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with _Answering(head + body) as port, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "a")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "b")
        with pytest.raises(StoreUnavailableError):
            list(store_at(f"s3://bucket/p?endpoint=http://127.0.0.1:{port}").list())


def test_no_http_at_all(s3_profiles: object) -> None:
    with _Answering(b"SSH-2.0-OpenSSH_9.2\r\n") as port, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "a")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "b")
        with pytest.raises(StoreUnavailableError):
            store_at(f"s3://bucket/p?endpoint=http://127.0.0.1:{port}").check()


class _Answering:
    """A server that says the same to everybody."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0.2)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> int:
        self._thread.start()
        return self._listener.getsockname()[1]

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(5)
        self._listener.close()

    def _serve(self) -> None:
        while not self._over.is_set():
            try:
                client, _ = self._listener.accept()
            except TimeoutError:
                continue
            with client:
                client.settimeout(2)
                client.recv(65536)
                client.sendall(self._answer)
