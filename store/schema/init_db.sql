-- SPDX-License-Identifier: GPL-2.0-or-later
-- A new vgpu-mediator database.  The programs create it by themselves
-- (vgpu-admin init-db); by hand, on a file that does not exist yet:
--
--     sqlite3 /etc/vgpu/vgpu_config.db < init_db.sql
--
-- On an existing database of Phase 3 it changes nothing; on one of Phase 2 it stops, and changes
-- nothing either (migrate_phase3.sql).
-- Nothing here needs more than SQLite 3.7.17 (CentOS 7, XCP-ng's Dom0).
.bail on

BEGIN IMMEDIATE;

CREATE TABLE IF NOT EXISTS pools (
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

CREATE TABLE IF NOT EXISTS vms (
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
-- Without these columns it is Phase 2's, and this fails.
SELECT burst, memory_limit_bytes, quarantine_reason FROM vms LIMIT 0;
CREATE INDEX IF NOT EXISTS idx_vm_pool ON vms (pool_id);

-- Who changed what.  The newest 10000 are kept, and 1000 of the faults, which
-- guests cause and which therefore must not push out what administrators did.
CREATE TABLE IF NOT EXISTS events (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    time    TIMESTAMP NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now')),
    kind    TEXT NOT NULL,
    vm_uuid TEXT COLLATE NOCASE,
    vm_id   INTEGER,
    actor   TEXT NOT NULL,
    detail  TEXT NOT NULL DEFAULT ''
);
CREATE INDEX IF NOT EXISTS idx_event_kind ON events (kind, id);
CREATE TRIGGER IF NOT EXISTS events_bounded AFTER INSERT ON events WHEN NEW.id % 64 = 0
BEGIN
    DELETE FROM events WHERE kind = 'fault' AND id <= (
        SELECT id FROM events WHERE kind = 'fault' ORDER BY id DESC LIMIT 1 OFFSET 1000);
    DELETE FROM events WHERE kind <> 'fault' AND id <= (
        SELECT id FROM events WHERE kind <> 'fault' ORDER BY id DESC LIMIT 1 OFFSET 10000);
END;

-- A pool that somebody removed does not come back.
INSERT INTO pools (pool_id, pool_name)
SELECT 'A', 'Pool A' WHERE NOT EXISTS (SELECT 1 FROM events)
UNION ALL SELECT 'B', 'Pool B' WHERE NOT EXISTS (SELECT 1 FROM events);
INSERT INTO events (kind, actor, detail)
SELECT 'schema', 'init_db.sql', 'database created' WHERE NOT EXISTS (SELECT 1 FROM events);

PRAGMA user_version = 3;
COMMIT;
