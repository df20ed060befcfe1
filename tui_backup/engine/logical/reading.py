"""Streaming a restored database's rows back out, by the same lines as a backup uses."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import asyncpg
import psycopg
from psycopg import conninfo

from tui_backup.engine.connection import Connection, PumpParameters
from tui_backup.engine.logical.cut import copy_out
from tui_backup.engine.logical.lines import Line, LinePlan, Take, open_line
from tui_backup.engine.logical.pump import new_loop
from tui_backup.engine.logical.session import session_settings, set_statements
from tui_backup.engine.logical.target import Target, cancelled_by, database_errors, restore_error, server_major
from tui_backup.model import StopFlag

_CANCEL_EVERY_S = 1.0

# a full index-only scan would give the rows in another order than the heap's
HEAP_ORDER = {"enable_indexscan": "off", "enable_indexonlyscan": "off", "enable_bitmapscan": "off"}

ReadQuery = Callable[[str, Take], int]
"""Runs a SELECT as COPY text, hands its bytes on, returns the number of rows."""


@dataclass(frozen=True, slots=True)
class _ReadPlan(LinePlan):
    """A line that needs no snapshot: nobody else works in a database that is being restored."""

    @property
    def set_up(self) -> list[str]:
        return [set_statements(session_settings(self.major, self.lc_monetary or None) | HEAP_ORDER)]


class RowReader:
    """One connection that streams queries as COPY text. A context manager; used by one thread at a time.

    Args:
        target: the server.
        database: which database to read.
        encoding: of the streams.
        lc_monetary: how money is written, "" for the server's way.
        stop: ends a running query.
    """

    def __init__(self, target: Target, database: str, *, encoding: str, lc_monetary: str, stop: StopFlag) -> None:
        self._target = target
        self._database = database
        self._encoding = encoding
        self._lc_monetary = lc_monetary
        self._stop = stop
        self._runner = asyncio.Runner(loop_factory=new_loop)
        self._plan: LinePlan | None = None
        self._line: Line | None = None
        self._control: Connection | None = None
        self._over = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="restore-read-stop", daemon=True)

    def __enter__(self) -> RowReader:
        control = self._target.connect(self._database)
        self._plan = _ReadPlan(
            conninfo=conninfo.make_conninfo(self._target.conninfo, dbname=self._database),
            passfile=self._target.passfile,
            parameters=PumpParameters.from_connection(control),
            application_name=self._target.application_name,
            major=server_major(control),
            lc_monetary=self._lc_monetary,
            snapshot="",
            lock_statement=None,
            lock_timeout_s=0,
            encoding=self._encoding,
        )
        self._control = control
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._watcher.join()
        try:
            if self._line is not None:
                self._runner.run(self._line.close())
        finally:
            self._runner.close()
            if self._control is not None:
                self._control.close()

    def read(self, query: str, take: Take) -> int:
        """Stream one query.

        Args:
            query: a SELECT.
            take: gets the bytes; what it raises ends the query.

        Returns:
            Rows sent.
        """
        if self._plan is None:
            raise ValueError("the reader is not open")

        def checked(data: bytes | bytearray | memoryview) -> None:
            self._stop.check()
            take(data)

        try:
            if self._line is None:
                self._line = self._runner.run(open_line(self._plan))
            return self._runner.run(self._line.copy(query, checked))
        except (asyncpg.PostgresError, asyncpg.InterfaceError, psycopg.Error, OSError, TimeoutError) as error:
            self._drop_line()
            if self._stop.reason is not None:
                raise self._stop.reason from error
            raise restore_error(error, "reading restored rows") from error
        except BaseException:
            self._drop_line()
            raise

    def _drop_line(self) -> None:
        """Break the line after a query that did not end well.

        asyncpg asks the server to cancel when its consumer fails, and then waits for an answer; where the query had
        ended by then that answer never comes, so such a connection cannot be used again.
        """
        line, self._line = self._line, None
        if line is not None:
            line.cut()
            self._runner.run(asyncio.sleep(0))

    def _watch(self) -> None:
        """End a query that brings nothing once a stop is asked for."""
        while not self._over.wait(0.2):
            line = self._line
            if self._stop.is_set and line is not None and self._control is not None:
                with suppress(psycopg.Error, OSError):
                    self._control.execute("SELECT pg_catalog.pg_terminate_backend(%s)", (line.backend_pid,))
                self._over.wait(_CANCEL_EVERY_S)


def session_reader(conn: Connection, encoding: str, stop: StopFlag) -> ReadQuery:
    """Stream queries on an open session, inside its transaction; slower, since each row passes through Python."""

    def read(query: str, take: Callable[[Any], None]) -> int:
        # a query that its consumer breaks off is cancelled, which fails the innermost transaction
        with database_errors("reading restored rows", stop), cancelled_by(stop, conn), conn.transaction():
            cursor = conn.cursor()
            with cursor.copy(copy_out(query, encoding).encode()) as stream:
                for block in stream:
                    take(block)
            return cursor.rowcount

    return read
