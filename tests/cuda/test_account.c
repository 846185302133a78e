/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a VM's programs take of the GPU's memory is charged, all of it, and given back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/cuda/rig.h"

#define MIB (1ull << 20)
#define BLOCK (2 * MIB)
#define STACK 0
#define HEAP 2
#define THREADS (132ull * 2048)
#define POOL_THRESHOLD 4

static int open_rig(void **state)
{
    rig_setup(state, 512 * MIB);
    return 0;
}

/* Nothing is left, in the account or in the driver. */
static int close_rig(void **state)
{
    struct rig *rig = *state;
    const char *kinds[] = {"context", "module", "stream", "event", "library", "pool"};

    rig_close(rig);
    assert_int_equal(rig->account.used_bytes, 0);
    assert_int_equal(rig->set.staged_bytes, 0);
    assert_int_equal(rig_used_bytes(), 0);
    for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        assert_int_equal(rig_alive(kinds[i]), 0);
    }
    free(rig);
    return 0;
}

/* The driver may have taken as much as is charged, and the process's first context. */
static void assert_all_charged(const struct rig *rig)
{
    assert_true(rig_used_bytes() <= rig->account.used_bytes + BLOCK);
}

static void small_ones_hold_their_block(void **state)
{
    struct rig *rig = *state;
    struct rig_channel *c = &rig->channels[0];
    uint64_t at[4096], blocks;

    for (unsigned i = 0; i < 4096; i++) {
        assert_int_equal(RIG_CALL(c, ALLOC, 1, 512), 0);
        at[i] = c->out[0];
    }
    assert_all_charged(rig);
    blocks = rig_used_bytes();
    assert_true(blocks > 2 * BLOCK);
    /* One is left in each block. */
    for (unsigned i = 0; i < 4096; i++) {
        if (i > 0 && at[i] / BLOCK == at[i - 1] / BLOCK) {
            assert_int_equal(RIG_CALL(c, FREE, 1, at[i]), 0);
        }
    }
    assert_int_equal(rig_used_bytes(), blocks);
    assert_all_charged(rig);
}

/* Free bytes in pieces serve no allocation that is larger than a piece. */
static void pieces_of_blocks_are_no_room(void **state)
{
    const uint64_t most = MIB - 8192;
    struct rig *rig = *state;
    struct rig_channel *c = &rig->channels[0];
    uint64_t first;
    unsigned many = 0;

    assert_int_equal(RIG_CALL(c, ALLOC, 1, most), 0);
    first = c->out[0];
    assert_int_equal(RIG_CALL(c, ALLOC, 1, 4096), 0);
    assert_int_equal(RIG_CALL(c, ALLOC, 1, most), 0);
    assert_int_equal(first / BLOCK, c->out[0] / BLOCK);
    assert_int_equal(RIG_CALL(c, FREE, 1, c->out[0]), 0);
    assert_int_equal(RIG_CALL(c, FREE, 1, first), 0);
    while (RIG_CALL(c, ALLOC, 1, MIB) == 0) {
        assert_true(rig->account.used_bytes <= rig->account.limit_bytes);
        assert_true(++many <= 512);
    }
    assert_all_charged(rig);
}

/* Where the VM may have no block more, what fits into those that there are is still to be had. */
static void the_last_block_can_be_filled(void **state)
{
    struct rig *rig = *state;
    struct rig_channel *c = &rig->channels[0];
    uint64_t used;
    uint32_t ns = 20000000;

    assert_int_equal(rig_function(c, 1, RIG_HANDLE(CUDA_KIND_MODULE, 0), 8, "spin"), 0);
    assert_int_equal(RIG_CALL(c, ALLOC, 1, 4096), 0);
    used = rig->account.used_bytes;
    assert_int_equal(RIG_CALL(c, ALLOC, 1, (512 * MIB - used) / BLOCK * BLOCK), 0);
    used = rig->account.used_bytes;
    assert_true(512 * MIB - used < BLOCK);
    assert_int_equal(RIG_CALL(c, ALLOC, 1, 64 * 1024), 0);
    assert_int_equal(rig_launch(c, 1, RIG_HANDLE(CUDA_KIND_FUNCTION, 8), 0, &ns, 4), 0);
    assert_int_equal(RIG_CALL(c, ALLOC, 1, 4096), 0); /* behind the kernel */
    assert_int_equal(rig->account.used_bytes, used);
    assert_int_equal(rig_launch(c, 1, RIG_HANDLE(CUDA_KIND_FUNCTION, 8), 0, &ns, 4), 0);
    assert_int_equal(RIG_CALL(c, ALLOC, 1, MIB), 2); /* that would be a new block */
    assert_int_equal(rig->account.used_bytes, used);
    assert_all_charged(rig);
}

static void the_limit_holds(void **state)
{
    struct rig *rig = *state;
    struct rig_channel *c = &rig->channels[0];
    unsigned many = 0;

    while (RIG_CALL(c, ALLOC, 1, 3 * MIB) == 0) {
        assert_true(++many < 200);
    }
    assert_in_range(many, 126, 128); /* 3 MiB take 4 */
    assert_int_equal(RIG_CALL(c, ALLOC, 1, 1ull << 63), 2);
    assert_true(rig->account.used_bytes <= 512 * MIB);
    assert_int_equal(RIG_CALL(c, MEM_INFO, 1, 0), 0);
    assert_true(c->out[0] < 4 * MIB && c->out[1] == 512 * MIB);
}

static void limits_of_a_context(void **state)
{
    struct rig *rig = *state;
    struct rig_channel *c = &rig->channels[0];
    uint64_t before = rig->account.used_bytes;

    assert_int_equal(RIG_CALL(c, cuCtxSetLimit, 1, STACK, 2048), 0);
    assert_int_equal(rig->account.used_bytes - before, 1024 * THREADS);
    assert_int_equal(RIG_CALL(c, cuCtxSetLimit, 1, STACK, 1024), 0);
    assert_int_equal(rig->account.used_bytes - before, 1024 * THREADS); /* it never shrinks */
    assert_int_equal(RIG_CALL(c, cuCtxSetLimit, 1, STACK, 64 << 10), 1);
    assert_int_equal(RIG_CALL(c, cuCtxSetLimit, 1, STACK, UINT64_MAX), 1);
    assert_int_equal(RIG_CALL(c, cuCtxSetLimit, 1, HEAP, 128 * MIB), 0);
    assert_int_equal(RIG_CALL(c, cuCtxSetLimit, 1, HEAP, 512 * MIB), 2);
    assert_int_equal(RIG_CALL(c, cuCtxSetLimit, 1, 99, 1), 1);
    assert_int_equal(RIG_CALL(c, cuCtxSetLimit, 1, 3, 2), CUDA_ERROR_UNSUPPORTED_LIMIT);
    assert_int_equal(RIG_CALL(c, cuCtxSetLimit, 1, 5, 64), 0);
    assert_int_equal(RIG_CALL(c, cuCtxSetLimit, 1, 6, 1 << 20), CUDA_ERROR_UNSUPPORTED_LIMIT);
    assert_all_charged(rig);
    assert_true(rig->account.used_bytes <= 512 * MIB);
}

/* A kernel's first launch makes the driver take local memory for every resident thread. */
static void local_memory_of_a_kernel(void **state)
{
    static const char image[] = "vgpu-test\nkernel some 8 local=1536\nkernel much 8 local=65536\n";
    const uint64_t module = RIG_HANDLE(CUDA_KIND_MODULE, 9), word = 0;
    struct rig *rig = *state;
    struct rig_channel *c = &rig->channels[0];
    uint64_t before;

    assert_int_equal(rig_ask(c, (struct rig_record){.op = CUDA_OP_IMAGE,
                                                    RIG_ARGS(0),
                                                    .payload = image,
                                                    .payload_bytes = sizeof(image)}),
                     0);
    assert_int_equal(RIG_CALL(c, MODULE_LOAD, 1, module, sizeof(image), 0, 0), 0);
    assert_int_equal(rig_function(c, 1, module, 10, "some"), 0);
    assert_int_equal(rig_function(c, 1, module, 11, "much"), 0);
    before = rig->account.used_bytes;
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(rig_launch(c, 1, RIG_HANDLE(CUDA_KIND_FUNCTION, 10), 0, &word, 8), 0);
        assert_int_equal(rig->account.used_bytes - before, 512 * THREADS);
    }
    assert_int_equal(rig_launch(c, 1, RIG_HANDLE(CUDA_KIND_FUNCTION, 11), 0, &word, 8), 2);
    assert_all_charged(rig);
}

static void a_pool_keeps_what_it_reserved(void **state)
{
    struct rig *rig = *state;
    struct rig_channel *c = &rig->channels[0];
    const uint64_t pool = RIG_HANDLE(CUDA_KIND_POOL, 20);
    uint64_t before = rig->account.used_bytes, address;

    assert_int_equal(RIG_CALL(c, POOL_OF, 1, pool), 0);
    assert_int_equal(RIG_CALL(c, POOL_SET, 1, pool, POOL_THRESHOLD, UINT64_MAX), 0);
    assert_int_equal(RIG_CALL(c, ALLOC_ASYNC, 1, 1, 0), 0);
    assert_int_equal(rig->account.used_bytes - before, 32 * MIB);
    address = c->out[0];
    assert_int_equal(RIG_CALL(c, FREE_ASYNC, 1, address, 0), 0);
    assert_int_equal(RIG_CALL(c, ALLOC_ASYNC, 1, 300 * MIB, 0), 0);
    address = c->out[0];
    assert_int_equal(RIG_CALL(c, ALLOC_ASYNC, 1, 300 * MIB, 0), 2);
    assert_int_equal(RIG_CALL(c, FREE_ASYNC, 1, address, 0), 0);
    assert_all_charged(rig);
    /* What is only kept makes room for what is wanted, of whatever kind. */
    assert_int_equal(RIG_CALL(c, ALLOC_ASYNC, 1, 400 * MIB, 0), 0);
    assert_int_equal(RIG_CALL(c, FREE_ASYNC, 1, c->out[0], 0), 0);
    assert_int_equal(RIG_CALL(c, cuMemPoolTrimTo, 1, pool, 0), 0);
    assert_int_equal(RIG_CALL(c, ALLOC, 1, 400 * MIB), 0);
    assert_all_charged(rig);
}

/* A pool is trimmed where it is full, but the driver never waits for that. */
static void a_pool_is_trimmed_when_nothing_runs(void **state)
{
    struct rig *rig = *state;
    struct rig_channel *c = &rig->channels[0];
    const uint64_t pool = RIG_HANDLE(CUDA_KIND_POOL, 20);
    uint32_t ns = 50000000;

    assert_int_equal(rig_function(c, 1, RIG_HANDLE(CUDA_KIND_MODULE, 0), 8, "spin"), 0);
    assert_int_equal(RIG_CALL(c, POOL_OF, 1, pool), 0);
    assert_int_equal(RIG_CALL(c, POOL_SET, 1, pool, POOL_THRESHOLD, UINT64_MAX), 0);
    assert_int_equal(RIG_CALL(c, ALLOC_ASYNC, 1, 300 * MIB, 0), 0);
    assert_int_equal(RIG_CALL(c, FREE_ASYNC, 1, c->out[0], 0), 0);
    assert_int_equal(rig_launch(c, 1, RIG_HANDLE(CUDA_KIND_FUNCTION, 8), 0, &ns, 4), 0);
    assert_int_equal(RIG_CALL(c, ALLOC_ASYNC, 1, 400 * MIB, 0), 0);
    assert_all_charged(rig);
}

/* One that the process has destroyed is charged until its last allocation has gone. */
static void pools_of_its_own(void **state)
{
    struct rig *rig = *state;
    struct rig_channel *c = &rig->channels[0];
    const uint64_t pool = RIG_HANDLE(CUDA_KIND_POOL, 20), other = RIG_HANDLE(CUDA_KIND_POOL, 21);
    uint64_t before = rig->account.used_bytes, one, two;

    assert_int_equal(RIG_CALL(c, POOL_CREATE, 0, pool, 0), 0);
    assert_int_equal(RIG_CALL(c, POOL_CREATE, 0, other, 0), 0);
    assert_int_equal(RIG_CALL(c, POOL_CREATE, 0, other, 0), CUDA_ERROR_INVALID_HANDLE);
    assert_int_equal(RIG_CALL(c, POOL_SET, 0, pool, POOL_THRESHOLD, UINT64_MAX), 0);
    assert_int_equal(RIG_CALL(c, ALLOC_ASYNC, 1, 200 * MIB, 0, pool), 0);
    one = c->out[0];
    assert_int_equal(RIG_CALL(c, ALLOC_ASYNC, 1, 100 * MIB, 0, other), 0);
    two = c->out[0];
    assert_int_equal(RIG_CALL(c, ALLOC_ASYNC, 1, 300 * MIB, 0, other), 2);
    assert_int_equal(RIG_CALL(c, ALLOC_ASYNC, 1, 1, 0, two), CUDA_ERROR_INVALID_HANDLE);
    assert_all_charged(rig);
    assert_int_equal(RIG_CALL(c, POOL_DESTROY, 0, other), 0);
    assert_int_equal(RIG_CALL(c, POOL_DESTROY, 0, other), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(RIG_CALL(c, ALLOC_ASYNC, 1, 1, 0, other), CUDA_ERROR_INVALID_HANDLE);
    assert_int_equal(rig_alive("pool"), 2);
    assert_all_charged(rig);
    assert_int_equal(RIG_CALL(c, FREE_ASYNC, 1, two, 0), 0);
    assert_int_equal(rig_alive("pool"), 1);
    assert_int_equal(RIG_CALL(c, FREE_ASYNC, 1, one, 0), 0);
    /* What one keeps makes room for another one. */
    assert_int_equal(RIG_CALL(c, ALLOC_ASYNC, 1, 400 * MIB, 0), 0);
    assert_all_charged(rig);
    assert_int_equal(RIG_CALL(c, FREE_ASYNC, 1, c->out[0], 0), 0);
    assert_int_equal(RIG_CALL(c, POOL_OF, 0, other), 0);
    assert_int_equal(RIG_CALL(c, POOL_DESTROY, 0, other), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(RIG_CALL(c, CTX_SYNC, 1, 0), 0);
    assert_int_equal(RIG_CALL(c, POOL_DESTROY, 0, pool), 0);
    assert_int_equal(RIG_CALL(c, cuMemPoolTrimTo, 1, other, 0), 0);
    assert_int_equal(rig->account.used_bytes, before);
    for (unsigned i = 1; i < DRIVER_POOLS_MAX; i++) {
        assert_int_equal(RIG_CALL(c, POOL_CREATE, 0, RIG_HANDLE(CUDA_KIND_POOL, 30 + i), 0), 0);
    }
    assert_int_equal(RIG_CALL(c, POOL_CREATE, 0, RIG_HANDLE(CUDA_KIND_POOL, 30), 0), 2);
}

static void what_a_process_leaves(void **state)
{
    struct rig *rig = *state;
    struct rig_channel *c = &rig->channels[0], *other = rig_channel(rig);
    uint64_t used;

    used = rig->account.used_bytes;
    rig_begin(other);
    assert_int_equal(RIG_CALL(other, ALLOC_ASYNC, 1, 100 * MIB, 0), 0);
    assert_int_equal(RIG_CALL(other, ALLOC, 1, 10 * MIB), 0);
    rig_channel_end(other);
    assert_int_equal(rig->account.used_bytes, used);
    assert_all_charged(rig);
    assert_int_equal(RIG_CALL(c, ALLOC, 1, 500 * MIB), 0);
}

static void contexts_after_the_first(void **state)
{
    struct rig *rig = *state;
    struct rig_channel *c = &rig->channels[0];
    unsigned made = 0;

    for (unsigned i = 2; i < 10; i++) {
        made += RIG_CALL(c, CTX_CREATE, 0, RIG_CONTEXT(i), 0) == 0;
    }
    assert_int_equal(made, 0); /* half a GiB is taken by none but the first */
    rig->account.limit_bytes = 2048 * MIB;
    for (unsigned i = 2; i < 10; i++) {
        made += RIG_CALL(c, CTX_CREATE, 0, RIG_CONTEXT(i), 0) == 0;
    }
    assert_int_equal(made, 3);
    assert_int_equal(RIG_CALL(c, CTX_DESTROY, 3, RIG_CONTEXT(3)), 0);
    assert_int_equal(RIG_CALL(c, CTX_CREATE, 0, RIG_CONTEXT(3), 0), 0);
}

/* Operations of libvgpu and programs have one account. */
static void one_account_for_all_profiles(void **state)
{
    struct rig *rig = *state;

    assert_true(memory_charge(&rig->account, 400 * MIB));
    assert_int_equal(RIG_CALL(&rig->channels[0], ALLOC, 1, 200 * MIB), 2);
    memory_discharge(&rig->account, 400 * MIB);
    assert_int_equal(RIG_CALL(&rig->channels[0], ALLOC, 1, 200 * MIB), 0);
    assert_false(memory_charge(&rig->account, 400 * MIB));
    assert_false(memory_charge(&rig->account, UINT64_MAX));
    assert_true(memory_charge(&rig->account, 0));
}

static void images_are_staged_within_bounds(void **state)
{
    static uint8_t part[48 << 10];
    struct rig *rig = *state;
    struct rig_channel *c = &rig->channels[0];
    CUresult result = CUDA_SUCCESS;
    uint64_t at = 0;

    rig->set.staged_bytes = CUDA_IMAGE_MAX - 4 * MIB; /* other programs of the VM */
    for (; at < 64 * MIB && result == CUDA_SUCCESS; at += sizeof(part)) {
        result = rig_ask(c, (struct rig_record){.op = CUDA_OP_IMAGE,
                                                RIG_ARGS(at),
                                                .payload = part,
                                                .payload_bytes = sizeof(part)});
    }
    assert_int_equal(result, CUDA_ERROR_OUT_OF_MEMORY);
    assert_true(at < 8 * MIB);
    assert_int_equal(RIG_CALL(c, MODULE_LOAD, 1, RIG_HANDLE(CUDA_KIND_MODULE, 30), at, 0, 0), 2);
    assert_int_equal(rig->set.staged_bytes, CUDA_IMAGE_MAX - 4 * MIB);
    rig->set.staged_bytes = 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_rig, close_rig)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(small_ones_hold_their_block),
        TEST(pieces_of_blocks_are_no_room),
        TEST(the_last_block_can_be_filled),
        TEST(the_limit_holds),
        TEST(limits_of_a_context),
        TEST(local_memory_of_a_kernel),
        TEST(a_pool_keeps_what_it_reserved),
        TEST(a_pool_is_trimmed_when_nothing_runs),
        TEST(pools_of_its_own),
        TEST(what_a_process_leaves),
        TEST(contexts_after_the_first),
        TEST(one_account_for_all_profiles),
        TEST(images_are_staged_within_bounds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
