/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The worker's side of its socket: packets of any content.  Its own mediator never sends
 * such, but a worker that could be corrupted through one would be no boundary.
 *
 * Input: packets, each one byte of kind, two of length, then its content.  Kinds: raw bytes;
 * a RUN whose header is right; QUIT.  The backend is one that checks what it is
 * given and answers, waits or fails as the job's first word says.
 */
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/log.h"
#include "common/request.h"
#include "common/unused.h"
#include "fuzz.h"
#include "worker/executor.h"

#define PACKETS_MAX 24u
#define DEPTH 3u

struct backend {
    bool running[WORKER_DEPTH_MAX];
    unsigned polls[WORKER_DEPTH_MAX]; /* still to be answered with RUNNING */
};

static void describe(UNUSED const struct backend *backend, vgpu_worker_ready *ready)
{
    memset(ready, 0, sizeof(*ready));
    strcpy(ready->gpu_uuid, "CPU-0");
    strcpy(ready->name, "fuzz");
}

static uint32_t first_word(const struct backend_job *job)
{
    uint32_t word = 0;

    if (job->param_count > 0) {
        word = job->params[0];
    } else if (job->data_length >= 4) {
        memcpy(&word, job->data, 4);
    }
    return word;
}

static enum backend_state submit(struct backend *backend, unsigned slot,
                                 const struct backend_job *job, struct backend_result *result)
{
    uint32_t word = first_word(job);

    CHECK(slot < WORKER_DEPTH_MAX && !backend->running[slot]);
    CHECK(request_check_op(job->opcode, job->param_count, job->data_length, true) == VGPU_ERR_NONE);
    CHECK(job->opcode != VGPU_OP_GET_DEVICE_INFO && job->opcode != VGPU_OP_TEST_FAIL);
    CHECK(job->opcode != VGPU_OP_TEST_SPIN || word <= VGPU_TEST_SPIN_MAX_US);
    if (job->data_length > 0) {
        memcpy(result->body, job->data, job->data_length / 2);
        result->data_length = job->data_length / 2;
    }
    switch (word % 5) {
    case 0: return BACKEND_LOST;
    case 1:
        backend->running[slot] = true;
        backend->polls[slot] = word / 5 % 3;
        return BACKEND_RUNNING;
    default: return BACKEND_DONE;
    }
}

static enum backend_state poll_job(struct backend *backend, unsigned slot,
                                   UNUSED struct backend_result *result)
{
    CHECK(slot < WORKER_DEPTH_MAX && backend->running[slot]);
    if (backend->polls[slot] > 0) {
        backend->polls[slot]--;
        return BACKEND_RUNNING;
    }
    backend->running[slot] = false;
    return BACKEND_DONE;
}

static void send_packet(int fd, struct supply *s, uint64_t job_id)
{
    static uint8_t packet[VGPU_WORKER_FRAME_MAX + 64];
    uint8_t kind = supply_byte(s);
    size_t want = (size_t)supply_byte(s) | (size_t)supply_byte(s) << 8, got;
    vgpu_worker_header header = {
        .magic = VGPU_WORKER_MAGIC,
        .version = VGPU_WORKER_VERSION,
        .job_id = job_id,
    };
    const uint8_t *bytes = supply_bytes(s, want % (sizeof(packet) - sizeof(header)), &got);

    if (kind % 4 == 0) {
        /* An empty packet reads like the socket's end. */
        if (got > 0) {
            (void)!send(fd, bytes, got, MSG_DONTWAIT | MSG_NOSIGNAL);
        }
        return;
    }
    header.type = kind % 4 == 1 ? VGPU_WORKER_QUIT : VGPU_WORKER_RUN;
    header.length = (uint32_t)(sizeof(header) + got);
    memcpy(packet, &header, sizeof(header));
    if (got > 0) {
        memcpy(packet + sizeof(header), bytes, got);
    }
    (void)!send(fd, packet, sizeof(header) + got, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* Of frames that are not answers of jobs. */
static bool comes_from_a_worker(uint16_t type)
{
    static const uint16_t types[] = {
        VGPU_WORKER_READY, /* again, to ADOPT */
        VGPU_WORKER_CHANNEL_OPENED, VGPU_WORKER_CHANNEL_CLOSED, VGPU_WORKER_WANT,
        VGPU_WORKER_CHUNK_ADDED,    VGPU_WORKER_CHUNK_REMOVED,  VGPU_WORKER_ASK,
        VGPU_WORKER_HELD,           VGPU_WORKER_HELD_CHUNK,
    };

    for (unsigned i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        if (type == types[i]) {
            return true;
        }
    }
    return false;
}

/* Each frame is well-formed, READY first, job ids in the order of the jobs. */
static void check_answers(int fd)
{
    static uint8_t packet[VGPU_WORKER_FRAME_MAX + 1];
    uint64_t last = 0;
    bool first = true;
    ssize_t n;

    while ((n = recv(fd, packet, sizeof(packet), MSG_DONTWAIT)) > 0) {
        vgpu_worker_header header;
        vgpu_worker_done done;

        CHECK((size_t)n >= sizeof(header) && (size_t)n <= VGPU_WORKER_FRAME_MAX);
        memcpy(&header, packet, sizeof(header));
        CHECK(header.magic == VGPU_WORKER_MAGIC && header.length == (size_t)n);
        CHECK(!first || header.type == VGPU_WORKER_READY);
        CHECK(header.type == VGPU_WORKER_DONE || comes_from_a_worker(header.type));
        if (header.type == VGPU_WORKER_DONE) {
            memcpy(&done, packet + sizeof(header), sizeof(done));
            CHECK((size_t)n ==
                  sizeof(header) + sizeof(done) + done.result_count * 4u + done.data_length);
            CHECK(done.status < VGPU_ERR_COUNT && header.job_id > last);
            last = header.job_id;
        }
        first = false;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct backend_ops ops = {
        .name = "fuzz", .describe = describe, .submit = submit, .poll = poll_job};
    struct supply supply = {data, size};
    struct backend backend = {0};
    struct executor_config config = {
        .depth = DEPTH, .test_ops = true, .ops = &ops, .has_driver = true, .backend = &backend};
    enum vgpu_worker_exit status;
    bool in_flight;
    int pair[2];

    log_init("fuzz", LOG_LEVEL_ERROR - 1, false);
    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) == 0);
    for (uint64_t i = 1; supply.size > 0 && i <= PACKETS_MAX; i++) {
        send_packet(pair[0], &supply, i);
    }
    CHECK(shutdown(pair[0], SHUT_WR) == 0);
    config.fd = pair[1];
    status = executor_run(&config, &in_flight);
    CHECK(status == VGPU_WORKER_EXIT_OK || status == VGPU_WORKER_EXIT_PROTOCOL ||
          status == VGPU_WORKER_EXIT_GPU_FAULT);
    check_answers(pair[0]);
    close(pair[0]);
    close(pair[1]);
    return 0;
}
