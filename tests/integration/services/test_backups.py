"""Backup jobs as a member sees and moves them, on a real catalog."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.integration.catalog.world import AGENT, World, login_of
from tests.integration.services.conftest import OpenAs
from tui_backup.errors import (
    AgentLostError,
    ConfirmationRequiredError,
    JobStateError,
    NotFoundError,
    PermissionRefusedError,
    ValidationError,
    WorkFailedError,
)
from tui_backup.model import BackupJobInsert, JobStatus, JobType, Proof
from tui_backup.services import patience
from tui_backup.services.backups import (
    JobFilters,
    cancel_backup_job,
    create_backup_job,
    delete_backup_job,
    get_backup_job_by_id,
    get_backup_jobs,
)
from tui_backup.services.session import Session
from tui_backup.services.verifications import (
    cancel_verification,
    get_latest_verification,
    get_verification,
    verify_backup,
)
from tui_backup.services.waiting import wait_for_job


@pytest.fixture
def shop(world: World) -> dict[str, UUID]:
    """A source and a repository of the first tenant."""
    return {"source": world.add_source("acme"), "repository": world.add_repository("acme")}


def by_agent(world: World, subject: UUID, changes: str, table: str = "backup_jobs") -> None:
    """What an agent does to a row."""
    world.run(AGENT, f"UPDATE tui_backup.{table} SET {changes} WHERE id = %s", (subject,))


async def test_a_job_is_stored_as_it_was_asked_for(admin: Session, world: World, shop: dict[str, UUID]) -> None:
    hostile = "[/x] \x1b[31m'; DROP TABLE jobs; --"
    asked = BackupJobInsert(
        source="shop", backup_name=hostile, description="d", tags=["a", "b c"], tables=['public."a.b"']
    )
    job = await create_backup_job(admin, asked)
    assert (job.status, job.job_type, job.backup_name) == (JobStatus.PENDING, JobType.FULL, hostile)
    assert (list(job.tags), list(job.chosen_tables)) == (["a", "b c"], ['public."a.b"'])
    assert (job.source_name, job.repository_name) == ("shop", "local")
    assert job.created_by == admin.identity.user_id and job.tenant_id == world.tenants["acme"]
    assert await get_backup_job_by_id(admin, job.id) == job
    assert await get_backup_job_by_id(admin, str(job.id)[:8]) == job
    assert await get_backup_job_by_id(admin, str(job.id).upper()) == job
    assert await get_backup_jobs(admin) == [job]


async def test_what_cannot_be_asked_for(admin: Session, open_as: OpenAs, shop: dict[str, UUID]) -> None:
    for wrong, error in (
        (BackupJobInsert(source="nope"), NotFoundError),
        (BackupJobInsert(source="shop", repository="nope"), NotFoundError),
        (BackupJobInsert(source="shop", job_type=JobType.SNAPSHOT), ValidationError),
        (BackupJobInsert(source="shop", job_type=JobType.SNAPSHOT), ValidationError),
        (BackupJobInsert(source="shop", backup_name="nul\0"), ValidationError),
    ):
        with pytest.raises(error):
            await create_backup_job(admin, wrong)
    employee = await open_as(login_of("acme", "employee"))
    with pytest.raises(PermissionRefusedError, match="role"):
        await create_backup_job(employee, BackupJobInsert(source="shop"))
    stranger = await open_as(login_of("globex", "admin"))
    with pytest.raises(NotFoundError):
        await create_backup_job(stranger, BackupJobInsert(source="shop"))
    assert await get_backup_jobs(admin) == []


async def test_without_a_repository_the_hint_says_how_to_add_one(admin: Session, world: World) -> None:
    world.add_source("acme")
    with pytest.raises(NotFoundError) as caught:
        await create_backup_job(admin, BackupJobInsert(source="shop"))
    assert "repo add" in caught.value.hint


async def test_the_list_is_filtered_and_paged(admin: Session, world: World, shop: dict[str, UUID]) -> None:
    other = world.add_source("acme", "billing")
    start = datetime(2026, 1, 1, tzinfo=UTC)
    ids: list[UUID] = []
    for n, status in enumerate(("completed", "failed", "pending", "completed")):
        source = other if n == 3 else shop["source"]
        columns: dict[str, Any] = {"created_at": start + timedelta(hours=n), "backup_name": f"100%_{n}"}
        ids.append(world.add_job("acme", source, shop["repository"], status, **columns))
    gone = world.add_job("acme", other, shop["repository"], deleted_at=start, created_at=start)

    async def found(filters: JobFilters) -> list[UUID]:
        return [job.id for job in await get_backup_jobs(admin, filters)]

    assert await found(JobFilters()) == ids[::-1]
    assert await found(JobFilters(include_deleted=True)) == [*ids[:0:-1], *sorted([ids[0], gone])]
    assert await found(JobFilters(limit=2)) == [ids[3], ids[2]]
    assert await found(JobFilters(limit=2, before=start + timedelta(hours=2))) == [ids[1], ids[0]]
    assert await found(JobFilters(status=JobStatus.FAILED)) == [ids[1]]
    assert await found(JobFilters(completed_only=True)) == [ids[3], ids[0]]
    assert await found(JobFilters(source="billing")) == [ids[3]]
    assert await found(JobFilters(text="BILLING")) == [ids[3]]
    # the text is text: no wildcard of SQL or of a shell
    assert await found(JobFilters(text="100%_2")) == [ids[2]]
    assert await found(JobFilters(text="1%2")) == []
    assert await found(JobFilters(text=str(ids[0])[:13])) == [ids[0]]


async def test_an_id_is_found_by_its_beginning_only(admin: Session, world: World, shop: dict[str, UUID]) -> None:
    near = [UUID("abcd0000-0000-4000-8000-00000000000" + digit) for digit in "12"]
    for one in near:
        world.add_job("acme", shop["source"], shop["repository"], id=one)
    with pytest.raises(ValidationError, match="Several"):
        await get_backup_job_by_id(admin, "abcd")
    assert (await get_backup_job_by_id(admin, "abcd0000-0000-4000-8000-000000000001")).id == near[0]
    for wrong in ("abc", "", "xyz1", "abcd' OR true", "0000", str(uuid4())):
        with pytest.raises(NotFoundError):
            await get_backup_job_by_id(admin, wrong)


async def test_another_tenants_job_is_not_there(admin: Session, open_as: OpenAs, world: World) -> None:
    source, repository = world.add_source("globex"), world.add_repository("globex")
    job = world.add_job("globex", source, repository)
    for attempt in (
        get_backup_job_by_id(admin, job),
        cancel_backup_job(admin, job),
        delete_backup_job(admin, job, confirm=True),
        verify_backup(admin, job),
        get_latest_verification(admin, job),
    ):
        with pytest.raises(NotFoundError):
            await attempt
    assert (await get_backup_job_by_id(await open_as(login_of("globex", "employee")), job)).id == job


async def test_cancelling(admin: Session, open_as: OpenAs, world: World, shop: dict[str, UUID]) -> None:
    job = await create_backup_job(admin, BackupJobInsert(source="shop"))
    with pytest.raises(PermissionRefusedError, match="employee"):
        await cancel_backup_job(await open_as(login_of("acme", "employee")), job.id)
    assert (await cancel_backup_job(admin, job.id)).status is JobStatus.CANCELLED
    with pytest.raises(JobStateError, match="cancelled"):
        await cancel_backup_job(admin, job.id)
    running = await create_backup_job(admin, BackupJobInsert(source="shop"))
    by_agent(world, running.id, f"status = 'running', agent_id = '{world.add_agent()}'")
    asked = await cancel_backup_job(admin, running.id)
    assert (asked.status, asked.cancel_requested) == (JobStatus.RUNNING, True)


async def test_progress_comes_with_a_running_job(admin: Session, world: World, shop: dict[str, UUID]) -> None:
    job = await create_backup_job(admin, BackupJobInsert(source="shop"))
    by_agent(world, job.id, f"status = 'running', agent_id = '{world.add_agent()}'")
    world.run(
        AGENT,
        "INSERT INTO tui_backup.progress (subject_id, tenant_id, phase, rows_done, bytes_done, bytes_total)"
        " VALUES (%s, %s, 'copying', 7, 50, 200)",
        (job.id, world.tenants["acme"]),
    )
    progress = (await get_backup_job_by_id(admin, job.id)).progress
    assert progress is not None
    assert (progress.phase, progress.rows_done, progress.fraction) == ("copying", 7, 0.25)


@pytest.mark.parametrize("how", ["list", "one"])
async def test_a_job_whose_agent_is_gone_is_not_shown_as_running(
    admin: Session, world: World, shop: dict[str, UUID], how: str
) -> None:
    agent = world.add_agent(silent_s=50)
    job_id = world.add_job("acme", shop["source"], shop["repository"], "running", agent_id=agent)
    job = await get_backup_job_by_id(admin, job_id) if how == "one" else (await get_backup_jobs(admin))[0]
    assert job.status is JobStatus.FAILED
    assert job.error_details is not None and job.error_details["error"] == "agent_lost"
    assert job.completed_at is not None


async def test_proofs(admin: Session, world: World, shop: dict[str, UUID]) -> None:
    job = world.add_job("acme", shop["source"], shop["repository"])

    async def proof() -> Proof:
        return (await get_backup_job_by_id(admin, job)).proof

    assert await proof() is Proof.NONE
    for kind, day in (("files", 1), ("restored", 2), ("files", 3)):
        world.add_verification("acme", job, "completed", kind=kind, completed_at=f"2026-01-0{day}")
    # the strongest, with its own age
    assert await proof() is Proof.RESTORED
    assert (await get_backup_job_by_id(admin, job)).proof_at == datetime(2026, 1, 2, tzinfo=UTC)
    # a check that could not be made says nothing; one that found damage voids what was proved before
    world.add_verification("acme", job, "failed", completed_at="2026-01-04", error_message="away")
    assert await proof() is Proof.RESTORED
    columns = {"error_message": "bad", "problems": '[{"kind": "damaged"}]'}
    world.add_verification("acme", job, "failed", completed_at="2026-01-05", **columns)
    assert await proof() is Proof.NONE
    world.add_verification("acme", job, "completed", completed_at="2026-01-06")
    assert await proof() is Proof.FILES


async def test_verifying(admin: Session, open_as: OpenAs, world: World, shop: dict[str, UUID]) -> None:
    job = world.add_job("acme", shop["source"], shop["repository"])
    assert await get_latest_verification(admin, job) is None
    asked = await verify_backup(admin, job)
    assert (asked.status, asked.kind, asked.backup_job_id) == (JobStatus.PENDING, Proof.FILES, job)
    # asking twice makes no second one
    assert (await verify_backup(admin, str(job)[:6])).id == asked.id
    assert await get_latest_verification(admin, job) == await get_verification(admin, asked.id)
    assert (await cancel_verification(admin, asked.id)).status is JobStatus.CANCELLED
    with pytest.raises(JobStateError):
        await cancel_verification(admin, asked.id)
    assert (await verify_backup(admin, job)).id != asked.id
    with pytest.raises(PermissionRefusedError):
        await verify_backup(await open_as(login_of("acme", "employee")), world.add_job("acme", **shop))
    for status in ("failed", "pending", "cancelled"):
        with pytest.raises(JobStateError, match=status):
            await verify_backup(admin, world.add_job("acme", shop["source"], shop["repository"], status))
    deleted = world.add_job("acme", shop["source"], shop["repository"], deleted_at="2026-01-01")
    with pytest.raises(JobStateError, match="deleted"):
        await verify_backup(admin, deleted)


# -- waiting for the agent ---------------------------------------------------------------------------------------------


async def test_deleting_waits_for_the_agent(admin: Session, world: World, shop: dict[str, UUID]) -> None:
    job = world.add_job("acme", shop["source"], shop["repository"])
    world.add_agent()
    with pytest.raises(ConfirmationRequiredError):
        await delete_backup_job(admin, job, confirm=False)
    waiting = asyncio.create_task(delete_backup_job(admin, job, confirm=True))
    await asyncio.sleep(0.7)
    assert not waiting.done()
    world.run(AGENT, "DELETE FROM tui_backup.backup_jobs WHERE id = %s", (job,))
    await asyncio.wait_for(waiting, 5)


async def test_a_row_that_a_restore_needs_stays_and_counts_as_deleted(
    admin: Session, world: World, shop: dict[str, UUID]
) -> None:
    job = world.add_job("acme", shop["source"], shop["repository"])
    world.add_agent()
    waiting = asyncio.create_task(delete_backup_job(admin, job, confirm=True))
    await asyncio.sleep(0.2)
    by_agent(world, job, "deleted_at = now()")
    await asyncio.wait_for(waiting, 5)
    assert await get_backup_jobs(admin) == []
    with pytest.raises(JobStateError, match="deleted already"):
        await delete_backup_job(admin, job, confirm=True)


@pytest.mark.parametrize(("code", "error"), [("wrong_state", JobStateError), ("repository_denied", WorkFailedError)])
async def test_what_kept_the_agent_from_deleting_is_said(
    admin: Session, world: World, shop: dict[str, UUID], code: str, error: type[Exception]
) -> None:
    # left over from an earlier attempt: it must not be taken for this one's
    old = '{"delete_error": {"error": "x", "message": "old"}, "kept": 1}'
    job = world.add_job("acme", shop["source"], shop["repository"], metadata=old)
    world.add_agent()
    waiting = asyncio.create_task(delete_backup_job(admin, job, confirm=True))
    await asyncio.sleep(0.7)
    assert not waiting.done()
    reason = f'{{"delete_error": {{"error": "{code}", "message": "No way.", "hint": "Do."}}}}'
    by_agent(world, job, f"metadata = metadata || '{reason}'")
    with pytest.raises(error, match="No way"):
        await asyncio.wait_for(waiting, 5)


async def test_only_admins_delete_and_only_what_has_ended(
    admin: Session, open_as: OpenAs, world: World, shop: dict[str, UUID]
) -> None:
    job = world.add_job("acme", shop["source"], shop["repository"])
    for role in ("operator", "employee"):
        with pytest.raises(PermissionRefusedError, match=role):
            await delete_backup_job(await open_as(login_of("acme", role)), job, confirm=True)
    for status in ("pending", "running"):
        agent = world.add_agent()
        busy = world.add_job("acme", shop["source"], shop["repository"], status, agent_id=agent)
        with pytest.raises(JobStateError, match=status):
            await delete_backup_job(admin, busy, confirm=True)


async def test_waiting_ends_with_the_job(admin: Session, world: World, shop: dict[str, UUID]) -> None:
    job = await create_backup_job(admin, BackupJobInsert(source="shop"))
    agent = world.add_agent()
    seen: list[JobStatus] = []
    waiting = asyncio.create_task(wait_for_job(admin, job.id, on_progress=lambda found: seen.append(found.status)))
    await asyncio.sleep(0.7)
    by_agent(world, job.id, f"status = 'running', agent_id = '{agent}'")
    await asyncio.sleep(0.7)
    by_agent(world, job.id, "status = 'failed', error_message = 'x', completed_at = now()")
    final = await asyncio.wait_for(waiting, 5)
    assert final.status is JobStatus.FAILED
    assert seen == [JobStatus.PENDING, JobStatus.RUNNING, JobStatus.FAILED]


async def test_waiting_without_an_agent_ends_too(
    admin: Session, world: World, shop: dict[str, UUID], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await create_backup_job(admin, BackupJobInsert(source="shop"))
    world.add_agent(silent_s=30)
    with pytest.raises(AgentLostError) as caught:
        await asyncio.wait_for(wait_for_job(admin, job.id, agent_patience_s=1), 10)
    assert "agent start" in caught.value.hint
    assert (await get_backup_job_by_id(admin, job.id)).status is JobStatus.PENDING
    done = world.add_job("acme", shop["source"], shop["repository"])
    monkeypatch.setattr(patience, "AGENT_PATIENCE_S", 60)
    world.superuser("UPDATE tui_backup.agents SET heartbeat_at = now()")
    with pytest.raises(WorkFailedError, match="takes longer"):
        await delete_backup_job(admin, done, confirm=True, timeout_s=1)
