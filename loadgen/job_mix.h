/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A job mix is what a VM submits: which operations in which proportions, how a request for one
 * is made, and whether a response is its right answer.
 *
 * A job's operands come from its seed alone, so that an answer can be checked
 * without keeping the request.
 */
#ifndef LOADGEN_JOB_MIX_H
#define LOADGEN_JOB_MIX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vgpu/vgpu_protocol.h"

#define JOB_KINDS_MAX 8u
#define JOB_NAME_BYTES 24u
#define JOB_ELEMENTS_DEFAULT 16u

struct job_kind {
    uint32_t opcode;
    uint32_t argument; /* microseconds of a spin, elements of a vector */
    uint32_t weight;
    char name[JOB_NAME_BYTES]; /* as given, without the weight */
};

struct job_mix {
    struct job_kind kinds[JOB_KINDS_MAX];
    uint32_t count;
    uint32_t weight_sum;
};

/*
 * "add", "spin:1000", "add=70,spin:1000=30" ('+' separates as ',' does).
 * Returns 0, or -EINVAL with what is wrong in `why` (a static string).
 */
int job_mix_parse(struct job_mix *mix, const char *text, const char **why);

/* The kind that a random number selects. */
uint32_t job_mix_pick(const struct job_mix *mix, uint64_t random);

/* Writes the request into `out` (VGPU_REQUEST_BUFFER_BYTES); returns its length. */
uint32_t job_build(const struct job_kind *kind, uint64_t seed, uint8_t *out);

/* What a response says about its job. */
struct job_answer {
    uint32_t status; /* enum vgpu_error */
    uint32_t exec_time_us;
    const char *wrong; /* what is wrong with it, NULL = nothing */
};

/* Checks a response's form, and its content where status is NONE. */
void job_check(const struct job_kind *kind, uint64_t seed, const uint8_t *payload, uint32_t length,
               struct job_answer *answer);

/* A good 64-bit mix of `value`. */
uint64_t job_hash(uint64_t value);

#endif /* LOADGEN_JOB_MIX_H */
