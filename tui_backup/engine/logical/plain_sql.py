"""A backup as one plain SQL file that stock psql loads into an empty database."""

from __future__ import annotations

import re
from collections.abc import Sequence
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


class _Output:
    """The file, with the database's encoding for what is written as text."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out

    def line(self, text: str = "") -> None:
        """One line in UTF-8; what is not ASCII stands where the client encoding is UTF8."""
        self._out.write(text.encode() + b"\n")

    def raw(self, data: bytes) -> None:
        """Bytes as they are."""
        self._out.write(data)


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
    output = _Output(out)
    tools = find_tools(archive_major(contents), needs_tls=False, bin_dir=tools_dir)
    with Archive(contents.schema, reader, tools, stop) as archive:
        selection = select_entries(archive.entries, chosen.oids)
        entries = [entry for entry in archive.entries if entry.id in selection.ids]
        grants = {entry.id for entry in entries if entry.is_acl}
        late = {entry.id for entry in entries if entry.label.startswith("EVENT TRIGGER ")}
        late |= {entry.id for entry in entries if any(number in late for number in entry.depends)}
        before = {entry.id for entry in entries if entry.section == "pre-data"} - grants
        after = {entry.id for entry in entries if entry.section == "post-data"} - grants - late
        _header(output, contents)
        _definitions(output, archive, before)
        _settings(output, contents)
        for table in chosen.tables:
            _rows(output, contents, table, reader, progress, stop)
        _sequences(output, contents, chosen)
        if chosen.everything:
            _large_objects(output, contents.large_objects, reader, progress, stop)
        if contents.server.major < 15 <= archive_major(contents):
            # the grants below are changes to a list that an older server's new database does not start from
            output.line("REVOKE CREATE ON SCHEMA public FROM PUBLIC;")
        _definitions(output, archive, grants)
        _definitions(output, archive, after)
        _views(output, contents, chosen)
        _definitions(output, archive, late)
        output.line("-- end of the backup")


def _header(output: _Output, contents: Contents) -> None:
    database = contents.database
    output.line("-- tui-backup, plain SQL")
    output.line(f"-- database {_comment(database.name)} as of {contents.snapshot.taken_at.isoformat()}")
    output.line(f"-- PostgreSQL {contents.server.version}, encoding {database.encoding}")
    output.line(f"-- LC_COLLATE {_comment(database.lc_collate)}, LC_CTYPE {_comment(database.lc_ctype)}")
    output.line("-- Make an empty database first:")
    output.line(
        f"--   createdb --template=template0 --encoding={database.encoding} --lc-collate={_comment(database.lc_collate)}"
        f" --lc-ctype={_comment(database.lc_ctype)} NAME"
    )
    output.line("--   psql --no-psqlrc --set ON_ERROR_STOP=1 --dbname NAME --file THIS-FILE")
    for setting in database.settings:
        whose = f" of role {_comment(setting.role)}" if setting.role else ""
        for assignment in setting.assignments:
            output.line(f"-- setting{whose}: {_comment(assignment)}")
    output.line()


def _comment(text: str) -> str:
    """Text that stays within its comment line."""
    return text.replace("\n", " ").replace("\r", " ")


def _definitions(output: _Output, archive: Archive, ids: set[int]) -> None:
    if not ids:
        return
    parts: list[bytes] = []
    archive.script(ids, parts.append)
    script = b"".join(parts)
    # both stand before the first entry and after the last one only
    head, mark, body = script.partition(b"\n-- Name: ")
    head = _META.sub(b"", head).replace(_NEW_PARAMETER, b"")
    body, end, tail = body.rpartition(b"\n-- PostgreSQL database dump complete")
    output.raw(head + mark + body + end + _META.sub(b"", tail))


def _settings(output: _Output, contents: Contents) -> None:
    """What makes the rows' text mean what it meant when it was written."""
    settings = {
        # names are UTF-8 here; an SQL_ASCII database takes all bytes as they are
        "client_encoding": "SQL_ASCII" if contents.database.encoding == "SQL_ASCII" else "UTF8",
        "DateStyle": "ISO, MDY",
        "IntervalStyle": "postgres",
        "TimeZone": "UTC",
        "xmloption": "content",
        "row_security": "off",
        "search_path": "",
    }
    if any("money" in column.type for table in contents.tables for column in table.columns):
        settings["lc_monetary"] = contents.server.lc_monetary
    for name, value in settings.items():
        output.line(f"SELECT pg_catalog.set_config({literal(name)}, {literal(value)}, false);")
    output.line()


def _rows(
    output: _Output,
    contents: Contents,
    table: manifest.Table,
    reader: BackupReader,
    progress: ProgressReport,
    stop: StopFlag,
) -> None:
    if table.kind == "p":
        return
    schema, name = table.load_via or (table.schema, table.name)
    encoding = contents.database.encoding
    output.line(f"-- {_comment(table.schema)}.{_comment(table.name)}: {table.rows} rows")
    if table.extension is not None:
        output.line(f"DELETE FROM ONLY {qualified(schema, name)} {table.condition or ''};")
    columns = f" ({', '.join(map(quote, table.data_columns))})" if table.data_columns else ""
    # psql sends the block's bytes as they are and asks no encoding; the option tells the server what they are
    output.line(f"COPY {qualified(schema, name)}{columns} FROM stdin WITH (FORMAT text, ENCODING {literal(encoding)});")
    for chunk in table.chunks:
        for data in read_frames(chunk.blobs, reader):
            stop.check()
            output.raw(data)
            progress(bytes_=len(data))
        progress(rows=chunk.rows)
    output.line("\\.")
    output.line()
    progress(tables_done=1)


def _sequences(output: _Output, contents: Contents, chosen: Chosen) -> None:
    free = [] if chosen.everything else [s for s in contents.sequences if s.owner_table is None]
    for sequence in [*chosen.sequences, *free]:
        name = literal(qualified(sequence.schema, sequence.name))
        called = "true" if sequence.is_called else "false"
        place = f"pg_catalog.setval({name}, {sequence.last_value}, {called})"
        # one that belongs to no table may have stayed away with something that was not chosen
        condition = f" WHERE pg_catalog.to_regclass({name}) IS NOT NULL" if sequence in free else ""
        output.line(f"SELECT {place}{condition};")
    output.line()


def _large_objects(
    output: _Output, large: manifest.LargeObjects, reader: BackupReader, progress: ProgressReport, stop: StopFlag
) -> None:
    if not large.objects:
        return
    for item in large.objects:
        output.line(f"SELECT pg_catalog.lo_create({item.oid});")
    pieces = "pg_temp.tui_backup_pieces"
    output.line("CREATE TEMPORARY TABLE tui_backup_pieces (loid oid, place bigint, data bytea);")
    for chunk in large.chunks:
        output.line(f"COPY {pieces} (loid, place, data) FROM stdin;")
        for data in read_frames(chunk.blobs, reader):
            stop.check()
            output.raw(data)
            progress(bytes_=len(data))
        output.line("\\.")
        output.line(
            f"SELECT pg_catalog.count(*) FROM (SELECT pg_catalog.lo_put(loid, place, data) FROM {pieces} OFFSET 0) AS put;"
        )
        output.line(f"TRUNCATE {pieces};")
    output.line(f"DROP TABLE {pieces};")
    for item in large.objects:
        output.line(f"ALTER LARGE OBJECT {item.oid} OWNER TO {quote(item.owner)};")
        if item.comment is not None:
            output.line(f"COMMENT ON LARGE OBJECT {item.oid} IS {literal(item.comment)};")
        if item.acl is not None:
            output.line(f"REVOKE ALL ON LARGE OBJECT {item.oid} FROM {quote(item.owner)};")
        for grant in map(parse_acl_item, item.acl or ()):
            for privilege, grantable in grant.privileges:
                grantee = quote(grant.grantee) if grant.grantee else "PUBLIC"
                option = " WITH GRANT OPTION" if grantable else ""
                output.line(f"GRANT {privilege} ON LARGE OBJECT {item.oid} TO {grantee}{option};")
    output.line()


def _views(output: _Output, contents: Contents, chosen: Chosen) -> None:
    for view in contents.materialized_views:
        if not view.populated:
            continue
        if chosen.everything:
            output.line(f"REFRESH MATERIALIZED VIEW {qualified(view.schema, view.name)};")
        else:
            # it is there only if all that it shows is there
            output.line(
                "SELECT pg_catalog.format('REFRESH MATERIALIZED VIEW %I.%I', schemaname, matviewname)"
                " FROM pg_catalog.pg_matviews"
                f" WHERE schemaname = {literal(view.schema)} AND matviewname = {literal(view.name)} \\gexec"
            )
    output.line()
