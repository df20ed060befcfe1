"""The order in which materialised views are refreshed."""

from __future__ import annotations

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from tui_backup.engine.logical.sequences import refresh_order

graphs = st.dictionaries(st.integers(0, 12), st.sets(st.integers(0, 12), max_size=4), max_size=13)


@given(st.lists(st.integers(0, 12), unique=True), graphs)
def test_every_view_once_whatever_the_graph(wanted: list[int], graph: dict[int, set[int]]) -> None:
    order = refresh_order(wanted, defaultdict(set, graph))
    assert sorted(order) == sorted(wanted)


@given(st.lists(st.integers(0, 12), unique=True), graphs)
def test_sources_come_before_readers(wanted: list[int], graph: dict[int, set[int]]) -> None:
    # without circles: a view reads from smaller numbers only
    reads = defaultdict(set, {reader: {s for s in sources if s < reader} for reader, sources in graph.items()})
    order = refresh_order(wanted, reads)
    for position, view in enumerate(order):
        todo, below = list(reads[view]), set[int]()
        while todo:
            source = todo.pop()
            below.add(source)
            todo.extend(reads[source])
        assert not below & set(order[position + 1 :])
