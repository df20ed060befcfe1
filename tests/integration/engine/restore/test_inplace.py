"""Rows put back into the live tables: all of it or nothing, and nothing fires."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import psycopg
import pytest

from tests.integration.engine.restore.conftest import Shop
from tests.integration.engine.restore.helpers import Recorder, restore_tables
from tui_backup.errors import (
    CancelledError,
    LockTimeoutError,
    ObjectMissingError,
    TargetMismatchError,
    ValidationError,
)
from tui_backup.model import StopFlag

DAMAGE = """
SET session_replication_role = replica;
DELETE FROM s.orders WHERE id % 3 = 0; UPDATE s.orders SET note = 'damaged' WHERE id % 3 = 1;
UPDATE s.people SET name = name || '!', boss = NULL; DELETE FROM s.lines; TRUNCATE s.a, s.b; DELETE FROM s.log;
DELETE FROM s.fired;
"""


def _fresh(shop: Shop) -> dict[str, object]:
    return Shop(shop.server, "shop_template", shop.contents, shop.repository).fingerprint()


def test_everything_comes_back(shop: Shop) -> None:
    shop.rows(DAMAGE)
    assert shop.fingerprint() != _fresh(shop)
    progress = Recorder()
    result = restore_tables(shop.server, shop.contents, shop.repository, shop.name, progress=progress)
    assert shop.fingerprint() == _fresh(shop)
    assert result.rows_restored == shop.contents.rows
    assert result.compare is not None
    assert result.compare.identical
    assert progress.rows == shop.contents.rows
    assert progress.bytes == progress.bytes_total
    assert shop.rows("SELECT count(*) FROM s.fired") == [(0,)]


def test_chosen_tables_only(shop: Shop) -> None:
    shop.rows(DAMAGE)
    before = shop.fingerprint()
    result = restore_tables(shop.server, shop.contents, shop.repository, shop.name, "s.a", "s.b", "s.log")
    after, fresh = shop.fingerprint(), _fresh(shop)
    assert {name for name in after if after[name] == fresh[name]} >= {"a", "b", "log", "triggers", "sequences"}
    assert [after[name] for name in ("people", "orders", "lines")] == [
        before[name] for name in ("people", "orders", "lines")
    ]
    assert result.tables_restored == 4
    assert result.database == shop.name


def test_one_partition_alone(shop: Shop) -> None:
    shop.rows("DELETE FROM s.log")
    restore_tables(shop.server, shop.contents, shop.repository, shop.name, "s.log_2")
    assert shop.rows("SELECT min(id), count(*) FROM s.log") == [(100, 201)]


def test_rows_that_nothing_else_fits_are_refused(shop: Shop) -> None:
    """An order of a person that the backup does not know points nowhere once the people are as they were."""
    shop.rows("INSERT INTO s.people (id, name) VALUES (999, 'new'); INSERT INTO s.orders (person) VALUES (999)")
    before = shop.fingerprint()
    with pytest.raises(TargetMismatchError, match=r"orders_person_fkey.*1 rows") as caught:
        restore_tables(shop.server, shop.contents, shop.repository, shop.name, "s.people")
    assert caught.value.details["rollback_executed"] is True
    assert caught.value.details["rollback_at"]
    assert shop.fingerprint() == before


def test_sequences_go_forward_and_never_back(shop: Shop) -> None:
    shop.rows("SELECT setval('s.orders_id_seq', 10); SELECT setval('s.lines_n_seq', 99999)")
    restore_tables(shop.server, shop.contents, shop.repository, shop.name, "s.orders", "s.lines")
    assert shop.rows("SELECT last_value FROM s.orders_id_seq") == [(5000,)]
    assert shop.rows("SELECT last_value FROM s.lines_n_seq") == [(99999,)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("ALTER TABLE s.orders DROP note", "note of the backup is not there"),
        ("ALTER TABLE s.orders ALTER note TYPE varchar(400)", r"was text, now it is character varying\(400\)"),
        ("DELETE FROM s.orders; ALTER TABLE s.orders ADD must int NOT NULL", "must is new, must not be empty"),
        ("DROP TABLE s.orders CASCADE", "s.orders is not in the database"),
    ],
)
def test_other_shape_is_refused(shop: Shop, change: str, message: str) -> None:
    shop.rows(change)
    with pytest.raises(TargetMismatchError, match=message):
        restore_tables(shop.server, shop.contents, shop.repository, shop.name, "s.orders")


def test_new_columns_get_their_default(shop: Shop) -> None:
    shop.rows("ALTER TABLE s.orders ADD added int DEFAULT 7, ADD loose int")
    result = restore_tables(shop.server, shop.contents, shop.repository, shop.name, "s.orders")
    assert len(result.warnings) == 2
    assert shop.rows("SELECT DISTINCT added, loose FROM s.orders") == [(7, None)]


def test_unknown_table(shop: Shop) -> None:
    with pytest.raises(ValidationError, match="order"):
        restore_tables(shop.server, shop.contents, shop.repository, shop.name, "s.order")


def test_lock_is_waited_for_within_bounds(shop: Shop) -> None:
    with shop.server.connect(shop.name) as conn, conn.transaction():
        conn.execute("LOCK TABLE s.orders IN ROW EXCLUSIVE MODE")
        started = time.monotonic()
        with pytest.raises(LockTimeoutError):
            restore_tables(shop.server, shop.contents, shop.repository, shop.name, "s.orders", lock_timeout_s=1)
        assert time.monotonic() - started < 8


class _Losing:
    """A reader that fails after so many frames."""

    def __init__(self, reader: object, frames: int) -> None:
        self.reader, self.left = reader, frames

    def read_blob(self, ref: object) -> bytes:
        self.left -= 1
        if self.left < 0:
            raise ObjectMissingError("gone")
        return self.reader.read_blob(ref)  # type: ignore[attr-defined]

    def check_blobs(self, refs: Sequence[object]) -> None:
        for ref in refs:
            self.read_blob(ref)


def test_nothing_is_touched_when_a_chunk_is_missing(shop: Shop) -> None:
    shop.rows(DAMAGE)
    before = shop.fingerprint()
    progress = Recorder()
    with pytest.raises(ObjectMissingError):
        restore_tables(
            shop.server,
            shop.contents,
            shop.repository,
            shop.name,
            reader=_Losing(shop.repository.reader, 3),
            progress=progress,
        )
    assert progress.phases == ["checking"]
    assert shop.fingerprint() == before


def test_rolled_back_when_a_chunk_goes_missing_later(shop: Shop) -> None:
    shop.rows(DAMAGE)
    before = shop.fingerprint()
    frames = len({blob.id for name, blob in shop.contents.all_blobs() if name not in ("large objects", "globals")})
    with pytest.raises(ObjectMissingError) as caught:
        restore_tables(
            shop.server, shop.contents, shop.repository, shop.name, reader=_Losing(shop.repository.reader, frames + 4)
        )
    assert caught.value.details["rollback_executed"] is True
    assert shop.fingerprint() == before


@pytest.mark.parametrize("phase", ["locking", "deleting", "data", "foreign keys", "comparing"])
def test_a_stop_rolls_back(shop: Shop, phase: str) -> None:
    shop.rows(DAMAGE)
    before = shop.fingerprint()
    stop = StopFlag()

    class Stopping(Recorder):
        def __call__(self, **facts: object) -> None:  # type: ignore[override]
            super().__call__(**facts)  # type: ignore[arg-type]
            if facts.get("phase") == phase:
                stop.set(CancelledError("stopped by the test"))

    with pytest.raises(CancelledError):
        restore_tables(shop.server, shop.contents, shop.repository, shop.name, stop=stop, progress=Stopping())
    assert shop.fingerprint() == before


def test_a_killed_session_rolls_back(shop: Shop) -> None:
    shop.rows(DAMAGE)
    before = shop.fingerprint()
    killed = threading.Event()

    class Killing(Recorder):
        def __call__(self, **facts: object) -> None:  # type: ignore[override]
            super().__call__(**facts)  # type: ignore[arg-type]
            if facts.get("rows") and not killed.is_set():
                killed.set()
                shop.server.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'to be killed'"
                )

    from tui_backup.errors import ConnectionFailedError

    with pytest.raises(ConnectionFailedError) as caught:
        restore_tables(
            shop.server,
            shop.contents,
            shop.repository,
            shop.name,
            progress=Killing(),
            application_name="to be killed",
        )
    assert killed.is_set()
    assert caught.value.details["rollback_executed"] is True
    assert shop.fingerprint() == before


def test_readers_see_the_old_rows_until_the_end(shop: Shop) -> None:
    shop.rows("UPDATE s.people SET name = name || '!'")
    seen: list[object] = []

    class Looking(Recorder):
        def __call__(self, **facts: object) -> None:  # type: ignore[override]
            super().__call__(**facts)  # type: ignore[arg-type]
            if facts.get("phase") == "comparing":
                seen.extend(shop.rows("SELECT count(*) FROM s.people WHERE name LIKE '%!'")[0])

    restore_tables(shop.server, shop.contents, shop.repository, shop.name, "s.people", progress=Looking())
    assert seen == [200]
    assert shop.rows("SELECT count(*) FROM s.people WHERE name LIKE '%!'") == [(0,)]


OWNER = """
DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'shop_owner') THEN
    CREATE ROLE shop_owner LOGIN PASSWORD 'owner'; END IF; END $$;
GRANT ALL ON SCHEMA s TO shop_owner;
DO $$ DECLARE r record; BEGIN
    FOR r IN SELECT oid::regclass AS t FROM pg_class WHERE relnamespace = 's'::regnamespace AND relkind IN ('r', 'p')
    LOOP EXECUTE format('ALTER TABLE %s OWNER TO shop_owner', r.t); END LOOP; END $$;
"""


def test_an_owner_who_is_no_superuser(shop: Shop) -> None:
    """Foreign keys stay in force, triggers are disabled and enabled again as they were."""
    shop.rows(DAMAGE)
    shop.rows(OWNER)
    tables = ["s.people", "s.orders", "s.lines", "s.a", "s.b", "s.log"]
    restore_tables(shop.server, shop.contents, shop.repository, shop.name, *tables, user="shop_owner", password="owner")
    assert shop.fingerprint() == _fresh(shop)


def test_an_owner_is_refused_where_other_rows_would_change(shop: Shop) -> None:
    shop.rows(OWNER)
    before = shop.fingerprint()
    with pytest.raises(TargetMismatchError, match="ON DELETE CASCADE"):
        restore_tables(
            shop.server, shop.contents, shop.repository, shop.name, "s.orders", user="shop_owner", password="owner"
        )
    assert shop.fingerprint() == before


def test_row_security_is_refused(shop: Shop) -> None:
    shop.rows(OWNER)
    shop.rows("ALTER TABLE s.log ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
    with pytest.raises(TargetMismatchError, match="row security"):
        restore_tables(
            shop.server, shop.contents, shop.repository, shop.name, "s.log", user="shop_owner", password="owner"
        )


def test_writers_wait(shop: Shop) -> None:
    outcome: list[str] = []

    class Writing(Recorder):
        def __call__(self, **facts: object) -> None:  # type: ignore[override]
            super().__call__(**facts)  # type: ignore[arg-type]
            if facts.get("phase") == "deleting":
                try:
                    shop.rows("SET lock_timeout = '300ms'; UPDATE s.people SET name = 'late' WHERE id = 1")
                    outcome.append("written")
                except psycopg.errors.LockNotAvailable:
                    outcome.append("waited")

    restore_tables(shop.server, shop.contents, shop.repository, shop.name, "s.people", progress=Writing())
    assert outcome == ["waited"]
