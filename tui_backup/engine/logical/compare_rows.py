"""Holding a restored table's rows against the chunks of a backup, byte for byte.

Two ways, the cheap one first. Where the order is the backup's, the stream of a COPY is cut at the frames' known lengths
and hashed: nothing of the backup is read. Where it is not, the rows of both sides are sorted by the system's ``sort``,
which keeps its memory bounded, and compared as multisets. No row passes through Python either way.
"""

from __future__ import annotations

import hashlib
import os
import queue
import shutil
import tempfile
import threading
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass

from tui_backup.engine.logical.frames import blob_ref, chunk_frames, run_workers
from tui_backup.engine.logical.names import qualified, quote
from tui_backup.engine.logical.reading import ReadQuery
from tui_backup.engine.tools import run_tool
from tui_backup.errors import TargetSpaceError
from tui_backup.manifest import Chunk, Table
from tui_backup.model import BackupReader, StopFlag

_SORT_MEMORY = "256M"
_QUEUED_BLOCKS = 8
_QUEUE_WAIT_S = 0.2


class OrderBroken(Exception):
    """The stream is not the expected one from here on."""


class FrameCheck:
    """Compares a stream with the frames that it must consist of, by length and SHA-256.

    Args:
        chunks: in the order of the stream.
    """

    def __init__(self, chunks: Sequence[Chunk]) -> None:
        self._frames = [(number, blob) for number, chunk in enumerate(chunks) for blob in chunk.blobs]
        self._position = 0
        self._room = self._frames[0][1].raw_bytes if self._frames else 0
        self._hash = hashlib.sha256()
        self.bytes_seen = 0

    @property
    def chunk(self) -> int | None:
        """Number of the chunk that the stream is in, None after the last one."""
        return self._frames[self._position][0] if self._position < len(self._frames) else None

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Take the next bytes.

        Raises:
            OrderBroken: they are not the backup's.
        """
        view = memoryview(data)
        self.bytes_seen += len(view)
        while view:
            if self._position >= len(self._frames):
                raise OrderBroken
            part = view[: self._room]
            self._hash.update(part)
            self._room -= len(part)
            view = view[len(part) :]
            if not self._room:
                self._close_frame()

    def finish(self) -> None:
        """Say that the stream has ended.

        Raises:
            OrderBroken: something is missing.
        """
        if self._position < len(self._frames):
            raise OrderBroken

    def _close_frame(self) -> None:
        if self._hash.hexdigest() != self._frames[self._position][1].id:
            raise OrderBroken
        self._position += 1
        self._hash = hashlib.sha256()
        if self._position < len(self._frames):
            self._room = self._frames[self._position][1].raw_bytes


@dataclass(frozen=True, slots=True)
class RowsResult:
    """How one table's rows compare.

    Args:
        identical: the same rows, each as often.
        method: ``order``, ``loaders`` or ``sorted``.
        rows: rows found in the restored table, None where reading ended early.
        chunk: number of the first chunk where the order differed from the backup's.
    """

    identical: bool
    method: str
    rows: int | None
    chunk: int | None = None


def rows_query(table: Table, *, place: tuple[str, str] | None = None, where: str = "") -> str:
    """SELECT of a table's own rows, its data columns in the order of the backup's stream.

    Args:
        table: the backup's table.
        place: schema and name of another table that holds its rows.
        where: a condition with its WHERE; by default that of an extension's configuration table.
    """
    columns = ", ".join(map(quote, table.data_columns))
    condition = "" if place else table.condition or ""
    return (
        f"SELECT {columns} FROM ONLY {qualified(*(place or (table.schema, table.name)))} {where or condition}".rstrip()
    )


def in_order(chunks: Sequence[Chunk], query: str, read: ReadQuery) -> RowsResult:
    """Compare one stream with chunks, expecting the backup's order."""
    check = FrameCheck(chunks)
    try:
        rows = read(query, check.feed)
        check.finish()
    except OrderBroken:
        return RowsResult(identical=False, method="order", rows=None, chunk=check.chunk)
    return RowsResult(identical=True, method="order", rows=rows)


def as_multiset(
    chunks: Sequence[Chunk], query: str, read: ReadQuery, reader: BackupReader, stop: StopFlag
) -> RowsResult:
    """Compare rows whatever their order."""
    expected_bytes = sum(chunk.raw_bytes for chunk in chunks)
    with tempfile.TemporaryDirectory(prefix="tui-backup-compare-") as folder:
        free = shutil.disk_usage(folder).free
        if free < expected_bytes + expected_bytes // 10:
            raise TargetSpaceError(
                f"Comparing needs {expected_bytes} bytes in {tempfile.gettempdir()}, {free} are free.",
                hint="Set TMPDIR to a folder with more room, or restore without the comparison.",
            )
        with _Stream(query, read) as stream:
            sides = {"backup": _frames(chunks, reader, stop), "restored": stream.blocks()}
            digests: dict[str, str] = {}

            def sort(side: str, flag: StopFlag) -> None:
                digests[side] = _sorted_digest(sides[side], folder, flag)

            run_workers(sides, sort, workers=2, stop=stop)
        return RowsResult(identical=digests["backup"] == digests["restored"], method="sorted", rows=stream.rows)


def _frames(chunks: Iterable[Chunk], reader: BackupReader, stop: StopFlag) -> Iterator[bytes]:
    for blob in chunk_frames(chunks):
        stop.check()
        yield reader.read_blob(blob_ref(blob))


def _sorted_digest(blocks: Iterable[bytes], folder: str, stop: StopFlag) -> str:
    digest = hashlib.sha256()
    env = {"LC_ALL": "C", "PATH": os.environ.get("PATH", "/usr/bin:/bin")}
    run_tool(
        ["sort", f"--buffer-size={_SORT_MEMORY}", f"--temporary-directory={folder}"],
        env,
        stop=stop,
        stdin=blocks,
        stdout_to=digest.update,
    )
    return digest.hexdigest()


class _Stream:
    """Turns a query that pushes its bytes into an iterable, through a short queue and a thread."""

    def __init__(self, query: str, read: ReadQuery) -> None:
        self.rows: int | None = None
        self._query = query
        self._read = read
        self._blocks: queue.Queue[bytes | None] = queue.Queue(_QUEUED_BLOCKS)
        self._over = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="restore-compare", daemon=True)

    def __enter__(self) -> _Stream:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def blocks(self) -> Generator[bytes]:
        """The stream's bytes."""
        while True:
            try:
                block = self._blocks.get(timeout=_QUEUE_WAIT_S)
            except queue.Empty:
                if self._over.is_set():
                    raise OrderBroken from None
                continue
            if block is None:
                if self._error is not None:
                    raise self._error
                return
            yield block

    def _run(self) -> None:
        try:
            self.rows = self._read(self._query, self._put)
        except BaseException as error:  # noqa: BLE001 - carried to the reading side
            self._error = error
        self._put_end()

    def _put(self, data: bytes | bytearray | memoryview) -> None:
        block = bytes(data)
        while not self._over.is_set():
            try:
                self._blocks.put(block, timeout=_QUEUE_WAIT_S)
            except queue.Full:
                continue
            return
        raise OrderBroken

    def _put_end(self) -> None:
        while not self._over.is_set():
            try:
                self._blocks.put(None, timeout=_QUEUE_WAIT_S)
            except queue.Full:
                continue
            return
