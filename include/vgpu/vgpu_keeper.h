/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * This header is the contract between vgpu-mediator and vgpu-keeper, the small process that
 * starts, holds and kills the workers, and may outlive the mediator.  docs/keeper.md tells why.
 *
 * A SOCK_SEQPACKET socket, one packet a message: the header, then the type's body.  The keeper
 * serves one mediator at a time.  It begins with WELCOME, one HELD for each worker that it has,
 * and LISTED; or with REFUSED, and closes.  From then on the mediator says START, KILL and PROBE
 * and is told STARTED and ENDED; PARK and FETCH are about connections of devices.  There is no
 * order between messages about different workers.
 *
 * A worker's number is chosen by the mediator: never 0, never one that is in use or was HELD.
 * START and HELD hand over descriptors: the keeper keeps the mediator's end of each worker's
 * socket, so that the worker goes on without a mediator and the next one can have it.
 * A malformed message is a bug of one of the two: the other closes the connection.
 */
#ifndef VGPU_KEEPER_H
#define VGPU_KEEPER_H

#include "vgpu/vgpu_worker.h"

#define VGPU_KEEPER_SOCKET_PATH "/run/vgpu-keeper/keeper.sock"
#define VGPU_KEEPER_FD 3              /* the socket of a keeper that belongs to one mediator */
#define VGPU_KEEPER_MAGIC 0x4B504756u /* "VGPK" */
#define VGPU_KEEPER_VERSION 1u
#define VGPU_KEEPER_WORKERS_MAX 2048u /* probes among them */

enum vgpu_keeper_msg {
    VGPU_KEEPER_WELCOME = 1, /* -> mediator: vgpu_keeper_welcome */
    VGPU_KEEPER_REFUSED = 2, /* -> mediator: vgpu_keeper_process, whom it serves */
    VGPU_KEEPER_HELD = 3,    /* -> mediator: vgpu_keeper_held; fd: the worker's socket */
    VGPU_KEEPER_LISTED = 4,  /* -> mediator: these were all */
    VGPU_KEEPER_START = 5,   /* -> keeper: vgpu_keeper_worker; fds: VGPU_KEEPER_FDS_* */
    VGPU_KEEPER_KILL = 6,    /* -> keeper: SIGKILL; a worker that is gone is no error */
    VGPU_KEEPER_PROBE = 7,   /* -> keeper: vgpu_keeper_probe; fds: VGPU_KEEPER_FDS_* */
    VGPU_KEEPER_STARTED = 8, /* -> mediator: vgpu_keeper_process */
    VGPU_KEEPER_ENDED = 9,   /* -> mediator: vgpu_keeper_end; the number is free again */
    VGPU_KEEPER_HELP = 10,   /* -> keeper: fds: two sockets, each gets a helper (vgpu_host.h) */
    VGPU_KEEPER_RESET = 11,  /* -> keeper: vgpu_keeper_reset; fds as of PROBE */
    VGPU_KEEPER_PARK = 12,   /* -> keeper: fds: VGPU_KEEPER_FDS_CONNECTION, _STORY */
    VGPU_KEEPER_FETCH = 13,  /* -> keeper: what is parked, PARKED for each */
    VGPU_KEEPER_PARKED = 14, /* -> mediator: fds as of PARK; the keeper keeps no copy */
    VGPU_KEEPER_MEMORY = 15, /* -> keeper: vgpu_keeper_memory; a worker that is gone is no error */
};

typedef struct vgpu_keeper_header {
    uint32_t magic;
    uint16_t version;
    uint16_t type;   /* enum vgpu_keeper_msg */
    uint32_t length; /* of the whole message, bytes */
    uint32_t pad;    /* 0 */
    uint64_t worker; /* whom it is about, 0: nobody */
} vgpu_keeper_header;

VGPU_STATIC_ASSERT(sizeof(vgpu_keeper_header) == 24, "vgpu_keeper_header is 24 bytes");

/* What each worker has for itself. */
#define VGPU_KEEPER_OWN_UID (1u << 0)     /* one per VM, and no capability */
#define VGPU_KEEPER_OWN_NETWORK (1u << 1) /* an empty network namespace */
#define VGPU_KEEPER_OWN_IPC (1u << 2)
#define VGPU_KEEPER_OWN_MOUNTS (1u << 3) /* /dev has the GPUs' nodes and a few harmless ones */
#define VGPU_KEEPER_OWN_ALL 15u
/* It ends with its mediator, and its workers with it. */
#define VGPU_KEEPER_PRIVATE (1u << 8)
#define VGPU_KEEPER_HELPS (1u << 9)   /* it takes HELP */
#define VGPU_KEEPER_RESETS (1u << 10) /* it takes RESET: its administrator gave it a command */
#define VGPU_KEEPER_PARKS (1u << 11)  /* it takes PARK and FETCH */
#define VGPU_KEEPER_LIMITS_MEMORY (1u << 12) /* it takes MEMORY: it may make control groups */

/*
 * A mediator that stops PARKs the connections of its devices; the next one FETCHes them, so that
 * the devices notice nothing.  Each has a story with it, memory that the keeper does not look at.
 * What nobody has fetched for VGPU_KEEPER_PARK_S is closed, as is what is too much.
 */
#define VGPU_KEEPER_PARK_S 10u
#define VGPU_KEEPER_PARKED_MAX 2048u

typedef struct vgpu_keeper_welcome {
    uint32_t flags; /* VGPU_KEEPER_OWN_*, _PRIVATE */
    uint32_t pid;
    uint32_t uid; /* of the workers, without OWN_UID */
    uint32_t uid_base;
    uint32_t uid_count;
    uint32_t held; /* how many HELD follow */
} vgpu_keeper_welcome;

VGPU_STATIC_ASSERT(sizeof(vgpu_keeper_welcome) == 24, "vgpu_keeper_welcome is 24 bytes");

typedef struct vgpu_keeper_process {
    uint32_t pid;
    uint32_t uid;
} vgpu_keeper_process;

VGPU_STATIC_ASSERT(sizeof(vgpu_keeper_process) == 8, "vgpu_keeper_process is 8 bytes");

/* Of vgpu_keeper_worker. */
#define VGPU_KEEPER_HAS_UUID (1u << 0)
#define VGPU_KEEPER_CUDA (1u << 1) /* else the CPU backend */
#define VGPU_KEEPER_TEST_OPS (1u << 2)
#define VGPU_KEEPER_WORKER_FLAGS 7u
#define VGPU_KEEPER_GPU_BYTES 64u

/* The keeper makes the worker's arguments from this: it runs no other program. */
typedef struct vgpu_keeper_worker {
    uint32_t vm_id;
    uint32_t flags;
    uint32_t depth;
    uint32_t pad;                    /* 0 */
    uint64_t memory_limit_bytes;     /* 0: none */
    uint8_t uuid[16];                /* with HAS_UUID: whose uid and cache it gets; else vm_id's */
    char gpu[VGPU_KEEPER_GPU_BYTES]; /* NUL-terminated; letters, digits, '-' */
} vgpu_keeper_worker;

VGPU_STATIC_ASSERT(sizeof(vgpu_keeper_worker) == 104, "vgpu_keeper_worker is 104 bytes");

/* The descriptors of START, in this order. */
#define VGPU_KEEPER_FDS_WORKER 0   /* becomes the worker's VGPU_WORKER_FD */
#define VGPU_KEEPER_FDS_MEDIATOR 1 /* the other end, to keep */
/* Those of PROBE. */
#define VGPU_KEEPER_FDS_OUTPUT 0 /* its standard output */
#define VGPU_KEEPER_FDS_STATUS 1 /* gets one vgpu_keeper_end when it has ended */
/* Those of PARK and PARKED. */
#define VGPU_KEEPER_FDS_CONNECTION 0
#define VGPU_KEEPER_FDS_STORY 1
#define VGPU_KEEPER_FDS 2

typedef struct vgpu_keeper_held {
    vgpu_keeper_process process;
    vgpu_keeper_worker worker;
} vgpu_keeper_held;

VGPU_STATIC_ASSERT(sizeof(vgpu_keeper_held) == 112, "vgpu_keeper_held is 112 bytes");

enum vgpu_keeper_backend {
    VGPU_KEEPER_PROBE_AUTO,
    VGPU_KEEPER_PROBE_CPU,
    VGPU_KEEPER_PROBE_CUDA,
};

/* It runs with the keeper's own rights and is given nothing of any guest. */
typedef struct vgpu_keeper_probe {
    uint32_t backend; /* enum vgpu_keeper_backend */
    uint32_t pad;
} vgpu_keeper_probe;

VGPU_STATIC_ASSERT(sizeof(vgpu_keeper_probe) == 8, "vgpu_keeper_probe is 8 bytes");

#define VGPU_KEEPER_RESET_S 120u /* then the reset command is killed, with what it has started */

/* Which GPU the keeper's own command is to reset.  It runs with the keeper's rights. */
typedef struct vgpu_keeper_reset {
    char gpu[VGPU_KEEPER_GPU_BYTES]; /* as in vgpu_keeper_worker */
} vgpu_keeper_reset;

VGPU_STATIC_ASSERT(sizeof(vgpu_keeper_reset) == 64, "vgpu_keeper_reset is 64 bytes");

/* The worker's host memory, from now on; as at its start: no limit. */
typedef struct vgpu_keeper_memory {
    uint64_t bytes; /* 0: no limit */
} vgpu_keeper_memory;

VGPU_STATIC_ASSERT(sizeof(vgpu_keeper_memory) == 8, "vgpu_keeper_memory is 8 bytes");

/* What could not be done for a worker that did not start. */
enum vgpu_keeper_step {
    VGPU_KEEPER_STEP_NONE, /* it ran */
    VGPU_KEEPER_STEP_FORK,
    VGPU_KEEPER_STEP_UID, /* there is none for it, or it can't be taken */
    VGPU_KEEPER_STEP_NAMESPACES,
    VGPU_KEEPER_STEP_MOUNTS,
    VGPU_KEEPER_STEP_PROCESS, /* descriptors, limits */
    VGPU_KEEPER_STEP_PROGRAM, /* vgpu-worker can't be executed */
    VGPU_KEEPER_STEP_COUNT
};

/* The kernel killed it, for it wanted more host memory than it may have. */
#define VGPU_KEEPER_END_MEMORY (1u << 0)

typedef struct vgpu_keeper_end {
    uint32_t step;   /* enum vgpu_keeper_step */
    int32_t error;   /* errno, when the step is not NONE; of a reset ETIMEDOUT: it was killed */
    uint32_t status; /* else as waitpid() gives it */
    uint32_t why;    /* VGPU_KEEPER_END_* */
} vgpu_keeper_end;

VGPU_STATIC_ASSERT(sizeof(vgpu_keeper_end) == 16, "vgpu_keeper_end is 16 bytes");

#define VGPU_KEEPER_MESSAGE_MAX                                                                    \
    ((uint32_t)sizeof(vgpu_keeper_header) + (uint32_t)sizeof(vgpu_keeper_held))

#endif /* VGPU_KEEPER_H */
