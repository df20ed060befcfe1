"""What backups hold and take up, as `stats` shows it; the agent's own entries are tested with the agent."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.integration.catalog.world import World, login_of
from tests.integration.services.conftest import OpenAs
from tests.integration.services.stored import Shop
from tui_backup.errors import PermissionRefusedError
from tui_backup.services.session import Session
from tui_backup.services.storage import get_storage, measure_storage


async def test_every_source_has_its_figures(admin: Session, world: World) -> None:
    repository = world.add_repository("acme")
    shop, empty = world.add_source("acme", "shop"), world.add_source("acme", "empty")
    assert empty
    for size, ended, columns in (
        (100, "2026-01-01", {}),
        (120, "2026-01-02", {}),
        (7, "2026-01-03", {"chosen_tables": ["public.t"]}),
        (1000, "2026-01-04", {"deleted_at": "2026-01-05"}),
    ):
        world.add_job("acme", shop, repository, backup_size=size, completed_at=ended, **columns)
    damaged = world.add_job("acme", shop, repository, backup_size=5000, completed_at="2026-01-06")
    problems = {"error_message": "bad", "problems": '[{"kind": "missing"}]'}
    world.add_verification("acme", damaged, "failed", completed_at="2026-01-07", **problems)
    world.add_job("acme", shop, repository, "failed")
    world.add_stored("acme", shop, repository, "packs/aa/1", 40)
    world.add_stored("acme", shop, repository, "packs/bb/2", 10)
    world.add_stored("acme", uuid4(), repository, "packs/cc/3", 3)
    theirs = world.add_source("globex", "theirs")
    world.add_stored("globex", theirs, world.add_repository("globex"), "packs/dd/4", 999)

    storage = await get_storage(admin)
    assert [row.source_name for row in storage.sources] == ["empty", "shop", None]
    nothing, found, left = storage.sources
    assert (nothing.good_backups, nothing.newest_bytes, nothing.stored_bytes, nothing.ratio) == (0, None, 0, None)
    # 227 of what is good; the newest is that of the whole database
    assert (found.good_backups, found.newest_bytes, found.logical_bytes) == (3, 120, 227)
    assert (found.stored_bytes, found.ratio) == (50, 4.54)
    assert (left.good_backups, left.stored_bytes, left.ratio) == (0, 3, None)
    total = storage.total
    assert (total.good_backups, total.newest_bytes, total.logical_bytes, total.stored_bytes) == (3, 120, 227, 53)


@pytest.fixture
def shop(world: World, tmp_path: Path) -> Iterator[Shop]:
    made = Shop(world, tmp_path)
    yield made
    made.close()


def _real(shop: Shop, *kinds: str) -> int:
    folder = shop.location / str(shop.world.tenants[shop.tenant])
    return sum(path.stat().st_size for kind in kinds for path in (folder / kind).rglob("*") if path.is_file())


async def test_measuring_puts_right_whatever_was_believed(admin: Session, shop: Shop) -> None:
    first, second = shop.back_up(), shop.back_up()
    world = shop.world
    # nothing was entered, but for what is not there
    world.add_stored("acme", shop.source, shop.repository, "packs/aa/1", 1 << 40)
    (measured,) = await measure_storage(admin)
    real = _real(shop, "packs", "manifests")
    assert (measured.bytes, measured.unclaimed_bytes) == (real, 0)
    assert measured.corrected_bytes == real - (1 << 40)
    (row,) = (await get_storage(admin)).sources
    assert (row.stored_bytes, row.good_backups) == (real, 2)
    assert (await measure_storage(admin))[0].corrected_bytes == 0

    # one manifest is lost, one cannot be read: what they name is in the ledger, and there, so it still counts
    folder = shop.location / str(world.tenants["acme"]) / "manifests"
    (folder / f"{first}.json.zst").unlink()
    (folder / f"{second}.json.zst").write_bytes(b"no manifest")
    (measured,) = await measure_storage(admin)
    assert (measured.bytes, measured.unreadable_manifests) == (_real(shop, "packs", "manifests"), 1)

    # a ledger that is empty learns only what belongs to somebody
    world.superuser("TRUNCATE tui_backup.stored_objects, tui_backup.stored_sizes")
    (measured,) = await measure_storage(admin)
    assert (measured.bytes, measured.unclaimed_bytes) == (_real(shop, "manifests"), _real(shop, "packs"))


async def test_a_backup_that_the_catalog_lost_is_its_sources(admin: Session, shop: Shop) -> None:
    shop.back_up()
    shop.world.superuser("DELETE FROM tui_backup.backup_jobs")
    (measured,) = await measure_storage(admin)
    assert measured.bytes == _real(shop, "packs", "manifests") > 0
    (row,) = (await get_storage(admin)).sources
    assert (row.source_name, row.good_backups, row.stored_bytes) == ("shop", 0, measured.bytes)


async def test_two_names_of_one_place_count_once(admin: Session, shop: Shop) -> None:
    shop.back_up()
    shop.world.add_repository("acme", "again", location=str(shop.location), is_default=False)
    again, local = await measure_storage(admin)
    assert (again.repository_name, again.bytes) == ("again", 0)
    assert local.bytes == _real(shop, "packs", "manifests") == (await get_storage(admin)).total.stored_bytes


async def test_only_an_admin_measures(open_as: OpenAs, world: World) -> None:
    world.add_repository("acme")
    for role in ("operator", "employee"):
        session = await open_as(login_of("acme", role))
        with pytest.raises(PermissionRefusedError):
            await measure_storage(session)
        assert (await get_storage(session)).sources == []
