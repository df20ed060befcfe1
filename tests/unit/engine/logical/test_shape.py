"""The shape changes with whatever a value's text depends on, and with nothing else."""

from __future__ import annotations

import dataclasses
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tui_backup.engine.logical.shape import TypeFacts, Types, shape_of

INT, TEXT, MONEY, REGCLASS = 23, 25, 790, 2205
BUILT_IN = [
    TypeFacts(INT, "b", 43),
    TypeFacts(TEXT, "b", 47),
    TypeFacts(MONEY, "b", 888),
    TypeFacts(REGCLASS, "b", 2219),
]
MOOD = TypeFacts(20000, "e", 3507, labels=("20001 sad", "20002 happy"))
MOODS = TypeFacts(20003, "b", 751, parts=(20000,))
PAIR = TypeFacts(20004, "c", 2291, parts=(TEXT, 20003))
SPATIAL = TypeFacts(20005, "b", 20900, extension="postgis 3.5")
HOME_MADE = TypeFacts(20006, "b", 20901)
CLASSES = TypeFacts(2210, "b", 751, parts=(REGCLASS,))
SELF = TypeFacts(20007, "c", 2291, parts=(20008,))
SELVES = TypeFacts(20008, "b", 751, parts=(20007,))
ALL = [*BUILT_IN, MOOD, MOODS, PAIR, SPATIAL, HOME_MADE, CLASSES, SELF, SELVES]


def _types(*changed: TypeFacts, lc_monetary: str = "C") -> Types:
    facts = {fact.oid: fact for fact in ALL} | {fact.oid: fact for fact in changed}
    return Types(facts.values(), lc_monetary)


def _column(type_oid: int, attnum: int = 1, name: str = "a", **other: Any) -> tuple[Any, ...]:
    return (attnum, name, type_oid, other.get("typmod", -1), other.get("missing"), other.get("generated", ""))


def _shape(type_oid: int, types: Types | None = None) -> str:
    return shape_of([_column(type_oid)], types or _types())


def test_an_enum_label_changes_every_type_around_it() -> None:
    renamed = _types(dataclasses.replace(MOOD, labels=("20001 blue", "20002 happy")))
    for oid in (MOOD.oid, MOODS.oid, PAIR.oid):
        assert _shape(oid, renamed) != _shape(oid)
    assert _shape(INT, renamed) == _shape(INT)


def test_an_extensions_version_counts_for_its_types_only() -> None:
    newer = _types(dataclasses.replace(SPATIAL, extension="postgis 3.6"))
    assert _shape(SPATIAL.oid, newer) != _shape(SPATIAL.oid)
    assert _shape(PAIR.oid, newer) == _shape(PAIR.oid)


def test_lc_monetary_counts_for_money_only() -> None:
    german = _types(lc_monetary="de_DE")
    assert _shape(MONEY, german) != _shape(MONEY)
    assert _shape(INT, german) == _shape(INT)


def test_names_looked_up_in_the_catalog() -> None:
    types = _types()
    assert types.depends_on_catalog(REGCLASS)
    assert types.depends_on_catalog(CLASSES.oid)
    assert types.depends_on_catalog(HOME_MADE.oid), "nobody knows what its output function does"
    assert not types.depends_on_catalog(SPATIAL.oid)
    assert not types.depends_on_catalog(PAIR.oid)


def test_a_type_inside_itself_ends() -> None:
    assert [fact.oid for fact in _types().closure(SELF.oid)] == [SELF.oid, SELVES.oid]


columns = st.lists(
    st.tuples(
        st.integers(1, 50),
        st.text(min_size=1, max_size=5),
        st.sampled_from([fact.oid for fact in ALL]),
        st.integers(-1, 10),
        st.none() | st.text(max_size=5),
        st.sampled_from(["", "s"]),
    ),
    max_size=6,
)


@given(columns, columns)
def test_shapes_are_equal_exactly_when_the_columns_are(
    first: list[tuple[Any, ...]], second: list[tuple[Any, ...]]
) -> None:
    assert (shape_of(first, _types()) == shape_of(second, _types())) == (first == second)
