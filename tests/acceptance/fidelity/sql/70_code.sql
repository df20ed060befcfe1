-- Functions, triggers, rules, row security, operators, casts, text search, collations.
RESET ROLE;
CREATE SCHEMA code AUTHORIZATION fidelity_owner;
SET search_path = code;
SET ROLE fidelity_owner;

CREATE TABLE journal (id serial PRIMARY KEY, said text);
CREATE TABLE acted (id int PRIMARY KEY, t text, n int DEFAULT 0);
INSERT INTO acted VALUES (1, 'before there were triggers', 0), (2, 'too', 0);
INSERT INTO journal (said) VALUES ('no trigger may add to this while rows are restored');
CREATE FUNCTION log_it() RETURNS trigger LANGUAGE plpgsql AS $fn$
BEGIN
  INSERT INTO code.journal (said) VALUES (TG_NAME || ' ' || TG_OP);
  IF TG_OP = 'DELETE' THEN RETURN OLD; END IF;
  RETURN NEW;
END
$fn$;
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''refused by a trigger''; END';
CREATE TRIGGER a_normal BEFORE INSERT OR UPDATE OF t ON acted FOR EACH ROW WHEN (NEW.n IS DISTINCT FROM -1) EXECUTE FUNCTION log_it();
CREATE TRIGGER b_disabled AFTER INSERT ON acted FOR EACH ROW EXECUTE FUNCTION refuse();
ALTER TABLE acted DISABLE TRIGGER b_disabled;
CREATE TRIGGER c_replica AFTER INSERT ON acted FOR EACH ROW EXECUTE FUNCTION log_it();
ALTER TABLE acted ENABLE REPLICA TRIGGER c_replica;
CREATE TRIGGER d_always AFTER INSERT OR DELETE ON acted FOR EACH ROW EXECUTE FUNCTION log_it('with', 'it''s "arguments"', E'\\');
ALTER TABLE acted ENABLE ALWAYS TRIGGER d_always;
CREATE TRIGGER e_statement AFTER UPDATE ON acted REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION log_it();
CREATE CONSTRAINT TRIGGER f_constraint AFTER UPDATE ON acted DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION log_it();
CREATE TRIGGER g_truncate BEFORE TRUNCATE ON acted EXECUTE FUNCTION refuse();
COMMENT ON TRIGGER a_normal ON acted IS 'a trigger''s comment';

CREATE TABLE ruled (a int, t text);
INSERT INTO ruled VALUES (1, 'x'), (2, 'y');
CREATE RULE swallow AS ON INSERT TO ruled WHERE NEW.a > 100 DO INSTEAD NOTHING;
CREATE RULE note AS ON UPDATE TO ruled DO ALSO INSERT INTO journal (said) VALUES (OLD.t || ' ruled');
CREATE RULE off_rule AS ON DELETE TO ruled DO INSTEAD NOTHING;
ALTER TABLE ruled DISABLE RULE off_rule;
COMMENT ON RULE swallow ON ruled IS 'a rule''s comment';

CREATE TABLE secured (tenant text, v int);
INSERT INTO secured SELECT 'tenant ' || g % 3, g FROM generate_series(1, 30) AS g;
ALTER TABLE secured ENABLE ROW LEVEL SECURITY;
ALTER TABLE secured FORCE ROW LEVEL SECURITY;
CREATE POLICY readers ON secured FOR SELECT TO fidelity_reader, "fidelity ""odd"" role.%s\" USING (tenant = current_setting('app.tenant', true));
CREATE POLICY "odd ""policy""" ON secured AS RESTRICTIVE FOR UPDATE TO PUBLIC USING (v > 0) WITH CHECK (v < 1000);
CREATE POLICY inserts ON secured FOR INSERT WITH CHECK (true);
COMMENT ON POLICY readers ON secured IS 'a policy''s comment';
CREATE TABLE secured_quietly (a int);
INSERT INTO secured_quietly VALUES (1), (2);
ALTER TABLE secured_quietly ENABLE ROW LEVEL SECURITY;
CREATE TABLE policy_but_off (a int);
CREATE POLICY unused ON policy_but_off USING (false);
INSERT INTO policy_but_off VALUES (1);

CREATE FUNCTION atomic(a int, b int DEFAULT 2) RETURNS int LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
  SELECT a + b;
END;
CREATE PROCEDURE proc(INOUT x int, VARIADIC rest text[]) LANGUAGE plpgsql AS $$ BEGIN x := x + cardinality(rest); END $$;
CREATE FUNCTION secdef(text, OUT a int, OUT b text) RETURNS SETOF record LANGUAGE plpgsql SECURITY DEFINER COST 17 ROWS 5
  SET search_path = code, pg_temp SET work_mem = '16MB' AS $odd$ BEGIN a := 1; b := $1 || '$$ \ ''' ; RETURN NEXT; END $odd$;
CREATE FUNCTION poly(VARIADIC anyarray) RETURNS anyelement LANGUAGE sql IMMUTABLE AS 'SELECT $1[1]';
CREATE FUNCTION tabled(n int) RETURNS TABLE (i int, sq bigint) LANGUAGE sql STABLE AS 'SELECT g, (g * g)::bigint FROM generate_series(1, n) AS g';
CREATE AGGREGATE product(numeric) (SFUNC = numeric_mul, STYPE = numeric, INITCOND = '1', COMBINEFUNC = numeric_mul, PARALLEL = SAFE);
COMMENT ON FUNCTION atomic(int, int) IS E'a comment with ''quotes'', \\ and\nlines';
COMMENT ON AGGREGATE product(numeric) IS 'an aggregate''s comment';

CREATE TYPE money_of AS (amount numeric, unit text);
CREATE FUNCTION money_add(money_of, money_of) RETURNS money_of LANGUAGE sql IMMUTABLE AS 'SELECT ROW($1.amount + $2.amount, $1.unit)::code.money_of';
CREATE FUNCTION money_text(money_of) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT $1.amount || '' '' || $1.unit';
CREATE FUNCTION money_eq(money_of, money_of) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT $1.amount = $2.amount AND $1.unit = $2.unit';
CREATE FUNCTION money_lt(money_of, money_of) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT $1.amount < $2.amount';
CREATE FUNCTION money_cmp(money_of, money_of) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT (CASE WHEN $1.amount < $2.amount THEN -1 WHEN $1.amount > $2.amount THEN 1 ELSE 0 END)';
CREATE OPERATOR + (LEFTARG = money_of, RIGHTARG = money_of, FUNCTION = money_add, COMMUTATOR = +);
CREATE OPERATOR === (LEFTARG = money_of, RIGHTARG = money_of, FUNCTION = money_eq, COMMUTATOR = ===, RESTRICT = eqsel, JOIN = eqjoinsel);
CREATE OPERATOR <<< (LEFTARG = money_of, RIGHTARG = money_of, FUNCTION = money_lt);
COMMENT ON OPERATOR + (money_of, money_of) IS 'an operator''s comment';
RESET ROLE;
CREATE CAST (code.money_of AS text) WITH FUNCTION code.money_text(code.money_of) AS ASSIGNMENT;
CREATE CAST (types.mood AS int) WITH INOUT;
COMMENT ON CAST (code.money_of AS text) IS 'a cast''s comment';
CREATE OPERATOR FAMILY money_family USING btree;
CREATE OPERATOR CLASS money_of_ops FOR TYPE money_of USING btree FAMILY money_family AS
  OPERATOR 1 <<<, OPERATOR 3 ===, FUNCTION 1 money_cmp(money_of, money_of);
CREATE TABLE priced (p money_of);
INSERT INTO priced VALUES (ROW(1.10, 'EUR')), (ROW('NaN', E'"\\'));
CREATE INDEX priced_p ON priced (p money_of_ops);

CREATE COLLATION plain FROM "C";
CREATE COLLATION utf (provider = libc, locale = 'C.UTF-8');
CREATE TABLE collated (a text COLLATE plain, b text COLLATE utf, c text COLLATE "POSIX");
INSERT INTO collated VALUES ('é', 'É', 'z'), ('a', 'B', 'c');
CREATE INDEX ON collated (b, a COLLATE utf);
COMMENT ON COLLATION utf IS 'a collation''s comment';
CREATE CONVERSION latin_way FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8;

CREATE TEXT SEARCH PARSER own_parser (START = prsd_start, GETTOKEN = prsd_nexttoken, END = prsd_end, LEXTYPES = prsd_lextype, HEADLINE = prsd_headline);
CREATE TEXT SEARCH TEMPLATE own_template (INIT = dsimple_init, LEXIZE = dsimple_lexize);
CREATE TEXT SEARCH DICTIONARY own_dictionary (TEMPLATE = own_template, ACCEPT = false, STOPWORDS = english);
CREATE TEXT SEARCH CONFIGURATION own_config (PARSER = own_parser);
ALTER TEXT SEARCH CONFIGURATION own_config ADD MAPPING FOR asciiword, word WITH own_dictionary, pg_catalog.simple;
COMMENT ON TEXT SEARCH CONFIGURATION own_config IS 'a configuration''s comment';
CREATE TABLE searched (t text, v tsvector GENERATED ALWAYS AS (to_tsvector('code.own_config'::regconfig, t)) STORED, c regconfig DEFAULT 'code.own_config');
INSERT INTO searched (t) VALUES ('The quick brown foxes'), ('ü and the');
CREATE INDEX ON searched USING gin (v);

CREATE TABLE ddl_log (tag text, at_event text);
CREATE FUNCTION note_ddl() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO code.ddl_log VALUES (tg_tag, tg_event); END $$;
CREATE FUNCTION refuse_ddl() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'refused by an event trigger'; END $$;
CREATE EVENT TRIGGER notes_domains ON ddl_command_end WHEN TAG IN ('ALTER DOMAIN', 'CREATE CONVERSION') EXECUTE FUNCTION note_ddl();
CREATE EVENT TRIGGER refuses_everything ON ddl_command_start EXECUTE FUNCTION refuse_ddl();
ALTER EVENT TRIGGER refuses_everything DISABLE;
CREATE EVENT TRIGGER replica_only ON sql_drop EXECUTE FUNCTION refuse_ddl();
ALTER EVENT TRIGGER replica_only ENABLE REPLICA;
ALTER EVENT TRIGGER notes_domains ENABLE ALWAYS;
COMMENT ON EVENT TRIGGER notes_domains IS 'an event trigger''s comment';
