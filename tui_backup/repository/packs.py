"""Where the engine's content streams become packs of a repository, and how a frame is read back.

The protocol in :mod:`tui_backup.model` that this implements was changed for it: a frame's pack is known only
when the pack is full and stored, so ``BlobWriter.close()`` returns ``list[PendingBlob]`` (id, stored_bytes,
raw_bytes), and after ``BackupSink.flush()`` the sink's ``locate(pending)`` gives the ``BlobRef``.

Memory: one pack being filled, one being stored, and for each stream that is open one raw frame and what it
is compressed to.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from tui_backup.errors import DamagedError, StoreError, TuiBackupError
from tui_backup.model import BlobRef, PendingBlob, StopFlag
from tui_backup.repository.frames import (
    INDEX_FOOT_BYTES,
    Frame,
    FrameCompressor,
    FrameError,
    PackIndex,
    decode_index,
    decompress,
    encode_index,
    index_bytes,
    most_frame_bytes,
)
from tui_backup.repository.keys import pack_key
from tui_backup.repository.store import Store

_LOG = logging.getLogger(__name__)
_POLL_S = 0.2
DEFAULT_PACK_BYTES = 16 * 1024 * 1024
_KEPT_BYTES = 16 * 1024 * 1024
_WINDOW_BYTES = 2 * 1024 * 1024
_TAIL_BYTES = 1024 * 1024
DEFAULT_FRAME_RAW_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class WriteStatistics:
    """What a run has written so far.

    Args:
        bytes_raw: taken in, uncompressed.
        bytes_stored: put into the store, packs with their indexes.
        blobs_new: frames written.
        blobs_reused: frames that were there already.
        packs_written: packs put into the store.
    """

    bytes_raw: int = 0
    bytes_stored: int = 0
    blobs_new: int = 0
    blobs_reused: int = 0
    packs_written: int = 0


class _Pack:
    """Frames gathered for one object."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.blobs: list[tuple[str, int, int]] = []
        self._frames_end = 0

    def add(self, frame: Frame) -> None:
        """Append a frame."""
        self.data += frame.data
        self.blobs.append((frame.id, len(frame.data), frame.raw_bytes))

    def has_room(self, frame: Frame, pack_bytes: int) -> bool:
        """Whether a frame fits; an empty pack takes any."""
        index_bytes = 100 * (len(self.blobs) + 1) + 64
        return not self.blobs or len(self.data) + len(frame.data) + index_bytes <= pack_bytes

    def seal(self, salt: str = "") -> str:
        """Append (or replace) the index; returns the pack's name."""
        if not self._frames_end:
            self._frames_end = len(self.data)
        del self.data[self._frames_end :]
        self.data += encode_index(PackIndex(self.blobs, salt))
        return hashlib.sha256(self.data).hexdigest()


class PackWriter:
    """One tenant's sink for one run: compresses, leaves out what is there, gathers, stores, checks.

    Args:
        store: where packs go.
        tenant_id: whose they are; nothing is shared between tenants.
        known: frames that are in the repository already, by id.
        stop: checked wherever something waits; set with the first error of a put.
        pack_bytes: about the size of a pack, cut to the store's limit.
        frame_raw_bytes: a frame holds at most this much, uncompressed.
        level: of zstd.
        heartbeat: called by the storing thread about once a second and after each pack.
    """

    def __init__(
        self,
        store: Store,
        tenant_id: UUID,
        *,
        known: Mapping[str, BlobRef] | None = None,
        stop: StopFlag | None = None,
        pack_bytes: int = DEFAULT_PACK_BYTES,
        frame_raw_bytes: int = DEFAULT_FRAME_RAW_BYTES,
        level: int = 1,
        heartbeat: Callable[[], None] | None = None,
    ) -> None:
        self._store = store
        self._tenant_id = tenant_id
        self._known = known or {}
        self._stop = stop or StopFlag()
        self._pack_bytes = min(pack_bytes, store.max_object_bytes)
        self._frame_raw_bytes = _fitting(frame_raw_bytes, store.max_object_bytes)
        self._level = level
        self._heartbeat = heartbeat
        self._turn = threading.Condition()
        self._refs: dict[str, BlobRef] = {}
        self._packs: dict[str, int] = {}
        self._unstored: set[str] = set()
        self._filling = _Pack()
        self._idle: list[FrameCompressor] = []
        self._waiting: _Pack | None = None
        self._storing = False
        self._closed = False
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None
        self._statistics = WriteStatistics()

    # -- the sink -----------------------------------------------------------------------------------------

    def open_blob(self) -> PackBlobWriter:
        """Start a content stream."""
        with self._turn:
            self._check()
            self._start_thread()
            compressor = self._idle.pop() if self._idle else None
        return PackBlobWriter(self, compressor or FrameCompressor(self._level, self._frame_raw_bytes))

    def flush(self) -> None:
        """Store what is gathered and wait until the store has confirmed all of it.

        Raises:
            TuiBackupError: the first failure of a put, or the reason of the stop flag.
        """
        with self._turn:
            while True:
                self._check()
                if self._filling.blobs and self._waiting is None:
                    self._hand_over()
                if not (self._filling.blobs or self._waiting or self._storing):
                    return
                self._turn.wait(_POLL_S)

    def locate(self, pending: PendingBlob) -> BlobRef:
        """Say where a frame lies; only after the flush() that followed its close()."""
        with self._turn:
            found = self._refs.get(pending.id) or self._known.get(pending.id)
        if found is None:
            raise StoreError(f"Frame {pending.id} is not stored yet", hint="A defect of tui-backup: report it.")
        return found

    def reuse(self, blob_id: str) -> PendingBlob | None:
        """A frame of an earlier backup, as if it had been written again; None when it is not there or not trusted."""
        ref = self._known.get(blob_id)
        if ref is None:
            return None
        return PendingBlob(ref.id, ref.stored_bytes, ref.raw_bytes)

    # -- for the run --------------------------------------------------------------------------------------

    @property
    def statistics(self) -> WriteStatistics:
        """Figures up to now."""
        with self._turn:
            return self._statistics

    @property
    def packs(self) -> set[str]:
        """The packs that this run has put."""
        with self._turn:
            return set(self._packs)

    @property
    def stored_packs(self) -> dict[str, int]:
        """The packs that this run has put, with their sizes in bytes."""
        with self._turn:
            return dict(self._packs)

    def close(self) -> None:
        """End the storing thread; what was not flushed is forgotten. Waits for a put in flight, which the
        store bounds."""
        with self._turn:
            self._closed = True
            self._filling = _Pack()
            self._waiting = None
            self._turn.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join()

    def check(self) -> None:
        """Raise what stopped this run, if anything did. Takes no lock: it is called for every block."""
        self._check()

    def give_back(self, compressor: FrameCompressor) -> None:
        """Take a compressor back for the next stream: its memory and its tables cost more to make than to clear."""
        compressor.clear()
        with self._turn:
            self._idle.append(compressor)

    def add(self, frame: Frame) -> PendingBlob:
        """Take a finished frame; waits while the pack before is still on its way."""
        pending = PendingBlob(frame.id, len(frame.data), frame.raw_bytes)
        with self._turn:
            while True:
                self._check()
                there = frame.id in self._known or frame.id in self._refs or frame.id in self._unstored
                if there or self._filling.has_room(frame, self._pack_bytes):
                    break
                if self._waiting is None and not self._storing:
                    self._hand_over()
                else:
                    self._turn.wait(_POLL_S)
            self._count(raw=frame.raw_bytes, new=not there)
            if not there:
                self._filling.add(frame)
                self._unstored.add(frame.id)
        return pending

    # -- its parts (called with the lock held, _check() also without) ----------------------------------------

    def _check(self) -> None:
        if self._error is not None:
            raise self._error
        self._stop.check()
        if self._closed:
            raise StoreError("This run's writer is closed", hint="A defect of tui-backup: report it.")

    def _start_thread(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="pack-writer", daemon=True)
            self._thread.start()

    def _hand_over(self) -> None:
        self._waiting, self._filling = self._filling, _Pack()
        self._turn.notify_all()

    def _count(self, *, raw: int, new: bool) -> None:
        now = self._statistics
        self._statistics = replace(
            now,
            bytes_raw=now.bytes_raw + raw,
            blobs_new=now.blobs_new + new,
            blobs_reused=now.blobs_reused + (not new),
        )

    # -- the storing thread -------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while (pack := self._next()) is not None:
                self._put(pack)
                self._beat()
        except BaseException as error:  # noqa: BLE001
            # a thread's end: whatever it is, the workers must get it, or they would wait for ever
            self._fail(error)

    def _next(self) -> _Pack | None:
        while True:
            with self._turn:
                if self._closed or self._error is not None:
                    return None
                if self._waiting is not None:
                    pack, self._waiting = self._waiting, None
                    self._storing = True
                    self._turn.notify_all()
                    return pack
                self._turn.wait(1.0)
            self._beat()

    def _beat(self) -> None:
        if self._heartbeat is not None:
            self._heartbeat()

    def _fail(self, error: BaseException) -> None:
        if not isinstance(error, TuiBackupError):
            _LOG.error("storing a pack failed unexpectedly", exc_info=error)
        self._stop.set(error)
        with self._turn:
            self._error = self._error or error
            self._storing = False
            self._turn.notify_all()

    def _put(self, pack: _Pack) -> None:
        name = pack.seal()
        try:
            self._put_named(name, pack)
        except DamagedError as error:
            if error.details.get("problem") != "exists":
                raise
            # A damaged pack occupies the very name that these frames make. It is never overwritten; another
            # salt gives the same frames another name, so that a new backup mends what the old one lost.
            _LOG.warning("pack %s in %s is damaged; its frames are written anew", name, self._store.location)
            name = pack.seal(secrets.token_hex(8))
            self._put_named(name, pack)
        self._stored(name, pack)

    def _put_named(self, name: str, pack: _Pack) -> None:
        key = pack_key(self._tenant_id, name)
        said = self._store.put(key, pack.data)
        if said.size_bytes != len(pack.data) or said.sha256 not in (None, name):
            raise DamagedError(f"{self._store.location} does not hold {key} as it was written")

    def _stored(self, name: str, pack: _Pack) -> None:
        offset = 0
        with self._turn:
            for blob, stored_bytes, raw_bytes in pack.blobs:
                self._refs[blob] = BlobRef(blob, name, offset, stored_bytes, raw_bytes)
                self._unstored.discard(blob)
                offset += stored_bytes
            self._packs[name] = len(pack.data)
            now = self._statistics
            self._statistics = replace(
                now, bytes_stored=now.bytes_stored + len(pack.data), packs_written=now.packs_written + 1
            )
            self._storing = False
            self._turn.notify_all()


class PackBlobWriter:
    """One content stream of one worker, cut into frames."""

    def __init__(self, sink: PackWriter, compressor: FrameCompressor) -> None:
        self._sink = sink
        self._compressor: FrameCompressor | None = compressor
        self._frames: list[PendingBlob] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append raw bytes; they may be reused by the caller afterwards."""
        self._sink.check()
        compressor = self._open()
        view = memoryview(data).cast("B")
        while len(view):
            part, view = view[: compressor.room], view[compressor.room :]
            compressor.feed(part)
            if not compressor.room:
                self._frames.append(self._sink.add(compressor.finish()))

    def close(self) -> list[PendingBlob]:
        """Finish the stream and name its frames in order."""
        self._sink.check()
        compressor = self._open()
        if compressor.raw_bytes:
            self._frames.append(self._sink.add(compressor.finish()))
        self._end()
        return self._frames

    def abort(self) -> None:
        """Forget the open frame; frames that were finished may stay in the repository, unnamed by any
        manifest."""
        self._end()
        self._frames = []

    def _open(self) -> FrameCompressor:
        if self._compressor is None:
            raise StoreError("This stream is closed", hint="A defect of tui-backup: report it.")
        return self._compressor

    def _end(self) -> None:
        if self._compressor is not None:
            self._sink.give_back(self._compressor)
            self._compressor = None


class PackReader:
    """Reads frames of one tenant; thread-safe as its store is."""

    def __init__(self, store: Store, tenant_id: UUID) -> None:
        self._store = store
        self._tenant_id = tenant_id
        self._lock = threading.Lock()
        self._kept: dict[BlobRef, bytes] = {}
        self._kept_bytes = 0

    def read_blob(self, ref: BlobRef) -> bytes:
        """Fetch, check and decompress one frame.

        Raises:
            ObjectMissingError: the pack is not there.
            DamagedError: the content is not what was written.
        """
        return self._open(ref, self._taken(ref) or self._fetch(ref))

    def check_blobs(self, refs: Sequence[BlobRef]) -> None:
        """Make sure that frames, all in one pack, are what was written.

        Where most of the pack is wanted, the pack is read whole: when its bytes have the digest that is its name and
        its index says the same of the frames, they need not be decompressed. Otherwise each frame is fetched and
        hashed; a few of them are kept until they are read, so that a small table is fetched once.

        Raises:
            ObjectMissingError, DamagedError: of the first frame that is not what was written.
        """
        key = pack_key(self._tenant_id, refs[0].pack)
        said = self._store.stat(key)
        most_of_it = said is not None and sum(ref.stored_bytes for ref in refs) * 2 >= said.size_bytes
        if said is not None and most_of_it and self._pack_holds(key, said.size_bytes, refs):
            return
        for ref in refs:
            data = self._fetch(ref)
            self._open(ref, data)
            self._keep(ref, data)

    def _pack_holds(self, key: str, size: int, refs: Sequence[BlobRef]) -> bool:
        digest = hashlib.sha256()
        window = b""
        tail = b""
        for offset in range(0, size, _WINDOW_BYTES):
            before, window = window, self._store.get_range(key, offset, min(_WINDOW_BYTES, size - offset))
            digest.update(window)
            tail = before[-_TAIL_BYTES:] + window
        if digest.hexdigest() != refs[0].pack:
            return False
        try:
            length = index_bytes(tail[-INDEX_FOOT_BYTES:])
            spans = decode_index(tail[-length:]).spans() if length <= len(tail) else {}
        except FrameError:
            return False
        return all(spans.get((ref.id, ref.offset)) == (ref.stored_bytes, ref.raw_bytes) for ref in refs)

    def _fetch(self, ref: BlobRef) -> bytes:
        return self._store.get_range(pack_key(self._tenant_id, ref.pack), ref.offset, ref.stored_bytes)

    def _open(self, ref: BlobRef, data: bytes) -> bytes:
        try:
            raw = decompress(data, ref.raw_bytes)
        except FrameError as error:
            raise _damaged(ref, str(error), "damaged") from error
        if hashlib.sha256(raw).hexdigest() != ref.id:
            raise _damaged(ref, "it holds other content", "swapped")
        return raw

    def _keep(self, ref: BlobRef, data: bytes) -> None:
        with self._lock:
            if ref not in self._kept and self._kept_bytes + len(data) <= _KEPT_BYTES:
                self._kept[ref] = data
                self._kept_bytes += len(data)

    def _taken(self, ref: BlobRef) -> bytes | None:
        with self._lock:
            data = self._kept.pop(ref, None)
            self._kept_bytes -= len(data) if data is not None else 0
            return data


def _damaged(ref: BlobRef, reason: str, problem: str) -> DamagedError:
    return DamagedError(
        f"Frame {ref.id[:16]}… in pack {ref.pack[:16]}… at {ref.offset} is damaged: {reason}",
        details={"problem": problem, "pack": ref.pack, "blob": ref.id},
    )


def _fitting(frame_raw_bytes: int, max_object_bytes: int) -> int:
    """The frame size, made smaller where even an incompressible frame could exceed the store's limit."""
    while most_frame_bytes(frame_raw_bytes) + 1024 > max_object_bytes:
        frame_raw_bytes //= 2
        if frame_raw_bytes == 0:
            raise StoreError(
                f"The repository's limit of {max_object_bytes} bytes an object is too small",
                hint="Raise max_object_bytes of the repository to 1 MiB or more.",
            )
    return frame_raw_bytes
