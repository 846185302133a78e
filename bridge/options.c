/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "bridge/options.h"

#include <stdio.h>

#include "common/args.h"
#include "vgpu/vgpu_protocol.h"

#define PROGRAM "vgpu-file-bridge"

static const struct args_option rows[] = {
    {"root", "DIR", "where the VMs' folders are (default {default})",
     ARGS_TEXT(struct options, root)},
    {"socket", "PATH", "the mediator's bridge socket (default {default})",
     ARGS_SOCKET(struct options, session.socket_path)},
    {"poll-ms", "N",
     "look at each folder so often, {range} (default {default}); events make it faster where the "
     "kernel has them",
     ARGS_NUMBER(struct options, poll_ms, 10, 60000, 1)},
    {"plain-sums", NULL,
     "for guests that run vm_client_vector: a sum is answered without its status",
     ARGS_FLAG(struct options, session.plain_sums)},
    {"log-level", "LEVEL", "{range} (default {default})",
     ARGS_LOG_LEVEL(struct options, log_level)},
    {"set-up", NULL, "make the folders and files of these VMs, and end",
     ARGS_FLAG(struct options, set_up)},
};

static const struct args_program program = {
    .name = PROGRAM,
    .intro = "Usage: " PROGRAM " [OPTION]...\n"
             "       " PROGRAM " [--root DIR] --set-up VM_ID...\n"
             "Lets guests of Phase 2 go on: reads DIR/vm<id>/request.txt, has vgpu-mediator do\n"
             "what it asks, and writes DIR/vm<id>/response.txt.\n"
             "\n",
    .outro = "\n"
             "Examples:\n"
             "  " PROGRAM " --set-up 1 2 200\n"
             "  " PROGRAM " --root /srv/vgpu --socket " VGPU_BRIDGE_SOCKET_PATH "\n"
             "  echo A:2:1:100:200 > /var/vgpu/vm1/request.txt; sleep 1\n"
             "  cat /var/vgpu/vm1/response.txt\n"
             "\n"
             "Exit status: 0 stopped by a signal, or set up; 1 it can't work; 2 a wrong option.\n",
    .rows = rows,
    .row_count = sizeof(rows) / sizeof(rows[0]),
};

int options_parse(struct options *options, int argc, char **argv)
{
    int status;

    *options = (struct options){
        .root = OPTIONS_ROOT,
        .session.socket_path = VGPU_BRIDGE_SOCKET_PATH,
        .poll_ms = OPTIONS_POLL_MS,
        .log_level = LOG_LEVEL_INFO,
    };
    status = args_parse(&program, argc, argv, options, &options->words);
    if (status >= 0) {
        return status;
    }
    if (!options->set_up && options->words[0]) {
        return args_refused(PROGRAM, "an argument", options->words[0], "expected");
    }
    if (options->set_up && !options->words[0]) {
        fprintf(stderr, PROGRAM ": --set-up: of which VMs? For example --set-up 1 2 200.\n");
        return ARGS_EXIT_USAGE;
    }
    return -1;
}
