"""The databases that speed is measured on (BENCHMARKS.md): W1, a skewed shop, and W2, one giant table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import psycopg
from psycopg import sql

_FACT = """
CREATE TABLE {table} (id bigint PRIMARY KEY, tenant_id int NOT NULL, ref bigint NOT NULL, amount numeric(12,2) NOT NULL,
                     at timestamptz NOT NULL, note text NOT NULL, extra jsonb NOT NULL)
"""
_FILL = """
INSERT INTO {table}
SELECT g, g % 3, (g::bigint * 7919) % 20000 + 1, ((g::bigint * 31) % 1000000) / 100.0,
       timestamptz '2024-01-01Z' + g * interval '7 s',
       md5({name} || g) || ' ' || md5({name} || g::bigint * 3),
       jsonb_build_object('k', g % 100, 'v', left(md5({name} || g::bigint * 5), 20))
  FROM generate_series(1, {rows}) g
"""
_ROWS_A_GB = 4_600_000
"""Rows of the fact tables that make about 1 GB of heap."""


def _fact(conn: psycopg.Connection, name: str, rows: int) -> None:
    table = sql.Identifier(name)
    conn.execute(sql.SQL(_FACT).format(table=table))
    # texts of its own for each table: equal chunks of several tables would be stored once
    conn.execute(sql.SQL(_FILL).format(table=table, name=sql.Literal(name), rows=sql.Literal(rows)))


def make_shop(conn: psycopg.Connection, scale: float) -> None:
    """W1: 12 tables, one of them 60 %, indexes and foreign keys."""
    total = int(_ROWS_A_GB * scale)
    conn.execute("CREATE TABLE customers (id bigint PRIMARY KEY, name text NOT NULL)")
    conn.execute("INSERT INTO customers SELECT g, 'customer ' || g FROM generate_series(1, 20000) g")
    shares = (60, 12, 8, 5, 4, 3, 3, 2, 1, 1, 1)
    for number, share in enumerate(shares):
        _fact(conn, f"facts_{number}", total * share // 100)
    for number in range(len(shares)):
        table = sql.Identifier(f"facts_{number}")
        conn.execute(sql.SQL("CREATE INDEX ON {} (tenant_id, at)").format(table))
        conn.execute(sql.SQL("ALTER TABLE {} ADD FOREIGN KEY (ref) REFERENCES customers").format(table))


def make_giant(conn: psycopg.Connection, scale: float) -> None:
    """W2: one table."""
    _fact(conn, "giant", int(_ROWS_A_GB * scale))
    conn.execute("CREATE INDEX ON giant (tenant_id, at)")
    conn.execute("CREATE INDEX ON giant (ref)")


WORKS: dict[str, Callable[[psycopg.Connection, float], None]] = {"W1": make_shop, "W2": make_giant}


@dataclass(frozen=True)
class Change:
    """What is done to W2 between a full backup and the incrementals upon it, and the ratio to reach."""

    statements: Sequence[str]
    limit: float


CHANGES = {
    "no change": Change((), 0.05),
    "1 % newest changed": Change(
        ("UPDATE giant SET note = note || '.' WHERE id > (SELECT max(id) * 0.99 FROM giant)",), 0.08
    ),
    "10 % appended": Change(
        (
            "INSERT INTO giant SELECT m.id + g, g % 3, g % 20000 + 1, 1, now(), md5(g::text), '{}'"
            " FROM (SELECT max(id) AS id, count(*) AS rows FROM giant) m, generate_series(1, m.rows / 10) g",
        ),
        0.20,
    ),
    "1 % at random changed": Change(("UPDATE giant SET note = note || ',' WHERE id % 100 = 7",), 1.0),
}
"""W3."""
