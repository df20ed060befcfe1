"""Which chunks an incremental backup takes from its parent unread. Why that is sound: INCREMENTAL.md, beside this file.

A chunk is taken over when the parent's history stands (:func:`why_read_everything`), its table is still the same
(:func:`why_read_whole`), and the server answers that its block range shows the parent's rows and no newer one
(:class:`ChunkCheck`, or :class:`GroupCheck` for a run of chunks at once). Whatever cannot be told is read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from tui_backup import manifest
from tui_backup.engine.logical.cut import BlockRange, select_range
from tui_backup.engine.logical.marker import marker_problem
from tui_backup.engine.logical.names import shown
from tui_backup.engine.logical.pump import Copied
from tui_backup.engine.logical.session import SourceSession
from tui_backup.engine.logical.tables import TableSource
from tui_backup.model import PendingBlob

XID_HORIZON = 2**31 - 2**26
"""Transaction ids between the parent's snapshot and now, from which on 32-bit ages are not relied upon: 2^26 before
the server's own age() turns round, which is more than it lets happen between two of its warnings."""

_GROUP_CHUNKS = 16
"""Chunks asked for at once: 32 MiB of heap, about 20 ms of the server's work; 15 ways there and back are saved."""


@dataclass(frozen=True, slots=True)
class Parent:
    """The backup that an incremental builds on.

    Args:
        job_id: of the parent; None when there is none.
        contents: its manifest's; None when there is none, or it cannot be read.
        reason: why there are no contents.
    """

    job_id: UUID | None = None
    contents: manifest.Contents | None = None
    reason: str | None = None


def stands(answer: tuple[int, ...], rows: int) -> bool:
    """Conditions (b) and (c): as many visible rows as then, and none from a transaction that was not over then.

    Args:
        answer: of :func:`check_query`.
        rows: that the parent saw in the range.
    """
    return answer == (rows, 0)


@dataclass(frozen=True, slots=True)
class ChunkCheck:
    """Whether one chunk of the parent stands."""

    chunk: manifest.Chunk
    blobs: Sequence[PendingBlob]
    block_range: BlockRange
    query: str

    def stands(self, answer: tuple[int, ...]) -> bool:
        """What the server's answer says."""
        return stands(answer, self.chunk.rows)

    @property
    def stored(self) -> Copied:
        """The parent's chunk."""
        row_hash = int(self.chunk.row_hash, 16) if self.chunk.row_hash is not None else None
        return Copied(self.chunk.rows, self.chunk.raw_bytes, self.blobs, reused=True, row_hash=row_hash)


@dataclass(frozen=True, slots=True)
class GroupCheck:
    """Whether a run of neighbouring chunks stands, asked in one query: what holds for the whole range holds for its
    parts. Where it does not hold, each chunk is asked for by itself.

    Args:
        tasks: numbers of the chunks' tasks.
        table: whose they are, for people.
        rows: that the parent saw in them.
        query: over their range.
    """

    tasks: Sequence[int]
    table: str
    rows: int
    query: str

    def stands(self, answer: tuple[int, ...]) -> bool:
        """What the server's answer says."""
        return stands(answer, self.rows)


def why_read_everything(
    session: SourceSession,
    parent: manifest.Contents,
    *,
    server: manifest.Server,
    database: manifest.Database,
    snapshot: manifest.Snapshot,
) -> str | None:
    """Conditions (a) and (d) for the database as a whole.

    Args:
        session: of the backup, in its snapshot.
        parent: what the parent says of itself.
        server, database, snapshot: what is seen now.

    Returns:
        What forbids taking anything over, None when nothing does.
    """
    return (
        _other_place(parent, server, database)
        or _too_far(parent.snapshot, snapshot)
        or marker_problem(session, parent.snapshot)
    )


def _other_place(parent: manifest.Contents, server: manifest.Server, database: manifest.Database) -> str | None:
    before = parent.server
    if server.is_standby or before.is_standby:
        return "a standby cannot burn transaction ids"
    if not server.system_identifier or not server.timeline:
        return "the login may not see the server's system identifier and timeline"
    pairs = (
        ("cluster", before.system_identifier, server.system_identifier),
        ("timeline", before.timeline, server.timeline),
        ("server version", before.version_num, server.version_num),
        ("block size", before.block_size, server.block_size),
        ("database", parent.database.oid, database.oid),
        ("encoding", parent.database.encoding, database.encoding),
    )
    for what, then, now in pairs:
        if then != now:
            return f"the parent is of another {what} ({then or 'unknown'}, now {now})"
    return None


def _too_far(then: manifest.Snapshot, now: manifest.Snapshot) -> str | None:
    if now.xmax < then.xmax:
        return "the server's transaction ids are behind the parent's: its history was cut"
    if now.xmax - then.xmin >= XID_HORIZON:
        return f"{now.xmax - then.xmin:,} transaction ids since the parent's snapshot are too many to tell ages apart"
    return None


def why_read_whole(then: manifest.Table | None, table: TableSource) -> str | None:
    """Condition (a) for one table, found in the parent by its oid; None when its chunks may be compared."""
    if then is None:
        return "not in the parent"
    relation = table.relation
    if relation.access_method != "heap":
        return f"access method {relation.access_method}"
    if relation.condition or then.condition:
        return "its extension chooses the rows"
    if then.relfilenode != relation.relfilenode or not relation.relfilenode:
        return "rewritten since the parent"
    if then.shape != table.shape:
        return "columns or types changed"
    loose = [column.name for column in table.columns if column.text_depends_on_catalog and not column.generated]
    if loose:
        return f"the text of column {loose[0]} depends on the catalog"
    return None


def match_chunks(then: manifest.Table, table: TableSource) -> dict[BlockRange, manifest.Chunk]:
    """The parent's chunk of each block range that had room for every row that the range can show now."""
    before = {chunk.first_block: chunk for chunk in then.chunks}
    found: dict[BlockRange, manifest.Chunk] = {}
    for first, end in table.ranges:
        chunk = before.get(first)
        if chunk is None:
            continue
        last = table.blocks if end is None else end
        if chunk.end_block is None or last <= chunk.end_block:
            found[first, end] = chunk
    return found


def check_query(table: TableSource, block_range: BlockRange, parent_xmin: int, condition: str | None = None) -> str:
    """Count the rows of a block range; 1 when the transaction of one may not have been over at the parent's snapshot.

    Both ages are measured from the same next transaction id: age() keeps to one within a transaction. The youngest row
    tells for all: this costs the server a tenth less than counting the younger ones. ``condition`` is that of a
    tenant's rows, which are all that is counted then.
    """
    old = parent_xmin % 2**32
    columns = f"count(*), coalesce(min(age(xmin)) <= age('{old}'::xid), false)::int"
    query = select_range(columns, table.relation.key, block_range)
    if condition is None:
        return query
    return f"{query}{' WHERE ' if block_range == (0, None) else ' AND '}{condition}"


class TenantRows(Protocol):
    """What a backup of one tenant's rows says of its tables."""

    def why_read_whole(self, parent: manifest.Contents, table: TableSource) -> str | None:
        """Why a table's chunks cannot be compared with the parent's."""
        ...

    def check_condition(self, table: TableSource) -> str:
        """The condition of the tenant's rows, for the check of a chunk."""
        ...


class Takeover:
    """Decides for every chunk of a backup whether the parent's may do.

    Args:
        parent: what to build on.
        reason: why everything is read, None when the parent fits.
        reuse: gives a frame that the repository holds, None for one that is missing or not trusted.
        tenant: of a backup of one tenant's rows.
    """

    def __init__(
        self,
        parent: Parent,
        reason: str | None,
        reuse: Callable[[str], PendingBlob | None],
        tenant: TenantRows | None = None,
    ) -> None:
        self._parent, self._reason, self._reuse, self._tenant = parent, reason, reuse, tenant
        self._before: Mapping[int, manifest.Table] = {}
        self._xmin = 0
        if reason is None and parent.contents is not None:
            self._before = {table.oid: table for table in parent.contents.tables}
            self._xmin = parent.contents.snapshot.xmin
        self._read_whole: dict[str, str] = {}

    def checks(self, table: TableSource, label: str) -> list[ChunkCheck | None]:
        """For each range of a table its check, None where it must be read."""
        if self._reason is not None or not table.ranges:
            return [None] * len(table.ranges)
        then = self._before.get(table.relation.oid)
        why = why_read_whole(then, table)
        if why is None and self._tenant is not None and self._parent.contents is not None:
            why = self._tenant.why_read_whole(self._parent.contents, table)
        if then is None or why is not None:
            self._read_whole[label] = why or "not in the parent"
            return [None] * len(table.ranges)
        matches = match_chunks(then, table)
        return [self._check(table, each, matches.get(each)) for each in table.ranges]

    def _check(self, table: TableSource, block_range: BlockRange, chunk: manifest.Chunk | None) -> ChunkCheck | None:
        if chunk is None:
            return None
        blobs = [self._reuse(blob.id) for blob in chunk.blobs]
        there = [blob for blob in blobs if blob is not None]
        if len(there) != len(blobs):
            # lost, cut off, or found damaged: read it again
            return None
        return ChunkCheck(chunk, there, block_range, self._query(table, block_range))

    def _query(self, table: TableSource, block_range: BlockRange) -> str:
        condition = self._tenant.check_condition(table) if self._tenant is not None else None
        return check_query(table, block_range, self._xmin, condition)

    def groups(self, table: TableSource, checks: Sequence[ChunkCheck | None], first_task: int) -> list[GroupCheck]:
        """Neighbouring chunks of a table that can be asked for together.

        Args:
            table: whose checks these are.
            checks: what :meth:`checks` gave.
            first_task: number of the task of the first of them.
        """
        runs: list[list[tuple[int, ChunkCheck]]] = [[]]
        for number, check in enumerate(checks, first_task):
            if check is None or len(runs[-1]) == _GROUP_CHUNKS:
                runs.append([])
            if check is not None:
                runs[-1].append((number, check))
        return [self._group(table, run) for run in runs if len(run) > 1]

    def _group(self, table: TableSource, run: Sequence[tuple[int, ChunkCheck]]) -> GroupCheck:
        block_range = (run[0][1].block_range[0], run[-1][1].block_range[1])
        return GroupCheck(
            tasks=[number for number, _ in run],
            table=shown(table.relation.key),
            rows=sum(check.chunk.rows for _, check in run),
            query=self._query(table, block_range),
        )

    def describe(self, copied: Sequence[Copied]) -> manifest.Reuse:
        """What became of it."""
        read = [each for each in copied if not each.reused]
        return manifest.Reuse(
            parent_job_id=self._parent.job_id if self._reason is None else None,
            reason=self._reason,
            chunks_reused=len(copied) - len(read),
            chunks_read=len(read),
            bytes_read=sum(each.raw_bytes for each in read),
            read_whole=self._read_whole,
        )
