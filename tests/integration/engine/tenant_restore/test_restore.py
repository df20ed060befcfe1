"""One tenant's rows put back in place: they are the backup's, and no other row was touched."""

from __future__ import annotations

import pytest

from tests.integration.engine.tenant_restore.by_hand import back_up, restore
from tests.integration.engine.tenant_restore.conftest import DAMAGE, SETTINGS, World
from tests.servers import TestServer
from tui_backup.errors import NotIdenticalError, PermissionRefusedError, TargetMismatchError

OWNER = """
DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'app_owner') THEN
    CREATE ROLE app_owner LOGIN PASSWORD 'owner'; END IF; END $$;
GRANT ALL ON SCHEMA app TO app_owner;
DO $$ DECLARE r record; BEGIN
    FOR r IN SELECT oid::regclass AS t FROM pg_class WHERE relnamespace = 'app'::regnamespace AND relkind IN ('r', 'p')
    LOOP EXECUTE format('ALTER TABLE %s OWNER TO app_owner', r.t); END LOOP; END $$;
"""
AS_OWNER = {"user": "app_owner", "password": "owner"}


def _comes_back(world: World, **options: object) -> None:
    world.execute(DAMAGE)
    assert world.rows() != world.good
    before = world.others()
    result = world.restore(**options)
    assert world.rows() == world.good
    assert world.others() == before
    assert world.execute("SELECT * FROM app.fired") == []
    assert result.compare is not None
    assert result.compare.identical
    assert result.rows_restored == world.backup.contents.rows


@pytest.mark.parametrize("replace_all", [False, True])
def test_rows_come_back_and_no_other_row_is_touched(world: World, replace_all: bool) -> None:
    _comes_back(world, replace_all=replace_all)


@pytest.mark.parametrize("replace_all", [False, True])
def test_an_owner_who_is_no_superuser(world: World, replace_all: bool) -> None:
    """Foreign keys stay in force; the triggers are disabled and enabled again as they were."""
    world.execute(OWNER)
    states = world.execute("SELECT tgname, tgenabled FROM pg_trigger WHERE NOT tgisinternal")
    _comes_back(world, replace_all=replace_all, **AS_OWNER)
    assert world.execute("SELECT tgname, tgenabled FROM pg_trigger WHERE NOT tgisinternal") == states


def test_a_login_with_rights_and_nothing_more(world: World) -> None:
    """It owns nothing: triggers fire, which is said; here they write to a table that is no tenant's."""
    world.execute(OWNER)
    world.execute(
        "DROP ROLE IF EXISTS app_writer; CREATE ROLE app_writer LOGIN PASSWORD 'w';"
        "GRANT USAGE ON SCHEMA app TO app_writer;"
        "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA app TO app_writer"
    )
    try:
        world.execute(DAMAGE)
        result = world.restore(user="app_writer", password="w")
        assert world.rows() == world.good
        assert any("the trigger ordinary fires" in warning for warning in result.warnings)
        assert world.execute("SELECT count(*) > 0 FROM app.fired") == [(True,)]
    finally:
        world.execute("DROP OWNED BY app_writer; DROP ROLE app_writer")


def test_unchanged_rows_are_not_touched(world: World) -> None:
    everything = world.picture()
    result = world.restore()
    assert world.picture() == everything
    assert {(row.rows_delete, row.rows_insert, row.rows_update) for row in result.plan.tables} == {(0, 0, 0)}


def test_only_what_differs_is_touched(world: World) -> None:
    before = world.picture()
    world.execute("UPDATE app.people SET born = NULL WHERE id = 9; DELETE FROM app.log WHERE ctid = '(0,2)'")
    plan = {row.table: row for row in world.restore().plan.tables}
    assert (plan["app.people"].rows_update, plan["app.people"].rows_same) == (1, 29)
    assert (plan["app.log"].rows_insert, plan["app.log"].rows_same) == (1, 29)
    after = world.picture()
    moved = {table: len(before[table].items() - after[table].items()) for table in before}
    assert {table: rows for table, rows in moved.items() if rows} == {"app.people": 1, "app.log": 1}


def test_the_same_value_written_otherwise_is_the_same(pg: TestServer, database: str) -> None:
    """An image that differs where the text does not is no difference."""
    pg.execute("CREATE TABLE t (id int PRIMARY KEY, tenant_id text, a int[])", database)
    pg.execute("INSERT INTO t VALUES (1, 'acme', (array_append(ARRAY[1, NULL], 2))[1:1])", database)
    backup = back_up(pg, database, "acme")
    before = pg.execute("SELECT ctid, xmin FROM t", database)
    restore(pg, database, backup)
    assert pg.execute("SELECT ctid, xmin FROM t", database) == before


@pytest.mark.parametrize("as_owner", [False, True])
def test_values_that_have_changed_places(world: World, as_owner: bool) -> None:
    """Two rows that exchange a unique value: no order of updates would do."""
    world.execute(OWNER)
    world.execute("ALTER TABLE app.people DROP CONSTRAINT people_boss_fkey" if as_owner else "SELECT 1")
    world.execute("UPDATE app.people SET email = 't' WHERE id = 3; UPDATE app.people SET email = 'p3' WHERE id = 6;"
                  "UPDATE app.people SET email = 'p6' WHERE id = 3")  # fmt: skip
    before = world.others()
    world.restore(**(AS_OWNER if as_owner else {}))
    assert world.rows() == world.good
    assert world.others() == before


def test_a_dry_run_changes_nothing_and_locks_nothing(world: World) -> None:
    world.execute(DAMAGE)
    before = world.picture()
    with world.server.connect(world.name) as conn, conn.transaction():
        # somebody holds rows that the restore would change
        conn.execute("SELECT FROM app.people WHERE tenant_id = 'acme' FOR UPDATE")
        result = world.restore(dry_run=True, lock_timeout_s=1)
    assert world.picture() == before
    plan = {row.table: row.to_json() for row in result.plan.tables}
    assert plan["app.people"]["rows_delete"] == 2
    assert plan["app.people"]["rows_update"] == 14
    assert plan["app.people"]["rows_same"] == 16
    changes = (plan["app.log"]["rows_delete"], plan["app.log"]["rows_insert"], plan["app.log"]["rows_same"])
    assert changes == (1, 8, 22)


def test_chosen_tables_only(world: World) -> None:
    world.execute(DAMAGE)
    damaged = world.rows()
    world.restore(tables=["app.log", "app.events"])
    now = world.rows()
    assert {table: now[table] == world.good[table] for table in ("app.log", "app.events")} == {
        "app.log": True,
        "app.events": True,
    }
    assert now["app.people"] == damaged["app.people"]


def test_row_security_is_refused_where_it_would_filter(world: World) -> None:
    world.execute(OWNER)
    world.execute("ALTER TABLE app.log ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
    with pytest.raises(TargetMismatchError, match="row security"):
        world.restore(**AS_OWNER)
    # who is beyond it is not hindered
    world.execute("DELETE FROM app.log WHERE tenant_id = 'acme'")
    world.restore()
    assert world.rows() == world.good


def test_a_trigger_that_changes_rows_is_found_before_the_commit(world: World) -> None:
    world.execute(
        "CREATE FUNCTION app.meddle() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.what := ''x''; RETURN NEW; END';"
        "CREATE TRIGGER meddle BEFORE INSERT ON app.log FOR EACH ROW EXECUTE FUNCTION app.meddle();"
        "DROP ROLE IF EXISTS app_writer; CREATE ROLE app_writer LOGIN PASSWORD 'w';"
        "GRANT USAGE ON SCHEMA app TO app_writer;"
        "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA app TO app_writer; DELETE FROM app.log"
    )
    before = world.picture()
    try:
        with pytest.raises(NotIdenticalError, match=r"app\.log") as caught:
            world.restore(user="app_writer", password="w")
    finally:
        world.execute("DROP OWNED BY app_writer; DROP ROLE app_writer")
    assert caught.value.details["rollback_executed"] is True
    assert world.picture() == before


def test_temporary_tables_are_needed(world: World) -> None:
    world.execute(OWNER)
    world.execute(f'REVOKE TEMPORARY ON DATABASE "{world.name}" FROM PUBLIC')
    with pytest.raises(PermissionRefusedError, match="temporary"):
        world.restore(**AS_OWNER)


DEFERRABLE = """
CREATE TABLE t (id int PRIMARY KEY, tenant_id text, place int UNIQUE DEFERRABLE INITIALLY DEFERRED,
    parent int REFERENCES t DEFERRABLE);
INSERT INTO t SELECT g, CASE g % 2 WHEN 0 THEN 'acme' ELSE 'beta' END, g, NULL FROM generate_series(1, 20) g;
UPDATE t SET parent = id % 20 + 1 WHERE id % 2 = 1; UPDATE t SET parent = 20 - id WHERE tenant_id = 'acme' AND id < 20;
UPDATE t SET parent = NULL WHERE tenant_id = 'beta';
"""


def test_deferrable_constraints_are_checked_at_the_end(pg: TestServer, database: str) -> None:
    """A replica's session would never check them."""
    pg.execute(DEFERRABLE, database)
    backup = back_up(pg, database, "acme")
    good = pg.execute("SELECT * FROM t ORDER BY id", database)
    pg.execute("UPDATE t SET place = CASE WHEN place < 20 THEN place + 2 ELSE 2 END, parent = NULL"
               " WHERE tenant_id = 'acme'; DELETE FROM t WHERE id = 20", database)  # fmt: skip
    restore(pg, database, backup)
    assert pg.execute("SELECT * FROM t ORDER BY id", database) == good
    pg.execute("UPDATE t SET parent = NULL; DELETE FROM t WHERE id = 4; UPDATE t SET place = 4 WHERE id = 5", database)
    from tui_backup.errors import KeyTakenError

    with pytest.raises(KeyTakenError, match="t_place_key"):
        restore(pg, database, backup)


def test_every_version(pg_any: TestServer) -> None:
    from tests.integration.engine.tenant_restore.by_hand import picture, rows_of
    from tests.integration.engine.tenant_restore.conftest import SHARED, without_acme

    name = pg_any.create_database()
    try:
        pg_any.execute(SHARED, name)
        backup = back_up(pg_any, name, "acme", SETTINGS)
        good = rows_of(pg_any, name, backup)
        pg_any.execute(DAMAGE, name)
        before = without_acme(picture(pg_any, name), rows_of(pg_any, name, backup))
        restore(pg_any, name, backup)
        assert rows_of(pg_any, name, backup) == good
        assert without_acme(picture(pg_any, name), rows_of(pg_any, name, backup)) == before
    finally:
        pg_any.drop_database(name)
