"""Opens what catalog rows point at."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tui_backup.catalog.passfile import passfile_for
from tui_backup.config import Config
from tui_backup.errors import NotFoundError
from tui_backup.manifest import Manifest
from tui_backup.repository.manifests import read_manifest
from tui_backup.repository.open import load_config, open_store
from tui_backup.repository.packs import PackReader
from tui_backup.repository.store import Store


def open_repository(row: Mapping[str, Any] | None) -> Store:
    """Open and check the store of a repositories row.

    Raises:
        StoreError: it is missing, full, read-only or does not answer.
        StorePublicError: others can read it.
        RepositoryVersionError: a newer program wrote it.
    """
    if row is None:
        raise NotFoundError("The backup's repository is not in the catalog any more.")
    store = open_store(row["location"], max_object_bytes=row["max_object_bytes"])
    try:
        store.check()
        load_config(store)
    except BaseException:
        store.close()
        raise
    return store


def password_file(config: Config, source: Mapping[str, Any]) -> Path | None:
    """The product's passfile where it holds this source's password; libpq's own places count otherwise."""
    return passfile_for(config.passfile, source["conninfo"])


@dataclass(frozen=True, slots=True)
class OpenBackup:
    """A backup's manifest and where its frames are."""

    store: Store
    manifest: Manifest
    reader: PackReader

    @property
    def stored_bytes(self) -> int:
        """Bytes of all its frames as stored, each counted once."""
        return sum({blob.id: blob.stored_bytes for _, blob in self.manifest.contents.all_blobs()}.values())


@contextlib.contextmanager
def open_backup(job: Mapping[str, Any], repository: Mapping[str, Any] | None) -> Generator[OpenBackup]:
    """Open the repository of a completed job and read its manifest.

    Raises:
        ObjectMissingError: there is no manifest.
        DamagedError: it cannot be read.
    """
    store = open_repository(repository)
    try:
        tenant = job["tenant_id"]
        yield OpenBackup(store, read_manifest(store, tenant, job["id"]), PackReader(store, tenant))
    finally:
        store.close()
