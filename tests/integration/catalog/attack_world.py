"""Two tenants with one of everything each, and the words by which one tells that something of the first got out."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from tests.integration.catalog.world import TENANTS, World

HIDDEN = "hiddenfact"
"""Stands in whatever of the first tenant nobody else may learn."""
OWN_TABLES = (
    "sources",
    "repositories",
    "backup_jobs",
    "backup_schedules",
    "backup_restore_logs",
    "backup_verifications",
    "progress",
    "stored_objects",
    "stored_sizes",
)


class Stock:
    """What the attacks aim at; names and ids of each tenant."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.ids = {tenant: self._fill(tenant, HIDDEN if tenant == "acme" else "open") for tenant in TENANTS}

    def _fill(self, tenant: str, word: str) -> dict[str, UUID]:
        world = self.world
        # nobody listens at port 1: a connection is refused at once
        dsn = f"host=127.0.0.1 port=1 dbname={word}"
        source = world.add_source(tenant, f"{tenant}-shop", conninfo=dsn)
        repository = world.add_repository(tenant, f"{tenant}-store", location=f"/{word}")
        facts: dict[str, Any] = {"backup_name": word, "description": word}
        job = world.add_job(tenant, source, repository, **facts)
        ids = {"source": source, "repository": repository, "job": job}
        ids["pending"] = world.add_job(tenant, source, repository, "pending", **facts)
        ids["schedule"] = world.add_schedule(tenant, source, f"{tenant}-nightly", description=word)
        ids["restore"] = world.add_restore(tenant, job, source, notes=word, target_database=word)
        ids["verification"] = world.add_verification(tenant, job, "completed", completed_at="2026-01-01")
        world.superuser(
            "INSERT INTO tui_backup.progress (subject_id, tenant_id, phase) VALUES (%s, %s, %s)",
            (job, world.tenants[tenant], word),
        )
        world.add_stored(tenant, source, repository, name=f"packs/aa/{word}")
        return ids

    @property
    def secrets(self) -> list[str]:
        """Texts of the first tenant that may reach nobody else (an attacker knows the ids that it aims with)."""
        return [HIDDEN]

    def rows_of(self, tenant: str) -> dict[str, list[dict[str, Any]]]:
        """All that a tenant has, past every policy."""
        return {
            table: self.world.superuser(
                f"SELECT to_jsonb(t) AS row FROM tui_backup.{table} t WHERE tenant_id = %s ORDER BY 1",
                (self.world.tenants[tenant],),
            )
            for table in OWN_TABLES
        }
