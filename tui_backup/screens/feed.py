"""Keeps the board true: opens the catalog, reads everything, follows changes, and starts over when the line drops."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing, suppress
from uuid import UUID

from tui_backup.errors import (
    AuthenticationError,
    CatalogUnavailableError,
    CatalogVersionError,
    ConfigError,
    NotFoundError,
    NotSetUpError,
    TuiBackupError,
)
from tui_backup.messages import BoardChanged, NotSetUp, Subject
from tui_backup.model import BackupJob, BackupRestoreLog, BackupSchedule, JobStatus, Verification
from tui_backup.screens.backend import Backend
from tui_backup.screens.board import PAGE_ROWS, Board
from tui_backup.services.backups import JobFilters
from tui_backup.services.events import Change, ConnectionState, Resync

RESTORE_ROWS = 100
SAFETY_EVERY_S = 5.0
SAFETY_AT_MOST_S = 1.0
RETRY_AFTER_S = (1.0, 2.0, 5.0)
READ_LIMIT_S = 30.0


class Feed:
    """One per dashboard, run by one worker.

    Args:
        backend: the services.
        board: what to keep true.
        tell: called with every change, on the loop.
        notice: called with sentences for people.
        on_error: called with failures that shall be shown.
    """

    def __init__(
        self,
        backend: Backend,
        board: Board,
        *,
        tell: Callable[[BoardChanged | NotSetUp], object],
        notice: Callable[[str], None],
        on_error: Callable[[TuiBackupError], None],
    ) -> None:
        self.backend = backend
        self.board = board
        self._tell = tell
        self._notice = notice
        self._on_error = on_error
        self._safety_due = asyncio.Event()
        self._stale_jobs: set[UUID] = set()
        self._agent_asked = False
        self._attempts = 0

    async def run(self) -> None:
        """Follow the catalog until cancelled; returns only when nothing is set up."""
        while True:
            try:
                async with asyncio.timeout(READ_LIMIT_S * 4):
                    self.board.identity = await self.backend.open(self._notice)
                await self._follow()
            except NotSetUpError as error:
                self._tell(NotSetUp(error))
                return
            except TimeoutError:
                self._lost(CatalogUnavailableError("The catalog did not answer in time."))
            except TuiBackupError as error:
                self._lost(error)
                if isinstance(error, (AuthenticationError, CatalogVersionError, ConfigError)):
                    self._on_error(error)
            await asyncio.sleep(RETRY_AFTER_S[min(self._attempts, len(RETRY_AFTER_S) - 1)])
            self._attempts += 1

    async def _ensure_agent(self) -> None:
        """Once per dashboard, with the rows on the screen already."""
        if self._agent_asked:
            return
        self._agent_asked = True
        try:
            await self.backend.ensure_agent(self._notice)
            self._safety_due.set()
        except TuiBackupError as error:
            # The dashboard is of use without an agent: the bar says AGENT DOWN, this says why.
            self._on_error(error)

    async def _follow(self) -> None:
        """Read everything once changes are told: read before, a row that is deleted meanwhile would stay for ever."""
        polls: list[asyncio.Task[None]] = []
        try:
            async with aclosing(self.backend.watch()) as events:
                async for event in events:
                    self._take(event)
                    if isinstance(event, Resync) or (isinstance(event, ConnectionState) and event.connected):
                        await self.read_all()
                        self._attempts = 0
                        if not polls:
                            polls.append(asyncio.create_task(self._poll_safety()))
                        await self._ensure_agent()
        finally:
            for poll in polls:
                poll.cancel()
            await asyncio.gather(*polls, return_exceptions=True)

    def _take(self, event: Change | ConnectionState | Resync) -> None:
        if isinstance(event, ConnectionState):
            if not event.connected:
                self._lost(event.error or CatalogUnavailableError("The catalog's connection was lost."))
        elif isinstance(event, Change):
            self.board.connection.fresh_at = self.board.monotonic()
            self.take_change(event)

    def take_change(self, change: Change) -> None:
        """Put one changed row on the board."""
        board = self.board
        row = change.row
        match row:
            case BackupJob():
                known = board.jobs.get(row.id)
                if known is None or known.status is not row.status:
                    self._safety_due.set()
                board.jobs[row.id] = row
                self._changed("jobs", row.id)
            case BackupRestoreLog():
                board.restores[row.id] = row
                self._job_is_stale(row.backup_job_id, row.status)
                self._changed("restores", row.id)
            case BackupSchedule():
                board.schedules[row.id] = row
                self._changed("schedules", row.id)
            case Verification():
                board.put_verification(row)
                self._job_is_stale(row.backup_job_id, row.status)
                self._changed("verifications", row.backup_job_id)
            case None:
                if board.jobs.pop(change.id, None):
                    self._changed("jobs", change.id)
                if board.restores.pop(change.id, None):
                    self._changed("restores", change.id)
                if board.schedules.pop(change.id, None):
                    self._changed("schedules", change.id)
            case _:
                self._changed("sources")

    def _job_is_stale(self, id_: UUID, status: JobStatus) -> None:
        if status.is_final and id_ in self.board.jobs:
            self._stale_jobs.add(id_)
            self._safety_due.set()

    async def read_all(self) -> None:
        """Read what the screens show, what is seen first first; rows loaded by paging stay unless they are gone from
        the pages read."""
        board = self.board
        async with asyncio.timeout(READ_LIMIT_S):
            self._replace_jobs(await self.backend.get_backup_jobs(JobFilters(limit=PAGE_ROWS)))
            self._changed("jobs")
            safety = await self.backend.get_safety()
            sources = await self.backend.get_sources()
            schedules = await self.backend.get_backup_schedules()
            restores = await self.backend.get_restore_logs(RESTORE_ROWS)
        board.schedules = {row.id: row for row in schedules}
        board.restores = {row.id: row for row in restores}
        board.source_count = len(sources)
        board.take_safety(safety)
        board.loaded = True
        self._back()
        subjects: tuple[Subject, ...] = ("schedules", "restores", "safety", "sources")
        for subject in subjects:
            self._changed(subject)

    def _replace_jobs(self, jobs: list[BackupJob]) -> None:
        board = self.board
        # What is equal stays the same object: its row need not be made again.
        fresh = {job.id: known if (known := board.jobs.get(job.id, job)) == job else job for job in jobs}
        if len(jobs) < PAGE_ROWS:
            board.all_jobs_loaded, board.page_edge = True, None
        else:
            edge = jobs[-1].created_at
            fresh.update({id_: job for id_, job in board.jobs.items() if job.created_at < edge})
            board.page_edge = min(edge, board.page_edge or edge)
        board.jobs = fresh

    async def read_older_jobs(self) -> int:
        """Load the next page of jobs; says how many came."""
        board = self.board
        async with asyncio.timeout(READ_LIMIT_S):
            jobs = await self.backend.get_backup_jobs(JobFilters(limit=PAGE_ROWS, before=board.page_edge))
        board.jobs.update({job.id: job for job in jobs})
        board.all_jobs_loaded = len(jobs) < PAGE_ROWS
        board.page_edge = jobs[-1].created_at if jobs else board.page_edge
        self._changed("jobs")
        return len(jobs)

    async def read_matching_jobs(self, text: str) -> None:
        """Load jobs that match a filter and may be older than what is loaded."""
        async with asyncio.timeout(READ_LIMIT_S):
            jobs = await self.backend.get_backup_jobs(JobFilters(text=text, limit=PAGE_ROWS))
        self.board.jobs.update({job.id: job for job in jobs})
        self._changed("jobs")

    async def read_safety(self) -> None:
        """Ask again whether we are safe."""
        async with asyncio.timeout(READ_LIMIT_S):
            self.board.take_safety(await self.backend.get_safety())
        self._back()
        self._changed("safety")

    async def _read_stale_jobs(self) -> None:
        """Read again the jobs whose proof a check or a restore has changed."""
        while self._stale_jobs:
            id_ = self._stale_jobs.pop()
            try:
                async with asyncio.timeout(READ_LIMIT_S):
                    self.board.jobs[id_] = await self.backend.get_backup_job_by_id(id_)
            except NotFoundError:
                self.board.jobs.pop(id_, None)
            self._changed("jobs", id_)

    async def _poll_safety(self) -> None:
        while True:
            # A job that starts or ends changes the answer: ask soon then, but at most once a second.
            await asyncio.sleep(SAFETY_AT_MOST_S)
            with suppress(TimeoutError):
                async with asyncio.timeout(SAFETY_EVERY_S - SAFETY_AT_MOST_S):
                    await self._safety_due.wait()
            self._safety_due.clear()
            try:
                await self._read_stale_jobs()
                await self.read_safety()
            except TuiBackupError as error:
                self._lost(error)
            except TimeoutError:
                self._lost(CatalogUnavailableError("The catalog did not answer in time."))

    def _lost(self, error: TuiBackupError) -> None:
        connection = self.board.connection
        if connection.connected or connection.error is None:
            connection.since = self.board.monotonic()
        connection.connected, connection.error = False, error
        self._changed("connection")

    def _back(self) -> None:
        connection = self.board.connection
        connection.fresh_at = self.board.monotonic()
        if not connection.connected:
            connection.connected, connection.error = True, None
            connection.since = self.board.monotonic()
            self._changed("connection")

    def _changed(self, subject: Subject, id_: UUID | None = None) -> None:
        self._tell(BoardChanged(subject, id_))
