"""Whether others can read a bucket: what the store says, and what it shows to a caller without
credentials."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from tui_backup.repository.location import S3Location
from tui_backup.repository.s3_client import S3Limits, make_client
from tui_backup.repository.s3_errors import error_code

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_LOG = logging.getLogger(__name__)
_EVERYBODY = ("/AllUsers", "/AuthenticatedUsers")


def why_public(client: S3Client, at: S3Location, key: str, limits: S3Limits) -> str | None:
    """Say why a bucket counts as public.

    Args:
        client: with credentials.
        at: the bucket.
        key: full key of an object that exists.
        limits: bounds of each request.

    Returns:
        The reason, or None when nothing speaks for it. A store that cannot tell is not thereby public.
    """
    from botocore.exceptions import ClientError

    tries: tuple[Callable[[], str | None], ...] = (
        lambda: _by_policy(client, at),
        lambda: _by_grants(client, at),
        lambda: _by_trying(at, key, limits),
    )
    for attempt in tries:
        try:
            reason = attempt()
        except ClientError as error:
            # no policy, no rights to read it, or a dialect without it
            _LOG.debug("%s: the store does not say: %s", at, error_code(error))
            continue
        if reason:
            return reason
    return None


def _by_policy(client: S3Client, at: S3Location) -> str | None:
    status = client.get_bucket_policy_status(Bucket=at.bucket)
    return "its policy makes it so" if status.get("PolicyStatus", {}).get("IsPublic") else None


def _by_grants(client: S3Client, at: S3Location) -> str | None:
    for grant in client.get_bucket_acl(Bucket=at.bucket).get("Grants", []):
        group = grant.get("Grantee", {}).get("URI", "")
        if group.endswith(_EVERYBODY):
            return f"its access list grants {grant.get('Permission')} to {group.rsplit('/', 1)[-1]}"
    return None


def _by_trying(at: S3Location, key: str, limits: S3Limits) -> str | None:
    stranger = make_client(at, replace(limits, attempts=1), signed=False)
    try:
        stranger.head_object(Bucket=at.bucket, Key=key)
    finally:
        stranger.close()
    return "an object can be read without credentials"
