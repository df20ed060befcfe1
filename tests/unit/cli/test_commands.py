"""What commands ask of the services and how they show the answers; the services' own work is tested elsewhere."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.unit.cli.conftest import HOSTILE, Answer, Shown
from tui_backup.model import (
    BackupJob,
    BackupJobInsert,
    BackupRestoreLog,
    BackupSchedule,
    JobStatus,
    JobType,
    PlanCheck,
    PlanTable,
    Progress,
    Proof,
    RestorePlan,
    RestoreRequest,
    RestoreTarget,
    RestoreType,
    Verification,
)
from tui_backup.services import (
    backups,
    repositories,
    restores,
    schedules,
    sources,
    verifications,
    waiting,
)

ID = UUID("6f1f7a3e-1111-4000-8000-000000000001")
MADE = datetime(2026, 11, 22, 2, 14, tzinfo=UTC)

JOB = BackupJob(
    id=ID,
    job_type=JobType.FULL,
    status=JobStatus.COMPLETED,
    tenant_id=ID,
    created_at=MADE,
    completed_at=MADE,
    backup_size=13_314_398_618,
    compressed_size_bytes=5_000_000,
    duration_seconds=82,
    tables_count=20,
    rows_count=1_204_118,
    source_name=HOSTILE,
    backup_name=HOSTILE,
    proof=Proof.FILES,
    proof_at=MADE,
)
FAILED = replace(
    JOB,
    status=JobStatus.FAILED,
    error_message="The server refused the connection.",
    error_details={"error": "connection_failed", "message": "…", "hint": "Is it up?"},
)
LOG = BackupRestoreLog(
    id=ID,
    backup_job_id=ID,
    restore_type=RestoreType.FULL,
    status=JobStatus.COMPLETED,
    tenant_id=ID,
    created_at=MADE,
    completed_at=MADE,
    tables_restored=20,
    rows_restored=1_204_118,
    source_name="shop",
    metadata={
        "database": "shop",
        "compare": {"identical": True},
        "swap": {"kept": "shop_old_1"},
        "warnings": [HOSTILE],
    },
    undo_state="kept",
)
SCHEDULE = BackupSchedule(
    id=ID,
    schedule_name="nightly",
    job_type=JobType.FULL,
    cron_expression="0 2 * * *",
    timezone="Asia/Riyadh",
    is_enabled=True,
    retention_days=None,
    max_backups_count=10,
    notify_on_success=False,
    notify_on_failure=True,
    tenant_id=ID,
    created_at=MADE,
    next_run_at=MADE,
    source_name="shop",
)


def test_job_list(answer: Answer, shown: Shown) -> None:
    running = replace(
        JOB, status=JobStatus.RUNNING, completed_at=None, progress=Progress("data", bytes_done=41, bytes_total=100)
    )
    answer(backups, "get_backup_jobs", [running, JOB])
    status, out, err = shown("--ascii", "job", "list")
    assert (status, err) == (0, "")
    heading, first, second = out.splitlines()
    words = ["Id", "Status", "Source", "Type", "Scope", "Name", "Finished,", "UTC", "Size", "Took", "Proof"]
    assert heading.split() == words
    assert first.startswith("6f1f7a3e  * running 41%") and first.endswith("  -")
    assert "+ completed" in second and "12.4 GiB" in second and "00:01:22" in second
    assert "files verified" in second


def test_job_list_filters(answer: Answer, shown: Shown) -> None:
    calls: list[Any] = []
    answer(backups, "get_backup_jobs", [], calls)
    words = ("job", "list", "--status", "failed", "--source", "shop", "--text", "x", "--limit", "7")
    assert shown(*words)[:2] == (0, "No backup matches.\n")
    assert calls == [(backups.JobFilters(status=JobStatus.FAILED, source="shop", text="x", limit=7),)]
    assert json.loads(shown(*words, "--json")[1]) == []


def test_an_empty_job_list_says_how_to_begin(answer: Answer, shown: Shown) -> None:
    answer(backups, "get_backup_jobs", [])
    assert "tui-backup backup SOURCE --wait" in shown("job", "list")[1]


def test_job_show(answer: Answer, shown: Shown) -> None:
    answer(backups, "get_backup_job_by_id", FAILED)
    answer(backups, "get_backup_contents", [backups.BackupTable(HOSTILE, 1_000, 5, 3, 1)])
    status, out, _ = shown("--ascii", "job", "show", "6f1f", "--tables")
    assert status == 0
    assert str(ID) in out and "1,204,118" in out and "1,000" in out
    assert "X failed  The server refused the connection.\nhint: Is it up?" in out
    read = json.loads(shown("job", "show", "6f1f", "--tables", "--json")[1])
    assert read["id"] == str(ID) and read["tables"][0]["rows"] == 1_000


def test_backup_asks_for_what_was_said(answer: Answer, shown: Shown) -> None:
    calls: list[Any] = []
    answer(backups, "create_backup_job", replace(JOB, status=JobStatus.PENDING), calls)
    options = ["--repo", "r", "--table", "public.a", "--table", '"B"."c"', "--name", "n", "--description", "d"]
    status, out, _ = shown("backup", "shop", "--type", "full", *options, "--tag", "x", "--tag", "y")
    assert status == 0 and str(ID) in out and "job cancel 6f1f7a3e" in out
    insert = BackupJobInsert(
        "shop", JobType.FULL, "n", "d", tables=("public.a", '"B"."c"'), repository="r", tags=("x", "y")
    )
    assert calls == [(insert,)]


def test_backup_wait_prints_the_finished_job(answer: Answer, shown: Shown) -> None:
    answer(backups, "create_backup_job", replace(JOB, status=JobStatus.PENDING))
    answer(waiting, "wait_for_job", JOB)
    status, out, err = shown("backup", "shop", "--wait", "--json")
    assert (status, err) == (0, "")
    assert json.loads(out)["status"] == "completed"
    assert "20 tables, 1,204,118 rows" in shown("backup", "shop", "--wait")[1]


@pytest.mark.parametrize("is_json", [False, True])
def test_backup_wait_fails_when_the_job_failed(is_json: bool, answer: Answer, shown: Shown) -> None:
    answer(backups, "create_backup_job", replace(JOB, status=JobStatus.PENDING))
    answer(waiting, "wait_for_job", FAILED)
    status, out, err = shown("backup", "shop", "--wait", *(["--json"] if is_json else []))
    assert status == 1
    if is_json:
        assert json.loads(out)["status"] == "failed"
        error = json.loads(err)
        assert (error["error"], error["hint"]) == ("connection_failed", "Is it up?")
    else:
        assert out == "" and "error: The server refused the connection.\nhint: Is it up?\n" in err


def test_a_cancelled_backup_is_no_success(answer: Answer, shown: Shown) -> None:
    answer(backups, "create_backup_job", JOB)
    answer(waiting, "wait_for_job", replace(JOB, status=JobStatus.CANCELLED))
    status, _, err = shown("backup", "shop", "--wait", "--json")
    assert status == 1 and json.loads(err)["error"] == "cancelled"


@pytest.mark.parametrize(
    ("words", "known"),
    [
        (["job", "delete", "6f1f"], (backups, "get_backup_job_by_id", JOB)),
        (["schedule", "delete", "nightly"], (schedules, "get_backup_schedule", SCHEDULE)),
        (["restore-log", "finish", "6f1f"], (restores, "get_restore_log_by_id", LOG)),
        (["source", "remove", "shop"], (sources, "get_source", None)),
        (["repo", "remove", "local"], (repositories, "get_repository", None)),
    ],
)
def test_what_cannot_be_taken_back_needs_the_confirmation(
    words: list[str], known: tuple[Any, str, Any], answer: Answer, shown: Shown
) -> None:
    answer(*known)
    status, out, err = shown(*words, "--json")
    assert (status, out) == (3, "")
    assert json.loads(err)["error"] == "confirmation_required"


PLAN = RestorePlan(
    job=JOB,
    target=RestoreTarget.SWAP,
    server="db01:5432",
    database=HOSTILE,
    schema=None,
    tables=[PlanTable("public.orders", 1_198_020, 1_204_118), PlanTable(HOSTILE, 5, None)],
    checks=[PlanCheck("space", "ok", "enough"), PlanCheck("sessions", "warning", "6 connections end")],
    sessions=6,
    bytes_needed=100,
    bytes_free=None,
    reason="a new database, then the names are swapped",
    undo="kept as shop_old",
)


def test_restore_without_confirm_shows_the_plan_and_refuses(answer: Answer, shown: Shown) -> None:
    calls: list[Any] = []
    answer(backups, "get_backup_job_by_id", JOB)
    answer(restores, "plan_restore", PLAN, calls)
    status, out, err = shown("--ascii", "restore", "6f1f", "--into-database", "shop2", "--swap")
    assert status == 3 and "--confirm" in err
    assert "1,204,118" in out and "1,198,020" in out and "not there" in out
    assert "! warning  sessions: 6 connections end" in out and "6 connected now" in out
    ((request,),) = calls
    assert request == RestoreRequest(job_id=ID, target=RestoreTarget.SWAP, database="shop2")
    status, out, err = shown("restore", "6f1f", "--into-database", "shop2", "--swap", "--json")
    assert status == 3 and json.loads(err)["error"] == "confirmation_required"
    assert json.loads(out)["tables"][0] == {
        "name": "public.orders",
        "rows_in_backup": 1_198_020,
        "rows_now": 1_204_118,
        "rows_now_is_estimate": False,
        **dict.fromkeys(("rows_delete", "rows_insert", "rows_update", "rows_same")),
    }


def test_a_dry_run_is_done_and_never_restores(answer: Answer, shown: Shown) -> None:
    answer(backups, "get_backup_job_by_id", JOB)
    answer(restores, "plan_restore", PLAN)
    restored: list[Any] = []
    answer(restores, "restore_from_backup", LOG, restored)
    status, _, err = shown("restore", "6f1f", "--in-place", "--table", "public.a", "--dry-run", "--confirm")
    assert (status, err, restored) == (0, "", [])


def test_a_refused_plan_exits_3_with_the_reasons(answer: Answer, shown: Shown) -> None:
    answer(backups, "get_backup_job_by_id", JOB)
    answer(restores, "plan_restore", replace(PLAN, checks=[PlanCheck("version", "refused", "the server is older")]))
    restored: list[Any] = []
    answer(restores, "restore_from_backup", LOG, restored)
    for word in ("--dry-run", "--confirm"):
        status, _, err = shown("restore", "6f1f", "--in-place", word, "--json")
        assert status == 3 and "the server is older" in json.loads(err)["message"]
    assert restored == []


def test_a_confirmed_restore(answer: Answer, shown: Shown) -> None:
    calls: list[Any] = []
    answer(backups, "get_backup_job_by_id", JOB)
    answer(restores, "plan_restore", PLAN)
    answer(restores, "restore_from_backup", replace(LOG, status=JobStatus.PENDING), calls)
    answer(waiting, "wait_for_restore", LOG)
    options = ["--no-compare", "--no-safety-backup", "--no-owner", "--target-source", "other", "--notes", "night"]
    words = ["restore", "6f1f", "--into-schema", "look", "--table", "public.a", *options, "--confirm"]
    status, out, _ = shown(*words, "--wait")
    assert status == 0 and "identical with the backup" in out and "kept as shop_old_1" in out
    assert "restore-log undo 6f1f7a3e" in out
    assert calls == [
        (
            RestoreRequest(
                job_id=ID,
                target=RestoreTarget.SIDE_SCHEMA,
                schema="look",
                tables=("public.a",),
                confirm_restore=True,
                compare=False,
                safety_backup=False,
                no_owner=True,
                target_source="other",
                notes="night",
            ),
        )
    ]
    status, out, err = shown(*words, "--wait", "--json")
    assert (status, err) == (0, "") and json.loads(out)["rows_restored"] == 1_204_118


def test_a_failed_restore_exits_1(answer: Answer, shown: Shown) -> None:
    answer(backups, "get_backup_job_by_id", JOB)
    answer(restores, "plan_restore", PLAN)
    answer(restores, "restore_from_backup", LOG)
    failed = replace(LOG, status=JobStatus.FAILED, error_message="lost", rollback_executed=True, rollback_at=MADE)
    answer(waiting, "wait_for_restore", failed)
    status, out, err = shown("restore", "6f1f", "--in-place", "--confirm", "--wait", "--json")
    assert status == 1
    assert json.loads(out)["rollback_executed"] is True and json.loads(err)["message"] == "lost"


def test_restore_log_list_and_show(answer: Answer, shown: Shown) -> None:
    answer(restores, "get_restore_logs", [LOG])
    answer(restores, "get_restore_log_by_id", LOG)
    assert "1,204,118" in shown("restore-log", "list")[1]
    out = shown("restore-log", "show", "6f1f")[1]
    assert "Old database  kept as shop_old_1" in out and "Rolled back" in out


DONE = Verification(
    id=ID, backup_job_id=ID, kind=Proof.FILES, status=JobStatus.COMPLETED, created_at=MADE, bytes_read=1024
)


def test_verify_says_that_all_is_well(answer: Answer, shown: Shown) -> None:
    answer(verifications, "verify_backup", DONE)
    answer(waiting, "wait_for_verification", DONE)
    status, out, _ = shown("--ascii", "verify", "6f1f", "--files")
    assert status == 0 and out == "+ ok  every file is as it was written: 1.0 KiB read\n"


def test_verify_names_the_damage_and_exits_1(answer: Answer, shown: Shown) -> None:
    problem = {
        "kind": "damaged",
        "pack": "ab12",
        "blob": "cd34",
        "belongs_to": ["public.orders", HOSTILE],
        "reason": "x",
    }
    details = {"error": "damaged", "message": "1 part is damaged.", "hint": "Make a new backup now."}
    failed = replace(
        DONE, status=JobStatus.FAILED, problems=[problem], error_message="1 part is damaged.", error_details=details
    )
    answer(verifications, "verify_backup", DONE)
    answer(waiting, "wait_for_verification", failed)
    status, out, err = shown("verify", "6f1f", "--files")
    assert status == 1 and "public.orders" in out and "ab12" in out and "error: " in err
    status, out, err = shown("verify", "6f1f", "--files", "--json")
    assert status == 1
    assert json.loads(out)["problems"] == [problem] and json.loads(err)["error"] == "damaged"


def test_schedule_add(answer: Answer, shown: Shown) -> None:
    calls: list[Any] = []
    answer(schedules, "create_backup_schedule", SCHEDULE, calls)
    words = ["schedule", "add", "nightly", "--source", "shop", "--type", "full", "--preset", "weekly"]
    words += ["--timezone", "Asia/Riyadh", "--retention-days", "none", "--max-backups", "3"]
    status, out, _ = shown(*words, "--email", "a@b.example", "--email", "c@d.example", "--notify-on-success")
    assert status == 0 and out.startswith("Schedule nightly added. Next run: 2026-11-22")
    ((insert,),) = calls
    assert (insert.cron_expression, insert.timezone) == ("0 2 * * 0", "Asia/Riyadh")
    assert (insert.retention_days, insert.max_backups_count) == (None, 3)
    assert insert.notification_emails == ("a@b.example", "c@d.example")
    assert (insert.notify_on_success, insert.notify_on_failure) == (True, True)


@pytest.mark.parametrize(
    ("options", "updates"),
    [
        (["--preset", "daily"], {"cron_expression": "0 2 * * *"}),
        (["--cron", "1 2 * * *"], {"cron_expression": "1 2 * * *"}),
        (["--retention-days", "none"], {"retention_days": None}),
        (["--max-backups", "5", "--timezone", "UTC"], {"max_backups_count": 5, "timezone": "UTC"}),
        (["--no-email"], {"notification_emails": []}),
        (["--email", "a@b.example"], {"notification_emails": ["a@b.example"]}),
        (["--no-notify-on-failure"], {"notify_on_failure": False}),
        (["--rename", "x", "--all-tables"], {"schedule_name": "x", "tables": []}),
        (["--type", "full"], {"job_type": JobType.FULL}),
        (["--description", ""], {"description": ""}),
    ],
)
def test_schedule_edit_changes_only_what_is_named(
    options: list[str], updates: dict[str, Any], answer: Answer, shown: Shown
) -> None:
    calls: list[Any] = []
    answer(schedules, "get_backup_schedule", SCHEDULE)
    answer(schedules, "update_backup_schedule", SCHEDULE, calls)
    assert shown("schedule", "edit", "nightly", *options)[0] == 0
    assert calls == [(ID, updates)]


def test_schedule_edit_of_nothing_is_wrong_use(answer: Answer, shown: Shown) -> None:
    answer(schedules, "get_backup_schedule", SCHEDULE)
    assert shown("schedule", "edit", "nightly")[0] == 2


@pytest.mark.parametrize(("word", "is_enabled"), [("enable", True), ("disable", False)])
def test_schedule_toggle(word: str, is_enabled: bool, answer: Answer, shown: Shown) -> None:
    calls: list[Any] = []
    answer(schedules, "get_backup_schedule", SCHEDULE)
    answer(schedules, "toggle_backup_schedule", replace(SCHEDULE, is_enabled=is_enabled), calls)
    assert f"{word}d" in shown("schedule", word, "nightly")[1]
    assert calls == [(ID, is_enabled)]


def test_schedule_show_names_the_next_five_runs(answer: Answer, shown: Shown) -> None:
    answer(schedules, "get_backup_schedule", SCHEDULE)
    out = shown("schedule", "show", "nightly")[1]
    assert out.count("02:00 +03") == 5
    assert "no limit, 10 backups" in out
    assert len(json.loads(shown("schedule", "show", "nightly", "--json")[1])["next_runs"]) == 5


def test_source_test_lists_the_grants_and_exits_1(answer: Answer, shown: Shown) -> None:
    tried = sources.SourceTest(
        server_version="18.6",
        database="shop",
        user="backup",
        size_bytes=1024,
        tables=2,
        is_standby=False,
        tls=True,
        tools="pg_dump 18.6",
        problems=[PlanCheck("rights", "refused", "1 table cannot be read\npublic.secret")],
        grants=["GRANT SELECT ON public.secret TO backup;"],
    )
    answer(sources, "test_source", tried)
    status, out, _ = shown("source", "test", "shop")
    assert status == 1 and "  GRANT SELECT ON public.secret TO backup;" in out and "    public.secret" in out
    status, out, err = shown("source", "test", "shop", "--json")
    assert (status, err) == (1, "") and json.loads(out)["tls"] is True


def test_download_and_cancel(answer: Answer, shown: Shown, tmp_path: Path) -> None:
    calls: list[Any] = []
    answer(backups, "get_backup_job_by_id", JOB)
    answer(backups, "download_backup_file", 2048, calls)
    answer(backups, "cancel_backup_job", replace(JOB, status=JobStatus.RUNNING))
    answer(restores, "cancel_restore", replace(LOG, status=JobStatus.CANCELLED))
    output = tmp_path / "x.sql"
    assert f"-f {output}" in shown("job", "download", "6f1f", "--output", str(output))[1]
    assert calls[0][:2] == (ID, output)
    assert "asked to stop" in shown("job", "cancel", "6f1f")[1]
    assert "is cancelled" in shown("restore-log", "cancel", "6f1f")[1]


def test_undo_and_finish(answer: Answer, shown: Shown) -> None:
    answer(restores, "get_restore_log_by_id", LOG)
    answer(restores, "undo_restore", replace(LOG, undo_state="undone"))
    answer(restores, "finish_restore", replace(LOG, undo_state="finished"))
    assert "has its name again" in shown("restore-log", "undo", "6f1f")[1]
    assert "is dropped" in shown("restore-log", "finish", "6f1f", "--confirm")[1]
    assert json.loads(shown("restore-log", "undo", "6f1f", "--json")[1])["undo_state"] == "undone"
