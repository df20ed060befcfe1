"""Reading a whole backup back, and saying what of it is damaged.

Every byte of every pack is read and hashed: a pack's name is the digest of its bytes, and the index at its
end (covered by that digest) says which frame lies where, so a pack that agrees holds exactly what was
written, frame by frame, and nothing need be decompressed to know it. Where a pack disagrees, each frame of
this backup in it is decompressed and hashed, so that what is still whole is not called lost. ``deep`` does
that for all frames.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from tui_backup.errors import DamagedError, ObjectMissingError, StoreError, TuiBackupError
from tui_backup.manifest import Blob, Manifest
from tui_backup.model import BlobRef, ProgressReport, StopFlag
from tui_backup.repository.format import ref_of
from tui_backup.repository.frames import INDEX_FOOT_BYTES, FrameError, decode_index, index_bytes
from tui_backup.repository.keys import distrust_prefix, pack_key
from tui_backup.repository.manifests import pack_sizes
from tui_backup.repository.packs import PackReader
from tui_backup.repository.store import Store

_LOG = logging.getLogger(__name__)
_WINDOW_BYTES = 4 * 1024 * 1024
_TAIL_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class FilesReport:
    """What a check of the files found.

    Args:
        bytes_read: from the store.
        packs: how many packs the backup lies in.
        blobs: how many frames it has (each counted once).
        problems: one dict a frame with ``kind`` (missing, truncated, damaged, swapped), ``pack``, ``blob``,
            ``belongs_to`` (names of tables and the like) and ``reason``; ordered by pack and place.
    """

    bytes_read: int
    packs: int
    blobs: int
    problems: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    @property
    def is_whole(self) -> bool:
        """Whether everything is as it was written."""
        return not self.problems


class _PackJob:
    """What this backup expects of one pack."""

    def __init__(self, pack: str) -> None:
        self.pack = pack
        self.owners: dict[BlobRef, list[str]] = {}

    def add(self, label: str, blob: Blob) -> None:
        owners = self.owners.setdefault(ref_of(blob), [])
        if label not in owners:
            owners.append(label)

    @property
    def refs(self) -> list[BlobRef]:
        return sorted(self.owners, key=lambda ref: ref.offset)


def verify_files(
    store: Store,
    manifest: Manifest,
    *,
    progress: ProgressReport | None = None,
    stop: StopFlag | None = None,
    workers: int = 2,
    deep: bool = False,
) -> FilesReport:
    """Read every pack of a backup and name each frame that is not what was written.

    Args:
        store: where the backup lies.
        manifest: what it consists of.
        progress: told the bytes read.
        stop: ends the check with its reason.
        workers: packs read at a time; each takes about 10 MiB of memory.
        deep: decompress and hash every frame as well, also in packs whose digest agrees.

    Raises:
        StoreUnavailableError, StoreDeniedError: the store could not be asked, which proves nothing about the
        backup.
    """
    jobs = _jobs_of(manifest)
    tenant_id = manifest.job.tenant_id
    sizes = pack_sizes(store, tenant_id)
    check = _Check(store, tenant_id, sizes, stop or StopFlag(), progress, deep=deep)
    if progress is not None:
        progress(phase="verify", bytes_total=sum(sizes.get(job.pack, 0) for job in jobs))
    with ThreadPoolExecutor(max_workers=workers, thread_name_prefix="verify") as pool:
        tasks = [pool.submit(check.pack, job) for job in jobs]
        try:
            problems = [problem for task in tasks for problem in task.result()]
        except BaseException:
            for task in tasks:
                task.cancel()
            check.give_up()
            raise
    _distrust(store, tenant_id, problems)
    return FilesReport(check.bytes_read, len(jobs), sum(len(job.owners) for job in jobs), problems)


def _jobs_of(manifest: Manifest) -> list[_PackJob]:
    jobs: dict[str, _PackJob] = {}
    for label, blob in manifest.contents.all_blobs():
        jobs.setdefault(blob.pack, _PackJob(blob.pack)).add(label, blob)
    return [jobs[pack] for pack in sorted(jobs)]


class _Check:
    """One check of one backup; its methods run in several threads."""

    def __init__(
        self,
        store: Store,
        tenant_id: UUID,
        sizes: dict[str, int],
        stop: StopFlag,
        progress: ProgressReport | None,
        *,
        deep: bool,
    ) -> None:
        self._store = store
        self._tenant_id = tenant_id
        self._sizes = sizes
        self._stop = stop
        self._progress = progress
        self._deep = deep
        self._reader = PackReader(store, tenant_id)
        self._lock = threading.Lock()
        self._given_up = False
        self.bytes_read = 0

    def give_up(self) -> None:
        """Make the other threads end at their next block."""
        self._given_up = True

    def pack(self, job: _PackJob) -> list[dict[str, Any]]:
        """Check one pack; the problems of this backup's frames in it."""
        if job.pack not in self._sizes:
            return [_problem("missing", ref, job, "the pack is not there") for ref in job.refs]
        try:
            digest = self._digest(job.pack)
        except ObjectMissingError:
            return [_problem("missing", ref, job, "the pack vanished during the check") for ref in job.refs]
        except DamagedError:
            # it became shorter since it was listed
            digest = ""
        except StoreError as error:
            if type(error) is not StoreError:
                raise
            # the disk cannot read all of it: find out which frames it can
            digest = ""
        if digest == job.pack and not self._deep:
            return self._against_index(job)
        found = [problem for ref in job.refs if (problem := self._frame(ref, job, digest)) is not None]
        if digest != job.pack and not found:
            _LOG.warning("pack %s is damaged, but not where this backup lies in it", job.pack)
        return found

    def _digest(self, pack: str) -> str:
        digest = hashlib.sha256()
        for block in self._blocks(pack):
            digest.update(block)
        return digest.hexdigest()

    def _blocks(self, pack: str) -> Iterator[bytes]:
        size = self._sizes[pack]
        for offset in range(0, size, _WINDOW_BYTES):
            self._stop.check()
            if self._given_up:
                return
            yield self._read(pack, offset, min(_WINDOW_BYTES, size - offset))

    def _read(self, pack: str, offset: int, length: int) -> bytes:
        data = self._store.get_range(pack_key(self._tenant_id, pack), offset, length)
        with self._lock:
            self.bytes_read += len(data)
        if self._progress is not None:
            self._progress(bytes_=len(data))
        return data

    def _against_index(self, job: _PackJob) -> list[dict[str, Any]]:
        """Hold what the manifest says of a whole pack against what the pack says of itself."""
        size = self._sizes[job.pack]
        key = pack_key(self._tenant_id, job.pack)
        tail = self._store.get_range(key, max(0, size - _TAIL_BYTES), min(size, _TAIL_BYTES))
        try:
            length = index_bytes(tail[-INDEX_FOOT_BYTES:])
            if length > len(tail):
                tail = self._store.get_range(key, max(0, size - length), min(size, length))
            spans = decode_index(tail[-length:]).spans()
        except FrameError as error:
            _LOG.warning("pack %s has no index (%s); its frames are read one by one", job.pack, error)
            return [p for ref in job.refs if (p := self._frame(ref, job, job.pack)) is not None]
        return [
            _problem("swapped", ref, job, "the pack holds something else at this place")
            for ref in job.refs
            if spans.get((ref.id, ref.offset)) != (ref.stored_bytes, ref.raw_bytes)
        ]

    def _frame(self, ref: BlobRef, job: _PackJob, digest: str) -> dict[str, Any] | None:
        self._stop.check()
        if ref.offset + ref.stored_bytes > self._sizes[ref.pack]:
            return _problem("truncated", ref, job, f"the pack ends at {self._sizes[ref.pack]} bytes")
        try:
            self._reader.read_blob(ref)
        except ObjectMissingError:
            return _problem("missing", ref, job, "the pack vanished during the check")
        except DamagedError as error:
            kind = str(error.details.get("problem", "damaged"))
            # a whole pack under another one's name: its frames do not start where these should
            if kind == "damaged" and digest != ref.pack and digest in self._sizes:
                return _problem("swapped", ref, job, f"the file is pack {digest}")
            return _problem(kind, ref, job, error.message)
        except StoreError as error:
            if type(error) is not StoreError:
                raise
            return _problem("damaged", ref, job, error.message)
        return None


def _problem(kind: str, ref: BlobRef, job: _PackJob, reason: str) -> dict[str, Any]:
    return {
        "kind": kind,
        "pack": ref.pack,
        "blob": ref.id,
        "belongs_to": job.owners[ref],
        "reason": reason,
    }


def _distrust(store: Store, tenant_id: UUID, problems: list[dict[str, Any]]) -> None:
    """Mark damaged packs, so that the next backup writes their frames anew instead of counting on them."""
    for pack in sorted({problem["pack"] for problem in problems if problem["kind"] != "missing"}):
        try:
            store.put(distrust_prefix(tenant_id) + pack, pack.encode())
        except TuiBackupError as error:
            # a check may be made with read-only rights
            _LOG.warning("pack %s could not be marked as damaged: %s", pack, error.message)
