"""Backups and restores on real servers and a real repository, for the tests of the restore side."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.servers import TestServer
from tui_backup.engine.logical.backup import BackupRequest, backup_database
from tui_backup.engine.logical.inplace import restore_in_place
from tui_backup.engine.logical.restore import restore_database
from tui_backup.engine.logical.result import RestoreResult
from tui_backup.engine.logical.sideschema import restore_side_schema
from tui_backup.manifest import Contents
from tui_backup.model import RestoreRequest, RestoreTarget, StopFlag
from tui_backup.repository.directory import DirectoryStore
from tui_backup.repository.open import initialize
from tui_backup.repository.packs import PackReader, PackWriter


@dataclass
class Recorder:
    """A progress report that adds up."""

    phases: list[str] = field(default_factory=list)
    tables_done: int = 0
    tables_total: int = 0
    rows: int = 0
    bytes: int = 0
    bytes_total: int = 0

    def __call__(
        self,
        *,
        phase: str | None = None,
        tables_done: int = 0,
        rows: int = 0,
        bytes_: int = 0,
        tables_total: int | None = None,
        bytes_total: int | None = None,
    ) -> None:
        if phase is not None:
            self.phases.append(phase)
        self.tables_done += tables_done
        self.rows += rows
        self.bytes += bytes_
        self.tables_total = self.tables_total if tables_total is None else tables_total
        self.bytes_total = self.bytes_total if bytes_total is None else bytes_total


class Repository:
    """A directory repository with one tenant."""

    def __init__(self, path: Path) -> None:
        self.store = DirectoryStore(path)
        self.store.check(create=True)
        initialize(self.store)
        self.tenant = uuid.uuid4()

    @property
    def reader(self) -> PackReader:
        return PackReader(self.store, self.tenant)

    def writer(self) -> PackWriter:
        return PackWriter(self.store, self.tenant)


def back_up(
    server: TestServer, database: str, repository: Repository, *, tables: Sequence[str] = (), chunk_blocks: int = 64
) -> Contents:
    """A full backup, in small chunks so that small tables have several."""
    request = BackupRequest(
        conninfo=server.dsn(database), tables=tables, chunk_blocks=chunk_blocks, application_name="test backup"
    )
    return backup_database(request, repository.writer(), progress=Recorder(), stop=StopFlag())


def restore(
    server: TestServer,
    contents: Contents,
    repository: Repository,
    database: str,
    *,
    user: str | None = None,
    password: str | None = None,
    stop: StopFlag | None = None,
    progress: Any = None,
    reader: Any = None,
    restore_id: uuid.UUID | None = None,
    **request: Any,
) -> RestoreResult:
    """Into a new database."""
    target = request.pop("target", RestoreTarget.NEW_DATABASE)
    options = {key: request.pop(key) for key in ("work_name", "jobs", "tools_dir") if key in request}
    return restore_database(
        RestoreRequest(job_id=uuid.uuid4(), target=target, database=database, **request),
        contents,
        reader or repository.reader,
        server.dsn(user=user, password=password),
        restore_id=restore_id or uuid.uuid4(),
        progress=progress or Recorder(),
        stop=stop or StopFlag(),
        **options,
    )


def restore_tables(
    server: TestServer,
    contents: Contents,
    repository: Repository,
    database: str,
    *tables: str,
    schema: str | None = None,
    user: str | None = None,
    password: str | None = None,
    stop: StopFlag | None = None,
    progress: Any = None,
    reader: Any = None,
    compare: bool = True,
    **options: Any,
) -> RestoreResult:
    """In place, or into a side schema when one is named."""
    target = RestoreTarget.SIDE_SCHEMA if schema else RestoreTarget.IN_PLACE
    request = RestoreRequest(job_id=uuid.uuid4(), target=target, schema=schema, tables=tables, compare=compare)
    common = {
        "progress": progress or Recorder(),
        "stop": stop or StopFlag(),
        **options,
    }
    reader = reader or repository.reader
    dsn = server.dsn(database, user=user, password=password)
    if schema:
        return restore_side_schema(request, contents, reader, dsn, restore_id=uuid.uuid4(), **common)
    return restore_in_place(request, contents, reader, dsn, **common)


@contextmanager
def dropped(server: TestServer, *names: str) -> Iterator[None]:
    """Drops the databases before and after."""
    for name in names:
        server.drop_database(name)
    try:
        yield
    finally:
        for name in names:
            server.drop_database(name)
