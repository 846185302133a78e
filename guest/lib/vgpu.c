/* SPDX-License-Identifier: BSD-3-Clause */
/* Opening, closing, and the one place where refused requests are tried again. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "channel.h"

/* Of the user whose mediator this host's is: docs/packages.md. */
#define MEDIATORS_FOLDER "/run/vgpu"

/* Why this thread's last vgpu_open() failed, when there is no handle to ask. */
static __thread uint32_t open_error_code;
static __thread char open_error_text[VGPU_TEXT_BYTES];

static uint64_t system_now_ns(void *opaque)
{
    struct timespec now;

    (void)opaque;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static void system_sleep_ns(void *opaque, uint64_t duration_ns)
{
    struct timespec rest = {
        .tv_sec = (time_t)(duration_ns / NS_PER_S),
        .tv_nsec = (long)(duration_ns % NS_PER_S),
    };

    (void)opaque;
    while (nanosleep(&rest, &rest) < 0 && errno == EINTR) {
    }
}

const struct vgpu_clock vgpu_system_clock = {
    .now_ns = system_now_ns,
    .sleep_ns = system_sleep_ns,
};

void vgpu_options_init(struct vgpu_options *options)
{
    memset(options, 0, sizeof(*options));
    options->struct_bytes = sizeof(*options);
    options->retries = VGPU_DEFAULT_RETRIES;
    options->retry_first_ms = VGPU_DEFAULT_RETRY_FIRST_MS;
    options->retry_max_ms = VGPU_DEFAULT_RETRY_MAX_MS;
    options->timeout_ms = VGPU_DEFAULT_TIMEOUT_MS;
    options->vm_id = 1;
    options->pool_id = VGPU_POOL_FIRST;
    options->priority = VGPU_PRIORITY_MEDIUM;
}

/* Nobody but root has put it there: whoever's it is. */
static bool is_in_folder_of_root(const char *path)
{
    char folder[VGPU_PATH_BYTES];
    const char *slash = strrchr(path, '/');
    struct stat about;

    if (!slash || slash == path || (size_t)(slash - path) >= sizeof(folder)) {
        return false;
    }
    memcpy(folder, path, (size_t)(slash - path));
    folder[slash - path] = '\0';
    return stat(folder, &about) == 0 && about.st_uid == 0 && (about.st_mode & 0022) == 0;
}

bool vgpu_socket_is_trusted(const char *path, const char *mediators_folder)
{
    struct stat about, folder;

    if (stat(path, &about) < 0 || !S_ISSOCK(about.st_mode)) {
        return false;
    }
    return about.st_uid == 0 || about.st_uid == geteuid() ||
           (stat(mediators_folder, &folder) == 0 && S_ISDIR(folder.st_mode) &&
            folder.st_uid == about.st_uid) ||
           is_in_folder_of_root(path);
}

static bool is_trusted(const char *path)
{
    return vgpu_socket_is_trusted(path, MEDIATORS_FOLDER);
}

static uint32_t open_pci(struct vgpu *v)
{
    return vgpu_pci_open(v, NULL);
}

static uint32_t open_dev(struct vgpu *v)
{
    return vgpu_dev_open(v, NULL);
}

static uint32_t open_sock(struct vgpu *v)
{
    return is_trusted(VGPU_SOCKET_PATH) ? vgpu_sock_open(v, VGPU_SOCKET_PATH) : VGPU_ERR_NO_DEVICE;
}

static uint32_t open_host(struct vgpu *v)
{
    return is_trusted(VGPU_HOST_SOCKET_PATH) ? vgpu_host_open(v, VGPU_HOST_SOCKET_PATH)
                                             : VGPU_ERR_NO_DEVICE;
}

/* The best that there is.  If none works, the error is of one that is there and refuses. */
static uint32_t open_best(struct vgpu *v)
{
    static uint32_t (*const all[])(struct vgpu *) = {open_dev, open_pci, open_sock, open_host};
    static uint32_t (*const channels[])(struct vgpu *) = {open_dev, open_host};
    uint32_t (*const *ways)(struct vgpu *) = v->wish ? channels : all;
    size_t count = v->wish ? sizeof(channels) / sizeof(channels[0]) : sizeof(all) / sizeof(all[0]);
    uint32_t said = VGPU_ERR_NO_DEVICE;
    char text[VGPU_TEXT_BYTES] = "";

    /* Whoever names a sysfs means a device there. */
    if (strcmp(vgpu_sysfs_root(v->options.sysfs_root), "/sys") != 0) {
        return open_pci(v);
    }
    for (size_t i = 0; i < count; i++) {
        uint32_t code = ways[i](v);

        if (code == VGPU_ERR_NONE) {
            v->error_code = VGPU_ERR_NONE;
            return code;
        }
        /* That there is no device at all, pci says best; where a channel is wanted, dev. */
        if (said == VGPU_ERR_NO_DEVICE &&
            (code != said || ways[i] == (v->wish ? open_dev : open_pci))) {
            said = code;
            memcpy(text, v->error_text, sizeof(text));
        }
    }
    return vgpu_set_error(v, said, "%s", text);
}

static uint32_t open_checked(struct vgpu *v, const char *spec, const struct vgpu_options *options)
{
    vgpu_options_init(&v->options);
    if (options) {
        if (options->struct_bytes != sizeof(*options)) {
            return vgpu_set_error(v, VGPU_ERR_ARGUMENT,
                                  "the options were not filled by vgpu_options_init() of this "
                                  "version of libvgpu");
        }
        v->options = *options;
    }
    if (v->options.pool_id < VGPU_POOL_FIRST || v->options.pool_id > VGPU_POOL_LAST) {
        return vgpu_set_error(v, VGPU_ERR_ARGUMENT, "the pool must be a letter from A to Z");
    }
    if (v->options.priority > VGPU_PRIORITY_HIGH) {
        return vgpu_set_error(v, VGPU_ERR_ARGUMENT,
                              "the priority must be 0 (low), 1 (medium) or 2 (high)");
    }
    if (!spec || strcmp(spec, "auto") == 0) {
        return open_best(v);
    }
    if (strcmp(spec, "dev") == 0) {
        return open_dev(v);
    }
    if (strncmp(spec, "dev:", 4) == 0) {
        return vgpu_dev_open(v, spec + 4);
    }
    if (strcmp(spec, "pci") == 0) {
        return open_pci(v);
    }
    if (strncmp(spec, "pci:", 4) == 0) {
        return vgpu_pci_open(v, spec + 4);
    }
    if (strcmp(spec, "sock") == 0) {
        return vgpu_sock_open(v, VGPU_SOCKET_PATH);
    }
    if (strncmp(spec, "sock:", 5) == 0) {
        return vgpu_sock_open(v, spec + 5);
    }
    if (strncmp(spec, "host:", 5) == 0) {
        return vgpu_host_open(v, spec + 5);
    }
    return vgpu_set_error(v, VGPU_ERR_ARGUMENT,
                          "\"%.64s\" names no device; use auto, dev, dev:/dev/vgpu0, pci, "
                          "pci:0000:00:05.0, sock:/path or host:/path",
                          spec);
}

static int open_with(const char *spec, const struct vgpu_options *options,
                     const struct channel_wish *wish, struct vgpu **out)
{
    struct vgpu *v = calloc(1, sizeof(*v));
    uint32_t code;

    *out = NULL;
    if (!v) {
        open_error_code = VGPU_ERR_SYSTEM;
        snprintf(open_error_text, sizeof(open_error_text), "out of memory");
        return VGPU_FAILED;
    }
    v->wish = wish;
    v->clock = vgpu_system_clock;
    v->random = v->clock.now_ns(NULL) ^ ((uint64_t)getpid() << 40) ^ (uintptr_t)v;
    code = open_checked(v, spec, options);
    if (code == VGPU_ERR_NONE && wish && !vgpu_channel_of(v)) {
        code = v->error_code;
        v->transport->close(v);
    }
    if (code != VGPU_ERR_NONE) {
        open_error_code = code;
        memcpy(open_error_text, v->error_text, sizeof(open_error_text));
        free(v);
        return vgpu_result_of(code);
    }
    *out = v;
    return VGPU_OK;
}

int vgpu_open(const char *spec, const struct vgpu_options *options, struct vgpu **out)
{
    return open_with(spec, options, NULL, out);
}

int vgpu_open_channel(const char *spec, const struct channel_wish *wish, struct vgpu **out)
{
    struct vgpu_options options;

    vgpu_options_init(&options);
    options.vm_id = wish->vm_id;
    return open_with(spec, &options, wish, out);
}

void vgpu_close(struct vgpu *v)
{
    if (v) {
        v->transport->close(v);
        free(v);
    }
}

const char *vgpu_last_error(const struct vgpu *v)
{
    if (!v) {
        return open_error_text;
    }
    return v->error_code ? v->error_text : vgpu_strerror(VGPU_ERR_NONE);
}

uint32_t vgpu_error_code(const struct vgpu *v)
{
    return v ? v->error_code : open_error_code;
}

const char *vgpu_describe(const struct vgpu *v)
{
    return v->description;
}

uint32_t vgpu_exec_time_us(const struct vgpu *v)
{
    return v->exec_time_us;
}

const char *vgpu_version(void)
{
    return VGPU_VERSION;
}

void vgpu_get_stats(const struct vgpu *v, struct vgpu_stats *stats)
{
    memset(stats, 0, sizeof(*stats));
    stats->attempts = v->attempts;
    stats->retries = v->retries;
    v->transport->get_stats(v, stats);
}

int vgpu_read_registers(struct vgpu *v, uint32_t registers[VGPU_REGISTER_COUNT])
{
    v->error_code = VGPU_ERR_NONE;
    if (!v->transport->read_registers) {
        return vgpu_result_of(vgpu_set_error(v, VGPU_ERR_ARGUMENT,
                                             "%s: a socket has no registers; use a pci device",
                                             v->description));
    }
    return vgpu_result_of(v->transport->read_registers(v, registers));
}

uint64_t vgpu_backoff_ns(uint32_t attempt, uint32_t first_ms, uint32_t max_ms, uint64_t *random)
{
    uint64_t delay_ns = (uint64_t)first_ms * NS_PER_MS;
    uint64_t max_ns = (uint64_t)max_ms * NS_PER_MS;
    uint64_t jitter;

    while (attempt-- > 0 && delay_ns < max_ns) {
        delay_ns *= 2;
    }
    if (delay_ns > max_ns) {
        delay_ns = max_ns;
    }
    /* splitmix64 */
    *random += 0x9E3779B97F4A7C15u;
    jitter = *random;
    jitter = (jitter ^ (jitter >> 30)) * 0xBF58476D1CE4E5B9u;
    jitter = (jitter ^ (jitter >> 27)) * 0x94D049BB133111EBu;
    jitter ^= jitter >> 31;
    /* From 3/4 to 5/4 of the delay. */
    return delay_ns - delay_ns / 4 + jitter % (delay_ns / 2 + 1);
}

static uint32_t exchange_once(struct vgpu *v, const void *request, uint32_t request_bytes,
                              uint32_t *response_bytes, struct vgpu_answer *answer)
{
    uint64_t deadline_ns =
        v->clock.now_ns(v->clock.opaque) + (uint64_t)v->options.timeout_ms * NS_PER_MS;
    const char *fault;
    uint32_t code;

    v->attempts++;
    *response_bytes = 0;
    code =
        v->transport->exchange(v, request, request_bytes, v->response, response_bytes, deadline_ns);
    if (code != VGPU_ERR_NONE) {
        return code;
    }
    fault = vgpu_answer_parse(v->response, *response_bytes, answer);
    if (fault) {
        return vgpu_set_error(v, VGPU_ERR_BAD_RESPONSE,
                              "%s: the host's answer is not valid, %s; report it to the host's "
                              "administrator",
                              v->description, fault);
    }
    return answer->status == VGPU_ERR_NONE ? VGPU_ERR_NONE
                                           : vgpu_set_device_error(v, answer->status);
}

int vgpu_exchange(struct vgpu *v, const void *request, uint32_t request_bytes,
                  uint32_t *response_bytes, struct vgpu_answer *answer)
{
    uint32_t attempt, code;

    v->error_code = VGPU_ERR_NONE;
    for (attempt = 0;; attempt++) {
        code = exchange_once(v, request, request_bytes, response_bytes, answer);
        if (!vgpu_error_is_retryable(code) || attempt >= v->options.retries) {
            break;
        }
        v->clock.sleep_ns(v->clock.opaque, vgpu_backoff_ns(attempt, v->options.retry_first_ms,
                                                           v->options.retry_max_ms, &v->random));
        v->retries++;
        v->error_code = VGPU_ERR_NONE;
    }
    if (code == VGPU_ERR_NONE) {
        v->exec_time_us = answer->exec_time_us;
    }
    return vgpu_result_of(code);
}

int vgpu_submit(struct vgpu *v, const void *request, size_t request_bytes, void *response,
                size_t response_capacity, size_t *response_bytes)
{
    struct vgpu_answer answer;
    uint32_t bytes;
    int result;

    if (response_bytes) {
        *response_bytes = 0;
    }
    if (request_bytes == 0 || request_bytes > VGPU_REQUEST_BUFFER_BYTES) {
        return vgpu_result_of(vgpu_set_error(v, VGPU_ERR_ARGUMENT,
                                             "a request has 1 to %u bytes, this one %zu",
                                             VGPU_REQUEST_BUFFER_BYTES, request_bytes));
    }
    result = vgpu_exchange(v, request, (uint32_t)request_bytes, &bytes, &answer);
    if (result < 0) {
        return result;
    }
    if (bytes > response_capacity) {
        return vgpu_result_of(vgpu_set_error(v, VGPU_ERR_ARGUMENT,
                                             "the answer has %u bytes, the caller's buffer %zu; "
                                             "%u are always enough",
                                             (unsigned)bytes, response_capacity,
                                             VGPU_RESPONSE_BUFFER_BYTES));
    }
    memcpy(response, v->response, bytes);
    if (response_bytes) {
        *response_bytes = bytes;
    }
    return VGPU_OK;
}
