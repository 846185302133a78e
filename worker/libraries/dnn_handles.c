/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Handles of cuDNN.
 *
 * The library keeps a handle's own address in descriptors that were told of it, and uses it when
 * they are finalized or executed.  So a handle that the process has ended lives on until the last
 * descriptor that may use it has ended.
 */
#include <stdlib.h>

#include "cuda/dnn.h"
#include "worker/libraries/dnn_library.h"
#include "worker/libraries/dnn_run.h"

#define HANDLE_BYTES (12ull << 20) /* that the library takes of the GPU for each */

struct dnn {
    void *real;
    CUstream stream;
    unsigned number; /* of its place in the channel */
    unsigned users;  /* descriptors */
    bool ended;      /* by the process: it goes with its last user */
};

/* DNN_HANDLES_MAX: there is none. */
static unsigned free_place(const struct driver_channel *channel)
{
    unsigned number = 0;

    while (number < DNN_HANDLES_MAX && channel->dnn_handles[number]) {
        number++;
    }
    return number;
}

static struct dnn *create(struct driver_channel *channel)
{
    unsigned number = free_place(channel);
    struct dnn *made;

    if (number == DNN_HANDLES_MAX || !driver_charge(channel, HANDLE_BYTES)) {
        return NULL;
    }
    made = calloc(1, sizeof(*made));
    if (!made || dnn_library.Create(&made->real)) {
        free(made);
        driver_discharge(channel, HANDLE_BYTES);
        return NULL;
    }
    made->number = number;
    channel->dnn_handles[number] = made;
    return made;
}

static void drop_handle(struct driver_channel *channel, struct dnn *handle)
{
    if (handle->ended && handle->users == 0) {
        channel->dnn_handles[handle->number] = NULL;
        dnn_library.Destroy(handle->real);
        free(handle);
        driver_discharge(channel, HANDLE_BYTES);
    }
}

/* By the process; the library believes that those live which its descriptors were told. */
void dnn_handle_end(struct driver_channel *channel, struct dnn *handle)
{
    handle->ended = true;
    drop_handle(channel, handle);
}

CUresult driver_run_dnn_create(struct driver_call *call)
{
    struct dnn *made;

    if (call->arg_count < 2) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    if (!dnn_library_is_there()) {
        return CUDA_ERROR_NOT_SUPPORTED;
    }
    call->out[0] = DNN_SUCCESS;
    call->out[1] = dnn_library.GetVersion();
    call->out_count = 2;
    if (call->args[1]) {
        return CUDA_SUCCESS;
    }
    if (!driver_handle_free(call, call->args[0], CUDA_KIND_DNN)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    made = create(call->channel);
    if (!made) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    if (!driver_handle_made(call, call->args[0], CUDA_KIND_DNN, made, CUDA_SUCCESS)) {
        dnn_handle_end(call->channel, made);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    return CUDA_SUCCESS;
}

struct dnn *dnn_of(struct driver_call *call)
{
    return call->arg_count > 0 ? driver_handle(call, call->args[0], CUDA_KIND_DNN) : NULL;
}

CUresult driver_run_dnn_destroy(struct driver_call *call)
{
    struct dnn *handle = dnn_of(call);

    if (!handle) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    dnn_handle_end(call->channel, handle);
    driver_handle_end(call, call->args[0], CUDA_SUCCESS);
    return CUDA_SUCCESS;
}

void *dnn_real(const struct dnn *handle)
{
    return handle->real;
}

int dnn_set_stream(struct dnn *handle, CUstream stream)
{
    int status =
        stream == handle->stream ? DNN_SUCCESS : dnn_library.SetStream(handle->real, stream);

    handle->stream = status ? handle->stream : stream;
    return status;
}

/* ---- who uses them ---- */

uint32_t dnn_handle_bit(const struct dnn *handle)
{
    return 1u << handle->number;
}

void dnn_handles_use(struct driver_channel *channel, uint32_t *used, uint32_t more)
{
    for (unsigned i = 0; i < DNN_HANDLES_MAX; i++) {
        if ((more & ~*used) >> i & 1) {
            channel->dnn_handles[i]->users++;
        }
    }
    *used |= more;
}

void dnn_handles_leave(struct driver_channel *channel, uint32_t used)
{
    for (unsigned i = 0; i < DNN_HANDLES_MAX; i++) {
        if (used >> i & 1) {
            channel->dnn_handles[i]->users--;
            drop_handle(channel, channel->dnn_handles[i]);
        }
    }
}
