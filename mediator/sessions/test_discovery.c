/* SPDX-License-Identifier: GPL-2.0-or-later */
/* QEMUs in the test's own /proc, sockets in their roots, and who connects to shared ones. */
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "mediator/test_loop.h"

#include "core/no_effects.h"
#include "mediator/events.h"
#include "mediator/identity/identity.h"
#include "mediator/identity/test_proc.h"
#include "mediator/sessions/discovery.h"
#include "mediator/sessions/listeners.h"
#include "mediator/sessions/session_io.h"

#define PID 4711
#define UUID_2 "7f1d7b04-9d4e-4cc0-8c5b-0f4a6a1d0002"
#define OURS "/proc/self/ns/user"
#define QEMU(uuid)                                                                                 \
    "qemu|-uuid|" uuid "|-chardev|socket,id=c,path=/run/d.sock|-device|vgpu-stub,chardev=c|"

static uv_loop_t loop;
static struct core *core;
static struct events *events;
static struct session_io *sessions;
static struct identity_cache *identities;
static struct listeners *listeners;
static struct discovery *discovery;
static char root[96]; /* of the QEMUs */
static uint32_t notes;
static char last_note[EVENTS_TEXT_BYTES];

static void take_record(UNUSED void *opaque, const struct event_record *record)
{
    notes++;
    memcpy(last_note, record->text, sizeof(last_note));
}

static void close_session(UNUSED void *opaque, uint32_t session,
                          UNUSED enum core_close_reason reason)
{
    session_io_close(sessions, session);
}

static void make_root(void)
{
    char path[128];

    snprintf(root, sizeof(root), "%s/root", test_proc);
    assert_int_equal(mkdir(root, 0755), 0);
    snprintf(path, sizeof(path), "%s/run", root);
    assert_int_equal(mkdir(path, 0755), 0);
}

static int setup(void **state)
{
    struct core_effects effects = no_effects;
    struct core_config config;

    test_proc_begin();
    make_root();
    uv_loop_init(&loop);
    effects.close_session = close_session;
    core_config_defaults(&config);
    core = core_new(&config, &effects);
    events = events_new();
    events_set_core(events, core);
    events_subscribe(events, take_record, NULL);
    sessions = session_io_new(&loop, core, events);
    identities = identity_cache_new(&loop, test_proc);
    listeners = listeners_new(&(struct listeners_uses){&loop, events, sessions, identities, false});
    discovery = discovery_new(&(struct discovery_uses){&loop, listeners, identities, test_proc});
    assert_non_null(discovery);
    notes = 0;
    return 0;
}

static int teardown(void **state)
{
    discovery_stop(discovery);
    listeners_remove_all(listeners);
    session_io_close_all(sessions);
    session_io_flush(sessions);
    end_loop(&loop);
    discovery_free(discovery);
    listeners_free(listeners);
    identity_cache_free(identities);
    session_io_free(sessions);
    events_free(events);
    core_free(core);
    test_proc_remove(test_proc);
    return 0;
}

static bool socket_is_there(void)
{
    char path[128];

    snprintf(path, sizeof(path), "%s/run/d.sock", root);
    return access(path, F_OK) == 0;
}

static int connect_device(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    snprintf(address.sun_path, sizeof(address.sun_path), "%s/run/d.sock", root);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

static bool is_closed(int fd)
{
    char byte;

    return read(fd, &byte, 1) == 0;
}

static void test_a_qemu_gets_a_socket_in_its_root_and_loses_it_when_it_goes(void **state)
{
    const struct core_identity *identity;
    int fd;

    test_proc_add(PID, QEMU(TEST_PROC_UUID), root, OURS);
    assert_int_equal(discovery_start(discovery), 0);
    run_until(&loop, socket_is_there());
    assert_int_equal(discovery_count(discovery), 1);
    /* Whoever can connect there is that VM. */
    fd = connect_device();
    run_until(&loop, session_io_count(sessions) == 1);
    identity = core_session_identity(core, 0);
    assert_int_equal(identity->kind, CORE_IDENTITY_UUID);
    assert_int_equal(identity->uuid[0], 0x7f);
    test_proc_drop(PID);
    run_until(&loop, discovery_count(discovery) == 0);
    session_io_flush(sessions);
    assert_false(socket_is_there());
    assert_true(is_closed(fd));
    close(fd);
}

static void test_two_qemus_in_one_folder_share_its_socket(void **state)
{
    int fd;

    test_proc_add(PID, QEMU(TEST_PROC_UUID), root, OURS);
    test_proc_add(PID + 1, QEMU(UUID_2), root, OURS);
    assert_int_equal(discovery_start(discovery), 0);
    run_until(&loop, discovery_count(discovery) == 2);
    assert_true(socket_is_there());
    /* Now the process counts, and this one is no QEMU. */
    test_proc_add(getpid(), "test|", root, OURS);
    fd = connect_device();
    run_until(&loop, notes == 1);
    assert_non_null(strstr(last_note, "it is no QEMU with a vgpu-stub device"));
    assert_true(is_closed(fd));
    close(fd);
    /* One of them is enough to keep it. */
    test_proc_drop(PID);
    run_until(&loop, discovery_count(discovery) == 1);
    assert_true(socket_is_there());
}

static void test_who_may_pose_as_any_vm_gets_no_socket(void **state)
{
    /* A user namespace of its own, no name at all, and no stub. */
    test_proc_add(PID, QEMU(TEST_PROC_UUID), root, "/proc/self/ns/pid");
    test_proc_add(PID + 1,
                  "qemu|-chardev|socket,id=c,path=/run/d.sock|-device|vgpu-stub,chardev=c|", root,
                  OURS);
    test_proc_add(PID + 2, "qemu|-uuid|" UUID_2 "|-device|e1000|", root, OURS);
    assert_int_equal(discovery_start(discovery), 0);
    run_until(&loop, discovery_count(discovery) == 2);
    run_ready(&loop);
    assert_false(socket_is_there());
    assert_int_equal(discovery_left_out(discovery).count, 0);
}

static struct listener *shared_listener(void)
{
    const struct socket_file_owner owner = {geteuid(), SOCKET_KEEP_GID, 0600};
    char path[128], error[SOCKET_ERROR_BYTES];
    struct listener *listener;
    struct socket_file file;

    snprintf(path, sizeof(path), "%s/run/d.sock", root);
    assert_int_equal(socket_file_open(&file, path, false, error, sizeof(error)), 0);
    assert_int_equal(
        listeners_add(listeners, &file, &owner, path, true, NULL, &listener, error, sizeof(error)),
        0);
    assert_string_equal(listener_path(listener), path);
    return listener;
}

static void test_a_process_is_known_as_it_was_when_it_was_found(void **state)
{
    int fd;

    test_proc_add(getpid(),
                  "qemu|-uuid|" TEST_PROC_UUID "|-chardev|socket,id=c,path=/none/d|"
                  "-device|vgpu-stub,chardev=c|",
                  root, OURS);
    assert_int_equal(discovery_start(discovery), 0);
    run_until(&loop, discovery_count(discovery) == 1);
    shared_listener();
    test_proc_set_cmdline(getpid(), "qemu|-uuid|" UUID_2 "|-device|vgpu-stub|");
    fd = connect_device();
    run_until(&loop, session_io_count(sessions) == 1);
    assert_int_equal(core_session_identity(core, 0)->uuid[15], 1);
    close(fd);
}

static void test_a_listener_may_go_while_a_connection_is_being_identified(void **state)
{
    struct listener *listener = shared_listener();
    int fds[LISTENER_PENDING_MAX + 3];

    test_proc_add(getpid(), "qemu|-uuid|" UUID_2 "|-device|vgpu-stub|", root, OURS);
    for (size_t i = 0; i < LISTENER_PENDING_MAX + 3; i++) {
        fds[i] = connect_device();
    }
    uv_run(&loop, UV_RUN_NOWAIT); /* some are being looked at, the others wait in the kernel */
    session_io_flush(sessions);
    listeners_remove(listener);
    assert_false(socket_is_there());
    run_until(&loop, !uv_loop_alive(&loop));
    session_io_flush(sessions);
    assert_int_equal(session_io_count(sessions), 0);
    for (size_t i = 0; i < LISTENER_PENDING_MAX + 3; i++) {
        char byte;
        ssize_t n = read(fds[i], &byte, 1);

        assert_true(n == 0 || (n < 0 && errno == ECONNRESET)); /* the kernel's own, of those */
        close(fds[i]);
    }
}

static void test_a_listener_that_cannot_be_made_leaves_nothing_behind(void **state)
{
    const struct socket_file_owner owner = {geteuid(), SOCKET_KEEP_GID, 0600};
    char path[128], error[SOCKET_ERROR_BYTES];
    struct listener *first = shared_listener(), *second = NULL;
    struct socket_file file;

    snprintf(path, sizeof(path), "%s/run/d.sock", root);
    assert_int_equal(socket_file_open(&file, path, false, error, sizeof(error)), 0);
    assert_ptr_equal(listeners_find(listeners, &file), first);
    assert_int_equal(
        listeners_add(listeners, &file, &owner, path, true, NULL, &second, error, sizeof(error)),
        -EADDRINUSE);
    assert_null(second);
    assert_int_equal(file.folder_fd, -1); /* it took the file over, also when it failed */
    assert_non_null(strstr(error, "another program listens"));
    assert_true(socket_is_there());
    listeners_remove(first);
    assert_false(socket_is_there());
}

static void test_connections_that_wait_to_be_identified_all_come_in(void **state)
{
    int fds[8];

    shared_listener();
    test_proc_add(getpid(), "qemu|-uuid|" UUID_2 "|-device|vgpu-stub|", root, OURS);
    for (size_t i = 0; i < 8; i++) {
        fds[i] = connect_device();
    }
    run_until(&loop, session_io_count(sessions) == 8);
    assert_int_equal(notes, 0);
    for (size_t i = 0; i < 8; i++) {
        close(fds[i]);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_qemu_gets_a_socket_in_its_root_and_loses_it_when_it_goes),
        TEST(test_two_qemus_in_one_folder_share_its_socket),
        TEST(test_who_may_pose_as_any_vm_gets_no_socket),
        TEST(test_a_process_is_known_as_it_was_when_it_was_found),
        TEST(test_a_listener_may_go_while_a_connection_is_being_identified),
        TEST(test_a_listener_that_cannot_be_made_leaves_nothing_behind),
        TEST(test_connections_that_wait_to_be_identified_all_come_in),
    };

    if (test_proc_is_xen()) {
        return TEST_PROC_SKIP;
    }
    return cmocka_run_group_tests_name("discovery", tests, NULL, NULL);
}
