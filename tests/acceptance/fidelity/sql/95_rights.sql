-- Owners, grants, default privileges, comments.
RESET ROLE;
CREATE SCHEMA rights AUTHORIZATION fidelity_owner;
SET search_path = rights;
SET ROLE fidelity_owner;
CREATE TABLE granted (a int, b text, c text);
INSERT INTO granted VALUES (1, 'x', 'y');
CREATE SEQUENCE granted_seq;
CREATE FUNCTION granted_fn(int) RETURNS int LANGUAGE sql AS 'SELECT $1';
CREATE PROCEDURE granted_proc() LANGUAGE sql AS '';
CREATE TYPE granted_type AS ENUM ('x');
CREATE DOMAIN granted_domain AS int;
GRANT USAGE ON SCHEMA rights TO fidelity_reader, fidelity_writer;
GRANT CREATE ON SCHEMA rights TO fidelity_writer WITH GRANT OPTION;
GRANT SELECT ON granted TO fidelity_reader WITH GRANT OPTION;
GRANT ALL ON granted TO fidelity_writer;
GRANT SELECT (a), UPDATE (b, c) ON granted TO "fidelity ""odd"" role.%s\";
GRANT INSERT (a) ON granted TO PUBLIC;
REVOKE TRUNCATE ON granted FROM fidelity_owner;
GRANT USAGE ON SEQUENCE granted_seq TO fidelity_reader;
REVOKE EXECUTE ON FUNCTION granted_fn(int) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION granted_fn(int) TO fidelity_reader;
GRANT EXECUTE ON PROCEDURE granted_proc() TO fidelity_writer WITH GRANT OPTION;
REVOKE USAGE ON TYPE granted_type FROM PUBLIC;
GRANT USAGE ON TYPE granted_type TO fidelity_reader;
GRANT USAGE ON DOMAIN granted_domain TO fidelity_writer;
\if :v17
GRANT MAINTAIN ON granted TO fidelity_reader;
\endif
-- granted by somebody who is not the owner
SET ROLE fidelity_reader;
GRANT SELECT ON rights.granted TO "fidelity ""odd"" role.%s\";
RESET ROLE;
CREATE TABLE nobody_may (a int);
INSERT INTO nobody_may VALUES (1);
REVOKE ALL ON nobody_may FROM CURRENT_USER;
CREATE TABLE owned_elsewhere (a int);
ALTER TABLE owned_elsewhere OWNER TO "fidelity ""odd"" role.%s\";

ALTER DEFAULT PRIVILEGES FOR ROLE fidelity_owner IN SCHEMA rights GRANT SELECT ON TABLES TO fidelity_reader;
ALTER DEFAULT PRIVILEGES FOR ROLE fidelity_owner IN SCHEMA rights GRANT USAGE, UPDATE ON SEQUENCES TO fidelity_writer;
ALTER DEFAULT PRIVILEGES FOR ROLE fidelity_owner REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
ALTER DEFAULT PRIVILEGES FOR ROLE fidelity_owner GRANT USAGE ON TYPES TO "fidelity ""odd"" role.%s\";
ALTER DEFAULT PRIVILEGES FOR ROLE fidelity_writer GRANT ALL ON SCHEMAS TO fidelity_reader WITH GRANT OPTION;
ALTER DEFAULT PRIVILEGES FOR ROLE postgres GRANT INSERT ON TABLES TO fidelity_writer;
SET ROLE fidelity_owner;
CREATE TABLE by_default (a int);
CREATE SEQUENCE by_default_seq;
CREATE FUNCTION by_default_fn() RETURNS int LANGUAGE sql AS 'SELECT 1';
-- made under default privileges and then taken back
CREATE TABLE by_default_revoked (a int);
REVOKE ALL ON by_default_revoked FROM fidelity_reader;
RESET ROLE;

REVOKE CREATE ON SCHEMA public FROM PUBLIC;
REVOKE USAGE ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO fidelity_reader;
COMMENT ON SCHEMA public IS 'not the usual comment';
REVOKE USAGE ON LANGUAGE plpgsql FROM PUBLIC;
GRANT USAGE ON LANGUAGE plpgsql TO fidelity_owner, fidelity_writer;
GRANT EXECUTE ON FUNCTION pg_catalog.pg_reload_conf() TO fidelity_writer;
REVOKE SELECT ON pg_catalog.pg_stats FROM PUBLIC;
GRANT SELECT (usename) ON pg_catalog.pg_stat_activity TO fidelity_reader;

COMMENT ON SCHEMA rights IS E'a schema''s comment\nin two lines \\ and "quotes"';
COMMENT ON TABLE granted IS 'a table''s comment; -- not SQL';
COMMENT ON COLUMN granted.b IS 'a column''s comment';
COMMENT ON SEQUENCE granted_seq IS 'a sequence''s comment';
COMMENT ON TYPE types.mood IS 'a type''s comment';
COMMENT ON DOMAIN types.positive IS 'a domain''s comment';
COMMENT ON CONSTRAINT above_zero ON DOMAIN types.positive IS 'a domain constraint''s comment';
COMMENT ON COLUMN types.pair."B b" IS 'a composite''s column';
COMMENT ON CONSTRAINT hen_egg ON rules_of.hen IS 'a constraint''s comment';
COMMENT ON INDEX rules_of.indexed_gin IS 'an index''s comment';
COMMENT ON STATISTICS rules_of.indexed_stats IS 'a statistics object''s comment';
COMMENT ON ACCESS METHOD second_heap IS 'an access method''s comment';
COMMENT ON PROCEDURE granted_proc() IS 'a procedure''s comment';
