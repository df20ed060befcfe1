"""Sources, repositories and schedules, on real servers and folders."""

from __future__ import annotations

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.integration.catalog.world import PASSWORD, World, login_of, make_login
from tests.integration.services.conftest import OpenAs
from tui_backup.errors import (
    AlreadyExistsError,
    ConfirmationRequiredError,
    JobStateError,
    LoginFailedError,
    NotFoundError,
    PermissionRefusedError,
    RefusedError,
    StoreError,
    TuiBackupError,
    ValidationError,
)
from tui_backup.model import BackupScheduleInsert
from tui_backup.services import sources
from tui_backup.services.repositories import (
    add_repository,
    check_repository,
    get_repositories,
    get_repository,
    remove_repository,
)
from tui_backup.services.schedules import (
    create_backup_schedule,
    delete_backup_schedule,
    get_backup_schedule,
    get_backup_schedules,
    toggle_backup_schedule,
    update_backup_schedule,
)
from tui_backup.services.session import Session

# -- sources -----------------------------------------------------------------------------------------------------------


async def test_a_sources_password_goes_to_the_passfile_only(admin: Session, world: World) -> None:
    source = await sources.add_source(admin, "shop", world.server.dsn(world.database), rpo_seconds=3600)
    assert (source.rpo_seconds, source.tenant_id) == (3600, admin.identity.tenant_id)
    parts = conninfo_to_dict(source.conninfo)
    assert "password" not in parts and parts["dbname"] == world.database
    assert stat.S_IMODE(admin.config.passfile.stat().st_mode) == 0o600
    assert world.server.password not in repr(world.superuser("SELECT * FROM tui_backup.sources"))
    # and the source can be used with it
    found = await sources.test_source(admin, "shop")
    assert (found.database, found.user, found.is_standby) == (world.database, "postgres", False)
    assert found.tables > 5 and found.size_bytes > 0 and found.tools
    assert {problem.level for problem in found.problems} == {"ok"}
    assert await sources.get_sources(admin) == [source]


async def test_what_the_environment_says_is_written_down(admin: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGHOST", "db01")
    monkeypatch.setenv("PGPORT", "5433")
    monkeypatch.setenv("PGUSER", "someone")
    source = await sources.add_source(admin, "env", "dbname=shop port=1")
    assert conninfo_to_dict(source.conninfo) == {"host": "db01", "port": "1", "user": "someone", "dbname": "shop"}
    service = await sources.add_source(admin, "service", "service=prod")
    assert conninfo_to_dict(service.conninfo) == {"service": "prod"}


@pytest.mark.parametrize(
    ("name", "dsn", "rpo"),
    [
        ("", "host=h", 60),
        ("a b", "host=h", 60),
        ("-x", "host=h", 60),
        ("x" * 64, "host=h", 60),
        ("n", "nonsense", 60),
        ("n", "host=h", 0),
        ("n", "sslpassword=topsecret", 60),
    ],
)
async def test_a_source_that_cannot_be(admin: Session, name: str, dsn: str, rpo: int) -> None:
    with pytest.raises(ValidationError) as caught:
        await sources.add_source(admin, name, dsn, rpo_seconds=rpo)
    assert "topsecret" not in str(caught.value.to_json())
    assert await sources.get_sources(admin) == []


async def test_a_taken_name_changes_no_password(admin: Session, world: World) -> None:
    await sources.add_source(admin, "shop", "host=h user=u password=good")
    before = admin.config.passfile.read_text()
    with pytest.raises(AlreadyExistsError, match="source of this name"):
        await sources.add_source(admin, "shop", "host=h user=u password=bad")
    assert admin.config.passfile.read_text() == before


async def test_rights_that_are_missing_are_listed_with_the_grants(admin: Session, world: World) -> None:
    make_login(world.server, "w_reader")
    name = world.server.create_database()
    try:
        world.server.execute("CREATE TABLE orders (); CREATE SCHEMA s; CREATE TABLE s.t ()", name)
        await sources.add_source(admin, "shop", world.server.dsn(name, "w_reader", PASSWORD))
        found = await sources.test_source(admin, "shop")
        (problem,) = [problem for problem in found.problems if problem.level == "refused"]
        assert "orders" in problem.message
        assert 'GRANT SELECT ON TABLE "public"."orders" TO "w_reader";' in found.grants
        tables = await sources.list_source_tables(admin, "shop")
        assert [(table.schema, table.name) for table in tables] == [("public", "orders"), ("s", "t")]
    finally:
        world.server.drop_database(name)


async def test_the_tables_to_choose_from(admin: Session, world: World) -> None:
    name = world.server.create_database()
    try:
        world.server.execute(
            'CREATE TABLE "A.b" AS SELECT generate_series(1, 5000) n; CREATE TEMP TABLE t ();'
            " CREATE TABLE p (n int) PARTITION BY RANGE (n); CREATE VIEW v AS SELECT 1;"
            " CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (9); INSERT INTO p VALUES (1), (2); ANALYZE",
            name,
        )
        await sources.add_source(admin, "shop", world.server.dsn(name))
        whole, parted = await sources.list_source_tables(admin, "shop")
        assert (whole.quoted_name, whole.rows_estimate) == ('public."A.b"', 5000)
        assert whole.bytes >= 5000 * 28
        assert (parted.quoted_name, parted.rows_estimate, parted.bytes) == ("public.p", 2, 8192)
    finally:
        world.server.drop_database(name)


async def test_a_source_that_does_not_answer(admin: Session, world: World) -> None:
    await sources.add_source(admin, "down", "host=127.0.0.1 port=1 user=u dbname=d password=topsecret")
    await sources.add_source(admin, "wrong", world.server.dsn("postgres", "postgres", "topsecret"))
    for name in ("down", "wrong"):
        with pytest.raises(TuiBackupError) as caught:
            await sources.test_source(admin, name)
        assert "topsecret" not in str(caught.value.to_json())
        assert isinstance(caught.value, LoginFailedError) == (name == "wrong")


async def test_removing_a_source(admin: Session, open_as: OpenAs, world: World) -> None:
    used = world.add_source("acme", "used")
    world.add_job("acme", used, world.add_repository("acme"))
    world.add_source("acme", "free")
    world.add_source("globex", "theirs")
    with pytest.raises(ConfirmationRequiredError):
        await sources.remove_source(admin, "free", confirm=False)
    with pytest.raises(PermissionRefusedError):
        await sources.remove_source(await open_as(login_of("acme", "operator")), "free", confirm=True)
    with pytest.raises(JobStateError, match="in use by backups"):
        await sources.remove_source(admin, "used", confirm=True)
    for name in ("nope", "theirs"):
        with pytest.raises(NotFoundError):
            await sources.remove_source(admin, name, confirm=True)
    await sources.remove_source(admin, "free", confirm=True)
    assert [source.source_name for source in await sources.get_sources(admin)] == ["used"]


# -- repositories ------------------------------------------------------------------------------------------------------


async def test_the_first_repository_is_the_default(
    admin: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(NotFoundError, match="no default"):
        await get_repository(admin)
    monkeypatch.chdir(tmp_path)
    first = await add_repository(admin, "first", "one")
    assert first.is_default and first.location == str(tmp_path / "one")
    assert stat.S_IMODE((tmp_path / "one").stat().st_mode) == 0o700
    second = await add_repository(admin, "second", str(tmp_path / "two"))
    assert not second.is_default
    assert await get_repository(admin) == await get_repository(admin, "first")
    third = await add_repository(admin, "third", str(tmp_path / "three"), make_default=True)
    assert (await get_repository(admin)).id == third.id
    names = [(one.repository_name, one.is_default) for one in await get_repositories(admin)]
    assert names == [("first", False), ("second", False), ("third", True)]
    # a place that is a repository already is recognised, under another name
    assert (await add_repository(admin, "again", str(tmp_path / "one"))).location == first.location
    with pytest.raises(AlreadyExistsError):
        await add_repository(admin, "first", str(tmp_path / "four"))


async def test_a_repository_that_cannot_be(admin: Session, open_as: OpenAs, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir(mode=0o700)
    (tmp_path / "full" / "thing").write_text("x")
    (tmp_path / "public").mkdir()
    (tmp_path / "public").chmod(0o755)
    for location in (str(tmp_path / "full"), str(tmp_path / "public"), "s3://k:topsecret@bucket/x"):
        with pytest.raises((RefusedError, StoreError, ValidationError)) as caught:
            await add_repository(admin, "n", location)
        assert "topsecret" not in str(caught.value.to_json())
    with pytest.raises(ValidationError):
        await add_repository(admin, "a/b", str(tmp_path / "x"))
    with pytest.raises(ValidationError):
        await add_repository(admin, "n", str(tmp_path / "x"), max_object_bytes=1000)
    operator = await open_as(login_of("acme", "operator"))
    with pytest.raises(PermissionRefusedError):
        await add_repository(operator, "n", str(tmp_path / "y"))
    assert not (tmp_path / "y").exists() and await get_repositories(admin) == []


async def test_checking_and_removing_a_repository(admin: Session, world: World, tmp_path: Path) -> None:
    repository = await add_repository(admin, "local", str(tmp_path / "r"))
    found = await check_repository(admin, "local")
    assert [problem.level for problem in found.problems] == ["ok"]
    assert found.free_bytes is not None and found.free_bytes > 0
    (tmp_path / "r").rename(tmp_path / "away")
    (problem,) = (await check_repository(admin, "local")).problems
    assert problem.level == "refused"
    with pytest.raises(ConfirmationRequiredError):
        await remove_repository(admin, "local", confirm=False)
    job = world.add_job("acme", world.add_source("acme"), repository.id)
    with pytest.raises(JobStateError, match="backups"):
        await remove_repository(admin, "local", confirm=True)
    world.superuser("DELETE FROM tui_backup.backup_jobs WHERE id = %s", (job,))
    await remove_repository(admin, "local", confirm=True)
    assert await get_repositories(admin) == [] and (tmp_path / "away" / "config").exists()


# -- schedules ---------------------------------------------------------------------------------------------------------

NIGHTLY = BackupScheduleInsert(
    schedule_name="nightly",
    source="shop",
    cron_expression="0  2 * * *",
    timezone="Asia/Riyadh",
    notification_emails=["ops@example.org"],
    tables=["public.orders"],
)


async def test_a_schedule_is_stored_with_its_next_run(admin: Session, world: World) -> None:
    world.add_source("acme")
    made = await create_backup_schedule(admin, NIGHTLY)
    assert (made.cron_expression, made.timezone, made.is_enabled) == ("0 2 * * *", "Asia/Riyadh", True)
    assert (made.retention_days, made.max_backups_count) == (30, 10)
    assert (list(made.notification_emails), list(made.chosen_tables)) == (["ops@example.org"], ["public.orders"])
    assert made.source_name == "shop" and made.repository_name is None
    assert made.next_run_at is not None
    assert (made.next_run_at.astimezone(UTC).hour, made.next_run_at.minute) == (23, 0)
    assert timedelta() < made.next_run_at - datetime.now(UTC) <= timedelta(days=1)
    assert await get_backup_schedules(admin) == [made] == [await get_backup_schedule(admin, "nightly")]
    assert await get_backup_schedule(admin, str(made.id)[:8]) == made
    with pytest.raises(AlreadyExistsError, match="schedule of this name"):
        await create_backup_schedule(admin, NIGHTLY)


async def test_changing_a_schedule(admin: Session, world: World) -> None:
    world.add_source("acme")
    world.add_repository("acme")
    made = await create_backup_schedule(admin, NIGHTLY)
    # a run that is due now is not lost by a change of something else
    due = datetime.now(UTC) - timedelta(seconds=5)
    world.superuser("UPDATE tui_backup.backup_schedules SET next_run_at = %s", (due,))
    changed = await update_backup_schedule(admin, made.id, {"description": "d", "repository": "local"})
    assert (changed.description, changed.repository_name, changed.next_run_at) == ("d", "local", due)
    assert changed.updated_by == admin.identity.user_id
    moved = await update_backup_schedule(admin, "nightly", {"cron_expression": "30 3 * * *", "timezone": "UTC"})
    assert moved.next_run_at is not None and (moved.next_run_at.hour, moved.next_run_at.minute) == (3, 30)
    off = await toggle_backup_schedule(admin, "nightly", False)
    assert (off.is_enabled, off.next_run_at) == (False, None)
    world.superuser("UPDATE tui_backup.backup_schedules SET next_run_at = NULL")
    on = await toggle_backup_schedule(admin, "nightly", True)
    assert on.next_run_at is not None and on.next_run_at > datetime.now(UTC)
    for wrong in ({"cron_expression": "x"}, {"nope": 1}, {"job_type": "weird"}, {"schedule_name": ""}):
        with pytest.raises(ValidationError):
            await update_backup_schedule(admin, "nightly", wrong)
    with pytest.raises(NotFoundError):
        await update_backup_schedule(admin, "nightly", {"source": "nope"})
    assert await get_backup_schedule(admin, "nightly") == on


async def test_only_an_admin_touches_schedules(admin: Session, open_as: OpenAs, world: World) -> None:
    world.add_source("acme")
    made = await create_backup_schedule(admin, NIGHTLY)
    for role in ("operator", "employee"):
        member = await open_as(login_of("acme", role))
        assert await get_backup_schedules(member) == [made]
        for attempt in (
            create_backup_schedule(member, NIGHTLY),
            toggle_backup_schedule(member, made.id, False),
            delete_backup_schedule(member, made.id),
        ):
            with pytest.raises(PermissionRefusedError):
                await attempt
    stranger = await open_as(login_of("globex", "admin"))
    assert await get_backup_schedules(stranger) == []
    with pytest.raises(NotFoundError):
        await delete_backup_schedule(stranger, made.id)
    job = world.add_job("acme", made.source_id, world.add_repository("acme"), schedule_id=made.id)  # type: ignore[arg-type]
    await delete_backup_schedule(admin, "nightly")
    assert await get_backup_schedules(admin) == []
    assert world.superuser("SELECT schedule_id FROM tui_backup.backup_jobs WHERE id = %s", (job,)) == [
        {"schedule_id": None}
    ]


async def test_the_first_wrong_field_is_raised_and_all_are_told(admin: Session) -> None:
    wrong = BackupScheduleInsert(schedule_name="", source="shop", cron_expression="x", timezone="y")
    with pytest.raises(ValidationError) as caught:
        await create_backup_schedule(admin, wrong)
    assert caught.value.field == "schedule_name"
    assert list(caught.value.details["fields"]) == ["schedule_name", "cron_expression", "timezone"]
