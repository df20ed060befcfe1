"""Reading subjects (jobs, restores, verifications, schedules): one way for all, with the check for lost agents."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, LiteralString
from uuid import UUID

from psycopg import sql
from psycopg.rows import DictRow

from tui_backup.catalog.queries import statement
from tui_backup.errors import NotFoundError, ValidationError
from tui_backup.services.session import Session

_HEX = re.compile(r"[0-9a-f]{4,32}")
_LAST = UUID(int=2**128 - 1)


async def read(
    session: Session,
    name: str,
    conditions: Sequence[LiteralString],
    params: Mapping[str, Any],
    tail: LiteralString = "",
) -> list[DictRow]:
    """Rows of a named statement under conditions; running rows of a dead agent are ended first, then read again.

    Args:
        session: open.
        name: a statement of queries.sql without WHERE.
        conditions: SQL texts, joined by AND.
        params: their parameters.
        tail: ORDER BY and LIMIT.
    """
    parts: list[sql.Composable] = [statement(name)]
    if conditions:
        parts.append(sql.SQL(" WHERE ") + sql.SQL(" AND ").join(sql.SQL(text) for text in conditions))
    query = sql.Composed([*parts, sql.SQL(" "), sql.SQL(tail)])
    found = await session.catalog.rows(query, params)
    if any(row.get("agent_lost") for row in found):
        await session.catalog.rows("mark_lost")
        found = await session.catalog.rows(query, params)
    return found


async def read_one(session: Session, name: str, alias: LiteralString, wanted: UUID | str, *, what: str) -> DictRow:
    """The row with an id, or with the only id that starts so.

    Args:
        session: open.
        name: statement of queries.sql.
        alias: of the table whose id is meant.
        wanted: id, or at least its first 4 characters.
        what: for the message ("backup").

    Raises:
        NotFoundError: none, or another tenant's.
        ValidationError: several ids start so.
    """
    low, high = id_range(wanted, what=what)
    condition = sql.SQL("{a}.id >= %(low)s AND {a}.id <= %(high)s").format(a=sql.Identifier(alias))
    query = sql.Composed([statement(name), sql.SQL(" WHERE "), condition, sql.SQL(" LIMIT 2")])
    params = {"low": low, "high": high}
    found = await session.catalog.rows(query, params)
    if any(row.get("agent_lost") for row in found):
        await session.catalog.rows("mark_lost")
        found = await session.catalog.rows(query, params)
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
