"""What a user may write as a repository's location, and what it means.

A directory is an absolute path. S3 is
``s3://bucket/prefix?endpoint=URL&region=R&style=path|virtual&profile=P``; credentials never stand in it,
boto3 finds them by its own rules (environment, profile, instance role).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit

from tui_backup.errors import ValidationError
from tui_backup.repository.keys import check_key

_S3_FORM = "s3://bucket/prefix?endpoint=URL&region=R&style=path|virtual&profile=P"
_OPTIONS = ("endpoint", "region", "style", "profile")
_STYLES = ("path", "virtual")
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]")
_REGION = re.compile(r"[A-Za-z0-9-]{1,40}")
_PROFILE = re.compile(r"[A-Za-z0-9._@+ -]{1,80}")
_CREDENTIALS_HINT = "Give credentials by AWS_* variables, a profile in ~/.aws, or the machine's role."


@dataclass(frozen=True, slots=True)
class DirectoryLocation:
    """A folder of this machine."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True, slots=True)
class S3Location:
    """A prefix in a bucket. ``prefix`` has no slash at its ends; ``endpoint`` None is AWS itself."""

    bucket: str
    prefix: str = ""
    endpoint: str | None = None
    region: str | None = None
    style: str | None = None
    profile: str | None = None

    def __str__(self) -> str:
        given = {name: getattr(self, name) for name in _OPTIONS}
        query = urlencode({name: value for name, value in given.items() if value is not None}, safe=":/")
        path = f"/{self.prefix}" if self.prefix else ""
        return f"s3://{self.bucket}{path}" + (f"?{query}" if query else "")


Location = DirectoryLocation | S3Location


def parse_location(text: str) -> Location:
    """Read a location.

    Args:
        text: as the user wrote it; ``~`` is the home directory.

    Raises:
        ValidationError: it is neither an absolute path nor a whole ``s3://`` location.
    """
    text = text.strip()
    if not text or not text.isprintable():
        raise _invalid("A location is a folder's absolute path or s3://bucket/prefix")
    if "://" not in text:
        return _directory(text)
    if not text.startswith("s3://"):
        raise _invalid(f"{text.split('://', 1)[0]}:// is not supported", hint=f"A folder, or {_S3_FORM}.")
    return _s3(text)


def describe_location(text: str) -> str:
    """The location in its one canonical form, for the catalog and for people; holds no secret."""
    return str(parse_location(text))


def _invalid(message: str, *, hint: str | None = None) -> ValidationError:
    return ValidationError("location", message, hint=hint)


def _directory(text: str) -> DirectoryLocation:
    try:
        path = Path(text).expanduser()
    except RuntimeError as error:
        raise _invalid(f"{text}: there is no such user") from error
    if not path.is_absolute():
        raise _invalid(f"{text} is not an absolute path", hint=f"For this folder write {Path.cwd() / text}.")
    if ".." in path.parts:
        raise _invalid(f"{text} holds '..'", hint=f"Write {path.resolve()}.")
    if path == Path(path.anchor):
        raise _invalid("The root directory is no place for a repository", hint="Choose a folder of its own.")
    return DirectoryLocation(path)


def _s3(text: str) -> S3Location:
    if "@" in text.split("?", 1)[0]:
        raise _invalid("The location holds credentials or an '@'", hint=_CREDENTIALS_HINT)
    try:
        parts = urlsplit(text)
        pairs = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError as error:
        raise _invalid("The s3:// location cannot be read", hint=f"Its form is {_S3_FORM}.") from error
    if parts.fragment:
        raise _invalid("'#' has no meaning in a location", hint=f"Its form is {_S3_FORM}.")
    options = _options(pairs)
    if not _BUCKET.fullmatch(parts.netloc):
        raise _invalid(f"{parts.netloc!r} is no bucket name", hint=f"The form is {_S3_FORM}.")
    prefix = parts.path.strip("/")
    if prefix:
        _check_prefix(prefix)
    return S3Location(bucket=parts.netloc, prefix=prefix, **options)


def _check_prefix(prefix: str) -> None:
    from tui_backup.errors import StoreError

    try:
        check_key(prefix)
    except StoreError as error:
        raise _invalid(
            f"{prefix!r} is no usable prefix", hint="Use letters, digits, '.', '_', '-' and single slashes."
        ) from error


def _options(pairs: list[tuple[str, str]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in pairs:
        if name not in _OPTIONS:
            secret = any(word in name.lower() for word in ("key", "secret", "token", "password"))
            raise _invalid(
                f"{name!r} is not an option of a location",
                hint=_CREDENTIALS_HINT if secret else f"There are {', '.join(_OPTIONS)}.",
            )
        if name in found:
            raise _invalid(f"{name} is given twice")
        found[name] = value
    if "endpoint" in found:
        found["endpoint"] = _endpoint(found["endpoint"])
    if found.get("style", "path") not in _STYLES:
        raise _invalid(f"style={found['style']} is neither path nor virtual")
    for name, pattern in (("region", _REGION), ("profile", _PROFILE)):
        if name in found and not pattern.fullmatch(found[name]):
            raise _invalid(f"{found[name]!r} is no {name}")
    return found


def _endpoint(text: str) -> str:
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable = False
        parts = urlsplit("")
    if parts.username or parts.password:
        raise _invalid("The endpoint holds credentials", hint=_CREDENTIALS_HINT)
    if not usable or parts.query or parts.fragment or parts.path.strip("/"):
        raise _invalid("The endpoint is no http(s)://host[:port]")
    return f"{parts.scheme}://{parts.netloc}"
