/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The figures of a VM that its own programs may ask for (NVML). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "tests/cuda/rig.h"

#define LIMIT_BYTES (700ull << 20)
#define SPIN_NS 20000000u
#define ROUNDS_MAX 1000000u

static CUDAAccount account_of(struct rig_channel *c)
{
    CUDAAccount account;

    assert_int_equal(RIG_CALL(c, ACCOUNT, 0, 0), 0);
    memcpy(&account, c->out, sizeof(account));
    return account;
}

static void memory_and_turns(void **state)
{
    struct rig rig;
    struct rig_channel *c, *other;
    CUDAAccount before, after;
    const uint32_t spin_ns = SPIN_NS;

    (void)state;
    rig_open(&rig, LIMIT_BYTES);
    c = rig_channel(&rig);
    other = rig_channel(&rig); /* of another program of the VM, without a context */
    rig_begin(c);
    before = account_of(other);
    assert_int_equal(before.limit_bytes, LIMIT_BYTES);
    assert_int_equal(before.turns_ns, 0);
    assert_int_equal(RIG_CALL(c, ALLOC, 1, 32u << 20), 0);
    assert_true(account_of(other).used_bytes - before.used_bytes >= 32u << 20);

    assert_int_equal(rig_function(c, 1, RIG_HANDLE(CUDA_KIND_MODULE, 0), 1, "spin"), 0);
    assert_int_equal(
        rig_launch(c, 1, RIG_HANDLE(CUDA_KIND_FUNCTION, 1), 0, &spin_ns, sizeof(spin_ns)), 0);
    rig_settle(c);
    after = account_of(other);
    for (unsigned i = 0; after.turns_ns == 0 && i < ROUNDS_MAX; i++) { /* its turn is to end */
        rig_step(c);
        after = account_of(other);
    }
    assert_true(after.turns_ns >= SPIN_NS);
    assert_true(after.clock_ns - before.clock_ns >= after.turns_ns);
    rig_close(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(memory_and_turns)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
