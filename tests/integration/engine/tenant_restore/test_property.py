"""Isolation as a property: whatever the schema, the rows and what happened to them since the backup, a restore makes
the tenant's rows the backup's and leaves every other row where it is (ctid, xmin); or it is refused for a reason that
is there, and changes nothing.

The oracle is the crude way: delete all the tenant's rows and insert the backup's, with nothing in force, and see which
constraints would be broken. A restore must be refused exactly then.
"""

from __future__ import annotations

import os
import random
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, given, note, reject, settings
from hypothesis import strategies as st

from tests.integration.engine.tenant_restore.by_hand import Backup, back_up, restore
from tests.servers import TestServer
from tui_backup.engine.logical.inplace_keys import foreign_keys, orphans
from tui_backup.engine.logical.tenants.map import read_tenant_map
from tui_backup.engine.logical.tenants.whose import Whose
from tui_backup.errors import KeyTakenError, RowsInUseError, TargetMismatchError

# the README's test command has eight minutes
pytestmark = pytest.mark.slow

EXAMPLES = int(os.environ.get("TUI_BACKUP_TENANT_EXAMPLES", "40"))
TENANTS = ("acme", "beta", None)
KEYS = ("id", "tenant", "unique", "none")


@dataclass(frozen=True)
class Table:
    """``owner``: the table whose tenant its rows have, None where it has the column itself."""

    number: int
    key: str
    owner: int | None
    links: tuple[tuple[int, str, bool], ...]
    unique: bool
    partitioned: bool

    @property
    def name(self) -> str:
        return f"t{self.number}"

    @property
    def is_referenced_by_id(self) -> bool:
        return self.key == "id" and not self.partitioned


@dataclass(frozen=True)
class Schema:
    tables: tuple[Table, ...]

    def ddl(self) -> Iterator[str]:
        for table in self.tables:
            columns = ["id int NOT NULL", "v text", "n int"]
            columns.append("tenant_id text" if table.owner is None else "owner int NOT NULL")
            columns += [f"l{at} int" for at in range(len(table.links))]
            columns += ["g text GENERATED ALWAYS AS (v || 'g') STORED"]
            if table.key == "id" and not table.partitioned:
                columns.append("PRIMARY KEY (id)")
            elif table.key == "unique" and not table.partitioned:
                columns.append("UNIQUE (id)")
            elif table.key != "none":
                columns.append("UNIQUE (id, n)" if not table.partitioned else "UNIQUE (id)")
            if table.unique and not table.partitioned:
                columns.append("UNIQUE (v)")
            by = " PARTITION BY RANGE (id)" if table.partitioned else ""
            yield f"CREATE TABLE p.{table.name} ({', '.join(columns)}){by}"
            if table.partitioned:
                yield f"CREATE TABLE p.{table.name}_low PARTITION OF p.{table.name} FOR VALUES FROM (0) TO (6)"
                yield f"CREATE TABLE p.{table.name}_high PARTITION OF p.{table.name} DEFAULT"
        for table in self.tables:
            if table.owner is not None:
                yield f"ALTER TABLE p.{table.name} ADD FOREIGN KEY (owner) REFERENCES p.t{table.owner} (id)"
            for at, (target, action, deferrable) in enumerate(table.links):
                deferred = " DEFERRABLE INITIALLY DEFERRED" if deferrable else ""
                yield (
                    f"ALTER TABLE p.{table.name} ADD FOREIGN KEY (l{at}) REFERENCES p.t{target} (id)"
                    f" ON DELETE {action}{deferred}"
                )


@st.composite
def schemas(draw: st.DrawFn) -> Schema:
    count = draw(st.integers(1, 4))
    keys = ["id", *(draw(st.sampled_from(KEYS)) for _ in range(count - 1))]
    partitioned = [False, *(draw(st.booleans()) and key != "id" for key in keys[1:])]
    targets = [number for number in range(count) if keys[number] == "id"]
    actions = st.sampled_from(("NO ACTION", "RESTRICT", "CASCADE", "SET NULL"))
    tables: list[Table] = []
    for number in range(count):
        owners = [None, *(target for target in targets if target < number)]
        links = draw(st.lists(st.tuples(st.sampled_from(targets), actions, st.booleans()), max_size=2))
        owner = draw(st.sampled_from(owners))
        tables.append(Table(number, keys[number], owner, tuple(links), draw(st.booleans()), partitioned[number]))
    return Schema(tuple(tables))


@dataclass(frozen=True)
class Change:
    """One statement; what it breaks is taken back."""

    kind: str
    table: int
    tenant: str | None
    pick: int
    values: tuple[int, int, int, int]


def random_changes(source: random.Random, count: int, size: int, kinds: Sequence[str]) -> list[Change]:
    """Plain random ones: drawn one by one they would be few."""
    return [
        Change(
            source.choice(kinds),
            source.randrange(count),
            source.choice(("acme", "acme", "beta", "beta", None)),
            source.randrange(30),
            (source.randrange(30), source.randrange(30), source.randrange(30), source.randrange(30)),
        )
        for _ in range(size)
    ]


@dataclass
class Database:
    """The live database of one example."""

    server: TestServer
    name: str
    conn: psycopg.Connection[Any]
    tally: Counter[str] = field(default_factory=Counter)

    def reset(self, schema: Schema) -> None:
        self.conn.execute("DROP SCHEMA IF EXISTS p CASCADE; CREATE SCHEMA p")
        for statement in schema.ddl():
            self.conn.execute(statement.encode())

    def try_change(self, schema: Schema, change: Change) -> None:
        try:
            with self.conn.transaction():
                self.conn.execute(self._statement(schema.tables[change.table], change).encode())
        except (psycopg.errors.IntegrityError, psycopg.errors.TriggeredDataChangeViolation):
            pass

    def _statement(self, table: Table, change: Change) -> str:
        a, b, c, d = change.values
        chosen = f"(SELECT ctid FROM p.{table.name} ORDER BY id, v, ctid OFFSET {change.pick} LIMIT 1)"
        place = f"p.{table.name} WHERE ctid = {chosen}"
        if table.partitioned:
            # a ctid names a row of one partition only
            place = f"p.{table.name} WHERE id = {a}"
        if change.kind == "insert":
            owner = "tenant_id" if table.owner is None else "owner"
            tenant = "NULL" if change.tenant is None else f"'{change.tenant}'"
            value = tenant if table.owner is None else _an_id(table.owner, b)
            return f"INSERT INTO p.{table.name} (id, v, n, {owner}) VALUES ({a}, 'v{c}', {d}, {value})"
        if change.kind == "delete":
            return f"DELETE FROM {place}"
        if change.kind == "link" and table.links:
            at = b % len(table.links)
            link = f"l{at}"
            value = _an_id(table.links[at][0], c) if d % 4 else "NULL"
            return f"UPDATE {place}".replace(" WHERE", f" SET {link} = {value} WHERE", 1)
        if change.kind == "move":
            tenant = "NULL" if change.tenant is None else f"'{change.tenant}'"
            moved = f"tenant_id = {tenant}" if table.owner is None else f"owner = {_an_id(table.owner, b)}"
            return f"UPDATE {place}".replace(" WHERE", f" SET {moved} WHERE", 1)
        return f"UPDATE {place}".replace(" WHERE", f" SET v = 'v{b}', n = {c} WHERE", 1)

    # -- looking ------------------------------------------------------------------------------------------------

    def look(self, backup: Backup) -> tuple[dict[str, list[str]], dict[tuple[str, str, str], str]]:
        """Acme's rows by table, and all others by table, ctid and xmin."""
        from psycopg import sql

        mine: dict[str, list[str]] = {}
        others: dict[tuple[str, str, str], str] = {}
        for rule in read_tenant_map(self.conn, backup.settings).tables:
            query = sql.SQL(
                "SELECT t.tableoid::regclass::text, t.ctid::text, t.xmin::text, t::text, COALESCE({}, false) FROM {} t"
            ).format(Whose(backup.key, {}).of(rule, "t"), sql.Identifier(rule.schema, rule.name))
            rows = mine.setdefault(rule.name, [])
            for table, tid, xmin, text, is_mine in self.conn.execute(query):
                if is_mine:
                    rows.append(text)
                else:
                    others[table, tid, xmin] = text
            rows.sort()
        return mine, others

    def broken_keys(self) -> dict[str, int]:
        """Foreign keys with rows that point nowhere."""
        oids = [row[0] for row in self.conn.execute(
            "SELECT oid::bigint FROM pg_class WHERE relnamespace = 'p'::regnamespace AND relkind IN ('r', 'p')"
            " AND NOT relispartition"
        )]  # fmt: skip
        found = {key.label: self.conn.execute(orphans(key)).fetchone() for key in foreign_keys(self.conn, oids)}
        return {label: row[0] for label, row in found.items() if row and row[0]}

    def crude(self, backup: Backup) -> str | None:
        """What would be broken if the tenant's rows were simply replaced; None when nothing would be."""
        from psycopg import sql

        why: list[str] = []
        try:
            with self.conn.transaction():
                self.conn.execute("SET LOCAL session_replication_role = replica")
                rules = read_tenant_map(self.conn, backup.settings).tables
                marks = [
                    (rule, [row[0] for row in self.conn.execute(
                        sql.SQL("SELECT (t.tableoid, t.ctid)::text FROM {} t WHERE {}").format(
                            sql.Identifier(rule.schema, rule.name), Whose(backup.key, {}).of(rule, "t")))])
                    for rule in rules
                ]  # fmt: skip
                for rule, places in marks:
                    self.conn.execute(
                        sql.SQL("DELETE FROM {} t WHERE (t.tableoid, t.ctid)::text = ANY ({})").format(
                            sql.Identifier(rule.schema, rule.name), sql.Literal(places)))  # fmt: skip
                for table in backup.contents.tables:
                    if table.kind != "r" or not table.chunks:
                        continue
                    columns = sql.SQL(", ").join(map(sql.Identifier, table.data_columns))
                    stream = b"".join(backup.reader.frames[b.id] for c in table.chunks for b in c.blobs)
                    statement = sql.SQL("COPY {} ({}) FROM STDIN").format(
                        sql.Identifier(table.schema, table.name), columns)  # fmt: skip
                    with self.conn.cursor().copy(statement) as copy:
                        copy.write(stream)
                why += [f"{label}: {rows}" for label, rows in self.broken_keys().items()]
                raise psycopg.Rollback
        except psycopg.errors.UniqueViolation as error:
            return f"taken: {error}"
        return "; ".join(why) or None


def _an_id(table: int, pick: int) -> str:
    """One that is there."""
    return f"(SELECT (array_agg(id ORDER BY id))[1 + {pick} % NULLIF(count(*), 0)::int] FROM p.t{table})"


@pytest.fixture(scope="module")
def live(pg: TestServer) -> Iterator[Database]:
    name = pg.create_database()
    with pg.connect(name) as conn:
        conn.execute("SET lock_timeout = '5s'; SET search_path = ''")
        world = Database(pg, name, conn)
        yield world
        if "TUI_BACKUP_TENANT_EXAMPLES" in os.environ:
            print(f"\n{EXAMPLES} examples: {dict(world.tally)}", file=sys.stderr)
    pg.drop_database(name)


@dataclass(frozen=True)
class Story:
    """One example; the statements come from the seed, so that a report of it can be read."""

    schema: Schema
    seed: int
    rows: int
    changes: int
    replace_all: bool
    as_owner: bool

    def before(self) -> list[Change]:
        source, count = random.Random(self.seed), len(self.schema.tables)
        first = random_changes(source, count, 15, ["insert"])
        return first + random_changes(source, count, self.rows, ["insert", "insert", "insert", "link", "delete"])

    def since(self) -> list[Change]:
        source = random.Random(self.seed + 1)
        kinds = ["insert", "update", "link", "delete", "move"]
        return random_changes(source, len(self.schema.tables), self.changes, kinds)


STORIES = st.builds(
    Story, schemas(), st.integers(0, 1 << 32), st.integers(0, 60), st.integers(1, 40), st.booleans(), st.booleans()
)


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize="TUI_BACKUP_TENANT_EXAMPLES" not in os.environ,
    database=None,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(story=STORIES)
def test_isolation(live: Database, story: Story) -> None:
    live.reset(story.schema)
    for change in story.before():
        live.try_change(story.schema, change)
    try:
        backup = back_up(live.server, live.name, "acme")
    except psycopg.errors.DataError:
        # a row of two tenants: there is no backup with it
        live.tally["no backup"] += 1
        reject()
    good, _ = live.look(backup)
    for change in story.since():
        live.try_change(story.schema, change)
    mine, others = live.look(backup)
    reason = live.crude(backup)
    options: dict[str, Any] = {"replace_all": story.replace_all}
    if story.as_owner:
        live.conn.execute(OWNER)
        options |= {"user": "p_owner", "password": "p"}
    try:
        result = restore(live.server, live.name, backup, **options)
    except (RowsInUseError, KeyTakenError, TargetMismatchError) as error:
        live.tally[error.code] += 1
        note(f"{error.code}: {error.message}; {reason}")
        assert live.look(backup) == (mine, others)
        # values that change places between rows that others refer to are beyond a login for which keys are in force
        assert reason is not None or (story.as_owner and isinstance(error, KeyTakenError))
        return
    touched = sum(row.changes for row in result.plan.tables)
    live.tally["restored, rows changed" if touched else "restored, nothing to do"] += 1
    live.tally["rows of the tenant"] += sum(map(len, good.values()))
    live.tally["rows changed"] += touched
    live.tally["other rows, untouched"] += len(others)
    assert reason is None
    now, untouched = live.look(backup)
    assert now == good
    assert untouched == others
    assert live.broken_keys() == {}
    assert result.compare is not None
    assert result.compare.identical


OWNER = """
DO $$ DECLARE r record; BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'p_owner') THEN
        CREATE ROLE p_owner LOGIN PASSWORD 'p'; END IF;
    GRANT ALL ON SCHEMA p TO p_owner;
    FOR r IN SELECT oid::pg_catalog.regclass AS t FROM pg_catalog.pg_class
             WHERE relnamespace = 'p'::pg_catalog.regnamespace AND relkind IN ('r', 'p')
    LOOP EXECUTE pg_catalog.format('ALTER TABLE %s OWNER TO p_owner', r.t); END LOOP; END $$;
"""
