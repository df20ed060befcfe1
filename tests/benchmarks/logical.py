"""B1, B2, B4 and B8: full backups, restores and verification against pg_dump, pg_restore and sha256sum."""

from __future__ import annotations

from tests.benchmarks.bench import Bench
from tests.benchmarks.measure import Result, Row, Run, size, timed, turns
from tests.benchmarks.processes import allowed_cores


def full(bench: Bench, measure: str, work: str) -> list[Row]:
    """B1 and B2."""
    name = bench.database(work)
    mine, theirs = turns(bench.count, lambda: bench.our_full(name), lambda: bench.dump(name))
    stored, dump = size(bench.folder / "ours"), size(bench.folder / "dump")
    limit = full_limit(work, len(allowed_cores()))
    note = f"stored {stored / 1e6:.0f} MB, pg_dump {dump / 1e6:.0f} MB"
    return [Result(f"{measure} full backup {work}", bench.dump_name, mine, theirs, limit, note).row()]


def full_limit(work: str, cores: int) -> float | None:
    """The ratio to reach; BENCHMARKS.md names none for the giant table on one core."""
    if work == "W1":
        return 0.95
    if cores < 2:
        return None
    return 0.30 if cores >= 8 else 0.80


def restore(bench: Bench, measure: str, work: str, limit: float | None, *, compare: bool = False) -> list[Row]:
    """B4: from a full backup of ours, and from pg_dump's folder with pg_restore."""
    name = bench.database(work)
    bench.our_full(name)
    bench.dump(name)
    what = "restore+compare" if compare else "restore"
    analyzed: list[Run] = []
    peer = f"pg_restore -j{bench.jobs}"
    mine, theirs = turns(
        bench.count, lambda: our_restore(bench, what, name), lambda: _pg_restore(bench, name, analyzed)
    )
    return [
        Result(f"{measure} {what} {work}", peer, mine, theirs, limit).row(),
        # ours gathers statistics, which pg_restore leaves to its user
        Result(f"{measure} {what} {work}", f"{peer}, vacuumdb --analyze-only", mine, analyzed).row(),
    ]


def our_restore(bench: Bench, what: str, name: str) -> Run:
    """Into a new database that is dropped again."""
    try:
        return bench.ours(what, name, f"{name}_ours")
    finally:
        bench.drop(f"{name}_ours")


def _pg_restore(bench: Bench, name: str, analyzed: list[Run]) -> Run:
    """pg_restore alone; with the statistics gathered afterwards it is added to ``analyzed``."""
    bench.server.create_database(f"{name}_peer")
    conninfo = bench.conninfo(f"{name}_peer")
    jobs = f"-j{bench.jobs}"
    try:
        alone = bench.timed([bench.tools / "pg_restore", jobs, "-d", conninfo, bench.folder / "dump"])
        analyze = bench.timed([bench.tools / "vacuumdb", "--quiet", "--analyze-only", jobs, "-d", conninfo])
        analyzed.append(alone + analyze)
        return alone
    finally:
        bench.drop(f"{name}_peer")


def verify(bench: Bench, measure: str, work: str) -> list[Row]:
    """B8: every byte read back, against sha256sum of the same files."""
    name = bench.database(work)
    bench.our_full(name)
    files = [str(path) for path in (bench.folder / "ours").rglob("*") if path.is_file()]
    mine, theirs = turns(bench.count, lambda: bench.ours("verify", name), lambda: timed(["sha256sum", *files], {}))
    row = Result(f"{measure} verify {work}", "sha256sum", mine, theirs, 1.5).row()
    # neither asks the server for anything
    row.pop("ours_server_cpu_s", None)
    return [row]
