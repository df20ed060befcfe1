-- Views and materialised views, one upon another.
RESET ROLE;
CREATE SCHEMA seen AUTHORIZATION fidelity_owner;
SET search_path = seen;
SET ROLE fidelity_owner;

CREATE TABLE orders (id int PRIMARY KEY, customer text NOT NULL, total numeric(10, 2), note text);
INSERT INTO orders SELECT g, 'customer ' || g % 7, g * 1.05, NULL FROM generate_series(1, 200) AS g;
CREATE VIEW plain AS SELECT id, customer AS "who's", total * 2 AS twice FROM orders WHERE customer LIKE '%3\%''%' ESCAPE '\' OR total > 0;
CREATE VIEW barrier WITH (security_barrier) AS SELECT * FROM orders WHERE total < 100 WITH LOCAL CHECK OPTION;
CREATE VIEW upon AS SELECT "who's", count(*) AS n FROM plain GROUP BY 1 ORDER BY 2 DESC;
CREATE RECURSIVE VIEW counting (n) AS VALUES (1) UNION ALL SELECT n + 1 FROM counting WHERE n < 10;
-- valid only once the primary key exists
CREATE VIEW by_key AS SELECT id, customer, total, count(*) FROM orders GROUP BY id;
CREATE VIEW upon_by_key AS SELECT * FROM by_key WHERE total > 10;
CREATE VIEW with_defaults AS SELECT id, customer, note FROM orders;
ALTER VIEW with_defaults ALTER note SET DEFAULT 'from the view';
CREATE FUNCTION write_through() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE TRIGGER instead INSTEAD OF INSERT ON upon FOR EACH ROW EXECUTE FUNCTION write_through();
CREATE VIEW no_columns AS SELECT FROM orders;
CREATE TEMP VIEW not_kept AS SELECT 1;
\if :v15
CREATE VIEW invoker WITH (security_invoker = true) AS SELECT * FROM orders;
\endif

CREATE MATERIALIZED VIEW z_first AS SELECT customer, sum(total) AS total FROM orders GROUP BY customer;
CREATE UNIQUE INDEX z_first_customer ON z_first (customer);
-- its name sorts before what it reads
CREATE MATERIALIZED VIEW a_second AS SELECT count(*) AS customers, sum(total) AS total FROM z_first;
CREATE VIEW between AS SELECT customers * 2 AS doubled FROM a_second;
CREATE MATERIALIZED VIEW "0 third" AS SELECT doubled, n FROM between, generate_series(1, 3) AS n;
CREATE MATERIALIZED VIEW empty_until_asked AS SELECT * FROM z_first WITH NO DATA;
CREATE MATERIALIZED VIEW populated_but_empty AS SELECT * FROM z_first WHERE false;
CREATE INDEX empty_until_asked_total ON empty_until_asked (total);
CREATE MATERIALIZED VIEW upon_key AS SELECT id, customer, total FROM orders GROUP BY id;
ALTER MATERIALIZED VIEW upon_key SET (fillfactor = 60);
COMMENT ON MATERIALIZED VIEW z_first IS 'a materialised view''s comment';
COMMENT ON VIEW plain IS 'a view''s comment';
COMMENT ON COLUMN plain."who's" IS 'a view column''s comment';
RESET ROLE;
ALTER MATERIALIZED VIEW "0 third" OWNER TO "fidelity ""odd"" role.%s\";
GRANT SELECT ON z_first, between, a_second TO fidelity_reader, "fidelity ""odd"" role.%s\";
GRANT USAGE ON SCHEMA seen TO fidelity_reader, "fidelity ""odd"" role.%s\";
