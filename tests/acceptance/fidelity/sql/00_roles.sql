-- Roles belong to the whole server; several databases of one test run share them.
DO $$
DECLARE
  wanted text;
BEGIN
  FOREACH wanted IN ARRAY ARRAY['fidelity_owner', 'fidelity_reader', 'fidelity_writer', 'fidelity "odd" role.%s\'] LOOP
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) THEN
      EXECUTE format('CREATE ROLE %I', wanted);
    END IF;
  END LOOP;
END
$$;
GRANT fidelity_reader TO fidelity_writer;

SELECT :SERVER_VERSION_NUM >= 150000 AS v15, :SERVER_VERSION_NUM >= 160000 AS v16,
       :SERVER_VERSION_NUM >= 170000 AS v17, :SERVER_VERSION_NUM >= 180000 AS v18,
       (SELECT setting LIKE '%-with-libxml%' FROM pg_config WHERE name = 'CONFIGURE') AS has_xml \gset

GRANT CREATE ON SCHEMA public TO fidelity_owner;
SELECT format('GRANT CREATE ON DATABASE %I TO fidelity_owner', current_database()) \gexec
