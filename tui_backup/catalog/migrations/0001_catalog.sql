-- The catalog: tenants and members, sources, repositories, jobs, schedules, restores, proofs, progress, agents.
-- Applied by tui_backup.catalog.migrate inside one transaction, under an advisory lock, as the catalog's owner.
-- The queue's own tables (procrastinate) live in tui_backup_queue and are made by the same command.

-- Group roles ------------------------------------------------------------------------------------------------------
-- They belong to the cluster, so another catalog beside this one may have made them already.
DO $$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['tui_backup_user', 'tui_backup_gateway', 'tui_backup_agent'] LOOP
        IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = wanted) THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN NOSUPERUSER NOBYPASSRLS', wanted);
            EXCEPTION WHEN duplicate_object OR unique_violation THEN
                RAISE NOTICE 'role % was made by another session', wanted;
            END;
        END IF;
    END LOOP;
END
$$;

REVOKE ALL ON SCHEMA tui_backup FROM PUBLIC;
GRANT USAGE ON SCHEMA tui_backup TO tui_backup_user, tui_backup_gateway, tui_backup_agent;

-- Tenants and members ----------------------------------------------------------------------------------------------

CREATE TABLE tui_backup.tenants (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    tenant_name text NOT NULL CONSTRAINT unique_tenant_name UNIQUE CHECK (tenant_name <> ''),
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE tui_backup.memberships (
    login text NOT NULL CHECK (login <> ''),
    tenant_id uuid NOT NULL REFERENCES tui_backup.tenants (id) ON DELETE RESTRICT,
    role text NOT NULL CHECK (role IN ('admin', 'operator', 'employee')),
    user_id uuid NOT NULL DEFAULT gen_random_uuid(),
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (login, tenant_id)
);
CREATE INDEX idx_memberships_user_id ON tui_backup.memberships (user_id);

-- Identity ---------------------------------------------------------------------------------------------------------
-- Always from session_user: SET ROLE and SECURITY DEFINER change current_user, never session_user. Claims count only
-- for a session whose login is a member of the gateway role, and then only to name the user; tenant and role come
-- from memberships even so.

CREATE FUNCTION tui_backup.is_agent() RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    -- a superuser has every role; only a role that is really given makes an agent
    SELECT pg_has_role(session_user, 'tui_backup_agent', 'USAGE')
       AND NOT (SELECT rolsuper FROM pg_roles WHERE rolname = session_user)
$$;

CREATE FUNCTION tui_backup.is_gateway() RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT pg_has_role(session_user, 'tui_backup_gateway', 'USAGE')
       AND NOT (SELECT rolsuper FROM pg_roles WHERE rolname = session_user)
$$;

CREATE FUNCTION tui_backup.current_membership() RETURNS tui_backup.memberships
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    chosen text := nullif(current_setting('tui_backup.tenant', true), '');
    claims jsonb;
    found_rows tui_backup.memberships[];
BEGIN
    IF tui_backup.is_gateway() THEN
        claims := nullif(current_setting('request.jwt.claims', true), '')::jsonb;
        SELECT array_agg(m) INTO found_rows
          FROM tui_backup.memberships m
         WHERE m.user_id = (claims ->> 'sub')::uuid
           AND (claims ->> 'tenant_id' IS NULL OR m.tenant_id::text = claims ->> 'tenant_id')
           AND (chosen IS NULL OR m.tenant_id::text = chosen);
    ELSE
        SELECT array_agg(m) INTO found_rows
          FROM tui_backup.memberships m
         WHERE m.login = session_user
           AND (chosen IS NULL OR m.tenant_id::text = chosen);
    END IF;
    -- Several and none chosen is not guessed.
    IF cardinality(found_rows) = 1 THEN
        RETURN found_rows[1];
    END IF;
    RETURN NULL;
END
$$;

-- What a login may choose from, before it has chosen.
CREATE FUNCTION tui_backup.my_memberships()
RETURNS TABLE (tenant_id uuid, tenant_name text, role text, user_id uuid)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    claims jsonb;
BEGIN
    IF tui_backup.is_gateway() THEN
        claims := nullif(current_setting('request.jwt.claims', true), '')::jsonb;
        RETURN QUERY
        SELECT m.tenant_id, t.tenant_name, m.role, m.user_id
          FROM tui_backup.memberships m JOIN tui_backup.tenants t ON t.id = m.tenant_id
         WHERE m.user_id = (claims ->> 'sub')::uuid
           AND (claims ->> 'tenant_id' IS NULL OR m.tenant_id::text = claims ->> 'tenant_id')
         ORDER BY t.tenant_name;
    ELSE
        RETURN QUERY
        SELECT m.tenant_id, t.tenant_name, m.role, m.user_id
          FROM tui_backup.memberships m JOIN tui_backup.tenants t ON t.id = m.tenant_id
         WHERE m.login = session_user
         ORDER BY t.tenant_name;
    END IF;
END
$$;

CREATE FUNCTION tui_backup.current_tenant() RETURNS uuid
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF tui_backup.is_agent() THEN
        RETURN nullif(current_setting('tui_backup.tenant', true), '')::uuid;
    END IF;
    RETURN (tui_backup.current_membership()).tenant_id;
END
$$;

CREATE FUNCTION tui_backup.current_member_role() RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$ SELECT (tui_backup.current_membership()).role $$;

CREATE FUNCTION tui_backup.current_user_id() RETURNS uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$ SELECT (tui_backup.current_membership()).user_id $$;

-- Tables -----------------------------------------------------------------------------------------------------------

CREATE TABLE tui_backup.sources (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    source_name text NOT NULL CHECK (source_name ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$'),
    conninfo text NOT NULL CHECK (
        conninfo !~* '(^|[[:space:]?&])(ssl)?password[[:space:]]*=' AND conninfo !~ '://[^/@]*:[^/@]*@'
    ),
    rpo_seconds integer NOT NULL DEFAULT 86400 CHECK (rpo_seconds > 0),
    metadata jsonb NOT NULL DEFAULT '{}',
    tenant_id uuid NOT NULL DEFAULT tui_backup.current_tenant() REFERENCES tui_backup.tenants (id) ON DELETE RESTRICT,
    created_at timestamptz NOT NULL DEFAULT now(),
    created_by uuid,
    updated_at timestamptz NOT NULL DEFAULT now(),
    updated_by uuid,
    CONSTRAINT unique_source_name_per_tenant UNIQUE (tenant_id, source_name)
);

CREATE TABLE tui_backup.repositories (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    repository_name text NOT NULL CHECK (repository_name ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$'),
    location text NOT NULL CHECK (location <> '' AND location !~ '://[^/@]*:[^/@]*@'),
    is_default boolean NOT NULL DEFAULT false,
    max_object_bytes bigint NOT NULL DEFAULT 104857600 CHECK (max_object_bytes >= 1048576),
    metadata jsonb NOT NULL DEFAULT '{}',
    tenant_id uuid NOT NULL DEFAULT tui_backup.current_tenant() REFERENCES tui_backup.tenants (id) ON DELETE RESTRICT,
    created_at timestamptz NOT NULL DEFAULT now(),
    created_by uuid,
    updated_at timestamptz NOT NULL DEFAULT now(),
    updated_by uuid,
    CONSTRAINT unique_repository_name_per_tenant UNIQUE (tenant_id, repository_name)
);
CREATE UNIQUE INDEX idx_repositories_one_default ON tui_backup.repositories (tenant_id) WHERE is_default;

CREATE TABLE tui_backup.agents (
    id uuid PRIMARY KEY,
    host text NOT NULL,
    pid integer NOT NULL,
    version text NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(),
    heartbeat_at timestamptz NOT NULL DEFAULT now(),
    stopped_at timestamptz
);

CREATE TABLE tui_backup.backup_schedules (
    id uuid CONSTRAINT backup_schedules_pkey PRIMARY KEY DEFAULT gen_random_uuid(),
    schedule_name text NOT NULL CHECK (schedule_name <> ''),
    description text,
    job_type text NOT NULL DEFAULT 'full' CHECK (job_type IN ('full', 'incremental', 'snapshot')),
    cron_expression text NOT NULL CHECK (cron_expression <> ''),
    timezone text NOT NULL DEFAULT 'UTC',
    is_enabled boolean NOT NULL DEFAULT true,
    last_run_at timestamptz,
    last_run_status text,
    -- drivers cannot read every timestamp that PostgreSQL can hold, and the scheduler reads this one of every tenant
    next_run_at timestamptz CHECK (next_run_at BETWEEN '2000-01-01' AND '9000-01-01'),
    retention_days integer DEFAULT 30 CHECK (retention_days > 0),
    max_backups_count integer DEFAULT 10 CHECK (max_backups_count > 0),
    notify_on_success boolean NOT NULL DEFAULT false,
    notify_on_failure boolean NOT NULL DEFAULT true,
    notification_emails text[] NOT NULL DEFAULT '{}',
    metadata jsonb NOT NULL DEFAULT '{}',
    tenant_id uuid NOT NULL DEFAULT tui_backup.current_tenant() REFERENCES tui_backup.tenants (id) ON DELETE RESTRICT,
    created_at timestamptz NOT NULL DEFAULT now(),
    created_by uuid,
    updated_at timestamptz NOT NULL DEFAULT now(),
    updated_by uuid,
    source_id uuid NOT NULL REFERENCES tui_backup.sources (id) ON DELETE RESTRICT,
    repository_id uuid REFERENCES tui_backup.repositories (id) ON DELETE RESTRICT,
    chosen_tables text[] NOT NULL DEFAULT '{}',
    CONSTRAINT unique_schedule_name_per_tenant UNIQUE (tenant_id, schedule_name)
);
CREATE INDEX idx_backup_schedules_tenant_id ON tui_backup.backup_schedules (tenant_id);
CREATE INDEX idx_backup_schedules_is_enabled ON tui_backup.backup_schedules (is_enabled);
CREATE INDEX idx_backup_schedules_next_run ON tui_backup.backup_schedules (next_run_at) WHERE is_enabled;

CREATE TABLE tui_backup.backup_jobs (
    id uuid CONSTRAINT backup_jobs_pkey PRIMARY KEY DEFAULT gen_random_uuid(),
    job_type text NOT NULL CHECK (job_type IN ('full', 'incremental', 'snapshot')),
    status text NOT NULL DEFAULT 'pending'
        CHECK (status IN ('pending', 'running', 'completed', 'failed', 'cancelled')),
    started_at timestamptz,
    completed_at timestamptz,
    backup_size bigint CHECK (backup_size >= 0),
    storage_path text,
    tenant_id uuid NOT NULL DEFAULT tui_backup.current_tenant() REFERENCES tui_backup.tenants (id) ON DELETE RESTRICT,
    created_at timestamptz NOT NULL DEFAULT now(),
    backup_name text,
    description text,
    duration_seconds integer CHECK (duration_seconds >= 0),
    compressed_size_bytes bigint CHECK (compressed_size_bytes >= 0),
    storage_bucket text,
    tables_count integer CHECK (tables_count >= 0),
    rows_count bigint CHECK (rows_count >= 0),
    files_count integer CHECK (files_count >= 0),
    error_message text,
    error_details jsonb,
    retry_count integer NOT NULL DEFAULT 0 CHECK (retry_count >= 0),
    metadata jsonb NOT NULL DEFAULT '{}',
    tags text[] NOT NULL DEFAULT '{}',
    created_by uuid,
    updated_at timestamptz NOT NULL DEFAULT now(),
    updated_by uuid,
    source_id uuid NOT NULL REFERENCES tui_backup.sources (id) ON DELETE RESTRICT,
    repository_id uuid NOT NULL REFERENCES tui_backup.repositories (id) ON DELETE RESTRICT,
    schedule_id uuid REFERENCES tui_backup.backup_schedules (id) ON DELETE RESTRICT,
    parent_job_id uuid REFERENCES tui_backup.backup_jobs (id) ON DELETE RESTRICT,
    chosen_tables text[] NOT NULL DEFAULT '{}',
    scheduled_for timestamptz,
    attempt_token uuid,
    agent_id uuid REFERENCES tui_backup.agents (id) ON DELETE RESTRICT,
    cancel_requested boolean NOT NULL DEFAULT false,
    deleted_at timestamptz,
    CONSTRAINT completed_has_facts CHECK (
        status <> 'completed' OR (completed_at IS NOT NULL AND storage_path IS NOT NULL AND backup_size IS NOT NULL)
    ),
    CONSTRAINT failed_says_why CHECK (status <> 'failed' OR error_message IS NOT NULL)
);
CREATE INDEX idx_backup_jobs_tenant_id ON tui_backup.backup_jobs (tenant_id, created_at DESC);
CREATE INDEX idx_backup_jobs_status ON tui_backup.backup_jobs (status);
CREATE INDEX idx_backup_jobs_job_type ON tui_backup.backup_jobs (job_type);
CREATE INDEX idx_backup_jobs_created_at ON tui_backup.backup_jobs (created_at DESC);
CREATE INDEX idx_backup_jobs_tenant_status ON tui_backup.backup_jobs (tenant_id, status, created_at DESC);
CREATE INDEX idx_backup_jobs_source_completed ON tui_backup.backup_jobs (source_id, completed_at DESC)
    WHERE status = 'completed' AND deleted_at IS NULL;
CREATE INDEX idx_backup_jobs_running ON tui_backup.backup_jobs (agent_id) WHERE status = 'running';
-- the agents look for these every few seconds
CREATE INDEX idx_backup_jobs_delete_requested ON tui_backup.backup_jobs (updated_at)
    WHERE metadata ? 'delete_requested' AND deleted_at IS NULL;
-- the screens ask every few seconds what has changed
CREATE INDEX idx_backup_jobs_updated_at ON tui_backup.backup_jobs (tenant_id, updated_at DESC);
-- the same due time of a schedule can become a job only once, however many agents look at it
CREATE UNIQUE INDEX idx_backup_jobs_one_per_due_time ON tui_backup.backup_jobs (schedule_id, scheduled_for)
    WHERE schedule_id IS NOT NULL AND scheduled_for IS NOT NULL;

CREATE TABLE tui_backup.backup_restore_logs (
    id uuid CONSTRAINT backup_restore_logs_pkey PRIMARY KEY DEFAULT gen_random_uuid(),
    backup_job_id uuid NOT NULL REFERENCES tui_backup.backup_jobs (id) ON DELETE RESTRICT,
    restore_type text NOT NULL CHECK (restore_type IN ('full', 'partial')),
    restore_point timestamptz CHECK (restore_point BETWEEN '2000-01-01' AND '9000-01-01'),
    status text NOT NULL DEFAULT 'pending'
        CHECK (status IN ('pending', 'running', 'completed', 'failed', 'cancelled')),
    started_at timestamptz,
    completed_at timestamptz,
    duration_seconds integer CHECK (duration_seconds >= 0),
    tables_restored integer CHECK (tables_restored >= 0),
    rows_restored bigint CHECK (rows_restored >= 0),
    error_message text,
    error_details jsonb,
    rollback_executed boolean NOT NULL DEFAULT false,
    rollback_at timestamptz,
    metadata jsonb NOT NULL DEFAULT '{}',
    notes text,
    tenant_id uuid NOT NULL DEFAULT tui_backup.current_tenant() REFERENCES tui_backup.tenants (id) ON DELETE RESTRICT,
    created_at timestamptz NOT NULL DEFAULT now(),
    created_by uuid,
    initiated_by uuid,
    updated_at timestamptz NOT NULL DEFAULT now(),
    target text NOT NULL CHECK (target IN ('new_database', 'swap', 'side_schema', 'in_place')),
    target_source_id uuid NOT NULL REFERENCES tui_backup.sources (id) ON DELETE RESTRICT,
    target_database text,
    target_schema text,
    chosen_tables text[] NOT NULL DEFAULT '{}',
    options jsonb NOT NULL DEFAULT '{}',
    safety_job_id uuid REFERENCES tui_backup.backup_jobs (id) ON DELETE RESTRICT,
    undo_state text NOT NULL DEFAULT 'none'
        CHECK (undo_state IN ('none', 'kept', 'undo_requested', 'undone', 'finish_requested', 'finished')),
    attempt_token uuid,
    agent_id uuid REFERENCES tui_backup.agents (id) ON DELETE RESTRICT,
    cancel_requested boolean NOT NULL DEFAULT false,
    CONSTRAINT restore_failed_says_why CHECK (status <> 'failed' OR error_message IS NOT NULL),
    CONSTRAINT rollback_has_time CHECK (NOT rollback_executed OR rollback_at IS NOT NULL)
);
CREATE INDEX idx_backup_restore_logs_tenant_id ON tui_backup.backup_restore_logs (tenant_id);
CREATE INDEX idx_backup_restore_logs_backup_job_id ON tui_backup.backup_restore_logs (backup_job_id);
CREATE INDEX idx_backup_restore_logs_status ON tui_backup.backup_restore_logs (status);
CREATE INDEX idx_backup_restore_logs_created_at ON tui_backup.backup_restore_logs (created_at DESC);

CREATE TABLE tui_backup.backup_verifications (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    backup_job_id uuid NOT NULL REFERENCES tui_backup.backup_jobs (id) ON DELETE RESTRICT,
    kind text NOT NULL DEFAULT 'files' CHECK (kind IN ('files', 'restored')),
    status text NOT NULL DEFAULT 'pending'
        CHECK (status IN ('pending', 'running', 'completed', 'failed', 'cancelled')),
    started_at timestamptz,
    completed_at timestamptz,
    bytes_read bigint CHECK (bytes_read >= 0),
    problems jsonb NOT NULL DEFAULT '[]',
    error_message text,
    error_details jsonb,
    restore_log_id uuid REFERENCES tui_backup.backup_restore_logs (id) ON DELETE RESTRICT,
    tenant_id uuid NOT NULL DEFAULT tui_backup.current_tenant() REFERENCES tui_backup.tenants (id) ON DELETE RESTRICT,
    created_at timestamptz NOT NULL DEFAULT now(),
    created_by uuid,
    updated_at timestamptz NOT NULL DEFAULT now(),
    attempt_token uuid,
    agent_id uuid REFERENCES tui_backup.agents (id) ON DELETE RESTRICT,
    cancel_requested boolean NOT NULL DEFAULT false
);
CREATE INDEX idx_backup_verifications_job ON tui_backup.backup_verifications (backup_job_id, completed_at DESC);
CREATE INDEX idx_backup_verifications_status ON tui_backup.backup_verifications (status);

-- Progress is news, not history: unlogged, written at most once a second per subject, gone after a crash.
CREATE UNLOGGED TABLE tui_backup.progress (
    subject_id uuid PRIMARY KEY,
    tenant_id uuid NOT NULL,
    phase text NOT NULL,
    tables_done integer NOT NULL DEFAULT 0,
    tables_total integer NOT NULL DEFAULT 0,
    rows_done bigint NOT NULL DEFAULT 0,
    bytes_done bigint NOT NULL DEFAULT 0,
    bytes_total bigint,
    bytes_per_second double precision,
    eta_seconds integer,
    updated_at timestamptz NOT NULL DEFAULT now()
);

-- Triggers ---------------------------------------------------------------------------------------------------------

CREATE FUNCTION tui_backup.handle_updated_at() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    NEW.updated_at := now();
    RETURN NEW;
END
$$;

CREATE TRIGGER backup_jobs_updated_at BEFORE UPDATE ON tui_backup.backup_jobs
    FOR EACH ROW EXECUTE FUNCTION tui_backup.handle_updated_at();
CREATE TRIGGER backup_schedules_updated_at BEFORE UPDATE ON tui_backup.backup_schedules
    FOR EACH ROW EXECUTE FUNCTION tui_backup.handle_updated_at();
CREATE TRIGGER backup_restore_logs_updated_at BEFORE UPDATE ON tui_backup.backup_restore_logs
    FOR EACH ROW EXECUTE FUNCTION tui_backup.handle_updated_at();
CREATE TRIGGER backup_verifications_updated_at BEFORE UPDATE ON tui_backup.backup_verifications
    FOR EACH ROW EXECUTE FUNCTION tui_backup.handle_updated_at();
CREATE TRIGGER sources_updated_at BEFORE UPDATE ON tui_backup.sources
    FOR EACH ROW EXECUTE FUNCTION tui_backup.handle_updated_at();
CREATE TRIGGER repositories_updated_at BEFORE UPDATE ON tui_backup.repositories
    FOR EACH ROW EXECUTE FUNCTION tui_backup.handle_updated_at();

-- Who did it is filled in here, whatever the caller sent. The agent acts for others and keeps what is there.
CREATE FUNCTION tui_backup.fill_audit() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    who uuid;
BEGIN
    IF tui_backup.is_agent() THEN
        RETURN NEW;
    END IF;
    who := tui_backup.current_user_id();
    IF TG_OP = 'INSERT' THEN
        NEW.created_by := who;
    ELSE
        NEW.created_by := OLD.created_by;
        NEW.tenant_id := OLD.tenant_id;
    END IF;
    IF TG_ARGV[0] = 'updated_by' THEN
        -- a run found lost (mark_lost) was ended by nobody, whoever looked at it
        NEW.updated_by := CASE
            WHEN TG_OP = 'INSERT' THEN NULL
            WHEN TG_TABLE_NAME = 'backup_jobs' AND to_jsonb(OLD) ->> 'status' = 'running'
                 AND to_jsonb(NEW) ->> 'status' = 'failed' THEN OLD.updated_by
            ELSE who
        END;
    ELSIF TG_ARGV[0] = 'initiated_by' THEN
        NEW.initiated_by := CASE WHEN TG_OP = 'INSERT' THEN who ELSE OLD.initiated_by END;
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER backup_jobs_audit BEFORE INSERT OR UPDATE ON tui_backup.backup_jobs
    FOR EACH ROW EXECUTE FUNCTION tui_backup.fill_audit('updated_by');
CREATE TRIGGER backup_schedules_audit BEFORE INSERT OR UPDATE ON tui_backup.backup_schedules
    FOR EACH ROW EXECUTE FUNCTION tui_backup.fill_audit('updated_by');
CREATE TRIGGER backup_restore_logs_audit BEFORE INSERT OR UPDATE ON tui_backup.backup_restore_logs
    FOR EACH ROW EXECUTE FUNCTION tui_backup.fill_audit('initiated_by');
CREATE TRIGGER backup_verifications_audit BEFORE INSERT OR UPDATE ON tui_backup.backup_verifications
    FOR EACH ROW EXECUTE FUNCTION tui_backup.fill_audit('none');
CREATE TRIGGER sources_audit BEFORE INSERT OR UPDATE ON tui_backup.sources
    FOR EACH ROW EXECUTE FUNCTION tui_backup.fill_audit('updated_by');
CREATE TRIGGER repositories_audit BEFORE INSERT OR UPDATE ON tui_backup.repositories
    FOR EACH ROW EXECUTE FUNCTION tui_backup.fill_audit('updated_by');

-- A foreign key check runs as the table's owner and so would let a row point into another tenant.
CREATE FUNCTION tui_backup.check_same_tenant() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    body jsonb := to_jsonb(NEW);
    link record;
    reached boolean;
BEGIN
    FOR link IN
        SELECT * FROM (VALUES
            ('source_id', 'sources'), ('target_source_id', 'sources'), ('repository_id', 'repositories'),
            ('schedule_id', 'backup_schedules'), ('parent_job_id', 'backup_jobs'), ('backup_job_id', 'backup_jobs'),
            ('safety_job_id', 'backup_jobs'), ('restore_log_id', 'backup_restore_logs')
        ) AS l (column_name, table_name)
        WHERE body ->> l.column_name IS NOT NULL
    LOOP
        EXECUTE format('SELECT EXISTS (SELECT FROM tui_backup.%I WHERE id = $1 AND tenant_id = $2)', link.table_name)
           INTO reached USING (body ->> link.column_name)::uuid, NEW.tenant_id;
        IF NOT reached THEN
            RAISE EXCEPTION 'no such % in this tenant', replace(link.column_name, '_id', '')
                USING ERRCODE = 'foreign_key_violation';
        END IF;
    END LOOP;
    RETURN NEW;
END
$$;

CREATE TRIGGER backup_jobs_same_tenant BEFORE INSERT ON tui_backup.backup_jobs
    FOR EACH ROW EXECUTE FUNCTION tui_backup.check_same_tenant();
CREATE TRIGGER backup_schedules_same_tenant BEFORE INSERT OR UPDATE OF source_id, repository_id ON tui_backup.backup_schedules
    FOR EACH ROW EXECUTE FUNCTION tui_backup.check_same_tenant();
CREATE TRIGGER backup_restore_logs_same_tenant BEFORE INSERT ON tui_backup.backup_restore_logs
    FOR EACH ROW EXECUTE FUNCTION tui_backup.check_same_tenant();
CREATE TRIGGER backup_verifications_same_tenant BEFORE INSERT ON tui_backup.backup_verifications
    FOR EACH ROW EXECUTE FUNCTION tui_backup.check_same_tenant();

-- Any login can LISTEN, so the payload is an opaque id; what it stands for is read under row security.
CREATE FUNCTION tui_backup.notify_change() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        PERFORM pg_notify('tui_backup_changed', OLD.id::text);
    ELSE
        PERFORM pg_notify('tui_backup_changed', NEW.id::text);
    END IF;
    RETURN NULL;
END
$$;

CREATE FUNCTION tui_backup.notify_progress() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM pg_notify('tui_backup_changed', NEW.subject_id::text);
    RETURN NULL;
END
$$;

CREATE TRIGGER backup_jobs_notify AFTER INSERT OR UPDATE OR DELETE ON tui_backup.backup_jobs
    FOR EACH ROW EXECUTE FUNCTION tui_backup.notify_change();
CREATE TRIGGER backup_schedules_notify AFTER INSERT OR UPDATE OR DELETE ON tui_backup.backup_schedules
    FOR EACH ROW EXECUTE FUNCTION tui_backup.notify_change();
CREATE TRIGGER backup_restore_logs_notify AFTER INSERT OR UPDATE OR DELETE ON tui_backup.backup_restore_logs
    FOR EACH ROW EXECUTE FUNCTION tui_backup.notify_change();
CREATE TRIGGER backup_verifications_notify AFTER INSERT OR UPDATE ON tui_backup.backup_verifications
    FOR EACH ROW EXECUTE FUNCTION tui_backup.notify_change();
CREATE TRIGGER sources_notify AFTER INSERT OR UPDATE OR DELETE ON tui_backup.sources
    FOR EACH ROW EXECUTE FUNCTION tui_backup.notify_change();
CREATE TRIGGER progress_notify AFTER INSERT OR UPDATE ON tui_backup.progress
    FOR EACH ROW EXECUTE FUNCTION tui_backup.notify_progress();

-- The queue --------------------------------------------------------------------------------------------------------
-- A row and its place in the queue are one transaction. Callers have no right on the queue's tables.

CREATE FUNCTION tui_backup.enqueue(p_kind text, p_subject_id uuid, p_lock text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, tui_backup_queue, pg_temp
AS $$
BEGIN
    PERFORM tui_backup_queue.procrastinate_defer_jobs_v1(ARRAY[
        -- a restore and its undo do not wait behind a backup that is itself waiting to be tried again
        ROW('default', 'tui_backup.' || p_kind, CASE WHEN p_kind IN ('restore', 'undo') THEN 10 ELSE 0 END, p_lock, NULL,
            jsonb_build_object('subject_id', p_subject_id), NULL)::tui_backup_queue.procrastinate_job_to_defer_v1
    ]);
END
$$;

CREATE FUNCTION tui_backup.enqueue_new() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    lock_on text;
BEGIN
    IF NEW.status <> 'pending' THEN
        RETURN NULL;
    END IF;
    -- One heavy job per source at a time; reading files back does not touch the source.
    lock_on := CASE TG_TABLE_NAME
        WHEN 'backup_jobs' THEN 'source:' || (to_jsonb(NEW) ->> 'source_id')
        WHEN 'backup_restore_logs' THEN 'source:' || (to_jsonb(NEW) ->> 'target_source_id')
        ELSE 'verify:' || NEW.id
    END;
    PERFORM tui_backup.enqueue(TG_ARGV[0], NEW.id, lock_on);
    RETURN NULL;
END
$$;

CREATE TRIGGER backup_jobs_enqueue AFTER INSERT ON tui_backup.backup_jobs
    FOR EACH ROW EXECUTE FUNCTION tui_backup.enqueue_new('backup');
CREATE TRIGGER backup_restore_logs_enqueue AFTER INSERT ON tui_backup.backup_restore_logs
    FOR EACH ROW EXECUTE FUNCTION tui_backup.enqueue_new('restore');
CREATE TRIGGER backup_verifications_enqueue AFTER INSERT ON tui_backup.backup_verifications
    FOR EACH ROW EXECUTE FUNCTION tui_backup.enqueue_new('verify');

-- What members do beyond plain rows --------------------------------------------------------------------------------

CREATE FUNCTION tui_backup.require_role(VARIADIC p_roles text[]) RETURNS uuid
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    me tui_backup.memberships := tui_backup.current_membership();
BEGIN
    IF me.tenant_id IS NULL THEN
        RAISE EXCEPTION 'this login is a member of no tenant, or of several and has chosen none'
            USING ERRCODE = 'invalid_authorization_specification';
    END IF;
    IF NOT me.role = ANY (p_roles) THEN
        RAISE EXCEPTION 'the role % may not do this', me.role USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN me.tenant_id;
END
$$;

-- True when something was there to cancel. A pending one is ended here, a running one is ended by its agent.
CREATE FUNCTION tui_backup.request_cancel(p_id uuid) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, tui_backup_queue, pg_temp
AS $$
DECLARE
    tenant uuid := tui_backup.require_role('admin', 'operator');
    hit boolean := false;
    n integer;
    one text;
    kind text;
    queued bigint;
BEGIN
    FOR one, kind IN VALUES ('backup_jobs', 'backup'), ('backup_restore_logs', 'restore'),
                            ('backup_verifications', 'verify')
    LOOP
        EXECUTE format(
            'UPDATE tui_backup.%I SET cancel_requested = true,
                    status = CASE status WHEN ''pending'' THEN ''cancelled'' ELSE status END,
                    completed_at = CASE status WHEN ''pending'' THEN now() ELSE completed_at END
              WHERE id = $1 AND tenant_id = $2 AND status IN (''pending'', ''running'')', one)
        USING p_id, tenant;
        GET DIAGNOSTICS n = ROW_COUNT;
        CONTINUE WHEN n = 0;
        hit := true;
        -- of this kind only: an id may be used by another table, in another tenant
        FOR queued IN
            SELECT id FROM tui_backup_queue.procrastinate_jobs
             WHERE task_name = 'tui_backup.' || kind AND args ->> 'subject_id' = p_id::text
               AND status IN ('todo', 'doing')
        LOOP
            PERFORM tui_backup_queue.procrastinate_cancel_job_v1(queued, true, false);
        END LOOP;
    END LOOP;
    RETURN hit;
END
$$;

-- Rows whose agent has given no sign of life: they are not running any more. Anyone may look, so anyone may ask;
-- what happens depends on the catalog's clock alone. What a lost restore has left on its target is not known to a
-- reader: 'unsettled' tells the next agent to look, to put it right, and to say how it ended.
CREATE FUNCTION tui_backup.mark_lost(p_silence interval DEFAULT '45 seconds') RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    total integer := 0;
    n integer;
    one text;
BEGIN
    IF p_silence < interval '30 seconds' AND NOT tui_backup.is_agent() THEN
        RAISE EXCEPTION 'only an agent may call others lost so soon' USING ERRCODE = 'insufficient_privilege';
    END IF;
    FOREACH one IN ARRAY ARRAY['backup_jobs', 'backup_restore_logs', 'backup_verifications'] LOOP
        EXECUTE format(
            'UPDATE tui_backup.%I r SET status = ''failed'', completed_at = now(), '
            || CASE one WHEN 'backup_restore_logs' THEN 'metadata = r.metadata || ''{"unsettled": true}'','
                        ELSE 'attempt_token = NULL,' END ||
            '       error_message = ''The agent that ran this is gone.'',
                    error_details = jsonb_build_object(''error'', ''agent_lost'', ''hint'',
                        ''Start an agent (`tui-backup agent start`) and run it again.'')
              WHERE r.status = ''running''
                AND NOT EXISTS (SELECT FROM tui_backup.agents a
                                 WHERE a.id = r.agent_id AND a.stopped_at IS NULL
                                   AND a.heartbeat_at > now() - $1)', one)
        USING p_silence;
        GET DIAGNOSTICS n = ROW_COUNT;
        total := total + n;
    END LOOP;
    RETURN total;
END
$$;

-- Deleting the files is the agent's work; it removes the row afterwards.
CREATE FUNCTION tui_backup.request_delete(p_job_id uuid) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    tenant uuid := tui_backup.require_role('admin');
    found_source uuid;
BEGIN
    -- why an earlier attempt failed is forgotten: what stands there afterwards is about this one
    UPDATE tui_backup.backup_jobs SET metadata = (metadata - 'delete_error') || '{"delete_requested": true}'
     WHERE id = p_job_id AND tenant_id = tenant AND status IN ('completed', 'failed', 'cancelled')
       AND deleted_at IS NULL
    RETURNING source_id INTO found_source;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM tui_backup.enqueue('delete', p_job_id, 'source:' || found_source);
    RETURN true;
END
$$;

CREATE FUNCTION tui_backup.request_undo(p_restore_id uuid, p_state text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    tenant uuid := tui_backup.require_role('admin');
    target uuid;
BEGIN
    IF p_state NOT IN ('undo_requested', 'finish_requested') THEN
        RAISE EXCEPTION 'no such request' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    UPDATE tui_backup.backup_restore_logs SET undo_state = p_state, metadata = metadata - 'undo_error'
     WHERE id = p_restore_id AND tenant_id = tenant AND undo_state = 'kept'
    RETURNING target_source_id INTO target;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM tui_backup.enqueue('undo', p_restore_id, 'source:' || target);
    RETURN true;
END
$$;

CREATE FUNCTION tui_backup.delete_schedule(p_id uuid) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    tenant uuid := tui_backup.require_role('admin');
BEGIN
    UPDATE tui_backup.backup_jobs SET schedule_id = NULL WHERE schedule_id = p_id AND tenant_id = tenant;
    DELETE FROM tui_backup.backup_schedules WHERE id = p_id AND tenant_id = tenant;
    RETURN FOUND;
END
$$;

CREATE FUNCTION tui_backup.get_backup_statistics(p_tenant_id uuid)
RETURNS TABLE (
    total_backups bigint, successful_backups bigint, failed_backups bigint, total_size_bytes bigint,
    avg_duration_seconds double precision, last_backup_at timestamptz, next_scheduled_backup timestamptz
)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF p_tenant_id IS NULL OR p_tenant_id IS DISTINCT FROM tui_backup.current_tenant() THEN
        RAISE EXCEPTION 'not a tenant of this login' USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN QUERY
    SELECT count(*), count(*) FILTER (WHERE j.status = 'completed'), count(*) FILTER (WHERE j.status = 'failed'),
           coalesce(sum(j.compressed_size_bytes) FILTER (WHERE j.status = 'completed'), 0)::bigint,
           (avg(j.duration_seconds) FILTER (WHERE j.status = 'completed'))::double precision,
           max(j.completed_at) FILTER (WHERE j.status = 'completed'),
           (SELECT min(s.next_run_at) FROM tui_backup.backup_schedules s
             WHERE s.tenant_id = p_tenant_id AND s.is_enabled)
      FROM tui_backup.backup_jobs j
     WHERE j.tenant_id = p_tenant_id AND j.deleted_at IS NULL;
END
$$;
