-- A LATIN1 database: every character it has, also in names.
SET client_encoding = UTF8;
CREATE SCHEMA "schéma";
CREATE TABLE "schéma"."tablé ÿ" ("clé" int PRIMARY KEY, "ça" text);
INSERT INTO "schéma"."tablé ÿ" SELECT g, chr(g) FROM generate_series(1, 255) AS g;
INSERT INTO "schéma"."tablé ÿ" VALUES (1000, (SELECT string_agg(chr(g), '' ORDER BY g) FROM generate_series(160, 255) AS g)),
  (1001, E'\\.'), (1002, E'é\té\né\\');
CREATE TYPE "schéma"."énum" AS ENUM ('à', 'ÿ');
CREATE TABLE "schéma".uses (e "schéma"."énum", j json, c varchar(3));
INSERT INTO "schéma".uses VALUES ('ÿ', '{"é": "ü"}', 'éèê');
CREATE INDEX ON "schéma"."tablé ÿ" (lower("ça"));
COMMENT ON TABLE "schéma"."tablé ÿ" IS 'é commenté';
SELECT lo_from_bytea(480001, '\xe9ff00');
