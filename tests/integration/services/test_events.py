"""What the screens hear of: own changes soon, others' never, and a catalog that goes away and comes back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.integration.catalog.world import AGENT, World, login_of, make_world
from tests.integration.services.conftest import OpenAs
from tests.integration.services.installation import configure
from tests.servers import TestServer
from tui_backup.errors import CatalogUnavailableError
from tui_backup.model import BackupJob, BackupJobInsert, BackupScheduleInsert, JobStatus
from tui_backup.services.backups import cancel_backup_job, create_backup_job, get_backup_job_by_id
from tui_backup.services.events import Change, ConnectionState, Event, Resync, watch
from tui_backup.services.schedules import create_backup_schedule, delete_backup_schedule
from tui_backup.services.session import Session, open_session
from tui_backup.services.sources import add_source
from tui_backup.services.verifications import verify_backup


class Heard:
    """Collects what watch() yields."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._news = asyncio.Event()

    async def listen(self, session: Session, poll_s: float) -> None:
        async with aclosing(watch(session, poll_s=poll_s)) as events:
            async for event in events:
                self.events.append(event)
                self._news.set()

    async def until(self, wanted: Callable[[Event], bool], timeout_s: float = 10) -> Event:
        """The first event that fits, from the beginning on."""
        async with asyncio.timeout(timeout_s):
            while True:
                self._news.clear()
                for event in self.events:
                    if wanted(event):
                        return event
                await self._news.wait()

    def changes(self, subject: UUID) -> list[Change]:
        return [event for event in self.events if isinstance(event, Change) and event.id == subject]

    async def status(self, subject: UUID, status: JobStatus) -> Any:
        """The row of the subject when it has this status."""
        event = await self.until(
            lambda event: (
                isinstance(event, Change) and event.id == subject and getattr(event.row, "status", None) is status
            )
        )
        assert isinstance(event, Change)
        return event.row


@asynccontextmanager
async def following(session: Session, poll_s: float = 60) -> AsyncGenerator[Heard]:
    """Listen in the background; the poll is off unless wanted."""
    heard = Heard()
    task = asyncio.create_task(heard.listen(session, poll_s))
    try:
        await heard.until(lambda event: isinstance(event, ConnectionState) and event.connected)
        yield heard
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def shop(world: World) -> dict[str, UUID]:
    return {"source": world.add_source("acme"), "repository": world.add_repository("acme")}


async def test_a_job_is_followed_through_its_life(admin: Session, world: World, shop: dict[str, UUID]) -> None:
    async with following(admin) as heard:
        job = await create_backup_job(admin, BackupJobInsert(source="shop"))
        assert (await heard.status(job.id, JobStatus.PENDING)) == job
        agent = world.add_agent()
        world.run(
            AGENT,
            "UPDATE tui_backup.backup_jobs SET status = 'running', agent_id = %s WHERE id = %s",
            (agent, job.id),
        )
        await heard.status(job.id, JobStatus.RUNNING)
        world.run(
            AGENT,
            "INSERT INTO tui_backup.progress (subject_id, tenant_id, phase, rows_done) VALUES (%s, %s, 'copying', 9)",
            (job.id, world.tenants["acme"]),
        )
        event = await heard.until(
            lambda event: isinstance(event, Change) and isinstance(event.row, BackupJob) and bool(event.row.progress)
        )
        assert isinstance(event, Change) and event.kind == "job"
        assert isinstance(event.row, BackupJob) and event.row.progress and event.row.progress.rows_done == 9
        world.run(AGENT, "DELETE FROM tui_backup.backup_jobs WHERE id = %s", (job.id,))
        gone = await heard.until(lambda event: isinstance(event, Change) and event.row is None)
        assert isinstance(gone, Change) and (gone.id, gone.kind) == (job.id, "job")


async def test_every_kind_is_told(admin: Session, world: World, shop: dict[str, UUID]) -> None:
    job = world.add_job("acme", shop["source"], shop["repository"])
    async with following(admin) as heard:
        asked = await verify_backup(admin, job)
        schedule = await create_backup_schedule(admin, BackupScheduleInsert("n", "shop", "0 2 * * *"))
        source = await add_source(admin, "other", "host=h")
        restore = world.run(
            login_of("acme", "admin"),
            "INSERT INTO tui_backup.backup_restore_logs (backup_job_id, restore_type, target, target_source_id)"
            " VALUES (%s, 'full', 'swap', %s) RETURNING id",
            (job, shop["source"]),
        )[0]["id"]
        wanted = {asked.id: "verification", schedule.id: "schedule", source.id: "source", restore: "restore"}
        for subject, kind in wanted.items():
            event = await heard.until(lambda event, one=subject: isinstance(event, Change) and event.id == one)
            assert isinstance(event, Change) and event.kind == kind and event.row is not None
        await delete_backup_schedule(admin, schedule.id)
        await heard.until(lambda event: isinstance(event, Change) and event.id == schedule.id and event.row is None)
        world.run(AGENT, "UPDATE tui_backup.backup_jobs SET deleted_at = now() WHERE id = %s", (job,))
        # only its memory is kept
        event = await heard.until(lambda event: isinstance(event, Change) and event.id == job)
        assert isinstance(event, Change) and event.row is None


async def test_another_tenants_changes_show_nothing(
    admin: Session, open_as: OpenAs, world: World, shop: dict[str, UUID]
) -> None:
    world.add_source("globex", "theirs")
    world.add_repository("globex")
    other = await open_as(login_of("globex", "admin"))
    async with following(admin) as heard:
        theirs = await create_backup_job(other, BackupJobInsert(source="theirs", backup_name="secret"))
        await cancel_backup_job(other, theirs.id)
        # what somebody else writes on the channel harms nobody
        world.run(login_of("globex", "admin"), "SELECT pg_notify('tui_backup_changed', 'nonsense')")
        world.run(login_of("globex", "admin"), "SELECT pg_notify('tui_backup_changed', %s)", (str(uuid4()),))
        ours = await create_backup_job(admin, BackupJobInsert(source="shop"))
        await heard.status(ours.id, JobStatus.PENDING)
        assert all(change.row is None and change.kind == "gone" for change in heard.changes(theirs.id))
        assert "secret" not in repr(heard.events)


async def test_bursts_are_gathered(admin: Session, world: World, shop: dict[str, UUID]) -> None:
    job = await create_backup_job(admin, BackupJobInsert(source="shop"))
    async with following(admin) as heard:
        started = time.monotonic()
        with world.connect(AGENT) as agent:
            for n in range(300):
                agent.execute("UPDATE tui_backup.backup_jobs SET retry_count = %s WHERE id = %s", (n, job.id))
        await heard.until(
            lambda event: (
                isinstance(event, Change) and isinstance(event.row, BackupJob) and event.row.retry_count == 299
            )
        )
        assert len(heard.changes(job.id)) <= (time.monotonic() - started) / 0.5 + 2


async def test_the_poll_finds_what_no_message_told(admin: Session, world: World, shop: dict[str, UUID]) -> None:
    async with following(admin, poll_s=0.3) as heard:
        # put in past the triggers: nobody is notified
        world.add_job("acme", shop["source"], shop["repository"])
        await heard.until(lambda event: isinstance(event, Resync))
        count = len(heard.events)
        await asyncio.sleep(1)
        assert len(heard.events) == count, "told once is enough"


async def test_the_poll_ends_runs_of_dead_agents(admin: Session, world: World, shop: dict[str, UUID]) -> None:
    async with following(admin, poll_s=0.3) as heard:
        agent = world.add_agent(silent_s=60)
        job = world.add_job("acme", shop["source"], shop["repository"], "running", agent_id=agent)
        row = await heard.status(job, JobStatus.FAILED)
        assert row.error_details["error"] == "agent_lost"


async def test_nothing_happens_while_nothing_changes(admin: Session, shop: dict[str, UUID]) -> None:
    async with following(admin, poll_s=0.2) as heard:
        await asyncio.sleep(1)
        assert [type(event) for event in heard.events] == [ConnectionState]


async def test_a_catalog_that_goes_away_and_comes_back(pg_new: Callable[..., TestServer], tmp_path: Path) -> None:
    server = pg_new()
    world = await asyncio.to_thread(make_world, server)
    source, repository = world.add_source("acme"), world.add_repository("acme")
    async with (
        await open_session(configure(world, tmp_path, login_of("acme", "admin"))) as session,
        following(session, poll_s=0.5) as heard,
    ):
        world.close()
        await asyncio.to_thread(server.stop, "immediate")
        lost = await heard.until(lambda event: isinstance(event, ConnectionState) and not event.connected)
        assert isinstance(lost, ConnectionState) and isinstance(lost.error, CatalogUnavailableError)
        await asyncio.sleep(1.5)
        assert sum(isinstance(event, ConnectionState) for event in heard.events) == 2, "said once"
        await asyncio.to_thread(server.start)
        await heard.until(lambda event: isinstance(event, Resync) and event.reason == "reconnected", 30)
        states = [event.connected for event in heard.events if isinstance(event, ConnectionState)]
        assert states == [True, False, True]
        assert source and repository
        job = await create_backup_job(session, BackupJobInsert(source="shop"))
        assert await heard.status(job.id, JobStatus.PENDING) == await get_backup_job_by_id(session, job.id)
    world.close()


async def test_only_the_listening_connection_is_cut(admin: Session, world: World, shop: dict[str, UUID]) -> None:
    async with following(admin, poll_s=5) as heard:
        world.superuser("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE '% listen'")
        await heard.until(lambda event: isinstance(event, Resync))
        job = await create_backup_job(admin, BackupJobInsert(source="shop"))
        await heard.status(job.id, JobStatus.PENDING)
    # the server needs a moment to notice that the line was closed
    end = time.monotonic() + 10
    while world.superuser("SELECT 1 AS n FROM pg_stat_activity WHERE application_name LIKE '% listen'"):
        assert time.monotonic() < end, "the listening connection stays"
        await asyncio.sleep(0.1)
