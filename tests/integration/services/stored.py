"""A real backup in a real repository, as the agent would leave it, for what reads it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

from tests.integration.catalog.world import World
from tui_backup.engine.logical.backup import BackupRequest, backup_database
from tui_backup.manifest import FORMAT_VERSION, JobFacts, Manifest
from tui_backup.model import StopFlag
from tui_backup.repository.keys import manifest_key
from tui_backup.repository.open import initialize, open_store
from tui_backup.repository.run import backup_run

SHOP = """
CREATE SCHEMA "odd schema";
CREATE TABLE customers (id int PRIMARY KEY, name text);
INSERT INTO customers SELECT n, 'customer ' || n FROM generate_series(1, 1000) n;
CREATE TABLE "odd schema"."Odd.Table" (v text);
INSERT INTO "odd schema"."Odd.Table" VALUES (E'a\\tb\\\\c'), (NULL);
CREATE TABLE events (id int, day date) PARTITION BY RANGE (day);
CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
INSERT INTO events SELECT n, '2026-05-05' FROM generate_series(1, 100) n;
ANALYZE;
"""


class Shop:
    """A source database with a completed backup of it, both known to the catalog."""

    def __init__(self, world: World, folder: Path, tenant: str = "acme") -> None:
        self.world = world
        self.tenant = tenant
        self.database = world.server.create_database()
        world.server.execute(SHOP, self.database)
        self.location = folder / "repository"
        self.source = world.add_source(tenant, conninfo=self.conninfo)
        self.repository = world.add_repository(tenant, location=str(self.location))

    @property
    def conninfo(self) -> str:
        """Of the source, without its password."""
        server = self.world.server
        return f"host={server.host} port={server.port} user=postgres dbname={self.database}"

    def close(self) -> None:
        self.world.server.drop_database(self.database)

    def back_up(self) -> UUID:
        """Back the source up, blocking."""
        store = open_store(str(self.location))
        initialize(store)
        job, tenant = uuid4(), self.world.tenants[self.tenant]
        stop, now = StopFlag(), datetime.now(UTC)
        with backup_run(store, tenant, job, "shop", stop=stop) as writing:
            contents = backup_database(
                BackupRequest(conninfo=self.world.server.dsn(self.database), workers=1),
                writing.sink,
                progress=lambda **_: None,
                stop=stop,
            )
            facts = JobFacts(
                id=job,
                tenant_id=tenant,
                source_name="shop",
                job_type="full",
                created_at=now,
                started_at=now,
                completed_at=now,
            )
            writing.finish(Manifest(format_version=FORMAT_VERSION, program="test", job=facts, contents=contents))
        store.close()
        columns = {"id": job, "storage_path": manifest_key(tenant, job), "backup_size": contents.raw_bytes}
        return self.world.add_job(self.tenant, self.source, self.repository, started_at=now, **columns)
