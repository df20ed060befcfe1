"""Random programs of changes, crashes and backups; every backup must hold what the source holds at that moment.

One server, several programs one after the other, each in a database of its own with tiny chunks (one or two blocks), so
that rows meet the borders often. After each backup every table's stored rows are compared, byte for byte and in order,
with the source's own COPY. Backups are restored and compared by the product and by stock SQL: all of them in a long
run, in CI the last of each program and every third besides.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psycopg
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from tests.integration.engine.restore.helpers import Recorder
from tests.servers import TestServer
from tests.unit.engine.fakes import MemorySink
from tui_backup.engine.logical.backup import BackupRequest, backup_database
from tui_backup.engine.logical.incremental import Parent
from tui_backup.engine.logical.restore import restore_database
from tui_backup.manifest import Contents, Table
from tui_backup.model import BlobRef, RestoreRequest, StopFlag

SETTINGS = {
    "autovacuum": "off",
    "max_prepared_transactions": "10",
    "synchronous_commit": "off",
    # commits stay unwritten for long, so that a crash loses many
    "wal_writer_delay": "10s",
    "shared_buffers": "32MB",
}
NAMES = ("t0", "t1", "t2")
_TABLE = """
CREATE TABLE {name} (id serial PRIMARY KEY, n int NOT NULL, mood mood NOT NULL DEFAULT 'ok', label text NOT NULL)
"""
_ROWS = "INSERT INTO {name} (n, label) SELECT g, repeat('x', 90 + g % 3) || g FROM generate_series(1, {rows}) g"

_LIMITS = {
    "deadline": None,
    "suppress_health_check": list(HealthCheck),
    "database": None,
    "print_blob": False,
}
SHORT = settings(max_examples=4, stateful_step_count=10, phases=[Phase.generate], **_LIMITS)
LONG = settings(max_examples=25, stateful_step_count=14, phases=[Phase.generate], **_LIMITS)

names = st.sampled_from(NAMES)
ranges = st.tuples(st.integers(0, 400), st.integers(1, 60))
shapes = st.sampled_from(["plain", "subtransaction", "rolled back inside", "aborted"])


class Reader:
    """Frames of a memory sink."""

    def __init__(self, sink: MemorySink) -> None:
        self._sink = sink

    def read_blob(self, ref: BlobRef) -> bytes:
        return self._sink.frames[ref.id]

    def check_blobs(self, refs: Sequence[BlobRef]) -> None:
        assert all(ref.id in self._sink.frames for ref in refs)


class Figures:
    """What the programs did, over all of them."""

    def __init__(self) -> None:
        self.programs = self.steps = self.backups = self.restores = self.reused = self.read = 0

    def __str__(self) -> str:
        return (
            f"{self.programs} programs, {self.steps} steps, {self.backups} backups, {self.restores} restores; "
            f"{self.reused} chunks taken over, {self.read} read"
        )


class IncrementalMachine(RuleBasedStateMachine):
    """One program."""

    server: TestServer
    figures: Figures
    restore_each: int

    def __init__(self) -> None:
        super().__init__()
        self.sink = MemorySink()
        self.parent: Contents | None = None
        self.open: psycopg.Connection[Any] | None = None
        self.prepared: list[str] = []
        self.saved: Path | None = None
        self.extra = 0
        self.is_true = self.is_restored = True
        self.chunk_blocks = 1
        self.figures.programs += 1

    # -- the program's world --------------------------------------------------------------------------------------

    @initialize(rows=st.lists(st.integers(0, 500), min_size=3, max_size=3), blocks=st.sampled_from([1, 2]))
    def begin(self, rows: list[int], blocks: int) -> None:
        self.chunk_blocks = blocks
        self.name = self.server.create_database(f"machine_{uuid.uuid4().hex[:12]}")
        self.sql("CREATE TYPE mood AS ENUM ('sad', 'ok')")
        for name, count in zip(NAMES, rows, strict=True):
            self.sql(_TABLE.format(name=name) + ";" + _ROWS.format(name=name, rows=count))

    def sql(self, statements: str) -> list[tuple[Any, ...]]:
        self.figures.steps += 1
        return self.server.execute(statements, self.name)

    def attempt(self, statements: str) -> None:
        """What may not be possible just now (a lock of the open transaction, a prepared one) is let be."""
        impossible = (psycopg.errors.LockNotAvailable, psycopg.errors.ObjectNotInPrerequisiteState)
        with contextlib.suppress(*impossible), self.server.connect(self.name) as conn:
            conn.execute("SET lock_timeout = '50ms'")
            self.figures.steps += 1
            for statement in statements.split(";;"):
                conn.execute(statement.encode())

    def teardown(self) -> None:
        try:
            if self.is_true and not self.is_restored:
                self.restore()
        finally:
            self._end_open(commit=False)
            for name in self.prepared:
                self.sql(f"ROLLBACK PREPARED '{name}'")
            self.server.drop_database(self.name)
            if self.saved is not None:
                shutil.rmtree(self.saved, ignore_errors=True)

    # -- changes --------------------------------------------------------------------------------------------------

    def _in_shape(self, change: str, shape: str) -> None:
        forms = {
            "plain": "{0}",
            "subtransaction": "BEGIN;;SAVEPOINT a;;{0};;RELEASE a;;COMMIT",
            "rolled back inside": "BEGIN;;SAVEPOINT a;;{0};;ROLLBACK TO a;;SELECT pg_current_xact_id();;COMMIT",
            "aborted": "BEGIN;;{0};;ROLLBACK",
        }
        self.attempt(forms[shape].format(change))

    @rule(name=names, count=st.integers(1, 80), shape=shapes)
    def insert(self, name: str, count: int, shape: str) -> None:
        self._in_shape(_ROWS.format(name=name, rows=count), shape)

    @rule(name=names, part=ranges, shape=shapes)
    def update(self, name: str, part: tuple[int, int], shape: str) -> None:
        first, count = part
        change = f"UPDATE {name} SET label = label || '!' WHERE id BETWEEN {first} AND {first + count}"
        self._in_shape(change, shape)

    @rule(name=names)
    def update_where_there_is_room(self, name: str) -> None:
        """The new version stays in the old one's block, and the count is the same."""
        self.attempt(f"UPDATE {name} SET n = n + 1 WHERE ctid = (SELECT max(ctid) FROM {name})")

    @rule(name=names, part=ranges, shape=shapes)
    def delete(self, name: str, part: tuple[int, int], shape: str) -> None:
        first, count = part
        self._in_shape(f"DELETE FROM {name} WHERE id BETWEEN {first} AND {first + count}", shape)

    @rule(name=names, first=st.integers(1, 300))
    def refill_a_gap(self, name: str, first: int) -> None:
        """As many rows as before, in the place of those that went."""
        self.attempt(f"DELETE FROM {name} WHERE id BETWEEN {first} AND {first + 3};;VACUUM {name}")
        self.attempt(_ROWS.format(name=name, rows=4))

    @rule(name=names, how=st.sampled_from(["FOR UPDATE", "FOR SHARE", "FOR KEY SHARE"]))
    def lock_rows(self, name: str, how: str) -> None:
        self.attempt(f"BEGIN;;SELECT 1 FROM {name} {how};;COMMIT")

    @rule(name=names, how=st.sampled_from(["VACUUM", "VACUUM (FREEZE)", "ANALYZE", "REINDEX TABLE"]))
    def maintain(self, name: str, how: str) -> None:
        self.attempt(f"{how} {name}")

    @rule(name=names, how=st.sampled_from(["VACUUM FULL {0}", "CLUSTER {0} USING {0}_pkey"]))
    def rewrite(self, name: str, how: str) -> None:
        self.attempt(how.format(name))

    @rule(name=names, part=ranges)
    def rewrite_after_a_deletion(self, name: str, part: tuple[int, int]) -> None:
        """Full blocks stay full and hold other rows."""
        first, count = part
        self.attempt(f"DELETE FROM {name} WHERE id BETWEEN {first} AND {first + count};;VACUUM FULL {name}")

    @rule(name=names, count=st.integers(0, 300))
    def copy_freeze(self, name: str, count: int) -> None:
        source = f"'seq -f \"%.0f 1 ok frozen\" {10_000 + self.extra} {10_000 + self.extra + count}'"
        self.extra += count + 1
        copy = f"COPY {name} (id, n, mood, label) FROM PROGRAM {source} WITH (DELIMITER ' ', FREEZE)"
        self.attempt(f"BEGIN;;TRUNCATE {name};;{copy};;COMMIT")

    @rule(name=names)
    def truncate_and_fill(self, name: str) -> None:
        self.attempt(f"TRUNCATE {name}")
        self.attempt(_ROWS.format(name=name, rows=200))

    @rule(name=names, default=st.integers(0, 9))
    def add_a_column(self, name: str, default: int) -> None:
        self.extra += 1
        self.attempt(f"ALTER TABLE {name} ADD c{self.extra} int DEFAULT {default}")

    @rule(name=names)
    def drop_a_column(self, name: str) -> None:
        added = "attnum > 4 AND NOT attisdropped"
        found = self.sql(f"SELECT attname FROM pg_attribute WHERE attrelid = '{name}'::regclass AND {added}")
        if found:
            self.attempt(f"ALTER TABLE {name} DROP {found[0][0]}")

    @rule()
    def rename_a_value(self) -> None:
        (now,) = self.sql("SELECT enumlabel FROM pg_enum WHERE enumtypid = 'mood'::regtype ORDER BY enumsortorder")[0]
        self.extra += 1
        self.attempt("UPDATE t0 SET mood = (enum_range(NULL::mood))[1] WHERE id % 7 = 0")
        self.backup()
        self.sql(f"ALTER TYPE mood RENAME VALUE '{now}' TO 's{self.extra}'")

    @rule(name=names)
    def names_in_rows(self, name: str) -> None:
        """A table whose text changes when another one is renamed, no row of it being touched."""
        self.extra += 1
        self.attempt(f"CREATE TABLE n{self.extra} AS SELECT '{name}'::regclass AS c, g FROM generate_series(1, 300) g")
        self.backup()
        self.rename_there_and_back(name)

    @rule(name=names)
    def rename_there_and_back(self, name: str) -> None:
        self.attempt(f"ALTER TABLE {name} RENAME TO other_{name}")
        self.backup()
        with self.server.connect(self.name) as conn:
            conn.execute(f"ALTER TABLE IF EXISTS other_{name} RENAME TO {name}".encode())

    @rule(name=names)
    def make_again(self, name: str) -> None:
        if self.open is None and not self.prepared:
            self.sql(f"DROP TABLE {name};" + _TABLE.format(name=name) + ";" + _ROWS.format(name=name, rows=300))

    @rule(count=st.integers(1, 200))
    def burn_ids(self, count: int) -> None:
        self.sql("; ".join("BEGIN; SELECT pg_current_xact_id(); COMMIT" for _ in range(count)))

    # -- transactions that last -----------------------------------------------------------------------------------

    @precondition(lambda self: self.open is None)
    @rule(name=names, part=ranges)
    def open_a_transaction(self, name: str, part: tuple[int, int]) -> None:
        first, count = part
        self.open = self.server.connect(self.name)
        self.open.execute("SET lock_timeout = '50ms'")
        self.open.execute("BEGIN")
        with contextlib.suppress(psycopg.errors.LockNotAvailable):
            change = f"UPDATE {name} SET n = n + 1 WHERE id BETWEEN {first} AND {first + count}"
            self.open.execute(change.encode())
            return
        self._end_open(commit=False)

    @precondition(lambda self: self.open is not None)
    @rule(commit=st.booleans())
    def end_the_transaction(self, commit: bool) -> None:
        self._end_open(commit=commit)

    def _end_open(self, *, commit: bool) -> None:
        if self.open is not None:
            with contextlib.suppress(psycopg.Error):
                self.open.execute("COMMIT" if commit else "ROLLBACK")
            self.open.close()
            self.open = None

    @precondition(lambda self: len(self.prepared) < 3)
    @rule(name=names, part=ranges)
    def prepare_a_transaction(self, name: str, part: tuple[int, int]) -> None:
        first, count = part
        self.extra += 1
        gid = f"{self.name}_{self.extra}"
        change = f"DELETE FROM {name} WHERE id BETWEEN {first} AND {first + count}"
        with self.server.connect(self.name) as conn:
            conn.execute("SET lock_timeout = '50ms'")
            conn.execute("BEGIN")
            with contextlib.suppress(psycopg.errors.LockNotAvailable):
                conn.execute(change.encode())
                conn.execute(f"PREPARE TRANSACTION '{gid}'".encode())
                self.prepared.append(gid)

    @precondition(lambda self: self.prepared)
    @rule(commit=st.booleans())
    def end_a_prepared_one(self, commit: bool) -> None:
        gid = self.prepared.pop(0)
        self.sql(f"{'COMMIT' if commit else 'ROLLBACK'} PREPARED '{gid}'")

    # -- crashes and histories cut --------------------------------------------------------------------------------

    def _stop(self, mode: str) -> None:
        self._end_open(commit=False)
        self.server.stop(mode)

    def _start(self) -> None:
        self.figures.steps += 1
        self.server.start()
        here = {row[0] for row in self.server.execute("SELECT gid FROM pg_prepared_xacts")}
        self.prepared = [gid for gid in self.prepared if gid in here]

    @rule(part=ranges)
    def crash(self, part: tuple[int, int]) -> None:
        """With commits that were not written yet; the ids are used a second time."""
        first, count = part
        self.server.execute("CHECKPOINT")
        self.attempt(f"UPDATE t0 SET label = 'lost' WHERE id BETWEEN {first} AND {first + count}")
        self.backup()
        self._stop("immediate")
        self._start()
        self.attempt(f"UPDATE t0 SET label = 'kept' WHERE id BETWEEN {first} AND {first + count}")
        self.backup()

    @rule(part=ranges, moves=st.integers(0, 100))
    def live_twice(self, part: tuple[int, int], moves: int) -> None:
        """The data folder is put back to an earlier copy after a backup was made."""
        first, count = part
        self._stop("fast")
        owner = self.server.data_dir.stat()
        copy = self.server.data_dir.with_name("saved")
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(self.server.data_dir, copy)
        self._start()
        change = "UPDATE {0} SET label = '{1}' WHERE id BETWEEN {2} AND {3}"
        for name in NAMES:
            self.attempt(change.format(name, "first life", first, first + count))
        self.backup()
        self._stop("immediate")
        shutil.rmtree(self.server.data_dir)
        copy.rename(self.server.data_dir)
        for path in (self.server.data_dir, *self.server.data_dir.rglob("*")):
            os.chown(path, owner.st_uid, owner.st_gid)
        self._start()
        for name in NAMES:
            self.attempt(change.format(name, "second life", first, first + count))
        if moves:
            self.burn_ids(moves)
        self.backup()

    # -- backups --------------------------------------------------------------------------------------------------

    @rule()
    def backup(self) -> None:
        """An incremental upon the last one, held against the source."""
        request = BackupRequest(
            conninfo=self.server.dsn(self.name),
            chunk_blocks=self.chunk_blocks,
            workers=2,
            lock_timeout_s=5,
            parent=Parent(uuid.uuid4(), self.parent) if self.parent else Parent(reason="the first one"),
        )
        self.sink.is_flushed = False
        contents = backup_database(request, self.sink, progress=Recorder(), stop=StopFlag())
        self.parent = contents
        assert contents.reuse is not None
        self.figures.backups += 1
        self.figures.reused += contents.reuse.chunks_reused
        self.figures.read += contents.reuse.chunks_read
        # a backup that is known to be false is not restored at the end, which would hide the reason
        self.is_true = self.is_restored = False
        for table in contents.tables:
            stored = b"".join(self.sink.frames[blob.id] for chunk in table.chunks for blob in chunk.blobs)
            assert stored == self._live(table), f"{table.name} is not what the source holds"
        self.is_true = True
        if self.figures.backups % self.restore_each == 0:
            self.restore()

    def _live(self, table: Table) -> bytes:
        columns = ", ".join(f'"{column}"' for column in table.data_columns)
        with self.server.connect(self.name) as conn:
            conn.execute("SET synchronize_seqscans = off; SET enable_indexscan = off; SET search_path = ''")
            query = f'COPY (SELECT {columns} FROM ONLY "{table.schema}"."{table.name}") TO STDOUT'
            with conn.cursor().copy(query.encode()) as stream:
                return b"".join(bytes(block) for block in stream)

    def restore(self) -> None:
        """Bring the newest backup back and compare it with its own content, and with what was stored of the source."""
        assert self.parent is not None
        database = f"{self.name}_back"
        result = restore_database(
            RestoreRequest(job_id=uuid.uuid4(), database=database, confirm_restore=True),
            self.parent,
            Reader(self.sink),
            self.server.dsn(),
            restore_id=uuid.uuid4(),
            progress=Recorder(),
            stop=StopFlag(),
        )
        self.figures.restores += 1
        self.is_restored = True
        try:
            assert result.compare is not None and result.compare.differences == []
            for table in self.parent.tables:
                found = self.server.execute(f'SELECT count(*) FROM ONLY "{table.schema}"."{table.name}"', database)
                assert found == [(table.rows,)]
        finally:
            self.server.drop_database(database)


def make_machine(server: TestServer, figures: Figures, *, restore_each: int = 3) -> type[IncrementalMachine]:
    """The machine on one server; one of so many backups is restored, and the last of each program."""
    facts = {"server": server, "figures": figures, "restore_each": restore_each}
    return type("Machine", (IncrementalMachine,), facts)


def run_programs(server: TestServer, limits: settings, start: int) -> Figures:
    """Run as many programs as the limits say, from a seed that is printed."""
    figures = Figures()
    print(f"SEED={start}")
    run_state_machine_as_test(seed(start)(make_machine(server, figures)), settings=limits)
    print(figures)
    return figures


# -- mutations --------------------------------------------------------------------------------------------------------

Mutation = Callable[[], contextlib.AbstractContextManager[None]]


@contextlib.contextmanager
def _replaced(module: Any, name: str, value: Any) -> Iterator[None]:
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)


def mutations() -> dict[str, Mutation]:
    """Each condition turned off, by name."""
    from tui_backup.engine.logical import backup, incremental

    whole = incremental.why_read_whole

    def without(*reasons: str) -> Callable[..., str | None]:
        def why(then: Any, table: Any) -> str | None:
            found = whole(then, table)
            return None if found is not None and any(word in found for word in reasons) else found

        return why

    return {
        "a: another file": lambda: _replaced(incremental, "why_read_whole", without("rewritten")),
        "a: another shape": lambda: _replaced(incremental, "why_read_whole", without("columns or types")),
        "a: text by the catalog": lambda: _replaced(incremental, "why_read_whole", without("depends on the catalog")),
        "b: the count": lambda: _replaced(incremental, "stands", lambda answer, _rows: answer[1] == 0),
        "c: no newer row": lambda: _replaced(incremental, "stands", lambda answer, rows: answer[0] == rows),
        "d: the marker": lambda: _replaced(backup, "why_read_everything", lambda *_args, **_facts: None),
    }


def seed_of(environment: dict[str, str]) -> int:
    """The seed to run with: ``SEED``, or a new one."""
    return int(environment.get("SEED") or random.SystemRandom().randrange(2**32))
