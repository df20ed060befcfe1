"""Whatever goes wrong, wherever: the target is as it was, other tenants go on, and the error says so."""

from __future__ import annotations

import threading
from collections.abc import Callable

import psycopg
import pytest

from tests.integration.engine.tenant_restore.by_hand import Memory, Phases
from tests.integration.engine.tenant_restore.conftest import DAMAGE, World
from tui_backup.errors import (
    CancelledError,
    ConnectionFailedError,
    FencedError,
    LockTimeoutError,
    ObjectMissingError,
    TargetBusyError,
    TuiBackupError,
    WorkFailedError,
)
from tui_backup.model import StopFlag

# the README's test command has eight minutes
pytestmark = pytest.mark.slow

IN_TRANSACTION = ["planning", "locking", "data", "foreign keys", "comparing"]
STAGES = ["checking", "staging", "checking whose", *IN_TRANSACTION]


def _fails(world: World, error: type[TuiBackupError], **options: object) -> TuiBackupError:
    before = world.picture()
    with pytest.raises(error) as caught:
        world.restore(application_name="to be killed", **options)
    assert world.picture() == before
    return caught.value


@pytest.mark.parametrize("stage", STAGES)
def test_a_stop(world: World, stage: str) -> None:
    world.execute(DAMAGE)
    stop = StopFlag()
    phases = Phases({stage: lambda: stop.set(CancelledError("stopped by the test"))})
    error = _fails(world, CancelledError, stop=stop, progress=phases)
    assert phases.seen[-1] == stage
    assert error.details.get("rollback_executed", False) is (stage in IN_TRANSACTION)


@pytest.mark.parametrize("stage", STAGES)
def test_an_error(world: World, stage: str) -> None:
    world.execute(DAMAGE)

    def fail() -> None:
        raise WorkFailedError("broken by the test")

    _fails(world, WorkFailedError, progress=Phases({stage: fail}))


@pytest.mark.parametrize("stage", STAGES[1:])
def test_a_cut_connection(world: World, stage: str) -> None:
    world.execute(DAMAGE)

    def kill() -> None:
        world.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'to be killed'"
        )

    error = _fails(world, ConnectionFailedError, progress=Phases({stage: kill}))
    assert error.details.get("rollback_executed", False) is (stage in IN_TRANSACTION)


def test_a_frame_that_is_gone_when_it_is_loaded(world: World) -> None:
    world.execute(DAMAGE)
    reader = Memory()
    reader.frames = world.backup.reader.frames
    reader.lost = {3}
    world.backup.reader, before = reader, world.backup.reader
    try:
        _fails(world, ObjectMissingError)
    finally:
        world.backup.reader = before


def test_an_agent_that_was_replaced_before_the_commit(world: World) -> None:
    world.execute(DAMAGE)

    def fenced(_: object, __: str) -> None:
        raise FencedError("another agent owns it")

    error = _fails(world, FencedError, before_commit=fenced)
    assert error.details["rollback_executed"] is True
    assert error.details["rollback_at"]


# -- others at work -------------------------------------------------------------------------------------------------


def _once(work: Callable[[], object]) -> Callable[[], None]:
    done: list[object] = []

    def run() -> None:
        if not done:
            done.append(work())

    return run


@pytest.mark.parametrize("stage", ["locking", "data", "comparing"])
def test_the_tenants_own_inserts_meanwhile(world: World, stage: str) -> None:
    """What was committed before the end of the comparison is found, and the plan made again."""
    world.execute(DAMAGE)
    write = _once(lambda: world.execute("INSERT INTO app.log VALUES ('acme', now(), 'meanwhile')"))
    result = world.restore(progress=Phases({stage: write}))
    assert world.rows() == world.good
    assert next(row for row in result.plan.tables if row.table == "app.log").rows_delete == 2


def test_the_tenants_own_changes_between_plan_and_lock(world: World) -> None:
    world.execute(DAMAGE)
    change = _once(lambda: world.execute("UPDATE app.people SET born = now() WHERE id IN (21, 1000)"))
    world.restore(progress=Phases({"locking": change}))
    assert world.rows() == world.good


def test_a_tenant_that_never_stops_writing(world: World) -> None:
    world.execute(DAMAGE)

    def write() -> None:
        world.execute("INSERT INTO app.log VALUES ('acme', now(), 'again')")

    before = world.others()
    with pytest.raises(WorkFailedError) as caught:
        world.restore(progress=Phases({"comparing": write}))
    assert caught.value.details["rollback_executed"] is True
    assert world.execute("SELECT count(*) FROM app.log WHERE what = 'again'") == [(3,)]
    assert world.others() == before


def test_a_row_that_is_changed_each_time(world: World) -> None:
    world.execute(DAMAGE)

    def change() -> None:
        world.execute("UPDATE app.people SET born = now() WHERE id = 1000")

    with pytest.raises(TargetBusyError):
        world.restore(progress=Phases({"locking": change}))


def test_locked_rows_are_waited_for_within_bounds(world: World) -> None:
    world.execute(DAMAGE)
    with world.server.connect(world.name) as conn, conn.transaction():
        conn.execute("UPDATE app.people SET born = now() WHERE id = 1000")
        with pytest.raises(LockTimeoutError):
            world.restore(lock_timeout_s=1)


def _in_background(world: World, statement: str) -> tuple[threading.Thread, list[object]]:
    outcome: list[object] = []

    def run() -> None:
        try:
            outcome.append(world.execute(statement))
        except psycopg.Error as error:
            outcome.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, outcome


def test_a_new_reference_to_a_row_that_goes_waits_and_is_refused(world: World) -> None:
    """Another tenant's row that would point at a row that the restore deletes: it cannot slip in before the commit."""
    world.execute(DAMAGE)
    started: list[tuple[threading.Thread, list[object]]] = []

    def refer() -> None:
        statement = "INSERT INTO app.people (id, tenant_id, boss) VALUES (7000, 'beta', 1000)"
        started.append(_in_background(world, statement))
        world.execute("SELECT pg_sleep(0.3)")

    world.restore(progress=Phases({"data": _once(refer)}))
    ((thread, outcome),) = started
    thread.join()
    assert isinstance(outcome[0], psycopg.errors.ForeignKeyViolation)
    assert world.rows() == world.good


def test_a_reference_that_is_not_committed_yet_is_waited_for(world: World) -> None:
    """Its lock on the row makes the restore wait; then it is seen, and stops the restore."""
    world.execute(DAMAGE)
    holder = world.server.connect(world.name)
    holder.execute("BEGIN; INSERT INTO app.people (id, tenant_id, boss) VALUES (7000, 'beta', 1000)")
    timer = threading.Timer(0.7, lambda: holder.execute("COMMIT"))
    phases = Phases({"locking": _once(timer.start)})
    from tui_backup.errors import RowsInUseError

    try:
        with pytest.raises(RowsInUseError):
            world.restore(progress=phases)
    finally:
        timer.join()
        holder.close()


def test_a_parent_that_is_deleted_meanwhile(world: World) -> None:
    """A shared row that the restored ones refer to: either it goes first and is missed, or it is held."""
    world.execute("UPDATE app.people SET country = NULL; UPDATE app.countries SET name = 'kept'")
    outcomes: list[tuple[threading.Thread, list[object]]] = []

    def delete() -> None:
        outcomes.append(_in_background(world, "DELETE FROM app.countries WHERE code = 'de'"))
        world.execute("SELECT pg_sleep(0.3)")

    world.restore(progress=Phases({"comparing": _once(delete)}))
    ((thread, outcome),) = outcomes
    thread.join()
    assert isinstance(outcome[0], psycopg.errors.ForeignKeyViolation)
    assert world.execute("SELECT count(*) FROM app.countries WHERE code = 'de'") == [(1,)]


@pytest.mark.parametrize("stage", IN_TRANSACTION)
def test_other_tenants_read_and_write_at_every_moment(world: World, stage: str) -> None:
    world.execute(DAMAGE)
    statements = (
        "SET lock_timeout = '500ms'; SELECT count(*) FROM app.people;"
        "INSERT INTO app.people (id, tenant_id, email, boss, country) VALUES (5000, 'beta', 'b', 1, 'de');"
        "UPDATE app.people SET born = now(), country = 'de' WHERE tenant_id = 'beta';"
        "INSERT INTO app.orders (tenant_id, person) VALUES ('beta', 5000);"
        "DELETE FROM app.lines WHERE tenant = 'beta'; DELETE FROM app.orders WHERE tenant_id = 'beta' AND id < 100;"
        "INSERT INTO app.log VALUES ('beta', now(), 'x'); DELETE FROM app.events WHERE tenant_id = 'beta'"
    )
    world.restore(progress=Phases({stage: _once(lambda: world.execute(statements))}))
    assert world.rows() == world.good


def test_a_deadlock_with_the_tenants_own_session_is_begun_again(world: World) -> None:
    """It holds a row that the restore wants and asks for one that the restore holds."""
    world.execute("UPDATE app.a SET b_id = NULL WHERE id = 2; UPDATE app.people SET born = NULL WHERE id = 3")
    holder = world.server.connect(world.name)
    holder.execute("SET deadlock_timeout = '10s'; BEGIN; UPDATE app.people SET born = now() WHERE id = 3")
    outcome: list[object] = []

    def cross() -> None:
        try:
            outcome.append(holder.execute("UPDATE app.a SET b_id = 4 WHERE id = 2").rowcount)
        finally:
            holder.execute("COMMIT")

    thread = threading.Timer(0.4, cross)
    try:
        # ours has waited for a second, the server's default, when the other one waits too
        world.restore(progress=Phases({"locking": _once(thread.start)}))
    finally:
        thread.join()
        holder.close()
    assert outcome == [1]
    assert world.rows() == world.good
