"""A backup of one tenant's rows: whose they are, by the catalog alone, and what its job's row says of it."""

from __future__ import annotations

import logging
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from uuid import UUID

from tui_backup.agent.runs import Run
from tui_backup.agent.tenancy import read_tenancy
from tui_backup.engine.logical.tenants.reading import TenantRequest
from tui_backup.errors import DamagedError, ObjectMissingError, OtherTenantError, RepositoryVersionError, TenantMapError
from tui_backup.manifest import TenantScope
from tui_backup.repository.manifests import read_manifest
from tui_backup.repository.store import Store

log = logging.getLogger(__name__)

_MOST_DRIFT = 50
"""Changes of the source that are kept in the job's row; the manifest has all."""


async def read_request(run: Run, source: Mapping[str, Any]) -> TenantRequest | None:
    """Whose rows the claimed job reads; None when it reads the whole database.

    Raises:
        NotFoundError: the tenant is gone.
        OtherTenantError: the source or the repository is no longer shared with the tenant.
        ValidationError: the source's tenant map cannot be.
    """
    job = run.claim.row
    allowed = await run.records.query("SELECT tui_backup.job_may_run(%(id)s) AS allowed", {"id": job["id"]})
    if not allowed[0]["allowed"]:
        raise OtherTenantError(
            "The job's source or repository is another tenant's, and not shared with the job's.",
            hint="Ask the platform's administrators to share it again.",
        )
    tenancy = await read_tenancy(run, job, source)
    return None if tenancy is None else TenantRequest(job["tenant_id"], tenancy.key, tenancy.settings)


def earlier_tables(store: Store, request: TenantRequest | None, earlier: UUID | None) -> TenantRequest | None:
    """Add how the tables were told in the tenant's backup before, which says what has changed since."""
    if request is None or earlier is None:
        return request
    try:
        scope = read_manifest(store, request.tenant_id, earlier).contents.tenant
    except (ObjectMissingError, DamagedError, RepositoryVersionError) as exc:
        # what has changed since is a word for people; the backup is as good without it
        log.warning("what changed since backup %s cannot be told: %s", earlier, exc.message)
        return request
    return request if scope is None else replace(request, earlier=scope.tables)


@contextmanager
def name_source(source: Mapping[str, Any], tenant: UUID) -> Generator[None]:
    """Within it, what has to be decided says the command with the source's own name, and whose it is to decide."""
    try:
        yield
    except TenantMapError as exc:
        hint = exc.hint.replace("source map SOURCE", f"source map {source['source_name']}")
        if source["tenant_id"] != tenant:
            hint = f"The source is shared with the tenant; its owner decides. {hint}"
        raise TenantMapError(exc.message, hint=hint, details=exc.details) from exc


def told_of_tenant(scope: TenantScope) -> dict[str, Any]:
    """What the job's row says, for people; the manifest has all of it."""
    found: dict[str, Any] = {"tenant_scope": True, "tenant_key": scope.key, "rows_by": scope.rows_by}
    if scope.rows_by == "policies":
        found |= {"policy_role": scope.role, "policy_setting": scope.setting}
    if scope.drift:
        found |= {"drift": scope.drift[:_MOST_DRIFT], "drift_count": len(scope.drift)}
    return found
