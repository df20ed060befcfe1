"""A run of the agent carries its job's tenant in every transaction, and leaves nothing of it to the next one."""

from __future__ import annotations

from tests.integration.catalog.world import AGENT, World
from tui_backup.agent.records import Records, open_pool

ASK = "SELECT tui_backup.current_tenant() AS tenant"


async def test_a_runs_sessions_carry_its_tenant_and_no_other(world: World) -> None:
    pool = open_pool(world.dsn(AGENT))
    await pool.open()
    try:
        everybody = Records(pool)
        for tenant in world.tenants.values():
            mine = everybody.of_tenant(tenant)
            assert mine.agent_id == everybody.agent_id
            assert await mine.query(ASK, {}) == [{"tenant": tenant}]
            async with mine.transaction() as conn:
                cursor = await conn.execute(ASK)
                assert await cursor.fetchall() == [{"tenant": tenant}]
            # the pool has one connection here: it is the same one
            assert await everybody.query(ASK, {}) == [{"tenant": None}]
    finally:
        await pool.close()
