"""Backups of real databases into memory."""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from tests.servers import TestServer
from tests.unit.engine.fakes import Counts, MemorySink
from tui_backup.engine.logical.backup import BackupRequest, backup_database
from tui_backup.engine.logical.session import session_settings, set_statements
from tui_backup.manifest import Contents, Table
from tui_backup.model import StopFlag


@dataclass
class Backup:
    """A finished backup and where its bytes are."""

    contents: Contents
    sink: MemorySink
    counts: Counts

    def table(self, name: str, schema: str = "public") -> Table:
        (found,) = [table for table in self.contents.tables if (table.schema, table.name) == (schema, name)]
        return found

    def rows(self, name: str, schema: str = "public") -> bytes:
        """A table's whole COPY text."""
        return b"".join(self.sink.read(chunk) for chunk in self.table(name, schema).chunks)


def back_up(
    server: TestServer, dbname: str, *, sink: MemorySink | None = None, stop: StopFlag | None = None, **options: Any
) -> Backup:
    """Back a database up into memory; ``user`` and ``password`` choose the login, the rest is BackupRequest's."""
    sink = sink or MemorySink()
    counts = Counts()
    conninfo = options.pop("conninfo", None) or server.dsn(
        dbname, user=options.pop("user", None), password=options.pop("password", None)
    )
    request = BackupRequest(conninfo=conninfo, **{"workers": 2, "lock_timeout_s": 5.0, **options})
    contents = backup_database(request, sink, progress=counts, stop=stop or StopFlag())
    return Backup(contents, sink, counts)


def psql_copies(server: TestServer, dbname: str, queries: Sequence[str], encoding: str) -> list[bytes]:
    """What stock psql prints for COPY (query) TO STDOUT with the settings of a backup, for each query."""
    mark = f"--- {secrets.token_hex(16)} ---"
    script = f"{set_statements(session_settings(server.major))};\nSET client_encoding = '{encoding}';\n"
    script += "".join(f"COPY ({query}) TO STDOUT;\n\\echo '{mark}'\n" for query in queries)
    done = subprocess.run(
        [server.program("psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", server.dsn(dbname)],
        input=script.encode("latin-1" if encoding == "LATIN1" else "utf-8"),
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    *copies, rest = done.stdout.split(f"{mark}\n".encode())
    assert rest == b""
    assert len(copies) == len(queries)
    return copies


def psql_copy(server: TestServer, dbname: str, query: str, encoding: str) -> bytes:
    """As :func:`psql_copies`, for one query."""
    return psql_copies(server, dbname, [query], encoding)[0]


@pytest.fixture
def any_database(pg_any: TestServer) -> Iterator[str]:
    """An empty database on each version."""
    name = pg_any.create_database()
    yield name
    pg_any.drop_database(name)


@pytest.fixture
def role(pg: TestServer) -> Iterator[Callable[..., str]]:
    """Makes login roles (password ``x``) on the newest server; dropped with what they own after the test."""
    made: list[str] = []

    def make(name: str, options: str = "") -> str:
        pg.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'x' {options}")
        made.append(name)
        return name

    yield make
    for name in made:
        for (dbname,) in pg.execute("SELECT datname FROM pg_database WHERE datallowconn AND datname <> 'template1'"):
            pg.execute(f"DROP OWNED BY {name} CASCADE", dbname)
        pg.execute(f"DROP ROLE {name}")
