"""Makes what a new catalog needs beside its tables: logins, a tenant, its first admin, a default repository.

Everything here is safe to run twice: what is there stays as it is.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
from psycopg import sql
from psycopg.rows import DictRow, dict_row

from tui_backup.catalog.failures import catalog_errors
from tui_backup.errors import AlreadyExistsError, PermissionRefusedError, ValidationError

Connection = psycopg.AsyncConnection[DictRow]
_MAX_LOGIN_BYTES = 63
# any number that nobody else uses in the catalog's database; migrations have another
_TURN_KEY = 7_305_440_912_386_114
_TURN_TIMEOUT = "60s"


@dataclass(frozen=True, slots=True)
class LoginState:
    """A login after :func:`ensure_login`. ``password`` is set when it was made now."""

    login: str
    password: str | None


@asynccontextmanager
async def owner_connection(conninfo: str, *, passfile: Path | None = None) -> AsyncGenerator[Connection]:
    """A session of the catalog's owner, or of a superuser, in autocommit mode; one at a time in a database.

    A second one waits for the first: of two sessions that give rights on one role or database the server refuses one
    ("tuple concurrently updated").

    Raises:
        CatalogUnavailableError, AuthenticationError: no session.
        SqlFailedError: another session has set the catalog up for longer than a minute.
    """
    extra: dict[str, Any] = {"passfile": str(passfile)} if passfile else {}
    with catalog_errors():
        connection = await Connection.connect(
            conninfo,
            autocommit=True,
            connect_timeout=10,
            application_name="tui-backup init",
            row_factory=dict_row,
            **extra,
        )
    async with connection:
        with catalog_errors():
            await connection.execute("SELECT set_config('lock_timeout', %s, false)", (_TURN_TIMEOUT,))
            await connection.execute("SELECT pg_advisory_lock(%s)", (_TURN_KEY,))
            yield connection


async def ensure_login(
    connection: Connection, login: str, *, group: str = "", attributes: str = "", password: str | None = None
) -> LoginState:
    """Make a login role if there is none, and make it a member of a group.

    Args:
        connection: may create roles.
        login: its name.
        group: role to be a member of; '' for none.
        attributes: ``CREATEROLE`` or ''.
        password: for a new role, or to reset that of a present one; a random one for a new role when None.

    Raises:
        ValidationError: the name cannot be a role's.
        PermissionRefusedError: we may not create roles, or not give the group away.
    """
    if not login or len(login.encode()) > _MAX_LOGIN_BYTES or "\0" in login:
        raise ValidationError("login", f"A login has 1 to {_MAX_LOGIN_BYTES} bytes.")
    cursor = await connection.execute("SELECT rolcanlogin FROM pg_roles WHERE rolname = %s", (login,))
    found = await cursor.fetchone()
    fresh = None
    if found is None:
        fresh = password or secrets.token_urlsafe(24)
        await _create(connection, login, attributes, fresh)
    elif not found["rolcanlogin"]:
        raise AlreadyExistsError(f"The role {login} exists and cannot log in.", hint="Choose another login.")
    elif password is not None:
        fresh = password
        await _set_password(connection, login, password)
    if group:
        await _grant(connection, group, login)
    return LoginState(login, fresh)


async def _create(connection: Connection, login: str, attributes: str, password: str) -> None:
    extra = {"": sql.SQL(""), "CREATEROLE": sql.SQL("CREATEROLE")}[attributes]
    verifier = _verifier(connection, login, password)
    try:
        await connection.execute(
            sql.SQL("CREATE ROLE {} LOGIN {} PASSWORD {}").format(sql.Identifier(login), extra, sql.Literal(verifier))
        )
    except psycopg.errors.InsufficientPrivilege as exc:
        raise PermissionRefusedError(
            f"The role {login} cannot be made by this login.",
            hint=f"As a superuser: CREATE ROLE {login} LOGIN; or use a DSN whose role has CREATEROLE.",
        ) from exc


async def _set_password(connection: Connection, login: str, password: str) -> None:
    verifier = _verifier(connection, login, password)
    await connection.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(login), sql.Literal(verifier)))


def _verifier(connection: Connection, login: str, password: str) -> str:
    """The password as the server will keep it: the clear text must not reach its log."""
    return connection.pgconn.encrypt_password(password.encode(), login.encode(), b"scram-sha-256").decode()


async def _grant(connection: Connection, group: str, login: str) -> None:
    cursor = await connection.execute("SELECT pg_has_role(%s, %s, 'USAGE') AS has", (login, group))
    row = await cursor.fetchone()
    if row and row["has"]:
        return
    try:
        await connection.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(group), sql.Identifier(login)))
    except psycopg.errors.InsufficientPrivilege as exc:
        raise PermissionRefusedError(
            f"The role {group} cannot be given to {login} by this login.",
            hint=f"As a superuser: GRANT {group} TO {login}; then run it again.",
        ) from exc


async def ensure_tenant(connection: Connection, tenant: str, admin_login: str) -> UUID:
    """Make a tenant and its first admin if they are not there.

    Args:
        connection: the owner's.
        tenant: its name.
        admin_login: made an admin of it when the tenant has no member with this login.

    Returns:
        The tenant's id.
    """
    async with connection.transaction():
        await connection.execute(
            "INSERT INTO tui_backup.tenants (tenant_name) VALUES (%s) ON CONFLICT (tenant_name) DO NOTHING", (tenant,)
        )
        cursor = await connection.execute("SELECT id FROM tui_backup.tenants WHERE tenant_name = %s", (tenant,))
        (row,) = await cursor.fetchall()
        await connection.execute(
            "INSERT INTO tui_backup.memberships (login, tenant_id, role) VALUES (%s, %s, 'admin')"
            " ON CONFLICT (login, tenant_id) DO NOTHING",
            (admin_login, row["id"]),
        )
    return row["id"]


async def ensure_database(connection: Connection, database: str, owner: str) -> bool:
    """Make the catalog's database if it is not there, closed to everybody who is not asked in.

    Returns:
        Whether it was made now.
    """
    cursor = await connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (database,))
    if await cursor.fetchone():
        return False
    try:
        await connection.execute(
            sql.SQL("CREATE DATABASE {} OWNER {} ENCODING 'UTF8' TEMPLATE template0").format(
                sql.Identifier(database), sql.Identifier(owner)
            )
        )
    except (psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
        # another init was faster
        return False
    return True


async def close_database(connection: Connection, database: str, owner: str) -> None:
    """Let nobody but members and agents into the catalog's database."""
    name = sql.Identifier(database)
    await connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(name))
    await connection.execute(
        sql.SQL("GRANT CONNECT ON DATABASE {} TO tui_backup_user, tui_backup_gateway, tui_backup_agent, {}").format(
            name, sql.Identifier(owner)
        )
    )
