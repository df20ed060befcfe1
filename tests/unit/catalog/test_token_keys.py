"""Keys: pinned to one algorithm, chosen by name only among those that fit, from files and from a real server."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import uuid4

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from tui_backup.catalog import token_keys
from tui_backup.catalog.token_keys import check_url, fetch, usable_keys
from tui_backup.catalog.tokens import TOKEN_VARIABLE, Verifier, open_token
from tui_backup.config import CatalogConfig, Config, Settings
from tui_backup.errors import AuthenticationError, ConfigError

USER = str(uuid4())
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER_RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC = ec.generate_private_key(ec.SECP256R1())


def pem(private: Any) -> bytes:
    return private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def entry(private: Any, **more: Any) -> dict[str, Any]:
    """The key's public half as a set holds it."""
    algorithm = RSAAlgorithm if isinstance(private, rsa.RSAPrivateKey) else ECAlgorithm
    return {**json.loads(algorithm.to_jwk(private.public_key())), **more}


def key_set(*entries: dict[str, Any]) -> bytes:
    return json.dumps({"keys": entries}).encode()


def token(key: Any = RSA, algorithm: str = "RS256", *, kid: str | None = "one", **changes: Any) -> str:
    claims = {"sub": USER, "aud": "backup", "exp": int(time.time()) + 60, **changes}
    headers = {} if kid is None else {"kid": kid}
    return jwt.encode(claims, key, algorithm=algorithm, headers=headers)


def verifier(place: str | Path, algorithm: str = "RS256") -> Verifier:
    return Verifier(CatalogConfig(jwt_algorithm=algorithm, jwt_jwks=str(place), jwt_audience="backup"))


class Provider(ThreadingHTTPServer):
    """An identity provider's key server that answers as a test says."""

    daemon_threads = True

    def __init__(self, answer: Callable[[BaseHTTPRequestHandler], None]) -> None:
        self.asked = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked += 1
                try:
                    answer(self)
                except OSError:
                    self.close_connection = True

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/keys"


Serve = Callable[[Callable[[BaseHTTPRequestHandler], None]], Provider]


@pytest.fixture
def serve() -> Iterator[Serve]:
    made: list[Provider] = []

    def start(answer: Callable[[BaseHTTPRequestHandler], None]) -> Provider:
        made.append(Provider(answer))
        threading.Thread(target=made[-1].serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return made[-1]

    yield start
    for provider in made:
        provider.shutdown()
        provider.server_close()


def saying(text: bytes) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(len(text)))
        request.end_headers()
        request.wfile.write(text)

    return answer


@contextmanager
def within(seconds: float) -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < seconds


def test_the_key_is_chosen_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "jwks").write_bytes(key_set(entry(OTHER_RSA, kid="two"), entry(RSA, kid="one"), entry(EC, kid="ec")))
    checks = verifier(tmp_path / "jwks")
    assert checks.verify(token()).claims == {"sub": USER}
    assert checks.verify(token(OTHER_RSA, kid="two")).claims == {"sub": USER}
    assert verifier(tmp_path / "jwks", "ES256").verify(token(EC, "ES256", kid="ec")).claims == {"sub": USER}


HOSTILE: dict[str, Callable[[], str]] = {
    "unknown kid": lambda: token(kid="nobody"),
    "no kid, several keys": lambda: token(kid=None),
    "another key's name": lambda: token(RSA, kid="two"),
    "a key of another algorithm": lambda: token(EC, "ES256", kid="ec"),
    "alg=none": lambda: jwt.encode({"sub": USER, "aud": "backup"}, None, algorithm="none", headers={"kid": "one"}),
    "RS512": lambda: token(RSA, "RS512"),
    "HS256": lambda: token("x" * 64, "HS256"),
    "expired": lambda: token(exp=int(time.time()) - 31),
    "not yet valid": lambda: token(nbf=int(time.time()) + 60),
    "wrong audience": lambda: token(aud="other"),
    "endless": lambda: token(exp=float("inf")),
    "far": lambda: token(exp=10**30),
    "unsigned": lambda: token().rsplit(".", 1)[0] + ".",
    "huge": lambda: token(extra="x" * 20_000),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_token_is_refused(tmp_path: Path, case: str) -> None:
    (tmp_path / "jwks").write_bytes(key_set(entry(OTHER_RSA, kid="two"), entry(RSA, kid="one"), entry(EC, kid="ec")))
    with pytest.raises(AuthenticationError):
        verifier(tmp_path / "jwks").verify(HOSTILE[case]())


@pytest.mark.parametrize("how", ["pem", "jwks"])
def test_the_public_key_as_secret_opens_nothing(tmp_path: Path, how: str) -> None:
    """The oldest trick: HS256 over the RSA public key's text, which everybody has."""
    import base64
    import hashlib
    import hmac

    (tmp_path / "pem").write_bytes(pem(RSA))
    (tmp_path / "jwks").write_bytes(key_set(entry(RSA, kid="one")))

    def part(text: bytes) -> bytes:
        return base64.urlsafe_b64encode(text).rstrip(b"=")

    body = json.dumps({"sub": USER, "aud": "backup", "exp": int(time.time()) + 60}).encode()
    signed = part(b'{"alg":"HS256","typ":"JWT","kid":"one"}') + b"." + part(body)
    forged = (signed + b"." + part(hmac.digest(pem(RSA), signed, hashlib.sha256))).decode()
    settings = CatalogConfig(
        jwt_algorithm="RS256",
        jwt_audience="backup",
        jwt_public_key_file=str(tmp_path / "pem") if how == "pem" else "",
        jwt_jwks=str(tmp_path / "jwks") if how == "jwks" else "",
    )
    assert Verifier(settings).verify(token()).claims == {"sub": USER}
    with pytest.raises(AuthenticationError):
        Verifier(settings).verify(forged)
    with pytest.raises(ConfigError):
        Verifier(CatalogConfig(jwt_secret_file=str(tmp_path / "pem"), jwt_audience="backup"))


def test_unfit_keys_of_a_set_are_not_used(tmp_path: Path) -> None:
    weak = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505  that is what is tested
    unfit = (
        entry(RSA, kid="enc", use="enc"),
        entry(RSA, kid="alg", alg="PS256"),
        entry(weak, kid="weak"),
        {"kty": "oct", "k": "eHg", "kid": "oct"},
        {"kty": "RSA", "n": "?", "e": "!", "kid": "broken"},
    )
    text = key_set(*unfit, entry(RSA, kid="one", use="sig", alg="RS256"))
    assert set(usable_keys(text, "RS256")) == {"one"}
    (tmp_path / "jwks").write_bytes(text)
    assert verifier(tmp_path / "jwks").verify(token(kid=None)).claims == {"sub": USER}
    with pytest.raises(AuthenticationError):
        verifier(tmp_path / "jwks").verify(token(kid="enc"))


@pytest.mark.parametrize("text", [b"", b"[]", b'{"keys": 1}', b"{", b'{"keys": [], "x": ' + b"[" * 100_000])
def test_what_is_no_key_set_is_said(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "jwks").write_bytes(text)
    with pytest.raises(ConfigError, match="no JSON web key set"):
        verifier(tmp_path / "jwks")
    (tmp_path / "jwks").write_bytes(key_set(entry(RSA, kid="one"), entry(OTHER_RSA, kid="one")))
    with pytest.raises(ConfigError, match="same name"):
        verifier(tmp_path / "jwks")


def test_a_key_set_file_is_read_again(tmp_path: Path) -> None:
    (tmp_path / "jwks").write_bytes(key_set(entry(RSA, kid="one")))
    checks = verifier(tmp_path / "jwks")
    checks.verify(token())
    (tmp_path / "jwks").write_bytes(key_set(entry(OTHER_RSA, kid="two")))
    assert checks.verify(token(OTHER_RSA, kid="two")).claims == {"sub": USER}
    with pytest.raises(AuthenticationError):
        checks.verify(token())


# -- the URL -----------------------------------------------------------------------------------------------------------


def test_a_key_set_is_fetched_once_and_made_up_names_ask_for_nothing(serve: Serve) -> None:
    provider = serve(saying(key_set(entry(RSA, kid="one"))))
    checks = verifier(provider.url)
    for _ in range(3):
        assert checks.verify(token()).claims == {"sub": USER}
    for _ in range(5):
        with pytest.raises(AuthenticationError):
            checks.verify(token(kid=uuid4().hex))
    assert provider.asked == 1


def test_a_new_key_is_found_after_a_while(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    known = [entry(RSA, kid="one")]

    def answer(request: BaseHTTPRequestHandler) -> None:
        saying(key_set(*known))(request)

    provider = serve(answer)
    checks = verifier(provider.url)
    checks.verify(token())
    known.append(entry(OTHER_RSA, kid="two"))
    monkeypatch.setattr(token_keys, "_ASK_AGAIN_S", -1.0)
    assert checks.verify(token(OTHER_RSA, kid="two")).claims == {"sub": USER}
    assert provider.asked == 2


def _endless(request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.send_header("Content-Length", str(1 << 30))
    request.end_headers()
    block = b" " * 65536
    for _ in range(1 << 14):
        request.wfile.write(block)


def _hanging(_: BaseHTTPRequestHandler) -> None:
    time.sleep(3)


def _dripping(request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.end_headers()
    for _ in range(100):
        request.wfile.write(b" ")
        time.sleep(0.05)


def _elsewhere(request: BaseHTTPRequestHandler) -> None:
    request.send_response(302)
    request.send_header("Location", "http://127.0.0.1:1/")
    request.end_headers()


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (_endless, "larger than"),
        (_hanging, "no answer|Timeout"),
        (_dripping, "no answer|Timeout"),
        (_elsewhere, "HTTP status 302"),
        (lambda request: request.send_error(500), "HTTP status 500"),
    ],
    ids=["1 GB", "hangs", "drips", "redirects", "fails"],
)
def test_a_hostile_key_server_costs_little(
    serve: Serve, answer: Callable[[BaseHTTPRequestHandler], None], says: str
) -> None:
    with within(2), pytest.raises(AuthenticationError, match=says):
        fetch(serve(answer).url, timeout_s=0.6)


def test_nobody_there() -> None:
    with pytest.raises(AuthenticationError, match="cannot be read"):
        fetch("http://127.0.0.1:1/keys")


@pytest.mark.parametrize(
    "url",
    [
        "http://id.example/keys",
        "http://127.0.0.1.evil.example/",
        "http://2130706433.example/",
        "file:///etc/passwd",
        "ftp://127.0.0.1/x",
        "https:///x",
        "https://user:secret@id.example/keys",
        "http://[::1/x",
    ],
)
def test_an_unsafe_url_is_refused(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_url(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["https://id.example/keys", "http://localhost:1/", "http://[::1]:1/", "http://127.9.9.9/"]
)
def test_a_safe_url_is_taken(url: str) -> None:
    check_url(url)


# -- which token -------------------------------------------------------------------------------------------------------


def test_the_environment_comes_first_then_the_kept_token(tmp_path: Path) -> None:
    (tmp_path / "jwks").write_bytes(key_set(entry(RSA, kid="one")))
    settings = Settings(
        catalog=CatalogConfig(jwt_algorithm="RS256", jwt_jwks=str(tmp_path / "jwks"), jwt_audience="backup")
    )
    config = Config(settings=settings, file=tmp_path / "c", state_dir=tmp_path, data_dir=tmp_path)
    assert settings.catalog.takes_tokens and not CatalogConfig(dsn="x").takes_tokens
    with pytest.raises(AuthenticationError, match="Nobody is logged in") as caught:
        open_token(config, {}).claims()
    assert "tui-backup login" in caught.value.hint
    other = str(uuid4())
    config.kept_token.write_text(token() + "\n")
    assert open_token(config, {}).claims() == {"sub": USER}
    assert open_token(config, {TOKEN_VARIABLE: token(sub=other)}).claims() == {"sub": other}
    with pytest.raises(AuthenticationError):
        open_token(config, {TOKEN_VARIABLE: token(aud="other")}).claims()
    config.kept_token.write_text("ä" * 100)
    with pytest.raises(AuthenticationError, match="cannot be read"):
        open_token(config, {}).claims()


@pytest.mark.parametrize(
    "wrong",
    [
        {"jwt_algorithm": "HS256", "jwt_jwks": "jwks"},
        {"jwt_algorithm": "HS256", "jwt_secret_file": "secret", "jwt_public_key_file": "pem"},
        {"jwt_algorithm": "RS256", "jwt_secret_file": "secret", "jwt_jwks": "jwks"},
        {"jwt_algorithm": "RS256", "jwt_public_key_file": "pem", "jwt_jwks": "jwks"},
        {"jwt_algorithm": "RS256"},
        {"jwt_algorithm": "RS256", "jwt_public_key_file": "secret"},
        {"jwt_algorithm": "RS256", "jwt_jwks": "missing"},
        {"jwt_algorithm": "RS256", "jwt_jwks": "http://id.example/"},
    ],
)
def test_settings_that_do_not_fit_are_refused(tmp_path: Path, wrong: dict[str, str]) -> None:
    (tmp_path / "secret").write_text("x" * 64)
    (tmp_path / "pem").write_bytes(pem(RSA))
    (tmp_path / "jwks").write_bytes(key_set(entry(RSA)))
    named = {
        name: str(tmp_path / value) if name != "jwt_algorithm" and "://" not in value else value
        for name, value in wrong.items()
    }
    with pytest.raises(ConfigError):
        Verifier(CatalogConfig(jwt_audience="backup", **named))
