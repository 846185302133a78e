/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "loadgen/vm.h"

#include <errno.h>
#include <math.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"

#define SLOT_BITS 12u
#define READ_BYTES 65536u
#define COMPLAINTS_MAX 10u
#define RECONNECT_NS (100 * NS_PER_MS)

VGPU_STATIC_ASSERT(LOADGEN_DEPTH_MAX == 1u << SLOT_BITS, "a slot's number fits a request_id");

__attribute__((format(printf, 2, 3))) static void complain(const struct vm *vm, const char *format,
                                                           ...)
{
    static unsigned complaints;
    va_list args;

    if (complaints++ < COMPLAINTS_MAX) {
        fprintf(stderr, "vgpu-loadgen: VM %u: ", vm->vm_id);
        va_start(args, format);
        vfprintf(stderr, format, args);
        va_end(args);
        fputs(complaints == COMPLAINTS_MAX ? " (no more of these are shown)\n" : "\n", stderr);
    }
}

/* ---- life ---- */

int vm_init(struct vm *vm, const struct loadgen_options *options, const struct loadgen_group *group,
            uint32_t vm_id)
{
    memset(vm, 0, sizeof(*vm));
    vm->options = options;
    vm->group = group;
    vm->vm_id = vm_id;
    vm->fd = -1;
    vm->header = (VGPUSocketHeader){
        .magic = VGPU_SOCKET_MAGIC,
        .msg_type = VGPU_MSG_REQUEST,
        .vm_id = vm_id,
        .pool_id = (uint8_t)group->pool,
        .priority = group->priority,
    };
    vm->random = job_hash(options->seed * 0x100000001ull + vm_id) | 1;
    histogram_reset(&vm->measured.latency);
    vm->out = malloc(VM_OUT_BYTES);
    vm->slots = calloc(group->depth, sizeof(*vm->slots));
    vm->free_slots = calloc(group->depth, sizeof(*vm->free_slots));
    if (!vm->out || !vm->slots || !vm->free_slots) {
        vm_destroy(vm);
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < group->depth; i++) {
        vm->free_slots[i] = i;
    }
    return 0;
}

void vm_destroy(struct vm *vm)
{
    if (vm->fd >= 0) {
        close(vm->fd);
    }
    free(vm->out);
    free(vm->slots);
    free(vm->free_slots);
    vm->fd = -1;
    vm->out = NULL;
    vm->slots = NULL;
    vm->free_slots = NULL;
}

static uint64_t next_random(struct vm *vm)
{
    vm->random ^= vm->random << 13;
    vm->random ^= vm->random >> 7;
    vm->random ^= vm->random << 17;
    return vm->random;
}

static uint64_t gap_ns(struct vm *vm)
{
    double mean_ns = NS_PER_S / vm->group->rate_hz;
    double uniform = ((double)(next_random(vm) >> 11) + 1) / 9007199254740993.0;

    return (uint64_t)(vm->group->poisson ? -log(uniform) * mean_ns : mean_ns);
}

void vm_begin(struct vm *vm, uint64_t start_ns, uint64_t measure_from_ns, uint64_t measure_to_ns)
{
    vm->start_ns = start_ns;
    vm->measure_from_ns = measure_from_ns;
    vm->measure_to_ns = measure_to_ns;
    vm->stop_ns = measure_to_ns;
    if (vm->group->stop_ns && start_ns + vm->group->stop_ns < vm->stop_ns) {
        vm->stop_ns = start_ns + vm->group->stop_ns;
    }
    vm->not_before_ns = start_ns;
    vm->next_due_ns = start_ns;
    if (vm->group->rate_hz > 0) {
        /* VMs of one rate don't all submit at the same moments. */
        vm->next_due_ns += (uint64_t)((double)gap_ns(vm) * (double)(next_random(vm) % 1000) / 1000);
    }
}

void vm_stop(struct vm *vm, uint64_t now_ns)
{
    vm->stop_ns = now_ns < vm->stop_ns ? now_ns : vm->stop_ns;
}

/* ---- writing ---- */

static void put_frame(struct vm *vm, const VGPUSocketHeader *header, const void *payload)
{
    memcpy(vm->out + vm->out_end, header, sizeof(*header));
    if (header->payload_len) {
        memcpy(vm->out + vm->out_end + sizeof(*header), payload, header->payload_len);
    }
    vm->out_end += (uint32_t)sizeof(*header) + header->payload_len;
}

static bool has_room(struct vm *vm)
{
    if (vm->out_begin == vm->out_end) {
        vm->out_begin = vm->out_end = 0;
    } else if (vm->out_end > VM_OUT_BYTES - 2 * VGPU_SOCKET_FRAME_MAX && vm->out_begin > 0) {
        memmove(vm->out, vm->out + vm->out_begin, vm->out_end - vm->out_begin);
        vm->out_end -= vm->out_begin;
        vm->out_begin = 0;
    }
    return vm->out_end <= VM_OUT_BYTES - VGPU_SOCKET_FRAME_MAX;
}

static bool flush(struct vm *vm)
{
    vm->write_blocked = false;
    while (vm->out_begin < vm->out_end) {
        ssize_t n = send(vm->fd, vm->out + vm->out_begin, vm->out_end - vm->out_begin,
                         MSG_DONTWAIT | MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            vm->write_blocked = true;
            return true;
        }
        if (n < 0) {
            return false;
        }
        vm->out_begin += (uint32_t)n;
    }
    vm->out_begin = vm->out_end = 0;
    return true;
}

static void submit(struct vm *vm, uint64_t due_ns)
{
    uint32_t number = vm->free_slots[vm->group->depth - 1 - vm->in_flight];
    struct vm_slot *slot = &vm->slots[number];
    VGPUSocketHeader *header = &vm->header;

    slot->busy = true;
    slot->uses++;
    slot->due_ns = due_ns;
    slot->seed = next_random(vm);
    slot->kind = (uint8_t)job_mix_pick(&vm->group->mix, slot->seed >> 17);
    header->request_id = slot->uses << SLOT_BITS | number;
    header->payload_len = job_build(&vm->group->mix.kinds[slot->kind], slot->seed,
                                    vm->out + vm->out_end + sizeof(*header));
    memcpy(vm->out + vm->out_end, header, sizeof(*header));
    vm->out_end += (uint32_t)sizeof(*header) + header->payload_len;
    vm->in_flight++;
    vm->sent++;
}

static void disconnect(struct vm *vm, uint64_t now_ns)
{
    close(vm->fd);
    vm->fd = -1;
    vm->disconnects++;
    vm->out_begin = vm->out_end = 0;
    vm->write_blocked = false;
    if (vm->options->reconnect) {
        vm->not_before_ns = now_ns + RECONNECT_NS;
    } else {
        complain(vm,
                 "the mediator closed the connection with %u requests in flight; its log says why",
                 vm->in_flight);
    }
    vm->lost += vm->in_flight;
    vm->in_flight = 0;
    for (uint32_t i = 0; i < vm->group->depth; i++) {
        vm->slots[i].busy = false;
        vm->free_slots[i] = i;
    }
}

bool vm_finished(const struct vm *vm, uint64_t now_ns)
{
    return now_ns >= vm->stop_ns || (vm->options->count && vm->sent >= vm->options->count) ||
           (vm->fd < 0 && !vm->options->reconnect);
}

static bool due(const struct vm *vm, uint64_t now_ns)
{
    return vm->in_flight < vm->group->depth && !vm_finished(vm, now_ns) &&
           now_ns >= (vm->group->rate_hz > 0 ? vm->next_due_ns : vm->not_before_ns);
}

bool vm_pump(struct vm *vm, uint64_t now_ns)
{
    while (due(vm, now_ns) && has_room(vm)) {
        if (vm->group->rate_hz > 0) {
            submit(vm, vm->next_due_ns);
            vm->next_due_ns += gap_ns(vm);
        } else {
            submit(vm, now_ns);
        }
    }
    if (!vm->write_blocked && !flush(vm)) {
        disconnect(vm, now_ns);
        return false;
    }
    return true;
}

uint64_t vm_wake_ns(const struct vm *vm)
{
    uint64_t wake_ns = vm->group->rate_hz > 0 && vm->fd >= 0 ? vm->next_due_ns : vm->not_before_ns;

    if (vm_finished(vm, wake_ns) || vm->in_flight == vm->group->depth || vm->write_blocked) {
        return VM_NEVER;
    }
    return wake_ns;
}

/* ---- reading ---- */

static void count_answer(struct vm *vm, const struct job_answer *answer, uint64_t latency_ns,
                         uint64_t now_ns)
{
    if (now_ns < vm->measure_from_ns || now_ns >= vm->measure_to_ns) {
        return;
    }
    vm->measured.gpu_us += answer->exec_time_us;
    if (answer->status != VGPU_ERR_NONE) {
        vm->measured.errors[answer->status]++;
        vm->measured.busy += vgpu_error_is_retryable(answer->status) != 0;
        return;
    }
    vm->measured.jobs++;
    histogram_add(&vm->measured.latency, latency_ns);
}

/* RESPONSE carries what ran, the other two say why it did not. */
static bool type_fits(uint32_t msg_type, uint32_t status)
{
    switch (msg_type) {
    case VGPU_MSG_BUSY: return vgpu_error_is_retryable(status);
    case VGPU_MSG_QUARANTINED: return status == VGPU_ERR_VM_QUARANTINED;
    default: return !vgpu_error_is_retryable(status) && status != VGPU_ERR_VM_QUARANTINED;
    }
}

static void take_answer(struct vm *vm, const struct frame *frame, uint64_t now_ns)
{
    uint32_t id = frame->header.request_id;
    uint32_t number = id & (LOADGEN_DEPTH_MAX - 1);
    struct vm_slot *slot = number < vm->group->depth ? &vm->slots[number] : NULL;
    struct job_answer answer;

    if (!slot || !slot->busy || (slot->uses << SLOT_BITS | number) != id) {
        vm->wrong++;
        complain(vm, "an answer for request %u, which is not in flight", id);
        return;
    }
    job_check(&vm->group->mix.kinds[slot->kind], slot->seed, frame->payload,
              frame->header.payload_len, &answer);
    if (!answer.wrong && !type_fits(frame->header.msg_type, answer.status)) {
        answer.wrong = "the frame's type does not fit its status";
    }
    if (!answer.wrong && frame->header.vm_id != vm->header.vm_id) {
        answer.wrong = "the frame names another vm_id";
    }
    vm->answered++;
    if (answer.wrong) {
        vm->wrong++;
        complain(vm, "wrong answer: %s (request %u)", answer.wrong, id);
    } else {
        count_answer(vm, &answer, now_ns - slot->due_ns, now_ns);
    }
    slot->busy = false;
    vm->in_flight--;
    vm->free_slots[vm->group->depth - 1 - vm->in_flight] = number;
    if (vgpu_error_is_retryable(answer.status)) {
        vm->not_before_ns = now_ns + vm->options->busy_wait_ns;
    } else if (vm->group->think_ns) {
        vm->not_before_ns = now_ns + vm->group->think_ns;
    }
}

static void take_config(struct vm *vm, const struct frame *frame)
{
    VGPUConfig config;
    VGPUSocketHeader echo = frame->header;

    if (frame->header.payload_len != sizeof(config) || !vm->options->hello) {
        vm->wrong++;
        complain(vm, "CONFIG out of place (%u bytes)", frame->header.payload_len);
        return;
    }
    memcpy(&config, frame->payload, sizeof(config));
    vm->header.vm_id = config.vm_id;
    vm->header.pool_id = config.pool_id;
    vm->header.priority = config.priority;
    if (has_room(vm)) {
        put_frame(vm, &echo, frame->payload);
    }
}

/* A frame that is no answer to a request. */
static void take_other(struct vm *vm, const struct frame *frame)
{
    VGPUSocketHeader pong = frame->header;

    switch (frame->header.msg_type) {
    case VGPU_MSG_CONFIG: take_config(vm, frame); break;
    case VGPU_MSG_PING:
        pong.msg_type = VGPU_MSG_PONG;
        if (has_room(vm)) {
            put_frame(vm, &pong, frame->payload);
        }
        break;
    case VGPU_MSG_PONG:
    case VGPU_MSG_HELLO: break;
    default: vm->wrong++; complain(vm, "a frame of unknown type %u", frame->header.msg_type);
    }
}

bool vm_read(struct vm *vm, uint64_t now_ns)
{
    static uint8_t buffer[READ_BYTES];
    const uint8_t *bytes = buffer;
    struct frame frame;
    ssize_t n = recv(vm->fd, buffer, sizeof(buffer), MSG_DONTWAIT);
    size_t length;
    int ret;

    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) {
        return true;
    }
    if (n <= 0) {
        disconnect(vm, now_ns);
        return false;
    }
    length = (size_t)n;
    while ((ret = frame_reader_next(&vm->reader, &bytes, &length, &frame)) == 1) {
        switch (frame.header.msg_type) {
        case VGPU_MSG_RESPONSE:
        case VGPU_MSG_BUSY:
        case VGPU_MSG_QUARANTINED: take_answer(vm, &frame, now_ns); break;
        default: take_other(vm, &frame);
        }
    }
    if (ret < 0) {
        vm->wrong++;
        complain(vm, "the mediator's bytes are no frame (error %d)", -ret);
        disconnect(vm, now_ns);
        return false;
    }
    return true;
}

/* ---- connecting ---- */

/* Waits for the frame that answers ours; CONFIG may follow later. */
static int await_greeting(struct vm *vm, uint32_t msg_type, int timeout_ms)
{
    uint64_t until_ns = clock_now_ns() + (uint64_t)timeout_ms * NS_PER_MS;
    struct pollfd poller = {.fd = vm->fd, .events = POLLIN};

    for (;;) {
        uint64_t now_ns = clock_now_ns();
        uint8_t buffer[VGPU_SOCKET_FRAME_MAX];
        const uint8_t *bytes = buffer;
        struct frame frame;
        ssize_t n;
        bool greeted = false;
        size_t length;
        int ret;

        if (now_ns >= until_ns) {
            return -ETIMEDOUT;
        }
        if (poll(&poller, 1, (int)((until_ns - now_ns) / NS_PER_MS) + 1) <= 0) {
            continue;
        }
        n = recv(vm->fd, buffer, sizeof(buffer), MSG_DONTWAIT);
        if (n == 0) {
            return -ECONNRESET;
        }
        if (n < 0) {
            if (errno == EAGAIN || errno == EINTR) {
                continue;
            }
            return -errno;
        }
        length = (size_t)n;
        while ((ret = frame_reader_next(&vm->reader, &bytes, &length, &frame)) == 1) {
            greeted |= frame.header.msg_type == msg_type;
            take_other(vm, &frame);
        }
        if (ret < 0 || vm->wrong) {
            return -EPROTO;
        }
        if (greeted) {
            return 0;
        }
    }
}

static int greet(struct vm *vm, int timeout_ms)
{
    VGPUHello hello = {.version = VGPU_PROTOCOL_VERSION, .features = VGPU_FEATURES_KNOWN};
    VGPUSocketHeader header = vm->header;
    bool with_hello = vm->options->hello;

    header.msg_type = with_hello ? VGPU_MSG_HELLO : VGPU_MSG_PING;
    header.request_id = 0;
    header.payload_len = with_hello ? sizeof(hello) : 0;
    put_frame(vm, &header, &hello);
    if (!flush(vm)) {
        return -ECONNRESET;
    }
    return await_greeting(vm, with_hello ? VGPU_MSG_HELLO : VGPU_MSG_PONG, timeout_ms);
}

int vm_connect(struct vm *vm, int timeout_ms)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct timeval timeout = {.tv_sec = timeout_ms / 1000, .tv_usec = timeout_ms % 1000 * 1000};
    char buffer[LOADGEN_PATH_BYTES];
    const char *path = loadgen_socket_path(vm->options, vm->vm_id, buffer);
    int ret;

    if (!path) {
        return -ENAMETOOLONG;
    }
    memcpy(address.sun_path, path, strlen(path) + 1);
    vm->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (vm->fd < 0) {
        return -errno;
    }
    /* A full backlog makes connect() wait. */
    setsockopt(vm->fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
    frame_reader_init(&vm->reader);
    ret = connect(vm->fd, (const struct sockaddr *)&address, sizeof(address)) < 0
              ? -errno
              : greet(vm, timeout_ms);
    if (ret < 0) {
        close(vm->fd);
        vm->fd = -1;
        vm->out_begin = vm->out_end = 0;
    }
    return ret;
}
