"""What botocore and an S3 endpoint say, as errors of this program."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, cast

from tui_backup.errors import (
    ObjectMissingError,
    StoreDeniedError,
    StoreError,
    StoreFullError,
    StoreUnavailableError,
)

_DENIED = {
    "AccessDenied",
    "AccountProblem",
    "AllAccessDisabled",
    "AuthorizationHeaderMalformed",
    "ExpiredToken",
    "Forbidden",
    "InvalidAccessKeyId",
    "InvalidToken",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
    "Unauthorized",
    "401",
    "403",
}
_UNAVAILABLE = {"InternalError", "RequestTimeout", "ServiceUnavailable", "SlowDown", "Throttling"}
_FULL = {"QuotaExceeded", "XMinioStorageFull", "EntityTooLarge", "InsufficientStorage", "507"}
_NO_CREDENTIALS = {
    "CredentialRetrievalError",
    "LoginError",
    "NoAuthTokenError",
    "NoCredentialsError",
    "PartialCredentialsError",
    "ProfileNotFound",
    "SSOError",
    "TokenRetrievalError",
}
_CREDENTIALS_HINT = (
    "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY where the agent runs (then start it again), "
    "or name a profile in the location."
)
# these are answers about one feature, not failures of the store
_NOT_SUPPORTED = {"NotImplemented", "MethodNotAllowed", "UnsupportedOperation", "501", "405", "XNotImplemented"}


def error_code(error: Exception) -> str:
    """The endpoint's own code of a ClientError ("NoSuchKey", or the HTTP status where there is no body)."""
    answer = cast("dict[str, Any]", getattr(error, "response", {}))
    return str(answer.get("Error", {}).get("Code", ""))


def http_status(error: Exception) -> int:
    """The HTTP status of a ClientError, 0 when there was no answer."""
    answer = cast("dict[str, Any]", getattr(error, "response", {}))
    return int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def is_not_supported(error: Exception) -> bool:
    """Whether the endpoint says that it does not know this request or header at all."""
    return error_code(error) in _NOT_SUPPORTED or http_status(error) in (405, 501)


def is_missing(error: Exception) -> bool:
    """Whether the endpoint says that there is no such object."""
    return error_code(error) in ("NoSuchKey", "404", "NotFound") or (
        http_status(error) == 404 and error_code(error) != "NoSuchBucket"
    )


@contextmanager
def translated(location: str, action: str, *, key: str | None = None) -> Generator[None]:
    """Turn what boto3 raises inside into a StoreError.

    Args:
        location: the store, for people.
        action: what was tried, to stand between "Cannot" and the location.
        key: the object it was tried on, for "missing".
    """
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError
    from urllib3.exceptions import HTTPError

    try:
        yield
    except ClientError as error:
        raise _of_answer(error, location, action, key) from error
    except (BotoCoreError, ResponseParserError, HTTPError, OSError) as error:
        raise _of_no_answer(error, location, action) from error


def _of_answer(error: Exception, location: str, action: str, key: str | None) -> StoreError:
    code, status = error_code(error), http_status(error)
    message = f"Cannot {action} {location}: {code or status}"
    details = {"code": code, "http_status": status}
    if key is not None and is_missing(error):
        return ObjectMissingError(
            f"{key} is missing in {location}", details={"key": key, "problem": "missing", **details}
        )
    # without a key the question was about the bucket; HEAD has no body to say so
    if code == "NoSuchBucket" or is_missing(error):
        return StoreUnavailableError(message, hint="Make the bucket first, or correct its name.", details=details)
    if code in _FULL or status == 507:
        return StoreFullError(message, details=details)
    if code in _DENIED or status in (401, 403):
        return StoreDeniedError(message, details=details)
    if code in _UNAVAILABLE or status >= 500 or status == 429:
        return StoreUnavailableError(message, details=details)
    return StoreError(message, details=details)


def _of_no_answer(error: Exception, location: str, action: str) -> StoreError:
    kinds = {kind.__name__ for kind in type(error).__mro__}
    message = f"Cannot {action} {location}: {type(error).__name__}"
    if kinds & _NO_CREDENTIALS:
        return StoreDeniedError(message, hint=_CREDENTIALS_HINT)
    if "ParamValidationError" in kinds:
        return StoreError(message, hint="A defect of tui-backup: report it.")
    return StoreUnavailableError(message)
