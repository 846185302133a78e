/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A VM's rate limit holds for records of its channels as for its requests: they take tokens from
 * one bucket.  A request that finds none is refused; a record waits in its ring, because those
 * behind it build on it.
 *
 * The mediator doesn't see records.  So a worker whose VM has a limit asks for tokens when it has
 * records and none left, and is given some, now or when there is one.  It may keep a hundredth of
 * a second's worth at most.
 */
#include "core/core_internal.h"

#define CREDIT_PARTS 100u /* of a second's tokens, at a time */
#define CREDIT_MAX 64u

static void tell(struct core *core, uint32_t slot, uint32_t records)
{
    if (core->effects.worker_credit) {
        core->effects.worker_credit(core->effects.opaque, core->vms[slot].worker.handle, records);
    }
}

void core_credit_tell(struct core *core, uint32_t slot)
{
    struct core_vm *vm = &core->vms[slot];

    if (vm->worker.state == CORE_WORKER_READY) {
        vm->credit_wanted = false;
        tell(core, slot, vm->limiter.rate_hz ? 0 : VGPU_WORKER_CREDIT_ALL);
    }
}

void core_credit_give(struct core *core, uint32_t slot, uint64_t now_ns)
{
    struct core_vm *vm = &core->vms[slot];
    uint32_t most = vm->limiter.rate_hz / CREDIT_PARTS, tokens;

    if (!vm->credit_wanted || vm->limiter.rate_hz == 0) {
        return;
    }
    most = most < 1 ? 1 : most > CREDIT_MAX ? CREDIT_MAX : most;
    tokens = rl_take(&vm->limiter, most, now_ns);
    if (tokens > 0) {
        vm->credit_wanted = false;
        tell(core, slot, tokens);
    }
}

void core_credit_ask(struct core *core, uint64_t worker, uint64_t now_ns)
{
    uint32_t slot = core_worker_slot(core, worker);

    if (slot == CORE_NONE || core->vms[slot].worker.state != CORE_WORKER_READY) {
        return;
    }
    if (core->vms[slot].limiter.rate_hz == 0) {
        core_credit_tell(core, slot); /* the limit has just gone */
        return;
    }
    core->vms[slot].credit_wanted = true;
    core_credit_give(core, slot, now_ns);
    core_vm_arm(core, slot);
}
