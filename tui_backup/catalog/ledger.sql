-- What every catalog has before its first migration: the two schemas and the ledger. Run once, as the catalog's owner.
CREATE SCHEMA tui_backup;
CREATE SCHEMA tui_backup_queue;
COMMENT ON SCHEMA tui_backup IS 'The catalog of tui-backup.';
COMMENT ON SCHEMA tui_backup_queue IS 'The queue of tui-backup, made by procrastinate.';

CREATE TABLE tui_backup.schema_migrations (
    component text NOT NULL CHECK (component IN ('catalog', 'queue')),
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    program text NOT NULL,
    PRIMARY KEY (component, name)
);
COMMENT ON TABLE tui_backup.schema_migrations IS 'Which migrations have been applied.';
COMMENT ON COLUMN tui_backup.schema_migrations.component IS 'catalog or queue.';
COMMENT ON COLUMN tui_backup.schema_migrations.name IS 'File name.';
COMMENT ON COLUMN tui_backup.schema_migrations.checksum IS 'SHA-256 of the file, in hex.';
COMMENT ON COLUMN tui_backup.schema_migrations.applied_at IS 'When it was applied.';
COMMENT ON COLUMN tui_backup.schema_migrations.program IS 'Version of the program that applied it.';
