/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a channel has of its VM's memory on the GPU.
 *
 * The driver takes more than programs ask for, and takes some of it without being asked.  Charged
 * is what it takes:
 *   - allocations above 1 MiB in whole blocks of 2 MiB.  Smaller ones share such blocks, and a
 *     block is charged until the last of those in it has gone;
 *   - a pool's reserved bytes, as the driver says them, also where nothing of them is in use;
 *   - local memory: threads that can be resident times the largest of the stack's limit and of
 *     what the functions launched so far need.  It never shrinks before its context ends;
 *   - the heap and the printf buffer beyond what a context begins with;
 *   - a process's contexts after its first one, by an estimate; images by their size.
 *
 * A process's first context is the allowance that it has beside the limit.  Variables of modules
 * are not known here; the mediator compares with what NVML says of the worker.
 */
#include "worker/cuda/channel/driver_internal.h"

#include <stdlib.h>
#include <string.h>

#define LARGE_BYTES (2ull << 20) /* how the driver rounds; smaller ones share such a block */
#define SMALL_MAX (1ull << 20)
#define POOL_STEP_BYTES (32ull << 20)
#define CONTEXT_BYTES (256ull << 20) /* beside its local memory */
#define LOCAL_FIRST 1024u            /* of each thread, when a context begins */
#define LAUNCH_BYTES 4096u           /* of each that may be pending on the device */
#define POOL_RESERVED 5
#define POOL_USED 7

enum {
    LIMIT_STACK = 0,
    LIMIT_PRINTF = 1,
    LIMIT_HEAP = 2,
    LIMIT_PENDING = 4,
    LIMIT_FETCH = 5,
    LIMIT_LAST = 6
};

/* ---- the sum ---- */

static bool charge(struct driver_channel *channel, uint64_t bytes)
{
    if (!memory_charge(channel->set->uses.account, bytes)) {
        return false;
    }
    channel->charged_bytes += bytes;
    return true;
}

bool driver_charge(struct driver_channel *channel, uint64_t bytes)
{
    if (charge(channel, bytes)) {
        return true;
    }
    driver_pool_look(channel);
    return charge(channel, bytes);
}

void driver_charge_taken(struct driver_channel *channel, uint64_t bytes)
{
    memory_charge_taken(channel->set->uses.account, bytes);
    channel->charged_bytes += bytes;
}

void driver_discharge(struct driver_channel *channel, uint64_t bytes)
{
    memory_discharge(channel->set->uses.account, bytes);
    channel->charged_bytes -= bytes;
}

uint64_t driver_rounded(uint64_t bytes, uint64_t unit)
{
    return bytes > UINT64_MAX - unit ? UINT64_MAX : (bytes + unit - 1) / unit * unit;
}

/* ---- allocations ---- */

static bool is_small(uint64_t bytes)
{
    return bytes <= SMALL_MAX;
}

bool driver_may_lack_a_block(struct driver_channel *channel, uint64_t bytes)
{
    return is_small(bytes) && channel->blocks.count > 0 &&
           !memory_fits(channel->set->uses.account, LARGE_BYTES);
}

/*
 * A small one may need a new block however much is free in those that there are: what is free may
 * be in pieces.  What it did not take is given back when its address is known.  Where the VM may
 * have no new block it is tried without one.
 */
bool driver_charge_allocation(struct driver_channel *channel, uint64_t bytes,
                              uint64_t *charged_bytes)
{
    *charged_bytes = is_small(bytes) ? LARGE_BYTES : driver_rounded(bytes, LARGE_BYTES);
    if (*charged_bytes > UINT64_MAX / 2) {
        return false;
    }
    if (driver_charge(channel, *charged_bytes)) {
        return true;
    }
    *charged_bytes = 0;
    return is_small(bytes) && channel->blocks.count > 0 && !driver_busy_context(channel);
}

/* One user more or less of each block that a small allocation lies in.  Bytes of blocks that are
 * new, or free. */
static uint64_t use_blocks(struct driver_channel *channel, uint64_t address, uint64_t bytes,
                           bool begins)
{
    uint64_t changed = 0;

    for (uint64_t start = address / LARGE_BYTES * LARGE_BYTES; start < address + bytes;
         start += LARGE_BYTES) {
        const struct cuda_range *found = cuda_ranges_find(&channel->blocks, start);
        struct cuda_range block = {.start = start, .bytes = LARGE_BYTES, .serial = 0};

        block.serial = (found ? found->serial : 0) + (begins ? 1 : UINT64_MAX);
        if (begins ? !found : block.serial == 0) {
            changed += LARGE_BYTES;
        }
        if (block.serial == 0) {
            cuda_ranges_remove(&channel->blocks, start);
        } else {
            cuda_ranges_insert(&channel->blocks, &block);
        }
    }
    return changed;
}

bool driver_allocation_made(struct driver_channel *channel, uint64_t address, uint64_t bytes,
                            uint64_t charged_bytes)
{
    uint64_t taken_bytes = is_small(bytes) ? use_blocks(channel, address, bytes, true) : 0;

    if (!is_small(bytes)) {
        return true;
    }
    if (taken_bytes <= charged_bytes) {
        driver_discharge(channel, charged_bytes - taken_bytes);
        return true;
    }
    if (charged_bytes == 0 && !driver_charge(channel, taken_bytes)) {
        use_blocks(channel, address, bytes, false); /* it took a block after all */
        return false;
    }
    driver_charge_taken(channel, charged_bytes ? taken_bytes - charged_bytes : 0);
    return true;
}

void driver_allocation_ended(struct driver_channel *channel, uint64_t address, uint64_t bytes)
{
    if (is_small(bytes)) {
        driver_discharge(channel, use_blocks(channel, address, bytes, false));
    } else {
        driver_discharge(channel, driver_rounded(bytes, LARGE_BYTES));
    }
}

/* ---- pools ---- */

static uint64_t pool_bytes(const struct driver_channel *channel, const struct driver_pool *pool,
                           int attribute)
{
    uint64_t value = 0;

    return pool->real && channel->api->cuMemPoolGetAttribute(pool->real, attribute, &value) ==
                             CUDA_SUCCESS
               ? value
               : 0;
}

void driver_pool_look(struct driver_channel *channel)
{
    uint64_t now = 0, before = channel->pool_bytes;

    for (unsigned i = 0; i < DRIVER_POOLS_MAX; i++) {
        now += pool_bytes(channel, &channel->pools[i], POOL_RESERVED);
    }
    channel->pool_bytes = now;
    if (now > before) {
        driver_charge_taken(channel, now - before);
    } else {
        driver_discharge(channel, before - now);
    }
}

/*
 * What has been freed in a stream's order is free for the driver once it has seen the stream's end
 * itself, which no query of an event tells it.  Nothing is in flight, so it doesn't wait.
 */
static CUresult trim(struct driver_channel *channel, const struct driver_context *context,
                     CUmemoryPool pool, size_t keep_bytes)
{
    if (context && context->captures == 0 && !driver_is_busy(context)) {
        channel->api->cuCtxSynchronize();
    }
    return channel->api->cuMemPoolTrimTo(pool, keep_bytes);
}

/* What the pool may have to reserve for so many bytes more. */
static uint64_t pool_growth(struct driver_channel *channel, const struct driver_pool *pool,
                            uint64_t bytes)
{
    uint64_t reserved = pool_bytes(channel, pool, POOL_RESERVED);
    uint64_t used = pool_bytes(channel, pool, POOL_USED);
    uint64_t unused = reserved > used ? reserved - used : 0;

    return bytes <= unused ? 0 : driver_rounded(bytes, POOL_STEP_BYTES);
}

bool driver_pool_is_full(struct driver_channel *channel, const struct driver_pool *pool,
                         uint64_t bytes)
{
    const struct memory_account *account = channel->set->uses.account;

    /* Mostly it fits, whatever the pool has; then the driver isn't asked. */
    if (!pool || memory_fits(account, driver_rounded(bytes, POOL_STEP_BYTES))) {
        return false;
    }
    driver_pool_look(channel);
    return channel->pool_bytes > 0 && !memory_fits(account, pool_growth(channel, pool, bytes));
}

bool driver_charge_pool(struct driver_channel *channel, const struct driver_pool *pool,
                        uint64_t bytes, uint64_t *charged_bytes)
{
    *charged_bytes = pool_growth(channel, pool, bytes);
    if (*charged_bytes > UINT64_MAX / 2) {
        return false;
    }
    if (driver_charge(channel, *charged_bytes)) {
        return true;
    }
    if (driver_busy_context(channel)) {
        return false; /* the driver would wait */
    }
    /* What they keep for later goes first, as the driver itself would do. */
    for (unsigned i = 0; i < DRIVER_POOLS_MAX; i++) {
        if (channel->pools[i].real) {
            channel->api->cuMemPoolTrimTo(channel->pools[i].real, 0);
        }
    }
    driver_pool_look(channel);
    *charged_bytes = pool_growth(channel, pool, bytes);
    return driver_charge(channel, *charged_bytes);
}

CUresult decode_cuMemPoolTrimTo(struct driver_call *call)
{
    CUmemoryPool pool =
        call->arg_count >= 2 ? driver_handle(call, call->args[0], CUDA_KIND_POOL) : NULL;
    CUresult result = CUDA_ERROR_INVALID_HANDLE;

    if (pool) {
        result = trim(call->channel, call->context, pool, call->args[1]);
    }
    driver_pool_look(call->channel);
    return result;
}

/* ---- contexts ---- */

static bool charge_context(struct driver_channel *channel, struct driver_context *context,
                           uint64_t bytes)
{
    if (!driver_charge(channel, bytes)) {
        return false;
    }
    context->charged_bytes += bytes;
    return true;
}

static void discharge_context(struct driver_channel *channel, struct driver_context *context,
                              uint64_t bytes)
{
    driver_discharge(channel, bytes);
    context->charged_bytes -= bytes;
}

bool driver_charge_context(struct driver_channel *channel, struct driver_context *context)
{
    bool first = true;

    for (unsigned i = 1; i < CUDA_CONTEXTS_MAX; i++) {
        first = first && !channel->contexts[i].real;
    }
    context->charged_bytes = 0;
    context->local_bytes = LOCAL_FIRST;
    memset(context->limits, 0, sizeof(context->limits));
    return first || charge_context(channel, context,
                                   CONTEXT_BYTES + channel->resident_threads * LOCAL_FIRST);
}

void driver_context_ended(struct driver_channel *channel, struct driver_context *context)
{
    discharge_context(channel, context, context->charged_bytes);
}

/* So much local memory is needed from now on.  False: the limit doesn't allow it. */
static bool need_local(struct driver_channel *channel, struct driver_context *context,
                       uint64_t bytes)
{
    uint64_t more = bytes > context->local_bytes ? bytes - context->local_bytes : 0;

    if (bytes_of(more, channel->resident_threads) > UINT64_MAX / 2 ||
        !charge_context(channel, context, more * channel->resident_threads)) {
        return false;
    }
    context->local_bytes += more;
    return true;
}

bool driver_charge_launch(struct driver_call *call, uint32_t local_bytes)
{
    return local_bytes <= call->context->local_bytes ||
           need_local(call->channel, call->context, local_bytes);
}

/* The bytes that a limit's value takes beyond what a context begins with. */
static bool limit_takes(struct driver_call *call, unsigned limit, uint64_t value, uint64_t *bytes)
{
    uint64_t *before;
    size_t now = 0;

    if (limit != LIMIT_PRINTF && limit != LIMIT_HEAP && limit != LIMIT_PENDING) {
        return false;
    }
    before = &call->context->limits[limit];
    if (*before == 0 && call->api->cuCtxGetLimit(&now, limit) == CUDA_SUCCESS) {
        *before = now;
    }
    *bytes = value > *before ? value - *before : 0;
    *bytes = limit == LIMIT_PENDING ? bytes_of(*bytes, LAUNCH_BYTES) : *bytes;
    return *bytes > 0;
}

/* Persisting L2 cache is taken from other VMs; what else is not named here, nobody has measured. */
static CUresult check_limit(unsigned limit)
{
    switch (limit) {
    case LIMIT_STACK:
    case LIMIT_PRINTF:
    case LIMIT_HEAP:
    case LIMIT_PENDING:
    case LIMIT_FETCH: return CUDA_SUCCESS;
    default: return limit > LIMIT_LAST ? CUDA_ERROR_INVALID_VALUE : CUDA_ERROR_UNSUPPORTED_LIMIT;
    }
}

/* Limits that take memory are charged first; it stays charged as long as the context lives. */
CUresult decode_cuCtxSetLimit(struct driver_call *call)
{
    unsigned limit = (unsigned)call->args[0];
    uint64_t value = call->args[1], bytes = 0, local = call->context->local_bytes;
    bool takes;
    CUresult result;

    if (call->arg_count < 2) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    result = check_limit(limit);
    if (result) {
        return result;
    }
    takes = limit_takes(call, limit, value, &bytes);
    if (limit == LIMIT_STACK && !need_local(call->channel, call->context, value)) {
        return CUDA_ERROR_INVALID_VALUE; /* as natively, where the GPU has too little for it */
    }
    if (takes && (bytes > UINT64_MAX / 2 || !charge_context(call->channel, call->context, bytes))) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    result = call->api->cuCtxSetLimit(limit, value);
    if (result == CUDA_SUCCESS && takes) {
        call->context->limits[limit] = value;
    } else if (result != CUDA_SUCCESS) {
        discharge_context(call->channel, call->context,
                          bytes + (call->context->local_bytes - local) *
                                      call->channel->resident_threads);
        call->context->local_bytes = local;
    }
    return result;
}

/* ---- the end ---- */

void driver_account_end(struct driver_channel *channel)
{
    driver_discharge(channel, channel->charged_bytes);
    free(channel->blocks.all);
    channel->blocks = (struct cuda_range_map){0};
    channel->pool_bytes = 0;
}
