"""The names of objects in a repository, made from ids and digests only, never from what a user typed."""

from __future__ import annotations

import re
from uuid import UUID

from tui_backup.errors import RefusedError, StoreError

CONFIG_KEY = "config"
MANIFEST_SUFFIX = ".json.zst"

_PART = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}")
_MAX_KEY_CHARS = 700


def check_key(key: str) -> list[str]:
    """Cut a key into its parts.

    Raises:
        StoreError: it could leave the repository, or not every store could hold it.
    """
    parts = key.split("/")
    if len(key) > _MAX_KEY_CHARS or not all(_PART.fullmatch(part) for part in parts):
        raise StoreError(f"{key[:80]!r} is no name for an object", hint="A defect of tui-backup: report it.")
    return parts


def check_prefix(prefix: str) -> tuple[list[str], str]:
    """Cut a prefix into whole parts and the beginning of the next one (which may be empty).

    Raises:
        StoreError: no key can start with it.
    """
    *folders, start = prefix.split("/")
    if folders:
        check_key("/".join(folders))
    if start:
        check_key(start)
    return folders, start


def tenant_prefix(tenant_id: UUID) -> str:
    """Under it lies everything that is a tenant's."""
    return f"{tenant_id}/"


def check_tenant_key(tenant_id: UUID, key: str) -> None:
    """Make sure that a key, or a prefix of keys, lies under a tenant's prefix.

    Raises:
        RefusedError: it lies elsewhere.
    """
    if not key.startswith(tenant_prefix(tenant_id)):
        raise RefusedError(
            f"{key[:80]!r} is not of the tenant {tenant_id}, for which this run works",
            hint="Nothing was touched. A defect of tui-backup: report it.",
        )


def packs_prefix(tenant_id: UUID) -> str:
    """Where a tenant's packs lie."""
    return f"{tenant_id}/packs/"


def pack_key(tenant_id: UUID, pack: str) -> str:
    """Key of the pack whose content has this SHA-256 (hex)."""
    return f"{tenant_id}/packs/{pack[:2]}/{pack}"


def manifests_prefix(tenant_id: UUID) -> str:
    """Where a tenant's manifests lie."""
    return f"{tenant_id}/manifests/"


def manifest_key(tenant_id: UUID, job_id: UUID) -> str:
    """Key of one backup's manifest."""
    return f"{tenant_id}/manifests/{job_id}{MANIFEST_SUFFIX}"


def holds_prefix(tenant_id: UUID) -> str:
    """Where the marks of running backups lie."""
    return f"{tenant_id}/holds/"


def sweeps_prefix(tenant_id: UUID) -> str:
    """Where the marks of running sweeps lie."""
    return f"{tenant_id}/sweeps/"


def distrust_prefix(tenant_id: UUID) -> str:
    """Where the marks of packs lie that a check found damaged."""
    return f"{tenant_id}/distrusted/"


def object_name(tenant_id: UUID, key: str) -> str:
    """A key without its tenant, as the catalog's ledger of stored objects names it."""
    return key.removeprefix(f"{tenant_id}/")
