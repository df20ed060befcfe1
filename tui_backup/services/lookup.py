"""Reading subjects (jobs, restores, verifications, schedules): one way for all, with the check for lost agents."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, LiteralString, cast
from uuid import UUID

from psycopg import sql
from psycopg.rows import DictRow

from tui_backup.catalog.queries import query
from tui_backup.errors import NotFoundError, ValidationError
from tui_backup.services.session import Session

_HEX = re.compile(r"[0-9a-f]{4,32}")
_NOTHING = sql.SQL("")
# statement: its table and the alias it has in the statement
TABLES = {
    "jobs": ("backup_jobs", "j"),
    "restores": ("backup_restore_logs", "l"),
    "verifications": ("backup_verifications", "v"),
    "schedules": ("backup_schedules", "c"),
}


async def read(
    session: Session,
    name: str,
    conditions: Sequence[LiteralString],
    params: Mapping[str, Any],
    *,
    order: LiteralString = "",
    limit: int | None = None,
) -> list[DictRow]:
    """Rows of a named statement under conditions; running rows of a dead agent are ended first, then read again.

    Args:
        session: open.
        name: one of TABLES.
        conditions: SQL texts over the table's alias alone, joined by AND.
        params: their parameters.
        order: ``ORDER BY`` over the table's alias.
        limit: at most so many rows.
    """
    statement = compose(name, [sql.SQL(text) for text in conditions], order=sql.SQL(order), limit=limit)
    found = await session.catalog.rows(statement, params)
    if any(row.get("agent_lost") for row in found):
        await session.catalog.rows("mark_lost")
        found = await session.catalog.rows(statement, params)
    return found


def compose(
    name: str, conditions: Sequence[sql.Composable], *, order: sql.Composable = _NOTHING, limit: int | None = None
) -> sql.Composed:
    """The named statement with its page filled in.

    Args:
        name: one of TABLES.
        conditions: over the table's alias.
        order: of the page, and of the result again, since a join may lose it.
        limit: of the page.
    """
    table, alias = TABLES[name]
    head, tail = query(name).decode().split(":page")
    page = sql.SQL("(SELECT * FROM tui_backup.{} AS {}{}{} {}{})").format(
        sql.Identifier(table),
        sql.Identifier(alias),
        sql.SQL(" WHERE " if conditions else " "),
        sql.SQL(" AND ").join(conditions),
        order,
        _NOTHING if limit is None else sql.SQL(" LIMIT {}").format(max(1, limit)),
    )
    parts = (sql.SQL(cast("LiteralString", text)) for text in (head, tail))
    return sql.Composed([next(parts), page, next(parts), sql.SQL(" "), order])


async def read_one(session: Session, name: str, wanted: UUID | str, *, what: str) -> DictRow:
    """The row with an id, or with the only id that starts so.

    Args:
        session: open.
        name: one of TABLES.
        wanted: id, or at least its first 4 characters.
        what: for the message ("backup").

    Raises:
        NotFoundError: none, or another tenant's.
        ValidationError: several ids start so.
    """
    low, high = id_range(wanted, what=what)
    found = await read(session, name, ["id >= %(low)s", "id <= %(high)s"], {"low": low, "high": high}, limit=2)
    if not found:
        raise NotFoundError(f"There is no {what} {str(wanted)!r}.")
    if len(found) > 1:
        raise ValidationError("id", f"Several {what}s start with {str(wanted)!r}; give more of the id.")
    return found[0]


def id_range(wanted: UUID | str, *, what: str) -> tuple[UUID, UUID]:
    """The first and last id that start so.

    Raises:
        NotFoundError: no id can look so.
    """
    if isinstance(wanted, UUID):
        return wanted, wanted
    digits = wanted.strip().lower().replace("-", "")
    if not _HEX.fullmatch(digits):
        raise NotFoundError(
            f"There is no {what} {wanted!r}.", hint="An id, or at least its first 4 characters, is needed."
        )
    return UUID(digits.ljust(32, "0")), UUID(digits.ljust(32, "f"))
