"""``python -m tests.benchmarks [B1 …]``: ratios against the peers, in turn.

    [--scale 1] [--pairs 5] [--cores 1,2] [--json F] [--markdown]

Starts its own servers (PostgreSQL 18, fsync on), makes the data, runs ours and the peer in turn, prints one line for
each figure and writes JSON. A peer that is not installed is named and its measure left out. With ``--markdown`` the
table for the README goes to standard output, and all else to standard error. A measure that fails is a row that says
so; the others go on, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from tests.benchmarks import console, logical, month, store
from tests.benchmarks.bench import Fleet
from tests.benchmarks.incremental import incremental
from tests.benchmarks.machine import facts
from tests.benchmarks.measure import Row
from tests.benchmarks.memory import memory
from tests.benchmarks.processes import allowed_cores
from tests.benchmarks.table import markdown, verdict

STEADY = ("no change", "1 % newest changed", "10 % appended")

BENCHED: dict[str, Callable[[Fleet], Iterable[Row]]] = {
    "B1": lambda fleet: logical.full(fleet.main, "B1", "W1"),
    "B2": lambda fleet: logical.full(fleet.main, "B2", "W2"),
    "B4": lambda fleet: logical.restore(fleet.main, "B4", "W1", 0.90),
    "B4-giant": lambda fleet: logical.restore(fleet.main, "B4-giant", "W2", 0.75),
    "B4-compared": lambda fleet: logical.restore(fleet.main, "B4-compared", "W1", None, compare=True),
    "B6": lambda fleet: memory(fleet.main, "B6", "W1"),
    "B8": lambda fleet: logical.verify(fleet.main, "B8", "W1"),
    "B7": lambda fleet: store.one_table(fleet.main),
    "B5": lambda fleet: month.month(fleet.main),
    "B3": lambda fleet: incremental(fleet, "B3", STEADY),
    "B3r": lambda fleet: incremental(fleet, "B3r", ("1 % at random changed",)),
}
"""Those that share servers; those that change the data come last."""

BYTES = ("B5", "B7")
"""Those whose figures no number of cores changes."""

MEASURES = [*BENCHED, *console.MEASURES]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description="Ratios against the peers.")
    parser.add_argument("measures", nargs="*", metavar="MEASURE", help=", ".join(MEASURES))
    parser.add_argument("--scale", type=float, default=1.0, help="1 = about 1 GB of heap")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--cores", type=_cores, help="numbers of cores to measure with, e.g. 1,2; default all")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", action="store_true", help="print the table for the README")
    given = parser.parse_args()
    given.measures = given.measures or MEASURES
    if unknown := set(given.measures) - set(MEASURES):
        parser.error(f"no such measure: {', '.join(sorted(unknown))}")
    every = allowed_cores()
    if given.cores and (bad := too_many(given.cores, len(every))):
        parser.error(bad)
    choices = [every[:count] for count in given.cores or [len(every)]]
    folder = Path(tempfile.mkdtemp(prefix="tui-backup-bench-"))
    rows: list[Row] = []
    if (most := room_gb(given.measures, given.scale)) > (free := shutil.disk_usage(folder).free / 1e9):
        print(f"up to about {most:.0f} GB may be written to {folder}, {free:.0f} are free", file=sys.stderr)
    try:
        for found in _measured(given, folder, choices):
            rows.append(found)
            line = "  ".join(f"{key}={value}" for key, value in found.items() if value != "")
            print(line, file=sys.stderr if given.markdown else sys.stdout, flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        machine = facts()
        if given.json:
            text = json.dumps({"machine": machine, "scale": given.scale, "pairs": given.pairs, "rows": rows}, indent=2)
            given.json.write_text(text + "\n")
        if given.markdown:
            print(markdown(rows, machine, scale=given.scale, pairs=given.pairs))
    if any(verdict(row) == "failed" for row in rows):
        sys.exit(1)


def _cores(text: str) -> list[int]:
    return [int(word) for word in text.split(",")]


def too_many(counts: Sequence[int], there: int) -> str | None:
    """What is wrong with the wanted numbers of cores."""
    wrong = [count for count in counts if not 1 <= count <= there]
    return f"{there} cores are there, not {', '.join(map(str, wrong))}" if wrong else None


def _measured(given: argparse.Namespace, folder: Path, choices: Sequence[list[int]]) -> Iterator[Row]:
    fleet = Fleet(folder, given.scale, given.pairs)
    everywhere = choices == [allowed_cores()]
    try:
        for name in MEASURES:
            for cores in turns_of(name, choices) if name in given.measures else ():
                if not everywhere:
                    fleet.pin(cores)
                for row in _or_failed(name, fleet):
                    yield {**row, "cores": len(cores)}
    finally:
        fleet.close()


def room_gb(measures: Sequence[str], scale: float) -> float:
    """Gigabytes that may lie on the disk at once, roughly, on the servers that these measures start."""
    wal = min(8, 4 * scale)
    physical = [name for name in measures if name in ("B3", "B3r")]
    shared = [name for name in measures if name in BENCHED and name not in physical]
    works = {"W2" if name in ("B2", "B4-giant") else "W1" for name in shared}
    # each work, one of them restored, and what is stored of it by both sides
    main = 1.6 * scale * (len(works) + 1) + scale + wal if works else 0
    return main + (2 * (2.6 * scale + wal) if physical else 0)


def turns_of(name: str, choices: Sequence[list[int]]) -> Sequence[list[int]]:
    """The sets of cores that a measure is made with: bytes are the same on each, so the most are enough."""
    return [max(choices, key=len)] if name in BYTES else choices


def _one(name: str, fleet: Fleet) -> Iterable[Row]:
    if name in BENCHED:
        return BENCHED[name](fleet)
    # a world of its own, closed when it returns
    place = Path(tempfile.mkdtemp(prefix=name, dir=fleet.folder))
    return console.MEASURES[name](place, fleet.scale, fleet.count)


def _or_failed(name: str, fleet: Fleet) -> Iterator[Row]:
    try:
        yield from _one(name, fleet)
    except Exception as error:  # noqa: BLE001 - the boundary: shown, and a row of the table; the other measures go on
        traceback.print_exc()
        # the last line: of a program that has failed, its own last word
        said = (str(error).strip().splitlines() or [""])[-1]
        yield {"measure": name, "failed": f"{type(error).__name__}: {said[-200:]}"}


if __name__ == "__main__":
    main()
