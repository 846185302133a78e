/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One job of each kind, with a check of its result that trusts nobody. */
#include <stdio.h>
#include <string.h>

#include "client.h"

/* splitmix64 */
uint64_t client_random(uint64_t *state)
{
    uint64_t z = (*state += 0x9E3779B97F4A7C15u);

    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

static int run_add(struct vgpu *v, struct client_job *job)
{
    int result = vgpu_add(v, job->a, job->b, &job->sum);

    if (result == VGPU_OK && job->sum != job->a + job->b) {
        job->wrong = true;
        snprintf(job->mistake, sizeof(job->mistake), "%u + %u gave %u and should give %u", job->a,
                 job->b, job->sum, job->a + job->b);
    }
    return result;
}

static int run_vector_i32(struct vgpu *v, struct client_job *job, uint64_t *random)
{
    int32_t a[VGPU_VECTOR_MAX], b[VGPU_VECTOR_MAX], c[VGPU_VECTOR_MAX];
    uint32_t i;
    int result;

    for (i = 0; i < job->elements; i++) {
        uint64_t r = client_random(random);

        a[i] = (int32_t)(uint32_t)r;
        b[i] = (int32_t)(uint32_t)(r >> 32);
        c[i] = 0;
    }
    result = vgpu_vector_add_i32(v, job->elements, a, b, c);
    for (i = 0; result == VGPU_OK && i < job->elements; i++) {
        int32_t right = (int32_t)((uint32_t)a[i] + (uint32_t)b[i]);

        if (c[i] != right) {
            job->wrong = true;
            snprintf(job->mistake, sizeof(job->mistake),
                     "element %u: %d + %d gave %d and should give %d", i, a[i], b[i], c[i], right);
            break;
        }
    }
    return result;
}

static int run_vector_f32(struct vgpu *v, struct client_job *job, uint64_t *random)
{
    float a[VGPU_VECTOR_MAX], b[VGPU_VECTOR_MAX], c[VGPU_VECTOR_MAX];
    uint32_t i;
    int result;

    for (i = 0; i < job->elements; i++) {
        uint64_t r = client_random(random);

        /* Multiples of 2^-12 that need rounding once added. */
        a[i] = (float)(int32_t)(uint32_t)r / 4096.0f;
        b[i] = (float)(int32_t)(uint32_t)(r >> 32) / 16777216.0f;
        c[i] = 0;
    }
    result = vgpu_vector_add_f32(v, job->elements, a, b, c);
    for (i = 0; result == VGPU_OK && i < job->elements; i++) {
        /* volatile: single precision also where the CPU computes with more. */
        volatile float right = a[i] + b[i];
        float expected = right;

        /* IEEE 754 has exactly one right answer: compare the bits. */
        /* NOLINTNEXTLINE(bugprone-suspicious-memory-comparison): the bits are what is meant. */
        if (memcmp(&c[i], &expected, sizeof(float)) != 0) {
            job->wrong = true;
            snprintf(job->mistake, sizeof(job->mistake),
                     "element %u: %.9g + %.9g gave %.9g and should give %.9g", i, (double)a[i],
                     (double)b[i], (double)c[i], (double)expected);
            break;
        }
    }
    return result;
}

/* An operation that has no check of its own: what it takes, and as much back as it gives. */
static int run_by_shape(struct vgpu *v, struct client_job *job, uint64_t *random)
{
    uint32_t body[VGPU_PARAMS_MAX], room = VGPU_REQUEST_BODY_BYTES - 4 * job->op->params;
    uint32_t most = job->op->unit ? room / job->op->unit : 0;
    uint32_t elements = job->elements < most ? job->elements : most, i;
    struct vgpu_answer answer;
    int result;

    for (i = 0; i < VGPU_PARAMS_MAX; i++) {
        body[i] = (uint32_t)client_random(random);
    }
    if (job->op->most) {
        body[0] = job->spin_us;
    }
    result = vgpu_call(v, job->op->opcode, body, job->op->params, body + job->op->params,
                       elements * job->op->unit, &answer);
    if (result == VGPU_OK &&
        (answer.result_count != job->op->results ||
         (job->op->gives != VGPU_AS_TEXT && answer.data_bytes != elements * job->op->gives))) {
        job->wrong = true;
        snprintf(job->mistake, sizeof(job->mistake), "it gave %u results and %u bytes of data",
                 (unsigned)answer.result_count, (unsigned)answer.data_bytes);
    }
    return result;
}

int job_run(struct vgpu *v, struct client_job *job, uint64_t *random)
{
    job->wrong = false;
    switch (job->op->opcode) {
    case VGPU_OP_CUDA_KERNEL: return run_add(v, job);
    case VGPU_OP_GET_DEVICE_INFO: return vgpu_device_info(v, &job->info);
    case VGPU_OP_VECTOR_ADD_I32: return run_vector_i32(v, job, random);
    case VGPU_OP_VECTOR_ADD_F32: return run_vector_f32(v, job, random);
    default: return run_by_shape(v, job, random);
    }
}
