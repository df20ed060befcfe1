"""Tenant maps read and changed against a live source; jobs and schedules of a tenant's rows; what counts as safe."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from psycopg.conninfo import make_conninfo
from psycopg.types.json import Jsonb

from tests.integration.catalog.world import World, login_of
from tests.integration.services.conftest import OpenAs
from tui_backup.catalog.passfile import remember
from tui_backup.errors import PermissionRefusedError, ValidationError
from tui_backup.model import BackupJobInsert, BackupScheduleInsert, Safety
from tui_backup.services.backups import create_backup_job
from tui_backup.services.schedules import create_backup_schedule, update_backup_schedule
from tui_backup.services.session import Session
from tui_backup.services.sources import add_source
from tui_backup.services.statistics import get_safety
from tui_backup.services.storage import get_storage
from tui_backup.services.tenant_maps import (
    TenantMapChanges,
    get_tenant_map,
    set_tenant_map,
    split_rule,
)

SHOP = """
CREATE TABLE people (id int PRIMARY KEY, tenant_id text);
CREATE TABLE orders (id int PRIMARY KEY, person int NOT NULL CONSTRAINT orders_fk REFERENCES people);
CREATE TABLE countries (id int PRIMARY KEY);
CREATE TABLE "Odd=Name" (id int PRIMARY KEY, org text NOT NULL);
"""


@pytest.fixture
def shop(admin: Session, world: World) -> UUID:
    """A live source of acme's with two tables that nobody has decided."""
    server = world.server
    database = server.create_database()
    server.execute(SHOP, database)
    conninfo = make_conninfo(host=server.host, port=server.port, user=server.superuser, dbname=database)
    remember(admin.config.passfile, conninfo, server.password)
    return world.add_source("acme", conninfo=conninfo)


async def test_read_decide_and_forget(admin: Session, shop: UUID) -> None:
    found = await get_tenant_map(admin, "shop")
    assert [(each.table, each.how) for each in found.tables] == [
        ('public."Odd=Name"', "undecided"),
        ("public.countries", "undecided"),
        ("public.orders", "reference"),
        ("public.people", "column"),
    ]
    assert found.tables[2].told == "orders_fk → public.people → tenant_id"
    assert found.tables[3].rows_of_nobody == "column tenant_id"
    rules = dict(map(split_rule, ['"Odd=Name"=column:org', "countries=shared:missing"]))
    changed = await set_tenant_map(admin, "shop", TenantMapChanges(rules=rules))
    assert changed == await get_tenant_map(admin, "shop") and not changed.undecided
    assert {each.table: each.rule for each in changed.tables if each.rule} == {
        'public."Odd=Name"': "column:org",
        "public.countries": "shared:missing",
    }
    # said again it is replaced, in whatever words the table is named
    again = TenantMapChanges(rules={"public.countries": "left-out"}, unset=['public."Odd=Name"'])
    changed = await set_tenant_map(admin, "shop", again)
    assert [each.table for each in changed.undecided] == ['public."Odd=Name"']
    assert [each.how for each in changed.tables if each.table == "public.countries"] == ["left_out"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (TenantMapChanges(rules={"nothing": "left-out"}), "no table 'nothing'"),
        (TenantMapChanges(rules={"countries": "column:org"}), "no column 'org'"),
        (TenantMapChanges(rules={"orders": "via:people_fk"}), "no foreign key 'people_fk'"),
        (TenantMapChanges(rules={"orders": "drop"}), "does not say"),
        (TenantMapChanges(column="organisation"), "has a column 'organisation'"),
        (TenantMapChanges(unset=["orders"]), "Nothing is said"),
        (TenantMapChanges(rows_by="policies"), "only with a role and a setting"),
        (TenantMapChanges(rows_by="policies", role="no_one_at_all", setting="app.tenant"), "no role"),
        (TenantMapChanges(rows_by="policies", role="pg_monitor", setting="work_mem"), "no parameter"),
        (TenantMapChanges(role="pg_monitor"), "policies pick"),
    ],
)
async def test_what_is_not_there_is_refused(
    admin: Session, shop: UUID, world: World, changes: TenantMapChanges, message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        await set_tenant_map(admin, "shop", changes)
    assert world.superuser("SELECT tenant_map FROM tui_backup.sources") == [{"tenant_map": {}}]


async def test_policies(admin: Session, shop: UUID, world: World) -> None:
    changes = TenantMapChanges(rows_by="policies", role="pg_monitor", setting="app.tenant")
    found = await set_tenant_map(admin, "shop", changes)
    assert (found.rows_by, found.role, found.setting) == ("policies", "pg_monitor", "app.tenant")
    found = await set_tenant_map(admin, "shop", TenantMapChanges(rows_by="column"))
    assert (found.rows_by, found.role, found.setting) == ("column", None, None)
    assert world.superuser("SELECT tenant_map FROM tui_backup.sources") == [{"tenant_map": {}}]


async def test_only_an_admin_changes_it(open_as: OpenAs, shop: UUID) -> None:
    operator = await open_as(login_of("acme", "operator"))
    assert len((await get_tenant_map(operator, "shop")).undecided) == 2
    with pytest.raises(PermissionRefusedError):
        await set_tenant_map(operator, "shop", TenantMapChanges(rules={"countries": "left-out"}))


async def test_a_new_source_names_its_column(admin: Session) -> None:
    assert (await add_source(admin, "one", "dbname=a", tenant_column="org")).tenant_map == {"column": "org"}
    assert (await add_source(admin, "two", "dbname=b")).tenant_map == {}
    with pytest.raises(ValidationError):
        await add_source(admin, "three", "dbname=c", tenant_column="")


async def test_jobs_and_schedules_of_a_tenants_rows(admin: Session, world: World) -> None:
    world.add_source("acme")
    world.add_repository("acme")
    job = await create_backup_job(admin, BackupJobInsert("shop", tenant_scope=True))
    assert job.tenant_scope
    assert not (await create_backup_job(admin, BackupJobInsert("shop"))).tenant_scope
    with pytest.raises(ValidationError, match="no chosen tables"):
        await create_backup_job(admin, BackupJobInsert("shop", tables=["a"], tenant_scope=True))
    insert = BackupScheduleInsert("nightly", "shop", "0 2 * * *", tenant_scope=True)
    assert (await create_backup_schedule(admin, insert)).tenant_scope
    # another field's change leaves it
    assert (await update_backup_schedule(admin, "nightly", {"description": "x"})).tenant_scope
    assert not (await update_backup_schedule(admin, "nightly", {"tenant_scope": False})).tenant_scope


async def test_one_tenants_rows_are_no_backup_of_the_database(admin: Session, world: World) -> None:
    world.add_agent()
    source, repository = world.add_source("acme"), world.add_repository("acme")

    def backup(hours_ago: float, **columns: Any) -> None:
        ended = datetime.now(UTC) - timedelta(hours=hours_ago)
        world.add_job("acme", source, repository, completed_at=ended, **columns)

    backup(1, tenant_scope=True, backup_size=3)
    (seen,) = (await get_safety(admin)).sources
    assert seen.last_good_at is None and seen.safety is not Safety.SAFE
    backup(30, backup_size=1000)
    (seen,) = (await get_safety(admin)).sources
    assert seen.age_seconds is not None and seen.age_seconds > 29 * 3600
    last = await admin.catalog.row("last_full_backup", {"source_id": source, "tenant_scope": False})
    assert last is not None and last["backup_size"] == 1000
    (stored,) = (await get_storage(admin)).sources
    assert stored.newest_bytes == 1000


async def test_a_change_of_somebody_else_is_not_overwritten(
    admin: Session, shop: UUID, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tui_backup.errors import JobStateError
    from tui_backup.services import tenant_maps

    change = tenant_maps._change  # pyright: ignore[reportPrivateUsage]

    def slowly(*args: Any) -> Any:
        found = change(*args)
        world.superuser("UPDATE tui_backup.sources SET tenant_map = %s", (Jsonb({"column": "org"}),))
        return found

    monkeypatch.setattr(tenant_maps, "_change", slowly)
    with pytest.raises(JobStateError, match="meanwhile"):
        await set_tenant_map(admin, "shop", TenantMapChanges(rules={"countries": "left-out"}))
