-- Rows with is_shipped come with the extension; the rest is the user's and belongs into a dump.
CREATE TABLE settings (name text PRIMARY KEY, value text, is_shipped boolean NOT NULL);
INSERT INTO settings VALUES ('shipped', 'from the script', true), ('changed', 'from the script', true);
SELECT pg_catalog.pg_extension_config_dump('settings', 'WHERE NOT is_shipped');
CREATE TABLE all_rows (id int PRIMARY KEY, t text);
SELECT pg_catalog.pg_extension_config_dump('all_rows', '');
CREATE SEQUENCE counter;
SELECT pg_catalog.pg_extension_config_dump('counter', '');
CREATE TABLE not_configuration (id int);
INSERT INTO not_configuration VALUES (1);
CREATE FUNCTION answer() RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 42';
