"""Tenant maps of sources: for every table, how its rows are told to be a tenant's; read, and changed, against the
live source."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from psycopg.types.json import Jsonb

from tui_backup.errors import JobStateError, PermissionRefusedError, ValidationError
from tui_backup.model import Source
from tui_backup.services.session import Session
from tui_backup.services.sources import get_source, passfile_of

UNDECIDED = "undecided"

_NAMED_RULE = re.compile(r'\s*((?:"(?:[^"]|"")*"|[^"=])+)=(.+)', re.DOTALL)


@dataclass(frozen=True, slots=True)
class MappedTable:
    """One table of a source's tenant map.

    Args:
        table: its name, quoted where SQL needs it.
        how: ``column``, ``reference``, ``policies``, ``shared``, ``left_out`` or ``undecided``.
        told: the same in words, with the way to the owner; of an undecided one, why.
        rule: what was said of it (``column:org``, ``left-out``, …); None where it was found out.
        foreign_keys: of an undecided one, those that could be chosen with ``via``.
        rows_of_nobody: which rows belong to no tenant, since this may be NULL.
    """

    table: str
    how: str
    told: str
    rule: str | None = None
    foreign_keys: Sequence[str] = ()
    rows_of_nobody: str | None = None


@dataclass(frozen=True, slots=True)
class SourceTenantMap:
    """A source's tenant map; ``unknown`` are tables that are spoken of and not there. Undecided tables come first."""

    source_name: str
    column: str
    rows_by: str
    role: str | None
    setting: str | None
    tables: Sequence[MappedTable]
    unknown: Sequence[str]

    @property
    def undecided(self) -> list[MappedTable]:
        """The tables that make a backup of a tenant's rows fail."""
        return [table for table in self.tables if table.how == UNDECIDED]


@dataclass(frozen=True, slots=True)
class TenantMapChanges:
    """What to change of a source's tenant map; None and empty leave it as it is.

    Args:
        column: the tenant column's name.
        rows_by: who picks the rows: the column, or the source's own policies.
        role: whom the policies are asked as.
        setting: the parameter that they read the tenant's key from.
        rules: by table ``column:NAME``, ``via:FOREIGN_KEY[,…]``, ``shared:missing``, ``shared:never``, ``left-out``.
        unset: tables of which nothing is said any more.
    """

    column: str | None = None
    rows_by: Literal["column", "policies"] | None = None
    role: str | None = None
    setting: str | None = None
    rules: Mapping[str, str] = field(default_factory=dict[str, str])
    unset: Sequence[str] = ()


def split_rule(text: str) -> tuple[str, str]:
    """``TABLE=RULE`` as its two parts; a quoted table may hold what it likes.

    Raises:
        ValidationError: it is not of that form.
    """
    found = _NAMED_RULE.fullmatch(text)
    if found is None:
        raise ValidationError(
            "tables", f"{text!r} says nothing of a table.", hint="Write TABLE=RULE, e.g. public.orders=column:org_id."
        )
    return found[1].strip(), found[2].strip()


async def get_tenant_map(session: Session, source: str) -> SourceTenantMap:
    """How the rows of a source's tables are told, by the live source.

    Raises:
        NotFoundError: no such source.
        PermissionRefusedError: the source is only shared with the tenant.
        TuiBackupError: the source does not answer.
    """
    known = await _own_source(session, source)
    return await asyncio.to_thread(_read, known, passfile_of(session, known))


async def set_tenant_map(session: Session, source: str, changes: TenantMapChanges) -> SourceTenantMap:
    """Change a source's map; what is named must be there in the live source.

    Returns:
        The map as it is now.

    Raises:
        NotFoundError: no such source.
        ValidationError: a table, column, foreign key or role that is not there, or a rule that is none.
        JobStateError: somebody else changed the map meanwhile.
        PermissionRefusedError: only an admin may, and of an own source.
        TuiBackupError: the source does not answer.
    """
    known = await _own_source(session, source)
    stored, found = await asyncio.to_thread(_change, known, passfile_of(session, known), changes)
    params = {"id": known.id, "old": Jsonb(known.tenant_map), "new": Jsonb(stored)}
    if await session.catalog.row("set_tenant_map", params) is None:
        if (await get_source(session, source)).tenant_map != known.tenant_map:
            raise JobStateError(
                f"The tenant map of {known.source_name} was changed meanwhile.", hint="Look at it and try again."
            )
        raise PermissionRefusedError("Your role may not change a source's tenant map.")
    return found


async def _own_source(session: Session, name: str) -> Source:
    source = await get_source(session, name)
    if getattr(source, "is_shared", False):
        raise PermissionRefusedError(
            f"The source {source.source_name} is shared with your tenant; its tenant map is its owner's to see."
        )
    return source


def _read(source: Source, passfile: Any) -> SourceTenantMap:
    from tui_backup.services.tenant_map_facts import read_map

    return read_map(source, passfile)


def _change(source: Source, passfile: Any, changes: TenantMapChanges) -> tuple[dict[str, Any], SourceTenantMap]:
    from tui_backup.services.tenant_map_facts import change_map

    return change_map(source, passfile, changes)
