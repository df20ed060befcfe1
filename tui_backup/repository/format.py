"""A manifest as bytes: JSON in one zstd frame with a checksum. The contract is FORMAT.md."""

from __future__ import annotations

from uuid import UUID

import msgspec

from tui_backup.errors import DamagedError, RepositoryVersionError
from tui_backup.manifest import FORMAT_VERSION, Blob, Manifest
from tui_backup.model import BlobRef
from tui_backup.repository.frames import FrameError, compress_whole, decompress_whole

_LEVEL = 3
_MAX_RAW_BYTES = 2 * 1024**3


class _VersionOnly(msgspec.Struct, frozen=True):
    format_version: int


def encode_manifest(manifest: Manifest) -> bytes:
    """The stored form."""
    return compress_whole(msgspec.json.encode(manifest), _LEVEL)


def decode_manifest(data: bytes, *, tenant_id: UUID, job_id: UUID) -> Manifest:
    """Read the stored form, and hold it against the place where it lay.

    Args:
        data: the object's bytes.
        tenant_id: whose folder it was in.
        job_id: the job in its name.

    Raises:
        DamagedError: truncated, flipped, not a manifest, or the manifest of another job or tenant.
        RepositoryVersionError: a newer program wrote it.
    """
    try:
        raw = decompress_whole(data, _MAX_RAW_BYTES)
        version = msgspec.json.decode(raw, type=_VersionOnly).format_version
        if version > FORMAT_VERSION:
            raise RepositoryVersionError(
                f"The manifest of job {job_id} has format {version}; this program knows {FORMAT_VERSION}",
                details={"job_id": str(job_id), "format_version": version},
            )
        manifest = msgspec.json.decode(raw, type=Manifest)
    except (FrameError, msgspec.MsgspecError) as error:
        raise _damaged(job_id, str(error), "damaged") from error
    if manifest.job.id != job_id or manifest.job.tenant_id != tenant_id:
        raise _damaged(job_id, f"it is the manifest of job {manifest.job.id}", "swapped")
    return manifest


def blob_of(ref: BlobRef) -> Blob:
    """The manifest's form of a reference."""
    return Blob(ref.id, ref.pack, ref.offset, ref.stored_bytes, ref.raw_bytes)


def ref_of(blob: Blob) -> BlobRef:
    """The reader's form of a manifest's blob."""
    return BlobRef(blob.id, blob.pack, blob.offset, blob.stored_bytes, blob.raw_bytes)


def _damaged(job_id: UUID, reason: str, problem: str) -> DamagedError:
    return DamagedError(
        f"The manifest of job {job_id} is damaged: {reason}",
        hint="This backup cannot be restored. Choose another one, or another copy of the repository.",
        details={"job_id": str(job_id), "problem": problem},
    )
