/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Stream capture, and graphs.  The worker captures; here are only handles.
 *
 * Captures don't forbid calls as the driver's do (CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED for a
 * cuMemAlloc, say): whatever a program may do in a relaxed capture it may do in each.
 */
#include <stdlib.h>
#include <string.h>

#include "cuda_hand.h"
#include "guest/cuda/internal.h"

#define FLAG_UPLOAD 2u
#define INSTANTIATE_SUCCESS 0
#define INSTANTIATE_ERROR 1
#define UPDATE_ERROR 1

/* ---- capture ---- */

static unsigned captures; /* atomic */

unsigned cuda_captures(void)
{
    return __atomic_load_n(&captures, __ATOMIC_RELAXED);
}

void cuda_capture_begun(CUresult result)
{
    if (result == CUDA_SUCCESS) {
        __atomic_add_fetch(&captures, 1, __ATOMIC_RELAXED);
    }
}

/* cppcheck-suppress funcArgOrderDifferent; the generated names differ */
CUresult hand_cuStreamBeginCapture_v2(CUstream hStream, int mode, int per_thread)
{
    struct cuda_call call;
    CUresult result = cuda_begin(&call, CUDA_OP_CAPTURE_BEGIN, CUDA_NEEDS_CONTEXT);

    if (result) {
        return result;
    }
    if (!cuda_add_stream(&call, hStream, per_thread)) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    cuda_add(&call, (uint64_t)(unsigned)mode);
    result = cuda_ask(&call);
    cuda_capture_begun(result);
    return result;
}

CUresult hand_cuStreamBeginCapture(CUstream hStream, int per_thread)
{
    return hand_cuStreamBeginCapture_v2(hStream, 0, per_thread);
}

CUresult hand_cuStreamEndCapture(CUstream hStream, CUgraph *phGraph, int per_thread)
{
    struct cuda_call call;
    CUresult result = cuda_begin(&call, CUDA_OP_CAPTURE_END, CUDA_NEEDS_CONTEXT);
    CUgraph graph = NULL;
    bool made;

    if (result) {
        return result;
    }
    if (!phGraph) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    cuda_add(&call, 0);
    if (!cuda_add_stream(&call, hStream, per_thread)) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    call.args[0] = cuda_object_new(&call, CUDA_KIND_GRAPH);
    result = cuda_ask(&call);
    made = result == CUDA_SUCCESS && call.out[0] == call.args[0];
    cuda_object_made(&call, made ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND, &graph);
    if (result == CUDA_SUCCESS && !made) {
        memcpy(&graph, &call.out[0], sizeof(graph)); /* the one in which it went on */
    }
    if (result == CUDA_SUCCESS) {
        __atomic_sub_fetch(&captures, 1, __ATOMIC_RELAXED);
    }
    *phGraph = graph; /* also where the capture was spoiled */
    return result;
}

static CUresult capture_info(CUstream stream, unsigned *status, unsigned long long *id,
                             int per_thread)
{
    struct cuda_call call;
    CUresult result = cuda_begin(&call, CUDA_OP_CAPTURE_INFO, CUDA_NEEDS_CONTEXT);

    if (result) {
        return result;
    }
    if (!status) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    if (!cuda_add_stream(&call, stream, per_thread)) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    result = cuda_ask(&call);
    if (result == CUDA_SUCCESS) {
        *status = (unsigned)call.out[0];
        if (id && *status) {
            *id = call.out[1];
        }
    }
    return result;
}

CUresult hand_cuStreamGetCaptureInfo(CUstream hStream, unsigned int *captureStatus_out,
                                     unsigned long long *id_out, int per_thread)
{
    return capture_info(hStream, captureStatus_out, id_out, per_thread);
}

/* Of what is being captured only the number is told: its graph and its nodes have no handles. */
CUresult hand_cuStreamGetCaptureInfo_v3(CUstream hStream, unsigned int *captureStatus_out,
                                        unsigned long long *id_out, CUgraph *graph_out,
                                        const CUgraphNode **dependencies_out,
                                        const CUgraphEdgeData **edgeData_out,
                                        size_t *numDependencies_out, int per_thread)
{
    unsigned status = 0;
    CUresult result = capture_info(hStream, &status, id_out, per_thread);

    (void)edgeData_out;
    if (result == CUDA_SUCCESS && captureStatus_out) {
        *captureStatus_out = status;
    }
    return result == CUDA_SUCCESS && status &&
                   (graph_out || dependencies_out || numDependencies_out)
               ? CUDA_ERROR_NOT_SUPPORTED
               : result;
}

CUresult hand_cuStreamGetCaptureInfo_v2(CUstream hStream, unsigned int *captureStatus_out,
                                        unsigned long long *id_out, CUgraph *graph_out,
                                        const CUgraphNode **dependencies_out,
                                        size_t *numDependencies_out, int per_thread)
{
    return hand_cuStreamGetCaptureInfo_v3(hStream, captureStatus_out, id_out, graph_out,
                                          dependencies_out, NULL, numDependencies_out, per_thread);
}

/* ---- graphs ---- */

CUresult hand_cuGraphClone(CUgraph *phGraphClone, CUgraph originalGraph)
{
    struct cuda_call call;
    CUresult result = cuda_begin(&call, CUDA_OP_GRAPH_CLONE, CUDA_NEEDS_CONTEXT);

    if (result) {
        return result;
    }
    if (!phGraphClone) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    cuda_add(&call, 0);
    if (!cuda_add_handle(&call, (uint64_t)(uintptr_t)originalGraph, CUDA_KIND_GRAPH)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    call.args[0] = cuda_object_new(&call, CUDA_KIND_GRAPH);
    result = cuda_ask(&call);
    cuda_object_made(&call, result, phGraphClone);
    return result;
}

CUresult hand_cuGraphInstantiateWithFlags(CUgraphExec *phGraphExec, CUgraph hGraph,
                                          unsigned long long flags)
{
    struct cuda_call call;
    CUresult result = cuda_begin(&call, CUDA_OP_GRAPH_INSTANTIATE, CUDA_NEEDS_CONTEXT);

    if (result) {
        return result;
    }
    if (!phGraphExec) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    cuda_add(&call, 0);
    if (!cuda_add_handle(&call, (uint64_t)(uintptr_t)hGraph, CUDA_KIND_GRAPH)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    cuda_add(&call, flags);
    call.args[0] = cuda_object_new(&call, CUDA_KIND_GRAPH_EXEC);
    result = cuda_ask(&call);
    cuda_object_made(&call, result, phGraphExec);
    return result;
}

/*
 * From 12.0 on a program that asks for the name by its number may mean the form with flags, whose
 * third argument is a number.  So nothing is written to where these point.
 */
CUresult hand_cuGraphInstantiate(CUgraphExec *phGraphExec, CUgraph hGraph, CUgraphNode *phErrorNode,
                                 char *logBuffer, size_t bufferSize)
{
    (void)phErrorNode;
    (void)logBuffer;
    (void)bufferSize;
    return hand_cuGraphInstantiateWithFlags(phGraphExec, hGraph, 0);
}

static CUresult upload(CUgraphExec exec, CUstream stream, int per_thread)
{
    struct cuda_call call;
    CUresult result = cuda_begin(&call, CUDA_OP_cuGraphUpload, CUDA_NEEDS_CONTEXT);

    if (result) {
        return result;
    }
    return cuda_add_handle(&call, (uint64_t)(uintptr_t)exec, CUDA_KIND_GRAPH_EXEC) &&
                   cuda_add_stream(&call, stream, per_thread)
               ? cuda_forget(&call)
               : CUDA_ERROR_INVALID_HANDLE;
}

CUresult hand_cuGraphInstantiateWithParams(CUgraphExec *phGraphExec, CUgraph hGraph,
                                           CUgraphInstantiateParams *instantiateParams,
                                           int per_thread)
{
    CUresult result;

    if (!instantiateParams) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    result = hand_cuGraphInstantiateWithFlags(phGraphExec, hGraph,
                                              instantiateParams->flags & ~(uint64_t)FLAG_UPLOAD);
    instantiateParams->hErrNode_out = NULL;
    instantiateParams->result_out = result ? INSTANTIATE_ERROR : INSTANTIATE_SUCCESS;
    if (result == CUDA_SUCCESS && (instantiateParams->flags & FLAG_UPLOAD)) {
        result = upload(*phGraphExec, instantiateParams->hUploadStream, per_thread);
    }
    return result;
}

static CUresult update(CUgraphExec exec, CUgraph graph, int *what)
{
    struct cuda_call call;
    CUresult result = cuda_begin(&call, CUDA_OP_GRAPH_UPDATE, CUDA_NEEDS_CONTEXT);

    if (result) {
        return result;
    }
    if (!cuda_add_handle(&call, (uint64_t)(uintptr_t)exec, CUDA_KIND_GRAPH_EXEC) ||
        !cuda_add_handle(&call, (uint64_t)(uintptr_t)graph, CUDA_KIND_GRAPH)) {
        *what = UPDATE_ERROR;
        return CUDA_ERROR_INVALID_VALUE;
    }
    result = cuda_ask(&call);
    *what = (int)call.out[0];
    return result;
}

CUresult hand_cuGraphExecUpdate_v2(CUgraphExec hGraphExec, CUgraph hGraph,
                                   CUgraphExecUpdateResultInfo *resultInfo)
{
    CUgraphExecUpdateResultInfo info = {0};
    CUresult result = update(hGraphExec, hGraph, &info.result);

    if (!resultInfo) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    *resultInfo = info;
    return result;
}

CUresult hand_cuGraphExecUpdate(CUgraphExec hGraphExec, CUgraph hGraph, CUgraphNode *hErrorNode_out,
                                int *updateResult_out)
{
    if (!updateResult_out) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    if (hErrorNode_out) {
        *hErrorNode_out = NULL;
    }
    return update(hGraphExec, hGraph, updateResult_out);
}

CUresult hand_cuGraphLaunch(CUgraphExec hGraphExec, CUstream hStream, int per_thread)
{
    struct cuda_call call;
    CUresult result = cuda_begin(&call, CUDA_OP_GRAPH_LAUNCH, CUDA_NEEDS_CONTEXT);

    if (result) {
        return result;
    }
    if (!cuda_add_handle(&call, (uint64_t)(uintptr_t)hGraphExec, CUDA_KIND_GRAPH_EXEC)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    return cuda_add_stream(&call, hStream, per_thread) ? cuda_forget(&call)
                                                       : CUDA_ERROR_INVALID_HANDLE;
}

/* ---- nodes ---- */

/* From `first` on, at most as many as fit one answer.  They get handles where they have none. */
static CUresult some_nodes(CUgraph graph, uint64_t which, uint64_t first, uint64_t wanted,
                           CUDANodes *answer)
{
    uint64_t fresh[CUDA_NODES_AT_ONCE], handle;
    struct cuda_call call;
    CUresult result = cuda_begin(&call, CUDA_OP_GRAPH_NODES, CUDA_NEEDS_CONTEXT);

    if (result) {
        return result;
    }
    wanted = wanted < CUDA_NODES_AT_ONCE ? wanted : CUDA_NODES_AT_ONCE;
    cuda_add(&call, which);
    if (!cuda_add_handle(&call, (uint64_t)(uintptr_t)graph, CUDA_KIND_GRAPH)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    cuda_add(&call, first);
    for (uint64_t i = 0; i < wanted; i++) {
        fresh[i] = cuda_object_new(&call, CUDA_KIND_GRAPH_NODE);
    }
    cuda_add_bytes(&call, fresh, (uint32_t)(wanted * sizeof(fresh[0])));
    call.reply = answer;
    call.reply_bytes = sizeof(*answer);
    result = cuda_ask(&call);
    for (uint64_t i = 0; i < wanted; i++) {
        bool used = result == CUDA_SUCCESS && i < answer->count && answer->handles[i] == fresh[i];

        call.made = fresh[i];
        cuda_object_made(&call, used ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND, &handle);
        if (used) {
            cuda_object_of(fresh[i], (uint64_t)(uintptr_t)graph);
        }
    }
    return result;
}

static CUresult get_nodes(CUgraph graph, uint64_t which, CUgraphNode *nodes, size_t *count)
{
    CUDANodes *answer;
    size_t room, got = 0;
    CUresult result;

    if (!count || (nodes && *count == 0)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    answer = malloc(sizeof(*answer));
    if (!answer) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    room = nodes ? *count : 0;
    do {
        result = some_nodes(graph, which, got, room - got, answer);
        if (result || answer->count > room - got || answer->count > CUDA_NODES_AT_ONCE) {
            break;
        }
        for (uint64_t i = 0; i < answer->count; i++) {
            memcpy(&nodes[got++], &answer->handles[i], sizeof(answer->handles[i]));
        }
    } while (got < room && answer->count > 0);
    if (result == CUDA_SUCCESS) {
        for (size_t i = got; i < room; i++) {
            nodes[i] = NULL;
        }
        *count = nodes ? got : answer->total;
    }
    free(answer);
    return result;
}

CUresult hand_cuGraphGetNodes(CUgraph hGraph, CUgraphNode *nodes, size_t *numNodes)
{
    return get_nodes(hGraph, CUDA_NODES_ALL, nodes, numNodes);
}

CUresult hand_cuGraphGetRootNodes(CUgraph hGraph, CUgraphNode *rootNodes, size_t *numRootNodes)
{
    return get_nodes(hGraph, CUDA_NODES_ROOTS, rootNodes, numRootNodes);
}
