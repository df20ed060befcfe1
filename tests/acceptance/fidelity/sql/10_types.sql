-- Every built-in type with its extreme values, and types of our own.
CREATE SCHEMA types AUTHORIZATION fidelity_owner;
SET search_path = types;
SET ROLE fidelity_owner;

CREATE TABLE numbers (
  id int PRIMARY KEY, i2 int2, i4 int4, i8 int8, f4 float4, f8 float8, n numeric, n_fixed numeric(30, 10), m money,
  o oid, b boolean
);
INSERT INTO numbers VALUES
  (1, -32768, -2147483648, -9223372036854775808, '-Infinity', '-Infinity', 'NaN', 'NaN', '-92233720368547758.08', 0, false),
  (2, 32767, 2147483647, 9223372036854775807, 'Infinity', 'Infinity', 'Infinity', 99999999999999999999.9999999999,
   '92233720368547758.07', 4294967295, true),
  (3, 0, 0, 0, 'NaN', 'NaN', '-Infinity', 0, '0', 1, NULL),
  (4, 1, 1, 1, '-0', '-0', '0.000', 0.1, '0.01', NULL, NULL),
  (5, NULL, NULL, NULL, 1.17549435e-38, 5e-324, '1e-1000', NULL, NULL, NULL, NULL),
  (6, NULL, NULL, NULL, 3.4028235e38, 1.7976931348623157e308, '-1e131071', NULL, NULL, NULL, NULL),
  (7, NULL, NULL, NULL, 0.1, 0.1, 1.10, NULL, NULL, NULL, NULL),
  (8, NULL, NULL, NULL, 16777217, 0.30000000000000004, 123456789012345678901234567890.123456789, NULL, NULL, NULL, NULL);
\if :v15
CREATE TABLE numbers_coarse (n numeric(3, -5), tiny numeric(3, 10));
INSERT INTO numbers_coarse VALUES (99900000, 0.0000000999), ('NaN', 'NaN');
\endif

CREATE TABLE moments (
  id int PRIMARY KEY, d date, t time, tt timetz, ts timestamp, tz timestamptz, iv interval, iv_short interval day to second(2),
  t0 time(0), ts3 timestamp(3)
);
INSERT INTO moments VALUES
  (1, '4714-11-24 BC', '00:00', '00:00:00+15:59:59', '4714-11-24 00:00:00 BC', '4714-11-24 00:00:00+00 BC', '-178000000 years',
   '-1 day -00:00:00.01', '00:00', '0001-01-01 BC'),
  (2, '5874897-12-31', '24:00:00', '24:00:00-15:59:59', '294276-12-31 23:59:59.999999', '294276-12-31 23:59:59.999999+00',
   '178000000 years', '1 day', '24:00', '9999-12-31 23:59:59.999'),
  (3, 'infinity', '23:59:59.999999', '12:00:00.5+03', 'infinity', 'infinity', '1 mon -1 day +00:00:00.000001', NULL, NULL, 'infinity'),
  (4, '-infinity', NULL, NULL, '-infinity', '-infinity', '2147483647 days', NULL, NULL, '-infinity'),
  (5, '0001-12-31 BC', NULL, NULL, '0044-03-15 12:00:00 BC', '0044-03-15 12:00:00+00 BC', '-00:00:00.000001', NULL, NULL, NULL),
  (6, '0099-01-02', NULL, NULL, '0099-01-02 03:04:05.6', '2024-10-27 01:30:00+00', '0', NULL, NULL, NULL);
\if :v17
INSERT INTO moments (id, iv) VALUES (7, 'infinity'), (8, '-infinity');
\endif

CREATE TABLE strings (
  id int PRIMARY KEY, c char(5), v varchar(10), t text, n name, one "char", by bytea, bits bit(9), vb varbit, u uuid
);
INSERT INTO strings VALUES
  (1, '', '', '', '', '', '', B'000000000', B'', '00000000-0000-0000-0000-000000000000'),
  (2, 'ab   ', 'ab   ', '  ', 'name', 'x', '\x00', B'111111111', B'1', 'ffffffff-ffff-ffff-ffff-ffffffffffff'),
  (3, 'é€😀b ', 'é€😀', 'NULL', 'pg_class', '\', '\x5c2e', B'101010101', repeat('10', 500)::varbit, gen_random_uuid()),
  (4, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
  (5, E'\t', E'\n', E'\\N', E'\\.', E'\t',
   (SELECT decode(string_agg(lpad(to_hex(g), 2, '0'), '' ORDER BY g), 'hex') FROM generate_series(0, 255) AS g), NULL, NULL, NULL);
\if :v16
INSERT INTO strings (id, one) VALUES (6, '\200'), (7, '\377');
\endif

CREATE TABLE shapes (id int PRIMARY KEY, p point, l line, s lseg, b box, open_path path, pg polygon, c circle);
INSERT INTO shapes VALUES
  (1, '(0,0)', '{1,-1,0}', '[(0,0),(1,1)]', '(1,1),(0,0)', '[(0,0),(1,1),(2,0)]', '((0,0),(1,1),(2,0))', '<(0,0),0>'),
  (2, '(NaN,-Infinity)', '{0.1,0.2,0.3}', '[(1e308,-1e308),(5e-324,0)]', '(Infinity,Infinity),(-Infinity,-Infinity)',
   '((0,0),(1,1),(2,0))', '((0.1,0.2))', '<(1,2),Infinity>'),
  (3, NULL, NULL, NULL, NULL, NULL, NULL, NULL);

CREATE TABLE networks (id int PRIMARY KEY, i inet, c cidr, m macaddr, m8 macaddr8);
INSERT INTO networks VALUES
  (1, '0.0.0.0/0', '0.0.0.0/0', '00:00:00:00:00:00', '00:00:00:00:00:00:00:00'),
  (2, '255.255.255.255', '255.255.255.255/32', 'ff:ff:ff:ff:ff:ff', 'ff:ff:ff:ff:ff:ff:ff:ff'),
  (3, '::/0', '::/0', NULL, NULL), (4, '192.168.1.5/24', '192.168.1.0/24', '08:00:2b:01:02:03', '08:00:2b:01:02:03:04:05'),
  (5, '::ffff:1.2.3.4/128', '2001:4f8:3:ba::/64', NULL, NULL);

CREATE TABLE documents (id int PRIMARY KEY, j json, jb jsonb, jp jsonpath, tv tsvector, tq tsquery);
INSERT INTO documents VALUES
  (1, '{"a" : 1,  "a":2, "\u00e9\n": [null, 1e400, ""]}', '{"a": 1, "b": [null, true, 1e400, "\\ \" \n \t \u00e9"]}',
   '$.a[*] ? (@.b > 1 && @.c like_regex "^x\\d" flag "i")', 'a:1A,2B ''it''''s'':3C ''back\\slash'':16383', '''a'':A & !(''b'':* <-> ''c'')'),
  (2, 'null', 'null', 'strict $', '', ''), (3, '""', '""', 'lax $', '''tab	and
newline''', NULL), (4, '-0.0', '-0.00', NULL, NULL, NULL), (5, NULL, NULL, NULL, NULL, NULL),
  (6, '{}', '{}', NULL, NULL, NULL), (7, '[]', '[]', NULL, NULL, NULL);
\if :has_xml
CREATE TABLE xmls (id int PRIMARY KEY, x xml);
INSERT INTO xmls VALUES (1, '<?xml version="1.0"?><a b="&lt;&#10;">é<![CDATA[<]]></a>'), (2, 'not a document'), (3, '');
\endif

CREATE TABLE ranges (
  id int PRIMARY KEY, r4 int4range, r8 int8range, rn numrange, rt tsrange, rz tstzrange, rd daterange,
  m4 int4multirange, m8 int8multirange, mn nummultirange, mt tsmultirange, mz tstzmultirange, md datemultirange
);
INSERT INTO ranges VALUES
  (1, 'empty', 'empty', 'empty', 'empty', 'empty', 'empty', '{}', '{}', '{}', '{}', '{}', '{}'),
  (2, '(,)', '(,)', '(,)', '(,)', '(,)', '(,)', '{(,)}', '{(,)}', '{(,)}', '{(,)}', '{(,)}', '{(,)}'),
  (3, '[1,2)', '[-9223372036854775808,9223372036854775807)', '(-Infinity,Infinity]', '[2000-01-01 00:00:00.000001,infinity]',
   '[-infinity,2000-01-01 00:00+00)', '[2000-01-01,)', '{[1,3),[5,7)}', '{[1,2)}', '{(0.1,0.2],[3,3]}',
   '{["2000-01-01 00:00","2001-01-01 00:00")}', '{(,"2000-01-01 00:00+00"]}', '{[2000-01-01,2000-01-02),[2001-01-01,)}');
CREATE TYPE float_span AS RANGE (subtype = float8, subtype_diff = float8mi, multirange_type_name = float_spans);
CREATE TYPE text_span AS RANGE (subtype = text, collation = "C");
CREATE TABLE own_ranges (f float_span, fs float_spans, t text_span);
INSERT INTO own_ranges VALUES ('[-0,NaN]', '{[1,2),[3,Infinity]}', '["a,b","c""d\\")'), ('empty', '{}', '(,)'), (NULL, NULL, '["",x]');

CREATE TYPE mood AS ENUM ('sad', 'it''s "ok", {x}', '', 'happy\n', 'سعيد');
ALTER TYPE mood ADD VALUE 'between' BEFORE 'happy\n';
CREATE TYPE pair AS (a text, "B b" int, c mood);
CREATE TYPE nest AS (p pair, ps pair[], d date);
CREATE DOMAIN positive AS int DEFAULT 1 CONSTRAINT above_zero CHECK (VALUE > 0);
CREATE DOMAIN short_text AS text COLLATE "C" NOT NULL CHECK (length(VALUE) < 20) CHECK (VALUE !~ '^x');
CREATE DOMAIN positives AS positive[] CHECK (array_ndims(VALUE) = 1);
CREATE DOMAIN good_pair AS pair CHECK ((VALUE).a IS DISTINCT FROM 'bad');
CREATE DOMAIN later_checked AS int;
CREATE TABLE own_types (
  id int PRIMARY KEY, m mood, ms mood[], p pair, ps pair[], n nest, d positive, s short_text DEFAULT 'y', ds positives,
  gp good_pair, lc later_checked
);
INSERT INTO own_types VALUES
  (1, 'happy\n', '{sad,"",between,NULL,"it''s \"ok\", {x}"}', ROW('a"b\c,(d)', NULL, 'سعيد'),
   ARRAY[ROW('', 0, '')::pair, NULL, ROW(NULL, NULL, NULL)::pair], ROW(ROW(E'\t\n\\.', 1, 'sad'), ARRAY[ROW('{"x"}', 2, NULL)::pair], '0001-01-01 BC'),
   2147483647, '', '{1,2}', ROW('x', 1, 'sad'), -5),
  (2, NULL, '{}', NULL, '{}', ROW(NULL, NULL, NULL), 1, 'NULL', NULL, NULL, NULL),
  (3, '', NULL, ROW(NULL, NULL, NULL), NULL, NULL, NULL, 'it''s y' , '{1}', NULL, NULL)
  ON CONFLICT DO NOTHING;
ALTER DOMAIN later_checked ADD CONSTRAINT not_yet_valid CHECK (VALUE > 0) NOT VALID;

CREATE TABLE arrays (
  id int PRIMARY KEY, i int[], t text[], t2 text[][], b bytea[], j jsonb[], ts timestamptz[], n numeric[], bx box[], r int4range[], fixed int[3]
);
INSERT INTO arrays VALUES
  (1, '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}'),
  (2, '{NULL,1,-2147483648}', '{NULL,"NULL","","a b","a,b","{}","\"","\\","é
x"}', '{{a,b},{NULL,"d"}}', ARRAY['\x00ff'::bytea, ''], ARRAY['{"a":"\""}'::jsonb, 'null'], '{infinity,"2000-01-01 00:00:00.1+00"}',
   '{NaN,Infinity,0.10}', '{(1,1),(0,0);(2,2),(1,1)}', '{empty,"[1,2)"}', '{1,2,3,4}'),
  (3, '[0:1]={1,2}', '[-5:-4]={a,b}', '[2:3][-1:0]={{a,b},{c,d}}', NULL, NULL, NULL, NULL, NULL, NULL, NULL),
  (4, '{{{1,2},{3,4}},{{5,6},{7,8}}}', NULL, '{{"{{"},{"}}"}}', NULL, NULL, NULL, NULL, NULL, NULL, NULL);

-- text of these depends on other rows of the catalog
CREATE TABLE pointers (
  id int PRIMARY KEY, rc regclass, rt regtype, rp regproc, rpp regprocedure, ro regoper, roo regoperator, rn regnamespace, rr regrole,
  rco regcollation, rcf regconfig, rd regdictionary, rcs regclass[]
);
INSERT INTO pointers VALUES
  (1, 'types.numbers', 'types.mood', 'pg_catalog.now', 'pg_catalog.abs(integer)', 'pg_catalog.||/', 'pg_catalog.+(integer,integer)',
   'types', 'fidelity_owner', '"C"', 'pg_catalog.simple', 'pg_catalog.simple', ARRAY['types.arrays', 'pg_catalog.pg_class']::regclass[]),
  (2, '-', '-', '-', '-', '0', '0', '-', '-', '-', '-', '-', '{-}'), (3, 'pg_class', 'int4[]', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);

CREATE TABLE system_types (id int PRIMARY KEY, x xid, x8 xid8, c cid, t tid, l pg_lsn, sn pg_snapshot, tsn txid_snapshot, ov oidvector, iv int2vector);
INSERT INTO system_types VALUES
  (1, '0', '0', '0', '(0,0)', '0/0', '1:1:', '1:1:', '', ''),
  (2, '4294967295', '18446744073709551615', '4294967295', '(4294967295,65535)', 'FFFFFFFF/FFFFFFFF', '10:20:10,14,15', '10:20:10,14,15', '1 2 3', '-1 0 1');

RESET ROLE;
-- a base type of our own, on the input and output functions of text
CREATE TYPE label;
CREATE FUNCTION label_in(cstring) RETURNS label LANGUAGE internal IMMUTABLE STRICT AS 'textin';
CREATE FUNCTION label_out(label) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'textout';
CREATE TYPE label (INPUT = label_in, OUTPUT = label_out, LIKE = text, CATEGORY = 'S', DELIMITER = ';');
CREATE TABLE labels (l label, ls label[]);
INSERT INTO labels VALUES (E'tab\t', ARRAY['a;b', 'c,d', '']::label[]), (NULL, NULL);
CREATE TYPE never_defined;
