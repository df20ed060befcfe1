"""Data and backups that mean harm: nothing of another tenant is ever written, and the refusal says why."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import psycopg
import pytest

from tests.integration.engine.tenant_restore.by_hand import back_up, restore, settings_of
from tests.integration.engine.tenant_restore.conftest import DAMAGE, World
from tests.servers import TestServer
from tui_backup.errors import (
    DamagedError,
    KeyTakenError,
    OtherTenantError,
    RowsInUseError,
    TargetMismatchError,
    TuiBackupError,
)


def _refused(world: World, error: type[TuiBackupError], match: str, **options: object) -> TuiBackupError:
    """The restore is refused, and every row of the database is as it was."""
    before = world.picture()
    with pytest.raises(error, match=match) as caught:
        world.restore(**options)
    assert world.picture() == before
    return caught.value


def _append(line: bytes) -> Callable[[bytes], bytes]:
    return lambda stream: stream + line


@pytest.mark.parametrize(
    ("table", "change"),
    [
        ("people", _append(b"2000\tbeta\tx\t\\N\tde\t\\N\n")),
        ("people", _append(b"2000\t\\N\tx\t\\N\tde\t\\N\n")),
        ("people", lambda rows: rows.replace(b"\tacme\t", b"\tbeta\t", 1)),
        ("log", _append(b"beta\t\\N\tx\n")),
        ("events_y", _append(b"y\t900\tbeta\n")),
        # a child of a live row of another tenant
        ("b", _append(b"900\t1\n")),
        # a child of a row that is acme's now, but is not in the backup: it will be gone
        ("b", _append(b"901\t100\n")),
    ],
)
def test_a_row_of_another_tenant_in_the_backup(world: World, table: str, change: Callable[[bytes], bytes]) -> None:
    world.execute(DAMAGE)
    error = _refused(world, OtherTenantError, "not the tenant's", backup=world.backup.with_rows(table, change))
    assert error.details["rows"] == 1


def test_two_rows_with_one_key(world: World) -> None:
    _refused(
        world,
        DamagedError,
        "the same id",
        backup=world.backup.with_rows("people", lambda s: s + s.split(b"\n")[0] + b"\n"),
    )


def test_a_table_that_the_live_map_leaves_out_is_not_written(world: World) -> None:
    """Which tables are restored is the live map's word, whatever the manifest says."""
    settings = settings_of(
        tables={**{name: msgspec.to_builtins(rule) for name, rule in world.backup.settings.tables.items()},
                "app.log": {"left_out": True}}
    )  # fmt: skip
    world.execute("DELETE FROM app.log")
    world.backup.settings, before = settings, world.backup.settings
    try:
        result = world.restore()
    finally:
        world.backup.settings = before
    assert world.execute("SELECT count(*) FROM app.log") == [(0,)]
    assert any("app.log is left alone" in warning for warning in result.warnings)


def test_the_same_keys_in_two_tenants(world: World) -> None:
    """orders' key holds the tenant: beta has the same numbers, and keeps its rows."""
    world.execute("INSERT INTO app.orders (tenant_id, id, person) OVERRIDING SYSTEM VALUE"
                  " SELECT 'beta', id, 1 FROM app.orders WHERE tenant_id = 'acme'")  # fmt: skip
    world.execute("UPDATE app.orders SET total = 0 WHERE tenant_id = 'acme'")
    before = world.others()
    world.restore()
    assert world.others() == before
    assert world.rows() == world.good


def test_a_key_that_another_tenant_uses_by_now(world: World) -> None:
    world.execute("DELETE FROM app.people WHERE id = 90; INSERT INTO app.people (id, tenant_id) VALUES (90, 'beta')")
    error = _refused(world, KeyTakenError, "app.people: 90")
    assert error.details["conflicts"] == [{"table": "app.people", "rows": 1, "keys": ["90"]}]
    plan = world.restore(dry_run=True).plan
    assert plan.conflicts == error.details["conflicts"]


def test_another_unique_value_that_somebody_else_uses_by_now(world: World) -> None:
    """The details name the constraint and never the other row."""
    world.execute("CREATE UNIQUE INDEX only_one ON app.people (email)")
    world.execute("UPDATE app.people SET email = 'away' WHERE id = 9; UPDATE app.people SET email = 'p9' WHERE id = 10")
    error = _refused(world, KeyTakenError, "only_one")
    assert error.details["rollback_executed"] is True
    assert "p9" not in str(error.to_json())


def test_rows_of_others_that_refer_to_a_row_that_would_go(world: World) -> None:
    world.execute("INSERT INTO app.people (id, tenant_id) VALUES (500, 'acme')")
    world.execute("UPDATE app.people SET boss = 500 WHERE id IN (1, 4); UPDATE app.orders SET person = 500"
                  " WHERE tenant_id = 'gamma' AND id = 2")  # fmt: skip
    error = _refused(world, RowsInUseError, "app.people")
    expected = [
        {"table": "app.orders", "constraint": "orders_person_fkey", "rows": 1},
        {"table": "app.people", "constraint": "people_boss_fkey", "rows": 2},
    ]
    assert error.details["blocked_by"] == expected
    assert [blocker.to_json() for blocker in world.restore(dry_run=True).plan.blocked_by] == expected


def test_a_child_of_two_parents_of_different_tenants_is_nobodys(pg: TestServer, database: str) -> None:
    """Both keys lead to an owner and they differ: whichever tenant is restored, the row is not touched."""
    pg.execute(
        "CREATE TABLE a (id int PRIMARY KEY, tenant_id text); CREATE TABLE b (id int PRIMARY KEY, tenant_id text);"
        "CREATE TABLE c (id int PRIMARY KEY, a int NOT NULL REFERENCES a, b int NOT NULL REFERENCES b, v int);"
        "INSERT INTO a VALUES (1, 'acme'), (2, 'beta'); INSERT INTO b VALUES (1, 'acme'), (2, 'beta');"
        "INSERT INTO c VALUES (1, 1, 1, 0), (2, 2, 2, 0)",
        database,
    )
    backup = back_up(pg, database, "acme")
    pg.execute("INSERT INTO c VALUES (3, 1, 2, 0), (4, 1, 1, 0); UPDATE c SET v = 1", database)
    before = pg.execute("SELECT ctid, xmin, c.* FROM c WHERE id IN (2, 3) ORDER BY id", database)
    restore(pg, database, backup)
    assert pg.execute("SELECT ctid, xmin, c.* FROM c WHERE id IN (2, 3) ORDER BY id", database) == before
    assert pg.execute("SELECT * FROM c WHERE id NOT IN (2, 3)", database) == [(1, 1, 1, 0)]
    # brought into the backup by force it is refused
    with pytest.raises(OtherTenantError):
        restore(pg, database, backup.with_rows("c", _append(b"5\t1\t2\t0\n")))


@pytest.mark.parametrize("key", ["x' OR '1'='1", "%s %(a)s {} \\", "'; DROP TABLE t; --", "", "  acme ", "ACME"])
def test_a_tenant_key_that_looks_like_sql(pg: TestServer, database: str, key: str) -> None:
    pg.execute("CREATE TABLE t (id int PRIMARY KEY, tenant_id text, v int)", database)
    with pg.connect(database) as conn:
        conn.execute("INSERT INTO t VALUES (1, %s, 0), (2, 'acme', 0), (3, NULL, 0)", (key,))
        backup = back_up(pg, database, key)
        conn.execute("UPDATE t SET v = 1")
        others = conn.execute("SELECT ctid, xmin, t.* FROM t WHERE id > 1").fetchall()
        restore(pg, database, backup)
        assert conn.execute("SELECT v FROM t WHERE id = 1").fetchone() == (0,)
        assert conn.execute("SELECT ctid, xmin, t.* FROM t WHERE id > 1").fetchall() == others


def test_names_that_look_like_sql(pg: TestServer, database: str) -> None:
    odd = "a\"b%s'; DROP {} \\"
    quoted = '"' + odd.replace('"', '""') + '"'
    pg.execute(
        f"CREATE SCHEMA {quoted}; CREATE TABLE {quoted}.{quoted} ({quoted} int PRIMARY KEY, tenant_id text);"
        f"CREATE TABLE {quoted}.child (id int PRIMARY KEY, {quoted} int NOT NULL REFERENCES {quoted}.{quoted});"
        f"INSERT INTO {quoted}.{quoted} VALUES (1, 'acme'), (2, 'beta'); "
        f"INSERT INTO {quoted}.child VALUES (1, 1), (2, 2)",
        database,
    )
    backup = back_up(pg, database, "acme")
    pg.execute(f"DELETE FROM {quoted}.child; DELETE FROM {quoted}.{quoted} WHERE {quoted} = 1", database)
    restore(pg, database, backup)
    assert pg.execute(f"SELECT * FROM {quoted}.child", database) == [(1, 1)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("ALTER TABLE app.log ALTER what TYPE varchar(3)", "what was text, now it is character varying"),
        ("ALTER TABLE app.orders ADD must int NOT NULL DEFAULT 1; ALTER TABLE app.orders ALTER must DROP DEFAULT",
         "must is new"),
        ("DROP TABLE app.log", "app.log is not in the database any more"),
        ("ALTER TABLE app.log RENAME tenant_id TO whose", "does not say whose"),
        ("CREATE RULE r AS ON DELETE TO app.log DO ALSO NOTHING; ALTER TABLE app.log ENABLE ALWAYS RULE r;"
         " DELETE FROM app.log", "rule r of app.log"),
    ],
)  # fmt: skip
def test_schemas_that_do_not_fit(world: World, change: str, message: str) -> None:
    world.execute(f"SET session_replication_role = replica; {change}")
    _refused(world, TargetMismatchError, message)


def test_schemas_that_have_changed_and_still_fit(world: World) -> None:
    world.execute(
        "ALTER TABLE app.orders ADD added int NOT NULL DEFAULT 7, ALTER total TYPE numeric(14, 2), DROP extra;"
        "ALTER TABLE app.people ALTER id TYPE bigint; UPDATE app.orders SET added = 8;"
        "DELETE FROM app.lines WHERE tenant = 'acme'; DELETE FROM app.orders WHERE tenant_id = 'acme' AND id <= 30;"
        "UPDATE app.orders SET total = 1 WHERE id = 60"
    )
    before = world.others()
    result = world.restore()
    assert world.others() == before
    assert world.execute("SELECT DISTINCT added FROM app.orders WHERE tenant_id = 'acme' AND id <= 30") == [(7,)]
    assert world.execute("SELECT total, added FROM app.orders WHERE id = 60") == [(60, 8)]
    said = "; ".join(result.warnings)
    assert "column extra of the backup is not there any more" in said
    assert "column added is new" in said


def test_shared_rows_are_only_added(world: World) -> None:
    world.execute("SET session_replication_role = replica; DELETE FROM app.countries WHERE code = 'de';"
                  "UPDATE app.countries SET name = 'KSA'; INSERT INTO app.countries VALUES ('xx', 'X')")  # fmt: skip
    result = world.restore()
    assert world.execute("SELECT * FROM app.countries ORDER BY 1") == [("de", "Germany"), ("sa", "KSA"), ("xx", "X")]
    assert result.compare is not None
    assert result.compare.identical


def test_rows_that_would_point_nowhere(world: World) -> None:
    """Of the backup's rows the parents are left out: the children's keys are looked at."""
    world.execute(DAMAGE)
    world.execute("SET session_replication_role = replica; DELETE FROM app.orders WHERE tenant_id = 'acme' AND id = 9")
    error = _refused(world, TargetMismatchError, "lines_tenant_order_id_fkey", tables=["app.lines"])
    assert error.details["rollback_executed"] is True


def test_every_kind_of_server_refusal_leaves_the_rest_alone(world: World) -> None:
    world.execute("DELETE FROM app.log; ALTER TABLE app.log ADD CHECK (what <> 'e1')")
    error = _refused(world, TargetMismatchError, "log_what_check")
    assert error.details["constraint"] == "log_what_check"
    with pytest.raises(psycopg.errors.UndefinedTable):
        world.execute("SELECT * FROM tui_stage_0")


def test_a_manifest_that_goes_round_in_circles(world: World) -> None:
    tables = [
        msgspec.structs.replace(table, parent=("app", "events")) if table.name == "events" else table
        for table in world.backup.contents.tables
    ]
    contents = msgspec.structs.replace(world.backup.contents, tables=tables)
    circular = type(world.backup)(contents, world.backup.reader, world.backup.key, world.backup.settings)
    _refused(world, DamagedError, "partition of itself", backup=circular)
    _refused(world, DamagedError, "partition of itself", backup=circular, tables=["app.events"])
