/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A VM here is one virtual machine's device, as the mediator sees it: a connection, the
 * requests in flight on it, and the account of what came back.
 *
 * Every request has a slot; its request_id is the slot's number and how often
 * the slot was used, so that an answer finds its request at once, and an answer
 * that comes twice, or for nothing, is recognised.
 */
#ifndef LOADGEN_VM_H
#define LOADGEN_VM_H

#include <stdbool.h>
#include <stdint.h>

#include "common/frame.h"
#include "common/histogram.h"
#include "loadgen/options.h"

#define VM_OUT_BYTES 65536u
#define VM_NEVER UINT64_MAX

struct vm_slot {
    uint64_t due_ns; /* latency counts from here */
    uint64_t seed;
    uint32_t uses;
    uint8_t kind;
    bool busy;
};

/* What was seen while it counted (warm-up and drain are left out). */
struct vm_measured {
    uint64_t jobs; /* answered well */
    uint64_t busy; /* RATE_LIMITED and QUEUE_FULL */
    uint64_t errors[VGPU_ERR_COUNT];
    uint64_t gpu_us;
    struct histogram latency;
};

struct vm {
    const struct loadgen_options *options;
    const struct loadgen_group *group;
    uint32_t vm_id;          /* of the command line; the frames' may be changed by CONFIG */
    VGPUSocketHeader header; /* template of its frames */

    int fd; /* -1 = not connected */
    bool write_blocked;
    struct frame_reader reader;
    uint8_t *out;
    uint32_t out_begin, out_end;

    struct vm_slot *slots;
    uint32_t *free_slots;
    uint32_t in_flight;

    uint64_t start_ns, measure_from_ns, measure_to_ns, stop_ns;
    uint64_t next_due_ns;   /* open loop */
    uint64_t not_before_ns; /* closed loop: after BUSY, or thinking; unconnected: try again */
    uint64_t random;

    /* From the first to the last request. */
    uint64_t sent, answered, wrong, lost, disconnects;
    struct vm_measured measured;
};

/* 0 or -ENOMEM. */
int vm_init(struct vm *vm, const struct loadgen_options *options, const struct loadgen_group *group,
            uint32_t vm_id);
void vm_destroy(struct vm *vm);

/*
 * Connects and exchanges HELLO (or a PING): the peer is a mediator that talks
 * to us.  0, or -errno; -ETIMEDOUT: it does not answer, -EPROTO: not in these
 * terms.  Blocks for `timeout_ms` at most.
 */
int vm_connect(struct vm *vm, int timeout_ms);

/* Times are CLOCK_MONOTONIC. */
void vm_begin(struct vm *vm, uint64_t start_ns, uint64_t measure_from_ns, uint64_t measure_to_ns);
/* Reads what is there. False: the connection has ended and is closed. */
bool vm_read(struct vm *vm, uint64_t now_ns);
/* Submits what is due and writes. False as above. */
bool vm_pump(struct vm *vm, uint64_t now_ns);
/* No more requests. */
void vm_stop(struct vm *vm, uint64_t now_ns);
/* When vm_pump() has something to do without any event; VM_NEVER. */
uint64_t vm_wake_ns(const struct vm *vm);
/* It will submit no more. */
bool vm_finished(const struct vm *vm, uint64_t now_ns);

#endif /* LOADGEN_VM_H */
