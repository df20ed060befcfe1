"""JSON web tokens of people who come in through a gateway login.

The signature algorithm is the configured one, never the token's own word for it. Only what the catalog needs is handed
on: who (``sub``) and, where the token says so, which tenant. Role and tenant come from the catalog's memberships.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any
from uuid import UUID

import jwt

from tui_backup.config import CatalogConfig
from tui_backup.errors import AuthenticationError, ConfigError

LEEWAY_S = 30
_MIN_SECRET_BYTES = 32


class TokenFile:
    """A token in a file, verified when it is first used, when the file changes and when it runs out.

    Args:
        settings: names the token's file, the key, the algorithm, the audience and the issuer.
    """

    def __init__(self, settings: CatalogConfig) -> None:
        self._settings = settings
        self._path = Path(settings.token_file).expanduser()
        self._key = _read_key(settings)
        if not settings.jwt_audience:
            raise ConfigError("catalog.jwt_audience must be set where catalog.token_file is.")
        self._claims: dict[str, str] = {}
        self._expires = 0.0
        self._stamp: tuple[int, int] | None = None

    def claims(self) -> dict[str, str]:
        """The verified claims: ``sub`` and perhaps ``tenant_id``.

        Raises:
            AuthenticationError: the token does not hold, or belongs to somebody else than before.
        """
        try:
            found = self._path.stat()
            stamp = (found.st_mtime_ns, found.st_ino)
            if stamp != self._stamp or time.time() > self._expires:
                fresh = self._verify(self._path.read_text(encoding="utf-8").strip())
                if self._claims and fresh != self._claims:
                    raise AuthenticationError("The token was replaced by one of another user or tenant.")
                self._claims, self._stamp = fresh, stamp
        except (OSError, UnicodeDecodeError) as exc:
            raise AuthenticationError(f"The token file {self._path} cannot be read.") from exc
        return self._claims

    def _verify(self, token: str) -> dict[str, str]:
        settings = self._settings
        try:
            body: dict[str, Any] = jwt.decode(
                token,
                self._key,
                algorithms=[settings.jwt_algorithm],
                audience=settings.jwt_audience,
                issuer=settings.jwt_issuer or None,
                leeway=LEEWAY_S,
                options={"require": ["exp", "sub", "aud", *(["iss"] if settings.jwt_issuer else [])]},
            )
        except jwt.PyJWTError as exc:
            # PyJWT's messages name the failed check and never the token
            raise AuthenticationError(f"The token does not hold: {exc}.", hint="Renew the token.") from exc
        try:
            claims = {"sub": str(UUID(str(body["sub"])))}
            tenant = _tenant_of(body)
            if tenant is not None:
                claims["tenant_id"] = str(UUID(str(tenant)))
        except ValueError as exc:
            raise AuthenticationError("The token names a user or tenant that is not a UUID.") from exc
        self._expires = int(body["exp"]) + LEEWAY_S
        return claims


def _tenant_of(body: dict[str, Any]) -> object | None:
    """Supabase puts it under app_metadata, which only the server may write (user_metadata is the user's own)."""
    if body.get("tenant_id") is not None:
        return body["tenant_id"]
    nested: Any = body.get("app_metadata")
    if isinstance(nested, dict):
        return nested.get("tenant_id")  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return None


def _read_key(settings: CatalogConfig) -> bytes:
    is_secret = settings.jwt_algorithm == "HS256"
    name = settings.jwt_secret_file if is_secret else settings.jwt_public_key_file
    setting = "catalog.jwt_secret_file" if is_secret else "catalog.jwt_public_key_file"
    if not name:
        raise ConfigError(f"{setting} must be set for {settings.jwt_algorithm} tokens.")
    try:
        key = Path(name).expanduser().read_bytes()
    except OSError as exc:
        raise ConfigError(f"{setting}: {name} cannot be read: {exc.strerror}.") from exc
    if is_secret:
        key = key.rstrip(b"\r\n")
        if len(key) < _MIN_SECRET_BYTES:
            raise ConfigError(f"{setting}: a secret of at least {_MIN_SECRET_BYTES} bytes is needed.")
    return key
