"""The property and the mutation check, short by default and five minutes long among the slow tests."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.acceptance.incremental.machine import SETTINGS, Figures, make_machine, mutations, seed_of
from tests.servers import TestServer

LIMITS = {
    "deadline": None,
    "suppress_health_check": list(HealthCheck),
    "database": None,
    "print_blob": False,
}
SHORT = settings(max_examples=4, stateful_step_count=10, phases=[Phase.generate], **LIMITS)
LONG = settings(max_examples=60, stateful_step_count=14, phases=[Phase.generate], **LIMITS)


@pytest.fixture
def server(pg_new: Callable[..., TestServer]) -> Iterator[TestServer]:
    return pg_new(settings=SETTINGS)


def _run(server: TestServer, limits: settings, start: int) -> Figures:
    figures = Figures()
    print(f"SEED={start}")
    run_state_machine_as_test(seed(start)(make_machine(server, figures)), settings=limits)
    print(figures)
    return figures


def test_every_backup_holds_what_its_source_held(server: TestServer) -> None:
    figures = _run(server, SHORT, seed_of(dict(os.environ)))
    assert figures.backups > 0


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_sixty_programs(server: TestServer) -> None:
    figures = _run(server, LONG, seed_of(dict(os.environ)))
    assert figures.programs >= 60
    assert figures.reused > figures.programs, "something was taken over, or nothing was tested"


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", list(mutations()))
def test_without_a_condition_it_fails(server: TestServer, name: str) -> None:
    with mutations()[name](), pytest.raises(AssertionError, match="is not what the source holds"):
        _run(server, settings(LONG, max_examples=120), 20261123)
