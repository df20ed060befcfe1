"""Which tables of a backup a restore is about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tui_backup.engine.logical.names import choose
from tui_backup.manifest import Contents, Table
from tui_backup.manifest import Sequence as BackupSequence


@dataclass(frozen=True, slots=True)
class Chosen:
    """The tables of a restore, with what goes with them.

    Args:
        tables: those with rows to load and their partitioned parents.
        everything: the backup is of a whole database, and all of it is restored.
    """

    tables: tuple[Table, ...]
    sequences: tuple[BackupSequence, ...]
    everything: bool

    @property
    def oids(self) -> frozenset[int] | None:
        """The tables' oids in the source, None when nothing is to be left away."""
        return None if self.everything else frozenset(table.oid for table in self.tables)

    @property
    def with_rows(self) -> tuple[Table, ...]:
        """The tables that have rows of their own; a partitioned table's are its partitions'."""
        return tuple(table for table in self.tables if table.kind != "p")

    @property
    def raw_bytes(self) -> int:
        """Uncompressed bytes of the tables' rows."""
        return sum(table.raw_bytes for table in self.tables)


def choose_tables(contents: Contents, names: Sequence[str]) -> Chosen:
    """Find the named tables in a backup; a partitioned table brings its partitions, no name brings all.

    Raises:
        ValidationError: a name that the backup does not have, with the nearest ones.
    """
    if not names:
        everything = not contents.chosen_tables
        tables = tuple(contents.tables)
    else:
        everything = False
        wanted = set(choose(names, [(table.schema, table.name) for table in contents.tables]))
        tables = tuple(table for table in contents.tables if _belongs(contents, table, wanted))
    if everything:
        return Chosen(tables, tuple(contents.sequences), everything=True)
    owners = {(table.schema, table.name) for table in tables}
    owned = tuple(sequence for sequence in contents.sequences if sequence.owner_table in owners)
    return Chosen(tables, owned, everything=False)


def _belongs(contents: Contents, table: Table, wanted: set[tuple[str, str]]) -> bool:
    """Whether the table, or a partitioned table that it is part of, is wanted."""
    by_name = {(other.schema, other.name): other for other in contents.tables}
    current: Table | None = table
    first = True
    for _ in range(len(by_name) + 1):
        if current is None:
            break
        if (current.schema, current.name) in wanted and (first or current.kind == "p"):
            return True
        first = False
        current = by_name.get(current.parent) if current.parent else None
    return False
