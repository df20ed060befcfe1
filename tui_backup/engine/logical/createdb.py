"""The database that a restore makes: created empty, marked as unfinished, given its properties last, or dropped.

While it is in the making its comment says so. A rescue recognises it by that comment, whatever became of the agent.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import LiteralString
from uuid import UUID

import psycopg
from psycopg import sql

from tui_backup import manifest
from tui_backup.engine.connection import Connection
from tui_backup.engine.logical.acl import apply_acl
from tui_backup.engine.logical.target import Target, one, server_major
from tui_backup.errors import PermissionRefusedError, TargetInUseError, TargetMismatchError, TargetNotEmptyError

_DROP_TIMEOUT_S = 600
_SESSIONS_TIMEOUT_S = 30.0
_PROVIDERS = {"c": "libc", "i": "icu", "b": "builtin"}


@dataclass(slots=True)
class CreatedDatabase:
    """A database made for a restore. ``warnings`` are sentences for the result."""

    name: str
    oid: int
    warnings: list[str] = field(default_factory=list[str])


def unfinished_comment(restore_id: UUID) -> str:
    """The comment of a database in the making."""
    return f"tui-backup restore {restore_id}, not finished"


def unfinished_name(restore_id: UUID) -> str:
    """The name of a database in the making; it gets its own when it is done."""
    return f"tui_backup_{restore_id.hex}"


def create_statement(database: manifest.Database, *, name: str, tablespace: str | None, major: int) -> sql.Composed:
    """CREATE DATABASE with the backup's encoding and locale, as this server's version writes them.

    Args:
        database: the backup's database.
        name: the new one's name.
        tablespace: None for the server's default.
        major: the target server's major version.
    """
    options: list[tuple[LiteralString, str]] = [
        ("ENCODING", database.encoding),
        ("LC_COLLATE", database.lc_collate),
        ("LC_CTYPE", database.lc_ctype),
    ]
    if major >= 15:
        options.append(("LOCALE_PROVIDER", _PROVIDERS[database.locale_provider]))
    if database.locale is not None and database.locale_provider == "i":
        options.append(("ICU_LOCALE", database.locale))
    if database.locale is not None and database.locale_provider == "b":
        options.append(("BUILTIN_LOCALE", database.locale))
    if database.icu_rules is not None and database.locale_provider == "i":
        options.append(("ICU_RULES", database.icu_rules))
    parts = [sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name))]
    parts += [sql.SQL("{} {}").format(sql.SQL(key), sql.Literal(value)) for key, value in options]
    if tablespace is not None:
        parts.append(sql.SQL("TABLESPACE {}").format(sql.Identifier(tablespace)))
    return sql.SQL(" ").join(parts)


def create_database(conn: Connection, database: manifest.Database, *, name: str, restore_id: UUID) -> CreatedDatabase:
    """Create an empty database like the backup's, marked as unfinished.

    Raises:
        TargetNotEmptyError: the name is taken.
        TargetMismatchError: the server does not have the encoding, locale or provider.
    """
    warnings: list[str] = []
    tablespace: str | None = None
    if database.tablespace != "pg_default":
        if one(conn, "SELECT 1 FROM pg_catalog.pg_tablespace WHERE spcname = %s", (database.tablespace,)):
            tablespace = database.tablespace
        else:
            warnings.append(f"tablespace {database.tablespace} is not on this server: the default is used")
    statement = create_statement(database, name=name, tablespace=tablespace, major=server_major(conn))
    try:
        conn.execute(statement)
    except psycopg.errors.DuplicateDatabase as error:
        raise TargetNotEmptyError(f"A database named {name} exists already on this server.") from error
    except (
        psycopg.errors.WrongObjectType,
        psycopg.errors.InvalidParameterValue,
        psycopg.errors.InvalidObjectDefinition,
        psycopg.errors.UndefinedObject,
        psycopg.errors.FeatureNotSupported,
    ) as error:
        raise TargetMismatchError(
            f"The server cannot make a database like the backup's: {error.diag.message_primary}.",
            hint=f"Install the locale {database.lc_collate} on the server, or restore onto another one.",
        ) from error
    oid = int(one(conn, "SELECT oid FROM pg_catalog.pg_database WHERE datname = %s", (name,)))
    identifier = sql.Identifier(name)
    with conn.transaction():
        conn.execute(
            sql.SQL("COMMENT ON DATABASE {} IS {}").format(identifier, sql.Literal(unfinished_comment(restore_id)))
        )
        if database.acl is not None:
            # nobody else has anything to do there yet; a database with default grants must stay without a list
            conn.execute(sql.SQL("REVOKE CONNECT, TEMPORARY ON DATABASE {} FROM PUBLIC").format(identifier))
    return CreatedDatabase(name=name, oid=oid, warnings=warnings)


def finish_database(
    conn: Connection,
    database: manifest.Database,
    *,
    name: str,
    no_owner: bool,
    keep_mark: bool,
    warn: Callable[[str], None],
) -> None:
    """Give a filled database what hangs on the database itself: owner, grants, limit, comment; not its settings.

    Args:
        conn: a connection to another database of the server.
        database: the backup's database.
        name: the filled database.
        no_owner: leave owner and grants as they are for a fresh database.
        keep_mark: leave the unfinished comment (a swap ends it).
        warn: called with a sentence for each thing that could not be put back.
    """
    identifier = sql.Identifier(name)
    owner = str(one(conn, "SELECT current_user"))
    if not no_owner and database.owner:
        try:
            conn.execute(sql.SQL("ALTER DATABASE {} OWNER TO {}").format(identifier, sql.Identifier(database.owner)))
            owner = database.owner
        except (psycopg.errors.InsufficientPrivilege, psycopg.errors.UndefinedObject) as error:
            warn(f"the owner {database.owner} was not put back: {error.diag.message_primary}")
    if no_owner and database.acl is not None:
        conn.execute(sql.SQL("GRANT CONNECT, TEMPORARY ON DATABASE {} TO PUBLIC").format(identifier))
    elif database.acl is not None:
        apply_acl(conn, sql.SQL("DATABASE"), identifier, acl=database.acl, owner=owner, warn=warn)
    if database.connection_limit != -1:
        conn.execute(
            sql.SQL("ALTER DATABASE {} CONNECTION LIMIT {}").format(identifier, sql.Literal(database.connection_limit))
        )
    if not keep_mark:
        conn.execute(comment_statement(name, database.comment))


def comment_statement(name: str, comment: str | None) -> sql.Composed:
    """COMMENT ON DATABASE, with None taking the comment away."""
    return sql.SQL("COMMENT ON DATABASE {} IS {}").format(sql.Identifier(name), sql.Literal(comment))


def rename_database(conn: Connection, *, name: str, oid: int, to: str) -> None:
    """Give a database of ours its final name, whoever may have connected to it meanwhile.

    Raises:
        TargetNotEmptyError: the name has been taken since the restore began.
    """
    allow = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}")
    conn.execute(allow.format(sql.Identifier(name), sql.SQL("false")))
    end_sessions_on(conn, [oid])
    try:
        with conn.transaction():
            conn.execute(sql.SQL("ALTER DATABASE {} RENAME TO {}").format(sql.Identifier(name), sql.Identifier(to)))
            conn.execute(allow.format(sql.Identifier(to), sql.SQL("true")))
    except psycopg.errors.DuplicateDatabase as error:
        raise TargetNotEmptyError(f"A database named {to} exists now on this server.") from error


def drop_database(conn: Connection, *, name: str, oid: int) -> None:
    """Drop a database of ours, ending the sessions on it.

    Args:
        conn: a connection to another database of the server.
        name: its name.
        oid: its oid; a database of that name with another oid is left alone.

    Raises:
        TargetInUseError: somebody else's database has the name now.
    """
    found = one(conn, "SELECT oid FROM pg_catalog.pg_database WHERE datname = %s", (name,))
    if found is None:
        return
    if int(found) != oid:
        raise TargetInUseError(
            f"The database {name} is not the one this restore made; it was left alone.",
            hint="Look at it, and drop it by hand if it is not wanted.",
        )
    conn.execute("SELECT pg_catalog.set_config('statement_timeout', %s, false)", (f"{_DROP_TIMEOUT_S}s",))
    conn.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def drop_unfinished(
    target: Target, restore_id: UUID, *, session_name: str | None = None, work_name: str | None = None
) -> list[str]:
    """Clean up after an attempt that died: end its sessions and drop the database it was making.

    Args:
        target: the server.
        restore_id: whose database; it is recognised by its comment.
        session_name: application_name of the dead attempt's sessions (a restore in place rolls back with them).
        work_name: a name that only this restore can have used; its database may have been created by the server
            after its client had died, and then carries no comment.

    Returns:
        The names of the databases dropped.
    """
    with target.admin(what="cleaning up after a dead restore") as conn:
        if session_name is not None:
            end_sessions_named(conn, session_name)
        rows = conn.execute(
            "SELECT datname, oid FROM pg_catalog.pg_database"
            " WHERE pg_catalog.shobj_description(oid, 'pg_database') = %s OR datname IN (%s, %s)",
            (unfinished_comment(restore_id), work_name, unfinished_name(restore_id)),
        ).fetchall()
        for name, oid in rows:
            drop_database(conn, name=name, oid=int(oid))
        return [str(name) for name, _ in rows]


def end_sessions_named(conn: Connection, session_name: str, *, timeout_s: float = 20.0) -> int:
    """End the sessions with this application_name, except our own, and wait until they are gone.

    Returns:
        How many were ended.
    """
    # the server cuts the name at 63 bytes
    shown = session_name.encode()[:63].decode(errors="ignore")
    condition = "application_name = %s AND pid <> pg_catalog.pg_backend_pid() AND backend_type = 'client backend'"
    ended = 0
    deadline = time.monotonic() + timeout_s
    while True:
        rows = conn.execute(
            f"SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity WHERE {condition}",
            (shown,),
        ).fetchall()
        ended = max(ended, len(rows))
        if not rows:
            return ended
        if time.monotonic() > deadline:
            raise TargetInUseError(
                f"{len(rows)} sessions of the dead attempt could not be ended within {timeout_s:.0f} s.",
                hint="End them with pg_terminate_backend() as a superuser.",
            )
        time.sleep(0.1)


def end_sessions_on(conn: Connection, oids: list[int]) -> None:
    """End all sessions on the databases and wait until they are gone."""
    deadline = time.monotonic() + _SESSIONS_TIMEOUT_S
    while True:
        try:
            rows = conn.execute(
                "SELECT pid, pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity"
                " WHERE datid = ANY (%s::pg_catalog.oid[]) AND pid <> pg_catalog.pg_backend_pid()"
                " AND backend_type IN ('client backend', 'walsender')",
                (oids,),
            ).fetchall()
        except psycopg.errors.InsufficientPrivilege as error:
            raise PermissionRefusedError(
                f"The login may not end the sessions on the database: {error.diag.message_primary}.",
                hint="Grant it pg_signal_backend (superusers' sessions need a superuser).",
            ) from error
        if not rows:
            return
        if time.monotonic() > deadline:
            raise TargetInUseError(
                f"{len(rows)} sessions were still connected after {_SESSIONS_TIMEOUT_S:.0f} s.",
                hint="Stop what connects (a pooler, an application) and swap again.",
            )
        time.sleep(0.05)
