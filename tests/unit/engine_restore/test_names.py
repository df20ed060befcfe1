"""Names that a restore makes, and the order in which tables are loaded."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from tui_backup.engine.logical.inplace_keys import ForeignKey, load_order, refusals_without_replica
from tui_backup.engine.logical.load import plan_parts
from tui_backup.engine.logical.sideschema import side_names
from tui_backup.engine.logical.swap import kept_name, name_with_suffix
from tui_backup.manifest import Blob, Chunk, Table


@given(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1), st.sampled_from(["", "_x", "_old_20261123030405"])
)
def test_names_fit_and_end_at_a_character(name: str, suffix: str) -> None:
    made = name_with_suffix(name, suffix)
    assert len(made.encode()) <= 63
    assert made.endswith(suffix)
    assert name.startswith(made.removesuffix(suffix)) or not suffix


def test_kept_name() -> None:
    at = datetime(2026, 11, 23, 3, 4, 5, tzinfo=UTC)
    assert kept_name("shop", at) == "shop_old_20261123030405"
    # 63 bytes of Arabic letters, two bytes each
    assert kept_name("ق" * 31, at) == "ق" * 22 + "_old_20261123030405"


def _table(oid: int, schema: str, name: str, *sizes: int) -> Table:
    chunks = [
        Chunk(first_block=n, end_block=n + 1, rows=1, raw_bytes=size, blobs=[Blob(f"{oid}-{n}", "p", 0, 1, size)])
        for n, size in enumerate(sizes)
    ]
    return Table(
        oid=oid,
        schema=schema,
        name=name,
        kind="r",
        persistence="p",
        access_method="heap",
        relfilenode=1,
        columns=[],
        shape="",
        raw_bytes=sum(sizes),
        chunks=chunks,
    )


def test_side_names_are_told_apart() -> None:
    tables = [_table(1, "a", "t"), _table(2, "b", "t"), _table(3, "a", "only"), _table(4, "x", "a_t")]
    names = side_names(tables)
    assert names["a", "only"] == "only"
    assert len(set(names.values())) == 4


def test_parts_keep_every_chunk_once_and_the_order() -> None:
    mib = 1 << 20
    big, small = _table(1, "s", "big", *[50 * mib] * 10), _table(2, "s", "small", mib, mib)
    parts = plan_parts([small, big, _table(3, "s", "empty")], 4)
    of_big = [chunk for part in parts if part.table is big for chunk in part.chunks]
    assert sorted(chunk.first_block for chunk in of_big) == list(range(10))
    assert len([part for part in parts if part.table is big]) == 4
    assert all(
        [chunk.first_block for chunk in part.chunks] == sorted(chunk.first_block for chunk in part.chunks)
        for part in parts
    )
    assert [(part.table.name, part.whole) for part in parts][-1] == ("small", True)
    # equal shares need no cutting
    assert all(part.whole for part in plan_parts([big, big], 2))
    assert all(part.whole for part in plan_parts([big], 1))


def _key(child: int, parent: int, *, deferrable: bool = False, delete: str = "a") -> ForeignKey:
    return ForeignKey(
        "k",
        child,
        "s",
        f"t{child}",
        False,
        parent,
        "s",
        f"t{parent}",
        False,
        deferrable,
        delete,
        "a",
        False,
        True,
        False,
        ["a"],
        ["b"],
        [["pg_catalog", "="]],
    )


def test_parents_come_first() -> None:
    order, broken = load_order([1, 2, 3], [_key(1, 2), _key(2, 3), _key(3, 3), _key(1, 99)])
    assert order == [3, 2, 1]
    assert broken == []


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=12))
def test_any_circle_is_broken_and_named(pairs: list[tuple[int, int]]) -> None:
    keys = [_key(child, parent) for child, parent in pairs]
    order, broken = load_order(list(range(7)), keys)
    assert sorted(order) == list(range(7))
    for key in keys:
        if key not in broken and key.child_oid != key.parent_oid:
            assert order.index(key.parent_oid) < order.index(key.child_oid)


def test_what_forbids_it_while_keys_are_in_force() -> None:
    assert refusals_without_replica([1, 2], [_key(1, 2), _key(2, 1, deferrable=True)]) == []
    assert refusals_without_replica([1, 2], [_key(1, 2), _key(2, 1)])
    assert "CASCADE" in refusals_without_replica([1], [_key(5, 1, deferrable=True, delete="c")])[0]
    assert "not deferrable" in refusals_without_replica([1], [_key(5, 1)])[0]
    assert refusals_without_replica([1], [_key(5, 1, deferrable=True)]) == []
    assert refusals_without_replica([1], [_key(1, 5)]) == []
