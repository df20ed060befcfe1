-- Named statements of the services. Row security keeps every one of them inside the caller's tenant.
-- `:page` stands for the rows of the one table that is listed, filtered and limited before anything is joined: the
-- planner guesses joins under row security badly, and would join a tenant's whole history to show its first page.
-- `agent_lost` marks a running row whose agent has been silent for 45 s or has stopped (see mark_lost()).

-- name: jobs
SELECT j.*, s.source_name, r.repository_name, c.schedule_name,
       proof.kind AS proof, proof.completed_at AS proof_at,
       p.phase, p.tables_done, p.tables_total, p.rows_done, p.bytes_done, p.bytes_total, p.bytes_per_second,
       p.eta_seconds, p.updated_at AS progress_at,
       j.status = 'running' AND NOT EXISTS (
           SELECT FROM tui_backup.agents a
            WHERE a.id = j.agent_id AND a.stopped_at IS NULL AND a.heartbeat_at > now() - interval '45 seconds'
       ) AS agent_lost
  FROM :page j
  LEFT JOIN tui_backup.sources s ON s.id = j.source_id
  LEFT JOIN tui_backup.repositories r ON r.id = j.repository_id
  LEFT JOIN tui_backup.backup_schedules c ON c.id = j.schedule_id
  LEFT JOIN tui_backup.progress p ON p.subject_id = j.id AND j.status = 'running'
  LEFT JOIN LATERAL (
       -- a check that found damage voids what was proved before it
       SELECT v.kind, v.completed_at
         FROM tui_backup.backup_verifications v
        WHERE v.backup_job_id = j.id AND v.status = 'completed'
          AND NOT EXISTS (
              SELECT FROM tui_backup.backup_verifications f
               WHERE f.backup_job_id = j.id AND f.status = 'failed' AND f.problems <> '[]'
                 AND f.completed_at >= v.completed_at)
        ORDER BY v.kind = 'restored' DESC, v.completed_at DESC
        LIMIT 1
  ) proof ON true

-- name: restores
SELECT l.*, s.source_name, t.source_name AS target_source_name,
       p.phase, p.tables_done, p.tables_total, p.rows_done, p.bytes_done, p.bytes_total, p.bytes_per_second,
       p.eta_seconds, p.updated_at AS progress_at,
       l.status = 'running' AND NOT EXISTS (
           SELECT FROM tui_backup.agents a
            WHERE a.id = l.agent_id AND a.stopped_at IS NULL AND a.heartbeat_at > now() - interval '45 seconds'
       ) AS agent_lost
  FROM :page l
  LEFT JOIN tui_backup.backup_jobs j ON j.id = l.backup_job_id
  LEFT JOIN tui_backup.sources s ON s.id = j.source_id
  LEFT JOIN tui_backup.sources t ON t.id = l.target_source_id
  LEFT JOIN tui_backup.progress p ON p.subject_id = l.id AND l.status = 'running'

-- name: verifications
SELECT v.*,
       p.phase, p.tables_done, p.tables_total, p.rows_done, p.bytes_done, p.bytes_total, p.bytes_per_second,
       p.eta_seconds, p.updated_at AS progress_at,
       v.status = 'running' AND NOT EXISTS (
           SELECT FROM tui_backup.agents a
            WHERE a.id = v.agent_id AND a.stopped_at IS NULL AND a.heartbeat_at > now() - interval '45 seconds'
       ) AS agent_lost
  FROM :page v
  LEFT JOIN tui_backup.progress p ON p.subject_id = v.id AND v.status = 'running'

-- name: schedules
SELECT c.*, s.source_name, r.repository_name
  FROM :page c
  LEFT JOIN tui_backup.sources s ON s.id = c.source_id
  LEFT JOIN tui_backup.repositories r ON r.id = c.repository_id

-- name: sources
SELECT * FROM tui_backup.sources ORDER BY source_name

-- name: source
SELECT * FROM tui_backup.sources WHERE source_name = %(name)s OR id::text = %(name)s

-- name: repositories
SELECT * FROM tui_backup.repositories ORDER BY repository_name

-- name: repository
SELECT * FROM tui_backup.repositories
 WHERE repository_name = %(name)s::text OR id::text = %(name)s::text OR (%(name)s::text IS NULL AND is_default)

-- name: insert_job
INSERT INTO tui_backup.backup_jobs
       (job_type, backup_name, description, tags, source_id, repository_id, chosen_tables, tenant_scope)
VALUES (%(job_type)s, %(backup_name)s, %(description)s, %(tags)s, %(source_id)s, %(repository_id)s, %(tables)s,
        %(tenant_scope)s)
RETURNING id

-- name: insert_restore
INSERT INTO tui_backup.backup_restore_logs
       (backup_job_id, restore_type, restore_point, notes, target, target_source_id, target_database, target_schema,
        chosen_tables, options)
VALUES (%(backup_job_id)s, %(restore_type)s, %(restore_point)s, %(notes)s, %(target)s, %(target_source_id)s,
        %(target_database)s, %(target_schema)s, %(tables)s, %(options)s)
RETURNING id

-- name: insert_verification
INSERT INTO tui_backup.backup_verifications (backup_job_id) VALUES (%(backup_job_id)s) RETURNING id

-- name: open_verification
SELECT id FROM tui_backup.backup_verifications
 WHERE backup_job_id = %(backup_job_id)s AND kind = 'files' AND status IN ('pending', 'running')
 ORDER BY created_at DESC LIMIT 1

-- name: insert_schedule
INSERT INTO tui_backup.backup_schedules
       (schedule_name, description, job_type, cron_expression, timezone, is_enabled, next_run_at, retention_days,
        max_backups_count, notify_on_success, notify_on_failure, notification_emails, source_id, repository_id,
        chosen_tables, tenant_scope)
VALUES (%(schedule_name)s, %(description)s, %(job_type)s, %(cron_expression)s, %(timezone)s, %(is_enabled)s,
        %(next_run_at)s, %(retention_days)s, %(max_backups_count)s, %(notify_on_success)s, %(notify_on_failure)s,
        %(notification_emails)s, %(source_id)s, %(repository_id)s, %(tables)s,
        %(tenant_scope)s)
RETURNING id

-- name: update_schedule
UPDATE tui_backup.backup_schedules
   SET schedule_name = %(schedule_name)s, description = %(description)s, job_type = %(job_type)s,
       cron_expression = %(cron_expression)s, timezone = %(timezone)s, is_enabled = %(is_enabled)s,
       next_run_at = %(next_run_at)s, retention_days = %(retention_days)s,
       max_backups_count = %(max_backups_count)s, notify_on_success = %(notify_on_success)s,
       notify_on_failure = %(notify_on_failure)s, notification_emails = %(notification_emails)s,
       source_id = %(source_id)s, repository_id = %(repository_id)s, chosen_tables = %(tables)s,
       tenant_scope = %(tenant_scope)s
 WHERE id = %(id)s
RETURNING id

-- name: insert_source
INSERT INTO tui_backup.sources (source_name, conninfo, rpo_seconds, tenant_map)
VALUES (%(source_name)s, %(conninfo)s, %(rpo_seconds)s, %(tenant_map)s)
RETURNING *

-- name: set_tenant_map
-- what another one has changed meanwhile is not overwritten
UPDATE tui_backup.sources SET tenant_map = %(new)s WHERE id = %(id)s AND tenant_map = %(old)s RETURNING *

-- name: delete_source
SELECT tui_backup.delete_source(%(id)s) AS done

-- name: clear_default_repository
UPDATE tui_backup.repositories SET is_default = false WHERE is_default

-- name: insert_repository
INSERT INTO tui_backup.repositories (repository_name, location, is_default, max_object_bytes)
VALUES (%(repository_name)s, %(location)s,
        %(is_default)s OR NOT EXISTS (SELECT FROM tui_backup.repositories), %(max_object_bytes)s)
RETURNING *

-- name: delete_repository
SELECT tui_backup.delete_repository(%(id)s) AS done

-- name: request_cancel
SELECT tui_backup.request_cancel(%(id)s) AS done

-- name: request_delete
SELECT tui_backup.request_delete(%(id)s) AS done

-- name: request_undo
SELECT tui_backup.request_undo(%(id)s, %(state)s) AS done

-- name: delete_schedule
SELECT tui_backup.delete_schedule(%(id)s) AS done

-- name: mark_lost
SELECT tui_backup.mark_lost() AS lost

-- name: any_lost
SELECT EXISTS (
    SELECT FROM (
        SELECT agent_id FROM tui_backup.backup_jobs WHERE status = 'running'
        UNION ALL
        SELECT agent_id FROM tui_backup.backup_restore_logs WHERE status = 'running'
        UNION ALL
        SELECT agent_id FROM tui_backup.backup_verifications WHERE status = 'running'
    ) AS r
     WHERE NOT EXISTS (
        SELECT FROM tui_backup.agents a
         WHERE a.id = r.agent_id AND a.stopped_at IS NULL AND a.heartbeat_at > now() - interval '45 seconds')
) AS any_lost

-- name: may_use_storage
SELECT tui_backup.may_use_storage(tui_backup.current_tenant(), %(action)s) AS allowed

-- name: agents
SELECT a.id, a.host, a.pid, a.version, a.started_at, a.heartbeat_at,
       extract(epoch FROM clock_timestamp() - a.heartbeat_at)::double precision AS age_seconds
  FROM tui_backup.agents a
 WHERE a.stopped_at IS NULL AND a.heartbeat_at > now() - interval '1 day'
 ORDER BY a.heartbeat_at DESC
 LIMIT 50

-- name: statistics
SELECT * FROM tui_backup.get_backup_statistics(tui_backup.current_tenant())

-- name: safety
-- one tenant's rows are no backup of the database
SELECT s.source_name, s.rpo_seconds, good.completed_at AS last_good_at, now() AS checked_at,
       extract(epoch FROM now() - good.completed_at)::bigint AS age_seconds
  FROM tui_backup.sources s
  LEFT JOIN LATERAL (
       SELECT j.completed_at
         FROM tui_backup.backup_jobs j
        WHERE j.source_id = s.id AND j.status = 'completed' AND j.deleted_at IS NULL
          AND j.chosen_tables = '{}' AND NOT j.tenant_scope
          AND NOT EXISTS (
              SELECT FROM tui_backup.backup_verifications v
               WHERE v.backup_job_id = j.id AND v.status = 'failed' AND v.problems <> '[]'
                 AND NOT EXISTS (
                     SELECT FROM tui_backup.backup_verifications w
                      WHERE w.backup_job_id = j.id AND w.status = 'completed' AND w.completed_at > v.completed_at))
        ORDER BY j.completed_at DESC
        LIMIT 1
  ) good ON true
 ORDER BY s.source_name

-- name: activity
SELECT (SELECT count(*) FROM tui_backup.backup_jobs WHERE status = 'running')
       + (SELECT count(*) FROM tui_backup.backup_restore_logs WHERE status = 'running') AS running,
       (SELECT count(*) FROM tui_backup.backup_jobs
         WHERE status = 'failed' AND completed_at > now() - interval '24 hours'
           AND created_at > now() - interval '30 days')
       + (SELECT count(*) FROM tui_backup.backup_restore_logs
           WHERE status = 'failed' AND completed_at > now() - interval '24 hours') AS failed,
       (SELECT coalesce(sum(bytes), 0)::bigint FROM tui_backup.stored_sizes) AS stored_bytes,
       now() AS checked_at

-- name: storage
-- a backup counts as in `safety`; what a removed source has left in a repository comes last, without a name
WITH stored AS (
    SELECT source_id, sum(bytes)::bigint AS bytes FROM tui_backup.stored_sizes GROUP BY source_id
), damaged AS (
    SELECT v.backup_job_id AS id
      FROM tui_backup.backup_verifications v
     WHERE v.status = 'failed' AND v.problems <> '[]'
       AND NOT EXISTS (
           SELECT FROM tui_backup.backup_verifications w
            WHERE w.backup_job_id = v.backup_job_id AND w.status = 'completed' AND w.completed_at > v.completed_at)
), good AS NOT MATERIALIZED (
    SELECT j.source_id, j.backup_size, j.chosen_tables, j.tenant_scope, j.completed_at
      FROM tui_backup.backup_jobs j
     WHERE j.status = 'completed' AND j.deleted_at IS NULL AND NOT EXISTS (SELECT FROM damaged d WHERE d.id = j.id)
), added AS (
    SELECT source_id, count(*) AS backups, sum(backup_size)::bigint AS bytes FROM good GROUP BY source_id
)
SELECT s.source_name, coalesce(added.backups, 0) AS good_backups,
       -- one of chosen tables or of a tenant's rows only where there is no other
       coalesce((SELECT g.backup_size FROM good g
                  WHERE g.source_id = s.id AND g.chosen_tables = '{}' AND NOT g.tenant_scope
                  ORDER BY g.completed_at DESC LIMIT 1),
                (SELECT g.backup_size FROM good g WHERE g.source_id = s.id
                  ORDER BY g.completed_at DESC LIMIT 1)) AS newest_bytes,
       coalesce(added.bytes, 0) AS logical_bytes, coalesce(stored.bytes, 0) AS stored_bytes
  FROM tui_backup.sources s
  FULL JOIN stored ON stored.source_id = s.id
  LEFT JOIN added ON added.source_id = s.id
 ORDER BY s.source_name NULLS LAST

-- name: repository_size
SELECT coalesce(sum(bytes), 0)::bigint AS bytes FROM tui_backup.stored_sizes WHERE repository_id = %(id)s

-- name: owners_of_backups
SELECT id, source_id, repository_id FROM tui_backup.backup_jobs WHERE id = ANY (%(ids)s)

-- name: correct_stored_objects
SELECT * FROM tui_backup.correct_stored_objects(
    %(repository)s, %(asked_at)s, %(names)s::text[], %(sources)s::uuid[], %(bytes)s::bigint[])

-- name: last_full_backup
SELECT backup_size, compressed_size_bytes, duration_seconds, tables_count
  FROM tui_backup.backup_jobs
 WHERE source_id = %(source_id)s AND status = 'completed' AND deleted_at IS NULL AND chosen_tables = '{}'
   AND tenant_scope = %(tenant_scope)s
 ORDER BY completed_at DESC LIMIT 1

-- name: subjects_changed
SELECT id, 'job' AS kind, updated_at FROM tui_backup.backup_jobs WHERE updated_at > %(since)s
UNION ALL
SELECT id, 'restore', updated_at FROM tui_backup.backup_restore_logs WHERE updated_at > %(since)s
UNION ALL
SELECT id, 'schedule', updated_at FROM tui_backup.backup_schedules WHERE updated_at > %(since)s
UNION ALL
SELECT id, 'verification', updated_at FROM tui_backup.backup_verifications WHERE updated_at > %(since)s
UNION ALL
SELECT id, 'source', updated_at FROM tui_backup.sources WHERE updated_at > %(since)s

-- name: subject_kinds
SELECT id, 'job' AS kind FROM tui_backup.backup_jobs WHERE id = ANY (%(ids)s)
UNION ALL
SELECT id, 'restore' FROM tui_backup.backup_restore_logs WHERE id = ANY (%(ids)s)
UNION ALL
SELECT id, 'schedule' FROM tui_backup.backup_schedules WHERE id = ANY (%(ids)s)
UNION ALL
SELECT id, 'verification' FROM tui_backup.backup_verifications WHERE id = ANY (%(ids)s)
UNION ALL
SELECT id, 'source' FROM tui_backup.sources WHERE id = ANY (%(ids)s)

-- name: catalog_clock
SELECT clock_timestamp() AS now

-- name: tenant_by_name
SELECT id, tenant_name FROM tui_backup.tenants WHERE tenant_name = %(name)s OR id::text = %(name)s
