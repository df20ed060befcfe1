"""The README's first promise: the demo proves itself, in the checkout and from a built wheel, and leaves nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import venv
from pathlib import Path

import pytest

import tui_backup

ROOT = Path(tui_backup.__file__).parent.parent


def _environment(home: Path) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("TUI_BACKUP", "XDG_", "COV_"))}
    return {**kept, "HOME": str(home), "TERM": "xterm-256color"}


def _processes(folder: Path) -> list[str]:
    listed = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True).stdout
    return [line for line in listed.splitlines() if str(folder) in line and "pytest" not in line]


def _run_demo(program: list[str], folder: Path, home: Path) -> str:
    done = subprocess.run(
        [*program, "demo", "--dir", str(folder), "--reset"],
        env=_environment(home),
        cwd="/",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_without_a_terminal_the_demo_proves_itself_and_stops_what_it_started(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    said = _run_demo([sys.executable, "-m", "tui_backup"], folder, tmp_path)
    assert said.splitlines()[-1].startswith("IDENTICAL")
    assert "20 tables" in said
    assert _processes(folder) == []


def test_ctrl_c_stops_everything_that_was_started(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    process = subprocess.Popen(
        [sys.executable, "-m", "tui_backup", "demo", "--headless", "--dir", str(folder)],
        env=_environment(tmp_path),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert "embedded PostgreSQL" in process.stdout.readline()
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    process.stdout.close()
    assert _processes(folder) == []


def test_reset_never_clears_a_folder_that_no_demo_made(tmp_path: Path) -> None:
    mine = tmp_path / "precious.txt"
    mine.write_text("keep me")
    done = subprocess.run(
        [sys.executable, "-m", "tui_backup", "demo", "--headless", "--reset", "--dir", str(tmp_path)],
        env=_environment(tmp_path),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 3
    assert "not made by" in done.stderr
    assert mine.read_text() == "keep me"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_wheel_runs_the_demo_in_a_clean_environment(tmp_path: Path) -> None:
    wheels = tmp_path / "wheels"
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(wheels), str(ROOT)]
    subprocess.run(build, check=True, timeout=300)
    (wheel,) = wheels.glob("tui_backup-*.whl")
    home = tmp_path / "env"
    venv.create(home, with_pip=True)
    subprocess.run([home / "bin" / "pip", "install", "-q", f"{wheel}[embedded]"], check=True, timeout=300, cwd="/")
    said = _run_demo([str(home / "bin" / "tui-backup")], tmp_path / "demo", tmp_path)
    assert said.splitlines()[-1].startswith("IDENTICAL")
    code = "from tui_backup.screens.stylesheets import style_paths; print(all(p.is_file() for p in style_paths()))"
    shown = subprocess.run([home / "bin" / "python", "-c", code], capture_output=True, text=True, check=True, cwd="/")
    assert shown.stdout.strip() == "True"
