/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This module finds the host's cuDNN: functions of its backend interface.  For the older one see
 * dnn_old.h.
 */
#ifndef WORKER_LIBRARIES_DNN_LIBRARY_H
#define WORKER_LIBRARIES_DNN_LIBRARY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "worker/cuda/channel/driver_internal.h"

/* Names and parameters are cuDNN's, without its prefix; an int is a cudnnStatus_t. */
struct dnn_library {
    size_t (*GetVersion)(void);
    int (*Create)(void **handle);
    int (*Destroy)(void *handle);
    int (*SetStream)(void *handle, CUstream stream);
    int (*BackendCreateDescriptor)(int kind, void **desc);
    int (*BackendDestroyDescriptor)(void *desc);
    int (*BackendSetAttribute)(void *desc, int name, int type, int64_t count, const void *elements);
    int (*BackendGetAttribute)(void *desc, int name, int type, int64_t wanted, int64_t *count,
                               void *elements);
    int (*BackendFinalize)(void *desc);
    int (*BackendExecute)(void *handle, void *plan, void *pack);
};

/* Whole, and no more changed, once dnn_library_is_there() has said so. */
extern struct dnn_library dnn_library;

/* False: the host has none of this version, and the log says what to install.  Any thread. */
bool dnn_library_is_there(void);

#endif
