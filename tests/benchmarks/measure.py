"""Runs things in turn and keeps what they took."""

from __future__ import annotations

import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tests.benchmarks.processes import tree_cpu_s
from tui_backup.embedded.account import Account

Row = dict[str, object]
"""One line of the table: "measure", "peer", figures whose names end with their unit, "reach", "reached"."""

RUN_LIMIT_S = 4 * 3600

# A child's peak memory counts what its parent held when it was started, and the harness holds more than pg_dump does:
# so a small program starts the measured one, and says what it took.
_RUNNER = """
import json, os, resource, sys, time
uid, gid, argv = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
since = time.perf_counter()
pid = os.fork()
if not pid:
    try:
        if uid >= 0:
            os.chdir("/")
            os.setgroups([])
            os.setgid(gid)
            os.setuid(uid)
        os.execvp(argv[0], argv)
    except OSError as error:
        sys.stderr.write(f"{argv[0]}: {error}\\n")
    os._exit(127)
_, status = os.waitpid(pid, 0)
wall = time.perf_counter() - since
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
unit = 1 if sys.platform == "darwin" else 1024
code = os.waitstatus_to_exitcode(status)
print()
print(json.dumps([code, wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit]))
"""


@dataclass(frozen=True)
class Run:
    """One run: wall and client CPU seconds, peak resident bytes of the largest process, the server's CPU seconds."""

    wall_s: float
    cpu_s: float
    peak_bytes: int
    server_cpu_s: float | None = None

    def __add__(self, after: Run) -> Run:
        """Both, one after the other."""
        servers = (self.server_cpu_s, after.server_cpu_s)
        return Run(
            self.wall_s + after.wall_s,
            self.cpu_s + after.cpu_s,
            max(self.peak_bytes, after.peak_bytes),
            None if None in servers else sum(each for each in servers if each is not None),
        )


@dataclass(frozen=True)
class Result:
    """The pairs of one measure; ``limit`` is the ratio to reach."""

    name: str
    peer: str
    ours: Sequence[Run]
    theirs: Sequence[Run]
    limit: float | None = None
    note: str = ""

    @property
    def ratios(self) -> list[float]:
        """Ours by peer, wall, pair by pair."""
        return [a.wall_s / b.wall_s for a, b in zip(self.ours, self.theirs, strict=True)]

    def row(self) -> Row:
        """The figures for table and JSON."""
        row: Row = {"measure": self.name, "peer": self.peer, "pairs": len(self.ours), **spread(self.ratios)}
        for who, runs in (("ours", self.ours), ("peer", self.theirs)):
            row[f"{who}_wall_s"] = round(statistics.median(run.wall_s for run in runs), 2)
            row[f"{who}_cpu_s"] = round(statistics.median(run.cpu_s for run in runs), 2)
            server = [run.server_cpu_s for run in runs if run.server_cpu_s is not None]
            if server:
                row[f"{who}_server_cpu_s"] = round(statistics.median(server), 2)
            row[f"{who}_peak_mb"] = round(max(run.peak_bytes for run in runs) / 1e6)
        return row | goal(statistics.median(self.ratios), self.limit) | {"note": self.note}


def spread(ratios: Sequence[float]) -> Row:
    """Median, least and most of the pairwise ratios."""
    return {
        "ratio_median": round(statistics.median(ratios), 3),
        "ratio_min": round(min(ratios), 3),
        "ratio_max": round(max(ratios), 3),
    }


def goal(ratio: float, limit: float | None) -> Row:
    """What BENCHMARKS.md asks for, and whether it is so."""
    if limit is None:
        return {"reach": "report"}
    return {"reach": f"<= {limit:g}", "reached": round(ratio, 3) <= limit}


def timed(
    argv: Sequence[str],
    env: Mapping[str, str],
    *,
    says_seconds: bool = False,
    server: int | None = None,
    account: Account | None = None,
) -> Run:
    """Run a program.

    Args:
        argv: the program and its arguments.
        env: added to our own environment.
        says_seconds: its own figure of seconds, the last line that it prints, counts.
        server: the postmaster whose CPU time is measured too.
        account: run it under this one.

    Raises:
        RuntimeError: it failed; with the end of what it wrote.
    """
    ids = (account.uid, account.gid) if account else (-1, -1)
    before = None if server is None else tree_cpu_s(server)
    said, errors = _output(argv, env, ids)
    after = None if server is None else tree_cpu_s(server)
    *before_last, last = said.strip().splitlines()
    code, wall, cpu, peak = json.loads(last)
    said = "\n".join(before_last).strip()
    if code:
        raise RuntimeError(f"{Path(argv[0]).name} ended with {code}: {(errors or said).strip()[-600:]}")
    run = Run(float(said.splitlines()[-1]) if says_seconds else wall, cpu, peak)
    return run if before is None or after is None else replace(run, server_cpu_s=after - before)


def _output(argv: Sequence[str], env: Mapping[str, str], ids: tuple[int, int]) -> tuple[str, str]:
    runner = [sys.executable, "-I", "-S", "-c", _RUNNER, *map(str, ids), *argv]
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            runner,
            env={**os.environ, **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
        )
        try:
            said, _ = process.communicate(timeout=RUN_LIMIT_S)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
        if process.returncode:
            raise RuntimeError(f"the program that starts {argv[0]} ended with {process.returncode}")
        errors.seek(0)
        return said.decode(errors="replace"), errors.read().decode(errors="replace")


def turns(count: int, *acts: Callable[[], Run]) -> list[list[Run]]:
    """Ours, peer, ours, peer …, or with several peers; the runs of each."""
    runs: list[list[Run]] = [[] for _ in acts]
    for _ in range(count):
        for kept, act in zip(runs, acts, strict=True):
            kept.append(act())
    return runs


def wait_until(true: Callable[[], bool], what: str, limit_s: float = 300.0) -> None:
    """Wait for something.

    Raises:
        RuntimeError: it has not come.
    """
    end = time.monotonic() + limit_s
    while not true():
        if time.monotonic() > end:
            raise RuntimeError(f"{what}: not within {limit_s:g} s")
        time.sleep(0.1)


def clear(folder: Path) -> None:
    """Make a folder empty."""
    shutil.rmtree(folder, ignore_errors=True)


def size(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(entry.stat().st_size for entry in folder.rglob("*") if entry.is_file() and not entry.is_symlink())
