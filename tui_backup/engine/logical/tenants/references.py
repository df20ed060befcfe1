"""Foreign keys around a tenant's rows: what would be left pointing nowhere, and the locks that keep it so.

The server's own checks do not run in a session that is a replica's (which keeps triggers from firing), so they are
repeated here, with the same locks: a row that goes is locked FOR UPDATE before anybody is asked who points at it, and a
row that a new one points at is locked FOR KEY SHARE before it is looked for. See the package's docstring.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from psycopg import sql

from tui_backup.engine.connection import Connection
from tui_backup.engine.logical.inplace_keys import ForeignKey, child_rows, matches, orphans, parent_rows
from tui_backup.engine.logical.names import shown
from tui_backup.engine.logical.target import one
from tui_backup.engine.logical.tenants.fit import Unit
from tui_backup.engine.logical.tenants.plan import PlanRow, operator
from tui_backup.errors import RowsInUseError, TargetMismatchError

Conditions = Callable[[Unit, str], sql.Composable]
"""True for the tenant's live rows of a unit, of this alias."""


@dataclass(frozen=True, slots=True)
class Blocker:
    """Rows that refer to rows that would go."""

    table: str
    constraint: str
    rows: int

    def to_json(self) -> dict[str, str | int]:
        """As the restore log keeps it."""
        return {"table": self.table, "constraint": self.constraint, "rows": self.rows}


@dataclass(frozen=True, slots=True)
class References:
    """The foreign keys of one restore.

    Args:
        conn: its session, in its transaction.
        keys: all around the units' tables.
        units: by their tables' oids.
        planned: the units' plans, by their numbers.
        condition: the tenant's live rows.
    """

    conn: Connection
    keys: Sequence[ForeignKey]
    units: Mapping[int, Unit]
    planned: Mapping[int, PlanRow]
    condition: Conditions

    def blockers(self) -> list[Blocker]:
        """Rows that stay and refer to keys that will be gone: other tenants', or those of other tables."""
        found: list[Blocker] = []
        for key in self.keys:
            parent = self.units.get(key.parent_oid)
            if parent is None or key.period or not self._loses(parent, key):
                continue
            rows = int(one(self.conn, self._count_blockers(key, parent)))
            if rows:
                found.append(Blocker(shown((key.child_schema, key.child_name)), key.name, rows))
        return found

    def _loses(self, parent: Unit, key: ForeignKey) -> bool:
        plan = self.planned[parent.number]
        by_key = parent.key is not None and set(key.parent_columns) == set(parent.key.columns)
        return plan.rows_delete > 0 or (plan.rows_update > 0 and not by_key)

    def _count_blockers(self, key: ForeignKey, parent: Unit) -> sql.Composed:
        child = self.units.get(key.child_oid)
        theirs: sql.Composable = sql.SQL("true")
        if child is not None and not child.is_shared:
            # the tenant's own rows will be those of the backup, which are looked at when they are there
            theirs = sql.SQL("NOT COALESCE({}, false)").format(self.condition(child, "c"))
        return sql.SQL(
            "WITH g AS MATERIALIZED ({}) SELECT pg_catalog.count(*) FROM {} c"
            " WHERE EXISTS (SELECT FROM g WHERE {}) AND {}"
        ).format(_gone(key, parent), child_rows(key), matches(key, "g", "c"), theirs)

    def hold_parents(self) -> None:
        """Keep the rows that changed ones refer to from being deleted, as the server's own check would."""
        for key in self.keys:
            child = self.units.get(key.child_oid)
            if child is None or not self.planned[child.number].changes:
                continue
            if set(key.child_columns) <= set(child.columns):
                referring = sql.SQL("SELECT FROM {} s JOIN {} p ON p.sid = s.ctid WHERE {}").format(
                    child.stage, child.plan, matches(key, "t", "s")
                )
            else:
                referring = sql.SQL("SELECT FROM {} c WHERE {} AND {}").format(
                    child_rows(key), matches(key, "t", "c"), self.condition(child, "c")
                )
            self.conn.execute(
                sql.SQL(
                    "SELECT pg_catalog.count(*) FROM (SELECT FROM {} t WHERE EXISTS ({}) FOR KEY SHARE OF t) AS held"
                ).format(parent_rows(key), referring)
            )

    def check(self) -> None:
        """Look for the tenant's rows that point nowhere now.

        Raises:
            TargetMismatchError: there are some; lists the keys with the number of rows.
        """
        broken: dict[str, int] = {}
        for key in self.keys:
            child, parent = self.units.get(key.child_oid), self.units.get(key.parent_oid)
            if not key.validated or not any(unit and self.planned[unit.number].changes for unit in (child, parent)):
                continue
            if child is None and not key.period:
                # counted before anything was changed, and held since
                continue
            mine = None if child is None or child.is_shared or key.period else self.condition(child, "c")
            if rows := int(one(self.conn, orphans(key, mine))):
                broken[key.label] = rows
        if broken:
            listed = "; ".join(f"{label}: {rows} rows" for label, rows in broken.items())
            raise TargetMismatchError(
                f"The backup's rows refer to rows that are not there: {listed}.",
                hint="Restore the tables on the other side of these foreign keys together with the chosen ones.",
                details={"foreign_keys": broken},
            )


def _gone(key: ForeignKey, parent: Unit) -> sql.Composed:
    """The referenced columns' values that the parent's rows will not have any more."""
    columns = sql.SQL(", ").join(sql.SQL("l.{}").format(sql.Identifier(name)) for name in key.parent_columns)
    by_key = parent.key is not None and set(key.parent_columns) == set(parent.key.columns)
    stays: sql.Composable = sql.SQL("true")
    if set(key.parent_columns) <= set(parent.columns):
        # the same row, deleted and inserted, or another of the backup may bring the values back
        stays = sql.SQL("NOT EXISTS (SELECT FROM {} s WHERE {})").format(
            parent.stage,
            sql.SQL(" AND ").join(
                sql.SQL("s.{} {} l.{}").format(sql.Identifier(name), operator(pair), sql.Identifier(name))
                for name, pair in _equality(key, parent)
            ),
        )
    acts = sql.SQL("'D'") if by_key else sql.SQL("'D', 'R', 'U'")
    place = sql.SQL(" AND p.rel = l.tableoid" if parent.live.is_partitioned else "")
    return sql.SQL("SELECT {} FROM {} l JOIN {} p ON p.tid = l.ctid{} WHERE p.act IN ({}) AND {}").format(
        columns, parent.live.rows, parent.plan, place, acts, stays
    )


def _equality(key: ForeignKey, parent: Unit) -> list[tuple[str, tuple[str, str]]]:
    """The referenced columns with the operators of the unique index that the foreign key rests on."""
    for index in parent.live.indexes:
        if set(index.columns) == set(key.parent_columns):
            by_name = dict(zip(index.columns, index.operators, strict=True))
            return [(name, by_name[name]) for name in key.parent_columns]
    return [(name, ("pg_catalog", "=")) for name in key.parent_columns]


def refuse_blockers(blockers: Sequence[Blocker]) -> None:
    """Stop where rows that stay refer to rows that would go.

    Raises:
        RowsInUseError: lists them.
    """
    if not blockers:
        return
    listed = "; ".join(f"{b.table} ({b.constraint}): {b.rows} rows" for b in blockers[:5])
    more = f" and {len(blockers) - 5} more" if len(blockers) > 5 else ""
    raise RowsInUseError(
        f"Rows that are not restored refer to rows that would be deleted: {listed}{more}.",
        details={"blocked_by": [blocker.to_json() for blocker in blockers]},
    )
