"""Whose a table's rows are, told from real catalogs, hostile ones too."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import psycopg
import pytest

from tests.integration.engine.tenants.helpers import entry, map_of, rows_of, run
from tests.servers import TestServer
from tui_backup.engine.logical.tenants.map import drift, read_tenant_map, words
from tui_backup.engine.logical.tenants.settings import TableRule, TenantMapSettings, parse_rule
from tui_backup.errors import TenantMapError, ValidationError

Session = psycopg.Connection[Any]

SHOP = """
CREATE TABLE orders (id int PRIMARY KEY, tenant_id text);
CREATE TABLE items (id int PRIMARY KEY, order_id int NOT NULL REFERENCES orders);
CREATE TABLE notes (id int PRIMARY KEY, item_id int REFERENCES items);
CREATE TABLE countries (id int PRIMARY KEY);
INSERT INTO orders VALUES (1, 'acme'), (2, 'beta'), (3, NULL);
INSERT INTO items VALUES (10, 1), (20, 2), (30, 3);
INSERT INTO notes VALUES (100, 10), (200, 20), (300, 30), (400, NULL);
"""


def test_column_and_references(conn: Session) -> None:
    run(conn, SHOP)
    found = map_of(conn)
    assert [words(table) for table in found.tables] == [
        "items_order_id_fkey → public.orders → tenant_id",
        "notes_item_id_fkey → public.items → items_order_id_fkey → public.orders → tenant_id",
        "column tenant_id",
    ]
    assert [rows_of(conn, entry(found, name), "acme") for name in ("orders", "items", "notes")] == [[1], [10], [100]]
    assert found.nobodys == {"public.notes": "foreign key notes_item_id_fkey", "public.orders": "column tenant_id"}


def test_table_of_nobody_is_refused_with_what_to_do(conn: Session) -> None:
    run(conn, SHOP)
    found = map_of(conn)
    assert [table.label for table in found.undecided] == ["public.countries"]
    with pytest.raises(TenantMapError, match=r"public\.countries \(no column 'tenant_id'") as refused:
        found.require_decided()
    assert "source map SOURCE --set 'public.countries=left-out'" in refused.value.hint
    assert refused.value.details["undecided"][0]["table"] == "public.countries"


def test_decisions(conn: Session) -> None:
    run(conn, SHOP + "ALTER TABLE countries ADD owner text; INSERT INTO countries VALUES (1, 'acme')")
    for rule, how, rows in (
        ({"shared": "missing"}, "shared", [1]),
        ({"shared": "never"}, "left_out", []),
        ({"left_out": True}, "left_out", []),
        ({"column": "owner"}, "column", [1]),
    ):
        found = map_of(conn, tables={"countries": rule})
        found.require_decided()
        assert entry(found, "countries").how == how
        assert rows_of(conn, entry(found, "countries"), "acme") == rows


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ({"column": "org"}, "it has no column 'org', which the settings name"),
        ({"via": "nope"}, "it has no foreign key 'nope', which the settings name"),
        ({"via": "items_order_id_fkey"}, None),
    ],
)
def test_rules_that_do_not_fit(conn: Session, rule: dict[str, str], reason: str | None) -> None:
    run(conn, SHOP)
    found = map_of(conn, tables={"items": rule, "countries": {"left_out": True}, "gone": {"left_out": True}})
    assert found.unknown == ("gone",)
    assert [table.reason for table in found.undecided if table.name == "items"] == ([reason] if reason else [])


def test_several_ways_that_may_be_null_are_undecided(conn: Session) -> None:
    run(
        conn,
        SHOP + "DROP TABLE countries; CREATE TABLE files (id int, note_id int REFERENCES notes,"
        " order_id int REFERENCES orders); INSERT INTO files VALUES (1, 100, NULL), (2, NULL, 1), (3, 100, 2),"
        " (4, NULL, NULL), (5, NULL, 2)",
    )
    found = map_of(conn)
    (files,) = found.undecided
    assert files.keys == ("files_note_id_fkey", "files_order_id_fkey")
    one = map_of(conn, tables={"files": {"via": "files_note_id_fkey"}})
    assert rows_of(conn, entry(one, "files"), "acme", checked=True) == [1, 3]
    both = map_of(conn, tables={"files": {"via": ["files_note_id_fkey", "files_order_id_fkey"]}})
    assert rows_of(conn, entry(both, "files"), "acme") == [1, 2, 3]
    with (
        pytest.raises(psycopg.errors.InvalidTextRepresentation, match="not the rows of one tenant"),
        conn.transaction(),
    ):
        rows_of(conn, entry(both, "files"), "acme", checked=True)
    run(conn, "DELETE FROM files WHERE id = 3")
    assert rows_of(conn, entry(both, "files"), "acme", checked=True) == [1, 2]


def test_required_ways_have_to_agree(conn: Session) -> None:
    run(
        conn,
        "CREATE TABLE a (id int PRIMARY KEY, tenant_id int); CREATE TABLE b (id int PRIMARY KEY, tenant_id int);"
        "CREATE TABLE c (id int PRIMARY KEY, a int NOT NULL REFERENCES a, b int REFERENCES b);"
        "CREATE TABLE d (id int PRIMARY KEY, c int NOT NULL REFERENCES c);"
        "INSERT INTO a VALUES (1, 7), (2, 8); INSERT INTO b VALUES (1, 7), (2, 8);"
        "INSERT INTO c VALUES (1, 1, 1), (2, 1, NULL), (3, 2, 2); INSERT INTO d VALUES (1, 1), (3, 3)",
    )
    found = map_of(conn)
    assert not found.undecided
    assert rows_of(conn, entry(found, "c"), "7", checked=True) == [1, 2]
    assert rows_of(conn, entry(found, "d"), "7", checked=True) == [1]
    run(conn, "INSERT INTO c VALUES (4, 1, 2)")
    for tenant in ("7", "8"):
        with pytest.raises(psycopg.errors.InvalidTextRepresentation), conn.transaction():
            rows_of(conn, entry(found, "c"), tenant, checked=True)
    # a key that was chosen decides alone
    chosen = map_of(conn, tables={"c": {"via": "c_a_fkey"}})
    assert rows_of(conn, entry(chosen, "c"), "7", checked=True) == [1, 2, 4]


def test_circles_and_self_references(conn: Session) -> None:
    run(
        conn,
        "CREATE TABLE org (id int PRIMARY KEY, tenant_id text NOT NULL);"
        "CREATE TABLE team (id int PRIMARY KEY, org int NOT NULL REFERENCES org, up int REFERENCES team);"
        "CREATE TABLE person (id int PRIMARY KEY, team int NOT NULL REFERENCES team);"
        "ALTER TABLE team ADD head int REFERENCES person;"
        "CREATE TABLE loop (id int PRIMARY KEY, up int NOT NULL REFERENCES loop);"
        "CREATE TABLE tree (id int PRIMARY KEY, up int REFERENCES tree, org int REFERENCES org);"
        "INSERT INTO org VALUES (1, 'a'), (2, 'b'); INSERT INTO team VALUES (1, 1), (2, 2);"
        "INSERT INTO person VALUES (1, 1), (2, 2); UPDATE team SET head = 3 - id, up = 3 - id",
    )
    found = map_of(conn)
    assert rows_of(conn, entry(found, "team"), "a", checked=True) == [1]
    assert rows_of(conn, entry(found, "person"), "a", checked=True) == [1]
    reasons = {table.name: table.reason for table in found.undecided}
    assert reasons["loop"] == "no column 'tenant_id', and no foreign key leads to a table that has it"
    # rows below a root might be reached by the tree only: that is not guessed
    assert reasons["tree"] == "foreign keys tree_org_fkey, tree_up_fkey may all be NULL, and each could tell the owner"


def test_composite_keys_partitions_and_inheritance(conn: Session) -> None:
    run(
        conn,
        """
        CREATE TABLE p (a int, b int, tenant_id uuid NOT NULL, PRIMARY KEY (a, b)) PARTITION BY LIST (a);
        CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1) PARTITION BY HASH (b);
        CREATE TABLE p11 PARTITION OF p1 FOR VALUES WITH (MODULUS 1, REMAINDER 0);
        CREATE TABLE p2 PARTITION OF p DEFAULT;
        CREATE TABLE c (id int, a int, b int, FOREIGN KEY (b, a) REFERENCES p (b, a)) PARTITION BY RANGE (id);
        CREATE TABLE c1 PARTITION OF c FOR VALUES FROM (0) TO (10);
        CREATE TABLE leaf (id int, b int NOT NULL, a int NOT NULL, FOREIGN KEY (a, b) REFERENCES p2 (a, b));
        CREATE TABLE old (id int PRIMARY KEY, tenant_id uuid); CREATE TABLE new (more int) INHERITS (old);
        CREATE TABLE ref (id int, old int NOT NULL REFERENCES old);
        """.replace("REFERENCES p (b, a)", "REFERENCES p (a, b)").replace("FOREIGN KEY (b, a)", "FOREIGN KEY (a, b)"),
    )
    one, two = UUID(int=1), UUID(int=2)
    run(
        conn,
        f"""
        INSERT INTO p VALUES (1, 1, '{one}'), (1, 2, '{two}'), (2, 1, '{one}'), (2, 2, '{two}');
        INSERT INTO c VALUES (1, 1, 1), (2, 1, 2), (3, 1, NULL), (4, NULL, 1), (5, 2, 1);
        INSERT INTO leaf VALUES (1, 1, 2), (2, 2, 2);
        INSERT INTO old VALUES (1, '{one}'); INSERT INTO new VALUES (1, '{two}'), (2, '{one}');
        INSERT INTO ref VALUES (1, 1);
        """,
    )
    found = map_of(conn)
    assert not found.undecided
    assert {table.name for table in found.tables} == {"p", "c", "leaf", "old", "new", "ref"}
    key = str(one).upper()
    assert rows_of(conn, entry(found, "p"), key, "b") == [1, 1]
    assert rows_of(conn, entry(found, "c"), key) == [1, 5]
    assert rows_of(conn, entry(found, "leaf"), key) == [1]
    assert rows_of(conn, entry(found, "new"), key) == [2]
    # the key refers to the parent alone: the child's row of the same id is no way to another tenant
    assert [rows_of(conn, entry(found, "ref"), str(each)) for each in (one, two)] == [[1], []]
    oids = {
        row[0]: row[1] for row in conn.execute("SELECT relname::text, oid::int8 FROM pg_class WHERE relname ~ '^p'")
    }
    assert found.oids[oids["p11"]].name == "p"


@pytest.mark.parametrize(
    ("type_name", "mine", "key", "others"),
    [
        ("text", "acme", "acme", "Acme"),
        ("varchar(9)", "acme", "acme", "acme "),
        ("char(9)", "acme", "acme   ", "acmee"),
        ("name", "acme", "acme", "x"),
        ("int", "12", " 12", "13"),
        ("bigint", "-9223372036854775808", "-9223372036854775808", "0"),
        ("numeric", "1.0", "1", "1.01"),
        ("uuid", str(UUID(int=10)), "{0000000000000000000000000000000A}", str(UUID(int=11))),
        ("colour", "red", "red", "blue"),
        ("dom", "red", "red", "blue"),
        ("domdom", "5", "5", "6"),
        ("inet", "::1", "0:0::1", "::2"),
        ("bytea", r"\xff00", r"\xFF00", r"\xff"),
    ],
)
def test_key_is_compared_as_the_columns_type(conn: Session, type_name: str, mine: str, key: str, others: str) -> None:
    run(
        conn,
        "CREATE TYPE colour AS ENUM ('red', 'blue'); CREATE DOMAIN dom AS colour;"
        "CREATE DOMAIN d AS int CHECK (VALUE < 100); CREATE DOMAIN domdom AS d NOT NULL;"
        f"CREATE TABLE t (id int PRIMARY KEY, tenant_id {type_name}); CREATE TABLE c (id int REFERENCES t)",
    )
    conn.execute(f"INSERT INTO t VALUES (1, '{mine}'), (2, '{others}')".encode())
    run(conn, "INSERT INTO c VALUES (1), (2); SET search_path = ''")
    found = map_of(conn)
    assert rows_of(conn, entry(found, "t"), key) == [1]
    assert rows_of(conn, entry(found, "c"), key) == [1]


@pytest.mark.parametrize(
    "key", ["' OR true --", "\\", "\\' OR true --", "%s %(x)s", "{}{0}", "é\n\t☃", "", "NULL", "$1"]
)
def test_key_is_never_sql(conn: Session, key: str) -> None:
    run(conn, "CREATE TABLE t (id int, tenant_id text)")
    conn.execute("INSERT INTO t VALUES (1, %s), (2, 'other'), (3, NULL), (4, 'NULLx')", [key])
    for setting in ("on", "off"):
        with conn.transaction():
            run(conn, f"SET LOCAL standard_conforming_strings = {setting}")
            assert rows_of(conn, entry(map_of(conn), "t"), key) == [1]


def test_odd_names(conn: Session) -> None:
    odd = "a\"b.c\n%s{}'\\ é"
    name = psycopg.sql.Identifier(odd)
    for text in (
        "CREATE SCHEMA {0}",
        "CREATE TABLE {0}.{0} ({0} int PRIMARY KEY, id int, {1} text)",
        "CREATE TABLE {0}.child (id int, {0} int CONSTRAINT {0} REFERENCES {0}.{0})",
        "INSERT INTO {0}.{0} VALUES (1, 1, 'x'), (2, 2, 'y')",
        "INSERT INTO {0}.child VALUES (1, 1), (2, 2)",
    ):
        conn.execute(psycopg.sql.SQL(text).format(name, psycopg.sql.Identifier(odd + "2")))  # type: ignore[arg-type]
    found = map_of(conn, column=odd + "2")
    assert rows_of(conn, entry(found, odd, odd), "x") == [1]
    assert rows_of(conn, entry(found, "child", odd), "x", checked=True) == [1]
    ruled = map_of(conn, column="none", tables={f"{odd}.{odd}": {"column": odd + "2"}, f"{odd}.child": {"via": odd}})
    assert not ruled.undecided
    assert not ruled.unknown


def test_keys_compare_under_the_referenced_columns_collation(conn: Session) -> None:
    """Two collations beside each other have none: the server would refuse to compare."""
    run(
        conn,
        'CREATE TABLE t (code text COLLATE "C" PRIMARY KEY, tenant_id text);'
        'CREATE TABLE c (id int, code text COLLATE "POSIX" REFERENCES t);'
        "INSERT INTO t VALUES ('a', 'x'), ('b', 'y'); INSERT INTO c VALUES (1, 'a'), (2, 'b')",
    )
    assert rows_of(conn, entry(map_of(conn), "c"), "x") == [1]


def test_citext(pg: TestServer, conn: Session) -> None:
    if not pg.has_extension("citext"):
        pytest.skip("this server has no citext")
    run(
        conn,
        "CREATE EXTENSION citext; CREATE TABLE t (code citext PRIMARY KEY, tenant_id citext);"
        "CREATE TABLE c (id int, code citext REFERENCES t); INSERT INTO t VALUES ('A', 'Acme'), ('b', 'y');"
        "INSERT INTO c VALUES (1, 'a'), (2, 'B'); SET search_path = ''",
    )
    found = map_of(conn)
    assert rows_of(conn, entry(found, "c"), "aCME") == [1]


def test_keys_that_hold_for_no_row_decide_nothing(conn: Session) -> None:
    run(
        conn,
        "CREATE TABLE t (id int PRIMARY KEY, tenant_id text); CREATE TABLE c (id int, t int NOT NULL);"
        "INSERT INTO c VALUES (1, 99); ALTER TABLE c ADD CONSTRAINT loose FOREIGN KEY (t) REFERENCES t NOT VALID",
    )
    (undecided,) = map_of(conn).undecided
    assert undecided.keys == ("loose",)
    assert not map_of(conn, tables={"c": {"via": "loose"}}).undecided


def test_policies(conn: Session) -> None:
    run(
        conn,
        "CREATE TABLE t (id int, tenant_id text); ALTER TABLE t ENABLE ROW LEVEL SECURITY;"
        "CREATE TABLE u (id int); ALTER TABLE u ENABLE ROW LEVEL SECURITY;"
        "CREATE TABLE v (id int, tenant_id text); CREATE TABLE w (id int)",
    )
    found = map_of(conn, rows_by="policies", role="app", setting="app.tenant")
    assert {table.name: (table.how, table.column) for table in found.tables} == {
        "t": ("policies", "tenant_id"),
        "u": ("policies", None),
        "v": ("column", "tenant_id"),
    }
    # without a policy of its own every tenant's rows would be there
    assert [table.name for table in found.undecided] == ["w"]
    with pytest.raises(TenantMapError, match="Only the source's own policies"):
        rows_of(conn, entry(found, "u"), "x")


def test_drift_is_said(conn: Session) -> None:
    run(conn, SHOP)
    before = map_of(conn, tables={"countries": {"left_out": True}}).tables
    assert drift(before, map_of(conn, tables={"countries": {"left_out": True}})) == []
    run(
        conn,
        "CREATE TABLE extra (id int, tenant_id text); DROP TABLE notes; CREATE TABLE open (id int);"
        "ALTER TABLE items ADD tenant_id text",
    )
    assert drift(before, map_of(conn, tables={"countries": {"shared": "missing"}})) == [
        "table public.countries: shared by all tenants, stored whole, before: not stored (left out on purpose)",
        "table public.extra is new: column tenant_id",
        "table public.items: column tenant_id, before: items_order_id_fkey → public.orders → tenant_id",
        "table public.open is undecided now: no column 'tenant_id', and no foreign key leads to a table that has it",
        "table public.notes is gone",
    ]


def test_settings_are_checked() -> None:
    for wrong in (
        {"column": ""},
        {"column": 3},
        {"rows_by": "policies"},
        {"rows_by": "magic"},
        {"tables": {"t": {}}},
        {"tables": {"t": {"column": "a", "left_out": True}}},
        {"tables": {"t": {"via": []}}},
        {"tables": {"t": {"via": ""}}},
        {"tables": {"t": {"shared": "yes"}}},
        {"unknown": 1},
    ):
        with pytest.raises(ValidationError):
            TenantMapSettings.from_json(wrong)
    full = {"column": "org", "tables": {"a": {"via": ["x", "y"]}, "b": {"shared": "never"}}}
    assert TenantMapSettings.from_json(full).to_json() == full
    assert TenantMapSettings.from_json({}).to_json() == {}


@pytest.mark.parametrize(
    "text", ["column:org", "via:a_fk", "via:a_fk,b_fk", "shared:missing", "shared:never", "left-out"]
)
def test_rules_are_written_as_they_are_shown(text: str) -> None:
    assert parse_rule(text).words == text
    assert isinstance(parse_rule(text), TableRule)


@pytest.mark.parametrize("text", ["", "column:", "via", "shared:all", "left-out:no", "drop"])
def test_rules_that_are_none(text: str) -> None:
    with pytest.raises(ValidationError):
        parse_rule(text)


def test_oldest_server(pg_any: TestServer) -> None:
    name = pg_any.create_database()
    with pg_any.connect(name) as conn:
        run(conn, SHOP)
        found = read_tenant_map(conn, TenantMapSettings())
        assert rows_of(conn, entry(found, "notes"), "acme") == [100]
    pg_any.drop_database(name)
