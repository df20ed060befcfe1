"""The live tables that a restore in place would overwrite: what they look like and whether the backup's rows fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from tui_backup.engine.connection import Connection
from tui_backup.engine.logical.names import shown
from tui_backup.errors import DamagedError
from tui_backup.manifest import Contents, Table

_RELATIONS = """
SELECT c.oid::pg_catalog.int8, n.nspname::text, c.relname::text, c.relkind::text,
       pg_catalog.row_security_active(c.oid),
       pg_catalog.has_table_privilege(c.oid, 'SELECT') AND pg_catalog.has_table_privilege(c.oid, 'INSERT')
       AND pg_catalog.has_table_privilege(c.oid, 'DELETE'),
       pg_catalog.pg_has_role(c.relowner, 'USAGE')
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE (n.nspname, c.relname) IN (SELECT * FROM unnest(%s::text[], %s::text[])) AND c.relkind IN ('r', 'p')
"""

_COLUMNS = """
SELECT a.attrelid::pg_catalog.int8, a.attname::text, pg_catalog.format_type(a.atttypid, a.atttypmod), a.attnotnull,
       a.attgenerated::text, a.atthasdef OR a.attidentity <> '' OR t.typdefault IS NOT NULL
FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
WHERE a.attrelid = ANY (%s::pg_catalog.int8[]::pg_catalog.oid[]) AND a.attnum > 0 AND NOT a.attisdropped
"""


@dataclass(frozen=True, slots=True)
class LiveColumn:
    """One column of a live table."""

    name: str
    type: str
    not_null: bool
    generated: str
    has_default: bool


@dataclass(frozen=True, slots=True)
class LiveTable:
    """One live table. ``writable``: rows may be read, deleted and inserted; ``owned``: it may be altered."""

    oid: int
    schema: str
    name: str
    kind: str
    row_security: bool
    writable: bool
    owned: bool
    columns: tuple[LiveColumn, ...]


@dataclass(frozen=True, slots=True)
class Unit:
    """Rows that are replaced together: one table, or a partitioned table with all its partitions.

    Args:
        live: the table that rows are deleted from and copied into.
        tables: the backup's tables whose rows it gets.
    """

    live: LiveTable
    tables: tuple[Table, ...]

    @property
    def name(self) -> str:
        """For people."""
        return shown((self.live.schema, self.live.name))

    @property
    def rows(self) -> int:
        """Rows in the backup."""
        return sum(table.rows for table in self.tables)


@dataclass(slots=True)
class Fit:
    """What a comparison of shapes found. ``refusals`` forbid the restore, ``warnings`` are told."""

    units: list[Unit] = field(default_factory=list[Unit])
    refusals: list[str] = field(default_factory=list[str])
    warnings: list[str] = field(default_factory=list[str])


def live_tables(conn: Connection, names: Sequence[tuple[str, str]]) -> dict[tuple[str, str], LiveTable]:
    """Look tables up by name; those that are not there are left out."""
    schemas, tables = [name[0] for name in names], [name[1] for name in names]
    rows = conn.execute(_RELATIONS, (schemas, tables)).fetchall()
    columns: dict[int, list[LiveColumn]] = {}
    for oid, *column in conn.execute(_COLUMNS, ([row[0] for row in rows],)):
        columns.setdefault(oid, []).append(LiveColumn(*column))
    return {(row[1], row[2]): LiveTable(*row, columns=tuple(columns.get(row[0], ()))) for row in rows}


def fit_tables(conn: Connection, contents: Contents, tables: Sequence[Table]) -> Fit:
    """Find where each chosen table's rows would go, and whether they fit there.

    A partitioned table that was chosen as a whole is replaced as a whole, through its root, so that its partitions may
    have changed since; a partition that was chosen alone is replaced alone.
    """
    fit = Fit()
    live = live_tables(conn, [(table.schema, table.name) for table in contents.tables])
    for place, group in rows_by_root(tables).items():
        found = live.get(place)
        label = shown(place)
        if found is None:
            fit.refusals.append(f"{label} is not in the database any more")
            continue
        if found.row_security:
            fit.refusals.append(f"{label}: row security would apply to this login")
        if not found.writable:
            fit.refusals.append(f"{label}: the login lacks SELECT, INSERT or DELETE")
        for table in group:
            _fit_columns(table, found, fit)
        fit.units.append(Unit(found, tuple(group)))
    return fit


def rows_by_root(tables: Sequence[Table]) -> dict[tuple[str, str], list[Table]]:
    """The tables that have rows, by the one that their rows go through: a partition's is its topmost parent."""
    roots = {(table.schema, table.name): table for table in tables if table.kind == "p"}
    targets: dict[tuple[str, str], list[Table]] = {}
    for table in tables:
        place = (table.schema, table.name)
        current = table
        seen: set[tuple[str, str]] = set()
        while current.parent in roots:
            place = current.parent
            current = roots[place]
            if place in seen:
                raise DamagedError(f"By the manifest {shown(place)} is a partition of itself.")
            seen.add(place)
        targets.setdefault(place, [])
        if table.kind != "p":
            targets[place].append(table)
    return targets


def _fit_columns(table: Table, live: LiveTable, fit: Fit) -> None:
    label = shown((live.schema, live.name))
    there = {column.name: column for column in live.columns}
    here = {column.name: column for column in table.columns}
    for column in table.columns:
        other = there.get(column.name)
        if column.generated:
            continue
        if other is None:
            fit.refusals.append(f"{label}: the column {column.name} of the backup is not there any more")
        elif other.generated:
            fit.refusals.append(f"{label}: the column {column.name} is generated now")
        elif other.type != column.type:
            fit.refusals.append(f"{label}: the column {column.name} was {column.type}, now it is {other.type}")
    for other in live.columns:
        if other.name in here or other.generated:
            continue
        if other.not_null and not other.has_default:
            fit.refusals.append(f"{label}: the column {other.name} is new, must not be empty and has no default")
        else:
            filled = "its default" if other.has_default else "NULL"
            fit.warnings.append(f"{label}: the column {other.name} is new; restored rows get {filled} there")
