-- Stand-in of engineer C until issue5-b is merged: take B's file.
ALTER TABLE tui_backup.sources ADD COLUMN tenant_map jsonb NOT NULL DEFAULT '{}';
ALTER TABLE tui_backup.backup_jobs ADD COLUMN tenant_scope boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN tui_backup.sources.tenant_map IS 'How rows are told to be a tenant''s.';
COMMENT ON COLUMN tui_backup.backup_jobs.tenant_scope IS 'Only the rows of the job''s tenant.';
GRANT INSERT (tenant_scope) ON tui_backup.backup_jobs TO tui_backup_user, tui_backup_gateway;
