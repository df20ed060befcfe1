"""A TCP proxy between the product and a server, that fails as networks do."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from dataclasses import dataclass


@dataclass
class Fault:
    """What goes wrong from now on.

    Args:
        cut_upload_after: bytes of a connection passed on to the server before it is reset.
        cut_answer_after: the same for bytes to the client.
        mute: take everything, answer nothing.
        bytes_per_second: of the answer, 0 for no limit.
        upload_bytes_per_second: of the request.
        only_connections: how many of the next connections are touched, None for all.
    """

    cut_upload_after: int | None = None
    cut_answer_after: int | None = None
    mute: bool = False
    bytes_per_second: int = 0
    upload_bytes_per_second: int = 0
    only_connections: int | None = None


class FaultProxy:
    """Listens on a port of its own until closed."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        # small, so that a slow line is felt by the sender and not hidden in the kernel's buffers
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 256 * 1024)
        self._listener.settimeout(0.2)
        self.port: int = self._listener.getsockname()[1]
        self.fault: Fault | None = None
        self.connections = 0
        self._open: list[socket.socket] = []
        self._closing = False
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def close(self) -> None:
        """End every connection and thread."""
        self._closing = True
        self._listener.close()
        self.cut_all()
        for thread in self._threads:
            thread.join(10)

    def cut_all(self) -> None:
        """Reset what is connected now, so that the next request meets the fault from its start."""
        for one in self._open:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self._open.clear()

    def _start(self, target: object, *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._closing:
            try:
                client, _ = self._listener.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            self.connections += 1
            fault = self.fault
            if fault and fault.only_connections is not None:
                if fault.only_connections == 0:
                    fault = None
                else:
                    fault.only_connections -= 1
            try:
                server = socket.create_connection(("127.0.0.1", self._target), timeout=10)
            except OSError:
                # the server is down; it may come back
                client.close()
                continue
            server.settimeout(None)
            self._open += [client, server]
            up = (fault.cut_upload_after, fault.upload_bytes_per_second, False) if fault else (None, 0, False)
            down = (fault.cut_answer_after, fault.bytes_per_second, fault.mute) if fault else (None, 0, False)
            self._start(self._pass_on, client, server, *up)
            self._start(self._pass_on, server, client, *down)

    def _pass_on(
        self, source: socket.socket, target: socket.socket, cut_after: int | None, rate: int, mute: bool
    ) -> None:
        passed = 0
        block = min(65536, max(1, rate // 10)) if rate else 65536
        try:
            while data := source.recv(block):
                if mute:
                    continue
                if cut_after is not None and passed + len(data) > cut_after:
                    target.sendall(data[: cut_after - passed])
                    break
                target.sendall(data)
                passed += len(data)
                if rate:
                    time.sleep(len(data) / rate)
        except OSError:
            pass
        finally:
            for one in (source, target):
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
