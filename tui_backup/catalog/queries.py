"""Loader for queries.sql: named statements, read once."""

from __future__ import annotations

import re
from functools import cache
from importlib import resources

_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


@cache
def _statements() -> dict[str, bytes]:
    text = (resources.files("tui_backup.catalog") / "queries.sql").read_text(encoding="utf-8")
    parts = _NAME.split(text)
    names, bodies = parts[1::2], parts[2::2]
    if len(set(names)) != len(names):
        raise ValueError("queries.sql names a statement twice")
    return {name: body.strip().removesuffix(";").encode() for name, body in zip(names, bodies, strict=True)}


def query(name: str) -> bytes:
    """The statement of this name, with psycopg's ``%(name)s`` placeholders.

    Raises:
        KeyError: there is none.
    """
    return _statements()[name]


def query_names() -> list[str]:
    """All names, in the file's order."""
    return list(_statements())
