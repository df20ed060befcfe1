-- What points out of the database: foreign tables (definitions only), publications.
RESET ROLE;
CREATE SCHEMA elsewhere AUTHORIZATION fidelity_owner;
SET search_path = elsewhere, public;
-- without a handler: whoever tries to read the rows fails
CREATE FOREIGN DATA WRAPPER far_wrapper OPTIONS (debug 'true');
CREATE SERVER "far ""away""" TYPE 'x' VERSION '1' FOREIGN DATA WRAPPER far_wrapper OPTIONS (host 'far.example', dbname 'it''s \ there', port '1');
CREATE USER MAPPING FOR fidelity_owner SERVER "far ""away""" OPTIONS (user 'u', password 'remote-secret');
CREATE USER MAPPING FOR PUBLIC SERVER "far ""away""" OPTIONS (user 'public');
CREATE FOREIGN TABLE far_orders (id int OPTIONS (column_name 'ID') NOT NULL, t text DEFAULT 'x', CHECK (id > 0)) SERVER "far ""away""" OPTIONS (schema_name 's', table_name 't "q"');
CREATE EXTENSION file_fdw SCHEMA public;
CREATE SERVER files FOREIGN DATA WRAPPER file_fdw;
CREATE FOREIGN TABLE absent_file (t text) SERVER files OPTIONS (filename '/nonexistent/file "x".csv', format 'csv', null '\N');
GRANT USAGE ON FOREIGN SERVER "far ""away""" TO fidelity_owner;
GRANT USAGE ON FOREIGN DATA WRAPPER far_wrapper TO fidelity_writer WITH GRANT OPTION;
GRANT SELECT ON far_orders TO fidelity_reader;
COMMENT ON SERVER "far ""away""" IS 'a server''s comment';
COMMENT ON FOREIGN TABLE far_orders IS 'a foreign table''s comment';
CREATE TABLE mixed (id int, t text) PARTITION BY RANGE (id);
CREATE TABLE mixed_here PARTITION OF mixed FOR VALUES FROM (0) TO (10);
CREATE FOREIGN TABLE mixed_far PARTITION OF mixed FOR VALUES FROM (10) TO (20) SERVER "far ""away""";
INSERT INTO mixed VALUES (1, 'here');

CREATE PUBLICATION everything FOR ALL TABLES WITH (publish = 'insert, truncate');
CREATE PUBLICATION "odd ""pub""" FOR TABLE shapes.typed, parts.by_hash WITH (publish_via_partition_root = true);
CREATE PUBLICATION nothing;
ALTER PUBLICATION nothing OWNER TO fidelity_owner;
COMMENT ON PUBLICATION nothing IS 'a publication''s comment';
\if :v15
CREATE PUBLICATION filtered FOR TABLE shapes.with_options (id, n) WHERE (id > 10);
CREATE PUBLICATION by_schema FOR TABLES IN SCHEMA blobs, TABLE shapes.with_options;
\endif
