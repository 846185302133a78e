/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Nodes of graphs, and copies of rows, of a process that does what no library would.  The stand-in
 * ends the process at whatever the driver would not check. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "tests/cuda/rig.h"

#define MODULE RIG_HANDLE(CUDA_KIND_MODULE, 0)
#define INCREMENT RIG_HANDLE(CUDA_KIND_FUNCTION, 1)
#define STREAM RIG_HANDLE(CUDA_KIND_STREAM, 10)
#define EVENT RIG_HANDLE(CUDA_KIND_EVENT, 20)
#define GRAPH(n) RIG_HANDLE(CUDA_KIND_GRAPH, 30 + (n))
#define EXEC(n) RIG_HANDLE(CUDA_KIND_GRAPH_EXEC, 40 + (n))
#define NODE(n) RIG_HANDLE(CUDA_KIND_GRAPH_NODE, 50 + (n))
#define BYTES 4096u

static int open_rig(void **state)
{
    struct rig *rig = test_calloc(1, sizeof(*rig));
    struct rig_channel *c;

    rig_open(rig, 0);
    c = rig_channel(rig);
    rig_begin(c);
    assert_int_equal(rig_function(c, 1, MODULE, 1, "increment"), 0);
    assert_int_equal(RIG_CALL(c, cuStreamCreate, 1, STREAM, 1), 0);
    assert_int_equal(RIG_CALL(c, cuEventCreate, 1, EVENT, 2), 0);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(RIG_CALL(c, cuGraphCreate, 1, GRAPH(i), 0), 0);
    }
    *state = rig;
    return 0;
}

static int close_rig(void **state)
{
    rig_close(*state);
    assert_int_equal(rig_alive("graph"), 0);
    assert_int_equal(rig_alive("exec"), 0);
    test_free(*state);
    return 0;
}

static struct rig_channel *channel_of(void **state)
{
    return &((struct rig *)*state)->channels[0];
}

static uint64_t allocate(struct rig_channel *c)
{
    assert_int_equal(RIG_CALL(c, ALLOC, 1, BYTES), 0);
    return c->out[0];
}

static CUresult send(struct rig_channel *c, struct rig_record record, const CUDANode *node,
                     const void *more, size_t more_bytes)
{
    uint8_t payload[1024];

    memcpy(payload, node, sizeof(*node));
    if (more_bytes) {
        memcpy(payload + sizeof(*node), more, more_bytes);
    }
    record.context = 1;
    record.payload = payload;
    record.payload_bytes = (uint32_t)(sizeof(*node) + more_bytes);
    return rig_ask(c, record);
}

/* Behind `before`, if that is not 0. */
static CUresult add(struct rig_channel *c, unsigned n, unsigned graph, uint64_t type,
                    const CUDANode *node, uint64_t before)
{
    const CUDAEdge edge = {.from = before};

    return send(c,
                (struct rig_record){.op = CUDA_OP_GRAPH_ADD,
                                    RIG_ARGS(NODE(n), GRAPH(graph), type, before != 0, 0)},
                node, &edge, before ? sizeof(edge) : 0);
}

static CUresult set(struct rig_channel *c, uint64_t exec, unsigned n, uint64_t type,
                    const CUDANode *node)
{
    return send(c, (struct rig_record){.op = CUDA_OP_GRAPH_SET, RIG_ARGS(exec, NODE(n), type)},
                node, NULL, 0);
}

static CUDANode fill(uint64_t memory, uint64_t count)
{
    return (CUDANode){
        .of.set = {.address = memory, .width = count, .height = 1, .element_bytes = 4}};
}

static CUDANode copy(uint64_t to, uint64_t from, uint64_t bytes)
{
    return (CUDANode){.of.copy = {.src = {.address = from, .type = CU_MEMORY_DEVICE},
                                  .dst = {.address = to, .type = CU_MEMORY_DEVICE},
                                  .width = bytes,
                                  .height = 1,
                                  .depth = 1}};
}

static CUresult add_kernel(struct rig_channel *c, unsigned n, uint64_t function, uint64_t memory,
                           uint32_t param_bytes, uint32_t sent_bytes)
{
    const CUDANode node = {.of.kernel = {.function = function,
                                         .grid = {1, 1, 1},
                                         .block = {1, 1, 1},
                                         .param_bytes = param_bytes}};

    return send(c,
                (struct rig_record){.op = CUDA_OP_GRAPH_ADD,
                                    RIG_ARGS(NODE(n), GRAPH(0), CU_NODE_KERNEL, 0, 0)},
                &node, &memory, sent_bytes);
}

static CUresult instantiate(struct rig_channel *c, unsigned exec, unsigned graph)
{
    return RIG_CALL(c, GRAPH_INSTANTIATE, 1, EXEC(exec), GRAPH(graph), 0);
}

static CUresult launch(struct rig_channel *c, unsigned exec)
{
    return RIG_CALL(c, GRAPH_LAUNCH, 1, EXEC(exec), STREAM);
}

static void free_memory(struct rig_channel *c, uint64_t memory)
{
    rig_settle(c);
    assert_int_equal(RIG_CALL(c, FREE, 1, memory), 0);
}

static void addresses_are_looked_up(void **state)
{
    struct rig_channel *c = channel_of(state);
    uint64_t memory = allocate(c), window = (uint64_t)(uintptr_t)c->channel->window;
    CUDANode node = fill(memory, BYTES / 4 + 1);

    assert_int_equal(add(c, 0, 0, CU_NODE_SET, &node, 0), CUDA_ERROR_INVALID_VALUE);
    node = fill((uint64_t)(uintptr_t)&node, 1);
    assert_int_equal(add(c, 0, 0, CU_NODE_SET, &node, 0), CUDA_ERROR_INVALID_VALUE);
    node = fill(memory, UINT64_MAX / 2);
    assert_int_equal(add(c, 0, 0, CU_NODE_SET, &node, 0), CUDA_ERROR_INVALID_VALUE);
    node = fill(memory, 1);
    node.of.set.element_bytes = 3;
    assert_int_equal(add(c, 0, 0, CU_NODE_SET, &node, 0), CUDA_ERROR_INVALID_VALUE);
    node.of.set = (CUDASetNode){memory, 64, 16, 65, 0, 4}; /* 65 rows of 64 bytes */
    assert_int_equal(add(c, 0, 0, CU_NODE_SET, &node, 0), CUDA_ERROR_INVALID_VALUE);

    node = copy(memory, memory + BYTES, 1);
    assert_int_equal(add(c, 0, 0, CU_NODE_COPY, &node, 0), CUDA_ERROR_INVALID_VALUE);
    node = copy(memory, memory, 0);
    assert_int_equal(add(c, 0, 0, CU_NODE_COPY, &node, 0), CUDA_ERROR_INVALID_VALUE);
    node = copy(memory, memory, 8);
    node.of.copy.src.z = UINT64_MAX;
    node.of.copy.src.pitch = node.of.copy.src.height = UINT64_MAX;
    assert_int_equal(add(c, 0, 0, CU_NODE_COPY, &node, 0), CUDA_ERROR_INVALID_VALUE);
    node = copy(memory, memory, 8);
    node.of.copy.depth = 2;
    node.of.copy.dst.pitch = 64;
    node.of.copy.dst.height = BYTES / 64;
    assert_int_equal(add(c, 0, 0, CU_NODE_COPY, &node, 0), CUDA_ERROR_INVALID_VALUE);
    node = copy(memory, window, 8);
    node.of.copy.src.type = CU_MEMORY_HOST; /* the beginning of the arena, registered at once */
    assert_int_equal(add(c, 0, 0, CU_NODE_COPY, &node, 0), 0);
    node.of.copy.src.address = (uint64_t)(uintptr_t)&node;
    assert_int_equal(add(c, 1, 0, CU_NODE_COPY, &node, 0), CUDA_ERROR_INVALID_VALUE);
    node.of.copy.src.address = window + c->channel->geometry.arena_bytes - 4;
    assert_int_equal(add(c, 1, 0, CU_NODE_COPY, &node, 0), CUDA_ERROR_INVALID_VALUE);
    node.of.copy.src.type = CU_MEMORY_ARRAY;
    assert_int_equal(add(c, 1, 0, CU_NODE_COPY, &node, 0), CUDA_ERROR_NOT_SUPPORTED);

    node = copy(memory, memory, 8);
    assert_int_equal(set(c, 0, 0, CU_NODE_COPY, &node), 0);
    node = copy(memory + BYTES - 4, memory, 8);
    assert_int_equal(set(c, 0, 0, CU_NODE_COPY, &node), CUDA_ERROR_INVALID_VALUE);
}

/* An instance that gets other memory runs again; so does one whose node is gone. */
static void what_a_node_uses_goes_with_it(void **state)
{
    struct rig_channel *c = channel_of(state);
    uint64_t one = allocate(c), two = allocate(c);
    CUDANode node = fill(one, 4);

    assert_int_equal(add(c, 0, 0, CU_NODE_SET, &node, 0), 0);
    node = fill(two, 4);
    assert_int_equal(add(c, 1, 0, CU_NODE_SET, &node, NODE(0)), 0);
    assert_int_equal(instantiate(c, 0, 0), 0);
    assert_int_equal(instantiate(c, 1, 0), 0);
    assert_int_equal(launch(c, 0), 0);
    free_memory(c, one);
    assert_int_equal(launch(c, 0), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(instantiate(c, 2, 0), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(set(c, EXEC(0), 0, CU_NODE_SET, &node), 0);
    assert_int_equal(launch(c, 0), 0);
    assert_int_equal(launch(c, 1), CUDA_ERROR_INVALID_VALUE); /* that one is as it was */
    assert_int_equal(RIG_CALL(c, cuGraphDestroyNode, 1, NODE(0)), 0);
    assert_int_equal(instantiate(c, 2, 0), 0);
    assert_int_equal(launch(c, 2), 0);
    assert_int_equal(RIG_CALL(c, GRAPH_UPDATE, 1, EXEC(2), GRAPH(0)), 0);
    free_memory(c, two);
    assert_int_equal(launch(c, 2), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(RIG_CALL(c, GRAPH_UPDATE, 1, EXEC(2), GRAPH(0)), CUDA_ERROR_INVALID_VALUE);
}

static void functions_and_events_have_to_live(void **state)
{
    struct rig_channel *c = channel_of(state);
    uint64_t memory = allocate(c);
    const CUDANode event = {.of.handle = EVENT};

    assert_int_equal(add_kernel(c, 0, INCREMENT, memory, 8, 8), 0);
    assert_int_equal(instantiate(c, 0, 0), 0);
    assert_int_equal(launch(c, 0), 0);
    assert_int_equal(add(c, 1, 1, CU_NODE_EVENT_RECORD, &event, 0), 0);
    assert_int_equal(instantiate(c, 1, 1), 0);
    assert_int_equal(launch(c, 1), 0);
    rig_settle(c);
    assert_int_equal(RIG_CALL(c, cuModuleUnload, 1, MODULE), 0);
    assert_int_equal(launch(c, 0), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(RIG_CALL(c, cuEventDestroy_v2, 1, EVENT), 0);
    assert_int_equal(launch(c, 1), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(add(c, 2, 1, CU_NODE_WAIT_EVENT, &event, 0), CUDA_ERROR_INVALID_HANDLE);
}

static void parameters_are_all_there(void **state)
{
    struct rig_channel *c = channel_of(state);
    uint64_t memory = allocate(c);

    assert_int_equal(add_kernel(c, 0, INCREMENT, memory, 4, 4), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(add_kernel(c, 0, INCREMENT, memory, 8, 4), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(add_kernel(c, 0, INCREMENT, memory, UINT32_MAX, 8), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(add_kernel(c, 0, STREAM, memory, 8, 8), CUDA_ERROR_INVALID_HANDLE);
    assert_int_equal(
        rig_ask(c, (struct rig_record){.op = CUDA_OP_GRAPH_ADD,
                                       .context = 1,
                                       RIG_ARGS(NODE(0), GRAPH(0), CU_NODE_KERNEL, 0, 0)}),
        CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(add_kernel(c, 0, INCREMENT, memory, 8, 8), 0);
    assert_int_equal(RIG_CALL(c, GRAPH_GET, 1, NODE(0), CU_NODE_KERNEL), 0);
    assert_int_equal(c->channel->node.node.of.kernel.function, INCREMENT);
    assert_memory_equal(c->channel->node.params, &memory, sizeof(memory));
}

static void nodes_are_of_their_graph_and_kind(void **state)
{
    struct rig_channel *c = channel_of(state);
    uint64_t memory = allocate(c);
    CUDANode node = fill(memory, 4), none = {.of.handle = 0};
    const CUDAEdge edge = {NODE(0), NODE(1), {0}};

    assert_int_equal(add(c, 0, 0, CU_NODE_SET, &node, 0), 0);
    assert_int_equal(add(c, 1, 1, CU_NODE_EMPTY, &none, NODE(0)), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(add(c, 1, 1, CU_NODE_EMPTY, &none, NODE(1)), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(add(c, 1, 1, CU_NODE_EMPTY, &none, GRAPH(1)), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(add(c, 0, 1, CU_NODE_EMPTY, &none, 0), CUDA_ERROR_INVALID_HANDLE); /* taken */
    assert_int_equal(add(c, 1, 1, CU_NODE_HOST, &none, 0), CUDA_ERROR_NOT_SUPPORTED);
    assert_int_equal(add(c, 1, 1, 77, &none, 0), CUDA_ERROR_NOT_SUPPORTED);
    assert_int_equal(add(c, 1, 1, CU_NODE_EMPTY, &none, 0), 0);
    assert_int_equal(instantiate(c, 0, 0), 0);
    assert_int_equal(instantiate(c, 1, 1), 0);
    assert_int_equal(set(c, EXEC(1), 0, CU_NODE_SET, &node), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(set(c, EXEC(0), 0, CU_NODE_COPY, &node), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(set(c, EXEC(0), 1, CU_NODE_EMPTY, &none), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(set(c, GRAPH(0), 0, CU_NODE_SET, &node), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(RIG_CALL(c, cuGraphNodeSetEnabled, 1, EXEC(1), NODE(0), 0),
                     CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(RIG_CALL(c, cuGraphNodeGetEnabled, 1, EXEC(1), NODE(0)),
                     CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(RIG_CALL(c, cuGraphKernelNodeCopyAttributes, 1, NODE(0), NODE(0)),
                     CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(RIG_CALL(c, GRAPH_ATTRIBUTE, 1, NODE(0), 0, 8), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(RIG_CALL(c, GRAPH_GET, 1, NODE(0), CU_NODE_KERNEL), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(RIG_CALL(c, GRAPH_CHILD, 1, GRAPH(7), NODE(0)), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(rig_ask(c, (struct rig_record){.op = CUDA_OP_GRAPH_LINK,
                                                    .context = 1,
                                                    RIG_ARGS(GRAPH(0), CUDA_LINK_ADD),
                                                    .payload = &edge,
                                                    .payload_bytes = sizeof(edge)}),
                     CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(RIG_CALL(c, GRAPH_EDGES, 1, 3, GRAPH(0), 0), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(RIG_CALL(c, GRAPH_EDGES, 1, 0, NODE(0), 0), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(RIG_CALL(c, cuGraphDestroy, 1, GRAPH(0)), 0);
    assert_int_equal(set(c, EXEC(0), 0, CU_NODE_SET, &node), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(launch(c, 0), 0); /* the instance lives on */
}

/* What a graph in a node uses counts for the one around it, also what it gets later. */
static void graphs_in_graphs(void **state)
{
    struct rig_channel *c = channel_of(state);
    uint64_t one = allocate(c), two = allocate(c);
    CUDANode node = fill(one, 4), child = {.of.handle = GRAPH(0)};

    assert_int_equal(add(c, 0, 0, CU_NODE_SET, &node, 0), 0);
    assert_int_equal(add(c, 1, 1, CU_NODE_GRAPH, &child, 0), 0);
    assert_int_equal(RIG_CALL(c, GRAPH_CHILD, 1, GRAPH(5), NODE(1)), 0);
    assert_int_equal(c->out[0], GRAPH(5));
    assert_int_equal(RIG_CALL(c, GRAPH_CHILD, 1, GRAPH(6), NODE(1)), 0);
    assert_int_equal(c->out[0], GRAPH(5)); /* it has one */
    assert_int_equal(RIG_CALL(c, cuGraphDestroy, 1, GRAPH(5)), CUDA_ERROR_INVALID_VALUE);
    node = fill(two, 4);
    assert_int_equal(add(c, 2, 5, CU_NODE_SET, &node, 0), 0);
    assert_int_equal(instantiate(c, 0, 1), 0);
    assert_int_equal(launch(c, 0), 0);
    assert_int_equal(set(c, EXEC(0), 2, CU_NODE_SET, &node), 0); /* a node of it */
    free_memory(c, two);
    assert_int_equal(launch(c, 0), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(instantiate(c, 1, 1), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(RIG_CALL(c, GRAPH_CLONE, 1, GRAPH(6), GRAPH(1)), 0);
    assert_int_equal(instantiate(c, 1, 6), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(RIG_CALL(c, cuGraphDestroyNode, 1, NODE(1)), 0);
    assert_false(driver_handle_lives(c->channel, GRAPH(5)));
    assert_false(driver_handle_lives(c->channel, NODE(2)));
    assert_int_equal(instantiate(c, 1, 1), 0);
}

static CUresult move_into(struct rig_channel *c, unsigned n, unsigned graph, unsigned into)
{
    const CUDANode child = {.of.handle = GRAPH(graph)};

    return send(c,
                (struct rig_record){.op = CUDA_OP_GRAPH_ADD,
                                    RIG_ARGS(NODE(n), GRAPH(into), CU_NODE_GRAPH, 0, 1)},
                &child, NULL, 0);
}

static void a_graph_goes_into_one_node(void **state)
{
    struct rig_channel *c = channel_of(state);
    uint64_t memory = allocate(c);
    CUDANode node = fill(memory, 4);

    assert_int_equal(add(c, 0, 0, CU_NODE_SET, &node, 0), 0);
    assert_int_equal(move_into(c, 1, 0, 0), CUDA_ERROR_INVALID_VALUE); /* into itself */
    assert_int_equal(move_into(c, 1, 0, 1), 0);
    assert_int_equal(move_into(c, 2, 0, 2), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(move_into(c, 2, 1, 0), CUDA_ERROR_INVALID_VALUE); /* into what is inside */
    assert_int_equal(RIG_CALL(c, cuGraphDestroy, 1, GRAPH(0)), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(instantiate(c, 0, 1), 0);
    assert_int_equal(launch(c, 0), 0);
    free_memory(c, memory);
    assert_int_equal(launch(c, 0), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(RIG_CALL(c, cuGraphDestroy, 1, GRAPH(1)), 0);
    assert_false(driver_handle_lives(c->channel, NODE(0)));
}

static void a_capture_goes_on_in_a_graph(void **state)
{
    struct rig_channel *c = channel_of(state);
    uint64_t memory = allocate(c);
    CUDANode node = fill(memory, 4);
    const CUDAEdge edge = {.from = NODE(0)};

    assert_int_equal(add(c, 0, 0, CU_NODE_SET, &node, 0), 0);
    assert_int_equal(rig_ask(c, (struct rig_record){.op = CUDA_OP_CAPTURE_BEGIN,
                                                    .context = 1,
                                                    RIG_ARGS(STREAM, 0, GRAPH(1)),
                                                    .payload = &edge,
                                                    .payload_bytes = sizeof(edge)}),
                     CUDA_ERROR_INVALID_VALUE); /* of another graph */
    assert_int_equal(RIG_CALL(c, CAPTURE_BEGIN, 1, STREAM, 0, GRAPH(1)), 0);
    assert_int_equal(RIG_CALL(c, cuMemsetD32Async, 1, memory, 5, 16, STREAM), 0);
    assert_int_equal(RIG_CALL(c, cuGraphDestroy, 1, GRAPH(1)), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(instantiate(c, 0, 1), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(RIG_CALL(c, CAPTURE_END, 1, GRAPH(5), STREAM), 0);
    assert_int_equal(c->out[0], GRAPH(1));
    assert_false(driver_handle_lives(c->channel, GRAPH(5)));
    assert_int_equal(instantiate(c, 0, 1), 0);
    assert_int_equal(launch(c, 0), 0);
    free_memory(c, memory);
    assert_int_equal(launch(c, 0), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(RIG_CALL(c, CAPTURE_BEGIN, 1, STREAM, 0, GRAPH(2)), 0); /* and the end */
}

static CUresult copy_rows(struct rig_channel *c, unsigned op, const CUDANode *node,
                          uint32_t payload_bytes)
{
    return rig_ask(c, (struct rig_record){.op = (uint16_t)op,
                                          .context = 1,
                                          RIG_ARGS(STREAM, 0),
                                          .payload = &node->of.copy,
                                          .payload_bytes = payload_bytes});
}

/* What the GPU does alone needs a turn, and the other record has none. */
static void rows_are_looked_up(void **state)
{
    struct rig_channel *c = channel_of(state);
    uint64_t memory = allocate(c), window = (uint64_t)(uintptr_t)c->channel->window;
    CUDANode node = copy(memory, memory, 8);

    assert_int_equal(copy_rows(c, CUDA_OP_COPY_WITHIN, &node, sizeof(node)), 0);
    assert_int_equal(copy_rows(c, CUDA_OP_COPY_ROWS, &node, sizeof(node)),
                     CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(copy_rows(c, CUDA_OP_COPY_WITHIN, &node, sizeof(node) - 1),
                     CUDA_ERROR_INVALID_VALUE);
    node.of.copy.src.x = BYTES - 7;
    assert_int_equal(copy_rows(c, CUDA_OP_COPY_WITHIN, &node, sizeof(node)),
                     CUDA_ERROR_INVALID_VALUE);
    node = copy(memory, window, 8);
    assert_int_equal(copy_rows(c, CUDA_OP_COPY_WITHIN, &node, sizeof(node)),
                     CUDA_ERROR_INVALID_VALUE); /* nobody has registered it */
    node.of.copy.src.type = CU_MEMORY_HOST;
    assert_int_equal(copy_rows(c, CUDA_OP_COPY_WITHIN, &node, sizeof(node)),
                     CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(copy_rows(c, CUDA_OP_COPY_ROWS, &node, sizeof(node)), 0);
    node.of.copy.src.address = (uint64_t)(uintptr_t)&node;
    assert_int_equal(copy_rows(c, CUDA_OP_COPY_ROWS, &node, sizeof(node)),
                     CUDA_ERROR_INVALID_VALUE);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_rig, close_rig)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(addresses_are_looked_up),
        TEST(what_a_node_uses_goes_with_it),
        TEST(functions_and_events_have_to_live),
        TEST(parameters_are_all_there),
        TEST(nodes_are_of_their_graph_and_kind),
        TEST(graphs_in_graphs),
        TEST(a_graph_goes_into_one_node),
        TEST(a_capture_goes_on_in_a_graph),
        TEST(rows_are_looked_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
