"""The restore wizard: four steps, back with every answer kept, the confirmation, progress, result, undo."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from textual.widgets import Button

from tests.unit.screens.conftest import Runner, screen_text, until
from tests.unit.screens.fakes import FakeBackend, made_id, make_progress
from tui_backup.errors import CatalogUnavailableError, TargetInUseError
from tui_backup.model import JobStatus, PlanCheck, RestoreTarget
from tui_backup.screens.main import MainScreen
from tui_backup.screens.restore_wizard import RestoreWizard
from tui_backup.widgets.controls import PlainRadioSet


def words(app: Any) -> str:
    return " ".join(screen_text(app).replace("│", " ").replace("┃", " ").split())


async def to_plan(app: Any, pilot: Any, target: RestoreTarget = RestoreTarget.NEW_DATABASE) -> None:
    """From the first screen to step 3."""
    await pilot.press("j", "r")
    await pilot.press("enter")
    await until(pilot, lambda: app.screen._step == 2)
    places = [str(each) for each in RestoreTarget]
    await pilot.press(*["down"] * places.index(str(target)))
    await until(pilot, lambda: app.screen.query_one("#wizard-tables").row_count == 3)
    assert app.screen.query_one("#target", PlainRadioSet).chosen == str(target)
    if target in (RestoreTarget.SIDE_SCHEMA, RestoreTarget.IN_PLACE):
        if target is RestoreTarget.IN_PLACE:
            app.screen.query_one("#what").focus()
            await pilot.press("down")
        app.screen.query_one("#wizard-tables").focus()
        await pilot.press("space")
    app.screen.query_one("#next").focus()
    await pilot.press("enter")
    await planned(app, pilot)


async def planned(app: Any, pilot: Any) -> None:
    """Until the plan is there and the focus stands where the next key belongs."""

    def ready() -> bool:
        plan = app.screen._plan
        return plan is not None and app.focused is not None and app.focused.id == ("back" if plan.refused else "next")

    await until(pilot, ready)


async def test_only_completed_backups_are_offered_with_their_details(run: Runner) -> None:
    async with run() as (app, pilot):
        await pilot.press("j", "r")
        assert isinstance(app.screen, RestoreWizard)
        table = app.screen.query_one("#wizard-backups")
        assert set(table.model.order) == {str(made_id("job good")), str(made_id("job old"))}
        assert table.cursor_key == str(made_id("job good"))
        text = words(app)
        assert "48 tables, 1,204,118 rows" in text
        assert "12.4 GiB, stored in 3.1 GiB" in text
        assert str(made_id("job good")) in text


async def test_a_new_database_is_the_default_and_asks_no_name(backend: FakeBackend, run: Runner) -> None:
    async with run() as (app, pilot):
        await to_plan(app, pilot)
        text = words(app)
        assert "prod_main_20261124_0728 @ db01:5432" in text
        assert "✓ ok checksums: all 99 objects are there" in text
        assert "needs 13.0 GiB, free 812.0 GiB" in text
        await pilot.press("enter")
        restore = app.screen.query_one("#restore", Button)
        assert app.focused.id == "cancel"
        assert restore.disabled
        assert "Type the target's name" not in screen_text(app)
        await pilot.press("enter")
        assert isinstance(app.screen, MainScreen), "Enter on Cancel leaves"
        assert backend.called("restore_from_backup") == []


async def test_the_plan_of_a_tenants_rows_tells_what_becomes_of_them(backend: FakeBackend, run: Runner) -> None:
    good = made_id("job good")
    backend.world.jobs[good] = replace(backend.world.jobs[good], tenant_scope=True)
    async with run() as (app, pilot):
        await to_plan(app, pilot, RestoreTarget.IN_PLACE)
        assert "2 deleted, 8 inserted" in words(app)
        await pilot.press("enter")
        assert "(2 deleted, 8 inserted)" in words(app)


async def test_a_tenants_rows_may_be_looked_at_whole(backend: FakeBackend, run: Runner) -> None:
    good = made_id("job good")
    backend.world.jobs[good] = replace(backend.world.jobs[good], tenant_scope=True)
    async with run() as (app, pilot):
        await pilot.press("j", "r", "enter")
        await until(pilot, lambda: app.screen._step == 2)
        await pilot.press("down", "down")
        assert app.screen.query_one("#target", PlainRadioSet).chosen == str(RestoreTarget.SIDE_SCHEMA)
        app.screen.query_one("#next").focus()
        await pilot.press("enter")
        await planned(app, pilot)
        assert backend.called("plan_restore")[-1][0].tables == ()


@pytest.mark.parametrize("target", [RestoreTarget.SWAP, RestoreTarget.IN_PLACE])
async def test_live_data_wants_the_box_and_the_name_and_enter_never_confirms(
    backend: FakeBackend, run: Runner, target: RestoreTarget
) -> None:
    async with run() as (app, pilot):
        await to_plan(app, pilot, target)
        await pilot.press("enter")
        text = words(app)
        assert "THIS REPLACES LIVE DATA" in text
        assert "rows now -> " in text
        assert "[ ] I understand the risks" in text
        assert "Type the target's name: prod-main" in text
        assert "is not in the backup" in text
        restore = app.screen.query_one("#restore", Button)
        app.screen.query_one("#risks").focus()
        await pilot.press("space")
        assert restore.disabled, "the box alone is not enough"
        app.screen.query_one("#confirm-name").focus()
        await pilot.press(*"prod-mai")
        assert restore.disabled
        await pilot.press("n", "enter")
        assert not restore.disabled
        restore.focus()
        await pilot.press("enter")
        await pilot.pause()
        assert backend.called("restore_from_backup") == []
        await pilot.press("space")
        await until(pilot, lambda: len(backend.called("restore_from_backup")) == 1)
        (request,) = backend.called("restore_from_backup")[0]
        assert request.confirm_restore
        assert request.target is target
        assert request.compare
        assert bool(request.tables) is (target is RestoreTarget.IN_PLACE)


async def test_esc_goes_back_step_by_step_and_keeps_every_answer(backend: FakeBackend, run: Runner) -> None:
    async with run() as (app, pilot):
        await to_plan(app, pilot, RestoreTarget.SIDE_SCHEMA)
        await pilot.press("enter")
        app.screen.query_one("#risks").focus()
        await pilot.press("space")
        await pilot.press("escape")
        assert app.screen._step == 3
        await pilot.press("enter")
        assert app.screen.query_one("#risks").value, "the same plan: the answer stands"
        await pilot.press("escape", "escape")
        assert app.screen._step == 2
        assert app.screen.query_one("#target", PlainRadioSet).chosen == "side_schema"
        assert app.screen.query_one("#wizard-tables").ticked == ["public.customers"]
        app.screen.query_one("#target-name").focus()
        await pilot.press("end", *"_mine")
        await pilot.press("escape")
        assert app.screen._step == 1
        await pilot.press("enter")
        assert app.screen.query_one("#target-name").value.endswith("_mine")
        app.screen.query_one("#next").focus()
        await pilot.press("enter")
        await planned(app, pilot)
        assert backend.called("plan_restore")[-1][0].schema.endswith("_mine")
        await pilot.press("enter")
        assert not app.screen.query_one("#risks").value, "another plan: the box is empty again"
        await pilot.press("escape", "escape", "escape", "escape")
        assert isinstance(app.screen, MainScreen)


async def test_a_name_that_was_typed_is_not_overwritten_by_a_suggestion(run: Runner) -> None:
    async with run() as (app, pilot):
        await pilot.press("j", "r", "enter")
        await until(pilot, lambda: app.screen._step == 2)
        name = app.screen.query_one("#target-name")
        name.value = "my_copy"
        await pilot.press("down", "down", "up", "up")
        assert name.value == "my_copy"


async def test_a_refused_plan_says_why_and_stops(backend: FakeBackend, run: Runner) -> None:
    backend.plan_checks = [
        PlanCheck("version", "refused", "The server is older than the backup's."),
        PlanCheck("space", "warning", "Little room is left."),
        PlanCheck("rights", "ok", "may create databases"),
    ]
    async with run() as (app, pilot):
        await to_plan(app, pilot)
        text = words(app)
        assert text.index("✗ refused version") < text.index("▲ warning space") < text.index("✓ ok rights")
        assert "Refused: 1 reason" in text
        assert app.screen.query_one("#next", Button).disabled
        await pilot.press("enter")
        assert app.screen._step == 2, "the way back has the focus"


async def test_missing_answers_are_named(backend: FakeBackend, run: Runner) -> None:
    async with run() as (app, pilot):
        await pilot.press("j", "r", "enter")
        await until(pilot, lambda: app.screen._step == 2)
        app.screen.query_one("#target-name").value = ""
        app.screen.query_one("#what").focus()
        await pilot.press("down")
        app.screen.query_one("#next").focus()
        await pilot.press("enter")
        assert "Give it a name" in screen_text(app)
        assert "Tick at least one table" in screen_text(app)
        assert backend.called("plan_restore") == []


async def test_a_plan_that_cannot_be_made_and_the_way_back(backend: FakeBackend, run: Runner) -> None:
    backend.fail_next["plan_restore"] = TargetInUseError("The target is in use.", hint="End its sessions.")
    async with run() as (app, pilot):
        await pilot.press("j", "r", "enter")
        await until(pilot, lambda: app.screen._step == 2)
        app.screen.query_one("#next").focus()
        await pilot.press("enter")
        await until(pilot, lambda: "The target is in use. End its sessions." in words(app))
        assert app.screen.query_one("#next", Button).disabled
        await pilot.press("escape")
        app.screen.query_one("#next").focus()
        await pilot.press("enter")
        await planned(app, pilot)


async def test_progress_result_and_undo(backend: FakeBackend, run: Runner) -> None:
    async with run() as (app, pilot):
        await to_plan(app, pilot, RestoreTarget.SWAP)
        await pilot.press("enter")
        app.screen.query_one("#risks").focus()
        await pilot.press("space")
        app.screen.query_one("#confirm-name").focus()
        await pilot.press(*"prod-main")
        app.screen.query_one("#restore").focus()
        await pilot.press("space")
        await until(pilot, lambda: app.screen._step == 5)
        assert "Waiting for an agent" in words(app)
        log = backend.world.restores[app.screen.query_one("#step-5").restore_id]
        backend.put(replace(log, status=JobStatus.RUNNING, progress=make_progress(0.5, phase="data")))
        await until(pilot, lambda: "data: 6.2 GiB of 12.4 GiB" in words(app))
        done = replace(
            log,
            status=JobStatus.COMPLETED,
            tables_restored=48,
            rows_restored=1_204_118,
            duration_seconds=65,
            undo_state="kept",
            target_database="prod-main",
            metadata={
                "compare": {"identical": True, "tables": 48, "rows": 1_204_118, "definitions": "texts"},
                "swap": {"kept": "prod-main_old_1"},
                "warnings": ["a pooler must reconnect"],
            },
        )
        backend.put(done)
        await until(pilot, lambda: "identical with the backup" in words(app))
        text = words(app)
        assert "48 tables, 1,204,118 rows in 00:01:05." in text
        assert "kept as prod-main_old_1" in text
        assert "a pooler must reconnect" in text
        await pilot.press("u", "enter")
        assert backend.called("undo_restore") == [], "No has the focus"
        await pilot.press("u", "y")
        await until(pilot, lambda: "Undo: undone" in words(app))
        await pilot.press("escape")
        assert app.screen.pane.id == "restore"
        assert app.screen.pane.restore().id == log.id


async def test_a_failed_restore_says_what_to_do_and_that_nothing_changed(backend: FakeBackend, run: Runner) -> None:
    async with run() as (app, pilot):
        await to_plan(app, pilot)
        await pilot.press("enter")
        app.screen.query_one("#risks").focus()
        await pilot.press("space")
        app.screen.query_one("#restore").focus()
        await pilot.press("space")
        await until(pilot, lambda: app.screen._step == 5)
        log = backend.world.restores[app.screen.query_one("#step-5").restore_id]
        await pilot.press("x", "y")
        await until(pilot, lambda: len(backend.called("cancel_restore")) == 1)
        backend.put(
            replace(
                log,
                status=JobStatus.FAILED,
                error_message="No room left.",
                error_details={"hint": "Free some."},
                rollback_executed=True,
            )
        )
        await until(pilot, lambda: "No room left." in words(app))
        assert "What to do: Free some." in words(app)
        assert "The target is as it was before." in words(app)


async def test_an_error_at_the_start_keeps_box_and_name(backend: FakeBackend, run: Runner) -> None:
    async with run() as (app, pilot):
        await to_plan(app, pilot, RestoreTarget.SWAP)
        await pilot.press("enter")
        app.screen.query_one("#risks").focus()
        await pilot.press("space")
        app.screen.query_one("#confirm-name").focus()
        await pilot.press(*"prod-main")
        backend.fail_next["restore_from_backup"] = CatalogUnavailableError("The catalog does not answer.")
        app.screen.query_one("#restore").focus()
        await pilot.press("space")
        await until(pilot, lambda: "The catalog does not answer" in words(app))
        assert app.screen._step == 4
        assert app.screen.query_one("#confirm-name").value == "prod-main"
        assert not app.screen.query_one("#restore", Button).disabled


async def test_undo_and_finish_from_the_log(backend: FakeBackend, run: Runner) -> None:
    async with run() as (app, pilot):
        await pilot.press("3", "tab")
        assert app.screen.pane.restore().id == made_id("restore swap")
        await pilot.press("F")
        assert "prod_main_old_20261124 is dropped for good" in words(app)
        await pilot.press("shift+tab", *"prod_main_old_20261124", "tab", "tab", "enter")
        await until(pilot, lambda: backend.called("finish_restore") == [(made_id("restore swap"),)])
        await pilot.press("u")
        await pilot.pause()
        assert any("Nothing is kept any more" in toast.message for toast in app._notifications)
