"""What keeps the dashboard fast, counted and never timed: texts made, rows made, reads, modules loaded."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from textual.pilot import Pilot

from tests.unit.screens.conftest import Runner, make_app, screen_text, until
from tests.unit.screens.fakes import NOW, FakeBackend, make_job
from tui_backup.app import DashboardApp
from tui_backup.messages import BoardChanged, Tick
from tui_backup.model import JobStatus
from tui_backup.screens import later
from tui_backup.services.events import Change, Resync
from tui_backup.widgets.rows import Cell

ROWS = 480
READS = ("get_backup_jobs", "get_sources", "get_backup_schedules", "get_restore_logs")


class Made:
    """Counts the cells that are made."""

    def __init__(self) -> None:
        self.cells = 0


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Iterator[Made]:
    counted = Made()
    make = Cell.__post_init__

    def count(cell: Cell) -> None:
        counted.cells += 1
        make(cell)

    monkeypatch.setattr(Cell, "__post_init__", count)
    yield counted


@pytest.fixture
def many(backend: FakeBackend) -> FakeBackend:
    jobs = [
        make_job(
            f"j{n}",
            created_at=NOW - timedelta(minutes=n),
            completed_at=NOW - timedelta(minutes=n),
            source_name=f"shop-{n % 7}",
            backup_size=n * 1000,
        )
        for n in range(ROWS)
    ]
    backend.world.jobs = {job.id: job for job in jobs}
    return backend


async def caught_up(app: DashboardApp, pilot: Pilot[int]) -> None:
    """Wait until the closed tabs have taken over what is on the board: they make texts too."""
    await until(pilot, lambda: not any(pane.is_behind for pane in app.screen.query("Pane")))


async def test_texts_are_made_of_what_is_in_sight_alone(many: FakeBackend, run: Runner, made: Made) -> None:
    async with run(size=(120, 40)) as (app, pilot):
        columns = len(app.screen.pane.table.model.columns)
        await caught_up(app, pilot)
        # the columns that stretch are measured with all rows: three of the first tab, three of the third
        assert made.cells < 6 * ROWS + 3 * 40 * columns, f"{len(app.board.jobs) * 2 * columns} are there"


async def test_a_new_minute_makes_the_texts_in_sight_and_one_column_anew(many: FakeBackend, made: Made) -> None:
    now = NOW
    app = make_app(many)
    app.board.now = lambda: now  # type: ignore[method-assign]
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: app.board.loaded)
        await caught_up(app, pilot)
        await pilot.press("3")
        assert " 1m " in screen_text(app)
        await pilot.press("1", "3")
        await pilot.pause()
        before = screen_text(app)
        made.cells = 0
        now = NOW + timedelta(minutes=20)
        app.screen.post_message(Tick(new_minute=True))
        await pilot.pause()
        assert screen_text(app) != before
        assert " 20m " in screen_text(app)
        tables = list(app.screen.query("LiveTable"))
        seen = sum(40 * len(table.model.columns) for table in tables)
        await caught_up(app, pilot)
        assert made.cells < 2 * ROWS + 2 * seen, "of what is out of sight, only the column of proofs"
        made.cells = 0
        app.screen.post_message(Tick())
        await pilot.pause()
        assert made.cells <= 2 * seen
        await pilot.press("1")
        now = NOW + timedelta(minutes=40)
        app.screen.post_message(Tick(new_minute=True))
        await pilot.pause()
        await pilot.press("3")
        assert " 40m " in screen_text(app), "a tab that was not open is as young when it is opened"


async def test_reading_the_same_again_makes_nothing(many: FakeBackend, run: Runner, made: Made) -> None:
    async with run(size=(120, 40)) as (app, pilot):
        await caught_up(app, pilot)
        rows = dict(app.screen.pane.table.model.rows)
        # what a second read gives is equal and another object
        many.world.jobs = {id_: replace(job) for id_, job in many.world.jobs.items()}
        made.cells = 0
        await app.feed.read_all()
        await pilot.pause()
        await caught_up(app, pilot)
        assert made.cells == 0
        assert all(app.screen.pane.table.model.rows[key] is row for key, row in rows.items())


async def test_one_changed_row_makes_its_own_cells_alone(many: FakeBackend, run: Runner, made: Made) -> None:
    async with run(size=(120, 40)) as (app, pilot):
        await caught_up(app, pilot)
        job = next(iter(many.world.jobs.values()))
        made.cells = 0
        changed = replace(job, status=JobStatus.FAILED, error_message="x")
        app.feed.take_change(Change("job", job.id, changed))
        await until(pilot, lambda: "failed" in screen_text(app))
        assert made.cells < 3 * len(app.screen.pane.table.model.columns)


async def test_a_closed_tab_is_brought_up_to_date_when_it_is_opened(many: FakeBackend, run: Runner) -> None:
    async with run(size=(120, 40)) as (app, pilot):
        new = make_job("new", created_at=NOW, completed_at=NOW, source_name="fresh")
        app.board.jobs[new.id] = new
        app.post_message(BoardChanged("jobs"))
        await pilot.pause()
        await pilot.press("3")
        assert "fresh" in screen_text(app)
        assert not app.screen.query_one("#restore").is_behind


async def test_a_closed_tab_catches_up_while_nothing_happens(many: FakeBackend, run: Runner) -> None:
    async with run(size=(120, 40)) as (app, pilot):
        await caught_up(app, pilot)
        assert len(app.screen.query_one("#completed-table").model.rows) == ROWS


async def test_a_filter_over_very_many_rows_gives_keys_their_turn_and_finds_all(backend: FakeBackend) -> None:
    backend.world.jobs = {}
    app: DashboardApp = make_app(backend)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: app.board.loaded)
        for n in range(3000):
            job = make_job(f"j{n}", created_at=NOW - timedelta(minutes=n), source_name="odd" if n % 2 else "even")
            app.board.jobs[job.id] = job
        app.post_message(BoardChanged("jobs"))
        await pilot.pause()
        table = app.screen.pane.table
        table.set_filter("odd")
        assert table.is_reading, "not all at once"
        assert table.row_count < 1500
        await until(pilot, lambda: not table.is_reading)
        assert table.row_count == 1500
        table.set_filter("")
        assert table.row_count == 3000


async def test_sorting_does_not_depend_on_when_the_texts_were_made(backend: FakeBackend) -> None:
    now: datetime = NOW
    app = make_app(backend)
    app.board.now = lambda: now  # type: ignore[method-assign]
    old, young = (
        make_job(name, created_at=NOW - age, completed_at=NOW - age, source_name=name)
        for name, age in (("old", timedelta(minutes=10)), ("young", timedelta(minutes=5)))
    )
    backend.world.jobs = {old.id: old}
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: app.board.loaded)
        await pilot.press("3", "s", "s", "s", "s")
        table = app.screen.pane.table
        assert table.model.columns[table.model.sort_column].id == "age"
        now = NOW + timedelta(hours=1)
        app.feed.take_change(Change("job", young.id, young))
        await until(pilot, lambda: table.row_count == 2)
        assert table.model.order == [str(young.id), str(old.id)]


async def test_everything_is_read_once_at_the_start(backend: FakeBackend, run: Runner) -> None:
    async with run() as (_app, pilot):
        await until(pilot, lambda: len(backend.queues) == 1)
        assert [len(backend.called(name)) for name in READS] == [1] * len(READS)
        backend.tell(Resync("changes while the connection was made"))
        await until(pilot, lambda: len(backend.called("get_backup_jobs")) == 2)


async def test_backups_are_shown_before_the_rest_is_read(backend: FakeBackend, run: Runner) -> None:
    backend.gates["get_safety"] = asyncio.Event()
    async with run(loaded=False) as (app, pilot):
        await until(pilot, lambda: "prod-main" in screen_text(app))
        assert not app.board.loaded
        assert "reading the catalog" in screen_text(app)
        backend.gates["get_safety"].set()
        await until(pilot, lambda: "inside RPO" in screen_text(app))


async def test_rows_are_there_before_an_agent_is_started(backend: FakeBackend, run: Runner) -> None:
    backend.world.agent_age_s = 99
    backend.gates["ensure_agent"] = asyncio.Event()
    async with run() as (app, pilot):
        assert "AGENT DOWN" in screen_text(app)
        assert "prod-main" in screen_text(app)
        backend.gates["ensure_agent"].set()
        await until(pilot, lambda: "AGENT DOWN" not in screen_text(app))


def test_the_dashboard_starts_without_commands_and_dialogs() -> None:
    code = (
        "import sys; from tui_backup.cli import program, dashboard;"
        "from tui_backup.cli.context import Context; from tui_backup.cli.output import Output;"
        "dashboard.open_dashboard = lambda context, arguments: __import__('tui_backup.app') and 0;"
        "program.main(['--ascii']); print('\\n'.join(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    loaded = set(done.stdout.split())
    assert "tui_backup.screens.main" in loaded
    assert not loaded & {f"tui_backup.screens.{home}" for home in later.HOMES.values()}
    assert not loaded & {"tui_backup.cli.commands", "tui_backup.widgets.controls", "procrastinate", "asyncpg", "boto3"}


def test_what_is_loaded_later_is_there() -> None:
    for name in later.__all__:
        assert getattr(later, name).__name__ == name
    with pytest.raises(AttributeError):
        later.NoSuchDialog  # type: ignore[attr-defined]  # noqa: B018


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["job", "list"], ["--read-only", "job"], ["--nonsense"]])
def test_all_else_goes_to_the_whole_parser(words: list[str]) -> None:
    from tui_backup.cli.dashboard import dashboard_parser

    assert dashboard_parser(words) is None


def test_the_dashboards_own_words_need_no_commands(tmp_path: Path) -> None:
    from tui_backup.cli.dashboard import OPTIONS, dashboard_parser, open_dashboard

    parser = dashboard_parser([*OPTIONS])
    assert parser is not None
    arguments = parser.parse_args([*OPTIONS])
    assert arguments.handler is open_dashboard
    assert arguments.ascii
    assert arguments.no_mouse
    assert arguments.read_only
