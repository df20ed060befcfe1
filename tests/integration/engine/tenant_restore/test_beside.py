"""A tenant's rows beside the live ones: in a side schema, and as SQL for a reviewer."""

from __future__ import annotations

import io
import subprocess
import uuid

import pytest

from tests.integration.engine.tenant_restore.by_hand import Phases
from tests.integration.engine.tenant_restore.conftest import DAMAGE, World
from tests.servers import TestServer
from tui_backup.engine.logical.tenants.restore import Tenancy, TenantResult
from tui_backup.engine.logical.tenants.rows_as_sql import write_rows_as_sql
from tui_backup.engine.logical.tenants.side_schema import show_tenant
from tui_backup.errors import OtherTenantError, TargetNotEmptyError
from tui_backup.model import RestoreRequest, RestoreTarget, StopFlag


def _show(world: World, *tables: str, backup: object = None, dry_run: bool = False) -> TenantResult:
    chosen = backup or world.backup
    return show_tenant(
        RestoreRequest(
            job_id=uuid.uuid4(), target=RestoreTarget.SIDE_SCHEMA, schema="look", tables=tables, dry_run=dry_run
        ),
        chosen.contents,  # type: ignore[attr-defined]
        chosen.reader,  # type: ignore[attr-defined]
        world.server.dsn(world.name),
        Tenancy(world.backup.key, world.backup.settings),
        restore_id=uuid.uuid4(),
        progress=Phases(),
        stop=StopFlag(),
    )


def test_all_tables_beside_the_live_ones(world: World) -> None:
    world.execute(DAMAGE)
    before = world.picture()
    result = _show(world)
    after = world.picture()
    assert {name: rows for name, rows in after.items() if name.startswith("app.")} == before
    for table in ("people", "orders", "lines", "a", "b", "log", "events"):
        rows = world.execute(f"SELECT t::text FROM look.{table} t ORDER BY 1")
        assert [row[0] for row in rows] == world.good[f"app.{table}"]
    assert world.execute("SELECT count(*) FROM look.countries") == [(2,)]
    assert result.rows_restored == world.backup.contents.rows
    with pytest.raises(TargetNotEmptyError):
        _show(world)


def test_chosen_tables_and_a_dry_run(world: World) -> None:
    result = _show(world, "app.log", dry_run=True)
    assert [(row.table, row.rows_insert) for row in result.plan.tables] == [("app.log", 30)]
    assert world.execute("SELECT 1 FROM pg_namespace WHERE nspname = 'look'") == []
    _show(world, "app.log")
    assert world.execute("SELECT relname FROM pg_class WHERE relnamespace = 'look'::regnamespace") == [("log",)]


def test_no_row_of_another_tenant_is_shown(world: World) -> None:
    manipulated = world.backup.with_rows("b", lambda rows: rows + b"900\t1\n")
    with pytest.raises(OtherTenantError):
        _show(world, backup=manipulated)
    assert world.execute("SELECT 1 FROM pg_namespace WHERE nspname = 'look'") == []


def test_rows_as_sql_load_into_an_empty_database(world: World, pg: TestServer) -> None:
    out = io.BytesIO()
    write_rows_as_sql(world.backup.contents, world.backup.reader, out, progress=Phases(), stop=StopFlag())
    text = out.getvalue().decode()
    assert text.index('COPY "app"."people"') < text.index('COPY "app"."orders"')
    assert text.index('COPY "app"."orders"') < text.index('COPY "app"."lines"')
    assert "-- app.people: 30 rows" in text
    world.execute(
        "SET session_replication_role = replica;"
        "DELETE FROM app.people; DELETE FROM app.orders; DELETE FROM app.lines; DELETE FROM app.a; DELETE FROM app.b;"
        "DELETE FROM app.log; DELETE FROM app.events; DELETE FROM app.countries;"
        "ALTER TABLE app.a ALTER CONSTRAINT a_b_id_fkey DEFERRABLE;"
        "ALTER TABLE app.b ALTER CONSTRAINT b_a_id_fkey DEFERRABLE"
    )
    done = subprocess.run(
        [pg.program("psql"), "-X", "-q", "-1", "-v", "ON_ERROR_STOP=1", pg.dsn(world.name)],
        input=out.getvalue(),
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert world.rows() == world.good
