"""A server that lets anybody in and says that it is of an old version; it knows no query."""

from __future__ import annotations

import socket
import struct
import threading
from types import TracebackType
from typing import Self

_SSL_REQUEST = 80877103
_GSS_REQUEST = 80877104


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!I", len(body) + 4) + body


def _parameter(name: str, value: str) -> bytes:
    return _message(b"S", name.encode() + b"\0" + value.encode() + b"\0")


class FakePostgres:
    """Answers the start of a session as PostgreSQL of ``version`` does, and every query by an error.

    Args:
        version: as in server_version.
    """

    def __init__(self, version: str) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0.2)
        self.port: int = self._listener.getsockname()[1]
        greeting = _message(b"R", struct.pack("!I", 0))
        for name, value in (
            ("server_version", version),
            ("server_encoding", "UTF8"),
            ("client_encoding", "UTF8"),
            ("standard_conforming_strings", "on"),
            ("DateStyle", "ISO, MDY"),
        ):
            greeting += _parameter(name, value)
        self._greeting = greeting + _message(b"K", struct.pack("!II", 1, 1)) + _message(b"Z", b"I")
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join(5)
        self._listener.close()

    def _accept(self) -> None:
        while not self._over.is_set():
            try:
                line, _ = self._listener.accept()
            except TimeoutError:
                continue
            with line:
                line.settimeout(5)
                self._serve(line)

    def _serve(self, line: socket.socket) -> None:
        with line.makefile("rwb") as stream:
            while len(head := stream.read(8)) == 8:
                length, code = struct.unpack("!II", head)
                stream.read(length - 8)
                if code not in (_SSL_REQUEST, _GSS_REQUEST):
                    break
                stream.write(b"N")
                stream.flush()
            stream.write(self._greeting)
            stream.flush()
            error = b"SFATAL\0VFATAL\0C0A000\0Mthis server knows no query\0\0"
            if stream.read(1) not in (b"", b"X"):
                stream.write(_message(b"E", error))
