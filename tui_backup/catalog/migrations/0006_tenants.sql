-- Tenants in one database: the tenant's key in the sources, and what the platform shares with tenants.

ALTER TABLE tui_backup.tenants ADD COLUMN tenant_key text;
UPDATE tui_backup.tenants SET tenant_key = id::text;
ALTER TABLE tui_backup.tenants ALTER COLUMN tenant_key SET NOT NULL;
ALTER TABLE tui_backup.tenants ADD CONSTRAINT unique_tenant_key UNIQUE (tenant_key);

CREATE FUNCTION tui_backup.fill_tenant_key() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    NEW.tenant_key := coalesce(NEW.tenant_key, NEW.id::text);
    RETURN NEW;
END
$$;
CREATE TRIGGER tenants_key BEFORE INSERT ON tui_backup.tenants FOR EACH ROW EXECUTE FUNCTION tui_backup.fill_tenant_key();

CREATE TABLE tui_backup.source_shares (
    source_id uuid NOT NULL REFERENCES tui_backup.sources (id) ON DELETE CASCADE,
    tenant_id uuid NOT NULL REFERENCES tui_backup.tenants (id) ON DELETE CASCADE,
    PRIMARY KEY (source_id, tenant_id)
);
CREATE TABLE tui_backup.repository_shares (
    repository_id uuid NOT NULL REFERENCES tui_backup.repositories (id) ON DELETE CASCADE,
    tenant_id uuid NOT NULL REFERENCES tui_backup.tenants (id) ON DELETE CASCADE,
    PRIMARY KEY (repository_id, tenant_id)
);

CREATE FUNCTION tui_backup.source_is_shared(p_source_id uuid, p_tenant_id uuid) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$ SELECT EXISTS (SELECT FROM tui_backup.source_shares WHERE source_id = p_source_id AND tenant_id = p_tenant_id) $$;
CREATE FUNCTION tui_backup.repository_is_shared(p_repository_id uuid, p_tenant_id uuid) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$ SELECT EXISTS (SELECT FROM tui_backup.repository_shares WHERE repository_id = p_repository_id AND tenant_id = p_tenant_id) $$;
REVOKE ALL ON FUNCTION tui_backup.fill_tenant_key(), tui_backup.source_is_shared(uuid, uuid), tui_backup.repository_is_shared(uuid, uuid) FROM PUBLIC;
