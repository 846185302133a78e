/* SPDX-License-Identifier: GPL-2.0-or-later */
/* This module reads the command line of vgpu-mediator. */
#ifndef MEDIATOR_OPTIONS_H
#define MEDIATOR_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/log.h"
#include "core/core.h"
#include "mediator/base/http_address.h"
#include "common/uuid.h"

#define OPTIONS_VM_SOCKETS_MAX 256u
#define OPTIONS_GPUS_MAX CORE_GPUS_MAX
#define OPTIONS_QEMU_USERS_MAX 8u

enum backend_choice {
    BACKEND_CHOICE_AUTO,
    BACKEND_CHOICE_CPU,
    BACKEND_CHOICE_CUDA,
};

enum unregistered_choice {
    UNREGISTERED_DEFAULT, /* denied with a database, allowed without */
    UNREGISTERED_ALLOW,
    UNREGISTERED_DENY,
};

/* One --vm UUID=PATH. */
struct option_vm_socket {
    uint8_t uuid[UUID_BYTES];
    const char *path;
};

/* Root's default shared socket beside VGPU_SOCKET_PATH: nobody else can put a file in its place. */
#define VGPU_ROOT_SOCKET_FOLDER "/run/vgpu"
#define VGPU_ROOT_SOCKET_PATH VGPU_ROOT_SOCKET_FOLDER "/mediator.sock"

/* Strings belong to argv or the environment. */
struct options {
    struct core_config core;

    const char *socket_path;  /* the shared socket; NULL = none */
    bool default_sockets;     /* no socket was asked for: those of everybody */
    const char *socket_group; /* may use the sockets; NULL = their owner only */
    const char *qemu_users[OPTIONS_QEMU_USERS_MAX]; /* none given: those that packages make */
    uint32_t qemu_user_count;
    const char *admin_path;
    struct http_address metrics;
    bool metrics_given; /* then it is an error when it can't be had */
    struct option_vm_socket vm_sockets[OPTIONS_VM_SOCKETS_MAX];
    uint32_t vm_socket_count;
    const char *bridge_path; /* vgpu-file-bridge's socket; NULL = none */
    bool discovery;
    bool trust_claims;

    uint32_t seccomp;         /* enum sandbox_mode */
    const char *seccomp_text; /* NULL: not given */

    bool use_db;
    const char *db_path; /* as given, may be NULL: vgpu_db_path() decides */
    enum unregistered_choice unregistered;
    const char *state_path; /* what the next mediator takes over; NULL = nothing */

    enum backend_choice backend;
    uint32_t cpu_gpus;         /* GPUs that the CPU backend stands for */
    const char *worker_path;   /* NULL = beside the keeper's executable */
    const char *keeper_socket; /* of a keeper that runs; NULL = a keeper of our own, */
    const char *keeper_path;   /* NULL = beside our own executable, */
    struct {
        const char *uid_base, *uid_count, *cache, *confine; /* as given; NULL: not */
        uint32_t uid_base_number, uid_count_number, confine_number;
    } keeper; /* what that one is told */

    const char *policy_given, *log_level_given; /* NULL: they are the defaults */
    bool test_mode;                             /* ask at the start, see control/test_mode.h */
    uint64_t stats_log_ns; /* how often the log says what each VM did; 0 = never */
    uint64_t busy_poll_ns; /* how long the loop looks for a job's next step before it sleeps */

    bool use_nvml;
    const char *nvml_path;         /* NULL = where the loader finds it */
    const char *gpu_reset_command; /* NULL = GPUs are never reset */

    enum log_level log_level;
    bool log_json;
    const char *proc_path; /* "/proc"; tests have their own */
};

enum options_result {
    OPTIONS_RUN,
    OPTIONS_EXIT_OK,    /* --help, --version: done */
    OPTIONS_EXIT_USAGE, /* said on stderr what is wrong */
};

#define OPTIONS_KEEPER_ARGS 20u

/* The command line of a keeper of our own: up to the first NULL.  The strings are options's. */
void options_for_keeper(const struct options *options, const char *args[OPTIONS_KEEPER_ARGS]);

enum options_result options_parse(struct options *options, int argc, char **argv);

#endif /* MEDIATOR_OPTIONS_H */
