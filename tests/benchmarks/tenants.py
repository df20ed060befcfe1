"""Other tenants' transactions while one tenant is restored in place: ``python -m tests.benchmarks.tenants``.

Several sessions of other tenants read, insert, update and delete their own rows as fast as they can, first alone and
then while acme's rows are restored again and again. What counts: not one of them fails, and how long the slowest of a
hundred takes (p99) with and without.
"""

from __future__ import annotations

import argparse
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import psycopg

from tests.integration.engine.tenant_restore.by_hand import Backup, back_up_really, restore, settings_of
from tests.servers import ServerPool, TestServer

SCHEMA = """
CREATE TABLE people (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, tenant_id text NOT NULL, name text, n int,
                     UNIQUE (tenant_id, name));
CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, tenant_id text NOT NULL,
                     person bigint NOT NULL REFERENCES people, country text REFERENCES countries, note text);
CREATE INDEX ON orders (person); CREATE INDEX ON orders (tenant_id);
INSERT INTO people (tenant_id, name, n) SELECT t, t || g, g FROM unnest({tenants}) t, generate_series(1, {rows} / 4) g;
INSERT INTO orders (tenant_id, person, country, note)
    SELECT p.tenant_id, p.id, 'de', repeat('x', 100) FROM people p, generate_series(1, 4);
ANALYZE;
"""
DAMAGE = """
DELETE FROM orders WHERE tenant_id = 'acme' AND id % 3 = 0;
UPDATE orders SET note = 'y' WHERE tenant_id = 'acme' AND id % 3 = 1;
UPDATE people SET n = n + 1 WHERE tenant_id = 'acme' AND id % 2 = 0;
INSERT INTO people (tenant_id, name) SELECT 'acme', 'new' || g FROM generate_series(1, {rows} / 20) g;
"""


@dataclass
class Load:
    """What other tenants' sessions met: seconds of each transaction, and every error."""

    seconds: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def percentile_ms(self, part: float) -> float:
        """Milliseconds within which this part of the transactions were done."""
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(len(ordered) * part))] * 1000 if ordered else 0.0

    def to_json(self) -> dict[str, Any]:
        """The figures."""
        return {
            "transactions": len(self.seconds),
            "errors": len(self.errors),
            "p50_ms": round(self.percentile_ms(0.5), 2),
            "p99_ms": round(self.percentile_ms(0.99), 2),
            "max_ms": round(max(self.seconds, default=0.0) * 1000, 2),
        }


def prepare(server: TestServer, rows: int, tenants: int) -> tuple[str, Backup]:
    """A database with so many rows a tenant, and acme's backup."""
    name = server.create_database()
    names = ["acme", *(f"other{number}" for number in range(tenants))]
    server.execute("CREATE TABLE countries (code text PRIMARY KEY); INSERT INTO countries VALUES ('de'), ('sa')", name)
    server.execute(SCHEMA.format(tenants=f"ARRAY{names!r}", rows=rows), name)
    return name, back_up_really(server, name, "acme", settings_of(tables={"countries": {"shared": "missing"}}))


def _work(server: TestServer, name: str, tenant: str, load: Load, over: threading.Event) -> None:
    seconds: list[float] = []
    number = 0
    with server.connect(name) as conn:
        conn.execute("SET lock_timeout = '10s'")
        while not over.is_set():
            number += 1
            started = time.perf_counter()
            try:
                with conn.transaction():
                    conn.execute("SELECT count(*) FROM orders WHERE tenant_id = %s", [tenant])
                    row = conn.execute(
                        "INSERT INTO people (tenant_id, name) VALUES (%s, %s) RETURNING id", [tenant, f"w{number}"]
                    ).fetchone()
                    conn.execute(
                        "INSERT INTO orders (tenant_id, person, country) SELECT %s, %s, 'de'"
                        " FROM generate_series(1, 3)",
                        [tenant, row[0] if row else None],
                    )
                    conn.execute("UPDATE people SET n = n + 1 WHERE tenant_id = %s AND n < 20", [tenant])
                    conn.execute("DELETE FROM orders WHERE person = %s", [row[0] if row else None])
                    conn.execute("DELETE FROM people WHERE id = %s", [row[0] if row else None])
            except psycopg.Error as error:
                load.errors.append(str(error))
            seconds.append(time.perf_counter() - started)
            over.wait(0.005)
    load.seconds += seconds


def measure(
    server: TestServer, name: str, backup: Backup | None, *, sessions: int, seconds: float, rows: int
) -> tuple[Load, int]:
    """Let other tenants work; with a backup, acme is damaged and restored meanwhile, as often as there is time.

    Returns:
        What they met, and how many restores there were.
    """
    load, over = Load(), threading.Event()
    threads = [
        threading.Thread(target=_work, args=(server, name, f"other{number}", load, over)) for number in range(sessions)
    ]
    for thread in threads:
        thread.start()
    restores = 0
    deadline = time.monotonic() + seconds
    try:
        while time.monotonic() < deadline:
            if backup is None:
                time.sleep(0.05)
                continue
            server.execute(DAMAGE.format(rows=rows), name)
            restore(server, name, backup)
            restores += 1
    finally:
        over.set()
        for thread in threads:
            thread.join()
    return load, restores


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000, help="rows of people and orders a tenant, about")
    parser.add_argument("--sessions", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--major", type=int, default=18)
    arguments = parser.parse_args()
    pool = ServerPool()
    try:
        server = pool.get(arguments.major)
        if server is None:
            parser.error(f"PostgreSQL {arguments.major} is not on this machine")
        name, backup = prepare(server, arguments.rows, arguments.sessions)
        options = {"sessions": arguments.sessions, "seconds": arguments.seconds, "rows": arguments.rows}
        alone, _ = measure(server, name, None, **options)
        beside, restores = measure(server, name, backup, **options)
        print(f"{arguments.sessions} sessions of other tenants, {arguments.rows} rows a tenant, {restores} restores")
        print(f"without: {alone.to_json()}")
        print(f"with:    {beside.to_json()}")
        for error in dict.fromkeys(beside.errors):
            print(f"error:   {error}")
    finally:
        pool.close()


if __name__ == "__main__":
    main()
