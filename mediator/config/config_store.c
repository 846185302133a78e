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
 */
#include "mediator/config/config_store.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "common/log.h"
#include "mediator/config/config_apply.h"
#include "mediator/events.h"
#include "store/vgpu_config.h"

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

static void finish_reload(struct config_store *store, struct item *item)
{
    char error[CONFIG_STORE_ERROR_BYTES];
    struct core_apply_result result;
    int ret = item->ret;

    if (ret < 0) {
        snprintf(error, sizeof(error), "%s", item->error);
    } else {
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
        store->trouble[0] = '\0';
        log_notice("configuration read: %" PRIu32 " VMs added, %" PRIu32 " changed, %" PRIu32
                   " removed",
                   result.added, result.changed, result.removed);
    }
    if (item->done) {
        item->done(item->opaque, &result, ret < 0 ? error : NULL);
    }
}

static void finish_item(struct config_store *store, struct item *item)
{
    if (item->kind == ITEM_RELOAD) {
        finish_reload(store, item);
    } else if (item->ret == -ENOENT) {
        log_debug("VM %" PRIu32 " is not in the database: nothing was written", item->vm_id);
    } else if (item->ret < 0) {
        snprintf(store->trouble, sizeof(store->trouble), "%s", item->error);
        log_error("VM %" PRIu32 ": its %s is not in the database: %s", item->vm_id,
                  item->kind == ITEM_FAULT ? "fault" : "quarantine", item->error);
    } else {
        store->trouble[0] = '\0';
    }
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
        finish_item(store, item);
        free(item);
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

    if (store->waiting_count < CONFIG_STORE_WAITING_MAX) {
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

int config_store_reload(struct config_store *store, config_store_reloaded done, void *opaque)
{
    struct item *item = add_item(store, ITEM_RELOAD);

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
    if (!store) {
        return;
    }
    if (store->db) {
        vgpu_db_close(store->db);
    }
    config_names_free(&store->names);
    free(store->path);
    free(store);
}
