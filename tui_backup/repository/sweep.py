"""Deleting a backup, and the packs that no backup needs any more."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import timedelta
from uuid import UUID

from tui_backup.errors import DamagedError, ObjectMissingError, RepositoryVersionError, TuiBackupError
from tui_backup.repository.holds import SWEEP_WORK_S, sweeping
from tui_backup.repository.keys import distrust_prefix, manifest_key, manifests_prefix, object_name, packs_prefix
from tui_backup.repository.manifests import distrusted_packs, list_manifests, read_manifest
from tui_backup.repository.store import Store
from tui_backup.repository.tenant_store import TenantStore

_LOG = logging.getLogger(__name__)
ORPHAN_GRACE = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Deletion:
    """What a deletion freed.

    Args:
        bytes_freed: size of the deleted objects.
        packs_deleted: how many packs went.
        kept_because: why packs that nobody needs were left for a later deletion; None when none was.
        left: every pack and manifest of the tenant that is still there, by :func:`object_name`; None where
            nobody looked.
    """

    bytes_freed: int = 0
    packs_deleted: int = 0
    kept_because: str | None = None
    left: frozenset[str] | None = None


def delete_backup(store: Store, tenant_id: UUID, job_id: UUID) -> Deletion:
    """Delete a backup: the manifest first, then the packs that no other manifest of the tenant names.

    From the manifest's end on the backup does not exist, whatever happens next. Packs are kept while any
    backup of the tenant runs, and while a manifest of the tenant cannot be read: then nobody knows what it
    names. They go with a later deletion, at the latest with one a day after.

    Returns:
        What was freed. A backup that is not there frees nothing and is no error.
    """
    store = TenantStore(store, tenant_id)
    key = manifest_key(tenant_id, job_id)
    there = store.stat(key)
    packs: set[str] = set()
    if there is not None:
        try:
            packs = _packs_of(store, tenant_id, job_id)
        except (DamagedError, ObjectMissingError, RepositoryVersionError) as error:
            _LOG.warning("its packs are left to the next sweep: %s", error.message)
        store.delete(key)
    try:
        swept = sweep(store, tenant_id, packs)
    except TuiBackupError as error:
        # the backup is gone, and whoever asked must hear that: its packs go with a later deletion
        _LOG.warning("%d packs stay in %s: %s", len(packs), store.location, error.message)
        swept = Deletion(kept_because=error.message)
    freed = there.size_bytes if there is not None else 0
    return replace(swept, bytes_freed=swept.bytes_freed + freed)


def sweep(store: Store, tenant_id: UUID, candidates: Collection[str] = ()) -> Deletion:
    """Delete packs that no manifest of the tenant names.

    Args:
        store: the repository.
        tenant_id: whose packs.
        candidates: packs to delete at once if nobody names them; others only when older than a day, as they
        may be
            of a run that put no hold.
    """
    with sweeping(store, tenant_id) as (held_by, now):
        if held_by:
            return Deletion(kept_because=f"a backup is running (job {', '.join(held_by)})")
        try:
            named = _named_packs(store, tenant_id)
        except (DamagedError, RepositoryVersionError) as error:
            return Deletion(kept_because=error.message)
        distrusted = distrusted_packs(store, tenant_id)
        bytes_freed = packs_deleted = 0
        # by both clocks: the monotonic one stands still while a machine sleeps, and others go by the time of the day
        give_up_at, give_up_time = time.monotonic() + SWEEP_WORK_S, time.time() + SWEEP_WORK_S
        there = list(store.list(packs_prefix(tenant_id)))
        left = {object_name(tenant_id, found.key) for found in (*there, *store.list(manifests_prefix(tenant_id)))}
        for found in there:
            pack = found.key.rsplit("/", 1)[-1]
            old = now and found.modified_at and now - found.modified_at > ORPHAN_GRACE
            if pack in named or not (old or pack in candidates):
                continue
            if time.monotonic() > give_up_at or time.time() > give_up_time:
                late = "it took too long; the rest goes next time"
                return Deletion(bytes_freed, packs_deleted, late, frozenset(left))
            store.delete(found.key)
            left.remove(object_name(tenant_id, found.key))
            if pack in distrusted:
                store.delete(distrust_prefix(tenant_id) + pack)
            bytes_freed += found.size_bytes
            packs_deleted += 1
        return Deletion(bytes_freed, packs_deleted, left=frozenset(left))


def discard(store: Store, tenant_id: UUID, packs: Collection[str]) -> None:
    """Take away what a failed run has put; where that fails too, a later sweep does it."""
    try:
        swept = sweep(store, tenant_id, packs)
    except TuiBackupError as error:
        _LOG.warning("%d packs of a failed run stay in %s: %s", len(packs), store.location, error.message)
        return
    if swept.kept_because:
        _LOG.info("packs of a failed run stay for now: %s", swept.kept_because)


def _named_packs(store: Store, tenant_id: UUID) -> set[str]:
    named: set[str] = set()
    for entry in list_manifests(store, tenant_id):
        try:
            named |= _packs_of(store, tenant_id, entry.job_id)
        except ObjectMissingError:
            # another deletion took it in the meantime
            continue
    return named


def _packs_of(store: Store, tenant_id: UUID, job_id: UUID) -> set[str]:
    manifest = read_manifest(store, tenant_id, job_id)
    return {blob.pack for _, blob in manifest.contents.all_blobs()}
