/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Who connected: a process as the test's own /proc shows it, found out on the pool's thread. */
#include <errno.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "mediator/test_loop.h"

#include "common/uuid.h"
#include "mediator/identity/identity.h"
#include "mediator/identity/test_proc.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

#define PID 4711
#define QEMU "qemu|-uuid|" TEST_PROC_UUID "|-name|web|-device|vgpu-stub,vm_id=7|"

static uv_loop_t loop;
static struct identity_cache *cache;
static int pair[2]; /* our own end is a process that lives */
static uint32_t answers;
static enum identity_result last_result;
static struct core_identity last_identity;

static int setup(void **state)
{
    test_proc_begin();
    uv_loop_init(&loop);
    cache = identity_cache_new(&loop, test_proc);
    assert_non_null(cache);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    answers = 0;
    return 0;
}

static int teardown(void **state)
{
    end_loop(&loop);
    identity_cache_free(cache);
    close(pair[0]);
    close(pair[1]);
    test_proc_remove(test_proc);
    return 0;
}

static void take(void *opaque, enum identity_result result, const struct core_identity *identity)
{
    assert_ptr_equal(opaque, &answers);
    assert_true((result == IDENTITY_OK) == (identity != NULL));
    answers++;
    last_result = result;
    if (identity) {
        last_identity = *identity;
    }
}

/* True: the answer came at once, so the process was not looked at. */
static bool find(int fd, pid_t pid)
{
    uint32_t before = answers;
    bool at_once;

    identity_find(cache, fd, pid, take, &answers);
    at_once = answers > before;
    run_until(&loop, answers > before);
    run_ready(&loop);
    assert_int_equal(answers, before + 1);
    return at_once;
}

static void assert_is_uuid(const char *text)
{
    char uuid[UUID_TEXT_BYTES];

    assert_int_equal(last_result, IDENTITY_OK);
    assert_int_equal(last_identity.kind, CORE_IDENTITY_UUID);
    uuid_format(last_identity.uuid, uuid);
    assert_string_equal(uuid, text);
}

static void test_a_qemu_is_the_vm_of_its_uuid(void **state)
{
    test_proc_add(PID, QEMU, "/", "/proc/self/ns/user");
    assert_false(find(pair[0], PID));
    assert_is_uuid(TEST_PROC_UUID);
    assert_string_equal(last_identity.name, "web");
    assert_int_equal(last_identity.vm_id_count, 1);
    assert_int_equal(last_identity.vm_ids[0], 7);
}

static void test_without_a_uuid_its_numbers_count(void **state)
{
    test_proc_add(PID, "qemu|-device|vgpu-stub,vm_id=7|-device|vgpu-stub,vm_id=9|", "/",
                  "/proc/self/ns/user");
    find(pair[0], PID);
    assert_int_equal(last_result, IDENTITY_OK);
    assert_int_equal(last_identity.kind, CORE_IDENTITY_IDS);
    assert_int_equal(last_identity.vm_id_count, 2);
    assert_int_equal(last_identity.vm_ids[1], 9);
}

static void test_others_are_refused_each_for_its_reason(void **state)
{
    test_proc_add(PID, "vim|vgpu-stub.c|", "/", "/proc/self/ns/user");
    test_proc_add(PID + 1, "qemu|-device|vgpu-stub|", "/", "/proc/self/ns/user");
    test_proc_add(PID + 2, "", "/", "/proc/self/ns/user"); /* a kernel thread, or a zombie */
    find(pair[0], PID);
    assert_int_equal(last_result, IDENTITY_NOT_QEMU);
    find(pair[0], PID + 1);
    assert_int_equal(last_result, IDENTITY_NO_VM);
    find(pair[0], PID + 2);
    assert_int_equal(last_result, IDENTITY_NOT_QEMU);
    find(pair[0], PID + 3);
    assert_int_equal(last_result, IDENTITY_GONE);
    /* From another pid namespace. */
    assert_true(find(pair[0], 0));
    assert_int_equal(last_result, IDENTITY_GONE);
}

/* There anybody is root, and chooses the program's name and its command line. */
static void test_a_qemu_in_a_container_is_not_believed(void **state)
{
    static const char inside[] =
        "Name:\tqemu\nUid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\nNSpid:\t4711\t1\n";
    static const char outside[] =
        "Name:\tqemu\nUid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\nNSpid:\t4711\nX:\t1\n";

    test_proc_add(PID, QEMU, "/", "/proc/self/ns/user");
    test_proc_write(PID, "status", inside, strlen(inside));
    find(pair[0], PID);
    assert_int_equal(last_result, IDENTITY_FOREIGN);
    test_proc_write(PID, "status", outside, strlen(outside));
    test_proc_set_start(PID, 101);
    find(pair[0], PID);
    assert_is_uuid(TEST_PROC_UUID);
    /* Any other file stands for another user namespace. */
    test_proc_drop(PID);
    test_proc_add(PID, QEMU, "/", "/proc/self/ns/net");
    test_proc_set_start(PID, 102);
    find(pair[0], PID);
    assert_int_equal(last_result, IDENTITY_FOREIGN);
    /* One that can't be seen may be ours. */
    test_proc_drop(PID);
    test_proc_add(PID, QEMU, "/", "/nowhere");
    test_proc_set_start(PID, 103);
    find(pair[0], PID);
    assert_is_uuid(TEST_PROC_UUID);
}

static void test_half_a_process_is_nobody(void **state)
{
    test_proc_add(PID, QEMU, "/", "/proc/self/ns/user");
    test_proc_write(PID, "stat", "4711 (qemu) S 1", 15);
    find(pair[0], PID);
    assert_int_equal(last_result, IDENTITY_GONE);
    test_proc_write(PID, "stat", "4711 (qemu) Z 1 1 1 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 100 0\n", 57);
    find(pair[0], PID);
    assert_int_equal(last_result, IDENTITY_GONE);
    test_proc_set_start(PID, 100);
    test_proc_write(PID, "status", "Name:\tqemu\n", 11);
    find(pair[0], PID);
    assert_int_equal(last_result, IDENTITY_GONE);
}

static void test_a_process_that_began_later_is_looked_at_again(void **state)
{
    test_proc_add(PID, QEMU, "/", "/proc/self/ns/user");
    find(pair[0], PID);
    test_proc_set_start(PID, 101); /* its number went to another */
    test_proc_set_cmdline(PID, "vim|");
    assert_false(find(pair[0], PID));
    assert_int_equal(last_result, IDENTITY_NOT_QEMU);
    test_proc_drop(PID);
    find(pair[0], PID);
    assert_int_equal(last_result, IDENTITY_GONE);
}

static const struct process *know(void *opaque, pid_t pid)
{
    const struct process *process = opaque;

    return process->pid == pid ? process : NULL;
}

static void test_what_was_seen_when_it_was_young_is_preferred(void **state)
{
    static struct process young;

    test_proc_add(PID, QEMU, "/", "/proc/self/ns/user");
    assert_int_equal(process_read(test_proc, PID, true, &young), 0);
    identity_cache_ask_first(cache, know, &young);
    /* Its guest has taken it over, and poses as another VM. */
    test_proc_set_cmdline(PID, "qemu|-uuid|7f1d7b04-9d4e-4cc0-8c5b-0f4a6a1d0002|"
                               "-device|vgpu-stub,vm_id=8|");
    assert_true(find(pair[0], PID));
    assert_is_uuid(TEST_PROC_UUID);
    assert_int_equal(last_identity.vm_ids[0], 7);
    identity_cache_ask_first(cache, NULL, NULL);
    assert_false(find(pair[0], PID));
    assert_is_uuid("7f1d7b04-9d4e-4cc0-8c5b-0f4a6a1d0002");
}

/* A connection whose process has ended; -1: the kernel cannot tell. */
static int connection_of_a_dead_process(pid_t *pid)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int listener = socket(AF_UNIX, SOCK_STREAM, 0), fd, pidfd = -1;
    socklen_t length = sizeof(pidfd);

    snprintf(address.sun_path, sizeof(address.sun_path), "%s/socket", test_proc);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(listener, 1), 0);
    *pid = fork();
    if (*pid == 0) {
        fd = socket(AF_UNIX, SOCK_STREAM, 0);
        _exit(connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0);
    }
    fd = accept(listener, NULL, NULL);
    close(listener);
    assert_int_equal(waitpid(*pid, NULL, 0), *pid);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &length) < 0 && errno == ENOPROTOOPT) {
        close(fd);
        return -1;
    }
    if (pidfd >= 0) {
        close(pidfd);
    }
    return fd;
}

static void test_a_dead_process_lends_its_number_to_nobody(void **state)
{
    pid_t pid;
    int fd = connection_of_a_dead_process(&pid);

    if (fd < 0) {
        skip();
    }
    /* A QEMU has the number now. */
    test_proc_add(pid, QEMU, "/", "/proc/self/ns/user");
    find(fd, pid);
    close(fd);
    assert_int_equal(last_result, IDENTITY_GONE);
}

static void test_more_stubs_than_the_core_knows_are_cut(void **state)
{
    struct process process = {0};
    struct core_identity identity;

    process.cmdline.stub_count = QEMU_STUBS_MAX;
    for (uint32_t i = 0; i < QEMU_STUBS_MAX; i++) {
        process.cmdline.stubs[i].has_vm_id = true;
        process.cmdline.stubs[i].vm_id = i;
    }
    assert_true(identity_from_process(&process, &identity));
    assert_true(identity.vm_id_count <= CORE_CLAIMED_IDS_MAX);
    assert_int_equal(identity.kind, CORE_IDENTITY_IDS);
    process.cmdline.stub_count = 0;
    assert_false(identity_from_process(&process, &identity));
}

/* timeout(1), vgpu-qemu and debuggers have QEMU's arguments on their own command line. */
static void test_the_program_decides_who_is_a_qemu(void **state)
{
    static const struct {
        const char *program;
        enum identity_result result;
    } cases[] = {
        {"/usr/bin/qemu-system-x86_64", IDENTITY_OK},
        {"/usr/libexec/qemu-kvm (deleted)", IDENTITY_OK},
        {"/usr/bin/kvm", IDENTITY_OK},
        {"/usr/lib64/xen/bin/qemu-system-i386", IDENTITY_OK},
        {"/usr/bin/timeout", IDENTITY_NOT_QEMU},
        {"/usr/bin/dash", IDENTITY_NOT_QEMU},
        {"/opt/qemu/bin/wrapper", IDENTITY_NOT_QEMU}, /* a folder's name says nothing */
        {"/usr/bin/kvmtool", IDENTITY_NOT_QEMU},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int pid = PID + (int)i;

        test_proc_add(pid, QEMU, "/", "/proc/self/ns/user");
        test_proc_set_program(pid, cases[i].program);
        find(pair[0], pid);
        assert_int_equal(last_result, cases[i].result);
    }
}

static void test_a_stub_may_be_plugged_in_later(void **state)
{
    static const char plain[] = "qemu|-uuid|" TEST_PROC_UUID "|-name|web|-device|e1000|";

    test_proc_add(PID, plain, "/", "/proc/self/ns/user");
    find(pair[0], PID); /* it may be anything, with this command line */
    assert_int_equal(last_result, IDENTITY_NOT_QEMU);
    test_proc_add(PID + 1, plain, "/", "/proc/self/ns/user");
    test_proc_set_program(PID + 1, "/usr/bin/qemu-system-x86_64");
    find(pair[0], PID + 1);
    assert_is_uuid(TEST_PROC_UUID);
    test_proc_add(PID + 2, "qemu|-device|e1000|", "/", "/proc/self/ns/user");
    test_proc_set_program(PID + 2, "/usr/bin/qemu-system-x86_64");
    find(pair[0], PID + 2);
    assert_int_equal(last_result, IDENTITY_NO_VM);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_qemu_is_the_vm_of_its_uuid),
        TEST(test_without_a_uuid_its_numbers_count),
        TEST(test_others_are_refused_each_for_its_reason),
        TEST(test_the_program_decides_who_is_a_qemu),
        TEST(test_a_stub_may_be_plugged_in_later),
        TEST(test_a_qemu_in_a_container_is_not_believed),
        TEST(test_half_a_process_is_nobody),
        TEST(test_a_process_that_began_later_is_looked_at_again),
        TEST(test_what_was_seen_when_it_was_young_is_preferred),
        TEST(test_a_dead_process_lends_its_number_to_nobody),
        cmocka_unit_test(test_more_stubs_than_the_core_knows_are_cut),
    };

    if (test_proc_is_xen()) {
        return TEST_PROC_SKIP;
    }
    return cmocka_run_group_tests_name("identity", tests, NULL, NULL);
}
