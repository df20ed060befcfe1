"""Tokens: only what is signed in the configured way, in time and for us, names a user."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tui_backup.catalog.tokens import TokenFile
from tui_backup.config import CatalogConfig
from tui_backup.errors import AuthenticationError, ConfigError

SECRET = "x" * 64
USER, TENANT = str(uuid4()), str(uuid4())


@pytest.fixture
def settings(tmp_path: Path) -> CatalogConfig:
    (tmp_path / "secret").write_text(SECRET + "\n")
    return CatalogConfig(
        dsn="x",
        token_file=str(tmp_path / "token"),
        jwt_secret_file=str(tmp_path / "secret"),
        jwt_audience="backup",
        jwt_issuer="https://id.example",
    )


def body(**changes: Any) -> dict[str, Any]:
    """Good claims with changes; None removes one."""
    claims = {"sub": USER, "aud": "backup", "iss": "https://id.example", "exp": time.time() + 60, **changes}
    return {key: value for key, value in claims.items() if value is not None}


def write(settings: CatalogConfig, token: str) -> None:
    """Replace the token as a renewal does."""
    path = Path(settings.token_file)
    fresh = path.with_suffix(".new")
    fresh.write_text(token)
    fresh.replace(path)


def sign(claims: dict[str, Any], key: str = SECRET, algorithm: str = "HS256") -> str:
    return jwt.encode(claims, key, algorithm=algorithm)


def test_a_good_token_names_user_and_tenant(settings: CatalogConfig) -> None:
    write(settings, sign(body(role="admin", extra="x")))
    assert TokenFile(settings).claims() == {"sub": USER}
    write(settings, sign(body(tenant_id=TENANT)))
    assert TokenFile(settings).claims() == {"sub": USER, "tenant_id": TENANT}
    write(settings, sign(body(app_metadata={"tenant_id": TENANT}, user_metadata={"tenant_id": str(uuid4())})))
    assert TokenFile(settings).claims() == {"sub": USER, "tenant_id": TENANT}


@pytest.mark.parametrize(
    "token",
    [
        lambda: sign(body(exp=time.time() - 31)),
        lambda: sign(body(nbf=time.time() + 60)),
        lambda: sign(body(exp=None)),
        lambda: sign(body(aud="other")),
        lambda: sign(body(aud=None)),
        lambda: sign(body(iss="https://evil.example")),
        lambda: sign(body(iss=None)),
        lambda: sign(body(sub=None)),
        lambda: sign(body(sub="admin")),
        lambda: sign(body(tenant_id="' OR true")),
        lambda: sign(body(), key="y" * 40),
        lambda: sign(body(), algorithm="HS384"),
        lambda: jwt.encode(body(), None, algorithm="none"),
        lambda: sign(body())[:-3],
        lambda: "",
        lambda: "a.b.c",
    ],
)
def test_anything_else_is_refused(settings: CatalogConfig, token: Callable[[], str]) -> None:
    text = token()
    write(settings, text)
    with pytest.raises(AuthenticationError) as caught:
        TokenFile(settings).claims()
    assert not text or text not in str(caught.value.to_json())


def test_thirty_seconds_of_clock_difference_are_forgiven(settings: CatalogConfig) -> None:
    write(settings, sign(body(exp=time.time() - 20, nbf=time.time() + 20)))
    assert TokenFile(settings).claims() == {"sub": USER}


def test_a_token_that_runs_out_is_read_again(settings: CatalogConfig) -> None:
    expires = int(time.time()) - 28
    write(settings, sign(body(exp=expires)))
    tokens = TokenFile(settings)
    tokens.claims()
    time.sleep(expires + 30.1 - time.time())
    with pytest.raises(AuthenticationError, match="expired"):
        tokens.claims()
    write(settings, sign(body()))
    assert tokens.claims() == {"sub": USER}


def test_a_renewed_token_must_be_the_same_users(settings: CatalogConfig) -> None:
    write(settings, sign(body()))
    tokens = TokenFile(settings)
    tokens.claims()
    write(settings, sign(body(sub=str(uuid4()))))
    with pytest.raises(AuthenticationError, match="another user"):
        tokens.claims()


def test_a_public_key_is_no_secret_to_sign_with(settings: CatalogConfig, tmp_path: Path) -> None:
    """The algorithm is ours to choose: with a public key as HMAC secret nobody gets in."""
    private = ec.generate_private_key(ec.SECP256R1())
    public = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    (tmp_path / "public.pem").write_bytes(public)
    es256 = CatalogConfig(
        token_file=settings.token_file,
        jwt_algorithm="ES256",
        jwt_public_key_file=str(tmp_path / "public.pem"),
        jwt_audience="backup",
    )
    write(settings, jwt.encode(body(), private, algorithm="ES256"))
    assert TokenFile(es256).claims() == {"sub": USER}
    write(settings, sign(body()))
    with pytest.raises(AuthenticationError):
        TokenFile(es256).claims()


@pytest.mark.parametrize("broken", ["short", "missing", "no audience", "no key"])
def test_a_configuration_that_cannot_be_safe_is_refused(settings: CatalogConfig, broken: str) -> None:
    secret = Path(settings.jwt_secret_file)
    changed = {"jwt_secret_file": settings.jwt_secret_file, "jwt_audience": "backup"}
    if broken == "short":
        secret.write_text("x" * 31)
    if broken == "missing":
        secret.unlink()
    if broken == "no audience":
        changed["jwt_audience"] = ""
    if broken == "no key":
        changed["jwt_secret_file"] = ""
    with pytest.raises(ConfigError):
        TokenFile(CatalogConfig(token_file=settings.token_file, **changed))
