"""Setting up, upgrading and looking over an installation, with the real embedded server and a real agent."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.integration.catalog.world import OWNER, PASSWORD, make_login
from tests.servers import TestServer
from tui_backup.catalog.connections import agent_conninfo, member_conninfo
from tui_backup.catalog.migrate import check_version
from tui_backup.catalog.provision import close_database, owner_connection
from tui_backup.config import Config, load_config
from tui_backup.embedded import EmbeddedPostgres
from tui_backup.errors import (
    AlreadyExistsError,
    AuthenticationError,
    CatalogVersionError,
    ConfigError,
    NotSetUpError,
    PermissionRefusedError,
    ValidationError,
    WorkFailedError,
)
from tui_backup.model import Role
from tui_backup.services.agents import agent_status, ensure_agent, get_agents, start_agent, stop_agent
from tui_backup.services.repositories import get_repository
from tui_backup.services.session import open_session
from tui_backup.services.setup import doctor, init_embedded, init_server, upgrade
from tui_backup.services.sources import add_source


def environment(folder: Path) -> dict[str, str]:
    """An installation of its own."""
    return {"HOME": str(folder), "TUI_BACKUP_CONFIG": str(folder / "config.toml")}


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """The configuration of a machine where nothing is set up."""
    for name in list(os.environ):
        if name.startswith(("TUI_BACKUP_CATALOG", "PG")) or name == "XDG_STATE_HOME":
            monkeypatch.delenv(name)
    (tmp_path / "config.toml").write_text('state_dir = "state"\ndata_dir = "data"\n')
    return load_config(environment(tmp_path))


@pytest.fixture(scope="module")
def embedded_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with an embedded installation, made once."""
    folder = tmp_path_factory.mktemp("embedded")
    (folder / "config.toml").write_text('state_dir = "state"\ndata_dir = "data"\n')
    config = load_config(environment(folder))
    asyncio.run(init_embedded(config))
    yield folder
    EmbeddedPostgres(config.state_dir).destroy()


@pytest.fixture
async def embedded(embedded_folder: Path) -> AsyncIterator[Config]:
    config = load_config(environment(embedded_folder))
    await asyncio.to_thread(EmbeddedPostgres(config.state_dir).ensure_running)
    yield config
    await stop_agent(config)


async def test_an_embedded_catalog_is_made_private_and_complete(embedded: Config) -> None:
    assert embedded.settings.catalog.embedded
    async with await open_session(embedded) as session:
        me = session.identity
        assert (me.login, me.tenant_name, me.role) == ("tui_backup", "main", Role.ADMIN)
        repository = await get_repository(session)
        assert (repository.repository_name, repository.is_default) == ("local", True)
        assert repository.location == str(embedded.data_dir / "repository")
    assert stat.S_IMODE((embedded.data_dir / "repository").stat().st_mode) == 0o700
    server = EmbeddedPostgres(embedded.state_dir)
    assert stat.S_IMODE(server.passfile.stat().st_mode) == 0o600
    with psycopg.connect(server.conninfo("tui_backup")) as connection:
        roles = connection.execute(
            "SELECT rolname, rolsuper, rolcreaterole, rolbypassrls FROM pg_roles WHERE rolcanlogin ORDER BY 1"
        ).fetchall()
        assert roles == [
            ("postgres", True, True, True),
            ("tui_backup", False, False, False),
            ("tui_backup_agent_login", False, False, False),
            ("tui_backup_owner", False, True, False),
        ]
        # nobody but those who are asked in
        assert connection.execute("SELECT has_database_privilege('public', 'tui_backup', 'CONNECT')").fetchone() == (
            False,
        )
    with psycopg.connect(agent_conninfo(embedded)) as connection:
        row = connection.execute("SELECT session_user::text, tui_backup.is_agent()").fetchone()
        assert row == ("tui_backup_agent_login", True)
    for conninfo in (agent_conninfo(embedded), member_conninfo(embedded)):
        assert "password" not in conninfo_to_dict(conninfo)


async def test_init_again_changes_nothing(embedded: Config) -> None:
    before = EmbeddedPostgres(embedded.state_dir).passfile.read_text(), embedded.file.read_text()
    said: list[str] = []
    results = await asyncio.gather(*(init_embedded(embedded, notice=said.append) for _ in range(2)))
    for result in results:
        assert (result.tenant, result.repository, list(result.migrations)) == ("main", "local", [])
    assert (EmbeddedPostgres(embedded.state_dir).passfile.read_text(), embedded.file.read_text()) == before
    assert said
    assert await upgrade(embedded) == []


async def test_many_at_once_take_turns(embedded: Config) -> None:
    owner = EmbeddedPostgres(embedded.state_dir).conninfo("tui_backup", "tui_backup_owner")

    async def close() -> None:
        async with owner_connection(owner) as connection:
            await close_database(connection, "tui_backup", "tui_backup_owner")

    for _ in range(5):
        await asyncio.gather(*(close() for _ in range(8)))
    with psycopg.connect(owner) as connection:
        told = connection.execute("SELECT has_database_privilege('public', 'tui_backup', 'CONNECT')").fetchone()
    assert told == (False,)


async def test_an_upgrade_of_the_embedded_catalog(embedded: Config) -> None:
    owner = EmbeddedPostgres(embedded.state_dir).conninfo("tui_backup", "tui_backup_owner")
    with psycopg.connect(owner) as connection:
        connection.execute("DROP TRIGGER backup_jobs_schedule_status ON tui_backup.backup_jobs")
        connection.execute("DROP FUNCTION tui_backup.follow_job_status()")
        connection.execute("DELETE FROM tui_backup.schema_migrations WHERE name = '0004_schedule_status.sql'")
    # never silently: the old catalog is refused, and the hint says what to do
    with pytest.raises(CatalogVersionError) as caught:
        await open_session(embedded)
    assert "upgrade" in caught.value.hint
    (line,) = [check for check in await doctor(embedded) if check.name == "catalog"]
    assert line.level == "refused" and "upgrade" in line.message
    await asyncio.to_thread(EmbeddedPostgres(embedded.state_dir).stop)
    said: list[str] = []
    assert await upgrade(embedded, notice=said.append) == ["0004_schedule_status.sql"]
    assert said == ["Started the embedded catalog."]
    await check_version(member_conninfo(embedded))


async def test_a_stopped_embedded_server_is_started_by_a_session(embedded: Config) -> None:
    server = EmbeddedPostgres(embedded.state_dir)
    await asyncio.to_thread(server.stop)
    said: list[str] = []
    async with await open_session(embedded, notice=said.append) as session:
        assert session.is_connected
    assert said == ["Started the embedded catalog."]


async def test_an_agent_lives_on_by_itself_and_stops_when_asked(embedded: Config) -> None:
    assert not (await agent_status(embedded)).running
    assert not await stop_agent(embedded)
    async with await open_session(embedded) as session:
        said: list[str] = []
        assert await ensure_agent(session, notice=said.append)
        status = await agent_status(embedded)
        assert status.running and status.pid and said == [f"Started the agent (process {status.pid})."]
        # a session of its own, and nobody's child
        assert os.getsid(status.pid) != os.getsid(0)
        assert Path(f"/proc/{status.pid}/stat").read_text().rpartition(")")[2].split()[1] != str(os.getpid())
        assert [agent.pid for agent in await get_agents(session) if agent.is_alive] == [status.pid]
        assert await ensure_agent(session, notice=said.append) and len(said) == 1
        with pytest.raises(AlreadyExistsError, match=str(status.pid)):
            await start_agent(embedded)
        os.kill(status.pid, signal.SIGHUP)
        await asyncio.sleep(0.5)
        assert (await agent_status(embedded)).pid == status.pid
    started = time.monotonic()
    assert await stop_agent(embedded)
    assert time.monotonic() - started < 30
    assert not (await agent_status(embedded)).running


async def test_an_agent_that_cannot_work_says_why(fresh: Config, tmp_path: Path) -> None:
    with pytest.raises(NotSetUpError):
        await start_agent(fresh)
    (tmp_path / "config.toml").write_text(
        'state_dir = "state"\n[catalog]\ndsn = "host=127.0.0.1 port=1"\nnonsense = 1\n'
    )
    config = Config(
        settings=fresh.settings.__class__(catalog=fresh.settings.catalog.__class__(dsn="host=127.0.0.1 port=1")),
        file=fresh.file,
        state_dir=fresh.state_dir,
        data_dir=fresh.data_dir,
    )
    with pytest.raises(WorkFailedError, match="nonsense") as caught:
        await start_agent(config)
    assert str(config.agent_log) in caught.value.hint


async def test_the_doctor_looks_at_everything(embedded: Config, tmp_path: Path) -> None:
    async with await open_session(embedded) as session:
        await add_source(session, "gone", "host=127.0.0.1 port=1 user=u dbname=d password=topsecret")
    checks = {check.name: check for check in await doctor(embedded)}
    assert {name: check.level for name, check in checks.items()} == {
        "configuration": "ok",
        "state folder": "ok",
        "passfile": "ok",
        "client tools": checks["client tools"].level,
        "embedded server": "ok",
        "catalog": "ok",
        "agent": "refused",
        "repository local": "ok",
        "source gone": "refused",
    }
    assert "agent start" in checks["agent"].message
    assert "topsecret" not in repr(checks)
    nothing = await doctor(load_config(environment(tmp_path)))
    assert [check.level for check in nothing if check.name == "catalog"] == ["refused"]


# -- on a server -------------------------------------------------------------------------------------------------------


async def test_a_catalog_on_a_server(pg_any: TestServer, fresh: Config, tmp_path: Path) -> None:
    make_login(pg_any, OWNER, "CREATEROLE")
    database = pg_any.create_database(owner=OWNER)
    dsn = pg_any.dsn(database, OWNER, PASSWORD)
    suffix = database[-6:]
    logins = {"admin_login": f"w_boss_{suffix}", "agent_login": f"w_hand_{suffix}"}
    try:
        said: list[str] = []
        result = await init_server(fresh, dsn, tenant="acme corp", notice=said.append, **logins)
        assert (result.tenant, result.admin_login) == ("acme corp", logins["admin_login"])
        assert result.migrations and "password" not in fresh.file.read_text().lower()
        config = load_config(environment(tmp_path))
        async with await open_session(config) as session:
            assert (session.identity.tenant_name, session.identity.role) == ("acme corp", Role.ADMIN)
            # there is no repository yet, and it is not ours to start agents here
            assert not await ensure_agent(session)
        with psycopg.connect(agent_conninfo(config)) as connection:
            assert connection.execute("SELECT tui_backup.is_agent()").fetchone() == (True,)
        passfile = config.passfile.read_text()
        again = await init_server(config, dsn, tenant="acme corp", **logins)
        assert list(again.migrations) == [] and config.passfile.read_text() == passfile
        assert await upgrade(config, dsn=dsn) == []
        with pytest.raises(ValidationError, match="owner"):
            await upgrade(config)
        with pytest.raises(ConfigError, match="another catalog"):
            await init_embedded(config)
        assert PASSWORD not in repr(said) + config.file.read_text() + passfile
    finally:
        pg_any.drop_database(database)


async def test_a_superuser_sets_up_and_is_kept_out(pg: TestServer, fresh: Config, tmp_path: Path) -> None:
    database = pg.create_database()
    try:
        await init_server(fresh, pg.dsn(database), admin_login="w_chief", agent_login="w_worker")
        async with await open_session(load_config(environment(tmp_path))) as session:
            assert session.identity.login == "w_chief"
        rows = pg.execute("SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname LIKE 'tui_backup%'", database)
        assert rows == [("tui_backup_owner",)]
    finally:
        pg.drop_database(database)


async def test_what_stands_in_the_way_on_a_server(pg: TestServer, fresh: Config) -> None:
    make_login(pg, "w_nobody")
    database = pg.create_database()
    try:
        with pytest.raises(PermissionRefusedError) as caught:
            await init_server(fresh, pg.dsn(database, "w_nobody", PASSWORD))
        assert "CREATEROLE" in caught.value.hint
        # what failed has not been written down as if it had been done
        assert not load_config({"HOME": "/", "TUI_BACKUP_CONFIG": str(fresh.file)}).is_set_up
        with pytest.raises(AuthenticationError):
            await init_server(fresh, pg.dsn(database, "w_nobody", "topsecret"))
        with pytest.raises(ValidationError):
            await init_server(fresh, pg.dsn(database), tenant=" ")
    finally:
        pg.drop_database(database)
