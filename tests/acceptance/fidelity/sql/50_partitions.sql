-- Partitions of every kind.
RESET ROLE;
CREATE SCHEMA parts AUTHORIZATION fidelity_owner;
SET search_path = parts;
SET ROLE fidelity_owner;

CREATE TABLE by_range (id int, day date NOT NULL, t text DEFAULT 'root') PARTITION BY RANGE (day);
CREATE TABLE by_range_old PARTITION OF by_range FOR VALUES FROM (MINVALUE) TO ('2020-01-01');
CREATE TABLE by_range_2020 PARTITION OF by_range (t DEFAULT 'leaf') FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');
CREATE TABLE by_range_default PARTITION OF by_range DEFAULT;
-- other order of columns, a dropped one, made apart
CREATE TABLE by_range_2021 (gone int, t text DEFAULT 'own', day date NOT NULL, id int);
ALTER TABLE by_range_2021 DROP gone;
ALTER TABLE by_range ATTACH PARTITION by_range_2021 FOR VALUES FROM ('2021-01-01') TO ('2022-01-01');
CREATE INDEX by_range_id ON by_range (id);
CREATE UNIQUE INDEX by_range_2020_own ON by_range_2020 (id, t);
INSERT INTO by_range SELECT g, '2019-06-01'::date + g * 10, 'row ' || g FROM generate_series(1, 150) AS g;

CREATE TABLE by_list (kind text COLLATE "C", n int) PARTITION BY LIST (lower(kind));
CREATE TABLE by_list_ab PARTITION OF by_list FOR VALUES IN ('a', 'it''s "b"');
CREATE TABLE by_list_null PARTITION OF by_list FOR VALUES IN (NULL);
CREATE TABLE by_list_rest PARTITION OF by_list DEFAULT;
INSERT INTO by_list VALUES ('A', 1), ('a', 2), ('IT''S "B"', 3), (NULL, 4), ('z', 5);

CREATE TABLE by_hash (id int PRIMARY KEY, t text) PARTITION BY HASH (id);
CREATE TABLE by_hash_0 PARTITION OF by_hash FOR VALUES WITH (MODULUS 3, REMAINDER 0);
CREATE TABLE by_hash_1 PARTITION OF by_hash FOR VALUES WITH (MODULUS 3, REMAINDER 1);
CREATE UNLOGGED TABLE by_hash_2 PARTITION OF by_hash FOR VALUES WITH (MODULUS 3, REMAINDER 2);
INSERT INTO by_hash SELECT g, md5(g::text) FROM generate_series(1, 300) AS g;

-- the hash of an enum's value is its row in the catalog: a row may belong to another leaf after a restore
CREATE TYPE colour AS ENUM ('red', 'green', 'blue', 'white', 'black', 'grey', 'pink', 'brown');
CREATE TABLE by_enum_hash (c colour, n int) PARTITION BY HASH (c);
CREATE TABLE by_enum_hash_0 PARTITION OF by_enum_hash FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE by_enum_hash_1 PARTITION OF by_enum_hash FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO by_enum_hash SELECT c, g FROM unnest(enum_range(NULL::colour)) AS c, generate_series(1, 5) AS g;

CREATE TABLE two_levels (tenant int, at timestamptz, v jsonb) PARTITION BY LIST (tenant);
CREATE TABLE two_levels_1 PARTITION OF two_levels FOR VALUES IN (1) PARTITION BY RANGE (at);
CREATE TABLE two_levels_1_a PARTITION OF two_levels_1 FOR VALUES FROM ('2020-01-01 00:00+00') TO ('2021-01-01 00:00+00');
CREATE TABLE two_levels_1_rest PARTITION OF two_levels_1 DEFAULT;
CREATE TABLE two_levels_2 (v jsonb, tenant int, at timestamptz) PARTITION BY HASH (at, tenant);
CREATE TABLE two_levels_2_0 PARTITION OF two_levels_2 FOR VALUES WITH (MODULUS 1, REMAINDER 0);
ALTER TABLE two_levels ATTACH PARTITION two_levels_2 FOR VALUES IN (2, 3);
INSERT INTO two_levels SELECT 1 + g % 3, '2020-06-01 00:00+00'::timestamptz + g * '9 days'::interval, jsonb_build_object('g', g)
FROM generate_series(1, 100) AS g;
CREATE TABLE no_leaves (a int) PARTITION BY RANGE (a);
CREATE TABLE by_expression (a int, b text) PARTITION BY RANGE ((a % 10), b COLLATE "POSIX");
CREATE TABLE by_expression_1 PARTITION OF by_expression FOR VALUES FROM (0, MINVALUE) TO (5, MAXVALUE);
CREATE TABLE by_expression_2 PARTITION OF by_expression FOR VALUES FROM (5, MAXVALUE) TO (MAXVALUE, MAXVALUE);
INSERT INTO by_expression VALUES (14, 'x'), (16, 'y');

CREATE TABLE refers (id int PRIMARY KEY, hash_id int REFERENCES by_hash);
INSERT INTO refers VALUES (1, 1), (2, 300), (3, NULL);
CREATE FUNCTION touched() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE TRIGGER touched BEFORE UPDATE ON by_range FOR EACH ROW EXECUTE FUNCTION touched();
ALTER TABLE by_range_old DISABLE TRIGGER touched;
