"""The demo's sample source."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import psycopg

from tui_backup.demo.shop import TABLES, create_shop

if TYPE_CHECKING:
    from tests.servers import TestServer

# rows of a few tables at scale 0.01; the same on every server, or two people would not see the same demo
DIGEST = "bc0681b6ed8924f7b13420eccee04471ca03b1c7adfeab68af6e4d80991f8353"


def digest(conn: psycopg.Connection) -> str:
    found = hashlib.sha256()
    conn.execute("SET timezone = 'UTC'")
    for table in ("customers", "products", "orders", "order_items", "reviews", "audit_events"):
        with conn.cursor().copy(f"COPY (SELECT * FROM {table} ORDER BY id) TO STDOUT".encode()) as copy:
            for block in copy:
                found.update(block)
    return found.hexdigest()


def test_the_shop_is_the_same_on_every_version(pg_any: TestServer) -> None:
    name = pg_any.create_database()
    try:
        with psycopg.connect(pg_any.dsn(name)) as conn:
            create_shop(conn, scale=0.01)
            assert digest(conn) == DIGEST
    finally:
        pg_any.drop_database(name)


def test_the_shop_holds_what_the_demo_shows(pg: TestServer, database: str) -> None:
    with psycopg.connect(pg.dsn(database)) as conn:
        create_shop(conn, scale=0.02)
    kinds = dict(
        pg.execute("SELECT relname, relkind::text FROM pg_class WHERE relnamespace = 'public'::regnamespace", database)
    )
    assert sorted(name for name, kind in kinds.items() if kind == "r") == sorted(TABLES)
    assert len(TABLES) == 20
    assert kinds["sales_by_month"] == "m"
    assert kinds["invoice_number"] == "S"
    assert pg.execute("SELECT count(*) FROM pg_largeobject_metadata", database) == [(12,)]
    assert pg.execute("SELECT count(*) FROM pg_proc WHERE pronamespace = 'public'::regnamespace", database) == [(2,)]
    assert pg.execute("SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND NOT convalidated", database) == [(0,)]
    for table in TABLES:
        assert pg.execute(f"SELECT count(*) > 0 FROM {table}", database) == [(True,)], table
        if table != "tenants":
            assert pg.execute(f"SELECT array_agg(DISTINCT tenant_id) FROM {table}", database) == [([1, 2, 3],)], table
    # a foreign key never leads to another tenant
    keys = pg.execute(
        "SELECT c.conrelid::regclass::text, a.attname, c.confrelid::regclass::text FROM pg_constraint AS c "
        "JOIN pg_attribute AS a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1] "
        "WHERE c.contype = 'f' AND c.confrelid <> 'tenants'::regclass",
        database,
    )
    assert len(keys) >= 20
    for table, column, target in keys:
        joined = f"{table} AS t JOIN {target} AS r ON r.id = t.{column}"
        query = f"SELECT count(*) > 0, count(*) FILTER (WHERE r.tenant_id <> t.tenant_id) FROM {joined}"
        assert pg.execute(query, database) == [(True, 0)], (table, column)


def test_the_shop_can_be_used(pg: TestServer, database: str) -> None:
    with psycopg.connect(pg.dsn(database)) as conn:
        create_shop(conn, scale=0.01)
    placed = "INSERT INTO orders (tenant_id, customer_id, total) VALUES (1, 1, 9.5) RETURNING id, status, updated_at"
    [(order, status, updated_at)] = pg.execute(placed, database)
    assert order == 1201
    assert status == "new"
    [(later,)] = pg.execute(f"UPDATE orders SET status = 'paid' WHERE id = {order} RETURNING updated_at", database)
    assert later > updated_at
    before = pg.execute("SELECT count(*) FROM price_history", database)[0][0]
    pg.execute("UPDATE products SET price = price + 1 WHERE id = 1", database)
    assert pg.execute("SELECT count(*) FROM price_history", database) == [(before + 1,)]
    assert pg.execute("SELECT count(*) > 0 FROM open_orders", database) == [(True,)]
