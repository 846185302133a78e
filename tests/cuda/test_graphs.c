/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Captures and graphs of a process that does what no library would. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/cuda/rig.h"

#define MODULE RIG_HANDLE(CUDA_KIND_MODULE, 0)
#define INCREMENT RIG_HANDLE(CUDA_KIND_FUNCTION, 1)
#define SPIN RIG_HANDLE(CUDA_KIND_FUNCTION, 2)
#define STREAM(n) RIG_HANDLE(CUDA_KIND_STREAM, 10 + (n))
#define EVENT RIG_HANDLE(CUDA_KIND_EVENT, 20)
#define GRAPH(n) RIG_HANDLE(CUDA_KIND_GRAPH, 30 + (n))
#define EXEC(n) RIG_HANDLE(CUDA_KIND_GRAPH_EXEC, 40 + (n))
#define NODE(n) RIG_HANDLE(CUDA_KIND_GRAPH_NODE, 50 + (n))

static int open_rig(void **state)
{
    struct rig_channel *c = rig_setup(state, 0);

    assert_int_equal(rig_function(c, 1, MODULE, 1, "increment"), 0);
    assert_int_equal(rig_function(c, 1, MODULE, 2, "spin"), 0);
    for (unsigned i = 0; i < 3; i++) { /* the last one waits for the default stream */
        assert_int_equal(RIG_CALL(c, cuStreamCreate, 1, STREAM(i), i < 2), 0);
    }
    assert_int_equal(RIG_CALL(c, cuEventCreate, 1, EVENT, 2), 0);
    return 0;
}

static uint64_t allocate(struct rig_channel *c)
{
    assert_int_equal(RIG_CALL(c, ALLOC, 1, 4096), 0);
    return c->out[0];
}

static void begin(struct rig_channel *c, unsigned stream)
{
    assert_int_equal(RIG_CALL(c, CAPTURE_BEGIN, 1, STREAM(stream), 0), 0);
}

static CUresult end(struct rig_channel *c, unsigned stream, unsigned graph)
{
    return RIG_CALL(c, CAPTURE_END, 1, GRAPH(graph), STREAM(stream));
}

static CUresult launch(struct rig_channel *c, unsigned exec)
{
    return RIG_CALL(c, GRAPH_LAUNCH, 1, EXEC(exec), STREAM(1));
}

static unsigned captures(struct rig_channel *c)
{
    assert_int_equal(c->channel->captures, c->channel->contexts[1].captures);
    return c->channel->captures;
}

/* Freed memory may be anything of the worker's by the time of the launch. */
static void a_graph_of_freed_memory_does_not_run(void **state)
{
    struct rig_channel *c = rig_first(state);
    uint64_t memory = allocate(c);

    begin(c, 0);
    assert_int_equal(RIG_CALL(c, cuMemsetD32Async, 1, memory, 5, 16, STREAM(0)), 0);
    assert_int_equal(end(c, 0, 0), 0);
    assert_int_equal(RIG_CALL(c, GRAPH_INSTANTIATE, 1, EXEC(0), GRAPH(0), 0), 0);
    assert_int_equal(RIG_CALL(c, GRAPH_CLONE, 1, GRAPH(1), GRAPH(0)), 0);
    assert_int_equal(launch(c, 0), 0);
    rig_settle(c);
    assert_int_equal(RIG_CALL(c, FREE, 1, memory), 0);
    assert_int_equal(launch(c, 0), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(RIG_CALL(c, GRAPH_INSTANTIATE, 1, EXEC(1), GRAPH(0), 0),
                     CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(RIG_CALL(c, GRAPH_INSTANTIATE, 1, EXEC(1), GRAPH(1), 0),
                     CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(RIG_CALL(c, GRAPH_UPDATE, 1, EXEC(0), GRAPH(1)), CUDA_ERROR_INVALID_VALUE);
}

static void a_graph_of_an_unloaded_function_does_not_run(void **state)
{
    struct rig_channel *c = rig_first(state);
    uint64_t memory = allocate(c);

    begin(c, 0);
    assert_int_equal(rig_launch(c, 1, INCREMENT, STREAM(0), &memory, 8), 0);
    assert_int_equal(end(c, 0, 0), 0);
    assert_int_equal(RIG_CALL(c, GRAPH_INSTANTIATE, 1, EXEC(0), GRAPH(0), 0), 0);
    assert_int_equal(launch(c, 0), 0);
    assert_int_equal(RIG_CALL(c, cuModuleUnload, 1, MODULE), 0);
    assert_int_equal(launch(c, 0), CUDA_ERROR_INVALID_VALUE);
}

/* A launch into a captured stream takes what the graph uses along. */
static void a_graph_in_a_graph_uses_the_same(void **state)
{
    struct rig_channel *c = rig_first(state);
    uint64_t memory = allocate(c);

    begin(c, 0);
    assert_int_equal(RIG_CALL(c, cuMemsetD32Async, 1, memory, 5, 16, STREAM(0)), 0);
    assert_int_equal(end(c, 0, 0), 0);
    assert_int_equal(RIG_CALL(c, GRAPH_INSTANTIATE, 1, EXEC(0), GRAPH(0), 0), 0);
    begin(c, 1);
    assert_int_equal(launch(c, 0), 0);
    assert_int_equal(end(c, 1, 1), 0);
    assert_int_equal(RIG_CALL(c, GRAPH_INSTANTIATE, 1, EXEC(1), GRAPH(1), 0), 0);
    assert_int_equal(launch(c, 1), 0);
    rig_settle(c);
    assert_int_equal(RIG_CALL(c, FREE, 1, memory), 0);
    assert_int_equal(launch(c, 1), CUDA_ERROR_INVALID_VALUE);
}

/* The bytes would be others when the graph runs, or have nobody who waits for them. */
static void copies_of_ordinary_memory_are_no_nodes(void **state)
{
    struct rig_channel *c = rig_first(state);
    uint64_t memory = allocate(c), bytes = 7;

    begin(c, 0);
    assert_int_equal(rig_ask(c, (struct rig_record){.op = CUDA_OP_COPY_IN,
                                                    .context = 1,
                                                    RIG_ARGS(memory, 8, STREAM(0), UINT64_MAX),
                                                    .payload = &bytes,
                                                    .payload_bytes = 8}),
                     CUDA_ERROR_NOT_SUPPORTED);
    assert_int_equal(RIG_CALL(c, COPY_OUT, 1, memory, 8, STREAM(0), 0), CUDA_ERROR_NOT_SUPPORTED);
    assert_int_equal(RIG_CALL(c, ALLOC_ASYNC, 1, 64, STREAM(0)), CUDA_ERROR_NOT_SUPPORTED);
    assert_int_equal(RIG_CALL(c, FREE_ASYNC, 1, memory, STREAM(0)), CUDA_ERROR_NOT_SUPPORTED);
    assert_int_equal(RIG_CALL(c, STREAM_SYNC, 1, STREAM(0)), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    assert_int_equal(end(c, 0, 0), 0);
}

/* The stand-in ends the process at an event over a context with a capture. */
static void barriers_and_turns_leave_captures_alone(void **state)
{
    struct rig_channel *c = rig_first(state);
    uint64_t memory = allocate(c), other = allocate(c);
    uint32_t ns = 20000000;

    begin(c, 0);
    assert_int_equal(rig_launch(c, 1, INCREMENT, STREAM(0), &memory, 8), 0);
    assert_int_equal(rig_launch(c, 1, SPIN, STREAM(1), &ns, 4), 0);
    assert_int_equal(rig_launch(c, 1, SPIN, 0, &ns, 4), 0);
    assert_int_equal(RIG_CALL(c, FREE, 1, other), 0); /* it waits for the two */
    assert_false(driver_is_busy(&c->channel->contexts[1]));
    assert_int_equal(rig_launch(c, 1, SPIN, STREAM(1), &ns, 4), 0);
    assert_int_equal(RIG_CALL(c, CTX_SYNC, 1, 0), 0);
    assert_int_equal(rig_launch(c, 1, SPIN, CU_STREAM_PER_THREAD, &ns, 4), 0);
    while (c->channel->budget_ns) {
        rig_step(c);
    }
    assert_int_equal(captures(c), 1);
    assert_int_equal(end(c, 0, 0), 0);
    assert_int_equal(captures(c), 0);
    assert_int_equal(RIG_CALL(c, GRAPH_INSTANTIATE, 1, EXEC(0), GRAPH(0), 0), 0);
}

static void captures_end_with_what_they_are_in(void **state)
{
    struct rig_channel *c = rig_first(state);

    for (unsigned i = 0; i < 3; i++) {
        begin(c, i);
    }
    assert_int_equal(RIG_CALL(c, CAPTURE_BEGIN, 1, CU_STREAM_PER_THREAD, 1), 0);
    assert_int_equal(captures(c), 4);
    assert_int_equal(c->channel->contexts[1].blocking_captures, 2);
    assert_int_equal(RIG_CALL(c, cuStreamDestroy_v2, 1, STREAM(2)), 0);
    assert_int_equal(captures(c), 3);
    assert_int_equal(RIG_CALL(c, LANE_END, 1, 0), 0);
    assert_int_equal(captures(c), 2);
    assert_int_equal(c->channel->contexts[1].blocking_captures, 0);
    assert_int_equal(end(c, 0, 0), 0);
    assert_int_equal(RIG_CALL(c, GRAPH_INSTANTIATE, 1, EXEC(0), GRAPH(0), 0), 0);
    assert_int_equal(RIG_CALL(c, CTX_DESTROY, 1, RIG_CONTEXT(1)), 0);
    assert_int_equal(captures(c), 0);
    assert_int_equal(rig_alive("exec"), 0);
}

static void wrong_captures(void **state)
{
    struct rig_channel *c = rig_first(state);

    assert_int_equal(RIG_CALL(c, CAPTURE_BEGIN, 1, 0, 0), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    assert_int_equal(RIG_CALL(c, CAPTURE_BEGIN, 1, STREAM(0), 3), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(RIG_CALL(c, CAPTURE_BEGIN, 1, STREAM(7), 0), CUDA_ERROR_INVALID_HANDLE);
    assert_int_equal(end(c, 0, 0), 401);
    begin(c, 0);
    assert_int_equal(RIG_CALL(c, CAPTURE_BEGIN, 1, STREAM(0), 0), 401);
    assert_int_equal(RIG_CALL(c, cuEventRecord, 1, EVENT, STREAM(0)), 0);
    assert_int_equal(RIG_CALL(c, cuStreamWaitEvent, 1, STREAM(1), EVENT, 0), 0);
    assert_int_equal(end(c, 1, 0), 904); /* it only joined */
    assert_int_equal(captures(c), 1);
    assert_int_equal(RIG_CALL(c, CAPTURE_END, 1, STREAM(0), STREAM(0)), CUDA_ERROR_INVALID_HANDLE);
    assert_int_equal(end(c, 0, 0), 0);
    assert_int_equal(RIG_CALL(c, GRAPH_INSTANTIATE, 1, EXEC(0), GRAPH(0), 4),
                     CUDA_ERROR_NOT_SUPPORTED); /* kernels would launch it */
    assert_int_equal(RIG_CALL(c, GRAPH_INSTANTIATE, 1, EXEC(0), EXEC(0), 0),
                     CUDA_ERROR_INVALID_HANDLE);
}

static CUresult nodes(struct rig_channel *c, uint64_t first, const uint64_t *fresh, uint32_t count)
{
    return rig_ask(c, (struct rig_record){.op = CUDA_OP_GRAPH_NODES,
                                          .context = 1,
                                          RIG_ARGS(CUDA_NODES_ALL, GRAPH(0), first),
                                          .payload = fresh,
                                          .payload_bytes = count * 8});
}

static void nodes_keep_their_handles(void **state)
{
    struct rig_channel *c = rig_first(state);
    uint64_t memory = allocate(c), fresh[] = {NODE(0), NODE(1), NODE(2)};
    uint64_t later[] = {NODE(5), STREAM(0)};

    begin(c, 0);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(rig_launch(c, 1, INCREMENT, STREAM(0), &memory, 8), 0);
    }
    assert_int_equal(end(c, 0, 0), 0);
    assert_int_equal(nodes(c, 0, NULL, 0), 0);
    assert_int_equal(c->channel->nodes.total, 3);
    assert_int_equal(nodes(c, 1, &fresh[1], 1), 0);
    assert_int_equal(c->channel->nodes.handles[0], NODE(1));
    assert_int_equal(nodes(c, 1, later, 2), CUDA_ERROR_INVALID_HANDLE);
    assert_int_equal(nodes(c, 0, fresh, 3), 0);
    assert_int_equal(c->channel->nodes.handles[1], NODE(1));
    assert_int_equal(nodes(c, UINT64_MAX, fresh, 3), 0);
    assert_int_equal(c->channel->nodes.count, 0);
    assert_int_equal(RIG_CALL(c, cuGraphNodeGetType, 1, NODE(2)), 0);
    assert_int_equal(RIG_CALL(c, cuGraphDestroy, 1, GRAPH(0)), 0);
    assert_int_equal(RIG_CALL(c, cuGraphNodeGetType, 1, NODE(2)), CUDA_ERROR_INVALID_HANDLE);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_rig, rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_graph_of_freed_memory_does_not_run),
        TEST(a_graph_of_an_unloaded_function_does_not_run),
        TEST(a_graph_in_a_graph_uses_the_same),
        TEST(copies_of_ordinary_memory_are_no_nodes),
        TEST(barriers_and_turns_leave_captures_alone),
        TEST(captures_end_with_what_they_are_in),
        TEST(wrong_captures),
        TEST(nodes_keep_their_handles),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
