-- A SQL_ASCII database: bytes that are no UTF-8 and that nobody converts.
SET client_encoding = SQL_ASCII;
CREATE TABLE raw (id int PRIMARY KEY, t text, v varchar(10), n name, ts text[]);
-- all high bytes, half characters, overlong and surrogate forms; chr() refuses what convert_from passes
INSERT INTO raw SELECT g, convert_from(decode(to_hex(g), 'hex'), 'SQL_ASCII') FROM generate_series(128, 255) AS g;
INSERT INTO raw VALUES
  (1000, E'\xff\xfe\xfd', E'\xe9', E'\xe9', ARRAY[E'\xff', NULL, E'"\xfe,']),
  (1001, E'\xc0\x80', NULL, NULL, NULL), (1002, E'\xed\xa0\x80', NULL, NULL, NULL), (1003, E'\xf8\x88\x80\x80\x80', NULL, NULL, NULL),
  (1004, E'cut \xe2\x82', NULL, NULL, NULL), (1005, E'\xe9\t\xe9\n\\.\n\xe9\\', NULL, NULL, NULL), (1006, E'\xd8\xa7', NULL, NULL, NULL);
CREATE TYPE odd AS ENUM ('a', E'b');
CREATE TABLE uses (o odd, j json);
INSERT INTO uses VALUES ('b', json_build_object('k', 1));
CREATE INDEX ON raw (t);
