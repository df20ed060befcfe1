"""The keys that tokens are verified with: a shared secret, a public key, or a key set (JWKS) in a file or at a URL.

A key is only ever used for the one configured algorithm. From a token's header nothing but the key's name (``kid``)
is read, and it can only choose among keys that fit that algorithm.
"""

from __future__ import annotations

import ipaddress
import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from typing import Any, Protocol, cast
from urllib.parse import urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from tui_backup.config import CatalogConfig
from tui_backup.errors import AuthenticationError, ConfigError

_MIN_SECRET_BYTES = 32
_MIN_RSA_BITS = 2048
_MAX_KEY_BYTES = 256 * 1024
_FETCH_TIMEOUT_S = 5.0
_FRESH_S = 600.0
_ASK_AGAIN_S = 30.0
_FAMILIES: dict[str, dict[str, str]] = {
    "RS256": {"kty": "RSA"},
    "ES256": {"kty": "EC", "crv": "P-256"},
}
"""What a key of a set must say of itself to be used for an algorithm. A shared secret never stands in a set."""

Keys = dict[str, Any]


class KeySource(Protocol):
    """Gives the key for a token."""

    def key_for(self, token: str) -> Any:
        """The one key that the token may be signed with.

        Raises:
            AuthenticationError: there is none.
        """
        ...


class OneKey:
    """A secret or a public key for every token."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def key_for(self, token: str) -> bytes:
        """The key."""
        return self._key


class KeySet:
    """The keys of a JWKS, read again when they are old or do not have the asked one.

    Args:
        read: gives the JWKS as it stands now.
        algorithm: the configured one.
        fresh_s: how long an answer is good for.
    """

    def __init__(self, read: Callable[[], bytes], algorithm: str, *, fresh_s: float = _FRESH_S) -> None:
        self._read = read
        self._algorithm = algorithm
        self._fresh_s = fresh_s
        self._keys: Keys = {}
        self._read_at = float("-inf")

    def key_for(self, token: str) -> Any:
        """The key that the token names; a token that names none fits only a set with one key."""
        kid = _kid_of(token)
        age = time.monotonic() - self._read_at
        # a name that is not there may be of a new key; somebody who makes names up must not have it asked for each time
        if age > self._fresh_s or (age > _ASK_AGAIN_S and self._choose(kid) is None):
            self._keys = usable_keys(self._read(), self._algorithm)
            self._read_at = time.monotonic()
        key = self._choose(kid)
        if key is None:
            raise AuthenticationError("The token is signed with a key that is not in the key set.")
        return key

    def _choose(self, kid: str | None) -> Any:
        if kid is not None:
            return self._keys.get(kid)
        return next(iter(self._keys.values())) if len(self._keys) == 1 else None


def _kid_of(token: str) -> str | None:
    try:
        kid: object = jwt.get_unverified_header(token).get("kid")
    except jwt.PyJWTError as exc:
        raise AuthenticationError("The token is not a JSON web token.") from exc
    return kid if isinstance(kid, str) else None


def usable_keys(text: bytes, algorithm: str) -> Keys:
    """The public keys of a JWKS that may sign with the algorithm, by name; those without a name by their place.

    Raises:
        ConfigError: it is no JWKS, or two keys have one name.
    """
    try:
        listed: object = json.loads(text)["keys"]
        if not isinstance(listed, list):
            raise TypeError("keys is no list")
    except (ValueError, TypeError, KeyError, RecursionError) as exc:
        raise ConfigError("catalog.jwt_jwks: this is no JSON web key set.") from exc
    found: Keys = {}
    for place, entry in enumerate(cast("list[object]", listed)):
        if not isinstance(entry, dict):
            continue
        fields = cast("dict[str, Any]", entry)
        if (key := _usable_key(fields, algorithm)) is None:
            continue
        name = str(fields["kid"]) if "kid" in fields else f"\0{place}"
        if name in found:
            raise ConfigError("catalog.jwt_jwks: two keys of the set have the same name.")
        found[name] = key
    return found


def _usable_key(fields: dict[str, Any], algorithm: str) -> Any:
    """The key, None when it is for something else or cannot be read (a set may hold keys of every kind)."""
    if any(fields.get(name) != value for name, value in _FAMILIES[algorithm].items()):
        return None
    if fields.get("use", "sig") != "sig" or fields.get("alg", algorithm) != algorithm:
        return None
    public = {name: value for name, value in fields.items() if name in ("kty", "crv", "n", "e", "x", "y")}
    try:
        key = jwt.PyJWK(public, algorithm=algorithm).key
    except (jwt.PyJWTError, ValueError, TypeError):
        return None
    return None if isinstance(key, RSAPublicKey) and key.key_size < _MIN_RSA_BITS else key


# -- where keys come from ---------------------------------------------------------------------------------------------


def open_keys(settings: CatalogConfig) -> KeySource:
    """The configured keys.

    Raises:
        ConfigError: none or several are configured, they do not fit the algorithm, or they cannot be read.
    """
    algorithm = settings.jwt_algorithm
    if algorithm == "HS256":
        if settings.jwt_public_key_file or settings.jwt_jwks:
            raise ConfigError("HS256 tokens are signed with catalog.jwt_secret_file, never with a public key.")
        return OneKey(_read_secret(settings.jwt_secret_file))
    if settings.jwt_secret_file:
        raise ConfigError(f"catalog.jwt_secret_file is for HS256; catalog.jwt_algorithm is {algorithm}.")
    if bool(settings.jwt_public_key_file) == bool(settings.jwt_jwks):
        raise ConfigError(
            f"One of catalog.jwt_public_key_file and catalog.jwt_jwks must be set for {algorithm} tokens."
        )
    if settings.jwt_public_key_file:
        return OneKey(_read_public_key(settings.jwt_public_key_file))
    place = settings.jwt_jwks
    if "://" in place:
        check_url(place)
        return KeySet(lambda: fetch(place), algorithm)
    keys = KeySet(lambda: _read_file("catalog.jwt_jwks", place), algorithm, fresh_s=0)
    usable_keys(_read_file("catalog.jwt_jwks", place), algorithm)
    return keys


def _read_file(setting: str, name: str) -> bytes:
    if not name:
        raise ConfigError(f"{setting} must be set.")
    try:
        with Path(name).expanduser().open("rb") as file:
            text = file.read(_MAX_KEY_BYTES + 1)
    except OSError as exc:
        raise ConfigError(f"{setting}: {name} cannot be read: {exc.strerror}.") from exc
    if len(text) > _MAX_KEY_BYTES:
        raise ConfigError(f"{setting}: {name} is larger than {_MAX_KEY_BYTES} bytes.")
    return text


def _read_secret(name: str) -> bytes:
    secret = _read_file("catalog.jwt_secret_file", name).rstrip(b"\r\n")
    if len(secret) < _MIN_SECRET_BYTES:
        raise ConfigError(f"catalog.jwt_secret_file: a secret of at least {_MIN_SECRET_BYTES} bytes is needed.")
    if secret.lstrip().startswith((b"-----BEGIN", b"ssh-")):
        raise ConfigError("catalog.jwt_secret_file holds a key pair's half: what is public is no secret.")
    return secret


def _read_public_key(name: str) -> bytes:
    text = _read_file("catalog.jwt_public_key_file", name)
    try:
        key = load_pem_public_key(text)
    except ValueError as exc:
        raise ConfigError(f"catalog.jwt_public_key_file: {name} is no public key in PEM form.") from exc
    if isinstance(key, RSAPublicKey) and key.key_size < _MIN_RSA_BITS:
        raise ConfigError(f"catalog.jwt_public_key_file: an RSA key of at least {_MIN_RSA_BITS} bits is needed.")
    return text


# -- a key set at a URL -----------------------------------------------------------------------------------------------


def check_url(url: str) -> None:
    """Refuse a URL whose answer somebody on the way could have written.

    Raises:
        ConfigError: neither https, nor http to this machine.
    """
    try:
        parts = urlsplit(url)
        fits = parts.scheme == "https" and bool(parts.hostname)
        fits = fits or (parts.scheme == "http" and _is_loopback(parts.hostname or ""))
        secret = parts.username is not None or parts.password is not None
    except ValueError:
        fits = secret = False
    if not fits or secret:
        raise ConfigError("catalog.jwt_jwks must be an https URL (http only to this machine), without a password.")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """The configured place answers or nobody does."""

    def redirect_request(  # noqa: PLR0917  the base class has them so
        self, req: Any, fp: Any, code: Any, msg: Any, headers: Any, newurl: Any
    ) -> None:
        """Follow nothing."""


def fetch(url: str, *, timeout_s: float = _FETCH_TIMEOUT_S) -> bytes:
    """Read a key set, in bounded time and of bounded size.

    Raises:
        AuthenticationError: it does not come.
    """
    answer: list[bytes | Exception] = []

    def work() -> None:
        try:
            answer.append(_get(url, timeout_s))
        except (OSError, HTTPException, ValueError) as exc:
            answer.append(exc)

    # A time-out of the socket is one of each read: a server that drips would never meet it. The thread is left behind.
    thread = threading.Thread(target=work, name="jwks", daemon=True)
    thread.start()
    thread.join(timeout_s)
    if answer and isinstance(answer[0], bytes):
        return answer[0]
    reason = _reason(answer[0]) if answer and isinstance(answer[0], Exception) else f"no answer in {timeout_s:g} s"
    raise AuthenticationError(
        f"The key set of the identity provider cannot be read ({reason}).",
        hint="Is catalog.jwt_jwks right, and does its server answer? Try again.",
    )


def _reason(exc: Exception) -> str:
    if isinstance(exc, urllib.error.HTTPError):
        return f"HTTP status {exc.code}"
    return str(exc) if isinstance(exc, ValueError) else type(exc).__name__


def _get(url: str, timeout_s: float) -> bytes:
    host = urlsplit(url).hostname or ""
    handlers: list[urllib.request.BaseHandler] = [_NoRedirect()]
    if _is_loopback(host):
        # a proxy would be another machine
        handlers.append(urllib.request.ProxyHandler({}))
    opener = urllib.request.build_opener(*handlers)
    deadline = time.monotonic() + timeout_s
    text = bytearray()
    with opener.open(url, timeout=timeout_s) as response:
        while block := response.read1(64 * 1024):
            text += block
            if len(text) > _MAX_KEY_BYTES:
                raise ValueError(f"larger than {_MAX_KEY_BYTES} bytes")
            if time.monotonic() > deadline:
                raise TimeoutError
    return bytes(text)
