/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The guest's way: BAR0 of the vgpu-stub device, mapped from sysfs.
 *
 * A request takes this course: take the lock, see that the device is not
 * busy, write the request buffer and REQUEST_LEN, ring DOORBELL, read STATUS
 * until it is not BUSY, then read RESPONSE_LEN and as much of the response
 * buffer, or ERROR_CODE.  The device acts on DOORBELL before the write ends:
 * the first STATUS read after it belongs to this request already.
 *
 * Each access to the BAR is an exit to the host, some microseconds under KVM
 * and Xen, where touching memory takes nanoseconds.  What follows is about
 * making few of them:
 *   - 8 bytes at a time where device and machine can (checked once, at open);
 *   - only the bytes in use, and of those, when the device is ours alone
 *     (options.exclusive), only words that differ from what it has already;
 *   - STATUS is read rarely: the handle remembers how long recent jobs took
 *     and waits nearly that long before it looks.  Short waits pause the CPU
 *     and read no clock, which in many guests would be another exit; then
 *     sleeps follow that grow by a quarter, so that little time is lost
 *     against the job's length.  From a millisecond on a sleep is at most a
 *     32nd of the wait so far: a look costs the host more than the guest.
 *
 * The BAR has one request buffer, and nothing in the device keeps two
 * processes from writing it at once.  So an advisory lock on resource0 (fcntl,
 * open file description) is held for each request, or from open to close when
 * exclusive.  Programs that don't use this library don't know of it.  It has
 * two parts: byte TURN_BYTE is the right to be next, byte USE_BYTE the device.
 * Who wants the device takes the first, then the second, then gives the first
 * back; so one who has just finished can't overtake one who waits.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "internal.h"
#include "mmio.h"

/* One round is a microsecond or several, depending on the CPU. */
#define SPIN_ROUNDS 8u
#define SPIN_PAUSES 64u
#define SLEEP_FIRST_NS (20 * NS_PER_US)
#define SLEEP_SHORT_NS NS_PER_MS /* up to here sleeps grow by themselves */
#define SLEEP_PART 32u           /* of the wait so far, beyond */
#define SLEEP_MAX_NS (10 * NS_PER_MS)
#define USE_BYTE 0
#define TURN_BYTE 1
#define USE_SLEEP_MAX_NS (200 * NS_PER_US)
#define TURN_SLEEP_MAX_NS (2 * NS_PER_MS)
/* Every so many jobs the device is looked at a round earlier, in case jobs got shorter. */
#define LOOK_EARLIER_EVERY 4u

/* Of the response header, the part that carries something. */
#define RESPONSE_HEADER_USED (uint32_t) offsetof(VGPUResponse, reserved)

struct pci_link {
    struct vgpu_mmio mmio;
    size_t bar_bytes;
    int fd;
    bool wide;            /* 8-byte accesses work */
    bool settled;         /* ours alone, and our last request is over */
    uint32_t known_bytes; /* how much of the request buffer `shadow` knows */
    uint32_t known_length;
    uint32_t spin_rounds; /* that recent jobs took */
    uint32_t jobs_since_look;
    uint64_t polls;
    _Alignas(8) uint8_t shadow[VGPU_REQUEST_BUFFER_BYTES];
};

static void cpu_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#else
    __asm__ volatile("" ::: "memory");
#endif
}

static void spin_round(void)
{
    unsigned i;

    for (i = 0; i < SPIN_PAUSES; i++) {
        cpu_relax();
    }
}

/* ---- The lock ----------------------------------------------------------- */

static int set_lock(const struct pci_link *link, short type, off_t byte)
{
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};

    return fcntl(link->fd, F_OFD_SETLK, &lock);
}

static uint32_t wait_lock(struct vgpu *v, off_t byte, uint64_t nap_max_ns, uint64_t deadline_ns)
{
    uint64_t nap_ns = SLEEP_FIRST_NS;

    while (set_lock(v->link, F_WRLCK, byte) < 0) {
        if (errno == EINTR) {
            continue;
        }
        if (errno != EAGAIN && errno != EACCES) {
            return vgpu_set_error(v, VGPU_ERR_SYSTEM, "%s: can't lock the device: %s",
                                  v->description, strerror(errno));
        }
        if (vgpu_now_ns(v) >= deadline_ns) {
            return vgpu_set_error(v, VGPU_ERR_DEVICE_IN_USE,
                                  "%s: other programs in this VM kept the device for %u ms; end "
                                  "them, or open it without \"exclusive\" there",
                                  v->description, (unsigned)v->options.timeout_ms);
        }
        v->clock.sleep_ns(v->clock.opaque, nap_ns);
        nap_ns += nap_ns / 4;
        if (nap_ns > nap_max_ns) {
            nap_ns = nap_max_ns;
        }
    }
    return VGPU_ERR_NONE;
}

static uint32_t pci_lock(struct vgpu *v, uint64_t deadline_ns)
{
    uint32_t code = wait_lock(v, TURN_BYTE, TURN_SLEEP_MAX_NS, deadline_ns);

    if (code == VGPU_ERR_NONE) {
        code = wait_lock(v, USE_BYTE, USE_SLEEP_MAX_NS, deadline_ns);
        set_lock(v->link, F_UNLCK, TURN_BYTE);
    }
    return code;
}

/* ---- Waiting ------------------------------------------------------------ */

static uint64_t longer_nap_ns(uint64_t nap_ns, uint64_t waited_ns)
{
    uint64_t limit_ns = waited_ns / SLEEP_PART;

    limit_ns = limit_ns < SLEEP_SHORT_NS ? SLEEP_SHORT_NS : limit_ns;
    limit_ns = limit_ns > SLEEP_MAX_NS ? SLEEP_MAX_NS : limit_ns;
    nap_ns += nap_ns / 4;
    return nap_ns < limit_ns ? nap_ns : limit_ns;
}

/* Read STATUS until it is not BUSY, after `spun` rounds of waiting; false: the deadline passed. */
static bool poll_status(struct vgpu *v, uint32_t spun, uint64_t deadline_ns, uint32_t *status,
                        uint32_t *rounds)
{
    struct pci_link *link = v->link;
    uint64_t nap_ns = SLEEP_FIRST_NS, begun_ns = 0;

    for (;;) {
        uint64_t time_ns;

        link->polls++;
        *status = mmio_read32(&link->mmio, VGPU_REG_STATUS);
        *rounds = spun;
        if (*status != VGPU_STATUS_BUSY) {
            return true;
        }
        if (spun < SPIN_ROUNDS) {
            spin_round();
            spun++;
            continue;
        }
        time_ns = vgpu_now_ns(v);
        if (time_ns >= deadline_ns) {
            return false;
        }
        begun_ns = begun_ns ? begun_ns : time_ns;
        v->clock.sleep_ns(v->clock.opaque, nap_ns);
        nap_ns = longer_nap_ns(nap_ns, time_ns - begun_ns);
    }
}

/* All bits set: nothing answers at that address any more. */
static uint32_t device_gone(struct vgpu *v)
{
    return vgpu_set_error(v, VGPU_ERR_NO_DEVICE,
                          "%s: the device is gone (it reads as all ones); it was unplugged or its "
                          "memory access was switched off: open it again",
                          v->description);
}

static uint32_t await_free(struct vgpu *v, uint64_t deadline_ns)
{
    struct pci_link *link = v->link;
    uint32_t status, rounds;

    if (link->settled) {
        return VGPU_ERR_NONE;
    }
    if (!poll_status(v, 0, deadline_ns, &status, &rounds)) {
        return vgpu_set_error(v, VGPU_ERR_TIMEOUT,
                              "%s: the device was busy for %u ms with an earlier request, perhaps "
                              "of another program; wait until that ends, or see on the host "
                              "whether vgpu-mediator works on it",
                              v->description, (unsigned)v->options.timeout_ms);
    }
    return status == UINT32_MAX ? device_gone(v) : VGPU_ERR_NONE;
}

static uint32_t await_done(struct vgpu *v, uint64_t deadline_ns)
{
    struct pci_link *link = v->link;
    uint32_t rounds = link->spin_rounds, spun, status;
    bool over;

    if (++link->jobs_since_look >= LOOK_EARLIER_EVERY && rounds > 0) {
        link->jobs_since_look = 0;
        rounds--;
    }
    for (spun = 0; spun < rounds; spun++) {
        spin_round();
    }
    over = poll_status(v, spun, deadline_ns, &status, &rounds);
    /* One slow job among quick ones must not make those that follow wait. */
    link->spin_rounds = rounds > link->spin_rounds ? link->spin_rounds + 1 : rounds;
    if (!over) {
        return vgpu_set_error(v, VGPU_ERR_TIMEOUT,
                              "%s: no answer within %u ms; the job goes on at the host and the "
                              "device stays busy until it ends: give more time (timeout), or see "
                              "on the host whether vgpu-mediator works",
                              v->description, (unsigned)v->options.timeout_ms);
    }
    switch (status) {
    case VGPU_STATUS_DONE: return VGPU_ERR_NONE;
    case VGPU_STATUS_ERROR:
        return vgpu_set_device_error(v, mmio_read32(&link->mmio, VGPU_REG_ERROR_CODE));
    case VGPU_STATUS_IDLE:
        return vgpu_set_error(v, VGPU_ERR_BAD_RESPONSE,
                              "%s: the device was reset while the request ran; submit it again",
                              v->description);
    case UINT32_MAX: return device_gone(v);
    default:
        return vgpu_set_error(v, VGPU_ERR_BAD_RESPONSE,
                              "%s: the device's STATUS is 0x%X, which means nothing; report it to "
                              "the host's administrator",
                              v->description, (unsigned)status);
    }
}

/* ---- The buffers -------------------------------------------------------- */

static void write_word(struct pci_link *link, uint32_t at, const uint8_t *bytes, uint32_t size)
{
    uint64_t wide;
    uint32_t narrow;

    if (at + size <= link->known_bytes && memcmp(link->shadow + at, bytes, size) == 0) {
        return;
    }
    if (size == 8) {
        memcpy(&wide, bytes, 8);
        mmio_write64(&link->mmio, VGPU_REQUEST_BUFFER + at, wide);
    } else {
        memcpy(&narrow, bytes, 4);
        mmio_write32(&link->mmio, VGPU_REQUEST_BUFFER + at, narrow);
    }
    memcpy(link->shadow + at, bytes, size);
}

static void write_request(struct pci_link *link, const uint8_t *request, uint32_t length)
{
    uint32_t size = link->wide ? 8 : 4, at, rest;

    for (at = 0; at + size <= length; at += size) {
        write_word(link, at, request + at, size);
    }
    for (; at < length; at += 4) {
        uint8_t last[4] = {0};

        rest = length - at < 4 ? length - at : 4;
        memcpy(last, request + at, rest);
        write_word(link, at, last, 4);
    }
    if (at > link->known_bytes) {
        link->known_bytes = at;
    }
    if (link->known_length != length) {
        mmio_write32(&link->mmio, VGPU_REG_REQUEST_LEN, length);
        link->known_length = length;
    }
}

static void read_bytes(struct pci_link *link, uint32_t from, uint32_t to, uint8_t *response)
{
    uint32_t size = link->wide ? 8 : 4, at = from, part;

    while (at < to) {
        part = to - at < size ? to - at : size;
        if (size == 8 && part > 4) {
            uint64_t wide = mmio_read64(&link->mmio, VGPU_RESPONSE_BUFFER + at);

            memcpy(response + at, &wide, part);
        } else {
            uint32_t narrow = mmio_read32(&link->mmio, VGPU_RESPONSE_BUFFER + at);

            part = part < 4 ? part : 4;
            memcpy(response + at, &narrow, part);
        }
        at += part;
    }
}

static uint32_t read_response(struct vgpu *v, uint8_t *response, uint32_t *response_bytes)
{
    struct pci_link *link = v->link;
    uint32_t length = mmio_read32(&link->mmio, VGPU_REG_RESPONSE_LEN);

    if (length < sizeof(VGPUResponse) || length > VGPU_RESPONSE_BUFFER_BYTES) {
        return vgpu_set_error(v, VGPU_ERR_BAD_RESPONSE,
                              "%s: the device says that its answer has %u bytes, which can't be; "
                              "report it to the host's administrator",
                              v->description, (unsigned)length);
    }
    /* The reserved words say nothing in 1.x: not worth an exit, the caller sees 0. */
    memset(response, 0, sizeof(VGPUResponse));
    read_bytes(link, 0, RESPONSE_HEADER_USED, response);
    read_bytes(link, sizeof(VGPUResponse), length, response);
    *response_bytes = length;
    return VGPU_ERR_NONE;
}

static uint32_t locked_exchange(struct vgpu *v, const void *request, uint32_t request_bytes,
                                void *response, uint32_t *response_bytes, uint64_t deadline_ns)
{
    struct pci_link *link = v->link;
    uint32_t code = await_free(v, deadline_ns);

    if (code != VGPU_ERR_NONE) {
        return code;
    }
    write_request(link, request, request_bytes);
    mmio_write32(&link->mmio, VGPU_REG_DOORBELL, 1);
    code = await_done(v, deadline_ns);
    return code == VGPU_ERR_NONE ? read_response(v, response, response_bytes) : code;
}

static uint32_t pci_exchange(struct vgpu *v, const void *request, uint32_t request_bytes,
                             void *response, uint32_t *response_bytes, uint64_t deadline_ns)
{
    struct pci_link *link = v->link;
    uint32_t code;

    if (!v->options.exclusive) {
        code = pci_lock(v, deadline_ns);
        if (code != VGPU_ERR_NONE) {
            return code;
        }
    }
    code = locked_exchange(v, request, request_bytes, response, response_bytes, deadline_ns);
    link->settled = v->options.exclusive && code == VGPU_ERR_NONE;
    if (!link->settled) {
        /* Another process, or a reset, may change what the device holds. */
        link->known_bytes = 0;
        link->known_length = 0;
    }
    if (!v->options.exclusive) {
        set_lock(link, F_UNLCK, USE_BYTE);
    }
    return code;
}

static uint32_t pci_read_registers(struct vgpu *v, uint32_t *registers)
{
    struct pci_link *link = v->link;
    uint32_t i;

    for (i = 0; i < VGPU_REGISTER_COUNT; i++) {
        registers[i] = mmio_read32(&link->mmio, i * 4);
    }
    return registers[VGPU_REG_PROTOCOL_VER / 4] == UINT32_MAX ? device_gone(v) : VGPU_ERR_NONE;
}

static void pci_get_stats(const struct vgpu *v, struct vgpu_stats *stats)
{
    const struct pci_link *link = v->link;

    stats->mmio_reads = link->mmio.reads;
    stats->mmio_writes = link->mmio.writes;
    stats->status_polls = link->polls;
}

static void pci_close(struct vgpu *v)
{
    struct pci_link *link = v->link;

    munmap((void *)link->mmio.base, link->bar_bytes);
    close(link->fd); /* gives the lock back */
    free(link);
    v->link = NULL;
}

static const struct vgpu_transport pci_transport = {
    .exchange = pci_exchange,
    .read_registers = pci_read_registers,
    .get_stats = pci_get_stats,
    .close = pci_close,
};

/* ---- Opening ------------------------------------------------------------ */

static uint32_t check_version(struct vgpu *v)
{
    struct pci_link *link = v->link;
    uint32_t version = mmio_read32(&link->mmio, VGPU_REG_PROTOCOL_VER);

    if (version == UINT32_MAX) {
        return device_gone(v);
    }
    if (VGPU_PROTOCOL_MAJOR(version) != VGPU_PROTOCOL_MAJOR(VGPU_PROTOCOL_VERSION)) {
        return vgpu_set_error(v, VGPU_ERR_VERSION,
                              "%s: the device speaks protocol %u.%u, this libvgpu 1.x; install "
                              "the libvgpu that fits the host",
                              v->description, (unsigned)VGPU_PROTOCOL_MAJOR(version),
                              (unsigned)(version & 0xFFFF));
    }
    if (sizeof(void *) == 8) {
        uint32_t upper = mmio_read32(&link->mmio, VGPU_REG_CAPABILITIES);
        uint64_t both = mmio_read64(&link->mmio, VGPU_REG_PROTOCOL_VER);

        link->wide = both == ((uint64_t)upper << 32 | version);
    }
    return VGPU_ERR_NONE;
}

uint32_t vgpu_pci_open(struct vgpu *v, const char *wanted)
{
    struct vgpu_bar bar;
    struct pci_link *link;
    uint32_t code = vgpu_pci_map(v, wanted, &bar);

    if (code != VGPU_ERR_NONE) {
        return code;
    }
    link = calloc(1, sizeof(*link));
    if (!link) {
        munmap(bar.base, bar.bytes);
        close(bar.fd);
        return vgpu_set_error(v, VGPU_ERR_SYSTEM, "out of memory");
    }
    link->fd = bar.fd;
    link->mmio.base = bar.base;
    link->bar_bytes = bar.bytes;
    v->link = link;
    v->transport = &pci_transport;
    code = check_version(v);
    if (code == VGPU_ERR_NONE && v->options.exclusive) {
        code = pci_lock(v, vgpu_now_ns(v) + (uint64_t)v->options.timeout_ms * NS_PER_MS);
    }
    if (code != VGPU_ERR_NONE) {
        pci_close(v);
    }
    return code;
}
