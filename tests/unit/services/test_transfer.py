"""Work in a thread: figures for the loop, a prompt end, and files that are whole or not there."""

from __future__ import annotations

import asyncio
import os
import stat
import threading
import time
from pathlib import Path

import pytest

from tui_backup.errors import AlreadyExistsError, CancelledError, WorkFailedError
from tui_backup.model import Progress
from tui_backup.services.new_file import new_file
from tui_backup.services.transfer import Transfer


async def test_what_threads_report_is_added_up() -> None:
    told: list[Progress] = []
    transfer = Transfer("download", told.append)

    def work() -> str:
        transfer(tables_total=3, bytes_total=8000)
        threads = [
            threading.Thread(target=lambda: [transfer(rows=1, bytes_=4, tables_done=0) for _ in range(1000)])
            for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        transfer(phase="ending", tables_done=3)
        return "done"

    assert await transfer.run(work) == "done"
    last = told[-1]
    assert (last.phase, last.rows_done, last.bytes_done) == ("ending", 2000, 8000)
    assert (last.tables_done, last.tables_total, last.fraction) == (3, 3, 1.0)
    assert last.bytes_per_second and last.bytes_per_second > 0 and last.eta_seconds is None


async def test_it_tells_once_a_second_and_from_the_loop() -> None:
    told: list[tuple[int, Progress]] = []
    transfer = Transfer("download", lambda progress: told.append((threading.get_ident(), progress)))
    await transfer.run(lambda: time.sleep(2.2))
    assert len(told) == 3
    assert {thread for thread, _ in told} == {threading.get_ident()}


async def test_an_error_comes_through() -> None:
    def work() -> None:
        raise WorkFailedError("no")

    with pytest.raises(WorkFailedError, match="no"):
        await Transfer("download", None).run(work)


async def test_cancelling_stops_the_thread_and_waits_for_it() -> None:
    transfer = Transfer("download", None)
    ended = threading.Event()

    def work() -> None:
        try:
            while True:
                transfer.stop.check()
                time.sleep(0.01)
        finally:
            ended.set()

    task = asyncio.create_task(transfer.run(work))
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set() and isinstance(transfer.stop.reason, CancelledError)


# -- new files ---------------------------------------------------------------------------------------------------------


def test_a_file_appears_whole_and_private(tmp_path: Path) -> None:
    output = tmp_path / "out"
    previous = os.umask(0)
    try:
        with new_file(output) as part:
            part.write_text("x")
            assert not output.exists()
    finally:
        os.umask(previous)
    assert (output.read_text(), stat.S_IMODE(output.stat().st_mode)) == ("x", 0o600)
    assert list(tmp_path.iterdir()) == [output]


def test_a_file_that_fails_is_not_there(tmp_path: Path) -> None:
    for error in (ValueError("x"), KeyboardInterrupt()):
        with pytest.raises(type(error)), new_file(tmp_path / "out") as part:
            part.write_text("x")
            raise error
    with pytest.raises(WorkFailedError, match="No space left"), new_file(tmp_path / "out"):
        raise OSError(28, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_what_came_into_being_meanwhile_stays(tmp_path: Path) -> None:
    output = tmp_path / "out"
    with pytest.raises(AlreadyExistsError), new_file(output) as part:
        part.write_text("ours")
        output.write_text("theirs")
    assert output.read_text() == "theirs" and list(tmp_path.iterdir()) == [output]
