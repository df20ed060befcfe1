"""Whether a tenant's backup still fits the live tables, and how each table's rows are told apart there."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from psycopg import sql

from tui_backup.engine.connection import Connection
from tui_backup.engine.logical.inplace_tables import rows_by_root
from tui_backup.engine.logical.names import QualifiedName, shown
from tui_backup.engine.logical.tenants.live import LiveColumn, LiveTable, UniqueIndex, read_live_tables
from tui_backup.manifest import Table, TenantTable

_NUMBER = re.compile(r"(numeric|character varying|character|bit varying|bit)\((\d+)(?:,(-?\d+))?\)")
# every value's text reads as the same value of the wider type
_WIDER = {
    "smallint": {"integer", "bigint", "numeric"},
    "integer": {"bigint", "numeric"},
    "bigint": {"numeric"},
    "real": {"double precision"},
    "character varying": {"text"},
}
_LENGTHS = ("character varying", "bit varying")


@dataclass(frozen=True, slots=True)
class Unit:
    """Rows that are restored together: one table, or a partitioned table with all its partitions.

    Args:
        number: names its staging table.
        live: the table.
        rule: how the live map tells its rows.
        tables: the backup's tables whose rows these are.
        columns: those that both the backup and the live table have.
        key: by which a row of the backup finds its live row, None where rows are compared as a multiset.
    """

    number: int
    live: LiveTable
    rule: TenantTable
    tables: tuple[Table, ...]
    columns: tuple[str, ...]
    key: UniqueIndex | None

    @property
    def label(self) -> str:
        """For people."""
        return self.live.label

    @property
    def is_shared(self) -> bool:
        """Rows of nobody: only missing ones are put back."""
        return self.rule.how == "shared"

    @property
    def stage_name(self) -> QualifiedName:
        """The staging table's schema and name."""
        return ("pg_temp", f"tui_stage_{self.number}")

    @property
    def stage(self) -> sql.Identifier:
        """The staging table."""
        return sql.Identifier(*self.stage_name)

    @property
    def plan(self) -> sql.Identifier:
        """The table of what is to be done."""
        return sql.Identifier("pg_temp", f"tui_plan_{self.number}")

    @property
    def fixed(self) -> frozenset[str]:
        """Columns that an UPDATE may not set, or not without other rows of the table being in its way."""
        always = {column.name for column in self.live.columns if column.identity == "a"}
        others = (index.uses for index in self.live.indexes if index is not self.key)
        key = frozenset(self.key.columns if self.key else ())
        return (frozenset(always).union(*others) - key) & frozenset(self.columns)

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


def fit_units(conn: Connection, tables: Sequence[Table], rules: Mapping[QualifiedName, TenantTable]) -> Fit:
    """Find where each table's rows go and whether they fit there.

    Args:
        conn: a session on the live database.
        tables: those of the backup.
        rules: the live map's tables; partitions go by their root.
    """
    fit = Fit()
    groups = rows_by_root(tables)
    live = read_live_tables(conn, list(groups))
    for place, group in groups.items():
        found, rule = live.get(place), rules.get(place)
        label = shown(place)
        if found is None:
            fit.refusals.append(f"{label} is not in the database any more")
        elif rule is None:
            fit.refusals.append(f"{label}: the tenant map of the source does not say whose its rows are")
        elif rule.how == "left_out":
            fit.warnings.append(f"{label} is left alone: the tenant map leaves it out")
        else:
            _fit(found, rule, group, fit)
    return fit


def _fit(live: LiveTable, rule: TenantTable, tables: Sequence[Table], fit: Fit) -> None:
    if live.row_security:
        fit.refusals.append(f"{live.label}: row security would apply to this login (it needs BYPASSRLS)")
    lacks = [right for right in live.lacks if rule.how != "shared" or right in ("SELECT", "INSERT")]
    if lacks:
        fit.refusals.append(f"{live.label}: the login lacks {', '.join(lacks)}")
    there = {column.name: column for column in live.columns}
    stored = list(dict.fromkeys(name for table in tables for name in table.data_columns))
    for table in tables:
        _fit_columns(table, live, there, fit)
    columns = tuple(name for name in stored if name in there and not there[name].generated)
    for name in stored:
        if name not in there:
            fit.warnings.append(f"{live.label}: the column {name} of the backup is not there any more, it is left out")
    _check_new_columns(live, frozenset(stored), fit)
    fit.units.append(Unit(len(fit.units), live, rule, tuple(tables), columns, _key(live, columns)))


def _fit_columns(table: Table, live: LiveTable, there: Mapping[str, LiveColumn], fit: Fit) -> None:
    for column in table.columns:
        now = there.get(column.name)
        if column.generated or now is None:
            continue
        if now.generated:
            fit.refusals.append(f"{live.label}: the column {column.name} is generated now")
        elif not reads_as(column.type, now.type):
            fit.refusals.append(f"{live.label}: the column {column.name} was {column.type}, now it is {now.type}")


def _check_new_columns(live: LiveTable, stored: frozenset[str], fit: Fit) -> None:
    for column in live.columns:
        if column.generated or column.name in stored:
            continue
        if column.not_null and not column.has_default:
            fit.refusals.append(f"{live.label}: the column {column.name} is new, must not be empty and has no default")
        else:
            filled = "its default" if column.has_default else "NULL"
            fit.warnings.append(
                f"{live.label}: the column {column.name} is new: rows that are put back get {filled} there, rows that "
                "are there keep what they have"
            )


def _key(live: LiveTable, columns: Sequence[str]) -> UniqueIndex | None:
    """The primary key, else the shortest other one; of columns that the backup has."""
    usable = [index for index in live.indexes if index.names_rows and set(index.columns) <= set(columns)]
    return usable[0] if usable else None


def reads_as(stored: str, live: str) -> bool:
    """Whether every value of the stored type, as text, is the same value of the live type.

    Args:
        stored: format_type() of the backup's column.
        live: format_type() of the live column.
    """
    if stored == live:
        return True
    before, after = _split(stored), _split(live)
    if before[0] != after[0]:
        return after[1] is None and after[0] in _WIDER.get(before[0], ())
    if after[1] is None:
        return before[0] in ("numeric", *_LENGTHS)
    if before[1] is None:
        return False
    if before[0] == "numeric":
        return after[2] >= before[2] and after[1] - after[2] >= before[1] - before[2]
    return before[0] in _LENGTHS and after[1] >= before[1]


def _split(name: str) -> tuple[str, int | None, int]:
    """A type's name without its length, its length or precision, and its scale."""
    match = _NUMBER.fullmatch(name)
    return (match[1], int(match[2]), int(match[3] or 0)) if match else (name, None, 0)
