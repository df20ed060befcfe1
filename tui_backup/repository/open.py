"""How a repository is opened, set up for the first time, and recognised."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

import msgspec

from tui_backup import __version__
from tui_backup.errors import (
    DamagedError,
    ObjectMissingError,
    RefusedError,
    RepositoryVersionError,
    StoreUnavailableError,
)
from tui_backup.repository.directory import DirectoryStore
from tui_backup.repository.keys import CONFIG_KEY
from tui_backup.repository.location import DirectoryLocation, describe_location, parse_location
from tui_backup.repository.s3 import S3Store
from tui_backup.repository.store import DEFAULT_MAX_OBJECT_BYTES, Store

__all__ = [
    "REPOSITORY_VERSION",
    "RepositoryConfig",
    "describe_location",
    "initialize",
    "load_config",
    "open_store",
    "parse_location",
]

REPOSITORY_VERSION = 1
_INITIALIZING = threading.Lock()


class RepositoryConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The object ``config``: what every program that opens the repository must know first."""

    format_version: int
    max_object_bytes: int
    created_at: datetime
    program: str = ""


class _VersionOnly(msgspec.Struct, frozen=True):
    format_version: int


def open_store(location: str, *, max_object_bytes: int = DEFAULT_MAX_OBJECT_BYTES) -> Store:
    """Make the store of a location. Touches nothing yet.

    Args:
        location: see :mod:`tui_backup.repository.location`.
        max_object_bytes: no object may be larger.

    Raises:
        ValidationError: the location is nonsense.
    """
    at = parse_location(location)
    if isinstance(at, DirectoryLocation):
        return DirectoryStore(at.path, max_object_bytes=max_object_bytes)
    return S3Store(at, max_object_bytes=max_object_bytes)


def initialize(store: Store) -> RepositoryConfig:
    """Set a repository up, or recognise one that is there. Safe to run twice and by two at once.

    Raises:
        RefusedError: there are other things in the place, or it is public.
        StoreError: it cannot be reached, written or read.
        RepositoryVersionError: a newer program made it.
    """
    store.check(create=True)
    with _INITIALIZING:
        if store.stat(CONFIG_KEY) is None:
            _write_config(store)
    return load_config(store)


def load_config(store: Store) -> RepositoryConfig:
    """Read what a repository says of itself.

    Raises:
        StoreUnavailableError: the place is there and holds no repository (its disk is not mounted?).
        DamagedError: the object is not readable.
        RepositoryVersionError: a newer program made it.
    """
    try:
        data = store.get(CONFIG_KEY)
    except ObjectMissingError as error:
        raise StoreUnavailableError(
            f"{store.location} holds no repository",
            hint="Is its disk mounted, is the prefix right? A new one is made by `tui-backup repo add`.",
        ) from error
    try:
        version = msgspec.json.decode(data, type=_VersionOnly).format_version
        if version > REPOSITORY_VERSION:
            raise RepositoryVersionError(
                f"{store.location} has format {version}; this program knows {REPOSITORY_VERSION}",
                details={"format_version": version},
            )
        return msgspec.json.decode(data, type=RepositoryConfig)
    except msgspec.MsgspecError as error:
        raise DamagedError(
            f"{CONFIG_KEY} of {store.location} cannot be read: {error}",
            hint="Its content is described in FORMAT.md; the backups themselves do not depend on it.",
            details={"key": CONFIG_KEY, "problem": "damaged"},
        ) from error


def _write_config(store: Store) -> None:
    for found in store.list():
        if found.key != CONFIG_KEY:
            raise RefusedError(
                f"{store.location} holds other objects ({found.key}) and is no repository",
                hint="Choose another prefix or an empty folder.",
            )
    config = RepositoryConfig(
        format_version=REPOSITORY_VERSION,
        max_object_bytes=store.max_object_bytes,
        created_at=datetime.now(UTC),
        program=f"tui-backup {__version__}",
    )
    try:
        store.put(CONFIG_KEY, msgspec.json.encode(config))
    except DamagedError as error:
        # another process set it up in the same moment, with another time in it
        if error.details.get("problem") != "exists":
            raise
