"""What has to be done so that a tenant's live rows become the backup's: by SQL alone, however many rows there are.

A unit's plan is a temporary table with a line for each row that must change: what to do (D delete, I insert, U update,
R replace: delete and insert), where the live row is (``rel``, ``tid``) and which version of it was looked at (``old``,
its xmin), and where the backup's row is in the staging table (``sid``). A row that is as in the backup has no line, so
nothing ever touches it. Rows are the same when their binary image is, or else the text that COPY would write of them.
"""

from __future__ import annotations

from dataclasses import dataclass

from psycopg import sql

from tui_backup.engine.connection import Connection
from tui_backup.engine.logical.target import one
from tui_backup.engine.logical.tenants.fit import Unit

Condition = sql.Composable
"""True exactly for the tenant's rows; asks of the alias ``l``."""


@dataclass(frozen=True, slots=True)
class PlanRow:
    """One table's part of a plan. ``rows_same`` are not touched."""

    table: str
    rows_delete: int
    rows_insert: int
    rows_update: int
    rows_same: int

    @property
    def changes(self) -> int:
        """Rows that will be touched."""
        return self.rows_delete + self.rows_insert + self.rows_update

    def to_json(self) -> dict[str, str | int]:
        """As the restore log keeps it."""
        return {
            "table": self.table,
            "rows_delete": self.rows_delete,
            "rows_insert": self.rows_insert,
            "rows_update": self.rows_update,
            "rows_same": self.rows_same,
        }


def operator(pair: tuple[str, str] | list[str]) -> sql.Composed:
    """An operator by schema and name; a name cannot be quoted, the server gave it."""
    return sql.SQL("OPERATOR({}.{})").format(sql.Identifier(pair[0]), sql.SQL(pair[1]))  # pyright: ignore[reportArgumentType]


def same_key(unit: Unit, one_side: str, other: str) -> sql.Composed:
    """Two aliases' rows have the same key."""
    if unit.key is None:
        raise ValueError("the table has no key")
    pairs = zip(unit.key.columns, unit.key.operators, strict=True)
    return sql.SQL(" AND ").join(
        sql.SQL("{}.{} {} {}.{}").format(
            sql.Identifier(one_side), sql.Identifier(name), operator(pair), sql.Identifier(other), sql.Identifier(name)
        )
        for name, pair in pairs
    )


def row_of(columns: tuple[str, ...], alias: str) -> sql.Composed:
    """ROW(…) of an alias's columns."""
    listed = (sql.SQL("{}.{}").format(sql.Identifier(alias), sql.Identifier(name)) for name in columns)
    return sql.SQL("ROW({})").format(sql.SQL(", ").join(listed))


def as_text(columns: tuple[str, ...], alias: str) -> sql.Composed:
    """A row as text by its types' output functions, which no two different rows share."""
    return sql.SQL('({}::pg_catalog.text COLLATE "C")').format(row_of(columns, alias))


def differ(columns: tuple[str, ...], one_side: str, other: str) -> sql.Composed:
    """Two rows are not the same: by their images, which is quick, and then by their text, which decides."""
    if not columns:
        return sql.SQL("false").format()
    # as records: two row constructors would be compared column by column, by an operator that their types do not have
    return sql.SQL(
        "({}::pg_catalog.record OPERATOR(pg_catalog.*<>) {}::pg_catalog.record AND {} OPERATOR(pg_catalog.<>) {})"
    ).format(row_of(columns, one_side), row_of(columns, other), as_text(columns, one_side), as_text(columns, other))


def _live_rows(unit: Unit, condition: Condition) -> sql.Composed:
    """The tenant's live rows, with where they are."""
    columns = [sql.SQL("l.{}").format(sql.Identifier(name)) for name in unit.columns]
    places = [sql.SQL("l.tableoid AS tui_rel"), sql.SQL("l.ctid AS tui_tid"), sql.SQL("l.xmin AS tui_old")]
    return sql.SQL("SELECT {} FROM {} l WHERE {}").format(
        sql.SQL(", ").join([*places, *columns]), unit.live.rows, condition
    )


def plan_query(unit: Unit, condition: Condition, *, replace: bool, replace_all: bool = False) -> sql.Composed:
    """SELECT of a unit's plan lines (act, rel, tid, old, sid); it gives none exactly when nothing is left to do.

    Args:
        unit: what is planned.
        condition: the tenant's live rows.
        replace: rows with other values in ``unit.fixed`` columns are deleted and inserted rather than updated.
        replace_all: every row is deleted and inserted.
    """
    if unit.is_shared:
        return _missing(unit)
    if replace_all:
        return sql.SQL(
            "SELECT 'D' AS act, l.tableoid AS rel, l.ctid AS tid, l.xmin AS old, NULL::pg_catalog.tid AS sid"
            " FROM {} l WHERE {} UNION ALL SELECT 'I', NULL, NULL, NULL, s.ctid FROM {} s"
        ).format(unit.live.rows, condition, unit.stage)
    return _by_key(unit, condition, replace=replace) if unit.key else _by_content(unit, condition)


def _by_key(unit: Unit, condition: Condition, *, replace: bool) -> sql.Composed:
    fixed = tuple(name for name in unit.columns if name in unit.fixed)
    replaced = differ(fixed, "s", "l") if replace else differ(_always(unit), "s", "l")
    return sql.SQL(
        "SELECT CASE WHEN s.ctid IS NULL THEN 'D' WHEN l.tui_tid IS NULL THEN 'I' WHEN {replaced} THEN 'R' ELSE 'U' END"
        " AS act, l.tui_rel AS rel, l.tui_tid AS tid, l.tui_old AS old, s.ctid AS sid"
        " FROM ({live}) l FULL JOIN {stage} s ON {same_key} WHERE s.ctid IS NULL OR l.tui_tid IS NULL OR {differ}"
    ).format(
        replaced=replaced,
        live=_live_rows(unit, condition),
        stage=unit.stage,
        same_key=same_key(unit, "l", "s"),
        differ=differ(unit.columns, "s", "l"),
    )


def _always(unit: Unit) -> tuple[str, ...]:
    """Columns that an UPDATE may not set at all."""
    return tuple(c.name for c in unit.live.columns if c.identity == "a" and c.name in unit.columns)


def _by_content(unit: Unit, condition: Condition) -> sql.Composed:
    """Without a key each row counts as often as it is there: the first of equal rows meets the first, and so on."""
    return sql.SQL(
        "SELECT CASE WHEN s.sid IS NULL THEN 'D' ELSE 'I' END AS act, l.tui_rel AS rel, l.tui_tid AS tid,"
        " l.tui_old AS old, s.sid FROM"
        " (SELECT x.*, pg_catalog.row_number() OVER (PARTITION BY x.tui_text) AS tui_n"
        " FROM (SELECT l.tui_rel, l.tui_tid, l.tui_old, {live_text} AS tui_text FROM ({live}) l) x) l"
        " FULL JOIN (SELECT s.ctid AS sid, s.tui_text, pg_catalog.row_number() OVER (PARTITION BY s.tui_text) AS tui_n"
        " FROM (SELECT s.ctid, {stage_text} AS tui_text FROM {stage} s) s) s"
        " ON l.tui_text = s.tui_text AND l.tui_n = s.tui_n WHERE s.sid IS NULL OR l.tui_tid IS NULL"
    ).format(
        live_text=as_text(unit.columns, "l"),
        live=_live_rows(unit, condition),
        stage_text=as_text(unit.columns, "s"),
        stage=unit.stage,
    )


def _missing(unit: Unit) -> sql.Composed:
    """A shared table's rows of the backup that are not there."""
    same_text = sql.SQL("{} = {}").format(as_text(unit.columns, "l"), as_text(unit.columns, "s"))
    found = same_key(unit, "l", "s") if unit.key else same_text
    return sql.SQL(
        "SELECT 'I' AS act, NULL::pg_catalog.oid AS rel, NULL::pg_catalog.tid AS tid, NULL::pg_catalog.xid AS old,"
        " s.ctid AS sid FROM {} s WHERE NOT EXISTS (SELECT FROM {} l WHERE {})"
    ).format(unit.stage, unit.live.rows, found)


def make_plan(conn: Connection, unit: Unit, query: sql.Composed) -> PlanRow:
    """Fill a unit's plan table, which is gone at the end of the transaction."""
    conn.execute(
        sql.SQL(
            'CREATE TEMPORARY TABLE {} (act pg_catalog."char", rel pg_catalog.oid, tid pg_catalog.tid,'
            " old pg_catalog.xid, sid pg_catalog.tid) ON COMMIT DROP"
        ).format(sql.Identifier(f"tui_plan_{unit.number}"))
    )
    conn.execute(sql.SQL("INSERT INTO {} {}").format(unit.plan, query))
    conn.execute(sql.SQL("ANALYZE {}").format(unit.plan))
    counts = {
        act: int(rows)
        for act, rows in conn.execute(
            sql.SQL("SELECT act::pg_catalog.text, pg_catalog.count(*) FROM {} GROUP BY 1").format(unit.plan)
        )
    }
    staged = int(one(conn, sql.SQL("SELECT pg_catalog.count(*) FROM {}").format(unit.stage)))
    updated = counts.get("U", 0) + counts.get("R", 0)
    inserted = counts.get("I", 0)
    return PlanRow(unit.label, counts.get("D", 0), inserted, updated, staged - inserted - updated)


def rows_left(conn: Connection, query: sql.Composed) -> int:
    """How many rows are still, or again, not as in the backup."""
    return int(one(conn, sql.SQL("SELECT pg_catalog.count(*) FROM ({}) AS left_over").format(query)))
