"""Incrementals on a real server: what is taken over, what is read, and why; each is equal to its source."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from tests.integration.engine.restore.helpers import Recorder, Repository, restore
from tests.servers import TestServer
from tui_backup.engine.logical.backup import BackupRequest, backup_database
from tui_backup.engine.logical.incremental import Parent
from tui_backup.manifest import Contents, Reuse
from tui_backup.model import StopFlag
from tui_backup.repository.format import ref_of
from tui_backup.repository.packs import PackReader, PackWriter

CHUNK_BLOCKS = 4


class Chain:
    """A database and its backups, each upon the one before."""

    def __init__(self, server: TestServer, folder: Path) -> None:
        self.server = server
        self.name = server.create_database()
        self.repository = Repository(folder / "repository")
        self.sink = PackWriter(self.repository.store, self.repository.tenant)
        self.parent: Contents | None = None
        self.known: dict[str, object] = {}

    def sql(self, statements: str) -> list[tuple[object, ...]]:
        return self.server.execute(statements, self.name)

    def back_up(self, parent: Parent | None = None) -> Contents:
        """An incremental upon the last backup, or a full one at first."""
        if parent is None and self.parent is not None:
            parent = Parent(uuid.uuid4(), self.parent)
        known = {blob.id: blob for blob in self._refs()}
        sink = PackWriter(self.repository.store, self.repository.tenant, known=known)
        request = BackupRequest(
            conninfo=self.server.dsn(self.name), chunk_blocks=CHUNK_BLOCKS, workers=2, parent=parent
        )
        try:
            self.parent = backup_database(request, sink, progress=Recorder(), stop=StopFlag())
        finally:
            sink.close()
        return self.parent

    def _refs(self) -> list[object]:
        return [ref_of(blob) for _, blob in self.parent.all_blobs()] if self.parent else []

    def reuse(self) -> Reuse:
        """An incremental's own words."""
        reuse = self.back_up().reuse
        assert reuse is not None
        return reuse

    def streams(self, contents: Contents) -> dict[str, bytes]:
        """The stored rows of every table."""
        reader = PackReader(self.repository.store, self.repository.tenant)
        return {
            table.name: b"".join(reader.read_blob(ref_of(blob)) for chunk in table.chunks for blob in chunk.blobs)
            for table in contents.tables
        }

    def is_true(self) -> bool:
        """Whether the last backup holds what a full one made now would."""
        assert self.parent is not None
        request = BackupRequest(conninfo=self.server.dsn(self.name), chunk_blocks=CHUNK_BLOCKS)
        sink = PackWriter(self.repository.store, self.repository.tenant)
        try:
            full = backup_database(request, sink, progress=Recorder(), stop=StopFlag())
        finally:
            sink.close()
        return self.streams(self.parent) == self.streams(full) and self.parent.rows == full.rows


@pytest.fixture
def chain(pg: TestServer, tmp_path: Path) -> Chain:
    made = Chain(pg, tmp_path)
    made.sql(
        "CREATE TABLE t (id int PRIMARY KEY, v text) WITH (autovacuum_enabled = off);"
        "INSERT INTO t SELECT g, repeat('x', 100) || g FROM generate_series(1, 4000) g"
    )
    assert made.back_up().reuse is None
    return made


def _whole(reuse: Reuse) -> bool:
    return reuse.chunks_reused == 0 and reuse.chunks_read > 0


def test_nothing_changed_nothing_is_read(chain: Chain) -> None:
    reuse = chain.reuse()
    assert (reuse.chunks_read, reuse.bytes_read, reuse.reason, reuse.read_whole) == (0, 0, None, {})
    assert reuse.chunks_reused > 10
    assert chain.is_true()
    result = restore(chain.server, chain.parent, chain.repository, f"{chain.name}_back")
    chain.server.drop_database(f"{chain.name}_back")
    assert result.compare is not None and result.compare.identical
    assert result.rows_restored == 4000


@pytest.mark.parametrize(
    "change",
    [
        "INSERT INTO t VALUES (9000, 'new')",
        "UPDATE t SET v = 'other' WHERE id = 7",
        "UPDATE t SET v = v WHERE id = 7",
        "DELETE FROM t WHERE id = 7",
        "BEGIN; SAVEPOINT a; UPDATE t SET v = 'sub' WHERE id = 7; RELEASE a; COMMIT",
        "BEGIN; SAVEPOINT a; UPDATE t SET v = 'gone' WHERE id = 8; ROLLBACK TO a; DELETE FROM t WHERE id = 7; COMMIT",
        "DELETE FROM t WHERE id = 7; VACUUM t; INSERT INTO t VALUES (7, 'in the same place')",
        "DELETE FROM t WHERE id = 7; INSERT INTO t VALUES (7, 'again'); VACUUM FREEZE t",
    ],
)
def test_what_changed_is_read_and_little_else(chain: Chain, change: str) -> None:
    for statement in change.split(";") if "VACUUM" in change else [change]:
        chain.sql(statement)
    reuse = chain.reuse()
    assert 1 <= reuse.chunks_read <= 2
    assert reuse.chunks_reused > 10
    assert chain.is_true()
    assert chain.reuse().chunks_read == 0, "the next one builds on this one"


@pytest.mark.parametrize(
    "change",
    [
        "BEGIN; UPDATE t SET v = 'never'; ROLLBACK",
        "BEGIN; SELECT * FROM t FOR UPDATE; COMMIT",
        "VACUUM FREEZE t",
        "ANALYZE t",
        "REINDEX TABLE t",
        "CREATE INDEX ON t (v)",
        "GRANT SELECT ON t TO PUBLIC",
        "ALTER TABLE t RENAME TO renamed",
    ],
)
def test_what_changes_no_row_reads_nothing(chain: Chain, change: str) -> None:
    chain.sql(change)
    reuse = chain.reuse()
    # what was rolled back may have made the table longer; there is nothing to see in the new blocks
    assert reuse.bytes_read == 0
    assert reuse.chunks_reused > 10
    assert chain.is_true()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("VACUUM FULL t", "rewritten"),
        ("CLUSTER t USING t_pkey", "rewritten"),
        ("TRUNCATE t; INSERT INTO t SELECT g, 'x' FROM generate_series(1, 2000) g", "rewritten"),
        ("ALTER TABLE t ADD d int DEFAULT 7", "columns or types"),
        ("ALTER TABLE t ALTER v TYPE varchar(500)", "rewritten"),
        ("DROP TABLE t; CREATE TABLE t (id int, v text); INSERT INTO t SELECT g, 'y' FROM generate_series(1, 2000) g",
         "not in the parent"),
        ("ALTER TABLE t ADD c regclass", "columns or types"),
    ],
)  # fmt: skip
def test_a_table_that_is_another_one_is_read_whole(chain: Chain, change: str, why: str) -> None:
    chain.sql(change)
    reuse = chain.reuse()
    assert _whole(reuse)
    assert why in reuse.read_whole["public.t"]
    assert chain.is_true()


def test_copy_freeze(chain: Chain) -> None:
    chain.sql("BEGIN; TRUNCATE t; COPY t FROM PROGRAM 'seq -f \"%.0f x\" 1 3000' WITH (DELIMITER ' ', FREEZE); COMMIT")
    assert _whole(chain.reuse())
    assert chain.is_true()
    assert chain.reuse().chunks_read == 0


def test_an_enum_value_is_renamed(chain: Chain) -> None:
    chain.sql(
        "CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE TABLE m AS SELECT 'sad'::mood AS m, g FROM"
        " generate_series(1, 3000) g"
    )
    chain.back_up()
    chain.sql("ALTER TYPE mood RENAME VALUE 'sad' TO 'gloomy'")
    reuse = chain.reuse()
    assert reuse.read_whole == {"public.m": "columns or types changed"}
    assert chain.is_true()


def test_names_in_rows_are_always_read(chain: Chain) -> None:
    chain.sql("CREATE TABLE n AS SELECT 't'::regclass AS c FROM generate_series(1, 100)")
    chain.back_up()
    chain.sql("ALTER TABLE t RENAME TO u")
    reuse = chain.reuse()
    assert "depends on the catalog" in reuse.read_whole["public.n"]
    assert chain.is_true()


def test_a_transaction_that_was_open_at_the_parent(chain: Chain) -> None:
    with chain.server.connect(chain.name) as conn:
        conn.autocommit = False
        conn.execute("UPDATE t SET v = 'late' WHERE id = 100")
        chain.back_up()
        conn.commit()
    assert chain.reuse().chunks_read >= 1
    assert chain.is_true()


def test_a_prepared_transaction_over_two_backups(pg_new: Callable[..., TestServer], tmp_path: Path) -> None:
    server = pg_new(settings={"max_prepared_transactions": "5"})
    chain = Chain(server, tmp_path)
    chain.sql(
        "CREATE TABLE t (id int, v text); INSERT INTO t SELECT g, repeat('x', 200) FROM generate_series(1, 2000) g"
    )
    chain.back_up()
    chain.sql("BEGIN; DELETE FROM t WHERE id = 5; PREPARE TRANSACTION 'p'")
    chain.back_up()
    chain.sql("INSERT INTO t VALUES (3000, 'z')")
    chain.back_up()
    chain.sql("COMMIT PREPARED 'p'")
    assert chain.reuse().chunks_read >= 1
    assert chain.is_true()


def test_a_table_that_grows_and_shrinks(chain: Chain) -> None:
    chain.sql("INSERT INTO t SELECT g, repeat('y', 100) FROM generate_series(10000, 14000) g")
    assert chain.reuse().chunks_reused > 10
    assert chain.is_true()
    chain.sql("DELETE FROM t WHERE id > 1000")
    chain.sql("VACUUM t")
    reuse = chain.reuse()
    assert reuse.chunks_reused >= 3
    assert chain.is_true()


def test_partitions_are_known_by_themselves(chain: Chain) -> None:
    chain.sql(
        "CREATE TABLE p (k int, v text) PARTITION BY LIST (k); CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1);"
        "INSERT INTO p SELECT 1, g::text FROM generate_series(1, 3000) g"
    )
    chain.back_up()
    chain.sql("ALTER TABLE p DETACH PARTITION p1; CREATE TABLE p2 PARTITION OF p FOR VALUES IN (2)")
    assert chain.reuse().chunks_read == 0
    assert chain.is_true()


def test_no_parent_and_why(chain: Chain) -> None:
    reuse = chain.back_up(Parent(reason="there is no earlier backup of it")).reuse
    assert reuse is not None and _whole(reuse)
    assert reuse.reason == "there is no earlier backup of it"
    assert reuse.parent_job_id is None


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda c: _server(c, system_identifier="7"), "another cluster"),
        (lambda c: _server(c, timeline=99), "another timeline"),
        (lambda c: _server(c, version_num=140000), "another server version"),
        (lambda c: _server(c, is_standby=True), "standby"),
        (lambda c: _with(c, database=_with(c.database, oid=1)), "another database"),
        (lambda c: _snapshot(c, xmin=c.snapshot.xmin - 2**31), "too many"),
        (lambda c: _snapshot(c, xmax=c.snapshot.xmax + 2**20), "history was cut"),
        (lambda c: _snapshot(c, marker=None, marker_missing_reason="read-only"), "no marker: read-only"),
        (lambda c: _marker(c, lambda m: [not each for each in m.committed]), "64 of the parent's 64 marks"),
    ],
)  # fmt: skip
def test_a_parent_of_another_history(chain: Chain, change: Callable[[Contents], Contents], why: str) -> None:
    assert chain.parent is not None
    chain.parent = change(chain.parent)
    reuse = chain.reuse()
    assert _whole(reuse)
    assert reuse.reason is not None and why in reuse.reason
    assert chain.is_true()


def test_marks_that_are_yet_to_come(chain: Chain) -> None:
    assert chain.parent is not None
    later = [xid + 10_000_000 for xid in chain.parent.snapshot.marker.xids]
    marker = _with(chain.parent.snapshot.marker, xids=later)
    chain.parent = _snapshot(chain.parent, marker=marker)
    reuse = chain.reuse()
    assert reuse.reason is not None and "yet to come" in reuse.reason


def test_frames_that_are_not_there_are_read_again(chain: Chain) -> None:
    parent = chain.parent
    assert parent is not None
    request = BackupRequest(
        conninfo=chain.server.dsn(chain.name), chunk_blocks=CHUNK_BLOCKS, parent=Parent(uuid.uuid4(), parent)
    )
    sink = PackWriter(chain.repository.store, chain.repository.tenant)
    try:
        contents = backup_database(request, sink, progress=Recorder(), stop=StopFlag())
    finally:
        sink.close()
    assert contents.reuse is not None and _whole(contents.reuse)


def test_a_history_cut_by_a_copy_of_the_data_folder(pg_new: Callable[..., TestServer], tmp_path: Path) -> None:
    server = pg_new()
    chain = Chain(server, tmp_path)
    chain.sql(
        "CREATE TABLE t (id int, v text); INSERT INTO t SELECT g, repeat('x', 200) FROM generate_series(1, 2000) g"
    )
    server.stop()
    saved, owner = server.data_dir.with_name("saved"), server.data_dir.stat()
    shutil.copytree(server.data_dir, saved)
    server.start()
    chain.sql("UPDATE t SET v = 'first history' WHERE id = 5")
    chain.back_up()
    server.stop()
    shutil.rmtree(server.data_dir)
    saved.rename(server.data_dir)
    for path in (server.data_dir, *server.data_dir.rglob("*")):
        os.chown(path, owner.st_uid, owner.st_gid)
    server.start()
    chain.sql("UPDATE t SET v = 'second history' WHERE id = 5")
    reuse = chain.reuse()
    assert reuse.reason is not None and "history was cut" in reuse.reason
    assert chain.is_true()


def _with(struct: object, **changes: object) -> object:
    return msgspec.structs.replace(struct, **changes)


def _server(contents: Contents, **changes: object) -> Contents:
    return _with(contents, server=_with(contents.server, **changes))


def _snapshot(contents: Contents, **changes: object) -> Contents:
    return _with(contents, snapshot=_with(contents.snapshot, **changes))


def _marker(contents: Contents, change: Callable[[object], list[bool]]) -> Contents:
    marker = contents.snapshot.marker
    return _snapshot(contents, marker=_with(marker, committed=change(marker)))
