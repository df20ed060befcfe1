"""The agent process: one per installation, detached from any terminal, many on one catalog.

It registers itself, beats every two seconds, runs the queue's tasks, fires due schedules and rescues what dead agents
left behind. A catalog that goes away is waited for; SIGTERM hands the running work back; SIGHUP is ignored, because a
dropped SSH session must not end a backup.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import signal
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

import procrastinate
import psycopg
from procrastinate.exceptions import ProcrastinateException

from tui_backup import __version__
from tui_backup.agent.logs import mask_secrets, set_up_logging
from tui_backup.agent.memory import give_back_large_blocks
from tui_backup.agent.records import LOST_AFTER_S, Pool, Records, open_pool
from tui_backup.agent.rescue import keep_rescuing
from tui_backup.agent.runs import Runner
from tui_backup.agent.scheduler import keep_firing
from tui_backup.agent.tasks import register_tasks
from tui_backup.catalog.connections import agent_conninfo
from tui_backup.catalog.migrate import check_version
from tui_backup.config import Config
from tui_backup.embedded import EmbeddedPostgres
from tui_backup.errors import CatalogUnavailableError, NotSetUpError
from tui_backup.queue.app import make_app
from tui_backup.services.agent_lock import AgentLock

log = logging.getLogger(__name__)

HEARTBEAT_S = 2.0
_HAND_BACK_AFTER_S = 5.0
_CATALOG_BACKOFF_S = (1, 2, 5, 10)


def run_agent(config: Config) -> int:
    """Run until SIGTERM or SIGINT.

    Returns:
        The exit status.

    Raises:
        NotSetUpError: no catalog is configured.
        AlreadyExistsError: this installation's agent runs already.
        TuiBackupError: the catalog cannot be used at all (wrong version, login refused).
    """
    if not config.is_set_up:
        raise NotSetUpError("No catalog is set up here.")
    # before anything else: a dropped terminal must not end us
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    os.umask(0o077)
    give_back_large_blocks()
    with AgentLock(config.state_dir):
        set_up_logging(config)
        _own_temporary_folder(config)
        log.info("agent %s starts, pid %s", __version__, os.getpid())
        try:
            asyncio.run(_Agent(config).run())
        finally:
            if config.settings.catalog.embedded:
                EmbeddedPostgres(config.state_dir).stop()
            log.info("agent ends")
    return 0


def _own_temporary_folder(config: Config) -> None:
    """Keep temporary files where only this installation's agent looks, and clear what a killed one left."""
    if os.environ.get("TMPDIR"):
        return
    folder = config.state_dir / "tmp"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700, exist_ok=True)
    tempfile.tempdir = str(folder)


def executor_threads(concurrency: int) -> int:
    """One for each run, one for what it asks meanwhile, and room for name look-ups and errands.

    Python's own default is a handful on a small machine: more runs than that would keep heartbeats and cancels waiting.
    """
    return 2 * concurrency + 16


class _Agent:
    def __init__(self, config: Config) -> None:
        self._config = config
        self._stopping = asyncio.Event()
        self._served_once = False

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        threads = executor_threads(self._config.settings.agent.concurrency)
        loop.set_default_executor(ThreadPoolExecutor(threads, thread_name_prefix="agent"))
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        tries = 0
        while not self._stopping.is_set():
            try:
                await self._serve()
                tries = 0
            except (CatalogUnavailableError, ProcrastinateException, psycopg.OperationalError) as exc:
                # at the very start the user is looking: say it instead of waiting in silence
                if not self._served_once and sys.stderr.isatty():
                    raise
                delay = _CATALOG_BACKOFF_S[min(tries, len(_CATALOG_BACKOFF_S) - 1)]
                tries += 1
                log.warning("catalog: %s; trying again in %s s", mask_secrets(str(exc)), delay)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), delay)

    async def _serve(self) -> None:
        """Work until asked to stop or until the catalog goes away."""
        if self._config.settings.catalog.embedded:
            await asyncio.to_thread(EmbeddedPostgres(self._config.state_dir).ensure_running)
        conninfo = agent_conninfo(self._config)
        await check_version(conninfo)
        async with open_pool(conninfo) as pool:
            await _wait_open(pool)
            records = Records(pool)
            await records.register()
            await records.forget_old_agents()
            app = make_app(conninfo)
            runner = Runner(records, self._config)
            register_tasks(app, runner)
            async with app.open_async():
                self._served_once = True
                log.info("agent %s is ready", records.agent_id)
                await self._work(app, records, runner)
            with contextlib.suppress(CatalogUnavailableError):
                await records.sign_off()

    async def _work(self, app: procrastinate.App, records: Records, runner: Runner) -> None:
        worker = asyncio.create_task(
            app.run_worker_async(
                concurrency=self._config.settings.agent.concurrency,
                install_signal_handlers=False,
                fetch_job_polling_interval=2.0,
                abort_job_polling_interval=2.0,
                update_heartbeat_interval=HEARTBEAT_S,
                stalled_worker_timeout=LOST_AFTER_S,
                shutdown_graceful_timeout=_HAND_BACK_AFTER_S,
                delete_jobs="always",
            ),
            name="worker",
        )
        stopping = asyncio.create_task(self._stopping.wait(), name="stopping")
        helpers = [
            asyncio.create_task(_beat(records, runner), name="heartbeat"),
            asyncio.create_task(keep_firing(records), name="scheduler"),
            asyncio.create_task(keep_rescuing(app, records, runner.live), name="rescue"),
        ]
        try:
            done, _ = await asyncio.wait({worker, stopping, *helpers}, return_when=asyncio.FIRST_COMPLETED)
            if stopping in done:
                log.info("asked to stop: short work is finished, the rest goes back to the queue")
            else:
                log.warning("%s ended", ", ".join(task.get_name() for task in done))
        finally:
            worker.cancel()
            # the heart goes on beating until the last run has written its end
            await asyncio.wait({worker})
            for task in (stopping, *helpers):
                task.cancel()
            results = await asyncio.gather(worker, *helpers, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result


async def _wait_open(pool: Pool) -> None:
    try:
        await pool.wait(timeout=10)
    except psycopg.OperationalError as exc:
        raise CatalogUnavailableError("The catalog does not answer.") from exc


async def _beat(records: Records, runner: Runner) -> None:
    """Beat; after too long a silence (a stopped process, a catalog away) every run has lost its lease."""
    last = time.monotonic()
    while True:
        try:
            await records.heartbeat()
            silence = time.monotonic() - last
            if silence > LOST_AFTER_S:
                log.warning("silent for %.0f s: others may have taken over", silence)
                await runner.live.check_all()
            last = time.monotonic()
        except CatalogUnavailableError as exc:
            log.warning("heartbeat: %s", exc.message)
        await asyncio.sleep(HEARTBEAT_S)
