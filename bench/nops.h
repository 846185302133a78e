/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This header is for programs that compare two devices of libvgpu by jobs that do nothing, in
 * batches that alternate: whatever disturbs the machine disturbs both.
 *
 * "Polling" is one NOP at a time, back to back, so that both sides look at the memory.
 * "Sleeping" is one NOP at a time after a pause that is longer than the worker looks.
 */
#ifndef BENCH_NOPS_H
#define BENCH_NOPS_H

#include <stdint.h>

#include "vgpu/vgpu.h"

#define NOPS_MAX 10000u /* of one device, in one figure */
#define NOPS_BATCH 200u /* back to back */

/* Ends the program with `v`'s error if `result` is one. */
void nops_must(struct vgpu *v, int result);
/* How long one took, in µs. */
double nops_one_us(struct vgpu *v);
double nops_per_s(uint64_t count, uint64_t began_ns);

/*
 * Figures NAME_nop_polling_p50 and _p99 of the first, NAME_nop_p50 of the second, and
 * NAME_nop_polling_ratio, which is to be at most `target`.  `count`: at most NOPS_MAX.
 */
void nops_polling(struct vgpu *first, const char *first_name, struct vgpu *second,
                  const char *second_name, uint32_t count, double target);
/* Figures NAME_nop_sleeping_p50 of both, and NAME_nop_sleeping_ratio. */
void nops_sleeping(struct vgpu *first, const char *first_name, struct vgpu *second,
                   const char *second_name, uint32_t count, double target);

#endif /* BENCH_NOPS_H */
