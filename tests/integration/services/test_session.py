"""Who gets in, as whom, and what a catalog that goes away looks like."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import jwt
import psycopg
import pytest

from tests.integration.catalog.world import (
    BOTH,
    GATEWAY,
    OWNER,
    PASSWORD,
    STRANGER,
    World,
    login_of,
    make_login,
    make_world,
)
from tests.integration.services.installation import changed, configure
from tests.servers import TestServer
from tui_backup.config import Config, Settings
from tui_backup.errors import (
    AuthenticationError,
    CatalogUnavailableError,
    CatalogVersionError,
    NotSetUpError,
    PermissionRefusedError,
    TuiBackupError,
)
from tui_backup.model import BackupJobInsert, Role
from tui_backup.services.backups import create_backup_job, get_backup_jobs
from tui_backup.services.session import open_session

SECRET = "s" * 48


async def test_the_connection_says_who_we_are(world_any: World, tmp_path: Path) -> None:
    for tenant in ("acme", "globex"):
        login = login_of(tenant, "operator")
        async with await open_session(configure(world_any, tmp_path, login)) as session:
            me = session.identity
            assert (me.login, me.tenant_id, me.tenant_name) == (login, world_any.tenants[tenant], tenant)
            assert (me.role, me.user_id, me.is_platform) == (Role.OPERATOR, world_any.users[login], False)
            assert session.is_connected


async def test_nothing_set_up(tmp_path: Path) -> None:
    nothing = Config(settings=Settings(), file=tmp_path / "c", state_dir=tmp_path, data_dir=tmp_path)
    with pytest.raises(NotSetUpError):
        await open_session(nothing)
    embedded = changed(nothing, embedded=True)
    with pytest.raises(NotSetUpError, match="has not been made"):
        await open_session(embedded)


async def test_who_does_not_get_in(world: World, tmp_path: Path) -> None:
    make_login(world.server, "w_outside")
    for login, said in ((STRANGER, "member of no tenant"), ("w_outside", "no access"), (OWNER, "member of no tenant")):
        with pytest.raises(AuthenticationError, match=said) as caught:
            await open_session(configure(world, tmp_path, login))
        assert caught.value.exit_status == 3 and "tui_backup_user" in caught.value.hint
    wrong = changed(configure(world, tmp_path, STRANGER), dsn=world.server.dsn(world.database, STRANGER, "topsecret"))
    with pytest.raises(AuthenticationError, match="password authentication failed") as caught:
        await open_session(wrong)
    assert "topsecret" not in str(caught.value.to_json())


async def test_a_superuser_does_not_get_in(world: World, tmp_path: Path) -> None:
    config = changed(configure(world, tmp_path, STRANGER), dsn=world.server.dsn(world.database))
    with pytest.raises(AuthenticationError, match="above row security"):
        await open_session(config)


async def test_a_member_of_several_tenants_chooses(world: World, tmp_path: Path) -> None:
    config = configure(world, tmp_path, BOTH)
    with pytest.raises(AuthenticationError, match="acme, globex") as caught:
        await open_session(config)
    assert "catalog.tenant" in caught.value.hint
    with pytest.raises(AuthenticationError, match="not a member"):
        await open_session(changed(config, tenant="umbrella"))
    for chosen, role in (("acme", Role.ADMIN), (str(world.tenants["globex"]), Role.EMPLOYEE)):
        async with await open_session(changed(config, tenant=chosen)) as session:
            assert session.identity.role is role
            repository = world.add_repository(session.identity.tenant_name, f"r{role}")
            source = world.add_source(session.identity.tenant_name, f"s{role}")
            assert repository and source
            if role is Role.ADMIN:
                job = await create_backup_job(session, BackupJobInsert(source=f"s{role}"))
                assert job.tenant_id == world.tenants["acme"]
            else:
                with pytest.raises(PermissionRefusedError):
                    await create_backup_job(session, BackupJobInsert(source=f"s{role}"))


def _token(tmp_path: Path, user: object, *, seconds: float = 60, **claims: object) -> None:
    body = {"sub": str(user), "aud": "backup", "exp": time.time() + seconds, **claims}
    fresh = tmp_path / "token.new"
    fresh.write_text(jwt.encode(body, SECRET, algorithm="HS256"))
    fresh.replace(tmp_path / "token")


async def test_a_gateway_works_for_the_tokens_user(world: World, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET)
    config = configure(
        world,
        tmp_path,
        GATEWAY,
        token_file=str(tmp_path / "token"),
        jwt_secret_file=str(tmp_path / "secret"),
        jwt_audience="backup",
    )
    user = world.users[login_of("acme", "operator")]
    world.add_source("acme")
    world.add_repository("acme")
    _token(tmp_path, user)
    async with await open_session(config) as session:
        assert (session.identity.login, session.identity.user_id) == (GATEWAY, user)
        assert session.identity.role is Role.OPERATOR
        job = await create_backup_job(session, BackupJobInsert(source="shop"))
        assert job.created_by == user
        assert [found.id for found in await get_backup_jobs(session)] == [job.id]
        # the token runs out while the session is open, and is renewed
        _token(tmp_path, user, seconds=-31)
        with pytest.raises(AuthenticationError, match="expired"):
            await get_backup_jobs(session)
        _token(tmp_path, user)
        assert len(await get_backup_jobs(session)) == 1
        _token(tmp_path, world.users[login_of("globex", "admin")])
        with pytest.raises(AuthenticationError, match="another user"):
            await get_backup_jobs(session)
    _token(tmp_path, uuid4())
    with pytest.raises(AuthenticationError, match="member of no tenant"):
        await open_session(config)


async def test_a_database_without_a_catalog(pg: TestServer, database: str, tmp_path: Path) -> None:
    config = Config(settings=Settings(), file=tmp_path / "c", state_dir=tmp_path, data_dir=tmp_path)
    with pytest.raises(CatalogVersionError, match="no catalog"):
        await open_session(changed(config, dsn=pg.dsn(database)))


async def test_no_server(tmp_path: Path) -> None:
    config = Config(settings=Settings(), file=tmp_path / "c", state_dir=tmp_path, data_dir=tmp_path)
    with pytest.raises(CatalogUnavailableError):
        await open_session(changed(config, dsn="host=127.0.0.1 port=1 user=u dbname=d"))


async def test_a_server_that_restarts_is_found_again(pg_new: Callable[..., TestServer], tmp_path: Path) -> None:
    server = pg_new()
    world = await asyncio.to_thread(make_world, server)
    async with await open_session(configure(world, tmp_path, login_of("acme", "admin"))) as session:
        assert await get_backup_jobs(session) == []
        world.close()
        server.restart("immediate")
        # the pool finds its dead connections out before the user's query does
        assert await get_backup_jobs(session) == []
        world.close()
        server.stop("immediate")
        # ten seconds in life
        session.catalog._pool.timeout = 1.0  # pyright: ignore[reportPrivateUsage]
        with pytest.raises(CatalogUnavailableError):
            await get_backup_jobs(session)
        assert not session.is_connected and isinstance(session.error, TuiBackupError)
        server.start()
        deadline = time.monotonic() + 20
        while not session.is_connected and time.monotonic() < deadline:
            try:
                await get_backup_jobs(session)
            except CatalogUnavailableError:
                continue
        assert session.is_connected and session.error is None


async def test_a_password_in_libpqs_own_place_is_used(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    login = login_of("acme", "admin")
    config = configure(world, tmp_path, login)
    config.passfile.rename(tmp_path / "own")
    with pytest.raises(AuthenticationError, match="no password supplied"):
        await open_session(config)
    monkeypatch.setenv("PGPASSFILE", str(tmp_path / "own"))
    async with await open_session(config) as session:
        assert session.identity.login == login


async def test_what_a_connection_is_set_to(world: World, tmp_path: Path) -> None:
    async with await open_session(configure(world, tmp_path, login_of("acme", "admin"))) as session:
        row = await session.catalog.one(
            b"SELECT current_setting('application_name') AS name, current_setting('statement_timeout') AS limit_,"
            b" current_setting('search_path') AS path, current_setting('tui_backup.tenant') AS tenant"
        )
    assert row == {
        "name": "tui-backup",
        "limit_": "15s",
        "path": "pg_catalog",
        "tenant": str(world.tenants["acme"]),
    }
    assert psycopg.conninfo.conninfo_to_dict(session.catalog.conninfo).get("password") is None
    assert PASSWORD not in session.catalog.conninfo
