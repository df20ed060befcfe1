"""Lines: sessions that import the snapshot and stream COPY output.

:class:`AsyncpgLine` hands over blocks of many rows as asyncpg's C reader takes them off the wire.
:class:`PsycopgLine` is the slow way round for what asyncpg cannot do: GSSAPI, channel binding demanded, and
the rarer settings of libpq.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import asyncpg
import psycopg

from tui_backup.engine.connection import PumpParameters, connect, map_error
from tui_backup.engine.logical.cut import copy_out
from tui_backup.engine.logical.locks import BEGIN_SQL
from tui_backup.engine.logical.names import literal
from tui_backup.engine.logical.session import session_settings, set_statements
from tui_backup.errors import ConnectionFailedError, LockTimeoutError, TuiBackupError

_log = logging.getLogger(__name__)

Take = Callable[[bytes | bytearray | memoryview], None]

# asyncpg has no types of its own
_untyped: Any = asyncpg

# InternalClientError is what a session says that the server ended between two statements
ASYNCPG_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)

_CONNECT_TIMEOUT_S = 10.0
_CLOSE_TIMEOUT_S = 5.0
_SNAPSHOT_GONE = {"22023", "42704", "55000"}
_KEEPALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 60_000}


@dataclass(frozen=True, slots=True)
class LinePlan:
    """What every line of one backup needs.

    Args:
        conninfo, passfile: for psycopg.
        parameters: what libpq resolved, for asyncpg.
        snapshot: the exported snapshot's name.
        lock_statement: locks that the line takes at once, so that DDL queued later cannot come between; or None.
        lock_timeout_s: limit for a lock, here and in each COPY.
        encoding: of the streams: the database's own.
        last_statements: what a line runs after its locks.
    """

    conninfo: str = field(repr=False)
    passfile: Path | None
    parameters: PumpParameters
    application_name: str
    major: int
    lc_monetary: str
    snapshot: str
    lock_statement: str | None
    lock_timeout_s: float
    encoding: str
    last_statements: tuple[str, ...] = ()

    @property
    def set_up(self) -> list[str]:
        """The statements that make a new session a line."""
        settings = session_settings(self.major, self.lc_monetary)
        settings["lock_timeout"] = str(max(1, round(self.lock_timeout_s * 1000)))
        statements = [
            set_statements(settings),
            BEGIN_SQL,
            f"SET TRANSACTION SNAPSHOT {literal(self.snapshot)}",
        ]
        return [*statements, *([self.lock_statement] if self.lock_statement else []), *self.last_statements]


class Line(Protocol):
    """One session that copies; used by one thread."""

    @property
    def backend_pid(self) -> int:
        """The server process, for cancelling from another session."""
        ...

    async def copy(self, query: str, take: Take) -> int:
        """Stream a query's rows as COPY text; returns how many the server says it sent."""
        ...

    async def row(self, query: str) -> tuple[int, ...]:
        """The only row of a query whose columns are integers."""
        ...

    async def close(self) -> None:
        """End the session."""
        ...

    def cut(self) -> None:
        """Break the connection now; callable from any thread."""
        ...


async def open_line(plan: LinePlan) -> Line:
    """Open a line, by asyncpg if it can.

    Raises:
        TuiBackupError: neither driver gets a session.
    """
    if _asyncpg_can(plan.parameters):
        try:
            return await AsyncpgLine.open(plan)
        except TuiBackupError:
            raise
        except (*ASYNCPG_ERRORS, OSError, TimeoutError, ValueError) as exc:
            # psycopg has just shown that a session can be had; if that is over, its error is the clear one
            _log.warning("asyncpg cannot connect (%s); using the slower psycopg", type(exc).__name__)
    return PsycopgLine(plan)


def _asyncpg_can(parameters: PumpParameters) -> bool:
    options = parameters.options
    if parameters.gssapi or options.get("channel_binding") == "require":
        return False
    if options.get("sslnegotiation") == "direct" or options.get("sslpassword") or options.get("sslcrldir"):
        return False
    return not (options.get("require_auth") or options.get("requirepeer") or parameters.host.startswith("@"))


class _NamedContext(ssl.SSLContext):
    """Sends and verifies the host's name where asyncpg connects to the very address that libpq resolved it to."""

    host: str

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        return super().wrap_bio(incoming, outgoing, server_side, self.host, session)


def ssl_context(parameters: PumpParameters) -> ssl.SSLContext | bool:
    """TLS for asyncpg as strict as libpq's for the session that we have.

    Raises:
        OSError: a certificate file cannot be read (ssl.SSLError is one).
    """
    if not parameters.tls:
        return False
    options = parameters.options
    mode = options.get("sslmode", "prefer")
    context = _NamedContext(ssl.PROTOCOL_TLS_CLIENT)
    context.host = parameters.host
    context.check_hostname = mode == "verify-full"
    default_root = Path.home() / ".postgresql" / "root.crt"
    root = options.get("sslrootcert") or (str(default_root) if default_root.exists() else None)
    if root == "system":
        context.load_default_certs()
        context.check_hostname = True
    elif mode in ("verify-ca", "verify-full") or (mode == "require" and root and Path(root).exists()):
        # libpq verifies under "require", too, where a root certificate is there
        context.load_verify_locations(root)
        if options.get("sslcrl"):
            context.load_verify_locations(options["sslcrl"])
            context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN
    else:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    _load_client_certificate(context, options)
    return context


def _load_client_certificate(context: ssl.SSLContext, options: dict[str, str]) -> None:
    folder = Path.home() / ".postgresql"
    certificate = Path(options.get("sslcert") or folder / "postgresql.crt")
    key = Path(options.get("sslkey") or folder / "postgresql.key")
    if certificate.exists() and options.get("sslcertmode") != "disable":
        context.load_cert_chain(certificate, key)


def _opening_error(exc: BaseException) -> TuiBackupError:
    error = map_error(exc, "opening a reading session")
    if getattr(exc, "sqlstate", None) in _SNAPSHOT_GONE and "snapshot" in error.message:
        return ConnectionFailedError(
            "The coordinating session was ended, and its snapshot with it.", details=error.details
        )
    if isinstance(error, LockTimeoutError):
        return LockTimeoutError(
            "Another session's DDL began to wait behind the backup's locks before all its readers had theirs.",
            hint="Run the backup again when no DDL is waiting.",
            details=error.details,
        )
    return error


class AsyncpgLine:
    """A line by asyncpg. An exception raised by ``take`` ends the COPY at once and leaves the session usable."""

    def __init__(self, connection: Any, plan: LinePlan) -> None:
        self._connection = connection
        self._encoding = plan.encoding
        self._loop = asyncio.get_running_loop()

    @classmethod
    async def open(cls, plan: LinePlan) -> AsyncpgLine:
        """Connect, import the snapshot, take the locks."""
        parameters = plan.parameters
        connection = await _untyped.connect(
            host=parameters.hostaddr or parameters.host,
            port=parameters.port,
            user=parameters.user,
            password=parameters.password,
            database=parameters.dbname,
            ssl=ssl_context(parameters),
            timeout=_CONNECT_TIMEOUT_S,
            statement_cache_size=0,
            server_settings={"application_name": plan.application_name},
        )
        line = cls(connection, plan)
        try:
            _keep_alive(connection)
            for statement in plan.set_up:
                await connection.execute(statement)
        except BaseException as exc:
            connection.terminate()
            if isinstance(exc, (*ASYNCPG_ERRORS, OSError, TimeoutError)):
                raise _opening_error(exc) from exc
            raise
        return line

    @property
    def backend_pid(self) -> int:
        return self._connection.get_server_pid()

    async def copy(self, query: str, take: Take) -> int:
        async def output(block: bytes) -> None:
            take(block)

        # the encoding goes into the COPY, so the session stays UTF-8 and takes any name
        status = await self._connection.copy_from_query(query, output=output, format="text", encoding=self._encoding)
        return int(status.rpartition(" ")[2])

    async def row(self, query: str) -> tuple[int, ...]:
        return tuple(await self._connection.fetchrow(query))

    async def close(self) -> None:
        try:
            await self._connection.close(timeout=_CLOSE_TIMEOUT_S)
        except (*ASYNCPG_ERRORS, OSError, TimeoutError):
            self._connection.terminate()

    def cut(self) -> None:
        with suppress(RuntimeError):  # the loop is closed: so is the connection
            self._loop.call_soon_threadsafe(self._connection.terminate)


def _keep_alive(connection: Any) -> None:
    transport = getattr(connection, "_transport", None)
    line = transport.get_extra_info("socket") if transport is not None else None
    if line is None or line.family == socket.AF_UNIX:
        return
    line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE.items():
        if (option := getattr(socket, name, None)) is not None:
            line.setsockopt(socket.IPPROTO_TCP, option, value)


class PsycopgLine:
    """A line by psycopg: Python runs for every row."""

    def __init__(self, plan: LinePlan) -> None:
        self._encoding = plan.encoding
        self._connection = connect(plan.conninfo, application_name=plan.application_name, passfile=plan.passfile)
        try:
            for statement in plan.set_up:
                self._connection.execute(statement.encode())
        except psycopg.Error as exc:
            self._connection.close()
            raise _opening_error(exc) from exc

    @property
    def backend_pid(self) -> int:
        return self._connection.info.backend_pid

    async def copy(self, query: str, take: Take) -> int:
        cursor = self._connection.cursor()
        with cursor.copy(copy_out(query, self._encoding).encode()) as stream:
            for block in stream:
                take(block)
        return cursor.rowcount

    async def row(self, query: str) -> tuple[int, ...]:
        found = self._connection.execute(query.encode()).fetchone()
        return found or ()

    async def close(self) -> None:
        self._connection.close()

    def cut(self) -> None:
        with suppress(psycopg.Error, OSError):
            self._connection.cancel_safe(timeout=2.0)
