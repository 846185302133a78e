/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "keeper/options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "common/option_list.h"
#include "common/parse.h"
#include "common/usage.h"
#include "vgpu/vgpu_keeper.h"

#define ALONE_S_DEFAULT 60u

static const char help_text[] =
    "Usage: vgpu-keeper --socket PATH [OPTION]...\n"
    "       vgpu-keeper --private [OPTION]...\n"
    "\n"
    "Starts, holds and kills vgpu-mediator's workers: each under its VM's own uid, without\n"
    "capabilities and without a network.  It outlives a restart of the mediator.\n"
    "\n"
    "  --socket PATH        listen here for vgpu-mediator (--keeper-socket PATH)\n"
    "  --private            serve the socket that is file descriptor 3, and end with it: so\n"
    "                       vgpu-mediator starts one that has none\n"
    "  --worker PATH        vgpu-worker (default: beside this program)\n"
    "  --uid-base N         the first uid for workers (default 2100000000)\n"
    "  --uid-count N        how many there are, 1 to 65536 (default 65536)\n"
    "  --cache-dir PATH     a folder of compiled kernels for each VM (default " UIDS_CACHE_PATH
    ")\n"
    "  --no-cache           no such folders\n"
    "  --confine auto|always|never\n"
    "                       auto: as far as this process may; always: all of it or no start;\n"
    "                       never: workers run as this process does (default auto)\n"
    "  --alone-s N          how long workers are kept without a mediator (default 60)\n"
    "  --log-level " LOG_LEVEL_CHOICES " (default info)\n"
    "  --log-format text|json\n"
    "  --help, --version\n"
    "\n"
    "Signals: SIGTERM ends it and all workers.\n"
    "Exit status: 0 ended by a signal or, private, with its mediator; 1 failed, 2 wrong usage.\n"
    "\n"
    "Example: vgpu-keeper --socket " VGPU_KEEPER_SOCKET_PATH "\n";

#define OPTIONS(X)                                                                                 \
    X(SOCKET, "socket", required_argument)                                                         \
    X(PRIVATE, "private", no_argument)                                                             \
    X(WORKER, "worker", required_argument)                                                         \
    X(UID_BASE, "uid-base", required_argument)                                                     \
    X(UID_COUNT, "uid-count", required_argument)                                                   \
    X(CACHE_DIR, "cache-dir", required_argument)                                                   \
    X(NO_CACHE, "no-cache", no_argument)                                                           \
    X(CONFINE, "confine", required_argument)                                                       \
    X(ALONE_S, "alone-s", required_argument)                                                       \
    X(LOG_LEVEL, "log-level", required_argument)                                                   \
    X(LOG_FORMAT, "log-format", required_argument)                                                 \
    X(HELP, "help", no_argument)                                                                   \
    X(VERSION, "version", no_argument)

enum option_id { OPT_BEFORE_FIRST = 255, OPTIONS(OPTION_ID) };

static const struct option long_options[] = {OPTIONS(OPTION_ROW){0}};

static int take_confinement(struct keeper_options *options)
{
    static const char *const names[] = {"auto", "always", "never"};

    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(optarg, names[i]) == 0) {
            options->confinement = (enum keeper_confinement)i;
            return -1;
        }
    }
    return usage_refused("vgpu-keeper", "--confine", optarg, "auto, always or never");
}

static int take_socket(struct keeper_options *options)
{
    if (optarg[0] == '\0' || strlen(optarg) >= sizeof(((struct sockaddr_un *)0)->sun_path)) {
        return usage_refused("vgpu-keeper", "--socket", optarg, "a path of 1 to 107 characters");
    }
    options->socket_path = optarg;
    return -1;
}

static int take_option(struct keeper_options *options, int id, bool *is_private)
{
    int level;

    switch (id) {
    case OPT_SOCKET: return take_socket(options);
    case OPT_PRIVATE: *is_private = true; return -1;
    case OPT_WORKER: options->worker_path = optarg; return -1;
    case OPT_UID_BASE:
        return parse_u32(optarg, 1, INT32_MAX, &options->uids.base)
                   ? -1
                   : usage_refused("vgpu-keeper", "--uid-base", optarg,
                                   "a number from 1 to 2147483647");
    case OPT_UID_COUNT:
        return parse_u32(optarg, 1, UIDS_COUNT_MAX, &options->uids.count)
                   ? -1
                   : usage_refused("vgpu-keeper", "--uid-count", optarg,
                                   "a number from 1 to 65536");
    case OPT_CACHE_DIR: options->uids.cache_path = optarg; return -1;
    case OPT_NO_CACHE: options->uids.cache_path = NULL; return -1;
    case OPT_CONFINE: return take_confinement(options);
    case OPT_ALONE_S:
        return parse_u32(optarg, 0, 86400, &options->alone_s)
                   ? -1
                   : usage_refused("vgpu-keeper", "--alone-s", optarg,
                                   "a number of seconds, up to 86400");
    case OPT_LOG_LEVEL:
        level = log_level_from_name(optarg);
        if (level < 0) {
            return usage_refused("vgpu-keeper", "--log-level", optarg, "one of " LOG_LEVEL_WORDS);
        }
        options->log_level = (enum log_level)level;
        return -1;
    case OPT_LOG_FORMAT:
        options->log_json = strcmp(optarg, "json") == 0;
        return options->log_json || strcmp(optarg, "text") == 0
                   ? -1
                   : usage_refused("vgpu-keeper", "--log-format", optarg, "text or json");
    case OPT_HELP: fputs(help_text, stdout); return EXIT_SUCCESS;
    case OPT_VERSION: puts("vgpu-keeper " VGPU_VERSION); return EXIT_SUCCESS;
    default: return USAGE_EXIT;
    }
}

static int check_together(const struct keeper_options *options, bool is_private)
{
    if (is_private == (options->socket_path != NULL)) {
        fputs("vgpu-keeper: give it either --socket PATH or --private. See vgpu-keeper --help.\n",
              stderr);
        return USAGE_EXIT;
    }
    if (options->uids.base > INT32_MAX - options->uids.count) {
        fprintf(stderr, "vgpu-keeper: --uid-base %u and --uid-count %u go beyond 2147483647.\n",
                options->uids.base, options->uids.count);
        return USAGE_EXIT;
    }
    return -1;
}

int keeper_options_parse(int argc, char **argv, struct keeper_options *options)
{
    bool is_private = false;
    int id, status;

    *options = (struct keeper_options){
        .uids = {UIDS_BASE_DEFAULT, UIDS_COUNT_DEFAULT, UIDS_LOCK_PATH, UIDS_CACHE_PATH},
        .alone_s = ALONE_S_DEFAULT,
        .log_level = LOG_LEVEL_INFO,
    };
    while ((id = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        if (id == '?') {
            return usage_unknown("vgpu-keeper", long_options, argv[optind - 1]);
        }
        status = take_option(options, id, &is_private);
        if (status >= 0) {
            return status;
        }
    }
    if (optind < argc) {
        fprintf(stderr, "vgpu-keeper: unexpected argument '%s'\n", argv[optind]);
        return USAGE_EXIT;
    }
    return check_together(options, is_private);
}
