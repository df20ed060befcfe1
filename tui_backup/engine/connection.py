"""Connections to source and target servers by libpq's own rules, and their failures as typed errors.

psycopg resolves a connection string once (service files, ``.pgpass``, ``PG*`` variables, several hosts). What
it resolved is then handed to the COPY pump (:class:`PumpParameters`) and to PostgreSQL's client tools
(:func:`child_environment`), so that all three talk to the same server as the same role. Secrets travel in
memory and in the environment of child processes only, never in an argument list, a message or a log.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict

from tui_backup.errors import (
    ConnectionFailedError,
    LockTimeoutError,
    LoginFailedError,
    ServerTooOldError,
    SourceChangedError,
    SourcePermissionError,
    SqlFailedError,
    TenantRowError,
    TlsRequiredError,
    TuiBackupError,
    ValidationError,
)

Connection = psycopg.Connection[tuple[Any, ...]]

# what a statement of ours fails with at a row that is not one tenant's (engine/logical/tenants/predicate.py)
NOT_THE_TENANTS = "tui-backup: not the rows of one tenant"

OLDEST_SERVER = 140000

# A peer that vanishes without a word is noticed in about a minute; the user's own values win.
_KEEPALIVES = {
    "keepalives": 1,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}

# What a client tool needs from our environment; PG* variables come from the resolved connection only.
_INHERITED = ("PATH", "HOME", "TMPDIR", "KRB5CCNAME", "KRB5_CONFIG", "SSL_CERT_FILE", "SSL_CERT_DIR")

# Resolved already, or would change what the tools print.
_NOT_FOR_CHILDREN = {
    "PGSERVICE",
    "PGSERVICEFILE",
    "PGTARGETSESSIONATTRS",
    "PGLOADBALANCEHOSTS",
    "PGCLIENTENCODING",
}

_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


def connect(
    conninfo: str,
    *,
    application_name: str,
    dbname: str | None = None,
    autocommit: bool = True,
    connect_timeout_s: int = 10,
    passfile: Path | None = None,
) -> Connection:
    """Open a connection by libpq's rules.

    Args:
        conninfo: key/value string or URI, as libpq takes it; may be empty (then ``PG*`` variables rule).
        application_name: what pg_stat_activity shows.
        dbname: another database than the connection string's.
        autocommit: psycopg's autocommit.
        connect_timeout_s: limit for each host; a connect_timeout in the string wins.
        passfile: password file to use in place of libpq's own.

    Raises:
        ValidationError: the string cannot be parsed.
        LoginFailedError, TlsRequiredError, ConnectionFailedError: no session.
        ServerTooOldError: a server older than 14.
    """
    given = parse_conninfo(conninfo)
    settings: dict[str, Any] = {"connect_timeout": connect_timeout_s, **_KEEPALIVES, **given}
    settings["application_name"] = application_name
    if dbname is not None:
        settings["dbname"] = dbname
    if passfile is not None:
        settings["passfile"] = str(passfile)
    try:
        # metadata is read as UTF-8 whatever the database holds; the pump sets its own encoding
        settings["client_encoding"] = "UTF8"
        connection: Connection = psycopg.connect("", autocommit=autocommit, **settings)
    except (psycopg.Error, OSError) as exc:
        raise _connect_error(exc) from exc
    if connection.info.server_version < OLDEST_SERVER:
        version = connection.info.parameter_status("server_version") or str(connection.info.server_version)
        connection.close()
        raise ServerTooOldError(f"The server runs PostgreSQL {version}; 14 or newer is needed.")
    return connection


def parse_conninfo(conninfo: str) -> dict[str, Any]:
    """Split a connection string; a broken one is named without quoting it, since it may hold a password.

    Raises:
        ValidationError: libpq cannot parse it.
    """
    try:
        return conninfo_to_dict(conninfo)
    except psycopg.Error as exc:
        raise ValidationError(
            "dsn",
            "The connection string cannot be parsed.",
            hint="Write it as 'host=… dbname=… user=…' or 'postgresql://user@host/dbname'; "
            "quote values that hold spaces or quotes.",
        ) from exc


# What libpq and the server say, in the order tried: libpq gives no SQLSTATE for a failed connect.
_SETTING_REFUSED = re.compile(r"invalid \S+ value:|invalid (?:port number|integer value)|could not match \d+ port")
_TLS_DEMANDED = re.compile(
    r"no encryption|SSL off|does not support SSL|SSL is required|SSL connection is required"
    r"|SSL support is not compiled in|certificate verify failed|root certificate file .* does not exist"
    r"|server certificate for .* does not match|requires? (?:a )?secure (?:transport|connection)",
    re.IGNORECASE,
)
_LOGIN_REFUSED = re.compile(
    r"password authentication failed|authentication failed for user|no password supplied"
    r"|role .* does not exist|role .* is not permitted to log in|database .* does not exist"
    r"|no pg_hba\.conf entry|pg_hba\.conf rejects|permission denied for database"
    r"|not currently accepting connections|too many connections for role|too many connections for database"
    r"|client cert|authentication method .* not|SCRAM|GSSAPI|fe_sendauth",
    re.IGNORECASE,
)


def _connect_error(exc: psycopg.Error | OSError) -> TuiBackupError:
    said = _one_line(str(exc))
    if isinstance(exc, psycopg.ProgrammingError) or _SETTING_REFUSED.search(said):
        # libpq knows the setting and refuses its value; that could be anything, so it is not repeated
        return ValidationError("dsn", "The connection string holds a setting that libpq refuses.")
    if _TLS_DEMANDED.search(said):
        return TlsRequiredError(
            f"No connection that meets the TLS rules of both sides: {said}",
            hint="Set sslmode (require, verify-ca, verify-full) and sslrootcert in the connection string to "
            "what the server offers.",
        )
    if _LOGIN_REFUSED.search(said):
        return LoginFailedError(f"The server refused the login: {said}")
    return ConnectionFailedError(f"No connection to the server: {said}")


def _one_line(text: str) -> str:
    return " ".join(text.split())


_CONNECTION_LOST = {"57P01", "57P02", "57P03", "57P05", "53300"}
_CHANGED = {"42P01", "42703", "3F000", "42883", "XX000"}


def map_error(exc: BaseException, what: str) -> TuiBackupError:
    """Turn a driver's error into ours.

    Args:
        exc: a psycopg or asyncpg error, an OSError or a TimeoutError.
        what: what was being done, e.g. ``"reading public.orders"``; begins the message.

    Returns:
        The typed error; the caller raises it ``from`` the original.
    """
    if isinstance(exc, TuiBackupError):
        return exc
    sqlstate = str(getattr(exc, "sqlstate", None) or "")
    said = _server_message(exc)
    message = f"{what[:1].upper()}{what[1:]}: {said}"
    details: dict[str, Any] = {"sqlstate": sqlstate} if sqlstate else {}
    if sqlstate == "22P02" and NOT_THE_TENANTS in said:
        place = said.partition(NOT_THE_TENANTS)[2].strip(' "')
        message = f"{what[:1].upper()}{what[1:]}: the row at ctid {place} belongs to another tenant, or to two."
        return TenantRowError(message, details={**details, "ctid": place})
    if sqlstate[:2] == "08" or sqlstate in _CONNECTION_LOST or _is_lost(exc, sqlstate):
        return ConnectionFailedError(message, details=details)
    if sqlstate == "55P03":
        return LockTimeoutError(message, details=details)
    if sqlstate in _CHANGED and (sqlstate != "XX000" or "could not open relation" in said):
        return SourceChangedError(message, details=details)
    if sqlstate == "42501":
        return SourcePermissionError(message, details=details)
    if sqlstate == "40001":
        # on a standby: recovery removed rows or a lock that the snapshot still needed
        return ConnectionFailedError(
            message,
            hint="A standby ended the query: raise max_standby_streaming_delay there, "
            "set hot_standby_feedback = on, or back up the primary.",
            details=details,
        )
    return SqlFailedError(message, hint=_SQL_HINTS.get(sqlstate), details=details)


_SQL_HINTS = {
    "53100": "The server's disk is full: free space there.",
    "53200": "The server ran out of shared memory: raise max_locks_per_transaction, or use fewer workers.",
    "22021": "The database holds text that is not valid in its encoding; repair the named value first.",
    "XX001": "The server found a damaged page: check its storage and restore from a good backup.",
    "XX002": "The server found a damaged index: REINDEX it and try again.",
}


def _server_message(exc: BaseException) -> str:
    diag = getattr(exc, "diag", None)
    primary = getattr(diag, "message_primary", None) or getattr(exc, "message", None)
    text = _one_line(str(primary or exc))
    return text or type(exc).__name__


def _is_lost(exc: BaseException, sqlstate: str) -> bool:
    if isinstance(exc, (OSError, EOFError, TimeoutError)):
        return True
    if sqlstate:
        return False
    # without a SQLSTATE an OperationalError is libpq's own: the line is gone; asyncpg says it by class
    if isinstance(exc, (psycopg.OperationalError, psycopg.InterfaceError)):
        return True
    return type(exc).__module__.startswith("asyncpg")


# -- what libpq resolved ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PumpParameters:
    """What libpq resolved for one live session, so that other drivers reach the same server.

    Args:
        host: host name, or the socket's folder.
        hostaddr: numeric address when one was given, else ''.
        port: TCP port or the socket's number.
        user, password, dbname: as the session uses them.
        tls: whether the session is encrypted.
        options: every other resolved libpq keyword with a value.
    """

    host: str
    hostaddr: str
    port: int
    user: str
    dbname: str
    tls: bool
    gssapi: bool
    password: str = field(default="", repr=False)
    options: dict[str, str] = field(default_factory=dict[str, str], repr=False)

    @classmethod
    def from_connection(cls, connection: Connection) -> PumpParameters:
        """Read them off a live psycopg session."""
        pgconn = connection.pgconn
        options = _resolved(connection)
        return cls(
            host=pgconn.host.decode() or options.get("hostaddr", ""),
            hostaddr=options.get("hostaddr", ""),
            port=int(pgconn.port),
            user=pgconn.user.decode(),
            password=pgconn.password.decode(),
            dbname=pgconn.db.decode(),
            tls=pgconn.ssl_in_use,
            gssapi=pgconn.used_gssapi,
            options=options,
        )

    @property
    def is_unix(self) -> bool:
        """Whether the session runs over a unix socket."""
        return self.host.startswith(("/", "@"))

    @property
    def is_local(self) -> bool:
        """Whether server and client share the machine, as far as the address tells."""
        return self.is_unix or (self.hostaddr or self.host) in _LOOPBACK

    @property
    def needs_tls(self) -> bool:
        """Whether another client must use TLS too: on a loopback ``prefer`` is politeness only."""
        return self.tls and not (self.is_local and self.options.get("sslmode", "prefer") in ("prefer", "allow"))


def _resolved(connection: Connection) -> dict[str, str]:
    return {
        option.keyword.decode(): option.val.decode()
        for option in connection.pgconn.info
        if option.val is not None and option.val != b""
    }


def child_environment(connection: Connection | str, dbname: str | None = None) -> dict[str, str]:
    """The whole environment of a client tool: connection settings as ``PG*`` variables and little else.

    Args:
        connection: a live session (then its very host and port), or a connection string.
        dbname: another database than the session's.
    """
    if isinstance(connection, str):
        parse_conninfo(connection)
        options = pq.Conninfo.parse(connection.encode())
        # PG* variables and service files are still to be applied by the tool itself
        env = {name: value for name, value in os.environ.items() if name.startswith("PG")}
    else:
        options = connection.pgconn.info
        env = {}
    for option in options:
        if option.envvar and option.val:
            env[option.envvar.decode()] = option.val.decode()
    if not isinstance(connection, str):
        pgconn = connection.pgconn
        for name in _NOT_FOR_CHILDREN:
            env.pop(name, None)
        env["PGHOST"] = pgconn.host.decode()
        env["PGPORT"] = pgconn.port.decode()
        env["PGUSER"] = pgconn.user.decode()
        env["PGDATABASE"] = pgconn.db.decode()
        if pgconn.password:
            env["PGPASSWORD"] = pgconn.password.decode()
    env.pop("PGCLIENTENCODING", None)
    if dbname is not None:
        env["PGDATABASE"] = dbname
    env.update({name: os.environ[name] for name in _INHERITED if name in os.environ})
    # the tools' own messages are parsed; the server's are not
    env["LC_ALL"] = "C"
    return env
