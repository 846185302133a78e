/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A rig is what tests of the worker's side of profile CUDA work with: channels without a process,
 * stepped by the test's own thread, on the stand-in for the driver.  Records are written as a
 * process may write them, so also such as no library would.
 */
#ifndef TESTS_CUDA_RIG_H
#define TESTS_CUDA_RIG_H

#include "worker/cuda/channel/driver_internal.h"

#define RIG_WINDOW 0x310000000000ull /* where the first channel's arena lies */
#define RIG_CHANNELS 4u
#define RIG_CONTEXT(n) vgpu_handle(CUDA_KIND_CONTEXT, 1, (n))
/* The nth handle of a kind that is no context. */
#define RIG_HANDLE(kind, n) vgpu_handle((kind), 1, CUDA_CONTEXTS_MAX + (n))

extern const VGPUGeometry rig_geometry;
/* Kernels add, increment, nop, mix, spin, hang, bad and others; a variable, counter. */
extern const char rig_image[];

struct rig_record {
    uint16_t op, flags, lane, context;
    uint64_t stream;
    uint64_t args[CUDA_ARGS_MAX];
    unsigned arg_count;
    const void *payload;
    uint32_t payload_bytes;
};

struct rig_channel {
    struct rig *rig;
    struct driver_channel *channel;
    uint64_t tail;
    uint32_t seq;
    uint64_t out[8]; /* of the last answer */
};

struct rig {
    struct memory_account account;
    struct driver_set set;
    struct rig_channel channels[RIG_CHANNELS];
    unsigned count;
};

/* What a channel said last of a kernel that ran past its limit; 0: nothing.  Only of channels to
 * which the test gives a handle. */
extern uint32_t rig_late_ms;

/* Nothing opens: the process ends.  limit_bytes: of all channels' memory; 0: none. */
void rig_open(struct rig *rig, uint64_t limit_bytes);
/* One channel more. */
struct rig_channel *rig_channel(struct rig *rig);
/* As when its process has gone. */
void rig_channel_end(struct rig_channel *c);
/* With what channels it still has. */
void rig_close(struct rig *rig);

/* Writes and publishes a record; nothing is served. */
void rig_put(struct rig_channel *c, const struct rig_record *record);
/* One round of the channel's thread, with a turn if it wants one.  True: something was done. */
bool rig_step(struct rig_channel *c);
/* Serves until the lane of the last record has its answer, which it returns. */
CUresult rig_answer(struct rig_channel *c, unsigned lane);
/* Until the GPU has nothing in flight and every record is done. */
void rig_settle(struct rig_channel *c);
/* Puts a record that wants an answer, and waits for it. */
CUresult rig_ask(struct rig_channel *c, struct rig_record record);

#define RIG_ARGS(...)                                                                              \
    .args = {__VA_ARGS__}, .arg_count = sizeof((uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t)
/* An operation in a context (its index), with arguments. */
#define RIG_CALL(c, operation, index, ...)                                                         \
    rig_ask((c), (struct rig_record){                                                              \
                     .op = CUDA_OP_##operation, .context = (index), RIG_ARGS(__VA_ARGS__)})

/* The first context, and rig_image as module 0. */
void rig_begin(struct rig_channel *c);

/* For tests with a rig as their state: one channel, begun.  rig_teardown() ends it. */
struct rig_channel *rig_setup(void **state, uint64_t limit_bytes);
int rig_teardown(void **state);

static inline struct rig_channel *rig_first(void **state)
{
    return &((struct rig *)*state)->channels[0];
}

/* A function of a module, as handle n. */
CUresult rig_function(struct rig_channel *c, unsigned context, uint64_t module, unsigned n,
                      const char *name);
/* One thread of it; params: their bytes as the kernel has them. */
CUresult rig_launch(struct rig_channel *c, unsigned context, uint64_t function, uint64_t stream,
                    const void *params, uint32_t bytes);

/* What the stand-in has of a kind that is alive; of its memory: bytes, and the most there were. */
unsigned rig_alive(const char *kind);
uint64_t rig_used_bytes(void);

#endif
