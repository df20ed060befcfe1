"""``python -m tests.benchmarks [B1 …] [--scale 1] [--pairs 5] [--json F]``: ratios against the peers, in turn.

Starts its own servers (PostgreSQL 18, fsync on), makes the data, runs ours and the peer in turn, prints one table and
writes JSON. A peer that is not installed is named and its measure left out.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.benchmarks import console, store
from tests.benchmarks.bench import Bench
from tests.benchmarks.measure import Row

STEADY = ("no change", "1 % newest changed", "10 % appended")

BENCHED: dict[str, Callable[[Bench], list[Row]]] = {
    "B1": lambda bench: bench.full("B1", "W1"),
    "B2": lambda bench: bench.full("B2", "W2"),
    "B4": lambda bench: bench.restore("B4", "W1"),
    "B4-giant": lambda bench: bench.restore("B4-giant", "W2"),
    "B4-compared": lambda bench: bench.restore("B4-compared", "W1"),
    "B6": lambda bench: bench.memory("B6", "W1"),
    "B8": lambda bench: bench.verify("B8", "W1"),
    "B5": store.month,
    "B7": store.one_table,
    "B3": lambda bench: bench.incremental("B3", STEADY),
    "B3r": lambda bench: bench.incremental("B3r", ("1 % at random changed",)),
}
"""Those that share one server; those that change its data come last."""

MEASURES = [*BENCHED, *console.MEASURES]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks")
    parser.add_argument("measures", nargs="*", metavar="MEASURE", help=", ".join(MEASURES))
    parser.add_argument("--scale", type=float, default=1.0, help="1 = about 1 GB of heap")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    wanted = given.measures or MEASURES
    if unknown := set(wanted) - set(MEASURES):
        parser.error(f"no such measure: {', '.join(sorted(unknown))}")
    folder = Path(tempfile.mkdtemp(prefix="tui-backup-bench-"))
    rows: list[Row] = []
    try:
        for found in _measured(wanted, folder, given.scale, given.pairs):
            rows.append(found)
            print("  ".join(f"{key}={value}" for key, value in found.items() if value != ""), flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    machine = {"cores": os.cpu_count(), "machine": platform.machine(), "python": platform.python_version()}
    if given.json:
        given.json.write_text(json.dumps({"machine": machine, "scale": given.scale, "rows": rows}, indent=2) + "\n")


def _measured(wanted: list[str], folder: Path, scale: float, count: int) -> Iterator[Row]:
    benched = [name for name in BENCHED if name in wanted]
    if benched:
        bench = Bench(folder, scale, count)
        try:
            bench.server.start()
            for name in benched:
                yield from BENCHED[name](bench)
        finally:
            bench.server.close()
    for name, act in console.MEASURES.items():
        if name in wanted:
            place = folder / name
            place.mkdir(mode=0o700)
            yield from act(place, scale, count)


if __name__ == "__main__":
    main()
