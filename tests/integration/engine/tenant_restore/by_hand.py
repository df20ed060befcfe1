"""A tenant's backup made by hand, as manipulated as a test wants it, and its restore."""

from __future__ import annotations

import hashlib
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec
import psycopg

from tests.integration.engine.backup.conftest import back_up as engine_back_up
from tests.servers import TestServer
from tui_backup.engine.logical.session import session_settings
from tui_backup.engine.logical.tenants.map import read_tenant_map
from tui_backup.engine.logical.tenants.predicate import checked_condition
from tui_backup.engine.logical.tenants.reading import TenantRequest
from tui_backup.engine.logical.tenants.restore import Tenancy, TenantResult, restore_tenant
from tui_backup.engine.logical.tenants.settings import TenantMapSettings
from tui_backup.engine.logical.tenants.whose import Whose
from tui_backup.errors import ObjectMissingError
from tui_backup.manifest import (
    Blob,
    Chunk,
    Column,
    Contents,
    Database,
    Server,
    Snapshot,
    StoredFile,
    Table,
    TenantScope,
    TenantTable,
)
from tui_backup.model import BlobRef, RestoreRequest, RestoreTarget, StopFlag

_COLUMNS = """
SELECT a.attname::text, a.attnum, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attgenerated::text,
       a.attidentity::text
FROM pg_attribute a WHERE a.attrelid = %s::bigint::oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
"""
_TABLES = """
WITH RECURSIVE family AS (
    SELECT c.oid, c.relname, n.nspname, c.relkind, NULL::name AS parent_schema, NULL::name AS parent
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = %s AND c.relname = %s
    UNION ALL
    SELECT c.oid, c.relname, n.nspname, c.relkind, f.nspname, f.relname
    FROM family f JOIN pg_inherits i ON i.inhparent = f.oid JOIN pg_class c ON c.oid = i.inhrelid
    JOIN pg_namespace n ON n.oid = c.relnamespace WHERE f.relkind = 'p'
)
SELECT oid::bigint, nspname::text, relname::text, relkind::text, parent_schema::text, parent::text FROM family
"""


class Memory:
    """Frames by their id; a BackupReader."""

    def __init__(self) -> None:
        self.frames: dict[str, bytes] = {}
        self.reads = 0
        self.lost: set[int] = set()
        self._lock = threading.Lock()

    def put(self, data: bytes) -> list[Blob]:
        """Store a stream as frames of 1 MiB."""
        blobs: list[Blob] = []
        for at in range(0, len(data), 1 << 20):
            frame = data[at : at + (1 << 20)]
            digest = hashlib.sha256(frame).hexdigest()
            self.frames[digest] = frame
            blobs.append(Blob(id=digest, pack="memory", offset=0, stored_bytes=len(frame), raw_bytes=len(frame)))
        return blobs

    def read_blob(self, ref: BlobRef) -> bytes:
        with self._lock:
            self.reads += 1
            if self.reads in self.lost:
                raise ObjectMissingError("gone")
        return self.frames[ref.id]

    def check_blobs(self, refs: Sequence[BlobRef]) -> None:
        for ref in refs:
            assert ref.id in self.frames


@dataclass
class Backup:
    """A tenant's backup in memory."""

    contents: Contents
    reader: Memory
    key: str
    settings: TenantMapSettings

    def with_rows(self, table: str, change: Callable[[bytes], bytes]) -> Backup:
        """The same with other rows in one table, and right checksums."""
        tables = list(self.contents.tables)
        for place, each in enumerate(tables):
            if each.name == table and each.kind == "r":
                old = b"".join(self.reader.frames[blob.id] for chunk in each.chunks for blob in chunk.blobs)
                tables[place] = _with_stream(each, change(old), self.reader)
        return Backup(msgspec.structs.replace(self.contents, tables=tables), self.reader, self.key, self.settings)


def _with_stream(table: Table, stream: bytes, memory: Memory) -> Table:
    rows = stream.count(b"\n")
    chunk = Chunk(first_block=0, end_block=None, rows=rows, raw_bytes=len(stream), blobs=memory.put(stream))
    chunks = [chunk] if stream else []
    return msgspec.structs.replace(table, chunks=chunks, rows=rows, raw_bytes=len(stream))


def settings_of(**settings: Any) -> TenantMapSettings:
    """Tenant map settings as the catalog has them."""
    return TenantMapSettings.from_json(settings)


def back_up(server: TestServer, database: str, key: str, settings: TenantMapSettings | None = None) -> Backup:
    """Read one tenant's rows as a tenant backup would store them."""
    settings = settings or TenantMapSettings()
    memory = Memory()
    tables: list[Table] = []
    with server.connect(database) as conn:
        for name, value in session_settings(server.major).items():
            conn.execute("SELECT set_config(%s, %s, false)", (name, value))
        conn.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        found = read_tenant_map(conn, settings)
        found.require_decided()
        for rule in found.tables:
            if rule.how != "left_out":
                tables += _read(conn, rule, key, memory)
        conn.execute("COMMIT")
        version = conn.info.server_version
    contents = Contents(
        server=Server(
            version_num=version, version="", system_identifier="1", timeline=1, block_size=8192, is_standby=False
        ),
        database=Database(name=database, oid=1, encoding="UTF8", lc_collate="C", lc_ctype="C"),
        snapshot=Snapshot(taken_at=datetime.now(UTC), xmin=1, xmax=1),
        schema=StoredFile(blobs=[], raw_bytes=0),
        tables=tables,
        tenant=TenantScope(tenant_id=uuid.uuid4(), key=key, tables=list(found.tables)),
    )
    return Backup(contents, memory, key, settings)


def back_up_really(server: TestServer, database: str, key: str, settings: TenantMapSettings) -> Backup:
    """One tenant's backup as the product makes it."""
    tenant = TenantRequest(uuid.uuid4(), key, settings)
    made = engine_back_up(server, database, tenant=tenant, chunk_blocks=16)
    memory = Memory()
    memory.frames = made.sink.frames
    return Backup(made.contents, memory, key, settings)


def _read(conn: psycopg.Connection[Any], rule: TenantTable, key: str, memory: Memory) -> list[Table]:
    from psycopg import sql

    tables: list[Table] = []
    for oid, schema, name, kind, parent_schema, parent in conn.execute(_TABLES, (rule.schema, rule.name)).fetchall():
        columns = [
            Column(name=n, attnum=number, type=type_, not_null=required, generated=generated, identity=identity)
            for n, number, type_, required, generated, identity in conn.execute(_COLUMNS, (oid,))
        ]
        table = Table(
            oid=oid, schema=schema, name=name, kind=kind, persistence="p", access_method="heap", relfilenode=oid,
            columns=columns, shape="", parent=(parent_schema, parent) if parent else None,
        )  # fmt: skip
        if kind == "r":
            listed = sql.SQL(", ").join(sql.Identifier(column) for column in table.data_columns)
            query = sql.SQL("COPY (SELECT {} FROM ONLY {} l WHERE {}) TO STDOUT").format(
                listed, sql.Identifier(schema, name), checked_condition(rule, key, alias="l")
            )
            with conn.cursor().copy(query) as copy:
                table = _with_stream(table, b"".join(bytes(block) for block in copy), memory)
        tables.append(table)
    return tables


@dataclass
class Phases:
    """A progress report that calls something at the start of each phase."""

    at: Mapping[str, Callable[[], None]] = field(default_factory=dict)
    seen: list[str] = field(default_factory=list)

    def __call__(self, *, phase: str | None = None, **_: Any) -> None:
        if phase is not None:
            self.seen.append(phase)
            if phase in self.at:
                self.at[phase]()


def restore(
    server: TestServer,
    database: str,
    backup: Backup,
    *,
    user: str | None = None,
    password: str | None = None,
    progress: Any = None,
    stop: StopFlag | None = None,
    tables: Sequence[str] = (),
    dry_run: bool = False,
    replace_all: bool = False,
    **options: Any,
) -> TenantResult:
    """In place."""
    request = RestoreRequest(
        job_id=uuid.uuid4(), target=RestoreTarget.IN_PLACE, tables=tables, dry_run=dry_run, replace_all=replace_all
    )
    return restore_tenant(
        request,
        backup.contents,
        backup.reader,
        server.dsn(database, user=user, password=password),
        Tenancy(backup.key, backup.settings),
        progress=progress or Phases(),
        stop=stop or StopFlag(),
        **options,
    )


_ALL_TABLES = """
SELECT n.nspname || '.' || c.relname, format('%I.%I', n.nspname, c.relname) FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND n.nspname !~ '^(pg_|information_schema)' ORDER BY 1
"""


def picture(server: TestServer, database: str) -> dict[str, dict[tuple[str, str], str]]:
    """Every row of the database: by table, (ctid, xmin) and the row's text."""
    with server.connect(database) as conn:
        return {
            name: {
                (tid, xmin): text
                for tid, xmin, text in conn.execute(
                    f"SELECT ctid::text, xmin::text, t::text FROM ONLY {quoted} t".encode()
                )
            }
            for name, quoted in conn.execute(_ALL_TABLES).fetchall()
        }


def rows_of(server: TestServer, database: str, backup: Backup) -> dict[str, list[str]]:
    """The tenant's live rows as text, by table, sorted."""
    found: dict[str, list[str]] = {}
    with server.connect(database) as conn:
        for rule in read_tenant_map(conn, backup.settings).tables:
            if rule.how in ("left_out", "shared"):
                continue
            from psycopg import sql

            only = sql.SQL("SELECT t::text FROM {} t WHERE {} ORDER BY 1").format(
                sql.Identifier(rule.schema, rule.name), Whose(backup.key, {}).of(rule, "t")
            )
            found[f"{rule.schema}.{rule.name}"] = [row[0] for row in conn.execute(only)]
    return found
