"""The catalog on a server of one's own: set-up, rights of the roles, tenants apart, a server that goes away."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.fetch_postgres import find
from tests.integration.cli.console import Console
from tests.servers import TestServer

PASSWORD = "s3cret of a test"
LOGINS = ("cli_employee", "cli_other_admin", "cli_nobody")


@pytest.fixture(scope="module")
def server(pg: TestServer) -> Iterator[TestServer]:
    """A server that may be stopped, of the version that ``pg`` has found (or has skipped for)."""
    binaries = find(pg.major)
    assert binaries is not None
    made = TestServer(binaries)
    made.start()
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def owner_dsn(server: TestServer) -> str:
    """The login that shall own the catalog: no superuser."""
    server.execute(f"CREATE ROLE cli_owner LOGIN CREATEROLE PASSWORD '{PASSWORD}'")
    server.create_database("cli_catalog", owner="cli_owner")
    return make_conninfo(host=server.host, port=server.port, user="cli_owner", password=PASSWORD, dbname="cli_catalog")


@pytest.fixture(scope="module")
def console(server: TestServer, owner_dsn: str) -> Iterator[Console]:
    """An installation whose catalog is on the server."""
    made = Console()
    try:
        made.ok("init", "--catalog", "-", "--tenant", "acme", "--admin-login", "cli_admin", stdin=owner_dsn + "\n")
        dsn = make_conninfo(host=server.host, port=server.port, user=server.superuser, password=server.password)
        made.ok("repo", "add", "local", str(made.folder / "repository"), "--default")
        made.ok("source", "add", "shop", "--dsn", "-", stdin=dsn + " dbname=postgres\n")
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def members(console: Console, server: TestServer) -> Callable[[str], dict[str, str]]:
    """Environments of an employee of the tenant, an admin of another one, and a member of none."""
    with psycopg.connect(server.dsn("cli_catalog"), autocommit=True) as conn:
        for login in LOGINS:
            conn.execute(f"CREATE ROLE {login} LOGIN PASSWORD '{PASSWORD}'".encode())
            conn.execute(f"GRANT tui_backup_user TO {login}".encode())
        conn.execute(
            "INSERT INTO tui_backup.memberships (login, tenant_id, role)"
            " SELECT 'cli_employee', id, 'employee' FROM tui_backup.tenants WHERE tenant_name = 'acme'"
        )
        conn.execute("INSERT INTO tui_backup.tenants (tenant_name) VALUES ('other')")
        conn.execute(
            "INSERT INTO tui_backup.memberships (login, tenant_id, role)"
            " SELECT 'cli_other_admin', id, 'admin' FROM tui_backup.tenants WHERE tenant_name = 'other'"
        )

    def environment(login: str) -> dict[str, str]:
        dsn = make_conninfo(host=server.host, port=server.port, user=login, dbname="cli_catalog")
        return {"TUI_BACKUP_CATALOG_DSN": dsn, "PGPASSWORD": PASSWORD}

    return environment


def test_init_left_no_password_in_the_configuration(console: Console) -> None:
    (file,) = console.folder.rglob("config.toml")
    assert PASSWORD not in file.read_text() and "password" not in file.read_text()
    assert "cli_admin" in file.read_text()


def test_init_and_upgrade_are_safe_to_repeat(console: Console, owner_dsn: str) -> None:
    words = ["init", "--catalog", "-", "--tenant", "acme", "--admin-login", "cli_admin"]
    again = console.json(*words, stdin=owner_dsn)
    assert (again["tenant"], again["admin_login"], again["migrations"]) == ("acme", "cli_admin", [])
    assert console.json("upgrade", "--catalog", "-", stdin=owner_dsn) == []
    assert "--catalog" in console.refused(2, "upgrade")["hint"]
    assert console.refused(2, "init")["error"] == "config_invalid"


def test_a_backup_waits_for_an_agent_and_says_so(console: Console) -> None:
    done = console.run("backup", "shop")
    assert done.returncode == 0
    assert "No agent is alive" in done.stderr and "tui-backup agent start" in done.stderr
    (job,) = console.json("job", "list")
    assert job["status"] == "pending"
    assert console.run("agent", "status").returncode == 1
    assert console.json("job", "cancel", job["id"])["status"] == "cancelled"


def test_an_employee_looks_but_does_not_touch(console: Console, members: Callable[[str], dict[str, str]]) -> None:
    employee = members("cli_employee")
    (job,) = json.loads(console.run("job", "list", "--json", **employee).stdout)
    for words in (
        ["backup", "shop"],
        ["job", "delete", job["id"], "--confirm"],
        ["schedule", "add", "x", "--source", "shop", "--preset", "daily"],
        ["source", "add", "x", "--dsn", "dbname=x"],
    ):
        done = console.run(*words, "--json", **employee)
        error = json.loads(done.stderr)
        assert (done.returncode, done.stdout) == (3, ""), words
        assert error["error"] == "not_permitted" and error["hint"]


def test_another_tenants_rows_do_not_exist(console: Console, members: Callable[[str], dict[str, str]]) -> None:
    other = members("cli_other_admin")
    (job,) = console.json("job", "list")
    assert json.loads(console.run("job", "list", "--json", **other).stdout) == []
    for words in (
        ["job", "show", job["id"]],
        ["job", "cancel", job["id"]],
        ["job", "delete", job["id"], "--confirm"],
        ["restore", job["id"], "--into-database", "x", "--confirm"],
        ["verify", job["id"], "--files"],
        ["backup", "shop"],
        ["source", "test", "shop"],
    ):
        done = console.run(*words, "--json", **other)
        assert (done.returncode, done.stdout) == (2, ""), words
        assert json.loads(done.stderr)["error"] == "not_found"


@pytest.mark.parametrize(("login", "password"), [("cli_nobody", PASSWORD), ("cli_employee", "wrong one")])
def test_who_is_nobody_is_refused(
    login: str, password: str, console: Console, members: Callable[[str], dict[str, str]]
) -> None:
    done = console.run("job", "list", "--json", **{**members(login), "PGPASSWORD": password})
    assert (done.returncode, done.stdout) == (3, "")
    assert json.loads(done.stderr)["error"] == "not_authenticated"
    assert password not in done.stderr


def test_a_catalog_that_is_down_is_a_clear_error(console: Console, server: TestServer) -> None:
    server.stop()
    try:
        error = console.refused(1, "job", "list")
        assert error["error"] == "catalog_unavailable" and "doctor" in error["hint"]
        checks = console.run("doctor", "--json")
        assert checks.returncode == 1
        assert "refused" in {check["level"] for check in json.loads(checks.stdout)}
    finally:
        server.start()
    assert len(console.json("job", "list")) == 1
