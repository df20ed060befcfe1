"""A logical backup: one consistent copy of a database, or of chosen tables, into a sink.

The order of things: rights, locks, snapshot, marker; then, side by side, pg_dump writes the definitions, the workers
read the tables in block ranges, and this thread reads what is small; last, the sink makes everything durable and says
where it lies. The caller writes the manifest.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from tui_backup import manifest
from tui_backup.engine.connection import child_environment
from tui_backup.engine.logical import largeobjects, left_out
from tui_backup.engine.logical.cut import BlockRange, select_rows
from tui_backup.engine.logical.dumps import Dumps
from tui_backup.engine.logical.incremental import ChunkCheck, GroupCheck, Parent, Takeover, why_read_everything
from tui_backup.engine.logical.introspect import (
    read_database,
    read_extensions,
    read_roles,
    read_server,
    read_snapshot,
)
from tui_backup.engine.logical.largeobjects import LargeObjectTask
from tui_backup.engine.logical.lines import LinePlan
from tui_backup.engine.logical.locks import begin_with_locks, lock_statement
from tui_backup.engine.logical.marker import ReadOnlyError, burn
from tui_backup.engine.logical.names import shown
from tui_backup.engine.logical.pump import Copied, CopyTask, run_pump
from tui_backup.engine.logical.relations import (
    TABLE,
    Relation,
    Selection,
    check_readable,
    list_relations,
    select_relations,
    unreadable,
)
from tui_backup.engine.logical.schema import StoredStream
from tui_backup.engine.logical.sequences import read_materialized_views, read_sequences
from tui_backup.engine.logical.session import SourceSession
from tui_backup.engine.logical.tables import TableSource, read_tables
from tui_backup.engine.logical.tally import Tally
from tui_backup.engine.logical.tenants.reading import TenantReading, TenantRequest
from tui_backup.engine.logical.tenants.row_hash import add_hashes
from tui_backup.engine.tools import find_tools
from tui_backup.model import BackupSink, PendingBlob, ProgressReport, StopFlag

# Each worker locks all tables at once while the server's lock table (64 × 100 entries as a rule) has room for that.
_MOST_WORKER_LOCKS = 2000


def default_workers() -> int:
    """One for each core that this process may use, four at most."""
    return min(4, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


@dataclass(frozen=True, slots=True)
class BackupRequest:
    """What to back up and how.

    Args:
        conninfo: the source, as libpq takes it.
        passfile: password file in place of libpq's own.
        tables: chosen tables as ``schema.table`` or ``table``, quoted where SQL needs it; empty means all.
        workers: reading sessions; one for each core up to four when None.
        lock_timeout_s: how long one table may stay locked by somebody else.
        application_name: what pg_stat_activity shows.
        chunk_blocks: heap blocks a chunk; by each table's size when None.
        tools: folder of the client tools; looked for when None.
        parent: what an incremental builds on; None for a full backup.
        tenant: back up this tenant's rows only.
    """

    conninfo: str = field(repr=False)
    passfile: Path | None = None
    tables: Sequence[str] = ()
    workers: int | None = None
    lock_timeout_s: float = 30.0
    application_name: str = "tui-backup"
    chunk_blocks: int | None = None
    tools: Path | None = None
    parent: Parent | None = None
    tenant: TenantRequest | None = None


def backup_database(
    request: BackupRequest, sink: BackupSink, *, progress: ProgressReport, stop: StopFlag
) -> manifest.Contents:
    """Read a consistent copy of the source into the sink; blocks until done.

    Args:
        request: what and how.
        sink: where to; flushed when this returns.
        progress: told phases and counts.
        stop: ends the backup within about two seconds, wherever it is.

    Returns:
        Everything that the manifest says about the content.

    Raises:
        ValidationError: a chosen table is not there, the connection string is wrong, or the tenant's key fits no
            column.
        TenantMapError: nothing says whose the rows of a table are.
        TenantRowError: a row belongs to two tenants, or the policies showed one that is not the tenant's.
        SourcePermissionError: something could not be read whole; nothing has been read then.
        LockTimeoutError, SourceChangedError, ConnectionFailedError: may go better another time.
        ClientToolsError, TlsRequiredError, LoginFailedError, SqlFailedError: will not.
        What the sink raises, and what ``stop`` carries.
    """
    progress(phase="connecting")
    with SourceSession(
        request.conninfo, application_name=request.application_name, passfile=request.passfile, stop=stop
    ) as session:
        return _Backup(request, session, sink, progress, stop).run()


@dataclass(frozen=True, slots=True)
class _ChunkTask:
    """One chunk of one table."""

    table: TableSource
    block_range: BlockRange
    check: ChunkCheck | None = None
    tenant: TenantReading | None = None

    @property
    def label(self) -> str:
        return shown(self.table.relation.key)

    @property
    def weight(self) -> int:
        return self.table.bytes_estimated // len(self.table.ranges)

    @property
    def query(self) -> str:
        table = self.table
        if self.tenant is not None:
            return self.tenant.query(table, self.block_range)
        return select_rows(table.relation.key, table.data_columns, self.block_range, table.relation.condition)

    @property
    def hashes_rows(self) -> bool:
        return self.tenant is not None


class _Backup:
    """The state of one run."""

    def __init__(
        self,
        request: BackupRequest,
        session: SourceSession,
        sink: BackupSink,
        progress: ProgressReport,
        stop: StopFlag,
    ) -> None:
        self._request, self._session, self._sink = request, session, sink
        self._progress, self._stop = progress, stop
        self._relations: list[Relation] = []
        self._tenant = TenantReading(request.tenant) if request.tenant else None

    def run(self) -> manifest.Contents:
        session, request = self._session, self._request
        server = read_server(session)
        tools = find_tools(server.major, needs_tls=session.parameters.needs_tls, bin_dir=request.tools)
        self._progress(phase="locking tables")
        selection = begin_with_locks(session, lambda: self._select(server), lock_timeout_s=request.lock_timeout_s)
        if self._tenant is not None:
            self._tenant.check(session, selection)
        snapshot_name, snapshot = read_snapshot(session)
        snapshot = self._marked(snapshot, server)
        self._progress(phase="reading definitions")
        excluded = unreadable(session, selection.others) if selection.others else []
        dumps = Dumps(
            tools,
            child_environment(session.connection),
            self._sink,
            snapshot=snapshot_name,
            encoding=session.encoding,
            lock_timeout_s=request.lock_timeout_s,
            excluded=excluded,
            stop=self._stop,
        )
        dumps.start()
        try:
            contents = self._read(selection, server, snapshot, snapshot_name, dumps)
        finally:
            dumps.end()
        missing = [*self._left_out(selection, server, excluded), *contents.left_out]
        if self._tenant is not None:
            missing += self._tenant.nothing_found(contents.tables)
        if snapshot.marker_missing_reason:
            reason = f"{snapshot.marker_missing_reason}: an incremental upon this backup reads everything"
            missing.append(manifest.LeftOut(what="marker of the server's history", reason=reason))
        return msgspec.structs.replace(contents, left_out=missing)

    def _left_out(
        self, selection: Selection, server: manifest.Server, excluded: Sequence[Relation]
    ) -> list[manifest.LeftOut]:
        if self._tenant is not None:
            return self._tenant.left_out(self._relations, excluded, is_standby=server.is_standby)
        if not selection.is_whole:
            return left_out.of_chosen_tables(excluded)
        return left_out.of_whole_database(self._relations, is_standby=server.is_standby)

    def _read(
        self,
        selection: Selection,
        server: manifest.Server,
        snapshot: manifest.Snapshot,
        snapshot_name: str,
        dumps: Dumps,
    ) -> manifest.Contents:
        session = self._session
        tables = read_tables(
            session, selection.tables, chunk_blocks=self._request.chunk_blocks, lc_monetary=server.lc_monetary
        )
        objects = [] if not selection.is_whole else largeobjects.read_objects(session)
        object_tasks = largeobjects.cut_objects(objects)
        database = read_database(session)
        sequences = read_sequences(session, selection.sequences)
        views = [] if not selection.is_whole else read_materialized_views(session, self._relations)
        roles, extensions = read_roles(session), read_extensions(session)
        takeover = self._takeover(server, database, snapshot)
        chunk_tasks: list[_ChunkTask] = []
        groups: list[GroupCheck] = []
        for table in tables:
            checks = _checks(takeover, table)
            groups += takeover.groups(table, checks, len(chunk_tasks)) if takeover else []
            chunk_tasks += [
                _ChunkTask(table, block_range, check, self._tenant)
                for block_range, check in zip(table.ranges, checks, strict=True)
            ]
        plan = self._line_plan(server, snapshot_name, selection)
        copied = self._copy(plan, tables, [*chunk_tasks, *object_tasks], groups, dumps)
        schema, globals_ = dumps.result()
        self._progress(phase="storing")
        self._sink.flush()
        chunks = iter(copied)
        described = [
            table.describe([self._chunk(block_range, next(chunks)) for block_range in table.ranges]) for table in tables
        ]
        return manifest.Contents(
            server=server,
            database=database,
            snapshot=snapshot,
            schema=self._stored(schema),
            globals=self._stored(globals_) if globals_ else None,
            tables=described,
            sequences=sequences,
            materialized_views=views,
            large_objects=manifest.LargeObjects(
                objects=objects, chunks=[self._object_chunk(task, next(chunks)) for task in object_tasks]
            ),
            roles=roles,
            extensions=extensions,
            chosen_tables=list(selection.chosen),
            left_out=left_out.of_tools(schema.warnings, dumps.globals_refused),
            reuse=takeover.describe(copied[: len(chunk_tasks)]) if takeover else None,
            tenant=self._tenant.scope(_content_hashes(described)) if self._tenant else None,
        )

    # -- before reading ---------------------------------------------------------------------------------------------

    def _select(self, server: manifest.Server) -> Selection:
        self._relations = list_relations(self._session)
        if self._tenant is not None:
            selection = self._tenant.select(self._session, self._relations, is_standby=server.is_standby)
            check_readable(self._session, selection, row_security_counts=not self._tenant.by_policies)
            return selection
        selection = select_relations(self._session, self._relations, self._request.tables, is_standby=server.is_standby)
        check_readable(self._session, selection)
        if selection.is_whole:
            largeobjects.check_readable(self._session)
        return selection

    def _marked(self, snapshot: manifest.Snapshot, server: manifest.Server) -> manifest.Snapshot:
        request = self._request
        if server.is_standby:
            return _without_marker(snapshot, "a standby cannot burn transaction ids")
        try:
            marker = burn(request.conninfo, application_name=request.application_name, passfile=request.passfile)
        except ReadOnlyError as exc:
            return _without_marker(snapshot, str(exc))
        return msgspec.structs.replace(snapshot, marker=marker)

    def _takeover(
        self, server: manifest.Server, database: manifest.Database, snapshot: manifest.Snapshot
    ) -> Takeover | None:
        parent = self._request.parent
        if parent is None:
            return None
        reason = parent.reason
        if parent.contents is None:
            reason = reason or "there is no earlier backup of it"
        else:
            reason = self._wrong_scope(parent.contents) or why_read_everything(
                self._session, parent.contents, server=server, database=database, snapshot=snapshot
            )
        return Takeover(parent, reason, self._sink.reuse, self._tenant)

    def _wrong_scope(self, parent: manifest.Contents) -> str | None:
        if self._tenant is not None:
            return self._tenant.why_not_upon(parent)
        return "the parent holds one tenant's rows only" if parent.tenant is not None else None

    def _line_plan(self, server: manifest.Server, snapshot_name: str, selection: Selection) -> LinePlan:
        request, session = self._request, self._session
        readable = [rel for rel in selection.tables if rel.kind == TABLE]
        few = len(readable) * self.workers <= _MOST_WORKER_LOCKS
        return LinePlan(
            conninfo=request.conninfo,
            passfile=request.passfile,
            parameters=session.parameters,
            application_name=request.application_name,
            major=server.major,
            lc_monetary=server.lc_monetary,
            snapshot=snapshot_name,
            lock_statement=lock_statement(readable) if few else None,
            lock_timeout_s=request.lock_timeout_s,
            encoding=session.encoding,
            last_statements=self._tenant.line_set_up if self._tenant else (),
        )

    @property
    def workers(self) -> int:
        """How many sessions read."""
        return max(1, self._request.workers or default_workers())

    # -- reading ----------------------------------------------------------------------------------------------------

    def _copy(
        self,
        plan: LinePlan,
        tables: Sequence[TableSource],
        tasks: Sequence[CopyTask],
        groups: Sequence[GroupCheck],
        dumps: Dumps,
    ) -> list[Copied]:
        tally = Tally(tables, tasks, self._progress)
        return run_pump(
            plan,
            tasks,
            self._sink,
            groups=groups,
            workers=self.workers,
            stop=self._stop,
            progress=self._progress,
            done=tally.count,
            cancel_backend=lambda pid, terminate: self._session.cancel_backend(pid, terminate=terminate),
            watch=dumps.check,
        )

    # -- after reading ----------------------------------------------------------------------------------------------

    def _blobs(self, pending: Sequence[PendingBlob]) -> list[manifest.Blob]:
        refs = [self._sink.locate(blob) for blob in pending]
        return [
            manifest.Blob(
                id=ref.id, pack=ref.pack, offset=ref.offset, stored_bytes=ref.stored_bytes, raw_bytes=ref.raw_bytes
            )
            for ref in refs
        ]

    def _chunk(self, block_range: BlockRange, copied: Copied) -> manifest.Chunk:
        first, end = block_range
        return manifest.Chunk(
            first_block=first,
            end_block=end,
            rows=copied.rows,
            raw_bytes=copied.raw_bytes,
            blobs=self._blobs(copied.blobs),
            row_hash=add_hashes([copied.row_hash]) if copied.row_hash is not None else None,
        )

    def _object_chunk(self, task: LargeObjectTask, copied: Copied) -> manifest.Chunk:
        return largeobjects.describe(
            task, rows=copied.rows, raw_bytes=copied.raw_bytes, blobs=self._blobs(copied.blobs)
        )

    def _stored(self, stream: StoredStream) -> manifest.StoredFile:
        return manifest.StoredFile(blobs=self._blobs(stream.blobs), raw_bytes=stream.raw_bytes, tool=stream.tool)


def _checks(takeover: Takeover | None, table: TableSource) -> Sequence[ChunkCheck | None]:
    if takeover is None:
        return [None] * len(table.ranges)
    return takeover.checks(table, shown(table.relation.key))


def _content_hashes(tables: Sequence[manifest.Table]) -> dict[str, str]:
    return {
        shown((table.schema, table.name)): add_hashes([int(chunk.row_hash or "0", 16) for chunk in table.chunks])
        for table in tables
        if table.kind == TABLE
    }


def _without_marker(snapshot: manifest.Snapshot, reason: str) -> manifest.Snapshot:
    return msgspec.structs.replace(snapshot, marker_missing_reason=reason)
