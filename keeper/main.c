/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vgpu-keeper: starts, holds and kills vgpu-mediator's workers.  docs/keeper.md tells why it is
 * a process of its own.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "common/notify.h"
#include "common/sandbox.h"
#include "keeper/keeper.h"
#include "keeper/seccomp_keeper.h"

int main(int argc, char **argv)
{
    struct keeper_options options;
    struct keeper *keeper;
    char error[512];
    int status = keeper_options_parse(argc, argv, &options);

    if (status >= 0) {
        return status;
    }
    log_init("vgpu-keeper", options.log_level, options.log_json);
    if (keeper_new(&options, &keeper, error, sizeof(error)) < 0) {
        log_error("%s", error);
        return EXIT_FAILURE;
    }
    status = SANDBOX_ENTER(sandbox_keeper, options.seccomp);
    if (status < 0) {
        log_error("the list of system calls can't be set up: %s; --seccomp none does without",
                  strerror(-status));
        return EXIT_FAILURE;
    }
    if (options.socket_path) { /* else it is the mediator that the manager asks */
        notify_manager("READY=1");
    }
    keeper_run(keeper);
    if (options.socket_path) {
        notify_manager("STOPPING=1");
        unlink(options.socket_path);
    }
    keeper_free(keeper);
    return EXIT_SUCCESS;
}
