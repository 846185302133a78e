/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The forecast guesses when a job will end, from how long the last ones of its kind took.
 *
 * Pure: times come in, a pause comes out.  How the guess is used is told in
 * executor.c.  A wrong guess costs time, never a result.
 */
#ifndef WORKER_FORECAST_H
#define WORKER_FORECAST_H

#include <stdint.h>

/* Operations are told apart modulo a prime: two in one place make each other's guess coarser. */
#define FORECAST_KINDS 7u
#define FORECAST_MEMORY 8u

struct forecast {
    uint64_t took_ns[FORECAST_KINDS][FORECAST_MEMORY]; /* 0 = nothing yet */
    unsigned next[FORECAST_KINDS];
    uint64_t oversleep_ns; /* how much too long sleeps are here */
};

/* All zero is a forecast that knows nothing. */

/* A job of this kind was the oldest on the GPU for so long. */
void forecast_learn(struct forecast *forecast, uint32_t opcode, uint64_t took_ns);
/* A sleep of asked_ns that nothing cut short took slept_ns. */
void forecast_slept(struct forecast *forecast, uint64_t asked_ns, uint64_t slept_ns);
/*
 * The job has run for waited_ns and has not ended: for how long (ns) to sleep
 * before the next look, 0 = look again at once.  At most a millisecond.
 */
uint64_t forecast_pause_ns(const struct forecast *forecast, uint32_t opcode, uint64_t waited_ns);

#endif /* WORKER_FORECAST_H */
