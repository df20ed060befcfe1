"""What the system says about processes: CPU seconds of a server's tree, peak memory, and the cores they may use."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
_TRIES = 5
_HIGH_WATER = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)


@dataclass(frozen=True)
class Stat:
    """One process: its parent, and the clock ticks of itself and of the children that it has waited for."""

    parent: int
    ticks: int


def parse_stat(text: str) -> Stat:
    """Read ``/proc/PID/stat``; the name in it may hold blanks and parentheses."""
    fields = text.rpartition(")")[2].split()
    # after the name: state, parent, …; user, system, and both again of the children that have ended
    return Stat(int(fields[1]), sum(int(field) for field in fields[11:15]))


def tree(root: int, every: dict[int, Stat]) -> set[int]:
    """A process and all below it."""
    found = {root} & every.keys()
    while more := {pid for pid, stat in every.items() if stat.parent in found} - found:
        found |= more
    return found


def server_pids(root: int) -> set[int]:
    """A server's processes that are alive."""
    return tree(root, _every())


def tree_cpu_s(root: int) -> float | None:
    """User and system CPU seconds of a process and all that it ever started; None where that cannot be read."""
    if not (PROC / str(root) / "stat").exists():
        return None
    ticks = 0
    for _ in range(_TRIES):
        every = _every()
        found = tree(root, every)
        ticks = sum(every[pid].ticks for pid in found)
        # one that ends while we read is counted in neither place, or in both
        if tree(root, _every()) == found:
            break
    return ticks / os.sysconf("SC_CLK_TCK")


def peak_bytes(pid: int) -> int | None:
    """Peak resident bytes of a process that is alive; None where that cannot be read."""
    try:
        found = _HIGH_WATER.search((PROC / str(pid) / "status").read_text())
    except FileNotFoundError:
        return None
    return int(found[1]) * 1024 if found else None


def forget_peak(pid: int) -> None:
    """Let the peak start anew from what the process holds now."""
    (PROC / str(pid) / "clear_refs").write_text("5")


def _every() -> dict[int, Stat]:
    every: dict[int, Stat] = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            try:
                every[int(entry.name)] = parse_stat((entry / "stat").read_text(errors="replace"))
            except (FileNotFoundError, ProcessLookupError):
                continue
    return every


def allowed_cores() -> list[int]:
    """The numbers of the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def pin(cores: Iterable[int], servers: Iterable[int]) -> None:
    """Let this process, what it starts from now on, and running servers use these cores only."""
    chosen = set(cores)
    os.sched_setaffinity(0, chosen)
    for server in servers:
        # twice: a process that the server starts meanwhile may still have the old cores
        for _ in range(2):
            for pid in server_pids(server):
                try:
                    os.sched_setaffinity(pid, chosen)
                except ProcessLookupError:
                    continue
