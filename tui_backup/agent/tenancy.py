"""Whose rows a restore of one tenant is about: told by the catalog, checked against the backup, never by a request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tui_backup.agent.runs import Run
from tui_backup.engine.logical.tenants.restore import Tenancy
from tui_backup.engine.logical.tenants.settings import TenantMapSettings
from tui_backup.errors import NotFoundError, OtherTenantError, ValidationError
from tui_backup.manifest import Contents
from tui_backup.model import RestoreRequest, RestoreTarget

_TARGETS = (RestoreTarget.IN_PLACE, RestoreTarget.SIDE_SCHEMA)


async def read_tenancy(run: Run, job: Mapping[str, Any], source: Mapping[str, Any]) -> Tenancy | None:
    """The tenant's key and the source's map for a job that holds one tenant's rows; None for any other job.

    Raises:
        NotFoundError: the tenant is gone.
    """
    if not job["tenant_scope"]:
        return None
    tenant = await run.records.row("tenants", job["tenant_id"])
    if tenant is None:
        raise NotFoundError("The tenant of this backup is not in the catalog any more.")
    return Tenancy(tenant["tenant_key"], TenantMapSettings.from_json(source["tenant_map"]))


def check_request(
    request: RestoreRequest, job: Mapping[str, Any], source: Mapping[str, Any], tenancy: Tenancy | None
) -> None:
    """Refuse what neither the services nor the catalog let through, should it stand in the row all the same.

    Raises:
        ValidationError: one tenant's rows would become a database, or a try would become the real thing.
        OtherTenantError: whole tables would be put into a source of somebody else's.
    """
    if request.dry_run and (tenancy is None or request.target not in _TARGETS):
        raise ValidationError("dry_run", "Only a restore of one tenant's rows can be tried by an agent.")
    if tenancy is not None and request.target is RestoreTarget.SWAP:
        raise ValidationError("target", "One tenant's rows cannot take the place of a whole database.")
    is_others = source["tenant_id"] != job["tenant_id"]
    if is_others and (tenancy is None or request.target not in _TARGETS):
        raise OtherTenantError(
            "The source is another tenant's: only one tenant's rows can be put back there, in place or beside.",
            hint="Restore into a source of your own.",
        )


def check_contents(contents: Contents, job: Mapping[str, Any], tenancy: Tenancy | None) -> None:
    """The manifest and the catalog must say the same of whose rows the backup holds.

    Raises:
        OtherTenantError: they do not.
    """
    scope = contents.tenant
    if (scope is None) != (tenancy is None):
        raise OtherTenantError("Catalog and manifest disagree whether the backup holds one tenant's rows only.")
    if scope is not None and scope.tenant_id != job["tenant_id"]:
        raise OtherTenantError("The manifest says that the backup is another tenant's.")
