-- A schedule's last_run_status follows its newest job, whoever changes that job: the agent, a member, mark_lost().

CREATE FUNCTION tui_backup.follow_job_status() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE tui_backup.backup_schedules s SET last_run_status = NEW.status
     WHERE s.id = NEW.schedule_id AND s.last_run_status IS DISTINCT FROM NEW.status
       AND NOT EXISTS (SELECT FROM tui_backup.backup_jobs later
                        WHERE later.schedule_id = NEW.schedule_id AND later.scheduled_for > NEW.scheduled_for);
    RETURN NULL;
END
$$;

REVOKE ALL ON FUNCTION tui_backup.follow_job_status() FROM PUBLIC;

CREATE TRIGGER backup_jobs_schedule_status AFTER UPDATE OF status ON tui_backup.backup_jobs
    FOR EACH ROW WHEN (NEW.schedule_id IS NOT NULL AND NEW.scheduled_for IS NOT NULL)
    EXECUTE FUNCTION tui_backup.follow_job_status();
