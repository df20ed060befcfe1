"""A small TCP proxy that plays a bad network."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self


class Proxy:
    """Forwards 127.0.0.1:port to a server; can cut every line, or go silent, after so many bytes from the server.

    Args:
        port: the server's port.
        cut_after: bytes from the server, over all connections, after which every line is reset.
        silent_after: the same, but the lines stay open and carry nothing more.
    """

    def __init__(self, port: int, *, cut_after: int | None = None, silent_after: int | None = None) -> None:
        self._server = ("127.0.0.1", port)
        self._cut_after, self._silent_after = cut_after, silent_after
        self._passed = 0
        self._lock = threading.Lock()
        self._lines: list[socket.socket] = []
        self._is_closing = threading.Event()
        self.is_triggered = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_closing.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._drop_lines()
        for thread in self._threads:
            thread.join(5)

    def _accept(self) -> None:
        while not self._is_closing.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.is_triggered.is_set() and self._cut_after is not None:
                client.close()
                continue
            upstream = socket.create_connection(self._server)
            with self._lock:
                self._lines += [client, upstream]
            for source, target, counts in ((client, upstream, False), (upstream, client, True)):
                thread = threading.Thread(target=self._forward, args=(source, target, counts), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _forward(self, source: socket.socket, target: socket.socket, counts: bool) -> None:
        with suppress(OSError):
            while data := source.recv(16384):
                if counts and self._is_over(len(data)):
                    return
                if self._silent_after is not None and self.is_triggered.is_set():
                    return
                target.sendall(data)
        if not (self._silent_after is not None and self.is_triggered.is_set()):
            with suppress(OSError):
                target.shutdown(socket.SHUT_RDWR)

    def _is_over(self, count: int) -> bool:
        with self._lock:
            self._passed += count
            limit = self._cut_after if self._cut_after is not None else self._silent_after
            is_over = limit is not None and self._passed > limit
        if is_over:
            self.is_triggered.set()
            if self._cut_after is not None:
                self._drop_lines()
        return is_over

    def _drop_lines(self) -> None:
        with self._lock:
            lines, self._lines = self._lines, []
        for line in lines:
            with suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)
            line.close()
