"""Runs two things in turn and keeps what they took."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

Row = dict[str, object]
"""One line of the table: "measure", figures whose names end with their unit, "reach"."""


@dataclass(frozen=True)
class Run:
    """One run: wall and client CPU seconds, peak resident bytes of the largest process."""

    wall_s: float
    cpu_s: float
    peak_bytes: int


@dataclass(frozen=True)
class Result:
    """The pairs of one measure."""

    name: str
    ours: Sequence[Run]
    peer: Sequence[Run]
    note: str = ""
    reach: str = ""

    @property
    def ratios(self) -> list[float]:
        """Ours by peer, wall, pair by pair."""
        return [a.wall_s / b.wall_s for a, b in zip(self.ours, self.peer, strict=True)]

    def row(self) -> Row:
        """The figures for table and JSON."""
        return {
            "measure": self.name,
            "pairs": len(self.ours),
            "ratio_median": round(statistics.median(self.ratios), 3),
            "ratio_min": round(min(self.ratios), 3),
            "ratio_max": round(max(self.ratios), 3),
            "ours_wall_s": round(statistics.median(run.wall_s for run in self.ours), 2),
            "peer_wall_s": round(statistics.median(run.wall_s for run in self.peer), 2),
            "ours_cpu_s": round(statistics.median(run.cpu_s for run in self.ours), 2),
            "peer_cpu_s": round(statistics.median(run.cpu_s for run in self.peer), 2),
            "ours_peak_mb": round(max(run.peak_bytes for run in self.ours) / 1e6),
            "peer_peak_mb": round(max(run.peak_bytes for run in self.peer) / 1e6),
            "reach": self.reach,
            "note": self.note,
        }


def timed(argv: Sequence[str], env: Mapping[str, str], *, says_seconds: bool = False) -> Run:
    """Run a program; its own figure of seconds counts when it prints one."""
    since = time.perf_counter()
    with subprocess.Popen(argv, env={**os.environ, **env}, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        said = process.stdout.read().decode()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.perf_counter() - since
    if process.returncode:
        raise RuntimeError(f"{argv[0]} ended with {process.returncode}")
    if says_seconds:
        wall = float(said.strip().splitlines()[-1])
    return Run(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024))


def pairs(count: int, ours: Callable[[], Run], peer: Callable[[], Run]) -> tuple[list[Run], list[Run]]:
    """Ours, peer, ours, peer …"""
    mine: list[Run] = []
    theirs: list[Run] = []
    for _ in range(count):
        mine.append(ours())
        theirs.append(peer())
    return mine, theirs


def clear(folder: Path) -> None:
    """Make a folder empty."""
    shutil.rmtree(folder, ignore_errors=True)
