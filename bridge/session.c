/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "bridge/session.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "bridge/request_file.h"
#include "bridge/request_text.h"
#include "common/log.h"
#include "common/ns.h"
#include "vgpu/vgpu.h"

/* Phase 2: 0 nothing yet, 1 done, 2 not done. */
#define DONE "1:"
#define FAILED "2:"
#define READY "0:Ready"
#define PLAIN_FAILED "not done: "
#define STACK_BYTES (256u * 1024)
#define CONNECT_AGAIN_MS 200
#define VECTOR_LENGTH 64u

struct session {
    uint32_t vm_id;
    int folder;
    const struct session_settings *settings;

    pthread_t thread;
    bool running; /* there is a thread */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool look, stop; /* under the lock */

    /* The thread's own. */
    struct vgpu *mediator; /* NULL: not connected */
    ino_t refused;         /* the file that was refused and can't be emptied; 0: none */
    char trouble[128];     /* what was logged last, so that each is said once */
};

static bool stopping(struct session *session)
{
    bool stop;

    pthread_mutex_lock(&session->lock);
    stop = session->stop;
    pthread_mutex_unlock(&session->lock);
    return stop;
}

/* A guest can bring about each of these at will: each is said once, until another comes. */
static void tell_trouble(struct session *session, const char *what, const char *why)
{
    char line[sizeof(session->trouble)];

    snprintf(line, sizeof(line), "%s: %s", what, why);
    if (strcmp(line, session->trouble) != 0) {
        strcpy(session->trouble, line);
        log_warning("VM %" PRIu32 ": %s", session->vm_id, line);
    }
}

static void answer(struct session *session, const char *status, const char *text)
{
    char line[RESPONSE_TEXT_MAX + 1];
    int ret;

    snprintf(line, sizeof(line), "%s%s", status, text);
    for (char *c = line; *c; c++) {
        if (*c < ' ' || *c > '~') {
            *c = ' '; /* one line of plain text, whatever an error's text held */
        }
    }
    ret = request_file_answer(session->folder, line);
    if (ret < 0) {
        tell_trouble(session, "its answer can't be written", strerror(-ret));
        return;
    }
    log_debug("[RESPONSE] VM %" PRIu32 ": %s", session->vm_id, line);
}

static void fail(struct session *session, const char *why)
{
    answer(session, session->settings->plain_sums ? PLAIN_FAILED : FAILED, why);
}

/* ---- the job ---- */

static bool connect_once(struct session *session, const struct request *request)
{
    struct vgpu_options options;
    char spec[sizeof("sock:") + 108];

    vgpu_options_init(&options);
    options.vm_id = session->vm_id;
    options.pool_id = (uint8_t)request->pool;
    options.priority = (uint8_t)request->priority;
    snprintf(spec, sizeof(spec), "sock:%s", session->settings->socket_path);
    return vgpu_open(spec, &options, &session->mediator) == VGPU_OK;
}

/* Nothing was asked yet, so asking again is safe: a mediator that restarts loses no request. */
static bool connect_patiently(struct session *session, const struct request *request)
{
    const struct timespec pause = {.tv_nsec = CONNECT_AGAIN_MS * (long)NS_PER_MS};

    for (int waited_ms = 0; !session->mediator; waited_ms += CONNECT_AGAIN_MS) {
        if (connect_once(session, request)) {
            return true;
        }
        tell_trouble(session, "no connection", vgpu_last_error(NULL));
        if (waited_ms >= SESSION_CONNECT_S * 1000 || stopping(session)) {
            return false;
        }
        nanosleep(&pause, NULL);
    }
    return true;
}

static void disconnect(struct session *session)
{
    vgpu_close(session->mediator);
    session->mediator = NULL;
}

static int add(struct session *session, const struct request *request)
{
    char text[sizeof(DONE) + 16];
    uint32_t sum;

    if (vgpu_add(session->mediator, (uint32_t)request->a, (uint32_t)request->b, &sum) != VGPU_OK) {
        return -1;
    }
    snprintf(text, sizeof(text), "%" PRId32, (int32_t)sum);
    answer(session, session->settings->plain_sums ? "" : DONE, text);
    return 0;
}

/* The request names no operands: as in Phase 2 the arrays are the host's, and are checked. */
static int vector_add(struct session *session, const struct request *request)
{
    int32_t a[VECTOR_LENGTH], b[VECTOR_LENGTH], c[VECTOR_LENGTH];
    char text[80];

    for (uint32_t i = 0; i < VECTOR_LENGTH; i++) {
        a[i] = (int32_t)i;
        b[i] = 2 * (int32_t)i;
    }
    if (vgpu_vector_add_i32(session->mediator, VECTOR_LENGTH, a, b, c) != VGPU_OK) {
        return -1;
    }
    for (uint32_t i = 0; i < VECTOR_LENGTH; i++) {
        if (c[i] != a[i] + b[i]) {
            fail(session, "the GPU's sum is wrong: tell the host's administrator");
            return 0;
        }
    }
    snprintf(text, sizeof(text),
             "Vector add completed on Pool %c (vm=%" PRIu32 ", prio=%" PRIu32 ")", request->pool,
             session->vm_id, request->priority);
    answer(session, DONE, text);
    return 0;
}

static void run(struct session *session, const struct request *request)
{
    int ret;

    if (!connect_patiently(session, request)) {
        fail(session, "the mediator can't be reached; try again");
        return;
    }
    ret = request->kind == REQUEST_SUM ? add(session, request) : vector_add(session, request);
    if (ret < 0) {
        fail(session, vgpu_last_error(session->mediator));
    } else {
        session->trouble[0] = '\0';
    }
}

/* ---- one request ---- */

static void handle_text(struct session *session, const struct request_file *file)
{
    struct request request;
    const char *wrong = request_parse(file->text, file->length, &request);
    char text[96];

    if (wrong) {
        fail(session, wrong);
        return;
    }
    if (request.vm_id != session->vm_id) {
        snprintf(text, sizeof(text),
                 "this folder is VM %" PRIu32 "'s, and the request says VM %" PRIu32,
                 session->vm_id, request.vm_id);
        fail(session, text);
        return;
    }
    log_debug("[PROCESS] VM %" PRIu32 ": %s", session->vm_id,
              request.kind == REQUEST_SUM ? "a sum" : "a vector addition");
    run(session, &request);
}

static void take_and_handle(struct session *session, const struct request_file *file)
{
    int ret = request_file_take(session->folder, file);

    if (ret == -EAGAIN) {
        return; /* it was written again; that is looked at next */
    }
    if (ret < 0) {
        tell_trouble(session, "its request can't be taken, so it is not run", strerror(-ret));
        return;
    }
    log_debug("[ENQUEUE] VM %" PRIu32 ": a request of %zu bytes", session->vm_id, file->length);
    handle_text(session, file);
}

static void refuse(struct session *session, const struct request_file *file)
{
    if (file->stat.st_ino != 0 && file->stat.st_ino == session->refused) {
        return;
    }
    /* A plain file is emptied; anything else stays, and is refused once. */
    if (request_file_take(session->folder, file) == -EAGAIN) {
        return;
    }
    session->refused = file->stat.st_ino;
    tell_trouble(session, "a request is refused", file->why);
    fail(session, file->why);
}

/* Until there is nothing to take any more. */
static void serve(struct session *session)
{
    const struct timespec settle = {.tv_nsec = SESSION_SETTLE_MS * (long)NS_PER_MS};
    struct request_file previous = {0}, file;

    while (!stopping(session)) {
        switch (request_file_read(session->folder, &previous, &file)) {
        case REQUEST_FILE_NONE: session->refused = 0; return;
        case REQUEST_FILE_WHOLE:
            session->refused = 0;
            take_and_handle(session, &file);
            break;
        case REQUEST_FILE_AGAIN:
            previous = file;
            nanosleep(&settle, NULL);
            break;
        case REQUEST_FILE_REFUSE: refuse(session, &file); return;
        case REQUEST_FILE_FAILED:
            tell_trouble(session, "its request can't be read", file.why);
            return;
        }
    }
}

/* ---- the thread ---- */

/* Waits for something to look at; false: it is to stop. */
static bool wait_for_look(struct session *session)
{
    struct timespec until;
    bool go_on;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += SESSION_IDLE_S;
    pthread_mutex_lock(&session->lock);
    while (!session->look && !session->stop) {
        if (!session->mediator) {
            pthread_cond_wait(&session->changed, &session->lock);
        } else if (pthread_cond_timedwait(&session->changed, &session->lock, &until) == ETIMEDOUT) {
            disconnect(session);
        }
    }
    session->look = false;
    go_on = !session->stop;
    pthread_mutex_unlock(&session->lock);
    return go_on;
}

static void *work(void *opaque)
{
    struct session *session = opaque;

    while (wait_for_look(session)) {
        serve(session);
    }
    disconnect(session);
    return NULL;
}

static void start_thread(struct session *session)
{
    pthread_attr_t attributes;
    int error;

    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    error = pthread_create(&session->thread, &attributes, work, session);
    pthread_attr_destroy(&attributes);
    session->running = error == 0;
    if (error) {
        log_error("VM %" PRIu32 ": no thread for its requests: %s; it is tried again",
                  session->vm_id, strerror(error));
    }
}

void session_look(struct session *session)
{
    if (!session->running) {
        start_thread(session);
    }
    pthread_mutex_lock(&session->lock);
    session->look = true;
    pthread_cond_signal(&session->changed);
    pthread_mutex_unlock(&session->lock);
}

/* ---- life ---- */

const char *session_ready_text(const struct session_settings *settings)
{
    return settings->plain_sums ? "" : READY;
}

struct session *session_new(uint32_t vm_id, int folder, const struct session_settings *settings)
{
    struct session *session = calloc(1, sizeof(*session));
    pthread_condattr_t attributes;

    if (!session) {
        close(folder);
        return NULL;
    }
    session->vm_id = vm_id;
    session->folder = folder;
    session->settings = settings;
    pthread_mutex_init(&session->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&session->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    return session;
}

static void stop_thread(struct session *session)
{
    pthread_mutex_lock(&session->lock);
    session->stop = true;
    pthread_cond_signal(&session->changed);
    pthread_mutex_unlock(&session->lock);
    pthread_join(session->thread, NULL);
}

void session_free(struct session *session)
{
    int ret;

    if (!session) {
        return;
    }
    if (session->running) {
        stop_thread(session);
    }
    ret = request_file_clear(session->folder);
    if (ret < 0 && ret != -ENOENT) {
        log_warning("VM %" PRIu32 ": its files can't be cleared: %s", session->vm_id,
                    strerror(-ret));
    }
    close(session->folder);
    pthread_cond_destroy(&session->changed);
    pthread_mutex_destroy(&session->lock);
    free(session);
}

uint32_t session_vm_id(const struct session *session)
{
    return session->vm_id;
}

int session_folder(const struct session *session)
{
    return session->folder;
}
