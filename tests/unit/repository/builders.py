"""Small manifests and repositories for tests."""

from __future__ import annotations

import random
from collections.abc import Mapping
from datetime import UTC, datetime
from uuid import UUID, uuid4

from tui_backup.manifest import (
    FORMAT_VERSION,
    Chunk,
    Contents,
    Database,
    JobFacts,
    Manifest,
    Server,
    Snapshot,
    StoredFile,
    Table,
)
from tui_backup.model import PendingBlob
from tui_backup.repository.format import blob_of
from tui_backup.repository.packs import PackWriter
from tui_backup.repository.run import backup_run
from tui_backup.repository.store import Store

TENANT = UUID("00000000-0000-0000-0000-00000000000a")
NOW = datetime(2026, 11, 23, 12, 0, 0, 123456, tzinfo=UTC)


def rows(seed: int, count: int = 2000) -> bytes:
    """COPY-like text that differs by seed."""
    chance = random.Random(seed)
    return b"".join(b"%d\t%d\tname %d\n" % (number, chance.getrandbits(60), seed) for number in range(count))


def write_stream(sink: PackWriter, data: bytes, block_bytes: int = 10_000) -> list[PendingBlob]:
    """Send one stream in blocks."""
    blob = sink.open_blob()
    for start in range(0, len(data), block_bytes):
        blob.write(data[start : start + block_bytes])
    return blob.close()


def make_manifest(
    sink: PackWriter,
    streams: Mapping[str, list[PendingBlob]],
    schema: list[PendingBlob],
    *,
    job_id: UUID,
    tenant_id: UUID = TENANT,
    source_name: str = "shop",
) -> Manifest:
    """A manifest over streams that a sink has flushed; one table of one chunk each."""

    def stored(pending: list[PendingBlob]) -> StoredFile:
        blobs = [blob_of(sink.locate(one)) for one in pending]
        return StoredFile(blobs=blobs, raw_bytes=sum(blob.raw_bytes for blob in blobs))

    tables: list[Table] = []
    for number, (name, pending) in enumerate(streams.items()):
        file = stored(pending)
        chunk = Chunk(first_block=0, end_block=None, rows=2000, raw_bytes=file.raw_bytes, blobs=file.blobs)
        tables.append(
            Table(
                oid=16384 + number,
                schema="public",
                name=name,
                kind="r",
                persistence="p",
                access_method="heap",
                relfilenode=16384 + number,
                columns=[],
                shape="s",
                rows=2000,
                raw_bytes=file.raw_bytes,
                chunks=[chunk] if file.blobs else [],
            )
        )
    job = JobFacts(
        id=job_id,
        tenant_id=tenant_id,
        source_name=source_name,
        job_type="full",
        created_at=NOW,
        started_at=NOW,
        completed_at=NOW,
    )
    contents = Contents(
        server=Server(
            version_num=180001, version="18.1", system_identifier="7", timeline=1, block_size=8192, is_standby=False
        ),
        database=Database(name="shop", oid=5, encoding="UTF8", lc_collate="C", lc_ctype="C"),
        snapshot=Snapshot(taken_at=NOW, xmin=700, xmax=701),
        schema=stored(schema),
        tables=tables,
    )
    return Manifest(format_version=FORMAT_VERSION, program="test", job=job, contents=contents)


def back_up(
    store: Store,
    tables: Mapping[str, bytes],
    *,
    job_id: UUID | None = None,
    tenant_id: UUID = TENANT,
    source_name: str = "shop",
) -> Manifest:
    """A whole backup of made-up tables, through the product's own steps."""
    job_id = job_id or uuid4()
    with backup_run(store, tenant_id, job_id, source_name) as run:
        streams = {name: write_stream(run.sink, data) for name, data in tables.items()}
        schema = write_stream(run.sink, b"PGDMP pretended archive")
        run.sink.flush()
        manifest = make_manifest(run.sink, streams, schema, job_id=job_id, tenant_id=tenant_id, source_name=source_name)
        run.finish(manifest)
    return manifest
