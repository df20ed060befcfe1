"""A backup as one plain SQL file that stock psql loads into an empty database."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from tui_backup import manifest
from tui_backup.engine.logical.acl import parse_acl_item
from tui_backup.engine.logical.archive import Archive, select_entries
from tui_backup.engine.logical.choose import Chosen, choose_tables
from tui_backup.engine.logical.frames import read_frames
from tui_backup.engine.logical.names import literal, qualified, quote
from tui_backup.engine.logical.restore import archive_major
from tui_backup.engine.tools import find_tools
from tui_backup.manifest import Contents
from tui_backup.model import BackupReader, ProgressReport, StopFlag

# psql's own lines around a script that was written for it; ours is one script of several
_META = re.compile(rb"^\\(?:un)?restrict .*\n", re.MULTILINE)
_NEW_PARAMETER = b"SET transaction_timeout = 0;\n"


def write_plain_sql(
    contents: Contents,
    reader: BackupReader,
    out: BinaryIO,
    *,
    tables: Sequence[str] = (),
    progress: ProgressReport,
    stop: StopFlag,
    tools_dir: Path | None = None,
) -> None:
    """Write everything of a backup as SQL: ``psql -v ON_ERROR_STOP=1 -f FILE`` loads it into an empty database.

    The file's COPY blocks are in the database's own encoding, the rest in UTF-8; the script says so to psql where it
    changes. What hangs on the database itself (encoding, owner, settings) stands at the top as comments.

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
    progress(phase="writing", tables_total=len(chosen.tables), bytes_total=chosen.raw_bytes)
    tools = find_tools(archive_major(contents), needs_tls=False, bin_dir=tools_dir)
    with Archive(contents.schema, reader, tools, stop) as archive:
        _Script(contents, reader, out, progress, stop, chosen, archive).write()


def _comment(text: str) -> str:
    """Text that stays within its comment line."""
    return text.replace("\n", " ").replace("\r", " ")


@dataclass(frozen=True, slots=True)
class _Script:
    """One script, part by part in the order in which it is loaded."""

    contents: Contents
    reader: BackupReader
    out: BinaryIO
    progress: ProgressReport
    stop: StopFlag
    chosen: Chosen
    archive: Archive

    def write(self) -> None:
        """All of it."""
        selection = select_entries(self.archive.entries, self.chosen.oids)
        entries = [entry for entry in self.archive.entries if entry.id in selection.ids]
        grants = {entry.id for entry in entries if entry.is_acl}
        late = {entry.id for entry in entries if entry.label.startswith("EVENT TRIGGER ")}
        late |= {entry.id for entry in entries if any(number in late for number in entry.depends)}
        self.header()
        self.definitions({entry.id for entry in entries if entry.section == "pre-data"} - grants)
        self.settings()
        for table in self.chosen.tables:
            if table.kind != "p":
                self.rows(table)
        self.sequences()
        if self.chosen.everything and self.contents.large_objects.objects:
            self.large_objects(self.contents.large_objects)
        if self.contents.server.major < 15 <= archive_major(self.contents):
            # the grants below are changes to a list that an older server's new database does not start from
            self.line("REVOKE CREATE ON SCHEMA public FROM PUBLIC;")
        self.definitions(grants)
        self.definitions({entry.id for entry in entries if entry.section == "post-data"} - grants - late)
        self.views()
        self.definitions(late)
        self.line("-- end of the backup")

    def line(self, text: str = "") -> None:
        """One line; names in it are UTF-8."""
        self.out.write(text.encode() + b"\n")

    @property
    def _names_encoding(self) -> str:
        """Names are UTF-8 in our statements; an SQL_ASCII database takes all bytes as they are."""
        return "SQL_ASCII" if self.contents.database.encoding == "SQL_ASCII" else "UTF8"

    def header(self) -> None:
        """What hangs on the database itself, as comments."""
        contents = self.contents
        database = contents.database
        self.line("-- tui-backup, plain SQL")
        self.line(f"-- database {_comment(database.name)} as of {contents.snapshot.taken_at.isoformat()}")
        self.line(f"-- PostgreSQL {contents.server.version}, encoding {database.encoding}")
        self.line(f"-- LC_COLLATE {_comment(database.lc_collate)}, LC_CTYPE {_comment(database.lc_ctype)}")
        self.line("-- Make an empty database first:")
        locale = f"--lc-collate={_comment(database.lc_collate)} --lc-ctype={_comment(database.lc_ctype)}"
        self.line(f"--   createdb --template=template0 --encoding={database.encoding} {locale} NAME")
        self.line("--   psql --no-psqlrc --set ON_ERROR_STOP=1 --dbname NAME --file THIS-FILE")
        for setting in database.settings:
            whose = f" of role {_comment(setting.role)}" if setting.role else ""
            for assignment in setting.assignments:
                self.line(f"-- setting{whose}: {_comment(assignment)}")
        self.line()

    def definitions(self, ids: set[int]) -> None:
        """Entries of the schema archive."""
        if not ids:
            return
        parts: list[bytes] = []
        self.archive.script(ids, parts.append)
        script = b"".join(parts)
        # both stand before the first entry and after the last one only
        head, mark, body = script.partition(b"\n-- Name: ")
        head = _META.sub(b"", head).replace(_NEW_PARAMETER, b"")
        body, end, tail = body.rpartition(b"\n-- PostgreSQL database dump complete")
        self.out.write(head + mark + body + end + _META.sub(b"", tail))

    def settings(self) -> None:
        """What makes the rows' text mean what it meant when it was written."""
        settings = {
            "client_encoding": self._names_encoding,
            "DateStyle": "ISO, MDY",
            "IntervalStyle": "postgres",
            "TimeZone": "UTC",
            "xmloption": "content",
            "row_security": "off",
            "search_path": "",
        }
        if any("money" in column.type for table in self.contents.tables for column in table.columns):
            settings["lc_monetary"] = self.contents.server.lc_monetary
        for name, value in settings.items():
            self.line(f"SELECT pg_catalog.set_config({literal(name)}, {literal(value)}, false);")
        self.line()

    def rows(self, table: manifest.Table) -> None:
        """A table's COPY block."""
        schema, name = table.load_via or (table.schema, table.name)
        encoding = self.contents.database.encoding
        self.line(f"-- {_comment(table.schema)}.{_comment(table.name)}: {table.rows} rows")
        if table.extension is not None:
            self.line(f"DELETE FROM ONLY {qualified(schema, name)} {table.condition or ''};")
        columns = f" ({', '.join(map(quote, table.data_columns))})" if table.data_columns else ""
        # psql sends the block's bytes as they are and asks no encoding; the option tells the server what they are
        self.line(
            f"COPY {qualified(schema, name)}{columns} FROM stdin WITH (FORMAT text, ENCODING {literal(encoding)});"
        )
        for chunk in table.chunks:
            for data in read_frames(chunk.blobs, self.reader):
                self.stop.check()
                self.out.write(data)
                self.progress(bytes_=len(data))
            self.progress(rows=chunk.rows)
        self.line("\\.")
        self.line()
        self.progress(tables_done=1)

    def sequences(self) -> None:
        """Where sequences stood."""
        contents, chosen = self.contents, self.chosen
        free = [] if chosen.everything else [s for s in contents.sequences if s.owner_table is None]
        for sequence in [*chosen.sequences, *free]:
            name = literal(qualified(sequence.schema, sequence.name))
            called = "true" if sequence.is_called else "false"
            place = f"pg_catalog.setval({name}, {sequence.last_value}, {called})"
            # one that belongs to no table may have stayed away with something that was not chosen
            condition = f" WHERE pg_catalog.to_regclass({name}) IS NOT NULL" if sequence in free else ""
            self.line(f"SELECT {place}{condition};")
        self.line()

    def large_objects(self, large: manifest.LargeObjects) -> None:
        """Large objects under their own oids."""
        for item in large.objects:
            self.line(f"SELECT pg_catalog.lo_create({item.oid});")
        pieces = "pg_temp.tui_backup_pieces"
        self.line("CREATE TEMPORARY TABLE tui_backup_pieces (loid oid, place bigint, data bytea);")
        for chunk in large.chunks:
            self.line(f"COPY {pieces} (loid, place, data) FROM stdin;")
            for data in read_frames(chunk.blobs, self.reader):
                self.stop.check()
                self.out.write(data)
                self.progress(bytes_=len(data))
            self.line("\\.")
            self.line(
                "SELECT pg_catalog.count(*) FROM (SELECT pg_catalog.lo_put(loid, place, data)"
                f" FROM {pieces} OFFSET 0) AS put;"
            )
            self.line(f"TRUNCATE {pieces};")
        self.line(f"DROP TABLE {pieces};")
        for item in large.objects:
            self.line(f"ALTER LARGE OBJECT {item.oid} OWNER TO {quote(item.owner)};")
            if item.comment is not None:
                self.line(f"COMMENT ON LARGE OBJECT {item.oid} IS {literal(item.comment)};")
            if item.acl is not None:
                self.line(f"REVOKE ALL ON LARGE OBJECT {item.oid} FROM {quote(item.owner)};")
            for grant in map(parse_acl_item, item.acl or ()):
                for privilege, grantable in grant.privileges:
                    grantee = quote(grant.grantee) if grant.grantee else "PUBLIC"
                    option = " WITH GRANT OPTION" if grantable else ""
                    self.line(f"GRANT {privilege} ON LARGE OBJECT {item.oid} TO {grantee}{option};")
        self.line()

    def views(self) -> None:
        """Materialised views that were filled are filled again."""
        self.line(f"SET client_encoding = {literal(self._names_encoding)};")
        for view in self.contents.materialized_views:
            if not view.populated:
                continue
            if self.chosen.everything:
                self.line(f"REFRESH MATERIALIZED VIEW {qualified(view.schema, view.name)};")
            else:
                # it is there only if all that it shows is there
                self.line(
                    "SELECT pg_catalog.format('REFRESH MATERIALIZED VIEW %I.%I', schemaname, matviewname)"
                    " FROM pg_catalog.pg_matviews"
                    f" WHERE schemaname = {literal(view.schema)} AND matviewname = {literal(view.name)} \\gexec"
                )
        self.line()
