"""Which types a backup's values may be read as."""

from __future__ import annotations

import pytest

from tui_backup.engine.logical.tenants.fit import reads_as


@pytest.mark.parametrize(
    ("stored", "live", "reads"),
    [
        ("integer", "integer", True),
        ("integer", "bigint", True),
        ("smallint", "numeric", True),
        ("bigint", "integer", False),
        ("integer", "text", False),
        ("numeric(10,2)", "numeric", True),
        ("numeric(10,2)", "numeric(12,4)", True),
        ("numeric(10,2)", "numeric(10,4)", False),
        ("numeric(10,2)", "numeric(12,1)", False),
        ("numeric", "numeric(12,1)", False),
        ("character varying(10)", "character varying(12)", True),
        ("character varying(10)", "character varying", True),
        ("character varying(10)", "text", True),
        ("character varying(10)", "character varying(9)", False),
        ("character varying", "character varying(9)", False),
        ("character(3)", "character(4)", False),
        ("character(3)", "text", False),
        ("timestamp without time zone", "timestamp with time zone", False),
        ("s.mood", "text", False),
        ("integer[]", "bigint[]", False),
    ],
)
def test_reads_as(stored: str, live: str, reads: bool) -> None:
    assert reads_as(stored, live) is reads
