/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "admin/test_support.h"

#include <fcntl.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "admin/run.h"
#include "vgpu/vgpu_admin.h"

#define WORDS_MAX 24

struct printed printed;

static char folder[64];
static char old_path[4096]; /* "": PATH is as it was */
static pid_t mediator;
static int pty_master = -1, pty_slave = -1;

const char *support_folder(void)
{
    return folder;
}

static void remove_folder(void)
{
    char command[96];

    snprintf(command, sizeof(command), "rm -rf '%s'", folder);
    assert_int_equal(system(command), 0);
}

int support_setup(void **state)
{
    char path[96];

    (void)state;
    strcpy(folder, "/tmp/vgpu-admin-test-XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/vgpu.db", folder);
    setenv("VGPU_DB", path, 1);
    snprintf(path, sizeof(path), "%s/admin.sock", folder);
    setenv("VGPU_ADMIN_SOCKET", path, 1);
    setenv("VGPU_TOOLSTACK", "none", 1);
    setenv("NO_COLOR", "1", 1);
    return 0;
}

int support_teardown(void **state)
{
    (void)state;
    if (mediator > 0) {
        kill(mediator, SIGKILL);
        waitpid(mediator, NULL, 0);
        mediator = 0;
    }
    support_terminal(0);
    if (old_path[0]) {
        setenv("PATH", old_path, 1);
        old_path[0] = '\0';
    }
    remove_folder();
    return 0;
}

void support_terminal(unsigned columns)
{
    struct winsize size = {.ws_row = 24, .ws_col = (unsigned short)columns};
    struct termios raw;

    if (pty_master >= 0) {
        close(pty_master);
        close(pty_slave);
        pty_master = pty_slave = -1;
    }
    if (columns > 0) {
        assert_int_equal(openpty(&pty_master, &pty_slave, NULL, NULL, &size), 0);
        assert_int_equal(tcgetattr(pty_slave, &raw), 0);
        cfmakeraw(&raw);
        assert_int_equal(tcsetattr(pty_slave, TCSANOW, &raw), 0);
        assert_int_equal(fcntl(pty_master, F_SETFL, O_NONBLOCK), 0);
    }
}

/* ---- commands ---- */

static size_t read_back(int fd, char *text, size_t bytes)
{
    size_t used = 0;
    ssize_t n;

    while (used < bytes - 1 && (n = read(fd, text + used, bytes - 1 - used)) > 0) {
        used += (size_t)n;
    }
    text[used] = '\0';
    return used;
}

static int open_file(void)
{
    char path[] = "/tmp/vgpu-admin-out-XXXXXX";
    int fd = mkstemp(path);

    assert_true(fd >= 0);
    unlink(path);
    return fd;
}

static size_t split(char *line, char *words[WORDS_MAX])
{
    size_t count = 0;
    char *word;

    words[count++] = (char *)"vgpu-admin";
    while ((word = strsep(&line, " ")) && count < WORDS_MAX - 1) {
        if (*word) {
            for (char *p = word; *p; p++) {
                *p = *p == '_' ? ' ' : *p;
            }
            words[count++] = word;
        }
    }
    words[count] = NULL;
    return count;
}

/* The program's own stdout and stderr are put aside meanwhile. */
void support_capture(void (*work)(const void *argument), const void *argument)
{
    int out = pty_slave >= 0 ? dup(pty_slave) : open_file(), err = open_file();
    int old_out = dup(STDOUT_FILENO), old_err = dup(STDERR_FILENO);

    fflush(stdout);
    dup2(out, STDOUT_FILENO);
    dup2(err, STDERR_FILENO);
    work(argument);
    fflush(stdout);
    fflush(stderr);
    dup2(old_out, STDOUT_FILENO);
    dup2(old_err, STDERR_FILENO);
    close(old_out);
    close(old_err);
    lseek(err, 0, SEEK_SET);
    read_back(err, printed.err, sizeof(printed.err));
    if (pty_master < 0) {
        lseek(out, 0, SEEK_SET);
    }
    read_back(pty_master >= 0 ? pty_master : out, printed.out, sizeof(printed.out));
    close(out);
    close(err);
}

static void run_line(const void *line)
{
    char *words[WORDS_MAX], copy[1024];
    size_t count;

    snprintf(copy, sizeof(copy), "%s", (const char *)line);
    count = split(copy, words);
    printed.status = admin_main((int)count, words);
}

int support_run(const char *line)
{
    support_capture(run_line, line);
    return printed.status;
}

json_t *support_json(const char *line)
{
    char with[1024];
    json_t *document;

    snprintf(with, sizeof(with), "--json %s", line);
    support_run(with);
    document = json_loads(printed.out, 0, NULL);
    if (!document) {
        fail_msg("%s: no JSON: %s%s", line, printed.out, printed.err);
    }
    return document;
}

void support_expect(const char *line, int status, const char *out, const char *err)
{
    support_run(line);
    if (printed.status != status || (out && !strstr(printed.out, out)) ||
        (err && !strstr(printed.err, err))) {
        fail_msg("vgpu-admin %s: status %d (expected %d)\nstdout: %s\n(expected %s)\nstderr: "
                 "%s\n(expected %s)",
                 line, printed.status, status, printed.out, out ? out : "whatever", printed.err,
                 err ? err : "whatever");
    }
}

void support_table(const struct support_case *cases)
{
    for (; cases->line; cases++) {
        support_expect(cases->line, cases->status, cases->out, cases->err);
    }
}

/* ---- other programs ---- */

static void put_folder_in_path(void)
{
    char path[8192];

    if (!old_path[0]) {
        snprintf(old_path, sizeof(old_path), "%s", getenv("PATH"));
        snprintf(path, sizeof(path), "%s:%s", folder, old_path);
        setenv("PATH", path, 1);
    }
}

void support_program(const char *name, const char *cases)
{
    char path[128];
    FILE *f;

    put_folder_in_path();
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    f = fopen(path, "w");
    assert_non_null(f);
    fprintf(f,
            "#!/bin/sh\nD=%s\necho \"$*\" >> $D/calls\ncase \"$*\" in\n%s\n"
            "*) echo \"not expected: $*\" >&2; exit 99;;\nesac\n",
            folder, cases);
    fclose(f);
    assert_int_equal(chmod(path, 0755), 0);
}

const char *support_calls(void)
{
    static char text[8192];
    char path[128];
    size_t used = 0;
    FILE *f;

    snprintf(path, sizeof(path), "%s/calls", folder);
    f = fopen(path, "r");
    if (f) {
        used = fread(text, 1, sizeof(text) - 1, f);
        fclose(f);
        unlink(path);
    }
    text[used] = '\0';
    return text;
}

/* ---- a mediator ---- */

static bool receive(int fd, void *data, size_t bytes)
{
    return bytes == 0 || recv(fd, data, bytes, MSG_WAITALL) == (ssize_t)bytes;
}

static void serve(int fd, const struct support_answer *answers)
{
    VGPUAdminRequest request;
    char body[VGPU_ADMIN_BODY_MAX];

    while (receive(fd, &request, sizeof(request))) {
        const struct support_answer *a = answers;
        VGPUAdminResponse response = {.magic = VGPU_ADMIN_MAGIC};
        bool has_body = request.command >= VGPU_ADMIN_SET_POLICY;

        if (has_body && !receive(fd, body, request.param2)) {
            break;
        }
        while (a->text && a->command && a->command != request.command) {
            a++;
        }
        response.status = a->text ? a->status : 0;
        response.data_len = a->text ? (uint32_t)strlen(a->text) : 2;
        if (send(fd, &response, sizeof(response), MSG_NOSIGNAL) < 0 ||
            send(fd, a->text ? a->text : "{}", response.data_len, MSG_NOSIGNAL) < 0) {
            break;
        }
    }
    close(fd);
}

void support_mediator(const struct support_answer *answers)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int listener = socket(AF_UNIX, SOCK_STREAM, 0);

    assert_true(listener >= 0);
    snprintf(address.sun_path, sizeof(address.sun_path), "%s/admin.sock", folder);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(listener, 8), 0);
    mediator = fork();
    assert_true(mediator >= 0);
    if (mediator == 0) {
        for (;;) {
            int fd = accept(listener, NULL, NULL);

            if (fd < 0) {
                _exit(1);
            }
            serve(fd, answers);
        }
    }
    close(listener);
}
