"""Widths, tables, times, and what a locale can show."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest

from tui_backup.cli.text import Cell, Column, cut, display_width, is_utf8_locale, local_time, table, time_column


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({"LANG": "en_US.UTF-8"}, True),
        ({"LANG": "C.UTF-8", "LC_CTYPE": "C.UTF-8"}, True),
        ({"LANG": "ar_SA.utf8"}, True),
        ({"LANG": "en_US.UTF-8", "LC_ALL": "C"}, False),
        ({"LANG": "C", "LC_ALL": "en_US.UTF-8"}, True),
        ({"LANG": "en_US.ISO-8859-1"}, False),
        # what Python makes of a plain C locale
        ({"LC_CTYPE": "C.UTF-8"}, False),
        ({"LANG": "C", "LC_CTYPE": "C.UTF-8"}, False),
        ({}, False),
    ],
)
def test_utf8_locale(env: dict[str, str], expected: bool) -> None:
    assert is_utf8_locale(env) is expected


@pytest.mark.parametrize(
    ("text", "cells"), [("abc", 3), ("日本", 4), ("é", 1), ("e\u0301", 1), ("a\u200eb", 2), ("", 0)]
)
def test_display_width(text: str, cells: int) -> None:
    assert display_width(text) == cells


def test_cut_never_exceeds_the_width() -> None:
    assert cut("abcdef", 6, "…") == "abcdef"
    assert cut("abcdefg", 6, "…") == "abcde…"
    assert cut("abcdefg", 6, "...") == "abc..."
    assert cut("日本語です", 6, "…") == "日本…"


COLUMNS = [Column("Name", flexible=True), Column("Rows", right=True), Column("Status")]


def test_table_aligns() -> None:
    lines = table(COLUMNS, [["orders", "7", Cell("✓ completed", "completed")], ["日本", "12,000", "-"]])
    assert lines == [
        "Name      Rows  Status",
        "orders       7  ✓ completed",
        "日本    12,000  -",
    ]


def test_table_cuts_only_where_a_width_is_given() -> None:
    long = "x" * 100
    assert long in table(COLUMNS, [[long, "1", "-"]])[1]
    for line in table(COLUMNS, [[long, "1", "-"]], width=40):
        assert display_width(line) <= 40
    # a rigid column is never cut
    assert table([Column("Id")], [[long]], width=40)[1] == long


def test_a_narrow_terminal_loses_columns_before_it_breaks_lines() -> None:
    columns = [Column("Id"), Column("Took", hide=2), Column("Type", hide=1), Column("Name", flexible=True)]
    row = ["6f1f7a3e", "00:01:22", "full", "n" * 30]
    assert table(columns, [row], width=80)[0].split() == ["Id", "Took", "Type", "Name"]
    assert table(columns, [row], width=30)[0].split() == ["Id", "Took", "Name"]
    assert table(columns, [row], width=18)[0].split() == ["Id", "Name"]
    assert all(display_width(line) <= 18 for line in table(columns, [row], width=18))
    assert table(columns, [row])[0].split() == ["Id", "Took", "Type", "Name"]


def test_a_time_column_names_a_shared_zone_once(monkeypatch: pytest.MonkeyPatch) -> None:
    winter, summer = datetime(2026, 1, 2, 3, 4, tzinfo=UTC), datetime(2026, 7, 2, 3, 4, tzinfo=UTC)
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        column, cells = time_column("Finished", [winter, None])
        assert (column.title, cells) == ("Finished, CET", ["2026-01-02 04:04", "-"])
        column, cells = time_column("Finished", [winter, summer])
        assert (column.title, cells) == ("Finished", ["2026-01-02 04:04 CET", "2026-07-02 05:04 CEST"])
    finally:
        monkeypatch.undo()
        time.tzset()
    assert time_column("Finished", [None]) == (Column("Finished"), ["-"])


def test_table_colours_only_when_asked() -> None:
    row: list[str | Cell] = ["orders", "7", Cell("X failed", "failed")]
    assert "\x1b" not in "".join(table(COLUMNS, [row]))
    assert "\x1b[1;31mX failed\x1b[0m" in table(COLUMNS, [row], colours=True)[1]


def test_local_time_names_the_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Riyadh")
    time.tzset()
    try:
        assert local_time(datetime(2026, 11, 22, 2, 14, tzinfo=UTC)) == "2026-11-22 05:14 +03"
    finally:
        monkeypatch.undo()
        time.tzset()
    assert local_time(None) == "-"
