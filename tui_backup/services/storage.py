"""What the backups of each source hold and what they take up, and the counting that puts it right.

The catalog keeps a ledger of stored objects (the agent writes it), so that no store is asked here; only
:func:`measure_storage` lists the repositories.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from tui_backup.errors import PermissionRefusedError
from tui_backup.model import Repository
from tui_backup.services.repositories import get_repositories
from tui_backup.services.session import Session
from tui_backup.services.sources import get_sources
from tui_backup.services.stored import open_repository, storage_allows

if TYPE_CHECKING:
    from tui_backup.repository.inventory import Inventory


@dataclass(frozen=True, slots=True)
class SourceStorage:
    """One source's backups, or all of them. All sizes are in bytes.

    Args:
        source_name: None for what a removed source has left behind, and for the total.
        good_backups: completed, there, and not found damaged.
        newest_bytes: uncompressed content of the newest good backup; None where there is none.
        logical_bytes: that of all good backups, added up.
        stored_bytes: in the repositories; what several backups share is counted once, for the source that put it.
        ratio: logical to stored; None where either is nothing.
    """

    source_name: str | None
    good_backups: int
    newest_bytes: int | None
    logical_bytes: int
    stored_bytes: int
    ratio: float | None


@dataclass(frozen=True, slots=True)
class Storage:
    """Every source by name, and the sums."""

    sources: Sequence[SourceStorage]
    total: SourceStorage


@dataclass(frozen=True, slots=True)
class MeasuredRepository:
    """What counting one repository's objects has shown.

    Args:
        repository_name: which one.
        objects: packs and manifests that belong to backups.
        bytes: their size.
        corrected_bytes: by how much that differs from what was known before.
        unclaimed_bytes: of packs that belong to no backup, left behind by runs that failed; a deletion takes them away
            when they are a day old.
        unreadable_manifests: backups of which nobody knows what belongs to them.
    """

    repository_name: str
    objects: int
    bytes: int
    corrected_bytes: int
    unclaimed_bytes: int
    unreadable_manifests: int


async def get_storage(session: Session) -> Storage:
    """What the backups of each source of our tenant hold and take up."""
    found = [
        SourceStorage(
            source_name=row["source_name"],
            good_backups=row["good_backups"],
            newest_bytes=row["newest_bytes"],
            logical_bytes=row["logical_bytes"],
            stored_bytes=row["stored_bytes"],
            ratio=_ratio(row["logical_bytes"], row["stored_bytes"]),
        )
        for row in await session.catalog.rows("storage")
    ]
    logical, stored = sum(each.logical_bytes for each in found), sum(each.stored_bytes for each in found)
    newest = [each.newest_bytes for each in found if each.newest_bytes is not None]
    backups = sum(each.good_backups for each in found)
    total = SourceStorage(None, backups, sum(newest) if newest else None, logical, stored, _ratio(logical, stored))
    return Storage(found, total)


def _ratio(logical: int, stored: int) -> float | None:
    return round(logical / stored, 2) if logical and stored else None


async def measure_storage(session: Session) -> list[MeasuredRepository]:
    """List every repository, read its manifests, and put the catalog's ledger right.

    Raises:
        PermissionRefusedError: only an admin may.
        StoreError, RefusedError: a repository cannot be read from here.
    """
    if not await storage_allows(session, "view"):
        raise PermissionRefusedError("Only an admin of the tenant may measure its repositories.")
    return [await _measure(session, repository) for repository in await get_repositories(session)]


async def _measure(session: Session, repository: Repository) -> MeasuredRepository:
    from tui_backup.repository.inventory import take_inventory

    asked_at = (await session.catalog.one("catalog_clock"))["now"]
    before = await _known_bytes(session, repository)

    def look() -> Inventory:
        with open_repository(repository) as store:
            return take_inventory(store, repository.tenant_id)

    inventory = await asyncio.to_thread(look)
    owners = await _sources_of(session, repository, inventory)
    names = list(inventory.sizes)
    after = await session.catalog.one(
        "correct_stored_objects",
        {
            "repository": repository.id,
            "asked_at": asked_at,
            "names": names,
            "sources": [owners.get(inventory.owners[name]) if name in inventory.owners else None for name in names],
            "bytes": list(inventory.sizes.values()),
        },
    )
    return MeasuredRepository(
        repository_name=repository.repository_name,
        objects=after["known_objects"],
        bytes=after["known_bytes"],
        corrected_bytes=after["known_bytes"] - before,
        unclaimed_bytes=max(0, sum(inventory.sizes.values()) - after["known_bytes"]),
        unreadable_manifests=inventory.unreadable,
    )


async def _known_bytes(session: Session, repository: Repository) -> int:
    return (await session.catalog.one("repository_size", {"id": repository.id}))["bytes"]


async def _sources_of(session: Session, repository: Repository, inventory: Inventory) -> Mapping[UUID, UUID]:
    """The source of each backup: as the catalog's job says, or by its name where the catalog has lost the job."""
    by_name = {source.source_name: source.id for source in await get_sources(session)}
    jobs = list({*inventory.owners.values()})
    rows = {row["id"]: row for row in await session.catalog.rows("owners_of_backups", {"ids": jobs})}
    found: dict[UUID, UUID] = {}
    for job in jobs:
        if job not in rows:
            if source := by_name.get(inventory.source_names.get(job, "")):
                found[job] = source
        elif rows[job]["repository_id"] == repository.id:
            # two rows may name one place; each object is the one's whose backup it is
            found[job] = rows[job]["source_id"]
    return found
