"""Every name of SPEC sections 1 to 4, on every version."""

from __future__ import annotations

import pytest

from tests.integration.catalog.world import World

U, T, TS, N, B, J, L, A = (
    "uuid",
    "text",
    "timestamp with time zone",
    "integer",
    "bigint",
    "jsonb",
    "boolean",
    "text[]",
)

COLUMNS = {
    "backup_jobs": {
        **{"id": U, "job_type": T, "status": T, "started_at": TS, "completed_at": TS, "backup_size": B},
        **{"storage_path": T, "tenant_id": U, "created_at": TS, "backup_name": T, "description": T},
        **{"duration_seconds": N, "compressed_size_bytes": B, "storage_bucket": T, "tables_count": N},
        **{"rows_count": B, "files_count": N, "error_message": T, "error_details": J, "retry_count": N},
        **{"metadata": J, "tags": A, "created_by": U, "updated_at": TS, "updated_by": U},
    },
    "backup_schedules": {
        **{"id": U, "schedule_name": T, "description": T, "job_type": T, "cron_expression": T, "timezone": T},
        **{"is_enabled": L, "last_run_at": TS, "last_run_status": T, "next_run_at": TS, "retention_days": N},
        **{"max_backups_count": N, "notify_on_success": L, "notify_on_failure": L, "notification_emails": A},
        **{"metadata": J, "tenant_id": U, "created_at": TS, "created_by": U, "updated_at": TS, "updated_by": U},
    },
    "backup_restore_logs": {
        **{"id": U, "backup_job_id": U, "restore_type": T, "restore_point": TS, "status": T, "started_at": TS},
        **{"completed_at": TS, "duration_seconds": N, "tables_restored": N, "rows_restored": B},
        **{"error_message": T, "error_details": J, "rollback_executed": L, "rollback_at": TS, "metadata": J},
        **{"notes": T, "tenant_id": U, "created_at": TS, "created_by": U, "initiated_by": U, "updated_at": TS},
    },
}
NOT_NULL = {
    "backup_jobs": {"id", "job_type", "status", "tenant_id", "created_at", "source_id", "repository_id"},
    "backup_schedules": {"id", "schedule_name", "job_type", "cron_expression", "timezone", "tenant_id", "source_id"},
    "backup_restore_logs": {"id", "backup_job_id", "restore_type", "status", "tenant_id", "rollback_executed"},
}
DEFAULTS = {
    ("backup_jobs", "status"): "'pending'::text",
    ("backup_schedules", "timezone"): "'UTC'::text",
    ("backup_schedules", "is_enabled"): "true",
    ("backup_schedules", "retention_days"): "30",
    ("backup_schedules", "max_backups_count"): "10",
    ("backup_schedules", "notify_on_success"): "false",
    ("backup_schedules", "notify_on_failure"): "true",
    ("backup_restore_logs", "status"): "'pending'::text",
}
INDEXES = {
    "backup_jobs_pkey": "(id)",
    "idx_backup_jobs_tenant_id": "(tenant_id, created_at DESC)",
    "idx_backup_jobs_status": "(status)",
    "idx_backup_jobs_job_type": "(job_type)",
    "idx_backup_jobs_created_at": "(created_at DESC)",
    "idx_backup_jobs_tenant_status": "(tenant_id, status, created_at DESC)",
    "backup_schedules_pkey": "(id)",
    "idx_backup_schedules_tenant_id": "(tenant_id)",
    "idx_backup_schedules_is_enabled": "(is_enabled)",
    "idx_backup_schedules_next_run": "(next_run_at) WHERE is_enabled",
    "unique_schedule_name_per_tenant": "(tenant_id, schedule_name)",
    "backup_restore_logs_pkey": "(id)",
    "idx_backup_restore_logs_tenant_id": "(tenant_id)",
    "idx_backup_restore_logs_backup_job_id": "(backup_job_id)",
    "idx_backup_restore_logs_status": "(status)",
    "idx_backup_restore_logs_created_at": "(created_at DESC)",
}
# name: (table, permissive or not, command)
POLICIES = {
    "backup_jobs_tenant_isolation": ("backup_jobs", "RESTRICTIVE", "ALL"),
    "backup_jobs_select_policy": ("backup_jobs", "PERMISSIVE", "SELECT"),
    "backup_jobs_insert_policy": ("backup_jobs", "PERMISSIVE", "INSERT"),
    "backup_jobs_update_policy": ("backup_jobs", "PERMISSIVE", "UPDATE"),
    "backup_schedules_tenant_isolation": ("backup_schedules", "RESTRICTIVE", "ALL"),
    "backup_schedules_select_policy": ("backup_schedules", "PERMISSIVE", "SELECT"),
    "backup_schedules_manage_policy": ("backup_schedules", "PERMISSIVE", "ALL"),
    "backup_restore_logs_tenant_isolation": ("backup_restore_logs", "RESTRICTIVE", "ALL"),
    "backup_restore_logs_select_policy": ("backup_restore_logs", "PERMISSIVE", "SELECT"),
    "backup_restore_logs_insert_policy": ("backup_restore_logs", "PERMISSIVE", "INSERT"),
}
TRIGGERS = ("backup_jobs_updated_at", "backup_schedules_updated_at", "backup_restore_logs_updated_at")


def test_columns_have_name_and_type_of_the_specification(world_any: World) -> None:
    rows = world_any.superuser(
        "SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod) AS type, a.attnotnull,"
        " pg_get_expr(d.adbin, d.adrelid) AS fallback"
        " FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid"
        " LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum"
        " WHERE c.relnamespace = 'tui_backup'::regnamespace AND c.relkind = 'r' AND a.attnum > 0"
    )
    found = {(row["relname"], row["attname"]): row for row in rows}
    for table, columns in COLUMNS.items():
        for column, kind in columns.items():
            assert found[table, column]["type"] == kind, (table, column)
        for column in NOT_NULL[table]:
            assert found[table, column]["attnotnull"], (table, column)
    for key, fallback in DEFAULTS.items():
        assert found[key]["fallback"] == fallback


def test_indexes(world_any: World) -> None:
    rows = world_any.superuser("SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'tui_backup'")
    found = {row["indexname"]: row["indexdef"] for row in rows}
    for name, definition in INDEXES.items():
        assert found[name].endswith(definition), found[name]


def test_foreign_keys_restrict(world_any: World) -> None:
    rows = world_any.superuser(
        "SELECT conrelid::regclass::text AS of, conname, confdeltype FROM pg_constraint"
        " WHERE contype = 'f' AND connamespace = 'tui_backup'::regnamespace"
    )
    assert {row["confdeltype"] for row in rows} == {"r"}
    assert ("tui_backup.backup_restore_logs", "backup_restore_logs_backup_job_id_fkey") in {
        (row["of"], row["conname"]) for row in rows
    }


def test_policies_are_forced_and_of_the_right_kind(world_any: World) -> None:
    rows = world_any.superuser(
        "SELECT policyname, tablename, permissive, cmd FROM pg_policies WHERE schemaname='tui_backup'"
    )
    found = {row["policyname"]: (row["tablename"], row["permissive"], row["cmd"]) for row in rows}
    for name, wanted in POLICIES.items():
        assert found[name] == wanted
    forced = world_any.superuser(
        "SELECT relname, relrowsecurity, relforcerowsecurity FROM pg_class"
        " WHERE relnamespace = 'tui_backup'::regnamespace AND relkind = 'r'"
    )
    ours = ("sources", "repositories", "backup_verifications", "progress", "stored_objects")
    for row in forced:
        if row["relname"] in (*COLUMNS, *ours):
            assert row["relrowsecurity"] and row["relforcerowsecurity"], row["relname"]


def test_storage_has_its_three_rules(world_any: World) -> None:
    rows = world_any.superuser("SELECT action, role FROM tui_backup.storage_rules")
    assert {row["action"]: row["role"] for row in rows} == {"upload": "admin", "view": "admin", "delete": "admin"}


def test_functions_run_as_definer_with_a_fixed_path(world_any: World) -> None:
    rows = world_any.superuser(
        "SELECT proname, prosecdef, proconfig, pg_get_function_arguments(oid) AS arguments,"
        " pg_get_function_result(oid) AS result, proacl::text AS acl FROM pg_proc"
        " WHERE pronamespace = 'tui_backup'::regnamespace"
    )
    found = {row["proname"]: row for row in rows}
    for row in rows:
        assert row["prosecdef"], row["proname"]
        (path,) = [one for one in row["proconfig"] if one.startswith("search_path=")]
        assert path.startswith("search_path=pg_catalog") and path.endswith("pg_temp"), row["proname"]
        # an empty grantee is PUBLIC
        assert "{=" not in row["acl"] and ",=" not in row["acl"], row["proname"]
    assert found["get_backup_statistics"]["arguments"] == "p_tenant_id uuid"
    assert found["get_backup_statistics"]["result"] == (
        "TABLE(total_backups bigint, successful_backups bigint, failed_backups bigint, total_size_bytes bigint, "
        "avg_duration_seconds double precision, last_backup_at timestamp with time zone, "
        "next_scheduled_backup timestamp with time zone)"
    )
    assert found["handle_updated_at"]["result"] == "trigger"


def test_triggers_set_updated_at(world_any: World) -> None:
    rows = world_any.superuser("SELECT tgname FROM pg_trigger WHERE NOT tgisinternal")
    assert set(TRIGGERS) <= {row["tgname"] for row in rows}
    source = world_any.add_source("acme")
    before = world_any.superuser("SELECT updated_at FROM tui_backup.sources WHERE id = %s", (source,))
    world_any.superuser("UPDATE tui_backup.sources SET updated_at = '2000-01-01' WHERE id = %s", (source,))
    after = world_any.superuser("SELECT updated_at FROM tui_backup.sources WHERE id = %s", (source,))
    assert after[0]["updated_at"] > before[0]["updated_at"]


def test_every_table_and_column_has_a_comment(world_any: World) -> None:
    silent = world_any.superuser(
        "SELECT c.relname, a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum >= 0"
        " AND NOT a.attisdropped WHERE c.relnamespace = 'tui_backup'::regnamespace AND c.relkind = 'r' AND a.attnum > 0"
        " AND coalesce(col_description(c.oid, a.attnum), '') = ''"
        " UNION ALL SELECT relname, '(table)' FROM pg_class WHERE relnamespace = 'tui_backup'::regnamespace"
        " AND relkind = 'r' AND coalesce(obj_description(oid, 'pg_class'), '') = ''"
    )
    assert silent == []


@pytest.mark.parametrize(
    ("statement", "constraint"),
    [
        ("UPDATE tui_backup.backup_jobs SET job_type = 'x'", "backup_jobs_job_type_check"),
        ("UPDATE tui_backup.backup_jobs SET status = 'x'", "backup_jobs_status_check"),
        ("UPDATE tui_backup.backup_jobs SET storage_path = NULL", "completed_has_facts"),
        ("UPDATE tui_backup.backup_jobs SET status = 'failed'", "failed_says_why"),
        ("UPDATE tui_backup.sources SET conninfo = 'host=h password=x'", "sources_conninfo_check"),
        ("UPDATE tui_backup.sources SET conninfo = 'postgresql://u:p@h/d'", "sources_conninfo_check"),
        ("UPDATE tui_backup.sources SET source_name = 'a b'", "sources_source_name_check"),
        ("UPDATE tui_backup.repositories SET location = 's3://k:s@b/p'", "repositories_location_check"),
    ],
)
def test_checks(world: World, statement: str, constraint: str) -> None:
    import psycopg

    job = world.add_job("acme", world.add_source("acme"), world.add_repository("acme"))
    assert job
    with pytest.raises(psycopg.errors.CheckViolation) as caught:
        world.superuser(statement)
    assert caught.value.diag.constraint_name == constraint
