"""Foreign keys around the tables of a restore in place: their order, what forbids it, and the check at its end."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from psycopg import sql

from tui_backup.engine.connection import Connection
from tui_backup.engine.logical.names import shown
from tui_backup.errors import TargetMismatchError

_KEYS = """
WITH RECURSIVE below AS (
    SELECT o AS unit, o::pg_catalog.oid AS oid FROM pg_catalog.unnest(%(oids)s::pg_catalog.int8[]) AS o
    UNION SELECT b.unit, i.inhrelid FROM pg_catalog.pg_inherits i JOIN below b ON b.oid = i.inhparent
    JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid AND c.relispartition
), above AS (
    SELECT o AS unit, o::pg_catalog.oid AS oid FROM pg_catalog.unnest(%(oids)s::pg_catalog.int8[]) AS o
    UNION SELECT a.unit, i.inhparent FROM pg_catalog.pg_inherits i JOIN above a ON a.oid = i.inhrelid
    JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid AND c.relispartition
), family AS (
    SELECT oid, min(unit) AS unit FROM (SELECT * FROM below UNION SELECT * FROM above) AS both_ways GROUP BY oid
)
SELECT k.conname::text, COALESCE(cf.unit, k.conrelid::pg_catalog.int8), cn.nspname::text, c.relname::text,
       c.relkind = 'p',
       COALESCE(pf.unit, k.confrelid::pg_catalog.int8), pn.nspname::text, p.relname::text, p.relkind = 'p',
       k.condeferrable, k.confdeltype::text, k.confupdtype::text, k.confmatchtype = 'f', k.convalidated, {period},
       (SELECT pg_catalog.array_agg(a.attname::text ORDER BY u.n)
        FROM pg_catalog.unnest(k.conkey) WITH ORDINALITY AS u (num, n)
        JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.num),
       (SELECT pg_catalog.array_agg(a.attname::text ORDER BY u.n)
        FROM pg_catalog.unnest(k.confkey) WITH ORDINALITY AS u (num, n)
        JOIN pg_catalog.pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.num),
       (SELECT pg_catalog.array_agg(ARRAY[s.nspname::text, o.oprname::text] ORDER BY u.n)
        FROM pg_catalog.unnest(k.conpfeqop) WITH ORDINALITY AS u (op, n)
        JOIN pg_catalog.pg_operator o ON o.oid = u.op JOIN pg_catalog.pg_namespace s ON s.oid = o.oprnamespace)
FROM pg_catalog.pg_constraint k
JOIN pg_catalog.pg_class c ON c.oid = k.conrelid JOIN pg_catalog.pg_namespace cn ON cn.oid = c.relnamespace
JOIN pg_catalog.pg_class p ON p.oid = k.confrelid JOIN pg_catalog.pg_namespace pn ON pn.oid = p.relnamespace
LEFT JOIN family cf ON cf.oid = k.conrelid LEFT JOIN family pf ON pf.oid = k.confrelid
WHERE k.contype = 'f' AND k.conparentid = 0 AND {enforced} AND (cf.oid IS NOT NULL OR pf.oid IS NOT NULL)
ORDER BY 3, 4, 1
"""

_CHANGING_ACTIONS = {"c": "CASCADE", "n": "SET NULL", "d": "SET DEFAULT"}


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """One foreign key: ``child`` refers to ``parent``.

    The oids are those of the chosen table where the key is on a partition of it, or on a table that it is part of.
    ``period``: its last column is a period (18 and newer).
    """

    name: str
    child_oid: int
    child_schema: str
    child_name: str
    child_partitioned: bool
    parent_oid: int
    parent_schema: str
    parent_name: str
    parent_partitioned: bool
    deferrable: bool
    delete_action: str
    update_action: str
    match_full: bool
    validated: bool
    period: bool
    child_columns: list[str]
    parent_columns: list[str]
    operators: list[list[str]]

    @property
    def label(self) -> str:
        """For people."""
        child = shown((self.child_schema, self.child_name))
        return f"{child}.{self.name} → {shown((self.parent_schema, self.parent_name))}"


def foreign_keys(conn: Connection, oids: Collection[int]) -> list[ForeignKey]:
    """All enforced foreign keys of these tables and towards them, partitions' own included."""
    major = conn.info.server_version // 10000
    statement = sql.SQL(_KEYS).format(
        period=sql.SQL("k.conperiod" if major >= 18 else "false"),
        enforced=sql.SQL("k.conenforced" if major >= 18 else "true"),
    )
    return [ForeignKey(*row) for row in conn.execute(statement, {"oids": list(oids)})]


def load_order(oids: Sequence[int], keys: Sequence[ForeignKey]) -> tuple[list[int], list[ForeignKey]]:
    """Tables with parents first, and the keys that could not be followed because they close a circle.

    Args:
        oids: the tables.
        keys: foreign keys between any tables; those with others do not matter here.
    """
    parents = {
        oid: {key.parent_oid for key in keys if key.child_oid == oid and key.parent_oid in oids} - {oid} for oid in oids
    }
    order: list[int] = []
    broken: list[ForeignKey] = []
    waiting = list(oids)
    while waiting:
        ready = [oid for oid in waiting if parents[oid] <= set(order)]
        if not ready:
            # a circle: it is broken where keys can wait for the commit
            opened = {
                oid: [key for key in keys if key.child_oid == oid and key.parent_oid in parents[oid] - set(order)]
                for oid in waiting
            }
            first = min(waiting, key=partial(_cost, opened))
            broken += opened[first]
            ready = [first]
        order += ready
        waiting = [oid for oid in waiting if oid not in ready]
    return order, broken


def _cost(opened: Mapping[int, Sequence[ForeignKey]], oid: int) -> tuple[int, int]:
    return sum(not key.deferrable for key in opened[oid]), len(opened[oid])


def refusals_without_replica(oids: Collection[int], keys: Sequence[ForeignKey]) -> list[str]:
    """Why rows cannot be replaced while foreign keys are in force; empty when they can.

    Args:
        oids: the chosen tables.
        keys: foreign keys around them.
    """
    reasons: list[str] = []
    _, circular = load_order(sorted(oids), keys)
    reasons += [f"{key.label} closes a circle and is not deferrable" for key in circular if not key.deferrable]
    for key in keys:
        if key.parent_oid not in oids or key.child_oid in oids:
            continue
        action = _CHANGING_ACTIONS.get(key.delete_action)
        if action:
            reasons.append(f"{key.label} would change rows of a table that is not restored (ON DELETE {action})")
        elif not key.deferrable or key.delete_action == "r":
            reasons.append(f"{key.label} is not deferrable, and its table is not restored")
    return reasons


def check_keys(conn: Connection, keys: Sequence[ForeignKey]) -> None:
    """Look for rows whose foreign key points nowhere.

    Raises:
        TargetMismatchError: there are some; lists the keys with the number of rows.
    """
    broken: dict[str, int] = {}
    for key in keys:
        if not key.validated:
            continue
        row = conn.execute(orphans(key)).fetchone()
        if row and row[0]:
            broken[key.label] = int(row[0])
    if broken:
        listed = "; ".join(f"{label}: {count} rows" for label, count in broken.items())
        raise TargetMismatchError(
            f"The restored rows do not fit the rest of the database: {listed}.",
            hint="Restore the tables on the other side of these foreign keys together with the chosen ones.",
            details={"foreign_keys": broken},
        )


def matches(key: ForeignKey, parent: str, child: str) -> sql.Composed:
    """Alias ``child``'s row refers to alias ``parent``'s row; a period (18 and newer) is not looked at."""
    pairs = list(zip(key.parent_columns, key.child_columns, key.operators, strict=True))
    return sql.SQL(
        " AND "
    ).join(
        sql.SQL("{}.{} OPERATOR({}.{}) {}.{}").format(
            sql.Identifier(parent),
            sql.Identifier(theirs),
            # an operator's name cannot be quoted; the server gave it
            sql.Identifier(operator[0]),
            sql.SQL(operator[1]),  # pyright: ignore[reportArgumentType]
            sql.Identifier(child),
            sql.Identifier(ours),
        )
        for theirs, ours, operator in (pairs[:-1] if key.period else pairs)
    )


def child_rows(key: ForeignKey) -> sql.Composed:
    """The referring table, as FROM needs it."""
    return _from(key.child_schema, key.child_name, key.child_partitioned)


def parent_rows(key: ForeignKey) -> sql.Composed:
    """The referenced table, as FROM needs it."""
    return _from(key.parent_schema, key.parent_name, key.parent_partitioned)


def orphans(key: ForeignKey, condition: sql.Composable | None = None) -> sql.Composed:
    """Count the child's rows that have no parent, as the server's own check would.

    Args:
        key: the foreign key.
        condition: only of rows of the alias ``c`` for which it is true.
    """
    child, parent, match = child_rows(key), parent_rows(key), matches(key, "p", "c")
    join = sql.SQL(" OR " if key.match_full else " AND ")
    present = join.join(sql.SQL("c.{} IS NOT NULL").format(sql.Identifier(name)) for name in key.child_columns)
    if key.period:
        found = sql.SQL(
            "COALESCE((SELECT pg_catalog.range_agg(p.{}) FROM {} p WHERE {}) OPERATOR(pg_catalog.@>) c.{}, false)"
        ).format(sql.Identifier(key.parent_columns[-1]), parent, match, sql.Identifier(key.child_columns[-1]))
    else:
        found = sql.SQL("EXISTS (SELECT FROM {} p WHERE {})").format(parent, match)
    statement = sql.SQL("SELECT pg_catalog.count(*) FROM {} c WHERE ({}) AND NOT {}").format(child, present, found)
    return statement if condition is None else sql.SQL("{} AND ({})").format(statement, condition)


def _from(schema: str, name: str, partitioned: bool) -> sql.Composed:
    return sql.SQL("{}{}").format(sql.SQL("" if partitioned else "ONLY "), sql.Identifier(schema, name))
