"""Connecting by libpq's rules; failures are typed and hold no secret."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import ssl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import psycopg
import pytest

from tests.integration.engine.backup.conftest import back_up
from tests.servers import PASSWORD, TestServer
from tui_backup.engine.connection import PumpParameters, child_environment, connect, map_error
from tui_backup.engine.logical.lines import LinePlan, PsycopgLine, ssl_context
from tui_backup.errors import (
    ConnectionFailedError,
    LockTimeoutError,
    LoginFailedError,
    ServerTooOldError,
    SourceChangedError,
    SourcePermissionError,
    SqlFailedError,
    TlsRequiredError,
    TuiBackupError,
    ValidationError,
)


@pytest.fixture(autouse=True)
def no_pg_variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("PG")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))


def _fails(conninfo: str, kind: type[TuiBackupError]) -> TuiBackupError:
    with pytest.raises(kind) as caught:
        connect(conninfo, application_name="test", connect_timeout_s=3)
    return caught.value


def test_refused_logins(pg: TestServer) -> None:
    for conninfo in (
        pg.dsn(password="wrong"),
        pg.dsn(user="nobody_at_all"),
        pg.dsn("no_such_database"),
        f"host=127.0.0.1 port={pg.port} user=postgres dbname=postgres",
    ):
        error = _fails(conninfo, LoginFailedError)
        assert not error.retryable
        assert PASSWORD not in error.message


def test_no_server(tmp_path: Path) -> None:
    assert _fails("host=127.0.0.1 port=1 user=x", ConnectionFailedError).retryable
    _fails(f"host={tmp_path} user=x", ConnectionFailedError)
    _fails("host=no-such-host.invalid user=x", ConnectionFailedError)


def test_a_dsn_that_is_none_is_not_repeated() -> None:
    for conninfo in (
        "host=x password=geheim word",
        "postgresql://u:geheim@h:port/x?bogus=1",
        "sslmode=geheim host=127.0.0.1",
    ):
        error = _fails(conninfo, ValidationError)
        assert "geheim" not in error.message + str(error.hint) + str(error.details)


def test_tls_demanded_of_a_server_that_has_none(pg: TestServer) -> None:
    _fails(pg.dsn() + "?sslmode=require", TlsRequiredError)


def test_an_old_server(pg: TestServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tui_backup.engine.connection.OLDEST_SERVER", 200000)
    _fails(pg.dsn(), ServerTooOldError)


def test_what_libpq_resolved(pg: TestServer, tmp_path: Path) -> None:
    service = tmp_path / ".pg_service.conf"
    service.write_text(f"[shop]\nhost=127.0.0.1\nport={pg.port}\nuser=postgres\n")
    passfile = tmp_path / "pass"
    escaped = PASSWORD.replace("\\", "\\\\").replace(":", "\\:")
    passfile.write_text(f"127.0.0.1:{pg.port}:*:postgres:{escaped}\n")
    passfile.chmod(0o600)
    with connect("service=shop dbname=postgres", application_name="test", passfile=passfile) as connection:
        parameters = PumpParameters.from_connection(connection)
        env = child_environment(connection, "template1")
        assert connection.execute("SHOW application_name").fetchone() == ("test",)
    assert (parameters.host, parameters.port, parameters.user) == ("127.0.0.1", pg.port, "postgres")
    assert parameters.password == PASSWORD
    assert PASSWORD not in repr(parameters)
    assert (parameters.dbname, parameters.tls, parameters.is_local, parameters.is_unix) == (
        "postgres",
        False,
        True,
        False,
    )
    assert "PGSERVICE" not in env
    assert (env["PGHOST"], env["PGPORT"], env["PGDATABASE"]) == ("127.0.0.1", str(pg.port), "template1")
    asked = "SELECT current_database() || ' ' || current_user"
    done = subprocess.run([pg.program("psql"), "-XAtwc", asked], env=env, capture_output=True, text=True, check=True)
    assert done.stdout == "template1 postgres\n"


def test_several_hosts_end_at_the_one_that_answers(pg: TestServer, database: str) -> None:
    pg.execute("CREATE TABLE t AS SELECT 1 AS a", database)
    escaped = PASSWORD.replace("\\", "\\\\").replace("'", "\\'")
    conninfo = f"host=127.0.0.1,127.0.0.1 port=1,{pg.port} user=postgres password='{escaped}' dbname={database}"
    assert back_up(pg, database, conninfo=conninfo).rows("t") == b"1\n"


def test_variables_alone(pg: TestServer, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pg.execute("CREATE TABLE t AS SELECT 1 AS a", database)
    for name, value in {
        "PGHOST": str(pg.socket_dir),
        "PGPORT": str(pg.port),
        "PGUSER": "postgres",
        "PGPASSWORD": PASSWORD,
        "PGDATABASE": database,
        "PGOPTIONS": "-c work_mem=5MB",
        "PGCLIENTENCODING": "LATIN1",
    }.items():
        monkeypatch.setenv(name, value)
    assert back_up(pg, database, conninfo="").rows("t") == b"1\n"


def test_errors_of_statements(pg: TestServer, database: str) -> None:
    pg.execute("CREATE TABLE t (a int); DROP ROLE IF EXISTS nobody_much; CREATE ROLE nobody_much", database)
    with pg.connect(database) as conn, pg.connect(database) as other:
        other.execute("BEGIN; LOCK TABLE t")
        for statement, kind in (
            ("SET lock_timeout = 50; SELECT * FROM t", LockTimeoutError),
            ("SELECT * FROM gone", SourceChangedError),
            ("SELECT gone FROM t", SourceChangedError),
            ("SET lock_timeout = 0; SET ROLE nobody_much; SELECT * FROM pg_authid", SourcePermissionError),
            ("RESET ROLE; SELECT 1/0", SqlFailedError),
            ("SELECT pg_terminate_backend(pg_backend_pid())", ConnectionFailedError),
            ("SELECT 1", ConnectionFailedError),
        ):
            if statement.startswith("SELECT gone"):
                other.execute("ROLLBACK")
            with pytest.raises(psycopg.Error) as caught:
                conn.execute(statement.encode())
            error = map_error(caught.value, "reading it")
            assert type(error) is kind, statement
            assert error.message.startswith("Reading it: ")
    pg.execute("DROP ROLE nobody_much")


@pytest.fixture
def tls_server(pg: TestServer, pg_new: Callable[..., TestServer], tmp_path: Path) -> Iterator[tuple[TestServer, Path]]:
    """A server that takes TLS only, and the certificate that it shows (for localhost)."""
    pg.needs("TLS")
    certificate, key = tmp_path / "server.crt", tmp_path / "server.key"
    subprocess.run(
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost "
        f"-keyout {key} -out {certificate}".split(),
        check=True,
        capture_output=True,
    )
    server = pg_new()
    server.stop()
    for path in (certificate, key):
        copy = server.data_dir / path.name
        copy.write_bytes(path.read_bytes())
        copy.chmod(0o600)
        owner = server.data_dir.stat()
        os.chown(copy, owner.st_uid, owner.st_gid)
    server.configure({"ssl": "on"})
    rules = server.data_dir / "pg_hba.conf"
    rules.write_text("hostssl all all 127.0.0.1/32 scram-sha-256\n")
    server.start()
    yield server, certificate


def test_tls(tls_server: tuple[TestServer, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    server, certificate = tls_server
    slow: list[LinePlan] = []

    class Counted(PsycopgLine):
        def __init__(self, plan: LinePlan) -> None:
            slow.append(plan)
            super().__init__(plan)

    monkeypatch.setattr("tui_backup.engine.logical.lines.PsycopgLine", Counted)
    monkeypatch.setenv("TUI_BACKUP_PG_BIN", str(server.bin_dir))
    dbname = "postgres"
    with connect(server.dsn(), application_name="test") as connection:
        connection.execute("CREATE TABLE t AS SELECT 1 AS a")
        parameters = PumpParameters.from_connection(connection)
        assert parameters.tls
        assert not parameters.needs_tls, "a loopback that prefers TLS does not need it"
    _fails(server.dsn() + "?sslmode=disable", TlsRequiredError)
    _fails(server.dsn() + "?sslmode=verify-full", TlsRequiredError)
    by_name = server.dsn().replace("127.0.0.1", "localhost")
    verified = f"{by_name}?sslmode=verify-full&sslrootcert={certificate}"
    _fails(verified.replace("localhost", "127.0.0.1"), TlsRequiredError)
    for conninfo in (server.dsn() + "?sslmode=require", verified, verified + "&hostaddr=127.0.0.1"):
        assert back_up(server, dbname, conninfo=conninfo).rows("t") == b"1\n"
    assert slow == []
    bound = server.dsn() + "?channel_binding=require&sslmode=require"
    assert back_up(server, dbname, conninfo=bound).rows("t") == b"1\n"
    assert slow != []


def test_tools_without_tls_are_not_used_where_tls_is_needed(
    tls_server: tuple[TestServer, Path], tmp_path: Path
) -> None:
    server, _ = tls_server
    for name in ("pg_dump", "pg_dumpall", "pg_restore"):
        program = tmp_path / name
        program.write_text(
            "#!/bin/sh\ncase $1 in --version) echo 'pg_dump (PostgreSQL) 18.0';;"
            " *) echo 'SSL support is not compiled in' >&2; exit 1;; esac\n"
        )
        program.chmod(0o755)
    with pytest.raises(TlsRequiredError, match="client tools") as caught:
        back_up(server, "postgres", conninfo=server.dsn() + "?sslmode=require", tools=tmp_path)
    assert "postgresql-client" in caught.value.hint


def test_a_line_verifies_the_name_although_it_connects_to_the_address(
    tls_server: tuple[TestServer, Path], tmp_path: Path
) -> None:
    server, certificate = tls_server
    by_name = server.dsn().replace("127.0.0.1", "localhost")
    conninfo = f"{by_name}?sslmode=verify-full&sslrootcert={certificate}"
    with connect(conninfo, application_name="test") as connection:
        parameters = PumpParameters.from_connection(connection)
    assert parameters.hostaddr == "127.0.0.1"

    async def reach(name: str) -> str:
        line: Any = await asyncpg.connect(
            host=parameters.hostaddr,
            port=parameters.port,
            user=parameters.user,
            password=parameters.password,
            database=parameters.dbname,
            ssl=ssl_context(dataclasses.replace(parameters, host=name)),
        )
        try:
            return await line.fetchval("SELECT 'reached'")
        finally:
            await line.close()

    assert asyncio.run(reach("localhost")) == "reached"
    with pytest.raises(ssl.SSLCertVerificationError):
        asyncio.run(reach("elsewhere.example"))
