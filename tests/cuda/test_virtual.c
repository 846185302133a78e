/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Virtual memory management of a process that does what no library would. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/cuda/rig.h"

#define MIB (1ull << 20)
#define PIECE (2 * MIB)
#define RANGE (16 * MIB)
#define LIMIT (64 * MIB)
#define PHYSICAL(n) RIG_HANDLE(CUDA_KIND_PHYSICAL, 10 + (n))

static int open_rig(void **state)
{
    rig_setup(state, LIMIT);
    return 0;
}

static int close_rig(void **state)
{
    struct rig *rig = *state;

    rig_close(rig);
    assert_int_equal(memory_used(&rig->account), 0);
    assert_int_equal(rig_alive("physical"), 0);
    free(rig);
    return 0;
}

static uint64_t used(struct rig_channel *c)
{
    return memory_used(&c->rig->account);
}

static uint64_t reserve(struct rig_channel *c)
{
    assert_int_equal(RIG_CALL(c, RESERVE, 0, RANGE, 0, 0, 0), 0);
    return c->out[0];
}

static CUresult set(struct rig_channel *c, uint64_t address, uint64_t bytes)
{
    return RIG_CALL(c, cuMemsetD8_v2, 1, address, 1, bytes);
}

/* It is charged until the last that holds it has gone, in whatever order. */
static void memory_is_charged_as_long_as_it_is_there(void **state)
{
    struct rig_channel *c = rig_first(state);
    uint64_t at = reserve(c), before = used(c);

    assert_int_equal(RIG_CALL(c, PHYSICAL, 0, PHYSICAL(0), PIECE), 0);
    assert_int_equal(used(c), before + PIECE);
    assert_int_equal(RIG_CALL(c, MAP, 0, at, PIECE, PHYSICAL(0)), 0);
    assert_int_equal(RIG_CALL(c, MAP, 0, at + PIECE, PIECE, PHYSICAL(0)), 0); /* the same again */
    assert_int_equal(RIG_CALL(c, PHYSICAL_END, 0, PHYSICAL(0)), 0);
    assert_int_equal(RIG_CALL(c, PHYSICAL_END, 0, PHYSICAL(0)), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(used(c), before + PIECE);
    assert_int_equal(RIG_CALL(c, UNMAP, 0, at, PIECE), 0);
    assert_int_equal(used(c), before + PIECE);
    assert_int_equal(RIG_CALL(c, UNMAP, 0, at + PIECE, PIECE), 0);
    assert_int_equal(used(c), before);
    assert_int_equal(RIG_CALL(c, PHYSICAL, 0, PHYSICAL(1), LIMIT + PIECE),
                     CUDA_ERROR_OUT_OF_MEMORY);
    assert_int_equal(RIG_CALL(c, PHYSICAL, 0, PHYSICAL(1), UINT64_MAX - PIECE + 1),
                     CUDA_ERROR_OUT_OF_MEMORY);
    assert_int_equal(RIG_CALL(c, PHYSICAL, 0, PHYSICAL(1), PIECE + 1), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(used(c), before);
}

static void a_process_may_leave_it_all(void **state)
{
    struct rig_channel *c = rig_first(state);
    uint64_t at = reserve(c);

    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(RIG_CALL(c, PHYSICAL, 0, PHYSICAL(i), PIECE), 0);
        assert_int_equal(RIG_CALL(c, MAP, 0, at + i * PIECE, PIECE, PHYSICAL(i)), 0);
    }
    assert_int_equal(RIG_CALL(c, ACCESS, 0, at, 3 * PIECE, 3), 0);
    assert_int_equal(RIG_CALL(c, PHYSICAL_END, 0, PHYSICAL(1)), 0);
}

/* Copies reach what is mapped and allowed, over borders, and nothing else. */
static void what_copies_reach(void **state)
{
    struct rig_channel *c = rig_first(state);
    uint64_t at = reserve(c);

    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(RIG_CALL(c, PHYSICAL, 0, PHYSICAL(i), PIECE), 0);
        assert_int_equal(RIG_CALL(c, MAP, 0, at + i * PIECE, PIECE, PHYSICAL(i)), 0);
    }
    assert_int_equal(set(c, at, 1), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(RIG_CALL(c, ACCESS, 0, at, PIECE, 3), 0);
    assert_int_equal(set(c, at, PIECE), 0);
    assert_int_equal(set(c, at, PIECE + 1), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(RIG_CALL(c, ACCESS, 0, at + PIECE, 2 * PIECE, 3), 0);
    assert_int_equal(set(c, at + 1, 3 * PIECE - 1), 0);
    assert_int_equal(set(c, at + 1, 3 * PIECE), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(RIG_CALL(c, UNMAP, 0, at + PIECE, PIECE), 0); /* out of the middle */
    assert_int_equal(set(c, at, PIECE), 0);
    assert_int_equal(set(c, at + PIECE - 1, 2), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(set(c, at + 2 * PIECE, PIECE), 0);
    assert_int_equal(RIG_CALL(c, ACCESS, 0, at, PIECE, 0), 0);
    assert_int_equal(set(c, at, 1), CUDA_ERROR_INVALID_VALUE);
}

static void wrong_calls(void **state)
{
    struct rig_channel *c = rig_first(state);
    uint64_t at = reserve(c), other;

    assert_int_equal(RIG_CALL(c, PHYSICAL, 0, PHYSICAL(0), PIECE), 0);
    assert_int_equal(RIG_CALL(c, PHYSICAL, 0, PHYSICAL(0), PIECE), CUDA_ERROR_INVALID_HANDLE);
    assert_int_equal(RIG_CALL(c, MAP, 0, at, 2 * PIECE, PHYSICAL(0)), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(RIG_CALL(c, MAP, 0, at + RANGE - MIB, PIECE, PHYSICAL(0)),
                     CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(RIG_CALL(c, MAP, 0, at - PIECE, PIECE, PHYSICAL(0)), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(RIG_CALL(c, MAP, 0, at, PIECE, PHYSICAL(1)), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(RIG_CALL(c, ACCESS, 0, at, PIECE, 3), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(RIG_CALL(c, MAP, 0, at + PIECE, PIECE, PHYSICAL(0)), 0);
    assert_int_equal(RIG_CALL(c, MAP, 0, at + MIB, PIECE, PHYSICAL(0)), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(RIG_CALL(c, ACCESS, 0, at, 2 * PIECE, 3), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(RIG_CALL(c, ACCESS, 0, at + PIECE, UINT64_MAX, 3), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(RIG_CALL(c, ACCESS, 0, at + PIECE, PIECE, 4), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(RIG_CALL(c, UNMAP, 0, at + PIECE, MIB), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(RIG_CALL(c, UNMAP, 0, at + PIECE + MIB, PIECE), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(RIG_CALL(c, UNMAP, 0, at + PIECE, UINT64_MAX), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(RIG_CALL(c, RESERVE_END, 0, at, RANGE), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(RIG_CALL(c, UNMAP, 0, at + PIECE, PIECE), 0);
    assert_int_equal(RIG_CALL(c, UNMAP, 0, at + PIECE, PIECE), 0); /* as natively */
    assert_int_equal(RIG_CALL(c, UNMAP, 0, at, RANGE + PIECE), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(RIG_CALL(c, RESERVE_END, 0, at, PIECE), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(RIG_CALL(c, RESERVE_END, 0, at + PIECE, RANGE - PIECE),
                     CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(RIG_CALL(c, RESERVE_END, 0, at, RANGE), 0);
    assert_int_equal(RIG_CALL(c, RESERVE, 0, 1ull << 60, 0, 0, 0), CUDA_ERROR_OUT_OF_MEMORY);
    other = reserve(c);
    assert_int_equal(RIG_CALL(c, RESERVE_END, 0, other, RANGE), 0);
    assert_int_equal(c->channel->reserved_bytes, 0);
}

/* Memory that a kernel uses is not unmapped under it: the stand-in ends the process at that. */
static void unmapping_waits_for_work(void **state)
{
    struct rig_channel *c = rig_first(state);
    uint64_t at = reserve(c), spin = RIG_HANDLE(CUDA_KIND_FUNCTION, 1);
    uint32_t ns = 20000000;

    assert_int_equal(rig_function(c, 1, RIG_HANDLE(CUDA_KIND_MODULE, 0), 1, "spin"), 0);
    assert_int_equal(RIG_CALL(c, PHYSICAL, 0, PHYSICAL(0), PIECE), 0);
    assert_int_equal(RIG_CALL(c, MAP, 0, at, PIECE, PHYSICAL(0)), 0);
    assert_int_equal(rig_launch(c, 1, spin, 0, &ns, 4), 0);
    assert_int_equal(RIG_CALL(c, UNMAP, 0, at, PIECE), 0);
    assert_false(driver_is_busy(&c->channel->contexts[1]));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_rig, close_rig)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(memory_is_charged_as_long_as_it_is_there),
        TEST(a_process_may_leave_it_all),
        TEST(what_copies_reach),
        TEST(wrong_calls),
        TEST(unmapping_waits_for_work),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
