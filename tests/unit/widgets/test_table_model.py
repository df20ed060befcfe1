"""Order, filter, sort and column widths of a live table, without a screen."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from tui_backup.widgets.table_model import Cell, Column, Row, TableModel
from tui_backup.widgets.text import LEFT_TO_RIGHT_MARK, fit, shown, use_ascii

COLUMNS = (
    Column("name", "Name", 6, most=20),
    Column("size", "Size", 5, align="right", hide_below=70, descending=True),
    Column("note", "Note", 4, most=40),
)


def row(key: str, size: int | None = None, note: str = "", rank: int = 0) -> Row:
    return Row(key, (Cell(key), Cell("-" if size is None else str(size), sort=size), Cell(note)), rank=rank)


def model(*rows: Row) -> TableModel:
    made = TableModel(COLUMNS)
    made.rows = {each.key: each for each in rows}
    made.arrange()
    return made


def test_default_order_is_by_rank() -> None:
    assert model(row("a", rank=3), row("b", rank=1), row("c", rank=2)).order == ["b", "c", "a"]


def test_sorting_goes_through_the_columns_and_back() -> None:
    made = model(row("a", 5, rank=1), row("b", 900, rank=2), row("c", None, rank=3), row("d", 10, rank=4))
    made.next_sort([0, 1, 2])
    made.arrange()
    assert made.order == ["a", "b", "c", "d"]
    made.next_sort([0, 1, 2])
    made.arrange()
    assert made.order == ["b", "d", "a", "c"], "greatest first by number, what has no value last"
    made.sort_by(1)
    made.arrange()
    assert made.order == ["a", "d", "b", "c"], "the other way round, what has no value still last"
    made.next_sort([0, 1, 2])
    made.next_sort([0, 1, 2])
    assert made.sort_column is None


def test_a_hidden_column_is_not_sorted_by() -> None:
    made = model(row("a"))
    made.next_sort([0, 2])
    made.next_sort([0, 2])
    assert made.sort_column == 2


def test_the_filter_looks_at_cells_and_at_hidden_search_text() -> None:
    made = model(row("alpha"), row("beta", note="Alpine"), Row("gamma", (Cell("x"), Cell(""), Cell("")), 0, "ALP id"))
    made.filter = "alp"
    made.arrange()
    assert set(made.order) == {"alpha", "beta", "gamma"}
    made.filter = "beta"
    made.arrange()
    assert made.order == ["beta"]


def test_narrow_terminals_leave_columns_out() -> None:
    made = model(row("a"))
    assert [index for index, _x, _w in made.layout(78, 80)] == [0, 1, 2]
    assert [index for index, _x, _w in made.layout(58, 60)] == [0, 2]


def test_a_long_name_does_not_starve_its_neighbour() -> None:
    made = model(row("n" * 12, note="x" * 300))
    widths = {index: width for index, _x, width in made.layout(40, 80)}
    assert widths[0] == 12
    assert widths[2] == 40 - 1 - 12 - 5 - 2


@given(st.integers(1, 120), st.lists(st.text(max_size=40), max_size=5))
def test_columns_never_leave_the_table_nor_overlap(width: int, names: list[str]) -> None:
    made = model(*[Row(str(i), (Cell(name), Cell(name), Cell(name)), i) for i, name in enumerate(names)])
    end = 0
    for _index, x, room in made.layout(width, 80):
        assert x >= end
        assert room > 0
        end = x + room
    assert end <= max(width, 0) + 0


@given(st.text(), st.integers(0, 60))
def test_cells_have_exactly_their_width_and_no_controls(text: str, width: int) -> None:
    cell = fit(shown(text), width)
    assert cell_len(cell) == width
    assert not any(ord(char) < 32 or 0x7F <= ord(char) < 0xA0 for char in cell)


def test_outside_text_is_made_safe_once_and_only_once() -> None:
    hostile = "[/x] \x1b]0;title\x07 \u202eevil\u2069 tab\there"
    once = shown(hostile)
    assert "[/x]" in once
    assert not any(char in once for char in "\x1b\x07\u202e\u2069\t")
    assert shown(once) == once


def test_arabic_cells_end_with_a_mark_that_survives_the_cut() -> None:
    name = "النسخ الاحتياطي والاستعادة"
    assert shown(name).endswith(LEFT_TO_RIGHT_MARK)
    assert shown(shown(name)) == shown(name)
    cut = fit(shown(name), 8)
    assert cut.endswith(LEFT_TO_RIGHT_MARK)
    assert cell_len(cut) == 8


def test_ascii_mode_draws_nothing_else() -> None:
    use_ascii(True)
    try:
        assert shown("Füße النسخ").isascii()
    finally:
        use_ascii(False)
