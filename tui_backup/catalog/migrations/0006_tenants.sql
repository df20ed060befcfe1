-- Tenants in one database: the tenant's key in the sources, and which sources and repositories of one tenant another one
-- may use. No login reads or changes the shares: functions of the owner look them up.

ALTER TABLE tui_backup.tenants ADD COLUMN tenant_key text;
UPDATE tui_backup.tenants SET tenant_key = id::text;
ALTER TABLE tui_backup.tenants ALTER COLUMN tenant_key SET NOT NULL;
ALTER TABLE tui_backup.tenants ADD CONSTRAINT unique_tenant_key UNIQUE (tenant_key);
COMMENT ON COLUMN tui_backup.tenants.tenant_key IS 'Its value, as text, in the tenant column of the sources; the id by default.';

CREATE FUNCTION tui_backup.fill_tenant_key() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    NEW.tenant_key := coalesce(NEW.tenant_key, NEW.id::text);
    RETURN NEW;
END
$$;
CREATE TRIGGER tenants_key BEFORE INSERT ON tui_backup.tenants FOR EACH ROW EXECUTE FUNCTION tui_backup.fill_tenant_key();

CREATE TABLE tui_backup.source_shares (
    source_id uuid NOT NULL REFERENCES tui_backup.sources (id) ON DELETE RESTRICT,
    tenant_id uuid NOT NULL REFERENCES tui_backup.tenants (id) ON DELETE RESTRICT,
    PRIMARY KEY (source_id, tenant_id)
);
COMMENT ON TABLE tui_backup.source_shares IS 'Sources that another tenant may use, for backups of its own rows.';
COMMENT ON COLUMN tui_backup.source_shares.source_id IS 'The source.';
COMMENT ON COLUMN tui_backup.source_shares.tenant_id IS 'The tenant that may use it.';

CREATE TABLE tui_backup.repository_shares (
    repository_id uuid NOT NULL REFERENCES tui_backup.repositories (id) ON DELETE RESTRICT,
    tenant_id uuid NOT NULL REFERENCES tui_backup.tenants (id) ON DELETE RESTRICT,
    PRIMARY KEY (repository_id, tenant_id)
);
COMMENT ON TABLE tui_backup.repository_shares IS 'Repositories that another tenant may use, under a prefix of its own.';
COMMENT ON COLUMN tui_backup.repository_shares.repository_id IS 'The repository.';
COMMENT ON COLUMN tui_backup.repository_shares.tenant_id IS 'The tenant that may use it.';

DO $$
DECLARE
    one text;
BEGIN
    FOREACH one IN ARRAY ARRAY['source_shares', 'repository_shares'] LOOP
        EXECUTE format('ALTER TABLE tui_backup.%I ENABLE ROW LEVEL SECURITY', one);
        EXECUTE format('ALTER TABLE tui_backup.%I FORCE ROW LEVEL SECURITY', one);
        EXECUTE format('CREATE POLICY %I ON tui_backup.%I FOR ALL TO CURRENT_USER USING (true) WITH CHECK (true)',
            one || '_owner_policy', one);
    END LOOP;
END
$$;

CREATE FUNCTION tui_backup.source_is_shared(p_source_id uuid, p_tenant_id uuid) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$ SELECT EXISTS (SELECT FROM tui_backup.source_shares WHERE source_id = p_source_id AND tenant_id = p_tenant_id) $$;

CREATE FUNCTION tui_backup.repository_is_shared(p_repository_id uuid, p_tenant_id uuid) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$ SELECT EXISTS (SELECT FROM tui_backup.repository_shares WHERE repository_id = p_repository_id AND tenant_id = p_tenant_id) $$;

REVOKE ALL ON FUNCTION tui_backup.fill_tenant_key(), tui_backup.source_is_shared(uuid, uuid), tui_backup.repository_is_shared(uuid, uuid) FROM PUBLIC;
