/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A world is a core with recorded effects, for tests that are stories of events and replies.
 * There is one world at a time: world_begin() makes it, world_end() frees it.
 */
#ifndef CORE_TEST_WORLD_H
#define CORE_TEST_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/ns.h"
#include "core/core.h"

#define MS NS_PER_MS
#define LOG_MAX 1024

struct sent {
    uint32_t session;
    VGPUSocketHeader header;
    VGPUResponse response;
    VGPUConfig config;
    VGPUChannelOpened opened;
    VGPUChunkAdded added;
};

struct run {
    uint64_t worker, job_id;
    uint32_t opcode;
};

/* The latest channel, and what the core wanted of it. */
struct world_channel {
    enum {
        WORLD_CHANNEL_NONE,
        WORLD_CHANNEL_STARTED,
        WORLD_CHANNEL_OPENED,
        WORLD_CHANNEL_FREED
    } state;
    uint64_t worker, handle;
    enum vgpu_channel_transport transport;
    uint32_t stop_reason;
    uint32_t chunk, chunk_sent, chunk_stopped, chunk_freed; /* the last of each */
    int chunk_result;                                       /* what chunk_start() answers */
    uint32_t turns, turns_done;
    uint64_t turn_jobs[16]; /* of turns, in their order */
    uint64_t budget_ns;
};

/* What the core wanted, in order. */
struct world {
    struct core *core;
    uint64_t now_ns;
    struct sent sent[LOG_MAX];
    uint32_t sent_count;
    struct run runs[LOG_MAX];
    uint32_t run_count;
    uint32_t finished; /* runs that finish_after() has answered */
    struct core_worker_spec starts[LOG_MAX];
    uint32_t start_count;
    uint64_t stopped;
    bool stopped_by_kill;
    uint32_t closed_session;
    enum core_close_reason closed_reason;
    uint32_t events[CORE_EVENT_KIND_COUNT];
    struct core_event last[CORE_EVENT_KIND_COUNT];
    uint32_t persisted[CORE_EVENT_KIND_COUNT]; /* facts to keep */
    struct core_event last_persisted;
    struct world_channel channel;
    uint32_t credits[8], credit_count; /* what workers were told */
    uint64_t limits[8];                /* likewise, of their programs' kernels */
    uint32_t limit_count;
    uint32_t other_stop_reason; /* of channels that are not the latest */
    uint64_t yield_ns;          /* ... about their turn, last */
    /* The latest lease and part of a chunk that came, and what their effects are to answer. */
    int frame_fd; /* comes with each frame_in(), unless it is 0 */
    uint64_t leased;
    int lease_fd, lease_result, part_fd, part_result;
    uint32_t part_count;
    VGPUChunkAdd part;
    VGPUPiece last_piece;
    struct core_apply_result applied; /* the latest apply() */
};

extern struct world w;

/* A core with the default settings, test operations, VMs that nobody registered,
 * and one GPU in pool A.  `change` may change the settings; NULL: nothing. */
void world_begin(void (*change)(struct core_config *config));
void world_end(void);
void deny_unregistered(struct core_config *config);

/* Time passes, deadline by deadline. */
void advance(uint64_t ns);

/* The next run ends `ns` from now, and has used the GPU all the while. */
void finish_after(uint64_t ns);

/* UUID: all of its bytes are vm_id, as in vm_config(). */
uint32_t connect_as(enum core_identity_kind kind, uint32_t vm_id);
void frame_in(uint32_t session, uint32_t type, uint32_t vm_id, uint32_t request_id,
              const void *payload, uint32_t length);
void request(uint32_t session, uint32_t vm_id, uint32_t request_id);
void worker_ready(uint64_t worker);
/* The job took 1 ms. */
int done(const struct run *run, enum vgpu_error status);
/* A connected VM whose worker is ready and idle. */
uint32_t ready_vm(uint32_t vm_id);

const struct sent *last_sent(void);
/* The VM must be there. */
struct core_vm_stats stats_of(uint32_t vm_id);

struct core_vm_config vm_config(uint32_t vm_id, uint32_t weight);
/* All of the registered VMs from now on; must be accepted. */
void apply(const struct core_vm_config *vms, uint32_t count);

#endif /* CORE_TEST_WORLD_H */
