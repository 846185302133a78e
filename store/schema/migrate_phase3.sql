-- SPDX-License-Identifier: GPL-2.0-or-later
-- Brings a Phase 2 database to Phase 3.  The programs do it by themselves, with
-- a backup (vgpu-admin migrate); by hand, with the mediator stopped:
--
--     cp vgpu_config.db vgpu_config.db.backup
--     sqlite3 vgpu_config.db < migrate_phase3.sql
--
-- It is one transaction.  On a database that is at Phase 3 already it makes the tables anew
-- with what stands in them: it can be run again.
--
-- Earlier databases come in several shapes: without the Phase 3 columns, with
-- some or all of them added by ALTER TABLE, or with "weight REAL DEFAULT 1.0",
-- where 1.0 was the neutral weight (now 50).  SQLite cannot ask "is there such
-- a column" in plain SQL, so each doubtful column is read by a subquery over
-- the old table: where the column is missing, its name is found in the outer
-- query instead, which offers the default.
-- Nothing here needs more than SQLite 3.7.17 (CentOS 7, XCP-ng's Dom0).
.bail on

PRAGMA foreign_keys = OFF;
-- Else tables that refer to a renamed one follow it.
PRAGMA legacy_alter_table = ON;
BEGIN IMMEDIATE;

CREATE TABLE IF NOT EXISTS events (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    time    TIMESTAMP NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now')),
    kind    TEXT NOT NULL,
    vm_uuid TEXT COLLATE NOCASE,
    vm_id   INTEGER,
    actor   TEXT NOT NULL,
    detail  TEXT NOT NULL DEFAULT ''
);

ALTER TABLE pools RENAME TO pools_before;
ALTER TABLE vms RENAME TO vms_before;
DROP INDEX IF EXISTS idx_vm_uuid;
DROP INDEX IF EXISTS idx_vm_pool;
DROP INDEX IF EXISTS idx_vm_priority;

CREATE TABLE pools (
    pool_id     TEXT PRIMARY KEY NOT NULL CHECK (pool_id GLOB '[A-Z]'),
    pool_name   TEXT NOT NULL CHECK (length(pool_name) BETWEEN 1 AND 63),
    description TEXT,
    enabled     INTEGER NOT NULL DEFAULT 1 CHECK (enabled IN (0, 1)),
    created_at  TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
    updated_at  TIMESTAMP DEFAULT CURRENT_TIMESTAMP
);

-- Without a row here a pool uses every GPU of the host.
CREATE TABLE IF NOT EXISTS pool_gpus (
    pool_id TEXT NOT NULL REFERENCES pools (pool_id) ON DELETE CASCADE,
    gpu     TEXT NOT NULL CHECK (length(gpu) BETWEEN 1 AND 63),
    PRIMARY KEY (pool_id, gpu)
);

CREATE TABLE vms (
    vm_id              INTEGER NOT NULL UNIQUE
                       CHECK (typeof(vm_id) = 'integer' AND vm_id BETWEEN 0 AND 4294967295),
    vm_uuid            TEXT NOT NULL UNIQUE COLLATE NOCASE
                       CHECK (length(vm_uuid) BETWEEN 1 AND 63),
    vm_name            TEXT CHECK (vm_name IS NULL OR length(CAST(vm_name AS BLOB)) <= 255),
    pool_id            TEXT NOT NULL DEFAULT 'A' REFERENCES pools (pool_id),
    priority           INTEGER NOT NULL DEFAULT 1 CHECK (priority IN (0, 1, 2)),
    weight             INTEGER NOT NULL DEFAULT 50
                       CHECK (typeof(weight) IN ('integer', 'real')
                              AND weight BETWEEN 1 AND 100),
    max_jobs_per_sec   INTEGER NOT NULL DEFAULT 0
                       CHECK (typeof(max_jobs_per_sec) = 'integer'
                              AND max_jobs_per_sec BETWEEN 0 AND 1000000),
    burst              INTEGER NOT NULL DEFAULT 0
                       CHECK (typeof(burst) = 'integer' AND burst BETWEEN 0 AND 1000000),
    max_queue_depth    INTEGER NOT NULL DEFAULT 0
                       CHECK (typeof(max_queue_depth) = 'integer'
                              AND max_queue_depth BETWEEN 0 AND 65536),
    memory_limit_bytes INTEGER NOT NULL DEFAULT 0
                       CHECK (typeof(memory_limit_bytes) = 'integer' AND memory_limit_bytes >= 0),
    quarantined        INTEGER NOT NULL DEFAULT 0 CHECK (quarantined IN (0, 1)),
    quarantined_at     TIMESTAMP,
    quarantine_reason  TEXT,
    error_count        INTEGER NOT NULL DEFAULT 0
                       CHECK (typeof(error_count) = 'integer'
                              AND error_count BETWEEN 0 AND 4294967295),
    created_at         TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
    updated_at         TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
    max_processes      INTEGER NOT NULL DEFAULT 0
                       CHECK (typeof(max_processes) = 'integer'
                              AND max_processes BETWEEN 0 AND 65536),
    max_kernel_ms      INTEGER NOT NULL DEFAULT 0
                       CHECK (typeof(max_kernel_ms) = 'integer'
                              AND max_kernel_ms BETWEEN 0 AND 86400000),
    host_memory_bytes  INTEGER NOT NULL DEFAULT 0
                       CHECK (typeof(host_memory_bytes) = 'integer' AND host_memory_bytes >= 0)
);
CREATE INDEX idx_vm_pool ON vms (pool_id);

CREATE INDEX IF NOT EXISTS idx_event_kind ON events (kind, id);
CREATE TRIGGER IF NOT EXISTS events_bounded AFTER INSERT ON events WHEN NEW.id % 64 = 0
BEGIN
    DELETE FROM events WHERE kind = 'fault' AND id <= (
        SELECT id FROM events WHERE kind = 'fault' ORDER BY id DESC LIMIT 1 OFFSET 1000);
    DELETE FROM events WHERE kind <> 'fault' AND id <= (
        SELECT id FROM events WHERE kind <> 'fault' ORDER BY id DESC LIMIT 1 OFFSET 10000);
END;


INSERT INTO pools (pool_id, pool_name, description, enabled, created_at, updated_at)
SELECT upper(pool_id),
       CASE WHEN coalesce(pool_name, '') = '' THEN 'Pool ' || upper(pool_id)
            ELSE substr(pool_name, 1, 63) END,
       description, coalesce(enabled, 1), created_at, updated_at
  FROM pools_before;
-- Not where the upgrade has been: a pool that somebody removed does not come back.
INSERT OR IGNORE INTO pools (pool_id, pool_name)
SELECT 'A', 'Pool A' WHERE NOT EXISTS (SELECT 1 FROM events)
UNION ALL SELECT 'B', 'Pool B' WHERE NOT EXISTS (SELECT 1 FROM events);
-- Foreign keys were not always enforced: a VM may name a pool that is not there.
INSERT OR IGNORE INTO pools (pool_id, pool_name)
SELECT DISTINCT upper(pool_id), 'Pool ' || upper(pool_id) FROM vms_before WHERE pool_id IS NOT NULL;

INSERT INTO vms (vm_id, vm_uuid, vm_name, pool_id, priority, weight, max_jobs_per_sec, burst,
                 max_queue_depth, memory_limit_bytes, quarantined, quarantined_at,
                 quarantine_reason, error_count, created_at, updated_at, max_processes,
                 max_kernel_ms, host_memory_bytes)
SELECT vm_id, vm_uuid, vm_name, upper(coalesce(pool_id, 'A')), coalesce(priority, 1),
       CASE WHEN typeof(old_weight) = 'real' AND old_weight = 1.0 THEN 50
            ELSE max(1, min(100, round(coalesce(old_weight, 50), 2))) END,
       max(0, min(1000000, CAST(coalesce(old_rate, 0) AS INTEGER))),
       old_burst,
       max(0, min(65536, CAST(coalesce(old_depth, 0) AS INTEGER))),
       old_memory,
       coalesce(old_quarantined, 0) <> 0,
       CASE WHEN coalesce(old_quarantined, 0) <> 0 THEN coalesce(old_at, updated_at) END,
       CASE WHEN coalesce(old_quarantined, 0) <> 0
            THEN coalesce(old_reason, 'quarantined before the upgrade') END,
       max(0, CAST(coalesce(old_errors, 0) AS INTEGER)),
       created_at, updated_at, old_processes, old_kernel, old_host
  FROM (SELECT v.vm_id, v.vm_uuid, v.vm_name, v.pool_id, v.priority, v.created_at, v.updated_at,
               (SELECT weight FROM vms_before AS x WHERE x.rowid = v.rowid) AS old_weight,
               (SELECT max_jobs_per_sec FROM vms_before AS x WHERE x.rowid = v.rowid) AS old_rate,
               (SELECT burst FROM vms_before AS x WHERE x.rowid = v.rowid) AS old_burst,
               (SELECT max_queue_depth FROM vms_before AS x WHERE x.rowid = v.rowid) AS old_depth,
               (SELECT memory_limit_bytes FROM vms_before AS x WHERE x.rowid = v.rowid)
                   AS old_memory,
               (SELECT quarantined FROM vms_before AS x WHERE x.rowid = v.rowid)
                   AS old_quarantined,
               (SELECT quarantined_at FROM vms_before AS x WHERE x.rowid = v.rowid) AS old_at,
               (SELECT quarantine_reason FROM vms_before AS x WHERE x.rowid = v.rowid)
                   AS old_reason,
               (SELECT error_count FROM vms_before AS x WHERE x.rowid = v.rowid) AS old_errors,
               (SELECT max_processes FROM vms_before AS x WHERE x.rowid = v.rowid)
                   AS old_processes,
               (SELECT max_kernel_ms FROM vms_before AS x WHERE x.rowid = v.rowid) AS old_kernel,
               (SELECT host_memory_bytes FROM vms_before AS x WHERE x.rowid = v.rowid) AS old_host
          FROM vms_before AS v,
               (SELECT 50 AS weight, 0 AS max_jobs_per_sec, 0 AS burst, 0 AS max_queue_depth,
                       0 AS memory_limit_bytes, 0 AS quarantined, NULL AS quarantined_at,
                       NULL AS quarantine_reason, 0 AS error_count, 0 AS max_processes,
                       0 AS max_kernel_ms, 0 AS host_memory_bytes) AS defaults);

DROP TABLE vms_before;
DROP TABLE pools_before;
INSERT INTO events (kind, actor, detail)
SELECT 'schema', 'migrate_phase3.sql', 'upgraded from Phase 2 to Phase 3'
 WHERE NOT EXISTS (SELECT 1 FROM events);

PRAGMA user_version = 3;
COMMIT;
PRAGMA legacy_alter_table = OFF;
PRAGMA foreign_keys = ON;
