"""Cutting large objects into streams."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tui_backup.engine.logical.largeobjects import PIECE_BYTES, cut_objects
from tui_backup.manifest import LargeObject

sizes = st.lists(st.integers(0, 100) | st.integers(0, 60_000_000), max_size=40)


@given(sizes)
def test_every_byte_is_in_one_part(object_sizes: list[int]) -> None:
    objects = [LargeObject(oid=number + 1, size_bytes=size, owner="o") for number, size in enumerate(object_sizes)]
    tasks = cut_objects(objects)
    covered: dict[int, int] = {}
    for task in tasks:
        assert 0 < task.weight < 32 * 1024 * 1024
        for oid, first, end in task.parts:
            assert first == covered.get(oid, 0), "in order, without a gap"
            assert first % PIECE_BYTES == 0
            covered[oid] = end
    assert covered == {item.oid: item.size_bytes for item in objects if item.size_bytes}


def test_many_small_objects_do_not_make_one_huge_statement() -> None:
    objects = [LargeObject(oid=number, size_bytes=1, owner="o") for number in range(1, 5001)]
    tasks = cut_objects(objects)
    assert [len(task.parts) for task in tasks] == [1000] * 5
    assert all(len(task.query) < 30_000 for task in tasks)
