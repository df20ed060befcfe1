"""``python -m tests.benchmarks [B1 …] [--scale 1] [--pairs 5] [--json F]``: ratios against PostgreSQL's own tools.

Starts its own server (PostgreSQL 18, fsync on), makes the data, runs ours and the peer in turn, prints one table. The
other measures of BENCHMARKS.md come with the issues that build what they measure.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
from pathlib import Path

import psycopg

from tests.benchmarks.data import WORKS
from tests.benchmarks.measure import Result, Run, clear, pairs, timed
from tests.fetch_postgres import find
from tests.servers import TestServer

MEASURES = {"B1": "W1", "B2": "W2", "B4": "W1", "B4-giant": "W2", "B4-compared": "W1"}


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

    def ours(self, what: str, name: str, *rest: str) -> Run:
        """One run of ours."""
        argv = [sys.executable, "-m", "tests.benchmarks.ours", what, self.conninfo(name), str(self.folder / "ours")]
        return timed([*argv, str(self.tools), *rest], self.env, says_seconds=True)

    def our_backup(self, name: str) -> Run:
        """Into an empty repository."""
        clear(self.folder / "ours")
        return self.ours("backup", name)

    def dump(self, name: str) -> Run:
        """pg_dump into an empty folder."""
        clear(self.folder / "dump")
        argv = [self.tools / "pg_dump", "-Fd", "-j2", "--compress=zstd:1", "-f", self.folder / "dump"]
        return timed([*map(str, argv), "-d", self.conninfo(name)], self.env)

    def backup(self, measure: str, work: str) -> Result:
        """B1 and B2."""
        name = self.database(work)
        mine, theirs = pairs(self.count, lambda: self.our_backup(name), lambda: self.dump(name))
        sizes = f"stored {_size(self.folder / 'ours') / 1e6:.0f} MB, pg_dump {_size(self.folder / 'dump') / 1e6:.0f} MB"
        return Result(f"{measure} full backup {work}", mine, theirs, sizes)

    def restore(self, measure: str, work: str) -> Result:
        """B4: from a full backup of ours, and from pg_dump's folder with pg_restore -j2."""
        name = self.database(work)
        self.our_backup(name)
        self.dump(name)
        what = "restore+compare" if measure == "B4-compared" else "restore"
        mine, theirs = pairs(self.count, lambda: self._our_restore(what, name), lambda: self._pg_restore(name))
        return Result(f"{measure} {what} {work}", mine, theirs)

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


def _size(folder: Path) -> int:
    return sum(entry.stat().st_size for entry in folder.rglob("*") if entry.is_file())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks")
    parser.add_argument("measures", nargs="*", metavar="MEASURE", help=", ".join(MEASURES))
    parser.add_argument("--scale", type=float, default=1.0, help="1 = about 1 GB of heap")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    wanted = given.measures or list(MEASURES)
    if unknown := set(wanted) - set(MEASURES):
        parser.error(f"no such measure: {', '.join(sorted(unknown))}")
    folder = Path(tempfile.mkdtemp(prefix="tui-backup-bench-"))
    bench = Bench(folder, given.scale, given.pairs)
    rows: list[dict[str, object]] = []
    try:
        bench.server.start()
        for measure in wanted:
            act = bench.backup if measure in ("B1", "B2") else bench.restore
            rows.append(act(measure, MEASURES[measure]).row())
            print("  ".join(f"{key}={value}" for key, value in rows[-1].items()), flush=True)
    finally:
        bench.server.close()
        shutil.rmtree(folder, ignore_errors=True)
    machine = {"cores": os.cpu_count(), "machine": platform.machine(), "python": platform.python_version()}
    if given.json:
        given.json.write_text(json.dumps({"machine": machine, "scale": given.scale, "rows": rows}, indent=2))


if __name__ == "__main__":
    main()
