"""Cutting tables and writing the statements that read them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tui_backup.engine.logical.cut import copy_out, cut, select_rows


@given(blocks=st.integers(0, 50_000), chunk_blocks=st.integers(1, 5000))
def test_ranges_cover_every_block_once(blocks: int, chunk_blocks: int) -> None:
    ranges = cut(blocks, chunk_blocks)
    if blocks == 0:
        assert ranges == []
        return
    assert ranges[0][0] == 0
    assert ranges[-1][1] is None
    assert [end for _, end in ranges[:-1]] == [first for first, _ in ranges[1:]]
    assert all(first % chunk_blocks == 0 for first, _ in ranges)
    assert ranges[-1][0] < blocks <= ranges[-1][0] + chunk_blocks


@given(blocks=st.integers(1, 5000), more=st.integers(0, 5000), chunk_blocks=st.integers(1, 700))
def test_a_grown_table_keeps_its_borders(blocks: int, more: int, chunk_blocks: int) -> None:
    before, after = cut(blocks, chunk_blocks), cut(blocks + more, chunk_blocks)
    assert after[: len(before) - 1] == before[:-1]


def test_only_a_large_table_has_large_chunks() -> None:
    assert {end - first for first, end in cut(2**20 - 1)[:-1] if end} == {256}
    assert {end - first for first, end in cut(2**20)[:-1] if end} == {1024}


def test_impossible_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="0"):
        cut(10, 0)
    with pytest.raises(ValueError, match="4294967296"):
        cut(2**32)


def test_statements() -> None:
    table = ('s"x', "t.y")
    assert select_rows(table, ["a", 'b"'], (0, None)) == 'SELECT "a", "b""" FROM ONLY "s""x"."t.y"'
    assert select_rows(table, [], (0, None)) == 'SELECT  FROM ONLY "s""x"."t.y"'
    assert select_rows(table, ["a"], (1024, 2048)) == (
        'SELECT "a" FROM ONLY "s""x"."t.y"'
        " WHERE ctid >= '(1024,0)'::pg_catalog.tid AND ctid < '(2048,0)'::pg_catalog.tid"
    )
    assert select_rows(table, ["a"], (2048, None)).endswith("WHERE ctid >= '(2048,0)'::pg_catalog.tid")
    assert select_rows(table, ["a"], (0, None), "WHERE NOT std").endswith('"t.y" WHERE NOT std')
    with pytest.raises(ValueError, match="one piece"):
        select_rows(table, ["a"], (0, 10), "WHERE NOT std")
    assert copy_out("SELECT 1", "UTF8") == "COPY (SELECT 1) TO STDOUT WITH (FORMAT text, ENCODING 'UTF8')"
