-- Extensions, one of them with configuration tables whose rows are the user's.
RESET ROLE;
RESET search_path;
CREATE SCHEMA ext;
CREATE EXTENSION hstore SCHEMA ext;
CREATE EXTENSION citext SCHEMA ext;
CREATE TABLE ext.uses (h ext.hstore, c ext.citext UNIQUE, hs ext.hstore[]);
INSERT INTO ext.uses VALUES ('"a b"=>"c\"d", e=>NULL', 'CaSe', ARRAY['x=>1'::ext.hstore, '']), (NULL, 'other', NULL);
CREATE INDEX ON ext.uses USING gin (h);
COMMENT ON EXTENSION hstore IS 'our own comment on an extension';
GRANT EXECUTE ON FUNCTION ext.hstore(text, text) TO fidelity_reader;
REVOKE EXECUTE ON FUNCTION ext.hstore(text, text) FROM PUBLIC;
\if :has_fidelity_conf
CREATE EXTENSION fidelity_conf;
INSERT INTO fidelity_conf.settings VALUES ('user''s', E'own\tvalue', false), ('second', NULL, false);
INSERT INTO fidelity_conf.all_rows VALUES (1, 'kept whole'), (2, E'\\.');
SELECT nextval('fidelity_conf.counter'), nextval('fidelity_conf.counter');
ALTER TABLE fidelity_conf.all_rows ADD CONSTRAINT added_by_the_user CHECK (id > 0);
CREATE TABLE ext.refers_to_configuration (id int REFERENCES fidelity_conf.all_rows);
INSERT INTO ext.refers_to_configuration VALUES (2);
\endif
