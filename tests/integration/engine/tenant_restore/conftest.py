"""A database that several tenants share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.integration.engine.tenant_restore.by_hand import (
    Backup,
    back_up_really,
    picture,
    restore,
    rows_of,
    settings_of,
)
from tests.servers import TestServer
from tui_backup.engine.logical.tenants.restore import TenantResult

ACME, BETA = "acme", "beta"

SHARED = """
CREATE SCHEMA app;
CREATE TABLE app.countries (code text PRIMARY KEY, name text);
CREATE TABLE app.people (id int PRIMARY KEY, tenant_id text, email text, boss int REFERENCES app.people,
    country text REFERENCES app.countries, born timestamptz, UNIQUE (tenant_id, email),
    shown text GENERATED ALWAYS AS (upper(email)) STORED);
CREATE TABLE app.orders (tenant_id text NOT NULL, id bigint GENERATED ALWAYS AS IDENTITY, person int NOT NULL
    REFERENCES app.people, total numeric(12, 2), extra jsonb, PRIMARY KEY (tenant_id, id));
CREATE TABLE app.lines (tenant text NOT NULL, order_id bigint NOT NULL, n int, what text,
    PRIMARY KEY (tenant, order_id, n), FOREIGN KEY (tenant, order_id) REFERENCES app.orders ON DELETE CASCADE);
CREATE TABLE app.a (id int PRIMARY KEY, tenant_id text, b_id int);
CREATE TABLE app.b (id int PRIMARY KEY, a_id int NOT NULL REFERENCES app.a);
ALTER TABLE app.a ADD FOREIGN KEY (b_id) REFERENCES app.b;
CREATE TABLE app.log (tenant_id text, at timestamptz, what text);
CREATE TABLE app.events (tenant_id text, id int, what text, PRIMARY KEY (id, what)) PARTITION BY LIST (what);
CREATE TABLE app.events_x PARTITION OF app.events FOR VALUES IN ('x');
CREATE TABLE app.events_y (what text NOT NULL, id int NOT NULL, tenant_id text);
ALTER TABLE app.events ATTACH PARTITION app.events_y DEFAULT;
CREATE TABLE app.fired (what text);
CREATE FUNCTION app.fire() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN INSERT INTO app.fired VALUES (TG_NAME || '' '' || TG_OP); RETURN coalesce(NEW, OLD); END';
CREATE TRIGGER ordinary AFTER INSERT OR UPDATE OR DELETE ON app.people FOR EACH ROW EXECUTE FUNCTION app.fire();
INSERT INTO app.countries VALUES ('de', 'Germany'), ('sa', 'Saudi Arabia');
INSERT INTO app.people (id, tenant_id, email, country, born)
    SELECT g, CASE g % 3 WHEN 0 THEN 'acme' WHEN 1 THEN 'beta' END, 'p' || g, 'de', '2020-01-01Z'
    FROM generate_series(1, 90) g;
UPDATE app.people SET boss = id - 3 WHERE id > 10;
INSERT INTO app.orders (tenant_id, person, total, extra)
    SELECT CASE g % 3 WHEN 0 THEN 'acme' WHEN 1 THEN 'beta' ELSE 'gamma' END, g % 90 + 1, g, '{"a": [1.0]}'
    FROM generate_series(1, 300) g;
UPDATE app.orders o SET person = CASE tenant_id WHEN 'acme' THEN 3 WHEN 'beta' THEN 1 ELSE 2 END;
INSERT INTO app.lines SELECT tenant_id, id, 1, E'tab\\t\\\\.\\nline' FROM app.orders;
INSERT INTO app.a SELECT g, CASE g % 2 WHEN 0 THEN 'acme' ELSE 'beta' END FROM generate_series(1, 20) g;
INSERT INTO app.b SELECT g, g FROM generate_series(1, 20) g;
UPDATE app.a SET b_id = id;
INSERT INTO app.log SELECT CASE g % 2 WHEN 0 THEN 'acme' ELSE 'beta' END, '2020-01-01Z', 'e' || g % 7
    FROM generate_series(1, 60) g;
INSERT INTO app.events
    SELECT CASE g % 2 WHEN 0 THEN 'acme' ELSE 'beta' END, g, CASE g % 4 / 2 WHEN 0 THEN 'x' ELSE 'y' END
    FROM generate_series(1, 40) g;
DELETE FROM app.fired;
"""

SETTINGS = settings_of(
    tables={
        "app.countries": {"shared": "missing"},
        "app.fired": {"left_out": True},
        "app.lines": {"column": "tenant"},
        "app.b": {"via": "b_a_id_fkey"},
    }
)

# every kind of change to acme's rows, in every table
DAMAGE = """
DELETE FROM app.lines WHERE tenant = 'acme' AND order_id % 2 = 0;
DELETE FROM app.orders o WHERE tenant_id = 'acme' AND NOT EXISTS (SELECT FROM app.lines l WHERE l.order_id = o.id);
UPDATE app.orders SET total = total + 1 WHERE tenant_id = 'acme' AND id % 5 = 0;
INSERT INTO app.people (id, tenant_id, email) VALUES (1000, 'acme', 'new'), (1001, 'acme', 'newer');
UPDATE app.people SET email = 'x' || email, boss = 1000 WHERE tenant_id = 'acme' AND id BETWEEN 20 AND 60;
UPDATE app.people SET email = CASE id WHEN 3 THEN 'p6' ELSE 'p3' END WHERE id IN (3, 6) AND false;
INSERT INTO app.orders (tenant_id, person, total) VALUES ('acme', 1001, 1);
INSERT INTO app.lines SELECT 'acme', max(id), 1, 'new' FROM app.orders WHERE tenant_id = 'acme';
UPDATE app.a SET b_id = NULL WHERE tenant_id = 'acme' AND id < 10;
DELETE FROM app.b WHERE id = 4;
INSERT INTO app.a VALUES (100, 'acme', NULL);
INSERT INTO app.b VALUES (100, 100);
UPDATE app.a SET b_id = 100 WHERE id IN (100, 12);
DELETE FROM app.log WHERE ctid IN (SELECT ctid FROM app.log WHERE tenant_id = 'acme' ORDER BY what LIMIT 9);
INSERT INTO app.log VALUES ('acme', '2020-01-01Z', 'e1'), ('acme', NULL, NULL);
UPDATE app.events SET what = 'x' WHERE tenant_id = 'acme' AND what = 'y' AND id % 3 = 0;
DELETE FROM app.events WHERE tenant_id = 'acme' AND id < 6;
DELETE FROM app.fired;
"""


@dataclass
class World:
    """A live database and a backup of acme."""

    server: TestServer
    name: str
    backup: Backup
    good: dict[str, list[str]]

    def execute(self, statements: str) -> list[tuple[object, ...]]:
        return self.server.execute(statements, self.name)

    def picture(self) -> dict[str, dict[tuple[str, str], str]]:
        return picture(self.server, self.name)

    def rows(self) -> dict[str, list[str]]:
        return rows_of(self.server, self.name, self.backup)

    def others(self) -> dict[str, dict[tuple[str, str], str]]:
        """All rows but acme's."""
        return without_acme(self.picture(), self.rows())

    def restore(self, backup: Backup | None = None, **options: object) -> TenantResult:
        return restore(self.server, self.name, backup or self.backup, **options)  # type: ignore[arg-type]


def without_acme(
    everything: dict[str, dict[tuple[str, str], str]], rows: dict[str, list[str]]
) -> dict[str, dict[tuple[str, str], str]]:
    """A picture without the tenant's rows; a partition's rows are its root's."""
    mine = {text for table in rows.values() for text in table}
    return {
        table: {place: text for place, text in found.items() if text not in mine and "acme" not in text}
        for table, found in everything.items()
    }


@pytest.fixture(scope="package")
def shared_template(pg: TestServer) -> Iterator[Backup]:
    """The template database and acme's backup."""
    pg.drop_database("tenants_template")
    pg.create_database("tenants_template")
    pg.execute(SHARED, "tenants_template")
    yield back_up_really(pg, "tenants_template", ACME, SETTINGS)
    pg.drop_database("tenants_template")


@pytest.fixture
def world(pg: TestServer, shared_template: Backup) -> Iterator[World]:
    """A live copy for one test."""
    name = pg.create_database(template="tenants_template")
    yield World(pg, name, shared_template, rows_of(pg, name, shared_template))
    pg.drop_database(name)
