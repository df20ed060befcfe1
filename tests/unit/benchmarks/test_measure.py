"""What the benchmarks measure of one run, and how pairs become figures."""

from __future__ import annotations

import sys

import pytest

from tests.benchmarks.logical import full_limit
from tests.benchmarks.measure import Result, Run, timed, turns


def test_ratios_are_taken_pair_by_pair() -> None:
    ours = [Run(1.0, 0.5, 50_000_000, 0.25), Run(4.0, 0.7, 60_000_000, 0.35), Run(3.0, 0.6, 70_000_000, 0.45)]
    theirs = [Run(2.0, 1, 10_000_000), Run(4.0, 1, 10_000_000), Run(30.0, 1, 20_000_000)]
    row = Result("B9 x", "them", ours, theirs, 0.5).row()
    # of the medians it would be 0.75
    assert (row["ratio_median"], row["ratio_min"], row["ratio_max"]) == (0.5, 0.1, 1.0)
    assert row["reached"] is True
    assert row["ours_peak_mb"] == 70
    assert row["ours_server_cpu_s"] == 0.35
    assert "peer_server_cpu_s" not in row


def test_a_ratio_over_the_limit_is_not_reached() -> None:
    assert Result("x", "y", [Run(1.1, 1, 1)], [Run(1, 1, 1)], 1.0).row()["reached"] is False
    assert "reached" not in Result("x", "y", [Run(1.1, 1, 1)], [Run(1, 1, 1)]).row()


def test_runs_are_taken_in_turn() -> None:
    seen: list[str] = []

    def act(name: str) -> Run:
        seen.append(name)
        return Run(1, 1, 1)

    runs = turns(2, lambda: act("ours"), lambda: act("peer"), lambda: act("other"))
    assert seen == ["ours", "peer", "other"] * 2
    assert [len(each) for each in runs] == [2, 2, 2]


def test_the_giants_goal_depends_on_the_cores() -> None:
    assert [full_limit("W2", cores) for cores in (1, 2, 7, 8)] == [None, 0.80, 0.80, 0.30]
    assert full_limit("W1", 1) == full_limit("W1", 8) == 0.95


def test_peak_memory_is_the_programs_and_not_that_of_the_harness() -> None:
    ballast = b"x" * 200_000_000
    small = timed(["true"], {})
    assert small.peak_bytes < 30_000_000 < len(ballast)
    large = timed([sys.executable, "-c", "b = b'x' * 100_000_000"], {})
    assert 100_000_000 < large.peak_bytes < 180_000_000


def test_wall_and_cpu_of_a_program() -> None:
    burn = "import time\nwhile time.process_time() < 0.3: pass\ntime.sleep(0.3)"
    run = timed([sys.executable, "-c", burn], {})
    assert run.wall_s >= 0.6
    assert 0.3 <= run.cpu_s < run.wall_s + 0.1


def test_a_program_that_says_its_seconds_is_believed() -> None:
    assert timed([sys.executable, "-c", "print('hello'); print(12.5)"], {}, says_seconds=True).wall_s == 12.5


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([sys.executable, "-c", "import sys; sys.exit('no room')"], "no room"),
        (["tui-backup-no-such-program"], "No such file"),
    ],
)
def test_a_failure_says_why(argv: list[str], said: str) -> None:
    with pytest.raises(RuntimeError, match=said):
        timed(argv, {})
