"""Chosen tables beside the live ones."""

from __future__ import annotations

import pytest

from tests.integration.engine.restore.conftest import Shop
from tests.integration.engine.restore.helpers import Recorder, restore_tables
from tui_backup.errors import CancelledError, TargetMismatchError, TargetNotEmptyError
from tui_backup.model import StopFlag


def test_rows_stand_beside_the_live_ones(shop: Shop) -> None:
    before = shop.fingerprint()
    result = restore_tables(
        shop.server, shop.contents, shop.repository, shop.name, "s.people", "s.orders", "s.log", schema='as it "was"'
    )
    assert result.compare is not None
    assert result.compare.identical
    assert result.schema == 'as it "was"'
    assert result.rows_restored == 200 + 5000 + 300
    for name in ("people", "orders", "log"):
        assert shop.rows(f'SELECT count(*) FROM (TABLE s.{name} EXCEPT TABLE "as it ""was""".{name}) AS x') == [(0,)]
    ((comment,),) = shop.rows('SELECT obj_description(\'"as it ""was"""\'::regnamespace)')
    assert "backup" in str(comment)
    assert shop.fingerprint() == before


def test_an_existing_schema_is_left_alone(shop: Shop) -> None:
    with pytest.raises(TargetNotEmptyError, match="s exists"):
        restore_tables(shop.server, shop.contents, shop.repository, shop.name, "s.people", schema="s")


def test_a_missing_type_is_named(shop: Shop) -> None:
    table = next(table for table in shop.contents.tables if table.name == "people")
    from msgspec.structs import replace

    columns = [replace(column, type="s.mood); DROP TABLE s.lines; --") for column in table.columns]
    contents = replace(shop.contents, tables=[replace(table, columns=columns)])
    with pytest.raises(TargetMismatchError, match="does not have"):
        restore_tables(shop.server, contents, shop.repository, shop.name, schema="side")
    assert shop.rows("SELECT count(*) FROM s.lines") == [(2000,)]
    assert shop.rows("SELECT 1 FROM pg_namespace WHERE nspname = 'side'") == []


@pytest.mark.parametrize("phase", ["schema", "data", "comparing"])
def test_a_stop_leaves_nothing(shop: Shop, phase: str) -> None:
    stop = StopFlag()

    class Stopping(Recorder):
        def __call__(self, **facts: object) -> None:  # type: ignore[override]
            super().__call__(**facts)  # type: ignore[arg-type]
            if facts.get("phase") == phase:
                stop.set(CancelledError("stopped by the test"))

    with pytest.raises(CancelledError) as caught:
        restore_tables(
            shop.server, shop.contents, shop.repository, shop.name, schema="side", stop=stop, progress=Stopping()
        )
    assert caught.value.details["rollback_executed"] is True
    assert shop.rows("SELECT 1 FROM pg_namespace WHERE nspname = 'side'") == []
