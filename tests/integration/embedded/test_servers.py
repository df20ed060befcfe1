"""The test servers themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.servers import TestServer


def test_every_version_answers_on_both_roads(pg_any: TestServer) -> None:
    for dsn in (pg_any.dsn(), pg_any.socket_dsn()):
        with psycopg.connect(dsn) as conn:
            assert conn.info.server_version // 10000 == pg_any.major


def test_wrong_password_is_refused(pg: TestServer) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(pg.dsn(password="wrong"))


def test_databases_are_made_with_options_and_dropped(pg: TestServer) -> None:
    name = pg.create_database('odd "name"%', encoding="LATIN1", locale="C", locale_provider="libc")
    with pg.connect(name) as conn:
        assert conn.execute("SHOW server_encoding").fetchone() == ("LATIN1",)
        pg.drop_database(name)
    assert pg.execute(f"SELECT 1 FROM pg_database WHERE datname = '{name}'") == []


def test_restart_keeps_the_port_and_a_standby_follows(pg_new: Callable[..., TestServer]) -> None:
    server = pg_new(fresh=True)
    port = server.port
    server.execute("CREATE TABLE t AS SELECT 1 AS a")
    server.restart("immediate")
    assert server.port == port
    standby = server.start_standby()
    try:
        assert standby.execute("SELECT pg_is_in_recovery(), a FROM t") == [(True, 1)]
    finally:
        standby.close()
