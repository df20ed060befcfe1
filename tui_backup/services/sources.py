"""Sources: the databases to back up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tui_backup.model import PlanCheck, Source
from tui_backup.services.session import Session


@dataclass(frozen=True, slots=True)
class SourceTest:
    """What a trial connection to a source showed."""

    server_version: str
    database: str
    user: str
    size_bytes: int
    tables: int
    is_standby: bool
    tls: bool
    tools: str
    problems: Sequence[PlanCheck]
    grants: Sequence[str]


@dataclass(frozen=True, slots=True)
class SourceTable:
    """One table of a source. ``quoted_name`` is what BackupJobInsert.tables takes."""

    schema: str
    name: str
    quoted_name: str
    rows_estimate: int
    bytes: int


async def add_source(session: Session, name: str, dsn: str, *, rpo_seconds: int = 86400) -> Source:
    """Register a source; a password in the DSN goes to the product's passfile."""
    raise NotImplementedError


async def get_sources(session: Session) -> list[Source]:
    """All sources, by name."""
    raise NotImplementedError


async def get_source(session: Session, name: str) -> Source:
    """One source by name."""
    raise NotImplementedError


async def test_source(session: Session, name: str) -> SourceTest:
    """Connect and look whether a backup would work."""
    raise NotImplementedError


async def remove_source(session: Session, name: str, *, confirm: bool) -> None:
    """Forget a source that nothing refers to."""
    raise NotImplementedError


async def list_source_tables(session: Session, name: str) -> list[SourceTable]:
    """The tables of a source that a backup can take."""
    raise NotImplementedError
