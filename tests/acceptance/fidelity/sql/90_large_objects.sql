-- Large objects: numbers that rows refer to, empty, with holes, with owners, grants and comments.
RESET ROLE;
CREATE SCHEMA blobs AUTHORIZATION fidelity_owner;
SET search_path = blobs;
CREATE TABLE attached (id int PRIMARY KEY, content oid);
SELECT lo_create(470001), lo_create(470002), lo_create(470003), lo_create(4294967295);
SELECT lo_put(470001, 0, decode(repeat('00ff5c2e0a', 20000), 'hex'));
SELECT lo_put(470003, 1000000, 'after a hole');
SELECT lo_put(4294967295, 0, 'é'::bytea);
INSERT INTO attached VALUES (1, 470001), (2, 470002), (3, 470003), (4, 4294967295), (5, NULL);
INSERT INTO attached SELECT 100 + g, lo_from_bytea(0, decode(md5(g::text), 'hex')) FROM generate_series(1, 20) AS g;
ALTER LARGE OBJECT 470001 OWNER TO fidelity_owner;
GRANT SELECT ON LARGE OBJECT 470001 TO fidelity_reader WITH GRANT OPTION;
GRANT SELECT, UPDATE ON LARGE OBJECT 470001 TO "fidelity ""odd"" role.%s\";
GRANT SELECT ON LARGE OBJECT 470002 TO PUBLIC;
REVOKE ALL ON LARGE OBJECT 470003 FROM CURRENT_USER;
COMMENT ON LARGE OBJECT 470002 IS 'a large object''s comment
in two lines';
