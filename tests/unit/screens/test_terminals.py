"""Sizes, ASCII, no colour, hostile names: what a terminal can be and what a database can hold."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.unit.screens.conftest import Runner, make_app, screen_text, until
from tests.unit.screens.fakes import FakeBackend, World, made_id, make_source
from tui_backup.model import JobStatus
from tui_backup.screens.main import MainScreen
from tui_backup.services.sources import SourceTable
from tui_backup.widgets.scroll_bars import use_symbols
from tui_backup.widgets.symbols import UNICODE
from tui_backup.widgets.text import use_ascii

HOSTILE = "[/x] [bold]\x1b]0;gone\x07\x1b[2J\u202eevil\u2066\nnext\ttab '; DROP"
ARABIC = "قاعدة_البيانات"
KEYS_THROUGH_EVERY_SCREEN = (
    ("j", "enter"), ("j", "r"), ("j", "r", "enter"), ("j", "D"), ("x",), ("n",), ("2", "n"), ("2", "e"), ("3",),
    ("3", "tab", "enter"), ("question_mark",), ("colon",), ("l",), ("slash", "a"),
)  # fmt: skip


@pytest.fixture(autouse=True)
def _symbols_again() -> Any:
    yield
    use_ascii(False)
    use_symbols(UNICODE)


async def start_over(app: Any, pilot: Any) -> None:
    """Back to the first tab's first row."""
    for _ in range(6):
        if isinstance(app.screen, MainScreen):
            break
        await pilot.press("escape")
    await pilot.press("escape", "escape", "1", "g")
    await until(pilot, lambda: isinstance(app.screen, MainScreen) and app.screen.pane.id == "backups")


@pytest.mark.parametrize(
    "size",
    [
        (80, 24),
        pytest.param((60, 20), marks=pytest.mark.slow),
        (40, 12),
        pytest.param((200, 50), marks=pytest.mark.slow),
    ],
    ids=["80x24", "60x20", "40x12", "200x50"],
)
async def test_every_screen_fits(run: Runner, size: tuple[int, int]) -> None:
    async with run(size=size) as (app, pilot):
        for keys in KEYS_THROUGH_EVERY_SCREEN[:8]:
            await start_over(app, pilot)
            await pilot.press(*keys)
            await pilot.pause(0.1)
            lines = screen_text(app).splitlines()
            assert len(lines) == size[1]
            focused = app.focused
            if focused is not None:
                visible = focused.region.intersection(app.screen.region)
                assert visible.area > 0, f"{keys}: the focused {focused!r} can be seen"


async def test_narrow_terminals_leave_took_proof_and_size_out(run: Runner) -> None:
    async with run(size=(60, 20)) as (app, _pilot):
        header = screen_text(app).splitlines()[4]
        assert header.split() == ["Status", "Source", "Type", "Finished"]


async def test_below_the_least_size_it_asks_for_room_and_never_ends(run: Runner) -> None:
    async with run(size=(80, 24)) as (app, pilot):
        await pilot.resize_terminal(39, 11)
        await until(pilot, lambda: "Make the terminal larger" in screen_text(app))
        assert "NOT SAFE" in screen_text(app)
        assert "Status" not in screen_text(app)
        await pilot.resize_terminal(1, 1)
        await pilot.resize_terminal(40, 12)
        await until(pilot, lambda: "Status" in screen_text(app))
        assert "Make the terminal larger" not in screen_text(app)


async def test_a_dialog_survives_resizing_with_what_was_typed(run: Runner) -> None:
    async with run(size=(80, 24)) as (app, pilot):
        await pilot.press("2", "n", *"kept")
        for size in ((40, 12), (20, 5), (200, 50), (60, 20)):
            await pilot.resize_terminal(*size)
            await pilot.pause()
        assert app.screen.query_one("#name").value == "kept"
        assert "kept" in screen_text(app)


async def test_ascii_means_ascii_on_every_screen(backend: FakeBackend, run: Runner) -> None:
    backend.world.sources.append(make_source(ARABIC))
    job = backend.world.jobs[made_id("job good")]
    backend.world.jobs[job.id] = replace(job, backup_name=ARABIC)
    async with run(ascii=True) as (app, pilot):
        for keys in KEYS_THROUGH_EVERY_SCREEN:
            await start_over(app, pilot)
            await pilot.press(*keys)
            await pilot.pause(0.1)
            text = screen_text(app)
            strange = {char for char in text if ord(char) > 126}
            assert not strange, f"{keys}: {strange}"


def hostile_world() -> World:
    world = World.example()
    name = HOSTILE
    world.jobs = {
        id_: replace(job, source_name=name, backup_name=name, description=name, tags=(name,), storage_bucket=name)
        for id_, job in world.jobs.items()
    }
    failed = world.jobs[made_id("job failed")]
    world.jobs[failed.id] = replace(failed, error_message=name, error_details={"hint": name})
    world.schedules = {id_: replace(row, schedule_name=name, source_name=name) for id_, row in world.schedules.items()}
    world.restores = {
        id_: replace(log, source_name=name, target_database=name, error_message=log.error_message and name, notes=name)
        for id_, log in world.restores.items()
    }
    world.sources = [make_source(name)]
    world.headline = f"NOT SAFE: {name}"
    return world


async def test_hostile_names_are_shown_and_never_obeyed(tmp_path: Path) -> None:
    backend = FakeBackend(tmp_path, hostile_world())
    backend.tables = [SourceTable(HOSTILE, HOSTILE, f'"{HOSTILE}"."{HOSTILE}"', 5, 5)]
    app = make_app(backend, notice=HOSTILE)
    written: list[str] = []
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.board.loaded)
        for keys in (*KEYS_THROUGH_EVERY_SCREEN, ("j", "v"), ("j", "y"), ("j", "j"), ("2", "D")):
            await start_over(app, pilot)
            await pilot.press(*keys)
            await pilot.pause(0.1)
            text = screen_text(app)
            written.append(text)
            bad = [char for char in text if char in "\x1b\x07\x9b\u202e\u2066\t" or (ord(char) < 32 and char != "\n")]
            assert not bad, f"{keys}: {bad!r}"
            assert app.is_running
            assert app._exception is None
    assert any("[/x] [bold]" in text for text in written)


async def test_typed_confirmation_of_a_hostile_name_compares_with_what_is_shown(tmp_path: Path) -> None:
    backend = FakeBackend(tmp_path, hostile_world())
    app = make_app(backend)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.board.loaded)
        await pilot.press("j", "D")
        dialog = app.screen
        assert "\x1b" not in dialog.expected
        assert dialog.query_one("#yes").disabled


async def test_arabic_names_keep_their_columns(backend: FakeBackend, run: Runner) -> None:
    job = backend.world.jobs[made_id("job good")]
    backend.world.jobs[job.id] = replace(job, source_name=ARABIC)
    async with run() as (app, _pilot):
        line = next(line for line in screen_text(app).splitlines() if ARABIC[:6] in line)
        assert "\u200e" in line
        before, after = line.split("\u200e", 1)
        assert before.strip().startswith("✓ completed")
        assert after.split()[0] == "full"


async def test_without_colour_nothing_but_attributes_is_sent(backend: FakeBackend, run: Runner) -> None:
    async with run(colour=False, ascii=False) as (app, pilot):
        await pilot.press("j")
        assert app.ansi_color is True


async def test_status_is_a_glyph_and_a_word_before_it_is_a_colour(backend: FakeBackend, run: Runner) -> None:
    async with run() as (app, _pilot):
        text = screen_text(app)
        for word in ("✓ completed", "● running", "✗ failed", "- cancelled"):
            assert word in text
        job = backend.world.jobs[made_id("job good")]
        backend.put(replace(job, status=JobStatus.PENDING))
        await until(_pilot, lambda: "○ pending" in screen_text(app))
