/* SPDX-License-Identifier: GPL-2.0-or-later */
/* xen_identity against a stand-in for xenstored that says what each test wants. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "common/xenstore.h"
#include "mediator/identity/xen_identity.h"

#define UUID_TEXT "01234567-89ab-cdef-0123-456789abcdef"
#define PID 4711
#define PID_PATH "/local/domain/7/image/device-model-pid"
#define VM_PATH "/local/domain/7/vm"
#define NAME_PATH "/local/domain/7/name"

struct answer {
    const char *path; /* the one that is expected */
    uint32_t type;
    const char *body;
    uint32_t length;       /* 0: that of body */
    uint32_t id_offset;    /* another request's answer comes first */
    bool hang_up, silence; /* instead of an answer */
};

struct store {
    char folder[64], path[96];
    int listener;
    pthread_t thread;
    const struct answer *answers;
    unsigned count;
    unsigned asked;
    unsigned wrong; /* questions that were not the expected ones */
};

static void say(int fd, const uint32_t question[4], const struct answer *answer, uint32_t offset)
{
    uint32_t bytes = (uint32_t)strlen(answer->body) + (answer->type == 16); /* errors: and a NUL */
    uint32_t length = answer->length ? answer->length : bytes;
    uint32_t header[4] = {answer->type, question[1] + offset, question[2], length};

    /* In two pieces, as a stream may come. */
    if (write(fd, header, 7) != 7 || write(fd, (char *)header + 7, 9) != 9 ||
        write(fd, answer->body, bytes) < 0) {
        return; /* the other side has hung up */
    }
}

static void *serve(void *opaque)
{
    struct store *store = opaque;
    int fd = accept(store->listener, NULL, NULL);

    for (unsigned i = 0; fd >= 0 && i < store->count; i++) {
        const struct answer *answer = &store->answers[i];
        uint32_t question[4];
        char path[128] = "";

        if (read(fd, question, sizeof(question)) != sizeof(question)) {
            break;
        }
        store->asked++;
        store->wrong += question[3] >= sizeof(path) ||
                        read(fd, path, question[3]) != (ssize_t)question[3] || question[0] != 2 ||
                        question[2] != 0 || strcmp(path, answer->path) != 0;
        if (answer->silence) {
            char byte;

            if (read(fd, &byte, 1) != 0) { /* until the other side gives up */
                store->wrong++;
            }
        }
        if (answer->silence || answer->hang_up) {
            break;
        }
        if (answer->id_offset) {
            say(fd, question, &(struct answer){.type = 2, .body = "/vm/other"}, answer->id_offset);
        }
        say(fd, question, answer, 0);
    }
    close(fd);
    return NULL;
}

static void store_start(struct store *store, const struct answer *answers, unsigned count)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    memset(store, 0, sizeof(*store));
    strcpy(store->folder, "/tmp/vgpu-xs-XXXXXX");
    assert_non_null(mkdtemp(store->folder));
    snprintf(store->path, sizeof(store->path), "%s/socket", store->folder);
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", store->path);
    store->listener = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(store->listener, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(store->listener, 1), 0);
    store->answers = answers;
    store->count = count;
    assert_int_equal(pthread_create(&store->thread, NULL, serve, store), 0);
    setenv("XENSTORED_PATH", store->path, 1);
}

static void store_stop(struct store *store)
{
    pthread_join(store->thread, NULL);
    close(store->listener);
    unlink(store->path);
    rmdir(store->folder);
    assert_int_equal(store->wrong, 0);
    assert_int_equal(store->asked, store->count);
}

#define PID_ANSWER                                                                                 \
    {                                                                                              \
        .path = PID_PATH, .type = 2, .body = "4711"                                                \
    }
#define VM_ANSWER                                                                                  \
    {                                                                                              \
        .path = VM_PATH, .type = 2, .body = "/vm/" UUID_TEXT                                       \
    }

/* Asks for domain 7; the last of the answers is what makes it fail. */
static int ask(const struct answer *answers, unsigned count)
{
    uint8_t uuid[UUID_BYTES] = {0xEE};
    char name[16] = "as before";
    struct store store;
    int ret;

    store_start(&store, answers, count);
    ret = xenstore_read_domain(7, PID, uuid, name, sizeof(name));
    store_stop(&store);
    if (ret < 0) {
        assert_int_equal(uuid[0], 0xEE);
        assert_string_equal(name, "as before");
    }
    return ret;
}

static int ask_pid(const char *body)
{
    return ask(&(struct answer){.path = PID_PATH, .type = 2, .body = body}, 1);
}

/* The pid is right, and this is what is said about the VM. */
static int ask_vm(struct answer answer)
{
    answer.path = VM_PATH;
    return ask((struct answer[]){PID_ANSWER, answer}, 2);
}

static void check_found(struct answer vm, struct answer name_answer, const char *want_name)
{
    const struct answer answers[] = {PID_ANSWER, vm, name_answer, PID_ANSWER};
    char name[16], text[UUID_TEXT_BYTES];
    uint8_t uuid[UUID_BYTES];
    struct store store;

    store_start(&store, answers, 4);
    assert_int_equal(xenstore_read_domain(7, PID, uuid, name, sizeof(name)), 0);
    store_stop(&store);
    uuid_format(uuid, text);
    assert_string_equal(text, UUID_TEXT);
    assert_string_equal(name, want_name);
}

static void test_found(void **state)
{
    const struct answer vm = VM_ANSWER;
    struct answer late_answer = vm;

    check_found(vm, (struct answer){.path = NAME_PATH, .type = 2, .body = "web server"},
                "web server");
    check_found(vm, (struct answer){.path = NAME_PATH, .type = 16, .body = "ENOENT"}, "");
    check_found(vm, (struct answer){.path = NAME_PATH, .type = 2, .body = "sixteen letters!"}, "");
    late_answer.id_offset = 100;
    check_found(late_answer, (struct answer){.path = NAME_PATH, .type = 2, .body = "n"}, "n");
}

static void test_another_process(void **state)
{
    assert_int_equal(ask_pid("4712"), -EPERM);
    assert_int_equal(ask_pid("471"), -EPERM);
    assert_int_equal(ask_pid("2147483647"), -EPERM);
}

static void test_no_number(void **state)
{
    static const char *const bodies[] = {
        "",
        "x",
        "4711x",
        "4711 4711",
        " 4711",
        "+4711",
        "-4711",
        "4711 ",
        "4711\n",
        "0x1267",
        "4711.0",
        "0",
        "2147483648",
        "4294972007" /* 2^32 + 4711 */,
        "18446744073709556327",
        "00000004711",
    };
    static char huge[4097];

    for (unsigned i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
        assert_int_equal(ask_pid(bodies[i]), -EPROTO);
    }
    memset(huge, '4', 4096);
    assert_int_equal(ask_pid(huge), -EPROTO);
}

/* The domain goes while it is asked about, and its number to another, whose VM is that. */
static void test_gone_in_between(void **state)
{
    static const struct answer name = {.path = NAME_PATH, .type = 2, .body = "n"};
    static const struct answer another = {.path = PID_PATH, .type = 2, .body = "815"};
    static const struct answer none = {.path = PID_PATH, .type = 16, .body = "ENOENT"};

    assert_int_equal(ask((struct answer[]){PID_ANSWER, VM_ANSWER, name, another}, 4), -EPERM);
    assert_int_equal(ask((struct answer[]){PID_ANSWER, VM_ANSWER, name, none}, 4), -ENOENT);
    assert_int_equal(ask_vm((struct answer){.type = 16, .body = "ENOENT"}), -ENOENT);
}

static void test_refused(void **state)
{
    assert_int_equal(ask(&(struct answer){.path = PID_PATH, .type = 16, .body = "ENOENT"}, 1),
                     -ENOENT);
    assert_int_equal(ask(&(struct answer){.path = PID_PATH, .type = 16, .body = "EACCES"}, 1),
                     -EACCES);
    assert_int_equal(ask_vm((struct answer){.type = 16, .body = "ESOMETHING"}), -EPROTO);
}

static void test_nonsense(void **state)
{
    assert_int_equal(ask_vm((struct answer){.type = 2, .body = "/vm/" UUID_TEXT "-1"}), -EPROTO);
    assert_int_equal(ask_vm((struct answer){.type = 2, .body = "/vm/01234567"}), -EPROTO);
    assert_int_equal(ask_vm((struct answer){.type = 2, .body = "x"}), -EPROTO);
    assert_int_equal(ask_vm((struct answer){.type = 3, .body = "/vm/" UUID_TEXT}), -EPROTO);
    assert_int_equal(ask_vm((struct answer){.type = 2, .body = "x", .length = 4097}), -EPROTO);
    assert_int_equal(ask_vm((struct answer){.type = 2, .body = "x", .length = UINT32_MAX}),
                     -EPROTO);
    assert_int_equal(ask_vm((struct answer){.hang_up = true}), -ECONNRESET);
}

static void test_silent(void **state)
{
    assert_int_equal(ask(&(struct answer){.path = PID_PATH, .silence = true}, 1), -ETIMEDOUT);
    assert_int_equal(ask_vm((struct answer){.silence = true}), -ETIMEDOUT);
    /* Less than it announced. */
    assert_int_equal(ask_vm((struct answer){.type = 2, .body = "/vm/", .length = 40}), -ECONNRESET);
}

/* Somebody says that there is a XenStore: that nobody listens opens no door. */
static void test_nobody_there(void **state)
{
    uint8_t uuid[UUID_BYTES];
    struct store store;
    char name[16];

    setenv("XENSTORED_PATH", "/nonexistent/vgpu/socket", 1);
    assert_int_equal(xenstore_read_domain(7, PID, uuid, name, sizeof(name)), -ECONNREFUSED);
    store_start(&store, NULL, 0);
    assert_int_equal(xenstore_read_domain(XENSTORE_DOMID_LAST + 1, PID, uuid, name, sizeof(name)),
                     -ENOENT);
    store_stop(&store);
}

static void check_not_served(struct process process)
{
    const struct process before = process;

    assert_true(xen_identity_apply(&process) < 0);
    assert_memory_equal(&process, &before, sizeof(before));
}

static void test_applied(void **state)
{
    static const struct answer usual[] = {
        PID_ANSWER, VM_ANSWER, {.path = NAME_PATH, .type = 2, .body = "in XenStore"}, PID_ANSWER};
    static const struct answer another = {.path = PID_PATH, .type = 2, .body = "815"};
    /* What the process says about itself does not count. */
    struct process claims, process;
    char text[UUID_TEXT_BYTES];
    struct store store;

    memset(&claims, 0, sizeof(claims)); /* the padding too */
    claims.pid = PID;
    claims.cmdline.has_uuid = true;
    claims.cmdline.uuid[0] = 0xEE;
    strcpy(claims.cmdline.name, "claimed");
    claims.cmdline.has_xen_domid = true;
    claims.cmdline.xen_domid = 7;
    claims.cmdline.stub_count = 1;
    claims.ours = true;

    process = claims;
    store_start(&store, usual, 4);
    assert_int_equal(xen_identity_apply(&process), 0);
    store_stop(&store);
    uuid_format(process.cmdline.uuid, text);
    assert_string_equal(text, UUID_TEXT);
    assert_string_equal(process.cmdline.name, "in XenStore");

    store_start(&store, &another, 1);
    check_not_served(claims);
    store_stop(&store);

    /* It names no domain: there is nothing to ask, and it is nobody. */
    process = claims;
    process.cmdline.has_xen_domid = false;
    store_start(&store, NULL, 0);
    check_not_served(process);
    store_stop(&store);
    setenv("XENSTORED_PATH", "/nonexistent/vgpu/socket", 1);
    check_not_served(process);
    check_not_served(claims);

    /* What is no QEMU of ours is not asked about. */
    process.ours = false;
    assert_int_equal(xen_identity_apply(&process), 0);
}

/* How many lines were logged. */
static unsigned lines_of(struct process process, const struct answer *answers, unsigned count)
{
    int saved = dup(STDERR_FILENO), ends[2];
    struct store store;
    unsigned lines = 0;
    char text[4096];
    ssize_t n;

    assert_int_equal(pipe(ends), 0);
    dup2(ends[1], STDERR_FILENO);
    close(ends[1]);
    store_start(&store, answers, count);
    assert_true(xen_identity_apply(&process) < 0);
    store_stop(&store);
    dup2(saved, STDERR_FILENO);
    close(saved);
    while ((n = read(ends[0], text, sizeof(text))) > 0) {
        for (ssize_t i = 0; i < n; i++) {
            lines += text[i] == '\n';
        }
    }
    close(ends[0]);
    return lines;
}

static uint64_t now_ticks(void)
{
    struct timespec now;

    clock_gettime(CLOCK_BOOTTIME, &now);
    return (uint64_t)now.tv_sec * (uint64_t)sysconf(_SC_CLK_TCK);
}

static void test_told_once(void **state)
{
    static const struct answer none = {.path = PID_PATH, .type = 16, .body = "ENOENT"};
    static const struct answer another = {.path = PID_PATH, .type = 2, .body = "815"};
    static const struct answer nonsense = {.path = PID_PATH, .type = 2, .body = "x"};
    struct process process = {
        .pid = 100, .ours = true, .cmdline = {.stub_count = 1, .has_xen_domid = true}};
    uint64_t late_ticks = XEN_IDENTITY_LATE_MS / 1000 * (uint64_t)sysconf(_SC_CLK_TCK);
    unsigned lines;

    process.cmdline.xen_domid = 7;
    assert_int_equal(lines_of(process, &none, 1), 1);
    assert_int_equal(lines_of(process, &none, 1), 0);
    assert_int_equal(lines_of(process, &another, 1), 1);
    assert_int_equal(lines_of(process, &another, 1), 0);
    process.stamp.start_ticks = 1; /* its number went to another */
    assert_int_equal(lines_of(process, &none, 1), 1);

    /* Of a new one the toolstack may not have written the pid yet: that is not worth a line. */
    do {
        process.pid++;
        process.stamp.start_ticks = now_ticks();
        lines = lines_of(process, &none, 1) + lines_of(process, &another, 1);
    } while (now_ticks() - process.stamp.start_ticks >= late_ticks / 2); /* a slow machine */
    assert_int_equal(lines, 0);
    assert_int_equal(lines_of(process, &nonsense, 1), 1);
    process.cmdline.has_xen_domid = false; /* nothing that comes late */
    assert_int_equal(lines_of(process, NULL, 0), 1);
}

static void test_told_with_bounds(void **state)
{
    static const struct answer none = {.path = PID_PATH, .type = 16, .body = "ENOENT"};
    struct process process = {.ours = true,
                              .cmdline = {.stub_count = 1, .has_xen_domid = true, .xen_domid = 7}};
    unsigned lines = 0;

    for (process.pid = 1000; process.pid < 1200; process.pid++) {
        lines += lines_of(process, &none, 1);
    }
    assert_true(lines > 0 && lines <= 64);
}

/* No Xen: then the toolstack's own words have to do. */
static void test_no_xen(void **state)
{
    struct process claims, process;
    uint8_t uuid[UUID_BYTES];
    char name[16];

    unsetenv("XENSTORED_PATH");
    if (access("/run/xenstored", F_OK) == 0 || access("/dev/xen", F_OK) == 0) {
        skip(); /* where this test runs, there is one */
    }
    assert_int_equal(xenstore_read_domain(7, PID, uuid, name, sizeof(name)), -ENODEV);
    memset(&claims, 0, sizeof(claims));
    claims.pid = PID;
    claims.cmdline.has_uuid = true;
    claims.cmdline.stub_count = 1;
    claims.ours = true;
    for (unsigned i = 0; i < 2; i++) {
        claims.cmdline.has_xen_domid = i == 1;
        process = claims;
        assert_int_equal(xen_identity_apply(&process), 0);
        assert_memory_equal(&process, &claims, sizeof(claims));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_found),     cmocka_unit_test(test_another_process),
        cmocka_unit_test(test_no_number), cmocka_unit_test(test_gone_in_between),
        cmocka_unit_test(test_refused),   cmocka_unit_test(test_nonsense),
        cmocka_unit_test(test_silent),    cmocka_unit_test(test_nobody_there),
        cmocka_unit_test(test_applied),   cmocka_unit_test(test_no_xen),
        cmocka_unit_test(test_told_once), cmocka_unit_test(test_told_with_bounds),
    };

    signal(SIGPIPE, SIG_IGN); /* as the mediator has it */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
