"""The property, short by default and twenty-five programs long among the slow tests."""

from __future__ import annotations

import os

import pytest

from tests.acceptance.incremental.machine import LONG, SHORT, run_programs, seed_of
from tests.servers import TestServer


def test_every_backup_holds_what_its_source_held(server: TestServer) -> None:
    figures = run_programs(server, SHORT, seed_of(dict(os.environ)))
    assert figures.backups > 0


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_twenty_five_programs(server: TestServer) -> None:
    figures = run_programs(server, LONG, seed_of(dict(os.environ)))
    assert figures.programs >= 25
    assert figures.reused > figures.programs, "something was taken over, or nothing was tested"
