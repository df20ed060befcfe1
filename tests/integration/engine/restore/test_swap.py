"""A restored database takes a live one's name, and gives it back."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from tests.integration.engine.restore.conftest import Shop
from tests.integration.engine.restore.helpers import restore
from tui_backup.engine.logical.createdb import drop_unfinished, unfinished_comment
from tui_backup.engine.logical.swap import (
    SwapRecord,
    SwapState,
    finish_swap,
    inspect_swap,
    record_swap,
    reopen_live,
    swap_databases,
    undo_swap,
)
from tui_backup.engine.logical.target import Target
from tui_backup.errors import AlreadyExistsError, JobStateError, NotFoundError, PermissionRefusedError, TargetInUseError
from tui_backup.model import RestoreTarget

NOW = datetime(2026, 11, 23, 3, 4, 5, tzinfo=UTC)


@pytest.fixture
def swap(shop: Shop) -> Iterator[tuple[Shop, Target, SwapRecord]]:
    """A live database that has lost rows, and a restored one ready to take its name."""
    shop.rows(
        f"ALTER DATABASE \"{shop.name}\" SET work_mem = '7MB';"
        f"COMMENT ON DATABASE \"{shop.name}\" IS 'the live one'; DROP TABLE s.lines;"
        f'REVOKE TEMPORARY ON DATABASE "{shop.name}" FROM PUBLIC; ALTER DATABASE "{shop.name}" CONNECTION LIMIT 50'
    )
    result = restore(
        shop.server,
        shop.contents,
        shop.repository,
        f"{shop.name}_new",
        target=RestoreTarget.SWAP,
        restore_id=uuid.uuid4(),
    )
    # a connection string that names the live database, as a source's does
    target = Target(shop.server.dsn(shop.name))
    record = record_swap(target, live=shop.name, new=result.database, at=NOW)
    assert record.new_oid == result.database_oid
    yield shop, target, record
    for name in (record.new, record.kept, f"{shop.name}_undone_20261123040405"):
        shop.server.drop_database(name)


def _settings(shop: Shop) -> list[tuple[object, ...]]:
    return shop.server.execute(
        "SELECT shobj_description(d.oid, 'pg_database'), datconnlimit, datallowconn, datacl::text, setconfig"
        f" FROM pg_database d LEFT JOIN pg_db_role_setting ON setdatabase = d.oid WHERE datname = '{shop.name}'"
    )


def test_there_and_back(swap: tuple[Shop, Target, SwapRecord]) -> None:
    shop, target, record = swap
    properties = _settings(shop)
    assert inspect_swap(target, record) is SwapState.NOT_SWAPPED
    session = shop.server.connect(shop.name)
    swap_databases(target, record)
    with pytest.raises(psycopg.OperationalError):
        session.execute("SELECT 1")
    assert inspect_swap(target, SwapRecord.from_json(record.to_json())) is SwapState.SWAPPED
    assert shop.rows("SELECT count(*) FROM s.lines") == [(2000,)]
    assert _settings(shop) == properties
    with pytest.raises(psycopg.OperationalError, match="not currently accepting"):
        shop.server.connect(record.kept)

    undone = undo_swap(target, record, at=NOW + timedelta(hours=1))
    assert inspect_swap(target, undone) is SwapState.UNDONE
    assert shop.rows("SELECT to_regclass('s.lines')") == [(None,)]
    assert _settings(shop) == properties
    assert undone.undone is not None
    with pytest.raises(JobStateError):
        finish_swap(target, undone)
    with pytest.raises(JobStateError):
        undo_swap(target, undone, at=NOW)


def test_finish_drops_the_kept_one_only(swap: tuple[Shop, Target, SwapRecord]) -> None:
    shop, target, record = swap
    with pytest.raises(JobStateError):
        finish_swap(target, record)
    swap_databases(target, record)
    finish_swap(target, record)
    finish_swap(target, record)
    assert inspect_swap(target, record) is SwapState.FINISHED
    assert shop.rows("SELECT count(*) FROM s.lines") == [(2000,)]
    with pytest.raises(JobStateError):
        undo_swap(target, record, at=NOW)


def test_finish_refuses_a_database_that_is_not_the_kept_one(swap: tuple[Shop, Target, SwapRecord]) -> None:
    shop, target, record = swap
    swap_databases(target, record)
    shop.server.drop_database(record.kept)
    shop.server.create_database(record.kept)
    finish_swap(target, record)
    assert shop.server.execute(f"SELECT 1 FROM pg_database WHERE datname = '{record.kept}'") == [(1,)]


def test_a_failure_leaves_the_live_one_open(swap: tuple[Shop, Target, SwapRecord]) -> None:
    shop, target, record = swap
    before = _settings(shop)
    shop.server.create_database(record.kept)
    with pytest.raises(AlreadyExistsError):
        # the kept name was taken in between
        swap_databases(target, record)
    assert _settings(shop) == before
    assert inspect_swap(target, record) is SwapState.NOT_SWAPPED
    assert shop.rows("SELECT 1") == [(1,)]


def test_a_prepared_transaction_is_named(swap: tuple[Shop, Target, SwapRecord]) -> None:
    shop, target, record = swap
    with shop.server.connect(shop.name) as conn:
        conn.execute("BEGIN; UPDATE s.people SET boss = NULL; PREPARE TRANSACTION 'held by the test'")
    try:
        with pytest.raises(TargetInUseError, match="prepared transaction"):
            swap_databases(target, record)
        assert shop.rows("SELECT 1") == [(1,)]
    finally:
        shop.rows("ROLLBACK PREPARED 'held by the test'")


def test_a_swap_cut_off_before_its_renames_is_reopened(swap: tuple[Shop, Target, SwapRecord]) -> None:
    shop, target, record = swap
    shop.server.execute(f'ALTER DATABASE "{record.live}" ALLOW_CONNECTIONS false')
    assert inspect_swap(target, record) is SwapState.NOT_SWAPPED
    reopen_live(target, record)
    assert shop.rows("SELECT 1") == [(1,)]


def test_rights(swap: tuple[Shop, Target, SwapRecord]) -> None:
    shop, _, record = swap
    shop.server.execute(
        "DROP ROLE IF EXISTS swap_weak; CREATE ROLE swap_weak LOGIN PASSWORD 'weak';"
        f'ALTER DATABASE "{record.live}" OWNER TO swap_weak; ALTER DATABASE "{record.new}" OWNER TO swap_weak'
    )
    weak = Target(shop.server.dsn(user="swap_weak", password="weak"))
    with pytest.raises(PermissionRefusedError, match="rename"):
        # no CREATEDB
        swap_databases(weak, record)
    assert shop.rows("SELECT 1") == [(1,)]
    shop.server.execute("ALTER ROLE swap_weak CREATEDB")
    swap_databases(weak, record)
    assert inspect_swap(weak, record) is SwapState.SWAPPED
    shop.server.drop_database(record.kept)
    shop.server.execute(f'ALTER DATABASE "{record.live}" OWNER TO postgres; DROP ROLE swap_weak')


def test_unknown_database(shop: Shop) -> None:
    with pytest.raises(NotFoundError):
        record_swap(Target(shop.server.dsn()), live="nobody", new=shop.name, at=NOW)


def test_drop_unfinished_ends_sessions_and_drops_only_its_own(shop: Shop) -> None:
    mine, other = uuid.uuid4(), uuid.uuid4()
    names = [shop.server.create_database() for _ in range(2)]
    for name, number in zip(names, (mine, other), strict=True):
        shop.server.execute(f"COMMENT ON DATABASE \"{name}\" IS '{unfinished_comment(number)}'")
    dead = shop.server.connect(shop.name, application_name=f"tui-backup restore {mine}")
    dead.execute("BEGIN; LOCK TABLE s.people")
    try:
        dropped = drop_unfinished(Target(shop.server.dsn()), mine, session_name=f"tui-backup restore {mine}")
        assert dropped == [names[0]]
        with pytest.raises(psycopg.OperationalError):
            dead.execute("SELECT 1")
        assert shop.server.execute(f"SELECT 1 FROM pg_database WHERE datname = '{names[1]}'") == [(1,)]
    finally:
        shop.server.drop_database(names[1])
