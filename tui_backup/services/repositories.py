"""Repositories: the places where backups are stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tui_backup.model import PlanCheck, Repository
from tui_backup.services.session import Session

MAX_OBJECT_BYTES = 100 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class RepositoryCheck:
    """What a look at a repository's store showed."""

    repository_name: str
    location: str
    free_bytes: int | None
    problems: Sequence[PlanCheck]


async def add_repository(
    session: Session,
    name: str,
    location: str,
    *,
    make_default: bool = False,
    max_object_bytes: int = MAX_OBJECT_BYTES,
) -> Repository:
    """Register a repository after its store has been checked."""
    raise NotImplementedError


async def get_repositories(session: Session) -> list[Repository]:
    """All repositories, by name."""
    raise NotImplementedError


async def get_repository(session: Session, name: str | None = None) -> Repository:
    """One repository by name, the default one when None."""
    raise NotImplementedError


async def check_repository(session: Session, name: str) -> RepositoryCheck:
    """Look whether the store can be used."""
    raise NotImplementedError


async def remove_repository(session: Session, name: str, *, confirm: bool) -> None:
    """Forget a repository that nothing refers to; its files stay."""
    raise NotImplementedError
