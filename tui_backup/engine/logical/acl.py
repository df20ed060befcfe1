"""Owners, grants and settings that hang on a database or a large object: put back by statements of our own.

pg_dump keeps these out of a schema archive (a database's) or never sees them there (a large object's, in a schema-only
archive). An access list is stored as PostgreSQL's own text (``alice=rw*/bob``) and taken apart by the server.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import psycopg
from psycopg import sql

from tui_backup import manifest
from tui_backup.engine.connection import Connection
from tui_backup.errors import DamagedError

# Settings that hold a list of quoted names (GUC_LIST_QUOTE in the server): each item is given as a literal of its own.
_LIST_SETTINGS = frozenset(
    {
        "local_preload_libraries",
        "search_path",
        "session_preload_libraries",
        "shared_preload_libraries",
        "temp_tablespaces",
        "unix_socket_directories",
    }
)


_ACL_ITEM = re.compile(r'((?:"(?:[^"]|"")*"|[^="])*)=([a-zA-Z*]*)/.*', re.DOTALL)
_PRIVILEGES = {"r": "SELECT", "w": "UPDATE"}


@dataclass(frozen=True, slots=True)
class Grant:
    """One item of a large object's access list. ``grantee`` is "" for PUBLIC; privileges with their grant option."""

    grantee: str
    privileges: tuple[tuple[str, bool], ...]


def parse_acl_item(item: str) -> Grant:
    """Take ``role=rw*/grantor`` apart without a server.

    Raises:
        DamagedError: it is not what PostgreSQL writes.
    """
    match = _ACL_ITEM.fullmatch(item)
    letters = re.findall(r"([a-zA-Z])(\*?)", match[2]) if match else []
    if match is None or any(letter not in _PRIVILEGES for letter, _ in letters):
        raise DamagedError(f"{item!r} is no access right of a large object.")
    grantee = match[1]
    if grantee.startswith('"'):
        grantee = grantee[1:-1].replace('""', '"')
    return Grant(grantee, tuple((_PRIVILEGES[letter], bool(star)) for letter, star in letters))


def split_list_setting(value: str) -> list[str]:
    """Split a list setting's stored text into its items; double quotes are taken off.

    Args:
        value: e.g. ``"$user", public``.
    """
    items: list[str] = []
    rest = value.strip()
    while rest:
        if rest.startswith('"'):
            end = 1
            while end < len(rest):
                if rest[end] != '"':
                    end += 1
                elif rest[end : end + 2] == '""':
                    end += 2
                else:
                    break
            item, rest = rest[1:end].replace('""', '"'), rest[end + 1 :].lstrip()
            rest = rest.removeprefix(",").lstrip()
        else:
            item, _, rest = rest.partition(",")
            item, rest = item.strip(), rest.lstrip()
        items.append(item)
    return items


def setting_statement(database: str, setting: manifest.Setting, assignment: str) -> sql.Composed:
    """ALTER DATABASE … SET, or ALTER ROLE … IN DATABASE … SET, for one stored ``name=value``."""
    name, _, value = assignment.partition("=")
    items = split_list_setting(value) if name.lower() in _LIST_SETTINGS else [value]
    values = sql.SQL(", ").join(sql.Literal(item) for item in (items or [""]))
    # a custom setting's name may hold dots, and each part is a name of its own
    key = sql.SQL(".").join(sql.Identifier(part) for part in name.split("."))
    if setting.role is None:
        return sql.SQL("ALTER DATABASE {} SET {} TO {}").format(sql.Identifier(database), key, values)
    return sql.SQL("ALTER ROLE {} IN DATABASE {} SET {} TO {}").format(
        sql.Identifier(setting.role), sql.Identifier(database), key, values
    )


def apply_settings(
    conn: Connection, database: str, settings: Sequence[manifest.Setting], warn: Callable[[str], None]
) -> None:
    """Put a database's settings back; those that the login may not set, or the server does not know, are warnings."""
    for setting in settings:
        for assignment in setting.assignments:
            try:
                with conn.transaction():
                    conn.execute(setting_statement(database, setting, assignment))
            except (
                psycopg.errors.InsufficientPrivilege,
                psycopg.errors.UndefinedObject,
                psycopg.errors.InvalidParameterValue,
            ) as error:
                whose = f"of role {setting.role} " if setting.role else ""
                reason = (error.diag.message_primary or "refused").strip()
                warn(f"setting {assignment.partition('=')[0]} {whose}was not put back: {reason}")


def apply_acl(
    conn: Connection,
    kind: sql.SQL,
    target: sql.Composable,
    *,
    acl: Sequence[str],
    owner: str,
    warn: Callable[[str], None],
) -> None:
    """Make an object's grants exactly the given list.

    Args:
        conn: an autocommit connection of somebody who may grant.
        kind: ``DATABASE`` or ``LARGE OBJECT``.
        target: the object as it stands after the kind.
        acl: the stored access list.
        owner: the object's owner now.
        warn: called with a sentence for each grant that could not be given.
    """
    revoke = sql.SQL("REVOKE ALL ON {} {} FROM {}")
    conn.execute(revoke.format(kind, target, sql.SQL("PUBLIC")))
    conn.execute(revoke.format(kind, target, sql.Identifier(owner)))
    known = _known_items(conn, acl, warn)
    if not known:
        return
    rows = conn.execute(
        "SELECT CASE WHEN e.grantee = 0 THEN NULL ELSE pg_catalog.pg_get_userbyid(e.grantee) END,"
        " pg_catalog.pg_get_userbyid(e.grantor), e.privilege_type, e.is_grantable"
        " FROM pg_catalog.aclexplode(%s::pg_catalog.aclitem[]) WITH ORDINALITY AS"
        " e (grantor, grantee, privilege_type, is_grantable, position) ORDER BY e.position",
        (known,),
    ).fetchall()
    for grantee, grantor, privilege, grantable in rows:
        statement = sql.SQL("GRANT {} ON {} {} TO {}{}").format(
            sql.SQL(privilege),
            kind,
            target,
            sql.SQL("PUBLIC") if grantee is None else sql.Identifier(grantee),
            sql.SQL(" WITH GRANT OPTION" if grantable else ""),
        )
        try:
            with conn.transaction():
                if grantor != owner:
                    conn.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(grantor)))
                conn.execute(statement)
        except psycopg.errors.InsufficientPrivilege as error:
            warn(f"{privilege} for {grantee or 'PUBLIC'} was not granted: {error.diag.message_primary}")


def _known_items(conn: Connection, acl: Sequence[str], warn: Callable[[str], None]) -> list[str]:
    """The items whose roles exist on this server."""
    known: list[str] = []
    for item in acl:
        try:
            with conn.transaction():
                conn.execute("SELECT %s::pg_catalog.aclitem", (item,))
        except psycopg.errors.UndefinedObject:
            warn(f"grant {item} was left out: this server has no such role")
        else:
            known.append(item)
    return known
