"""Backups of one tenant's rows of real databases, into memory."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest

from tests.integration.engine.backup.conftest import Backup, any_database, back_up, role
from tests.servers import TestServer
from tests.unit.engine.fakes import MemorySink
from tui_backup import manifest
from tui_backup.engine.logical.incremental import Parent
from tui_backup.engine.logical.tenants.reading import TenantRequest
from tui_backup.engine.logical.tenants.row_hash import RowHash, add_hashes
from tui_backup.engine.logical.tenants.settings import TenantMapSettings
from tui_backup.errors import (
    SourcePermissionError,
    TenantMapError,
    TenantRowError,
    TuiBackupError,
    ValidationError,
)

__all__ = ["any_database", "role"]

ACME, BETA = UUID(int=1), UUID(int=2)
SHOP = f"""
CREATE TABLE customers (id int, tenant_id uuid, name text, up text GENERATED ALWAYS AS (upper(name)) STORED,
                        PRIMARY KEY (tenant_id, id));
CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, tenant_id uuid, customer int, note text,
                     FOREIGN KEY (tenant_id, customer) REFERENCES customers (tenant_id, id));
CREATE TABLE items (id int PRIMARY KEY, order_id bigint NOT NULL REFERENCES orders, pad text);
CREATE TABLE countries (code text PRIMARY KEY);
CREATE TABLE secrets (word text);
CREATE MATERIALIZED VIEW totals AS SELECT tenant_id, count(*) FROM orders GROUP BY 1;
INSERT INTO customers SELECT i, t::uuid, t || i FROM unnest(ARRAY['{ACME}', '{BETA}']) t, generate_series(1, 200) i;
INSERT INTO orders (tenant_id, customer, note)
    SELECT CASE WHEN i % 2 = 0 THEN '{ACME}' ELSE '{BETA}' END::uuid, i, repeat('n', 300)
    FROM generate_series(1, 200) i, generate_series(1, 20) j;
INSERT INTO orders (tenant_id, note) VALUES (NULL, 'nobody''s');
INSERT INTO items SELECT id, id, 'x' FROM orders;
INSERT INTO countries VALUES ('de'), ('sa'); INSERT INTO secrets VALUES ('of the platform');
SELECT lo_create(4711);
"""
RULES = {"countries": {"shared": "missing"}, "secrets": {"left_out": True}}


@pytest.fixture(scope="module")
def shop(pg: TestServer) -> Iterator[str]:
    name = pg.create_database()
    pg.execute(SHOP, name)
    yield name
    pg.drop_database(name)


@pytest.fixture
def own_shop(pg: TestServer, shop: str) -> Iterator[str]:
    """A copy to be changed."""
    name = pg.create_database(template=shop)
    yield name
    pg.drop_database(name)


def tenant(key: str = str(ACME), tenant_id: UUID = ACME, earlier: Any = None, **settings: Any) -> TenantRequest:
    return TenantRequest(tenant_id, key, TenantMapSettings.from_json({"tables": RULES, **settings}), earlier)


def copied(server: TestServer, dbname: str, query: str) -> bytes:
    with server.connect(dbname) as conn, conn.cursor().copy(f"COPY ({query}) TO STDOUT".encode()) as stream:
        return b"".join(bytes(block) for block in stream)


def lines(data: bytes) -> list[bytes]:
    return sorted(data.splitlines())


def hash_of(data: bytes) -> str:
    row_hash = RowHash()
    row_hash.update(data)
    return add_hashes([row_hash.value])


def test_holds_exactly_the_tenants_rows(pg: TestServer, shop: str) -> None:
    backup = back_up(pg, shop, tenant=tenant(), chunk_blocks=16)
    wanted = {
        "customers": f"SELECT id, tenant_id, name FROM customers WHERE tenant_id = '{ACME}'",
        "orders": f"SELECT * FROM orders WHERE tenant_id = '{ACME}'",
        "items": f"SELECT i.* FROM items i JOIN orders o ON o.id = i.order_id WHERE o.tenant_id = '{ACME}'",
        "countries": "SELECT * FROM countries",
    }
    assert {table.name for table in backup.contents.tables} == set(wanted)
    assert len(backup.table("orders").chunks) > 4
    scope = backup.contents.tenant
    assert scope is not None
    for name, query in wanted.items():
        data = copied(pg, shop, query)
        assert lines(backup.rows(name)) == lines(data)
        assert backup.table(name).rows == data.count(b"\n")
        assert scope.content_hashes[f"public.{name}"] == hash_of(data)
    assert (scope.tenant_id, scope.key, scope.rows_by, scope.drift) == (ACME, str(ACME), "column", [])


def test_nothing_of_anybody_else_is_stored(pg: TestServer, shop: str) -> None:
    """Not in the rows, the definitions, nor the manifest."""
    backup = back_up(pg, shop, tenant=tenant())
    everything = b"".join(backup.sink.frames.values())
    assert str(ACME).encode() in everything
    for foreign in (str(BETA), "nobody's", "of the platform"):
        assert foreign.encode() not in everything
    assert backup.contents.sequences == []
    assert backup.contents.large_objects.objects == []
    assert backup.contents.materialized_views == []
    assert {item.what for item in backup.contents.left_out} >= {
        "large objects",
        "positions of sequences",
        "contents of materialised view public.totals",
        "rows of table public.secrets",
        "rows of table public.orders whose column tenant_id is NULL",
    }
    # the definitions are all there, so that a side schema can be made
    archive = backup.sink.read(backup.contents.schema)
    assert all(name in archive for name in (b"secrets", b"customers", b"totals"))


def test_two_tenants_of_equal_rows(pg: TestServer, own_shop: str) -> None:
    """Equal keys in two tenants: each backup has its own."""
    pg.execute("UPDATE customers SET name = 'same'", own_shop)
    rows = [back_up(pg, own_shop, tenant=tenant(str(each), each)).rows("customers") for each in (ACME, BETA)]
    assert [data.count(str(each).encode()) for data, each in zip(rows, (ACME, BETA), strict=True)] == [200, 200]
    assert not set(rows[0].splitlines()) & set(rows[1].splitlines())


def test_undecided_tables_stop_it_before_anything_is_read(pg: TestServer, own_shop: str) -> None:
    pg.execute("CREATE TABLE fresh (id int)", own_shop)
    sink = MemorySink()
    with pytest.raises(TenantMapError, match=r"public\.fresh"):
        back_up(pg, own_shop, tenant=tenant(), sink=sink)
    assert sink.frames == {}


def test_row_of_two_tenants_stops_it(pg: TestServer, own_shop: str) -> None:
    pg.execute(
        f"CREATE TABLE links (a bigint NOT NULL REFERENCES orders, b bigint NOT NULL REFERENCES orders);"
        f"INSERT INTO links SELECT min(id), max(id) FROM orders WHERE tenant_id = '{ACME}'",
        own_shop,
    )
    back_up(pg, own_shop, tenant=tenant())
    pg.execute(
        f"INSERT INTO links SELECT (SELECT min(id) FROM orders WHERE tenant_id = '{BETA}'), max(id) FROM orders"
        f" WHERE tenant_id = '{ACME}'",
        own_shop,
    )
    for each in (ACME, BETA):
        with pytest.raises(TenantRowError, match=r"Reading public\.links: the row at ctid \(0,2\)") as refused:
            back_up(pg, own_shop, tenant=tenant(str(each), each))
        assert refused.value.details["ctid"] == "(0,2)"
    back_up(pg, own_shop, tenant=tenant(tables={**RULES, "links": {"via": "links_a_fkey"}}))


@pytest.mark.parametrize("key", ["acme", "' OR true --", "", "\\"])
def test_key_that_is_no_value_of_the_column(pg: TestServer, shop: str, key: str) -> None:
    with pytest.raises(ValidationError, match="cannot be compared with its column"):
        back_up(pg, shop, tenant=tenant(key))


def test_unknown_tenant_has_no_rows(pg: TestServer, shop: str) -> None:
    backup = back_up(pg, shop, tenant=tenant(str(UUID(int=9))))
    assert {table.name: table.rows for table in backup.contents.tables if table.rows} == {"countries": 2}
    assert "no row of any table is the tenant's" in {item.what for item in backup.contents.left_out}


def test_drift_is_said(pg: TestServer, own_shop: str) -> None:
    first = back_up(pg, own_shop, tenant=tenant()).contents.tenant
    assert first is not None
    pg.execute("ALTER TABLE items ADD tenant_id uuid; CREATE TABLE more (tenant_id uuid); DROP TABLE secrets", own_shop)
    second = back_up(pg, own_shop, tenant=tenant(earlier=first.tables)).contents
    assert second.tenant is not None
    assert second.tenant.drift == [
        "the settings name table secrets, which is not there",
        "table public.items: column tenant_id, before: items_order_id_fkey → public.orders → tenant_id",
        "table public.more is new: column tenant_id",
        "table public.secrets is gone",
    ]


def test_partitions_inheritance_and_odd_names_on_each_version(pg_any: TestServer, any_database: str) -> None:
    pg_any.execute(
        """
        CREATE TABLE p (id int, "tenant.id" text) PARTITION BY HASH (id);
        CREATE TABLE p0 PARTITION OF p FOR VALUES WITH (MODULUS 2, REMAINDER 0);
        CREATE TABLE p1 PARTITION OF p FOR VALUES WITH (MODULUS 2, REMAINDER 1);
        CREATE TABLE old (id int, "tenant.id" text); CREATE TABLE young (more text) INHERITS (old);
        CREATE SCHEMA "a.b"; CREATE TABLE "a.b"."T ""x"" %s {}" ("tenant.id" text, "c'o\\l" int);
        CREATE TABLE empty ("tenant.id" text, gone int); ALTER TABLE empty DROP gone;
        INSERT INTO p SELECT i, CASE WHEN i % 3 = 0 THEN 'x''; %s' ELSE 'y' END FROM generate_series(1, 90) i;
        INSERT INTO old VALUES (1, 'x''; %s'), (2, 'y'); INSERT INTO young VALUES (3, 'x''; %s'), (4, 'y'), (5, NULL);
        INSERT INTO "a.b"."T ""x"" %s {}" VALUES ('x''; %s', 1), ('y', 2);
        """,
        any_database,
    )
    backup = back_up(pg_any, any_database, tenant=tenant("x'; %s", column="tenant.id", tables={}))
    rows = {(table.schema, table.name): table.rows for table in backup.contents.tables}
    assert rows[("public", "p0")] + rows[("public", "p1")] == 30
    assert (rows[("public", "old")], rows[("public", "young")], rows[("a.b", 'T "x" %s {}')]) == (1, 1, 1)
    # the whole tree stands for its partitions in the map
    assert backup.contents.tenant is not None
    assert {table.name for table in backup.contents.tenant.tables} == {"p", "old", "young", 'T "x" %s {}', "empty"}


# -- the source's own policies ------------------------------------------------------------------------------------

POLICIES = """
CREATE ROLE {app} NOLOGIN; CREATE ROLE {login} LOGIN PASSWORD 'x'; GRANT {app} TO {login};
GRANT SELECT ON ALL TABLES IN SCHEMA public TO {app}, {login};
ALTER TABLE customers ENABLE ROW LEVEL SECURITY; ALTER TABLE customers FORCE ROW LEVEL SECURITY;
ALTER TABLE countries ENABLE ROW LEVEL SECURITY;
CREATE POLICY mine ON customers TO {app} USING (tenant_id::text = current_setting('app.tenant'));
CREATE POLICY germany ON countries TO {app} USING (code = 'de');
"""


@pytest.fixture
def guarded(pg: TestServer, own_shop: str) -> Iterator[tuple[str, str, str]]:
    app, login = f"app_{own_shop}", f"login_{own_shop}"
    pg.execute(POLICIES.format(app=app, login=login), own_shop)
    yield own_shop, app, login
    pg.execute(f"DROP OWNED BY {app}, {login} CASCADE; DROP ROLE {app}, {login}", own_shop)


def by_policies(app: str, key: str = str(ACME), **more: Any) -> TenantRequest:
    tables = {**RULES, **more.pop("tables", {})}
    tables.pop("countries")
    return tenant(key, rows_by="policies", role=app, setting="app.tenant", tables=tables, **more)


def test_policies_pick_the_rows(pg: TestServer, guarded: tuple[str, str, str]) -> None:
    name, app, login = guarded
    with pytest.raises(SourcePermissionError, match="row security would hide rows"):
        back_up(pg, name, tenant=tenant(), user=login, password="x")
    backup = back_up(pg, name, tenant=by_policies(app), user=login, password="x", chunk_blocks=16)
    assert {table.name: table.rows for table in backup.contents.tables} == {
        "countries": 1,
        "customers": 200,
        "items": 2000,
        "orders": 2000,
    }
    scope = backup.contents.tenant
    assert scope is not None
    assert (scope.rows_by, scope.role, scope.setting) == ("policies", app, "app.tenant")
    assert {table.name: table.how for table in scope.tables}["customers"] == "policies"
    assert any("row_security on" in item.reason for item in backup.contents.left_out)


def test_policy_that_shows_another_tenants_row_stops_it(pg: TestServer, guarded: tuple[str, str, str]) -> None:
    name, app, login = guarded
    pg.execute(f"CREATE POLICY leaky ON customers TO {app} USING (id = 7)", name)
    with pytest.raises(TenantRowError, match=r"Reading public\.customers"):
        back_up(pg, name, tenant=by_policies(app), user=login, password="x")


@pytest.mark.parametrize(
    ("statement", "settings", "error"),
    [
        ("ALTER ROLE {app} BYPASSRLS", {}, "Row security does not bind the role"),
        ("ALTER TABLE countries OWNER TO {app}", {}, "does not bind the role .* on public.countries"),
        ("REVOKE {app} FROM {login}", {}, "may not become"),
        ("REVOKE SELECT ON orders FROM {app}", {}, "permission denied for table orders"),
        ("SELECT 1", {"role": "nobody_there"}, "has no role 'nobody_there'"),
        ("SELECT 1", {"setting": "not a setting"}, "invalid configuration parameter name|unrecognized"),
    ],
)
def test_policies_that_do_not_bind(
    pg: TestServer, guarded: tuple[str, str, str], statement: str, settings: dict[str, str], error: str
) -> None:
    name, app, login = guarded
    pg.execute(statement.format(app=app, login=login), name)
    request = by_policies(app)
    changed = TenantMapSettings.from_json({**request.settings.to_json(), **settings})
    with pytest.raises(TuiBackupError, match=error):
        back_up(pg, name, tenant=TenantRequest(ACME, str(ACME), changed), user=login, password="x")


def test_partitions_without_policies_of_their_own_are_not_read_by_them(
    pg: TestServer, guarded: tuple[str, str, str]
) -> None:
    name, app, _ = guarded
    pg.execute(
        "CREATE TABLE p (id int) PARTITION BY HASH (id); ALTER TABLE p ENABLE ROW LEVEL SECURITY;"
        "CREATE TABLE p0 PARTITION OF p FOR VALUES WITH (MODULUS 1, REMAINDER 0)",
        name,
    )
    with pytest.raises(TenantMapError, match="its partitions have no row-level security of their own"):
        back_up(pg, name, tenant=by_policies(app))


# -- incremental --------------------------------------------------------------------------------------------------


def incremental(server: TestServer, dbname: str, parent: Backup, request: TenantRequest | None = None) -> Backup:
    options: dict[str, Any] = {"parent": Parent(UUID(int=7), parent.contents), "chunk_blocks": 16}
    return back_up(server, dbname, tenant=request or tenant(), sink=parent.sink, **options)


def reuse(backup: Backup) -> manifest.Reuse:
    assert backup.contents.reuse is not None
    return backup.contents.reuse


def test_incremental_takes_over_what_only_others_changed(pg: TestServer, own_shop: str) -> None:
    full = back_up(pg, own_shop, tenant=tenant(), chunk_blocks=16)
    pg.execute(f"UPDATE orders SET note = 'other' WHERE tenant_id = '{BETA}' AND customer < 9", own_shop)
    second = incremental(pg, own_shop, full)
    assert reuse(second).reason is None
    assert reuse(second).read_whole == {"public.items": "its rows are the tenant's by those of another table"}
    chunks = {table.name: len(table.chunks) for table in full.contents.tables}
    assert reuse(second).chunks_reused == sum(chunks.values()) - chunks["items"]
    assert second.contents.tenant == full.contents.tenant


@pytest.mark.parametrize(
    "change",
    [
        f"UPDATE orders SET note = 'new' WHERE id = (SELECT min(id) FROM orders WHERE tenant_id = '{ACME}')",
        f"DELETE FROM items; DELETE FROM orders WHERE id = (SELECT min(id) FROM orders WHERE tenant_id = '{ACME}')",
        f"INSERT INTO orders (tenant_id, note) VALUES ('{ACME}', 'new')",
        # a row that changes hands, away and towards; and two that change places
        f"UPDATE orders SET tenant_id = '{BETA}' WHERE id = (SELECT min(id) FROM orders WHERE tenant_id = '{ACME}')",
        f"UPDATE orders SET tenant_id = '{ACME}' WHERE id = (SELECT min(id) FROM orders WHERE tenant_id = '{BETA}')",
        f"UPDATE orders SET tenant_id = CASE WHEN tenant_id = '{ACME}' THEN '{BETA}' ELSE '{ACME}' END::uuid"
        " WHERE customer < 9",
    ],
)
def test_incremental_holds_what_a_full_one_would(pg: TestServer, own_shop: str, change: str) -> None:
    pg.execute("ALTER TABLE orders DROP CONSTRAINT orders_tenant_id_customer_fkey", own_shop)
    full = back_up(pg, own_shop, tenant=tenant(), chunk_blocks=16)
    pg.execute(change, own_shop)
    second = incremental(pg, own_shop, full)
    again = back_up(pg, own_shop, tenant=tenant(), chunk_blocks=16)
    assert reuse(second).chunks_reused > 0
    assert second.contents.tenant == again.contents.tenant
    assert second.contents.tenant != full.contents.tenant
    for table in again.contents.tables:
        assert second.rows(table.name) == again.rows(table.name)


def test_incremental_upon_another_scope_reads_everything(pg: TestServer, shop: str) -> None:
    whole = back_up(pg, shop, chunk_blocks=16)
    mine = back_up(pg, shop, tenant=tenant(), chunk_blocks=16)
    for parent, request, reason in (
        (whole, tenant(), "the parent is of the whole database"),
        (mine, tenant(str(BETA), BETA), "the parent is another tenant's, or the tenant's key changed"),
        (mine, tenant(str(BETA), ACME), "the parent is another tenant's, or the tenant's key changed"),
    ):
        assert reuse(incremental(pg, shop, parent, request)).reason == reason
    options: dict[str, Any] = {"parent": Parent(UUID(int=7), mine.contents), "sink": mine.sink}
    assert reuse(back_up(pg, shop, **options)).reason == "the parent holds one tenant's rows only"
    changed = tenant(tables={**RULES, "orders": {"via": "orders_tenant_id_customer_fkey"}})
    read_whole = reuse(incremental(pg, shop, mine, changed)).read_whole
    assert read_whole["public.orders"] == "its rows are told in another way than in the parent"


def test_whole_database_is_as_it_was(pg: TestServer, shop: str) -> None:
    contents = back_up(pg, shop).contents
    assert contents.tenant is None
    assert not any(chunk.row_hash for table in contents.tables for chunk in table.chunks)
    assert {table.name for table in contents.tables} == {"customers", "orders", "items", "countries", "secrets"}


@pytest.mark.parametrize("cut", [1, 2, 3, 7, 100])
def test_row_hash_is_independent_of_order_and_cuts(cut: int) -> None:
    rows = [b"%d\tx" % number for number in range(40)] + [b"0\tx", b""]

    def hashed(data: bytes, step: int) -> int:
        found = RowHash()
        for at in range(0, len(data), step):
            found.update(memoryview(data)[at : at + step])
        return found.value

    data = b"\n".join(rows) + b"\n"
    assert hashed(data, cut) == hashed(b"\n".join(reversed(rows)) + b"\n", 1000)
    assert hashed(data, cut) != hashed(b"\n".join(rows[1:]) + b"\n", 1000)
    head, tail = data[: data.index(b"\n", 50) + 1], data[data.index(b"\n", 50) + 1 :]
    assert add_hashes([hashed(head, cut), hashed(tail, cut)]) == add_hashes([hashed(data, 9)])
    with pytest.raises(ValueError, match="within a row"):
        hashed(data[:-2], cut)


def test_parents_are_not_read_again_for_every_chunk(pg: TestServer, database: str) -> None:
    """With the usual plans each chunk of a child read all of its parent's table: twelve times the time of a backup."""
    for statement in (
        "CREATE TABLE parents (id int PRIMARY KEY, tenant_id int NOT NULL, pad text)",
        "CREATE TABLE children (parent int NOT NULL REFERENCES parents, n int)",
        "INSERT INTO parents SELECT i, i % 10 / 9, repeat('p', 90) FROM generate_series(1, 60000) i",
        "INSERT INTO children SELECT i, i FROM generate_series(1, 60000) i",
        "VACUUM ANALYZE parents, children",
    ):
        pg.execute(statement, database)
    scans = "SELECT coalesce(seq_scan, 0) FROM pg_stat_user_tables WHERE relname = 'parents'"
    before = pg.execute(scans, database)[0][0]
    backup = back_up(pg, database, tenant=tenant("0", tables={}), chunk_blocks=8)
    assert (backup.table("children").rows, len(backup.table("children").chunks) > 30) == (54000, True)
    # a session tells its figures when it ends
    wait_until_gone(pg, database)
    assert pg.execute(scans, database)[0][0] - before < 5


def wait_until_gone(server: TestServer, dbname: str) -> None:
    """Wait until the backup's sessions have ended."""
    sessions = f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{dbname}' AND application_name = 'tui-backup'"
    give_up = time.monotonic() + 10
    while server.execute(sessions)[0][0] and time.monotonic() < give_up:
        time.sleep(0.05)
