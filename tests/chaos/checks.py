"""What must hold, whatever was broken: looked at all the time (:class:`Watch`) and at the end (:func:`check_all`)."""

from __future__ import annotations

import os
import threading
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg

from tests.chaos.work import restore
from tests.chaos.world import ACCOUNTS, BALANCE, SOURCES, World
from tui_backup.repository.inventory import take_inventory
from tui_backup.repository.keys import packs_prefix
from tui_backup.repository.manifests import read_manifest
from tui_backup.repository.open import open_store
from tui_backup.repository.packs import PackReader
from tui_backup.repository.sweep import ORPHAN_GRACE, sweep

OWNERLESS_S = 60.0
_FINAL_S = 240.0
_RESTORES_AT_ONCE = 4
_TABLES = ("backup_jobs", "backup_restore_logs", "backup_verifications")


class Watch:
    """Looks every second for rows that are 'running' and whose agent is not.

    The time counts only while the catalog answers and another agent lives: nobody else could do anything.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.violations: list[str] = []
        self.longest_s = 0.0
        self._ownerless: dict[UUID, float] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, name="watch")

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._stop.set()
        self._thread.join()

    def _look(self) -> None:
        before = time.monotonic()
        while not self._stop.wait(1.0):
            # at most this much is counted at once: a machine that was busy is no agent that was idle
            passed, before = min(time.monotonic() - before, 2.0), time.monotonic()
            with suppress(psycopg.Error):
                self._count(passed)

    def _count(self, passed: float) -> None:
        running = self.world.query(
            " UNION ALL ".join(
                f"SELECT r.id, a.pid, '{table}' AS kind FROM tui_backup.{table} r"
                " LEFT JOIN tui_backup.agents a ON a.id = r.agent_id WHERE r.status = 'running'"
                for table in _TABLES
            )
        )
        alive = self.world.owner_pids()
        if not alive:
            return
        lonely = {row["id"]: row["kind"] for row in running if row["pid"] not in alive}
        self._ownerless = {one: self._ownerless.get(one, 0.0) + passed for one in lonely}
        for one, seconds in self._ownerless.items():
            self.longest_s = max(self.longest_s, seconds)
            if seconds > OWNERLESS_S:
                self.violations.append(f"{lonely[one]} {one} is running without an owner for {seconds:.0f} s")
                self._ownerless[one] = float("-inf")


def settle(world: World) -> list[str]:
    """Wait until nothing is left to do; what does not end is a violation."""
    deadline = time.monotonic() + _FINAL_S
    while True:
        left = world.query(
            " UNION ALL ".join(
                f"SELECT id, status, '{table}' AS kind FROM tui_backup.{table} WHERE status IN ('pending', 'running')"
                for table in _TABLES
            )
            + " UNION ALL SELECT id, 'delete requested', 'backup_jobs' FROM tui_backup.backup_jobs"
            " WHERE metadata ? 'delete_requested' AND deleted_at IS NULL AND NOT metadata ? 'delete_error'"
        )
        if not left:
            return []
        if time.monotonic() > deadline:
            return [f"{row['kind']} {row['id']} is still {row['status']}" for row in left]
        time.sleep(1)


def check_all(world: World, begin: datetime, end: datetime) -> tuple[list[str], dict[str, int]]:
    """Every invariant, after :func:`settle`.

    Args:
        world: as the chaos left it, servers and agents running.
        begin: due times from here on count.
        end: and up to here.

    Returns:
        What is violated, and how much was looked at.
    """
    figures: dict[str, int] = {}
    found = [*_chunks(world, figures), *_due_times(world, begin, end, figures), *_retries(world, figures)]
    found += _restores(world, figures)
    return found, figures


# -- the repository ---------------------------------------------------------------------------------------------------


def _chunks(world: World, figures: dict[str, int]) -> list[str]:
    """No chunk that a backup names is missing or damaged, and no orphan outlives its grace."""
    found: list[str] = []
    store = open_store(str(world.location))
    try:
        jobs = world.query("SELECT id, status FROM tui_backup.backup_jobs WHERE deleted_at IS NULL")
        there = {job["id"] for job in jobs if job["status"] == "completed"}
        reader = PackReader(store, world.tenant)
        seen: set[str] = set()
        for job in there:
            manifest = read_manifest(store, world.tenant, job)
            for _, blob in manifest.contents.all_blobs():
                if blob.id not in seen:
                    seen.add(blob.id)
                    try:
                        reader.read_blob(blob)
                    except Exception as error:  # noqa: BLE001 - whatever it is, the chunk cannot be read
                        found.append(f"job {job}: chunk {blob.id[:12]} of pack {blob.pack[:12]}: {error!r}")
        figures["chunks read"] = len(seen)
        # as a day later
        for entry in store.list(packs_prefix(world.tenant)):
            path = world.location / entry.key
            os.utime(path, ns=(time.time_ns() - round((ORPHAN_GRACE.total_seconds() + 60) * 1e9),) * 2)
        swept = sweep(store, world.tenant)
        figures["orphans swept"] = swept.packs_deleted
        if swept.kept_because:
            found.append(f"orphans cannot be swept: {swept.kept_because}")
        inventory = take_inventory(store, world.tenant)
        found += [f"{name} belongs to no backup" for name in inventory.sizes.keys() - inventory.owners.keys()]
        known = {job["id"] for job in jobs}
        found += [
            f"a manifest of job {job}, which is not in the catalog" for job in inventory.source_names.keys() - known
        ]
    finally:
        store.close()
    return found


# -- the catalog ------------------------------------------------------------------------------------------------------


def _due_times(world: World, begin: datetime, end: datetime, figures: dict[str, int]) -> list[str]:
    """Every due time became one job, or is recorded as missed with the reason."""
    found: list[str] = []
    fired: dict[UUID, dict[datetime, int]] = defaultdict(lambda: defaultdict(int))
    for row in world.query(
        "SELECT schedule_id, scheduled_for FROM tui_backup.backup_jobs WHERE scheduled_for IS NOT NULL"
    ):
        fired[row["schedule_id"]][row["scheduled_for"]] += 1
    missed = missed_times(world)
    figures.update({"due times": 0, "fired": 0, "missed": 0})
    for schedule in world.query("SELECT id, schedule_name FROM tui_backup.backup_schedules"):
        due = begin.replace(second=0, microsecond=0) + timedelta(minutes=1)
        while due <= end:
            figures["due times"] += 1
            jobs = fired[schedule["id"]][due]
            is_missed = any(first <= due <= last for first, last in missed[schedule["id"]])
            figures["fired"] += jobs
            figures["missed"] += is_missed
            if jobs > 1 or (jobs == 0) != is_missed:
                found.append(f"{schedule['schedule_name']} at {due}: {jobs} jobs, missed: {is_missed}")
            due += timedelta(minutes=1)
    return found


def missed_times(world: World) -> dict[UUID, list[tuple[datetime, datetime]]]:
    """Which due times are recorded as missed, by schedule, as spans."""
    spans: dict[UUID, list[tuple[datetime, datetime]]] = defaultdict(list)
    if not world.query("SELECT to_regclass('tui_backup.schedule_misses') AS t")[0]["t"]:
        return spans
    for row in world.query("SELECT * FROM tui_backup.schedule_misses"):
        spans[row["schedule_id"]].append((row["due_at"], row.get("last_due_at") or row["due_at"]))
    return spans


def _retries(world: World, figures: dict[str, int]) -> list[str]:
    """retry_count is how often a backup was tried again: not counting work that was handed back in good order."""
    attempts: dict[UUID, int] = defaultdict(int)
    handed_back: dict[UUID, int] = defaultdict(int)
    for row in world.query("SELECT * FROM chaos.diary WHERE kind = 'backup_jobs' ORDER BY at"):
        if row["status"] == "running" and row["token"] and row["token"] != row["token_before"]:
            attempts[row["id"]] += 1
        if (row["status_before"], row["status"]) == ("running", "pending") and row["retries"] == row["retries_before"]:
            handed_back[row["id"]] += 1
    found: list[str] = []
    figures["attempts"], figures["handed back"] = sum(attempts.values()), sum(handed_back.values())
    for job in world.query("SELECT id, retry_count FROM tui_backup.backup_jobs"):
        again = max(0, attempts[job["id"]] - 1 - handed_back[job["id"]])
        if job["retry_count"] != again:
            found.append(f"job {job['id']}: retry_count {job['retry_count']}, but tried again {again} times")
    return found


# -- restores ---------------------------------------------------------------------------------------------------------


def _restores(world: World, figures: dict[str, int]) -> list[str]:
    """Every completed backup comes back, and holds one moment of its source."""
    jobs = world.query(
        "SELECT id FROM tui_backup.backup_jobs WHERE status = 'completed' AND deleted_at IS NULL ORDER BY completed_at"
    )
    with ThreadPoolExecutor(_RESTORES_AT_ONCE) as pool:
        results = list(pool.map(lambda job: _comes_back(world, job["id"]), jobs))
    figures["restored"] = len(results)
    return [each for each in results if each]


def _comes_back(world: World, job: UUID) -> str:
    database = f"proof_{job.hex[:12]}"
    log = world.installation.finished("backup_restore_logs", restore(world, job, database), 240)
    if log["status"] != "completed":
        return f"job {job} does not restore: {log['error_message']}"
    server = world.server_of(SOURCES[0])
    try:
        return _is_one_moment(server.execute(_MOMENT, database)[0], job)
    finally:
        server.drop_database(database)


_MOMENT = """
SELECT (SELECT sum(balance)::bigint FROM accounts), (SELECT count(*) FROM transfers),
       (SELECT sum(balance * id)::bigint FROM accounts),
       (SELECT coalesce(sum(amount::bigint * (credit - debit)), 0)::bigint FROM transfers)
"""


def _is_one_moment(row: tuple[Any, ...], job: UUID) -> str:
    total, transfers, weighted, moved = row
    start = BALANCE * ACCOUNTS * (ACCOUNTS + 1) // 2
    if total != ACCOUNTS * BALANCE:
        return f"job {job}: the accounts hold {total}, not {ACCOUNTS * BALANCE}"
    if weighted != start + moved:
        return f"job {job}: its {transfers} transfers do not explain the accounts ({weighted - start} against {moved})"
    return ""
