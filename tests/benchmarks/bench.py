"""One server with the data of the wanted measures, and the things that are run in turn on it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import psycopg

from tests.benchmarks.data import CHANGES, WORKS
from tests.benchmarks.measure import Result, Row, Run, clear, pairs, timed
from tests.fetch_postgres import find
from tests.servers import TestServer


class Bench:
    """One server with the data of the wanted measures."""

    def __init__(self, folder: Path, scale: float, count: int) -> None:
        binaries = find(18)
        if binaries is None:
            sys.exit("PostgreSQL 18 is missing: python -m tests.fetch_postgres 18")
        settings = {"shared_buffers": "1GB", "max_wal_size": "8GB", "checkpoint_timeout": "30min"}
        self.server = TestServer(binaries, fsync=True, settings=settings)
        self.folder, self.scale, self.count = folder, scale, count
        self.tools = binaries.bin_dir
        self.made: set[str] = set()
        self.env = {"PGPASSWORD": self.server.password}

    def database(self, work: str) -> str:
        """Make the data once."""
        name = work.lower()
        if work not in self.made:
            print(f"making {work} …", file=sys.stderr, flush=True)
            self.server.create_database(name)
            with psycopg.connect(self.server.dsn(name)) as conn:
                WORKS[work](conn, self.scale)
            with psycopg.connect(self.server.dsn(name), autocommit=True) as conn:
                conn.execute("VACUUM (ANALYZE, FREEZE)")
                conn.execute("CHECKPOINT")
            self.made.add(work)
        return name

    def conninfo(self, name: str) -> str:
        """Without a password: that comes by the environment, for both sides."""
        return f"host={self.server.host} port={self.server.port} user={self.server.superuser} dbname={name}"

    def ours(
        self, what: str, name: str, *rest: str, env: Mapping[str, str] | None = None, repository: str | None = None
    ) -> Run:
        """One run of ours."""
        place = repository or str(self.folder / "ours")
        argv = [sys.executable, "-m", "tests.benchmarks.ours", what, self.conninfo(name), place]
        return timed([*argv, str(self.tools), *rest], {**self.env, **(env or {})}, says_seconds=True)

    def our_full(self, name: str) -> Run:
        """Into an empty repository."""
        clear(self.folder / "ours")
        return self.ours("backup", name)

    def dump(self, name: str) -> Run:
        """pg_dump into an empty folder."""
        clear(self.folder / "dump")
        argv = [self.tools / "pg_dump", "-Fd", "-j2", "--compress=zstd:1", "-f", self.folder / "dump"]
        return timed([*map(str, argv), "-d", self.conninfo(name)], self.env)

    def full(self, measure: str, work: str) -> list[Row]:
        """B1 and B2."""
        name = self.database(work)
        mine, theirs = pairs(self.count, lambda: self.our_full(name), lambda: self.dump(name))
        sizes = f"stored {size(self.folder / 'ours') / 1e6:.0f} MB, pg_dump {size(self.folder / 'dump') / 1e6:.0f} MB"
        reach = "<= 0.95" if work == "W1" else "<= 0.80 on 2 cores"
        return [Result(f"{measure} full backup {work}", mine, theirs, sizes, reach).row()]

    def incremental(self, measure: str, changes: Sequence[str]) -> list[Row]:
        """B3 and B3r: a full backup as parent, a change, then incrementals upon that parent in turn with pg_dump."""
        name, base = self.database("W2"), self.folder / "base"
        rows: list[Row] = []
        for change in changes:
            what = CHANGES[change]
            self.our_full(name)
            clear(base)
            (self.folder / "ours").rename(base)
            with psycopg.connect(self.server.dsn(name), autocommit=True) as conn:
                for statement in what.statements:
                    conn.execute(statement.encode())
                conn.execute("CHECKPOINT")
            mine, theirs = pairs(self.count, lambda: self._our_incremental(name, base), lambda: self.dump(name))
            stored = size(self.folder / "ours") - size(base)
            note = f"stored {stored / 1e6:.1f} MB more, pg_dump {size(self.folder / 'dump') / 1e6:.0f} MB"
            rows.append(Result(f"{measure} incremental, {change}", mine, theirs, note, what.reach).row())
        return rows

    def _our_incremental(self, name: str, base: Path) -> Run:
        clear(self.folder / "ours")
        # objects are never changed once they are there, so links do
        shutil.copytree(base, self.folder / "ours", copy_function=lambda a, b: Path(b).hardlink_to(a))
        return self.ours("incremental", name)

    def restore(self, measure: str, work: str) -> list[Row]:
        """B4: from a full backup of ours, and from pg_dump's folder with pg_restore -j2."""
        name = self.database(work)
        self.our_full(name)
        self.dump(name)
        what = "restore+compare" if measure == "B4-compared" else "restore"
        mine, theirs = pairs(self.count, lambda: self._our_restore(what, name), lambda: self._pg_restore(name))
        reach = {"B4": "<= 0.90", "B4-giant": "<= 0.75"}.get(measure, "report")
        return [Result(f"{measure} {what} {work}", mine, theirs, reach=reach).row()]

    def verify(self, measure: str, work: str) -> list[Row]:
        """B8: every byte read back, against sha256sum of the same files."""
        name = self.database(work)
        self.our_full(name)
        files = [str(path) for path in (self.folder / "ours").rglob("*") if path.is_file()]
        mine, theirs = pairs(self.count, lambda: self.ours("verify", name), lambda: timed(["sha256sum", *files], {}))
        return [Result(f"{measure} verify {work}", mine, theirs, reach="<= 1.5").row()]

    def memory(self, measure: str, work: str) -> list[Row]:
        """B6: peak memory of the working process at this scale; run it at two scales to see whether it is flat."""
        name = self.database(work)
        backup, dump = self.our_full(name), self.dump(name)
        restore = self._our_restore("restore+compare", name)
        return [
            {
                "measure": f"{measure} peak memory {work}, scale {self.scale:g}",
                "backup_mb": round(backup.peak_bytes / 1e6),
                "restore_mb": round(restore.peak_bytes / 1e6),
                "pg_dump_mb": round(dump.peak_bytes / 1e6),
                "reach": "flat; <= 150",
            }
        ]

    def _our_restore(self, what: str, name: str) -> Run:
        run = self.ours(what, name, f"{name}_ours")
        self._drop(f"{name}_ours")
        return run

    def _pg_restore(self, name: str) -> Run:
        self.server.create_database(f"{name}_peer")
        argv = [str(self.tools / "pg_restore"), "-j2", "-d", self.conninfo(f"{name}_peer"), str(self.folder / "dump")]
        run = timed(argv, self.env)
        self._drop(f"{name}_peer")
        return run

    def _drop(self, name: str) -> None:
        self.server.drop_database(name)
        self.server.execute("CHECKPOINT")


def size(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(entry.stat().st_size for entry in folder.rglob("*") if entry.is_file())
