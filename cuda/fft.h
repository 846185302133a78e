/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * This header says what the records of the cuFFT front end hold, for the library and the worker.
 *
 * A plan is a handle of ours from the moment that it is made; until then, and for what else a
 * program sets, it is the library's own.  The worker never lets the library allocate a work area:
 * the program's library does, so that it counts as the program's memory.
 *
 *   FFT_PLAN   plan; payload: an FFTPlan                            out: status, bytes of work area
 *   FFT_END    plan
 *   FFT_EXEC   plan, stream, input, output, work area, direction    out: status
 */
#ifndef CUDA_FFT_H
#define CUDA_FFT_H

#include <stdbool.h>
#include <stdint.h>

#include "vgpu/vgpu_channel.h"

#define FFT_RANK_MAX 3u
#define FFT_PLANS_MAX 4096u           /* of a process; PyTorch keeps up to 4,096 */
#define FFT_ELEMENTS_MAX (1ull << 40) /* no sum or product of such numbers overflows 128 bits */

/* Results of the library that this code gives. */
enum {
    FFT_SUCCESS = 0,
    FFT_INVALID_PLAN = 1,
    FFT_ALLOC_FAILED = 2,
    FFT_INVALID_TYPE = 3,
    FFT_INVALID_VALUE = 4,
    FFT_INTERNAL_ERROR = 5,
    FFT_EXEC_FAILED = 6,
    FFT_SETUP_FAILED = 7,
    FFT_INVALID_SIZE = 8,
    FFT_NOT_SUPPORTED = 16,
};

/* Numbers of cudaDataType. */
enum {
    FFT_REAL_32 = 0,
    FFT_REAL_64 = 1,
    FFT_REAL_16 = 2,
    FFT_COMPLEX_32 = 4,
    FFT_COMPLEX_64 = 5,
    FFT_COMPLEX_16 = 6,
    FFT_REAL_BF16 = 14,
    FFT_COMPLEX_BF16 = 15,
};

/* How the data lies in memory. */
typedef struct FFTSide {
    int64_t embed[FFT_RANK_MAX];
    int64_t stride, distance;
    int32_t type;
    uint32_t is_given; /* 0: one transform behind the other, without gaps; the rest is ignored */
} FFTSide;

typedef struct FFTPlan {
    int64_t n[FFT_RANK_MAX];
    int64_t batch;
    uint32_t rank;
    int32_t execution_type;
    FFTSide in, out;
} FFTPlan;

VGPU_STATIC_ASSERT(sizeof(FFTSide) == 48, "FFTSide is on the wire");
VGPU_STATIC_ASSERT(sizeof(FFTPlan) == 136, "FFTPlan is on the wire");

/* Of an element; 0: no type for transforms. */
static inline unsigned fft_type_bytes(int32_t type)
{
    switch (type) {
    case FFT_REAL_16:
    case FFT_REAL_BF16: return 2;
    case FFT_REAL_32:
    case FFT_COMPLEX_16:
    case FFT_COMPLEX_BF16: return 4;
    case FFT_REAL_64:
    case FFT_COMPLEX_32: return 8;
    case FFT_COMPLEX_64: return 16;
    default: return 0;
    }
}

static inline bool fft_is_real(int32_t type)
{
    return type == FFT_REAL_16 || type == FFT_REAL_BF16 || type == FFT_REAL_32 ||
           type == FFT_REAL_64;
}

#endif
