"""The queue under the agent's login: what members put in comes out, and nobody else reaches it."""

from __future__ import annotations

import asyncio

import procrastinate
import pytest
from procrastinate.exceptions import ConnectorException

from tests.integration.catalog.world import AGENT, World, login_of
from tui_backup.queue import names
from tui_backup.queue.app import make_app, queue_settings


async def _run_all(world: World) -> list[tuple[str, str]]:
    app = make_app(world.dsn(AGENT))
    done: list[tuple[str, str]] = []

    def add(name: str) -> None:
        async def task(subject_id: str) -> None:
            done.append((name, subject_id))

        app.task(name=name)(task)

    for name in names.ALL:
        add(name)
    async with app.open_async():
        await asyncio.wait_for(app.run_worker_async(wait=False, install_signal_handlers=False), 20)
    return done


async def test_what_members_ask_for_reaches_the_agent(world_any: World) -> None:
    world = world_any
    source, repository = world.add_source("acme"), world.add_repository("acme")
    done = world.add_job("acme", source, repository)
    restore = world.add_restore("acme", done, source, undo_state="kept")
    admin = login_of("acme", "admin")
    (job,) = world.run(
        admin,
        "INSERT INTO tui_backup.backup_jobs (job_type, source_id, repository_id) VALUES ('full', %s, %s) RETURNING id",
        (source, repository),
    )
    (check,) = world.run(
        admin, "INSERT INTO tui_backup.backup_verifications (backup_job_id) VALUES (%s) RETURNING id", (done,)
    )
    (again,) = world.run(
        admin,
        "INSERT INTO tui_backup.backup_restore_logs (backup_job_id, restore_type, target, target_source_id)"
        " VALUES (%s, 'full', 'swap', %s) RETURNING id",
        (done, source),
    )
    world.run(admin, "SELECT tui_backup.request_undo(%s, 'undo_requested')", (restore,))
    world.run(admin, "SELECT tui_backup.request_delete(%s)", (done,))
    assert sorted(await _run_all(world)) == sorted(
        [
            (names.BACKUP, str(job["id"])),
            (names.VERIFY, str(check["id"])),
            (names.RESTORE, str(again["id"])),
            (names.UNDO, str(restore)),
            (names.DELETE, str(done)),
        ]
    )


async def test_one_heavy_job_a_source(world: World) -> None:
    source, repository = world.add_source("acme"), world.add_repository("acme")
    other = world.add_source("acme", "other")
    for one in (source, source, other):
        world.run(
            login_of("acme", "operator"),
            "INSERT INTO tui_backup.backup_jobs (job_type, source_id, repository_id) VALUES ('full', %s, %s)",
            (one, repository),
        )
    app = make_app(world.dsn(AGENT))
    running: set[str] = set()
    most = 0

    async def backup(subject_id: str) -> None:
        nonlocal most
        row = world.superuser("SELECT source_id FROM tui_backup.backup_jobs WHERE id = %s", (subject_id,))[0]
        assert str(row["source_id"]) not in running
        running.add(str(row["source_id"]))
        most = max(most, len(running))
        await asyncio.sleep(0.3)
        running.discard(str(row["source_id"]))

    app.task(name=names.BACKUP)(backup)
    async with app.open_async():
        await asyncio.wait_for(app.run_worker_async(wait=False, install_signal_handlers=False, concurrency=3), 20)
        # the second job of the source was held back by the first; the worker is asked once more for it
        await asyncio.wait_for(app.run_worker_async(wait=False, install_signal_handlers=False, concurrency=3), 20)
    left = world.superuser("SELECT count(*) AS n FROM tui_backup_queue.procrastinate_jobs WHERE status <> 'succeeded'")
    assert (most, left) == (2, [{"n": 0}])


async def test_a_member_cannot_reach_the_queue(world: World) -> None:
    app = make_app(world.dsn(login_of("acme", "admin")))
    async with app.open_async():
        with pytest.raises(ConnectorException):
            await app.job_manager.list_jobs_async()


def test_the_users_own_options_stay() -> None:
    settings = queue_settings("host=h options='-c statement_timeout=5s'")
    assert settings["options"] == "-c statement_timeout=5s -c search_path=tui_backup_queue,pg_catalog"
    assert isinstance(make_app("host=h"), procrastinate.App)
