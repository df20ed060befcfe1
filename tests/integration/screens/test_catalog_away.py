"""The real dashboard over a real catalog that crashes and comes back while somebody fills a form in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.catalog.world import World, login_of, make_world
from tests.integration.services.installation import configure
from tests.servers import TestServer
from tests.unit.screens.conftest import screen_text, until
from tui_backup.app import DashboardApp
from tui_backup.screens.backend import ServiceBackend
from tui_backup.screens.schedule_form import ScheduleForm
from tui_backup.widgets.controls import PlainSelect


@pytest.mark.slow
async def test_what_is_typed_survives_and_is_saved_afterwards(
    pg_new: Callable[..., TestServer], tmp_path: Path
) -> None:
    server = pg_new()
    world: World = await asyncio.to_thread(make_world, server)
    world.add_source("acme")
    world.add_repository("acme")
    app = DashboardApp(ServiceBackend(configure(world, tmp_path, login_of("acme", "admin"))), ascii=False)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.board.loaded, 30)
        await pilot.press("2", "n")
        await until(pilot, lambda: isinstance(app.screen, ScheduleForm))
        await until(pilot, lambda: app.screen.query_one("#source", PlainSelect).chosen is not None, 30)
        await pilot.press(*"nightly")
        world.close()
        await asyncio.to_thread(server.stop, "immediate")
        await until(pilot, lambda: not app.board.connection.connected, 30)
        await pilot.press(*"-two")
        app.screen.query_one("#save").focus()
        await pilot.press("enter")
        await until(pilot, lambda: len(app._notifications) > 0, 60)
        assert isinstance(app.screen, ScheduleForm), "the form stays open"
        assert app.screen.query_one("#name").value == "nightly-two"  # type: ignore[attr-defined]
        await asyncio.to_thread(server.start)
        await until(pilot, lambda: app.board.connection.connected, 60)
        app.screen.query_one("#save").focus()
        await pilot.press("enter")
        await until(pilot, lambda: not isinstance(app.screen, ScheduleForm), 30)
        await until(pilot, lambda: "nightly-two" in screen_text(app), 30)
        assert "Reconnecting" not in screen_text(app)
    rows = world.superuser("SELECT schedule_name FROM tui_backup.backup_schedules")
    assert rows == [{"schedule_name": "nightly-two"}]
    world.close()
