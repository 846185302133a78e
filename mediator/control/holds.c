/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "mediator/control/holds.h"

#include <string.h>

static uint32_t bit_of(const struct admin_who *who)
{
    return 1u << (who->connection % HOLDS_CONNECTIONS_MAX);
}

static void forget_if_free(struct hold_gpu *gpu)
{
    if (!gpu->paused && !gpu->holders) {
        memset(gpu, 0, sizeof(*gpu));
    }
}

bool holds_paused(const struct holds *holds, uint32_t gpu)
{
    return holds->gpus[gpu].paused || holds->gpus[gpu].holders;
}

static void pause_one(struct hold_gpu *gpu, const struct admin_who *who, bool hold, int64_t now_s)
{
    /* An administrator's word counts for more than a hold: who, and since when, is theirs. */
    if (gpu->since_s == 0 || (!hold && !gpu->paused)) {
        gpu->who = *who;
        gpu->since_s = now_s;
    }
    if (hold) {
        gpu->holders |= bit_of(who);
    } else {
        gpu->paused = true;
    }
}

static void resume_one(struct hold_gpu *gpu, const struct admin_who *who)
{
    if (gpu->holders & bit_of(who)) {
        gpu->holders &= ~bit_of(who);
    } else {
        gpu->holders = 0;
        gpu->paused = false;
    }
    forget_if_free(gpu);
}

void holds_pause(struct holds *holds, uint32_t gpu, const struct admin_who *who, bool hold,
                 int64_t now_s)
{
    for (uint32_t i = 0; i < CORE_GPUS_MAX; i++) {
        if (gpu == CORE_NONE || gpu == i) {
            pause_one(&holds->gpus[i], who, hold, now_s);
        }
    }
}

void holds_resume(struct holds *holds, uint32_t gpu, const struct admin_who *who)
{
    for (uint32_t i = 0; i < CORE_GPUS_MAX; i++) {
        if (gpu == CORE_NONE || gpu == i) {
            resume_one(&holds->gpus[i], who);
        }
    }
}

void holds_prefer(struct holds *holds, const struct admin_who *who, bool hold)
{
    holds->preferring = hold ? bit_of(who) : 0;
}

struct holds_left holds_leave(struct holds *holds, const struct admin_who *who)
{
    struct holds_left left = {.preference = holds->preferring & bit_of(who)};

    if (left.preference) {
        holds->preferring = 0;
    }
    for (uint32_t i = 0; i < CORE_GPUS_MAX; i++) {
        if (holds->gpus[i].holders & bit_of(who)) {
            holds->gpus[i].holders &= ~bit_of(who);
            forget_if_free(&holds->gpus[i]);
            left.gpus = true;
        }
    }
    return left;
}
