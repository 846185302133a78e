/* SPDX-License-Identifier: BSD-3-Clause */
/* The files of libvgpu share these declarations, which are not installed. */
#ifndef VGPU_INTERNAL_H
#define VGPU_INTERNAL_H

#include <stdbool.h>

#include "vgpu/vgpu.h"

VGPU_STATIC_ASSERT(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
                   "the protocol is little-endian and libvgpu does not swap bytes");

#define VGPU_TEXT_BYTES 512u
#define VGPU_PATH_BYTES 256u

#define NS_PER_US UINT64_C(1000)
#define NS_PER_MS UINT64_C(1000000)
#define NS_PER_S UINT64_C(1000000000)

/* What poll() may wait from now on: rounded up, and a minute at most. */
static inline int vgpu_rest_ms(uint64_t now_ns, uint64_t deadline_ns)
{
    uint64_t rest_ns = deadline_ns > now_ns ? deadline_ns - now_ns : 0;

    return rest_ns < 60 * NS_PER_S ? (int)((rest_ns + NS_PER_MS - 1) / NS_PER_MS) : 60000;
}

/* Time, so that tests need not wait for it. */
struct vgpu_clock {
    uint64_t (*now_ns)(void *opaque);
    void (*sleep_ns)(void *opaque, uint64_t duration_ns);
    void *opaque;
};

extern const struct vgpu_clock vgpu_system_clock;

/*
 * A way to the mediator.  exchange() carries one request and its answer and
 * returns 0 or the error code, after vgpu_set_error().  At 0 there are
 * *response_bytes (at most VGPU_RESPONSE_BUFFER_BYTES) of an answer that
 * nobody has checked yet.
 */
struct vgpu_transport {
    uint32_t (*exchange)(struct vgpu *v, const void *request, uint32_t request_bytes,
                         void *response, uint32_t *response_bytes, uint64_t deadline_ns);
    uint32_t (*read_registers)(struct vgpu *v, uint32_t *registers); /* NULL: has none */
    void (*get_stats)(const struct vgpu *v, struct vgpu_stats *stats);
    void (*close)(struct vgpu *v);
};

/*
 * Is it a socket to send work to without being told so?  Not one that anybody could have put
 * there: it is root's, ours, of the user whose `mediators_folder` is, or in a folder that only root
 * can write to.
 */
bool vgpu_socket_is_trusted(const char *path, const char *mediators_folder);

struct vgpu {
    const struct vgpu_transport *transport;
    void *link; /* the transport's own state */
    bool has_channel;
    const struct channel_wish *wish; /* host: what channel to open; NULL: for operations */
    struct vgpu_options options;
    struct vgpu_clock clock;
    uint64_t random;
    uint64_t attempts;
    uint64_t retries;
    uint32_t exec_time_us;
    uint32_t error_code;
    char error_text[VGPU_TEXT_BYTES];
    char description[VGPU_PATH_BYTES + 8];
    _Alignas(8) uint8_t request[VGPU_REQUEST_BUFFER_BYTES];
    _Alignas(8) uint8_t response[VGPU_RESPONSE_BUFFER_BYTES];
};

static inline uint64_t vgpu_now_ns(const struct vgpu *v)
{
    return v->clock.now_ns(v->clock.opaque);
}

/* Each sets v->transport and v->link, or returns an error code after vgpu_set_error(). */
uint32_t vgpu_pci_open(struct vgpu *v, const char *address);
uint32_t vgpu_sock_open(struct vgpu *v, const char *path);
uint32_t vgpu_host_open(struct vgpu *v, const char *path);
uint32_t vgpu_dev_open(struct vgpu *v, const char *path); /* NULL: the first that there is */

/* Note the failure of the current call; returns `code`, which is not 0. */
uint32_t vgpu_set_error(struct vgpu *v, uint32_t code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The same with the code's own text; a code that no device may send becomes BAD_RESPONSE. */
uint32_t vgpu_set_device_error(struct vgpu *v, uint32_t code);

/* The call's result for an error code. */
int vgpu_result_of(uint32_t code);

/*
 * Check `bytes` bytes at `response` and find their parts.  Returns NULL, or
 * what is wrong with them.  `response` must be aligned to 4 bytes.
 */
const char *vgpu_answer_parse(const void *response, size_t bytes, struct vgpu_answer *answer);

/* Nanoseconds to wait before retry `attempt` (0 first); advances *random. */
uint64_t vgpu_backoff_ns(uint32_t attempt, uint32_t first_ms, uint32_t max_ms, uint64_t *random);

/* vgpu_submit(), the answer staying in v->response. */
int vgpu_exchange(struct vgpu *v, const void *request, uint32_t request_bytes,
                  uint32_t *response_bytes, struct vgpu_answer *answer);

/* ---- pci ---------------------------------------------------------------- */

/* The sysfs folder in force: `option`, $VGPU_SYSFS_ROOT or "/sys". */
const char *vgpu_sysfs_root(const char *option);

/*
 * Addresses of matching devices in order; returns how many there are, or
 * -errno when the folder can't be read.
 */
int vgpu_pci_find(const char *sysfs_root, char addresses[][VGPU_ADDRESS_BYTES], size_t capacity);

/* Bring "00:05.0" or "0000:00:05.0" to the long form; false: not an address. */
bool vgpu_pci_normalize(const char *text, char address[VGPU_ADDRESS_BYTES]);

/* Is the device at this (normalized) address a vgpu device?  1, 0, or -errno. */
int vgpu_pci_matches(const char *sysfs_root, const char *address);

/* A device's BAR0, mapped; `fd` is the file that was mapped, for locks on it. */
struct vgpu_bar {
    int fd;
    void *base;
    size_t bytes;
};

/*
 * Maps the device at `wanted`, NULL: the first one, and enables it if nobody has.
 * Sets v->description.  An error code, after vgpu_set_error(), leaves nothing open.
 */
uint32_t vgpu_pci_map(struct vgpu *v, const char *wanted, struct vgpu_bar *bar);

#endif
