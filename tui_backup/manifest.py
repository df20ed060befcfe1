"""What a logical backup is: the complete, self-contained description that is stored last.

A manifest names every frame of its backup wherever it was first written, so there are no chains. It keeps, from the
first format version on, the facts that a sound incremental needs (DESIGN.md section 3, conditions a-d). Names in a
manifest are data: they are never used as paths or pasted into SQL.

The stored form is one zstd frame of JSON; :mod:`tui_backup.repository.format` reads and writes it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

FORMAT_VERSION = 1


class Blob(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One compressed frame: see :class:`tui_backup.model.BlobRef`."""

    id: str
    pack: str
    offset: int
    stored_bytes: int
    raw_bytes: int


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """One live column, in attnum order.

    ``type`` is format_type() with an empty search_path; ``generated`` is '' or 's' (stored) or 'v' (virtual): a
    generated column is not in the data. ``missing`` is attmissingval as text.
    """

    name: str
    attnum: int
    type: str
    not_null: bool = False
    generated: str = ""
    generation_expression: str | None = None
    identity: str = ""
    collation: str | None = None
    missing: str | None = None
    text_depends_on_catalog: bool = False


class Chunk(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One COPY text stream: the rows of heap blocks ``first_block`` to ``end_block`` (exclusive; None = to the end).

    ``raw_bytes`` is the length of the stream, ``blobs`` its frames in order; the stream always ends at a row's end.
    ``row_hash`` (tenants' backups only): 32 hexadecimal digits, see :class:`TenantScope`.
    """

    first_block: int
    end_block: int | None
    rows: int
    raw_bytes: int
    blobs: list[Blob]
    row_hash: str | None = None


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """One relation with rows of its own (plain table, partition leaf, inheritance parent or child, extension
    configuration table, and, without chunks, the partitioned parents).

    ``kind`` is relkind ('r' or 'p'); ``columns`` all live columns; the data holds those that are not generated.
    ``load_via`` is the partition root that rows must be loaded through (hash partitions whose hash may change).
    ``condition`` is the WHERE text of an extension's configuration table.
    """

    oid: int
    schema: str
    name: str
    kind: str
    persistence: str
    access_method: str
    relfilenode: int
    columns: list[Column]
    shape: str
    rows: int = 0
    raw_bytes: int = 0
    blocks: int = 0
    chunks: list[Chunk] = []
    parent: tuple[str, str] | None = None
    load_via: tuple[str, str] | None = None
    condition: str | None = None
    extension: str | None = None
    primary_key: list[str] = []

    @property
    def data_columns(self) -> list[str]:
        """The columns of the COPY stream, in order."""
        return [column.name for column in self.columns if not column.generated]


class Sequence(msgspec.Struct, frozen=True, kw_only=True):
    """A sequence's position. ``owner_table`` where a serial or identity column owns it."""

    schema: str
    name: str
    last_value: int
    is_called: bool
    owner_table: tuple[str, str] | None = None
    owner_column: str | None = None


class MaterializedView(msgspec.Struct, frozen=True, kw_only=True):
    """Listed in refresh order."""

    schema: str
    name: str
    populated: bool


class LargeObject(msgspec.Struct, frozen=True, kw_only=True):
    """One large object's definition; its bytes are rows (oid, offset, data) of ``LargeObjects.chunks``."""

    oid: int
    size_bytes: int
    owner: str
    acl: list[str] | None = None
    comment: str | None = None


class LargeObjects(msgspec.Struct, frozen=True, kw_only=True):
    """All large objects. Each chunk is a COPY text stream of (oid, byte offset, bytea)."""

    objects: list[LargeObject] = []
    chunks: list[Chunk] = []


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """ALTER DATABASE … SET (``role`` None) or ALTER ROLE … IN DATABASE … SET."""

    role: str | None
    assignments: list[str]


class Database(msgspec.Struct, frozen=True, kw_only=True):
    """What hangs on the database itself and not on its contents."""

    name: str
    oid: int
    encoding: str
    lc_collate: str
    lc_ctype: str
    locale_provider: str = "c"
    locale: str | None = None
    icu_rules: str | None = None
    collation_version: str | None = None
    owner: str = ""
    acl: list[str] | None = None
    comment: str | None = None
    connection_limit: int = -1
    tablespace: str = "pg_default"
    settings: list[Setting] = []
    size_bytes: int = 0


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """The source server. ``version_num`` as server_version_num (180001)."""

    version_num: int
    version: str
    system_identifier: str
    timeline: int
    block_size: int
    is_standby: bool
    lc_monetary: str = ""

    @property
    def major(self) -> int:
        """Major version: 18 for 180001."""
        return self.version_num // 10000


class Marker(msgspec.Struct, frozen=True, kw_only=True):
    """Transaction ids burnt right after the snapshot, and which were committed (DESIGN.md 3, condition d)."""

    xids: list[int]
    committed: list[bool]


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The moment of the backup. ``xmin``/``xmax`` are 64-bit ids of pg_current_snapshot()."""

    taken_at: datetime
    xmin: int
    xmax: int
    lsn: str | None = None
    marker: Marker | None = None
    marker_missing_reason: str | None = None


class StoredFile(msgspec.Struct, frozen=True, kw_only=True):
    """A whole file stored as frames, e.g. the schema archive. ``tool`` is the program and version that made it."""

    blobs: list[Blob]
    raw_bytes: int
    tool: str = ""


class LeftOut(msgspec.Struct, frozen=True, kw_only=True):
    """Something that is knowingly not in the backup, and why."""

    what: str
    reason: str


class Reuse(msgspec.Struct, frozen=True, kw_only=True):
    """What an incremental backup took over from its parent, and what it read.

    ``reason`` says why nothing could be taken over, ``read_whole`` why a table's could not. ``bytes_read`` is the
    length of the streams that were read.
    """

    parent_job_id: UUID | None = None
    reason: str | None = None
    chunks_reused: int = 0
    chunks_read: int = 0
    bytes_read: int = 0
    read_whole: dict[str, str] = {}


class TenantStep(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One foreign key on the way from a table to the one that has the tenant column: ``columns`` of the table before
    refer to ``referenced_columns`` of ``schema``.``name``, in this order.

    ``operators`` are the key's own (schema, name), by default ``pg_catalog.=``; ``collations`` those to compare with
    where the two sides' differ. A partitioned table is asked with its partitions, any other alone.
    """

    constraint: str
    columns: list[str]
    schema: str
    name: str
    referenced_columns: list[str]
    operators: list[tuple[str, str]] = []
    collations: list[tuple[str, str] | None] = []
    partitioned: bool = False


class TenantPath(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A further way from a table to a tenant column; see :class:`TenantTable`."""

    steps: list[TenantStep]
    column: str
    operator: tuple[str, str] = ("pg_catalog", "=")
    cast: tuple[str, str] | None = None


class TenantTable(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How the rows of one table were told to be the tenant's.

    ``how`` is ``column`` (it has the tenant column), ``reference`` (``path`` leads to a table that has it; its last
    step's table has ``column``), ``policies`` (the source's own row-level security; ``column`` and ``path``, where
    there are any, were checked beside it), ``shared`` (rows of nobody, stored whole, of which a restore puts back only
    those that are missing) or ``left_out`` (knowingly not stored; also a shared table that is never restored). A
    partitioned table stands for its partitions. ``more_paths`` lead to the tenant, too; a row's ways all had to agree.
    ``operator`` is the equality of the tenant column's type (schema, name), ``cast`` the type that it takes the column
    as, where that is not its own.
    """

    schema: str
    name: str
    how: str
    column: str | None = None
    path: list[TenantStep] = []
    operator: tuple[str, str] = ("pg_catalog", "=")
    cast: tuple[str, str] | None = None
    more_paths: list[TenantPath] = []
    reason: str | None = None


class TenantScope(msgspec.Struct, frozen=True, kw_only=True):
    """A backup of one tenant's rows only. ``key`` is the tenant's value in the tenant column, as text.

    ``rows_by`` is ``column`` or ``policies``; with policies ``role`` and ``setting`` are what the source's row-level
    security was asked as. ``content_hashes`` is, for each table ("schema.name" quoted as SQL needs it), an
    order-independent hash of its rows: the sum modulo 2**128 of BLAKE2b-128 over each row's line in the stream, without
    its line break, as 32 hexadecimal digits. ``drift`` says what has changed since the tenant's backup before this.
    """

    tenant_id: UUID
    key: str
    tables: list[TenantTable]
    rows_by: str = "column"
    role: str | None = None
    setting: str | None = None
    content_hashes: dict[str, str] = {}
    drift: list[str] = []


class Contents(msgspec.Struct, frozen=True, kw_only=True):
    """What the engine returns for one backup: everything but the job's own facts."""

    server: Server
    database: Database
    snapshot: Snapshot
    schema: StoredFile
    tables: list[Table]
    globals: StoredFile | None = None
    sequences: list[Sequence] = []
    materialized_views: list[MaterializedView] = []
    large_objects: LargeObjects = LargeObjects()
    roles: list[str] = []
    extensions: list[str] = []
    chosen_tables: list[tuple[str, str]] = []
    left_out: list[LeftOut] = []
    reuse: Reuse | None = None
    tenant: TenantScope | None = None

    @property
    def rows(self) -> int:
        """Rows of all tables."""
        return sum(table.rows for table in self.tables)

    @property
    def raw_bytes(self) -> int:
        """Uncompressed bytes of all streams and files."""
        streams = sum(table.raw_bytes for table in self.tables)
        streams += sum(chunk.raw_bytes for chunk in self.large_objects.chunks)
        return streams + self.schema.raw_bytes + (self.globals.raw_bytes if self.globals else 0)

    def all_blobs(self) -> list[tuple[str, Blob]]:
        """Every frame with the name of what it belongs to, for people ("public.orders", "schema", …)."""
        found = [("schema", blob) for blob in self.schema.blobs]
        if self.globals:
            found += [("globals", blob) for blob in self.globals.blobs]
        for table in self.tables:
            label = f"{table.schema}.{table.name}"
            found += [(label, blob) for chunk in table.chunks for blob in chunk.blobs]
        found += [("large objects", blob) for chunk in self.large_objects.chunks for blob in chunk.blobs]
        return found


class JobFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The catalog row's facts, so that a lost catalog can be rebuilt from manifests."""

    id: UUID
    tenant_id: UUID
    source_name: str
    job_type: str
    created_at: datetime
    started_at: datetime
    completed_at: datetime
    backup_name: str | None = None
    description: str | None = None
    tags: list[str] = []
    schedule_name: str | None = None
    parent_job_id: UUID | None = None
    metadata: dict[str, Any] = {}


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The whole document."""

    format_version: int
    program: str
    job: JobFacts
    contents: Contents
