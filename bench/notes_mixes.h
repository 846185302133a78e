/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * These are 300 mixes with which the project's schedulers were compared before: 2 to 48 VMs,
 * jobs of 10 us to 100 ms, pauses up to 50 ms.  They were drawn by a Python program; its
 * random numbers (Mersenne Twister) are drawn here as it does.
 */
#ifndef BENCH_NOTES_MIXES_H
#define BENCH_NOTES_MIXES_H

#include <stddef.h>
#include <stdint.h>

#define NOTES_MIXES 300u

/* Writes mix number `index` as a SPEC of vgpu-sim; 1,024 bytes are enough. */
void notes_mix(uint32_t index, char *spec, size_t bytes);

#endif /* BENCH_NOTES_MIXES_H */
