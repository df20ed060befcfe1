"""Reading what is stored of a backup, always under the session's own tenant."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tui_backup.errors import JobStateError
from tui_backup.model import BackupJob, JobStatus, Repository
from tui_backup.services.session import Session

if TYPE_CHECKING:
    from tui_backup.manifest import Manifest
    from tui_backup.repository.packs import PackReader
    from tui_backup.repository.store import Store


@dataclass(frozen=True, slots=True)
class StoredBackup:
    """A manifest and the reader of its frames."""

    store: Store
    manifest: Manifest
    reader: PackReader


def check_restorable(job: BackupJob) -> None:
    """Refuse a job that is no backup (yet, or any more).

    Raises:
        JobStateError: it is not completed, or its files were deleted.
    """
    if job.status is not JobStatus.COMPLETED:
        raise JobStateError(f"The job is {job.status}, not completed: there is no backup to read.")
    if job.deleted_at is not None:
        raise JobStateError("The files of this backup were deleted.", hint="Choose another backup.")


async def storage_allows(session: Session, action: str) -> bool:
    """Whether the catalog's storage rules let us do this with our tenant's files.

    Args:
        session: open.
        action: ``upload``, ``view`` or ``delete``.
    """
    row = await session.catalog.row("may_use_storage", {"action": action})
    return bool(row and row["allowed"])


@contextmanager
def open_repository(repository: Repository) -> Generator[Store]:
    """The store of a repository, checked; blocking.

    Raises:
        StoreError: it is missing, denied, full or does not answer.
        RefusedError: others can read it, or a newer program wrote it.
    """
    # boto3 takes long to import: only who touches a store pays for it
    from tui_backup.repository.open import load_config, open_store

    store = open_store(repository.location, max_object_bytes=repository.max_object_bytes)
    try:
        store.check()
        load_config(store)
        yield store
    finally:
        store.close()


@contextmanager
def opened_backup(repository: Repository, job: BackupJob) -> Generator[StoredBackup]:
    """The manifest of a backup and a reader for it; blocking.

    Raises:
        ObjectMissingError: there is no manifest.
        DamagedError: it cannot be read.
        StoreError: as :func:`open_repository`.
    """
    from tui_backup.repository.manifests import read_manifest
    from tui_backup.repository.packs import PackReader

    with open_repository(repository) as store:
        manifest = read_manifest(store, job.tenant_id, job.id)
        yield StoredBackup(store, manifest, PackReader(store, job.tenant_id))
