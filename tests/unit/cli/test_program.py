"""The process as scripts see it: exit statuses, streams, and what a command loads."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tui_backup.cli import main, program
from tui_backup.cli.commands import build_parser
from tui_backup.cli.context import Context
from tui_backup.cli.output import Output
from tui_backup.errors import PermissionRefusedError, UsageError, WorkFailedError

PROGRAM = [sys.executable, "-m", "tui_backup"]


def _run(*words: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PROGRAM, *words], check=False, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL, **options
    )  # pyright: ignore


@pytest.mark.parametrize(
    ("error", "status"),
    [(UsageError("u"), 2), (PermissionRefusedError("p"), 3), (WorkFailedError("w"), 1)],
)
def test_an_error_decides_the_exit_status(
    error: Exception, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> int:
        raise error

    monkeypatch.setattr(program, "_dispatch", fail)
    assert main(["stats"]) == status
    assert capsys.readouterr().err.startswith(f"error: {error}\n")


def test_a_defect_is_logged_without_secrets_and_reported_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def fail(*_: object) -> int:
        raise RuntimeError("postgresql://shop:hunter2@db01/shop password=hunter2")

    monkeypatch.setattr(program, "_dispatch", fail)
    assert main(["stats"]) == 1
    printed = capsys.readouterr().err
    (log,) = tmp_path.rglob("command-line.log")
    assert "RuntimeError" in printed and str(log) in printed and "hunter2" not in printed
    assert log.stat().st_mode & 0o777 == 0o600
    assert "Traceback" in log.read_text() and "hunter2" not in log.read_text()


@pytest.mark.parametrize("is_json", [False, True])
def test_ctrl_c_says_what_goes_on(
    is_json: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(words: list[str], context: Context) -> int:
        context.going_on = ("The backup abcd goes on.", "Cancel it: tui-backup job cancel abcd")
        raise KeyboardInterrupt

    monkeypatch.setattr(program, "_dispatch", interrupt)
    assert main(["backup", "shop", "--wait", *(["--json"] if is_json else [])]) == 130
    printed = capsys.readouterr()
    assert printed.out == ""
    if is_json:
        assert json.loads(printed.err) == {
            "error": "interrupted",
            "message": "The backup abcd goes on.",
            "hint": "Cancel it: tui-backup job cancel abcd",
        }
    else:
        assert printed.err == "The backup abcd goes on.\nCancel it: tui-backup job cancel abcd\n"


def test_a_broken_pipe_is_quiet() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [*PROGRAM, "--help"], check=False, stdout=writing, stderr=subprocess.PIPE, text=True, timeout=60
        )
    finally:
        os.close(writing)
    assert done.returncode == 141
    assert done.stderr == ""


def test_a_full_disk_is_no_success() -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = subprocess.run(
            [*PROGRAM, "--help"], check=False, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60
        )
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") and "space" in done.stderr


def test_closed_streams_are_no_crash() -> None:
    done = subprocess.run(
        ["sh", "-c", f"'{sys.executable}' -m tui_backup --version >&- 2>&-"],
        check=False,
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == 0


def test_without_a_terminal_and_set_up_the_dashboard_says_what_to_do() -> None:
    done = _run()
    assert done.returncode == 2 and done.stdout == ""
    assert "tui-backup init" in done.stderr


def test_without_a_terminal_the_dashboard_refuses(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text("[catalog]\nembedded = true\n")
    done = _run(env={**os.environ, "TUI_BACKUP_CONFIG": str(config)})
    assert done.returncode == 2 and done.stdout == ""
    assert "needs a terminal" in done.stderr and "tui-backup --help" in done.stderr


def test_the_dashboard_does_not_draw_into_a_file() -> None:
    outer, inner = pty.openpty()
    try:
        done = subprocess.run(
            PROGRAM,
            check=False,
            stdin=inner,
            stdout=inner,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            env={**os.environ, "TERM": "xterm"},
        )
    finally:
        os.close(outer)
        os.close(inner)
    assert done.returncode == 2 and "redirected" in done.stderr


@pytest.mark.parametrize("term", ["dumb", ""])
def test_the_dashboard_refuses_a_dumb_terminal(term: str, monkeypatch: pytest.MonkeyPatch) -> None:
    outer, inner = pty.openpty()
    try:
        for name in ("stdin", "stdout", "stderr"):
            monkeypatch.setattr(sys, name, os.fdopen(os.dup(inner), "r" if name == "stdin" else "w"))
        monkeypatch.setenv("TERM", term)
        with pytest.raises(UsageError, match="dumb"):
            build_parser().parse_args([]).handler(Context(Output()), build_parser().parse_args([]))
    finally:
        for name in ("stdin", "stdout", "stderr"):
            getattr(sys, name).close()
        monkeypatch.undo()
        os.close(outer)
        os.close(inner)


def test_what_is_not_set_up_is_one_json_error() -> None:
    done = _run("job", "list", "--json")
    assert done.returncode == 2 and done.stdout == ""
    assert json.loads(done.stderr)["error"] == "not_set_up"


def test_a_broken_configuration_is_wrong_use(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text("colour = 'red'\n")
    done = _run("job", "list", "--json", env={**os.environ, "TUI_BACKUP_CONFIG": str(config)})
    assert done.returncode == 2
    error = json.loads(done.stderr)
    assert error["error"] == "config_invalid" and "colour" in error["message"]


def _loaded(*words: str) -> set[str]:
    """Top-level modules in a fresh process after a command."""
    code = (
        "import sys; from tui_backup.cli import main; main(sys.argv[1:]);"
        "print('\\n'.join({name.split('.')[0] for name in sys.modules}), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], check=False, capture_output=True, text=True, timeout=60)
    return set(done.stderr.split())


@pytest.mark.parametrize(
    ("words", "absent"),
    [
        (["--version"], {"textual", "boto3", "psycopg", "asyncio", "msgspec", "shtab"}),
        (["job", "list", "--help"], {"textual", "boto3", "psycopg", "asyncio", "msgspec", "shtab"}),
        (["job", "list"], {"textual", "boto3", "botocore", "asyncpg", "rich", "shtab"}),
        (["backup", "shop"], {"textual", "boto3", "botocore", "rich", "shtab"}),
    ],
)
def test_a_command_loads_only_what_it_needs(words: list[str], absent: set[str]) -> None:
    loaded = _loaded(*words)
    assert "tui_backup" in loaded
    assert not loaded & absent


def test_sigint_ends_a_command_that_reads() -> None:
    """A real Ctrl-C in a real process: status 130, one word, no traceback."""
    outer, inner = pty.openpty()
    # a child of a background shell would inherit "ignored"
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        [*PROGRAM, "source", "add", "shop", "--dsn", "-"],
        stdin=inner,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        signal.signal(signal.SIGINT, before)
        assert process.stderr is not None
        prompt = "".join(process.stderr.read(1) for _ in range(len("Connection string: ")))
        assert prompt == "Connection string: "
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait()
        os.close(outer)
        os.close(inner)
    assert process.returncode == 130
    assert stderr.strip() == "Interrupted."
