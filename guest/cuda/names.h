/* SPDX-License-Identifier: BSD-3-Clause */
/* This header declares the table of names that cuGetProcAddress knows; it is generated. */
#ifndef GUEST_CUDA_NAMES_H
#define GUEST_CUDA_NAMES_H

#include "cuda/driver_types.h"

typedef CUresult cuda_function(void);

/* Sorted by name; among the same, the newest first. */
struct cuda_name {
    const char *name; /* without _v2 and the like */
    int since;        /* version of CUDA */
    int per_thread;   /* _ptsz, _ptds */
    cuda_function *function;
};

extern const struct cuda_name cuda_names[];
extern const unsigned cuda_name_count;

#endif
