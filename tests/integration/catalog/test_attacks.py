"""The attack suite on the catalog's SQL: each object, each attacker, and what must come of it, written down.

A new table, view or function without a row here fails. What is known to fall short stands here too, as such.
"""

from __future__ import annotations

import json
from typing import Any

import psycopg
import pytest
from psycopg import sql

from tests.integration.catalog.attack_world import HIDDEN, OWN_TABLES, Stock
from tests.integration.catalog.world import AGENT, GATEWAY, OWNER, STRANGER, World, login_of

OTHER, EMPLOYEE, OPERATOR = login_of("globex", "admin"), login_of("acme", "employee"), login_of("acme", "operator")
ADMIN = login_of("acme", "admin")
ATTACKERS = (STRANGER, GATEWAY, OTHER, EMPLOYEE, OPERATOR)
"""A login without membership; a gateway whose token did not hold (it comes without claims); and members."""

# -- what is expected --------------------------------------------------------------------------------------------------

# what a member reads, what a login without membership (or a gateway without claims) reads
READS = {
    **dict.fromkeys(OWN_TABLES, ("own", "none")),
    "tenants": ("own", "none"),
    "memberships": ("own", "none"),
    "agents": ("all", "all"),
    "schema_migrations": ("all", "all"),
    "storage_rules": ("denied", "denied"),
    "source_shares": ("denied", "denied"),
    "repository_shares": ("denied", "denied"),
}

DENIED = ("denied",) * 5
_ANY = ("ok",) * 5
# for the attackers in their order; arguments are the first tenant's ids
FUNCTIONS: dict[str, tuple[str, tuple[str, ...]]] = {
    "is_agent": ("", ("False",) * 5),
    "is_gateway": ("", ("False", "True", "False", "False", "False")),
    "current_membership": ("", _ANY),
    "my_memberships": ("", ("nothing", "nothing", "ok", "ok", "ok")),
    "current_tenant": ("", ("None", "None", "ok", "ok", "ok")),
    "current_member_role": ("", ("None", "None", "ok", "ok", "ok")),
    "current_user_id": ("", ("None", "None", "ok", "ok", "ok")),
    "require_role": ("'admin'", ("denied", "denied", "ok", "denied", "denied")),
    # which tenant may use what of whom is told to nobody
    "source_is_shared": ("%(source)s, %(tenant)s", DENIED),
    "repository_is_shared": ("%(repository)s, %(tenant)s", DENIED),
    "job_may_run": ("%(job)s", DENIED),
    "enqueue": ("'backup', %(pending)s, 'x'", DENIED),
    "request_cancel": ("%(pending)s", ("denied", "denied", "False", "denied", "True")),
    "request_delete": ("%(job)s", ("denied", "denied", "False", "denied", "denied")),
    "request_undo": ("%(restore)s, 'undo_requested'", ("denied", "denied", "False", "denied", "denied")),
    "delete_schedule": ("%(schedule)s", ("denied", "denied", "False", "denied", "denied")),
    "delete_source": ("%(source)s", ("denied", "denied", "False", "denied", "denied")),
    "delete_repository": ("%(repository)s", ("denied", "denied", "False", "denied", "denied")),
    "mark_lost": ("'1 second'", DENIED),
    "get_backup_statistics": ("%(tenant)s", ("denied", "denied", "denied", "ok", "ok")),
    "may_use_storage": ("%(tenant)s, 'view'", ("False", "False", "False", "False", "False")),
    "correct_stored_objects": (
        "%(repository)s, now(), ARRAY['x'], ARRAY[%(source)s], ARRAY[1]",
        ("denied", "denied", "ForeignKeyViolation", "denied", "denied"),
    ),
}
TRIGGERS = {
    "handle_updated_at",
    "fill_audit",
    "check_same_tenant",
    "notify_change",
    "notify_progress",
    "enqueue_new",
    "follow_job_status",
    "sum_stored_objects",
    "forget_stored_objects",
    "fill_tenant_key",
    "check_restore",
    "keep_undo",
    "tell_undone",
}
"""Only ever run by their triggers: calling one is denied or an error for everybody."""


@pytest.fixture
def stock(world: World) -> Stock:
    return Stock(world)


def outcome(connection: psycopg.Connection[dict[str, Any]], statement: str, params: Any = None) -> tuple[str, str]:
    """What came of a statement in one word, and all that the server said; undone afterwards."""
    said: list[str] = []
    connection.add_notice_handler(lambda notice: said.append(str(notice.message_primary)))
    try:
        with connection.transaction(force_rollback=True):
            cursor = connection.execute(statement, params)  # type: ignore[arg-type]
            found = cursor.fetchall() if cursor.description else []
    except (psycopg.errors.InsufficientPrivilege, psycopg.errors.InvalidAuthorizationSpecification) as exc:
        return "denied", str(exc)
    except psycopg.Error as exc:
        return type(exc).__name__, f"{exc} {exc.diag.message_detail} {exc.diag.context}"
    text = json.dumps(found, default=str) + " ".join(said)
    if not found:
        return "nothing", text
    value = next(iter(found[0].values())) if len(found[0]) == 1 else "…"
    return (str(value) if value is None or isinstance(value, bool) else "ok"), text


def relations(world: World, schema: str) -> set[str]:
    found = world.superuser(
        "SELECT relname FROM pg_class WHERE relnamespace = %s::regnamespace AND relkind IN ('r','p','v','m','S','f')",
        (schema,),
    )
    return {row["relname"] for row in found}


def functions(world: World, schema: str) -> list[dict[str, Any]]:
    return world.superuser(
        "SELECT oid::regprocedure::text AS signature, proname AS name, prosecdef, proconfig,"
        " prorettype = 'trigger'::regtype AS is_trigger"
        " FROM pg_proc WHERE pronamespace = %s::regnamespace",
        (schema,),
    )


def test_every_object_has_a_row(world: World) -> None:
    assert relations(world, "tui_backup") == set(READS)
    found = functions(world, "tui_backup")
    assert {one["name"] for one in found if one["is_trigger"]} == TRIGGERS
    assert {one["name"] for one in found if not one["is_trigger"]} == set(FUNCTIONS)


def test_functions_that_act_as_the_owner_look_only_where_they_should(world: World) -> None:
    for one in functions(world, "tui_backup"):
        if one["prosecdef"]:
            assert any(s.startswith("search_path=pg_catalog") for s in one["proconfig"] or ()), one["signature"]
        with world.connect(STRANGER) as connection:
            (row,) = connection.execute(
                "SELECT has_function_privilege('public', %s, 'EXECUTE') AS may", (one["signature"],)
            ).fetchall()
        assert not row["may"], one["signature"]


@pytest.mark.parametrize("place", range(len(ATTACKERS)), ids=ATTACKERS)
def test_functions(stock: Stock, place: int) -> None:
    world, ids = stock.world, {**stock.ids["acme"], "tenant": stock.world.tenants["acme"]}
    before = stock.rows_of("acme")
    with world.connect(ATTACKERS[place]) as connection:
        found = {}
        for name, (arguments, _) in FUNCTIONS.items():
            found[name], text = outcome(connection, f"SELECT * FROM tui_backup.{name}({arguments})", ids)
            assert HIDDEN not in text, (name, text)
        assert found == {name: expected[place] for name, (_, expected) in FUNCTIONS.items()}
        for name in TRIGGERS:
            word, _ = outcome(connection, f"SELECT tui_backup.{name}()")
            assert word in ("denied", "FeatureNotSupported"), name
    assert stock.rows_of("acme") == before


# -- reading -----------------------------------------------------------------------------------------------------------

Disguise = str
DISGUISES: dict[Disguise, list[str]] = {
    "as it is": [],
    "forged claims and tenant": [
        'SET request.jwt.claims = \'{{"sub": "{user}", "role": "admin", "tenant_id": "{tenant}"}}\'',
    ],
    "search_path": [
        "CREATE FUNCTION pg_temp.is_agent() RETURNS boolean LANGUAGE sql AS 'SELECT true'",
        "CREATE FUNCTION pg_temp.current_tenant() RETURNS uuid LANGUAGE sql AS $$SELECT '{tenant}'::uuid$$",
        "CREATE FUNCTION pg_temp.pg_has_role(name, text, text) RETURNS boolean LANGUAGE sql AS 'SELECT true'",
        "CREATE TEMP TABLE memberships AS SELECT session_user::text AS login, '{tenant}'::uuid AS tenant_id,"
        " 'admin'::text AS role, '{user}'::uuid AS user_id",
        "SET search_path = pg_temp, tui_backup, pg_catalog",
    ],
    "row_security off": ["SET row_security = off"],
    "replica": ["SET session_replication_role = replica"],
}


def _disguise(connection: psycopg.Connection[dict[str, Any]], world: World, disguise: Disguise) -> None:
    values = {"user": world.users[ADMIN], "tenant": world.tenants["acme"]}
    for statement in DISGUISES[disguise]:
        outcome_of = statement.format(**values)
        try:
            connection.execute(outcome_of)  # type: ignore[arg-type]
        except psycopg.errors.InsufficientPrivilege:
            # refused outright, which is as good
            continue


def _expected(table: str, login: str) -> str:
    member, nobody = READS[table]
    return nobody if login in (STRANGER, GATEWAY) else member


def _seen(connection: psycopg.Connection[dict[str, Any]], world: World, table: str, view: bool) -> str:
    name = f"tui_backup.{table}"
    with connection.transaction(force_rollback=True):
        if view:
            connection.execute(f"CREATE TEMP VIEW peek AS SELECT * FROM tui_backup.{table}")  # type: ignore[arg-type]
            name = "pg_temp.peek"
        rows = connection.execute(f"SELECT to_jsonb(t)::text AS row FROM {name} t").fetchall()  # type: ignore[arg-type]
    text = " ".join(row["row"] for row in rows)
    if not rows:
        return "none"
    mine = str(world.tenants["globex" if "globex" in connection.info.user else "acme"])
    theirs = {str(one) for one in world.tenants.values()} - {mine}
    if mine in text and not any(other in text for other in theirs):
        return "own"
    return "all" if table in ("agents", "schema_migrations") else text


@pytest.mark.parametrize("view", [False, True], ids=["table", "view over it"])
@pytest.mark.parametrize("disguise", DISGUISES)
@pytest.mark.parametrize("login", [STRANGER, OTHER, EMPLOYEE, OPERATOR])
def test_reading(stock: Stock, login: str, disguise: str, view: bool) -> None:
    world = stock.world
    world.add_agent()
    with world.connect(login) as connection:
        _disguise(connection, world, disguise)
        for table in READS:
            try:
                found = _seen(connection, world, table, view)
            except psycopg.errors.InsufficientPrivilege as exc:
                # a refusal gives nothing away; only row_security = off turns a reader away who may read
                assert HIDDEN not in str(exc)
                assert disguise == "row_security off" or _expected(table, login) == "denied", (table, str(exc))
                continue
            assert found == _expected(table, login), table


def test_a_gateway_without_valid_claims_reads_nothing(stock: Stock) -> None:
    world = stock.world
    with world.connect(GATEWAY) as connection:
        for table in READS:
            for claims in ("", "{}", '{"sub": null}', '{"sub": "00000000-0000-0000-0000-000000000000"}'):
                with connection.transaction(force_rollback=True):
                    connection.execute("SELECT set_config('request.jwt.claims', %s, true)", (claims,))
                    word, text = outcome(connection, f"SELECT * FROM tui_backup.{table}")
                    assert HIDDEN not in text
                    assert word in ("denied", "nothing") or table in ("agents", "schema_migrations"), (table, word)


# -- writing -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("login", [STRANGER, GATEWAY, OTHER, EMPLOYEE])
def test_writing_changes_nothing_of_the_tenant(stock: Stock, login: str) -> None:
    world = stock.world
    before = stock.rows_of("acme")
    columns = world.superuser(
        "SELECT table_name AS t, column_name AS c FROM information_schema.columns WHERE table_schema = 'tui_backup'"
    )
    statements = [f"DELETE FROM tui_backup.{table}" for table in READS]
    statements += [f"TRUNCATE tui_backup.{table} CASCADE" for table in READS]
    statements += [f"UPDATE tui_backup.{one['t']} SET {one['c']} = {one['c']}" for one in columns]
    with world.connect(login) as connection:
        for statement in statements:
            try:
                connection.execute(statement)  # type: ignore[arg-type]
            except psycopg.Error as exc:
                assert HIDDEN not in f"{exc} {exc.diag.message_detail}", statement
    assert stock.rows_of("acme") == before


@pytest.mark.parametrize("login", [*ATTACKERS, ADMIN])
def test_who_may_lock_a_table_against_the_others(stock: Stock, login: str) -> None:
    with stock.world.connect(login) as connection:
        for mode in ("EXCLUSIVE", "ACCESS EXCLUSIVE"):
            for table in READS:
                word, _ = outcome(connection, f"LOCK TABLE tui_backup.{table} IN {mode} MODE NOWAIT")
                assert word == "denied", (table, mode)


def test_the_agent_and_the_owner_may_lock(stock: Stock) -> None:
    for login in (AGENT, OWNER):
        with stock.world.connect(login) as connection:
            assert outcome(connection, "LOCK TABLE tui_backup.backup_jobs IN EXCLUSIVE MODE NOWAIT")[0] == "nothing"


# -- the queue ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("login", [*ATTACKERS, ADMIN])
def test_the_queue_is_out_of_reach(stock: Stock, login: str) -> None:
    """One rule for all that procrastinate makes, so that a newer version's objects are under it as well."""
    world = stock.world
    found = functions(world, "tui_backup_queue")
    tables = relations(world, "tui_backup_queue")
    assert len(tables) > 3 and found
    with world.connect(login) as connection:
        for table in tables:
            for statement in ("SELECT * FROM", "DELETE FROM", "LOCK TABLE"):
                word, _ = outcome(connection, f"{statement} tui_backup_queue.{table}")
                assert word == "denied", (statement, table)
        (row,) = connection.execute("SELECT has_schema_privilege('tui_backup_queue', 'USAGE') AS may").fetchall()
        assert not row["may"]
        for one in found:
            (row,) = world.superuser(
                "SELECT has_function_privilege(%s, %s::regprocedure, 'EXECUTE') AS may", (login, one["signature"])
            )
            assert not row["may"], one["signature"]


# -- becoming somebody else --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("login", ATTACKERS)
@pytest.mark.parametrize("become", ["SET ROLE", "SET SESSION AUTHORIZATION"])
def test_nobody_becomes_somebody_else(world: World, login: str, become: str) -> None:
    wanted = {OWNER, AGENT, ADMIN, "postgres", "tui_backup_agent"} | ({GATEWAY, "tui_backup_gateway"} - {login})
    if login == GATEWAY:
        wanted -= {"tui_backup_gateway"}
    with world.connect(login) as connection:
        for role in wanted:
            text = f"{become} {sql.Identifier(role).as_string(connection)}"
            assert outcome(connection, text)[0] == "denied", text
            grant = f"GRANT {sql.Identifier(role).as_string(connection)} TO CURRENT_USER"
            assert outcome(connection, grant)[0] != "nothing", grant


# -- looking past the policies -----------------------------------------------------------------------------------------

PEEK = """
CREATE FUNCTION pg_temp.peek(anyelement) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS
$$ BEGIN RAISE NOTICE 'peek %', $1; RETURN true; END $$
"""


@pytest.mark.parametrize("login", [STRANGER, GATEWAY, OTHER])
def test_neither_plans_nor_cheap_functions_nor_errors_tell(stock: Stock, login: str) -> None:
    world = stock.world
    world.superuser("ANALYZE tui_backup.sources, tui_backup.backup_jobs, tui_backup.repositories")
    tries = [
        "EXPLAIN (ANALYZE, VERBOSE, BUFFERS) SELECT * FROM tui_backup.{t} x WHERE x::text LIKE '%%{h}%%'",
        "EXPLAIN (VERBOSE, SETTINGS) SELECT * FROM tui_backup.{t} x WHERE pg_temp.peek(x::text)",
        "SELECT * FROM tui_backup.{t} x WHERE pg_temp.peek(x::text)",
        "SELECT * FROM tui_backup.{t} x WHERE x::text::int = 1",
        "SELECT * FROM tui_backup.{t} x WHERE 1 / position('{h}' in x::text) = 1",
    ]
    with world.connect(login) as connection:
        connection.execute(PEEK)
        for table in READS:
            for one in tries:
                statement = one.format(t=table, h=HIDDEN)
                word, text = outcome(connection, statement)
                # what the attacker has written itself does not count
                assert HIDDEN not in text.replace(f"%{HIDDEN}%", "").replace(f"'{HIDDEN}'", ""), (statement, word)
                if table in OWN_TABLES and "1 / position" in one and login != OTHER:
                    # it would divide by zero on any foreign row that it met
                    assert word == "nothing", table


def test_statistics_and_activity_tell_nothing(stock: Stock) -> None:
    world = stock.world
    world.superuser("ANALYZE")
    marked = f"SELECT '{HIDDEN}', pg_sleep(0)"
    with world.connect(ADMIN) as busy, world.connect(OTHER) as looking:
        busy.execute(marked)
        for view in ("pg_stat_activity", "pg_locks", "pg_stats", "pg_prepared_xacts"):
            _, text = outcome(looking, f"SELECT * FROM pg_catalog.{view}")
            assert HIDDEN not in text.replace("hidden' in", ""), view
        stats = looking.execute("SELECT tablename FROM pg_catalog.pg_stats WHERE schemaname = 'tui_backup'").fetchall()
        assert not {row["tablename"] for row in stats} & set(OWN_TABLES)


def test_a_notification_heard_by_another_tenant_is_an_id_only(stock: Stock) -> None:
    """FALLS SHORT: that something has happened, and the id of it, is heard by every login of the database."""
    world = stock.world
    with world.connect(OTHER) as listener:
        listener.execute("LISTEN tui_backup_changed")
        world.run(ADMIN, "UPDATE tui_backup.backup_jobs SET description = 'x' WHERE id = %(job)s", stock.ids["acme"])
        payloads = [message.payload for message in listener.notifies(timeout=1, stop_after=1)]
    assert payloads == [str(stock.ids["acme"]["job"])]


def test_who_has_no_login_has_nothing(world: World) -> None:
    for login in ("w_unheard_of", "tui_backup_agent", "tui_backup_user", "tui_backup_gateway"):
        with pytest.raises(psycopg.OperationalError):
            world.connect(login)
