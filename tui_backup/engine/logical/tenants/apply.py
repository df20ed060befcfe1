"""Carries a plan out by one statement, so that the server checks keys between the rows only when all are there.

Every table's DELETE, UPDATE and INSERT are parts of one WITH. Foreign keys, where they are in force, are then checked
against the end state: their order, and circles among them, do not matter. Within a table the DELETE comes first, since
unique indexes are checked row by row.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager

import psycopg
from psycopg import sql

from tui_backup.engine.connection import Connection
from tui_backup.engine.logical.names import shown
from tui_backup.engine.logical.target import one
from tui_backup.engine.logical.tenants.fit import Unit
from tui_backup.engine.logical.tenants.plan import Condition, PlanRow, as_text, same_key
from tui_backup.errors import KeyTakenError, TargetMismatchError, TuiBackupError


def lock_rows(conn: Connection, unit: Unit, condition: Condition) -> int:
    """Lock the live rows that a plan will change, where they are still what was looked at and still the tenant's.

    Returns:
        How many those are.
    """
    place = sql.SQL(" AND p.rel = l.tableoid" if unit.live.is_partitioned else "")
    statement = sql.SQL(
        "SELECT pg_catalog.count(*) FROM (SELECT FROM {} l JOIN {} p ON l.ctid = p.tid{}"
        " WHERE p.tid IS NOT NULL AND l.xmin = p.old AND {} FOR UPDATE OF l) AS held"
    ).format(unit.live.rows, unit.plan, place, condition)
    return int(one(conn, statement))


def rows_to_lock(conn: Connection, unit: Unit) -> int:
    """Live rows that a plan will change."""
    return int(one(conn, sql.SQL("SELECT pg_catalog.count(tid) FROM {}").format(unit.plan)))


def taken_keys(conn: Connection, unit: Unit, most: int = 10) -> tuple[int, list[str]]:
    """Keys of rows to be inserted that a row has which is not the tenant's.

    Returns:
        How many, and the first of them as text.
    """
    if unit.key is None or unit.is_shared:
        return 0, []
    key = unit.key.columns
    statement = sql.SQL(
        "SELECT {} FROM {} p JOIN {} s ON s.ctid = p.sid JOIN {} l ON {} WHERE p.act = 'I'"
        # a row of the plan with the same key is deleted, as when all are replaced
        " AND NOT EXISTS (SELECT FROM {} o WHERE o.tid = l.ctid AND o.rel = l.tableoid)"
    ).format(as_text(key, "s"), unit.plan, unit.stage, unit.live.rows, same_key(unit, "l", "s"), unit.plan)
    count = int(one(conn, sql.SQL("SELECT pg_catalog.count(*) FROM ({}) AS taken").format(statement)))
    if not count:
        return 0, []
    listed = conn.execute(sql.SQL("{} ORDER BY 1 LIMIT {}").format(statement, sql.Literal(most))).fetchall()
    return count, [str(row[0]).strip("()") for row in listed]


def apply_plan(conn: Connection, units: Sequence[Unit], planned: Mapping[int, PlanRow]) -> bool:
    """Do what the units' plans say.

    Returns:
        Whether as many rows were changed as were planned.
    """
    parts: list[sql.Composed] = []
    wanted: list[int] = []
    for unit in units:
        plan = planned[unit.number]
        if plan.changes:
            parts += [_delete(unit), _update(unit), _insert(unit)]
            wanted += _expected(conn, unit)
    if not parts:
        return True
    names = [sql.SQL("{}").format(sql.Identifier(f"{act}_{u.number}")) for u in units if planned[u.number].changes
             for act in "dui"]  # fmt: skip
    counts = sql.SQL(", ").join(sql.SQL("(SELECT pg_catalog.count(*) FROM {})").format(name) for name in names)
    statement = sql.SQL("WITH {} SELECT ARRAY[{}]").format(sql.SQL(", ").join(parts), counts)
    return one(conn, statement) == wanted


def _expected(conn: Connection, unit: Unit) -> list[int]:
    row = conn.execute(
        sql.SQL(
            "SELECT pg_catalog.count(*) FILTER (WHERE act IN ('D', 'R')), pg_catalog.count(*) FILTER (WHERE act = 'U'),"
            " pg_catalog.count(*) FILTER (WHERE act IN ('I', 'R')) FROM {}"
        ).format(unit.plan)
    ).fetchone()
    return [int(value) for value in row or ()]


def _place(unit: Unit) -> sql.Composed:
    """The live row that a line of the plan is about; it is locked by now, so it is still there."""
    same = sql.SQL(" AND l.tableoid = p.rel" if unit.live.is_partitioned else "")
    return sql.SQL("l.ctid = p.tid{}").format(same)


def _after(unit: Unit, *acts: str) -> sql.Composed:
    """True once the table's earlier parts are done: a part that is counted is carried out to its end first."""
    return sql.SQL("").join(
        sql.SQL(" AND (SELECT pg_catalog.count(*) FROM {}) >= 0").format(sql.Identifier(f"{act}_{unit.number}"))
        for act in acts
    )


def _delete(unit: Unit) -> sql.Composed:
    return sql.SQL("{} AS (DELETE FROM {} l USING {} p WHERE p.act IN ('D', 'R') AND {} RETURNING 1)").format(
        sql.Identifier(f"d_{unit.number}"), unit.live.rows, unit.plan, _place(unit)
    )


def _update(unit: Unit) -> sql.Composed:
    always = {column.name for column in unit.live.columns if column.identity == "a"}
    columns = [name for name in unit.columns if name not in always]
    name = sql.Identifier(f"u_{unit.number}")
    if unit.key is None or not columns:
        return sql.SQL("{} AS (SELECT 1 WHERE false)").format(name)
    assignments = sql.SQL(", ").join(sql.SQL("{0} = s.{0}").format(sql.Identifier(column)) for column in columns)
    return sql.SQL(
        "{} AS (UPDATE {} l SET {} FROM {} p JOIN {} s ON s.ctid = p.sid WHERE p.act = 'U' AND {}{} RETURNING 1)"
    ).format(name, unit.live.rows, assignments, unit.plan, unit.stage, _place(unit), _after(unit, "d"))


def _insert(unit: Unit) -> sql.Composed:
    columns = sql.SQL(", ").join(map(sql.Identifier, unit.columns))
    listed = sql.SQL(" ({}) OVERRIDING SYSTEM VALUE").format(columns) if unit.columns else sql.SQL("")
    values = sql.SQL(", ").join(sql.SQL("s.{}").format(sql.Identifier(name)) for name in unit.columns)
    return sql.SQL(
        "{} AS (INSERT INTO {}{} SELECT {} FROM {} p JOIN {} s ON s.ctid = p.sid WHERE p.act IN ('I', 'R'){}"
        " RETURNING 1)"
    ).format(
        sql.Identifier(f"i_{unit.number}"), unit.live.identifier, listed, values, unit.plan, unit.stage,
        _after(unit, "d", "u"),
    )  # fmt: skip


@contextmanager
def constraint_errors() -> Generator[None]:
    """Turn a constraint that is in the way, now or at the commit, into its typed error."""
    try:
        yield
    except psycopg.errors.IntegrityError as error:
        raise constraint_error(error) from error


def constraint_error(error: psycopg.errors.IntegrityError) -> TuiBackupError:
    """The typed error for a constraint in the way.

    The server's detail is left out: it may show the values of another tenant's row.
    """
    where = {
        "table": shown((error.diag.schema_name or "", error.diag.table_name or "?")),
        "constraint": error.diag.constraint_name or "",
    }
    if isinstance(error, psycopg.errors.UniqueViolation | psycopg.errors.ExclusionViolation):
        return KeyTakenError(
            f"A row of the backup does not fit beside another row of {where['table']}: {where['constraint']}.",
            details={"conflicts": [where]},
        )
    return TargetMismatchError(
        f"The backup's rows break a constraint of {where['table']}: {error.diag.message_primary}.", details=where
    )
