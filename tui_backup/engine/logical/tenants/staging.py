"""The backup's rows in temporary tables of the restore's own session, where nobody else sees them.

A staging table has the live table's columns, types and generated columns, so a value is read by the live type's own
input function and the live map's conditions can be asked of it. Nothing of its definition comes from the backup.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import psycopg
from psycopg import sql

from tui_backup.engine.connection import Connection
from tui_backup.engine.logical.load import copy_chunks
from tui_backup.engine.logical.names import QualifiedName
from tui_backup.engine.logical.target import database_errors, one
from tui_backup.engine.logical.tenants.fit import Unit
from tui_backup.errors import DamagedError, PermissionRefusedError
from tui_backup.manifest import Table
from tui_backup.model import BackupReader, ProgressReport, StopFlag


@dataclass(frozen=True, slots=True)
class Stager:
    """Fills staging tables.

    Args:
        conn: the restore's session.
        reader: where the backup's frames are.
        encoding: in which its rows were written.
        progress: told rows and bytes.
        stop: ends the work.
    """

    conn: Connection
    reader: BackupReader
    encoding: str
    progress: ProgressReport
    stop: StopFlag

    def check_rights(self) -> None:
        """Refuse a login that may not make temporary tables.

        Raises:
            PermissionRefusedError: it may not.
        """
        if not one(self.conn, "SELECT pg_catalog.has_database_privilege(pg_catalog.current_database(), 'TEMPORARY')"):
            raise PermissionRefusedError(
                "The login may not make temporary tables in the source's database.",
                hint="GRANT TEMPORARY ON DATABASE … TO the source's login.",
            )

    def stage(self, unit: Unit) -> None:
        """Make a unit's staging table and load its rows.

        Raises:
            DamagedError: other rows than the manifest says, or two with the same key.
            SqlFailedError: a value that the live type does not take.
        """
        dropped = create_like(self.conn, unit, unit.stage_name)
        with database_errors(f"reading the backup's rows of {unit.label}", self.stop):
            for table in unit.tables:
                copy_chunks(
                    self.conn,
                    table,
                    table.chunks,
                    self.reader,
                    encoding=self.encoding,
                    into=unit.stage_name,
                    columns=[dropped.get(name, name) for name in table.data_columns],
                    progress=self.progress,
                    stop=self.stop,
                )
        if unit.key is not None:
            self._check_key(unit)
        # temporary tables are nobody's but ours to analyse, and the plans of millions of rows hang on it
        self.conn.execute(sql.SQL("ANALYZE {}").format(unit.stage))

    def _check_key(self, unit: Unit) -> None:
        """Each row of the backup must have a key of its own; the index also finds rows by it."""
        if unit.key is None:
            return
        columns = sql.SQL(", ").join(map(sql.Identifier, unit.key.columns))
        try:
            self.conn.execute(sql.SQL("CREATE UNIQUE INDEX ON {} ({})").format(unit.stage, columns))
        except psycopg.errors.UniqueViolation as error:
            raise DamagedError(
                f"Two rows of the backup's {unit.label} have the same {', '.join(unit.key.columns)}."
            ) from error
        nulls = sql.SQL(" OR ").join(sql.SQL("s.{} IS NULL").format(sql.Identifier(name)) for name in unit.key.columns)
        if one(self.conn, sql.SQL("SELECT EXISTS (SELECT FROM {} s WHERE {})").format(unit.stage, nulls)):
            raise DamagedError(f"A row of the backup's {unit.label} has no {', '.join(unit.key.columns)}.")


def create_like(conn: Connection, unit: Unit, place: QualifiedName) -> dict[str, str]:
    """Make an empty table with the live one's columns, and further ones for columns that are not live any more.

    Returns:
        The names of those, by what they were called.
    """
    temporary = sql.SQL("TEMPORARY " if place[0] == "pg_temp" else "")
    table = sql.Identifier(*place)
    conn.execute(
        sql.SQL("CREATE {}TABLE {} (LIKE {} INCLUDING GENERATED)").format(temporary, table, unit.live.identifier)
    )
    there = {column.name for column in unit.live.columns}
    gone = [name for name in _stored(unit.tables) if name not in there]
    dropped = {name: _free_name(number, there) for number, name in enumerate(gone)}
    changes = [
        # a column that is newer than the backup has no value here
        sql.SQL("ALTER COLUMN {} DROP NOT NULL").format(sql.Identifier(column.name))
        for column in unit.live.columns
        if column.not_null
    ]
    changes += [sql.SQL("ADD COLUMN {} text").format(sql.Identifier(name)) for name in dropped.values()]
    if changes:
        conn.execute(sql.SQL("ALTER TABLE {} {}").format(table, sql.SQL(", ").join(changes)))
    return dropped


def _stored(tables: Sequence[Table]) -> list[str]:
    return list(dict.fromkeys(name for table in tables for name in table.data_columns))


def _free_name(number: int, taken: set[str]) -> str:
    name = f"tui_dropped_{number}"
    while name in taken:
        name += "_"
    return name
