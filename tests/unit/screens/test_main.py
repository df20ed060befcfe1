"""The first screen: bars, tabs, states, keys."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.unit.screens.conftest import Runner, make_app, screen_text, until
from tests.unit.screens.fakes import NOW, FakeBackend, World, made_id, make_job, make_progress
from tui_backup.config import DashboardConfig
from tui_backup.errors import ConnectionFailedError, PermissionRefusedError
from tui_backup.model import JobStatus, Proof, Safety, Verification
from tui_backup.screens.main import MainScreen


def table_lines(app: Any) -> list[str]:
    return screen_text(app).splitlines()


async def test_the_screen_of_the_drawing(run: Runner) -> None:
    async with run() as (app, _pilot):
        lines = table_lines(app)
        assert "1 Backups" in lines[0]
        assert lines[0].index("1 Backups") < lines[0].index("2 Schedules") < lines[0].index("3 Restore")
        assert "main (admin)" in lines[0]
        assert " ".join(lines[1].split()) == "✗ NOT SAFE billing: last good 31h ago, RPO 24h Failed 1 Agent ● alive"
        assert lines[2].rstrip().endswith("UTC"), "the zone is never left out"
        assert "3/4 inside RPO" in lines[2]
        assert "Next nightly-prod in 13h30m" in lines[2]
        assert lines[5].split()[:3] == ["●", "running", "41%"]
        assert "ETA 6m" in lines[5]
        assert "restored 3d ago" in lines[6]
        assert "completed" not in lines[6].split("GiB")[1], "completed is never shown as proof"
        assert lines[-1].strip().startswith("? Help"), "? Help is first, always"


async def test_tabs_by_key_and_by_mouse(run: Runner) -> None:
    async with run() as (app, pilot):
        await pilot.press("2")
        assert "nightly-prod" in screen_text(app)
        assert "At 02:00" in screen_text(app)
        await pilot.press("3")
        text = screen_text(app)
        assert "Restore log" in text
        assert "failed" not in text.split("Restore log")[0].split("Proof")[1], "only completed backups are offered"
        await pilot.click("#tabs", offset=(44, 0))
        assert app.screen.pane.id == "backups"


async def test_loading_says_so_in_text_with_seconds(backend: FakeBackend, run: Runner) -> None:
    backend.gates["open"] = asyncio.Event()
    async with run(loaded=False) as (app, pilot):
        await until(pilot, lambda: re.search(r"Loading \d+s", screen_text(app)) is not None)
        app.board.connection.since -= 70
        await until(pilot, lambda: re.search(r"Loading 7\ds", screen_text(app)) is not None)
        backend.gates["open"].set()
        await until(pilot, lambda: app.board.loaded)
        assert "Loading" not in screen_text(app)


async def test_empty_says_why_and_which_key(backend: FakeBackend, run: Runner) -> None:
    backend.world.jobs.clear()
    async with run() as (app, pilot):
        assert "Press n to make the first one" in screen_text(app)
        await pilot.press("3")
        assert "nothing to restore from" in screen_text(app)


async def test_no_source_yet_offers_to_register_one(backend: FakeBackend, run: Runner) -> None:
    backend.world = World()
    async with run() as (app, pilot):
        assert "No source yet" in screen_text(app)
        await pilot.press("n")
        assert "New source" in screen_text(app)
        await pilot.press(*"shop", "tab", *"dbname=shop", "tab", *"s3cret")
        assert "s3cret" not in screen_text(app)
        await pilot.press("tab", "enter")
        await until(pilot, lambda: isinstance(app.screen, MainScreen))
        assert backend.called("add_source") == [("shop", "dbname=shop", "s3cret")]
        await until(pilot, lambda: app.board.source_count == 1)


async def test_progress_changes_cells_in_place(backend: FakeBackend, run: Runner) -> None:
    async with run() as (app, pilot):
        job = backend.world.jobs[made_id("job running")]
        backend.put(replace(job, progress=make_progress(0.75)))
        await until(pilot, lambda: "75%" in screen_text(app))
        assert "9.3 GiB of 12.4 GiB" in screen_text(app)
        backend.put(replace(job, progress=make_progress(1.0)))
        await until(pilot, lambda: "99%" in screen_text(app))
        assert "100%" not in screen_text(app), "100 % only once it is completed"


async def test_a_failed_job_says_what_to_do(run: Runner) -> None:
    async with run() as (app, pilot):
        await pilot.press("j", "j")
        text = " ".join(screen_text(app).split())
        assert "billing: Server refused the connection." in text
        assert "`tui-backup source test billing`" in text


async def test_the_catalog_goes_away_and_comes_back(backend: FakeBackend, run: Runner) -> None:
    async with run() as (app, pilot):
        await pilot.press("j", "n")
        await pilot.press("tab", "tab", "tab")
        name = app.screen.query_one("#name")
        name.focus()
        await pilot.press(*"keep me")
        backend.go_down()
        await until(pilot, lambda: not app.board.connection.connected)
        app.board.connection.fresh_at -= 42
        app._tick()
        await pilot.pause()
        assert name.value == "keep me", "nothing typed is lost"
        await pilot.press("escape")
        text = screen_text(app)
        assert "Reconnecting" in text
        assert re.search(r"Data 4\ds old", text)
        assert "UNKNOWN" in text, "never a stale verdict"
        assert "✓ completed" in text, "the rows stay"
        backend.come_back()
        await until(pilot, lambda: app.board.connection.connected)
        assert "Reconnecting" not in screen_text(app)
        assert "NOT SAFE" in screen_text(app)


async def test_what_fails_is_said_twice_a_toast_and_a_message_that_stays(backend: FakeBackend, run: Runner) -> None:
    backend.fail_next["verify_backup"] = PermissionRefusedError("Only operators may verify.")
    async with run() as (app, pilot):
        await pilot.press("j", "v")
        await until(pilot, lambda: len(app._notifications) == 1)
        toast = next(iter(app._notifications))
        assert toast.timeout <= 8
        text = " ".join(screen_text(app).split())
        assert "asking for a check of the files: Only operators may verify." in text
        assert "Ask an admin of your tenant" in text
        await pilot.press("escape")
        assert "Ask an admin" not in " ".join(line for line in screen_text(app).splitlines()[19:])
        assert "Only operators may verify" in (app.config.log_dir / "dashboard.log").read_text()


async def test_the_agent_that_is_down_is_never_a_stale_green(backend: FakeBackend, run: Runner) -> None:
    backend.world.safety, backend.world.headline = Safety.SAFE, "all 4 sources inside RPO"
    async with run() as (app, pilot):
        assert "✓ SAFE" in screen_text(app)
        backend.world.agent_age_s = 11
        await app.feed.read_safety()
        await pilot.pause()
        text = screen_text(app)
        assert "✗ AGENT DOWN" in text
        assert "? UNKNOWN" in text
        assert "✓ SAFE" not in text


async def test_an_agent_is_started_and_it_is_said(backend: FakeBackend, run: Runner) -> None:
    backend.world.agent_age_s = 99
    async with run() as (app, pilot):
        await until(pilot, lambda: "Started an agent, pid 4711" in " ".join(screen_text(app).split()))
        assert backend.agent_started


async def test_the_notice_stays_until_it_is_read(backend: FakeBackend, run: Runner) -> None:
    async with run(notice="Drop a table: tui-backup demo --drop orders") as (app, pilot):
        await until(pilot, lambda: "Drop a table" in screen_text(app))
        await pilot.press("j", "k", "2", "1")
        assert "Drop a table" in screen_text(app)
        await pilot.press("escape")
        await until(pilot, lambda: "Drop a table" not in screen_text(app))


async def test_filter_narrows_while_typing_and_escape_clears(backend: FakeBackend, run: Runner) -> None:
    async with run() as (app, pilot):
        await pilot.press("slash", *"crm")
        assert app.screen.pane.table.row_count == 1
        await pilot.press("enter")
        assert 'Filter "crm": 1 of 5 rows' in screen_text(app)
        await pilot.press("escape")
        assert app.screen.pane.table.row_count == 5
        await pilot.press("slash", *"zzz", "enter")
        assert "Nothing matches" in screen_text(app)


async def test_older_pages_are_loaded_on_demand(backend: FakeBackend, run: Runner) -> None:
    backend.world.jobs = {
        job.id: job
        for job in (
            make_job(f"j{n}", created_at=NOW - timedelta(minutes=n), source_name="old" if n > 900 else "new")
            for n in range(1200)
        )
    }
    async with run() as (app, pilot):
        assert len(app.board.jobs) == 500
        assert "500 newest backups loaded" in screen_text(app)
        await pilot.press("G")
        await until(pilot, lambda: len(app.board.jobs) == 1000)
        await pilot.press("G")
        await until(pilot, lambda: app.board.all_jobs_loaded)
        assert len(app.board.jobs) == 1200


async def test_the_filter_finds_jobs_that_are_not_loaded(backend: FakeBackend, run: Runner) -> None:
    jobs = [make_job(f"j{n}", created_at=NOW - timedelta(minutes=n)) for n in range(600)]
    jobs.append(make_job("needle", created_at=NOW - timedelta(days=9), backup_name="haystack"))
    backend.world.jobs = {job.id: job for job in jobs}
    async with run() as (app, pilot):
        await pilot.press("slash", *"haystack")
        await until(pilot, lambda: made_id("needle") in app.board.jobs)
        assert app.screen.pane.table.row_count == 1


async def test_pause_holds_the_picture(backend: FakeBackend, run: Runner) -> None:
    async with run() as (app, pilot):
        await pilot.press("p")
        job = backend.world.jobs[made_id("job running")]
        backend.put(replace(job, status=JobStatus.FAILED, error_message="x"))
        await until(pilot, lambda: app.board.jobs[job.id].status is JobStatus.FAILED)
        assert "Paused" in screen_text(app)
        assert "running 41%" in screen_text(app)
        await pilot.press("p")
        await until(pilot, lambda: "running 41%" not in screen_text(app))


async def test_cancel_asks_with_no_focused(backend: FakeBackend, run: Runner) -> None:
    async with run() as (app, pilot):
        await pilot.press("x")
        assert "Cancel this backup of prod-main?" in screen_text(app)
        await pilot.press("enter")
        assert backend.called("cancel_backup_job") == [], "Enter means No"
        await pilot.press("x", "y")
        await until(pilot, lambda: len(backend.called("cancel_backup_job")) == 1)
        await until(pilot, lambda: "Being cancelled" in screen_text(app))


async def test_an_action_that_makes_no_sense_says_why(backend: FakeBackend, run: Runner) -> None:
    async with run() as (app, pilot):
        await pilot.press("j", "x")
        await pilot.pause()
        assert "It is completed already" in next(iter(app._notifications)).message
        await pilot.press("g", "r")
        await pilot.pause()
        assert any("Only completed backups" in toast.message for toast in app._notifications)
        assert isinstance(app.screen, MainScreen)


async def test_delete_wants_the_typed_name(backend: FakeBackend, run: Runner) -> None:
    async with run() as (app, pilot):
        await pilot.press("j", "D")
        assert "IT IS THE LAST GOOD BACKUP" in " ".join(screen_text(app).replace("┃", " ").split())
        button = app.screen.query_one("#yes")
        assert button.disabled
        await pilot.press("enter")
        assert isinstance(app.screen, MainScreen), "Cancel has the focus"
        await pilot.press("D", "shift+tab", *"before-upgrad")
        assert app.screen.query_one("#yes").disabled
        await pilot.press("e")
        assert not app.screen.query_one("#yes").disabled
        await pilot.press("enter")
        assert backend.called("delete_backup_job") == [], "Enter in the field never confirms"
        await pilot.press("tab", "tab", "enter")
        await until(pilot, lambda: made_id("job good") not in app.board.jobs)


async def test_verify_shows_progress_and_damage(backend: FakeBackend, run: Runner) -> None:
    async with run() as (app, pilot):
        await pilot.press("j", "v")
        await until(pilot, lambda: "checking" in screen_text(app))
        await pilot.press("v")
        await pilot.pause()
        assert any("being checked already" in toast.message for toast in app._notifications)
        assert len(backend.called("verify_backup")) == 1
        job_id = made_id("job good")
        problem = {"kind": "missing", "pack": "ab" * 32, "belongs_to": ["public.orders"], "reason": "not there"}
        check = backend.world.verifications[job_id]
        backend.put(replace(check, status=JobStatus.FAILED, problems=[problem], error_message="1 part is missing."))
        await until(pilot, lambda: "DAMAGED" in screen_text(app))
        assert "missing: public.orders" in " ".join(screen_text(app).split())


async def test_a_finished_check_brings_the_new_proof(backend: FakeBackend, run: Runner) -> None:
    async with run() as (app, pilot):
        job = replace(backend.world.jobs[made_id("job good")], proof=Proof.FILES, proof_at=NOW)
        backend.world.jobs[job.id] = job
        backend.put(Verification(made_id("check"), job.id, Proof.FILES, JobStatus.COMPLETED, NOW))
        await until(pilot, lambda: "files <1m ago" in screen_text(app))


async def test_copy_says_sent_and_shows_the_text(run: Runner) -> None:
    async with run() as (app, pilot):
        await pilot.press("j", "y")
        assert app.clipboard == str(made_id("job good"))
        assert str(made_id("job good")) in screen_text(app)
        assert "Sent the id" in next(iter(app._notifications)).message
        await pilot.press("escape", "Y")
        assert app.clipboard == "tui-backup backup prod-main --type full --repo local --name before-upgrade"


async def test_schedules_toggle_edit_delete(backend: FakeBackend, run: Runner) -> None:
    async with run() as (app, pilot):
        await pilot.press("2", "space")
        assert "Switch billing off?" in screen_text(app), "switching off is asked"
        await pilot.press("y")
        await until(pilot, lambda: backend.called("toggle_backup_schedule") == [(made_id("schedule billing"), False)])
        await until(pilot, lambda: "- off" in screen_text(app).splitlines()[5])
        await pilot.press("space")
        await until(pilot, lambda: len(backend.called("toggle_backup_schedule")) == 2)
        await pilot.press("D", "y")
        await until(pilot, lambda: len(app.board.schedules) == 2)


async def test_read_only_takes_the_changing_keys_away(backend: FakeBackend, run: Runner) -> None:
    async with run(read_only=True) as (app, pilot):
        assert "n New" not in screen_text(app).splitlines()[-1]
        await pilot.press("n", "x", "D", "v", "r", "2", "space", "e", "n")
        assert isinstance(app.screen, MainScreen)
        changing = {"create_backup_job", "cancel_backup_job", "verify_backup", "toggle_backup_schedule"}
        assert not changing & {call[0] for call in backend.calls}
        await pilot.press("question_mark")
        assert "New backup; on the" not in screen_text(app)
        await pilot.press("escape", "colon", *"delete")
        assert "No action of this name" in screen_text(app)


async def test_help_and_palette_know_every_action(run: Runner) -> None:
    async with run(size=(80, 60)) as (app, pilot):
        await pilot.press("question_mark")
        text = screen_text(app)
        for words in ("Read the highlighted backup back", "Drop the old database", "Copy the command", "Leave at once"):
            assert words in text
        await pilot.press("escape", "colon", *"sched")
        assert "Schedules" in screen_text(app)
        await pilot.press("enter")
        assert app.screen.pane.id == "schedules"
        await pilot.press("ctrl+p")
        assert "Actions" in screen_text(app)


async def test_keys_from_the_configuration(tmp_path: Path) -> None:
    backend = FakeBackend(tmp_path, dashboard=DashboardConfig(keys={"new": "a", "show_schedules": "f2"}))
    app = make_app(backend)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.board.loaded)
        assert "a New" in screen_text(app).splitlines()[-1]
        await pilot.press("n")
        assert isinstance(app.screen, MainScreen)
        await pilot.press("f2")
        assert app.screen.pane.id == "schedules"
        await pilot.press("a")
        assert "New schedule" in screen_text(app)


@pytest.mark.parametrize("key", ["q", "ctrl+q"])
async def test_q_leaves_at_once(run: Runner, key: str) -> None:
    async with run() as (app, pilot):
        await pilot.press(key)
        await pilot.pause()
        assert app.return_value == 0
        assert app.parting_words() == "1 job(s) go on without the dashboard."


async def test_ctrl_c_only_shows_a_hint(run: Runner) -> None:
    async with run() as (app, pilot):
        await pilot.press("ctrl+c")
        await pilot.pause()
        assert app.is_running
        assert "q leaves" in next(iter(app._notifications)).message


async def test_an_unexpected_failure_of_the_feed_is_shown_and_the_app_goes_on(
    backend: FakeBackend, run: Runner
) -> None:
    async with run() as (app, pilot):
        app.feed.take_change = None  # the next change breaks the feed
        backend.put(backend.world.jobs[made_id("job good")])
        await until(pilot, lambda: "Unexpected TypeError" in " ".join(screen_text(app).split()))
        assert app.is_running
        log = (app.config.log_dir / "dashboard.log").read_text()
        assert "Traceback" in log


async def test_reload_after_a_lost_catalog_tries_at_once(backend: FakeBackend, run: Runner) -> None:
    backend.down = ConnectionFailedError("refused")
    async with run(loaded=False) as (app, pilot):
        await until(pilot, lambda: app.board.connection.error is not None)
        assert "The catalog cannot be read" in screen_text(app)
        backend.down = None
        await pilot.press("R")
        await until(pilot, lambda: app.board.loaded)
