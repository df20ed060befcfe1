"""B5: what is stored after one full backup, and over a month of daily incrementals."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator

import psycopg

from tests.benchmarks.bench import Bench
from tests.benchmarks.measure import Row, clear, goal, size, timed
from tests.benchmarks.ours import JOB

DAYS = 30

NEWEST = "newest changed"
KINDS = (NEWEST, "half new, half spread over the newest tenth")
"""What changes in a day: the rows of W3's newest part; or new rows, and every twentieth of the newest tenth, which
leaves next to no chunk of that tenth as it was."""

FORM = ("-Fd", "--compress=0")
"""What restic keeps best, of what was tried at scale 0.1 over 30 days: 134 MB; of ``-Fp``, one file in which a table
that grows shifts the next one into its last chunk, 217 MB. A compressed dump hides from it what is the same."""


def month(bench: Bench) -> Iterator[Row]:
    """B5: one full backup, then 30 days of 1 % changes: incrementals of ours, restic of daily dumps."""
    name = bench.database("W1")
    bench.our_full(name)
    bench.dump(name)
    first, dump = size(bench.folder / "ours"), size(bench.folder / "dump")
    yield _row("B5 stored, one full", bench.dump_name, first, dump, 1.0)
    restic = shutil.which("restic")
    if restic is None:
        yield {"measure": f"B5 stored, {DAYS} days", "missing": "restic"}
        return
    yield from (_month(bench, restic, kind) for kind in KINDS)


def _month(bench: Bench, restic: str, kind: str) -> Row:
    # as it was made: the month before has changed it
    bench.made.discard("w1")
    name = bench.database("W1")
    bench.our_full(name)
    peer = _Restic(bench, restic, name)
    peer.back_up()
    parent = JOB
    for day in range(DAYS):
        _one_day(bench, name, kind, day)
        job = uuid.uuid4()
        bench.ours("incremental", name, str(parent), str(job))
        peer.back_up()
        parent = job
    measure = f"B5 stored, 1 full + {DAYS} incrementals at 1 % {kind}"
    against = f"restic of daily pg_dump {' '.join(FORM)}"
    return _row(measure, against, size(bench.folder / "ours"), size(peer.repository), 0.5)


def _row(measure: str, peer: str, ours: int, theirs: int, limit: float) -> Row:
    return {
        "measure": measure,
        "peer": peer,
        "ratio_median": round(ours / theirs, 3),
        "ours_bytes": ours,
        "peer_bytes": theirs,
        **goal(ours / theirs, limit),
    }


def _one_day(bench: Bench, name: str, kind: str, day: int) -> None:
    """1 % of the rows of the three biggest tables."""
    with psycopg.connect(bench.server.dsn(name), autocommit=True) as conn:
        for number in range(3):
            table = f"facts_{number}"
            new = (
                f"INSERT INTO {table} SELECT m.id + g, g % 3, g % 20000 + 1, 1, now(), md5(random()::text), '{{}}'"
                f" FROM (SELECT max(id) AS id, count(*) AS rows FROM {table}) m, generate_series(1, m.rows / 200) g"
            )
            changed = (
                f"UPDATE {table} SET note = md5(random()::text) WHERE id > (SELECT max(id) * 0.9 FROM {table})"
                f" AND id % 20 = {day % 20}"
            )
            newest = f"UPDATE {table} SET note = md5(random()::text) WHERE id > (SELECT max(id) * 0.99 FROM {table})"
            for statement in (newest,) if kind == NEWEST else (new, changed):
                conn.execute(statement.encode())


class _Restic:
    """restic, as it comes, over pg_dump's output."""

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
        target = self._bench.folder / "plain"
        clear(target)
        self._bench.timed([self._bench.tools / "pg_dump", *FORM, "-f", target, "-d", self._bench.conninfo(self._name)])
        self._run("backup", str(target))
        clear(target)
