/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Theory of operation.  Each piece of work is an item of a list.  When the
 * pool's thread is free, the whole list is handed to it; it works through the
 * items in order with the one database handle, which it alone uses meanwhile.
 * Back on the loop, results are applied and what has gathered is handed out.
 *
 * A reload reads a snapshot on the thread and applies it to the core on the
 * loop.  Writes that were handed out before it are in that snapshot; faults
 * that happen between the two are in the core, which keeps its own count.
 *
 * A quarantine, or its end, is in force from the moment that the core decides it.
 * Until it is written a snapshot does not know of it: so it is put into each snapshot
 * before that is applied.  One that can't be written is kept, and tried again with the
 * next reload and by config_store_retry(); `trouble` stays until it is written.
 */
#include "mediator/config/config_store.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/queue.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/ns.h"
#include "mediator/config/config_apply.h"
#include "mediator/events.h"
#include "store/vgpu_config.h"

/* Between two tries to write a quarantine that could not be written. */
#define CONFIG_STORE_RETRY_NS (5 * NS_PER_S)

enum item_kind {
    ITEM_RELOAD,
    ITEM_FAULT,
    ITEM_QUARANTINE,
    ITEM_UNQUARANTINE,
};

struct item {
    STAILQ_ENTRY(item) link;
    enum item_kind kind;
    uint32_t vm_id;
    char uuid[UUID_TEXT_BYTES];
    char detail[VGPU_REASON_BYTES];
    config_store_reloaded done;
    void *opaque;
    /* what came of it */
    uint32_t tries; /* that failed */
    int ret;
    struct vgpu_config_snapshot *snapshot;
    char error[VGPU_DB_ERROR_BYTES];
};

STAILQ_HEAD(item_list, item);

struct config_store {
    uv_loop_t *loop;
    struct core *core;
    struct vgpu_db *db;
    char *path;
    uv_work_t work;
    bool working;
    struct item_list handed_out, waiting;
    struct item_list unwritten; /* one for each VM at most */
    uint64_t retry_ns;          /* not before that */
    uint32_t waiting_count;
    uint64_t dropped;
    char trouble[CONFIG_STORE_ERROR_BYTES];
    void (*idle)(void *opaque);
    void *idle_opaque;
    struct config_names names; /* vm_id -> UUID, of the last good configuration */
};

const char *config_store_path(const struct config_store *store)
{
    return store->path;
}

const char *config_store_trouble(const struct config_store *store)
{
    return store->trouble;
}

uint64_t config_store_dropped(const struct config_store *store)
{
    return store->dropped;
}

/* ---- on the thread ---- */

static void work_item(struct vgpu_db *db, struct item *item)
{
    item->ret = vgpu_db_check_place(db);
    if (item->ret == 0) {
        switch (item->kind) {
        case ITEM_RELOAD: item->ret = vgpu_db_load(db, &item->snapshot); break;
        case ITEM_FAULT:
            item->ret = vgpu_increment_error_count(db, item->uuid, item->detail, NULL);
            break;
        case ITEM_QUARANTINE: item->ret = vgpu_quarantine_vm(db, item->uuid, item->detail); break;
        case ITEM_UNQUARANTINE: item->ret = vgpu_unquarantine_vm(db, item->uuid); break;
        }
    }
    if (item->ret < 0) {
        snprintf(item->error, sizeof(item->error), "%s", vgpu_db_error(db));
    }
}

static void work_all(uv_work_t *work)
{
    struct config_store *store = work->data;
    struct item *item;

    STAILQ_FOREACH (item, &store->handed_out, link) {
        work_item(store->db, item);
    }
}

/* ---- on the loop ---- */

static void hand_out(struct config_store *store);

static bool is_quarantine(const struct item *item)
{
    return item->kind == ITEM_QUARANTINE || item->kind == ITEM_UNQUARANTINE;
}

static void correct(struct vgpu_config_snapshot *snapshot, const struct item_list *list)
{
    const struct item *item;

    STAILQ_FOREACH (item, list, link) {
        for (uint32_t i = 0; is_quarantine(item) && i < snapshot->vm_count; i++) {
            if (strcasecmp(snapshot->vms[i].vm_uuid, item->uuid) == 0) {
                snapshot->vms[i].quarantined = item->kind == ITEM_QUARANTINE;
            }
        }
    }
}

/* What was decided since, or could not be written, in that order. */
static void correct_snapshot(const struct config_store *store,
                             struct vgpu_config_snapshot *snapshot)
{
    correct(snapshot, &store->unwritten);
    correct(snapshot, &store->handed_out);
    correct(snapshot, &store->waiting);
}

/* Of what was kept for this VM the newest counts. */
static void forget_unwritten(struct config_store *store, uint32_t vm_id)
{
    struct item *item, *next;

    for (item = STAILQ_FIRST(&store->unwritten); item; item = next) {
        next = STAILQ_NEXT(item, link);
        if (item->vm_id == vm_id) {
            STAILQ_REMOVE(&store->unwritten, item, item, link);
            free(item);
        }
    }
}

/* A later decision about this VM is on its way. */
static bool is_outdated(const struct config_store *store, uint32_t vm_id)
{
    const struct item *item;

    STAILQ_FOREACH (item, &store->handed_out, link) {
        if (is_quarantine(item) && item->vm_id == vm_id) {
            return true;
        }
    }
    STAILQ_FOREACH (item, &store->waiting, link) {
        if (is_quarantine(item) && item->vm_id == vm_id) {
            return true;
        }
    }
    return false;
}

static void no_trouble(struct config_store *store)
{
    if (STAILQ_EMPTY(&store->unwritten)) {
        store->trouble[0] = '\0';
    }
}

static void finish_reload(struct config_store *store, struct item *item)
{
    char error[CONFIG_STORE_ERROR_BYTES];
    struct core_apply_result result;
    int ret = item->ret;

    if (ret < 0) {
        snprintf(error, sizeof(error), "%s", item->error);
    } else {
        correct_snapshot(store, item->snapshot);
        ret =
            config_apply(store->core, item->snapshot, &store->names, &result, error, sizeof(error));
        vgpu_config_snapshot_free(item->snapshot);
    }
    if (ret < 0) {
        snprintf(store->trouble, sizeof(store->trouble), "%.*s", CONFIG_STORE_ERROR_BYTES - 1,
                 error);
        log_error("the configuration was not read again, the last good one stays in force: %s",
                  error);
    } else {
        no_trouble(store);
        log_notice("configuration read: %" PRIu32 " VMs added, %" PRIu32 " changed, %" PRIu32
                   " removed",
                   result.added, result.changed, result.removed);
    }
    if (item->done) {
        item->done(item->opaque, &result, ret < 0 ? error : NULL);
    }
}

/* True: it is kept. */
static bool finish_item(struct config_store *store, struct item *item)
{
    if (is_quarantine(item)) {
        forget_unwritten(store, item->vm_id);
    }
    if (item->kind == ITEM_RELOAD) {
        finish_reload(store, item);
    } else if (item->ret == -ENOENT) {
        log_debug("VM %" PRIu32 " is not in the database: nothing was written", item->vm_id);
    } else if (item->ret < 0) {
        if (item->tries++ == 0) {
            log_error("VM %" PRIu32 ": its %s is not in the database%s: %s", item->vm_id,
                      item->kind == ITEM_FAULT ? "fault" : "quarantine",
                      item->kind == ITEM_FAULT ? "" : " yet, and is tried again", item->error);
        }
        snprintf(store->trouble, sizeof(store->trouble), "%s", item->error);
        if (is_quarantine(item) && !is_outdated(store, item->vm_id)) {
            STAILQ_INSERT_TAIL(&store->unwritten, item, link);
            store->retry_ns = clock_now_ns() + CONFIG_STORE_RETRY_NS;
            return true;
        }
    } else {
        no_trouble(store);
    }
    return false;
}

static void after_work(uv_work_t *work, int status)
{
    struct config_store *store = work->data;
    struct item *item;

    while ((item = STAILQ_FIRST(&store->handed_out))) {
        STAILQ_REMOVE_HEAD(&store->handed_out, link);
        if (status < 0) {
            item->ret = status;
            snprintf(item->error, sizeof(item->error), "%s", uv_strerror(status));
        }
        if (!finish_item(store, item)) {
            free(item);
        }
    }
    store->working = false;
    hand_out(store);
    if (!store->working && store->idle) {
        void (*idle)(void *) = store->idle;

        store->idle = NULL;
        idle(store->idle_opaque);
    }
}

static void hand_out(struct config_store *store)
{
    if (store->working || STAILQ_EMPTY(&store->waiting)) {
        return;
    }
    STAILQ_CONCAT(&store->handed_out, &store->waiting);
    store->waiting_count = 0;
    store->working = true;
    uv_queue_work(store->loop, &store->work, work_all, after_work);
}

/* NULL: too much is waiting, or there is no memory. */
static struct item *add_item(struct config_store *store, enum item_kind kind)
{
    struct item *item = NULL;

    /* Quarantines are as many as VMs, and none may be lost. */
    if (store->waiting_count < CONFIG_STORE_WAITING_MAX || kind == ITEM_QUARANTINE ||
        kind == ITEM_UNQUARANTINE) {
        item = calloc(1, sizeof(*item));
    }
    if (!item) {
        if (store->dropped++ == 0) {
            log_error("the database %s is too slow: faults are not recorded any more", store->path);
        }
        return NULL;
    }
    item->kind = kind;
    STAILQ_INSERT_TAIL(&store->waiting, item, link);
    store->waiting_count++;
    return item;
}

static void add_vm_item(struct config_store *store, enum item_kind kind, uint32_t vm_id,
                        const char *detail)
{
    const char *uuid = config_names_find(&store->names, vm_id);
    struct item *item;

    if (!uuid) {
        return; /* not registered */
    }
    if (kind != ITEM_FAULT) {
        forget_unwritten(store, vm_id);
    }
    item = add_item(store, kind);
    if (!item) {
        return;
    }
    item->vm_id = vm_id;
    snprintf(item->uuid, sizeof(item->uuid), "%s", uuid);
    snprintf(item->detail, sizeof(item->detail), "%.*s", VGPU_REASON_BYTES - 1,
             detail ? detail : "");
    hand_out(store);
}

void config_store_fault(struct config_store *store, uint32_t vm_id, const char *detail)
{
    add_vm_item(store, ITEM_FAULT, vm_id, detail);
}

void config_store_quarantine(struct config_store *store, uint32_t vm_id, const char *reason)
{
    add_vm_item(store, ITEM_QUARANTINE, vm_id, reason);
}

void config_store_unquarantine(struct config_store *store, uint32_t vm_id)
{
    add_vm_item(store, ITEM_UNQUARANTINE, vm_id, NULL);
}

/* Tried again; meanwhile it is in the list of those that wait. */
static void queue_unwritten(struct config_store *store)
{
    struct item *item;

    STAILQ_FOREACH (item, &store->unwritten, link) {
        store->waiting_count++;
    }
    STAILQ_CONCAT(&store->waiting, &store->unwritten);
}

void config_store_retry(struct config_store *store)
{
    if (!STAILQ_EMPTY(&store->unwritten) && clock_now_ns() >= store->retry_ns) {
        queue_unwritten(store);
        hand_out(store);
    }
}

int config_store_reload(struct config_store *store, config_store_reloaded done, void *opaque)
{
    struct item *item;

    queue_unwritten(store);
    item = add_item(store, ITEM_RELOAD);

    if (!item) {
        return -ENOBUFS;
    }
    item->done = done;
    item->opaque = opaque;
    hand_out(store);
    return 0;
}

void config_store_when_idle(struct config_store *store, void (*done)(void *opaque), void *opaque)
{
    queue_unwritten(store); /* the last chance */
    hand_out(store);
    if (!store->working) {
        done(opaque);
    } else {
        store->idle = done;
        store->idle_opaque = opaque;
    }
}

int config_store_open(uv_loop_t *loop, struct core *core, const char *path,
                      struct config_store **result, char *error, size_t error_bytes)
{
    struct config_store *store = calloc(1, sizeof(*store));
    struct vgpu_config_snapshot *snapshot;
    struct core_apply_result applied;
    int ret;

    *result = NULL;
    snprintf(error, error_bytes, "out of memory");
    if (!store || !(store->path = strdup(path))) {
        free(store);
        return -ENOMEM;
    }
    store->loop = loop;
    store->core = core;
    store->work.data = store;
    STAILQ_INIT(&store->waiting);
    STAILQ_INIT(&store->handed_out);
    STAILQ_INIT(&store->unwritten);
    ret = vgpu_db_open(path, VGPU_DB_WRITE, &store->db, error, error_bytes);
    if (ret < 0) {
        config_store_close(store);
        return ret;
    }
    if (vgpu_db_backup_path(store->db)) {
        log_notice("database %s was upgraded; the old one is kept as %s", path,
                   vgpu_db_backup_path(store->db));
    }
    vgpu_db_set_actor(store->db, "vgpu-mediator");
    ret = vgpu_db_load(store->db, &snapshot);
    if (ret < 0) {
        snprintf(error, error_bytes, "%s", vgpu_db_error(store->db));
        config_store_close(store);
        return ret;
    }
    ret = config_apply(core, snapshot, &store->names, &applied, error, error_bytes);
    vgpu_config_snapshot_free(snapshot);
    if (ret < 0) {
        config_store_close(store);
        return ret;
    }
    *result = store;
    return 0;
}

void config_store_close(struct config_store *store)
{
    struct item *item;

    if (!store) {
        return;
    }
    if (store->db) {
        vgpu_db_close(store->db);
    }
    while ((item = STAILQ_FIRST(&store->unwritten))) {
        log_error("VM %" PRIu32 ": its quarantine is lost with this process: %s", item->vm_id,
                  item->error);
        STAILQ_REMOVE_HEAD(&store->unwritten, link);
        free(item);
    }
    config_names_free(&store->names);
    free(store->path);
    free(store);
}
