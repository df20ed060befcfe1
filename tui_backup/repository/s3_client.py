"""How a boto3 client for a repository is made. boto3 takes half a second to import, so only its users import
it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from tui_backup.repository.location import S3Location
from tui_backup.repository.s3_errors import translated

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@dataclass(frozen=True, slots=True)
class S3Limits:
    """Bounds of one request.

    Args:
        connect_timeout_s: to connect, and to send each block of 128 KiB.
        read_timeout_s: between two pieces of an answer.
        attempts: how often a request is tried, the first time included.
        slowest_bytes_per_second: an answer that comes slower than this is given up.
        part_bytes: size of the parts of a multipart upload, at least 5 MiB.
    """

    connect_timeout_s: float = 10.0
    read_timeout_s: float = 60.0
    attempts: int = 4
    slowest_bytes_per_second: int = 32 * 1024
    part_bytes: int = 16 * 1024 * 1024


def make_client(at: S3Location, limits: S3Limits, *, signed: bool = True) -> S3Client:
    """Make a thread-safe client.

    Args:
        at: bucket, endpoint, region, style, profile.
        limits: time-outs and retries.
        signed: with credentials found by boto3's own rules; False asks as a stranger.
    """
    import boto3
    from botocore import UNSIGNED
    from botocore.config import Config

    # the stubs know a Literal for every option and every service: too narrow for what is decided here
    options: dict[str, Any] = {"s3": {"addressing_style": at.style or ("path" if at.endpoint else "auto")}}
    if not signed:
        options["signature_version"] = UNSIGNED
    with translated(str(at), "reach"):
        session = boto3.Session(profile_name=at.profile if signed else None, region_name=at.region)
        client: S3Client = cast("Any", session).client(
            "s3",
            endpoint_url=at.endpoint,
            # AWS wants a region only to sign; other stores do not care which
            region_name=session.region_name or "us-east-1",
            config=Config(
                connect_timeout=limits.connect_timeout_s,
                read_timeout=limits.read_timeout_s,
                retries={"mode": "standard", "total_max_attempts": limits.attempts},
                max_pool_connections=16,
                request_checksum_calculation="when_required",
                # every frame and manifest is hashed by its reader anyway
                response_checksum_validation="when_required",
                **options,
            ),
        )
        client.meta.events.register("before-parse.s3", _refuse_cut_head)
        return client


def _refuse_cut_head(response_dict: dict[str, Any], operation_model: Any, **_: Any) -> None:
    """Refuse an answer that does not say where it ends.

    A connection that breaks within the head of an answer leaves a head that parses. Its missing rest would pass for an
    empty object or, worse, for an empty list: then nothing would seem to be stored, and a sweep would believe it.
    """
    from botocore.exceptions import ConnectionClosedError

    headers = response_dict["headers"]
    is_head = operation_model.http.get("method") == "HEAD"
    with_body = response_dict["status_code"] in (200, 206) and not is_head
    if not with_body or "content-length" in headers or "transfer-encoding" in headers:
        return
    raise ConnectionClosedError(endpoint_url="the store")
