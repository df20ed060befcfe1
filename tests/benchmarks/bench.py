"""Servers with the data of the wanted measures, and the things that are run in turn on them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import psycopg

from tests.benchmarks.data import WORKS
from tests.benchmarks.measure import Run, clear, timed
from tests.benchmarks.processes import allowed_cores, pin
from tests.fetch_postgres import find
from tests.servers import TestServer
from tui_backup.embedded.account import Account

_SETTINGS = {"shared_buffers": "1GB", "max_wal_size": "8GB", "checkpoint_timeout": "30min"}


class Bench:
    """One server with the data of the wanted measures; it is not started yet.

    Args:
        folder: for what is stored; made.
        scale: 1 = about 1 GB of heap in each work.
        count: pairs.
        major: version of the server.
        settings: of the server, besides those that every server here has.

    Raises:
        RuntimeError: that version is not on this machine.
    """

    def __init__(
        self, folder: Path, scale: float, count: int, *, major: int = 18, settings: Mapping[str, str] | None = None
    ) -> None:
        binaries = find(major)
        if binaries is None:
            raise RuntimeError(f"PostgreSQL {major} is missing: python -m tests.fetch_postgres {major}")
        folder.mkdir(mode=0o700, exist_ok=True)
        self.server = TestServer(binaries, fsync=True, settings={**_SETTINGS, **(settings or {})})
        self.folder, self.scale, self.count = folder, scale, count
        self.tools = binaries.bin_dir
        self.made: set[str] = set()
        self.env = {"PGPASSWORD": self.server.password}

    @property
    def postmaster(self) -> int | None:
        """Its process, when it runs."""
        running = self.server.server.status()
        return running.pid if running else None

    @property
    def jobs(self) -> int:
        """How many processes a peer may use: two, and on more cores as many as there are."""
        return max(2, len(allowed_cores()))

    def database(self, work: str, scale: float | None = None) -> str:
        """Make the data once."""
        scale = self.scale if scale is None else scale
        name = work.lower() if scale == self.scale else f"{work.lower()}_{scale:g}".replace(".", "_")
        if name not in self.made:
            print(f"making {work} at scale {scale:g} on PostgreSQL {self.server.major} …", file=sys.stderr, flush=True)
            self.server.drop_database(name)
            self.server.create_database(name)
            with psycopg.connect(self.server.dsn(name)) as conn:
                WORKS[work](conn, scale)
            with psycopg.connect(self.server.dsn(name), autocommit=True) as conn:
                conn.execute("VACUUM (ANALYZE, FREEZE)")
                conn.execute("CHECKPOINT")
            self.made.add(name)
        return name

    def conninfo(self, name: str) -> str:
        """Without a password: that comes by the environment, for both sides."""
        return f"host={self.server.host} port={self.server.port} user={self.server.superuser} dbname={name}"

    def timed(self, argv: Sequence[Path | str], *, account: Account | None = None) -> Run:
        """One run of a peer that works with the server."""
        return timed(list(map(str, argv)), self.env, server=self.postmaster, account=account)

    def ours(
        self, what: str, name: str, *rest: str, env: Mapping[str, str] | None = None, repository: str | None = None
    ) -> Run:
        """One run of ours."""
        place = repository or str(self.folder / "ours")
        argv = [sys.executable, "-m", "tests.benchmarks.ours", what, self.conninfo(name), place]
        everything = {**self.env, **(env or {})}
        return timed([*argv, str(self.tools), *rest], everything, says_seconds=True, server=self.postmaster)

    def our_full(self, name: str) -> Run:
        """Into an empty repository."""
        clear(self.folder / "ours")
        return self.ours("backup", name)

    @property
    def dump_name(self) -> str:
        """What the peer is called in the table."""
        return f"pg_dump -Fd -j{self.jobs} zstd:1"

    def dump(self, name: str) -> Run:
        """pg_dump into an empty folder."""
        clear(self.folder / "dump")
        argv = [self.tools / "pg_dump", "-Fd", f"-j{self.jobs}", "--compress=zstd:1", "-f", self.folder / "dump"]
        return self.timed([*argv, "-d", self.conninfo(name)])

    def drop(self, name: str) -> None:
        """Drop a database, and let no later run pay for it."""
        self.server.drop_database(name)
        self.server.execute("CHECKPOINT")

    def one(self, query: str, database: str = "postgres") -> Any:
        """The one value of a query."""
        return self.server.execute(query, database)[0][0]

    def close(self) -> None:
        """End the server and remove all that was stored."""
        self.server.close()
        clear(self.folder)


class Fleet:
    """The servers of one run of the harness, each started when the first measure asks for it."""

    def __init__(self, folder: Path, scale: float, count: int) -> None:
        self.folder, self.scale, self.count = folder, scale, count
        self._benches: dict[str, Bench] = {}

    def get(self, key: str, make: Callable[[Path], Bench] | None = None) -> Bench:
        """A running server, by what it is for; made by ``make``, else as all have it."""
        if key not in self._benches:
            place = self.folder / key
            bench = make(place) if make else Bench(place, self.scale, self.count)
            self._benches[key] = bench
            bench.server.start()
        return self._benches[key]

    @property
    def main(self) -> Bench:
        """The server of the measures that want nothing special."""
        return self.get("main")

    def pin(self, cores: Sequence[int]) -> None:
        """Let us, our servers and all that is started from now on use these cores only."""
        pin(cores, [bench.postmaster for bench in self._benches.values() if bench.postmaster is not None])

    def close(self) -> None:
        """End all servers."""
        for bench in self._benches.values():
            bench.close()
        self._benches.clear()
