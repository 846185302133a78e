/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The worker's side of cuFFT: plans and executions as no library of ours would write them. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>
#include <dlfcn.h>

#include <cmocka.h>

#include "cuda/fft.h"
#include "rig.h"

#define MEMORY_BYTES (1u << 16)
#define PLAN(n) RIG_HANDLE(CUDA_KIND_FFT, (n))

static uint64_t memory; /* of the GPU */

static unsigned alive_in_library(void)
{
    void *library = dlopen(VGPU_STAND_IN_CUFFT, RTLD_NOW | RTLD_NOLOAD);
    unsigned (*alive)(void) = NULL;

    *(void **)&alive = library ? dlsym(library, "stand_in_cufft_alive") : NULL;
    return alive ? alive() : 0;
}

static int open_rig(void **state)
{
    struct rig *rig = test_calloc(1, sizeof(*rig));
    struct rig_channel *c;

    rig_open(rig, 0);
    c = rig_channel(rig);
    rig_begin(c);
    assert_int_equal(RIG_CALL(c, ALLOC, 1, MEMORY_BYTES), 0);
    memory = c->out[0];
    *state = rig;
    return 0;
}

/* Whatever the process left, the library's plans are gone with it. */
static int close_rig(void **state)
{
    rig_close(*state);
    test_free(*state);
    return alive_in_library() ? -1 : 0;
}

static struct rig_channel *channel_of(void **state)
{
    return &((struct rig *)*state)->channels[0];
}

/* Complex numbers of 32 bits, 64 of them behind each other. */
static FFTPlan row(void)
{
    return (FFTPlan){
        .n = {64},
        .batch = 1,
        .rank = 1,
        .execution_type = FFT_COMPLEX_32,
        .in = {.type = FFT_COMPLEX_32},
        .out = {.type = FFT_COMPLEX_32},
    };
}

static int plan(struct rig_channel *c, unsigned context, unsigned n, const FFTPlan *wanted)
{
    CUresult result = rig_ask(c, (struct rig_record){.op = CUDA_OP_FFT_PLAN,
                                                     .context = (uint16_t)context,
                                                     RIG_ARGS(PLAN(n)),
                                                     .payload = wanted,
                                                     .payload_bytes = sizeof(*wanted)});

    return result ? -(int)result : (int)c->out[0];
}

static int exec(struct rig_channel *c, unsigned n, uint64_t in, uint64_t out, uint64_t work,
                int direction)
{
    CUresult result =
        RIG_CALL(c, FFT_EXEC, 1, PLAN(n), 0, in, out, work, (uint64_t)(int64_t)direction);

    return result ? -(int)result : (int)c->out[0];
}

static void memory_is_looked_up(void **state)
{
    struct rig_channel *c = channel_of(state);
    const uint64_t end = memory + MEMORY_BYTES;
    FFTPlan wanted = row();

    assert_int_equal(plan(c, 1, 1, &wanted), FFT_SUCCESS);
    assert_int_equal(c->out[1], 1024); /* of work area, as the stand-in has it */
    assert_int_equal(exec(c, 1, memory, end - 512, memory + 4096, -1), FFT_SUCCESS);
    assert_int_equal(exec(c, 1, memory, end - 511, memory + 4096, -1), FFT_INVALID_VALUE);
    assert_int_equal(exec(c, 1, end - 504, memory, memory + 4096, 1), FFT_INVALID_VALUE);
    assert_int_equal(exec(c, 1, memory, memory, end - 1023, 1), FFT_INVALID_VALUE);
    assert_int_equal(exec(c, 1, memory, memory, 0, 1), FFT_INVALID_VALUE);
    assert_int_equal(exec(c, 1, 0, memory, memory, 1), FFT_INVALID_VALUE);
    assert_int_equal(exec(c, 1, memory, (uint64_t)-512, memory, 1), FFT_INVALID_VALUE);
    assert_int_equal(exec(c, 1, memory, memory, memory + 4096, 2), FFT_INVALID_VALUE);
    assert_int_equal(exec(c, 2, memory, memory, memory, 1), -CUDA_ERROR_INVALID_HANDLE);
    assert_int_equal(RIG_CALL(c, FFT_EXEC, 1, PLAN(1), 0, memory), CUDA_ERROR_INVALID_HANDLE);
    rig_settle(c);
}

/* Strides, the halves of real transforms, and several of them. */
static void how_far_a_plan_reaches(void **state)
{
    struct rig_channel *c = channel_of(state);
    const uint64_t end = memory + MEMORY_BYTES, work = memory + 32768;
    FFTPlan wanted = row();

    wanted.in.type = FFT_REAL_32;
    wanted.batch = 3; /* 3 times 64 floats to 33 complex numbers */
    assert_int_equal(plan(c, 1, 1, &wanted), FFT_SUCCESS);
    assert_int_equal(exec(c, 1, end - 768, memory, work, -1), FFT_SUCCESS);
    assert_int_equal(exec(c, 1, end - 764, memory, work, -1), FFT_INVALID_VALUE);
    assert_int_equal(exec(c, 1, memory, end - 792, work, -1), FFT_SUCCESS);
    assert_int_equal(exec(c, 1, memory, end - 784, work, -1), FFT_INVALID_VALUE);
    wanted = row();
    wanted.rank = 2;
    wanted.n[0] = 4, wanted.n[1] = 8;
    wanted.batch = 2;
    wanted.in.is_given = 1;
    wanted.in.embed[0] = 5, wanted.in.embed[1] = 10;
    wanted.in.stride = 2;
    wanted.in.distance = 1; /* last element: (3 * 10 + 7) * 2 + 1 */
    assert_int_equal(plan(c, 1, 2, &wanted), FFT_SUCCESS);
    assert_int_equal(exec(c, 2, end - 76 * 8, memory, work, 1), FFT_SUCCESS);
    assert_int_equal(exec(c, 2, end - 76 * 8 + 4, memory, work, 1), FFT_INVALID_VALUE);
    rig_settle(c);
}

static void wrong_plans(void **state)
{
    struct rig_channel *c = channel_of(state);
    const int64_t numbers[] = {0, -1, INT64_MAX, INT64_MIN, (int64_t)1 << 41};
    FFTPlan wanted;

    for (unsigned i = 0; i < 5; i++) {
        wanted = row();
        wanted.n[0] = numbers[i];
        assert_int_equal(plan(c, 1, 1, &wanted), FFT_INVALID_SIZE);
        wanted = row();
        wanted.batch = numbers[i];
        assert_int_equal(plan(c, 1, 1, &wanted), FFT_INVALID_SIZE);
        wanted = row();
        wanted.out.is_given = 1;
        wanted.out.stride = numbers[i];
        wanted.out.embed[0] = 64;
        assert_int_equal(plan(c, 1, 1, &wanted), FFT_INVALID_SIZE);
        wanted.out.stride = 1;
        wanted.out.embed[0] = numbers[i];
        assert_int_equal(plan(c, 1, 1, &wanted), FFT_INVALID_SIZE);
    }
    wanted = row();
    for (wanted.rank = 0; wanted.rank < 6; wanted.rank += wanted.rank ? 3 : 4) {
        assert_int_equal(plan(c, 1, 1, &wanted), FFT_INVALID_SIZE);
    }
    wanted = row();
    wanted.in.type = 3;
    assert_int_equal(plan(c, 1, 1, &wanted), FFT_INVALID_TYPE);
    wanted.in.type = wanted.out.type = FFT_REAL_32;
    assert_int_equal(plan(c, 1, 1, &wanted), FFT_INVALID_TYPE);
    wanted = row();
    wanted.n[0] = 13; /* the library can't */
    assert_int_equal(plan(c, 1, 1, &wanted), FFT_INVALID_SIZE);
    assert_int_equal(alive_in_library(), 0);
    assert_int_equal(RIG_CALL(c, FFT_PLAN, 1, PLAN(1)), CUDA_ERROR_INVALID_VALUE);
}

static void plans_end_once_and_with_their_context(void **state)
{
    struct rig_channel *c = channel_of(state);
    FFTPlan wanted = row();

    assert_int_equal(plan(c, 1, 1, &wanted), FFT_SUCCESS);
    assert_int_equal(plan(c, 1, 1, &wanted), -CUDA_ERROR_INVALID_VALUE); /* it is taken */
    assert_int_equal(RIG_CALL(c, FFT_END, 1, PLAN(1)), 0);
    assert_int_equal(RIG_CALL(c, FFT_END, 1, PLAN(1)), CUDA_ERROR_INVALID_HANDLE);
    assert_int_equal(alive_in_library(), 0);
    assert_int_equal(RIG_CALL(c, CTX_CREATE, 0, RIG_CONTEXT(2), 0), 0);
    assert_int_equal(plan(c, 2, 3, &wanted), FFT_SUCCESS);
    assert_int_equal(exec(c, 3, memory, memory, memory, 1), -CUDA_ERROR_INVALID_HANDLE);
    assert_int_equal(alive_in_library(), 1);
    assert_int_equal(RIG_CALL(c, CTX_DESTROY, 2, RIG_CONTEXT(2)), 0);
    assert_int_equal(alive_in_library(), 0);
    assert_int_equal(c->channel->fft_plans, 0);
    assert_int_equal(plan(c, 1, 4, &wanted), FFT_SUCCESS); /* goes with the channel */
}

#define WITH_RIG(name) cmocka_unit_test_setup_teardown(name, open_rig, close_rig)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_RIG(memory_is_looked_up),
        WITH_RIG(how_far_a_plan_reaches),
        WITH_RIG(wrong_plans),
        WITH_RIG(plans_end_once_and_with_their_context),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
