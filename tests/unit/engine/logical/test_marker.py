"""The marker's pattern."""

from __future__ import annotations

from tui_backup.engine.logical.marker import MARKER_IDS, random_pattern


def test_patterns_are_random_and_end_committed() -> None:
    patterns = [random_pattern() for _ in range(50)]
    assert all(len(pattern) == MARKER_IDS and pattern[-1] for pattern in patterns)
    assert len({tuple(pattern) for pattern in patterns}) == 50
    assert all(10 < sum(pattern) < 54 for pattern in patterns)
