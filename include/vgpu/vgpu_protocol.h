/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * This header is the contract between a guest, the vgpu-stub PCI device and vgpu-mediator.
 *
 * It defines three things, which docs/protocol.md describes at length:
 *   1. the device's registers (BAR0), which a guest program reads and writes;
 *   2. the request and the response that travel through its two buffers;
 *   3. the frames that the device and the mediator exchange on a Unix stream
 *      socket.
 *
 * Everything is little-endian and naturally aligned; the static assertions below
 * see to it that there is no hidden padding.  Version 1.0 is deployed: its values
 * never change, and new ones are only added.
 */
#ifndef VGPU_PROTOCOL_H
#define VGPU_PROTOCOL_H

#ifdef __KERNEL__ /* Linux: it has the same names in headers of its own */
#include <linux/stddef.h>
#include <linux/types.h>
#else
#include <stddef.h>
#include <stdint.h>
#endif

#if defined(__cplusplus)
#define VGPU_STATIC_ASSERT(cond, msg) static_assert(cond, msg)
#else
#define VGPU_STATIC_ASSERT(cond, msg) _Static_assert(cond, msg)
#endif

/* ---- PCI identity ------------------------------------------------------ */

#define VGPU_PCI_VENDOR_ID 0x1AF4u
#define VGPU_PCI_DEVICE_ID 0x1111u
#define VGPU_PCI_CLASS_ID 0x1200u /* processing accelerator */
#define VGPU_PCI_REVISION 0x02u

/* ---- BAR0: registers, all 32 bits wide --------------------------------- */

#define VGPU_BAR0_BYTES 4096u

#define VGPU_REG_DOORBELL 0x000u     /* W   1 submits the request buffer; reads 0 */
#define VGPU_REG_STATUS 0x004u       /* RO  enum vgpu_device_status */
#define VGPU_REG_POOL_ID 0x008u      /* RO  ASCII letter of the VM's pool */
#define VGPU_REG_PRIORITY 0x00Cu     /* RO  enum vgpu_priority */
#define VGPU_REG_VM_ID 0x010u        /* RO  */
#define VGPU_REG_ERROR_CODE 0x014u   /* RO  enum vgpu_error; 0 unless STATUS is ERROR */
#define VGPU_REG_REQUEST_LEN 0x018u  /* RW  bytes of the request buffer in use */
#define VGPU_REG_RESPONSE_LEN 0x01Cu /* RO  bytes of the response buffer in use */
#define VGPU_REG_PROTOCOL_VER 0x020u /* RO  VGPU_PROTOCOL_VERSION */
#define VGPU_REG_CAPABILITIES 0x024u /* RO  VGPU_CAP_* */
#define VGPU_REG_IRQ_CTRL 0x028u     /* RW  VGPU_IRQ_*: 1 = raise an interrupt for it */
#define VGPU_REG_IRQ_STATUS 0x02Cu   /* W1C VGPU_IRQ_*: what happened */
#define VGPU_REG_REQUEST_ID 0x030u   /* RW  the guest's tag for its next request */
#define VGPU_REG_TIMESTAMP_LO 0x034u /* RO  completion time, guest's virtual clock, us */
#define VGPU_REG_TIMESTAMP_HI 0x038u /* RO  its upper 32 bits */
#define VGPU_REG_SCRATCH 0x03Cu      /* RW  kept for the guest, no effect */
#define VGPU_REG_END 0x040u

#define VGPU_REQUEST_BUFFER 0x040u /* RW */
#define VGPU_REQUEST_BUFFER_BYTES 1024u
#define VGPU_RESPONSE_BUFFER 0x440u /* RO */
#define VGPU_RESPONSE_BUFFER_BYTES 1024u
#define VGPU_PROTOCOL2_BLOCK 0x840u /* reserved for protocol 2; reads 0 in 1.0 */

enum vgpu_device_status {
    VGPU_STATUS_IDLE = 0,
    VGPU_STATUS_BUSY = 1,
    VGPU_STATUS_DONE = 2,
    VGPU_STATUS_ERROR = 3,
};

#define VGPU_CAP_BASIC (1u << 0)
#define VGPU_CAP_INTERRUPT (1u << 1)
#define VGPU_CAP_DMA (1u << 2)
#define VGPU_CAP_MULTI_REQUEST (1u << 3)

#define VGPU_IRQ_COMPLETION (1u << 0) /* a request ended, well or badly */
#define VGPU_IRQ_CONFIG (1u << 1)     /* POOL_ID, PRIORITY or VM_ID changed */
#define VGPU_IRQ_ALL (VGPU_IRQ_COMPLETION | VGPU_IRQ_CONFIG)

enum vgpu_priority {
    VGPU_PRIORITY_LOW = 0,
    VGPU_PRIORITY_MEDIUM = 1,
    VGPU_PRIORITY_HIGH = 2,
};

#define VGPU_WEIGHT_MIN 1u
#define VGPU_WEIGHT_MAX 100u
#define VGPU_WEIGHT_DEFAULT 50u

/* Pools are named by one upper-case letter. */
#define VGPU_POOL_FIRST 'A'
#define VGPU_POOL_LAST 'Z'

/*
 * Error codes, in ERROR_CODE and in VGPUResponse.status.  Retry is worth while
 * after QUEUE_FULL and RATE_LIMITED only; see vgpu_error_is_retryable().
 */
enum vgpu_error {
    VGPU_ERR_NONE = 0x00,
    VGPU_ERR_INVALID_REQUEST = 0x01,      /* malformed header, offsets or parameters */
    VGPU_ERR_REQUEST_TOO_LARGE = 0x02,    /* REQUEST_LEN beyond the buffer */
    VGPU_ERR_MEDIATOR_UNAVAILABLE = 0x03, /* no connection, or lost while it ran */
    VGPU_ERR_TIMEOUT = 0x04,              /* ran past the time limit and was killed */
    VGPU_ERR_CUDA_ERROR = 0x05,           /* the GPU or its worker failed */
    VGPU_ERR_INVALID_POOL = 0x06,         /* the VM's pool does not exist or has no GPU */
    VGPU_ERR_QUEUE_FULL = 0x07,           /* retry later */
    VGPU_ERR_UNSUPPORTED_OP = 0x08,       /* unknown opcode, or not allowed here */
    VGPU_ERR_INVALID_LENGTH = 0x09,       /* REQUEST_LEN of 0 or shorter than its parts */
    VGPU_ERR_RATE_LIMITED = 0x0A,         /* retry later */
    VGPU_ERR_VM_QUARANTINED = 0x0B,       /* until the administrator clears it */
    VGPU_ERR_VM_NOT_REGISTERED = 0x0C,    /* the administrator must register this VM */
    VGPU_ERR_GPU_UNAVAILABLE = 0x0D,      /* no healthy GPU in the pool, or no worker starts */
    VGPU_ERR_MEMORY_LIMIT = 0x0E,         /* the VM's GPU memory limit is reached */
    VGPU_ERR_COUNT
};

static inline int vgpu_error_is_retryable(uint32_t code)
{
    return code == VGPU_ERR_QUEUE_FULL || code == VGPU_ERR_RATE_LIMITED;
}

/* ---- Requests and responses -------------------------------------------- */

#define VGPU_PROTOCOL_VERSION 0x00010000u /* major << 16 | minor */
#define VGPU_PROTOCOL_MAJOR(version) ((version) >> 16)

#define VGPU_TEST_SPIN_MAX_US 60000000u

/*
 * Each operation has one row here, and every list of operations is made from
 * these rows.  "params" and "results" are arrays of uint32_t, "data" is bytes.
 * A request that carries more or less than its operation takes is answered with
 * INVALID_REQUEST.
 *
 *   name      VGPU_OP_name
 *   code      on the wire; never changes
 *   text      in logs and traces
 *   option    on the command lines of vgpu-client and vgpu-loadgen
 *   params    how many it takes
 *   results   how many it gives
 *   unit      bytes that an element of its data has, a multiple of 4; 0: it
 *             takes none.  One element is the least, the request's room the most.
 *   gives     bytes of data in the answer for each element, or VGPU_AS_TEXT
 *   most      largest params[0], where that is for the user to choose; else 0
 *   test      1: refused with UNSUPPORTED_OP unless the mediator runs with
 *             --enable-test-ops
 */
#define VGPU_AS_TEXT 0xFFFFFFFFu

/* clang-format off */
#define VGPU_OPERATIONS(X) \
    X(NOP, 0x00, "nop", "nop", 0, 0, 0, 0, 0, 0) \
    /* params a, b -> a + b modulo 2^32 */ \
    X(CUDA_KERNEL, 0x01, "add", "add", 2, 1, 0, 0, 0, 0) \
    /* -> enum vgpu_info results, data: the device's name */ \
    X(GET_DEVICE_INFO, 0x05, "get_device_info", "info", 0, VGPU_INFO_COUNT, 0, VGPU_AS_TEXT, 0, 0) \
    /* data a[n] b[n] -> data c[n], c = a + b modulo 2^32 */ \
    X(VECTOR_ADD_I32, 0x10, "vector_add_i32", "vadd-i32", 0, 0, 8, 4, 0, 0) \
    /* the same for IEEE 754 single precision */ \
    X(VECTOR_ADD_F32, 0x11, "vector_add_f32", "vadd-f32", 0, 0, 8, 4, 0, 0) \
    /* param: microseconds of GPU time to use up */ \
    X(TEST_SPIN, 0x20, "test_spin", "spin", 1, 0, 0, 0, VGPU_TEST_SPIN_MAX_US, 1) \
    /* never ends by itself */ \
    X(TEST_HANG, 0x21, "test_hang", "hang", 0, 0, 0, 0, 0, 1) \
    /* the worker dies (CPU), an illegal address (CUDA) */ \
    X(TEST_CRASH, 0x22, "test_crash", "crash", 0, 0, 0, 0, 0, 1) \
    /* answers CUDA_ERROR, the worker lives on */ \
    X(TEST_FAIL, 0x23, "test_fail", "fail", 0, 0, 0, 0, 0, 1)
/* clang-format on */

enum vgpu_opcode {
#define VGPU_OPCODE(name, code, text, option, params, results, unit, gives, most, test)            \
    VGPU_OP_##name = (code),
    VGPU_OPERATIONS(VGPU_OPCODE)
#undef VGPU_OPCODE
};

/* Index of each result of GET_DEVICE_INFO. */
enum vgpu_info {
    VGPU_INFO_BACKEND = 0,       /* enum vgpu_backend */
    VGPU_INFO_COMPUTE_MAJOR = 1, /* CUDA compute capability; 0.0 on the CPU */
    VGPU_INFO_COMPUTE_MINOR = 2,
    VGPU_INFO_MULTIPROCESSORS = 3,
    VGPU_INFO_MEMORY_MIB = 4, /* what this VM may use: its limit, or the GPU's total */
    VGPU_INFO_COUNT
};

enum vgpu_backend {
    VGPU_BACKEND_CPU = 0,
    VGPU_BACKEND_CUDA = 1,
};

/*
 * A request: this header, then params[param_count], then data[data_length] at
 * data_offset, which counts from the header's first byte and must not overlap
 * the params.  data_offset is ignored when data_length is 0.
 */
typedef struct VGPURequest {
    uint32_t version; /* VGPU_PROTOCOL_VERSION: the major part is checked */
    uint32_t opcode;  /* enum vgpu_opcode */
    uint32_t flags;   /* 0 */
    uint32_t param_count;
    uint32_t data_offset;
    uint32_t data_length;
    uint32_t reserved[2]; /* written as 0, not checked: 1.0 guests differ here */
} VGPURequest;

VGPU_STATIC_ASSERT(sizeof(VGPURequest) == 32, "VGPURequest is 32 bytes");
VGPU_STATIC_ASSERT(offsetof(VGPURequest, data_length) == 20, "VGPURequest layout");

/* A response: this header, then results[result_count], then the data. */
typedef struct VGPUResponse {
    uint32_t version;
    uint32_t status; /* enum vgpu_error */
    uint32_t result_count;
    uint32_t data_offset;
    uint32_t data_length;
    uint32_t exec_time_us; /* GPU time used, rounded to nearest */
    uint32_t reserved[2];
} VGPUResponse;

VGPU_STATIC_ASSERT(sizeof(VGPUResponse) == 32, "VGPUResponse is 32 bytes");
VGPU_STATIC_ASSERT(offsetof(VGPUResponse, exec_time_us) == 20, "VGPUResponse layout");

/* What is left of a buffer behind its header, for words and data together. */
#define VGPU_REQUEST_BODY_BYTES (VGPU_REQUEST_BUFFER_BYTES - (uint32_t)sizeof(VGPURequest))
#define VGPU_RESPONSE_BODY_BYTES (VGPU_RESPONSE_BUFFER_BYTES - (uint32_t)sizeof(VGPUResponse))
#define VGPU_PARAMS_MAX (VGPU_REQUEST_BODY_BYTES / 4u)
/* Elements of VECTOR_ADD_*: two operand arrays must fit in one request. */
#define VGPU_VECTOR_MAX (VGPU_REQUEST_BODY_BYTES / 8u)

/* ---- Frames between vgpu-stub and mediator ------------------------------ */

#define VGPU_SOCKET_PATH "/tmp/vgpu-mediator.sock"
/* Where vgpu-file-bridge looks for the mediator: who connects there may speak for any VM. */
#define VGPU_BRIDGE_SOCKET_PATH "/run/vgpu/bridge.sock"
#define VGPU_SOCKET_MAGIC 0x56475055u
#define VGPU_SOCKET_PAYLOAD_MAX 1024u

enum vgpu_msg {
    VGPU_MSG_REQUEST = 1,     /* device -> mediator: VGPURequest and its body */
    VGPU_MSG_RESPONSE = 2,    /* mediator -> device: VGPUResponse and its body */
    VGPU_MSG_PING = 3,        /* either way, payload up to VGPU_PING_BYTES_MAX */
    VGPU_MSG_PONG = 4,        /* the answer: request_id and payload come back */
    VGPU_MSG_BUSY = 5,        /* mediator -> device: VGPUResponse, status says why */
    VGPU_MSG_QUARANTINED = 6, /* mediator -> device: VGPUResponse, status VM_QUARANTINED */
    VGPU_MSG_CONFIG = 7,      /* mediator -> device: VGPUConfig; the device echoes it */
    VGPU_MSG_HELLO = 8,       /* device -> mediator: VGPUHello; answered in kind */
};

#define VGPU_PING_BYTES_MAX 64u

/*
 * Every frame: this header, then payload_len bytes.  A REQUEST's request_id is
 * chosen by the device and comes back in its one answer (RESPONSE, BUSY or
 * QUARANTINED).  vm_id, pool_id and priority say what the device believes it
 * is; the mediator knows better and refuses a vm_id that is not the socket's.
 */
typedef struct VGPUSocketHeader {
    uint32_t magic;
    uint32_t msg_type; /* enum vgpu_msg */
    uint32_t vm_id;
    uint32_t request_id;
    uint8_t pool_id;  /* ASCII letter */
    uint8_t priority; /* enum vgpu_priority */
    uint16_t pad;     /* 0 */
    uint32_t payload_len;
} VGPUSocketHeader;

VGPU_STATIC_ASSERT(sizeof(VGPUSocketHeader) == 24, "VGPUSocketHeader is 24 bytes");
VGPU_STATIC_ASSERT(offsetof(VGPUSocketHeader, pool_id) == 16, "VGPUSocketHeader layout");
VGPU_STATIC_ASSERT(offsetof(VGPUSocketHeader, payload_len) == 20, "VGPUSocketHeader layout");

#define VGPU_SOCKET_FRAME_MAX ((uint32_t)sizeof(VGPUSocketHeader) + VGPU_SOCKET_PAYLOAD_MAX)

/*
 * HELLO opens a connection of a device that knows more than 1.0.  The device
 * offers features, the mediator answers with those it grants.  A device that
 * sends none is a 1.0 device and is never sent HELLO or CONFIG.
 */
#define VGPU_FEATURE_CONFIG (1u << 0)        /* the mediator may send CONFIG */
#define VGPU_FEATURE_MULTI_REQUEST (1u << 1) /* several requests in flight */
#define VGPU_FEATURES_KNOWN (VGPU_FEATURE_CONFIG | VGPU_FEATURE_MULTI_REQUEST)

typedef struct VGPUHello {
    uint32_t version;  /* VGPU_PROTOCOL_VERSION */
    uint32_t features; /* VGPU_FEATURE_*; unknown bits are ignored */
    uint32_t reserved[2];
} VGPUHello;

VGPU_STATIC_ASSERT(sizeof(VGPUHello) == 16, "VGPUHello is 16 bytes");

/*
 * CONFIG tells the device what it is, at the connection's start and whenever
 * the administrator changes it.  The device shows the values in its registers,
 * uses them in its frames from then on, and echoes the frame.
 */
typedef struct VGPUConfig {
    uint32_t vm_id;
    uint8_t pool_id;
    uint8_t priority;
    uint8_t reserved[10];
} VGPUConfig;

VGPU_STATIC_ASSERT(sizeof(VGPUConfig) == 16, "VGPUConfig is 16 bytes");

#endif /* VGPU_PROTOCOL_H */
