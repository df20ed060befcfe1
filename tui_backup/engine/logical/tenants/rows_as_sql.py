"""A tenant's rows as one SQL file for a reviewer: COPY blocks in foreign-key order, loaded by ``psql -1 -f FILE``.

Only rows: no definitions, no deletions. The order comes from the backup's schema archive; names are quoted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from tui_backup import manifest
from tui_backup.engine.logical.archive import Archive, Entry
from tui_backup.engine.logical.choose import choose_tables
from tui_backup.engine.logical.frames import read_frames
from tui_backup.engine.logical.inplace_tables import rows_by_root
from tui_backup.engine.logical.names import QualifiedName, literal, qualified, quote
from tui_backup.engine.logical.restore import archive_major
from tui_backup.engine.logical.target import monetary_locale
from tui_backup.engine.tools import find_tools
from tui_backup.manifest import Contents
from tui_backup.model import BackupReader, ProgressReport, StopFlag

_SETTINGS = {
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "xmloption": "content",
    "row_security": "off",
    "search_path": "",
}


def write_rows_as_sql(
    contents: Contents,
    reader: BackupReader,
    out: BinaryIO,
    *,
    tables: Sequence[str] = (),
    progress: ProgressReport,
    stop: StopFlag,
    tools_dir: Path | None = None,
) -> None:
    """Write the rows of a backup so that a person can read them and psql can load them, parents first.

    Args:
        contents: the backup.
        reader: where its frames are.
        out: gets the bytes.
        tables: only these, empty for all.
        progress: told tables, rows, bytes.
        stop: ends the work.
        tools_dir: the only folder to take pg_restore from.
    """
    chosen = choose_tables(contents, tables)
    progress(phase="writing", tables_total=len(chosen.with_rows), bytes_total=chosen.raw_bytes)
    tools = find_tools(archive_major(contents), needs_tls=False, bin_dir=tools_dir)
    with Archive(contents.schema, reader, tools, stop) as archive:
        edges = foreign_key_edges(archive.entries)
    groups = rows_by_root(chosen.tables)
    order, circles = parents_first(chosen.tables, groups, edges)
    script = _Script(contents, reader, out, progress, stop)
    script.header(circles)
    for place in order:
        for table in groups[place]:
            script.rows(place, table)
    script.line("-- end of the rows")


def foreign_key_edges(entries: Sequence[Entry]) -> set[tuple[int, int]]:
    """Child and parent of each foreign key, as the tables' oids in the source.

    A foreign key's entry depends on its own table and on the referenced key's entry, which depends on its table.
    """
    by_id = {entry.id: entry for entry in entries}
    edges: set[tuple[int, int]] = set()
    for entry in entries:
        if not entry.label.startswith("FK CONSTRAINT "):
            continue
        needed = [by_id[number] for number in entry.depends if number in by_id]
        children = [other.oid for other in needed if other.is_table]
        keys = [other for other in needed if other.label.startswith(("CONSTRAINT ", "INDEX "))]
        parents = {by_id[n].oid for key in keys for n in key.depends if n in by_id and by_id[n].is_table}
        edges |= {(child, parent) for child in children for parent in parents if child != parent}
    return edges


def parents_first(
    tables: Sequence[manifest.Table], groups: dict[QualifiedName, list[manifest.Table]], edges: set[tuple[int, int]]
) -> tuple[list[QualifiedName], list[QualifiedName]]:
    """The groups' order, and those of them that close a circle.

    Args:
        tables: of the backup.
        groups: by root.
        edges: (child, parent) oids.
    """
    root_of = {table.oid: place for place, group in groups.items() for table in group}
    root_of |= {table.oid: (table.schema, table.name) for table in tables if (table.schema, table.name) in groups}
    parents: dict[QualifiedName, set[QualifiedName]] = {place: set() for place in groups}
    for child, parent in edges:
        if child in root_of and parent in root_of and root_of[child] != root_of[parent]:
            parents[root_of[child]].add(root_of[parent])
    order: list[QualifiedName] = []
    circles: list[QualifiedName] = []
    waiting = sorted(groups)
    while waiting:
        ready = [place for place in waiting if parents[place] <= set(order)]
        if not ready:
            ready = [min(waiting, key=lambda place: (len(parents[place] - set(order)), place))]
            circles += ready
        order += ready
        waiting = [place for place in waiting if place not in ready]
    return order, circles


def _comment(text: str) -> str:
    """Text that stays within its comment line."""
    return "".join(char if char.isprintable() else " " for char in text)


@dataclass(frozen=True, slots=True)
class _Script:
    """One file, part by part."""

    contents: Contents
    reader: BackupReader
    out: BinaryIO
    progress: ProgressReport
    stop: StopFlag

    def line(self, text: str = "") -> None:
        """One line; names in it are UTF-8."""
        self.out.write(text.encode() + b"\n")

    def header(self, circles: Sequence[QualifiedName]) -> None:
        """What it is, and what makes the rows' text mean what it meant when it was written."""
        contents = self.contents
        scope = contents.tenant
        whose = f"tenant {_comment(scope.key)}" if scope else "all rows"
        self.line(f"-- tui-backup: rows of database {_comment(contents.database.name)}, {whose}")
        self.line(f"-- as of {contents.snapshot.taken_at.isoformat()}, PostgreSQL {_comment(contents.server.version)}")
        self.line("-- Only rows, parents first; nothing is deleted. All of it or nothing:")
        self.line("--   psql --no-psqlrc --single-transaction --set ON_ERROR_STOP=1 --dbname NAME --file THIS-FILE")
        for place in circles:
            self.line(f"-- {_comment('.'.join(place))} is part of a circle of foreign keys: these must be deferrable")
        self.line()
        ascii_database = contents.database.encoding == "SQL_ASCII"
        settings = {"client_encoding": "SQL_ASCII" if ascii_database else "UTF8", **_SETTINGS}
        if locale := monetary_locale(contents):
            settings["lc_monetary"] = locale
        for name, value in settings.items():
            self.line(f"SELECT pg_catalog.set_config({literal(name)}, {literal(value)}, false);")
        self.line("SET CONSTRAINTS ALL DEFERRED;")
        self.line()

    def rows(self, place: QualifiedName, table: manifest.Table) -> None:
        """A table's COPY block; a partition's rows go through the partitioned table."""
        self.line(f"-- {_comment(table.schema)}.{_comment(table.name)}: {table.rows} rows")
        columns = f" ({', '.join(map(quote, table.data_columns))})" if table.data_columns else ""
        encoding = literal(self.contents.database.encoding)
        self.line(f"COPY {qualified(*place)}{columns} FROM stdin WITH (FORMAT text, ENCODING {encoding});")
        for chunk in table.chunks:
            for data in read_frames(chunk.blobs, self.reader):
                self.stop.check()
                self.out.write(data)
                self.progress(bytes_=len(data))
            self.progress(rows=chunk.rows)
        self.line("\\.")
        self.line()
        self.progress(tables_done=1)
