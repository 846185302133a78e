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
#include <unistd.h>
#include <cmocka.h>

#include "mediator/xen_identity.h"

#define UUID_TEXT "01234567-89ab-cdef-0123-456789abcdef"

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
}

/* Asks for domain 7 with one answer to the first question. */
static int ask(const struct answer *answer)
{
    uint8_t uuid[UUID_BYTES] = {0xEE};
    char name[16] = "as before";
    struct store store;
    int ret;

    store_start(&store, answer, 1);
    ret = xen_identity_read(7, uuid, name, sizeof(name));
    store_stop(&store);
    if (ret < 0) {
        assert_int_equal(uuid[0], 0xEE);
        assert_string_equal(name, "as before");
    }
    return ret;
}

static void check_found(const struct answer *answers, const char *want_name)
{
    char name[16], text[UUID_TEXT_BYTES];
    uint8_t uuid[UUID_BYTES];
    struct store store;

    store_start(&store, answers, 2);
    assert_int_equal(xen_identity_read(7, uuid, name, sizeof(name)), 0);
    store_stop(&store);
    uuid_format(uuid, text);
    assert_string_equal(text, UUID_TEXT);
    assert_string_equal(name, want_name);
}

static void test_found(void **state)
{
    static const struct answer usual[] = {
        {.path = "/local/domain/7/vm", .type = 2, .body = "/vm/" UUID_TEXT},
        {.path = "/local/domain/7/name", .type = 2, .body = "web server"}};
    static const struct answer nameless[] = {
        {.path = "/local/domain/7/vm", .type = 2, .body = "/vm/" UUID_TEXT},
        {.path = "/local/domain/7/name", .type = 16, .body = "ENOENT"}};
    static const struct answer long_name[] = {
        {.path = "/local/domain/7/vm", .type = 2, .body = "/vm/" UUID_TEXT},
        {.path = "/local/domain/7/name", .type = 2, .body = "sixteen letters!"}};
    static const struct answer late_answer[] = {
        {.path = "/local/domain/7/vm", .type = 2, .body = "/vm/" UUID_TEXT, .id_offset = 100},
        {.path = "/local/domain/7/name", .type = 2, .body = "n"}};

    check_found(usual, "web server");
    check_found(nameless, "");
    check_found(long_name, "");
    check_found(late_answer, "n");
}

static void test_refused(void **state)
{
    static const char path[] = "/local/domain/7/vm";

    assert_int_equal(ask(&(struct answer){.path = path, .type = 16, .body = "ENOENT"}), -ENOENT);
    assert_int_equal(ask(&(struct answer){.path = path, .type = 16, .body = "EACCES"}), -EACCES);
    assert_int_equal(ask(&(struct answer){.path = path, .type = 16, .body = "ESOMETHING"}),
                     -EPROTO);
}

static void test_nonsense(void **state)
{
    static const char path[] = "/local/domain/7/vm";

    assert_int_equal(ask(&(struct answer){.path = path, .type = 2, .body = "/vm/" UUID_TEXT "-1"}),
                     -EPROTO);
    assert_int_equal(ask(&(struct answer){.path = path, .type = 2, .body = "/vm/01234567"}),
                     -EPROTO);
    assert_int_equal(ask(&(struct answer){.path = path, .type = 2, .body = "x"}), -EPROTO);
    assert_int_equal(ask(&(struct answer){.path = path, .type = 3, .body = "/vm/" UUID_TEXT}),
                     -EPROTO);
    assert_int_equal(ask(&(struct answer){.path = path, .type = 2, .body = "x", .length = 4097}),
                     -EPROTO);
    assert_int_equal(
        ask(&(struct answer){.path = path, .type = 2, .body = "x", .length = UINT32_MAX}), -EPROTO);
    assert_int_equal(ask(&(struct answer){.path = path, .hang_up = true}), -ECONNRESET);
}

static void test_silent(void **state)
{
    static const char path[] = "/local/domain/7/vm";

    assert_int_equal(ask(&(struct answer){.path = path, .silence = true}), -ETIMEDOUT);
    /* Less than it announced. */
    assert_int_equal(ask(&(struct answer){.path = path, .type = 2, .body = "/vm/", .length = 40}),
                     -ECONNRESET);
}

static void test_nobody_there(void **state)
{
    uint8_t uuid[UUID_BYTES];
    char name[16];

    setenv("XENSTORED_PATH", "/nonexistent/vgpu/socket", 1);
    assert_int_equal(xen_identity_read(7, uuid, name, sizeof(name)), -ENODEV);
    assert_int_equal(xen_identity_read(XEN_DOMID_LAST + 1, uuid, name, sizeof(name)), -ENOENT);
}

static void test_applied(void **state)
{
    static const struct answer usual[] = {
        {.path = "/local/domain/7/vm", .type = 2, .body = "/vm/" UUID_TEXT},
        {.path = "/local/domain/7/name", .type = 2, .body = "in XenStore"}};
    static const struct answer unknown = {
        .path = "/local/domain/7/vm", .type = 16, .body = "ENOENT"};
    /* What the process says about itself does not count. */
    struct qemu_cmdline claims = {.has_uuid = true,
                                  .uuid = {0xEE},
                                  .name = "claimed",
                                  .has_xen_domid = true,
                                  .xen_domid = 7,
                                  .stub_count = 1};
    struct qemu_cmdline cmdline = claims;
    char text[UUID_TEXT_BYTES];
    struct store store;

    store_start(&store, usual, 2);
    assert_int_equal(xen_identity_apply(&cmdline), 0);
    store_stop(&store);
    uuid_format(cmdline.uuid, text);
    assert_string_equal(text, UUID_TEXT);
    assert_string_equal(cmdline.name, "in XenStore");

    cmdline = claims;
    store_start(&store, &unknown, 1);
    assert_int_equal(xen_identity_apply(&cmdline), -ENOENT);
    store_stop(&store);

    /* No XenStore on this host: then the toolstack's own words have to do. */
    setenv("XENSTORED_PATH", "/nonexistent/vgpu/socket", 1);
    cmdline = claims;
    assert_int_equal(xen_identity_apply(&cmdline), 0);
    assert_memory_equal(&cmdline, &claims, sizeof(claims));
    cmdline.has_xen_domid = false;
    assert_int_equal(xen_identity_apply(&cmdline), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_found),        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_nonsense),     cmocka_unit_test(test_silent),
        cmocka_unit_test(test_nobody_there), cmocka_unit_test(test_applied),
    };

    signal(SIGPIPE, SIG_IGN); /* as the mediator has it */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
