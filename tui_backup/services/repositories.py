"""Repositories: the places where backups are stored."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from tui_backup.catalog import rows
from tui_backup.catalog.queries import query
from tui_backup.errors import (
    ConfirmationRequiredError,
    NotFoundError,
    PermissionRefusedError,
    TuiBackupError,
    ValidationError,
)
from tui_backup.model import PlanCheck, Repository, Role
from tui_backup.services.names import check_name
from tui_backup.services.session import Session
from tui_backup.services.stored import open_repository, storage_allows

MAX_OBJECT_BYTES = 100 * 1024 * 1024
_MIN_OBJECT_BYTES = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class RepositoryCheck:
    """What a look at a repository's store showed."""

    repository_name: str
    location: str
    free_bytes: int | None
    problems: Sequence[PlanCheck]


@dataclass(frozen=True, slots=True)
class RepositoryPolicy:
    """What keeps a tenant's part of a repository to that tenant."""

    repository_name: str
    tenant_name: str
    tenant_id: UUID
    is_iam: bool
    """An IAM policy document; a folder and its modes otherwise."""
    policy: Mapping[str, Any]


async def add_repository(
    session: Session,
    name: str,
    location: str,
    *,
    make_default: bool = False,
    max_object_bytes: int = MAX_OBJECT_BYTES,
) -> Repository:
    """Set a place up (or recognise a repository that is there) and register it; the first one is the default.

    Args:
        session: open.
        name: unique in the tenant.
        location: a directory, or ``s3://bucket/prefix?endpoint=…``.
        make_default: use it where none is named.
        max_object_bytes: no object may be larger; at least 32 MiB.

    Raises:
        ValidationError: a name or location that cannot be used.
        AlreadyExistsError: the name is taken.
        PermissionRefusedError: only an admin may.
        StoreError, RefusedError: the place cannot be used, or others can read it.
    """
    check_name("repository_name", name)
    if max_object_bytes < _MIN_OBJECT_BYTES:
        raise ValidationError("max_object_bytes", f"At least {_MIN_OBJECT_BYTES} bytes are needed.")
    if session.identity.role is not Role.ADMIN or not await storage_allows(session, "upload"):
        # before anything is made there; the catalog would refuse the row afterwards
        raise PermissionRefusedError("Only an admin may add repositories.")
    location = _absolute(location)
    await asyncio.to_thread(_initialize, location, max_object_bytes)
    async with session.catalog.transaction() as connection:
        if make_default:
            await connection.execute(query("clear_default_repository"))
        cursor = await connection.execute(
            query("insert_repository"),
            {
                "repository_name": name,
                "location": location,
                "is_default": make_default,
                "max_object_bytes": max_object_bytes,
            },
        )
        row = await cursor.fetchone()
    if row is None:
        raise PermissionRefusedError("Your role may not do this.")
    return rows.repository(row)


def _absolute(location: str) -> str:
    """A relative directory counts from here; the agent has another working directory."""
    return location if "://" in location else str(Path(location).expanduser().absolute())


def _initialize(location: str, max_object_bytes: int) -> None:
    from tui_backup.repository.open import initialize, open_store

    store = open_store(location, max_object_bytes=max_object_bytes)
    try:
        initialize(store)
    finally:
        store.close()


async def get_repositories(session: Session) -> list[Repository]:
    """All repositories of the tenant, by name."""
    return [rows.repository(row) for row in await session.catalog.rows("repositories")]


async def get_repository(session: Session, name: str | None = None) -> Repository:
    """One repository by name or full id, the default one when None.

    Raises:
        NotFoundError: there is none.
    """
    row = await session.catalog.row("repository", {"name": name})
    if row is None:
        what = f"There is no repository {name!r}." if name else "There is no default repository."
        raise NotFoundError(what, hint="See `tui-backup repo list`; add one with `tui-backup repo add NAME LOCATION`.")
    return rows.repository(row)


async def check_repository(session: Session, name: str) -> RepositoryCheck:
    """Look whether a repository can be used, from this machine and as this user.

    Raises:
        NotFoundError: no such repository.
    """
    repository = await get_repository(session, name)

    def check() -> tuple[int | None, list[PlanCheck]]:
        try:
            with open_repository(repository) as store:
                free = store.free_bytes()
        except TuiBackupError as exc:
            return None, [PlanCheck("store", "refused", f"{exc.message} {exc.hint}")]
        problems = [PlanCheck("store", "ok", "It is there, private, readable and writable.")]
        if free is not None and free < repository.max_object_bytes:
            problems.append(PlanCheck("space", "warning", "It is nearly full."))
        return free, problems

    free, problems = await asyncio.to_thread(check)
    return RepositoryCheck(repository.repository_name, repository.location, free, problems)


async def get_repository_policy(session: Session, tenant: str, name: str | None = None) -> RepositoryPolicy:
    """What limits a credential, or a login of the machine, to one tenant's part of a repository.

    Args:
        session: open.
        tenant: name or full id.
        name: the repository's; the default one when None.

    Raises:
        PermissionRefusedError: only an admin may.
        NotFoundError: no such tenant or repository.
    """
    if session.identity.role is not Role.ADMIN:
        raise PermissionRefusedError("Only an admin may see how the storage is kept apart.")
    row = await session.catalog.row("tenant_by_name", {"name": tenant})
    if row is None:
        raise NotFoundError(f"There is no tenant {tenant!r}.", hint="See `tui-backup tenant list`.")
    repository = await get_repository(session, name)
    if not repository.location:
        raise PermissionRefusedError("The place of a shared repository is shown to its owner only.")

    def make() -> dict[str, Any]:
        from tui_backup.repository.policy import tenant_policy

        return tenant_policy(repository.location, row["id"])

    policy = await asyncio.to_thread(make)
    return RepositoryPolicy(repository.repository_name, row["tenant_name"], row["id"], "Statement" in policy, policy)


async def free_bytes_of(repository: Repository) -> int | None:
    """Room left in a repository; None where it cannot be told."""

    def read() -> int | None:
        from tui_backup.repository.open import open_store

        try:
            store = open_store(repository.location, max_object_bytes=repository.max_object_bytes)
        except TuiBackupError:
            return None
        try:
            return store.free_bytes()
        except TuiBackupError:
            # an estimate can do without; the check of the repository says why
            return None
        finally:
            store.close()

    return await asyncio.to_thread(read)


async def remove_repository(session: Session, name: str, *, confirm: bool) -> None:
    """Forget a repository that no backup refers to; its files stay where they are.

    Raises:
        ConfirmationRequiredError: not confirmed.
        NotFoundError: no such repository.
        JobStateError: something refers to it.
        PermissionRefusedError: only an admin may.
    """
    repository = await get_repository(session, name)
    if not confirm:
        raise ConfirmationRequiredError(
            f"The repository {repository.repository_name} would be forgotten.",
            hint="Repeat the command with --confirm. Its files stay.",
        )
    done = await session.catalog.row("delete_repository", {"id": repository.id})
    if not done or not done["done"]:
        raise NotFoundError(f"The repository {repository.repository_name} is gone already.")
