"""The benchmarks' table as Markdown."""

from __future__ import annotations

import pytest

from tests.benchmarks.__main__ import MEASURES, room_gb, too_many, turns_of
from tests.benchmarks.machine import facts
from tests.benchmarks.measure import Result, Row, Run
from tests.benchmarks.table import markdown, verdict

MACHINE = {
    "cores": 2,
    "cpu": "AMD EPYC",
    "memory_gb": 24,
    "system": "Linux 6 x86_64",
    "versions": {"tui-backup": "0.1.0", "PostgreSQL": "18.6"},
    "missing_peers": ["restic"],
    "date": "2026-11-24",
}


def table(*rows: Row) -> list[str]:
    return markdown(rows, MACHINE, scale=0.1, pairs=2).splitlines()


def timed_row() -> Row:
    ours, theirs = [Run(1.0, 0.5, 1, 0.25), Run(1.2, 0.5, 1, 0.25)], [Run(2.0, 1.0, 1, 2.0), Run(2.0, 1.0, 1, 2.0)]
    return {**Result("B1 full backup W1", "pg_dump -j2", ours, theirs, 0.95).row(), "cores": 2}


def test_a_timed_row() -> None:
    head, rule, row, *_ = table(timed_row())
    assert head == "| measure | peer | cores | reach | median (min–max) | ours | peer | reached |"
    assert rule == "|---|---|---|---|---|---|---|---|"
    assert row == (
        "| B1 full backup W1 | pg_dump -j2 | 2 | ≤ 0.95 | **0.55** (0.50–0.60)"
        " | 1.1 s, CPU 0.5 + 0.25 | 2.0 s, CPU 1.0 + 2.0 | yes |"
    )


def test_every_row_has_as_many_cells_as_the_head() -> None:
    rows: list[Row] = [
        timed_row(),
        {"measure": "B2", "failed": "RuntimeError: a | b\nc", "cores": 1},
        {"measure": "B5 stored, 30 days", "missing": "restic"},
        {"measure": "B7 x", "peer": "all", "ratio_median": 0.0211, "ours_bytes": 1, "peer_bytes": 9, "reached": False},
        {"measure": "B6 x", "peer": "pg_dump", "backup_mb": 7, "restore_mb": 8, "growth": 1.1, "peer_mb": 9},
    ]
    lines = table(*rows)[: len(rows) + 2]
    assert {line.replace("\\|", "").count("|") for line in lines} == {9}


def test_a_failed_row_is_there_and_says_why() -> None:
    row: Row = {"measure": "B2", "failed": "RuntimeError: pg_dump ended with 1"}
    assert verdict(row) == "failed"
    assert table(row)[2] == "| B2 |  |  |  | RuntimeError: pg_dump ended with 1 |  |  | failed |"


def test_a_missing_peer_is_named_and_no_failure() -> None:
    row: Row = {"measure": "B5 stored, 30 days", "missing": "restic"}
    assert verdict(row) == "not measured"
    assert table(row)[-1] == "Not installed, so not measured: restic."


def test_small_ratios_keep_three_digits() -> None:
    row: Row = {"measure": "B7 x", "ratio_median": 0.0211, "ours_bytes": 284817, "peer_bytes": 13516334}
    assert "| **0.021** | 0.3 MB | 13.5 MB | report |" in table(row)[2]


def test_the_line_below_names_machine_versions_scale_and_date() -> None:
    below = table(timed_row())[4]
    for word in ("2 cores (AMD EPYC)", "24 GB", "PostgreSQL 18.6", "scale 0.1", "2 pairs", "2026-11-24"):
        assert word in below


@pytest.mark.parametrize(
    ("row", "reached"),
    [
        ({"measure": "T1 x", "ratio_median": 2.5}, "yes"),
        ({"measure": "T1 x", "ratio_median": 2.6}, "no"),
        ({"measure": "T2 x", "p99_ms": 50.1, "p50_ms": 1}, "no"),
        ({"measure": "T3 x", "terminal_bytes": 4096, "cpu_percent": 1.0, "seconds": 60.0}, "yes"),
        ({"measure": "T3 x", "terminal_bytes": 10, "cpu_percent": 1.1, "seconds": 60.0}, "no"),
        ({"measure": "T4 x", "execution_median_ms": 1, "sequential_scan": True, "scan": "Seq Scan"}, "no"),
        ({"measure": "T4 x", "execution_median_ms": 4.9, "sequential_scan": False, "scan": "Index Scan"}, "yes"),
        ({"measure": "T5 x", "ready_median_s": 1.5, "idle_cpu_percent": 0.9}, "yes"),
        ({"measure": "T5 x", "ready_median_s": 1.6, "idle_cpu_percent": 0.9}, "no"),
    ],
)
def test_the_consoles_rows_are_judged_too(row: Row, reached: str) -> None:
    assert verdict(row) == reached


def test_what_the_consoles_row_shows() -> None:
    row: Row = {"measure": "T5 agent start and idle", "ready_median_s": 0.9, "idle_cpu_percent": 0.3, "reach": "ready"}
    assert "| ready in 0.9 s, idle 0.3 % CPU |  | yes |" in table(row)[2]


def test_numbers_of_cores_are_checked() -> None:
    assert too_many([1, 2], 2) is None
    assert too_many([0, 3], 2) == "2 cores are there, not 0, 3"


def test_bytes_are_measured_once() -> None:
    assert turns_of("B1", [[0], [0, 1]]) == [[0], [0, 1]]
    assert turns_of("B5", [[0, 1], [0]]) == [[0, 1]]


def test_the_machine_is_described() -> None:
    found = facts()
    assert found["cpu"]
    assert isinstance(found["memory_gb"], int)
    assert found["memory_gb"] > 0


def test_room_grows_with_scale_and_servers() -> None:
    assert room_gb(["T1"], 10) == 0
    assert 40 < room_gb(["B6"], 10) < 60
    assert room_gb(["B1"], 1) < room_gb(["B1", "B2"], 1) < room_gb(["B1", "B2", "B3"], 1) < room_gb(MEASURES, 10)
