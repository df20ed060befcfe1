-- Restores of one tenant's rows: where they may go, and their undo, which is a restore of the safety backup.

-- A source that is shared with the tenant may be written to by a backup of the tenant's rows only, and only row by row:
-- a new database, or a swap, on a server that is not the tenant's own would run what stands in the backup's schema.
CREATE FUNCTION tui_backup.check_restore() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    of_a_tenant boolean;
BEGIN
    SELECT j.tenant_scope INTO of_a_tenant FROM tui_backup.backup_jobs j
     WHERE j.id = NEW.backup_job_id AND j.tenant_id = NEW.tenant_id;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no such backup_job in this tenant' USING ERRCODE = 'foreign_key_violation';
    END IF;
    IF NEW.safety_job_id IS NOT NULL AND NOT EXISTS (
        SELECT FROM tui_backup.backup_jobs j WHERE j.id = NEW.safety_job_id AND j.tenant_id = NEW.tenant_id) THEN
        RAISE EXCEPTION 'no such safety_job in this tenant' USING ERRCODE = 'foreign_key_violation';
    END IF;
    IF of_a_tenant AND NEW.target = 'swap' THEN
        RAISE EXCEPTION 'one tenant''s rows cannot take the place of a whole database'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF NOT EXISTS (
        SELECT FROM tui_backup.sources s WHERE s.id = NEW.target_source_id AND s.tenant_id = NEW.tenant_id
    ) AND NOT (
        of_a_tenant AND NEW.target IN ('in_place', 'side_schema')
        AND tui_backup.source_is_shared(NEW.target_source_id, NEW.tenant_id)
    ) THEN
        RAISE EXCEPTION 'no such target_source in this tenant' USING ERRCODE = 'foreign_key_violation';
    END IF;
    IF (NEW.options ->> 'dry_run')::boolean AND NOT (of_a_tenant AND NEW.target IN ('in_place', 'side_schema')) THEN
        RAISE EXCEPTION 'only a restore of one tenant''s rows can be tried by the agent'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    RETURN NEW;
END
$$;
DROP TRIGGER backup_restore_logs_same_tenant ON tui_backup.backup_restore_logs;
CREATE TRIGGER backup_restore_logs_same_tenant BEFORE INSERT ON tui_backup.backup_restore_logs
    FOR EACH ROW EXECUTE FUNCTION tui_backup.check_restore();

-- However a restore came to its end, seen or settled later: one that saved the rows before can be undone, and an undo
-- tells the restore that it undid.
CREATE FUNCTION tui_backup.keep_undo() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF NEW.status = 'completed' AND OLD.status <> 'completed' AND NEW.undo_state = 'none' AND NEW.target = 'in_place'
       AND NEW.safety_job_id IS NOT NULL
       AND EXISTS (SELECT FROM tui_backup.backup_jobs j WHERE j.id = NEW.backup_job_id AND j.tenant_scope) THEN
        NEW.undo_state := 'kept';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER backup_restore_logs_keep_undo BEFORE UPDATE OF status ON tui_backup.backup_restore_logs
    FOR EACH ROW EXECUTE FUNCTION tui_backup.keep_undo();

CREATE FUNCTION tui_backup.tell_undone() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE tui_backup.backup_restore_logs
       SET undo_state = CASE NEW.status WHEN 'completed' THEN 'undone' ELSE 'kept' END,
           metadata = CASE NEW.status
               WHEN 'completed' THEN (metadata - 'undo_error') || jsonb_build_object('undone_by', NEW.id)
               ELSE metadata || jsonb_build_object('undo_error',
                   coalesce(NEW.error_details, '{}') || jsonb_build_object('message',
                       coalesce(NEW.error_message, 'The undo was cancelled.')))
           END
     WHERE id = (NEW.options ->> 'undo_of')::uuid AND tenant_id = NEW.tenant_id
       AND undo_state IN ('undo_requested', 'kept');
    RETURN NULL;
END
$$;
CREATE TRIGGER backup_restore_logs_tell_undone AFTER UPDATE OF status ON tui_backup.backup_restore_logs
    FOR EACH ROW
    WHEN (NEW.options ? 'undo_of' AND NEW.status IN ('completed', 'failed', 'cancelled') AND OLD.status <> NEW.status)
    EXECUTE FUNCTION tui_backup.tell_undone();

-- The undo of a swap is a rename, done by a task of its own; the undo of a tenant's restore in place is a restore of the
-- safety backup, with a row of its own: it can be watched and cancelled, and is itself undone in the same way.
CREATE OR REPLACE FUNCTION tui_backup.request_undo(p_restore_id uuid, p_state text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    tenant uuid := tui_backup.require_role('admin');
    log tui_backup.backup_restore_logs;
    undo_id uuid;
BEGIN
    IF p_state NOT IN ('undo_requested', 'finish_requested') THEN
        RAISE EXCEPTION 'no such request' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    SELECT * INTO log FROM tui_backup.backup_restore_logs
     WHERE id = p_restore_id AND tenant_id = tenant AND undo_state = 'kept' FOR UPDATE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    IF log.target <> 'in_place' THEN
        UPDATE tui_backup.backup_restore_logs SET undo_state = p_state, metadata = metadata - 'undo_error'
         WHERE id = log.id;
        PERFORM tui_backup.enqueue('undo', log.id, 'source:' || log.target_source_id);
        RETURN true;
    END IF;
    -- nothing is kept but a backup, which is deleted as any other
    IF p_state <> 'undo_requested' OR NOT EXISTS (
        SELECT FROM tui_backup.backup_jobs j
         WHERE j.id = log.safety_job_id AND j.status = 'completed' AND j.deleted_at IS NULL) THEN
        RETURN false;
    END IF;
    INSERT INTO tui_backup.backup_restore_logs (backup_job_id, restore_type, restore_point, notes, target,
           target_source_id, chosen_tables, options, tenant_id)
    SELECT log.safety_job_id, log.restore_type, j.started_at, 'undo of ' || log.id, 'in_place', log.target_source_id,
           log.chosen_tables, jsonb_build_object('undo_of', log.id), tenant
      FROM tui_backup.backup_jobs j WHERE j.id = log.safety_job_id
    RETURNING id INTO undo_id;
    UPDATE tui_backup.backup_restore_logs SET undo_state = 'undo_requested',
           metadata = (metadata - 'undo_error') || jsonb_build_object('undo_restore', undo_id)
     WHERE id = log.id;
    RETURN true;
END
$$;

REVOKE ALL ON FUNCTION tui_backup.check_restore(), tui_backup.keep_undo(), tui_backup.tell_undone() FROM PUBLIC;
