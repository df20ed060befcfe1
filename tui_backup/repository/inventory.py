"""What a tenant's part of a repository really holds, and to which backup each object belongs."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from tui_backup.errors import DamagedError, ObjectMissingError, RepositoryVersionError
from tui_backup.manifest import Manifest
from tui_backup.model import StopFlag
from tui_backup.repository.keys import manifest_key, manifests_prefix, object_name, pack_key, packs_prefix
from tui_backup.repository.manifests import list_manifests, pack_sizes, read_manifest
from tui_backup.repository.store import Store

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Inventory:
    """Every pack and manifest of a tenant, by :func:`tui_backup.repository.keys.object_name`.

    Args:
        sizes: bytes of each object.
        owners: the oldest backup that names it; an object that none names is not in it.
        source_names: the source of each backup, as its manifest calls it.
        unreadable: manifests that could not be read; what only they name has no owner.
    """

    sizes: Mapping[str, int]
    owners: Mapping[str, UUID]
    source_names: Mapping[UUID, str] = field(default_factory=dict[UUID, str])
    unreadable: int = 0


def take_inventory(store: Store, tenant_id: UUID, stop: StopFlag | None = None) -> Inventory:
    """List a tenant's objects and read its manifests; changes nothing.

    Args:
        store: the repository.
        tenant_id: whose objects.
        stop: ends it with its reason.
    """
    # packs first: one that a backup puts meanwhile is then missing here and not without an owner
    sizes = {object_name(tenant_id, each.key): each.size_bytes for each in store.list(packs_prefix(tenant_id))}
    sizes |= {object_name(tenant_id, each.key): each.size_bytes for each in store.list(manifests_prefix(tenant_id))}
    owners: dict[str, UUID] = {}
    named: list[tuple[datetime, UUID, str, set[str]]] = []
    unreadable = 0
    for entry in list_manifests(store, tenant_id):
        if stop is not None:
            stop.check()
        owners[object_name(tenant_id, manifest_key(tenant_id, entry.job_id))] = entry.job_id
        try:
            manifest = read_manifest(store, tenant_id, entry.job_id)
        except ObjectMissingError:
            # a deletion took it in the meantime
            continue
        except (DamagedError, RepositoryVersionError) as error:
            _LOG.warning("what belongs to backup %s is not known: %s", entry.job_id, error.message)
            unreadable += 1
            continue
        job = manifest.job
        named.append((job.completed_at, job.id, job.source_name, _names(tenant_id, manifest)))
    for _, job_id, _, names in sorted(named, key=lambda each: each[:2]):
        for name in names & sizes.keys():
            owners.setdefault(name, job_id)
    return Inventory(sizes, owners, {job_id: source for _, job_id, source, _ in named}, unreadable)


def objects_of(store: Store, manifest: Manifest) -> dict[str, int]:
    """The objects that one backup consists of, with their sizes; those that are not there are left out."""
    tenant_id, job_id = manifest.job.tenant_id, manifest.job.id
    packs = {
        object_name(tenant_id, pack_key(tenant_id, pack)): size for pack, size in pack_sizes(store, tenant_id).items()
    }
    found = {name: packs[name] for name in _names(tenant_id, manifest) if name in packs}
    there = store.stat(manifest_key(tenant_id, job_id))
    if there is not None:
        found[object_name(tenant_id, there.key)] = there.size_bytes
    return found


def _names(tenant_id: UUID, manifest: Manifest) -> set[str]:
    packs = {blob.pack for _, blob in manifest.contents.all_blobs()}
    return {object_name(tenant_id, pack_key(tenant_id, pack)) for pack in packs}
