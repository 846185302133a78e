/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The configuration database says which VMs there are, what they may use, and what was changed
 * by whom.  docs/database.md describes it for administrators.
 *
 * One SQLite file (WAL, synchronous=FULL: a change that a function here has
 * answered with 0 survives kill -9 and a power cut).  Several processes may
 * have it open; a writer waits up to the busy timeout for another one.
 *
 * Results are 0 or -errno; vgpu_db_error() then has a text for a person: what
 * happened and what to do.
 *   -EINVAL          a value is out of its range
 *   -ENOENT          no such VM, pool or file
 *   -EEXIST          that UUID, vm_id or pool is there already
 *   -EBUSY           another process held the write lock for too long
 *   -EROFS, -ENOSPC, -EIO, -EACCES   the file or its disk
 *   -EUCLEAN         the file is damaged, or no vgpu database
 *   -EPROTONOSUPPORT its schema is newer than this program, or older and the
 *                    database was opened for reading only
 *   -E2BIG           a limit of this file is reached
 *
 * A handle belongs to one thread at a time.
 */
#ifndef STORE_VGPU_CONFIG_H
#define STORE_VGPU_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vgpu/vgpu_protocol.h"

#define VGPU_DB_PATH "/etc/vgpu/vgpu_config.db"
#define VGPU_DB_ENV "VGPU_DB"
#define VGPU_DB_SCHEMA_VERSION 3 /* PRAGMA user_version */

/* Limits.  Sizes of texts are in bytes with the terminating NUL. */
#define VGPU_VM_UUID_BYTES 64
#define VGPU_VM_NAME_BYTES 256
#define VGPU_POOL_NAME_BYTES 64
#define VGPU_POOL_DESCRIPTION_BYTES 256
#define VGPU_GPU_NAME_BYTES 64
#define VGPU_REASON_BYTES 256
#define VGPU_TIME_BYTES 32 /* "2026-01-31 12:34:56", UTC */
#define VGPU_DB_ERROR_BYTES 768
#define VGPU_DB_VMS_MAX 4096u /* that are read; registered: VM_LIMIT_VMS_MAX */
#define VGPU_DB_POOL_GPUS_MAX 64u
#define VGPU_RATE_MAX 1000000u       /* jobs a second, burst */
#define VGPU_QUEUE_DEPTH_MAX 65536u  /* jobs */
#define VGPU_PROCESSES_MAX 65536u    /* CUDA programs */
#define VGPU_KERNEL_MS_MAX 86400000u /* a day */
#define VGPU_DB_BUSY_TIMEOUT_MS 5000 /* how long a writer waits for another */

/* ---- A VM ---------------------------------------------------------------- */

typedef struct vgpu_vm_config {
    uint32_t vm_id;
    char vm_uuid[VGPU_VM_UUID_BYTES];
    char vm_name[VGPU_VM_NAME_BYTES]; /* "" if it has none */
    char pool_id;                     /* 'A' to 'Z' */
    uint8_t priority;                 /* enum vgpu_priority */
    double weight;                    /* common/weight.h */
    bool quarantined;
    uint32_t max_jobs_per_sec;   /* 0: no limit */
    uint32_t burst;              /* jobs that may come at once; 0: a tenth of the rate */
    uint32_t max_queue_depth;    /* jobs that may wait; 0: no limit; see common/vm_limits.h */
    uint64_t memory_limit_bytes; /* GPU memory; 0: no limit */
    uint32_t max_processes;      /* CUDA programs at a time; 0: no limit */
    uint32_t max_kernel_ms;      /* of a program's kernel; 0: no limit */
    uint64_t host_memory_bytes;  /* of its worker; 0: no limit */
    uint32_t error_count;        /* faults since it was last cleared */
    char created_at[VGPU_TIME_BYTES];
    char updated_at[VGPU_TIME_BYTES];
    char quarantined_at[VGPU_TIME_BYTES];      /* "" unless quarantined */
    char quarantine_reason[VGPU_REASON_BYTES]; /* likewise */
} vgpu_vm_config_t;

typedef struct vgpu_pool_config {
    char pool_id;
    char pool_name[VGPU_POOL_NAME_BYTES];
    char description[VGPU_POOL_DESCRIPTION_BYTES];
    uint32_t vm_count;
    uint32_t gpu_count; /* 0: nothing assigned, the pool uses every GPU of the host */
    char (*gpus)[VGPU_GPU_NAME_BYTES]; /* "GPU-<uuid>", "CPU-<n>", or an index such as "0" */
} vgpu_pool_config_t;

/* ---- Open and close ------------------------------------------------------ */

struct vgpu_db;

enum vgpu_db_mode {
    VGPU_DB_READ,   /* never writes; an older schema is -EPROTONOSUPPORT */
    VGPU_DB_WRITE,  /* the file must be there; an older schema is upgraded */
    VGPU_DB_CREATE, /* like WRITE; a missing or empty file becomes a new database */
};

/* The path to use: option if not NULL, else $VGPU_DB if set, else VGPU_DB_PATH. */
const char *vgpu_db_path(const char *option);

/*
 * Opens the database.  On failure *db is NULL and err, of err_size bytes, has
 * the text (VGPU_DB_ERROR_BYTES are always enough).
 */
int vgpu_db_open(const char *path, enum vgpu_db_mode mode, struct vgpu_db **db, char *err,
                 size_t err_size);
void vgpu_db_close(struct vgpu_db *db);
/*
 * 0 while the file at the path is the one that was opened.  -ESTALE: it was
 * removed or replaced since; what this handle reads and writes is seen by
 * nobody else, and the text says what to do.
 */
int vgpu_db_check_place(struct vgpu_db *db);

/* Text of the last failure on this handle; "" if none.  Valid until the next call. */
const char *vgpu_db_error(const struct vgpu_db *db);

/*
 * Creates or upgrades the tables; VGPU_DB_WRITE and VGPU_DB_CREATE have done
 * so already, and calling it again is harmless.
 */
int vgpu_db_init_schema(struct vgpu_db *db);

/* Where the old file was copied to if opening upgraded the schema, else NULL. */
const char *vgpu_db_backup_path(const struct vgpu_db *db);

/* Who is written into the events table from now on; default "uid N". */
void vgpu_db_set_actor(struct vgpu_db *db, const char *actor);

/* ---- Read ----------------------------------------------------------------- */

/* Everything, as it was at one moment.  VMs by vm_id, pools by letter. */
struct vgpu_config_snapshot {
    vgpu_pool_config_t *pools;
    uint32_t pool_count;
    vgpu_vm_config_t *vms;
    uint32_t vm_count;
};

/* On success the caller owns *snapshot and frees it with vgpu_config_snapshot_free(). */
int vgpu_db_load(struct vgpu_db *db, struct vgpu_config_snapshot **snapshot);
void vgpu_config_snapshot_free(struct vgpu_config_snapshot *snapshot);

int vgpu_get_vm_config(struct vgpu_db *db, const char *vm_uuid, vgpu_vm_config_t *config);
int vgpu_get_vm_config_by_id(struct vgpu_db *db, uint32_t vm_id, vgpu_vm_config_t *config);

/* ---- Change VMs ------------------------------------------------------------
 * Each is one transaction together with its row in the events table.  VMs are
 * named by UUID, upper or lower case.
 */

/* vm->vm_id 0 takes the number after the highest in use.  vm_id may be NULL. */
int vgpu_register_vm(struct vgpu_db *db, const vgpu_vm_config_t *vm, uint32_t *vm_id);
int vgpu_remove_vm(struct vgpu_db *db, const char *vm_uuid);

enum vgpu_vm_field {
    VGPU_VM_NAME = 1 << 0,
    VGPU_VM_ID = 1 << 1,
    VGPU_VM_POOL = 1 << 2,
    VGPU_VM_PRIORITY = 1 << 3,
    VGPU_VM_WEIGHT = 1 << 4,
    VGPU_VM_RATE = 1 << 5, /* max_jobs_per_sec */
    VGPU_VM_BURST = 1 << 6,
    VGPU_VM_QUEUE_DEPTH = 1 << 7,
    VGPU_VM_MEMORY_LIMIT = 1 << 8,
    VGPU_VM_PROCESSES = 1 << 9,
    VGPU_VM_KERNEL_MS = 1 << 10,
    VGPU_VM_HOST_MEMORY = 1 << 11,
};

/*
 * Takes the fields in the mask from values.  before and after, which may be
 * NULL, get the VM's configuration as it was and as it is.  Nothing that
 * differs: nothing is written, no event.
 */
int vgpu_update_vm(struct vgpu_db *db, const char *vm_uuid, unsigned fields,
                   const vgpu_vm_config_t *values, vgpu_vm_config_t *before,
                   vgpu_vm_config_t *after);

int vgpu_set_vm_pool(struct vgpu_db *db, const char *vm_uuid, char pool_id);
int vgpu_set_vm_priority(struct vgpu_db *db, const char *vm_uuid, unsigned priority);
int vgpu_set_vm_id(struct vgpu_db *db, const char *vm_uuid, uint32_t vm_id);
int vgpu_set_vm_weight(struct vgpu_db *db, const char *vm_uuid, double weight);
int vgpu_set_vm_rate_limit(struct vgpu_db *db, const char *vm_uuid, uint32_t max_jobs_per_sec,
                           uint32_t max_queue_depth);
int vgpu_set_vm_memory_limit(struct vgpu_db *db, const char *vm_uuid, uint64_t memory_limit_bytes);

/* Quarantining a quarantined VM keeps the first reason; reason may be NULL. */
int vgpu_quarantine_vm(struct vgpu_db *db, const char *vm_uuid, const char *reason);
/* Also sets error_count to 0. */
int vgpu_unquarantine_vm(struct vgpu_db *db, const char *vm_uuid);
/* One more fault.  detail goes into the event; count, if not NULL, gets the new number. */
int vgpu_increment_error_count(struct vgpu_db *db, const char *vm_uuid, const char *detail,
                               uint32_t *count);
int vgpu_reset_error_count(struct vgpu_db *db, const char *vm_uuid);

/* ---- Change pools ----------------------------------------------------------- */

/* pool_name NULL: "Pool X". */
int vgpu_create_pool(struct vgpu_db *db, char pool_id, const char *pool_name,
                     const char *description);
/* -EBUSY while VMs are in it. */
int vgpu_remove_pool(struct vgpu_db *db, char pool_id);
/*
 * A GPU may be in several pools.  Assigning twice, or taking out what is not in: -EEXIST, -ENOENT.
 */
int vgpu_assign_gpu(struct vgpu_db *db, char pool_id, const char *gpu);
int vgpu_unassign_gpu(struct vgpu_db *db, char pool_id, const char *gpu);

/* ---- Events: who changed what ------------------------------------------------ */

#define VGPU_EVENT_KIND_BYTES 32
#define VGPU_EVENT_ACTOR_BYTES 64
#define VGPU_EVENT_DETAIL_BYTES 512
/* The newest are kept: this many, and of kind "fault", which guests cause, this many. */
#define VGPU_EVENTS_KEPT 10000
#define VGPU_EVENT_FAULTS_KEPT 1000

struct vgpu_event {
    int64_t id;
    char time[VGPU_TIME_BYTES]; /* UTC, with milliseconds */
    char kind[VGPU_EVENT_KIND_BYTES];
    char vm_uuid[VGPU_VM_UUID_BYTES]; /* "" if it is about no VM */
    uint32_t vm_id;                   /* likewise 0 */
    char actor[VGPU_EVENT_ACTOR_BYTES];
    char detail[VGPU_EVENT_DETAIL_BYTES];
};

/* For what the functions above do not record.  vm_uuid and detail may be NULL. */
int vgpu_db_add_event(struct vgpu_db *db, const char *kind, const char *vm_uuid, uint32_t vm_id,
                      const char *detail);

/*
 * Calls visit for the last limit events with an id above after_id, oldest
 * first, of one VM if vm_uuid is not NULL.  A nonzero result of visit ends it
 * and is returned.
 */
int vgpu_db_list_events(struct vgpu_db *db, int64_t after_id, const char *vm_uuid, uint32_t limit,
                        int (*visit)(const struct vgpu_event *event, void *opaque), void *opaque);

/* ---- Restore ------------------------------------------------------------------ */

/*
 * Puts a copy of the backup in the place of the database at path, which may be
 * missing; killed at any point it leaves the old one or the new one.  *kept, the
 * caller's, is the name that the old one has now; NULL: there was none.
 * -EBUSY: a process has the database open.  Else as vgpu_db_open(), of the backup;
 * err has the text.  A backup of an older schema is -EPROTONOSUPPORT.
 */
int vgpu_db_restore(const char *path, const char *backup, char **kept, char *err, size_t err_size);

/* ---- Check -------------------------------------------------------------------- */

/*
 * Calls report for each thing that SQLite finds wrong in the file (pages,
 * constraints, foreign keys).  0 if it could look, whatever it found.
 */
int vgpu_db_check(struct vgpu_db *db, void (*report)(const char *text, void *opaque), void *opaque);

#endif /* STORE_VGPU_CONFIG_H */
