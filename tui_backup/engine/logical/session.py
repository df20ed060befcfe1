"""The coordinating session of a backup: settings, locks, and the snapshot that all others share."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg
from psycopg.abc import Buffer
from psycopg.adapt import Loader

from tui_backup.engine.connection import Connection, PumpParameters, connect, map_error
from tui_backup.engine.logical.names import literal
from tui_backup.model import StopFlag

# What makes the text of a value, and of a definition, the same in every session; the limits a backup must not meet;
# and the plans that keep the rows in heap order.
SETTINGS: dict[str, str] = {
    "search_path": "",
    "row_security": "off",
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "extra_float_digits": "3",
    "bytea_output": "hex",
    "quote_all_identifiers": "off",
    "standard_conforming_strings": "on",
    "synchronize_seqscans": "off",
    "enable_tidscan": "on",
    "max_parallel_workers_per_gather": "0",
    "jit": "off",
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
    "client_min_messages": "warning",
}
_SETTINGS_17 = {"transaction_timeout": "0"}

SQL_ASCII = "SQL_ASCII"

_CANCEL_EVERY_S = 0.5
_CANCELS_BEFORE_CUT = 4
_ANSWER_TIMEOUT_S = 1.0


def session_settings(major: int, lc_monetary: str | None = None) -> dict[str, str]:
    """The settings of every session that reads rows, for a server of this major version."""
    chosen = dict(SETTINGS)
    if major >= 17:
        chosen |= _SETTINGS_17
    if lc_monetary is not None:
        chosen["lc_monetary"] = lc_monetary
    return chosen


def set_statements(settings: dict[str, str]) -> str:
    """The settings as one string of SET statements."""
    return "; ".join(f"SET {name} = {literal(value)}" for name, value in settings.items())


class _RawTextLoader(Loader):
    """Text of an SQL_ASCII database, whose bytes may be anything: what is no UTF-8 is shown escaped."""

    def load(self, data: Buffer) -> str:
        return bytes(data).decode("utf-8", "backslashreplace")


class SourceSession:
    """One psycopg session on the source that a stop flag interrupts wherever it waits.

    Use as a context manager; every statement's failure comes out as a typed error.
    """

    def __init__(self, conninfo: str, *, application_name: str, stop: StopFlag, passfile: Path | None = None) -> None:
        self.conninfo = conninfo
        self.passfile = passfile
        self.application_name = application_name
        self.stop = stop
        stop.check()
        self.connection: Connection = connect(
            conninfo, application_name=application_name, passfile=passfile, autocommit=True
        )
        self._closed = threading.Event()
        self._watcher = threading.Thread(target=self._interrupt_on_stop, name="backup-stop", daemon=True)
        self.major = self.connection.info.server_version // 10000
        self.parameters = PumpParameters.from_connection(self.connection)
        self.encoding = ""

    def __enter__(self) -> Self:
        self._watcher.start()
        try:
            self._prepare()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the session, and with it its locks and its snapshot."""
        self._closed.set()
        self.connection.close()

    def _prepare(self) -> None:
        self.run(set_statements(session_settings(self.major)), what="setting up the session")
        (row,) = self.query(
            "SELECT pg_encoding_to_char(encoding)::text FROM pg_database WHERE datname = current_database()",
            what="reading the database's encoding",
        )
        self.encoding = str(row[0])
        if self.encoding == SQL_ASCII:
            # as UTF-8 the server would refuse to show names and comments that hold other bytes
            for type_name in ("text", "name", "varchar", "bpchar", '"char"'):
                self.connection.adapters.register_loader(type_name, _RawTextLoader)
            self.run("SET client_encoding = 'SQL_ASCII'", what="setting up the session")

    def query(self, statement: str, parameters: Sequence[Any] | None = None, *, what: str) -> list[tuple[Any, ...]]:
        """Run one statement and return its rows."""
        try:
            cursor = self.connection.execute(_as_query(statement), parameters)
            return cursor.fetchall() if cursor.description else []
        except (psycopg.Error, OSError) as exc:
            self.stop.check()
            raise map_error(exc, what) from exc

    def run(self, statements: str, *, what: str) -> None:
        """Run one or more statements whose rows do not matter."""
        self.query(statements, what=what)

    def rollback(self) -> None:
        """End the transaction, whatever became of it."""
        with suppress(psycopg.Error):
            self.connection.execute("ROLLBACK")

    def cancel_backend(self, pid: int, *, terminate: bool) -> bool:
        """Ask the server to cancel another of our sessions' query, or to end that session.

        Returns:
            False when the server gave no answer within a second; this session is given up then.
        """
        function = "pg_terminate_backend" if terminate else "pg_cancel_backend"

        answers: list[Any] = []

        def ask() -> None:
            with suppress(psycopg.Error, OSError):
                answers.append(self.connection.execute(_as_query(f"SELECT {function}(%s)"), [pid]).fetchone())

        asking = threading.Thread(target=ask, name="backup-cancel", daemon=True)
        asking.start()
        asking.join(_ANSWER_TIMEOUT_S)
        if asking.is_alive():
            # the server answers this line no more than the other
            self._cut_line()
            asking.join(_ANSWER_TIMEOUT_S)
        return bool(answers)

    def _interrupt_on_stop(self) -> None:
        while not self.stop.wait(0.25):
            if self._closed.is_set():
                return
        for _ in range(_CANCELS_BEFORE_CUT):
            if self.connection.pgconn.transaction_status == psycopg.pq.TransactionStatus.ACTIVE:
                try:
                    self.connection.cancel_safe(timeout=_ANSWER_TIMEOUT_S)
                except (psycopg.Error, OSError):
                    break
            if self._closed.wait(_CANCEL_EVERY_S):
                return
        if self.connection.pgconn.transaction_status == psycopg.pq.TransactionStatus.ACTIVE:
            self._cut_line()

    def _cut_line(self) -> None:
        # the server does not answer: reading ends with "connection lost", and the stop flag's reason is raised
        with suppress(OSError, psycopg.Error):
            line = socket.socket(fileno=os.dup(self.connection.fileno()))
            try:
                line.shutdown(socket.SHUT_RDWR)
            finally:
                line.close()


def _as_query(statement: str) -> bytes:
    # bytes are a query as they are; str must be a literal for psycopg's types. The session's encoding is UTF-8, or
    # SQL_ASCII, which takes bytes unchanged.
    return statement.encode()
