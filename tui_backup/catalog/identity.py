"""Opening a catalog: is it of our version, and who are we in it?"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psycopg.rows import DictRow

from tui_backup.catalog.failures import catalog_errors
from tui_backup.catalog.migrate import read_state
from tui_backup.catalog.pool import Catalog, Connection, connect
from tui_backup.errors import AuthenticationError, PermissionRefusedError
from tui_backup.model import Identity, Role

if TYPE_CHECKING:
    from tui_backup.catalog.tokens import TokenFile

_NO_MEMBER_HINT = (
    "An admin of the catalog gives access: GRANT tui_backup_user TO your login, and a row in tui_backup.memberships."
)


async def open_catalog(
    conninfo: str,
    *,
    passfile: Path | None = None,
    application_name: str = "tui-backup",
    tenant: str = "",
    tokens: TokenFile | None = None,
) -> tuple[Catalog, Identity]:
    """Open the catalog as a member of a tenant.

    Args:
        conninfo: connection string of the member's (or the gateway's) login.
        passfile: libpq password file.
        application_name: shown in pg_stat_activity.
        tenant: name or id, for a login that is a member of several.
        tokens: verified claims, for a gateway login.

    Raises:
        CatalogUnavailableError: no connection.
        CatalogVersionError: no catalog there, or one of another version.
        AuthenticationError: the login is refused, or a member of no tenant (or of several and none is chosen).
    """
    connection = await connect(conninfo, passfile=passfile, application_name=application_name)
    async with connection:
        try:
            (await read_state(connection)).check()
            identity = await _identify(connection, tenant, tokens)
        except PermissionRefusedError as exc:
            raise AuthenticationError(
                f"The login {connection.info.user} has no access to this catalog.", hint=_NO_MEMBER_HINT
            ) from exc
    catalog = Catalog(
        conninfo,
        passfile=passfile,
        application_name=application_name,
        tenant_id=identity.tenant_id,
        tokens=tokens,
    )
    await catalog.start()
    return catalog, identity


async def _identify(connection: Connection, tenant: str, tokens: TokenFile | None) -> Identity:
    claims = await asyncio.to_thread(tokens.claims) if tokens else None
    with catalog_errors():
        async with connection.transaction():
            if claims is not None:
                await connection.execute("SELECT set_config('request.jwt.claims', %s, true)", (json.dumps(claims),))
            cursor = await connection.execute(
                "SELECT session_user::text AS login, r.rolsuper OR r.rolbypassrls AS is_unbound,"
                " tui_backup.is_agent() AS is_agent, m.*"
                " FROM pg_roles AS r LEFT JOIN tui_backup.my_memberships() AS m ON true"
                " WHERE r.rolname = session_user"
            )
            found = await cursor.fetchall()
    return _choose(found, tenant)


def _choose(found: Sequence[DictRow], tenant: str) -> Identity:
    """The one membership to work with; several are never guessed from."""
    login = str(found[0]["login"])
    if found[0]["is_unbound"]:
        raise AuthenticationError(
            f"The login {login} stands above row security (superuser or BYPASSRLS), which keeps tenants apart.",
            hint="Use a login without these attributes that is a member of tui_backup_user.",
        )
    mine = [row for row in found if row["tenant_id"] is not None]
    if not mine:
        raise AuthenticationError(f"The login {login} is a member of no tenant.", hint=_NO_MEMBER_HINT)
    names = ", ".join(str(row["tenant_name"]) for row in mine)
    if tenant:
        mine = [row for row in mine if tenant in (str(row["tenant_id"]), row["tenant_name"])]
        if not mine:
            raise AuthenticationError(
                f"The login {login} is not a member of the tenant {tenant!r}.", hint=f"It is a member of: {names}."
            )
    if len(mine) > 1:
        raise AuthenticationError(
            f"The login {login} is a member of several tenants: {names}.",
            hint="Choose one: catalog.tenant in the configuration file, or TUI_BACKUP_CATALOG_TENANT.",
        )
    row: dict[str, Any] = mine[0]
    return Identity(
        login=login,
        tenant_id=row["tenant_id"],
        tenant_name=row["tenant_name"],
        role=Role(row["role"]),
        user_id=row["user_id"],
        is_platform=bool(row["is_agent"]),
    )
