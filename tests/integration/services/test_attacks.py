"""The attack suite on the services: each function, each attacker, and what must come of it, written down.

A new function of tui_backup.services without a row here fails.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import json
import pkgutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import jwt
import msgspec
import pytest

from tests.integration.catalog.attack_world import HIDDEN, Stock
from tests.integration.catalog.world import GATEWAY, STRANGER, World, login_of
from tests.integration.services.conftest import OpenAs
from tests.integration.services.installation import configure
from tui_backup import services
from tui_backup.catalog.tokens import TOKEN_VARIABLE
from tui_backup.errors import AuthenticationError, TuiBackupError
from tui_backup.model import BackupJobInsert, RestoreRequest
from tui_backup.services.logins import log_in, log_out
from tui_backup.services.schedules import BackupScheduleInsert
from tui_backup.services.session import Session, open_session
from tui_backup.services.tenant_maps import TenantMapChanges

ATTACKERS = (login_of("globex", "admin"), login_of("acme", "employee"), login_of("acme", "operator"))


@dataclass
class Aim:
    """The first tenant's objects, which the attacker somehow knows of."""

    stock: Stock
    folder: Path

    def __getattr__(self, name: str) -> Any:
        return self.stock.ids["acme"][name]


@dataclass
class Row:
    """How a function is called, and what comes of it for the other tenant's admin, own employee, own operator."""

    call: Callable[[Aim], tuple[tuple[Any, ...], dict[str, Any]]]
    expected: tuple[str, str, str]


def with_(*names: str, **options: Any) -> Callable[[Aim], tuple[tuple[Any, ...], dict[str, Any]]]:
    """The aim's ids of these names as arguments."""
    return lambda aim: (tuple(getattr(aim, name) for name in names), options)


def given(*values: Any, **options: Any) -> Callable[[Aim], tuple[tuple[Any, ...], dict[str, Any]]]:
    """Fixed arguments."""
    return lambda aim: (values, options)


NOT_FOUND, DENIED = "not_found", "not_permitted"
GONE = (NOT_FOUND, NOT_FOUND, NOT_FOUND)
EVERYBODY = ("ok", "ok", "ok")
MEMBERS = (NOT_FOUND, "ok", "ok")
OPERATORS = (NOT_FOUND, DENIED, "ok")
ADMINS = (NOT_FOUND, DENIED, DENIED)
NO_FILES = (NOT_FOUND, "repository_unavailable", "repository_unavailable")
"""Allowed, but the tests' repository is at no real place."""
UNREACHABLE = (NOT_FOUND, "connection_failed", "connection_failed")


async def never() -> bool:
    return True


ROWS: dict[str, Row] = {
    "agents.get_agents": Row(given(), EVERYBODY),
    "agents.ensure_agent": Row(given(), EVERYBODY),
    "backups.create_backup_job": Row(given(BackupJobInsert(source="acme-shop")), OPERATORS),
    "backups.get_backup_jobs": Row(given(), EVERYBODY),
    "backups.get_backup_job_by_id": Row(with_("job"), MEMBERS),
    "backups.get_backup_contents": Row(with_("job"), NO_FILES),
    "backups.download_backup_file": Row(lambda aim: ((aim.job, aim.folder / "f"), {}), ADMINS),
    "backups.estimate_backup": Row(given("acme-shop"), UNREACHABLE),
    "backups.cancel_backup_job": Row(with_("pending"), OPERATORS),
    "backups.delete_backup_job": Row(with_("job", confirm=True, timeout_s=0.1), ADMINS),
    "lookup.read": Row(given("jobs", (), {}), EVERYBODY),
    "lookup.read_one": Row(lambda aim: (("jobs", aim.job), {"what": "job"}), MEMBERS),
    "patience.wait_until": Row(given(never, timeout_s=1, what="x"), EVERYBODY),
    "repositories.add_repository": Row(lambda aim: (("new", str(aim.folder / "new")), {}), ("ok", DENIED, DENIED)),
    "repositories.get_repositories": Row(given(), EVERYBODY),
    "repositories.get_repository": Row(given("acme-store"), MEMBERS),
    "repositories.check_repository": Row(given("acme-store"), MEMBERS),
    "repositories.get_repository_policy": Row(given("acme", "acme-store"), ADMINS),
    "repositories.remove_repository": Row(given("acme-store", confirm=True), ADMINS),
    "restores.plan_restore": Row(
        lambda aim: ((RestoreRequest(aim.job, database="d"),), {}), (NOT_FOUND, DENIED, "repository_unavailable")
    ),
    "restores.restore_from_backup": Row(
        lambda aim: ((RestoreRequest(aim.job, database="d", confirm_restore=True),), {}), OPERATORS
    ),
    "restores.get_restore_logs": Row(given(), EVERYBODY),
    "restores.get_restore_log_by_id": Row(with_("restore"), MEMBERS),
    "restores.cancel_restore": Row(with_("restore"), (NOT_FOUND, DENIED, "wrong_state")),
    "restores.undo_restore": Row(with_("restore", timeout_s=0.1), ADMINS),
    "restores.finish_restore": Row(with_("restore", confirm=True, timeout_s=0.1), ADMINS),
    "schedules.create_backup_schedule": Row(
        given(BackupScheduleInsert(schedule_name="s", source="acme-shop", cron_expression="0 2 * * *")), ADMINS
    ),
    "schedules.get_backup_schedules": Row(given(), EVERYBODY),
    "schedules.get_backup_schedule": Row(with_("schedule"), MEMBERS),
    "schedules.update_backup_schedule": Row(lambda aim: ((aim.schedule, {"description": "x"}), {}), ADMINS),
    "schedules.toggle_backup_schedule": Row(lambda aim: ((aim.schedule, False), {}), ADMINS),
    "schedules.delete_backup_schedule": Row(with_("schedule"), ADMINS),
    "sources.add_source": Row(given("new", "host=127.0.0.1 port=1 dbname=x"), ("ok", DENIED, DENIED)),
    "sources.get_sources": Row(given(), EVERYBODY),
    "sources.get_source": Row(given("acme-shop"), MEMBERS),
    "sources.passfile_of": Row(lambda aim: ((_source_of(aim),), {}), EVERYBODY),
    "sources.test_source": Row(given("acme-shop"), UNREACHABLE),
    "sources.list_source_tables": Row(given("acme-shop"), UNREACHABLE),
    "sources.remove_source": Row(given("acme-shop", confirm=True), ADMINS),
    "statistics.get_backup_statistics": Row(given(), EVERYBODY),
    "statistics.get_safety": Row(given(), EVERYBODY),
    "statistics.end_lost_runs": Row(given(), EVERYBODY),
    "tenant_maps.get_tenant_map": Row(given("acme-shop"), UNREACHABLE),
    "tenant_maps.set_tenant_map": Row(
        given("acme-shop", TenantMapChanges(column="org_id")), (NOT_FOUND, "connection_failed", "connection_failed")
    ),
    "storage.get_storage": Row(given(), EVERYBODY),
    "storage.measure_storage": Row(given(), ("repository_unavailable", DENIED, DENIED)),
    "stored.storage_allows": Row(given("view"), EVERYBODY),
    "verifications.verify_backup": Row(with_("job"), OPERATORS),
    "verifications.get_verification": Row(with_("verification"), MEMBERS),
    "verifications.get_latest_verification": Row(with_("job"), MEMBERS),
    "verifications.cancel_verification": Row(with_("verification"), (NOT_FOUND, DENIED, "wrong_state")),
    "waiting.wait_for_job": Row(with_("job"), MEMBERS),
    "waiting.wait_for_restore": Row(with_("restore"), MEMBERS),
    "waiting.wait_for_verification": Row(with_("verification"), MEMBERS),
}

BEFORE_THE_CATALOG = {
    "agent_lock.lock_path",
    "agent_lock.running_agent_pid",
    "agents.agent_status",
    "agents.start_agent",
    "agents.stop_agent",
    "doctor.doctor",
    "logins.log_in",
    "logins.log_out",
    "session.open_session",
    "session.start_embedded",
    "setup.init_embedded",
    "setup.init_server",
    "setup.upgrade",
}
"""They work with the caller's own files and logins; what these may is PostgreSQL's and the system's word."""

NO_CATALOG = {
    "tenant_map_facts.change_map",
    "tenant_map_facts.read_map",
    "tenant_maps.split_rule",
    "tenant_restores.check_tenant_request",
    "tenant_words.scope_words",
    "tenant_words.tenant_lines",
    "cron.parse_zone",
    "cron.zone_names",
    "incrementals.read_everything_because",
    "incrementals.reuse_lines",
    "lookup.compose",
    "lookup.id_range",
    "names.check_name",
    "new_file.new_file",
    "repositories.free_bytes_of",
    "schedules.next_runs",
    "schedules.validate_schedule",
    "source_facts.list_tables",
    "source_facts.look",
    "stored.check_restorable",
    "stored.open_repository",
    "stored.opened_backup",
    "utilities.clean_text",
    "utilities.describe_cron",
    "utilities.format_age",
    "utilities.format_bytes",
    "utilities.format_duration",
    "utilities.get_status_color",
    "utilities.validate_cron_expression",
}
"""They take values that the caller has already, and ask the catalog nothing."""

WATCHED_APART = {
    "events.watch",
    # these get a job that restores.plan_restore and the commands have looked up under row security
    "tenant_restores.plan_by_agent",
    "tenant_restores.write_rows",
}


def _source_of(aim: Aim) -> Any:
    from tui_backup.model import Source

    (row,) = aim.stock.world.superuser("SELECT * FROM tui_backup.sources WHERE id = %s", (aim.source,))
    return Source(
        row["id"],
        row["source_name"],
        "host=127.0.0.1 dbname=x",
        row["tenant_id"],
        row["rpo_seconds"],
        row["created_at"],
    )


def public_functions() -> dict[str, Any]:
    """Every function of the package by ``module.name``."""
    found: dict[str, Any] = {}
    for module in pkgutil.walk_packages(services.__path__, "tui_backup.services."):
        loaded = importlib.import_module(module.name)
        for name, value in vars(loaded).items():
            if inspect.isfunction(value) and value.__module__ == module.name and not name.startswith("_"):
                found[f"{module.name.removeprefix('tui_backup.services.')}.{name}"] = value
    return found


def test_every_service_function_has_a_row() -> None:
    found = public_functions()
    assert set(found) == {*ROWS, *BEFORE_THE_CATALOG, *NO_CATALOG, *WATCHED_APART}
    for name, function in found.items():
        # whoever asks the catalog does it with a session, and with nothing else
        first = next(iter(inspect.signature(function).parameters), "")
        assert (first == "session") == (name in ROWS or name in WATCHED_APART), name


@pytest.mark.parametrize("name", ROWS)
def test_no_function_takes_a_tenant_to_act_in(name: str) -> None:
    named = [one for one in inspect.signature(public_functions()[name]).parameters if "tenant" in one]
    # the one that is asked about a tenant looks it up among those that the session may see
    told = {
        "repositories.get_repository_policy": ["tenant"],
        # the name of a column in the source
        "sources.add_source": ["tenant_column"],
    }
    assert named == told.get(name, [])


@pytest.mark.parametrize("place", range(len(ATTACKERS)), ids=ATTACKERS)
async def test_services(world: World, open_as: OpenAs, tmp_path: Path, place: int) -> None:
    stock = Stock(world)
    aim = Aim(stock, tmp_path)
    before = stock.rows_of("acme")
    session = await open_as(ATTACKERS[place])
    found: dict[str, str] = {}
    functions = public_functions()
    for name, row in ROWS.items():
        arguments, options = row.call(aim)
        found[name], text = await _outcome(functions[name], session, arguments, options)
        if place == 0:
            assert HIDDEN not in text, (name, text)
    assert len(found) == len(ROWS)
    other = [f"{name}: {word}" for name, word in found.items() if word != ROWS[name].expected[place]]
    assert other == []
    if place < 2:
        assert stock.rows_of("acme") == before
    if place == 2:
        # what an operator may start is all that has changed: no schedule, source or place of storage
        after = stock.rows_of("acme")
        for table in ("sources", "repositories", "backup_schedules", "stored_objects", "stored_sizes"):
            assert after[table] == before[table], table


async def _outcome(
    function: Callable[..., Any], session: Session, arguments: tuple[Any, ...], options: dict[str, Any]
) -> tuple[str, str]:
    """``ok`` or the error's code, and all that was said."""
    try:
        result = function(session, *arguments, **options)
        if inspect.isawaitable(result):
            result = await asyncio.wait_for(result, 10)
    except TuiBackupError as exc:
        return exc.code, json.dumps(exc.to_json(), default=str)
    return "ok", repr(result)


async def test_watching_tells_another_tenant_an_id_at_most(world: World, open_as: OpenAs) -> None:
    """FALLS SHORT: the channel is one for all tenants, so that the id of what changed is heard; no row, no kind."""
    from tui_backup.services.events import watch

    stock = Stock(world)
    session = await open_as(ATTACKERS[0])
    heard: list[Any] = []

    async def listen() -> None:
        async for event in watch(session, poll_s=0.2):
            heard.append(event)

    task = asyncio.create_task(listen())
    await asyncio.sleep(0.6)
    heard.clear()
    for tenant in ("acme", "globex"):
        world.superuser(
            "UPDATE tui_backup.backup_jobs SET description = 'new' WHERE id = %s", (stock.ids[tenant]["job"],)
        )
    await asyncio.sleep(0.8)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    theirs = {getattr(event, "id", None): event for event in heard}
    assert str(stock.ids["globex"]["job"]) in repr(heard) and HIDDEN not in repr(heard)
    told = [theirs[one] for one in stock.ids["acme"].values() if one in theirs]
    assert all((event.kind, event.row) == ("gone", None) for event in told)


# -- no session at all: nothing can be called --------------------------------------------------------------------------

SECRET = "s" * 64


def token(key: str | None = SECRET, algorithm: str = "HS256", **changes: Any) -> str:
    claims = {"sub": str(uuid4()), "aud": "backup", "exp": int(time.time()) + 60, **changes}
    return jwt.encode(claims, key, algorithm=algorithm)  # type: ignore[arg-type]


BAD_TOKENS: dict[str, Callable[[str], str]] = {
    "expired": lambda user: token(sub=user, exp=int(time.time()) - 60),
    "not yet valid": lambda user: token(sub=user, nbf=int(time.time()) + 60),
    "unsigned": lambda user: token(sub=user).rsplit(".", 1)[0] + ".",
    "alg=none": lambda user: token(None, "none", sub=user),
    "wrong audience": lambda user: token(sub=user, aud="other"),
    "another key": lambda user: token("t" * 64, sub=user),
    "nobody": lambda user: token(),
    "another tenant": lambda user: token(sub=user, tenant_id=str(uuid4())),
}


@pytest.fixture
def by_token(world: World, tmp_path: Path) -> Any:
    (tmp_path / "secret").write_text(SECRET)
    return configure(world, tmp_path, GATEWAY, jwt_secret_file=str(tmp_path / "secret"), jwt_audience="backup")


@pytest.mark.parametrize("case", BAD_TOKENS)
async def test_a_bad_token_opens_no_session(
    world: World, by_token: Any, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = str(world.users[login_of("acme", "admin")])
    bad = BAD_TOKENS[case](user)
    monkeypatch.setenv(TOKEN_VARIABLE, bad)
    with pytest.raises(AuthenticationError) as caught:
        await open_session(by_token)
    assert bad not in json.dumps(caught.value.to_json())
    monkeypatch.delenv(TOKEN_VARIABLE)
    with pytest.raises(AuthenticationError):
        await log_in(by_token, bad)
    assert not by_token.kept_token.exists()


async def test_login_keeps_a_good_token_and_logout_removes_it(
    world: World, by_token: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    user = world.users[login_of("acme", "operator")]
    with pytest.raises(AuthenticationError, match="Nobody is logged in"):
        await open_session(by_token)
    done = await log_in(by_token, token(sub=str(user)) + "\n")
    assert done.user_id == user and done.memberships == ["acme (operator)"]
    assert 0 < done.expires_at.timestamp() - time.time() <= 60
    assert by_token.kept_token.stat().st_mode & 0o777 == 0o600
    async with await open_session(by_token) as session:
        assert (session.identity.user_id, session.identity.tenant_name) == (user, "acme")
        # somebody else's token in its place does not make this session somebody else's
        by_token.kept_token.write_text(token(sub=str(world.users[login_of("globex", "admin")])))
        with pytest.raises(AuthenticationError, match="another user"):
            await session.catalog.rows("repositories")
    assert log_out(by_token) and not log_out(by_token)


async def test_a_direct_login_is_no_gateway(world: World, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET)
    config = configure(
        world, tmp_path, login_of("acme", "employee"), jwt_secret_file=str(tmp_path / "secret"), jwt_audience="backup"
    )
    admin = token(sub=str(world.users[login_of("acme", "admin")]))
    with pytest.raises(AuthenticationError, match="no gateway"):
        await log_in(config, admin)
    config.kept_token.write_text(admin)
    async with await open_session(config) as session:
        assert session.identity.role == "employee"


@pytest.mark.parametrize("login", [STRANGER, GATEWAY, "w_nobody"])
async def test_without_membership_there_is_no_session(world: World, tmp_path: Path, login: str) -> None:
    with pytest.raises(AuthenticationError):
        await open_session(configure(world, tmp_path, login))


def test_the_configuration_stays_typed() -> None:
    from tui_backup.config import CatalogConfig

    assert "jwt_jwks" in {field.name for field in msgspec.structs.fields(CatalogConfig)}
