/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "worker/cuda/cublas_api.h"
#include "worker/libraries/blas_lt_run.h"
#include "worker/libraries/blas_run.h"
#include "worker/libraries/library_call.h"

#define HANDLES_MAX 64u            /* of one process */
#define HANDLE_BYTES (64ull << 20) /* that the library takes of the GPU for each */

static struct {
    bool looked;
    void *functions[BLAS_CALLS_END];
    int (*Create)(void **handle);
    int (*Destroy)(void *handle);
    int (*GetVersion)(void *handle, int *version);
    int (*SetStream)(void *handle, CUstream stream);
    int (*SetWorkspace)(void *handle, uint64_t workspace, size_t bytes);
    int (*SetPointerMode)(void *handle, int mode);
    int (*SetMathMode)(void *handle, int mode);
    int (*SetAtomicsMode)(void *handle, int mode);
    int (*LtCreate)(void **handle);
    int (*LtDestroy)(void *handle);
    size_t (*LtGetVersion)(void);
    bool there;
} library;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* ---- the host's library ---- */

static bool find(void *opened, const char *name, void *function)
{
    void *symbol = dlsym(opened, name);

    memcpy(function, &symbol, sizeof(symbol));
    return symbol != NULL;
}

static bool find_all(void *opened)
{
    for (unsigned i = 0; i < BLAS_CALLS_END; i++) {
        if (blas_entries[i].name) { /* one that it lacks is refused when it is called */
            find(opened, blas_entries[i].name, &library.functions[i]);
        }
    }
    return find(opened, "cublasCreate_v2", &library.Create) &&
           find(opened, "cublasDestroy_v2", &library.Destroy) &&
           find(opened, "cublasGetVersion_v2", &library.GetVersion) &&
           find(opened, "cublasSetStream_v2", &library.SetStream) &&
           find(opened, "cublasSetWorkspace_v2", &library.SetWorkspace) &&
           find(opened, "cublasSetPointerMode_v2", &library.SetPointerMode) &&
           find(opened, "cublasSetMathMode", &library.SetMathMode) &&
           find(opened, "cublasSetAtomicsMode", &library.SetAtomicsMode) &&
           /* cuBLAS brings cuBLASLt with it */
           find(opened, "cublasLtCreate", &library.LtCreate) &&
           find(opened, "cublasLtDestroy", &library.LtDestroy) &&
           find(opened, "cublasLtGetVersion", &library.LtGetVersion) && blas_lt_find(opened, find);
}

static bool is_there(void)
{
    pthread_mutex_lock(&lock);
    if (!library.looked) {
        void *opened = cublas_library_open(13);

        library.looked = true;
        library.there = opened && find_all(opened);
        if (!library.there) {
            log_warning("a program asks for cuBLAS 13, which this host has not: install "
                        "libcublas.so.13 in /usr/local/cuda/lib64 or the usual library folders");
        }
    }
    pthread_mutex_unlock(&lock);
    return library.there;
}

/* ---- handles ---- */

static unsigned count_handles(const struct driver_channel *channel)
{
    unsigned count = 0;

    for (uint32_t i = CUDA_CONTEXTS_MAX; i < channel->entry_room; i++) {
        count += vgpu_handle_kind(channel->entries[i].handle) == CUDA_KIND_BLAS;
    }
    return count;
}

static void end(struct blas *blas)
{
    if (blas->kind == BLAS_KIND_LT) {
        library.LtDestroy(blas->real);
    } else {
        library.Destroy(blas->real);
    }
    free(blas);
}

void blas_handles_end(struct driver_channel *channel, uint32_t context)
{
    for (uint32_t i = CUDA_CONTEXTS_MAX; i < channel->entry_room; i++) {
        struct driver_entry *entry = &channel->entries[i];

        if (vgpu_handle_kind(entry->handle) == CUDA_KIND_BLAS && entry->context == context) {
            end(entry->real);
            entry->real = NULL; /* the entry goes with its context, in a moment */
        }
    }
}

/* Of the GPU; the library's own of cuBLASLt takes none. */
static uint64_t handle_bytes(enum blas_kind kind)
{
    return kind == BLAS_KIND_LT ? 0 : HANDLE_BYTES;
}

static struct blas *create(struct driver_channel *channel, enum blas_kind kind)
{
    struct blas *blas;

    if (count_handles(channel) >= HANDLES_MAX || !driver_charge(channel, handle_bytes(kind))) {
        return NULL;
    }
    blas = calloc(1, sizeof(*blas));
    if (!blas || (kind == BLAS_KIND_LT ? library.LtCreate : library.Create)(&blas->real)) {
        free(blas);
        driver_discharge(channel, handle_bytes(kind));
        return NULL;
    }
    blas->kind = kind;
    return blas;
}

static uint64_t version_of(const struct blas *blas)
{
    int version = 0;

    if (blas->kind == BLAS_KIND_LT) {
        return library.LtGetVersion();
    }
    library.GetVersion(blas->real, &version);
    return (uint64_t)version;
}

CUresult driver_run_blas_create(struct driver_call *call)
{
    uint64_t kind = call->arg_count > 1 ? call->args[1] : BLAS_KIND_BLAS;
    struct driver_entry *entry;
    struct blas *blas;

    if (call->arg_count < 1 || kind > BLAS_KIND_LT ||
        !driver_handle_free(call, call->args[0], CUDA_KIND_BLAS)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    if (!is_there()) {
        return CUDA_ERROR_NOT_SUPPORTED;
    }
    blas = create(call->channel, (enum blas_kind)kind);
    if (!blas) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    entry = driver_handle_made(call, call->args[0], CUDA_KIND_BLAS, blas, CUDA_SUCCESS);
    if (!entry) {
        end(blas);
        driver_discharge(call->channel, handle_bytes((enum blas_kind)kind));
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    entry->charged_bytes = handle_bytes((enum blas_kind)kind);
    call->out[0] = BLAS_SUCCESS;
    call->out[1] = version_of(blas);
    call->out_count = 2;
    return CUDA_SUCCESS;
}

struct blas *blas_of(struct driver_call *call)
{
    return call->arg_count > 0 ? driver_handle(call, call->args[0], CUDA_KIND_BLAS) : NULL;
}

CUresult driver_run_blas_destroy(struct driver_call *call)
{
    struct blas *blas = blas_of(call);

    if (!blas) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    end(blas);
    driver_handle_end(call, call->args[0], CUDA_SUCCESS);
    return CUDA_SUCCESS;
}

/* ---- calls ---- */

void blas_run_range(struct blas_run *run, uint64_t address, uint64_t bytes)
{
    if (!driver_range_ok(run->call, address, bytes)) {
        run->status = BLAS_INVALID_VALUE;
    }
}

void blas_run_value(struct blas_run *run, uint64_t address, uint64_t bytes)
{
    blas_run_range(run, address, bytes ? bytes : UINT64_MAX);
    if (run->state->pointer_mode != 1) {
        run->status = BLAS_INVALID_VALUE; /* it would be an address of this process */
    }
}

void blas_run_choice(struct blas_run *run, int value, int last)
{
    if (value < 0 || value > last) {
        run->status = BLAS_INVALID_VALUE;
    }
}

/* CUBLAS_GEMM_DFALT, ALGO0 to 23; DFALT_TENSOR_OP, ALGO0_TENSOR_OP to 15. */
void blas_run_algorithm(struct blas_run *run, int algorithm)
{
    if (algorithm < -1 || (algorithm > 23 && algorithm < 99) || algorithm > 115) {
        run->status = BLAS_INVALID_VALUE;
    }
}

const void *blas_run_scalar(struct blas_run *run, unsigned at, uint64_t bytes)
{
    if (bytes == 0 || bytes > BLAS_SCALAR_BYTES) {
        run->status = BLAS_NOT_SUPPORTED;
        return NULL;
    }
    if (run->state->pointer_mode == 0) {
        return &run->words[at];
    }
    blas_run_range(run, run->words[at], bytes);
    return (const void *)(uintptr_t)run->words[at]; /* NOLINT(performance-no-int-to-ptr) */
}

static int apply_stream(struct blas *blas, CUstream stream)
{
    int status = stream == blas->stream ? BLAS_SUCCESS : library.SetStream(blas->real, stream);

    if (!status && stream != blas->stream) {
        blas->applied.workspace = blas->applied.workspace_bytes = 0; /* that is what it does */
        blas->stream = stream;
    }
    return status;
}

static int apply_workspace(struct blas *blas, const BLASState *state)
{
    BLASState *had = &blas->applied;
    int status;

    if (state->workspace == had->workspace && state->workspace_bytes == had->workspace_bytes) {
        return BLAS_SUCCESS;
    }
    status = state->workspace_bytes
                 ? library.SetWorkspace(blas->real, state->workspace, state->workspace_bytes)
                 : library.SetStream(blas->real, blas->stream); /* back to its own */
    if (!status) {
        had->workspace = state->workspace;
        had->workspace_bytes = state->workspace_bytes;
    }
    return status;
}

static int apply_mode(const struct blas *blas, int (*set)(void *handle, int mode), uint32_t *had,
                      uint32_t mode)
{
    int status = mode == *had ? BLAS_SUCCESS : set(blas->real, (int)mode);

    if (!status) {
        *had = mode;
    }
    return status;
}

/* Hands on what differs from what the library has; what it refuses is handed on again. */
static int apply(struct blas *blas, const BLASState *state, CUstream stream)
{
    BLASState *had = &blas->applied;
    int status = apply_stream(blas, stream);

    status = status ? status : apply_workspace(blas, state);
    status =
        status ? status
               : apply_mode(blas, library.SetPointerMode, &had->pointer_mode, state->pointer_mode);
    status =
        status ? status : apply_mode(blas, library.SetMathMode, &had->math_mode, state->math_mode);
    return status
               ? status
               : apply_mode(blas, library.SetAtomicsMode, &had->atomics_mode, state->atomics_mode);
}

/* The state and the words, out of the payload; NULL: it is no such call. */
static const struct blas_entry *take(struct driver_call *call, BLASState *state,
                                     uint64_t words[BLAS_WORDS_MAX])
{
    uint64_t number = call->arg_count > 1 ? call->args[1] : BLAS_CALLS_END;
    const struct blas_entry *entry = number < BLAS_CALLS_END ? &blas_entries[number] : NULL;
    uint32_t bytes;

    if (!entry || !entry->name) {
        return NULL;
    }
    bytes = entry->words * (uint32_t)sizeof(words[0]);
    if (call->payload_bytes != sizeof(*state) + bytes) {
        return NULL;
    }
    memcpy(state, call->payload, sizeof(*state));
    memcpy(words, call->payload + sizeof(*state), bytes);
    return state->pointer_mode <= 1 && state->atomics_mode <= 1 &&
                   blas_is_math_mode(state->math_mode)
               ? entry
               : NULL;
}

static int run(struct driver_call *call, struct blas *blas)
{
    BLASState state;
    struct blas_run run = {.call = call,
                           .library_handle = blas->real,
                           .functions = library.functions,
                           .state = &state};
    const struct blas_entry *entry = take(call, &state, run.words);
    CUstream stream = NULL;
    int status;

    if (!entry || !driver_stream(call, state.stream, &stream) ||
        !driver_range_ok(call, state.workspace, state.workspace_bytes)) {
        return BLAS_INVALID_VALUE;
    }
    if (!library.functions[call->args[1]]) {
        return BLAS_NOT_SUPPORTED;
    }
    status = apply(blas, &state, stream);
    status = status ? status : entry->run(&run);
    call->out[1] = (uint64_t)run.info;
    return status;
}

CUresult driver_run_blas_call(struct driver_call *call)
{
    struct blas *blas = blas_of(call);

    if (!blas || blas->kind != BLAS_KIND_BLAS) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    return library_answer(call, "cuBLAS", run(call, blas));
}
