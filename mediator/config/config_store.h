/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The config store is the database's place in the daemon: it reads the configuration into the
 * core, and writes faults and quarantines back.
 *
 * The database may make its caller wait (another writer, a slow disk), so all
 * work on it is a list that one thread of the pool takes in order; the loop
 * goes on.  The list is bounded: what does not fit is counted and logged.
 * A database that fails leaves the last good configuration in force.
 */
#ifndef MEDIATOR_CONFIG_CONFIG_STORE_H
#define MEDIATOR_CONFIG_CONFIG_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "core/core.h"

#define CONFIG_STORE_WAITING_MAX 1024u
#define CONFIG_STORE_ERROR_BYTES 1024u

struct config_store;
struct core;

/*
 * Opens the database and applies it to the core; waits, for the loop does not
 * run yet.  -errno, with an `error` for the administrator.
 */
int config_store_open(uv_loop_t *loop, struct core *core, const char *path,
                      struct config_store **store, char *error, size_t error_bytes);
/* Nothing is waiting any more: see config_store_when_idle(). */
void config_store_close(struct config_store *store);
/* `done` is called once no work waits or goes on, perhaps before this returns. */
void config_store_when_idle(struct config_store *store, void (*done)(void *opaque), void *opaque);

/* How a reload ended: `result` is valid when error is NULL. Called once. */
typedef void (*config_store_reloaded)(void *opaque, const struct core_apply_result *result,
                                      const char *error);
/* `done` may be NULL. -ENOBUFS: too much is waiting, `done` is not called. */
int config_store_reload(struct config_store *store, config_store_reloaded done, void *opaque);

void config_store_fault(struct config_store *store, uint32_t vm_id, const char *detail);
void config_store_quarantine(struct config_store *store, uint32_t vm_id, const char *reason);
void config_store_unquarantine(struct config_store *store, uint32_t vm_id);
/* To be called now and then: tries again to write quarantines that could not be written. */
void config_store_retry(struct config_store *store);

const char *config_store_path(const struct config_store *store);
/* What is wrong with it at the moment, "" = nothing. */
const char *config_store_trouble(const struct config_store *store);
uint64_t config_store_dropped(const struct config_store *store);

#endif /* MEDIATOR_CONFIG_CONFIG_STORE_H */
