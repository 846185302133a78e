/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a worker's programs do, in numbers, for the mediator: sums over all of its channels since
 * it was started.  Whichever channel's thread finds that they have changed, a second after they
 * were last told, tells them.
 */
#include "worker/cuda/channel/driver_internal.h"

#include <string.h>

#include "common/clock.h"
#include "common/cuda_names.h"
#include "common/ns.h"

#define TELL_NS ((uint64_t)NS_PER_S)

static uint64_t load(const uint64_t *word)
{
    return __atomic_load_n(word, __ATOMIC_RELAXED);
}

void driver_count(uint64_t *figure)
{
    __atomic_add_fetch(figure, 1, __ATOMIC_RELAXED);
}

static vgpu_worker_figures figures_of(const struct driver_set *set)
{
    return (vgpu_worker_figures){
        .memory_bytes = memory_used(set->uses.account),
        .units = load(&set->figures.units),
        .copies = load(&set->figures.copies),
        .turns = load(&set->figures.turns),
        .refused = load(&set->figures.refused),
        .contexts = load(&set->figures.contexts_made) - load(&set->figures.contexts_ended),
        .programs = (uint64_t)__atomic_load_n(&set->live, __ATOMIC_RELAXED),
    };
}

/* A sum that changes whenever one of them does, but for very odd ones. */
static uint64_t digest(const vgpu_worker_figures *figures)
{
    const uint64_t *words = (const uint64_t *)figures;
    uint64_t sum = 1;

    for (unsigned i = 0; i < sizeof(*figures) / sizeof(*words); i++) {
        sum = (sum ^ words[i]) * 0x100000001b3u;
        sum ^= sum >> 29;
    }
    return sum;
}

/* ---- of one channel ---- */

void driver_count_refused(struct driver_channel *channel, const char *name)
{
    uint32_t *count = &channel->figures.name_count;

    DRIVER_COUNT(channel, refused);
    /* A process says each name once; a hostile one may say more. */
    if (*count < VGPU_WORKER_NAMES_MAX) {
        channel->figures.names[(*count)++] = cuda_name_hash(name);
    }
}

static vgpu_worker_program program_of(const struct driver_channel *channel)
{
    vgpu_worker_program program = channel->figures;

    program.memory_bytes = channel->charged_bytes;
    for (unsigned i = 1; i < CUDA_CONTEXTS_MAX; i++) {
        program.contexts += channel->contexts[i].real != NULL;
    }
    return program;
}

bool driver_figures_changed(const struct driver_channel *channel)
{
    vgpu_worker_figures figures = figures_of(channel->set);
    vgpu_worker_program program = program_of(channel);

    return digest(&figures) != load(&channel->set->figures.told) ||
           memcmp(&program, &channel->told, sizeof(program)) != 0;
}

void driver_program_tell(struct driver_channel *channel, bool now)
{
    uint64_t handle = __atomic_load_n(&channel->handle, __ATOMIC_ACQUIRE);
    uint64_t now_ns = clock_now_ns();
    vgpu_worker_program program = program_of(channel);

    if (!channel->set->uses.tell_program || handle == 0 ||
        (!now && now_ns - channel->told_ns < TELL_NS) ||
        memcmp(&program, &channel->told, sizeof(program)) == 0) {
        return;
    }
    channel->told_ns = now_ns;
    if (channel->set->uses.tell_program(channel->set->uses.opaque, handle, &program, now)) {
        channel->told = program;
    }
}

void driver_figures_tell(struct driver_set *set, bool now)
{
    uint64_t before = load(&set->figures.told_ns), now_ns = clock_now_ns();
    vgpu_worker_figures figures = figures_of(set);

    if (!set->uses.tell_figures || (!now && now_ns - before < TELL_NS) ||
        digest(&figures) == load(&set->figures.told) ||
        !__atomic_compare_exchange_n(&set->figures.told_ns, &before, now_ns, false,
                                     __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
        return;
    }
    if (set->uses.tell_figures(set->uses.opaque, &figures, now)) {
        __atomic_store_n(&set->figures.told, digest(&figures), __ATOMIC_RELAXED);
    }
}
