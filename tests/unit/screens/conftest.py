"""The dashboard on a fake backend, with a clock that stands still."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from tests.unit.screens.fakes import NOW, FakeBackend
from tui_backup.app import DashboardApp
from tui_backup.screens.board import Board


@pytest.fixture(autouse=True)
def _fixed_zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.delenv("NO_COLOR", raising=False)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def backend(tmp_path: Path) -> FakeBackend:
    """The world of UX.md's drawing."""
    return FakeBackend(tmp_path)


def make_app(backend: FakeBackend, **options: Any) -> DashboardApp:
    """A dashboard whose clock stands still."""
    options.setdefault("ascii", False)
    return DashboardApp(backend, board=Board(wall=lambda: NOW), **options)


Runner = Callable[..., Any]


@pytest.fixture
def run(backend: FakeBackend) -> Runner:
    """``async with run(size=(80, 24)) as (app, pilot)``: started, loaded."""

    @asynccontextmanager
    async def start(
        size: tuple[int, int] = (80, 24), *, loaded: bool = True, **options: Any
    ) -> AsyncIterator[tuple[DashboardApp, Pilot[int]]]:
        app = make_app(backend, **options)
        async with app.run_test(size=size) as pilot:
            if loaded:
                await until(pilot, lambda: app.board.loaded)
            await pilot.pause()
            yield app, pilot

    return start


async def until(pilot: Pilot[Any], condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
    """Wait for something to become true, a bounded time."""
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end:
            raise AssertionError("it did not come true in time\n" + screen_text(pilot.app))
        await pilot.pause(0.02)
    await pilot.pause()


def screen_text(app: Any) -> str:
    """What is on the screen, as text."""
    width, height = app.size
    lines = []
    for strip in app.screen._compositor.render_strips(app.size):
        lines.append("".join(segment.text for segment in strip).rstrip())
    assert len(lines) == height, (width, height)
    return "\n".join(lines)
