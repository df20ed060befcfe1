"""The dashboard's screens as pictures. A change on purpose: ``pytest tests/snapshots --snapshot-update``, and look."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from textual.pilot import Pilot

from tests.unit.screens.conftest import _fixed_zone, backend, make_app, until  # noqa: F401  (two are fixtures)
from tests.unit.screens.fakes import FakeBackend, World, made_id
from tests.unit.screens.test_terminals import ARABIC, HOSTILE
from tests.unit.screens.test_wizard import to_plan
from tui_backup.model import RestoreTarget

Snap = Callable[..., bool]
SIZES = [(80, 24), (200, 50), (40, 12)]


async def _loaded(pilot: Pilot[Any]) -> None:
    app: Any = pilot.app
    await until(pilot, lambda: app.board.loaded)
    app.screen.set_focus(app.focused)
    await pilot.pause()


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_first_screen(snap_compare: Snap, backend: FakeBackend, size: tuple[int, int]) -> None:  # noqa: F811
    assert snap_compare(make_app(backend), terminal_size=size, run_before=_loaded)


def test_first_screen_without_colour(
    snap_compare: Snap,
    backend: FakeBackend,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert snap_compare(make_app(backend, colour=False, ascii=True), terminal_size=(80, 24), run_before=_loaded)


def test_nothing_yet(snap_compare: Snap, tmp_path: Any) -> None:
    app = make_app(FakeBackend(tmp_path, World()))
    assert snap_compare(app, terminal_size=(80, 24), run_before=_loaded)


@pytest.mark.parametrize("name", [ARABIC, HOSTILE], ids=["arabic", "hostile"])
def test_names(snap_compare: Snap, tmp_path: Any, name: str) -> None:
    world = World.example()
    job = world.jobs[made_id("job good")]
    world.jobs[job.id] = replace(job, source_name=name, backup_name=name)
    app = make_app(FakeBackend(tmp_path, world))

    async def details(pilot: Pilot[Any]) -> None:
        await _loaded(pilot)
        await pilot.press("j", "enter")
        await pilot.pause(0.3)

    assert snap_compare(app, terminal_size=(80, 24), run_before=details)


@pytest.mark.parametrize("size", SIZES[:2], ids=lambda size: f"{size[0]}x{size[1]}")
def test_the_red_confirmation(snap_compare: Snap, backend: FakeBackend, size: tuple[int, int]) -> None:  # noqa: F811
    def confirm(target: RestoreTarget) -> Callable[[Pilot[Any]], Awaitable[None]]:
        async def go(pilot: Pilot[Any]) -> None:
            app: Any = pilot.app
            await _loaded(pilot)
            await to_plan(app, pilot, target)
            await pilot.press("enter")
            await until(pilot, lambda: app.screen._step == 4)
            await pilot.pause(0.2)

        return go

    assert snap_compare(make_app(backend), terminal_size=size, run_before=confirm(RestoreTarget.SWAP))


@pytest.mark.parametrize("keys", [("n",), ("2", "n"), ("question_mark",)], ids=["new-backup", "schedule", "help"])
def test_dialogs(snap_compare: Snap, backend: FakeBackend, keys: tuple[str, ...]) -> None:  # noqa: F811
    async def go(pilot: Pilot[Any]) -> None:
        await _loaded(pilot)
        await pilot.press(*keys)
        await pilot.pause(0.5)

    assert snap_compare(make_app(backend), terminal_size=(80, 24), run_before=go)
