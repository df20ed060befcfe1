"""Reading a backup's frames: whole files, chunk streams, and the check that all of them are there and intact."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TypeVar

from tui_backup.errors import DamagedError, TuiBackupError
from tui_backup.manifest import Blob, Chunk, Contents, StoredFile, Table
from tui_backup.model import BackupReader, BlobRef, ProgressReport, StopFlag

Item = TypeVar("Item")
Tool = TypeVar("Tool")


def blob_ref(blob: Blob) -> BlobRef:
    """The reader's name for a manifest's frame."""
    return BlobRef(
        id=blob.id,
        pack=blob.pack,
        offset=blob.offset,
        stored_bytes=blob.stored_bytes,
        raw_bytes=blob.raw_bytes,
    )


def read_frames(blobs: Iterable[Blob], reader: BackupReader) -> Iterator[bytes]:
    """The raw content of frames, in order; each is checked by the reader."""
    for blob in blobs:
        yield reader.read_blob(blob_ref(blob))


def chunk_frames(chunks: Iterable[Chunk]) -> list[Blob]:
    """All frames of several chunks, in order."""
    return [blob for chunk in chunks for blob in chunk.blobs]


def write_file(stored: StoredFile, reader: BackupReader, path: Path) -> None:
    """Write a stored file's content.

    Raises:
        DamagedError: its frames do not add up to its length.
    """
    written = 0
    with path.open("wb") as stream:
        for data in read_frames(stored.blobs, reader):
            written += stream.write(data)
    if written != stored.raw_bytes:
        raise DamagedError(f"A stored file has {written} bytes where the manifest says {stored.raw_bytes}.")


def check_chunks(
    contents: Contents,
    reader: BackupReader,
    tables: Sequence[Table],
    *,
    large_objects: bool,
    progress: ProgressReport,
    stop: StopFlag,
    workers: int = 2,
) -> int:
    """Fetch and verify every frame that a restore will need, before it touches its target.

    Next to nothing is kept, so the size of the backup does not matter; each frame is read and hashed again when it is
    loaded.

    Returns:
        Raw bytes checked.

    Raises:
        ObjectMissingError, DamagedError: the first frame that is not what was written, with what it belongs to.
    """
    streams = {f"{table.schema}.{table.name}": table.chunks for table in tables}
    if large_objects:
        streams["large objects"] = contents.large_objects.chunks
    wanted: dict[str, tuple[str, Blob]] = {}
    uses: Counter[str] = Counter()
    for label, chunks in streams.items():
        _check_lengths(label, chunks)
        for blob in chunk_frames(chunks):
            wanted.setdefault(blob.id, (label, blob))
            uses[blob.id] += 1
    for blob in contents.schema.blobs:
        wanted.setdefault(blob.id, ("the schema", blob))
    packs: dict[str, list[tuple[str, Blob]]] = {}
    for label, blob in sorted(wanted.values(), key=lambda item: item[1].offset):
        packs.setdefault(blob.pack, []).append((label, blob))

    def check(frames: Sequence[tuple[str, Blob]], flag: StopFlag) -> None:
        flag.check()
        try:
            reader.check_blobs([blob_ref(blob) for _, blob in frames])
        except TuiBackupError as error:
            named = error.details.get("blob")
            labels = [label for label, blob in frames if named in (None, blob.id)]
            error.details.setdefault("belongs_to", labels[0] if labels else frames[0][0])
            raise
        progress(bytes_=sum(blob.raw_bytes * uses[blob.id] for _, blob in frames))

    run_workers(list(packs.values()), check, workers=workers, stop=stop)
    return sum(blob.raw_bytes for _, blob in wanted.values())


def _check_lengths(label: str, chunks: Sequence[Chunk]) -> None:
    for number, chunk in enumerate(chunks):
        if sum(blob.raw_bytes for blob in chunk.blobs) != chunk.raw_bytes:
            raise DamagedError(f"The manifest contradicts itself about chunk {number} of {label}.")


def run_workers(items: Iterable[Item], work: Callable[[Item, StopFlag], None], *, workers: int, stop: StopFlag) -> None:
    """Do ``work`` for every item in several threads; the first failure stops the others and is raised."""

    def ignoring(_: None, item: Item, flag: StopFlag) -> None:
        work(item, flag)

    run_equipped_workers(items, lambda _: nullcontext(), ignoring, workers=workers, stop=stop)


def run_equipped_workers(
    items: Iterable[Item],
    equip: Callable[[StopFlag], AbstractContextManager[Tool]],
    work: Callable[[Tool, Item, StopFlag], None],
    *,
    workers: int,
    stop: StopFlag,
) -> None:
    """As :func:`run_workers`; each thread opens something of its own first, a connection for instance.

    Args:
        items: what to do, in this order as threads become free.
        equip: called once a thread with the flag that will stop it.
        work: called for each item with what ``equip`` gave.
        workers: threads, never more than items.
        stop: ends the work; its reason is raised.
    """
    waiting = list(items)
    queue = iter(waiting)
    lock = threading.Lock()
    flag = StopFlag()

    def take() -> Item | None:
        with lock:
            return None if flag.is_set else next(queue, None)

    def run() -> None:
        try:
            item = take()
            if item is None:
                return
            with equip(flag) as tool:
                while item is not None:
                    work(tool, item, flag)
                    item = take()
        except BaseException as error:  # noqa: BLE001 - carried to the caller's thread
            flag.set(error)

    count = min(workers, len(waiting))
    threads = [threading.Thread(target=run, name=f"restore-{number}", daemon=True) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():
            thread.join(0.05)
            if stop.reason is not None:
                flag.set(stop.reason)
    flag.check()
