-- Row-level security. Isolation is RESTRICTIVE (it is AND-ed), roles are PERMISSIVE (they are OR-ed).
-- Every function call stands in a scalar sub-select: it is then evaluated once per query and the index is used. A role
-- check stands there whole: of `(SELECT role()) IN (…)` the planner believes that it drops 98 % of the rows, and then
-- sorts a tenant's whole history instead of reading the first page off the index.
-- The owner's own policies exist for the SECURITY DEFINER functions, which check their caller themselves.

DO $$
DECLARE
    one text;
BEGIN
    FOREACH one IN ARRAY ARRAY['backup_jobs', 'backup_schedules', 'backup_restore_logs', 'backup_verifications',
                               'sources', 'repositories', 'progress'] LOOP
        EXECUTE format('ALTER TABLE tui_backup.%I ENABLE ROW LEVEL SECURITY', one);
        EXECUTE format('ALTER TABLE tui_backup.%I FORCE ROW LEVEL SECURITY', one);
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

CREATE POLICY backup_jobs_insert_policy ON tui_backup.backup_jobs FOR INSERT TO tui_backup_user, tui_backup_gateway
    WITH CHECK ((SELECT tui_backup.current_member_role() IN ('admin', 'operator')));
CREATE POLICY backup_jobs_update_policy ON tui_backup.backup_jobs FOR UPDATE TO tui_backup_user, tui_backup_gateway
    USING ((SELECT tui_backup.current_member_role() IN ('admin', 'operator')))
    WITH CHECK ((SELECT tui_backup.current_member_role() IN ('admin', 'operator')));

CREATE POLICY backup_schedules_manage_policy ON tui_backup.backup_schedules FOR ALL TO tui_backup_user, tui_backup_gateway
    USING ((SELECT tui_backup.current_member_role() = 'admin'))
    WITH CHECK ((SELECT tui_backup.current_member_role() = 'admin'));

-- An operator may bring a copy back beside the live data, never over it.
CREATE POLICY backup_restore_logs_insert_policy ON tui_backup.backup_restore_logs
    FOR INSERT TO tui_backup_user, tui_backup_gateway
    WITH CHECK (
        (SELECT tui_backup.current_member_role() = 'admin')
        OR ((SELECT tui_backup.current_member_role() = 'operator') AND target IN ('new_database', 'side_schema'))
    );

CREATE POLICY backup_verifications_insert_policy ON tui_backup.backup_verifications
    FOR INSERT TO tui_backup_user, tui_backup_gateway
    WITH CHECK ((SELECT tui_backup.current_member_role() IN ('admin', 'operator')));

CREATE POLICY sources_manage_policy ON tui_backup.sources FOR ALL TO tui_backup_user, tui_backup_gateway
    USING ((SELECT tui_backup.current_member_role() = 'admin'))
    WITH CHECK ((SELECT tui_backup.current_member_role() = 'admin'));
CREATE POLICY repositories_manage_policy ON tui_backup.repositories FOR ALL TO tui_backup_user, tui_backup_gateway
    USING ((SELECT tui_backup.current_member_role() = 'admin'))
    WITH CHECK ((SELECT tui_backup.current_member_role() = 'admin'));

-- Not forced: the identity functions, which every policy calls, read these as the owner.
ALTER TABLE tui_backup.tenants ENABLE ROW LEVEL SECURITY;
ALTER TABLE tui_backup.memberships ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenants_select_policy ON tui_backup.tenants FOR SELECT TO tui_backup_user, tui_backup_gateway
    USING (id = (SELECT tui_backup.current_tenant()));
CREATE POLICY tenants_agent_policy ON tui_backup.tenants FOR SELECT TO tui_backup_agent USING (true);
CREATE POLICY memberships_select_policy ON tui_backup.memberships FOR SELECT TO tui_backup_user, tui_backup_gateway
    USING (login = session_user AND tenant_id = (SELECT tui_backup.current_tenant()));

-- Storage: the service asks this before it touches a tenant's files, and the agent's writer is bound to one tenant.
CREATE TABLE tui_backup.storage_rules (
    action text PRIMARY KEY CHECK (action IN ('upload', 'view', 'delete')),
    role text NOT NULL CHECK (role = 'admin')
);
INSERT INTO tui_backup.storage_rules (action, role) VALUES ('upload', 'admin'), ('view', 'admin'), ('delete', 'admin');

CREATE FUNCTION tui_backup.may_use_storage(p_tenant_id uuid, p_action text) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT EXISTS (
        SELECT FROM tui_backup.storage_rules r
         WHERE r.action = p_action AND r.role = tui_backup.current_member_role()
    ) AND p_tenant_id = tui_backup.current_tenant()
$$;

-- Grants: no more columns than a caller has to fill in; ids are never chosen, since the queue goes by them -----------

GRANT SELECT ON tui_backup.tenants, tui_backup.memberships, tui_backup.sources, tui_backup.repositories,
    tui_backup.backup_jobs, tui_backup.backup_schedules, tui_backup.backup_restore_logs,
    tui_backup.backup_verifications, tui_backup.progress, tui_backup.agents, tui_backup.schema_migrations
    TO tui_backup_user, tui_backup_gateway, tui_backup_agent;

GRANT INSERT (source_name, conninfo, rpo_seconds, metadata), UPDATE (source_name, conninfo, rpo_seconds, metadata),
    DELETE ON tui_backup.sources TO tui_backup_user, tui_backup_gateway;
GRANT INSERT (repository_name, location, is_default, max_object_bytes, metadata),
    UPDATE (repository_name, location, is_default, max_object_bytes, metadata), DELETE
    ON tui_backup.repositories TO tui_backup_user, tui_backup_gateway;
GRANT INSERT (job_type, backup_name, description, tags, source_id, repository_id, chosen_tables),
    UPDATE (backup_name, description, tags)
    ON tui_backup.backup_jobs TO tui_backup_user, tui_backup_gateway;
GRANT INSERT (schedule_name, description, job_type, cron_expression, timezone, is_enabled, next_run_at,
        retention_days, max_backups_count, notify_on_success, notify_on_failure, notification_emails, metadata,
        source_id, repository_id, chosen_tables),
    UPDATE (schedule_name, description, job_type, cron_expression, timezone, is_enabled, next_run_at,
        retention_days, max_backups_count, notify_on_success, notify_on_failure, notification_emails, metadata,
        source_id, repository_id, chosen_tables)
    ON tui_backup.backup_schedules TO tui_backup_user, tui_backup_gateway;
GRANT INSERT (backup_job_id, restore_type, restore_point, notes, target, target_source_id, target_database,
        target_schema, chosen_tables, options)
    ON tui_backup.backup_restore_logs TO tui_backup_user, tui_backup_gateway;
GRANT INSERT (backup_job_id) ON tui_backup.backup_verifications TO tui_backup_user, tui_backup_gateway;

GRANT INSERT, UPDATE, DELETE ON tui_backup.backup_jobs, tui_backup.backup_restore_logs,
    tui_backup.backup_verifications, tui_backup.progress, tui_backup.agents TO tui_backup_agent;
GRANT UPDATE ON tui_backup.backup_schedules, tui_backup.sources, tui_backup.repositories TO tui_backup_agent;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA tui_backup FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tui_backup.is_agent(), tui_backup.is_gateway(), tui_backup.current_membership(),
    tui_backup.my_memberships(), tui_backup.current_tenant(), tui_backup.current_member_role(),
    tui_backup.current_user_id(),
    tui_backup.require_role(text[]), tui_backup.get_backup_statistics(uuid), tui_backup.request_cancel(uuid),
    tui_backup.request_delete(uuid), tui_backup.request_undo(uuid, text), tui_backup.delete_schedule(uuid),
    tui_backup.mark_lost(interval), tui_backup.may_use_storage(uuid, text)
    TO tui_backup_user, tui_backup_gateway, tui_backup_agent;
-- trigger functions are executed by triggers whatever the grants; enqueue() is for them and the functions above
GRANT EXECUTE ON FUNCTION tui_backup.enqueue(text, uuid, text) TO tui_backup_agent;
