/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * This header is the contract of channels (protocol 2): the memory and the doorbells that one
 * process, in a guest or on the host, shares with its worker.  docs/channels.md describes it at
 * length and says what of it is built; vgpu_ring.h has the code that moves the positions.
 *
 *   1. channel memory: its parts, what stands in them, who writes what, in which order;
 *   2. records (the process's commands), mailboxes (answers), notices.
 *
 * vgpu_channel_frames.h has the frames that open, extend and close channels, and
 * vgpu_channel_device.h what a device of a VM adds: registers, doorbells, the copy engine.
 *
 * Everything is little-endian and naturally aligned.  Both sides are 64-bit programs.
 *
 * Each side takes the other for hostile.  A shared word is read once, into private memory,
 * then checked.  Where the parts lie follows from the geometry that both agreed on in frames,
 * never from anything in shared memory.
 */
#ifndef VGPU_CHANNEL_H
#define VGPU_CHANNEL_H

#include "vgpu/vgpu_protocol.h"

/* ---- 1. Channel memory --------------------------------------------------- */

#define VGPU_CHANNELS_MAX 256u /* of one session; so BAR2 has at most 1 MiB */
#define VGPU_CHUNKS_MAX 256u   /* of one channel */
#define VGPU_CHUNK_BYTES_MAX (1ull << 30)
#define VGPU_CHANNEL_PAGE 4096u

/* What the records of a channel mean.  The device and the mediator never look at them. */
enum vgpu_channel_profile {
    VGPU_PROFILE_OPS = 1,  /* the operations of 1.0 and bulk operations: libvgpu */
    VGPU_PROFILE_CUDA = 2, /* the CUDA driver interface: our libcuda.so.1 */
};

/* How the worker reaches the chunks. */
enum vgpu_channel_transport {
    VGPU_TRANSPORT_HOST = 0,    /* memory made by the mediator, mapped by both sides */
    VGPU_TRANSPORT_SHARED = 1,  /* a piece of guest RAM that has a descriptor */
    VGPU_TRANSPORT_COPIED = 2,  /* the device's copy engine moves bytes */
    VGPU_TRANSPORT_GRANTED = 3, /* Xen: pages granted by the guest; not specified yet */
};

/* Wanted in OPEN, granted in OPENED.  A bit that a side doesn't know is left out. */
#define VGPU_CHANNEL_BULK (1u << 0)     /* device buffers and the operations on them */
#define VGPU_CHANNEL_COHERENT (1u << 1) /* the GPU may read and write chunks while kernels run */
#define VGPU_CHANNEL_LIFE (1u << 2)     /* it outlives its mediator, see VGPUChannelResume */

/*
 * The sizes of chunk 0's parts.  The process proposes them, the host checks them against the
 * limits and grants them as they are or refuses.
 */
typedef struct VGPUGeometry {
    uint32_t lanes;         /* mailboxes, 1 to VGPU_LANES_MAX */
    uint32_t event_slots;   /* multiple of 1024, at most VGPU_EVENT_SLOTS_MAX; may be 0 */
    uint32_t notice_bytes;  /* a power of two within VGPU_NOTICE_BYTES_MIN and _MAX */
    uint32_t command_bytes; /* a power of two within VGPU_COMMAND_BYTES_MIN and _MAX */
    uint64_t arena_bytes;   /* multiple of VGPU_CHANNEL_PAGE, at most VGPU_ARENA_BYTES_MAX */
} VGPUGeometry;

VGPU_STATIC_ASSERT(sizeof(VGPUGeometry) == 24, "VGPUGeometry is 24 bytes");

#define VGPU_LANES_MAX 256u
#define VGPU_EVENT_SLOTS_MAX 65536u
#define VGPU_EVENT_SLOTS_STEP 1024u
#define VGPU_NOTICE_BYTES_MIN 4096u
#define VGPU_NOTICE_BYTES_MAX (1u << 20)
#define VGPU_COMMAND_BYTES_MIN (128u << 10)
#define VGPU_COMMAND_BYTES_MAX (16u << 20)
#define VGPU_ARENA_BYTES_MAX (1ull << 30)

/* Where the parts lie in chunk 0, in this order and without gaps.  Offsets in bytes. */
struct vgpu_channel_layout {
    uint64_t control; /* VGPUControl, one page */
    uint64_t events;  /* uint32_t[event_slots] */
    uint64_t mailboxes;
    uint64_t notices;
    uint64_t commands;
    uint64_t arena;
    uint64_t bytes; /* of the whole chunk */
};

static inline int vgpu_is_power_of_two(uint32_t value)
{
    return value != 0 && (value & (value - 1)) == 0;
}

/* 1: *layout is filled in.  0: the geometry is outside the limits. */
static inline int vgpu_channel_layout(const VGPUGeometry *geometry,
                                      struct vgpu_channel_layout *layout)
{
    if (geometry->lanes < 1 || geometry->lanes > VGPU_LANES_MAX ||
        geometry->event_slots > VGPU_EVENT_SLOTS_MAX ||
        geometry->event_slots % VGPU_EVENT_SLOTS_STEP != 0 ||
        !vgpu_is_power_of_two(geometry->notice_bytes) ||
        geometry->notice_bytes < VGPU_NOTICE_BYTES_MIN ||
        geometry->notice_bytes > VGPU_NOTICE_BYTES_MAX ||
        !vgpu_is_power_of_two(geometry->command_bytes) ||
        geometry->command_bytes < VGPU_COMMAND_BYTES_MIN ||
        geometry->command_bytes > VGPU_COMMAND_BYTES_MAX ||
        geometry->arena_bytes % VGPU_CHANNEL_PAGE != 0 ||
        geometry->arena_bytes > VGPU_ARENA_BYTES_MAX) {
        return 0;
    }
    layout->control = 0;
    layout->events = VGPU_CHANNEL_PAGE;
    layout->mailboxes = layout->events + geometry->event_slots * 4ull;
    layout->notices = layout->mailboxes + (uint64_t)geometry->lanes * VGPU_CHANNEL_PAGE;
    layout->commands = layout->notices + geometry->notice_bytes;
    layout->arena = layout->commands + geometry->command_bytes;
    layout->bytes = layout->arena + geometry->arena_bytes;
    return 1;
}

/* Words that one side writes often have a line to themselves; processors fetch lines in pairs. */
#define VGPU_CONTROL_LINE 128u

/*
 * The control page.  All of it is 0 when the channel opens.  A word has one writer: the
 * process, or the worker.
 *
 * Positions count bytes since the channel opened and never wrap; the place in a ring is the
 * position modulo the ring's size.  All are multiples of 8.  At every moment
 *     head <= tail <= head + size of the ring.
 * A position that breaks this, or runs backwards, closes the channel.
 *
 * Order, for each ring, by names of C11 (vgpu_ring.h does it so; docs/channels.md says why
 * each is needed, tests/models shows it):
 *     writer: bytes; tail release; full fence; load the reader's parked; if it is not 0: 0 into it,
 *             full fence, ring.
 *     reader: tail acquire; bytes; head release; full fence; load the writer's parked; ring.
 *     to sleep: parked = 1; full fence; load the position (acquire) again; sleep if nothing new.
 *     awake: parked = 0.
 */
typedef struct VGPUControl {
    /* process: line 0 */
    uint64_t command_tail; /* release: whole records only */
    uint8_t pad0[VGPU_CONTROL_LINE - 8];
    /* process: line 1 */
    uint32_t process_parked; /* relaxed, then a full fence: it waits for the interrupt */
    uint32_t pad1;
    uint64_t notice_head; /* release */
    uint8_t pad2[VGPU_CONTROL_LINE - 16];
    /* worker: line 2 */
    uint64_t command_head; /* release: what is below may be overwritten */
    uint64_t retired;      /* release: so many records are over, with all that they did */
    uint8_t pad3[VGPU_CONTROL_LINE - 16];
    /* worker: line 3 */
    uint32_t worker_parked; /* relaxed, then a full fence: it waits for the doorbell */
    uint8_t pad4[VGPU_CONTROL_LINE - 4];
    /* worker: line 4, written rarely */
    uint64_t notice_tail;  /* release: whole notices only */
    uint64_t notices_lost; /* relaxed: that found no room; the worker never waits for it */
    uint32_t state;        /* release: enum vgpu_channel_state; after reason and sticky */
    uint32_t reason;       /* relaxed: enum vgpu_channel_reason */
    uint32_t sticky;       /* relaxed: an error that each later call gets; 0 = none */
    uint32_t turn;         /* relaxed, for people: 1 = its VM has the GPU */
    uint8_t pad5[VGPU_CONTROL_LINE - 32];
    uint8_t reserved[VGPU_CHANNEL_PAGE - 5 * VGPU_CONTROL_LINE];
} VGPUControl;

VGPU_STATIC_ASSERT(sizeof(VGPUControl) == VGPU_CHANNEL_PAGE, "VGPUControl is one page");
VGPU_STATIC_ASSERT(offsetof(VGPUControl, process_parked) == 0x080, "VGPUControl layout");
VGPU_STATIC_ASSERT(offsetof(VGPUControl, notice_head) == 0x088, "VGPUControl layout");
VGPU_STATIC_ASSERT(offsetof(VGPUControl, command_head) == 0x100, "VGPUControl layout");
VGPU_STATIC_ASSERT(offsetof(VGPUControl, worker_parked) == 0x180, "VGPUControl layout");
VGPU_STATIC_ASSERT(offsetof(VGPUControl, notice_tail) == 0x200, "VGPUControl layout");
VGPU_STATIC_ASSERT(offsetof(VGPUControl, state) == 0x210, "VGPUControl layout");

enum vgpu_channel_state {
    VGPU_CHANNEL_OPEN = 0,
    VGPU_CHANNEL_CLOSED = 1, /* nothing more comes; reason says why */
};

/* Why a channel was closed.  In the control page, in CLOSED frames, in logs. */
#define VGPU_CHANNEL_REASONS(X)                                                                    \
    X(NONE, 0, "it is open")                                                                       \
    X(ASKED, 1, "the process closed it")                                                           \
    X(SESSION, 2, "the connection to the mediator ended")                                          \
    X(RESET, 3, "the device was reset")                                                            \
    X(BAD_POSITION, 4, "a position ran ahead of its ring, backwards or off alignment")             \
    X(BAD_RECORD, 5, "a record's length, number, lane or flags are wrong")                         \
    X(BAD_CHUNK, 6, "a chunk is no RAM, overlaps another or is gone")                              \
    X(WORKER_LOST, 7, "the worker died")                                                           \
    X(TIMEOUT, 8, "its work ran past the time limit and was ended")                                \
    X(QUARANTINED, 9, "the VM was quarantined")                                                    \
    X(REMOVED, 10, "the VM was removed, or moves to another GPU")                                  \
    X(SHUTDOWN, 11, "the mediator stops")                                                          \
    X(COPY_FAILED, 12, "the copy engine could not reach the guest's memory")                       \
    X(GPU_LOST, 13, "the GPU failed")                                                              \
    X(LIMITS, 14, "the VM's limits were changed; open it again")                                   \
    X(FRAMES, 15, "a frame about this channel makes no sense")                                     \
    X(BUS_MASTER, 16, "the guest switched the device's bus mastering off")

enum vgpu_channel_reason {
#define VGPU_CHANNEL_REASON(name, code, text) VGPU_CLOSED_##name = (code),
    VGPU_CHANNEL_REASONS(VGPU_CHANNEL_REASON)
#undef VGPU_CHANNEL_REASON
        VGPU_CLOSED_COUNT
};

/* ---- 2. Records, mailboxes, notices -------------------------------------- */

#define VGPU_RECORD_ALIGN 8u
#define VGPU_RECORD_BYTES_MAX 65536u

#define VGPU_RECORD_ANSWER (1u << 0) /* the lane's mailbox gets the result */
#define VGPU_RECORD_WAIT (1u << 1)   /* ... once the GPU has done it, not when it is queued */
#define VGPU_RECORD_LAST (1u << 2)   /* the lane ends: its streams are given back */
#define VGPU_RECORD_FLAGS (VGPU_RECORD_ANSWER | VGPU_RECORD_WAIT | VGPU_RECORD_LAST)

/*
 * What the command ring holds: this header, then the operation's own part.  A record may go
 * on at the ring's start when it reaches its end.  Its number is the one before plus 1; the
 * first has 1.  A lane has at most one record with ANSWER outstanding.
 */
typedef struct VGPURecord {
    uint16_t op; /* of the channel's profile */
    uint16_t flags;
    uint32_t bytes; /* with this header; a multiple of VGPU_RECORD_ALIGN */
    uint32_t seq;   /* low 32 bits of the record's number */
    uint16_t lane;  /* whose mailbox; below geometry.lanes, also without ANSWER */
    uint16_t context;
    uint64_t stream;
} VGPURecord;

VGPU_STATIC_ASSERT(sizeof(VGPURecord) == 24, "VGPURecord is 24 bytes");

/*
 * VGPU_PROFILE_OPS.  Operations below VGPU_OP_BULK are those of 1.0 (enum vgpu_opcode): this
 * header, params[param_count], data[data_bytes], then zeros up to the alignment.  Counts have
 * the limits of 1.0.
 */
#define VGPU_OP_BULK 0x100u

/*
 * Bulk operations work on buffers of the GPU's memory that live until FREE or the channel's
 * end.  All have one form, VGPUBulkRecord; what an operation doesn't name is 0.  Elements are
 * 4 bytes; offsets are in bytes and multiples of 4.  Matrices are dense, by rows.
 */
enum vgpu_bulk_op {
    VGPU_BULK_ALLOC = 0x100,    /* target: the new handle; count: bytes, at least 1; it is zeroed */
    VGPU_BULK_FREE = 0x101,     /* target */
    VGPU_BULK_UPLOAD = 0x102,   /* target, target_offset, chunk, chunk_offset, count: bytes */
    VGPU_BULK_DOWNLOAD = 0x103, /* a, a_offset, chunk, chunk_offset, count: bytes */
    VGPU_BULK_FILL = 0x104,     /* target, count: elements; value */
    VGPU_BULK_ADD_I32 = 0x105,  /* target = a + b, count elements; modulo 2^32 */
    VGPU_BULK_ADD_F32 = 0x106,  /* the same in single precision */
    VGPU_BULK_SAXPY = 0x107,    /* target += alpha * a, count elements */
    VGPU_BULK_SGEMM = 0x108,    /* target[m][n] = alpha * a[m][k] * b[k][n] + beta * target */
    VGPU_BULK_END
};

#define VGPU_HANDLE_BUFFER 1u  /* kind of a buffer's handle */
#define VGPU_BUFFERS_MAX 4096u /* of one channel; a buffer's index is below it */
#define VGPU_SGEMM_DIM_MAX 65536u

typedef struct VGPUOpRecord {
    VGPURecord record;
    uint32_t param_count;
    uint32_t data_bytes;
} VGPUOpRecord;

VGPU_STATIC_ASSERT(sizeof(VGPUOpRecord) == 32, "VGPUOpRecord is 32 bytes");

typedef struct VGPUBulkRecord {
    VGPURecord record;
    uint64_t target, a, b; /* handles */
    uint64_t target_offset, a_offset, b_offset;
    uint64_t count;
    uint64_t chunk_offset;
    uint32_t chunk;
    uint32_t value;
    uint32_t m, n, k;
    uint32_t alpha, beta; /* bits of IEEE 754 single precision */
    uint32_t reserved;
} VGPUBulkRecord;

VGPU_STATIC_ASSERT(sizeof(VGPUBulkRecord) == 120, "VGPUBulkRecord is 120 bytes");

/*
 * A lane's mailbox, one page.  The worker writes all of it; seq last, with release.  The
 * process loads seq with acquire until it is the number it waits for, then reads the rest.
 */
#define VGPU_MAILBOX_BYTES VGPU_CHANNEL_PAGE
#define VGPU_MAILBOX_BODY_BYTES (VGPU_MAILBOX_BYTES - 32u)

typedef struct VGPUMailbox {
    uint32_t seq;          /* release */
    uint32_t status;       /* profile OPS: enum vgpu_error; CUDA: CUresult */
    uint32_t result_count; /* words at the start of the body */
    uint32_t data_bytes;   /* that follow them */
    uint64_t gpu_time_ns;
    uint64_t retired; /* as in the control page, at this moment */
    uint8_t body[VGPU_MAILBOX_BODY_BYTES];
} VGPUMailbox;

VGPU_STATIC_ASSERT(sizeof(VGPUMailbox) == VGPU_MAILBOX_BYTES, "VGPUMailbox is one page");
VGPU_STATIC_ASSERT(offsetof(VGPUMailbox, body) == 32, "VGPUMailbox layout");

/* The notice ring: this header, then its text or structure, up to VGPU_NOTICE_MAX in all. */
#define VGPU_NOTICE_MAX 2048u

enum vgpu_notice_kind {
    VGPU_NOTICE_OUTPUT = 1,   /* bytes that a kernel printed */
    VGPU_NOTICE_ERROR = 2,    /* a record without ANSWER failed; value: its status, seq: which */
    VGPU_NOTICE_CALLBACK = 3, /* CUDA: run the callback `value` */
};

typedef struct VGPUNotice {
    uint16_t kind;  /* enum vgpu_notice_kind; others are skipped */
    uint16_t bytes; /* with this header, without what fills up to the next multiple of 8 */
    uint32_t seq;
    uint64_t value;
} VGPUNotice;

VGPU_STATIC_ASSERT(sizeof(VGPUNotice) == 16, "VGPUNotice is 16 bytes");

/*
 * Handles are chosen by the process, so that a creation needs no answer: bit 46, kind,
 * generation, index.  The worker keeps a table by index; a handle of another kind or
 * generation is unknown.  All go when the channel closes.
 */
#define VGPU_HANDLE_MARK (1ull << 46)
#define VGPU_HANDLE_INDEX_BITS 24u
#define VGPU_HANDLE_GENERATION_BITS 17u
#define VGPU_HANDLE_KIND_BITS 5u

static inline uint64_t vgpu_handle(uint32_t kind, uint32_t generation, uint32_t index)
{
    return VGPU_HANDLE_MARK |
           (uint64_t)(kind & ((1u << VGPU_HANDLE_KIND_BITS) - 1u))
               << (VGPU_HANDLE_INDEX_BITS + VGPU_HANDLE_GENERATION_BITS) |
           (uint64_t)(generation & ((1u << VGPU_HANDLE_GENERATION_BITS) - 1u))
               << VGPU_HANDLE_INDEX_BITS |
           (index & ((1u << VGPU_HANDLE_INDEX_BITS) - 1u));
}

static inline uint32_t vgpu_handle_index(uint64_t handle)
{
    return (uint32_t)(handle & ((1u << VGPU_HANDLE_INDEX_BITS) - 1u));
}

static inline uint32_t vgpu_handle_generation(uint64_t handle)
{
    return (uint32_t)(handle >> VGPU_HANDLE_INDEX_BITS) &
           ((1u << VGPU_HANDLE_GENERATION_BITS) - 1u);
}

static inline uint32_t vgpu_handle_kind(uint64_t handle)
{
    return (uint32_t)(handle >> (VGPU_HANDLE_INDEX_BITS + VGPU_HANDLE_GENERATION_BITS)) &
           ((1u << VGPU_HANDLE_KIND_BITS) - 1u);
}

#endif /* VGPU_CHANNEL_H */
