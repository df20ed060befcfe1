"""What an admin of a tenant types: try, restore, undo, look beside, hand to a reviewer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.integration.agent.installation import Installation
from tests.servers import TestServer

# the README's test command has eight minutes
pytestmark = pytest.mark.slow

SHOP = """
CREATE TABLE people (id int PRIMARY KEY, tenant_id text NOT NULL, name text, friend int REFERENCES people);
CREATE TABLE orders (id int PRIMARY KEY, person int NOT NULL REFERENCES people, note text);
INSERT INTO people SELECT g, CASE g % 2 WHEN 0 THEN 'acme' ELSE 'beta' END, 'n' || g FROM generate_series(1, 20) g;
INSERT INTO orders SELECT g, g % 20 + 1, 'o' || g FROM generate_series(1, 100) g;
"""


class Shell:
    """Runs commands as the tenant's admin, with an agent alive."""

    def __init__(self, installation: Installation) -> None:
        self.installation = installation
        self.job: UUID = UUID(int=0)

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        env = {
            **os.environ,
            "TUI_BACKUP_CONFIG": str(self.installation.config_file),
            "TUI_BACKUP_STATE_DIR": str(self.installation.folder / "state"),
            "TUI_BACKUP_TOOLS_BIN_DIR": str(self.installation.server.bin_dir),
        }
        return subprocess.run(
            [sys.executable, "-m", "tui_backup", *words],
            env=env,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def json(self, *words: str, status: int = 0) -> Any:
        done = self.run(*words, "--json")
        assert done.returncode == status, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return json.loads(done.stdout)

    def sql(self, statements: str) -> list[tuple[Any, ...]]:
        return self.installation.server.execute(statements, self.installation.source_database)

    def rows(self, tenant: str) -> list[tuple[Any, ...]]:
        return self.sql(f"SELECT ctid, xmin, * FROM people WHERE tenant_id = '{tenant}' ORDER BY id")


@pytest.fixture(scope="module")
def shell(pg: TestServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    installation = Installation(pg, tmp_path_factory.mktemp("tenant"))
    try:
        shell = Shell(installation)
        shell.sql(SHOP)
        installation.query("UPDATE tui_backup.tenants SET tenant_key = 'acme'")
        installation.start_agent()
        shell.job = installation.finished("backup_jobs", installation.backup(tenant_scope=True))["id"]
        yield shell
    finally:
        installation.close()


def test_try_restore_and_undo(shell: Shell) -> None:
    job = str(shell.job)[:8]
    names = "SELECT id, name FROM people WHERE tenant_id = 'acme' ORDER BY id"
    good, beta = shell.sql(names), shell.rows("beta")
    shell.sql(
        "UPDATE people SET name = 'lost' WHERE tenant_id = 'acme' AND id < 8; DELETE FROM orders WHERE person = 4"
    )
    lost = shell.sql(names)

    plan = shell.json("restore", job, "--in-place", "--dry-run")
    changes = {
        row["name"]: [row[f"rows_{what}"] for what in ("delete", "insert", "update", "same")] for row in plan["tables"]
    }
    assert changes == {"public.people": [0, 0, 3, 7], "public.orders": [0, 5, 0, 45]}
    assert plan["blocked_by"] == []
    assert shell.sql(names) == lost
    shown = shell.run("restore", job, "--in-place")
    assert shown.returncode == 3
    assert "Unchanged" in shown.stdout
    assert "confirm" in shown.stderr

    log = shell.json("restore", job, "--in-place", "--confirm", "--wait")
    assert (log["status"], log["undo_state"]) == ("completed", "kept")
    assert shell.sql(names) == good
    assert shell.rows("beta") == beta
    undone = shell.json("restore-log", "undo", log["id"])
    assert undone["undo_state"] == "undone"
    assert shell.sql(names) == lost
    assert shell.rows("beta") == beta
    listed = shell.run("restore-log", "list")
    assert "dry run" in listed.stdout
    shell.json("restore", job, "--in-place", "--confirm", "--wait", "--replace-all", "--no-safety-backup")
    assert shell.sql(names) == good
    assert shell.rows("beta") == beta


def test_rows_in_the_way_are_listed_and_refuse_it(shell: Shell) -> None:
    shell.sql("INSERT INTO people VALUES (100, 'acme', 'new', NULL); UPDATE people SET friend = 100 WHERE id IN (1, 3)")
    try:
        plan = shell.json("restore", str(shell.job), "--in-place", "--dry-run", status=3)
        assert plan["blocked_by"] == [{"table": "public.people", "constraint": "people_friend_fkey", "rows": 2}]
        done = shell.run("restore", str(shell.job), "--in-place", "--confirm", "--wait", "--json")
        assert done.returncode == 3
        assert json.loads(done.stderr)["error"] == "rows_in_use"
    finally:
        shell.sql("UPDATE people SET friend = NULL; DELETE FROM people WHERE id = 100")


def test_beside_the_live_rows(shell: Shell) -> None:
    log = shell.json("restore", str(shell.job), "--into-schema", "look", "--confirm", "--wait")
    assert log["status"] == "completed"
    assert shell.sql("SELECT count(*) FROM look.people") == [(10,)]
    refused = shell.run("restore", str(shell.job), "--into-schema", "look", "--json")
    assert refused.returncode == 3
    assert "exists already" in refused.stderr


def test_rows_as_sql_for_a_reviewer(shell: Shell, tmp_path: Path) -> None:
    target = tmp_path / "rows.sql"
    shell.json("restore", str(shell.job), "--rows-as-sql", str(target))
    assert target.stat().st_mode & 0o777 == 0o600
    text = target.read_text()
    assert text.index('COPY "public"."people"') < text.index('COPY "public"."orders"')
    assert "beta" not in text
    again = shell.run("restore", str(shell.job), "--rows-as-sql", str(target), "--json")
    assert again.returncode == 2
    assert json.loads(again.stderr)["error"] == "already_exists"


def test_a_tenants_rows_do_not_become_a_database(shell: Shell) -> None:
    done = shell.run("restore", str(shell.job), "--into-database", "x", "--swap", "--confirm", "--json")
    assert done.returncode == 2
    assert json.loads(done.stderr)["error"] == "invalid_value"
