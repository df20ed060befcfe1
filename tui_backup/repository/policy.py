"""What limits somebody to one tenant's part of a repository: an IAM policy for S3, a folder and its modes otherwise.

Nothing that the policy grants reaches beyond the tenant's prefix but reading the object ``config``. Asking for the
bucket as a whole (HEAD) is a list without a prefix in IAM's terms and stays forbidden, so the agent, which looks at
the repository as a whole before it works, needs a credential of its own.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from tui_backup.repository.keys import CONFIG_KEY, tenant_prefix
from tui_backup.repository.location import DirectoryLocation, S3Location, parse_location


def tenant_policy(location: str, tenant_id: UUID) -> dict[str, Any]:
    """The rules for one tenant.

    Args:
        location: the repository's.
        tenant_id: the tenant.

    Returns:
        An IAM policy document, or for a directory its ``folder`` and modes.

    Raises:
        ValidationError: the location is nonsense.
    """
    at = parse_location(location)
    return _folder(at, tenant_id) if isinstance(at, DirectoryLocation) else _iam(at, tenant_id)


def _folder(at: DirectoryLocation, tenant_id: UUID) -> dict[str, Any]:
    return {
        "folder": str(at.path / tenant_prefix(tenant_id).rstrip("/")),
        "folder_mode": "0700",
        "file_mode": "0600",
        "owner": "the login that the agent runs as, and nobody else",
    }


def _iam(at: S3Location, tenant_id: UUID) -> dict[str, Any]:
    before = f"{at.prefix}/" if at.prefix else ""
    bucket = f"arn:{_partition(at.region)}:s3:::{at.bucket}"
    tenant = before + tenant_prefix(tenant_id)
    objects = f"{bucket}/{tenant}*"
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "List",
                "Effect": "Allow",
                "Action": ["s3:ListBucket"],
                "Resource": [bucket],
                "Condition": {"StringLike": {"s3:prefix": [f"{tenant}*"]}},
            },
            _allow("Get", ["s3:GetObject"], objects),
            _allow("Put", ["s3:PutObject", "s3:AbortMultipartUpload"], objects),
            _allow("Delete", ["s3:DeleteObject"], objects),
            _allow("Config", ["s3:GetObject"], f"{bucket}/{before}{CONFIG_KEY}"),
        ],
    }


def _allow(sid: str, actions: list[str], resource: str) -> dict[str, Any]:
    return {"Sid": sid, "Effect": "Allow", "Action": actions, "Resource": [resource]}


def _partition(region: str | None) -> str:
    if region and region.startswith("cn-"):
        return "aws-cn"
    return "aws-us-gov" if region and region.startswith("us-gov-") else "aws"
