"""What is read from a repository: contents, download, plan and request of a restore."""

from __future__ import annotations

import asyncio
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from tests.integration.catalog.world import World, login_of
from tests.integration.services.conftest import OpenAs
from tests.integration.services.stored import Shop
from tui_backup.catalog.passfile import remember
from tui_backup.errors import (
    AlreadyExistsError,
    ConfirmationRequiredError,
    DamagedError,
    JobStateError,
    NotFoundError,
    ObjectMissingError,
    PermissionRefusedError,
    StoreError,
    ValidationError,
    WorkFailedError,
)
from tui_backup.model import JobStatus, Progress, RestoreRequest, RestoreTarget, RestoreType
from tui_backup.services.backups import download_backup_file, estimate_backup, get_backup_contents
from tui_backup.services.restores import (
    cancel_restore,
    finish_restore,
    get_restore_log_by_id,
    get_restore_logs,
    plan_restore,
    restore_from_backup,
    undo_restore,
)
from tui_backup.services.session import Session


@pytest.fixture
def shop(world: World, tmp_path: Path) -> Iterator[Shop]:
    made = Shop(world, tmp_path)
    yield made
    made.close()


@pytest.fixture
def job(shop: Shop) -> UUID:
    return shop.back_up()


async def test_the_tables_of_a_backup(admin: Session, job: UUID) -> None:
    tables = {table.name: table for table in await get_backup_contents(admin, str(job)[:8])}
    assert list(tables) == ['"odd schema"."Odd.Table"', "public.customers", "public.events", "public.events_1"]
    assert (tables["public.customers"].rows, tables["public.customers"].chunks) == (1000, 1)
    assert tables["public.customers"].raw_bytes > tables["public.customers"].stored_bytes > 0
    assert tables['"odd schema"."Odd.Table"'].rows == 2


async def test_what_is_no_backup_has_no_contents(admin: Session, world: World, shop: Shop, tmp_path: Path) -> None:
    for status in ("pending", "failed", "cancelled"):
        other = world.add_job("acme", shop.source, shop.repository, status)
        for attempt in (get_backup_contents(admin, other), download_backup_file(admin, other, tmp_path / "x")):
            with pytest.raises(JobStateError, match=status):
                await attempt
    unknown = world.add_job("acme", shop.source, shop.repository)
    with pytest.raises(StoreError):
        await get_backup_contents(admin, unknown)
    shop.back_up()
    with pytest.raises(ObjectMissingError):
        await get_backup_contents(admin, unknown)


async def test_a_damaged_manifest_is_named(admin: Session, shop: Shop, job: UUID) -> None:
    (manifest,) = shop.location.rglob(f"{job}.json.zst")
    data = bytearray(manifest.read_bytes())
    data[len(data) // 2] ^= 1
    manifest.chmod(0o600)
    manifest.write_bytes(data)
    with pytest.raises(DamagedError, match=str(job)):
        await get_backup_contents(admin, job)


async def test_a_download_is_loaded_by_psql(admin: Session, world: World, job: UUID, tmp_path: Path) -> None:
    output = tmp_path / "shop.sql"
    told: list[Progress] = []
    written = await download_backup_file(admin, job, output, on_progress=told.append)
    assert written == output.stat().st_size > 0
    assert stat.S_IMODE(output.stat().st_mode) == 0o600
    assert told[-1].bytes_done > 0 and told[-1].tables_total > 0
    copy = world.server.create_database()
    try:
        subprocess.run(
            [world.server.program("psql"), "-X", "-v", "ON_ERROR_STOP=1", "-q", "-f", output, world.server.dsn(copy)],
            check=True,
            capture_output=True,
        )
        rows = world.server.execute(
            'SELECT count(*) FROM customers UNION ALL SELECT count(*) FROM "odd schema"."Odd.Table"', copy
        )
        assert rows == [(1000,), (2,)]
    finally:
        world.server.drop_database(copy)


async def test_a_download_overwrites_nothing_and_leaves_nothing(admin: Session, job: UUID, tmp_path: Path) -> None:
    there = tmp_path / "there.sql"
    there.write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for taken in (there, tmp_path / "link", tmp_path):
        with pytest.raises(AlreadyExistsError):
            await download_backup_file(admin, job, taken)
    with pytest.raises(WorkFailedError, match="cannot be written"):
        await download_backup_file(admin, job, tmp_path / "no" / "folder.sql")
    assert there.read_text() == "mine"


async def test_a_download_that_breaks_leaves_no_part(admin: Session, shop: Shop, job: UUID, tmp_path: Path) -> None:
    for pack in (shop.location / str(admin.identity.tenant_id) / "packs").rglob("*"):
        if pack.is_file():
            pack.unlink()
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(StoreError):
        await download_backup_file(admin, job, out / "shop.sql")
    assert list(out.iterdir()) == []


async def test_a_cancelled_download_leaves_no_part(admin: Session, job: UUID, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    download = asyncio.create_task(download_backup_file(admin, job, out / "shop.sql"))
    while not list(out.iterdir()) and not download.done():  # noqa: ASYNC110  a file gives no event
        await asyncio.sleep(0.001)
    download.cancel()
    with pytest.raises(asyncio.CancelledError):
        await download
    assert [path.name for path in out.iterdir() if path.name.endswith(".part")] == []


async def test_only_an_admin_downloads(open_as: OpenAs, job: UUID, tmp_path: Path) -> None:
    for role in ("operator", "employee"):
        member = await open_as(login_of("acme", role))
        assert len(await get_backup_contents(member, job)) == 4
        with pytest.raises(PermissionRefusedError):
            await download_backup_file(member, job, tmp_path / "x")
    stranger = await open_as(login_of("globex", "admin"))
    for attempt in (download_backup_file(stranger, job, tmp_path / "x"), get_backup_contents(stranger, job)):
        with pytest.raises(NotFoundError):
            await attempt
    assert not (tmp_path / "x").exists()


async def test_the_estimate(admin: Session, shop: Shop, job: UUID, world: World) -> None:
    remember(admin.config.passfile, shop.conninfo, world.server.password)
    world.superuser("UPDATE tui_backup.backup_jobs SET compressed_size_bytes = 3000, duration_seconds = 100")
    whole = await estimate_backup(admin, "shop")
    assert (whole.bytes_needed, whole.seconds, whole.repository) == (3000, 100, "local")
    assert whole.bytes_free is not None and whole.bytes_free > 0
    part = await estimate_backup(admin, "shop", ["public.events"])
    assert part.bytes_needed is not None and 0 < part.bytes_needed < 3000
    with pytest.raises(NotFoundError):
        await estimate_backup(admin, "nope")


# -- restores ----------------------------------------------------------------------------------------------------------


async def test_the_plan(admin: Session, shop: Shop, job: UUID, world: World) -> None:
    remember(admin.config.passfile, shop.conninfo, world.server.password)
    world.server.execute("DELETE FROM customers WHERE id > 900", shop.database)
    plan = await plan_restore(admin, RestoreRequest(job, RestoreTarget.IN_PLACE, tables=["public.customers"]))
    assert plan.job.id == job and plan.database == shop.database
    (table,) = plan.tables
    assert (table.name, table.rows_in_backup, table.rows_now) == ("public.customers", 1000, 900)
    fresh = await plan_restore(admin, RestoreRequest(job, database="shop_again"))
    assert fresh.refused == [] and fresh.target is RestoreTarget.NEW_DATABASE
    taken = await plan_restore(admin, RestoreRequest(job, database=shop.database))
    assert taken.refused


async def test_a_restore_is_queued_as_it_was_asked_for(admin: Session, world: World, job: UUID) -> None:
    request = RestoreRequest(
        job,
        RestoreTarget.SIDE_SCHEMA,
        schema="look",
        tables=["public.customers"],
        confirm_restore=True,
        compare=False,
        notes="why",
    )
    log = await restore_from_backup(admin, request)
    assert (log.status, log.restore_type, log.target) == (
        JobStatus.PENDING,
        RestoreType.PARTIAL,
        RestoreTarget.SIDE_SCHEMA,
    )
    assert (log.target_schema, list(log.chosen_tables), log.notes) == ("look", ["public.customers"], "why")
    assert (log.source_name, log.target_source_name) == ("shop", "shop")
    assert log.initiated_by == admin.identity.user_id and log.restore_point is not None
    (row,) = world.superuser("SELECT options FROM tui_backup.backup_restore_logs")
    assert row["options"] == {"compare": False, "safety_backup": True, "no_owner": False}
    assert await get_restore_logs(admin) == [log] == [await get_restore_log_by_id(admin, str(log.id)[:9])]
    assert (await cancel_restore(admin, log.id)).status is JobStatus.CANCELLED
    with pytest.raises(JobStateError):
        await cancel_restore(admin, log.id)


async def test_nothing_is_restored_without_the_confirmation(admin: Session, job: UUID) -> None:
    with pytest.raises(ConfirmationRequiredError) as caught:
        await restore_from_backup(admin, RestoreRequest(job, database="x"))
    assert caught.value.exit_status == 3 and "--confirm" in caught.value.hint
    assert await get_restore_logs(admin) == []


async def test_who_may_restore(open_as: OpenAs, job: UUID) -> None:
    def request(target: RestoreTarget) -> RestoreRequest:
        return RestoreRequest(job, target, database="d", schema="s", tables=["public.customers"], confirm_restore=True)

    operator, employee = [await open_as(login_of("acme", role)) for role in ("operator", "employee")]
    for target in RestoreTarget:
        with pytest.raises(PermissionRefusedError):
            await restore_from_backup(employee, request(target))
        if target in (RestoreTarget.NEW_DATABASE, RestoreTarget.SIDE_SCHEMA):
            assert (await restore_from_backup(operator, request(target))).status is JobStatus.PENDING
        else:
            for attempt in (restore_from_backup(operator, request(target)), plan_restore(operator, request(target))):
                with pytest.raises(PermissionRefusedError, match="admin"):
                    await attempt
    stranger = await open_as(login_of("globex", "admin"))
    with pytest.raises(NotFoundError):
        await restore_from_backup(stranger, request(RestoreTarget.NEW_DATABASE))


async def test_what_a_restore_cannot_be_asked_for(admin: Session, world: World, shop: Shop, job: UUID) -> None:
    side = RestoreTarget.SIDE_SCHEMA
    for wrong, error in (
        (RestoreRequest(job), ValidationError),
        (RestoreRequest(job, database="x" * 64), ValidationError),
        (RestoreRequest(job, side, schema="s"), ValidationError),
        (RestoreRequest(job, side, tables=["a"]), ValidationError),
        (RestoreRequest(job, side, schema="pg_x", tables=["a"]), ValidationError),
        (RestoreRequest(uuid4(), database="x"), NotFoundError),
        (RestoreRequest(job, database="x", target_source="nope"), NotFoundError),
        (RestoreRequest(world.add_job("acme", shop.source, shop.repository, "failed"), database="x"), JobStateError),
    ):
        with pytest.raises(error):
            await plan_restore(admin, wrong)


@pytest.mark.parametrize("act", ["undo", "finish"])
async def test_undo_and_finish_wait_for_the_agent(
    admin: Session, open_as: OpenAs, world: World, shop: Shop, act: str
) -> None:
    asked, done = {
        "undo": ("undo_requested", "undone"),
        "finish": ("finish_requested", "finished"),
    }[act]
    log = world.add_restore("acme", world.add_job("acme", shop.source, shop.repository), shop.source, undo_state="kept")
    world.add_agent()

    def start(session: Session) -> asyncio.Task[object]:
        action = undo_restore(session, log) if act == "undo" else finish_restore(session, log, confirm=True)
        return asyncio.create_task(action)

    def agent_says(state: str, metadata: str = "{}") -> None:
        world.superuser("UPDATE tui_backup.backup_restore_logs SET undo_state = %s, metadata = %s", (state, metadata))

    if act == "finish":
        with pytest.raises(ConfirmationRequiredError):
            await finish_restore(admin, log, confirm=False)
    with pytest.raises(PermissionRefusedError):
        await start(await open_as(login_of("acme", "operator")))
    # it fails: the old state is back, and the reason is told
    waiting = start(admin)
    await asyncio.sleep(0.3)
    assert (await get_restore_log_by_id(admin, log)).undo_state == asked
    agent_says("kept", '{"undo_error": {"error": "x", "message": "In use.", "hint": "Wait."}}')
    with pytest.raises(WorkFailedError, match="In use"):
        await asyncio.wait_for(waiting, 5)
    waiting = start(admin)
    await asyncio.sleep(0.3)
    agent_says(done)
    await asyncio.wait_for(waiting, 5)
    with pytest.raises(JobStateError, match="already"):
        await start(admin)


async def test_a_restore_that_kept_nothing_has_no_undo(admin: Session, world: World, shop: Shop) -> None:
    log = world.add_restore("acme", world.add_job("acme", shop.source, shop.repository), shop.source)
    with pytest.raises(JobStateError, match="no old database"):
        await undo_restore(admin, log)
