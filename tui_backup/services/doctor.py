"""The doctor: looks at everything the product needs, and says what to do about what it finds."""

from __future__ import annotations

import asyncio
import os
import stat
from pathlib import Path

from tui_backup.config import Config
from tui_backup.embedded import EmbeddedPostgres
from tui_backup.errors import ClientToolsError, EmbeddedServerError, TuiBackupError
from tui_backup.model import PlanCheck
from tui_backup.services.agents import agent_status, get_agents
from tui_backup.services.repositories import check_repository, get_repositories
from tui_backup.services.session import Session, open_session
from tui_backup.services.sources import get_sources, test_source

OK, WARNING, REFUSED = "ok", "warning", "refused"
_SOURCE_TIMEOUT_S = 30.0
_OLDEST_SERVER = 14


async def doctor(config: Config) -> list[PlanCheck]:
    """Check configuration, folders, client tools, catalog, agent, repositories and sources; changes nothing but that
    an embedded catalog is started.

    Returns:
        One line a subject; what is found wrong is told there, never raised.
    """
    checks = [PlanCheck("configuration", OK, f"{config.file}" if config.file.exists() else "built-in defaults.")]
    checks += await asyncio.to_thread(_look_at_machine, config)
    if not config.is_set_up:
        checks.append(PlanCheck("catalog", REFUSED, "No catalog is set up. Run `tui-backup init`."))
        return checks
    try:
        async with await open_session(config) as session:
            checks.append(_catalog_line(session))
            checks += await _look_at_catalog(session)
    except TuiBackupError as exc:
        checks.append(_told("catalog", exc))
    return checks


def _told(name: str, exc: TuiBackupError, level: str = REFUSED) -> PlanCheck:
    return PlanCheck(name, level, f"{exc.message} {exc.hint}".strip())


def _look_at_machine(config: Config) -> list[PlanCheck]:
    checks = [_folder("state folder", config.state_dir)]
    if config.passfile.exists():
        checks.append(_private_file("passfile", config.passfile))
    from tui_backup.engine.tools import find_tools

    bin_dir = config.settings.tools.bin_dir
    try:
        tools = find_tools(_OLDEST_SERVER, needs_tls=False, bin_dir=Path(bin_dir) if bin_dir else None)
        tls = "" if tools.has_tls else " They have no TLS: install postgresql-client for servers that demand it."
        level = OK if tools.has_tls else WARNING
        checks.append(PlanCheck("client tools", level, f"pg_dump {tools.version} in {tools.bin_dir}.{tls}"))
    except ClientToolsError as exc:
        checks.append(_told("client tools", exc))
    if config.settings.catalog.embedded:
        checks.append(_embedded(config))
    return checks


def _folder(name: str, path: Path) -> PlanCheck:
    if not path.exists():
        return PlanCheck(name, OK, f"{path} will be made.")
    if not os.access(path, os.W_OK | os.X_OK):
        return PlanCheck(name, REFUSED, f"{path} cannot be written. Check its owner and mode.")
    if stat.S_IMODE(path.stat().st_mode) & 0o022:
        return PlanCheck(name, WARNING, f"{path} can be written by others: chmod go-w it.")
    return PlanCheck(name, OK, f"{path}")


def _private_file(name: str, path: Path) -> PlanCheck:
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        return PlanCheck(name, REFUSED, f"{path} can be read by others, libpq ignores it: chmod 600 it.")
    return PlanCheck(name, OK, f"{path}")


def _embedded(config: Config) -> PlanCheck:
    server = EmbeddedPostgres(config.state_dir)
    try:
        if not server.is_initialized:
            return PlanCheck("embedded server", REFUSED, "It has not been made. Run `tui-backup init`.")
        state = "runs" if server.is_running else "does not run; it is started when it is needed"
    except EmbeddedServerError as exc:
        return _told("embedded server", exc)
    return PlanCheck("embedded server", OK, f"{server.data_dir} {state}.")


def _catalog_line(session: Session) -> PlanCheck:
    me = session.identity
    return PlanCheck("catalog", OK, f"Open as {me.login}, {me.role} of the tenant {me.tenant_name}.")


async def _look_at_catalog(session: Session) -> list[PlanCheck]:
    checks = [await _agent(session)]
    repositories = await get_repositories(session)
    if not repositories:
        checks.append(PlanCheck("repository", WARNING, "There is none. `tui-backup repo add NAME LOCATION`."))
    for repository in repositories:
        name = repository.repository_name
        found = await check_repository(session, name)
        worst = _worst(list(found.problems))
        checks.append(PlanCheck(f"repository {name}", worst.level, f"{found.location}: {worst.message}"))
    sources = await get_sources(session)
    if not sources:
        checks.append(PlanCheck("source", WARNING, "There is none. `tui-backup source add NAME --dsn DSN`."))
    looks = [_source(session, source.source_name) for source in sources]
    return [*checks, *await asyncio.gather(*looks)]


async def _agent(session: Session) -> PlanCheck:
    here = await agent_status(session.config)
    alive = [agent for agent in await get_agents(session) if agent.is_alive]
    if alive:
        where = ", ".join(f"{agent.host} (process {agent.pid})" for agent in alive)
        return PlanCheck("agent", OK, f"Alive on {where}.")
    if here.running:
        return PlanCheck("agent", REFUSED, f"It runs here (process {here.pid}) but gives no sign. See {here.log}.")
    return PlanCheck("agent", REFUSED, "None is alive, nothing is backed up. Run `tui-backup agent start`.")


async def _source(session: Session, name: str) -> PlanCheck:
    try:
        async with asyncio.timeout(_SOURCE_TIMEOUT_S):
            return await _tested(session, name)
    except TimeoutError:
        return PlanCheck(f"source {name}", REFUSED, f"No answer within {_SOURCE_TIMEOUT_S:.0f} s.")
    except TuiBackupError as exc:
        return _told(f"source {name}", exc)


async def _tested(session: Session, name: str) -> PlanCheck:
    found = await test_source(session, name)
    worst = _worst(list(found.problems))
    return PlanCheck(f"source {name}", worst.level, worst.message)


def _worst(problems: list[PlanCheck]) -> PlanCheck:
    order = {REFUSED: 0, WARNING: 1, OK: 2}
    return min(problems, key=lambda problem: order[problem.level])
