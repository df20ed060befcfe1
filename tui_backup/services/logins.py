"""Logging in with a token that is kept on this machine, and out again."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

from tui_backup.catalog.connections import member_conninfo
from tui_backup.catalog.failures import catalog_errors
from tui_backup.catalog.pool import connect
from tui_backup.config import Config
from tui_backup.errors import AuthenticationError, ConfigError, WorkFailedError

if TYPE_CHECKING:
    from tui_backup.catalog.tokens import Verified


@dataclass(frozen=True, slots=True)
class Login:
    """Who is logged in, and until when."""

    user_id: UUID
    expires_at: datetime
    memberships: Sequence[str]
    """``tenant (role)``, one for each tenant that the token opens."""
    kept_in: str


async def log_in(config: Config, token: str) -> Login:
    """Verify a token, see that the catalog knows its user, and keep it for the following commands.

    Args:
        config: says how tokens are verified and where the catalog is.
        token: as it came from the identity provider.

    Raises:
        ConfigError: no keys are configured, or the token stands elsewhere by configuration.
        AuthenticationError: it does not hold, or its user is a member of no tenant.
        CatalogUnavailableError: the catalog does not answer.
        WorkFailedError: it cannot be kept.
    """
    settings = config.settings.catalog
    if settings.token_file:
        raise ConfigError(
            "catalog.token_file names the token's file.", hint="Put the token there, or take that setting out."
        )
    from tui_backup.catalog.tokens import Verifier

    token = token.strip()
    verified = await asyncio.to_thread(lambda: Verifier(settings).verify(token))
    memberships = await _memberships(config, verified)
    if not memberships:
        raise AuthenticationError(f"The token's user {verified.claims['sub']} is a member of no tenant.")
    await asyncio.to_thread(_keep, config.kept_token, token)
    return Login(UUID(verified.claims["sub"]), verified.expires_at, memberships, str(config.kept_token))


async def _memberships(config: Config, verified: Verified) -> list[str]:
    connection = await connect(member_conninfo(config), passfile=None, application_name="tui-backup")
    async with connection:
        with catalog_errors():
            async with connection.transaction():
                await connection.execute(
                    "SELECT set_config('request.jwt.claims', %s, true)", (json.dumps(verified.claims),)
                )
                cursor = await connection.execute(
                    "SELECT tui_backup.is_gateway() AS is_gateway, m.tenant_name, m.role"
                    " FROM (SELECT) AS one LEFT JOIN tui_backup.my_memberships() AS m ON true"
                )
                found = await cursor.fetchall()
        if not found[0]["is_gateway"]:
            raise AuthenticationError(
                f"The login {connection.info.user} is no gateway: the catalog would not believe a token from it.",
                hint="catalog.dsn must name a login that is a member of tui_backup_gateway.",
            )
    return [f"{row['tenant_name']} ({row['role']})" for row in found if row["tenant_name"] is not None]


def _keep(path: Path, token: str) -> None:
    """Write the token for its owner only; whoever reads it meanwhile sees the old one or the new one."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        part.unlink(missing_ok=True)
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(token + "\n")
        part.replace(path)
    except OSError as exc:
        part.unlink(missing_ok=True)
        raise WorkFailedError(f"{path} cannot be written: {exc.strerror}.", hint="Look at the state folder.") from exc


def log_out(config: Config) -> bool:
    """Forget the kept token.

    Returns:
        Whether there was one.

    Raises:
        WorkFailedError: it cannot be removed.
    """
    try:
        config.kept_token.unlink()
    except FileNotFoundError:
        return False
    except OSError as exc:
        raise WorkFailedError(f"{config.kept_token} cannot be removed: {exc.strerror}.") from exc
    return True
