-- A shared repository holds objects of several tenants under prefixes of their own, and a shared source has backups of
-- several: what one of them stores is never summed with, nor taken for, another's.

ALTER TABLE tui_backup.stored_objects DROP CONSTRAINT stored_objects_pkey;
ALTER TABLE tui_backup.stored_objects ADD CONSTRAINT stored_objects_pkey
    PRIMARY KEY (repository_id, tenant_id, object_name);
ALTER TABLE tui_backup.stored_sizes DROP CONSTRAINT stored_sizes_pkey;
ALTER TABLE tui_backup.stored_sizes ADD CONSTRAINT stored_sizes_pkey PRIMARY KEY (repository_id, tenant_id, source_id);

CREATE OR REPLACE FUNCTION tui_backup.sum_stored_objects() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF TG_OP <> 'DELETE' THEN
        INSERT INTO tui_backup.stored_sizes AS z (repository_id, source_id, tenant_id, bytes, objects)
        SELECT c.repository_id, c.source_id, c.tenant_id, sum(c.bytes), count(*)
          FROM came c GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
            ON CONFLICT (repository_id, tenant_id, source_id)
            DO UPDATE SET bytes = z.bytes + excluded.bytes, objects = z.objects + excluded.objects;
    END IF;
    IF TG_OP <> 'INSERT' THEN
        UPDATE tui_backup.stored_sizes z SET bytes = z.bytes - w.bytes, objects = z.objects - w.objects
          FROM (SELECT repository_id, source_id, tenant_id, sum(bytes) AS bytes, count(*) AS objects
                  FROM went GROUP BY 1, 2, 3) w
         WHERE z.repository_id = w.repository_id AND z.source_id = w.source_id AND z.tenant_id = w.tenant_id;
        DELETE FROM tui_backup.stored_sizes WHERE objects = 0;
    END IF;
    RETURN NULL;
END
$$;

-- As 0005 has it, and of the caller's tenant alone: the sums' row security does not bind their owner.
CREATE OR REPLACE FUNCTION tui_backup.correct_stored_objects(
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
     WHERE o.repository_id = p_repository_id AND o.tenant_id = tenant AND o.seen_at < p_asked_at
       AND NOT EXISTS (SELECT FROM unnest(p_names) AS l(name) WHERE l.name = o.object_name);
    INSERT INTO tui_backup.stored_objects AS o (repository_id, object_name, source_id, tenant_id, bytes)
    SELECT p_repository_id, f.name, s.id, tenant, f.bytes
      FROM unnest(p_names, p_sources, p_bytes) AS f(name, source_id, bytes)
      JOIN tui_backup.sources s ON s.id = f.source_id AND s.tenant_id = tenant
     ORDER BY f.name
        ON CONFLICT (repository_id, tenant_id, object_name) DO UPDATE SET bytes = excluded.bytes
     WHERE o.bytes <> excluded.bytes;
    RETURN QUERY
    SELECT coalesce(sum(z.bytes), 0)::bigint, coalesce(sum(z.objects), 0)::bigint
      FROM tui_backup.stored_sizes z WHERE z.repository_id = p_repository_id AND z.tenant_id = tenant;
END
$$;
