"""The ledger of stored objects: its sums, who may correct it, and what becomes of it."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import psycopg
import pytest

from tests.integration.catalog.world import AGENT, World, login_of

CORRECT = (
    "SELECT known_bytes, known_objects FROM tui_backup.correct_stored_objects("
    "%(repo)s, clock_timestamp(), %(names)s::text[], %(sources)s::uuid[], %(bytes)s::bigint[])"
)


class Place:
    """A source with a repository."""

    def __init__(self, world: World, tenant: str = "acme") -> None:
        self.world = world
        self.tenant = tenant
        self.source = world.add_source(tenant)
        self.repo = world.add_repository(tenant)

    def put(self, name: str, size: int, source: UUID | None = None) -> None:
        self.world.add_stored(self.tenant, source or self.source, self.repo, name, size)

    def sums(self) -> dict[UUID, tuple[int, int]]:
        rows = self.world.run(login_of(self.tenant, "employee"), "SELECT * FROM tui_backup.stored_sizes")
        return {row["source_id"]: (row["bytes"], row["objects"]) for row in rows}

    def correct(self, found: dict[str, tuple[UUID | None, int]], role: str = "admin") -> dict[str, Any]:
        values = {
            "repo": self.repo,
            "names": list(found),
            "sources": [source for source, _ in found.values()],
            "bytes": [size for _, size in found.values()],
        }
        (row,) = self.world.run(login_of("acme", role), CORRECT, values)
        return row


@pytest.fixture
def place(world_any: World) -> Place:
    return Place(world_any)


def test_the_sums_follow_every_change(place: Place) -> None:
    world, other = place.world, place.world.add_source("acme", "other")
    place.put("packs/aa/1", 10)
    place.put("packs/aa/2", 20)
    place.put("packs/bb/3", 5, other)
    assert place.sums() == {place.source: (30, 2), other: (5, 1)}
    world.run(AGENT, "UPDATE tui_backup.stored_objects SET bytes = bytes + 1")
    assert place.sums() == {place.source: (32, 2), other: (6, 1)}
    world.run(AGENT, "DELETE FROM tui_backup.stored_objects WHERE object_name = 'packs/aa/1'")
    # a superuser belongs to no tenant; the sums must follow even so
    world.superuser("DELETE FROM tui_backup.stored_objects WHERE object_name = 'packs/bb/3'")
    assert place.sums() == {place.source: (21, 1)}


def test_a_correction_drops_adds_and_keeps_owners(place: Place) -> None:
    other = place.world.add_source("acme", "other")
    for name, size in (("gone", 1), ("stays", 2), ("grew", 3)):
        place.put(name, size)
    found = {"stays": (None, 2), "grew": (other, 30), "new": (other, 7), "nobodys": (None, 100)}
    assert place.correct(found) == {"known_bytes": 39, "known_objects": 3}
    assert place.sums() == {place.source: (32, 2), other: (7, 1)}


def test_only_an_admin_corrects_and_only_his_own(place: Place) -> None:
    for role in ("operator", "employee"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            place.correct({}, role)
    theirs = Place(place.world, "globex")
    theirs.put("packs/aa/1", 10)
    with pytest.raises(psycopg.errors.ForeignKeyViolation, match="in this tenant"):
        theirs.correct({})
    # another tenant's source is no owner here
    assert place.correct({"x": (theirs.source, 5)}) == {"known_bytes": 0, "known_objects": 0}
    assert theirs.sums() == {theirs.source: (10, 1)}


def test_a_repository_that_is_forgotten_is_counted_no_more(place: Place) -> None:
    place.put("packs/aa/1", 10)
    place.world.run(login_of("acme", "admin"), "SELECT tui_backup.delete_repository(%s)", (place.repo,))
    assert place.sums() == {}
    assert place.world.run(AGENT, "SELECT 1 FROM tui_backup.stored_objects") == []


def test_equal_objects_of_two_tenants_in_a_shared_repository_are_counted_apart(world_any: World) -> None:
    """One source, one repository, the same object name: neither tenant's figures tell anything of the other."""
    own = Place(world_any)
    world_any.add_stored("globex", own.source, own.repo, "packs/aa/1", 1000)
    theirs = Place.__new__(Place)
    theirs.world, theirs.tenant, theirs.source, theirs.repo = world_any, "globex", own.source, own.repo
    assert (own.sums(), theirs.sums()) == ({}, {own.source: (1000, 1)})
    own.put("packs/aa/1", 10)
    assert (own.sums(), theirs.sums()) == ({own.source: (10, 1)}, {own.source: (1000, 1)})
    # putting one's own right leaves the other's, and tells nothing of it
    assert own.correct({"packs/aa/2": (own.source, 3)}) == {"known_bytes": 3, "known_objects": 1}
    assert (own.sums(), theirs.sums()) == ({own.source: (3, 1)}, {own.source: (1000, 1)})
