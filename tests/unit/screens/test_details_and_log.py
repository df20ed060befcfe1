"""Everything about one row, the download dialog, and the agent's log."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tests.unit.screens.conftest import Runner, screen_text, until
from tests.unit.screens.fakes import NOW, FakeBackend, made_id, make_progress
from tui_backup.errors import AlreadyExistsError, DamagedError
from tui_backup.model import JobStatus, Proof, Verification
from tui_backup.screens.log_tail import LAST_LINES, LogTail, mask_secrets
from tui_backup.screens.log_view import LogScreen
from tui_backup.screens.main import MainScreen

# SPEC.md section 1: every column of backup_jobs and of backup_restore_logs
JOB_COLUMNS = (
    "id", "job_type", "status", "started_at", "completed_at", "backup_size", "storage_path", "tenant_id",
    "created_at", "backup_name", "description", "duration_seconds", "compressed_size_bytes", "storage_bucket",
    "tables_count", "rows_count", "files_count", "error_message", "error_details", "retry_count", "metadata",
    "tags", "created_by", "updated_at", "updated_by",
)  # fmt: skip
RESTORE_COLUMNS = (
    "id", "backup_job_id", "restore_type", "restore_point", "status", "started_at", "completed_at",
    "duration_seconds", "tables_restored", "rows_restored", "error_message", "error_details",
    "rollback_executed", "rollback_at", "metadata", "notes", "tenant_id", "created_at", "created_by",
    "initiated_by", "updated_at",
)  # fmt: skip


def first_words(text: str) -> set[str]:
    return {line.split()[0] for line in text.splitlines() if line.split()}


async def test_every_column_of_a_job_with_tables_timeline_and_command(run: Runner) -> None:
    async with run(size=(120, 90)) as (app, pilot):
        await pilot.press("j", "enter")
        await until(pilot, lambda: "public.orders" in screen_text(app))
        text = screen_text(app)
        assert set(JOB_COLUMNS) <= first_words(text)
        assert "2026-11-24 07:30:00 UTC   completed after 00:01:22" in text
        assert "tui-backup backup prod-main --type full --repo local --name before-upgrade" in text
        assert "1,204,118" in text
        await pilot.press("y")
        assert app.clipboard == str(made_id("job good"))
        await pilot.press("escape")
        assert isinstance(app.screen, MainScreen)


async def test_a_failed_job_shows_its_error_with_what_to_do_first(run: Runner) -> None:
    async with run() as (app, pilot):
        await pilot.press("j", "j", "enter")
        lines = screen_text(app).splitlines()
        assert "✗ failed  billing" in lines[0]
        assert "Server refused the connection." in lines[2]
        assert "What to do: Is it up?" in lines[3]
        assert "Only completed backups" in screen_text(app), "why there are no tables"


async def test_details_follow_a_running_job(backend: FakeBackend, run: Runner) -> None:
    async with run() as (app, pilot):
        await pilot.press("enter")
        assert "5.1 GiB of 12.4 GiB" in screen_text(app)
        job = backend.world.jobs[made_id("job running")]
        backend.put(replace(job, progress=make_progress(0.5)))
        await until(pilot, lambda: "6.2 GiB of 12.4 GiB" in screen_text(app))
        backend.put(replace(job, status=JobStatus.COMPLETED, completed_at=NOW, progress=None))
        await until(pilot, lambda: "✓ completed" in screen_text(app).splitlines()[0])


async def test_damage_is_listed_piece_by_piece(backend: FakeBackend, run: Runner) -> None:
    problems = [
        {"kind": "missing", "pack": "ab" * 32, "belongs_to": ["public.orders"], "reason": "there is no such object"},
        {"kind": "damaged", "pack": "cd" * 32, "belongs_to": ["schema"], "reason": "another checksum"},
    ]
    check = Verification(
        made_id("check"), made_id("job good"), Proof.FILES, JobStatus.FAILED, NOW, completed_at=NOW, problems=problems
    )
    backend.world.verifications[check.backup_job_id] = check
    async with run(size=(120, 40)) as (app, pilot):
        await pilot.press("j", "enter")
        await until(pilot, lambda: "missing: public.orders (pack abababababab): there is no such" in screen_text(app))
        assert "damaged: schema (pack cdcdcdcdcdcd): another checksum" in screen_text(app)


async def test_a_manifest_that_cannot_be_read_is_said_where_the_tables_would_be(
    backend: FakeBackend, run: Runner
) -> None:
    backend.fail_next["get_backup_contents"] = DamagedError("The manifest is truncated.")
    async with run() as (app, pilot):
        await pilot.press("j", "enter")
        await until(pilot, lambda: "The manifest is truncated." in screen_text(app))


async def test_every_column_of_a_restore_and_its_comparison(run: Runner) -> None:
    async with run(size=(120, 80)) as (app, pilot):
        await pilot.press("3", "tab", "enter")
        text = screen_text(app)
        assert set(RESTORE_COLUMNS) <= first_words(text)
        assert "48 tables, 1,204,118 rows: identical with the backup (definitions compared word by word)" in text
        assert "--into-database prod_main --swap --confirm" in text
        await pilot.press("escape", "j", "j", "enter")
        assert "The target is as it was before." in screen_text(app)
        assert "rolled back" in screen_text(app)


async def test_download_writes_where_it_is_told_and_says_what_stands_in_the_way(
    backend: FakeBackend, run: Runner
) -> None:
    async with run() as (app, pilot):
        await pilot.press("j", "d")
        field = app.screen.query_one("#output")
        field.value = "/tmp/there.sql"
        backend.fail_next["download_backup_file"] = AlreadyExistsError("/tmp/there.sql exists.")
        await pilot.press("enter")
        await until(pilot, lambda: "/tmp/there.sql exists." in screen_text(app))
        field.value = "/tmp/new.sql"
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, MainScreen))
        assert backend.called("download_backup_file")[-1][1] == Path("/tmp/new.sql")


# -- the log ------------------------------------------------------------------------------------------------------


def test_secrets_are_masked() -> None:
    for line in (
        "dsn postgresql://backup:hunter2@db01/shop failed",
        "password=hunter2 host=x",
        "password='hun ter2' host=x",
        '{"password": "hunter2"}',
        "PGPASSWORD=hunter2",
        "token: hunter2",
    ):
        masked = mask_secrets(line)
        assert "hunter2" not in masked and "ter2" not in masked, line
        assert "***" in masked


def test_the_tail_reads_what_is_new_and_starts_over_after_a_rotation(tmp_path: Path) -> None:
    path = tmp_path / "agent.log"
    tail = LogTail(path)
    assert tail.read() == ([], True)
    path.write_text("one\ntwo\nthr")
    assert tail.read() == (["one", "two"], True)
    with path.open("a") as file:
        file.write("ee\nfour \x1b[31mred\n")
    lines, fresh = tail.read()
    assert lines[0] == "three"
    assert "\x1b" not in lines[1]
    assert not fresh
    path.rename(tmp_path / "agent.log.1")
    path.write_text("new\n")
    assert tail.read() == (["new"], True)
    path.write_text("")
    assert tail.read() == ([], True)


def test_the_tail_of_a_huge_file_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "agent.log"
    path.write_text("".join(f"line {n}\n" for n in range(300_000)))
    lines, _fresh = LogTail(path).read()
    assert len(lines) == LAST_LINES
    assert lines[-1] == "line 299999"


async def test_the_log_is_followed_searched_and_masked(backend: FakeBackend, run: Runner) -> None:
    log = backend.config.agent_log
    log.parent.mkdir(parents=True)
    log.write_text("".join(f"2026-11-24 INFO line {n}\n" for n in range(100)) + "password=hunter2 [/x]\n")
    async with run() as (app, pilot):
        await pilot.press("l")
        await until(pilot, lambda: "password=*** [/x]" in screen_text(app))
        assert str(log)[:40] in screen_text(app).splitlines()[0]
        with log.open("a") as file:
            file.write("a new line\n")
        await until(pilot, lambda: "a new line" in screen_text(app))
        await pilot.press("g")
        await until(pilot, lambda: "not following" in screen_text(app))
        with log.open("a") as file:
            file.write("unseen line\n")
        await pilot.pause(1.3)
        assert "line 0" in screen_text(app), "scrolled up: it stays where the reader is"
        await pilot.press("slash", *"line 9")
        await until(pilot, lambda: '"line 9": 11 of 103 lines' in screen_text(app))
        await pilot.press("enter", "escape")
        await until(pilot, lambda: "unseen line" in screen_text(app))
        assert isinstance(app.screen, LogScreen)
        await pilot.press("escape")
        assert isinstance(app.screen, MainScreen)


async def test_no_log_yet_is_said(run: Runner) -> None:
    async with run() as (app, pilot):
        await pilot.press("l")
        await until(pilot, lambda: "no agent has written it yet" in screen_text(app))
