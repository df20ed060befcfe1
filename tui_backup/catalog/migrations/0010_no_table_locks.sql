-- DELETE cannot be granted by column, and whoever has it on a table may lock the table against every other tenant,
-- whatever the policies say. A member removes through functions instead.

REVOKE DELETE ON tui_backup.sources, tui_backup.repositories FROM tui_backup_user, tui_backup_gateway;

CREATE FUNCTION tui_backup.delete_source(p_id uuid) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    tenant uuid := tui_backup.require_role('admin');
BEGIN
    DELETE FROM tui_backup.sources WHERE id = p_id AND tenant_id = tenant;
    RETURN FOUND;
END
$$;

CREATE FUNCTION tui_backup.delete_repository(p_id uuid) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    tenant uuid := tui_backup.require_role('admin');
BEGIN
    DELETE FROM tui_backup.repositories WHERE id = p_id AND tenant_id = tenant;
    RETURN FOUND;
END
$$;

REVOKE ALL ON FUNCTION tui_backup.delete_source(uuid), tui_backup.delete_repository(uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tui_backup.delete_source(uuid), tui_backup.delete_repository(uuid)
    TO tui_backup_user, tui_backup_gateway;
