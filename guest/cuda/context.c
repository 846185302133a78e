/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Contexts, and which of them each thread has: a stack for each thread, here.  The worker
 * learns the current one with each record.
 *
 * The primary context is counted here.  After its last release its handle stays current where
 * it was, and calls on it are CUDA_ERROR_CONTEXT_IS_DESTROYED, as with the driver.
 */

#include "cuda_hand.h"
#include "guest/cuda/internal.h"

#define API_VERSION 3020 /* what cuCtxGetApiVersion says natively */
#define STACK_MAX (sizeof(((struct cuda_thread *)0)->stack) / sizeof(struct cuda_context *))

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct cuda_context contexts[CUDA_CONTEXTS_MAX]; /* by the handle's index */
static uint32_t generations[CUDA_CONTEXTS_MAX];
static unsigned retained, primary_flags;
static uint64_t next_id = 1;

#define PRIMARY (&contexts[1])

static CUcontext value_of(const struct cuda_context *context)
{
    /* NOLINTNEXTLINE(performance-no-int-to-ptr): a handle */
    return context ? (CUcontext)(uintptr_t)context->handle : NULL;
}

/* Also of one that was destroyed, as long as its place is not used again. */
static struct cuda_context *find(CUcontext ctx)
{
    uint64_t handle = (uint64_t)(uintptr_t)ctx;
    uint32_t index = vgpu_handle_index(handle);

    return (handle & VGPU_HANDLE_MARK) && index > 0 && index < CUDA_CONTEXTS_MAX &&
                   contexts[index].handle == handle
               ? &contexts[index]
               : NULL;
}

struct cuda_context *cuda_current(void)
{
    struct cuda_thread *thread = cuda_thread();

    return thread->depth ? thread->stack[thread->depth - 1] : NULL;
}

static CUresult need(const void *to)
{
    if (cuda_state() != CUDA_READY) {
        return cuda_state_result();
    }
    return to ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

/* ---- making and ending ---- */

static CUresult make(struct cuda_context *context, uint32_t index, unsigned flags)
{
    struct cuda_call call;
    CUresult result = cuda_begin(&call, CUDA_OP_CTX_CREATE, 0);
    uint64_t handle = context->primary && context->handle
                          ? context->handle
                          : vgpu_handle(CUDA_KIND_CONTEXT, ++generations[index], index);

    if (result) {
        return result;
    }
    cuda_add(&call, handle);
    cuda_add(&call, flags);
    result = cuda_ask(&call);
    if (result == CUDA_SUCCESS) {
        context->handle = handle;
        context->flags = flags;
        context->alive = true;
        context->work = context->idle = 0;
        context->id = next_id++;
    }
    return result;
}

static CUresult end(struct cuda_context *context)
{
    struct cuda_call call;
    CUresult result = cuda_begin(&call, CUDA_OP_CTX_DESTROY, CUDA_ANY_STATE);

    if (result) {
        return result;
    }
    call.head.record.context = (uint16_t)vgpu_handle_index(context->handle);
    cuda_add(&call, context->handle);
    result = cuda_ask(&call);
    if (result == CUDA_SUCCESS) {
        context->alive = false;
        cuda_gates_drop(context);
        cuda_objects_drop(context);
        cuda_pinned_drop(context);
        cuda_registered_drop(context);
        cuda_ranges_drop(context);
    }
    return result;
}

CUresult hand_cuDevicePrimaryCtxRetain(CUcontext *pctx, CUdevice dev)
{
    CUresult result = need(pctx);

    if (result || dev != 0) {
        return result ? result : CUDA_ERROR_INVALID_DEVICE;
    }
    pthread_mutex_lock(&lock);
    PRIMARY->primary = true;
    result = PRIMARY->alive ? CUDA_SUCCESS : make(PRIMARY, 1, primary_flags);
    if (result == CUDA_SUCCESS) {
        retained++;
        *pctx = value_of(PRIMARY);
    }
    pthread_mutex_unlock(&lock);
    return result;
}

CUresult hand_cuDevicePrimaryCtxRelease_v2(CUdevice dev)
{
    CUresult result = need(&lock);

    if (result || dev != 0) {
        return result ? result : CUDA_ERROR_INVALID_DEVICE;
    }
    pthread_mutex_lock(&lock);
    if (!retained) {
        result = CUDA_ERROR_INVALID_CONTEXT;
    } else if (--retained == 0 && PRIMARY->alive) {
        result = end(PRIMARY);
    }
    pthread_mutex_unlock(&lock);
    return result;
}

CUresult hand_cuDevicePrimaryCtxReset_v2(CUdevice dev)
{
    CUresult result = need(&lock);

    if (result || dev != 0) {
        return result ? result : CUDA_ERROR_INVALID_DEVICE;
    }
    pthread_mutex_lock(&lock);
    if (PRIMARY->alive) {
        result = end(PRIMARY);
    }
    pthread_mutex_unlock(&lock);
    return result;
}

CUresult hand_cuDevicePrimaryCtxSetFlags_v2(CUdevice dev, unsigned int flags)
{
    CUresult result = need(&lock);

    if (result || dev != 0) {
        return result ? result : CUDA_ERROR_INVALID_DEVICE;
    }
    if (flags > 0xff) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    primary_flags = flags;
    PRIMARY->flags = flags;
    return CUDA_SUCCESS;
}

CUresult hand_cuDevicePrimaryCtxGetState(CUdevice dev, unsigned int *flags, int *active)
{
    CUresult result = need(&lock);

    if (result || dev != 0) {
        return result ? result : CUDA_ERROR_INVALID_DEVICE;
    }
    if (!flags || !active) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    *flags = primary_flags;
    *active = PRIMARY->alive;
    return CUDA_SUCCESS;
}

static CUresult push(struct cuda_context *context)
{
    struct cuda_thread *thread = cuda_thread();

    if (thread->depth == STACK_MAX) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    thread->stack[thread->depth++] = context;
    return CUDA_SUCCESS;
}

CUresult hand_cuCtxCreate_v2(CUcontext *pctx, unsigned int flags, CUdevice dev)
{
    CUresult result = need(pctx);
    uint32_t index = 2;

    if (result || dev != 0) {
        return result ? result : CUDA_ERROR_INVALID_DEVICE;
    }
    pthread_mutex_lock(&lock);
    while (index < CUDA_CONTEXTS_MAX && contexts[index].alive) {
        index++;
    }
    result =
        index < CUDA_CONTEXTS_MAX ? make(&contexts[index], index, flags) : CUDA_ERROR_OUT_OF_MEMORY;
    pthread_mutex_unlock(&lock);
    if (result == CUDA_SUCCESS) {
        result = push(&contexts[index]);
        *pctx = value_of(&contexts[index]);
    }
    return result;
}

CUresult hand_cuCtxCreate_v3(CUcontext *pctx, void *paramsArray, int numParams, unsigned int flags,
                             CUdevice dev)
{
    /* Parameters ask for a part of the multiprocessors. */
    return paramsArray || numParams ? CUDA_ERROR_NOT_SUPPORTED
                                    : hand_cuCtxCreate_v2(pctx, flags, dev);
}

CUresult hand_cuCtxCreate_v4(CUcontext *pctx, void *params, unsigned int flags, CUdevice dev)
{
    /* With parameters it asks for a share of the GPU or for CIG, which are not built. */
    return params ? CUDA_ERROR_NOT_SUPPORTED : hand_cuCtxCreate_v2(pctx, flags, dev);
}

CUresult hand_cuCtxDestroy_v2(CUcontext ctx)
{
    struct cuda_thread *thread = cuda_thread();
    struct cuda_context *context = find(ctx);
    CUresult result = need(&lock);

    if (result) {
        return result;
    }
    if (!context || !context->alive || context->primary) {
        return CUDA_ERROR_INVALID_CONTEXT;
    }
    pthread_mutex_lock(&lock);
    result = end(context);
    pthread_mutex_unlock(&lock);
    if (result == CUDA_SUCCESS && thread->depth && thread->stack[thread->depth - 1] == context) {
        thread->depth--;
    }
    return result;
}

/* ---- which one is current ---- */

CUresult hand_cuCtxGetCurrent(CUcontext *pctx)
{
    CUresult result = need(pctx);

    if (result == CUDA_SUCCESS) {
        *pctx = value_of(cuda_current());
    }
    return result;
}

CUresult hand_cuCtxSetCurrent(CUcontext ctx)
{
    struct cuda_thread *thread = cuda_thread();
    struct cuda_context *context = find(ctx);
    CUresult result = need(&lock);

    if (result) {
        return result;
    }
    if (ctx && !context) {
        return CUDA_ERROR_INVALID_CONTEXT;
    }
    if (thread->depth) {
        thread->depth--;
    }
    return context ? push(context) : CUDA_SUCCESS;
}

CUresult hand_cuCtxPushCurrent_v2(CUcontext ctx)
{
    struct cuda_context *context = find(ctx);
    CUresult result = need(&lock);

    if (result) {
        return result;
    }
    return context ? push(context) : CUDA_ERROR_INVALID_CONTEXT;
}

CUresult hand_cuCtxPopCurrent_v2(CUcontext *pctx)
{
    struct cuda_thread *thread = cuda_thread();
    CUresult result = need(&lock);

    if (result) {
        return result;
    }
    if (!thread->depth) {
        return CUDA_ERROR_INVALID_CONTEXT;
    }
    thread->depth--;
    if (pctx) {
        *pctx = value_of(thread->stack[thread->depth]);
    }
    return CUDA_SUCCESS;
}

/* ---- questions ---- */

static CUresult need_current(const void *to)
{
    CUresult result = need(&lock);

    if (result) {
        return result;
    }
    if (!cuda_current()) {
        return CUDA_ERROR_INVALID_CONTEXT;
    }
    return to ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

/* The context that a question is about: this one, or the current one. */
static CUresult asked(CUcontext ctx, const void *to, struct cuda_context **context)
{
    CUresult result = need(&lock);

    *context = ctx ? find(ctx) : cuda_current();
    if (result == CUDA_SUCCESS && !*context) {
        result = CUDA_ERROR_INVALID_CONTEXT;
    }
    return result || to ? result : CUDA_ERROR_INVALID_VALUE;
}

CUresult hand_cuCtxGetDevice(CUdevice *device)
{
    CUresult result = need_current(device);

    if (result == CUDA_SUCCESS) {
        *device = 0;
    }
    return result;
}

CUresult hand_cuCtxGetDevice_v2(CUdevice *device, CUcontext ctx)
{
    struct cuda_context *context;
    CUresult result = asked(ctx, device, &context);

    if (result == CUDA_SUCCESS) {
        *device = 0;
    }
    return result;
}

CUresult hand_cuCtxGetFlags(unsigned int *flags)
{
    CUresult result = need_current(flags);

    if (result == CUDA_SUCCESS) {
        *flags = cuda_current()->flags;
    }
    return result;
}

CUresult hand_cuCtxGetId(CUcontext ctx, unsigned long long *ctxId)
{
    struct cuda_context *context;
    CUresult result = asked(ctx, ctxId, &context);

    if (result == CUDA_SUCCESS) {
        *ctxId = context->id;
    }
    return result;
}

CUresult hand_cuCtxGetApiVersion(CUcontext ctx, unsigned int *version)
{
    struct cuda_context *context;
    CUresult result = asked(ctx, version, &context);

    if (result == CUDA_SUCCESS) {
        *version = API_VERSION;
    }
    return result;
}

/* ---- waiting ---- */

static CUresult synchronize(struct cuda_call *call, struct cuda_context *context)
{
    uint64_t work = __atomic_load_n(&context->work, __ATOMIC_ACQUIRE);
    CUresult result = cuda_wait(call);

    if (result == CUDA_SUCCESS) {
        __atomic_store_n(&context->idle, work, __ATOMIC_RELEASE);
    }
    return result;
}

CUresult hand_cuCtxSynchronize(void)
{
    struct cuda_call call;
    CUresult result = cuda_begin(&call, CUDA_OP_CTX_SYNC, CUDA_NEEDS_CONTEXT);

    return result ? result : synchronize(&call, call.context);
}

CUresult hand_cuCtxSynchronize_v2(CUcontext ctx)
{
    struct cuda_context *context;
    struct cuda_call call;
    CUresult result = asked(ctx, &lock, &context);

    if (result == CUDA_SUCCESS) {
        result = cuda_begin(&call, CUDA_OP_CTX_SYNC, 0);
    }
    if (result) {
        return result;
    }
    if (!context->alive) {
        return CUDA_ERROR_CONTEXT_IS_DESTROYED;
    }
    call.head.record.context = (uint16_t)vgpu_handle_index(context->handle);
    return synchronize(&call, context);
}

CUresult hand_cuStreamSynchronize(CUstream hStream, int mode)
{
    struct cuda_call call;
    CUresult result =
        cuda_begin(&call, CUDA_OP_STREAM_SYNC, CUDA_NEEDS_CONTEXT | CUDA_TAKES_FOREIGN);

    if (result) {
        return result;
    }
    return cuda_add_stream(&call, hStream, mode) ? cuda_wait(&call) : CUDA_ERROR_INVALID_HANDLE;
}

CUresult hand_cuEventSynchronize(CUevent hEvent)
{
    struct cuda_call call;
    CUresult result =
        cuda_begin(&call, CUDA_OP_EVENT_SYNC, CUDA_NEEDS_CONTEXT | CUDA_TAKES_FOREIGN);

    if (result) {
        return result;
    }
    return cuda_add_handle(&call, (uint64_t)(uintptr_t)hEvent, CUDA_KIND_EVENT)
               ? cuda_wait(&call)
               : CUDA_ERROR_INVALID_HANDLE;
}

/* The context of a stream; NULL: it is no live one. */
static struct cuda_context *context_of(CUstream hStream)
{
    uint64_t value = (uint64_t)(uintptr_t)hStream;
    struct cuda_object *object;

    if (value <= CU_STREAM_PER_THREAD) {
        return cuda_current();
    }
    object = cuda_object(value, CUDA_KIND_STREAM);
    return object ? object->context : NULL;
}

CUresult hand_cuStreamGetCtx(CUstream hStream, CUcontext *pctx, int mode)
{
    CUresult result = need_current(pctx);
    struct cuda_context *context = result ? NULL : context_of(hStream);

    (void)mode;
    if (result == CUDA_SUCCESS && !context) {
        result = CUDA_ERROR_INVALID_HANDLE;
    }
    if (result == CUDA_SUCCESS) {
        *pctx = value_of(context);
    }
    return result;
}

/* There are no green contexts. */
CUresult hand_cuStreamGetCtx_v2(CUstream hStream, CUcontext *pCtx, void **pGreenCtx, int mode)
{
    CUresult result = hand_cuStreamGetCtx(hStream, pCtx, mode);

    if (result == CUDA_SUCCESS && pGreenCtx) {
        *pGreenCtx = NULL;
    }
    return result;
}

CUresult hand_cuStreamGetDevice(CUstream hStream, CUdevice *device, int mode)
{
    CUresult result = need_current(device);

    (void)mode;
    if (result == CUDA_SUCCESS && !context_of(hStream)) {
        result = CUDA_ERROR_INVALID_HANDLE;
    }
    if (result == CUDA_SUCCESS) {
        *device = 0;
    }
    return result;
}
