"""``tui-backup demo``: a sample shop on the embedded server, backed up, destroyed and brought back.

Headless it is the proof: one line a step, a verdict at the end, exit status 0 only when the restored copy is identical
to the backup. On a terminal it opens the dashboard on the same installation.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import psycopg
from psycopg import sql

from tui_backup.config import Config, load_config
from tui_backup.demo.place import clear, default_folder, demo_config, environment, occupied
from tui_backup.demo.shop import TABLES, create_shop
from tui_backup.embedded import EmbeddedPostgres
from tui_backup.errors import NotFoundError, TuiBackupError, WorkFailedError
from tui_backup.model import BackupJob, BackupJobInsert, BackupRestoreLog, JobStatus, RestoreRequest, RestoreTarget
from tui_backup.services import agents, backups, restores, setup, sources, waiting
from tui_backup.services.session import Session, open_session
from tui_backup.services.utilities import format_bytes

DATABASE = "shop"
SOURCE = "shop"


def run_demo(directory: Path | None, *, reset: bool, headless: bool, drop: str | None = None) -> int:
    """Run the demo.

    Args:
        directory: its folder; made when missing.
        reset: clear what an earlier demo left there first.
        headless: no dashboard, one line a step; so too without a terminal.
        drop: only drop this table of the running demo's shop, to have something to restore.

    Returns:
        0 when everything went well and, headless, source and restore are identical.
    """
    folder = (directory or default_folder(load_config())).expanduser().absolute()
    if drop is not None:
        return _drop_table(folder, drop)
    headless = headless or not (sys.stdin.isatty() and sys.stdout.isatty())
    if reset:
        clear(folder)
    with occupied(folder):
        own = environment(folder)
        os.environ.clear()
        os.environ.update(own)
        config = demo_config(folder)
        previous = signal.signal(signal.SIGTERM, _interrupt)
        try:
            say = _Steps()
            config = _prepare(folder, say)
            if headless:
                return asyncio.run(_prove(config, say))
            return _open_dashboard(config, folder)
        finally:
            signal.signal(signal.SIGTERM, previous)
            _tidy_up(config)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


class _Steps:
    """Prints one line a step: what, rows, bytes, seconds."""

    def __init__(self) -> None:
        self._since = time.monotonic()

    def __call__(self, what: str, *, rows: int | None = None, bytes_: int | None = None) -> None:
        now = time.monotonic()
        facts = [f"{rows:,} rows"] if rows is not None else []
        if bytes_ is not None:
            facts.append(format_bytes(bytes_))
        facts.append(f"{now - self._since:.1f} s")
        print(f"{what:<58} {'  '.join(facts)}", flush=True)
        self._since = now


def _prepare(folder: Path, say: _Steps) -> Config:
    config = demo_config(folder)
    asyncio.run(setup.init_embedded(config))
    config = demo_config(folder)
    say("embedded PostgreSQL and catalog are up")
    server = EmbeddedPostgres(config.state_dir)
    with psycopg.connect(server.conninfo("postgres"), autocommit=True) as conn:
        if conn.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone():
            say(f"sample source `{DATABASE}` is there from an earlier run")
        else:
            size = _make_shop(conn, server)
            say(f"sample source `{DATABASE}`: {len(TABLES)} tables, 3 tenants", **size)
    asyncio.run(_start_agent_and_add_source(config, server.conninfo(DATABASE)))
    say("agent runs, source added")
    return config


def _make_shop(conn: psycopg.Connection[Any], server: EmbeddedPostgres) -> dict[str, int]:
    """Fill a database under another name first: a run that is cut off must not leave half a shop."""
    making = f"{DATABASE}_in_the_making"
    conn.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(making)))
    conn.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(making)))
    with psycopg.connect(server.conninfo(making)) as shop:
        create_shop(shop)
    with psycopg.connect(server.conninfo(making), autocommit=True) as shop:
        shop.execute("VACUUM ANALYZE")
        size = _shop_size(shop)
    rename = sql.SQL("ALTER DATABASE {} RENAME TO {}")
    conn.execute(rename.format(sql.Identifier(making), sql.Identifier(DATABASE)))
    return size


def _shop_size(conn: psycopg.Connection[Any]) -> dict[str, int]:
    row = conn.execute(
        "SELECT sum(reltuples)::bigint, sum(pg_table_size(c.oid))::bigint FROM pg_class c"
        " JOIN pg_namespace n ON n.oid = c.relnamespace WHERE relkind = 'r' AND nspname !~ '^(pg_|information_schema)'"
    ).fetchone()
    return {"rows": row[0], "bytes_": row[1]} if row else {}


async def _start_agent_and_add_source(config: Config, conninfo: str) -> None:
    await agents.start_agent(config)
    async with await open_session(config) as session:
        try:
            await sources.get_source(session, SOURCE)
        except NotFoundError:
            await sources.add_source(session, SOURCE, conninfo)


async def _prove(config: Config, say: _Steps) -> int:
    async with await open_session(config) as session:
        job = await _back_up(session)
        say(f"full backup {str(job.id)[:8]} completed", rows=job.rows_count, bytes_=job.compressed_size_bytes)
        _destroy(config)
        say(f"source `{DATABASE}` destroyed: every table dropped")
        log = await _restore(session, job)
        say("restored into a new database, swapped in", rows=log.rows_restored, bytes_=job.backup_size)
        compared: dict[str, Any] = log.metadata.get("compare") or {}
        say(f"compared with the backup: {compared.get('tables', 0)} tables", rows=compared.get("rows"))
        identical = compared.get("identical") is True
        if identical:
            await restores.finish_restore(session, log.id, confirm=True)
            say(f"the old database, kept as {log.metadata['swap']['kept']}, dropped")
    print("IDENTICAL: the restored database equals the backup." if identical else "NOT IDENTICAL: see above.")
    return 0 if identical else 1


async def _back_up(session: Session) -> BackupJob:
    job = await backups.create_backup_job(session, BackupJobInsert(source=SOURCE, backup_name="demo"))
    job = await waiting.wait_for_job(session, job.id, on_progress=None)
    if job.status is not JobStatus.COMPLETED:
        raise WorkFailedError(f"The backup is {job.status}: {job.error_message}")
    return job


async def _restore(session: Session, job: BackupJob) -> BackupRestoreLog:
    log = await restores.restore_from_backup(
        session, RestoreRequest(job_id=job.id, target=RestoreTarget.SWAP, confirm_restore=True)
    )
    log = await waiting.wait_for_restore(session, log.id, on_progress=None)
    if log.status is not JobStatus.COMPLETED:
        raise WorkFailedError(f"The restore is {log.status}: {log.error_message}")
    return log


def _destroy(config: Config) -> None:
    server = EmbeddedPostgres(config.state_dir)
    with psycopg.connect(server.conninfo(DATABASE), autocommit=True) as conn:
        schemas = conn.execute(
            "SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'"
        ).fetchall()
        for (name,) in schemas:
            conn.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(name)))


def _drop_table(folder: Path, table: str) -> int:
    server = EmbeddedPostgres(demo_config(folder).state_dir)
    if not server.is_running:
        raise NotFoundError(f"No demo runs in {folder}.", hint="Start it with `tui-backup demo` in another terminal.")
    schema, _, name = table.rpartition(".")
    with psycopg.connect(server.conninfo(DATABASE), autocommit=True) as conn:
        try:
            conn.execute(sql.SQL("DROP TABLE {} CASCADE").format(sql.Identifier(schema or "public", name)))
        except psycopg.errors.UndefinedTable as exc:
            raise NotFoundError(f"The shop has no table {table}.", hint="Try `orders`.") from exc
    print(f"Table {table} of the demo's shop is gone. Restore it with the wizard: r.")
    return 0


def _open_dashboard(config: Config, folder: Path) -> int:
    from tui_backup.app import run_dashboard

    where = f" --dir {folder}" if folder != default_folder(load_config({**os.environ, "TUI_BACKUP_CONFIG": ""})) else ""
    notice = (
        f"Demo. 1) n: back up the shop. 2) In another terminal: tui-backup demo{where} --drop orders. "
        "3) r: bring it back with the wizard (swap). q ends the demo."
    )
    return run_dashboard(config, notice=notice)


def _tidy_up(config: Config) -> None:
    """Stop what the demo started; a second Ctrl-C must not leave a server behind."""
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        try:
            asyncio.run(agents.stop_agent(config))
        except TuiBackupError as exc:
            print(f"The demo's agent could not be stopped: {exc.message}", file=sys.stderr)
        EmbeddedPostgres(config.state_dir).stop()
    finally:
        signal.signal(signal.SIGINT, previous)
