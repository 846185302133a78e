/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * This header says what the records of VGPU_PROFILE_CUDA hold, for the library and the worker.
 *
 * A record is VGPURecord, one word with two counts, the arguments as 64-bit words, then bytes
 * that belong to it (a name, copied data, parameters of a kernel), then zeros up to the
 * alignment.  `context` of the header is the index of the current context's handle, 0 without
 * one; `stream` is the default stream that the call means: 0 or CU_STREAM_PER_THREAD.
 *
 * The answer is the driver's result as the mailbox's status, and data_bytes of 64-bit words or
 * of one of the structures below.
 */
#ifndef CUDA_WIRE_H
#define CUDA_WIRE_H

#include "cuda/driver_types.h"
#include "vgpu/vgpu_channel.h"

#define CUDA_ARGS_MAX 24u
#define CUDA_NAME_MAX 8192u      /* of a function or a variable, with its NUL */
#define CUDA_HANDLES_MAX 262144u /* of one process */
#define CUDA_CONTEXTS_MAX 64u    /* their handles have the indices 1 to 63 */
#define CUDA_PARAMS_MAX 960u     /* of a kernel */
#define CUDA_PARAM_BYTES_MAX 32764u
#define CUDA_ATTRIBUTES_MAX 16u /* of a launch */
#define CUDA_JIT_OPTIONS_MAX 32u
#define CUDA_IMAGE_MAX (1ull << 31) /* of one module or library */

/* Pinned memory lies at the same address on both sides, from here on. */
#define CUDA_WINDOW_LOW 0x300000000000ull
#define CUDA_WINDOW_HIGH 0x3f0000000000ull
#define CUDA_WINDOW_ALIGN (2u << 20)
/* The arena is registered with the driver in parts of this size, from its beginning on. */
#define CUDA_PIN_BYTES (64ull << 20)

typedef struct CUDARecord {
    VGPURecord record;
    uint32_t arg_count;
    uint32_t payload_bytes;
} CUDARecord;

VGPU_STATIC_ASSERT(sizeof(CUDARecord) == 32, "CUDARecord is 32 bytes");

/* Data up to this travels in the record, more in the arena. */
#define CUDA_INLINE_MAX 32768u

/* INIT's answer: what never changes.  values[n] holds attribute n, results[n] what it gave. */
typedef struct CUDASnapshot {
    int32_t version;
    uint32_t reserved;
    uint64_t total_bytes;
    uint8_t uuid[16];
    char name[128];
    int32_t values[CU_DEVICE_ATTRIBUTES + 1];
    uint8_t results[CU_DEVICE_ATTRIBUTES + 1];
} CUDASnapshot;

VGPU_STATIC_ASSERT(sizeof(CUDASnapshot) <= VGPU_MAILBOX_BODY_BYTES, "it fits a mailbox");

/* GET_FUNCTION's answer.  Attributes 0 to 15 of cuFuncGetAttribute, and how to pack parameters. */
#define CUDA_FUNCTION_ATTRIBUTES 16u

typedef struct CUDAFunction {
    int32_t values[CUDA_FUNCTION_ATTRIBUTES];
    uint8_t results[CUDA_FUNCTION_ATTRIBUTES];
    uint32_t param_count;
    struct {
        uint16_t offset, bytes;
    } params[CUDA_PARAMS_MAX];
} CUDAFunction;

VGPU_STATIC_ASSERT(sizeof(CUDAFunction) <= VGPU_MAILBOX_BODY_BYTES, "it fits a mailbox");

/* ACCOUNT's answer: the VM's, of all its programs that this worker serves. */
typedef struct CUDAAccount {
    uint64_t limit_bytes, used_bytes; /* 0: no limit */
    uint64_t turns_ns, clock_ns;      /* the time of its turns so far; now, by the same clock */
} CUDAAccount;

/* LAUNCH's arguments; the payload: attributes, then the parameters' bytes. */
enum {
    CUDA_LAUNCH_FUNCTION,
    CUDA_LAUNCH_GRID_XY,  /* x, y << 32 */
    CUDA_LAUNCH_GRID_Z,   /* z, shared bytes << 32 */
    CUDA_LAUNCH_BLOCK_XY, /* x, y << 32 */
    CUDA_LAUNCH_BLOCK_Z,  /* z, number of attributes << 32 */
    CUDA_LAUNCH_STREAM,
    CUDA_LAUNCH_PARAM_BYTES, /* low 32 bits; bit 32: as `extra` gives them */
    CUDA_LAUNCH_ARGS
};

#define CUDA_LAUNCH_EXTRA (1ull << 32)

/* May an attribute of a launch stand there?  Only those that are known to be values alone: others
 * hold an address, an event or a handle, or give one back. */
static inline CUresult cuda_check_attribute(unsigned id)
{
    const unsigned last = 17; /* that CUDA 13.0 may know; the driver itself refuses later ones */
    const uint32_t values = 1u << 0 | 1u << 2 | 1u << 4 | 1u << 5 | 1u << 6 | 1u << 8 | 1u << 9 |
                            1u << 10 | 1u << 11 | 1u << 14;

    return id > last           ? CUDA_ERROR_INVALID_VALUE
           : values >> id & 1u ? CUDA_SUCCESS
                               : CUDA_ERROR_NOT_SUPPORTED;
}

/* CLUSTERS: LAUNCH's arguments without parameters, then which of the two questions. */
enum { CUDA_CLUSTERS_ACTIVE = 0, CUDA_CLUSTERS_SIZE = 1 };
#define CUDA_CLUSTERS_ARGS (CUDA_LAUNCH_ARGS + 1u)

/* Attributes of pools that are numbers: 1 to 3 of 32 bits, 4 to 8 of 64. */
#define CUDA_POOL_ATTRIBUTE_INT_LAST 3
#define CUDA_POOL_ATTRIBUTE_LAST 8

/* GET_FUNCTION: what the handle that it starts from is. */
enum { CUDA_GET_OF_MODULE = 0, CUDA_GET_OF_LIBRARY = 1, CUDA_GET_OF_KERNEL = 2 };

/* TENSOR_TILED's payload: arrays of `rank`, strides of one less. */
#define CUDA_TENSOR_RANKS 5u

typedef struct CUDATensorTiled {
    uint64_t address, dims[CUDA_TENSOR_RANKS], strides[CUDA_TENSOR_RANKS];
    uint32_t box[CUDA_TENSOR_RANKS], element_strides[CUDA_TENSOR_RANKS];
    uint32_t type, rank, interleave, swizzle, l2_promotion, fill;
} CUDATensorTiled;

VGPU_STATIC_ASSERT(sizeof(CUDATensorTiled) == 152, "CUDATensorTiled is 152 bytes");

/* GRAPH_NODES: which of them; and its answer: handles of those from args[2] on. */
enum { CUDA_NODES_ALL = 0, CUDA_NODES_ROOTS = 1 };
#define CUDA_NODES_AT_ONCE 480u

typedef struct CUDANodes {
    uint64_t total, count;
    uint64_t handles[CUDA_NODES_AT_ONCE];
} CUDANodes;

VGPU_STATIC_ASSERT(sizeof(CUDANodes) <= VGPU_MAILBOX_BODY_BYTES, "it fits a mailbox");

/*
 * What a node of a graph does, by its kind.  GRAPH_ADD's payload: this, CUDAEdge for each node
 * before it (args[3] of them), and a kernel's parameters; args[4] is a graph's ownership.
 * GRAPH_SET's: this, and the parameters.  GRAPH_GET's answer: the same.
 */
typedef struct CUDASide {
    uint64_t address, x, y, z, pitch, height;
    uint32_t type, reserved; /* CU_MEMORY_HOST: pinned, in place of what the process calls it */
} CUDASide;

typedef struct CUDACopy {
    CUDASide src, dst;
    uint64_t width, height, depth;
} CUDACopy;

typedef struct CUDAKernelNode {
    uint64_t function;
    uint32_t grid[3], block[3], shared_bytes, param_bytes;
} CUDAKernelNode;

typedef struct CUDASetNode {
    uint64_t address, pitch, width, height;
    uint32_t value, element_bytes;
} CUDASetNode;

typedef struct CUDANode {
    union {
        CUDAKernelNode kernel;
        CUDACopy copy;
        CUDASetNode set;
        uint64_t handle; /* an event, or a graph */
    } of;
} CUDANode;

VGPU_STATIC_ASSERT(sizeof(CUDANode) == 136, "CUDANode is 136 bytes");

/* Nodes of a list in one record, each with its edge's data. */
#define CUDA_EDGES_AT_ONCE 200u
/* Of a kernel node: what an answer can carry. */
#define CUDA_NODE_PARAM_BYTES_MAX (VGPU_MAILBOX_BODY_BYTES - (uint32_t)sizeof(CUDANode))

/* GRAPH_LINK: args[1]. */
enum { CUDA_LINK_ADD = 0, CUDA_LINK_REMOVE = 1 };

/* GRAPH_EDGES: which; the nodes of a graph have handles already. */
enum { CUDA_EDGES_OF_GRAPH = 0, CUDA_EDGES_BEFORE = 1, CUDA_EDGES_BEHIND = 2 };

typedef struct CUDAEdge {
    uint64_t from, to;
    CUgraphEdgeData data;
} CUDAEdge;

/* Its answer: those from args[2] on.  GRAPH_LINK's payload: the same structures. */
#define CUDA_EDGES_OUT_MAX 160u

typedef struct CUDAEdges {
    uint64_t total, count;
    CUDAEdge edges[CUDA_EDGES_OUT_MAX];
} CUDAEdges;

VGPU_STATIC_ASSERT(sizeof(CUDAEdges) <= VGPU_MAILBOX_BODY_BYTES, "it fits a mailbox");

/* GRAPH_ATTRIBUTE: args[1]. */
enum { CUDA_SWITCH_GET = 0, CUDA_SWITCH_SET = 1 };

/* The answer to MODULE_LOAD and LIBRARY_LOAD is the logs: error log, then information log. */
typedef struct CUDALogs {
    uint32_t error_bytes, info_bytes;
    char text[3072];
} CUDALogs;

VGPU_STATIC_ASSERT(sizeof(CUDALogs) <= VGPU_MAILBOX_BODY_BYTES, "it fits a mailbox");

/* Is this a result after which the process's contexts are lost for good? */
static inline int cuda_is_sticky(int result)
{
    return result == CUDA_ERROR_ILLEGAL_ADDRESS || result == CUDA_ERROR_LAUNCH_TIMEOUT ||
           result == CUDA_ERROR_ASSERT ||
           (result >= CUDA_ERROR_HARDWARE_STACK_ERROR && result <= CUDA_ERROR_LAUNCH_FAILED) ||
           result == 214 || result == 220 || result == 226;
}

#endif /* CUDA_WIRE_H */
