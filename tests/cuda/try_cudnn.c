/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A program on cuDNN's backend interface: a tensor times a value that lies on the stack, as the
 * scale of PyTorch's attention does.  It runs unchanged natively and through us.  Exit status: 0
 * all well, 1 something is wrong.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cuda/dnn.h"
#include "cudart_prototypes.h"
#include "cudnn_prototypes.h"

#define N 64
#define IS_NATIVE (getenv("TRY_NATIVE") != NULL)

/* Kinds of descriptors, attributes and values of the interface. */
enum {
    POINTWISE = 0,
    CONFIG = 3,
    HEURISTIC = 4,
    OPERATION_POINTWISE = 13,
    GRAPH = 15,
    POINTWISE_MODE = 0,
    POINTWISE_PRECISION = 1,
    MULTIPLY = 1,
    HEURISTIC_MODE = 200,
    HEURISTIC_GRAPH = 201,
    HEURISTIC_RESULTS = 202,
    MODE_A = 3,
    PLAN_HANDLE = 400,
    PLAN_CONFIG = 401,
    OPERATION_DESC = 750,
    OPERATION_X = 751,
    OPERATION_B = 752,
    OPERATION_Y = 753,
    GRAPH_HANDLE = 800,
    GRAPH_OPERATIONS = 801,
    TENSOR_ALIGNMENT = 900,
    TENSOR_STRIDES = 903,
    TYPE_POINTWISE = 14,
    TYPE_HEURISTIC = 8,
    FLOAT = 0,
    ID_X = 11,
    ID_B = 12,
    ID_Y = 13,
};

static unsigned wrong;

static void expect(const char *what, int got, int wanted)
{
    if (got != wanted) {
        printf("%s: %d in place of %d\n", what, got, wanted);
        wrong++;
    }
}

#define OK(call) expect(#call, (int)(call), 0)
#define GIVES(wanted, call) expect(#call, (int)(call), wanted)
#define TRUE(holds) expect(#holds, !!(holds), 1)
#define SET(desc, name, type, value)                                                               \
    OK(cudnnBackendSetAttribute(desc, name, type, sizeof(value) / sizeof((value)[0]), value))

static void *made(int kind)
{
    void *desc = NULL;

    OK(cudnnBackendCreateDescriptor(kind, &desc));
    return desc;
}

static void *tensor(int64_t id, bool by_value)
{
    const int64_t dimensions[] = {1, by_value ? 1 : 4, by_value ? 1 : N / 4};
    const int64_t strides[] = {dimensions[1] * dimensions[2], dimensions[2], 1};
    const int64_t alignment[] = {by_value ? 4 : 16}, ids[] = {id};
    const int types[] = {FLOAT};
    const bool values[] = {by_value};
    void *desc = made(DNN_TENSOR);

    SET(desc, TENSOR_ALIGNMENT, DNN_TYPE_INT64, alignment);
    SET(desc, DNN_TENSOR_DATA_TYPE, DNN_TYPE_DATA_TYPE, types);
    SET(desc, DNN_TENSOR_DIMENSIONS, DNN_TYPE_INT64, dimensions);
    SET(desc, TENSOR_STRIDES, DNN_TYPE_INT64, strides);
    SET(desc, DNN_TENSOR_ID, DNN_TYPE_INT64, ids);
    SET(desc, DNN_TENSOR_BY_VALUE, DNN_TYPE_BOOLEAN, values);
    OK(cudnnBackendFinalize(desc));
    return desc;
}

static void *graph_of(struct dnn_handle *handle)
{
    const int modes[] = {MULTIPLY}, types[] = {FLOAT};
    void *pointwise[] = {made(POINTWISE)}, *operations[] = {made(OPERATION_POINTWISE)};
    void *tensors[3][1] = {{tensor(ID_X, false)}, {tensor(ID_B, true)}, {tensor(ID_Y, false)}};
    void *handles[] = {handle}, *graph = made(GRAPH);

    SET(pointwise[0], POINTWISE_MODE, TYPE_POINTWISE, modes);
    SET(pointwise[0], POINTWISE_PRECISION, DNN_TYPE_DATA_TYPE, types);
    OK(cudnnBackendFinalize(pointwise[0]));
    SET(operations[0], OPERATION_DESC, DNN_TYPE_DESCRIPTOR, pointwise);
    for (int i = 0; i < 3; i++) {
        SET(operations[0], OPERATION_X + i, DNN_TYPE_DESCRIPTOR, tensors[i]);
    }
    OK(cudnnBackendFinalize(operations[0]));
    SET(graph, GRAPH_HANDLE, DNN_TYPE_HANDLE, handles);
    SET(graph, GRAPH_OPERATIONS, DNN_TYPE_DESCRIPTOR, operations);
    OK(cudnnBackendFinalize(graph));
    for (int i = 0; i < 3; i++) { /* what is set in another one need not stay */
        OK(cudnnBackendDestroyDescriptor(tensors[i][0]));
    }
    OK(cudnnBackendDestroyDescriptor(pointwise[0]));
    return graph;
}

/* By the first configuration that the library proposes. */
static void *plan_of(struct dnn_handle *handle, void *graph)
{
    const int modes[] = {MODE_A};
    void *heuristic = made(HEURISTIC), *configs[] = {made(CONFIG)}, *plan = made(DNN_PLAN);
    void *graphs[] = {graph}, *handles[] = {handle};
    int64_t count = 0;

    SET(heuristic, HEURISTIC_GRAPH, DNN_TYPE_DESCRIPTOR, graphs);
    SET(heuristic, HEURISTIC_MODE, TYPE_HEURISTIC, modes);
    OK(cudnnBackendFinalize(heuristic));
    OK(cudnnBackendGetAttribute(heuristic, HEURISTIC_RESULTS, DNN_TYPE_DESCRIPTOR, 1, &count,
                                configs));
    TRUE(count >= 1);
    SET(plan, PLAN_HANDLE, DNN_TYPE_HANDLE, handles);
    SET(plan, PLAN_CONFIG, DNN_TYPE_DESCRIPTOR, configs);
    OK(cudnnBackendFinalize(plan));
    OK(cudnnBackendDestroyDescriptor(configs[0]));
    OK(cudnnBackendDestroyDescriptor(heuristic));
    return plan;
}

static int execute(struct dnn_handle *handle, void *plan, float *x, float *y, float scale,
                   void *workspace)
{
    const int64_t ids[] = {ID_X, ID_B, ID_Y};
    void *places[] = {x, &scale, y}, *workspaces[] = {workspace}, *pack = made(DNN_VARIANT_PACK);
    int status;

    SET(pack, DNN_PACK_IDS, DNN_TYPE_INT64, ids);
    SET(pack, DNN_PACK_POINTERS, DNN_TYPE_VOID_PTR, places);
    SET(pack, DNN_PACK_WORKSPACE, DNN_TYPE_VOID_PTR, workspaces);
    OK(cudnnBackendFinalize(pack));
    status = cudnnBackendExecute(handle, plan, pack);
    OK(cudnnBackendDestroyDescriptor(pack));
    scale = -1; /* the library has read it */
    return status;
}

static void try_product(struct dnn_handle *handle, void *plan)
{
    float x[N], back[N], *dx = NULL, *dy = NULL;
    int64_t bytes = -1, count = 0;
    void *workspace = NULL;
    cudaStream_t stream = NULL, got = NULL;
    unsigned off = 0;

    for (int i = 0; i < N; i++) {
        x[i] = (float)i;
    }
    OK(cudnnBackendGetAttribute(plan, DNN_PLAN_WORKSPACE_BYTES, DNN_TYPE_INT64, 1, &count, &bytes));
    TRUE(count == 1 && bytes >= 0);
    OK(cudaMalloc(&workspace, (size_t)bytes + 1));
    OK(cudaMalloc((void **)&dx, sizeof(x)));
    OK(cudaMalloc((void **)&dy, sizeof(x)));
    OK(cudaMemcpy(dx, x, sizeof(x), cudaMemcpyHostToDevice));
    OK(cudaStreamCreateWithFlags(&stream, 1));
    for (int round = 0; round < 4; round++) { /* the first is asked for, later ones are not */
        OK(cudaStreamSynchronize(NULL));
        OK(cudnnSetStream(handle, round % 2 ? stream : NULL));
        OK(execute(handle, plan, dx, dy, (float)round + 0.5f, workspace));
        OK(cudaDeviceSynchronize());
        OK(cudaMemcpy(back, dy, sizeof(back), cudaMemcpyDeviceToHost));
        for (int i = 0; i < N; i++) {
            off += back[i] != x[i] * ((float)round + 0.5f);
        }
    }
    expect("products", (int)off, 0);
    OK(cudnnGetStream(handle, &got));
    TRUE(got == stream);
    if (!IS_NATIVE) { /* the library believes it */
        GIVES(DNN_BAD_PARAM, cudnnSetStream(handle, (cudaStream_t)0x12345));
    }
    OK(cudnnSetStream(handle, NULL));
    OK(cudaStreamDestroy(stream));
    OK(cudaFree(dy));
    OK(cudaFree(dx));
    OK(cudaFree(workspace));
}

static void try_wrong(struct dnn_handle *handle, void *plan)
{
    const int64_t numbers[] = {1};
    void *desc = made(DNN_TENSOR), *none = NULL;
    char text[8192];
    int64_t count = 0;
    int status;

    TRUE(cudnnBackendSetAttribute(plan, PLAN_CONFIG, DNN_TYPE_INT64, 1, numbers) != 0);
    TRUE(cudnnBackendCreateDescriptor(63, &none) != 0);
    if (!IS_NATIVE) { /* the library believes that it is a pack */
        TRUE(cudnnBackendExecute(handle, plan, desc) != 0);
        /* All of it, or nothing. */
        status = cudnnBackendGetAttribute(plan, DNN_PLAN_JSON, DNN_TYPE_CHAR, sizeof(text), &count,
                                          text);
        TRUE(status != 0 || count <= (int64_t)DNN_GOT_BYTES);
    }
    OK(cudnnBackendDestroyDescriptor(desc));
}

/* y = (x - mean) / sqrt(variance + epsilon): with these it is x, nearly. */
static void try_normalization(struct dnn_handle *handle)
{
    const int dims[] = {2, 4, 2, 2}, strides[] = {16, 4, 2, 1}, few[] = {1, 4, 1, 1};
    const int few_strides[] = {4, 1, 1, 1};
    const float one = 1, two = 2, zero = 0, ones[4] = {1, 1, 1, 1};
    float x[32], back[32], *dx = NULL, *dy = NULL, *scale = NULL, *bias = NULL;
    int type = -1, count = 0, got_dims[8], got_strides[8];
    void *tensor_desc = NULL, *derived = NULL, *activation = NULL;
    size_t bytes = 0;
    unsigned off = 0;

    for (int i = 0; i < 32; i++) {
        x[i] = (float)i;
    }
    OK(cudnnCreateTensorDescriptor(&tensor_desc));
    OK(cudnnCreateTensorDescriptor(&derived));
    OK(cudnnSetTensorNdDescriptor(tensor_desc, FLOAT, 4, dims, strides));
    OK(cudnnSetTensorNdDescriptor(derived, FLOAT, 4, few, few_strides));
    OK(cudnnGetTensorNdDescriptor(tensor_desc, 8, &type, &count, got_dims, got_strides));
    TRUE(type == FLOAT && count == 4 && got_dims[1] == 4 && got_strides[0] == 16);
    OK(cudnnCreateActivationDescriptor(&activation));
    OK(cudnnSetActivationDescriptor(activation, 1, 0, 0));
    OK(cudnnGetBatchNormalizationTrainingExReserveSpaceSize(handle, 1, 0, activation, tensor_desc,
                                                            &bytes));
    OK(cudnnGetBatchNormalizationTrainingExReserveSpaceSize(handle, 1, 0, activation, tensor_desc,
                                                            &bytes)); /* kept, or asked again */
    OK(cudaMalloc((void **)&dx, sizeof(x)));
    OK(cudaMalloc((void **)&dy, sizeof(x)));
    OK(cudaMalloc((void **)&scale, sizeof(ones)));
    OK(cudaMalloc((void **)&bias, sizeof(ones)));
    OK(cudaMemcpy(dx, x, sizeof(x), cudaMemcpyHostToDevice));
    OK(cudaMemcpy(scale, ones, sizeof(ones), cudaMemcpyHostToDevice));
    OK(cudaMemset(bias, 0, sizeof(ones)));
    for (int round = 0; round < 4; round++) { /* the first is asked for, later ones are not */
        OK(cudnnBatchNormalizationForwardInference(handle, 1, round % 2 ? &two : &one, &zero,
                                                   tensor_desc, dx, tensor_desc, dy, derived, scale,
                                                   bias, bias, scale, 1e-5));
        OK(cudaMemcpy(back, dy, sizeof(back), cudaMemcpyDeviceToHost));
        for (int i = 0; i < 32; i++) {
            float wanted = x[i] * (round % 2 ? 2.0f : 1.0f);

            off += back[i] < wanted * 0.999f || back[i] > wanted * 1.001f;
        }
    }
    expect("normalized values", (int)off, 0);
    if (!IS_NATIVE) { /* the library reads beyond what there is */
        GIVES(DNN_BAD_PARAM, cudnnBatchNormalizationForwardInference(
                                 handle, 1, &one, &zero, tensor_desc, dx + 1, tensor_desc, dy,
                                 derived, scale, bias, bias, scale, 1e-5));
    }
    OK(cudaFree(bias));
    OK(cudaFree(scale));
    OK(cudaFree(dy));
    OK(cudaFree(dx));
    OK(cudnnDestroyActivationDescriptor(activation));
    OK(cudnnDestroyTensorDescriptor(derived));
    OK(cudnnDestroyTensorDescriptor(tensor_desc));
}

int main(void)
{
    struct dnn_handle *handle = NULL;
    void *graph, *plan;
    int value = 0;

    setvbuf(stdout, NULL, _IOLBF, 0); /* a crash loses nothing */
    OK(cudnnCreate(&handle));
    if (!handle) {
        printf("cudnn: %u wrong\n", wrong);
        return 1;
    }
    TRUE(cudnnGetVersion() >= 90000);
    OK(cudnnGetProperty(0, &value));
    expect("the major version", value, 9);
    TRUE(strcmp(cudnnGetErrorString(3000), "CUDNN_STATUS_NOT_SUPPORTED") == 0);
    graph = graph_of(handle);
    plan = plan_of(handle, graph);
    try_product(handle, plan);
    try_wrong(handle, plan);
    try_normalization(handle);
    OK(cudnnBackendDestroyDescriptor(plan));
    OK(cudnnBackendDestroyDescriptor(graph));
    OK(cudnnDestroy(handle));
    printf("cudnn: %u wrong\n", wrong);
    return wrong != 0;
}
