/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "worker/libraries/library_call.h"

#include "common/log.h"

/* The program was told of a success before, by a call that looked the same.  How many there are
 * is up to the program: of each channel the first is said; all count among its late errors. */
static void late(struct driver_channel *channel, const char *library, int status)
{
    if (!channel->library_was_late) {
        channel->library_was_late = true;
        log_warning("a call of %s gives %d, which came to its program too late", library, status);
    }
}

CUresult library_answer(struct driver_call *call, const char *library, int status)
{
    unsigned flags = call->record->record.flags;

    /* The answer of one that waits for the GPU holds no status of the library. */
    if (status && (!(flags & VGPU_RECORD_ANSWER) || (flags & VGPU_RECORD_WAIT))) {
        late(call->channel, library, status);
        return CUDA_ERROR_UNKNOWN;
    }
    call->out[0] = (uint64_t)status;
    call->out_count = 2; /* the second is the call's own */
    return CUDA_SUCCESS;
}
