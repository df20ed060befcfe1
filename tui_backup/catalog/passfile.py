"""The product's own libpq password file: where passwords go that came in with a connection string.

The format is libpq's (``host:port:database:user:password``, backslash escapes), so libpq, pg_dump and psql read it
themselves. It is used for a connection only when it holds a fitting line; else libpq's own places count.
"""

from __future__ import annotations

import fcntl
import getpass
import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tui_backup.errors import ConfigError, ValidationError

# host, port, database, user, password
Entry = tuple[str, str, str, str, str]
_SOCKET_FOLDERS = ("/tmp", "/var/run/postgresql", "/run/postgresql")  # noqa: S108  libpq's compiled-in defaults


def split_password(dsn: str) -> tuple[str, str | None]:
    """Take the password out of a connection string.

    Args:
        dsn: key/value string or URI, as libpq takes it.

    Returns:
        The string without it, in key/value form, and the password, None when there was none.

    Raises:
        ValidationError: libpq cannot parse it, or it holds a secret that has no other place.
    """
    try:
        parts = conninfo_to_dict(dsn)
    except psycopg.Error as exc:
        # libpq's message may quote the string, and with it the password
        raise ValidationError(
            "dsn",
            "The connection string cannot be parsed.",
            hint="Write it as 'host=… dbname=… user=…' or 'postgresql://user@host/dbname'; "
            "a special character in a URI is written as %XX.",
        ) from exc
    password = parts.pop("password", None)
    if parts.get("sslpassword"):
        raise ValidationError(
            "dsn", "sslpassword cannot be kept.", hint="Use a client key without a passphrase, readable by you only."
        )
    if password is not None and parts.get("service"):
        raise ValidationError(
            "dsn",
            "A connection string with a service cannot carry a password.",
            hint="Put the password into the service file or into ~/.pgpass.",
        )
    return make_conninfo("", **parts), str(password) if password else None


def remember(path: Path, conninfo: str, password: str) -> None:
    """Keep the password of a connection string's login, for every database of that server.

    Args:
        path: the passfile; made with mode 0600.
        conninfo: string without the password.
        password: the secret.

    Raises:
        ConfigError: the file cannot be written.
        ValidationError: the password holds a line end, which the format cannot hold.
    """
    if "\n" in password or "\r" in password or "\0" in password:
        raise ValidationError("dsn", "A password with a line end cannot be kept in a passfile.")
    fresh = [(host, port, "*", user, password) for host, port, user in _targets(conninfo)]
    keys = {entry[:4] for entry in fresh}
    with _locked(path):
        kept = [entry for entry in _read(path) if entry[:4] not in keys]
        # libpq takes the first line that fits
        _write(path, [*fresh, *kept])


def passfile_for(path: Path, conninfo: str) -> Path | None:
    """The product's passfile when it holds a line for this connection, else None (libpq's own places count).

    Args:
        path: the passfile; may be missing.
        conninfo: connection string of the session to be.
    """
    parts = conninfo_to_dict(conninfo)
    if parts.get("passfile") or parts.get("password") or parts.get("service"):
        return None
    known = _read(path)
    for host, port, user in _targets(conninfo):
        for entry in known:
            if all(have in ("*", want) for have, want in zip((*entry[:2], entry[3]), (host, port, user), strict=True)):
                return path
    return None


def _default(keyword: str) -> str:
    """What libpq uses for a keyword that is not given: the PG* variable or the compiled-in value."""
    for option in pq.Conninfo.get_defaults():
        if option.keyword == keyword.encode():
            return option.val.decode() if option.val else ""
    return ""


def _targets(conninfo: str) -> list[tuple[str, str, str]]:
    """(host, port, user) of every host that libpq may try, as it looks them up in a passfile."""
    parts: Mapping[str, Any] = conninfo_to_dict(conninfo)
    user = str(parts.get("user") or _default("user") or getpass.getuser())
    hosts = str(parts.get("host") or parts.get("hostaddr") or _default("host") or "").split(",")
    ports = str(parts.get("port") or _default("port") or "5432").split(",")
    if len(ports) == 1:
        ports *= len(hosts)
    if len(ports) != len(hosts):
        raise ValidationError("dsn", "The connection string names another number of hosts than of ports.")
    # the default socket folder is looked up as localhost
    named = ["localhost" if host in ("", *_SOCKET_FOLDERS) else host for host in hosts]
    targets = [(host, port or "5432", user) for host, port in zip(named, ports, strict=True)]
    targets += [(h, port or "5432", user) for h, port in zip(hosts, ports, strict=True) if h in _SOCKET_FOLDERS]
    return targets


def _split(line: str) -> Entry | None:
    fields: list[str] = [""]
    escaped = False
    for char in line:
        if escaped:
            fields[-1] += char
            escaped = False
        elif char == "\\":
            escaped = True
        elif char == ":" and len(fields) < 5:
            fields.append("")
        else:
            fields[-1] += char
    return (fields[0], fields[1], fields[2], fields[3], fields[4]) if len(fields) == 5 else None


def _read(path: Path) -> list[Entry]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    except OSError as exc:
        raise ConfigError(f"{path} cannot be read: {exc.strerror}.") from exc
    lines = (line for line in text.split("\n") if line and not line.startswith("#"))
    return [entry for entry in map(_split, lines) if entry]


def _write(path: Path, entries: list[Entry]) -> None:
    text = "".join(
        ":".join(field.replace("\\", "\\\\").replace(":", "\\:") for field in entry) + "\n" for entry in entries
    )
    fresh = path.with_name(path.name + ".new")
    try:
        fresh.unlink(missing_ok=True)
        handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        fresh.replace(path)
    except OSError as exc:
        raise ConfigError(f"{path} cannot be written: {exc.strerror}.") from exc


@contextmanager
def _locked(path: Path) -> Generator[None]:
    """One writer at a time; the lock lies beside the file because the file itself is replaced."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as exc:
        raise ConfigError(f"{path} cannot be written: {exc.strerror}.") from exc
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
