"""Definitions and globals, written by PostgreSQL's own pg_dump and pg_dumpall and stored as they come."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tui_backup.engine.logical.relations import Relation
from tui_backup.engine.tools import ClientTools, run_tool
from tui_backup.errors import (
    ClientToolsError,
    ConnectionFailedError,
    LockTimeoutError,
    SourcePermissionError,
    TuiBackupError,
)
from tui_backup.model import BackupSink, BlobWriter, PendingBlob, StopFlag

# Definitions only: minutes even for 100,000 tables.
_DUMP_TIMEOUT_S = 3600.0
_GLOBALS_TIMEOUT_S = 300.0
_NO_LIMITS = "-c statement_timeout=0 -c lock_timeout=0 -c idle_in_transaction_session_timeout=0"


@dataclass(frozen=True, slots=True)
class StoredStream:
    """A whole file on its way into the repository, and what the tool said beside it."""

    blobs: Sequence[PendingBlob]
    raw_bytes: int
    tool: str
    warnings: Sequence[str]


def dump_schema(
    tools: ClientTools,
    env: Mapping[str, str],
    sink: BackupSink,
    *,
    snapshot: str,
    encoding: str,
    lock_timeout_s: float,
    excluded: Sequence[Relation] = (),
    stop: StopFlag,
) -> StoredStream:
    """Store the definitions of the whole database, as the snapshot sees them, as a custom-format archive.

    Args:
        tools: which pg_dump.
        env: from :func:`tui_backup.engine.connection.child_environment`.
        sink: where to.
        snapshot: the exported snapshot's name.
        encoding: the database's; its settings may name another for its sessions.
        lock_timeout_s: limit for each of pg_dump's own locks.
        excluded: tables that the login cannot lock.
        stop: ends pg_dump.

    Raises:
        ClientToolsError, LockTimeoutError, ConnectionFailedError, SourcePermissionError: pg_dump failed.
    """
    argv = [
        tools.path("pg_dump"),
        "--schema-only",
        "--format=custom",
        # compressed by pg_dump it could neither be deduplicated nor compressed well
        "--compress=0",
        f"--snapshot={snapshot}",
        f"--encoding={encoding}",
        f"--lock-wait-timeout={max(1, round(lock_timeout_s * 1000))}",
        "--no-password",
        "--no-sync",
        # a pattern whose parts are quoted stands for itself
        *(f"--exclude-table={rel.sql}" for rel in excluded),
    ]
    return _store(tools, argv, env, sink, stop=stop, timeout_s=_DUMP_TIMEOUT_S)


def dump_globals(
    tools: ClientTools, env: Mapping[str, str], sink: BackupSink, *, encoding: str, stop: StopFlag
) -> StoredStream:
    """Store roles, memberships and tablespaces as SQL, without passwords.

    Raises:
        As :func:`dump_schema`.
    """
    dbname = env["PGDATABASE"].replace("\\", "\\\\").replace("'", "\\'")
    argv = [
        tools.path("pg_dumpall"),
        "--globals-only",
        "--no-role-passwords",
        f"--encoding={encoding}",
        "--no-password",
        "--no-sync",
        # pg_dumpall would go to "postgres"; a name given plain is taken for a connection string when it looks like one
        f"--database=dbname='{dbname}'",
    ]
    # pg_dump turns the login's own limits off by itself, pg_dumpall does not
    unlimited = {**env, "PGOPTIONS": f"{env.get('PGOPTIONS', '')} {_NO_LIMITS}".strip()}
    return _store(tools, argv, unlimited, sink, stop=stop, timeout_s=_GLOBALS_TIMEOUT_S)


def _store(
    tools: ClientTools, argv: list[str], env: Mapping[str, str], sink: BackupSink, *, stop: StopFlag, timeout_s: float
) -> StoredStream:
    blob = sink.open_blob()
    counter = _Counter(blob)
    try:
        result = run_tool(argv, env, stop=stop, stdout_to=counter.write, timeout_s=timeout_s)
        if counter.raw_bytes == 0:
            raise ClientToolsError(f"{_name(argv)} ended well but wrote nothing.")
        blobs = blob.close()
    except ClientToolsError as exc:
        blob.abort()
        raise _explained(exc) from exc
    except BaseException:
        blob.abort()
        raise
    warnings = [line for line in result.stderr.splitlines() if line.strip()]
    return StoredStream(blobs, counter.raw_bytes, f"{_name(argv)} {tools.version}", warnings)


class _Counter:
    def __init__(self, blob: BlobWriter) -> None:
        self._blob = blob
        self.raw_bytes = 0

    def write(self, data: bytes) -> None:
        self._blob.write(data)
        self.raw_bytes += len(data)


def _name(argv: Sequence[str]) -> str:
    return argv[0].rpartition("/")[2]


_MEANINGS: tuple[tuple[re.Pattern[str], type[TuiBackupError]], ...] = (
    # --lock-wait-timeout is a statement_timeout around pg_dump's LOCK TABLE
    (re.compile(r"lock timeout|statement timeout|could not obtain lock"), LockTimeoutError),
    (
        re.compile(
            r"server closed the connection|terminating connection|could not connect|no connection to the server"
            r"|connection to server .* failed|the database system is|could not (?:receive|send) data"
        ),
        ConnectionFailedError,
    ),
    (re.compile(r"permission denied"), SourcePermissionError),
)


def _explained(error: ClientToolsError) -> TuiBackupError:
    """The kind of failure behind a tool's exit status, by what it said (its messages are asked for in English)."""
    said = "\n".join([error.message, *error.details.get("stderr", ())])
    for pattern, kind in _MEANINGS:
        if pattern.search(said):
            return kind(error.message, details=error.details)
    return error
