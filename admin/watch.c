/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "common/unused.h"

#include "admin/db.h"
#include "admin/say.h"
#include "admin/watch.h"
#include "common/clock.h"

/* A run's text goes out in one piece, so that the terminal does not flicker. */
#define BUFFER_BYTES (256 * 1024)
#define CLEAR_TERMINAL "\033[H\033[2J"

static volatile sig_atomic_t interrupted;

static void on_signal(UNUSED int number)
{
    interrupted = 1;
}

static void catch_signals(void)
{
    /* The second one ends it at once, wherever it is. */
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};

    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

static void wait_until(uint64_t when_ns)
{
    struct timespec when = clock_timespec(when_ns);

    while (!interrupted && clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &when, NULL) == EINTR) {
    }
}

static void print_title(const struct admin *admin)
{
    char stamp[32];
    time_t now = time(NULL);
    struct tm parts;

    localtime_r(&now, &parts);
    strftime(stamp, sizeof(stamp), "%H:%M:%S", &parts);
    printf(CLEAR_TERMINAL "vgpu-admin %s, every %g s, at %s; Ctrl-C ends it\n\n",
           admin->command->name, admin->watch_s, stamp);
}

int watch_run(struct admin *admin)
{
    bool terminal = isatty(STDOUT_FILENO) && !admin->json;
    uint64_t next_ns = clock_now_ns();

    if (!admin->command->only_looks) {
        return admin_fail(admin, ADMIN_USAGE,
                          "--watch is for commands that only look, such as status, show-metrics "
                          "and show-health, not for %s",
                          admin->command->name);
    }
    catch_signals();
    setvbuf(stdout, NULL, _IOFBF, BUFFER_BYTES);
    for (bool first = true; !interrupted; first = false) {
        int status;

        if (terminal) {
            print_title(admin);
        } else if (!first && !admin->json) {
            putchar('\n');
        }
        status = admin->command->run(admin);
        admin_close_db(admin);
        json_decref(admin->notes);
        admin->notes = NULL;
        if (fflush(stdout) != 0 || ferror(stdout)) {
            return ADMIN_FAILED; /* main() says why */
        }
        if (status == ADMIN_USAGE) {
            return status; /* it will not get better */
        }
        next_ns += (uint64_t)(admin->watch_s * NS_PER_S);
        wait_until(next_ns);
        if (clock_now_ns() > next_ns + NS_PER_S) {
            next_ns = clock_now_ns(); /* it took long, or the machine slept: no catching up */
        }
    }
    return ADMIN_OK;
}
