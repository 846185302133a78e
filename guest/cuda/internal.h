/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The files of libcuda.so.1 share these declarations.
 *
 * How a call travels: the exported function (generated, or hand_NAME) begins a call, which
 * looks at the process's state, adds its arguments, and posts it as one record of the channel.
 * All threads append to one command ring under one lock, so what happens before in the process
 * happens before in the worker.  A thread that asks waits for its lane's mailbox.
 */
#ifndef GUEST_CUDA_INTERNAL_H
#define GUEST_CUDA_INTERNAL_H

#include <pthread.h>
#include <stdbool.h>

#include "cuda/driver_types.h"
#include "cuda/ranges.h"
#include "cuda/wire.h"
#include "cuda_ops.h"
#include "guest/lib/channel.h"

#define CUDA_EXPORT __attribute__((visibility("default")))

#define CUDA_LANES 64u
#define CUDA_PIECES 16u
#define CUDA_PIECE_BYTES (1u << 20)
#define CUDA_STAGING_BYTES (CUDA_PIECES * (uint64_t)CUDA_PIECE_BYTES)
#define CUDA_PINNED_MIB 240u /* of a process, where VGPU_CUDA_PINNED_MIB says nothing */
#define CUDA_PINNED_MOST_MIB 1000u
#define CUDA_OUT_MAX 8u

/* ---- the process ---- */

enum cuda_state {
    CUDA_BEFORE = 0, /* cuInit has not succeeded */
    CUDA_READY = 1,
    CUDA_LOST = 2,   /* the channel has ended: every call is lost_by */
    CUDA_FORKED = 3, /* a child of fork(): nothing works, as with the driver itself (not small) */
    CUDA_ENDED = 4,  /* the program is leaving */
};

struct cuda_process {
    int state; /* enum cuda_state; atomic */
    struct vgpu *v;
    struct channel_link *link;
    VGPUControl *control;
    uint8_t *arena;  /* at its fixed address */
    uint64_t pinned; /* offset in it where pinned memory begins */
    uint64_t arena_bytes;
    CUDASnapshot snapshot;
    int lost_by;     /* while LOST: what every call gets; atomic */
    bool blocking;   /* CUDA_LAUNCH_BLOCKING */
    bool spare_cpus; /* a thread that looks takes no processor from another one */
};

extern struct cuda_process cuda_process;

static inline int cuda_state(void)
{
    return __atomic_load_n(&cuda_process.state, __ATOMIC_ACQUIRE);
}

/*
 * Set before cuda_open(): the process has no contexts, copies nothing and needs no pinned memory
 * (NVML).  So it may open another channel after a loss or a fork, which the caller sees to: no
 * other thread may be in a call meanwhile.
 */
extern bool cuda_process_is_small;
/* Opens the channel, once; what cuInit answers. */
CUresult cuda_open(void);
/* The channel is gone: this is said once, and every later call fails with `result`. */
void cuda_lose(CUresult result, const char *why);
/* What a call gets in a state other than READY. */
CUresult cuda_state_result(void);
/* One line on stderr, after "libcuda (vgpu): ". */
void cuda_say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* ---- calls ---- */

#define CUDA_NEEDS_CONTEXT 1u
#define CUDA_ANY_STATE 2u     /* also where an error of the process is sticky */
#define CUDA_TAKES_FOREIGN 4u /* streams and events of another context are fine */

struct cuda_call {
    CUDARecord head;
    uint64_t args[CUDA_ARGS_MAX];
    const void *payload[2];
    uint32_t payload_bytes[2];
    uint64_t out[CUDA_OUT_MAX];
    void *reply; /* wanted instead of out: up to reply_bytes */
    uint32_t reply_bytes;
    uint64_t number; /* of the record, once posted */
    uint64_t made;   /* the handle that it creates */
    unsigned needs;
    struct cuda_context *context;
};

/* Not 0: the call ends with this.  needs: CUDA_NEEDS_CONTEXT and those below it. */
CUresult cuda_begin(struct cuda_call *call, uint16_t op, unsigned needs);
void cuda_default_stream(struct cuda_call *call, int per_thread);

static inline void cuda_add(struct cuda_call *call, uint64_t value)
{
    call->args[call->head.arg_count++] = value;
}

/* False: this is no live handle of the kind, or one of another context where that is wrong. */
bool cuda_add_handle(struct cuda_call *call, uint64_t handle, unsigned kind);
bool cuda_add_stream(struct cuda_call *call, CUstream stream, int per_thread);
/* Is it there, and of no other context where that is wrong? */
struct cuda_object;
bool cuda_fits(const struct cuda_call *call, const struct cuda_object *object);
/* Its length as an argument, its bytes behind them; it stays the caller's. */
void cuda_add_string(struct cuda_call *call, const char *text);
void cuda_add_bytes(struct cuda_call *call, const void *bytes, uint32_t count);

CUresult cuda_ask(struct cuda_call *call);    /* waits for the worker */
CUresult cuda_wait(struct cuda_call *call);   /* waits for the GPU */
CUresult cuda_forget(struct cuda_call *call); /* waits for nothing */
float cuda_float(uint64_t bits);

/* Until so many records are over, with all that they read. */
CUresult cuda_wait_over(uint64_t records);
/* CUDA_ERROR_NOT_SUPPORTED, and the name on stderr the first time. */
CUresult cuda_refuse(const char *name, unsigned number);

/* Has the worker sent something that a kernel printed? */
static inline bool cuda_has_output(void)
{
    return VGPU_LOAD_RELAXED(&cuda_process.control->notice_tail) !=
           VGPU_LOAD_RELAXED(&cuda_process.control->notice_head);
}

/* Writes it to the program's stdout. */
void cuda_take_output(void);

/* ---- threads ---- */

struct cuda_thread {
    uint16_t lane; /* plus 1; 0: none yet */
    unsigned depth;
    struct cuda_context *stack[32];
    int capture_mode;
};

struct cuda_thread *cuda_thread(void);

/* ---- objects: what stands behind a handle ---- */

struct cuda_function {
    char *name;
    CUDAFunction facts;
    uint32_t param_bytes;
    uint64_t seen[8]; /* configurations that the driver has accepted */
    unsigned next_seen;
};

struct cuda_object {
    uint64_t handle;
    struct cuda_context *context; /* NULL: of none */
    uint64_t of; /* a function's module, library or kernel; a module's library; or 0 */
    struct cuda_function *function;
    void *kept; /* what the program was shown of it */
};

/* What the program holds is the handle. */
#define CUDA_HANDLE(pointer) ((uint64_t)(uintptr_t)(pointer))

/* A new handle's number, for a call that creates it; 0: there is no more room. */
uint64_t cuda_object_new(struct cuda_call *call, unsigned kind);
/* After that call: on success *to is the handle, else it is given back. */
void cuda_object_made(struct cuda_call *call, CUresult result, void *to);
/* What it came from, with which it ends. */
void cuda_object_of(uint64_t handle, uint64_t of);
/* Memory that lives as long as it, in place of what it had. */
void cuda_object_keep(uint64_t handle, void *memory);
/* After a call that ends it. */
void cuda_object_end(uint64_t handle, CUresult result);
/* NULL: no live handle of this kind (KERNEL also serves as FUNCTION). */
struct cuda_object *cuda_object(uint64_t handle, unsigned kind);
/* The function or kernel of this name that was got before; 0: none. */
uint64_t cuda_object_by_name(uint64_t of, const char *name, unsigned kind);
/* All that belong to a context that ends. */
void cuda_objects_drop(const struct cuda_context *context);

/* ---- contexts ---- */

struct cuda_gates {
    uint32_t *words; /* pinned */
    bool busy[];
};

struct cuda_context {
    uint64_t handle;
    unsigned flags;
    bool primary, alive;
    uint64_t id;
    uint64_t work;            /* records that may put something on the GPU, so far; atomic */
    uint64_t idle;            /* how many of them a synchronisation has seen the end of; atomic */
    struct cuda_gates *gates; /* of its host functions; NULL: there was none yet */
};

/* Has the program waited for all that it put on the GPU? */
static inline bool cuda_is_idle(const struct cuda_context *context)
{
    return __atomic_load_n(&context->work, __ATOMIC_ACQUIRE) ==
           __atomic_load_n(&context->idle, __ATOMIC_ACQUIRE);
}

/* The calling thread's, or NULL. */
struct cuda_context *cuda_current(void);

/* ---- addresses ---- */

void cuda_range_add(uint64_t start, uint64_t bytes, enum cuda_range_kind kind);
/* What virtual memory management had mapped there is no more. */
void cuda_range_unmap(uint64_t start, uint64_t bytes);
/* A variable; owner: the handle that it came from. */
void cuda_range_add_global(uint64_t start, uint64_t bytes, uint64_t owner);
/* Variables whose owners have gone. */
void cuda_ranges_drop_globals(void);
void cuda_range_add_pinned(uint64_t start, uint64_t bytes, unsigned flags);
/* The one that holds this address; false: none. */
bool cuda_range_find(uint64_t address, struct cuda_range *range);
/* Of the one that starts there. */
bool cuda_range_remove(uint64_t start);
void cuda_ranges_drop(const struct cuda_context *context);
/* Pinned memory of a context that ends can be given again. */
void cuda_pinned_drop(const struct cuda_context *context);
/* The next range of pinned memory of the context, from `after` on; false: none. */
bool cuda_range_next_pinned(const struct cuda_context *context, uint64_t after,
                            struct cuda_range *range);
bool cuda_is_pinned(uint64_t address);
/* All `bytes` lie in one; no bytes always do. */
bool cuda_range_ok(uint64_t address, uint64_t bytes);

/* Memory of the program that it has registered (register.c); false: none there. */
bool cuda_registered_find(uint64_t address, struct cuda_range *range);
/* Of a context that ends. */
void cuda_registered_drop(const struct cuda_context *context);

/* ---- host functions ---- */

/* Is it one that calls?  It may not. */
bool cuda_in_host_func(void);
/* The GPU has come to this one. */
void cuda_host_func_ready(uint64_t number);
/* Of a context that ends: all of them have run. */
void cuda_gates_drop(struct cuda_context *context);

/* ---- graphs ---- */

/* Captures that were begun and not ended by the program: more than there are, never fewer. */
unsigned cuda_captures(void);
/* One more, if it succeeded. */
void cuda_capture_begun(CUresult result);

/* ---- pieces of the arena, for ordinary memory ---- */

/*
 * The piece whose last use is longest ago, once that is over.  NOT_READY: others have all of them,
 * and the caller has some itself, so that it must not wait for theirs.
 */
CUresult cuda_piece_take(unsigned *piece, bool has_others);
/* After the record with this number that uses it. */
void cuda_piece_give(unsigned piece, uint64_t number);
uint8_t *cuda_piece_bytes(unsigned piece);

/* ---- copies in two and three dimensions ---- */

/* As a record has it, checked; not 0: it is none.  NOT_SUPPORTED: of ordinary memory. */
CUresult cuda_take_copy(const CUmemcpy3D *from, CUDACopy *to);
void cuda_give_copy(const CUDACopy *from, CUmemcpy3D *to);

/* ---- code ---- */

/* Where the image lies, and how long it is by its own headers. */
const void *cuda_image(const void *image, uint64_t *bytes);

/* What is known of a function or kernel; asks the worker where needed.  NULL: *result says why. */
struct cuda_function *cuda_function_of(uint64_t handle, CUresult *result);
/*
 * Parameters as a node of a graph has them: all that the function takes, in a row.  `buffer` holds
 * CUDA_PARAM_BYTES_MAX; *bytes of it are used.
 */
CUresult cuda_pack(uint64_t function, void **kernelParams, void **extra, uint8_t *buffer,
                   uint32_t *bytes);
/* The caller has changed what the driver accepts of it. */
void cuda_function_changed(struct cuda_function *function);
/* The worker has set this attribute of a function or kernel. */
void cuda_function_attribute(uint64_t handle, unsigned attribute, int value);

#endif /* GUEST_CUDA_INTERNAL_H */
