-- Rights on the queue, given again after every migration, since procrastinate's own migrations may add objects.
-- The queue's tables are the agent's alone; members reach it only through functions of the catalog.
REVOKE ALL ON SCHEMA tui_backup_queue FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA tui_backup_queue FROM PUBLIC;
GRANT USAGE ON SCHEMA tui_backup_queue TO tui_backup_agent;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA tui_backup_queue TO tui_backup_agent;
GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA tui_backup_queue TO tui_backup_agent;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA tui_backup_queue TO tui_backup_agent;
