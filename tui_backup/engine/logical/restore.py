"""Restoring into a database of its own: made empty, filled, finished, compared; dropped again on any failure."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import psycopg
from psycopg import sql

from tui_backup import manifest
from tui_backup.engine.connection import Connection, PumpParameters, child_environment
from tui_backup.engine.logical.acl import apply_settings
from tui_backup.engine.logical.archive import Archive, Selection, select_entries
from tui_backup.engine.logical.choose import Chosen, choose_tables
from tui_backup.engine.logical.compare import compare_database
from tui_backup.engine.logical.createdb import (
    CreatedDatabase,
    comment_statement,
    create_database,
    drop_database,
    drop_unfinished,
    finish_database,
    rename_database,
    unfinished_name,
)
from tui_backup.engine.logical.frames import check_chunks, run_equipped_workers
from tui_backup.engine.logical.load import Loaded, load_tables
from tui_backup.engine.logical.objects import load_large_objects, refresh_views, set_sequences
from tui_backup.engine.logical.result import Phases, RestoreResult
from tui_backup.engine.logical.target import (
    TOOL_OPTIONS,
    Target,
    add_details,
    database_errors,
    monetary_locale,
    name_in_use,
    one,
    prepare_session,
    server_major,
)
from tui_backup.engine.tools import ClientTools, find_tools
from tui_backup.errors import (
    NotIdenticalError,
    TargetNotEmptyError,
    TargetVersionError,
    TuiBackupError,
    ValidationError,
)
from tui_backup.manifest import Contents
from tui_backup.model import BackupReader, ProgressReport, RestoreRequest, RestoreTarget, StopFlag

# A partitioned table is analysed with its partitions; one with a foreign partition would be read from elsewhere.
ANALYZED_SQL = """
WITH RECURSIVE foreign_above AS (
    SELECT oid FROM pg_catalog.pg_class WHERE relkind = 'f'
    UNION SELECT i.inhparent FROM pg_catalog.pg_inherits i JOIN foreign_above f ON f.oid = i.inhrelid
), covered AS (
    SELECT oid FROM pg_catalog.pg_class WHERE relkind = 'p' AND oid NOT IN (SELECT oid FROM foreign_above)
)
SELECT n.nspname, c.relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'm', 'p') AND c.relpersistence <> 't' AND n.nspname !~ '^pg_(toast|temp)'
  AND c.oid NOT IN (SELECT oid FROM foreign_above)
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_inherits i JOIN covered p ON p.oid = i.inhparent WHERE i.inhrelid = c.oid)
  AND n.nspname NOT IN ('pg_catalog', 'information_schema')
ORDER BY pg_catalog.pg_table_size(c.oid) DESC, 1, 2
"""

# Several connections load one large table faster, but lose the order of its rows; sorting them for the comparison costs
# more than that gains on few cores.
_SPLIT_JOBS = 4

_INDEX_MEMORY_MAX_KIB = 1 << 20
_INDEX_MEMORY_MIN_KIB = 64 << 10


def restore_database(
    request: RestoreRequest,
    contents: Contents,
    reader: BackupReader,
    target_conninfo: str,
    *,
    restore_id: UUID,
    work_name: str | None = None,
    passfile: Path | None = None,
    application_name: str = "tui-backup restore",
    progress: ProgressReport,
    stop: StopFlag,
    jobs: int = 2,
    tools_dir: Path | None = None,
    before_finish: Callable[[RestoreResult], None] | None = None,
) -> RestoreResult:
    """Restore a backup, or chosen tables of it, into a new database (NEW_DATABASE, or SWAP before its renames).

    The database carries a comment that marks it as unfinished, and a name that says the same, until all is done; for
    SWAP the renames take the mark away. What a dead attempt at the same restore has left is dropped first. On any
    failure, and on a stop, the database is dropped, and the error's details say so (``rollback_executed``,
    ``rollback_at``; ``left_over`` where even that failed). Where only the comparison fails the copy is kept for a look,
    under the name in the error's details.

    Args:
        request: what was chosen.
        contents: the backup.
        reader: where its frames are.
        target_conninfo: the server; its database is connected to for creating the new one.
        restore_id: the restore log's id.
        work_name: name of the database while it is in the making; made from the restore's id when None.
        passfile: a .pgpass file for the target.
        application_name: of all sessions of this restore.
        progress: told phases, tables, rows, bytes.
        stop: ends the restore.
        jobs: connections that load, and indexes that are built, at a time.
        tools_dir: the only folder to take client tools from.
        before_finish: called with the result when the copy is right and only its name and mark are left; what it
            raises drops the database.

    Raises:
        TargetNotEmptyError, TargetVersionError, DamagedError, SqlFailedError, ClientToolsError, NotIdenticalError, …
    """
    if not request.database and request.target is RestoreTarget.NEW_DATABASE:
        raise ValidationError("database", "The new database needs a name.")
    name = work_name or unfinished_name(restore_id)
    target = Target(target_conninfo, passfile, application_name)
    phases = Phases(progress, stop)
    chosen = choose_tables(contents, request.tables)
    result = RestoreResult(database=name)
    reads = 3 if request.compare else 2
    objects_bytes = sum(chunk.raw_bytes for chunk in contents.large_objects.chunks) if chosen.everything else 0
    progress(tables_total=len(chosen.with_rows), bytes_total=reads * (chosen.raw_bytes + objects_bytes))
    tools = _tools(target, contents, tools_dir)
    with Archive(contents.schema, reader, tools, stop, no_owner=request.no_owner) as archive:
        with phases.phase("checking"):
            check_chunks(
                contents,
                reader,
                chosen.tables,
                large_objects=chosen.everything,
                progress=progress,
                stop=stop,
                workers=jobs,
            )
        run = _Run(request, contents, reader, target, progress, stop, jobs, chosen, archive, phases, result)
        drop_unfinished(target, restore_id)
        with target.admin(what=f"creating the database {name}") as admin:
            if request.database and name_in_use(admin, request.database):
                raise TargetNotEmptyError(f"A database named {request.database} exists already on this server.")
            made = create_database(admin, contents.database, name=name, restore_id=restore_id)
        try:
            run.fill(made)
            # before the comparison: some of them change how pg_dump writes definitions
            run.settings(made)
            if request.compare:
                run.compare(made)
            if before_finish is not None and (result.compare is None or result.compare.identical):
                result.database_oid = made.oid
                before_finish(result)
            run.finish(made)
        except BaseException as error:
            _undo(target, made, error)
            raise
    result.seconds = phases.seconds
    if result.compare is not None and not result.compare.identical:
        raise NotIdenticalError(
            f"The restored copy differs from the backup: {result.compare.summary()}.",
            hint=f"The copy is kept as database {result.database} for a look; nothing else was changed.",
            details={"database": result.database, "compare": result.compare.to_json(), "rollback_executed": False},
        )
    return result


def _undo(target: Target, made: CreatedDatabase, error: BaseException) -> None:
    """Drop the half-made database; the failure that led here stays the one that is raised."""
    try:
        with target.admin(what=f"dropping the unfinished database {made.name}") as conn:
            drop_database(conn, name=made.name, oid=made.oid)
    except TuiBackupError as failure:
        add_details(error, rollback_executed=False, left_over=made.name, rollback_error=failure.message)
    else:
        add_details(error, rollback_executed=True, rollback_at=datetime.now(UTC).isoformat())


def _tools(target: Target, contents: Contents, tools_dir: Path | None) -> ClientTools:
    """pg_restore that can read the archive and talk to the server; refuses an older server."""
    with target.admin(what="connecting to the target") as conn:
        major = server_major(conn)
        needs_tls = PumpParameters.from_connection(conn).needs_tls
    if major < contents.server.major:
        raise TargetVersionError(
            f"The backup is of PostgreSQL {contents.server.major}, the target runs {major}: an older server does not "
            "understand everything a newer one writes."
        )
    return find_tools(max(major, archive_major(contents)), needs_tls=needs_tls, bin_dir=tools_dir)


def archive_major(contents: Contents) -> int:
    """Major version of the pg_dump that wrote the schema archive; older tools may not read it."""
    digits = "".join(c if c.isdigit() else " " for c in contents.schema.tool.rpartition(" ")[2]).split()
    return int(digits[0]) if digits else contents.server.major


@dataclass(slots=True)
class _Run:
    """One restore's parts, in the order in which they are done."""

    request: RestoreRequest
    contents: Contents
    reader: BackupReader
    target: Target
    progress: ProgressReport
    stop: StopFlag
    jobs: int
    chosen: Chosen
    archive: Archive
    phases: Phases
    result: RestoreResult
    loaded: Loaded = field(default_factory=Loaded)

    def fill(self, made: CreatedDatabase) -> None:
        """Definitions, rows, and what can only be made when the rows are there."""
        self.result.warnings += made.warnings
        selection = select_entries(self.archive.entries, self.chosen.oids)
        self.result.excluded += selection.excluded
        self.result.warnings += [f"{label} came along as an empty definition" for label in selection.empty]
        if not self.chosen.everything and self.contents.large_objects.objects:
            self.result.excluded.append(f"{len(self.contents.large_objects.objects)} large objects")
        with self.phases.phase("schema"):
            self.archive.no_tablespaces = self._tablespaces_missing()
            self._apply(made, self._pre_data(selection))
        with self.phases.phase("data"):
            self._load(made)
        with self.phases.phase("indexes"):
            grants = {e.id for e in self.archive.entries if e.id in selection.ids and e.is_acl}
            # one after another: a grant by somebody who needs another grant first
            self._close_public_schema(made)
            self._apply(made, grants, jobs=1)
            late = self._event_triggers(selection)
            post = {e.id for e in self.archive.entries if e.id in selection.ids and e.section == "post-data"} - grants
            self._apply(made, post - late)
        with self.phases.phase("views"):
            self._refresh(made, selection)
            # they would fire on what was done until here
            self._apply(made, late)
        with self.phases.phase("statistics"):
            self._analyze(made)

    def settings(self, made: CreatedDatabase) -> None:
        """The database's own settings, when nothing of the restore can be hindered by them any more."""
        with self.target.admin(what=f"setting up the database {made.name}", stop=self.stop) as conn:
            apply_settings(conn, made.name, self.contents.database.settings, self.result.warnings.append)

    def compare(self, made: CreatedDatabase) -> None:
        """Hold the restored copy against the backup's own content."""
        with self.phases.phase("comparing"):
            self.result.compare = compare_database(
                self.contents,
                self.reader,
                self.target,
                made.name,
                chosen=self.chosen,
                archive=self.archive,
                loaded=self.loaded,
                progress=self.progress,
                stop=self.stop,
                jobs=self.jobs,
            )

    def finish(self, made: CreatedDatabase) -> None:
        """What hangs on the database itself, its final name, and the end of its being marked as unfinished."""
        final = self.request.database or made.name
        is_swap = self.request.target is RestoreTarget.SWAP
        with self.target.admin(what=f"finishing the database {made.name}", stop=self.stop) as conn:
            with conn.transaction():
                finish_database(
                    conn,
                    self.contents.database,
                    name=made.name,
                    no_owner=self.request.no_owner,
                    keep_mark=True,
                    warn=self.result.warnings.append,
                )
            if final != made.name:
                rename_database(conn, name=made.name, oid=made.oid, to=final)
                made.name = final
            if not is_swap or (self.result.compare is not None and not self.result.compare.identical):
                conn.execute(comment_statement(made.name, self.contents.database.comment))
        self.result.database = made.name
        self.result.database_oid = made.oid

    def _pre_data(self, selection: Selection) -> set[int]:
        """Grants come after the data: an owner may have taken its own right to insert away."""
        return {
            entry.id
            for entry in self.archive.entries
            if entry.id in selection.ids and entry.section == "pre-data" and not entry.is_acl
        }

    def _event_triggers(self, selection: Selection) -> set[int]:
        triggers = {
            e.id for e in self.archive.entries if e.id in selection.ids and e.label.startswith("EVENT TRIGGER ")
        }
        return triggers | {
            e.id for e in self.archive.entries if e.id in selection.ids and any(d in triggers for d in e.depends)
        }

    def _close_public_schema(self, made: CreatedDatabase) -> None:
        """Start from the grants that the archive starts from.

        pg_dump 15 and newer writes the grants on the schema public as changes to a list that lets nobody but the owner
        create things there; a database of an older server has another list.
        """
        if archive_major(self.contents) < 15:
            return
        with self.target.session(made.name, what="closing the schema public") as conn:
            if server_major(conn) < 15 and one(conn, "SELECT pg_catalog.to_regnamespace('public') IS NOT NULL"):
                conn.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")

    def _analyze(self, made: CreatedDatabase) -> None:
        """Fresh statistics. A table that cannot be analysed is a warning: the restore is right without."""

        @contextmanager
        def equip(flag: StopFlag) -> Generator[Connection]:
            with self.target.session(made.name, what="gathering statistics", stop=flag) as conn:
                prepare_session(conn, bulk=True)
                yield conn

        def analyze(conn: Connection, table: tuple[str, str], flag: StopFlag) -> None:
            name = ".".join(table)
            with database_errors(f"gathering statistics of {name}", flag):
                try:
                    conn.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(*table)))
                except (psycopg.errors.ObjectNotInPrerequisiteState, psycopg.errors.InsufficientPrivilege) as error:
                    self.result.warnings.append(f"{name} was not analysed: {error.diag.message_primary}")

        with self.target.session(made.name, what="gathering statistics", stop=self.stop) as conn:
            tables = [(str(schema), str(name)) for schema, name in conn.execute(ANALYZED_SQL)]
        run_equipped_workers(tables, equip, analyze, workers=self.jobs, stop=self.stop)

    def _apply(self, made: CreatedDatabase, ids: set[int], *, jobs: int | None = None) -> None:
        if not ids:
            return
        with self.target.session(made.name, what="connecting to the new database") as conn:
            env = child_environment(conn)
            major = server_major(conn)
            memory_kib = _index_memory_kib(self.jobs) if PumpParameters.from_connection(conn).is_local else None
        options = TOOL_OPTIONS + (f" -c maintenance_work_mem={memory_kib}kB" if memory_kib else "")
        env["PGOPTIONS"] = f"{env.get('PGOPTIONS', '')} {options}".strip()
        env["PGAPPNAME"] = self.target.application_name
        self.archive.restore(
            ids,
            env,
            server_major=major,
            jobs=jobs or self.jobs,
        )

    def _tablespaces_missing(self) -> bool:
        wanted = self.archive.tablespaces()
        if not wanted:
            return False
        with self.target.admin(what="looking for tablespaces") as conn:
            there = {str(row[0]) for row in conn.execute("SELECT spcname FROM pg_catalog.pg_tablespace")}
        missing = sorted(wanted - there)
        if missing:
            self.result.warnings.append(
                f"everything is in the default tablespace: {', '.join(missing)} is not on this server"
            )
        return bool(missing)

    def _load(self, made: CreatedDatabase) -> None:
        money = monetary_locale(self.contents)
        self.loaded = load_tables(
            self.target,
            made.name,
            self.chosen.with_rows,
            self.reader,
            encoding=self.contents.database.encoding,
            lc_monetary=money,
            progress=self.progress,
            stop=self.stop,
            jobs=self.jobs,
            split=self.jobs >= _SPLIT_JOBS or not self.request.compare,
        )
        self.result.tables_restored = self.loaded.tables
        self.result.rows_restored = self.loaded.rows
        self.result.bytes_restored = self.loaded.raw_bytes
        with self.target.session(made.name, what="putting sequences and large objects back", stop=self.stop) as conn:
            prepare_session(conn, bulk=True)
            set_sequences(conn, self._sequences(conn))
            if self.chosen.everything:
                load_large_objects(
                    conn,
                    self.contents.large_objects,
                    self.reader,
                    no_owner=self.request.no_owner,
                    progress=self.progress,
                    stop=self.stop,
                    warn=self.result.warnings.append,
                )

    def _sequences(self, conn: Connection) -> list[manifest.Sequence]:
        """Those of the chosen tables, and those that belong to none, as far as they came along."""
        owned = set(self.chosen.sequences)
        there = {
            (str(schema), str(name))
            for schema, name in conn.execute("SELECT schemaname, sequencename FROM pg_catalog.pg_sequences")
        }
        return [
            sequence
            for sequence in self.contents.sequences
            if (sequence in owned or sequence.owner_table is None) and (sequence.schema, sequence.name) in there
        ]

    def _refresh(self, made: CreatedDatabase, selection: Selection) -> None:
        path = next(
            (
                assignment.partition("=")[2]
                for setting in self.contents.database.settings
                if setting.role is None
                for assignment in setting.assignments
                if assignment.startswith("search_path=")
            ),
            '"$user", public',
        )
        with self.target.session(made.name, what="filling materialised views", stop=self.stop) as conn:
            prepare_session(conn, bulk=True)
            there = {
                (str(schema), str(name))
                for schema, name in conn.execute("SELECT schemaname, matviewname FROM pg_catalog.pg_matviews")
            }
            views = [v for v in self.contents.materialized_views if (v.schema, v.name) in there]
            refresh_views(conn, views, search_path=path, stop=self.stop)


def _index_memory_kib(jobs: int) -> int | None:
    """A quarter of this machine's free memory, shared by the index builds; None when it cannot be told."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                free_kib = int(line.split()[1])
                return max(_INDEX_MEMORY_MIN_KIB, min(_INDEX_MEMORY_MAX_KIB, free_kib // 4 // max(jobs, 1)))
    except OSError:
        return None
    return None
