"""JSON web tokens of people who come in through a gateway login.

The signature algorithm is the configured one, never the token's own word for it. Only what the catalog needs is handed
on: who (``sub``) and, where the token says so, which tenant. Role and tenant come from the catalog's memberships.

The token stands in the environment (``TUI_BACKUP_TOKEN``), in the configured file, or in the file that
`tui-backup login` keeps; the first of these that there is counts.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import jwt

from tui_backup.catalog.token_keys import KeySource, open_keys
from tui_backup.config import CatalogConfig, Config
from tui_backup.errors import AuthenticationError, ConfigError

TOKEN_VARIABLE = "TUI_BACKUP_TOKEN"  # noqa: S105  a variable's name
LEEWAY_S = 30
_MAX_TOKEN_BYTES = 16 * 1024


@dataclass(frozen=True, slots=True)
class Verified:
    """What a token that holds says."""

    claims: dict[str, str]
    """``sub`` and perhaps ``tenant_id``, both UUIDs."""
    expires: int
    """Seconds since the epoch, without the leeway."""

    @property
    def expires_at(self) -> datetime:
        """When it runs out."""
        return datetime.fromtimestamp(self.expires, UTC)


class Verifier:
    """Verifies tokens as the configuration says.

    Args:
        settings: names the key, the algorithm, the audience and the issuer.

    Raises:
        ConfigError: the settings cannot be safe.
    """

    def __init__(self, settings: CatalogConfig) -> None:
        self._settings = settings
        self._keys: KeySource = open_keys(settings)
        if not settings.jwt_audience:
            raise ConfigError("catalog.jwt_audience must be set where tokens are used.")

    def verify(self, token: str) -> Verified:
        """Verify one token.

        Raises:
            AuthenticationError: it does not hold.
        """
        if len(token) > _MAX_TOKEN_BYTES:
            raise AuthenticationError("The token is too long to be one.")
        body = self._decode(token)
        try:
            claims = {"sub": str(UUID(str(body["sub"])))}
            tenant = _tenant_of(body)
            if tenant is not None:
                claims["tenant_id"] = str(UUID(str(tenant)))
            found = Verified(claims, int(body["exp"]))
            _ = found.expires_at
        except (ValueError, OverflowError, OSError) as exc:
            raise AuthenticationError("The token names a user or tenant that is not a UUID, or no real time.") from exc
        return found

    def _decode(self, token: str) -> dict[str, Any]:
        settings = self._settings
        try:
            return jwt.decode(
                token,
                self._keys.key_for(token),
                algorithms=[settings.jwt_algorithm],
                audience=settings.jwt_audience,
                issuer=settings.jwt_issuer or None,
                leeway=LEEWAY_S,
                options={"require": ["exp", "sub", "aud", *(["iss"] if settings.jwt_issuer else [])]},
            )
        except jwt.PyJWTError as exc:
            # PyJWT's messages name the failed check and never the token
            raise AuthenticationError(f"The token does not hold: {exc}.", hint="Renew the token.") from exc
        except (ValueError, TypeError, OverflowError, RecursionError) as exc:
            # an unsigned oddity, such as an infinite time, that the library does not expect
            raise AuthenticationError("The token does not hold.", hint="Renew the token.") from exc


class TokenFile:
    """One user's token, verified when it is first used, when its file changes and when it runs out.

    Args:
        settings: see :class:`Verifier`; ``token_file`` is where the token is, when nothing else is given.
        path: the file that it stands in.
        text: the token itself, in place of a file.
    """

    def __init__(self, settings: CatalogConfig, *, path: Path | None = None, text: str | None = None) -> None:
        self._path = path or Path(settings.token_file).expanduser()
        self._text = text
        self._verifier = Verifier(settings)
        self._verified: Verified | None = None
        self._stamp: tuple[int, ...] | None = None
        # a pool's transactions ask from several threads
        self._lock = threading.Lock()

    def claims(self) -> dict[str, str]:
        """The verified claims: ``sub`` and perhaps ``tenant_id``. May wait for a key set: not for the event loop.

        Raises:
            AuthenticationError: the token does not hold, or belongs to somebody else than before.
        """
        with self._lock:
            return self._current().claims

    def _current(self) -> Verified:
        known = self._verified
        try:
            stamp = self._look()
            if known is not None and stamp == self._stamp and time.time() <= known.expires + LEEWAY_S:
                return known
            fresh = self._verifier.verify(self._read())
        except FileNotFoundError as exc:
            raise AuthenticationError(
                "Nobody is logged in: there is no token.", hint="Log in with `tui-backup login --token-stdin`."
            ) from exc
        except (OSError, UnicodeDecodeError) as exc:
            raise AuthenticationError(f"The token file {self._path} cannot be read.") from exc
        if known is not None and fresh.claims != known.claims:
            raise AuthenticationError("The token was replaced by one of another user or tenant.")
        self._verified, self._stamp = fresh, stamp
        return fresh

    def _look(self) -> tuple[int, ...]:
        if self._text is not None:
            return ()
        found = self._path.stat()
        return (found.st_mtime_ns, found.st_ino, found.st_size)

    def _read(self) -> str:
        if self._text is not None:
            return self._text.strip()
        with self._path.open(encoding="ascii") as file:
            return file.read(_MAX_TOKEN_BYTES + 2).strip()


def open_token(config: Config, env: Mapping[str, str] | None = None) -> TokenFile:
    """The token of whoever runs this program, not yet verified.

    Args:
        config: says where it is and how it is verified.
        env: os.environ when None.

    Raises:
        ConfigError: the settings cannot be safe.
    """
    env = os.environ if env is None else env
    settings = config.settings.catalog
    if text := env.get(TOKEN_VARIABLE):
        return TokenFile(settings, text=text)
    return TokenFile(settings, path=None if settings.token_file else config.kept_token)


def _tenant_of(body: dict[str, Any]) -> object | None:
    """Supabase puts it under app_metadata, which only the server may write (user_metadata is the user's own)."""
    if body.get("tenant_id") is not None:
        return body["tenant_id"]
    nested: Any = body.get("app_metadata")
    if isinstance(nested, dict):
        return nested.get("tenant_id")  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return None
