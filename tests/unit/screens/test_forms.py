"""The dialog for a new backup and the form for a schedule."""

from __future__ import annotations

import asyncio

from textual.strip import Strip
from textual.widget import Widget

from tests.unit.screens.conftest import Runner, screen_text, until
from tests.unit.screens.fakes import FakeBackend, made_id, make_source
from tui_backup.errors import CatalogUnavailableError, ConnectionFailedError, ValidationError
from tui_backup.model import JobStatus, JobType
from tui_backup.screens.main import MainScreen
from tui_backup.widgets.controls import Field, PlainSelect


async def test_a_backup_in_two_keys(backend: FakeBackend, run: Runner) -> None:
    backend.world.sources = [make_source("prod-main")]
    async with run() as (app, pilot):
        await pilot.press("n")
        await until(pilot, lambda: "about 13.0 GiB, about 00:15:00; local has 812.0 GiB free" in screen_text(app))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, MainScreen))
        (job,) = backend.called("create_backup_job")[0]
        assert (job.source, job.job_type, job.tables, job.repository) == ("prod-main", JobType.FULL, [], "local")
        assert app.screen.pane.job().status is JobStatus.PENDING, "the cursor stands on the new job"


async def test_what_is_not_built_is_not_offered(run: Runner) -> None:
    async with run() as (app, pilot):
        await pilot.press("n")
        await pilot.pause()
        text = screen_text(app).split("New backup")[1]
        assert "incremental" in text
        assert "snapshot" not in text


async def test_an_incremental_is_chosen_by_keys(backend: FakeBackend, run: Runner) -> None:
    async with run() as (app, pilot):
        await pilot.press("n")
        await until(pilot, lambda: app.screen.query_one("#source", PlainSelect).chosen is not None)
        app.screen.query_one("#type").focus()
        await pilot.press("down")
        app.screen.query_one("#start").focus()
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, MainScreen))
        (job,) = backend.called("create_backup_job")[0]
        assert job.job_type is JobType.INCREMENTAL
        assert " incr " in screen_text(app)


async def test_chosen_tables_are_ticked_with_a_list(backend: FakeBackend, run: Runner) -> None:
    async with run() as (app, pilot):
        await pilot.press("n")
        await until(pilot, lambda: app.screen.query_one("#source", PlainSelect).chosen is not None)
        app.screen.query_one("#what").focus()
        await pilot.press("down")
        await until(pilot, lambda: "public.orders" in screen_text(app))
        app.screen.query_one("#start").focus()
        await pilot.press("enter")
        assert "Tick at least one table" in screen_text(app)
        app.screen.query_one("#tables").focus()
        await pilot.press("j", "space", "j", "space")
        chosen = ["public.events", "public.orders"]
        # it is asked when the choice has rested for a moment
        await until(pilot, lambda: backend.called("estimate_backup")[-1][1] == chosen)
        app.screen.query_one("#name").focus()
        await pilot.press(*"two", "enter")
        await until(pilot, lambda: isinstance(app.screen, MainScreen))
        (job,) = backend.called("create_backup_job")[0]
        assert list(job.tables) == chosen
        assert job.backup_name == "two"


async def test_this_tenants_rows_are_chosen_by_keys(backend: FakeBackend, run: Runner) -> None:
    async with run() as (app, pilot):
        await pilot.press("n")
        await until(pilot, lambda: app.screen.query_one("#source", PlainSelect).chosen is not None)
        app.screen.query_one("#what").focus()
        await pilot.press("down", "down")
        await until(pilot, lambda: "room for this tenant's rows" in screen_text(app))
        app.screen.query_one("#start").focus()
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, MainScreen))
        (job,) = backend.called("create_backup_job")[0]
        assert job.tenant_scope and list(job.tables) == []


async def test_one_press_makes_one_backup_and_an_error_keeps_the_form(backend: FakeBackend, run: Runner) -> None:
    async with run() as (app, pilot):
        await pilot.press("j", "n")
        await until(pilot, lambda: app.focused is not None and app.focused.id == "start")
        app.screen.query_one("#name").focus()
        await pilot.press(*"kept")
        backend.gates["create_backup_job"] = gate = asyncio.Event()
        await pilot.press("enter", "enter", "enter")
        await until(pilot, lambda: "Asking" in screen_text(app))
        backend.down = CatalogUnavailableError("The catalog's server does not answer.")
        gate.set()
        await until(pilot, lambda: "does not answer" in screen_text(app))
        assert len(backend.called("create_backup_job")) == 1
        assert app.screen.query_one("#name").value == "kept"
        backend.down = None
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, MainScreen))


async def test_a_source_that_does_not_answer_is_said_in_the_form(backend: FakeBackend, run: Runner) -> None:
    backend.fail_next["estimate_backup"] = ConnectionFailedError("db01 refused the connection.")
    backend.fail_next["list_source_tables"] = ConnectionFailedError("db01 refused the connection.")
    async with run() as (app, pilot):
        await pilot.press("j", "n")
        await until(pilot, lambda: "unknown: db01 refused" in screen_text(app))
        app.screen.query_one("#what").focus()
        await pilot.press("down")
        field = app.screen.query_one("#tables-field", Field)
        await until(pilot, lambda: "db01 refused" in field.error)


async def test_a_schedule_from_a_preset(backend: FakeBackend, run: Runner) -> None:
    async with run() as (app, pilot):
        await pilot.press("2", "n")
        await until(pilot, lambda: app.screen.query_one("#source", PlainSelect).chosen == "prod-main")
        await pilot.press(*"weekly-prod")
        select = app.screen.query_one("#preset", PlainSelect)
        assert [label for label, _key in select._options][-1].plain == "Custom"
        assert len(select._options) == 6, "five presets and custom"
        select.value = "weekly"
        await pilot.pause()
        assert app.screen.query_one("#cron").value == "0 2 * * 0"
        text = " ".join(screen_text(app).replace("│", " ").split())
        assert "Sun Nov 29 02:00, Sun Dec 06 02:00, Sun Dec 13 02:00, Sun Dec 20 02:00, Sun Dec 27 02:00" in text
        app.screen.query_one("#zone").focus()
        await pilot.press("end", *["backspace"] * 3, *"Asia/Riyadh")
        text = " ".join(screen_text(app).replace("│", " ").split())
        assert "(Asia/Riyadh)" in text
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, MainScreen))
        (made,) = backend.called("create_backup_schedule")[0]
        assert (made.cron_expression, made.timezone, made.source) == ("0 2 * * 0", "Asia/Riyadh", "prod-main")
        assert (made.retention_days, made.max_backups_count) == (30, 10)
        assert made.notify_on_failure
        assert app.screen.pane.schedule().schedule_name == "weekly-prod"


async def test_what_is_wrong_is_said_while_typing_and_kept(backend: FakeBackend, run: Runner) -> None:
    async with run(size=(80, 40)) as (app, pilot):
        await pilot.press("2", "n")
        await until(pilot, lambda: app.screen.query_one("#source", PlainSelect).chosen == "prod-main")
        assert app.screen.query_one("#name-field", Field).error == "", "nobody was there yet"
        app.screen.query_one("#cron").focus()
        await pilot.press("end", *["backspace"] * 9, *"61 * * * *")
        assert app.screen.query_one("#cron-field", Field).error
        assert app.screen.query_one("#preset", PlainSelect).chosen == "custom"
        app.screen.query_one("#days").focus()
        await pilot.press("end", "backspace", "backspace", *"-1")
        assert "whole number" in app.screen.query_one("#days-field", Field).error
        app.screen.query_one("#mail").focus()
        await pilot.press(*"nobody")
        await pilot.press("enter")
        assert backend.called("create_backup_schedule") == []
        assert "Not saved" in screen_text(app)
        assert app.screen.query_one("#name-field", Field).error
        assert app.screen.query_one("#cron").value == "61 * * * *"
        app.screen.query_one("#days").value = "7"
        await pilot.pause()
        assert app.screen.query_one("#mail-field", Field).error


async def test_the_services_refusal_lands_on_its_field(backend: FakeBackend, run: Runner) -> None:
    async with run(size=(80, 40)) as (app, pilot):
        await pilot.press("2", "j", "e")
        await until(pilot, lambda: app.screen.query_one("#source", PlainSelect).chosen == "prod-main")
        assert "Edit nightly-prod" in screen_text(app)
        backend.fail_next["update_backup_schedule"] = ValidationError("schedule_name", "This name is taken.")
        await pilot.press("end", *"-2", "enter")
        await until(pilot, lambda: app.screen.query_one("#name-field", Field).error == "This name is taken.")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, MainScreen))
        schedule_id, updates = backend.called("update_backup_schedule")[-1]
        assert schedule_id == made_id("schedule nightly-prod")
        assert updates["schedule_name"] == "nightly-prod-2"


async def test_escape_leaves_a_form_without_asking_the_service(backend: FakeBackend, run: Runner) -> None:
    async with run() as (app, pilot):
        await pilot.press("2", "n", *"abc", "escape")
        assert isinstance(app.screen, MainScreen)
        assert backend.called("create_backup_schedule") == []


async def test_the_focus_can_be_seen_on_every_control(run: Runner) -> None:
    for key in ("n", "2 n"):
        async with run() as (app, pilot):
            await pilot.press(*key.split())
            await pilot.pause(0.3)
            start = app.focused
            assert start is not None
            while True:
                control = app.focused
                assert control is not None
                focused = _look_of(control)
                await pilot.press("tab")
                await pilot.pause()
                assert _look_of(control) != focused, f"{control!r} looks the same without the focus"
                if app.focused is start:
                    break


def _look_of(control: Widget) -> list[Strip]:
    """The control's lines as they are painted, with their styles."""
    region = control.region
    return [
        line.crop(region.x, region.right)
        for line in control.screen._compositor.render_strips()[region.y : region.bottom]  # pyright: ignore[reportPrivateUsage]
    ]
