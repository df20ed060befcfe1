"""Running client tools: no failure passes for success, no secret shows, nothing is left running."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tui_backup.engine import tools
from tui_backup.engine.tools import find_tools, run_tool
from tui_backup.errors import CancelledError, ClientToolsError, TlsRequiredError
from tui_backup.model import StopFlag

ENV = {"PATH": "/usr/bin:/bin", "PGPASSWORD": "geheim"}


def _sh(script: str) -> list[str]:
    return ["/bin/sh", "-c", script]


def test_output_and_exit_status(tmp_path: Path) -> None:
    result = run_tool(_sh("echo out; echo err >&2"), ENV, stop=StopFlag())
    assert (result.stdout, result.stderr, result.exit_status) == (b"out\n", "err\n", 0)
    taken: list[bytes] = []
    run_tool(_sh("head -c 3000000 /dev/zero"), ENV, stop=StopFlag(), stdout_to=taken.append)
    assert sum(len(block) for block in taken) == 3_000_000
    run_tool(_sh("echo file"), ENV, stop=StopFlag(), stdout_to=tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == b"file\n"
    assert run_tool(_sh("exit 3"), ENV, stop=StopFlag(), ok_exit_statuses=(0, 3)).exit_status == 3


@pytest.mark.parametrize("kind", ["bytes", "file", "blocks"])
def test_input(tmp_path: Path, kind: str) -> None:
    data = os.urandom(1_000_000)
    path = tmp_path / "in"
    path.write_bytes(data)
    stdin = {"bytes": data, "file": path, "blocks": (data[at : at + 10_000] for at in range(0, len(data), 10_000))}
    assert run_tool(["/bin/cat"], ENV, stop=StopFlag(), stdin=stdin[kind]).stdout == data


def test_input_that_breaks_off_fails_the_run() -> None:
    def broken() -> Iterator[bytes]:
        yield b"half"
        raise RuntimeError("source gone")

    with pytest.raises(RuntimeError, match="source gone"):
        run_tool(["/bin/cat"], ENV, stop=StopFlag(), stdin=broken())


def test_a_tool_that_does_not_read_its_input() -> None:
    with pytest.raises(ClientToolsError, match="before it had read its input"):
        run_tool(_sh("exec 0<&-; exit 0"), ENV, stop=StopFlag(), stdin=b"x" * 1_000_000)
    with pytest.raises(ClientToolsError, match="exit status 4: no"):
        run_tool(_sh("exec 0<&-; echo no >&2; exit 4"), ENV, stop=StopFlag(), stdin=b"x" * 1_000_000)


def test_failures_carry_the_last_lines_without_secrets() -> None:
    with pytest.raises(ClientToolsError) as caught:
        run_tool(
            _sh('for i in $(seq 30); do echo "line $i" >&2; done; echo "bad $PGPASSWORD" >&2; exit 1'),
            ENV,
            stop=StopFlag(),
        )
    assert caught.value.message == "sh failed with exit status 1: bad ***"
    assert caught.value.details["stderr"][0] == "line 12"
    with pytest.raises(ClientToolsError, match="killed by SIGKILL"):
        run_tool(_sh("echo partial; kill -9 $$"), ENV, stop=StopFlag())
    with pytest.raises(ClientToolsError, match="cannot be started"):
        run_tool(["/nonexistent/tool"], ENV, stop=StopFlag())


def test_stop_ends_the_tool_and_its_children(tmp_path: Path) -> None:
    stop, pids = StopFlag(), tmp_path / "pids"
    threading.Timer(0.3, stop.set, [CancelledError("Cancelled.")]).start()
    began = time.monotonic()
    with pytest.raises(CancelledError):
        run_tool(_sh(f"sleep 60 & echo $! > {pids}; echo $$ >> {pids}; wait"), ENV, stop=stop)
    assert time.monotonic() - began < 2
    _assert_gone(pids)


def test_a_deaf_tool_is_killed_after_its_time(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    with pytest.raises(ClientToolsError, match=r"longer than 0\.2 s"):
        run_tool(
            _sh(f"trap '' TERM; echo $$ > {pids}; while :; do sleep 60; done"), ENV, stop=StopFlag(), timeout_s=0.2
        )
    _assert_gone(pids)


def test_a_child_left_behind_by_a_successful_tool_is_ended(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    run_tool(_sh(f"sleep 60 >/dev/null 2>&1 & echo $! > {pids}"), ENV, stop=StopFlag())
    _assert_gone(pids)


def test_an_error_of_whoever_takes_the_output_ends_the_tool(tmp_path: Path) -> None:
    pids = tmp_path / "pids"

    def full(_: bytes) -> None:
        raise OSError("full")

    with pytest.raises(OSError, match="full"):
        run_tool(_sh(f"echo $$ > {pids}; echo x; sleep 60"), ENV, stop=StopFlag(), stdout_to=full)
    _assert_gone(pids)


def _assert_gone(pids: Path) -> None:
    give_up = time.monotonic() + 3
    for pid in pids.read_text().split():
        while _is_running(int(pid)):
            assert time.monotonic() < give_up, f"{pid} still runs"
            time.sleep(0.02)


def _is_running(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def _fake(folder: Path, version: str, *, tls: bool) -> Path:
    folder.mkdir()
    said = "" if tls else "echo 'sslmode value \"require\" invalid when SSL support is not compiled in' >&2; "
    for name in ("pg_dump", "pg_dumpall", "pg_restore"):
        path = folder / name
        path.write_text(
            f"#!/bin/sh\ncase $1 in --version) echo '{name} (PostgreSQL) {version}';; *) {said}exit 1;; esac\n"
        )
        path.chmod(0o755)
    return folder


def test_the_newest_tools_with_tls_are_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = [
        _fake(tmp_path / "old", "13.9", tls=True),
        _fake(tmp_path / "plain", "18.1", tls=False),
        _fake(tmp_path / "tls16", "16.3 (Debian 16.3-1)", tls=True),
        _fake(tmp_path / "tls17", "17beta2", tls=True),
    ]
    (tmp_path / "half").mkdir()
    monkeypatch.delenv(tools.BIN_DIR_VARIABLE, raising=False)
    monkeypatch.setattr(tools, "_candidates", lambda: [tmp_path / "half", tmp_path / "none", *folders])
    assert find_tools(14, needs_tls=False).bin_dir == folders[3]
    assert find_tools(14, needs_tls=False).version == "17beta2"
    assert find_tools(18, needs_tls=False).bin_dir == folders[1]
    with pytest.raises(TlsRequiredError):
        find_tools(18, needs_tls=True)
    with pytest.raises(ClientToolsError, match=r"PostgreSQL 19 or newer is needed; found: 13\.9"):
        find_tools(19, needs_tls=False)
    monkeypatch.setenv(tools.BIN_DIR_VARIABLE, str(folders[2]))
    assert find_tools(16, needs_tls=True).major == 16
    with pytest.raises(ClientToolsError, match="tls16"):
        find_tools(17, needs_tls=False)


def test_the_embedded_tools_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(tools.BIN_DIR_VARIABLE, raising=False)
    found = find_tools(18, needs_tls=False)
    assert found.major >= 18
    assert Path(found.path("pg_restore")).exists()
