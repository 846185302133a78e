/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vgpu-file-bridge: Phase 2's request files, served by the mediator.
 *
 * The main thread waits for events of the folders, for the next look at all of them, and for a
 * signal to stop.  Each VM that asked for something has a thread of its own (session.h).
 * docs/file-bridge.md tells what guests see.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bridge/options.h"
#include "bridge/request_file.h"
#include "bridge/watch.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/ns.h"

#define PROGRAM "vgpu-file-bridge"
#define EXIT_FAILED 1
#define EXIT_USAGE 2

/* ---- set-up ---- */

/* As Phase 2's set-up made them: any user of the guest may write there. */
static int make_folder(const struct options *options, const char *word)
{
    char name[16], path[512];
    int folder, ret;

    snprintf(name, sizeof(name), "vm%.12s", word);
    if (watch_vm_of(name) == 0 || strlen(word) > 10) {
        fprintf(stderr, PROGRAM ": \"%s\" is no VM's number, 1 to 4294967295\n", word);
        return EXIT_USAGE;
    }
    snprintf(path, sizeof(path), "%s/%s", options->root, name);
    if (mkdir(path, 0700) == 0 && chmod(path, 0777) < 0) {
        fprintf(stderr, PROGRAM ": %s: %s\n", path, strerror(errno));
        return EXIT_FAILED;
    }
    folder = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (folder < 0) {
        fprintf(stderr, PROGRAM ": %s: %s\n", path, strerror(errno));
        return EXIT_FAILED;
    }
    ret = request_file_set_up(folder, session_ready_text(&options->session));
    close(folder);
    if (ret < 0) {
        fprintf(stderr, PROGRAM ": %s: its files can't be made: %s\n", path, strerror(-ret));
        return EXIT_FAILED;
    }
    printf("%s is ready\n", path);
    return 0;
}

static int set_up(const struct options *options)
{
    int worst = 0;

    if (mkdir(options->root, 0755) < 0 && errno != EEXIST) {
        fprintf(stderr, PROGRAM ": %s: %s\n", options->root, strerror(errno));
        return EXIT_FAILED;
    }
    for (char *const *word = options->words; *word; word++) {
        int status = make_folder(options, *word);

        worst = status > worst ? status : worst;
    }
    return worst;
}

/* ---- serving ---- */

static int signals_open(void)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    /* Before any thread is made, so that all have it. */
    sigprocmask(SIG_BLOCK, &set, NULL);
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static void serve(struct watch *watch, int signals, uint32_t poll_ms)
{
    struct pollfd fds[2] = {{.fd = signals, .events = POLLIN},
                            {.fd = watch_fd(watch), .events = POLLIN}};
    uint64_t next_ns = clock_now_ns();

    for (;;) {
        uint64_t now_ns = clock_now_ns();

        if (now_ns >= next_ns) {
            watch_scan(watch);
            next_ns = now_ns + poll_ms * NS_PER_MS;
        }
        if (poll(fds, 2, (int)((next_ns - now_ns + NS_PER_MS - 1) / NS_PER_MS)) < 0 &&
            errno != EINTR) {
            log_error("poll: %s", strerror(errno));
            return;
        }
        if (fds[0].revents) {
            return;
        }
        if (fds[1].revents) {
            watch_events(watch);
        }
    }
}

int main(int argc, char **argv)
{
    struct options options;
    struct watch *watch;
    int status = options_parse(&options, argc, argv), signals;

    if (status >= 0) {
        return status;
    }
    if (options.set_up) {
        return set_up(&options);
    }
    log_init(PROGRAM, options.log_level, false);
    signals = signals_open();
    if (signals < 0) {
        log_error("signals can't be waited for: %s", strerror(errno));
        return EXIT_FAILED;
    }
    if (watch_new(options.root, &options.session, &watch) < 0) {
        return EXIT_FAILED;
    }
    log_info("serving the VMs' folders in %s through %s", options.root,
             options.session.socket_path);
    serve(watch, signals, options.poll_ms);
    log_info("stopping: the jobs at work end first");
    watch_free(watch);
    close(signals);
    return 0;
}
