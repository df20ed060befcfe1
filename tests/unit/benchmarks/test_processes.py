"""CPU seconds of a process tree, as the benchmarks read them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.benchmarks import processes
from tests.benchmarks.processes import Stat, parse_stat, peak_bytes, pin, tree, tree_cpu_s

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")

BURN = "import time\nwhile time.process_time() < 0.3: pass\n"


def test_a_name_with_parentheses_does_not_shift_the_fields() -> None:
    text = "42 (postgres: (x) 1 2 3) S 7 1 1 0 -1 4194560 100 200 0 0 11 13 17 19 20 0 1 0 555 0 0\n"
    assert parse_stat(text) == Stat(parent=7, ticks=11 + 13 + 17 + 19)


def test_a_tree_is_the_process_and_all_below_it() -> None:
    every = {1: Stat(0, 0), 5: Stat(1, 0), 6: Stat(5, 0), 7: Stat(6, 0), 8: Stat(1, 0)}
    assert tree(5, every) == {5, 6, 7}
    assert tree(99, every) == set()


@pytest.fixture
def parent() -> Iterator[subprocess.Popen[bytes]]:
    """A program that burns CPU in a child that ends, then waits."""
    program = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {BURN!r}])\nprint(1, flush=True)\ninput()"
    process = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=10)


@linux
def test_cpu_of_a_child_that_has_ended_counts(parent: subprocess.Popen[bytes]) -> None:
    assert parent.stdout is not None
    parent.stdout.readline()
    found = tree_cpu_s(parent.pid)
    assert found is not None
    assert 0.25 <= found < 5


@linux
def test_cpu_of_a_child_that_runs_counts() -> None:
    program = (
        f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {BURN + 'print(1, flush=True); input()'!r}])"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        found = tree_cpu_s(process.pid)
        assert found is not None
        assert found >= 0.25
    finally:
        process.communicate(b"\n", timeout=10)


def test_nothing_is_said_of_a_process_that_is_not_there() -> None:
    # larger than any pid
    assert tree_cpu_s(2**30) is None
    assert peak_bytes(2**30) is None


@linux
def test_a_running_server_gets_the_cores_too(parent: subprocess.Popen[bytes]) -> None:
    before = processes.allowed_cores()
    try:
        pin(before[:1], [parent.pid])
        assert processes.allowed_cores() == before[:1]
        assert os.sched_getaffinity(parent.pid) == set(before[:1])
    finally:
        pin(before, [parent.pid])
    assert processes.allowed_cores() == before
