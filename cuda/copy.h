/* SPDX-License-Identifier: BSD-3-Clause */
/* Where a copy in three dimensions begins, and how far it goes: for both sides.  Sums and products
 * never wrap round: what doesn't fit is UINT64_MAX, which no range holds. */
#ifndef CUDA_COPY_H
#define CUDA_COPY_H

#include "cuda/ranges.h"
#include "cuda/wire.h"

static inline uint64_t cuda_sum(uint64_t a, uint64_t b)
{
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

static inline uint64_t cuda_more(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* The address of a side's first byte. */
static inline uint64_t cuda_side_start(const CUDASide *side)
{
    uint64_t offset = cuda_sum(cuda_sum(side->x, bytes_of(side->y, side->pitch)),
                               bytes_of(side->z, bytes_of(side->pitch, side->height)));

    return cuda_sum(side->address, offset);
}

/* The bytes from there on that the copy touches, of which there are some.  Rows and slices that the
 * driver would not take make more of them, never fewer. */
static inline uint64_t cuda_side_span(const CUDASide *side, const CUDACopy *copy)
{
    uint64_t pitch = cuda_more(side->pitch, cuda_sum(side->x, copy->width));
    uint64_t slice = bytes_of(pitch, cuda_more(side->height, cuda_sum(side->y, copy->height)));

    return cuda_sum(cuda_sum(bytes_of(slice, copy->depth - 1), bytes_of(pitch, copy->height - 1)),
                    copy->width);
}

#endif /* CUDA_COPY_H */
