/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sockets in folders that somebody else controls: what is followed, replaced and removed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "common/unused.h"
#include "common/socket_file.h"

static char root[64];
static int root_fd;
static struct socket_file file;
static char error[SOCKET_ERROR_BYTES];
static struct socket_file_owner owner = {0, SOCKET_KEEP_GID, 0600};

static char *below(const char *name)
{
    static char path[2][256];
    static unsigned turn;
    char *to = path[turn++ % 2];

    snprintf(to, sizeof(path[0]), "%s%s", root, name);
    return to;
}

static int setup(void **state)
{
    strcpy(root, "/tmp/vgpu-socket-XXXXXX");
    assert_non_null(mkdtemp(root));
    root_fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
    assert_true(root_fd >= 0);
    assert_int_equal(mkdir(below("/run"), 0755), 0);
    owner.uid = geteuid();
    error[0] = '\0';
    return 0;
}

static int remove_one(const char *path, UNUSED const struct stat *st, UNUSED int type,
                      UNUSED struct FTW *place)
{
    return remove(path);
}

static int teardown(void **state)
{
    close(root_fd);
    return nftw(root, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static int open_below(const char *path, bool make_last)
{
    error[0] = '\0';
    return socket_file_open_below(&file, root_fd, path, make_last, error, sizeof(error));
}

static int listen_at(const char *path)
{
    assert_int_equal(open_below(path, false), 0);
    return socket_file_listen(&file, &owner, error, sizeof(error));
}

static int connect_below(const char *name)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0), ret;

    snprintf(address.sun_path, sizeof(address.sun_path), "%s%s", root, name);
    ret = connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : 0;
    close(fd);
    return ret;
}

static bool is_there(const char *name)
{
    struct stat st;

    return lstat(below(name), &st) == 0;
}

static void test_a_socket_is_made_and_removed(void **state)
{
    struct stat st;
    int fd = listen_at("/run/s.sock");

    assert_true(fd >= 0);
    assert_int_equal(connect_below("/run/s.sock"), 0);
    assert_int_equal(lstat(below("/run/s.sock"), &st), 0);
    assert_true(S_ISSOCK(st.st_mode));
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(st.st_uid, owner.uid);
    assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    close(fd);
    socket_file_remove(&file);
    assert_false(is_there("/run/s.sock"));
    assert_true(is_there("/run")); /* nobody made it here */
    socket_file_remove(&file);     /* once more does nothing */
}

static void test_no_link_is_followed(void **state)
{
    assert_int_equal(mkdir(below("/elsewhere"), 0755), 0);
    assert_int_equal(symlink("elsewhere", below("/link")), 0);
    assert_int_equal(symlink("/", below("/run/up")), 0);
    assert_int_equal(open_below("/link/s.sock", true), -ENOTDIR);
    assert_true(error[0] != '\0');
    assert_int_equal(open_below("/run/up/s.sock", true), -ENOTDIR);
    assert_int_equal(open_below("/run/../run/s.sock", true), -EINVAL);
    assert_int_equal(open_below("/../s.sock", true), -EINVAL);
    /* The socket's own name as a link: neither followed nor removed. */
    assert_int_equal(symlink("/etc/passwd", below("/run/s.sock")), 0);
    assert_int_equal(listen_at("/run/s.sock"), -EEXIST);
    socket_file_remove(&file);
    assert_true(is_there("/run/s.sock"));
}

static void test_paths_that_name_no_socket(void **state)
{
    char name[SOCKET_NAME_BYTES + 8] = "/run/";

    assert_int_equal(open_below("run/s.sock", true), -EINVAL);
    assert_int_equal(open_below("", true), -EINVAL);
    assert_int_equal(open_below("/", true), -EINVAL);
    assert_int_equal(open_below("/run/.", true), -EINVAL);
    assert_int_equal(open_below("/run/..", true), -EINVAL);
    assert_int_equal(open_below("/none/s.sock", false), -ENOENT);
    memset(name + 5, 'x', SOCKET_NAME_BYTES);
    name[5 + SOCKET_NAME_BYTES] = '\0';
    assert_int_equal(open_below(name, true), -ENAMETOOLONG);
    name[5 + SOCKET_NAME_BYTES - 1] = '\0'; /* the longest that fits */
    assert_int_equal(open_below(name, true), 0);
    socket_file_close(&file);
    assert_int_equal(socket_file_open(&file, below("/run/"), true, error, sizeof(error)), -EINVAL);
    assert_int_equal(socket_file_open(&file, "", true, error, sizeof(error)), -EINVAL);
}

static void test_only_the_last_folder_is_made_and_goes_again(void **state)
{
    struct stat st;
    int fd;

    assert_int_equal(open_below("/run/a/b/s.sock", true), -ENOENT);
    assert_false(is_there("/run/a"));
    assert_int_equal(open_below("/run/a/s.sock", true), 0);
    assert_int_equal(lstat(below("/run/a"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0755);
    fd = socket_file_listen(&file, &owner, error, sizeof(error));
    assert_true(fd >= 0);
    close(fd);
    socket_file_remove(&file);
    assert_false(is_there("/run/a"));
}

static void test_a_folder_that_others_use_by_now_stays(void **state)
{
    int fd, other;

    assert_int_equal(open_below("/run/a/s.sock", true), 0);
    fd = socket_file_listen(&file, &owner, error, sizeof(error));
    other = open(below("/run/a/other"), O_CREAT | O_WRONLY, 0600);
    close(other);
    close(fd);
    socket_file_remove(&file);
    assert_false(is_there("/run/a/s.sock"));
    assert_true(is_there("/run/a/other"));
}

static void test_a_dead_socket_is_replaced_and_a_live_one_is_not(void **state)
{
    struct socket_file first;
    int fd = listen_at("/run/s.sock"), second;

    first = file;
    assert_int_equal(listen_at("/run/s.sock"), -EADDRINUSE);
    assert_non_null(strstr(error, "another program listens"));
    socket_file_close(&file);
    assert_int_equal(connect_below("/run/s.sock"), 0);
    close(fd);
    assert_int_equal(connect_below("/run/s.sock"), -ECONNREFUSED);
    second = listen_at("/run/s.sock");
    assert_true(second >= 0);
    /* The first one's end must not remove what is the second one's now. */
    if (first.inode != file.inode) {
        socket_file_remove(&first);
        assert_int_equal(connect_below("/run/s.sock"), 0);
    } else {
        socket_file_close(&first); /* the file system gave the number again */
    }
    close(second);
    socket_file_remove(&file);
}

static void test_what_is_no_socket_is_left_alone(void **state)
{
    int fd = open(below("/run/s.sock"), O_CREAT | O_WRONLY, 0600);

    assert_int_equal(write(fd, "precious", 8), 8);
    close(fd);
    assert_int_equal(listen_at("/run/s.sock"), -EEXIST);
    assert_non_null(strstr(error, "is no socket; it was left alone"));
    socket_file_remove(&file);
    assert_true(is_there("/run/s.sock"));
    assert_int_equal(mkdir(below("/run/folder"), 0755), 0);
    assert_int_equal(listen_at("/run/folder"), -EEXIST);
    socket_file_remove(&file);
    assert_true(is_there("/run/folder"));
}

static void test_the_folder_that_was_checked_counts_whatever_its_name_is_by_now(void **state)
{
    int fd;

    assert_int_equal(open_below("/run/s.sock", false), 0);
    assert_int_equal(rename(below("/run"), below("/moved")), 0);
    assert_int_equal(mkdir(below("/run"), 0755), 0);
    fd = socket_file_listen(&file, &owner, error, sizeof(error));
    assert_true(fd >= 0);
    assert_true(is_there("/moved/s.sock"));
    assert_false(is_there("/run/s.sock"));
    /* What took the name's place meanwhile is not ours to remove. */
    assert_int_equal(unlink(below("/moved/s.sock")), 0);
    close(open(below("/moved/s.sock"), O_CREAT | O_WRONLY, 0600));
    close(fd);
    socket_file_remove(&file);
    assert_true(is_there("/moved/s.sock"));
}

static void test_an_administrators_path_may_have_links(void **state)
{
    int fd;

    assert_int_equal(symlink("run", below("/link")), 0);
    assert_int_equal(socket_file_open(&file, below("/link/s.sock"), false, error, sizeof(error)),
                     0);
    fd = socket_file_listen(&file, &owner, error, sizeof(error));
    assert_true(fd >= 0);
    assert_true(is_there("/run/s.sock"));
    close(fd);
    socket_file_remove(&file);
    assert_int_equal(socket_file_open(&file, below("/new/s.sock"), true, error, sizeof(error)), 0);
    assert_true(is_there("/new"));
    socket_file_remove(&file);
    assert_false(is_there("/new"));
    assert_int_equal(socket_file_open(&file, below("/none/s.sock"), false, error, sizeof(error)),
                     -ENOENT);
    assert_non_null(strstr(error, "/none/s.sock"));
}

/* At the limit of open files: one connection can be taken, and later another one. */
static void test_a_spare_descriptor_takes_what_waits(void **state)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd, peer, taken, spare = socket_spare(), clients[2], others[1024];
    const struct rlimit limit = {256, 256};
    unsigned count = 0;

    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_int_equal(socket_file_open(&file, below("/run/s.sock"), false, error, sizeof(error)), 0);
    fd = socket_file_listen(&file, &owner, error, sizeof(error));
    assert_true(fd >= 0 && spare >= 0);
    strcpy(address.sun_path, below("/run/s.sock"));
    for (int i = 0; i < 2; i++) {
        clients[i] = socket(AF_UNIX, SOCK_STREAM, 0);
        assert_int_equal(connect(clients[i], (struct sockaddr *)&address, sizeof(address)), 0);
    }
    while (count < 1024 && (peer = dup(fd)) >= 0) {
        others[count++] = peer;
    }
    assert_true(count < 1024);
    assert_int_equal(accept(fd, NULL, NULL), -1);
    for (int i = 0; i < 2; i++) {
        taken = socket_spare_accept(spare, fd);
        assert_true(taken >= 0);
        close(taken);
        spare = socket_spare();
        assert_true(spare >= 0);
    }
    assert_int_equal(socket_spare_accept(spare, fd), -1); /* nobody waits */
    while (count > 0) {
        close(others[--count]);
    }
    close(clients[0]);
    close(clients[1]);
    close(fd);
    socket_file_remove(&file);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

/* ---- somebody else's ---- */

/* Another user listens there until `end` is closed, and takes nobody. */
static pid_t listen_as_nobody(const char *path, const int ready[2], const int end[2])
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    pid_t pid = fork();
    char byte;

    if (pid == 0) {
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);

        strcpy(address.sun_path, path);
        close(end[1]);
        if (setgid(65534) < 0 || setuid(65534) < 0 ||
            bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 0) < 0 ||
            write(ready[1], "", 1) != 1) {
            _exit(1);
        }
        _exit(read(end[0], &byte, 1) == 0 ? 0 : 1);
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    return pid;
}

static void test_another_users_live_socket_is_not_a_mediator_of_ours(void **state)
{
    const char *path = below("/run/a.sock");
    int ready[2], end[2], status;
    pid_t pid;

    if (geteuid() != 0) {
        skip(); /* only root can be somebody else */
    }
    assert_int_equal(chmod(root, 0755), 0);
    assert_int_equal(chmod(below("/run"), 0777), 0);
    assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
    assert_int_equal(pipe2(end, O_CLOEXEC), 0);
    pid = listen_as_nobody(path, ready, end);
    /* The first connection finds room, the second one finds the queue full. */
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(socket_file_open(&file, path, false, error, sizeof(error)), 0);
        assert_int_equal(socket_file_listen(&file, &owner, error, sizeof(error)), -EPERM);
        assert_non_null(strstr(error, "uid 65534 listens on a.sock"));
        socket_file_close(&file);
    }
    close(end[1]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    close(end[0]);
    close(ready[0]);
}

/* ---- two who start at once ---- */

#define STARTS 200

static void make_dead_socket(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    strcpy(address.sun_path, path);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    close(fd);
}

static int dial(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), ret;

    strcpy(address.sun_path, path);
    ret = connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : 0;
    close(fd);
    return ret;
}

/* Listens as soon as `go` is closed, says by one byte whether it could, and stays until `end`. */
static pid_t start_one(const char *path, const int go[2], const int end[2], int result)
{
    pid_t pid = fork();
    char byte;

    if (pid == 0) {
        bool ok = close(go[1]) == 0 && close(end[1]) == 0 &&
                  socket_file_open(&file, path, false, error, sizeof(error)) == 0 &&
                  read(go[0], &byte, 1) == 0 &&
                  socket_file_listen(&file, &owner, error, sizeof(error)) >= 0;

        byte = ok ? '+' : '-';
        _exit(write(result, &byte, 1) == 1 && read(end[0], &byte, 1) == 0 ? 0 : 1);
    }
    assert_true(pid > 0);
    return pid;
}

static void assert_one_of_two_listens(const char *path)
{
    int go[2], end[2], result[2];
    pid_t pids[2];
    char said[2];

    assert_int_equal(pipe2(result, O_CLOEXEC), 0);
    assert_int_equal(pipe2(go, O_CLOEXEC), 0);
    assert_int_equal(pipe2(end, O_CLOEXEC), 0);
    for (unsigned i = 0; i < 2; i++) {
        pids[i] = start_one(path, go, end, result[1]);
    }
    close(go[1]);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(read(result[0], &said[i], 1), 1);
    }
    assert_int_equal((said[0] == '+') + (said[1] == '+'), 1);
    assert_int_equal(dial(path), 0);
    close(end[1]);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(waitpid(pids[i], NULL, 0), pids[i]);
    }
    close(go[0]);
    close(end[0]);
    close(result[0]);
    close(result[1]);
}

static void test_of_two_that_start_at_once_one_listens(void **state)
{
    const char *path = below("/run/a.sock");

    for (unsigned i = 0; i < STARTS; i++) {
        make_dead_socket(path);
        assert_one_of_two_listens(path);
        assert_int_equal(unlink(path), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_socket_is_made_and_removed),
        TEST(test_no_link_is_followed),
        TEST(test_paths_that_name_no_socket),
        TEST(test_only_the_last_folder_is_made_and_goes_again),
        TEST(test_a_folder_that_others_use_by_now_stays),
        TEST(test_a_dead_socket_is_replaced_and_a_live_one_is_not),
        TEST(test_what_is_no_socket_is_left_alone),
        TEST(test_the_folder_that_was_checked_counts_whatever_its_name_is_by_now),
        TEST(test_an_administrators_path_may_have_links),
        TEST(test_a_spare_descriptor_takes_what_waits),
        TEST(test_another_users_live_socket_is_not_a_mediator_of_ours),
        TEST(test_of_two_that_start_at_once_one_listens),
    };

    return cmocka_run_group_tests_name("socket_file", tests, NULL, NULL);
}
