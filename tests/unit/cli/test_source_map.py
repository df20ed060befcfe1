"""`source map` and what says that a backup or schedule holds one tenant's rows."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from tests.unit.cli.conftest import HOSTILE, Answer, Shown
from tests.unit.cli.test_commands import JOB, SCHEDULE
from tui_backup.errors import ValidationError
from tui_backup.services import backups, schedules, sources, tenant_maps
from tui_backup.services.tenant_maps import MappedTable, SourceTenantMap, TenantMapChanges, split_rule

DECIDED = MappedTable("public.people", "column", "column tenant_id", None, (), "column tenant_id")
OPEN = MappedTable("public.log", "undecided", f"no column{HOSTILE}", None, ("log_fk",))
MAP = SourceTenantMap("shop", "tenant_id", "column", None, None, [DECIDED], ())


def test_all_decided(answer: Answer, shown: Shown) -> None:
    answer(tenant_maps, "get_tenant_map", MAP)
    status, out, _ = shown("source", "map", "shop")
    assert status == 0 and "public.people" in out and "column tenant_id is NULL are nobody's" in out


def test_undecided_tables_are_status_1_and_say_what_to_do(answer: Answer, shown: Shown) -> None:
    answer(tenant_maps, "get_tenant_map", replace(MAP, tables=[OPEN, DECIDED], unknown=["gone"]))
    status, out, _ = shown("source", "map", "shop")
    assert status == 1 and "1 table is undecided" in out and "no table gone" in out
    assert "source map shop --set 'public.log=left-out'" in out
    status, out, _ = shown("source", "map", "shop", "--json")
    assert status == 1
    told = json.loads(out)
    assert [each["how"] for each in told["tables"]] == ["undecided", "column"]
    assert told["tables"][0]["foreign_keys"] == ["log_fk"]


def test_changes(answer: Answer, shown: Shown) -> None:
    calls: list[Any] = []
    answer(tenant_maps, "set_tenant_map", MAP, calls)
    words = ["--set", "a=column:org", "--set", '"B=c"=via:x,y', "--unset", "d"]
    words += ["--rows-by", "policies", "--role", "app", "--setting", "app.tenant"]
    assert shown("source", "map", "shop", *words)[0] == 0
    rules = {"a": "column:org", '"B=c"': "via:x,y"}
    wanted = TenantMapChanges(None, "policies", "app", "app.tenant", rules, ["d"])
    assert calls == [("shop", wanted)]


def test_wrong_use(answer: Answer, shown: Shown) -> None:
    answer(tenant_maps, "set_tenant_map", MAP)
    assert shown("source", "map", "shop", "--set", "a=left-out", "--set", "a=column:b")[0] == 2
    assert shown("source", "map", "shop", "--set", "a")[0] != 0
    assert shown("source", "map", "shop", "--rows-by", "guess")[0] == 2
    with pytest.raises(ValidationError):
        split_rule("=left-out")


def test_source_add_names_the_column(answer: Answer, shown: Shown) -> None:
    from uuid import UUID

    from tui_backup.model import Source

    calls: list[Any] = []
    source = Source(UUID(int=1), "shop", "dbname=a", UUID(int=2), 60, JOB.created_at)
    answer(sources, "add_source", source, calls)
    assert shown("source", "add", "shop", "--dsn", "dbname=a", "--tenant-column", "org")[0] == 0
    assert calls[0][-1] == "org"


def test_job_says_whose_rows(answer: Answer, shown: Shown) -> None:
    facts = {
        "rows_by": "policies",
        "tenant_key": f"acme{HOSTILE}",
        "policy_role": "app",
        "policy_setting": "app.tenant",
        "drift": ["table a is new"],
        "drift_count": 3,
        "left_out": [{"what": "large objects", "reason": "nobody's"}],
    }
    job = replace(JOB, tenant_scope=True, metadata=facts)
    answer(backups, "get_backup_job_by_id", job)
    _, out, _ = shown("job", "show", "6f1f")
    for words in ("tenant: only", "row_security on, role app, app.tenant", "table a is new", "2 more", "large objects"):
        assert words in " ".join(out.split())
    assert json.loads(shown("job", "show", "6f1f", "--json")[1])["tenant_scope"] is True
    answer(backups, "get_backup_jobs", [job, replace(JOB, chosen_tables=["a"])])
    listed = shown("job", "list")[1]
    assert "Scope" in listed and "tenant" in listed and "tables" in listed


def test_schedule_of_a_tenants_rows(answer: Answer, shown: Shown) -> None:
    calls: list[Any] = []
    answer(schedules, "create_backup_schedule", SCHEDULE, calls)
    words = ["schedule", "add", "nightly", "--source", "shop", "--preset", "daily"]
    assert shown(*words, "--tenant-rows")[0] == 0 and shown(*words)[0] == 0
    assert [call[0].tenant_scope for call in calls] == [True, False]
    answer(schedules, "get_backup_schedule", replace(SCHEDULE, tenant_scope=True))
    assert "tenant: only the rows" in shown("schedule", "show", "nightly")[1]
    calls.clear()
    answer(schedules, "update_backup_schedule", SCHEDULE, calls)
    assert shown("schedule", "edit", "nightly", "--no-tenant-rows")[0] == 0
    assert calls[0][-1] == {"tenant_scope": False}
