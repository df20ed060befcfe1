"""Reading postmaster.pid and looking at processes."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tui_backup.embedded.postmaster import (
    exists,
    is_alive,
    is_server_of,
    read_pid_file,
    running_server,
    stop_server,
)

if TYPE_CHECKING:
    from pathlib import Path

WHOLE = "4711\n/data\n1700000000\n5432\n/run/s\n127.0.0.1\n  12345   678\nready   \n"


def test_a_whole_file(tmp_path: Path) -> None:
    (tmp_path / "postmaster.pid").write_text(WHOLE)
    found = read_pid_file(tmp_path)
    assert found is not None
    assert (found.pid, found.port, found.socket_dir, found.listen_address, found.status) == (
        *(4711, 5432),
        *("/run/s", "127.0.0.1", "ready"),
    )


@pytest.mark.parametrize("cut", range(0, len(WHOLE), 3))
def test_a_file_that_is_being_written(tmp_path: Path, cut: int) -> None:
    (tmp_path / "postmaster.pid").write_text(WHOLE[:cut])
    found = read_pid_file(tmp_path)
    assert found is None or WHOLE.startswith(str(found.pid))
    assert found is None or found.status in "ready"


@pytest.mark.parametrize("text", ["", "\n", "garbage\n", "\x00\xff"])
def test_a_file_without_a_pid(tmp_path: Path, text: str) -> None:
    (tmp_path / "postmaster.pid").write_text(text)
    assert read_pid_file(tmp_path) is None


def test_no_file(tmp_path: Path) -> None:
    assert read_pid_file(tmp_path) is None
    assert read_pid_file(tmp_path / "absent") is None
    assert running_server(tmp_path) is None
    stop_server(tmp_path)


def test_a_single_user_servers_negative_pid(tmp_path: Path) -> None:
    (tmp_path / "postmaster.pid").write_text("-4711\n/data\n")
    found = read_pid_file(tmp_path)
    assert found is not None
    assert found.pid == 4711


def test_we_are_alive_and_no_server(tmp_path: Path) -> None:
    assert is_alive(os.getpid())
    assert exists(os.getpid())
    assert not is_server_of(os.getpid(), tmp_path)


def test_a_zombie_is_not_alive() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    try:
        while is_alive(child.pid):
            pass
        assert exists(child.pid)
    finally:
        child.wait()
    assert not is_alive(child.pid)
    assert not exists(child.pid)


def test_a_program_called_postgres_in_another_folder_is_left_alone(tmp_path: Path) -> None:
    """The name alone is no proof, nor is the folder."""
    folder, other = tmp_path / "data", tmp_path / "other"
    folder.mkdir()
    other.mkdir()
    fake = tmp_path / "postgres"
    fake.symlink_to("/bin/sleep")
    for program, place in (("/bin/sleep", folder), (str(fake), other)):
        child = subprocess.Popen([program, "60"], cwd=place)
        try:
            (folder / "postmaster.pid").write_text(WHOLE.replace("4711", str(child.pid)))
            assert running_server(folder) is None
            stop_server(folder)
            assert is_alive(child.pid)
        finally:
            child.kill()
            child.wait()
