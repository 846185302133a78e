/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * This header says what the records of the cuDNN front end hold, for the library and the worker.
 *
 * cuDNN's backend interface describes a computation by descriptors, which are bags of attributes.
 * Each is a handle here; what is set and asked travels as it is, but handles and descriptors among
 * the elements are 64-bit handles of ours.  A variant pack, which says where the data lies, stays
 * in the program and travels inside DNN_EXECUTE.
 *
 *   DNN_CREATE      handle, 1: only the version     out: status, version
 *   DNN_DESTROY     handle
 *   DNN_DESC        descriptor, type                out: status
 *   DNN_DESC_END    descriptor
 *   DNN_SET         descriptor, attribute, type, count; payload: elements    out: status
 *   DNN_FINALIZE    descriptor                      a DNNFinalized
 *   DNN_GET         descriptor, attribute, type, count; payload: descriptors that are filled, for
 *                   that type                       a DNNGot
 *   DNN_OLD         handle, number of the function (cudnn.py); payload: the stream, then the
 *                   arguments in their order, words                          out: status
 *   DNN_SIZE        the same, for a function that answers a size             out: status, size
 *   DNN_EXECUTE     handle, plan; payload: a DNNExecute and its entries      out: status
 */
#ifndef CUDA_DNN_H
#define CUDA_DNN_H

#include <stdint.h>

#include "vgpu/vgpu_channel.h"

#define DNN_ELEMENTS_MAX 4096u /* of an attribute */
#define DNN_DESCS_MAX 256u     /* among them */
#define DNN_VALUES_MAX 128u    /* tensors by value of a plan */
#define DNN_ENTRIES_MAX 512u   /* of a variant pack */
#define DNN_VALUE_BYTES 16u
#define DNN_HANDLES_MAX 32u /* of a process */
#define DNN_GOT_BYTES 3072u

/* Results of the library that this code gives. */
enum {
    DNN_SUCCESS = 0,
    DNN_NOT_INITIALIZED = 1001,
    DNN_BAD_PARAM = 2000,
    DNN_NULL_POINTER = 2002,
    DNN_NOT_FINALIZED = 2004,
    DNN_NOT_SUPPORTED = 3000,
    DNN_ALLOC_FAILED = 4003,
    DNN_EXECUTION_FAILED = 5000,
};

/* Types of elements that mean something here. */
enum {
    DNN_TYPE_HANDLE = 0,
    DNN_TYPE_DATA_TYPE = 1,
    DNN_TYPE_BOOLEAN = 2,
    DNN_TYPE_INT64 = 3,
    DNN_TYPE_VOID_PTR = 6,
    DNN_TYPE_DESCRIPTOR = 15,
    DNN_TYPE_CHAR = 24,
    DNN_TYPES_END = 31,
};

/* Kinds of descriptors, and attributes, of which the same is true. */
enum {
    DNN_PLAN = 5,
    DNN_VARIANT_PACK = 16,
    DNN_TENSOR = 17,
    DNN_KINDS_END = 64, /* later libraries have more */
};

enum {
    DNN_PLAN_WORKSPACE_BYTES = 402,
    DNN_PLAN_JSON = 405, /* would bring tensors that nobody has looked at */
    DNN_TENSOR_DATA_TYPE = 901,
    DNN_TENSOR_DIMENSIONS = 902,
    DNN_TENSOR_VECTOR_COUNT = 904,
    DNN_TENSOR_ID = 906,
    DNN_TENSOR_BY_VALUE = 908,
    DNN_PACK_IDS = 1000,
    DNN_PACK_POINTERS = 1001,
    DNN_PACK_WORKSPACE = 1003,
};

/* A tensor of one element that the program gives by its own address. */
typedef struct DNNValue {
    int64_t id;
    uint32_t bytes, reserved;
} DNNValue;

typedef struct DNNFinalized {
    int32_t status;
    uint32_t count; /* of a plan */
    DNNValue values[DNN_VALUES_MAX];
} DNNFinalized;

typedef struct DNNGot {
    int32_t status;
    uint32_t reserved;
    int64_t count; /* that there are; fewer may be here */
    uint8_t bytes[DNN_GOT_BYTES];
} DNNGot;

typedef struct DNNEntry {
    int64_t id;
    uint32_t is_value, reserved;
    union {
        uint64_t address; /* of the GPU */
        uint8_t value[DNN_VALUE_BYTES];
    };
} DNNEntry;

typedef struct DNNExecute {
    uint64_t stream, workspace;
    uint32_t count, reserved;
    /* DNNEntry entries[count] */
} DNNExecute;

VGPU_STATIC_ASSERT(sizeof(DNNEntry) == 32, "DNNEntry is 32 bytes");
VGPU_STATIC_ASSERT(sizeof(DNNExecute) == 24, "DNNExecute is 24 bytes");
VGPU_STATIC_ASSERT(sizeof(DNNFinalized) <= VGPU_MAILBOX_BODY_BYTES, "it fits a mailbox");
VGPU_STATIC_ASSERT(sizeof(DNNGot) <= VGPU_MAILBOX_BODY_BYTES, "it fits a mailbox");

/* Arguments of the older interface: a number, a real, a size, an address and a factor are a word.
 * A tensor is DNN_TENSOR_WORDS: its type and how many dimensions (0: it is NULL), then each size
 * with its stride above it.  An activation: 0 for NULL, else what it is above a 1; its coefficient.
 */
#define DNN_DIMENSIONS_MAX 8u
#define DNN_TENSOR_WORDS (1u + DNN_DIMENSIONS_MAX)
#define DNN_WORDS_MAX 160u

/* Bytes of an element of an attribute; 0: an unknown type. */
static inline uint32_t dnn_element_bytes(uint64_t type)
{
    static const uint8_t bytes[DNN_TYPES_END] = {8, 4, 1, 8, 4, 8, 8, 4, 4, 4, 4,  4, 4, 4, 4, 8,
                                                 4, 4, 4, 4, 4, 4, 4, 4, 1, 4, 16, 4, 4, 4, 4};

    return type < DNN_TYPES_END ? bytes[type] : 0;
}

/* Of one element of a tensor (cudnnDataType_t); 0: none that has whole bytes. */
static inline uint32_t dnn_data_bytes(int32_t type)
{
    static const uint8_t bytes[] = {4, 8, 2, 1, 4, 4, 1, 4, 32, 2, 8,
                                    1, 1, 1, 4, 1, 0, 0, 0, 4,  8, 16};

    return type >= 0 && type < (int32_t)sizeof(bytes) && bytes[type] <= DNN_VALUE_BYTES
               ? bytes[type]
               : 0;
}

#endif /* CUDA_DNN_H */
