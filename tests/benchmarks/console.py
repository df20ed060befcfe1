"""The console's measures T1 to T5 of BENCHMARKS.md, each on a real server, catalog, program, terminal and agent.

Alone: ``python -m tests.benchmarks.console T3 --scale 0.01``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
from psycopg import sql

from tests.benchmarks.console_world import ROOT, USEFUL, Terminal, World, cpu_s, dashboard, world
from tui_backup.services.backups import JobFilters, get_backup_jobs
from tui_backup.services.session import Session, open_session

Row = dict[str, object]

IDLE_S = 60.0
KEYS = 300
PRESS_S = 65.0
"""The dashboard writes every age anew once a minute: a shorter time would meet that, or not, by chance."""
LOADED_ROWS = 10_000
LOADED = re.compile(rb"([\d,]+) newest backups loaded")
AGENT_READY = re.compile(r"agent \S+ is ready")
ANSWER_LIMIT_S = 10.0
EXPLAINS = 30
# One backup shall outlast the keys on a source that is made in seconds; both cores are busy as with the default level.
SLOW_BACKUP = "compression_level = 19"
SOURCE_ROWS = 1_500_000
PEER = "import textual"
FLOOR = "import textual.app, psycopg, psycopg_pool"
"""What every Textual program that asks a PostgreSQL loads before it has drawn or asked anything."""


# -- T1 ---------------------------------------------------------------------------------------------------------------


def first_paint(folder: Path, scale: float, pairs: int) -> list[Row]:
    """T1: seconds from exec to the first bytes that show the catalog's data, by those of ``import textual``."""
    with world(folder, scale) as made:
        made.installation.start_agent()
        # once for the page cache and the bytecode
        _paint(made)
        _import(made, PEER)
        ours: list[tuple[float, float]] = []
        floor: list[tuple[float, float]] = []
        peer: list[tuple[float, float]] = []
        for _ in range(pairs):
            ours.append(_paint(made))
            floor.append(_import(made, FLOOR))
            peer.append(_import(made, PEER))
    return [
        {**_paint_row("T1 first useful paint", ours, peer), "reach": "ratio <= 2.5"},
        {**_paint_row(f"T1 floor: python -c '{FLOOR}'", floor, peer), "reach": "report"},
    ]


def _paint_row(measure: str, ours: list[tuple[float, float]], peer: list[tuple[float, float]]) -> Row:
    return {
        "measure": measure,
        "pairs": len(ours),
        **_spread([mine[0] / theirs[0] for mine, theirs in zip(ours, peer, strict=True)]),
        "ours_wall_s": _median(one[0] for one in ours),
        "peer_wall_s": _median(one[0] for one in peer),
        "ours_cpu_s": _median(one[1] for one in ours),
        "peer_cpu_s": _median(one[1] for one in peer),
    }


def _paint(made: World) -> tuple[float, float]:
    """Wall and CPU seconds until the first useful paint."""
    with dashboard(made) as line:
        line.wait_for(USEFUL)
        return time.perf_counter() - line.started_s, cpu_s(line.process)


def _import(made: World, code: str) -> tuple[float, float]:
    since = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-c", code], env=made.environment, cwd=ROOT)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - since
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{code}: failed")
    return wall, usage.ru_utime + usage.ru_stime


# -- T2 ---------------------------------------------------------------------------------------------------------------


def key_to_repaint(folder: Path, scale: float, pairs: int) -> list[Row]:
    """T2: milliseconds from a key to the first byte, 10,000 rows loaded; without and with a backup under way."""
    keys = max(KEYS, 40 * pairs)
    with world(folder, scale, tenant_jobs=LOADED_ROWS + 600, agent=SLOW_BACKUP) as made:
        _fill_source(made)
        made.installation.start_agent()
        with dashboard(made) as line:
            line.wait_for(USEFUL)
            loaded, load_s = _load_rows(line)
            line.send(b"g")
            line.settle(1.0)
            quiet = _press(line, keys // 3)
            backups = _Backups(made)
            busy = _press(line, keys, least_s=PRESS_S, before_each=backups.keep_running)
    row: Row = {
        "measure": "T2 key to repaint",
        "keys": len(busy),
        "rows_loaded": loaded,
        "p50_ms": _percentile(busy, 50),
        "p99_ms": _percentile(busy, 99),
        "max_ms": round(max(busy), 1),
        "over_50_percent": round(100 * sum(wait > 50 for wait in busy) / len(busy), 1),
        "without_backup_p50_ms": _percentile(quiet, 50),
        "without_backup_p99_ms": _percentile(quiet, 99),
        "backups": backups.asked,
        "load_rows_s": round(load_s, 1),
        "reach": "p99 <= 50 ms",
    }
    return [row]


def _fill_source(made: World) -> None:
    made.server.execute(
        "CREATE TABLE facts AS SELECT g AS id, md5(g::text) || md5((g * 3)::text) AS note,"
        f" md5((g * 7)::text) AS other FROM generate_series(1, {SOURCE_ROWS}) g",
        made.installation.source_database,
    )


def _load_rows(line: Terminal) -> tuple[int, float]:
    """Press G, which loads the next 500 older rows, until enough are there; says how many and the seconds it took."""
    since = time.perf_counter()
    count = 500
    while count < LOADED_ROWS:
        line.forget()
        line.send(b"G")
        end = time.perf_counter() + 60
        while (now := _newest_count(line)) <= count:
            line.read(1.0)
            if time.perf_counter() > end:
                raise RuntimeError(f"no more than {count} rows: {bytes(line.seen[-2000:])!r}")
        count = now
    return count, time.perf_counter() - since


def _newest_count(line: Terminal) -> int:
    found = LOADED.findall(line.seen)
    return int(found[-1].replace(b",", b"")) if found else 0


class _Backups:
    """Keeps a backup running on the agent: another one is asked for when the last has ended."""

    def __init__(self, made: World) -> None:
        self._installation = made.installation
        self._connection = made.installation.connect()
        self._looked_s = 0.0
        self._job: UUID | None = None
        self.asked = 0

    def keep_running(self) -> None:
        """Look about once a second; returns when one runs."""
        if self._job is not None and time.perf_counter() - self._looked_s < 1.0:
            return
        if self._job is None or self._status() in ("completed", "failed"):
            self._job = self._installation.backup()
            self.asked += 1
            self._installation.wait(lambda: self._status() == "running", 30)
        self._looked_s = time.perf_counter()

    def _status(self) -> str:
        query = "SELECT status, error_message FROM tui_backup.backup_jobs WHERE id = %s"
        row = self._connection.execute(query, [self._job]).fetchone()
        if row is None or row["status"] == "failed":
            raise RuntimeError(f"the backup failed: {row}\n{self._installation.log()}")
        return str(row["status"])


def _press(
    line: Terminal, keys: int, *, least_s: float = 0.0, before_each: Callable[[], None] = lambda: None
) -> list[float]:
    """Milliseconds from each key to the first byte after it; j and k in turn, at random times, for at least so long.

    Random, because keys in step with the dashboard's own second would always, or never, meet its repaints.
    """
    waits: list[float] = []
    end = time.perf_counter() + least_s
    while len(waits) < keys or time.perf_counter() < end:
        before_each()
        line.collect(random.uniform(0.05, 0.15))
        while line.read(0.0):
            pass
        line.forget()
        since = time.perf_counter()
        line.send(b"k" if len(waits) % 2 else b"j")
        if not line.read(ANSWER_LIMIT_S):
            raise RuntimeError("a key that moves the cursor painted nothing")
        waits.append((time.perf_counter() - since) * 1000)
    return waits


# -- T3 ---------------------------------------------------------------------------------------------------------------


def idle_dashboard(folder: Path, scale: float, pairs: int) -> list[Row]:
    """T3: bytes written to the terminal and percent of one core in 60 s in which nothing changes."""
    with world(folder, scale) as made:
        made.installation.start_agent()
        with dashboard(made) as line:
            line.wait_for(USEFUL)
            line.collect(5.0)
            cpu, server = cpu_s(line.process), made.server_cpu_s()
            written = line.collect(IDLE_S)
            used, server_used = cpu_s(line.process) - cpu, made.server_cpu_s() - server
            memory = line.process.memory_info().rss
    return [
        {
            "measure": "T3 idle dashboard",
            "seconds": IDLE_S,
            "terminal_bytes": len(written),
            "cpu_percent": round(100 * used / IDLE_S, 2),
            "server_cpu_percent": round(100 * server_used / IDLE_S, 2),
            "resident_mb": round(memory / 1e6),
            "reach": "<= 4096 bytes and <= 1 % CPU",
        }
    ]


# -- T4 ---------------------------------------------------------------------------------------------------------------


def newest_jobs(folder: Path, scale: float, pairs: int) -> list[Row]:
    """T4: milliseconds of the tenant's completed jobs, newest first, as a member under row-level security."""
    with world(folder, scale) as made:
        return asyncio.run(_explain_all(made))


async def _explain_all(made: World) -> list[Row]:
    async with await open_session(made.installation.config) as session:
        return [
            await _explain(session, "T4 completed jobs, 50 rows", JobFilters(completed_only=True, limit=50)),
            await _explain(session, "T4 completed jobs, 500 rows", JobFilters(completed_only=True)),
            await _explain(session, "T4 dashboard's first page, 500 rows", JobFilters()),
        ]


class _Recorder:
    """Stands for a session: keeps the statement that a service function would send."""

    def __init__(self) -> None:
        self.statement: sql.Composed = sql.Composed([])
        self.params: dict[str, Any] = {}

    @property
    def catalog(self) -> _Recorder:
        return self

    async def rows(self, statement: sql.Composed, params: dict[str, Any]) -> list[dict[str, Any]]:
        self.statement, self.params = statement, params
        return []


async def _explain(session: Session, name: str, filters: JobFilters) -> Row:
    """Explain, on the product's own pool, what the service sends; and time the service itself."""
    recorder = _Recorder()
    await get_backup_jobs(recorder, filters)  # type: ignore[arg-type]  # only its catalog is used
    statement = sql.SQL("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) ") + recorder.statement
    took: list[float] = []
    planned: list[float] = []
    served: list[float] = []
    plan: dict[str, Any] = {}
    for _ in range(EXPLAINS):
        found = (await session.catalog.one(statement, recorder.params))["QUERY PLAN"]
        plan = (json.loads(found) if isinstance(found, str) else found)[0]
        took.append(plan["Execution Time"])
        planned.append(plan["Planning Time"])
        since = time.perf_counter()
        jobs = await get_backup_jobs(session, filters)
        served.append((time.perf_counter() - since) * 1000)
        assert jobs
    nodes = [node for node in _nodes(plan["Plan"]) if node.get("Relation Name") == "backup_jobs"]
    scans = ", ".join(f"{node['Node Type']} {node.get('Index Name', '')}".strip() for node in nodes)
    return {
        "measure": name,
        "execution_median_ms": round(statistics.median(took), 2),
        "execution_max_ms": round(max(took), 2),
        "planning_median_ms": round(statistics.median(planned), 2),
        "service_median_ms": round(statistics.median(served), 2),
        "sequential_scan": any(node["Node Type"] == "Seq Scan" for node in nodes),
        "scan": scans,
        "buffers": plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"],
        "reach": "< 5 ms, no sequential scan",
    }


def _nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(node for child in plan.get("Plans", []) for node in _nodes(child))]


# -- T5 ---------------------------------------------------------------------------------------------------------------


def agent_start(folder: Path, scale: float, pairs: int) -> list[Row]:
    """T5: seconds from the agent's start until its log says ready, and percent of one core in 60 s without work."""
    with world(folder, scale) as made:
        _ready_and_idle(made, 0.0)
        starts = [_ready_and_idle(made, 0.0)[0] for _ in range(max(1, pairs - 1))]
        last, cpu_percent, server_percent, memory_mb = _ready_and_idle(made, IDLE_S)
        starts.append(last)
    return [
        {
            "measure": "T5 agent start and idle",
            "starts": len(starts),
            "ready_median_s": _median(starts),
            "ready_min_s": round(min(starts), 3),
            "ready_max_s": round(max(starts), 3),
            "idle_cpu_percent": round(cpu_percent, 2),
            "server_cpu_percent": round(server_percent, 2),
            "resident_mb": round(memory_mb),
            "reach": "ready <= 1.5 s, idle <= 1 % CPU",
        }
    ]


def _ready_and_idle(made: World, idle_s: float) -> tuple[float, float, float, float]:
    """Seconds to ready; then percent of one core of agent and server, and the agent's resident megabytes."""
    log = made.installation.config.agent_log
    known = log.stat().st_size if log.exists() else 0
    since = time.perf_counter()
    agent = subprocess.Popen([sys.executable, "-m", "tui_backup", "agent", "run"], env=made.environment, cwd=ROOT)
    try:
        while not (log.exists() and AGENT_READY.search(log.read_bytes()[known:].decode())):
            if agent.poll() is not None or time.perf_counter() - since > 60:
                raise RuntimeError(f"the agent does not get ready; see {log}")
            time.sleep(0.002)
        ready_s = time.perf_counter() - since
        process = psutil.Process(agent.pid)
        if not idle_s:
            return ready_s, 0.0, 0.0, 0.0
        time.sleep(5)
        cpu, server = cpu_s(process), made.server_cpu_s()
        time.sleep(idle_s)
        used, server_used = cpu_s(process) - cpu, made.server_cpu_s() - server
        return ready_s, 100 * used / idle_s, 100 * server_used / idle_s, process.memory_info().rss / 1e6
    finally:
        agent.send_signal(signal.SIGTERM)
        agent.wait(60)


# -- figures ----------------------------------------------------------------------------------------------------------


def _median(values: Any) -> float:
    return round(statistics.median(values), 3)


def _spread(ratios: Sequence[float]) -> Row:
    return {
        "ratio_median": round(statistics.median(ratios), 3),
        "ratio_min": round(min(ratios), 3),
        "ratio_max": round(max(ratios), 3),
    }


def _percentile(values: Sequence[float], percent: int) -> float:
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, len(ordered) * percent // 100)], 1)


MEASURES: dict[str, Callable[[Path, float, int], list[Row]]] = {
    "T1": first_paint,
    "T2": key_to_repaint,
    "T3": idle_dashboard,
    "T4": newest_jobs,
    "T5": agent_start,
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.console")
    parser.add_argument("measures", nargs="*", metavar="MEASURE", help=", ".join(MEASURES))
    parser.add_argument("--scale", type=float, default=1.0, help="1 = 1,000,000 jobs")
    parser.add_argument("--pairs", type=int, default=5)
    given = parser.parse_args()
    for name in given.measures or MEASURES:
        folder = Path(tempfile.mkdtemp(prefix="tui-backup-bench-"))
        try:
            for row in MEASURES[name](folder, given.scale, given.pairs):
                print("  ".join(f"{key}={value}" for key, value in row.items()), flush=True)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
