/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The files of a channel of profile CUDA share these declarations.
 *
 * A channel belongs to one thread, its ring thread, which reads records in their order, calls
 * the driver, and looks at what the GPU has done.  It never lets the driver wait: what would
 * wait is held until a fence says that it won't.  The executor's thread hands over turns and
 * ends channels; the words that both use are atomic.
 */
#ifndef WORKER_CUDA_CHANNEL_DRIVER_INTERNAL_H
#define WORKER_CUDA_CHANNEL_DRIVER_INTERNAL_H

#include <pthread.h>
#include <stdbool.h>

#include "cuda/dnn.h"
#include "cuda/ranges.h"
#include "cuda/wire.h"
#include "cuda_ops.h"
#include "vgpu/vgpu_ring.h"
#include "worker/cuda/channel/driver_api.h"
#include "worker/cuda/channel/driver_set.h"

#define DRIVER_RETIRE_MAX 64u /* payloads that the GPU may still read */
#define DRIVER_MARKS_MAX 64u
#define DRIVER_GATES_MAX 64u
#define DRIVER_FENCES_FREE 64u   /* that are kept for the next use, of each context */
#define DRIVER_STREAMS_MAX 1024u /* that a process may create: each takes memory of the driver */
#define DRIVER_POOLS_MAX 64u     /* of a process */
#define DRIVER_TOUCHED_MAX 64u   /* ranges that one call uses */
#define DRIVER_TURNS_UNHEARD 2u  /* of one channel: the head's, and the next one */
#define DRIVER_FILLS_MAX 16u     /* captures that go on in graphs of the process, at a time */
#define DRIVER_WINDOW_PARTS (VGPU_ARENA_BYTES_MAX / CUDA_PIN_BYTES + 1)

/* A point in the GPU's work. */
struct driver_fence {
    CUevent event;
    struct driver_context *context;
    uint64_t life; /* the context's, when it was made: events go with their context */
    uint64_t work; /* the context's, when it was set over all of the context */
    unsigned users;
    bool looks; /* it has no event: each stream of the context is looked at */
    bool done;
    CUresult result;
};

/* What a node of a graph uses: memory, or a function or an event, by its handle and no bytes. */
struct driver_memop {
    uint64_t capture; /* the driver's number of the one that it came from */
    const void *node; /* the driver's; NULL: it is not known */
    uint64_t address, bytes;
};

struct driver_context {
    CUcontext real; /* NULL: the place is free */
    uint64_t handle;
    uint64_t life;          /* another one after each end */
    uint64_t work;          /* how often something was submitted, */
    uint64_t settled;       /* ... and how much of that is known to be done */
    uint64_t passed;        /* in which pass of gpu_is_idle() it was last seen to be done */
    uint64_t charged_bytes; /* of the context itself and its limits (driver_account.c) */
    uint64_t local_bytes;   /* of each thread, charged */
    uint64_t limits[5];     /* by their numbers, as charged; 0: not looked at yet */
    unsigned captures, blocking_captures;  /* under way (driver_capture.c), of blocking streams */
    uint8_t lane_captures[VGPU_LANES_MAX]; /* not 0: of the lane's own stream */
    CUstream per_thread[VGPU_LANES_MAX];   /* NULL: not made yet */
    struct driver_fence *free_fences[DRIVER_FENCES_FREE];
    unsigned free_count;
};

struct driver_entry {
    uint64_t handle; /* 0: free */
    void *real;
    uint32_t context;       /* index; 0: of none */
    uint64_t of;            /* a function's module, library or kernel; a module's library; or 0 */
    uint64_t charged_bytes; /* of an image */
    uint32_t local_bytes;   /* of each thread of a function, once local_known */
    bool local_known;
    uint8_t captures;             /* not 0: of this stream one is under way */
    bool filled;                  /* a capture goes on in this graph */
    bool unknown;                 /* what it uses could not be noted: it never runs */
    struct driver_memops *memops; /* of a graph; NULL: none */
    uint64_t source;              /* an instance's graph, which may have gone */
};

/* A host function under way (driver_host.c). */
struct driver_gate {
    uint64_t word; /* its address, in the window */
    uint32_t value;
    uint64_t number;
    struct driver_fence *before; /* NULL: the process has heard of it */
    struct driver_fence *behind;
};

/* What a lane waits for. */
struct driver_wait {
    bool active;
    uint32_t seq;
    struct driver_fence *fence;
    uint64_t event; /* handle; without a fence */
};

/* An image on its way; its room counts in the set's staged_bytes. */
struct driver_image {
    uint8_t *bytes;
    uint64_t count, room;
};

/* Memory that is allocated in a stream's order. */
struct driver_pool {
    CUmemoryPool real;
    size_t users; /* allocations */
    bool ended;   /* by the process; it goes with its last allocation */
};

struct driver_channel {
    /* Set by whoever opens it. */
    uint64_t handle;  /* atomic; 0: no mediator knows it */
    uint64_t held_as; /* its number until one does */
    bool is_kept;     /* when the mediator changed */
    bool is_live;     /* it has made a context, and counts in the set's live */
    struct driver_set *set;
    const struct driver_api *api;
    CUdevice device;
    VGPUGeometry geometry;
    struct vgpu_channel_layout layout;
    struct channel_mapping *mapping;
    int doorbell, interrupt; /* the mapping's */
    int wake;
    uint8_t *chunk0;      /* the mapping's */
    VGPUControl *control; /* shared: each word is read once */
    struct vgpu_ring commands, notices;
    pthread_t thread;

    /* Between the two threads; atomic. */
    int claimed;        /* another mediator knows it now, which has not heard what it wants */
    int stop;           /* enum vgpu_channel_reason; 0: go on */
    int ended;          /* the ring thread has let go */
    uint64_t budget_ns; /* not 0: a turn, from the executor; 0 again when it is over */
    int goes_on;        /* the next turn is there already */
    /* That turn's, which may be begun without asking; 0 again once it is.  In the meantime only
     * the executor puts it there, or takes it back. */
    uint64_t next_budget_ns;
    bool next_is_put;    /* the executor's own: that it has put one there */
    uint64_t turns_over; /* so many, of which the executor has heard of turns_heard; */
    uint64_t turns_heard;
    uint64_t used_ns[DRIVER_TURNS_UNHEARD]; /* ... and what each took */

    /* The ring thread's own. */
    uint8_t *window; /* the arena at the process's address; NULL: before INIT */
    bool ready;      /* INIT has succeeded: the device may serve guests, and is known */
    struct driver_context *pinned[DRIVER_WINDOW_PARTS]; /* by which it is registered; or NULL */
    struct driver_context contexts[CUDA_CONTEXTS_MAX];
    struct driver_entry *entries;
    uint32_t entry_room;
    unsigned stream_count; /* of the entries */
    unsigned dnn_descs, fft_plans;
    struct dnn
        *dnn_handles[DNN_HANDLES_MAX]; /* dnn_handles.c's; also ended ones that are used yet */
    unsigned captures;                 /* under way, in all contexts */
    struct driver_memop *memops;       /* of them */
    size_t memop_count, memop_room;
    struct {
        uint64_t capture, graph; /* the handle of the one that it goes on in; 0: free */
    } fills[DRIVER_FILLS_MAX];
    struct cuda_range_map ranges;
    /* Virtual memory management; a mapping's context is its struct driver_physical. */
    struct cuda_range_map reservations, mappings;
    uint64_t reserved_bytes; /* addresses */
    /* The first is what is the device's default pool to the process; real is NULL: none. */
    struct driver_pool pools[DRIVER_POOLS_MAX];
    uint64_t resident_threads;    /* that the GPU can hold at a time */
    uint64_t charged_bytes;       /* driver_account.c: in all, */
    uint64_t pool_bytes;          /* ... of the pools, */
    struct cuda_range_map blocks; /* ... blocks of small allocations; serial: how many of them */
    struct driver_wait waits[VGPU_LANES_MAX];
    unsigned wait_count, wait_high; /* active ones; none is above */
    CUresult late[VGPU_LANES_MAX];
    uint64_t late_count;
    vgpu_worker_program figures; /* its own, but for memory and contexts */
    vgpu_worker_program told;    /* ... as the mediator was last told, */
    uint64_t told_ns;            /* ... then; 0: never */
    bool library_was_late;       /* a status of cuBLAS or the like; that is said once */
    struct driver_gate gates[DRIVER_GATES_MAX];
    unsigned gate_count;
    struct driver_image image;
    struct {
        pthread_mutex_t lock; /* the driver may print in threads of its own */
        char *bytes;
        size_t count;
        bool prints; /* a function that was loaded may */
    } output;
    struct driver_context *current;
    uint32_t seq; /* of the last record */
    uint64_t taken;
    bool has_record;
    struct driver_fence *held;       /* what the record waits for before it runs */
    struct driver_fence *turn_fence; /* behind a turn's work, at its end */
    bool answered;                   /* since the process was last looked after */
    bool woken;                      /* a notice has found it asleep: it is to be signalled */
    bool wants;
    bool in_turn, closing; /* a turn; it takes no more work */
    uint64_t turn_start_ns, last_work_ns;
    uint64_t closing_since_ns, late_unit_ns;
    uint64_t pass; /* of gpu_is_idle() */
    struct {
        uint64_t number;
        struct driver_fence *fence;
    } retire[DRIVER_RETIRE_MAX];
    unsigned retire_first, retire_last;
    struct {
        struct driver_fence *fence;
        unsigned units;
        uint64_t at_ns;
    } marks[DRIVER_MARKS_MAX];
    unsigned mark_first, mark_last, in_flight, unmarked;
    unsigned units_fit; /* may be in flight; 0: nothing is known yet */
    uint64_t unit_ns, mark_done_ns;
    struct driver_context *unit_context; /* of the last unit */
    /* For the limit of a kernel's time: units without a mark since; the GPU last waited for the
     * process; the mediator was last told of one that is late. */
    uint64_t unmarked_since_ns, waited_until_ns, late_told_ns;
    uint64_t quiet_since_ns; /* nothing to do since; 0: there is */
    CUDAFunction function;   /* an answer under way */
    CUDANodes nodes;
    CUDAEdges edges;
    struct {
        CUDANode node;
        uint8_t params[CUDA_NODE_PARAM_BYTES_MAX];
    } node;
    CUtensorMap tensor_map;
    CUDALogs logs;
    CUDAAccount account;
    _Alignas(8) uint8_t record[VGPU_RECORD_BYTES_MAX];
};

/* A record under way.  Everything it points to is private memory. */
struct driver_call {
    struct driver_channel *channel;
    const struct driver_api *api;
    CUdevice device;
    struct driver_context *context; /* NULL: the process has none current */
    uint8_t flags;                  /* of its opcode */
    const CUDARecord *record;
    const uint64_t *args;
    unsigned arg_count;
    const uint8_t *payload;
    uint32_t payload_bytes;
    uint64_t out[8];
    unsigned out_count;
    const void *reply; /* in place of out */
    uint32_t reply_bytes;
    CUstream stream; /* that it used, for a fence behind it */
    struct driver_context *stream_context;
    bool has_stream;
    struct driver_fence *fence; /* the answer comes when it is done; NULL: at once */
    uint64_t wait_event;        /* or when this event is */
    uint64_t capture;           /* that its stream is in, see driver_is_captured() */
    struct driver_memop touched[DRIVER_TOUCHED_MAX]; /* while there are captures */
    unsigned touched_count;
    bool touched_more; /* than there is room for: no graph of it runs */
};

typedef CUresult driver_decoder(struct driver_call *call);

extern driver_decoder *const driver_decoders[CUDA_OP_END];
extern const uint8_t driver_flags[CUDA_OP_END];

/* By hand, where the others of their kind are generated. */
driver_decoder decode_cuCtxSetLimit, decode_cuMemPoolTrimTo, decode_cuGraphDestroy,
    decode_cuGraphDestroyNode, decode_cuGraphNodeGetEnabled, decode_cuGraphNodeSetEnabled,
    decode_cuGraphKernelNodeCopyAttributes;

driver_decoder driver_run_init, driver_run_ctx_create, driver_run_ctx_destroy, driver_run_ctx_sync,
    driver_run_stream_sync, driver_run_event_sync, driver_run_lane_end, driver_run_alloc,
    driver_run_free, driver_run_mem_info, driver_run_copy_in, driver_run_copy_out,
    driver_run_pinned_in, driver_run_pinned_out, driver_run_pin, driver_run_image,
    driver_run_module_load, driver_run_library_load, driver_run_get_function,
    driver_run_set_attribute, driver_run_launch, driver_run_alloc_async, driver_run_free_async,
    driver_run_pool_of, driver_run_pool_create, driver_run_pool_destroy, driver_run_refused,
    driver_run_pool_get, driver_run_pool_set, driver_run_clusters, driver_run_blas_create,
    driver_run_blas_destroy, driver_run_blas_call, driver_run_lt_matmul, driver_run_lt_heuristic,
    driver_run_dnn_create, driver_run_dnn_destroy, driver_run_dnn_desc, driver_run_dnn_desc_end,
    driver_run_dnn_set, driver_run_dnn_finalize, driver_run_dnn_get, driver_run_dnn_execute,
    driver_run_dnn_old, driver_run_dnn_size, driver_run_fft_plan, driver_run_fft_end,
    driver_run_fft_exec, driver_run_account, driver_run_capture_begin, driver_run_capture_end,
    driver_run_capture_info, driver_run_graph_clone, driver_run_graph_instantiate,
    driver_run_graph_update, driver_run_graph_launch, driver_run_graph_nodes,
    driver_run_granularity, driver_run_reserve, driver_run_reserve_end, driver_run_physical,
    driver_run_physical_end, driver_run_map, driver_run_unmap, driver_run_access,
    driver_run_access_of, driver_run_host_func, driver_run_tensor_tiled, driver_run_tensor_replace,
    driver_run_graph_add, driver_run_graph_set, driver_run_graph_get, driver_run_graph_link,
    driver_run_graph_edges, driver_run_graph_child, driver_run_graph_find,
    driver_run_graph_attribute, driver_run_copy_rows, driver_run_copy_within;

/* ---- handles ---- */

/* NULL: no live handle of this kind (a KERNEL also serves as FUNCTION), or one of another context
 * where that is wrong. */
struct driver_entry *driver_entry(struct driver_call *call, uint64_t handle, unsigned kind);
void *driver_handle(struct driver_call *call, uint64_t handle, unsigned kind);
/* Of whatever kind and context. */
bool driver_handle_lives(struct driver_channel *channel, uint64_t handle);
struct driver_entry *driver_handle_entry(struct driver_channel *channel, uint64_t handle);
/* May a new object of this kind have this one?  Asked before the driver makes it. */
bool driver_handle_free(struct driver_call *call, uint64_t handle, unsigned kind);
/* May there be one stream more? */
bool driver_stream_fits(const struct driver_call *call);
/* After the driver made it; NULL at an error. */
struct driver_entry *driver_handle_made(struct driver_call *call, uint64_t handle, unsigned kind,
                                        void *real, CUresult result);
/* With all that came out of it: kernels, functions, variables. */
void driver_handle_end(struct driver_call *call, uint64_t handle, CUresult result);
void driver_handles_drop(struct driver_channel *channel, uint32_t context);
/* Unloads the libraries that are left, at the end. */
void driver_libraries_end(struct driver_channel *channel);
/* The real stream of 0, CU_STREAM_LEGACY, CU_STREAM_PER_THREAD or a handle. */
bool driver_stream(struct driver_call *call, uint64_t value, CUstream *stream);
/* The name at the start of the payload, NUL-terminated; NULL: it is none. */
const char *driver_string(struct driver_call *call, uint64_t bytes);
uint64_t driver_float_bits(float value);

/* Handles of cuBLAS in a context that ends, and is current (worker/libraries/blas.c). */
void blas_handles_end(struct driver_channel *channel, uint32_t context);
/* The same of cuDNN, with its descriptors (worker/libraries/dnn.c). */
void dnn_handles_end(struct driver_channel *channel, uint32_t context);
/* The same of cuFFT (worker/libraries/fft.c). */
void fft_plans_end(struct driver_channel *channel, uint32_t context);

/* ---- memory ---- */

bool driver_range_ok(struct driver_call *call, uint64_t address, uint64_t bytes);
/* The call uses it: memory, or what the handle stands for where bytes is 0. */
void driver_touch(struct driver_call *call, uint64_t address, uint64_t bytes);
/* Pinned memory that the GPU knows, all of it. */
bool driver_pinned_ok(const struct driver_channel *channel, uint64_t address, uint64_t bytes);
/* Registers the part of the arena that holds this, if it is not yet; not 0: it is none, or in more
 * than one part, which the driver takes for no memory. */
CUresult driver_pin_part(struct driver_call *call, uint64_t address, uint64_t bytes);
/* There is memory for one range more: reserved before the driver is asked.  pool: its place. */
void driver_range_add(struct driver_call *call, uint64_t address, uint64_t bytes,
                      enum cuda_range_kind kind, uint64_t pool);
/* A variable; owner: the handle that it came from. */
void driver_range_global(struct driver_call *call, uint64_t address, uint64_t bytes,
                         uint64_t owner);
/* Variables whose owners have gone. */
void driver_globals_drop(struct driver_channel *channel);
/* Everything that a context had; it is current, and nothing of it is in flight. */
void driver_memory_drop(struct driver_channel *channel, const struct driver_context *context);
/* Pinned memory that the context registered is registered no more; the context is current. */
void driver_unpin(struct driver_channel *channel, const struct driver_context *context);
/* Does ACCESS change what may be accessed already? */
bool driver_access_changes(const struct driver_call *call);
/* What is mapped, and all behind it. */
void driver_virtual_end(struct driver_channel *channel);
/* What is left, when no context is. */
void driver_memory_end(struct driver_channel *channel);

/* ---- the account (driver_account.c) ---- */

uint64_t driver_rounded(uint64_t bytes, uint64_t unit);
/* False: the VM's limit is reached. */
bool driver_charge(struct driver_channel *channel, uint64_t bytes);
void driver_charge_taken(struct driver_channel *channel, uint64_t bytes);
void driver_discharge(struct driver_channel *channel, uint64_t bytes);
/* Before cuMemAlloc; then one of: made, or driver_discharge() of what was charged. */
bool driver_charge_allocation(struct driver_channel *channel, uint64_t bytes,
                              uint64_t *charged_bytes);
/* False: it took more than was charged, and has to go again.  Nothing is charged for it then. */
bool driver_allocation_made(struct driver_channel *channel, uint64_t address, uint64_t bytes,
                            uint64_t charged_bytes);
/* May the VM have no block more, so that a small one has to fit into those that there are?  Then
 * nothing may be in flight: one that does not fit is freed again. */
bool driver_may_lack_a_block(struct driver_channel *channel, uint64_t bytes);
void driver_allocation_ended(struct driver_channel *channel, uint64_t address, uint64_t bytes);
/* Would an allocation of so many bytes from the pool need more than the VM may have?  Then pools
 * are trimmed for it, if nothing is in flight. */
bool driver_pool_is_full(struct driver_channel *channel, const struct driver_pool *pool,
                         uint64_t bytes);
/* Before an allocation from the pool; what it takes then is told by driver_pool_look(). */
bool driver_charge_pool(struct driver_channel *channel, const struct driver_pool *pool,
                        uint64_t bytes, uint64_t *charged_bytes);
/* An allocation from the pool with this place has gone. */
void driver_pool_released(struct driver_channel *channel, uint64_t number);
void driver_pools_end(struct driver_channel *channel);
/* Which pool ALLOC_ASYNC is from; NULL: the handle is none. */
struct driver_pool *driver_pool_of(struct driver_call *call);
void driver_pool_look(struct driver_channel *channel);
/* Before a context is made, and after it has gone. */
bool driver_charge_context(struct driver_channel *channel, struct driver_context *context);
void driver_context_ended(struct driver_channel *channel, struct driver_context *context);
/* Before a launch of a function that needs so much local memory for each thread. */
bool driver_charge_launch(struct driver_call *call, uint32_t local_bytes);
void driver_account_end(struct driver_channel *channel);

/* ---- images and functions ---- */

/* Of a FUNCTION, or of a KERNEL in the current context: the driver takes a kernel for a function
 * only where it launches, or asks how many fit.  *result is why there is none. */
CUfunction driver_function(struct driver_call *call, uint64_t handle, CUresult *result);

/* What a launch of it may make the driver allocate is charged before. */
CUresult driver_charge_local(struct driver_call *call, struct driver_entry *function);
void driver_image_drop(struct driver_channel *channel);
/* May the driver read it: a fat binary, ELF or text, and all that its headers name is in it? */
bool driver_image_is_whole(const uint8_t *image, uint64_t bytes);

/* ---- captures (driver_capture.c), and what graphs use ---- */

/* Does what the call puts into its stream become part of a graph? */
bool driver_is_captured(struct driver_call *call);
/* It did, with this result: what it uses is noted. */
CUresult driver_captured(struct driver_call *call, CUresult result);
/* NOT_READY: some stream of the context that is not captured has work. */
CUresult driver_streams_state(struct driver_channel *channel, const struct driver_context *context);
/* A capture of the context ends, if *mark says that there is one. */
void driver_capture_over(struct driver_channel *channel, struct driver_context *context,
                         uint8_t *mark);
/* Those under way in a context that ends. */
void driver_captures_end(struct driver_channel *channel, struct driver_context *context);
/* What graphs use (driver_memops.c).  A list is shared until one of its users changes it. */
void driver_memops_drop(struct driver_memops *memops);
struct driver_memops *driver_memops_share(struct driver_memops *memops);
/* Is all of it there? */
bool driver_memops_live(struct driver_call *call, const struct driver_memops *memops);
/* Room for so many more in the graph's own list.  False: no memory, or too many. */
bool driver_memops_reserve(struct driver_entry *graph, size_t count);
/* There is room. */
void driver_memops_add(struct driver_entry *graph, const struct driver_memop *memop);
/* What this node uses is taken out of the list, for others then; false: no memory. */
bool driver_memops_remove(struct driver_entry *graph, const void *node);
/* All of a graph, with those of the graphs inside of it that have handles.  False: no memory. */
bool driver_memops_of_graph(struct driver_channel *channel, const struct driver_entry *graph,
                            struct driver_memops **all);
/* As many as there are, with this one for the node of each. */
size_t driver_memops_count(const struct driver_memops *memops);
const struct driver_memop *driver_memops_at(const struct driver_memops *memops, size_t place);
/* The list is the caller's own. */
struct driver_memop *driver_memops_own(struct driver_memops *memops, size_t place);
/* Those of one capture, which is over.  False: no memory; they are gone all the same. */
bool driver_memops_take(struct driver_channel *channel, uint64_t capture,
                        struct driver_memops **memops);
/* One more of the captures under way.  False: there are too many. */
bool driver_memops_note(struct driver_channel *channel, const struct driver_memop *memop);

/* ---- graphs (driver_graph.c), and their nodes (driver_nodes.c) ---- */

/* The argument as a live handle of the kind; NULL: it is none. */
struct driver_entry *driver_graph_of(struct driver_call *call, unsigned at, unsigned kind);
/* The handle that a node has, or `fresh`, of the graph with this handle; 0: it gets none. */
uint64_t driver_node_handle(struct driver_call *call, uint64_t graph, CUgraphNode node,
                            uint64_t fresh);
/* A live node of this type; NULL: it is none. */
struct driver_entry *driver_node_of(struct driver_call *call, unsigned at, int type);
/* Is it a node of the graph that the instance was made from, or of one inside of that? */
bool driver_node_is_in(struct driver_call *call, const struct driver_entry *node,
                       const struct driver_entry *exec);
/* Is it this graph, or one inside of it? */
bool driver_graph_is_in(struct driver_channel *channel, uint64_t graph, uint64_t outer);
/* The record's copy as the driver takes it, all of it checked.  The host's memory is pinned. */
CUresult driver_take_copy(struct driver_call *call, const CUDACopy *from, CUmemcpy3D *copy);
/* Before a context ends. */
void driver_graphs_end(struct driver_channel *channel, struct driver_context *context);

/* ---- host functions (driver_host.c) ---- */

/* May there be one more under way? */
bool driver_host_fits(const struct driver_channel *channel);
/* True: something changed. */
bool driver_look_at_gates(struct driver_channel *channel);
/* Whatever waits for the process goes on. */
void driver_open_gates(struct driver_channel *channel);
void driver_gates_end(struct driver_channel *channel);

/* ---- contexts ---- */

CUresult driver_context_end(struct driver_channel *channel, struct driver_context *context);

/* ---- fences ---- */

/* Makes a context current; 0 or the driver's error. */
CUresult driver_enter(struct driver_channel *channel, struct driver_context *context);
/* Behind all work of the stream, or of the context.  NULL: the driver refuses, *result says. */
struct driver_fence *driver_fence_stream(struct driver_channel *channel,
                                         struct driver_context *context, CUstream stream,
                                         CUresult *result);
struct driver_fence *driver_fence_context(struct driver_channel *channel,
                                          struct driver_context *context, CUresult *result);
/* Is it over, well or badly? */
bool driver_fence_done(struct driver_channel *channel, struct driver_fence *fence);
void driver_fence_drop(struct driver_channel *channel, struct driver_fence *fence);
void driver_fences_free(struct driver_channel *channel, struct driver_context *context);
/* Those in use, once no context is left. */
void driver_fences_end(struct driver_channel *channel);
/* Is anything submitted that no fence over all of the context has shown to be done? */
bool driver_is_busy(const struct driver_context *context);
/* Any context of the channel of which that is so; NULL: none. */
struct driver_context *driver_busy_context(struct driver_channel *channel);
/* A fence over all of a context is done. */
void driver_settle(const struct driver_fence *fence);
/* The record's payload is read until the fence.  There is room: else the record was held. */
void driver_retire_behind(struct driver_call *call, struct driver_fence *fence);
/* Looks at everything that the GPU may have done.  True: something was. */
bool driver_look(struct driver_channel *channel);
/* The call has submitted one unit more. */
void driver_unit_submitted(struct driver_call *call);
/* A fence behind all units so far, of the stream, or of the context where it is NULL. */
void driver_mark(struct driver_channel *channel, struct driver_context *context, CUstream stream);
/* May one more be submitted now? */
bool driver_unit_fits(const struct driver_channel *channel);

/* ---- answers ---- */

/* Notes an error that no later call of the process survives. */
void driver_note(struct driver_channel *channel, CUresult result);
/* The result of a call that waits: an earlier error of its lane comes first. */
CUresult driver_with_late(struct driver_channel *channel, unsigned lane, CUresult result);
void driver_answer(struct driver_channel *channel, unsigned lane, uint32_t seq, CUresult result,
                   const void *body, uint32_t bytes);

/* ---- turns (driver_turn.c) ---- */

void driver_want_turn(struct driver_channel *channel);
/* True: something changed. */
bool driver_look_after_turn(struct driver_channel *channel);
/* May a unit be submitted although the turn takes no more? */
bool driver_late_unit(struct driver_channel *channel);

/* ---- the time of a kernel (driver_late.c) ---- */

/* The VM's limit; 0: there is none. */
uint64_t driver_kernel_limit_ns(const struct driver_channel *channel);
/* Has one run past it?  Then the mediator is told. */
void driver_look_for_late(struct driver_channel *channel);

/* ---- what kernels print (driver_output.c) ---- */

/* The process's stdout becomes the channels'. */
void driver_output_init(struct driver_set *set);
void driver_output_stop(struct driver_set *set);
/* What this thread's calls of the driver print is of this channel. */
void driver_output_begin(struct driver_channel *channel);
/* To the process, as much as there is room for. */
void driver_output_send(struct driver_channel *channel);
/* An image was loaded: may its functions print? */
void driver_output_image(struct driver_channel *channel, const uint8_t *image, uint64_t bytes);
/* Work of the context is done: what it printed comes before the answer. */
void driver_output_flush(struct driver_channel *channel, struct driver_context *context);
void driver_output_end(struct driver_channel *channel);

/* ---- figures (driver_figures.c) ---- */

void driver_count(uint64_t *figure);
/* One of the channel's and of the set's figures of this name. */
#define DRIVER_COUNT(channel, name)                                                                \
    ((channel)->figures.name++, driver_count(&(channel)->set->figures.name))
/* A function that is not built was called; a name may be anything. */
void driver_count_refused(struct driver_channel *channel, const char *name);
/* Are there some, of all channels or of this one, that the mediator has not been told? */
bool driver_figures_changed(const struct driver_channel *channel);
/* Tells them, if it was a second ago, or now. */
void driver_figures_tell(struct driver_set *set, bool now);
void driver_program_tell(struct driver_channel *channel, bool now);

/* ---- the ring thread ---- */

/* An eventfd. */
void driver_signal(int fd);

void *driver_thread(void *channel);
/* One round of it, without its rests.  True: something was done. */
bool driver_step(struct driver_channel *channel);
/* Gives back what the channel has of the driver. */
void driver_let_go(struct driver_channel *channel);
/* Frees the channel itself, which has let go. */
void driver_channel_free(struct driver_channel *channel);

#endif
