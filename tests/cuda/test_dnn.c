/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Calls of cuDNN as a hostile process may write them: the library believes all of them. */
#include <dlfcn.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "cuda/dnn.h"
#include "tests/cuda/rig.h"

#define DNN(n) RIG_HANDLE(CUDA_KIND_DNN, n)
#define DESC(n) RIG_HANDLE(CUDA_KIND_DNN_DESC, 200 + (n)) /* numbers are of all kinds */
#define MEMORY_BYTES 4096u
#define HANDLE_MIB 12u

enum {
    CONFIG = 3,
    HEURISTIC = 4,
    OPERATION = 13,
    GRAPH = 15,
    HEURISTIC_GRAPH = 201,
    HEURISTIC_RESULTS = 202,
    PLAN_CONFIG = 401,
    OPERATION_X = 751,
    OPERATION_B = 752,
    OPERATION_Y = 753,
    GRAPH_HANDLE = 800,
    GRAPH_OPERATIONS = 801,
    KERNEL_CACHE = 43,
    KERNEL_CACHE_JSON = 2402,
    X = 11,
    B = 12,
    Y = 13,
};

static uint64_t memory; /* of the GPU */

static unsigned alive_in_library(void)
{
    void *library = dlopen(VGPU_STAND_IN_CUDNN, RTLD_NOW | RTLD_NOLOAD);
    unsigned (*alive)(void) = NULL;

    *(void **)&alive = library ? dlsym(library, "stand_in_cudnn_alive") : NULL;
    return alive ? alive() : 0;
}

static int open_rig(void **state)
{
    struct rig_channel *c = rig_setup(state, 0);

    assert_int_equal(RIG_CALL(c, ALLOC, 1, MEMORY_BYTES), 0);
    memory = c->out[0];
    assert_int_equal(RIG_CALL(c, DNN_CREATE, 1, DNN(1), 0), 0);
    assert_int_equal(c->out[0], DNN_SUCCESS);
    assert_true(c->out[1] >= 90000);
    return 0;
}

/* Whatever the process left, the library's objects are gone with it. */
static int close_rig(void **state)
{
    rig_teardown(state);
    return alive_in_library() ? -1 : 0;
}

static CUresult send(struct rig_channel *c, uint64_t desc, uint64_t name, uint64_t type,
                     uint64_t count, const void *elements, size_t bytes)
{
    return rig_ask(c, (struct rig_record){.op = CUDA_OP_DNN_SET,
                                          .context = 1,
                                          RIG_ARGS(desc, name, type, count),
                                          .payload = elements,
                                          .payload_bytes = (uint32_t)bytes});
}

static int set(struct rig_channel *c, uint64_t desc, uint64_t name, uint64_t type, uint64_t count,
               const void *elements, size_t bytes)
{
    assert_int_equal(send(c, desc, name, type, count, elements, bytes), 0);
    return (int)c->out[0];
}

static int set_desc(struct rig_channel *c, uint64_t desc, uint64_t name, uint64_t other)
{
    return set(c, desc, name, DNN_TYPE_DESCRIPTOR, 1, &other, sizeof(other));
}

static void make(struct rig_channel *c, uint64_t desc, uint64_t kind)
{
    assert_int_equal(RIG_CALL(c, DNN_DESC, 1, desc, kind), 0);
    assert_int_equal(c->out[0], DNN_SUCCESS);
}

static int finalize(struct rig_channel *c, uint64_t desc)
{
    assert_int_equal(RIG_CALL(c, DNN_FINALIZE, 1, desc), 0);
    return (int32_t)c->out[0];
}

static int tensor_of(struct rig_channel *c, uint64_t desc, int64_t id, uint8_t by_value,
                     int64_t elements)
{
    const int32_t data_type = 0;

    make(c, desc, DNN_TENSOR);
    assert_int_equal(set(c, desc, DNN_TENSOR_ID, DNN_TYPE_INT64, 1, &id, 8), 0);
    assert_int_equal(set(c, desc, DNN_TENSOR_DIMENSIONS, DNN_TYPE_INT64, 1, &elements, 8), 0);
    assert_int_equal(set(c, desc, DNN_TENSOR_DATA_TYPE, DNN_TYPE_DATA_TYPE, 1, &data_type, 4), 0);
    assert_int_equal(set(c, desc, DNN_TENSOR_BY_VALUE, DNN_TYPE_BOOLEAN, 1, &by_value, 1), 0);
    return finalize(c, desc);
}

static void tensor(struct rig_channel *c, uint64_t desc, int64_t id, uint8_t by_value)
{
    assert_int_equal(tensor_of(c, desc, id, by_value, by_value ? 1 : 4), DNN_SUCCESS);
}

/* Descriptor 8 is a plan of y = x * b, b by value. */
static void plan(struct rig_channel *c)
{
    tensor(c, DESC(1), X, 0);
    tensor(c, DESC(2), B, 1);
    tensor(c, DESC(3), Y, 0);
    make(c, DESC(4), OPERATION);
    assert_int_equal(set_desc(c, DESC(4), OPERATION_X, DESC(1)), 0);
    assert_int_equal(set_desc(c, DESC(4), OPERATION_B, DESC(2)), 0);
    assert_int_equal(set_desc(c, DESC(4), OPERATION_Y, DESC(3)), 0);
    assert_int_equal(finalize(c, DESC(4)), 0);
    make(c, DESC(5), GRAPH);
    assert_int_equal(set_desc(c, DESC(5), GRAPH_OPERATIONS, DESC(4)), 0);
    assert_int_equal(finalize(c, DESC(5)), 0);
    make(c, DESC(6), HEURISTIC);
    assert_int_equal(set_desc(c, DESC(6), HEURISTIC_GRAPH, DESC(5)), 0);
    assert_int_equal(finalize(c, DESC(6)), 0);
    make(c, DESC(7), CONFIG);
    make(c, DESC(8), DNN_PLAN);
    assert_int_equal(
        rig_ask(c, (struct rig_record){.op = CUDA_OP_DNN_GET,
                                       .context = 1,
                                       RIG_ARGS(DESC(6), HEURISTIC_RESULTS, DNN_TYPE_DESCRIPTOR, 1),
                                       .payload = &(uint64_t){DESC(7)},
                                       .payload_bytes = 8}),
        0);
    assert_int_equal(c->out[0], 0);
    assert_int_equal(c->out[1], 1);
    assert_int_equal(set_desc(c, DESC(8), PLAN_CONFIG, DESC(7)), 0);
    assert_int_equal(finalize(c, DESC(8)), 0);
    assert_int_equal(c->out[0] >> 32, 1); /* one tensor by value: */
    assert_int_equal(c->out[1], B);
    assert_int_equal((uint32_t)c->out[2], 4);
}

struct pack {
    DNNExecute head;
    DNNEntry entries[8];
};

static struct pack pack_of(void)
{
    const float two = 2;
    struct pack pack = {.head = {.workspace = memory + 1024, .count = 3},
                        .entries = {{.id = X, .address = memory},
                                    {.id = B, .is_value = 1},
                                    {.id = Y, .address = memory + 256}}};

    memcpy(pack.entries[1].value, &two, sizeof(two));
    return pack;
}

static CUresult execute(struct rig_channel *c, uint64_t handle, uint64_t of,
                        const struct pack *pack, size_t bytes)
{
    return rig_ask(c, (struct rig_record){.op = CUDA_OP_DNN_EXECUTE,
                                          .context = 1,
                                          RIG_ARGS(handle, of),
                                          .payload = pack,
                                          .payload_bytes = (uint32_t)bytes});
}

static int status_of(struct rig_channel *c, const struct pack *pack)
{
    size_t bytes = sizeof(pack->head) + pack->head.count * sizeof(pack->entries[0]);

    assert_int_equal(execute(c, DNN(1), DESC(8), pack, bytes), 0);
    return (int)c->out[0];
}

static void an_execution(void **state)
{
    struct rig_channel *c = rig_first(state);
    struct pack pack = pack_of();

    plan(c);
    assert_int_equal(status_of(c, &pack), DNN_SUCCESS);
    rig_settle(c);
    for (unsigned i = 1; i <= 7; i++) { /* the plan stands by itself */
        assert_int_equal(RIG_CALL(c, DNN_DESC_END, 1, DESC(i)), 0);
    }
    assert_int_equal(RIG_CALL(c, DNN_DESC_END, 1, DESC(8)), 0);
    assert_int_equal(execute(c, DNN(1), DESC(8), &pack, sizeof(pack.head) + 96),
                     CUDA_ERROR_INVALID_HANDLE);
}

/* Kernels of a plan go with it, whichever graph has them. */
static void a_graph_of_a_plan_that_has_ended_does_not_run(void **state)
{
    const uint64_t stream = RIG_HANDLE(CUDA_KIND_STREAM, 300);
    const uint64_t graph = RIG_HANDLE(CUDA_KIND_GRAPH, 301);
    const uint64_t exec = RIG_HANDLE(CUDA_KIND_GRAPH_EXEC, 302);
    struct rig_channel *c = rig_first(state);
    struct pack pack = pack_of();

    plan(c);
    assert_int_equal(RIG_CALL(c, cuStreamCreate, 1, stream, 1), 0);
    assert_int_equal(status_of(c, &pack), DNN_SUCCESS);
    rig_settle(c);
    pack.head.stream = stream;
    assert_int_equal(RIG_CALL(c, CAPTURE_BEGIN, 1, stream, 0), 0);
    assert_int_equal(status_of(c, &pack), DNN_SUCCESS);
    assert_int_equal(RIG_CALL(c, CAPTURE_END, 1, graph, stream), 0);
    assert_int_equal(RIG_CALL(c, GRAPH_INSTANTIATE, 1, exec, graph, 0), 0);
    assert_int_equal(RIG_CALL(c, GRAPH_LAUNCH, 1, exec, stream), 0);
    rig_settle(c);
    assert_int_equal(RIG_CALL(c, DNN_DESC_END, 1, DESC(8)), 0);
    assert_int_equal(RIG_CALL(c, GRAPH_LAUNCH, 1, exec, stream), CUDA_ERROR_INVALID_VALUE);
}

/* An address where the library reads a value would be one of this process, and the other way. */
static void packs(void **state)
{
    struct rig_channel *c = rig_first(state);
    struct pack pack = pack_of();

    plan(c);
    pack.entries[1] = (DNNEntry){.id = B, .address = memory};
    assert_int_equal(status_of(c, &pack), DNN_BAD_PARAM);
    pack = pack_of();
    pack.entries[0].is_value = 1;
    assert_int_equal(status_of(c, &pack), DNN_BAD_PARAM);
    pack = pack_of();
    pack.entries[2].address = 0x1000;
    assert_int_equal(status_of(c, &pack), DNN_BAD_PARAM);
    pack = pack_of();
    pack.head.workspace = memory + MEMORY_BYTES - 15; /* 16 are wanted */
    assert_int_equal(status_of(c, &pack), DNN_BAD_PARAM);
    pack = pack_of();
    pack.head.stream = RIG_HANDLE(CUDA_KIND_STREAM, 9);
    assert_int_equal(status_of(c, &pack), DNN_BAD_PARAM);
    pack = pack_of();
    pack.head.count = UINT32_MAX;
    assert_int_equal(execute(c, DNN(1), DESC(8), &pack, sizeof(pack.head) + 96), 0);
    assert_int_equal(c->out[0], DNN_BAD_PARAM);
    pack = pack_of();
    for (size_t bytes = 0; bytes < sizeof(pack.head) + 96; bytes += 8) {
        assert_int_equal(execute(c, DNN(1), DESC(8), &pack, bytes), 0);
        assert_int_equal(c->out[0], DNN_BAD_PARAM);
    }
    assert_int_equal(execute(c, DNN(1), DESC(5), &pack, sizeof(pack.head) + 96), 0);
    assert_int_equal(c->out[0], DNN_BAD_PARAM); /* no plan */
    assert_int_equal(execute(c, DNN(2), DESC(8), &pack, sizeof(pack.head) + 96),
                     CUDA_ERROR_INVALID_HANDLE);
}

static void attributes(void **state)
{
    struct rig_channel *c = rig_first(state);
    const uint64_t wrong[] = {0, DESC(9), DNN(1), RIG_CONTEXT(1), UINT64_MAX};
    static const uint8_t zeros[DNN_ELEMENTS_MAX + 1];
    uint64_t address = memory, handle = DNN(1);

    make(c, DESC(1), GRAPH);
    make(c, DESC(2), OPERATION);
    for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_int_equal(set_desc(c, DESC(1), GRAPH_OPERATIONS, wrong[i]), DNN_BAD_PARAM);
        assert_int_equal(send(c, wrong[i], 1, DNN_TYPE_INT64, 1, &address, 8),
                         CUDA_ERROR_INVALID_HANDLE);
    }
    assert_int_equal(set_desc(c, DESC(1), GRAPH_OPERATIONS, DESC(2)), DNN_NOT_FINALIZED);
    assert_int_equal(set(c, DESC(1), GRAPH_HANDLE, DNN_TYPE_HANDLE, 1, &handle, 8), DNN_SUCCESS);
    handle = DNN(7);
    assert_int_equal(set(c, DESC(1), GRAPH_HANDLE, DNN_TYPE_HANDLE, 1, &handle, 8), DNN_BAD_PARAM);
    assert_int_equal(set(c, DESC(1), 1, DNN_TYPE_VOID_PTR, 1, &address, 8), DNN_NOT_SUPPORTED);
    assert_int_equal(set(c, DESC(1), DNN_PLAN_JSON, DNN_TYPE_CHAR, 8, &address, 8),
                     DNN_NOT_SUPPORTED);
    assert_int_equal(set(c, DESC(1), 1, DNN_TYPES_END, 1, &address, 8), DNN_NOT_SUPPORTED);
    assert_int_equal(set(c, DESC(1), 1, UINT64_MAX, 1, &address, 8), DNN_NOT_SUPPORTED);
    assert_int_equal(set(c, DESC(1), 1, DNN_TYPE_INT64, 2, &address, 8), DNN_BAD_PARAM);
    assert_int_equal(set(c, DESC(1), 1, DNN_TYPE_INT64, UINT64_MAX / 8 + 2, &address, 8),
                     DNN_BAD_PARAM);
    assert_int_equal(set(c, DESC(1), 1, DNN_TYPE_CHAR, sizeof(zeros), zeros, sizeof(zeros)),
                     DNN_BAD_PARAM);
    assert_int_equal(send(c, DESC(1), UINT64_MAX, DNN_TYPE_INT64, 1, &address, 8),
                     CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(RIG_CALL(c, DNN_GET, 1, DESC(1), 1, DNN_TYPE_VOID_PTR, 1), 0);
    assert_int_equal((int32_t)c->out[0], DNN_NOT_SUPPORTED);
    assert_int_equal(RIG_CALL(c, DNN_GET, 1, DESC(1), 1, DNN_TYPE_DESCRIPTOR, 1u << 31), 0);
    assert_int_equal((int32_t)c->out[0], DNN_BAD_PARAM);
}

static void descriptors(void **state)
{
    struct rig_channel *c = rig_first(state);

    make(c, DESC(1), GRAPH);
    assert_int_equal(RIG_CALL(c, DNN_DESC, 1, DESC(1), GRAPH), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(RIG_CALL(c, DNN_DESC, 1, DESC(2), DNN_VARIANT_PACK), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(RIG_CALL(c, DNN_DESC, 1, DESC(2), UINT64_MAX), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(RIG_CALL(c, DNN_DESC, 1, DNN(2), GRAPH), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(RIG_CALL(c, DNN_DESC, 1, DESC(2), 50), 0); /* the library knows none such */
    assert_int_equal(c->out[0], DNN_NOT_SUPPORTED);
    assert_int_equal(RIG_CALL(c, DNN_DESC_END, 1, DESC(2)), CUDA_ERROR_INVALID_HANDLE);
    make(c, DESC(2), GRAPH);
    assert_int_equal(finalize(c, DESC(2)), DNN_SUCCESS);
    assert_int_equal(finalize(c, DESC(2)), DNN_BAD_PARAM);
}

/* Words of cudnnBatchNormalizationForwardInference: x and y are 1 by 2 by 4 floats. */
static unsigned words_of(uint64_t words[DNN_WORDS_MAX])
{
    const uint64_t tensor[] = {3, 1 | 8ull << 32, 2 | 4ull << 32, 4 | 1ull << 32, 0, 0, 0, 0, 0};
    const float one = 1;
    const double epsilon = 1e-5;
    unsigned at = 4;

    memset(words, 0, DNN_WORDS_MAX * sizeof(words[0]));
    words[1] = 1; /* behind the stream: the mode, alpha, beta */
    memcpy(&words[2], &one, sizeof(one));
    for (unsigned i = 0; i < 3; i++) {
        memcpy(&words[at], tensor, sizeof(tensor));
        at += DNN_TENSOR_WORDS;
        words[at++] = memory + 256 * i;
    }
    for (unsigned i = 0; i < 3; i++) { /* the third tensor has four addresses */
        words[at++] = memory + 1024;
    }
    memcpy(&words[at++], &epsilon, sizeof(epsilon));
    return at;
}

static int old(struct rig_channel *c, uint64_t number, const uint64_t *words, size_t bytes)
{
    assert_int_equal(rig_ask(c, (struct rig_record){.op = CUDA_OP_DNN_OLD,
                                                    .context = 1,
                                                    RIG_ARGS(DNN(1), number),
                                                    .payload = words,
                                                    .payload_bytes = (uint32_t)bytes}),
                     0);
    return (int)c->out[0];
}

static void the_older_interface(void **state)
{
    static const struct {
        unsigned word;
        uint64_t value;
    } rows[] = {
        {0, 0x12345},
        {4, 9},                 /* dimensions */
        {4, 3 | 99 << 8},       /* of no type */
        {5, 1ull << 31},        /* a size below 0 */
        {5, 1 | 1ull << 63},    /* a stride below 0 */
        {6, 2 | 4096ull << 32}, /* too far apart */
        {7, 0x7fffffff | 1ull << 62},
        {13, 0x1000}, /* nowhere */
        {13, UINT64_MAX},
        {36, 0x1000},
    };
    struct rig_channel *c = rig_first(state);
    unsigned before = alive_in_library(), count;
    uint64_t words[DNN_WORDS_MAX];

    count = words_of(words);
    assert_int_equal(old(c, 1, words, count * 8), DNN_SUCCESS);
    rig_settle(c);
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        words_of(words);
        words[rows[i].word] = rows[i].value;
        print_message("row %u\n", i);
        assert_int_equal(old(c, 1, words, count * 8), DNN_BAD_PARAM);
    }
    words_of(words);
    for (unsigned i = 0; i <= DNN_WORDS_MAX; i++) {
        assert_int_equal(old(c, 1, words, i * 8), i == count ? DNN_SUCCESS : DNN_BAD_PARAM);
    }
    assert_int_equal(old(c, 1, words, count * 8 - 4), DNN_BAD_PARAM);
    assert_int_equal(old(c, 0, words, count * 8), DNN_BAD_PARAM);
    assert_int_equal(old(c, 4, words, count * 8), DNN_BAD_PARAM);     /* a question */
    assert_int_equal(old(c, 2, words, count * 8), DNN_NOT_SUPPORTED); /* the library lacks it */
    assert_int_equal(old(c, UINT64_MAX, words, count * 8), DNN_BAD_PARAM);
    rig_settle(c);
    assert_int_equal(alive_in_library(), before);
}

/* Of more the library would read what lies behind the copy of its value. */
static void a_tensor_by_value_has_one_element(void **state)
{
    static const int64_t many[] = {1, 1, INT64_MAX};
    struct rig_channel *c = rig_first(state);
    const int64_t four = 4;

    assert_int_equal(tensor_of(c, DESC(1), B, 1, 4), DNN_NOT_SUPPORTED);
    assert_int_equal(tensor_of(c, DESC(2), B, 1, -1), DNN_NOT_SUPPORTED);
    make(c, DESC(3), DNN_TENSOR);
    assert_int_equal(set(c, DESC(3), DNN_TENSOR_DIMENSIONS, DNN_TYPE_INT64, 3, many, 24), 0);
    assert_int_equal(set(c, DESC(3), DNN_TENSOR_DATA_TYPE, DNN_TYPE_DATA_TYPE, 1, "\0\0\0", 4), 0);
    assert_int_equal(set(c, DESC(3), DNN_TENSOR_BY_VALUE, DNN_TYPE_BOOLEAN, 1, "\1", 1), 0);
    assert_int_equal(finalize(c, DESC(3)), DNN_NOT_SUPPORTED);
    make(c, DESC(4), DNN_TENSOR);
    assert_int_equal(set(c, DESC(4), DNN_TENSOR_DATA_TYPE, DNN_TYPE_DATA_TYPE, 1, "\0\0\0", 4), 0);
    assert_int_equal(set(c, DESC(4), DNN_TENSOR_VECTOR_COUNT, DNN_TYPE_INT64, 1, &four, 8), 0);
    assert_int_equal(set(c, DESC(4), DNN_TENSOR_BY_VALUE, DNN_TYPE_BOOLEAN, 1, "\1", 1), 0);
    assert_int_equal(finalize(c, DESC(4)), DNN_NOT_SUPPORTED);
}

/* They would bring plans or kernels that nobody has looked at. */
static void texts_are_not_read_back(void **state)
{
    struct rig_channel *c = rig_first(state);

    make(c, DESC(1), KERNEL_CACHE);
    assert_int_equal(set(c, DESC(1), KERNEL_CACHE_JSON, DNN_TYPE_CHAR, 3, "{}", 3),
                     DNN_NOT_SUPPORTED);
}

/* The library keeps the handle's own address, and uses it where the process has ended it. */
static void a_handle_lives_as_long_as_descriptors_use_it(void **state)
{
    struct rig_channel *c = rig_first(state);
    uint64_t before = c->channel->charged_bytes, handle = DNN(2);
    unsigned alive = alive_in_library();

    for (unsigned round = 0; round < 40; round++) { /* more often than there are handles */
        assert_int_equal(RIG_CALL(c, DNN_CREATE, 1, DNN(2), 0), 0);
        make(c, DESC(1), GRAPH);
        make(c, DESC(2), HEURISTIC);
        assert_int_equal(set(c, DESC(1), GRAPH_HANDLE, DNN_TYPE_HANDLE, 1, &handle, 8), 0);
        assert_int_equal(set(c, DESC(1), GRAPH_HANDLE, DNN_TYPE_HANDLE, 1, &handle, 8), 0);
        assert_int_equal(RIG_CALL(c, DNN_DESTROY, 1, DNN(2)), 0);
        assert_int_equal(RIG_CALL(c, DNN_DESTROY, 1, DNN(2)), CUDA_ERROR_INVALID_HANDLE);
        assert_int_equal(set(c, DESC(2), GRAPH_HANDLE, DNN_TYPE_HANDLE, 1, &handle, 8),
                         DNN_BAD_PARAM);
        assert_int_equal(finalize(c, DESC(1)), DNN_SUCCESS);
        assert_int_equal(set_desc(c, DESC(2), HEURISTIC_GRAPH, DESC(1)), DNN_SUCCESS);
        assert_int_equal(RIG_CALL(c, DNN_DESC_END, 1, DESC(1)), 0);
        assert_int_equal(finalize(c, DESC(2)), DNN_SUCCESS); /* it comes from the first one */
        assert_int_equal(c->channel->charged_bytes - before, (uint64_t)HANDLE_MIB << 20);
        assert_int_equal(RIG_CALL(c, DNN_DESC_END, 1, DESC(2)), 0);
        assert_int_equal(c->channel->charged_bytes, before);
        assert_int_equal(alive_in_library(), alive);
    }
    assert_int_equal(RIG_CALL(c, DNN_CREATE, 1, DNN(2), 0), 0);
    make(c, DESC(1), GRAPH);
    assert_int_equal(set(c, DESC(1), GRAPH_HANDLE, DNN_TYPE_HANDLE, 1, &handle, 8), 0);
    assert_int_equal(RIG_CALL(c, DNN_DESTROY, 1, DNN(2)), 0); /* both end with their context */
}

static void what_a_handle_takes_is_charged(void **state)
{
    struct rig_channel *c = rig_first(state);
    uint64_t before = c->channel->charged_bytes;
    unsigned made = 0;

    assert_int_equal(RIG_CALL(c, DNN_CREATE, 1, DNN(2), 1), 0); /* the version alone */
    assert_int_equal(c->channel->charged_bytes, before);
    assert_int_equal(RIG_CALL(c, DNN_CREATE, 1, DNN(2), 0), 0);
    assert_int_equal(c->channel->charged_bytes - before, (uint64_t)HANDLE_MIB << 20);
    assert_int_equal(RIG_CALL(c, DNN_DESTROY, 1, DNN(2)), 0);
    assert_int_equal(c->channel->charged_bytes, before);
    while (made < 100 && RIG_CALL(c, DNN_CREATE, 1, DNN(20 + made), 0) == 0) {
        made++;
    }
    assert_true(made < 32); /* there is one already */
}

/* The library's objects go while their context is still there. */
static void all_ends_with_its_context(void **state)
{
    struct rig_channel *c = rig_first(state);
    unsigned before = alive_in_library();

    assert_int_equal(RIG_CALL(c, CTX_CREATE, 0, RIG_CONTEXT(2), 0), 0);
    assert_int_equal(RIG_CALL(c, DNN_CREATE, 2, DNN(3), 0), 0);
    assert_int_equal(RIG_CALL(c, DNN_DESC, 2, DESC(3), GRAPH), 0);
    assert_int_equal(RIG_CALL(c, DNN_FINALIZE, 1, DESC(3)), CUDA_ERROR_INVALID_HANDLE);
    assert_int_equal(alive_in_library(), before + 2);
    assert_int_equal(RIG_CALL(c, CTX_DESTROY, 2, RIG_CONTEXT(2)), 0);
    assert_int_equal(alive_in_library(), before);
    assert_int_equal(c->channel->dnn_descs, 0);
}

#define WITH_RIG(name) cmocka_unit_test_setup_teardown(name, open_rig, close_rig)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_RIG(an_execution),
        WITH_RIG(a_graph_of_a_plan_that_has_ended_does_not_run),
        WITH_RIG(packs),
        WITH_RIG(attributes),
        WITH_RIG(descriptors),
        WITH_RIG(a_tensor_by_value_has_one_element),
        WITH_RIG(texts_are_not_read_back),
        WITH_RIG(a_handle_lives_as_long_as_descriptors_use_it),
        WITH_RIG(the_older_interface),
        WITH_RIG(what_a_handle_takes_is_charged),
        WITH_RIG(all_ends_with_its_context),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
