"""Manifests in a repository: written last, so that a backup without one does not exist."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from tui_backup.errors import DamagedError, ObjectMissingError, RepositoryVersionError
from tui_backup.manifest import Manifest
from tui_backup.model import BlobRef
from tui_backup.repository.format import decode_manifest, encode_manifest, ref_of
from tui_backup.repository.keys import (
    MANIFEST_SUFFIX,
    distrust_prefix,
    manifest_key,
    manifests_prefix,
    packs_prefix,
)
from tui_backup.repository.store import ObjectStat, Store

_LOG = logging.getLogger(__name__)
_MOST_LOOKED_AT = 50
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class ManifestEntry:
    """A backup that exists in a repository."""

    job_id: UUID
    size_bytes: int
    modified_at: datetime | None


def write_manifest(store: Store, manifest: Manifest) -> ObjectStat:
    """Make a backup exist: check that its packs are there, put the manifest, read it back and compare.

    Returns:
        What the store says of the manifest, its SHA-256 included.

    Raises:
        DamagedError: a pack is missing or too short, or another manifest has this job's name.
    """
    tenant_id, job_id = manifest.job.tenant_id, manifest.job.id
    _require_packs(store, manifest)
    data = encode_manifest(manifest)
    key = manifest_key(tenant_id, job_id)
    said = store.put(key, data)
    if store.get(key) != data:
        store.delete(key)
        raise DamagedError(
            f"{store.location} does not give back the manifest of job {job_id}",
            hint="The store is faulty. The backup does not count.",
        )
    return said


def read_manifest(store: Store, tenant_id: UUID, job_id: UUID) -> Manifest:
    """Read one backup's manifest.

    Raises:
        ObjectMissingError: there is no such backup in this repository.
        DamagedError: it is damaged or another one's.
        RepositoryVersionError: a newer program wrote it.
    """
    data = store.get(manifest_key(tenant_id, job_id))
    return decode_manifest(data, tenant_id=tenant_id, job_id=job_id)


def finished_earlier(store: Store, tenant_id: UUID, job_id: UUID) -> Manifest | None:
    """The manifest that an earlier attempt of a job wrote before it died, when everything it names is there.

    One whose packs are not there counts for nothing (its put was answered late, and the run that thought it had failed
    has taken its packs away); it is removed, so that the backup can be made.

    Raises:
        DamagedError: it cannot be read.
    """
    if store.stat(manifest_key(tenant_id, job_id)) is None:
        return None
    manifest = read_manifest(store, tenant_id, job_id)
    try:
        _require_packs(store, manifest)
    except DamagedError as error:
        _LOG.warning("the manifest of job %s is removed: %s", job_id, error.message)
        store.delete(manifest_key(tenant_id, job_id))
        return None
    return manifest


def list_manifests(store: Store, tenant_id: UUID) -> Iterator[ManifestEntry]:
    """A tenant's backups, by what is stored and not by what a catalog says."""
    for found in store.list(manifests_prefix(tenant_id)):
        name = found.key.rsplit("/", 1)[-1]
        try:
            job_id = UUID(name.removesuffix(MANIFEST_SUFFIX))
        except ValueError:
            _LOG.warning("%s in %s is no manifest of ours", found.key, store.location)
            continue
        yield ManifestEntry(job_id, found.size_bytes, found.modified_at)


def earlier_manifests(
    store: Store, tenant_id: UUID, source_name: str, also: Iterable[UUID] = (), newest: int = 5
) -> list[Manifest]:
    """The newest backups of a source, the newest first, and others that are asked for by their jobs.

    Those that cannot be read are left out.

    Args:
        store: the repository.
        tenant_id: whose backups.
        source_name: only backups of this source are looked at.
        also: further jobs, whatever their source was called then.
        newest: how many.
    """
    found = _newest_of(store, tenant_id, source_name, newest)
    for job_id in also:
        if all(manifest.job.id != job_id for manifest in found):
            manifest = _read_if_whole(store, tenant_id, job_id)
            found += [manifest] if manifest else []
    return found


def known_blobs(store: Store, tenant_id: UUID, manifests: Sequence[Manifest]) -> dict[str, BlobRef]:
    """The frames of earlier backups that need not be written again.

    A frame counts only while its pack is listed, is long enough, and no check has found it damaged. To be
    called while a hold is in place (:mod:`tui_backup.repository.holds`), or a deletion could take the packs
    away.

    Args:
        store: the repository.
        tenant_id: whose backups.
        manifests: of the earlier backups, the newest first.
    """
    if not manifests:
        return {}
    sizes = pack_sizes(store, tenant_id)
    distrusted = distrusted_packs(store, tenant_id)
    found: dict[str, BlobRef] = {}
    # the newest first: where a frame is in several packs, its latest place is taken
    for manifest in manifests:
        for _, blob in manifest.contents.all_blobs():
            whole = blob.offset + blob.stored_bytes <= sizes.get(blob.pack, 0)
            if whole and blob.pack not in distrusted and blob.id not in found:
                found[blob.id] = ref_of(blob)
    return found


def pack_sizes(store: Store, tenant_id: UUID) -> dict[str, int]:
    """Every pack of a tenant with its size in bytes."""
    return {found.key.rsplit("/", 1)[-1]: found.size_bytes for found in store.list(packs_prefix(tenant_id))}


def distrusted_packs(store: Store, tenant_id: UUID) -> set[str]:
    """The packs that a check found damaged."""
    return {found.key.rsplit("/", 1)[-1] for found in store.list(distrust_prefix(tenant_id))}


def _newest_of(store: Store, tenant_id: UUID, source_name: str, newest: int) -> list[Manifest]:
    entries = sorted(list_manifests(store, tenant_id), key=lambda entry: entry.modified_at or _LONG_AGO, reverse=True)
    found: list[Manifest] = []
    for entry in entries[:_MOST_LOOKED_AT]:
        if len(found) >= newest:
            break
        manifest = _read_if_whole(store, tenant_id, entry.job_id)
        if manifest is not None and manifest.job.source_name == source_name:
            found.append(manifest)
    return found


def _read_if_whole(store: Store, tenant_id: UUID, job_id: UUID) -> Manifest | None:
    try:
        return read_manifest(store, tenant_id, job_id)
    except (DamagedError, ObjectMissingError, RepositoryVersionError) as error:
        # it only means that more is written anew
        _LOG.warning("not used to save space: %s", error.message)
        return None


def _require_packs(store: Store, manifest: Manifest) -> None:
    sizes = pack_sizes(store, manifest.job.tenant_id)
    for label, blob in manifest.contents.all_blobs():
        if blob.offset + blob.stored_bytes > sizes.get(blob.pack, 0):
            raise DamagedError(
                f"A pack of {label} has vanished from {store.location} during the backup",
                hint="Does another program delete there (a lifecycle rule, a clean-up job)? Run the backup again.",
                details={"pack": blob.pack, "problem": "missing" if blob.pack not in sizes else "truncated"},
            )
