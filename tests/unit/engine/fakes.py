"""In-memory ends of the engine: a sink that keeps what it is given, and progress that adds up."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from typing import Any

from tui_backup.manifest import Blob, Chunk, StoredFile
from tui_backup.model import BlobRef, PendingBlob

FRAME_BYTES = 1 << 20


class MemoryWriter:
    """One stream, cut into frames."""

    def __init__(self, sink: MemorySink) -> None:
        self._sink = sink
        self._data = bytearray()
        self.is_open = True

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert self.is_open
        self._sink.on_write(bytes(data))
        self._data += data

    def close(self) -> list[PendingBlob]:
        assert self.is_open
        self.is_open = False
        frames = [bytes(self._data[at : at + FRAME_BYTES]) for at in range(0, len(self._data), FRAME_BYTES)]
        return [self._sink.keep(frame) for frame in frames]

    def abort(self) -> None:
        self.is_open = False


class MemorySink:
    """Keeps every frame by its id; ``on_write`` may raise or wait, to play a bad store."""

    def __init__(self, on_write: Callable[[bytes], None] = lambda data: None) -> None:
        self.on_write = on_write
        self.frames: dict[str, bytes] = {}
        self.writers: list[MemoryWriter] = []
        self.is_flushed = False
        self._lock = threading.Lock()

    def open_blob(self) -> MemoryWriter:
        writer = MemoryWriter(self)
        with self._lock:
            self.writers.append(writer)
        return writer

    def keep(self, frame: bytes) -> PendingBlob:
        digest = hashlib.sha256(frame).hexdigest()
        with self._lock:
            self.frames[digest] = frame
        return PendingBlob(id=digest, stored_bytes=len(frame), raw_bytes=len(frame))

    def flush(self) -> None:
        self.is_flushed = True

    def locate(self, pending: PendingBlob) -> BlobRef:
        assert self.is_flushed
        return BlobRef(
            id=pending.id, pack="memory", offset=0, stored_bytes=pending.raw_bytes, raw_bytes=pending.raw_bytes
        )

    def reuse(self, blob_id: str) -> PendingBlob | None:
        frame = self.frames.get(blob_id)
        return None if frame is None else PendingBlob(id=blob_id, stored_bytes=len(frame), raw_bytes=len(frame))

    def read(self, stored: Chunk | StoredFile | list[Blob]) -> bytes:
        """The stream of a chunk or a file."""
        blobs = stored if isinstance(stored, list) else stored.blobs
        return b"".join(self.frames[blob.id] for blob in blobs)


class Counts:
    """A progress report that adds up."""

    def __init__(self) -> None:
        self.phases: list[str] = []
        self.tables_done = self.rows = self.bytes_ = 0
        self.tables_total: int | None = None
        self.bytes_total: int | None = None
        self._lock = threading.Lock()

    def __call__(
        self,
        *,
        phase: str | None = None,
        tables_done: int = 0,
        rows: int = 0,
        bytes_: int = 0,
        tables_total: int | None = None,
        bytes_total: int | None = None,
        **other: Any,
    ) -> None:
        assert not other
        with self._lock:
            if phase is not None:
                self.phases.append(phase)
            self.tables_done += tables_done
            self.rows += rows
            self.bytes_ += bytes_
            self.tables_total = tables_total if tables_total is not None else self.tables_total
            self.bytes_total = bytes_total if bytes_total is not None else self.bytes_total
