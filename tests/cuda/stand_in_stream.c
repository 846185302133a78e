/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The stand-in's streams and events. */
#include "tests/cuda/stand_in.h"

#include <stdlib.h>

#define CAPTURED_EVENT 907

static uint64_t next_id = 13;

EXPORT CUresult cuStreamCreateWithPriority(CUstream *out, unsigned flags, int priority)
{
    struct stream *stream;

    NEED_CONTEXT;
    if (flags > 1) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    stream = calloc(1, sizeof(*stream));
    *stream = (struct stream){.flags = flags, .priority = priority, .id = next_id += 2};
    stand_in_born(&stream->object, STREAM, stand_in_current);
    *out = (CUstream)stream;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuStreamCreate(CUstream *out, unsigned flags)
{
    return cuStreamCreateWithPriority(out, flags, 0);
}

EXPORT CUresult cuStreamDestroy_v2(CUstream handle)
{
    struct stream *stream = CHECK(handle, STREAM);

    NEED_CONTEXT;
    stand_in_capture_ends(stream);
    stand_in_dies(&stream->object);
    return CUDA_SUCCESS;
}

EXPORT CUresult cuStreamGetFlags(CUstream handle, unsigned *flags)
{
    struct stream *stream = stand_in_stream(__func__, handle);

    NEED_CONTEXT;
    *flags = stream ? stream->flags : 0;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuStreamGetPriority(CUstream handle, int *priority)
{
    struct stream *stream = stand_in_stream(__func__, handle);

    NEED_CONTEXT;
    *priority = stream ? stream->priority : 0;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuStreamGetId(CUstream handle, unsigned long long *id)
{
    struct stream *stream = stand_in_stream(__func__, handle);

    NEED_CONTEXT;
    *id = stream ? stream->id : 7;
    return CUDA_SUCCESS;
}

static bool stream_is_busy(const struct stream *stream)
{
    bool busy = false;

    pthread_mutex_lock(&GPU->lock);
    for (const struct work *work = GPU->first; work; work = work->next) {
        busy = busy || (work->context == stand_in_current && work->stream == stream);
    }
    pthread_mutex_unlock(&GPU->lock);
    return busy;
}

EXPORT CUresult cuStreamQuery(CUstream handle)
{
    struct stream *stream = stand_in_stream(__func__, handle);

    NEED_CONTEXT;
    if (stream && stream->capture) {
        return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    }
    if (stream_is_busy(stream)) {
        return CUDA_ERROR_NOT_READY;
    }
    NEED_CONTEXT; /* once more: what it did may have failed meanwhile */
    return CUDA_SUCCESS;
}

EXPORT CUresult cuStreamSynchronize(CUstream handle)
{
    struct stream *stream = stand_in_stream(__func__, handle);

    NEED_CONTEXT;
    if (stream_is_busy(stream)) {
        stand_in_abort(__func__, "it would wait for work in flight");
    }
    return CUDA_SUCCESS;
}

EXPORT CUresult cuEventCreate(CUevent *out, unsigned flags)
{
    struct event *event;

    NEED_CONTEXT;
    event = calloc(1, sizeof(*event));
    event->flags = flags;
    stand_in_born(&event->object, EVENT, stand_in_current);
    *out = (CUevent)event;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuEventDestroy_v2(CUevent handle)
{
    struct event *event = CHECK(handle, EVENT);

    NEED_CONTEXT;
    stand_in_dies(&event->object);
    return CUDA_SUCCESS;
}

struct work *stand_in_work(enum work_kind kind, struct stream *stream)
{
    struct work *work = calloc(1, sizeof(*work));

    work->kind = kind;
    work->context = stand_in_current;
    work->stream = stream;
    return work;
}

static CUresult record(struct event *event, struct stream *stream)
{
    struct work *work;

    if (event->object.context != stand_in_current ||
        (stream && stream->object.context != stand_in_current)) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    work = stand_in_work(WORK_RECORD, stream);
    work->event = event;
    LOCKED(work->generation = ++event->asked; event->capture = NULL; stand_in_queue(work));
    return CUDA_SUCCESS;
}

EXPORT CUresult cuEventRecord(CUevent event, CUstream stream)
{
    struct event *which = CHECK(event, EVENT);

    NEED_CONTEXT;
    return record(which, stand_in_stream(__func__, stream));
}

EXPORT CUresult cuEventRecordWithFlags(CUevent event, CUstream stream, unsigned flags)
{
    return flags > 1 ? CUDA_ERROR_INVALID_VALUE : cuEventRecord(event, stream);
}

/* Behind everything of the context: it waits for what each stream has now. */
EXPORT CUresult cuCtxRecordEvent(CUcontext context, CUevent handle)
{
    struct event *event = CHECK(handle, EVENT);
    struct work *work;

    CHECK(context, CONTEXT);
    NEED_CONTEXT;
    stand_in_spoils(__func__, stand_in_current);
    event->capture = NULL;
    pthread_mutex_lock(&GPU->lock);
    event->asked++;
    if (stand_in_current->in_flight == 0) {
        event->done = event->asked;
        pthread_mutex_unlock(&GPU->lock);
        return CUDA_SUCCESS;
    }
    pthread_mutex_unlock(&GPU->lock);
    /* A stream of its own would not do: each stream gets a mark, the last one counts. */
    work = stand_in_work(WORK_RECORD, NULL);
    work->event = event;
    work->generation = event->asked;
    work->unit = 1; /* waits for every stream, also for those that don't block */
    LOCKED(stand_in_queue(work));
    return CUDA_SUCCESS;
}

EXPORT CUresult cuEventQuery(CUevent handle)
{
    struct event *event = CHECK(handle, EVENT);
    CUresult lost;
    bool done;

    /* Together: an event behind work that fails is over as the GPU is lost. */
    LOCKED(lost = GPU->lost; done = event->done == event->asked);
    if (lost) {
        return lost;
    }
    if (event->capture) {
        return CAPTURED_EVENT;
    }
    if (done) {
        stand_in_pools_shrink();
    }
    return done ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY;
}

EXPORT CUresult cuEventElapsedTime_v2(float *ms, CUevent start, CUevent end)
{
    struct event *a = CHECK(start, EVENT), *b = CHECK(end, EVENT);

    NEED_CONTEXT;
    if (!a->asked || !b->asked || ((a->flags | b->flags) & 2)) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    if (a->done != a->asked || b->done != b->asked) {
        return CUDA_ERROR_NOT_READY;
    }
    *ms = (float)(b->at_ms - a->at_ms);
    return CUDA_SUCCESS;
}

EXPORT CUresult cuStreamWaitValue32_v2(CUstream stream, CUdeviceptr address, unsigned value,
                                       unsigned flags)
{
    struct work *work;

    NEED_CONTEXT;
    if (flags != 0 || address % 4 != 0 ||
        !stand_in_is_memory((const void *)(uintptr_t)address, sizeof(value))) {
        stand_in_abort(__func__, "it would wait for memory that is none of the GPU's");
    }
    work = stand_in_work(WORK_VALUE, stand_in_stream(__func__, stream));
    work->to = (uint8_t *)(uintptr_t)address;
    work->value = value;
    LOCKED(stand_in_queue(work));
    return CUDA_SUCCESS;
}

EXPORT CUresult cuStreamWaitEvent(CUstream stream, CUevent handle, unsigned flags)
{
    struct event *event = CHECK(handle, EVENT);
    struct work *work;

    (void)flags;
    NEED_CONTEXT;
    work = stand_in_work(WORK_WAIT, stand_in_stream(__func__, stream));
    work->event = event;
    LOCKED(work->generation = event->asked; stand_in_queue(work));
    return CUDA_SUCCESS;
}
