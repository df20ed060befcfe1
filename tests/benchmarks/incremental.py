"""B3 and B3r: a full backup as parent, a change, then incrementals upon that parent, in turn with the peers."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import psycopg

from tests.benchmarks.bench import Bench, Fleet
from tests.benchmarks.data import CHANGES
from tests.benchmarks.measure import Result, Row, Run, clear, size, turns
from tests.benchmarks.physical import SUMMARIES, BaseBackup, Dump, Peer, PgBackRest, pgbackrest_bench


def incremental(fleet: Fleet, measure: str, changes: Sequence[str]) -> Iterator[Row]:
    """Against pg_dump and pg_basebackup on one server, against pgbackrest on another: it may know no newest version."""
    bench = fleet.get("summaries", lambda place: Bench(place, fleet.scale, fleet.count, settings=SUMMARIES))
    peers: list[Peer] = [
        Dump(bench, bench.database("W2")),
        BaseBackup(bench, "client-zstd:1"),
        BaseBackup(bench, None),
    ]
    for change in changes:
        yield from _change(bench, measure, change, peers)
    program = shutil.which("pgbackrest")
    if program is None:
        yield {"measure": f"{measure} incremental", "missing": "pgbackrest"}
        return
    other = fleet.get("pgbackrest", lambda place: pgbackrest_bench(place, fleet.scale, fleet.count, program))
    other.database("W2")
    peer = PgBackRest(other, program)
    for change in changes:
        yield from _change(other, measure, change, [peer])


def _change(bench: Bench, measure: str, change: str, peers: Sequence[Peer]) -> list[Row]:
    name, base, what = bench.database("W2"), bench.folder / "base", CHANGES[change]
    bench.our_full(name)
    clear(base)
    (bench.folder / "ours").rename(base)
    for peer in peers:
        peer.parent()
    with psycopg.connect(bench.server.dsn(name), autocommit=True) as conn:
        for statement in what.statements:
            conn.execute(statement.encode())
        conn.execute("CHECKPOINT")
    for peer in peers:
        peer.changed()
    mine, *others = turns(bench.count, lambda: _ours(bench, name, base), *(peer.run for peer in peers))
    stored = size(bench.folder / "ours") - size(base)
    return [
        Result(
            f"{measure} incremental, {change}",
            peer.name,
            mine,
            theirs,
            # BENCHMARKS.md names a ratio to pg_dump for B3, and one for all peers for B3r
            what.limit if isinstance(peer, Dump) or measure == "B3r" else None,
            f"stored {stored / 1e6:.1f} MB, {peer.note()}",
        ).row()
        for peer, theirs in zip(peers, others, strict=True)
    ]


def _ours(bench: Bench, name: str, base: Path) -> Run:
    clear(bench.folder / "ours")
    # objects are never changed once they are there, so links do
    shutil.copytree(base, bench.folder / "ours", copy_function=lambda a, b: Path(b).hardlink_to(a))
    return bench.ours("incremental", name)
