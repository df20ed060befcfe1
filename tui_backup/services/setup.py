"""Set-up: the embedded catalog, a catalog on a server, upgrades. Everything here is safe to run twice."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tui_backup.catalog import provision
from tui_backup.catalog.connections import (
    AGENT_LOGIN,
    DATABASE,
    MEMBER_LOGIN,
    OWNER_LOGIN,
    with_passfile,
)
from tui_backup.catalog.migrate import migrate
from tui_backup.catalog.passfile import passfile_for, remember, split_password
from tui_backup.config import Config, save_catalog
from tui_backup.embedded import EmbeddedPostgres
from tui_backup.errors import AlreadyExistsError, ConfigError, NotFoundError, NotSetUpError, ValidationError
from tui_backup.model import PlanCheck
from tui_backup.services.doctor import doctor
from tui_backup.services.repositories import add_repository, get_repository
from tui_backup.services.session import Notice, open_session, start_embedded

__all__ = ["InitResult", "PlanCheck", "doctor", "init_embedded", "init_server", "upgrade"]

TENANT = "main"
REPOSITORY = "local"


@dataclass(frozen=True, slots=True)
class InitResult:
    """What init made or found. ``migrations`` are those applied now; ``repository`` is '' where none was made."""

    tenant: str
    admin_login: str
    agent_login: str
    repository: str
    migrations: Sequence[str]


def _say(notice: Notice | None, sentence: str) -> None:
    if notice:
        notice(sentence)


def _check_free(config: Config, *, embedded: bool, dsn: str = "") -> None:
    """Before anything is made: a configuration that names another catalog stops everything.

    Raises:
        ConfigError: it does.
    """
    present = config.settings.catalog
    if config.is_set_up and (present.embedded, present.dsn) != (embedded, dsn):
        raise ConfigError(
            f"{config.file} names another catalog already.", hint="Remove its [catalog] settings first to use this one."
        )


async def init_embedded(config: Config, *, notice: Notice | None = None) -> InitResult:
    """Make the embedded server, the catalog in it, its logins, the tenant ``main`` and the repository ``local``.

    Args:
        config: its file is written; read it again afterwards (``load_config``) when it named no catalog before.
        notice: gets a sentence for people about each step.

    Raises:
        ConfigError: the configuration names another catalog.
        EmbeddedServerError: the server cannot be made or started.
        CatalogVersionError: a newer program made the catalog that is there.
        StoreError, RefusedError: the default repository's folder cannot be used.
    """
    _check_free(config, embedded=True)
    server = EmbeddedPostgres(config.state_dir)
    is_new = not await asyncio.to_thread(lambda: server.is_initialized)
    _say(notice, "Making the embedded catalog." if is_new else "Starting the embedded catalog.")
    await asyncio.to_thread(server.ensure_running)
    await _make_owner(server)
    owner = server.conninfo(DATABASE, OWNER_LOGIN)
    migrations = await migrate(owner)
    async with provision.owner_connection(owner) as connection:
        for login, group in ((MEMBER_LOGIN, "tui_backup_user"), (AGENT_LOGIN, "tui_backup_agent")):
            state = await provision.ensure_login(connection, login, group=group)
            if state.password is not None:
                await asyncio.to_thread(server.remember_password, login, state.password)
        await provision.close_database(connection, DATABASE, OWNER_LOGIN)
        await provision.ensure_tenant(connection, TENANT, MEMBER_LOGIN)
    fresh = config if config.settings.catalog.embedded else _with_embedded(config)
    repository = await _default_repository(fresh)
    # last: what failed on the way must not look like a catalog that is set up
    await asyncio.to_thread(save_catalog, config, embedded=True)
    _say(notice, f"The catalog is ready; backups go to {config.data_dir / 'repository'}.")
    return InitResult(TENANT, MEMBER_LOGIN, AGENT_LOGIN, repository, migrations)


async def _make_owner(server: EmbeddedPostgres) -> None:
    """The catalog's owner is no superuser; only this step is done as one."""
    async with provision.owner_connection(server.conninfo("postgres")) as connection:
        state = await provision.ensure_login(connection, OWNER_LOGIN, attributes="CREATEROLE")
        if state.password is not None:
            await asyncio.to_thread(server.remember_password, OWNER_LOGIN, state.password)
        await provision.ensure_database(connection, DATABASE, OWNER_LOGIN)


def _with_embedded(config: Config) -> Config:
    """The configuration as the file says now, for the same folders."""
    import msgspec

    catalog = msgspec.structs.replace(config.settings.catalog, embedded=True)
    return msgspec.structs.replace(config, settings=msgspec.structs.replace(config.settings, catalog=catalog))


async def _default_repository(config: Config) -> str:
    async with await open_session(config) as session:
        try:
            return (await get_repository(session)).repository_name
        except NotFoundError:
            folder = config.data_dir / "repository"
            await asyncio.to_thread(_make_parent, folder)
            try:
                return (await add_repository(session, REPOSITORY, str(folder), make_default=True)).repository_name
            except AlreadyExistsError:
                # another init was faster
                return REPOSITORY


def _make_parent(folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)


async def init_server(
    config: Config,
    dsn: str,
    *,
    agent_dsn: str = "",
    agent_login: str = "",
    tenant: str = TENANT,
    admin_login: str = "",
    notice: Notice | None = None,
) -> InitResult:
    """Make (or upgrade) a catalog in a database of a server, its first tenant and its logins.

    Logins that are missing are made with random passwords, which go to the product's passfile; those that are there
    keep theirs, found in libpq's own places.

    Args:
        config: its file is written.
        dsn: of the catalog's owner (owns the database, has CREATEROLE) or of a superuser; not kept.
        agent_dsn: of the agent's login, where it differs in more than the login from ``dsn``.
        agent_login: name of the agent's login.
        tenant: name of the first tenant.
        admin_login: login that becomes its admin.
        notice: gets a sentence for people about each step.

    Raises:
        ConfigError: the configuration names another catalog.
        CatalogVersionError: a newer program made the catalog that is there.
        PermissionRefusedError: the DSN's role may not do all this; the hint says what a superuser has to do.
    """
    if not tenant.strip() or not tenant.isprintable():
        raise ValidationError("tenant", "A tenant needs a printable name.")
    base, password = split_password(dsn)
    member = admin_login or MEMBER_LOGIN
    agent = agent_login or str(conninfo_to_dict(agent_dsn).get("user") or "") or AGENT_LOGIN
    member_dsn = make_conninfo(base, user=member)
    wanted_agent, agent_password = split_password(agent_dsn) if agent_dsn else (base, None)
    wanted_agent = make_conninfo(wanted_agent, user=agent)
    _check_free(config, embedded=False, dsn=member_dsn)
    owner = make_conninfo(base, password=password) if password else with_passfile(config.passfile, base)
    _say(notice, "Making the catalog's tables.")
    migrations = await migrate(owner)
    async with provision.owner_connection(owner) as connection:
        for wanted in (
            _Login(member, "tui_backup_user", member_dsn),
            _Login(agent, "tui_backup_agent", wanted_agent, agent_password),
        ):
            await _server_login(config, connection, wanted, notice)
        tenant_id = await provision.ensure_tenant(connection, tenant, member)
    await asyncio.to_thread(save_catalog, config, embedded=False, dsn=member_dsn, agent_dsn=wanted_agent)
    _say(notice, f"The tenant {tenant} ({tenant_id}) has the admin {member}.")
    return InitResult(tenant, member, agent, "", migrations)


@dataclass(frozen=True, slots=True)
class _Login:
    """A login that init makes or finds. ``given`` is the password that its DSN named."""

    login: str
    group: str
    conninfo: str
    given: str | None = None


async def _server_login(
    config: Config, connection: provision.Connection, wanted: _Login, notice: Notice | None
) -> None:
    login, given, conninfo = wanted.login, wanted.given, wanted.conninfo
    state = await provision.ensure_login(connection, login, group=wanted.group)
    password = state.password or given
    if state.password is not None:
        if given is not None:
            # it was named in the DSN, so that is the one that shall count
            await provision.ensure_login(connection, login, password=given)
            password = given
        _say(notice, f"Made the login {login}; its password is in {config.passfile}.")
    if password is not None:
        await asyncio.to_thread(remember, config.passfile, conninfo, password)
    elif passfile_for(config.passfile, conninfo) is None:
        _say(notice, f"The login {login} was there; its password is looked for in libpq's own places (~/.pgpass).")


async def upgrade(config: Config, *, dsn: str = "", notice: Notice | None = None) -> list[str]:
    """Apply the migrations that the catalog lacks.

    Args:
        config: says where the catalog is.
        dsn: of the catalog's owner, needed for a catalog on a server; not kept.
        notice: gets a sentence when the embedded server was started.

    Returns:
        The names of what was applied.

    Raises:
        NotSetUpError: no catalog is configured.
        ValidationError: the owner's DSN is needed and was not given.
        CatalogVersionError: the catalog is newer than this program.
    """
    if not config.is_set_up and not dsn:
        raise NotSetUpError("No catalog is set up here.")
    if dsn:
        base, password = split_password(dsn)
        return await migrate(
            make_conninfo(base, password=password) if password else with_passfile(config.passfile, base)
        )
    if not config.settings.catalog.embedded:
        raise ValidationError(
            "dsn",
            "The catalog is on a server: the DSN of its owner is needed.",
            hint="tui-backup upgrade --catalog 'host=… dbname=… user=OWNER'",
        )
    await start_embedded(config, notice=notice)
    return await migrate(EmbeddedPostgres(config.state_dir).conninfo(DATABASE, OWNER_LOGIN))
