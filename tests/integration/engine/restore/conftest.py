"""A small shop to restore, backed up once a module."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.engine.restore.helpers import Repository, back_up, dropped
from tests.servers import TestServer
from tui_backup.manifest import Contents

SHOP = """
CREATE SCHEMA s;
CREATE TABLE s.people (id int PRIMARY KEY, name text NOT NULL UNIQUE, boss int REFERENCES s.people,
                       upper_name text GENERATED ALWAYS AS (upper(name)) STORED);
CREATE TABLE s.orders (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, person int NOT NULL REFERENCES s.people,
                       note text, amount numeric(10, 2) DEFAULT 0 CHECK (amount >= 0));
CREATE TABLE s.lines (order_id int REFERENCES s.orders ON DELETE CASCADE, n serial, what text,
                      PRIMARY KEY (order_id, n));
CREATE TABLE s.a (id int PRIMARY KEY, b_id int);
CREATE TABLE s.b (id int PRIMARY KEY, a_id int REFERENCES s.a DEFERRABLE INITIALLY IMMEDIATE);
ALTER TABLE s.a ADD FOREIGN KEY (b_id) REFERENCES s.b DEFERRABLE INITIALLY DEFERRED;
CREATE TABLE s.log (id int, at timestamptz) PARTITION BY RANGE (id);
CREATE TABLE s.log_1 PARTITION OF s.log FOR VALUES FROM (0) TO (100);
CREATE TABLE s.log_2 (at timestamptz, id int);
ALTER TABLE s.log ATTACH PARTITION s.log_2 FOR VALUES FROM (100) TO (1000);
CREATE TABLE s.fired (what text);
CREATE FUNCTION s.fire() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN INSERT INTO s.fired VALUES (TG_NAME || '' '' || TG_OP); RETURN coalesce(NEW, OLD); END';
CREATE TRIGGER ordinary AFTER INSERT OR DELETE ON s.orders FOR EACH ROW EXECUTE FUNCTION s.fire();
CREATE TRIGGER always AFTER INSERT OR DELETE ON s.orders FOR EACH ROW EXECUTE FUNCTION s.fire();
CREATE TRIGGER replica AFTER INSERT OR DELETE ON s.orders FOR EACH ROW EXECUTE FUNCTION s.fire();
CREATE TRIGGER off AFTER INSERT OR DELETE ON s.orders FOR EACH ROW EXECUTE FUNCTION s.fire();
CREATE RULE keep AS ON DELETE TO s.people DO ALSO INSERT INTO s.fired VALUES ('rule');
CREATE VIEW s.totals AS SELECT person, sum(amount) FROM s.orders GROUP BY person;
CREATE MATERIALIZED VIEW s.sums AS SELECT * FROM s.totals;
INSERT INTO s.people (id, name, boss) SELECT g, 'person ' || g, nullif(g / 2, 0) FROM generate_series(1, 200) g;
INSERT INTO s.orders (person, note, amount) SELECT g % 200 + 1, repeat('x', g % 300), g % 97
    FROM generate_series(1, 5000) g;
INSERT INTO s.lines (order_id, what) SELECT g, E'tab\\t\\\\.\\nline' FROM generate_series(1, 2000) g;
BEGIN;
INSERT INTO s.a SELECT g, g FROM generate_series(1, 50) g;
INSERT INTO s.b SELECT g, g FROM generate_series(1, 50) g;
COMMIT;
INSERT INTO s.log SELECT g, '2020-01-01 00:00:00Z'::timestamptz + g * '1 hour'::interval FROM generate_series(1, 300) g;
ALTER TABLE s.orders ENABLE ALWAYS TRIGGER always, ENABLE REPLICA TRIGGER replica, DISABLE TRIGGER off;
DELETE FROM s.fired;
REFRESH MATERIALIZED VIEW s.sums;
SELECT lo_from_bytea(4711, decode(repeat('00ff', 300000), 'hex'));
"""


@dataclass
class Shop:
    """A live database and a backup of it."""

    server: TestServer
    name: str
    contents: Contents
    repository: Repository

    def rows(self, query: str) -> list[tuple[object, ...]]:
        return self.server.execute(query, self.name)

    def fingerprint(self) -> dict[str, object]:
        """Hashes of all tables' rows, and the states of triggers and sequences."""
        tables = ["people", "orders", "lines", "a", "b", "log", "fired"]
        found: dict[str, object] = {
            name: self.rows(f"SELECT md5(string_agg(t::text, ',' ORDER BY t::text)), count(*) FROM s.{name} t")
            for name in tables
        }
        found["triggers"] = self.rows("SELECT tgname, tgenabled FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1")
        found["rules"] = self.rows("SELECT rulename, ev_enabled FROM pg_rewrite WHERE rulename = 'keep'")
        found["sequences"] = self.rows("SELECT sequencename, last_value FROM pg_sequences ORDER BY 1")
        return found


@pytest.fixture(scope="module")
def shop_backup(pg: TestServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """The shop's template and its backup."""
    with dropped(pg, "shop_template"):
        pg.create_database("shop_template")
        pg.execute(SHOP, "shop_template")
        repository = Repository(Path(tmp_path_factory.mktemp("shop")) / "repository")
        yield Shop(pg, "shop_template", back_up(pg, "shop_template", repository, chunk_blocks=8), repository)


@pytest.fixture
def shop(shop_backup: Shop) -> Iterator[Shop]:
    """A live copy of the shop, for one test."""
    name = shop_backup.server.create_database(template="shop_template")
    with dropped(shop_backup.server, "shop_restored"):
        yield Shop(shop_backup.server, name, shop_backup.contents, shop_backup.repository)
    shop_backup.server.drop_database(name)
