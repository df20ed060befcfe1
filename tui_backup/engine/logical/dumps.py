"""pg_dump and pg_dumpall beside the reading of rows, in a thread of their own."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence

from tui_backup.engine.logical.relations import Relation
from tui_backup.engine.logical.schema import StoredStream, dump_globals, dump_schema
from tui_backup.engine.tools import ClientTools
from tui_backup.errors import ClientToolsError, SourcePermissionError, WorkFailedError
from tui_backup.model import BackupSink, StopFlag

_log = logging.getLogger(__name__)

_END_TIMEOUT_S = 5.0


class _NotNeededError(Exception):
    """The backup failed elsewhere."""


class Dumps:
    """Runs both tools; the first failure of pg_dump ends the backup, a refusal to pg_dumpall is only noted.

    Args:
        tools: which programs.
        env: their environment.
        sink: where to.
        snapshot: the exported snapshot's name.
        encoding: the database's.
        lock_timeout_s: limit for each of pg_dump's locks.
        excluded: tables that pg_dump must not touch.
        stop: the backup's.
    """

    def __init__(
        self,
        tools: ClientTools,
        env: Mapping[str, str],
        sink: BackupSink,
        *,
        snapshot: str,
        encoding: str,
        lock_timeout_s: float,
        excluded: Sequence[Relation],
        stop: StopFlag,
    ) -> None:
        self._tools, self._env, self._sink = tools, env, sink
        self._snapshot, self._encoding = snapshot, encoding
        self._lock_timeout_s, self._excluded = lock_timeout_s, excluded
        self._stop = stop
        self._own_stop = StopFlag()
        self._error: BaseException | None = None
        self._schema: StoredStream | None = None
        self._globals: StoredStream | None = None
        self.globals_refused: str | None = None
        self._thread = threading.Thread(target=self._run, name="backup-schema", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def _run(self) -> None:
        try:
            self._schema = dump_schema(
                self._tools,
                self._env,
                self._sink,
                snapshot=self._snapshot,
                encoding=self._encoding,
                lock_timeout_s=self._lock_timeout_s,
                excluded=self._excluded,
                stop=self._own_stop,
            )
            try:
                self._globals = dump_globals(
                    self._tools, self._env, self._sink, encoding=self._encoding, stop=self._own_stop
                )
            except (ClientToolsError, SourcePermissionError) as exc:
                _log.warning("roles and tablespaces are left out: %s", exc.message)
                self.globals_refused = exc.message
        except BaseException as exc:  # noqa: BLE001 - carried to the thread that calls check() or result()
            self._error = exc

    def check(self) -> None:
        """Raise a failure as soon as it is known."""
        if self._stop.is_set and self._stop.reason is not None:
            self._own_stop.set(self._stop.reason)
        if self._error is not None:
            raise self._error

    def result(self) -> tuple[StoredStream, StoredStream | None]:
        """Wait for both tools and return definitions and globals (None where refused)."""
        while self._thread.is_alive():
            self._stop.check()
            self.check()
            self._thread.join(0.05)
        self.check()
        if self._schema is None:
            raise WorkFailedError("pg_dump left no result.")
        return self._schema, self._globals

    def end(self) -> None:
        """End the tools if they still run."""
        self._own_stop.set(_NotNeededError())
        self._thread.join(_END_TIMEOUT_S)
