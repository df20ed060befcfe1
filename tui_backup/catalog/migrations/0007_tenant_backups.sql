-- Backups of one tenant's rows: how a source's rows are told, which jobs and schedules hold one tenant's rows only, and
-- what of the platform's own such a job may use.

ALTER TABLE tui_backup.sources ADD COLUMN tenant_map jsonb NOT NULL DEFAULT '{}'
    CONSTRAINT tenant_map_is_an_object CHECK (jsonb_typeof(tenant_map) = 'object');
ALTER TABLE tui_backup.backup_jobs ADD COLUMN tenant_scope boolean NOT NULL DEFAULT false;
ALTER TABLE tui_backup.backup_schedules ADD COLUMN tenant_scope boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN tui_backup.sources.tenant_map IS 'How rows are told to be a tenant''s: names, looked up in the source.';
COMMENT ON COLUMN tui_backup.backup_jobs.tenant_scope IS 'Only the rows of the job''s tenant.';
COMMENT ON COLUMN tui_backup.backup_schedules.tenant_scope IS 'Its backups hold only the rows of its tenant.';

-- never UPDATE of backup_jobs.tenant_scope: a job's scope is what its manifest says
GRANT INSERT (tenant_map), UPDATE (tenant_map) ON tui_backup.sources TO tui_backup_user, tui_backup_gateway;
GRANT INSERT (tenant_scope) ON tui_backup.backup_jobs TO tui_backup_user, tui_backup_gateway;
GRANT INSERT (tenant_scope), UPDATE (tenant_scope) ON tui_backup.backup_schedules TO tui_backup_user, tui_backup_gateway;

-- the last good backup of a whole database, behind any number of tenants' backups of it
CREATE INDEX idx_backup_jobs_whole_completed ON tui_backup.backup_jobs (source_id, completed_at DESC)
    WHERE status = 'completed' AND deleted_at IS NULL AND chosen_tables = '{}' AND NOT tenant_scope;

-- A foreign key check runs as the table's owner and so would let a row point into another tenant. What the platform
-- shares with the tenant counts as its own, a source for backups of the tenant's rows only. Restores: check_restore().
CREATE OR REPLACE FUNCTION tui_backup.check_same_tenant() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    body jsonb := to_jsonb(NEW);
    of_the_tenant boolean := coalesce((body ->> 'tenant_scope')::boolean, false);
    link record;
    reached boolean;
BEGIN
    FOR link IN
        SELECT l.table_name, l.column_name, (body ->> l.column_name)::uuid AS id FROM (VALUES
            ('source_id', 'sources'), ('target_source_id', 'sources'), ('repository_id', 'repositories'),
            ('schedule_id', 'backup_schedules'), ('parent_job_id', 'backup_jobs'), ('backup_job_id', 'backup_jobs'),
            ('safety_job_id', 'backup_jobs'), ('restore_log_id', 'backup_restore_logs')
        ) AS l (column_name, table_name)
        WHERE body ->> l.column_name IS NOT NULL
    LOOP
        EXECUTE format('SELECT EXISTS (SELECT FROM tui_backup.%I WHERE id = $1 AND tenant_id = $2)', link.table_name)
           INTO reached USING link.id, NEW.tenant_id;
        IF NOT reached AND TG_TABLE_NAME IN ('backup_jobs', 'backup_schedules') THEN
            reached := CASE link.column_name
                WHEN 'source_id' THEN of_the_tenant AND tui_backup.source_is_shared(link.id, NEW.tenant_id)
                WHEN 'repository_id' THEN tui_backup.repository_is_shared(link.id, NEW.tenant_id)
                ELSE false
            END;
        END IF;
        IF NOT reached THEN
            RAISE EXCEPTION 'no such % in this tenant', replace(link.column_name, '_id', '')
                USING ERRCODE = 'foreign_key_violation';
        END IF;
    END LOOP;
    RETURN NEW;
END
$$;

-- a schedule of a shared source does not become one of the whole database
DROP TRIGGER backup_schedules_same_tenant ON tui_backup.backup_schedules;
CREATE TRIGGER backup_schedules_same_tenant
    BEFORE INSERT OR UPDATE OF source_id, repository_id, tenant_scope ON tui_backup.backup_schedules
    FOR EACH ROW EXECUTE FUNCTION tui_backup.check_same_tenant();

-- A share can be taken back while a job waits: the agent asks again when the job's turn has come.
CREATE FUNCTION tui_backup.job_may_run(p_job_id uuid) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT tui_backup.is_agent() AND EXISTS (
        SELECT FROM tui_backup.backup_jobs j
          JOIN tui_backup.sources s ON s.id = j.source_id
          JOIN tui_backup.repositories r ON r.id = j.repository_id
         WHERE j.id = p_job_id
           AND (s.tenant_id = j.tenant_id OR (j.tenant_scope AND tui_backup.source_is_shared(s.id, j.tenant_id)))
           AND (r.tenant_id = j.tenant_id OR tui_backup.repository_is_shared(r.id, j.tenant_id))
    )
$$;
REVOKE ALL ON FUNCTION tui_backup.job_may_run(uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tui_backup.job_may_run(uuid) TO tui_backup_agent;
