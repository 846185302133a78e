/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "mediator/workers/test_played_worker.h"

#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vgpu/vgpu_worker.h"

/* As many descriptors as a message can bring (SCM_MAX_FD). */
#define BROUGHT_FDS 253u

static void send_beside_fds(const void *bytes, size_t length)
{
    union {
        struct cmsghdr header; /* for its alignment */
        uint8_t bytes[CMSG_SPACE(BROUGHT_FDS * sizeof(int))];
    } control = {.bytes = {0}};
    struct iovec part = {(void *)bytes, length};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof(control.bytes)};
    int fds[BROUGHT_FDS];

    for (unsigned i = 0; i < BROUGHT_FDS; i++) {
        fds[i] = STDERR_FILENO;
    }
    control.header.cmsg_level = SOL_SOCKET;
    control.header.cmsg_type = SCM_RIGHTS;
    control.header.cmsg_len = CMSG_LEN(sizeof(fds));
    memcpy(CMSG_DATA(&control.header), fds, sizeof(fds));
    sendmsg(VGPU_WORKER_FD, &message, 0);
}

static bool brings_fds;

static void say(uint16_t type, uint64_t job_id, const void *body, size_t length)
{
    static uint8_t frame[4096];
    vgpu_worker_header header = {.magic = VGPU_WORKER_MAGIC,
                                 .version = VGPU_WORKER_VERSION,
                                 .type = type,
                                 .job_id = job_id,
                                 .length = (uint32_t)(sizeof(header) + length)};

    memcpy(frame, &header, sizeof(header));
    memcpy(frame + sizeof(header), body, length);
    if (brings_fds) {
        send_beside_fds(frame, header.length);
    } else {
        send(VGPU_WORKER_FD, frame, header.length, 0);
    }
}

static void say_ready(void)
{
    const vgpu_worker_ready ready = {.backend = VGPU_BACKEND_CPU, .gpu_uuid = "CPU-0"};

    say(VGPU_WORKER_READY, 0, &ready, sizeof(ready));
}

static void say_done(uint64_t job_id, uint32_t results, uint32_t data_length)
{
    const vgpu_worker_done done = {.result_count = results, .data_length = data_length};

    say(VGPU_WORKER_DONE, job_id, &done, sizeof(done));
}

/* A frame header of which one thing is wrong. */
static void say_wrong(enum character character)
{
    vgpu_worker_header header = {.magic = VGPU_WORKER_MAGIC,
                                 .version = VGPU_WORKER_VERSION,
                                 .type = VGPU_WORKER_READY,
                                 .length = sizeof(header)};

    header.magic += character == OTHER_MAGIC;
    header.version += character == OTHER_VERSION;
    header.length += character == OTHER_LENGTH;
    header.type = character == OTHER_TYPE ? 99 : header.type;
    send(VGPU_WORKER_FD, &header, character == SAYS_TOO_LITTLE ? 23 : sizeof(header), 0);
}

static void begin(enum character character, int argc, char **argv)
{
    static char huge[VGPU_WORKER_FRAME_MAX + 100];
    vgpu_worker_ready ready = {.gpu_uuid = "CPU-0"};

    switch (character) {
    case NEVER_READY: _exit(VGPU_WORKER_EXIT_BACKEND);
    case SAYS_TOO_LITTLE:
    case OTHER_MAGIC:
    case OTHER_VERSION:
    case OTHER_LENGTH:
    case OTHER_TYPE: say_wrong(character); break;
    case SAYS_NOTHING: send(VGPU_WORKER_FD, "", 0, 0); break;
    case SAYS_NOTHING_BESIDE_DESCRIPTORS:
        send_beside_fds("", 0);
        send_beside_fds("", 1);
        break;
    case BRINGS_DESCRIPTORS:
        say_ready();
        brings_fds = true;
        break;
    case SAYS_TOO_MUCH: {
        vgpu_worker_header header = {.magic = VGPU_WORKER_MAGIC,
                                     .version = VGPU_WORKER_VERSION,
                                     .type = VGPU_WORKER_READY,
                                     .length = sizeof(huge)};

        memcpy(huge, &header, sizeof(header));
        send(VGPU_WORKER_FD, huge, sizeof(huge), 0);
        break;
    }
    case READY_TOO_SHORT: say(VGPU_WORKER_READY, 0, &ready, sizeof(ready) - 1); break;
    case READY_WITHOUT_END_OF_NAME:
        memset(ready.name, 'x', sizeof(ready.name));
        say(VGPU_WORKER_READY, 0, &ready, sizeof(ready));
        break;
    case DONE_BEFORE_READY: say_done(1, 0, 0); break;
    case WANTS_ITS_ARGUMENTS: {
        static const char *const want[] = {
            "--backend", "cpu", "--gpu",          "CPU-0",   "--vm-id",          "25",
            "--depth",   NULL,  "--memory-limit", "1048576", "--enable-test-ops"};

        for (int i = 0; i < 11; i++) {
            if (argc != 12 || (want[i] && strcmp(argv[i + 1], want[i]) != 0)) {
                _exit(99);
            }
        }
        say_ready();
        break;
    }
    case CLOSES_ITS_SOCKET: close(VGPU_WORKER_FD); break;
    case IS_NOT_READY_YET: break;
    default: say_ready(); break;
    }
    if (character == READY_TWICE) {
        say_ready();
    }
}

static void do_job(enum character character, uint64_t job_id)
{
    const struct rlimit no_core = {0};

    switch (character) {
    case DONE_OF_ANOTHER_JOB: say_done(job_id + 1, 0, 0); break;
    case DONE_WITH_HUGE_COUNT: say_done(job_id, UINT32_MAX / 4 + 1, 0); break;
    case DONE_WITH_OTHER_LENGTH: say_done(job_id, 0, 4); break;
    case LEAVES_A_JOB: _exit(VGPU_WORKER_EXIT_GPU_FAULT);
    case CRASHES_WITH_A_JOB:
        setrlimit(RLIMIT_CORE, &no_core);
        signal(SIGSEGV, SIG_DFL);
        raise(SIGSEGV);
        break;
    case IS_KILLED_BY_THE_HOST: raise(SIGKILL); break;
    default: say_done(job_id, 0, 0); break;
    }
    if (character == DONE_TWICE) {
        say_done(job_id, 0, 0);
    }
    if (character == DONE_THEN_GONE) {
        _exit(VGPU_WORKER_EXIT_GPU_FAULT);
    }
}

int played_worker_main(int argc, char **argv)
{
    enum character character = GOOD;
    static uint8_t frame[4096];
    vgpu_worker_header header;

    for (int i = 1; i + 1 < argc; i++) {
        if (strcmp(argv[i], "--vm-id") == 0) {
            character = (enum character)(atoi(argv[i + 1]) % A_KIND);
        }
    }
    begin(character, argc, argv);
    while (character == READS_NOTHING || character == CLOSES_ITS_SOCKET ||
           character == IS_NOT_READY_YET) {
        pause();
    }
    while (recv(VGPU_WORKER_FD, frame, sizeof(frame), 0) >= (ssize_t)sizeof(header)) {
        memcpy(&header, frame, sizeof(header));
        if (header.type == VGPU_WORKER_RUN) {
            do_job(character, header.job_id);
        }
        while (header.type == VGPU_WORKER_QUIT && character == IS_DEAF_TO_QUIT) {
            pause();
        }
        if (header.type == VGPU_WORKER_QUIT) {
            return VGPU_WORKER_EXIT_OK;
        }
    }
    return VGPU_WORKER_EXIT_OK;
}
