"""One tenant's rows put back in place: they are the backup's, and no other row was touched."""

from __future__ import annotations

import pytest

from tests.integration.engine.tenants.conftest import DAMAGE, World


@pytest.mark.parametrize("replace_all", [False, True])
def test_rows_come_back_and_no_other_row_is_touched(world: World, replace_all: bool) -> None:
    world.execute(DAMAGE)
    assert world.rows() != world.good
    before = world.others()
    result = world.restore(replace_all=replace_all)
    assert world.rows() == world.good
    assert world.others() == before
    assert world.execute("SELECT * FROM app.fired") == []
    assert result.compare is not None
    assert result.compare.identical
    assert result.rows_restored == world.backup.contents.rows


def test_unchanged_rows_are_not_touched(world: World) -> None:
    everything = world.picture()
    result = world.restore()
    assert world.picture() == everything
    assert {(row.rows_delete, row.rows_insert, row.rows_update) for row in result.plan.tables} == {(0, 0, 0)}
