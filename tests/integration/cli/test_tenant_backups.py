"""One tenant's rows backed up by a real agent: the map decided by commands, what is stored, what the job says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest

from tests.integration.agent.installation import Installation
from tests.integration.cli.test_tenant_restores import Shell
from tests.servers import TestServer
from tui_backup.manifest import Manifest
from tui_backup.repository.manifests import read_manifest
from tui_backup.repository.open import open_store

SHOP = """
CREATE TABLE people (id int PRIMARY KEY, tenant_id text NOT NULL, name text);
CREATE TABLE orders (id int PRIMARY KEY, person int NOT NULL REFERENCES people, note text);
CREATE TABLE countries (code text PRIMARY KEY);
INSERT INTO people SELECT g, (ARRAY['acme', 'beta', 'gamma'])[g % 3 + 1], 'n' || g FROM generate_series(1, 30) g;
INSERT INTO orders SELECT g, g % 30 + 1, 'o' || g FROM generate_series(1, 300) g;
INSERT INTO countries VALUES ('sa'), ('de');
"""


@pytest.fixture(scope="module")
def shell(pg: TestServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    installation = Installation(pg, tmp_path_factory.mktemp("tenant"))
    try:
        shell = Shell(installation)
        shell.sql(SHOP)
        installation.query("UPDATE tui_backup.tenants SET tenant_key = 'acme'")
        installation.start_agent()
        yield shell
    finally:
        installation.close()


def back_up(shell: Shell, job_type: str = "full") -> dict[str, Any]:
    installation = shell.installation
    return installation.finished("backup_jobs", installation.backup(tenant_scope=True, job_type=job_type))


def manifest_of(shell: Shell, job: UUID) -> Manifest:
    store = open_store(str(shell.installation.folder / "repository"))
    try:
        return read_manifest(store, shell.installation.tenant, job)
    finally:
        store.close()


def test_undecided_then_decided_then_backed_up(shell: Shell) -> None:
    # a silent hole is worse: nothing is stored before every table is decided
    shown = shell.json("source", "map", "shop", status=1)
    assert [(each["table"], each["how"]) for each in shown["tables"]] == [
        ("public.countries", "undecided"),
        ("public.orders", "reference"),
        ("public.people", "column"),
    ]
    failed = back_up(shell)
    assert failed["status"] == "failed" and "public.countries" in failed["error_message"]
    told = shell.json("job", "show", str(failed["id"]))
    assert told["tenant_scope"] is True and told["error_details"]["error"] == "tenant_map_undecided"
    assert [each["table"] for each in told["error_details"]["details"]["undecided"]] == ["public.countries"]
    assert "source map shop --set 'public.countries=left-out'" in told["error_details"]["hint"]
    assert "source map shop --set" in shell.run("job", "show", str(failed["id"])).stdout

    wrong = shell.run("source", "map", "shop", "--set", "countries=column:nothing")
    assert wrong.returncode == 2 and "no column 'nothing'" in wrong.stderr
    decided = shell.run("source", "map", "shop", "--set", "countries=shared:missing")
    assert decided.returncode == 0, decided.stderr
    assert "shared:missing" in decided.stdout and "undecided" not in decided.stdout

    job = back_up(shell)
    assert job["status"] == "completed", f"{job}\n{shell.installation.log()}"
    contents = manifest_of(shell, job["id"]).contents
    assert {table.name: table.rows for table in contents.tables} == {"people": 10, "orders": 100, "countries": 2}
    assert contents.tenant is not None and contents.tenant.key == "acme"
    assert job["metadata"]["rows_by"] == "column" and job["metadata"]["tenant_key"] == "acme"
    text = shell.run("job", "show", str(job["id"])).stdout
    assert "tenant: only the rows" in text and "Rows of acme" in text and "Left out: large objects" in text
    listed = shell.json("job", "list")
    assert {each["tenant_scope"] for each in listed} == {True}
    assert " tenant " in shell.run("job", "list").stdout


def test_incremental_builds_on_its_own_scope_and_drift_is_said(shell: Shell) -> None:
    assert shell.run("source", "map", "shop", "--set", "countries=shared:missing").returncode == 0
    earlier = back_up(shell)
    whole = shell.installation.finished("backup_jobs", shell.installation.backup())
    assert whole["status"] == "completed"
    shell.sql("CREATE TABLE invoices (id int PRIMARY KEY, tenant_id text NOT NULL)")
    job = back_up(shell, "incremental")
    assert job["status"] == "completed", f"{job}\n{shell.installation.log()}"
    # not on the newer one of the whole database
    assert job["parent_job_id"] == earlier["id"]
    assert manifest_of(shell, job["id"]).contents.tenant.drift == job["metadata"]["drift"]  # type: ignore[union-attr]
    assert job["metadata"]["drift"] == ["table public.invoices is new: column tenant_id"]
    assert (
        "Changed since the backup before: table public.invoices is new"
        in shell.run("job", "show", str(job["id"])).stdout
    )
    full = shell.installation.finished("backup_jobs", shell.installation.backup(job_type="incremental"))
    assert full["parent_job_id"] == whole["id"]
    # a table that nobody decided makes the next one fail, whatever there was before
    shell.sql("CREATE TABLE notes (id int PRIMARY KEY)")
    assert back_up(shell, "incremental")["error_details"]["error"] == "tenant_map_undecided"
    shell.sql("DROP TABLE notes, invoices")


def test_a_schedule_makes_backups_of_the_tenants_rows(shell: Shell) -> None:
    assert shell.run("source", "map", "shop", "--set", "countries=left-out").returncode == 0
    made = shell.json("schedule", "add", "nightly", "--source", "shop", "--preset", "daily", "--tenant-rows")
    assert made["tenant_scope"] is True
    installation = shell.installation
    installation.query(
        "UPDATE tui_backup.backup_schedules SET next_run_at = now() - interval '1 s' WHERE id = %(id)s",
        {"id": made["id"]},
    )
    find = "SELECT id FROM tui_backup.backup_jobs WHERE schedule_id = %(id)s"
    installation.wait(lambda: bool(installation.query(find, {"id": made["id"]})), 30)
    job = installation.finished("backup_jobs", installation.query(find, {"id": made["id"]})[0]["id"])
    assert job["status"] == "completed" and job["tenant_scope"] is True, installation.log()
    assert {table.name for table in manifest_of(shell, job["id"]).contents.tables} == {"people", "orders"}
    assert "tenant: only the rows" in shell.run("schedule", "show", "nightly").stdout
