-- More than one chunk of 1,024 blocks, with a hole, beside a table of many partitions' worth of rows.
RESET ROLE;
CREATE SCHEMA bulk AUTHORIZATION fidelity_owner;
SET search_path = bulk;
SET ROLE fidelity_owner;
CREATE TABLE events (id bigint, at timestamptz, kind text, amount numeric(12, 3), payload jsonb);
INSERT INTO events
SELECT g, '2020-01-01 00:00+00'::timestamptz + g * '1 s'::interval, 'kind ' || g % 13, g * 0.125, jsonb_build_object('g', g, 'text', md5(g::text))
FROM generate_series(1, 150000) AS g;
-- blocks in the middle with nothing visible in them, and rows that moved to the end
DELETE FROM events WHERE id BETWEEN 50000 AND 110000;
UPDATE events SET kind = 'moved' WHERE id % 997 = 0;
ALTER TABLE events ADD PRIMARY KEY (id);
CREATE INDEX events_at ON events (at);
CREATE TABLE narrow (b boolean);
INSERT INTO narrow SELECT g % 2 = 0 FROM generate_series(1, 30000) AS g;
