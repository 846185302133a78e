/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * This header is the contract between vgpu-mediator and vgpu-worker.
 *
 * The mediator creates a SOCK_SEQPACKET pair and execs one worker per VM and
 * GPU with its end as fd VGPU_WORKER_FD.  One packet is one frame: the header,
 * the type's fixed part, then its body.  The worker says READY once (after its
 * context exists; then for each ADOPT), then answers every RUN with one DONE, in the
 * order of the RUNs.  A worker whose GPU context is lost leaves without the DONEs that are due:
 * the mediator answers for them.  Else it leaves when the socket closes or on
 * QUIT.  Anything malformed on this socket is a bug of one of the two: the
 * worker exits with status 2, the mediator kills the worker; also when the
 * worker closes the socket and stays.
 *
 * After QUIT the worker ends what it was handed before, each job within the
 * mediator's job_timeout as ever, and then leaves within CORE_STOP_GRACE_NS
 * (2 s, core/core.h), or is killed.  A quarantined VM's worker has less time;
 * docs/worker.md has the table.
 *
 * How a worker is told what to be (arguments, not frames, so that ps shows it):
 *   vgpu-worker --backend cpu|cuda [--gpu UUID|INDEX] [--vm-id N]
 *               [--memory-limit BYTES] [--enable-test-ops]
 *
 * Both programs come from one build; `version` catches a mixed installation.
 */
#ifndef VGPU_WORKER_H
#define VGPU_WORKER_H

#include "vgpu/vgpu_channel_frames.h"

#define VGPU_WORKER_FD 3
#define VGPU_WORKER_KERNELS_FD 4      /* with --kernels-fd: see worker/cuda/kernels.h */
#define VGPU_WORKER_MAGIC 0x4B574756u /* "VGWK" */
#define VGPU_WORKER_VERSION 1u

enum vgpu_worker_msg {
    VGPU_WORKER_READY = 1, /* worker -> mediator: vgpu_worker_ready */
    VGPU_WORKER_RUN = 2,   /* mediator -> worker: vgpu_worker_run, params, data */
    VGPU_WORKER_DONE = 3,  /* worker -> mediator: vgpu_worker_done, results, data */
    VGPU_WORKER_QUIT = 4,  /* mediator -> worker: finish what is in flight and leave */
    /* About channels; the header's job_id is the channel's handle, TURN's is a job's. */
    VGPU_WORKER_CHANNEL = 5,        /* -> worker: vgpu_worker_channel and its descriptors */
    VGPU_WORKER_CHANNEL_OPENED = 6, /* -> mediator: vgpu_worker_word, enum vgpu_error */
    VGPU_WORKER_CHANNEL_CLOSE = 7,  /* -> worker: vgpu_worker_word, enum vgpu_channel_reason */
    VGPU_WORKER_CHANNEL_CLOSED = 8, /* -> mediator: vgpu_worker_word, the reason; it has let go */
    VGPU_WORKER_WANT = 9,           /* -> mediator: the channel has work that needs a turn */
    VGPU_WORKER_TURN = 10,          /* -> worker: vgpu_worker_turn; ends with DONE, as a RUN */
    VGPU_WORKER_ADOPT = 11,         /* -> worker: another mediator is there now, see below */
    VGPU_WORKER_CHUNK_ADD = 12,     /* -> worker: VGPUChunkAdd, pieces; 1 descriptor */
    VGPU_WORKER_CHUNK = 13,         /* -> worker: vgpu_worker_chunk, its descriptor */
    VGPU_WORKER_CHUNK_ADDED = 14,   /* -> mediator: vgpu_worker_chunk, with its status */
    VGPU_WORKER_CHUNK_REMOVE = 15,  /* -> worker: vgpu_worker_word, the chunk */
    VGPU_WORKER_CHUNK_REMOVED = 16, /* -> mediator: vgpu_worker_word, the chunk; it has let go */
    VGPU_WORKER_CREDIT = 17,        /* -> worker: vgpu_worker_word, see below */
    VGPU_WORKER_ASK = 18,           /* -> mediator: vgpu_worker_word, 0: it wants credit */
    VGPU_WORKER_TURN_PAGE = 19,     /* -> worker: no body, 1 descriptor: vgpu_turn.h */
    /* After ADOPT; job_id is a number that the worker chose for the channel. */
    VGPU_WORKER_HELD = 20,       /* -> mediator: vgpu_worker_held, 1 descriptor: its life */
    VGPU_WORKER_HELD_CHUNK = 21, /* -> mediator: vgpu_worker_chunk */
    VGPU_WORKER_CLAIM = 22,      /* -> worker: vgpu_worker_claim */
    VGPU_WORKER_FIGURES = 23,    /* -> mediator: vgpu_worker_figures; one a second, and one for each
                                    channel that ends, where the mediator has read all else */
    VGPU_WORKER_LIMITS = 24,     /* -> worker: vgpu_worker_limits */
    VGPU_WORKER_LATE = 25,       /* -> mediator: vgpu_worker_word, ms: a kernel of the channel has
                                    run for so long, past the limit; said again each second */
    VGPU_WORKER_PROGRAM = 26,    /* -> mediator: vgpu_worker_program; as FIGURES, for each channel,
                                    and the last one before its CHANNEL_CLOSED */
};

typedef struct vgpu_worker_header {
    uint32_t magic;
    uint16_t version;
    uint16_t type;   /* enum vgpu_worker_msg */
    uint32_t length; /* of the whole frame, bytes */
    uint32_t pad;    /* 0 */
    uint64_t job_id; /* RUN, DONE, ADOPT and its READY; 0 elsewhere */
} vgpu_worker_header;

/*
 * A worker may outlive its mediator: the keeper has its socket (vgpu_keeper.h).  The next one
 * says ADOPT with a number of its own as job_id.  The worker answers READY with the same number,
 * behind the DONEs that are due: all before it was meant for the mediator that is gone, all behind
 * it is for this one.  READY says how many channels the worker keeps, those with VGPU_CHANNEL_LIFE;
 * one HELD for each follows, with its chunks beyond chunk 0 behind it.  Others are closed.  A HELD
 * one goes on, but gets no turn before CLAIM: from then on it has the handle that stands there.
 */

VGPU_STATIC_ASSERT(sizeof(vgpu_worker_header) == 24, "vgpu_worker_header is 24 bytes");

/* gpu_time_ns counts the time between two points of the GPU's stream, so it
 * includes what other workers took meanwhile.  Not set: time that only this
 * worker used (the CPU backend's thread time). */
#define VGPU_WORKER_TIME_ELAPSED (1u << 0)
/* It takes LIMITS. */
#define VGPU_WORKER_TAKES_LIMITS (1u << 1)

#define VGPU_WORKER_NAME_BYTES 64u
#define VGPU_WORKER_UUID_BYTES 48u

typedef struct vgpu_worker_ready {
    uint32_t backend; /* enum vgpu_backend */
    uint32_t flags;   /* VGPU_WORKER_TIME_ELAPSED, VGPU_WORKER_TAKES_LIMITS */
    uint32_t compute_major;
    uint32_t compute_minor;
    uint32_t multiprocessors;
    uint32_t held;                         /* after ADOPT: channels of which HELD follows */
    uint64_t memory_bytes;                 /* what the VM may use */
    char gpu_uuid[VGPU_WORKER_UUID_BYTES]; /* NUL-terminated, "GPU-..." or "CPU-<n>" */
    char name[VGPU_WORKER_NAME_BYTES];     /* NUL-terminated, printable ASCII */
} vgpu_worker_ready;

VGPU_STATIC_ASSERT(sizeof(vgpu_worker_ready) == 144, "vgpu_worker_ready is 144 bytes");

/*
 * The worker maps chunk 0, answers OPENED, and from then on serves its rings.  CLOSE may come
 * at any time and is answered with CLOSED, unless CLOSED was sent already: it is sent once.
 *
 * The descriptors are those of enum vgpu_channel_fd that the transport has; then the lease of a
 * device's channel, which the worker closes when it has unmapped the memory; then, with
 * VGPU_CHANNEL_LIFE, the life, the pipe's end for reading.  To a SHARED one CHUNK_ADD frames
 * follow; the worker maps exactly their pieces and closes each descriptor at once.
 */
typedef struct vgpu_worker_channel {
    uint32_t profile;  /* enum vgpu_channel_profile */
    uint32_t features; /* VGPU_CHANNEL_* */
    VGPUGeometry geometry;
    uint32_t transport; /* enum vgpu_channel_transport */
    uint32_t pad;
} vgpu_worker_channel;

VGPU_STATIC_ASSERT(sizeof(vgpu_worker_channel) == 40, "vgpu_worker_channel is 40 bytes");

/* With the lease and the life. */
#define VGPU_WORKER_CHANNEL_FDS_MAX 6u

typedef struct vgpu_worker_held {
    vgpu_worker_channel what;
    uint32_t chunk_count; /* HELD_CHUNKs that follow */
    uint32_t pad;
} vgpu_worker_held;

VGPU_STATIC_ASSERT(sizeof(vgpu_worker_held) == 48, "vgpu_worker_held is 48 bytes");

typedef struct vgpu_worker_claim {
    uint64_t channel; /* its handle from now on; 0: nobody wants it, it ends */
} vgpu_worker_claim;

/*
 * The VM's rate limit.  CREDIT 0: from now on the worker takes no record of profile OPS without
 * credit; it asks once when it has records and none left.  Other numbers add to what it has.
 * CREDIT_ALL: there is no limit, as at the worker's start.
 */
#define VGPU_WORKER_CREDIT_ALL UINT32_MAX

/* Limits of programs on the CUDA driver interface; as at the worker's start: none. */
typedef struct vgpu_worker_limits {
    uint64_t kernel_ns; /* 0: no limit */
} vgpu_worker_limits;

VGPU_STATIC_ASSERT(sizeof(vgpu_worker_limits) == 8, "vgpu_worker_limits is 8 bytes");

/*
 * Chunks 1 and up of a channel that is open.  Each CHUNK, and the last CHUNK_ADD of one that is
 * SHARED, is answered by ADDED; each REMOVE by REMOVED, when the records before it are over and the
 * memory is let go of.  Neither, once CLOSED was sent.
 */
typedef struct vgpu_worker_chunk {
    uint32_t chunk;  /* 1 to VGPU_CHUNKS_MAX - 1 */
    uint32_t status; /* ADDED: enum vgpu_error */
    uint64_t bytes;
} vgpu_worker_chunk;

VGPU_STATIC_ASSERT(sizeof(vgpu_worker_chunk) == 16, "vgpu_worker_chunk is 16 bytes");

typedef struct vgpu_worker_word {
    uint32_t value;
    uint32_t pad;
} vgpu_worker_word;

/* What the worker's programs on the CUDA driver interface have and did, since it was started. */
typedef struct vgpu_worker_figures {
    uint64_t memory_bytes; /* charged, with that of bulk operations */
    uint64_t units;        /* kernels, memsets and copies within the GPU that were submitted */
    uint64_t copies;       /* between host and GPU */
    uint64_t turns;
    uint64_t refused;  /* functions that are not built and were called, of each program once */
    uint64_t contexts; /* now */
    uint64_t programs; /* now, that have made a context */
} vgpu_worker_figures;

VGPU_STATIC_ASSERT(sizeof(vgpu_worker_figures) == 56, "vgpu_worker_figures is 56 bytes");

#define VGPU_WORKER_NAMES_MAX 32u

/* The same of one channel's program, since its start. */
typedef struct vgpu_worker_program {
    uint64_t memory_bytes; /* charged to it now */
    uint64_t units;
    uint64_t copies;
    uint64_t turns;
    uint64_t turns_ns; /* the time that they took */
    uint64_t refused;
    uint32_t contexts;                     /* now */
    uint32_t name_count;                   /* of the first of its refused functions, */
    uint32_t names[VGPU_WORKER_NAMES_MAX]; /* ... whose names have these hashes: FNV-1a, 32 bits */
} vgpu_worker_program;

VGPU_STATIC_ASSERT(sizeof(vgpu_worker_program) == 184, "vgpu_worker_program is 184 bytes");

/*
 * A turn: the channel may use the GPU, for about budget_ns, or until it has nothing to do.  It
 * takes its place among the RUNs and ends with its DONE.  A channel that is gone ends it at
 * once.  One WANT for each turn; none while it waits for one.  In the second half of a turn that
 * is not enough the worker asks for the next one: where nobody else wants the GPU, that comes
 * before this one ends, and the GPU has no pause between them.
 */
typedef struct vgpu_worker_turn {
    uint64_t channel;
    uint64_t budget_ns;
} vgpu_worker_turn;

VGPU_STATIC_ASSERT(sizeof(vgpu_worker_turn) == 16, "vgpu_worker_turn is 16 bytes");

/* The mediator has checked counts and lengths; the worker checks them again. */
typedef struct vgpu_worker_run {
    uint32_t opcode;
    uint32_t param_count;
    uint32_t data_length;
    uint32_t pad;
} vgpu_worker_run; /* then params[param_count], data[data_length] */

VGPU_STATIC_ASSERT(sizeof(vgpu_worker_run) == 16, "vgpu_worker_run is 16 bytes");

typedef struct vgpu_worker_done {
    uint32_t status; /* enum vgpu_error */
    uint32_t result_count;
    uint32_t data_length;
    uint32_t pad;
    uint64_t gpu_time_ns;
    uint64_t started_ns;  /* CLOCK_MONOTONIC when the worker took the job up */
    uint64_t finished_ns; /* ... and when its result was there */
} vgpu_worker_done;       /* then results[result_count], data[data_length] */

VGPU_STATIC_ASSERT(sizeof(vgpu_worker_done) == 40, "vgpu_worker_done is 40 bytes");

#define VGPU_WORKER_FRAME_MAX                                                                      \
    ((uint32_t)sizeof(vgpu_worker_header) + (uint32_t)sizeof(vgpu_worker_ready) +                  \
     VGPU_REQUEST_BUFFER_BYTES)

/* Exit status of a worker. */
enum vgpu_worker_exit {
    VGPU_WORKER_EXIT_OK = 0,       /* QUIT, or the socket closed */
    VGPU_WORKER_EXIT_BACKEND = 1,  /* no such GPU, no driver, no memory: said on stderr */
    VGPU_WORKER_EXIT_PROTOCOL = 2, /* malformed frame, or started by hand */
    VGPU_WORKER_EXIT_GPU_FAULT =
        3, /* the context is lost; the mediator answers CUDA_ERROR for its jobs */
};

#endif /* VGPU_WORKER_H */
