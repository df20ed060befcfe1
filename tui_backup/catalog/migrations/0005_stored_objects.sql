-- What is stored, object by object, so that a pack which many backups share counts once, and nobody need list a store
-- to know how much it holds. The agent enters what a backup has put and strikes out what a deletion found gone;
-- an admin may have it measured. Neither table refers to the source or the repository: a source may be removed
-- while packs of it wait to be deleted.

CREATE TABLE tui_backup.stored_objects (
    repository_id uuid NOT NULL,
    object_name text NOT NULL CHECK (object_name <> ''),
    source_id uuid NOT NULL,
    tenant_id uuid NOT NULL REFERENCES tui_backup.tenants (id) ON DELETE RESTRICT,
    bytes bigint NOT NULL CHECK (bytes >= 0),
    seen_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (repository_id, object_name)
);

-- The sums of the above: the screens ask every few seconds, and a large repository has a million packs.
CREATE TABLE tui_backup.stored_sizes (
    repository_id uuid NOT NULL,
    source_id uuid NOT NULL,
    tenant_id uuid NOT NULL REFERENCES tui_backup.tenants (id) ON DELETE RESTRICT,
    bytes bigint NOT NULL,
    objects bigint NOT NULL,
    PRIMARY KEY (repository_id, source_id)
);
CREATE INDEX idx_stored_sizes_tenant_id ON tui_backup.stored_sizes (tenant_id);

CREATE FUNCTION tui_backup.sum_stored_objects() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF TG_OP <> 'DELETE' THEN
        INSERT INTO tui_backup.stored_sizes AS z (repository_id, source_id, tenant_id, bytes, objects)
        SELECT c.repository_id, c.source_id, c.tenant_id, sum(c.bytes), count(*)
          FROM came c GROUP BY 1, 2, 3 ORDER BY 1, 2
            ON CONFLICT (repository_id, source_id)
            DO UPDATE SET bytes = z.bytes + excluded.bytes, objects = z.objects + excluded.objects;
    END IF;
    IF TG_OP <> 'INSERT' THEN
        UPDATE tui_backup.stored_sizes z SET bytes = z.bytes - w.bytes, objects = z.objects - w.objects
          FROM (SELECT repository_id, source_id, sum(bytes) AS bytes, count(*) AS objects
                  FROM went GROUP BY 1, 2) w
         WHERE z.repository_id = w.repository_id AND z.source_id = w.source_id;
        DELETE FROM tui_backup.stored_sizes WHERE objects = 0;
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER stored_objects_came AFTER INSERT ON tui_backup.stored_objects
    REFERENCING NEW TABLE AS came FOR EACH STATEMENT EXECUTE FUNCTION tui_backup.sum_stored_objects();
CREATE TRIGGER stored_objects_changed AFTER UPDATE ON tui_backup.stored_objects
    REFERENCING NEW TABLE AS came OLD TABLE AS went FOR EACH STATEMENT EXECUTE FUNCTION tui_backup.sum_stored_objects();
CREATE TRIGGER stored_objects_went AFTER DELETE ON tui_backup.stored_objects
    REFERENCING OLD TABLE AS went FOR EACH STATEMENT EXECUTE FUNCTION tui_backup.sum_stored_objects();

CREATE FUNCTION tui_backup.forget_stored_objects() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    DELETE FROM tui_backup.stored_objects WHERE repository_id = OLD.id;
    RETURN NULL;
END
$$;

CREATE TRIGGER repositories_forget_stored AFTER DELETE ON tui_backup.repositories
    FOR EACH ROW EXECUTE FUNCTION tui_backup.forget_stored_objects();

-- Put the ledger of one repository right by what its store was found to hold. An object that is in the ledger keeps
-- its source, also when no backup names it any more (it goes with a later deletion). p_sources is null where the
-- owner is not known. Rows younger than p_asked_at tell of what came after the look.
CREATE FUNCTION tui_backup.correct_stored_objects(
    p_repository_id uuid, p_asked_at timestamptz, p_names text[], p_sources uuid[], p_bytes bigint[]
) RETURNS TABLE (known_bytes bigint, known_objects bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    tenant uuid := tui_backup.require_role('admin');
BEGIN
    IF NOT EXISTS (SELECT FROM tui_backup.repositories WHERE id = p_repository_id AND tenant_id = tenant) THEN
        RAISE EXCEPTION 'no such repository in this tenant' USING ERRCODE = 'foreign_key_violation';
    END IF;
    DELETE FROM tui_backup.stored_objects o
     WHERE o.repository_id = p_repository_id AND o.seen_at < p_asked_at
       AND NOT EXISTS (SELECT FROM unnest(p_names) AS l(name) WHERE l.name = o.object_name);
    INSERT INTO tui_backup.stored_objects AS o (repository_id, object_name, source_id, tenant_id, bytes)
    SELECT p_repository_id, f.name, s.id, tenant, f.bytes
      FROM unnest(p_names, p_sources, p_bytes) AS f(name, source_id, bytes)
      JOIN tui_backup.sources s ON s.id = f.source_id AND s.tenant_id = tenant
     ORDER BY f.name
        ON CONFLICT (repository_id, object_name) DO UPDATE SET bytes = excluded.bytes
     WHERE o.bytes <> excluded.bytes;
    RETURN QUERY
    SELECT coalesce(sum(z.bytes), 0)::bigint, coalesce(sum(z.objects), 0)::bigint
      FROM tui_backup.stored_sizes z WHERE z.repository_id = p_repository_id;
END
$$;

DO $$
DECLARE
    one text;
BEGIN
    FOREACH one IN ARRAY ARRAY['stored_objects', 'stored_sizes'] LOOP
        EXECUTE format('ALTER TABLE tui_backup.%I ENABLE ROW LEVEL SECURITY', one);
        -- not the sums: the trigger keeps them, as the owner, whoever changes the ledger
        IF one = 'stored_objects' THEN
            EXECUTE format('ALTER TABLE tui_backup.%I FORCE ROW LEVEL SECURITY', one);
        END IF;
        EXECUTE format(
            'CREATE POLICY %I ON tui_backup.%I AS RESTRICTIVE FOR ALL TO tui_backup_user, tui_backup_gateway
                USING (tenant_id = (SELECT tui_backup.current_tenant()))
                WITH CHECK (tenant_id = (SELECT tui_backup.current_tenant()))', one || '_tenant_isolation', one);
        EXECUTE format(
            'CREATE POLICY %I ON tui_backup.%I AS RESTRICTIVE FOR ALL TO CURRENT_USER
                USING ((SELECT tui_backup.is_agent()) OR tenant_id = (SELECT tui_backup.current_tenant()))
                WITH CHECK ((SELECT tui_backup.is_agent()) OR tenant_id = (SELECT tui_backup.current_tenant()))',
            one || '_owner_isolation', one);
        EXECUTE format('CREATE POLICY %I ON tui_backup.%I FOR ALL TO CURRENT_USER USING (true) WITH CHECK (true)',
            one || '_owner_policy', one);
        EXECUTE format('CREATE POLICY %I ON tui_backup.%I FOR ALL TO tui_backup_agent USING (true) WITH CHECK (true)',
            one || '_agent_policy', one);
        EXECUTE format(
            'CREATE POLICY %I ON tui_backup.%I FOR SELECT TO tui_backup_user, tui_backup_gateway
                USING ((SELECT tui_backup.current_member_role() IN (''admin'', ''operator'', ''employee'')))',
            one || '_select_policy', one);
    END LOOP;
END
$$;

GRANT SELECT ON tui_backup.stored_objects, tui_backup.stored_sizes
    TO tui_backup_user, tui_backup_gateway, tui_backup_agent;
GRANT INSERT, UPDATE, DELETE ON tui_backup.stored_objects TO tui_backup_agent;

REVOKE ALL ON FUNCTION tui_backup.sum_stored_objects(), tui_backup.forget_stored_objects(),
    tui_backup.correct_stored_objects(uuid, timestamptz, text[], uuid[], bigint[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tui_backup.correct_stored_objects(uuid, timestamptz, text[], uuid[], bigint[])
    TO tui_backup_user, tui_backup_gateway;

COMMENT ON TABLE tui_backup.stored_objects IS 'Packs and manifests in the repositories, each once.';
COMMENT ON COLUMN tui_backup.stored_objects.repository_id IS 'The repository.';
COMMENT ON COLUMN tui_backup.stored_objects.object_name IS 'Key of the object below the tenant.';
COMMENT ON COLUMN tui_backup.stored_objects.source_id IS 'Source whose backup put it first.';
COMMENT ON COLUMN tui_backup.stored_objects.tenant_id IS 'Tenant that owns the row.';
COMMENT ON COLUMN tui_backup.stored_objects.bytes IS 'Size in bytes.';
COMMENT ON COLUMN tui_backup.stored_objects.seen_at IS 'When a backup last said that it is there, by the clock of the catalog.';

COMMENT ON TABLE tui_backup.stored_sizes IS 'Sums of stored_objects.';
COMMENT ON COLUMN tui_backup.stored_sizes.repository_id IS 'The repository.';
COMMENT ON COLUMN tui_backup.stored_sizes.source_id IS 'Source whose backups put them first.';
COMMENT ON COLUMN tui_backup.stored_sizes.tenant_id IS 'Tenant that owns the row.';
COMMENT ON COLUMN tui_backup.stored_sizes.bytes IS 'Sum of sizes in bytes.';
COMMENT ON COLUMN tui_backup.stored_sizes.objects IS 'How many objects.';
