"""The demo's sample source: a multi-tenant shop whose rows are the same on every run and every server.

Values come from a hash of the row's number, not from random(): that function's sequence differs between versions of
PostgreSQL. Tables are filled before they get keys and indexes, which takes a third of the time.
"""

from __future__ import annotations

from dataclasses import dataclass
from string import Template
from typing import Any, LiteralString, cast

import psycopg

SIZE_NOTE = "20 tables, 3 tenants, about 1 million rows, about 100 MB"


@dataclass(frozen=True, slots=True)
class _Table:
    """A table's columns, its rows at scale 1, and the SELECT that makes row ``g``."""

    columns: LiteralString
    rows: int
    select: LiteralString
    grows: bool = True


# all of these are simple enough to be inlined, else they would take most of the time
# pick(g, salt, m): a number from 0 to m - 1; tenant(id): 3 rows of 6 belong to the first, 2 to the second, 1 to the
# third; same(id, g, ids): a number from 1 to ids (a multiple of 6) with the same tenant as id
_HELPERS: LiteralString = """
CREATE FUNCTION pick(g bigint, salt int, m bigint) RETURNS bigint LANGUAGE sql IMMUTABLE AS
  'SELECT (hashint8extended(g, salt) & 9223372036854775807) % m';
CREATE FUNCTION tenant(id bigint) RETURNS int LANGUAGE sql IMMUTABLE AS
  'SELECT CASE WHEN id % 6 < 3 THEN 1 WHEN id % 6 < 5 THEN 2 ELSE 3 END';
CREATE FUNCTION same(id bigint, g bigint, ids bigint) RETURNS bigint LANGUAGE sql IMMUTABLE AS
  'SELECT pick(g, 97, ids / 6) * 6 + (id - 1) % 6 + 1';
CREATE FUNCTION moment(g bigint, salt int) RETURNS timestamptz LANGUAGE sql IMMUTABLE AS
  'SELECT to_timestamp(1672531200 + pick(g, salt, 94608000))';
"""

_TYPES: LiteralString = """
CREATE TYPE order_status AS ENUM ('new', 'paid', 'packed', 'shipped', 'delivered', 'returned', 'cancelled');
CREATE SEQUENCE invoice_number START 100001;
"""

_TABLES: dict[str, _Table] = {
    "tenants": _Table(
        "id int, name text, currency char(3), settings jsonb, created_at timestamptz",
        3,
        """g, (ARRAY['Cedar & Co', 'Nordlicht GmbH', 'متجر الياسمين'])[g], (ARRAY['USD', 'EUR', 'SAR'])[g],
        jsonb_build_object('vat', g * 5, 'languages', ARRAY['en', 'de', 'ar']),
        '2022-12-01 09:00+00'::timestamptz""",
        grows=False,
    ),
    "staff": _Table(
        "id int, tenant_id int, email text, full_name text, is_active boolean, hired_on date",
        60,
        """g, tenant(g), 'staff' || g || '@shop.example', 'Staff Member ' || g, g % 9 <> 0,
        '2020-01-01'::date + pick(g, 1, 1500)::int""",
        grows=False,
    ),
    "categories": _Table(
        "id int, tenant_id int, parent_id int, name text",
        120,
        """g, tenant(g), CASE WHEN g > 24 THEN 1 + (g - 1) % 6 + 6 * pick(g, 2, 3) END,
        'Category ' || g""",
        grows=False,
    ),
    "suppliers": _Table(
        "id int, tenant_id int, name text, contact jsonb",
        90,
        """g, tenant(g), 'Supplier ' || g, jsonb_build_object('phone', '+1-555-' || lpad(g::text, 4, '0'),
        'days', pick(g, 3, 20))""",
        grows=False,
    ),
    "warehouses": _Table(
        "id int, tenant_id int, name text, location point",
        12,
        "g, tenant(g), 'Warehouse ' || g, point(pick(g, 4, 180), pick(g, 5, 90))",
        grows=False,
    ),
    "coupons": _Table(
        "id int, tenant_id int, code text, percent_off numeric(5, 2), valid_during daterange",
        300,
        """g, tenant(g), 'SAVE' || upper(substr(md5(g::text), 1, 8)), 5 + pick(g, 6, 80) * 0.5,
        daterange('2023-01-01'::date + pick(g, 7, 900)::int, '2026-06-01')""",
        grows=False,
    ),
    "customers": _Table(
        "id int, tenant_id int, email text, full_name text, phone text, preferences jsonb, created_at timestamptz",
        30_000,
        """g, tenant(g), 'customer' || g || '@mail.example',
        (ARRAY['Ada', 'Grace', 'Omar', 'Zoë', 'ليلى', 'Jürgen', 'Mei', 'Ivan'])[1 + pick(g, 8, 8)] || ' ' ||
        (ARRAY['Smith', 'Müller', 'حداد', 'O''Brien', 'García', 'Ng', 'Łukasz'])[1 + pick(g, 9, 7)],
        '+' || 10000000000 + pick(g, 10, 9000000), jsonb_build_object('newsletter', g % 3 = 0,
        'language', (ARRAY['en', 'de', 'ar'])[tenant(g)]), moment(g, 11)""",
    ),
    "addresses": _Table(
        "id int, tenant_id int, customer_id int, street text, city text, postcode text, country char(2)",
        36_000,
        """g, tenant(g), same(g, g, $customers), pick(g, 12, 400) || ' High Street',
        (ARRAY['Berlin', 'Riyadh', 'Boston', 'Köln', 'جدة', 'São Paulo'])[1 + pick(g, 13, 6)],
        lpad(pick(g, 14, 99999)::text, 5, '0'), (ARRAY['US', 'DE', 'SA'])[tenant(g)]""",
    ),
    "products": _Table(
        """id int, tenant_id int, category_id int, supplier_id int, sku text, name text, description text,
        price numeric(12, 2), attributes jsonb, is_listed boolean, updated_at timestamptz""",
        6_000,
        """g, tenant(g), same(g, g, 120), same(g, g + 5, 90), 'SKU-' || lpad(g::text, 7, '0'),
        (ARRAY['Lamp', 'Chair', 'Kettle', 'Notebook', 'Scarf', 'Drill'])[1 + pick(g, 15, 6)] || ' ' || g,
        repeat('Solid, quiet and easy to clean. ', 2 + pick(g, 16, 6)::int), 1.99 + pick(g, 17, 40000) * 0.01,
        jsonb_build_object('colour', (ARRAY['red', 'green', 'blue'])[1 + pick(g, 18, 3)], 'grams', pick(g, 19,
        5000),
        'tags', ARRAY['t' || pick(g, 20, 50), 't' || pick(g, 21, 50)]), g % 11 <> 0, moment(g, 22)""",
    ),
    "product_images": _Table(
        "id int, tenant_id int, product_id int, mime_type text, content oid",
        12,
        """g, tenant(g), g, 'image/png', lo_from_bytea(0, decode('89504e470d0a1a0a' || repeat(md5(g::text),
        2000), 'hex'))""",
        grows=False,
    ),
    "stock_levels": _Table(
        "product_id int, warehouse_id int, tenant_id int, quantity int, reorder_at int",
        12_000,
        """(g + 1) / 2, 1 + ((g + 1) / 2 - 1) % 6 + 6 * (g % 2), tenant((g + 1) / 2), pick(g, 23, 500), 20""",
    ),
    "price_history": _Table(
        "id int, tenant_id int, product_id int, price numeric(12, 2), valid_from timestamptz",
        60_000,
        "g, tenant(g), same(g, g, $products), 0.99 + pick(g, 24, 40000) * 0.01, moment(g, 25)",
    ),
    "carts": _Table(
        "id int, tenant_id int, customer_id int, coupon_id int, created_at timestamptz",
        15_000,
        """g, tenant(g), same(g, g, $customers),
        CASE WHEN g % 5 = 0 THEN same(g, g, 300) END, moment(g, 26)""",
    ),
    "cart_items": _Table(
        "cart_id int, product_id int, tenant_id int, quantity int",
        45_000,
        "1 + g % $carts, same(1 + g % $carts, g, $products), tenant(1 + g % $carts), 1 + pick(g, 27, 4)",
    ),
    "orders": _Table(
        """id int, tenant_id int, customer_id int, status order_status, total numeric(12, 2), note text,
        placed_at timestamptz, updated_at timestamptz""",
        120_000,
        """g, tenant(g), same(g, g, $customers),
        (enum_range(NULL::order_status))[1 + pick(g, 28, 7)], 5 + pick(g, 29, 90000) * 0.01,
        CASE WHEN g % 17 = 0 THEN E'Leave at the door.\\nRing twice.' END, moment(g, 30), moment(g, 30)""",
    ),
    "order_items": _Table(
        """id int, tenant_id int, order_id int, product_id int, quantity int, unit_price numeric(12, 2),
        discount numeric(5, 2)""",
        360_000,
        """g, tenant((g + 2) / 3), (g + 2) / 3, same((g + 2) / 3, g, $products), 1 + pick(g, 31, 5),
        1.99 + pick(g, 32, 40000) * 0.01, CASE WHEN g % 10 = 0 THEN pick(g, 33, 30) END""",
    ),
    "payments": _Table(
        "id uuid, tenant_id int, order_id int, amount numeric(12, 2), method text, paid_at timestamptz, receipt jsonb",
        100_000,
        """md5('payment ' || g)::uuid, tenant(g), g, 5 + pick(g, 29, 90000) * 0.01,
        (ARRAY['card', 'transfer', 'cash'])[1 + pick(g, 34, 3)], moment(g, 30) + '5 min'::interval,
        CASE WHEN g % 4 = 0 THEN jsonb_build_object('terminal', pick(g, 35, 99)) END""",
    ),
    "shipments": _Table(
        """id int, tenant_id int, order_id int, warehouse_id int, tracking text, sent_at timestamptz,
        delivered_at timestamptz""",
        80_000,
        """g, tenant(g), g, 1 + (g - 1) % 6 + 6 * (g / 6 % 2), upper(substr(md5('track ' || g), 1, 14)),
        moment(g, 30) + '1 day'::interval, CASE WHEN g % 8 <> 0 THEN moment(g, 30) + '3 days'::interval END""",
    ),
    "reviews": _Table(
        "id int, tenant_id int, product_id int, customer_id int, stars smallint, body text, search tsvector",
        36_000,
        """g, tenant(g), same(g, g, $products), same(g, g + 7, $customers), 1 + pick(g, 36, 5),
        words, to_tsvector('simple', words) FROM (SELECT g, 'Review ' || g || ': ' ||
        (ARRAY['works as described', 'arrived late', 'better than expected', 'broke soon'])[1 + pick(g, 37, 4)]
        || ', would ' || (ARRAY['', 'not '])[1 + g % 2] || 'buy again' AS words
        FROM generate_series(1, $rows::bigint) AS g) AS s""",
    ),
    "audit_events": _Table(
        "id bigint, tenant_id int, staff_id int, action text, subject text, details jsonb, at timestamptz",
        130_000,
        """g, tenant(g), same(g, g, 60),
        (ARRAY['login', 'order.update', 'price.change', 'refund'])[1 + pick(g, 38, 4)],
        'order/' || 1 + pick(g, 39, $orders), jsonb_build_object('address', '10.0.' || pick(g, 40, 255) || '.7',
        'trace', md5(g::text)), moment(g, 41)""",
    ),
}
TABLES: tuple[str, ...] = tuple(_TABLES)

_UNIQUE: dict[str, LiteralString] = {
    "tenants": "name",
    "staff": "tenant_id, email",
    "coupons": "tenant_id, code",
    "customers": "tenant_id, email",
    "products": "tenant_id, sku",
}
_REFERENCES: tuple[tuple[str, str, str], ...] = (
    ("categories", "parent_id", "categories"),
    ("addresses", "customer_id", "customers"),
    ("products", "category_id", "categories"),
    ("products", "supplier_id", "suppliers"),
    ("product_images", "product_id", "products"),
    ("stock_levels", "product_id", "products"),
    ("stock_levels", "warehouse_id", "warehouses"),
    ("price_history", "product_id", "products"),
    ("carts", "customer_id", "customers"),
    ("carts", "coupon_id", "coupons"),
    ("cart_items", "cart_id", "carts"),
    ("cart_items", "product_id", "products"),
    ("orders", "customer_id", "customers"),
    ("order_items", "order_id", "orders"),
    ("order_items", "product_id", "products"),
    ("payments", "order_id", "orders"),
    ("shipments", "order_id", "orders"),
    ("shipments", "warehouse_id", "warehouses"),
    ("reviews", "product_id", "products"),
    ("reviews", "customer_id", "customers"),
    ("audit_events", "staff_id", "staff"),
)
_EXTRAS: LiteralString = """
ALTER TABLE stock_levels ADD PRIMARY KEY (product_id, warehouse_id), ADD CHECK (quantity >= 0);
ALTER TABLE order_items ADD CHECK (quantity > 0);
ALTER TABLE reviews ADD CHECK (stars BETWEEN 1 AND 5);
ALTER TABLE products ALTER updated_at SET DEFAULT now();
ALTER TABLE orders ALTER status SET DEFAULT 'new', ALTER placed_at SET DEFAULT now(),
  ALTER updated_at SET DEFAULT now();
ALTER TABLE payments ALTER id SET DEFAULT gen_random_uuid();
CREATE INDEX orders_newest ON orders (tenant_id, placed_at DESC);
CREATE INDEX orders_open ON orders (tenant_id, placed_at) WHERE status IN ('new', 'paid', 'packed');
CREATE INDEX orders_customer ON orders (customer_id);
CREATE INDEX order_items_order ON order_items (order_id) INCLUDE (quantity, unit_price);
CREATE INDEX price_history_product ON price_history (product_id, valid_from DESC);
CREATE INDEX cart_items_cart ON cart_items (cart_id);
CREATE INDEX customers_name ON customers (tenant_id, lower(full_name));
CREATE INDEX products_attributes ON products USING gin (attributes jsonb_path_ops);
CREATE INDEX reviews_search ON reviews USING gin (search);
CREATE INDEX audit_events_at ON audit_events USING brin (id);
CREATE FUNCTION touch_updated_at() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.updated_at := now();
  RETURN NEW;
END
$$;
CREATE TRIGGER touch BEFORE UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
CREATE FUNCTION keep_price() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO price_history (tenant_id, product_id, price, valid_from) VALUES (NEW.tenant_id, NEW.id, NEW.price, now());
  RETURN NULL;
END
$$;
CREATE TRIGGER keep_price AFTER UPDATE OF price ON products FOR EACH ROW
  WHEN (OLD.price IS DISTINCT FROM NEW.price) EXECUTE FUNCTION keep_price();
CREATE VIEW open_orders AS
  SELECT o.id, o.tenant_id, c.full_name, o.status, o.total, o.placed_at
  FROM orders AS o JOIN customers AS c ON c.id = o.customer_id WHERE o.status IN ('new', 'paid', 'packed');
CREATE MATERIALIZED VIEW sales_by_month AS
  SELECT tenant_id, date_trunc('month', placed_at AT TIME ZONE 'UTC')::date AS month,
    count(*) AS orders, sum(total) AS revenue
  FROM orders WHERE status <> 'cancelled' GROUP BY 1, 2;
CREATE UNIQUE INDEX sales_by_month_key ON sales_by_month (tenant_id, month);
COMMENT ON TABLE orders IS 'One row an order; its lines are in order_items.';
COMMENT ON MATERIALIZED VIEW sales_by_month IS 'Revenue of orders that were not cancelled.';
"""


def create_shop(conn: psycopg.Connection[Any], *, scale: float = 1.0) -> None:
    """Make the shop in the public schema of an empty database, in one transaction.

    Args:
        conn: a connection to that database, as a role that may create there.
        scale: how many rows, 1.0 for about 100 MB; the small tables stay as they are.
    """
    thousandths = max(2, round(1000 * scale))
    rows = {name: t.rows // 1000 * thousandths if t.grows else t.rows for name, t in _TABLES.items()}
    with conn.transaction():
        conn.execute("SET LOCAL search_path = public")
        conn.execute("SET LOCAL maintenance_work_mem = '128MB'")
        conn.execute(_HELPERS)
        conn.execute(_TYPES)
        for name, table in _TABLES.items():
            conn.execute(_statement(f"CREATE TABLE {name} ({table.columns})"))
            select = Template(table.select).substitute(rows, rows=rows[name])
            source = "" if "generate_series" in select else f" FROM generate_series(1, {rows[name]}::bigint) AS g"
            conn.execute(_statement(f"INSERT INTO {name} SELECT {select}{source}"))
        for name, table in _TABLES.items():
            conn.execute(_statement(_keys(name, table, rows[name])))
        for name, column, target in _REFERENCES:
            conn.execute(_statement(f"ALTER TABLE {name} ADD FOREIGN KEY ({column}) REFERENCES {target}"))
        conn.execute(_EXTRAS)
        conn.execute("SELECT setval('invoice_number', 100000 + %s)", (rows["orders"],))
        conn.execute("DROP FUNCTION pick, tenant, same, moment")
        conn.execute("ANALYZE")


def _keys(name: str, table: _Table, rows: int) -> str:
    """The ALTER TABLE that gives a filled table its keys."""
    parts: list[str] = []
    kind = table.columns.split(",")[0]
    if kind.startswith("id "):
        parts.append("ADD PRIMARY KEY (id)")
    if kind in ("id int", "id bigint"):
        parts.append(f"ALTER id ADD GENERATED BY DEFAULT AS IDENTITY (START WITH {rows + 1})")
    if name in _UNIQUE:
        parts.append(f"ADD UNIQUE ({_UNIQUE[name]})")
    if name != "tenants":
        parts.append("ALTER tenant_id SET NOT NULL, ADD FOREIGN KEY (tenant_id) REFERENCES tenants")
    return f"ALTER TABLE {name} " + ", ".join(parts)


def _statement(text: str) -> LiteralString:
    """Text put together from this module's own constants and numbers."""
    return cast("LiteralString", text)
