-- Constraints that depend on order, on time or on nothing at all; indexes; statistics.
RESET ROLE;
CREATE EXTENSION btree_gist SCHEMA public;
CREATE SCHEMA rules_of AUTHORIZATION fidelity_owner;
SET search_path = rules_of, public;
SET ROLE fidelity_owner;

CREATE TABLE tree (id int PRIMARY KEY, parent int, t text);
INSERT INTO tree VALUES (1, 5, 'its parent comes later'), (5, NULL, 'root'), (3, 1, 'x'), (7, 7, 'itself');
ALTER TABLE tree ADD FOREIGN KEY (parent) REFERENCES tree ON DELETE CASCADE;

CREATE TABLE hen (id int PRIMARY KEY, egg int NOT NULL);
CREATE TABLE egg (id int PRIMARY KEY, hen int NOT NULL REFERENCES hen DEFERRABLE INITIALLY DEFERRED);
ALTER TABLE hen ADD CONSTRAINT hen_egg FOREIGN KEY (egg) REFERENCES egg DEFERRABLE INITIALLY IMMEDIATE;
BEGIN;
SET CONSTRAINTS ALL DEFERRED;
INSERT INTO hen SELECT g, g FROM generate_series(1, 20) AS g;
INSERT INTO egg SELECT g, 21 - g FROM generate_series(1, 20) AS g;
COMMIT;

CREATE TABLE not_valid (id int, ref int);
INSERT INTO not_valid VALUES (-1, 4711), (1, 1);
ALTER TABLE not_valid ADD CONSTRAINT positive_later CHECK (id > 0) NOT VALID,
  ADD CONSTRAINT ref_later FOREIGN KEY (ref) REFERENCES tree NOT VALID;

CREATE TABLE composite_target (a int, b text, c int, PRIMARY KEY (a, b), CONSTRAINT target_unique UNIQUE (c) INCLUDE (b));
CREATE TABLE composite_source (
  a int, b text, c int REFERENCES composite_target (c) ON UPDATE CASCADE ON DELETE SET NULL,
  CONSTRAINT full_match FOREIGN KEY (a, b) REFERENCES composite_target MATCH FULL ON UPDATE SET DEFAULT
);
INSERT INTO composite_target VALUES (1, 'x', 10), (2, 'y', NULL);
INSERT INTO composite_source VALUES (1, 'x', 10), (NULL, NULL, NULL);
\if :v15
CREATE TABLE set_some (a int, b text, FOREIGN KEY (a, b) REFERENCES composite_target ON DELETE SET NULL (b));
CREATE TABLE nulls_alike (a int, b int, UNIQUE NULLS NOT DISTINCT (a, b));
INSERT INTO nulls_alike VALUES (NULL, 1), (1, NULL);
\endif

CREATE TABLE swapped (id int PRIMARY KEY DEFERRABLE, n int UNIQUE DEFERRABLE INITIALLY DEFERRED);
INSERT INTO swapped VALUES (1, 1), (2, 2);
BEGIN;
UPDATE swapped SET n = 3 - n;
COMMIT;

CREATE TABLE bookings (
  room int, during tstzrange, cancelled boolean DEFAULT false, slot int4range,
  CONSTRAINT no_overlap EXCLUDE USING gist (room WITH =, during WITH &&) WHERE (NOT cancelled) DEFERRABLE,
  EXCLUDE USING btree (room WITH =, slot WITH =)
);
INSERT INTO bookings VALUES (1, '[2020-01-01 00:00+00,2020-01-02 00:00+00)', false, '[1,2)'), (1, '[2020-01-02 00:00+00,)', false, '[2,3)'),
  (1, '[2020-01-01 12:00+00,)', true, '[3,4)');
\if :v18
CREATE TABLE temporal (id int, valid_at daterange, t text, PRIMARY KEY (id, valid_at WITHOUT OVERLAPS));
CREATE TABLE temporal_ref (id int, ref int, valid_at daterange, FOREIGN KEY (ref, PERIOD valid_at) REFERENCES temporal (id, PERIOD valid_at));
INSERT INTO temporal VALUES (1, '[2020-01-01,2021-01-01)', 'x'), (1, '[2021-01-01,)', 'y');
INSERT INTO temporal_ref VALUES (1, 1, '[2020-06-01,2022-01-01)');
CREATE TABLE not_enforced (a int CONSTRAINT hint CHECK (a > 0) NOT ENFORCED, ref int REFERENCES tree NOT ENFORCED);
INSERT INTO not_enforced VALUES (-1, 4711);
CREATE TABLE named_not_null (a int CONSTRAINT "a must be there" NOT NULL, b int CONSTRAINT alone NOT NULL NO INHERIT, c int);
INSERT INTO named_not_null VALUES (1, 1, NULL);
ALTER TABLE named_not_null ADD CONSTRAINT "c later" NOT NULL c NOT VALID;
\endif

CREATE FUNCTION tree_has(wanted int) RETURNS boolean LANGUAGE sql STABLE AS
  'SELECT EXISTS (SELECT FROM rules_of.tree WHERE id = wanted)';
CREATE TABLE checked (a int CHECK (a IS NULL OR a > 0), b text CONSTRAINT multi
  CHECK (b <> '' AND b !~ E'\n' AND b IN ('x', 'y''z', E'\\')));
INSERT INTO checked VALUES (1, 'x'), (NULL, 'y''z'), (2, E'\\');

CREATE TABLE indexed (id int PRIMARY KEY, t text, n int, doc jsonb, tags text[], p point, at timestamptz, r int4range);
INSERT INTO indexed SELECT g, 'T' || g, g % 10, jsonb_build_object('k', g), ARRAY['t' || g % 3], point(g, -g), '2020-01-01 00:00+00'::timestamptz + g * '1h'::interval,
  int4range(g, g + 5) FROM generate_series(1, 500) AS g;
CREATE INDEX ON indexed (lower(t), (n + 1) DESC NULLS LAST);
CREATE UNIQUE INDEX indexed_part ON indexed (t text_pattern_ops) INCLUDE (n, at) WHERE n > 5 AND t IS NOT NULL;
CREATE INDEX indexed_gin ON indexed USING gin (doc jsonb_path_ops, tags) WITH (fastupdate = off);
CREATE INDEX indexed_gist ON indexed USING gist (p, r);
CREATE INDEX indexed_spgist ON indexed USING spgist (p kd_point_ops);
CREATE INDEX indexed_brin ON indexed USING brin (at) WITH (pages_per_range = 4);
CREATE INDEX indexed_hash ON indexed USING hash (t);
CREATE INDEX indexed_collated ON indexed (t COLLATE "C" varchar_pattern_ops) WITH (deduplicate_items = off, fillfactor = 60);
ALTER INDEX indexed_lower_expr_idx ALTER COLUMN 2 SET STATISTICS 300;

CREATE STATISTICS indexed_stats (ndistinct, dependencies, mcv) ON n, t FROM indexed;
CREATE STATISTICS indexed_expr ON (lower(t)), (n % 3) FROM indexed;
ALTER STATISTICS indexed_stats SET STATISTICS 50;
ANALYZE indexed;
