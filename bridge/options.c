/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "bridge/options.h"

#include <stdio.h>

#include "common/option_list.h"
#include "common/parse.h"
#include "common/usage.h"
#include "vgpu/vgpu_protocol.h"

#define PROGRAM "vgpu-file-bridge"
#define POLL_MS_MIN 10
#define POLL_MS_MAX 60000

static const char help_text[] =
    "Usage: " PROGRAM " [OPTION]...\n"
    "       " PROGRAM " [--root DIR] --set-up VM_ID...\n"
    "Lets guests of Phase 2 go on: reads DIR/vm<id>/request.txt, has vgpu-mediator do\n"
    "what it asks, and writes DIR/vm<id>/response.txt.\n"
    "\n"
    "  --root DIR         where the VMs' folders are (default " OPTIONS_ROOT ")\n"
    "  --socket PATH      the mediator's bridge socket (default " VGPU_BRIDGE_SOCKET_PATH ")\n"
    "  --poll-ms N        look at each folder so often, 10 to 60000 (default 500); events\n"
    "                     make it faster where the kernel has them\n"
    "  --plain-sums       for guests that run vm_client_vector: a sum is answered without its\n"
    "                     status\n"
    "  --log-level LEVEL  error, warning, notice, info or debug (default info)\n"
    "  --set-up           make the folders and files of these VMs, and end\n"
    "  --help, --version\n"
    "\n"
    "Examples:\n"
    "  " PROGRAM " --set-up 1 2 200\n"
    "  " PROGRAM " --root /srv/vgpu --socket " VGPU_BRIDGE_SOCKET_PATH "\n"
    "  echo A:2:1:100:200 > /var/vgpu/vm1/request.txt; sleep 1; cat /var/vgpu/vm1/response.txt\n"
    "\n"
    "Exit status: 0 stopped by a signal, or set up; 1 it can't work; 2 a wrong option.\n";

#define OPTIONS(X)                                                                                 \
    X(ROOT, "root", required_argument)                                                             \
    X(SOCKET, "socket", required_argument)                                                         \
    X(POLL_MS, "poll-ms", required_argument)                                                       \
    X(PLAIN_SUMS, "plain-sums", no_argument)                                                       \
    X(LOG_LEVEL, "log-level", required_argument)                                                   \
    X(SET_UP, "set-up", no_argument)                                                               \
    X(HELP, "help", no_argument)                                                                   \
    X(VERSION, "version", no_argument)

enum option_id { OPT_BEFORE_FIRST = 255, OPTIONS(OPTION_ID) };

static const struct option long_options[] = {OPTIONS(OPTION_ROW){0}};

static int parse_poll(const char *text, uint32_t *value)
{
    return parse_u32(text, POLL_MS_MIN, POLL_MS_MAX, value)
               ? -1
               : usage_refused(PROGRAM, "--poll-ms", text, "a number from 10 to 60000");
}

static int set(struct options *options, int option, char **argv)
{
    int level;

    switch (option) {
    case OPT_ROOT: options->root = optarg; return -1;
    case OPT_SOCKET: options->session.socket_path = optarg; return -1;
    case OPT_POLL_MS: return parse_poll(optarg, &options->poll_ms);
    case OPT_PLAIN_SUMS: options->session.plain_sums = true; return -1;
    case OPT_LOG_LEVEL:
        level = log_level_from_name(optarg);
        if (level < 0) {
            return usage_refused(PROGRAM, "--log-level", optarg, "one of " LOG_LEVEL_WORDS);
        }
        options->log_level = (enum log_level)level;
        return -1;
    case OPT_SET_UP: options->set_up = true; return -1;
    case OPT_HELP: fputs(help_text, stdout); return 0;
    case OPT_VERSION: puts(PROGRAM " " VGPU_VERSION); return 0;
    default: return usage_unknown(PROGRAM, long_options, argv[optind - 1]);
    }
}

int options_parse(struct options *options, int argc, char **argv)
{
    int option;

    *options = (struct options){
        .root = OPTIONS_ROOT,
        .session.socket_path = VGPU_BRIDGE_SOCKET_PATH,
        .poll_ms = OPTIONS_POLL_MS,
        .log_level = LOG_LEVEL_INFO,
    };
    while ((option = getopt_long(argc, argv, "", long_options, NULL)) >= 0) {
        int status = set(options, option, argv);

        if (status >= 0) {
            return status;
        }
    }
    options->words = argv + optind;
    if (!options->set_up && argv[optind]) {
        return usage_refused(PROGRAM, "an argument", argv[optind], "expected");
    }
    if (options->set_up && !argv[optind]) {
        fprintf(stderr, PROGRAM ": --set-up: of which VMs? For example --set-up 1 2 200.\n");
        return USAGE_EXIT;
    }
    return -1;
}
