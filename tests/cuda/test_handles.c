/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Handles, what they hold, and what ends with them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "tests/cuda/rig.h"

#define MODULE RIG_HANDLE(CUDA_KIND_MODULE, 0)
#define LIBRARY RIG_HANDLE(CUDA_KIND_LIBRARY, 1)
#define KERNEL RIG_HANDLE(CUDA_KIND_KERNEL, 2)
#define FUNCTION(n) RIG_HANDLE(CUDA_KIND_FUNCTION, n)
#define STREAM(n) RIG_HANDLE(CUDA_KIND_STREAM, n)
#define EVENT(n) RIG_HANDLE(CUDA_KIND_EVENT, n)

static int open_rig(void **state)
{
    rig_setup(state, 0);
    return 0;
}

/* INIT refuses devices that must not serve guests, so nothing else comes before it. */
static void nothing_before_init(void **state)
{
    struct rig *rig = *state;
    struct rig_channel *c = rig_channel(rig);

    assert_int_equal(RIG_CALL(c, CTX_CREATE, 0, RIG_CONTEXT(1), 0), CUDA_ERROR_NOT_INITIALIZED);
    assert_int_equal(rig_alive("context"), 1); /* of the other channel */
    assert_int_equal(rig_ask(c, (struct rig_record){.op = CUDA_OP_IMAGE,
                                                    RIG_ARGS(0),
                                                    .payload = rig_image,
                                                    .payload_bytes = 8}),
                     CUDA_ERROR_NOT_INITIALIZED);
    assert_int_equal(RIG_CALL(c, POOL_OF, 0, RIG_HANDLE(CUDA_KIND_POOL, 1)),
                     CUDA_ERROR_NOT_INITIALIZED);
    assert_int_equal(RIG_CALL(c, ACCOUNT, 0, 0), 0);
    rig_begin(c);
}

static void load_library(struct rig_channel *c)
{
    assert_int_equal(
        rig_ask(c, (struct rig_record){.op = CUDA_OP_IMAGE,
                                       RIG_ARGS(0),
                                       .payload = rig_image,
                                       .payload_bytes = (uint32_t)strlen(rig_image) + 1}),
        0);
    assert_int_equal(RIG_CALL(c, LIBRARY_LOAD, 0, LIBRARY, strlen(rig_image) + 1, 0, 0), 0);
}

static CUresult get(struct rig_channel *c, uint64_t handle, uint64_t of, unsigned how,
                    const char *name)
{
    return rig_ask(c, (struct rig_record){.op = CUDA_OP_GET_FUNCTION,
                                          .context = 1,
                                          RIG_ARGS(handle, of, how, strlen(name) + 1),
                                          .payload = name,
                                          .payload_bytes = (uint32_t)strlen(name) + 1});
}

static void a_function_ends_with_its_library(void **state)
{
    struct rig_channel *c = rig_first(state);
    const uint64_t module = RIG_HANDLE(CUDA_KIND_MODULE, 5);

    load_library(c);
    assert_int_equal(get(c, KERNEL, LIBRARY, CUDA_GET_OF_LIBRARY, "nop"), 0);
    assert_int_equal(get(c, FUNCTION(3), KERNEL, CUDA_GET_OF_KERNEL, "nop"), 0);
    assert_int_equal(RIG_CALL(c, cuLibraryGetModule, 1, module, LIBRARY), 0);
    assert_int_equal(get(c, FUNCTION(4), module, CUDA_GET_OF_MODULE, "nop"), 0);
    assert_int_equal(rig_launch(c, 1, FUNCTION(3), 0, NULL, 0), 0);
    assert_int_equal(rig_launch(c, 1, KERNEL, 0, NULL, 0), 0);
    assert_int_equal(RIG_CALL(c, cuLibraryUnload, 1, LIBRARY), 0);
    /* The stand-in ends the process at what a driver would crash at. */
    assert_int_equal(rig_launch(c, 1, FUNCTION(3), 0, NULL, 0), CUDA_ERROR_INVALID_HANDLE);
    assert_int_equal(rig_launch(c, 1, FUNCTION(4), 0, NULL, 0), CUDA_ERROR_INVALID_HANDLE);
    assert_int_equal(rig_launch(c, 1, KERNEL, 0, NULL, 0), CUDA_ERROR_INVALID_HANDLE);
    assert_int_equal(RIG_CALL(c, cuModuleUnload, 1, module), CUDA_ERROR_INVALID_HANDLE);
    assert_int_equal(get(c, FUNCTION(6), MODULE, CUDA_GET_OF_MODULE, "nop"), 0);
}

/* The driver would read a CUkernel as something else. */
static void a_kernel_stands_for_its_function(void **state)
{
    const uint64_t of[] = {KERNEL, FUNCTION(3)};
    struct rig_channel *c = rig_first(state);

    load_library(c);
    assert_int_equal(get(c, KERNEL, LIBRARY, CUDA_GET_OF_LIBRARY, "nop"), 0);
    assert_int_equal(get(c, FUNCTION(3), KERNEL, CUDA_GET_OF_KERNEL, "nop"), 0);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(RIG_CALL(c, cuFuncLoad, 1, of[i]), 0);
        assert_int_equal(RIG_CALL(c, cuFuncIsLoaded, 1, of[i]), 0);
        assert_int_equal(c->out[0], 1);
        assert_int_equal(RIG_CALL(c, cuFuncSetCacheConfig, 1, of[i], 1), 0);
        assert_int_equal(RIG_CALL(c, cuFuncSetSharedMemConfig, 1, of[i], 1), 0);
    }
    assert_int_equal(RIG_CALL(c, cuFuncLoad, 1, MODULE), CUDA_ERROR_INVALID_HANDLE);
}

/* One that is no value alone may hold an address, which the driver would believe. */
static void attributes_of_launches_are_values(void **state)
{
    static const unsigned values[] = {0, 2, 4, 5, 6, 8, 9, 10, 11, 14};
    struct rig_channel *c = rig_first(state);
    unsigned next = 0;

    assert_int_equal(rig_function(c, 1, MODULE, 8, "nop"), 0);
    for (unsigned id = 0; id <= 18; id++) {
        CUlaunchAttribute attribute = {.id = id};
        bool is_value = next < sizeof(values) / sizeof(values[0]) && values[next] == id;

        next += is_value;
        assert_int_equal(
            rig_ask(c, (struct rig_record){.op = CUDA_OP_LAUNCH,
                                           .context = 1,
                                           RIG_ARGS(FUNCTION(8), 1 | 1ull << 32, 1, 1 | 1ull << 32,
                                                    1 | 1ull << 32, 0, 0),
                                           .payload = &attribute,
                                           .payload_bytes = sizeof(attribute)}),
            id > 17    ? CUDA_ERROR_INVALID_VALUE
            : is_value ? 0
                       : CUDA_ERROR_NOT_SUPPORTED);
    }
}

static void contexts_dump_no_core(void **state)
{
    struct rig_channel *c = rig_first(state);

    /* The stand-in ends who asks for a dump. */
    assert_int_equal(RIG_CALL(c, CTX_CREATE, 0, RIG_CONTEXT(2), 0xff), 0);
    assert_int_equal(RIG_CALL(c, CTX_CREATE, 0, RIG_CONTEXT(3), 0x100), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(RIG_CALL(c, CTX_CREATE, 0, RIG_CONTEXT(3), 1ull << 32),
                     CUDA_ERROR_INVALID_VALUE);
}

static void libraries_end_with_the_channel(void **state)
{
    struct rig *rig = *state;

    load_library(rig_first(state));
    assert_int_equal(rig_alive("library"), 1);
    rig_channel_end(&rig->channels[0]);
    assert_int_equal(rig_alive("library"), 0);
}

static void __attribute__((noinline)) leave_something_on_the_stack(void)
{
    volatile uint8_t bytes[32768];

    for (size_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] = 0xA5;
    }
}

static void an_answer_holds_nothing_of_the_worker(void **state)
{
    struct rig_channel *c = rig_first(state);

    leave_something_on_the_stack();
    assert_int_equal(RIG_CALL(c, ALLOC_ASYNC, 1, 0, 0), 0);
    assert_int_equal(c->out[0], 0);
}

static CUresult variable(struct rig_channel *c, uint64_t module)
{
    return rig_ask(c, (struct rig_record){.op = CUDA_OP_cuModuleGetGlobal_v2,
                                          .context = 1,
                                          RIG_ARGS(module, 8),
                                          .payload = "counter",
                                          .payload_bytes = 8});
}

static void variables_end_with_their_module(void **state)
{
    struct rig_channel *c = rig_first(state);
    uint64_t address;

    assert_int_equal(variable(c, MODULE), 0);
    address = c->out[0];
    assert_int_equal(RIG_CALL(c, cuMemsetD32_v2, 1, address, 7, 1), 0);
    assert_int_equal(RIG_CALL(c, cuModuleUnload, 1, MODULE), 0);
    assert_int_equal(RIG_CALL(c, cuMemsetD32_v2, 1, address, 7, 1), CUDA_ERROR_INVALID_VALUE);
}

/* A handle of the wrong kind is seen before the driver makes anything. */
static void the_kind_is_checked_first(void **state)
{
    struct rig_channel *c = rig_first(state);

    assert_int_equal(RIG_CALL(c, cuStreamCreate, 1, EVENT(7), 0), CUDA_ERROR_INVALID_HANDLE);
    assert_int_equal(RIG_CALL(c, cuEventCreate, 1, STREAM(7), 0), CUDA_ERROR_INVALID_HANDLE);
    assert_int_equal(rig_alive("stream"), 0);
    assert_int_equal(RIG_CALL(c, POOL_OF, 1, STREAM(7)), CUDA_ERROR_INVALID_HANDLE);
    assert_int_equal(RIG_CALL(c, MODULE_LOAD, 1, LIBRARY, 10, 0, 0), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(get(c, KERNEL, MODULE, CUDA_GET_OF_MODULE, "nop"), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(RIG_CALL(c, cuStreamCreate, 1, STREAM(7), 0), 0);
}

/* Each takes memory that the account does not see. */
static void streams_are_counted(void **state)
{
    struct rig_channel *c = rig_first(state);

    assert_int_equal(RIG_CALL(c, CTX_CREATE, 0, RIG_CONTEXT(2), 0), 0);
    for (unsigned i = 0; i < DRIVER_STREAMS_MAX; i++) {
        assert_int_equal(RIG_CALL(c, cuStreamCreate, 1 + i % 2, STREAM(50 + i), 0), 0);
    }
    assert_int_equal(RIG_CALL(c, cuStreamCreate, 1, STREAM(7), 0), CUDA_ERROR_OUT_OF_MEMORY);
    assert_int_equal(RIG_CALL(c, cuStreamCreateWithPriority, 1, STREAM(7), 0, 0),
                     CUDA_ERROR_OUT_OF_MEMORY);
    assert_int_equal(RIG_CALL(c, cuStreamDestroy_v2, 1, STREAM(50)), 0);
    assert_int_equal(RIG_CALL(c, cuStreamCreate, 1, STREAM(7), 0), 0);
    assert_int_equal(RIG_CALL(c, CTX_DESTROY, 2, RIG_CONTEXT(2)), 0);
    assert_int_equal(RIG_CALL(c, cuStreamCreate, 1, STREAM(8), 0), 0);
}

static void handles_of_another_context(void **state)
{
    struct rig_channel *c = rig_first(state);

    assert_int_equal(rig_function(c, 1, MODULE, 8, "nop"), 0);
    assert_int_equal(RIG_CALL(c, ALLOC, 1, 64), 0);
    assert_int_equal(RIG_CALL(c, cuStreamCreate, 1, STREAM(9), 0), 0);
    assert_int_equal(RIG_CALL(c, cuEventCreate, 1, EVENT(10), 0), 0);
    assert_int_equal(RIG_CALL(c, CTX_CREATE, 0, RIG_CONTEXT(2), 0), 0);
    assert_int_equal(RIG_CALL(c, cuStreamCreate, 2, STREAM(11), 0), 0);
    assert_int_equal(rig_launch(c, 2, FUNCTION(8), 0, NULL, 0), CUDA_ERROR_INVALID_HANDLE);
    assert_int_equal(rig_function(c, 2, MODULE, 12, "nop"), CUDA_ERROR_INVALID_HANDLE);
    assert_int_equal(RIG_CALL(c, cuModuleUnload, 2, MODULE), CUDA_ERROR_INVALID_HANDLE);
    assert_int_equal(RIG_CALL(c, cuEventRecord, 2, EVENT(10), 0), CUDA_ERROR_INVALID_HANDLE);
    assert_int_equal(RIG_CALL(c, cuMemsetD8Async, 2, c->out[0], 0, 4, STREAM(9)),
                     CUDA_ERROR_INVALID_HANDLE);
    /* As natively, these work from anywhere. */
    assert_int_equal(RIG_CALL(c, cuEventRecord, 1, EVENT(10), STREAM(9)), 0);
    assert_int_equal(RIG_CALL(c, cuStreamWaitEvent, 2, STREAM(11), EVENT(10), 0), 0);
    assert_int_equal(RIG_CALL(c, STREAM_SYNC, 2, STREAM(9)), 0);
    assert_int_equal(RIG_CALL(c, EVENT_SYNC, 2, EVENT(10)), 0);
    assert_int_equal(RIG_CALL(c, cuStreamDestroy_v2, 2, STREAM(9)), 0);
}

/* A mark in a stream of a context that is not the current one makes that context busy. */
static void a_barrier_sees_work_put_from_another_context(void **state)
{
    struct rig_channel *c = rig_first(state);
    uint32_t ns = 50000000;
    uint64_t address;

    assert_int_equal(rig_function(c, 1, MODULE, 8, "spin"), 0);
    assert_int_equal(RIG_CALL(c, cuEventCreate, 1, EVENT(10), 0), 0);
    assert_int_equal(RIG_CALL(c, CTX_CREATE, 0, RIG_CONTEXT(2), 0), 0);
    assert_int_equal(RIG_CALL(c, cuStreamCreate, 2, STREAM(11), 1), 0);
    assert_int_equal(RIG_CALL(c, ALLOC, 2, 64), 0);
    address = c->out[0];
    assert_int_equal(rig_launch(c, 1, FUNCTION(8), 0, &ns, 4), 0);
    assert_int_equal(RIG_CALL(c, cuEventRecord, 1, EVENT(10), 0), 0);
    assert_int_equal(RIG_CALL(c, cuStreamWaitEvent, 1, STREAM(11), EVENT(10), 0), 0);
    assert_int_equal(RIG_CALL(c, FREE, 2, address), 0); /* the stand-in ends who makes it wait */
}

/* The stand-in ends who makes it wait: for the memory's own context, and for a library's modules in
 * any of them. */
static void the_driver_waits_for_no_context(void **state)
{
    struct rig_channel *c = rig_first(state);
    const uint64_t module = RIG_HANDLE(CUDA_KIND_MODULE, 5);
    uint32_t ns = 50000000;
    uint64_t at[3];

    load_library(c);
    assert_int_equal(RIG_CALL(c, CTX_CREATE, 0, RIG_CONTEXT(2), 0), 0);
    assert_int_equal(RIG_CALL(c, cuLibraryGetModule, 1, module, LIBRARY), 0);
    assert_int_equal(rig_function(c, 1, module, 8, "spin"), 0);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(RIG_CALL(c, ALLOC, 1, 64), 0);
        at[i] = c->out[0];
    }
    assert_int_equal(rig_launch(c, 1, FUNCTION(8), 0, &ns, 4), 0);
    assert_int_equal(RIG_CALL(c, FREE, 2, at[0]), 0);
    assert_int_equal(rig_launch(c, 1, FUNCTION(8), 0, &ns, 4), 0);
    assert_int_equal(RIG_CALL(c, FREE_ASYNC, 1, at[1], 0), 0);
    assert_int_equal(rig_launch(c, 1, FUNCTION(8), 0, &ns, 4), 0);
    assert_int_equal(RIG_CALL(c, FREE_ASYNC, 2, at[2], 0), 0);
    assert_int_equal(rig_launch(c, 1, FUNCTION(8), 0, &ns, 4), 0);
    assert_int_equal(RIG_CALL(c, cuLibraryUnload, 2, LIBRARY), 0);
}

/* An error that nobody waited for is no answer to a call that makes something. */
static void late_errors_come_with_a_wait(void **state)
{
    struct rig_channel *c = rig_first(state);
    struct rig_record bad = {.op = CUDA_OP_cuMemsetD32_v2, .context = 1, RIG_ARGS(4096, 0, 1)};

    rig_put(c, &bad);
    assert_int_equal(RIG_CALL(c, cuStreamCreate, 1, STREAM(13), 0), 0);
    assert_int_equal(RIG_CALL(c, cuStreamDestroy_v2, 1, STREAM(13)), 0);
    assert_int_equal(rig_ask(c, (struct rig_record){.op = CUDA_OP_CTX_SYNC,
                                                    .flags = VGPU_RECORD_WAIT,
                                                    .context = 1}),
                     CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(rig_ask(c, (struct rig_record){.op = CUDA_OP_CTX_SYNC,
                                                    .flags = VGPU_RECORD_WAIT,
                                                    .context = 1}),
                     0);
}

/* Memory that a context registered with the driver is registered anew after its end. */
static void pinned_memory_outlives_its_context(void **state)
{
    struct rig_channel *c = rig_first(state);
    uint64_t device;

    assert_int_equal(RIG_CALL(c, CTX_CREATE, 0, RIG_CONTEXT(2), 0), 0);
    assert_int_equal(RIG_CALL(c, PIN, 2, 0, 4096), 0);
    assert_int_equal(RIG_CALL(c, ALLOC, 1, 4096), 0);
    device = c->out[0];
    assert_int_equal(RIG_CALL(c, PINNED_IN, 1, device, RIG_WINDOW, 4096, 0), 0);
    assert_int_equal(RIG_CALL(c, CTX_DESTROY, 2, RIG_CONTEXT(2)), 0);
    assert_int_equal(RIG_CALL(c, cuMemcpyDtoD_v2, 1, device, RIG_WINDOW, 64),
                     CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(RIG_CALL(c, PINNED_OUT, 1, RIG_WINDOW, device, 4096, 0), 0);
    assert_int_equal(RIG_CALL(c, cuMemcpyDtoD_v2, 1, device, RIG_WINDOW, 64), 0);
    rig_settle(c);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_rig, rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(nothing_before_init),
        TEST(an_answer_holds_nothing_of_the_worker),
        TEST(a_function_ends_with_its_library),
        TEST(libraries_end_with_the_channel),
        TEST(a_kernel_stands_for_its_function),
        TEST(attributes_of_launches_are_values),
        TEST(contexts_dump_no_core),
        TEST(variables_end_with_their_module),
        TEST(the_kind_is_checked_first),
        TEST(streams_are_counted),
        TEST(handles_of_another_context),
        TEST(a_barrier_sees_work_put_from_another_context),
        TEST(the_driver_waits_for_no_context),
        TEST(late_errors_come_with_a_wait),
        TEST(pinned_memory_outlives_its_context),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
