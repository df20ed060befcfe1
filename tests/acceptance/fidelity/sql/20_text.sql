-- Text that looks like the syntax around it.
RESET ROLE;
CREATE SCHEMA texts AUTHORIZATION fidelity_owner;
SET search_path = texts;
SET ROLE fidelity_owner;

CREATE TABLE lone_column (t text);
INSERT INTO lone_column VALUES
  ('\.'), (E'\\.\n'), (E'a\n\\.\nb'), (''), (NULL), ('\N'), ('\\N'), ('NULL'), (E'\t'), (E'\r'), (E'\n'), (E'\r\n'), (E'\\'),
  (E'\\\\'), (E'ends with a backslash\\'), (E'\b\f\v\a\x01\x1f\x7f'), ('--'), (''';'), ('$$'), ('%s %d %% %(x)s {}'), ('"'),
  ('COPY t FROM stdin;'), (E'\\restrict x'), (E'\\! echo pwned'), ('[red]markup[/red] [/]'), (E'\x1b[31mred\x1b[0m\x1b]0;title\x07');
CREATE TABLE beside (id serial PRIMARY KEY, before int, t text, after text DEFAULT E'a\tdefault\\ with ''quotes''');
INSERT INTO beside (before, t) SELECT 1, t FROM lone_column;
INSERT INTO beside (before, t) VALUES
  (1, U&'\FEFFbyte order mark'), (2, U&'\FFFF\FFFE'), (3, U&'\+10FFFF'), (4, 'é' || U&'e\0301'), (5, U&'\00a0\200b\200f\202e\2028\2029'),
  (6, '👩‍👩‍👧‍👦 😀'), (7, 'النسخ الاحتياطي'), (8, U&'\0085\009f'), (9, repeat('ß', 3000)), (10, repeat(E'\\', 5000)), (11, repeat(E'\t', 9000));
-- out of line, compressed and not
CREATE TABLE toasted (id int PRIMARY KEY, plain text, packed text COMPRESSION pglz, raw bytea, doc jsonb);
ALTER TABLE toasted ALTER plain SET STORAGE EXTERNAL, ALTER raw SET STORAGE MAIN;
INSERT INTO toasted
SELECT g, repeat(md5(g::text), 5000 * g), repeat('x', 200000 * g),
  (SELECT decode(string_agg(md5((g * 1000 + i)::text), ''), 'hex') FROM generate_series(1, 20000) AS i),
  (SELECT jsonb_object_agg('key ' || i, md5(i::text)) FROM generate_series(1, 500 * g) AS i)
FROM generate_series(1, 6) AS g;
