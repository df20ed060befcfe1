"""How the commands that set things up ask the services, and how they show the answers."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.unit.cli.conftest import HOSTILE, Answer, Shown
from tui_backup.model import (
    AgentInfo,
    BackupStatistics,
    PlanCheck,
    Repository,
    Safety,
    Source,
    SourceSafety,
)
from tui_backup.services import agents, logins, repositories, setup, sources, statistics, storage

ID = UUID("6f1f7a3e-1111-4000-8000-000000000001")
MADE = datetime(2026, 11, 22, 2, 14, tzinfo=UTC)
SOURCE = Source(ID, HOSTILE, "host=db01 dbname=shop", ID, 86400, MADE)
REPOSITORY = Repository(ID, "local", "/srv/backups", ID, True, 100 << 20, MADE)


def test_sources(answer: Answer, shown: Shown) -> None:
    calls: list[Any] = []
    answer(sources, "add_source", SOURCE, calls)
    answer(sources, "get_sources", [SOURCE])
    answer(sources, "list_source_tables", [sources.SourceTable("public", "a", "public.a", 0, 8192)])
    answer(sources, "remove_source", None, calls)
    assert "host=db01 dbname=shop" in shown("source", "add", "shop", "--dsn", "service=x", "--rpo", "12h")[1]
    heading, line = shown("source", "list")[1].splitlines()
    assert heading.split() == ["Name", "Connection", "RPO", "Added"] and "24h" in line
    assert "unknown" in shown("source", "tables", "shop")[1]
    assert json.loads(shown("source", "tables", "shop", "--json")[1])[0]["quoted_name"] == "public.a"
    assert "removed" in shown("source", "remove", "shop", "--confirm")[1]
    assert calls == [("shop", "service=x", 43200, None), ("shop", True)]


def test_repositories(answer: Answer, shown: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    check = repositories.RepositoryCheck("local", "/srv/backups", None, [PlanCheck("store", "refused", "read-only")])
    answer(repositories, "add_repository", REPOSITORY, calls)
    answer(repositories, "get_repositories", [REPOSITORY])
    answer(repositories, "get_repository", REPOSITORY)
    answer(repositories, "check_repository", check, calls)
    answer(repositories, "remove_repository", None)
    monkeypatch.chdir("/tmp")
    assert "used where none is named" in shown("repo", "add", "local", "b", "--default", "--max-object-size", "1M")[1]
    assert shown("repo", "add", "s3", "s3://bucket/p")[0] == 0
    assert "100.0 MiB" in shown("repo", "list")[1]
    status, out, _ = shown("repo", "check")
    assert status == 1 and "read-only" in out and "unknown" in out
    assert "its files stay" in shown("repo", "remove", "local", "--confirm")[1]
    assert calls == [("local", "/tmp/b", True, 1 << 20), ("s3", "s3://bucket/p", False, 100 << 20), ("local",)]


def test_stats(answer: Answer, shown: Shown) -> None:
    figures = BackupStatistics(7, 5, 2, 1 << 30, 61.5, MADE, None)
    bad = SourceSafety("billing", Safety.NOT_SAFE, 86400, None, 111600)
    overview = statistics.SafetyOverview(
        Safety.NOT_SAFE, "billing: last good 31h ago, RPO 24h", [bad], [], 1, 2, 1 << 30, None, MADE
    )
    answer(statistics, "get_backup_statistics", figures)
    answer(statistics, "get_safety", overview)
    shop = storage.SourceStorage("shop", 30, 1 << 20, 30 << 20, 2 << 20, 15.0)
    left = storage.SourceStorage(None, 0, None, 0, 1 << 10, None)
    total = storage.SourceStorage(None, 30, 1 << 20, 30 << 20, (2 << 20) + 1024, 14.99)
    answer(storage, "get_storage", storage.Storage([shop, left], total))
    answer(storage, "measure_storage", [storage.MeasuredRepository("local", 7, 2 << 20, -1024, 4096, 1)])
    out = shown("--ascii", "stats")[1]
    assert out.splitlines()[0] == "X NOT SAFE  billing: last good 31h ago, RPO 24h"
    assert "7 (5 good, 2 failed)" in out and "1.0 GiB" in out
    read = json.loads(shown("stats", "--json")[1])
    assert read["failed_backups"] == 2 and read["safety"]["sources"][0]["source_name"] == "billing"
    rows = [line.split() for line in out.splitlines() if " x" in line or "(removed)" in line]
    assert rows[0] == ["shop", "30", "1.0", "MiB", "30.0", "MiB", "2.0", "MiB", "15.0", "x"]
    assert rows[1][:3] == ["(removed)", "0", "-"] and rows[2][0] == "Total"
    assert (read["sources"][0]["stored_bytes"], read["total"]["ratio"]) == (2 << 20, 14.99)
    assert "measured" not in read and "measured" in json.loads(shown("stats", "--measure", "--json")[1])
    said = shown("stats", "--measure")[2]
    assert said == (
        "local: 7 objects, 2.0 MiB; 1.0 KiB less than was known; 4.0 KiB beside it belong to no backup;"
        " 1 manifests cannot be read.\n"
    )


@pytest.mark.parametrize(("level", "status"), [("ok", 0), ("warning", 0), ("refused", 1)])
def test_doctor(level: str, status: int, answer: Answer, shown: Shown) -> None:
    answer(setup, "doctor", [PlanCheck("catalog", level, f"{HOSTILE}\nwhat to do")])
    found, out, _ = shown("doctor")
    assert found == status and level in out and "    what to do" in out
    assert json.loads(shown("doctor", "--json")[1])[0]["level"] == level


def test_init_and_upgrade(answer: Answer, shown: Shown) -> None:
    calls: list[Any] = []
    made = setup.InitResult("main", "admin", "agent", "", ["0001_catalog"])
    answer(setup, "init_embedded", made)
    answer(setup, "init_server", made, calls)
    answer(setup, "upgrade", ["0002_policies"])
    out = shown("init")[1]
    assert "repo add NAME LOCATION --default" in out and "source add NAME" in out
    options = ["--agent-login", "a", "--admin-login", "b", "--tenant", "c"]
    assert json.loads(shown("init", "--catalog", "dbname=x", *options, "--json")[1])["tenant"] == "main"
    assert calls[0][:5] == ("dbname=x", "", "a", "c", "b")
    assert shown("init", "--tenant", "c")[0] == 2
    assert shown("upgrade")[1] == "applied 0002_policies\n"
    answer(setup, "upgrade", [])
    assert shown("upgrade")[1] == "The catalog is up to date.\n"


def test_a_policy_is_printed_as_the_document_that_it_is(answer: Answer, shown: Shown) -> None:
    calls: list[Any] = []
    document = {"Version": "2012-10-17", "Statement": []}
    answer(repositories, "get_repository_policy", repositories.RepositoryPolicy("r", "acme", ID, True, document), calls)
    assert json.loads(shown("repo", "policy", "acme", "--repo", "r")[1]) == document
    assert calls == [("acme", "r")]
    rule = {"folder": HOSTILE, "folder_mode": "0700", "file_mode": "0600", "owner": "the agent's"}
    answer(repositories, "get_repository_policy", repositories.RepositoryPolicy("r", "acme", ID, False, rule))
    out = shown("repo", "policy", "acme")[1]
    assert "0700" in out and "0600" in out
    assert json.loads(shown("repo", "policy", "acme", "--json")[1])["file_mode"] == "0600"


def test_login_and_logout(answer: Answer, shown: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    answer(logins, "log_in", logins.Login(ID, MADE, [f"{HOSTILE} (admin)"], "/x"), calls)
    monkeypatch.setattr("sys.stdin", io.StringIO(" a.b.c\n"))
    status, out, _ = shown("login", "--token-stdin")
    assert status == 0 and f"Logged in as {ID}" in out and "until 2026-11-22 02:14 UTC" in out
    assert calls == [("a.b.c",)]
    monkeypatch.setattr("sys.stdin", io.StringIO("\n"))
    assert shown("login", "--token-stdin")[0] == 2
    # never as an argument, where every user of the machine could read it
    assert shown("login")[0] == 2 and shown("login", "a.b.c")[0] == 2
    assert shown("logout")[1] == "Nobody was logged in.\n"
    assert json.loads(shown("logout", "--json")[1]) == {"removed": False}


def test_agent_status(answer: Answer, shown: Shown, tmp_path: Path) -> None:
    silent = AgentInfo(ID, HOSTILE, 7, "0.1.0", MADE, MADE, 60.0)
    answer(agents, "agent_status", agents.AgentStatus(False, None, tmp_path))
    answer(agents, "get_agents", [silent, replace(silent, age_seconds=2.0)])
    status, out, _ = shown("agent", "status")
    assert status == 0 and "not running" in out and "silent" in out and "alive" in out
    answer(agents, "get_agents", [silent])
    status, out, _ = shown("agent", "status", "--json")
    read = json.loads(out)
    assert status == 1 and read["agents"][0]["is_alive"] is False and read["catalog_error"] is None


def test_agent_start_and_stop(answer: Answer, shown: Shown) -> None:
    answer(agents, "start_agent", 4711)
    answer(agents, "stop_agent", True)
    assert "process 4711" in shown("agent", "start")[1]
    assert json.loads(shown("agent", "start", "--json")[1])["pid"] == 4711
    assert shown("agent", "stop")[1] == "The agent has stopped.\n"
    assert "ExecStart=" in shown("agent", "unit", "--user", "bk")[1]
