-- What hangs on the database itself. Sessions get these settings: whoever reads or writes rows must set its own.
RESET ROLE;
RESET search_path;
SELECT format('ALTER DATABASE %I SET %s', current_database(), setting) FROM unnest(ARRAY[
  'search_path = shapes, "Odd ""schema"".%s \
line", public',
  'DateStyle = ''German, DMY''', 'IntervalStyle = sql_standard', 'TimeZone = ''Asia/Riyadh''', 'bytea_output = escape', 'extra_float_digits = -3',
  'statement_timeout = ''20s''', 'lock_timeout = ''19s''', 'idle_in_transaction_session_timeout = ''18s''', 'row_security = off',
  'default_transaction_isolation = serializable', 'client_encoding = LATIN1', 'lc_monetary = ''C''', 'xmlbinary = hex',
  'default_tablespace = ''''', 'xmloption = document', 'transform_null_equals = on', 'app.own = ''it''''s \ own''', 'array_nulls = off', 'default_table_access_method = second_heap',
  'standard_conforming_strings = off', 'quote_all_identifiers = on'
]) AS setting \gexec
SELECT format('ALTER ROLE fidelity_reader IN DATABASE %I SET work_mem = ''33MB''', current_database()) \gexec
SELECT format('ALTER DATABASE %I CONNECTION LIMIT 55', current_database()) \gexec
SELECT format('COMMENT ON DATABASE %I IS %L', current_database(), E'a database''s comment\nin two lines') \gexec
SELECT format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC', current_database()) \gexec
SELECT format('REVOKE CONNECT ON DATABASE %I FROM PUBLIC', current_database()) \gexec
SELECT format('GRANT CONNECT ON DATABASE %I TO fidelity_reader, fidelity_owner, "fidelity ""odd"" role.%%s\"', current_database()) \gexec
SELECT format('GRANT CREATE ON DATABASE %I TO fidelity_writer WITH GRANT OPTION', current_database()) \gexec
SELECT format('ALTER DATABASE %I OWNER TO fidelity_owner', current_database()) \gexec
