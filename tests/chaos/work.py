"""What the users do meanwhile: write into the sources, ask for backups, restores, checks and deletions, cancel some."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from uuid import UUID

import psycopg

from tests.chaos.world import ACCOUNTS, SOURCES, World

_ASK_EVERY_S = (0.3, 1.5)
_MOST_WAITING = 12


class Work:
    """Threads that write and ask until they are stopped.

    Args:
        world: where.
        seed: decides what is asked for.
    """

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.asked: Counter[str] = Counter()
        self.transfers = 0
        self._random = random.Random(seed)
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._write, args=(name, seed), name=name) for name in SOURCES]
        self._threads.append(threading.Thread(target=self._ask, name="asking"))

    def schedules(self) -> None:
        """Two schedules a source, each minute: one of the whole database, one of incrementals of some tables."""
        for name in SOURCES:
            for job_type, tables in (("full", []), ("incremental", ["public.accounts", "public.transfers"])):
                self.world.as_admin(
                    "INSERT INTO tui_backup.backup_schedules (schedule_name, job_type, cron_expression, next_run_at,"
                    " source_id, repository_id, chosen_tables) VALUES (%(name)s, %(job_type)s, '* * * * *',"
                    " date_trunc('minute', now()) + interval '1 minute', %(source)s, %(repository)s, %(tables)s)",
                    {
                        "name": f"{name} {job_type}",
                        "job_type": job_type,
                        "source": self.world.sources[name],
                        "repository": self.world.repository,
                        "tables": tables,
                    },
                )

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    # -- writing ------------------------------------------------------------------------------------------------------

    def _write(self, name: str, seed: int) -> None:
        server, chance = self.world.server_of(name), random.Random(f"{seed} {name}")
        while not self._stop.is_set():
            # a restarted server or a cut line: connect again
            with suppress(psycopg.Error), psycopg.connect(server.dsn(name), autocommit=True, connect_timeout=5) as conn:
                while not self._stop.is_set():
                    debit, credit = chance.sample(range(1, ACCOUNTS + 1), 2)
                    self.world.transfer(conn, debit, credit, chance.randint(1, 50))
                    self.transfers += 1
                    self._stop.wait(0.02)
            self._stop.wait(0.5)

    # -- asking -------------------------------------------------------------------------------------------------------

    def _ask(self) -> None:
        wishes: list[Callable[[], str]] = [
            *[self._backup] * 6,
            *[self._restore] * 2,
            self._verify,
            self._delete,
            self._cancel,
        ]
        while not self._stop.is_set():
            # the catalog may be away: a user would try again
            with suppress(psycopg.Error):
                if self._waiting() < _MOST_WAITING and (done := self._random.choice(wishes)()):
                    self.asked[done] += 1
            self._stop.wait(self._random.uniform(*_ASK_EVERY_S))

    def _waiting(self) -> int:
        return self.world.query(
            "SELECT (SELECT count(*) FROM tui_backup.backup_jobs WHERE status = 'pending')"
            " + (SELECT count(*) FROM tui_backup.backup_restore_logs WHERE status = 'pending') AS n"
        )[0]["n"]

    def _backup(self) -> str:
        kind = self._random.choice(["full", "incremental"])
        source = self.world.sources[self._random.choice(SOURCES)]
        self.world.installation.backup(job_type=kind, source_id=source)
        return kind

    def _some(self, query: str) -> dict[str, Any] | None:
        found = self.world.query(query)
        return self._random.choice(found) if found else None

    def _completed(self) -> dict[str, Any] | None:
        return self._some(
            "SELECT id, source_id FROM tui_backup.backup_jobs WHERE status = 'completed' AND deleted_at IS NULL"
            " AND NOT metadata ? 'delete_requested' ORDER BY created_at DESC LIMIT 40"
        )

    def _restore(self) -> str:
        if not (job := self._completed()):
            return ""
        restore(self.world, job["id"], f"chaos_{time.monotonic_ns()}")
        return "restore"

    def _verify(self) -> str:
        if not (job := self._completed()):
            return ""
        self.world.installation.verify(job["id"])
        return "verify"

    def _delete(self) -> str:
        if not (job := self._completed()):
            return ""
        asked = self.world.as_admin("SELECT tui_backup.request_delete(%(id)s) AS done", {"id": job["id"]})
        return "delete" if asked[0]["done"] else ""

    def _cancel(self) -> str:
        job = self._some("SELECT id FROM tui_backup.backup_jobs WHERE status = 'running'")
        if job is None:
            return ""
        asked = self.world.as_admin("SELECT tui_backup.request_cancel(%(id)s) AS done", {"id": job["id"]})
        return "cancel" if asked[0]["done"] else ""


def restore(world: World, job_id: UUID, database: str) -> UUID:
    """Ask for a restore into a new database of the first source's server."""
    return world.installation.restore(
        job_id, "new_database", target_source_id=world.sources[SOURCES[0]], target_database=database
    )
