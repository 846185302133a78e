/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "worker/cuda/channel/driver_set.h"

#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "common/log.h"
#include "worker/cuda/channel/driver_internal.h"

#define SPARE_CPUS 4

bool driver_set_init(struct driver_set *set, const struct driver_set_uses *uses)
{
    memset(set, 0, sizeof(*set));
    set->uses = *uses;
    set->spare_cpu = get_nprocs() > 1;
    set->spare_cpus = get_nprocs() >= SPARE_CPUS;
    set->over = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    pthread_mutex_init(&set->lock, NULL);
    driver_output_init(set);
    return set->over >= 0;
}

static void unmap(struct driver_channel *channel)
{
    if (channel->window) {
        munmap(channel->window, channel->geometry.arena_bytes);
    }
    mapping_free(channel->mapping);
    channel->window = NULL;
    channel->mapping = NULL;
}

void driver_channel_free(struct driver_channel *channel)
{
    unmap(channel);
    close(channel->wake);
    free(channel->entries);
    driver_image_drop(channel);
    driver_output_end(channel);
    free(channel);
}

static struct driver_channel *find(struct driver_set *set, uint64_t handle)
{
    for (unsigned i = 0; i < set->count; i++) {
        if (set->all[i]->handle == handle) {
            return set->all[i];
        }
    }
    return NULL;
}

/* Frees those whose threads have let go. */
static void reap(struct driver_set *set)
{
    for (unsigned i = set->count; i-- > 0;) {
        struct driver_channel *channel = set->all[i];

        if (__atomic_load_n(&channel->ended, __ATOMIC_ACQUIRE)) {
            pthread_join(channel->thread, NULL);
            pthread_mutex_lock(&set->lock);
            set->all[i] = set->all[--set->count];
            pthread_mutex_unlock(&set->lock);
            driver_channel_free(channel);
        }
    }
}

/* What else they have costs little; figures and turns are still asked for. */
void driver_set_release(struct driver_set *set)
{
    if (!__atomic_load_n(&set->to_release, __ATOMIC_ACQUIRE)) {
        return;
    }
    __atomic_store_n(&set->to_release, 0, __ATOMIC_SEQ_CST);
    for (unsigned i = 0; i < set->count; i++) {
        if (__atomic_load_n(&set->all[i]->ended, __ATOMIC_SEQ_CST)) {
            unmap(set->all[i]);
        }
    }
}

static enum vgpu_error start(struct driver_set *set, struct driver_channel *channel)
{
    channel->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (channel->wake < 0) {
        log_error("a CUDA channel gets no descriptor");
        return VGPU_ERR_MEMORY_LIMIT;
    }
    channel->control = (VGPUControl *)(channel->chunk0 + channel->layout.control);
    vgpu_command_ring(&channel->commands, channel->chunk0, &channel->layout, &channel->geometry);
    vgpu_notice_ring(&channel->notices, channel->chunk0, &channel->layout, &channel->geometry);
    if (pthread_create(&channel->thread, NULL, driver_thread, channel) != 0) {
        log_error("no thread for a CUDA channel");
        return VGPU_ERR_MEMORY_LIMIT;
    }
    pthread_mutex_lock(&set->lock);
    set->all[set->count++] = channel;
    pthread_mutex_unlock(&set->lock);
    return VGPU_ERR_NONE;
}

static enum vgpu_error open_driver(struct driver_set *set, struct driver_channel *channel)
{
    if (!driver_api_expected(set->uses.gpu_uuid) || driver_api_open(&channel->api) < 0) {
        return VGPU_ERR_UNSUPPORTED_OP;
    }
    channel->device = driver_api_device(channel->api, set->uses.gpu_uuid);
    if (channel->device < 0) {
        log_error("the CUDA driver has no GPU %s", set->uses.gpu_uuid);
        return VGPU_ERR_GPU_UNAVAILABLE;
    }
    return VGPU_ERR_NONE;
}

enum vgpu_error driver_set_add(struct driver_set *set, struct channel_mapping *mapping)
{
    struct driver_channel *channel = calloc(1, sizeof(*channel));
    enum vgpu_error status;

    reap(set);
    if (!channel) {
        mapping_free(mapping);
        return VGPU_ERR_MEMORY_LIMIT;
    }
    channel->handle = mapping->handle;
    channel->set = set;
    channel->mapping = mapping;
    channel->geometry = mapping->what.geometry;
    channel->layout = mapping->layout;
    channel->doorbell = mapping->doorbell;
    channel->interrupt = mapping->interrupt;
    channel->chunk0 = mapping->chunk0;
    channel->wake = -1;
    pthread_mutex_init(&channel->output.lock, NULL);
    status = set->count == DRIVER_SET_MAX ? VGPU_ERR_QUEUE_FULL : open_driver(set, channel);
    if (status == VGPU_ERR_NONE && __atomic_load_n(&set->lost, __ATOMIC_ACQUIRE)) {
        status = VGPU_ERR_QUEUE_FULL; /* until the last one that has lost something has left */
    }
    if (status == VGPU_ERR_NONE) {
        status = start(set, channel);
    }
    if (status != VGPU_ERR_NONE) {
        driver_channel_free(channel);
    }
    return status;
}

static void wake_thread(const struct driver_channel *channel)
{
    const uint64_t one = 1;
    ssize_t n = write(channel->wake, &one, sizeof(one));

    (void)n; /* full: it is awake */
}

static void stop(struct driver_channel *channel, enum vgpu_channel_reason reason)
{
    int go_on = 0;

    __atomic_compare_exchange_n(&channel->stop, &go_on, (int)reason, false, __ATOMIC_SEQ_CST,
                                __ATOMIC_SEQ_CST);
    wake_thread(channel);
}

void driver_set_limit(struct driver_set *set, uint64_t kernel_ns)
{
    __atomic_store_n(&set->kernel_limit_ns, kernel_ns, __ATOMIC_RELAXED);
}

bool driver_set_close(struct driver_set *set, uint64_t handle, enum vgpu_channel_reason reason)
{
    struct driver_channel *channel = find(set, handle);

    if (channel) {
        stop(channel, reason == VGPU_CLOSED_NONE ? VGPU_CLOSED_ASKED : reason);
    }
    return channel != NULL;
}

/* ---- another mediator ---- */

unsigned driver_set_count_lives(struct driver_set *set)
{
    unsigned count = 0;

    for (unsigned i = 0; i < set->count; i++) {
        struct driver_channel *channel = set->all[i];

        /* Once: its thread may end it while its mediator is told. */
        channel->is_kept = !__atomic_load_n(&channel->stop, __ATOMIC_SEQ_CST) &&
                           mapping_life(channel->mapping) >= 0;
        count += channel->is_kept;
    }
    return count;
}

void driver_set_adopt(struct driver_set *set, uint64_t *next, const struct channel_heirs *heirs)
{
    for (unsigned i = 0; i < set->count; i++) {
        struct driver_channel *channel = set->all[i];

        __atomic_store_n(&channel->handle, 0, __ATOMIC_SEQ_CST);
        channel->held_as = ++*next;
        if (channel->is_kept) {
            heirs->held(heirs->opaque, channel->held_as, channel->mapping, 0);
        } else {
            stop(channel, VGPU_CLOSED_SESSION);
        }
    }
}

bool driver_set_claim(struct driver_set *set, uint64_t number, uint64_t handle)
{
    for (unsigned i = 0; i < set->count; i++) {
        struct driver_channel *channel = set->all[i];

        if (channel->handle != 0 || channel->held_as != number) {
            continue;
        }
        if (handle == 0) {
            stop(channel, VGPU_CLOSED_LIMITS);
            return true;
        }
        __atomic_store_n(&channel->handle, handle, __ATOMIC_SEQ_CST);
        __atomic_store_n(&channel->claimed, 1, __ATOMIC_RELEASE);
        wake_thread(channel);
        /* It may have ended before it could say so by this handle. */
        return !__atomic_load_n(&channel->stop, __ATOMIC_SEQ_CST);
    }
    return false;
}

void driver_set_end(struct driver_set *set)
{
    for (unsigned i = 0; i < set->count; i++) {
        stop(set->all[i], VGPU_CLOSED_SHUTDOWN);
    }
    driver_output_stop(set);
    close(set->over);
}

bool driver_set_begin_turn(struct driver_set *set, uint64_t handle, uint64_t budget_ns)
{
    struct driver_channel *channel = find(set, handle);
    const uint64_t one = 1;
    ssize_t n;

    if (!channel) {
        return false;
    }
    __atomic_store_n(&channel->budget_ns, budget_ns ? budget_ns : 1, __ATOMIC_RELEASE);
    n = write(channel->wake, &one, sizeof(one));
    (void)n;
    return true;
}

/* The executor's: the channel's next turn is there.  It may have begun it when this one is over. */
static void put_next(struct driver_channel *channel, uint64_t budget_ns)
{
    if (budget_ns && !channel->next_is_put) {
        channel->next_is_put = true;
        __atomic_store_n(&channel->next_budget_ns, budget_ns, __ATOMIC_RELEASE);
    }
}

static bool take_back_next(struct driver_channel *channel)
{
    bool begun = channel->next_is_put &&
                 __atomic_exchange_n(&channel->next_budget_ns, 0, __ATOMIC_ACQ_REL) == 0;

    channel->next_is_put = false;
    return begun;
}

bool driver_set_turn_over(struct driver_set *set, uint64_t handle, bool goes_on,
                          uint64_t next_budget_ns, uint64_t *used_ns, bool *begun)
{
    struct driver_channel *channel = find(set, handle);
    uint64_t count, over;
    ssize_t n = read(set->over, &count, sizeof(count));

    (void)n;
    *used_ns = 0;
    *begun = false;
    if (!channel) {
        return true;
    }
    __atomic_store_n(&channel->goes_on, goes_on, __ATOMIC_RELEASE);
    over = __atomic_load_n(&channel->turns_over, __ATOMIC_ACQUIRE);
    if (over != channel->turns_heard) {
        *used_ns = __atomic_load_n(&channel->used_ns[channel->turns_heard % DRIVER_TURNS_UNHEARD],
                                   __ATOMIC_RELAXED);
        *begun = take_back_next(channel);
        __atomic_store_n(&channel->turns_heard, channel->turns_heard + 1, __ATOMIC_RELEASE);
        return true;
    }
    if (__atomic_load_n(&channel->ended, __ATOMIC_ACQUIRE)) {
        return true;
    }
    put_next(channel, next_budget_ns);
    return false;
}
