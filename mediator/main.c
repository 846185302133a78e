/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/launcher.h"
#include "common/log.h"
#include "common/notify.h"
#include "common/sandbox.h"
#include "common/unused.h"
#include "core/job_trace.h"
#include "mediator/base/host_help.h"
#include "mediator/base/own_process.h"
#include "mediator/control/commands.h"
#include "mediator/control/driver_watch.h"
#include "mediator/control/external.h"
#include "mediator/control/health_watch.h"
#include "mediator/control/server.h"
#include "mediator/control/stop.h"
#include "mediator/control/test_mode.h"
#include "mediator/config/config_apply.h"
#include "mediator/config/config_store.h"
#include "mediator/sessions/discovery.h"
#include "mediator/sessions/discovery_lock.h"
#include "mediator/events.h"
#include "mediator/effects.h"
#include "mediator/gpu/gpu_health.h"
#include "mediator/gpu/gpu_reset.h"
#include "mediator/gpu/memory_watch.h"
#include "mediator/workers/gpus.h"
#include "mediator/health/health.h"
#include "mediator/metrics/http_metrics.h"
#include "mediator/identity/identity.h"
#include "mediator/sessions/listeners.h"
#include "mediator/mediator.h"
#include "mediator/seccomp_mediator.h"
#include "mediator/options.h"
#include "mediator/metrics/own_metrics.h"
#include "mediator/sockets.h"
#include "mediator/sessions/session_io.h"
#include "mediator/sessions/session_park.h"
#include "mediator/metrics/shares.h"
#include "mediator/metrics/stats_log.h"
#include "mediator/state/kept_state.h"
#include "mediator/workers/channel_memory.h"
#include "mediator/workers/supervisor.h"
#include "mediator/workers/keeper_link.h"
#include "store/vgpu_config.h"

#define EXIT_FAILED 1
#define EXIT_USAGE 2
/* Sessions, workers, folders of sockets, and what is left for the rest. */
#define FILES_WANTED (CORE_SESSIONS_MAX + SUPERVISOR_WORKERS_MAX + 3 * LISTENERS_MAX + 256u)

static struct mediator mediator;
static struct gpu_list gpus;
static struct test_mode_plan test_plan;
static uid_t qemu_users[OPTIONS_QEMU_USERS_MAX];
static uint32_t qemu_user_count;
static int reset_launcher = -1;

/* ---- starting; each says what is wrong ---- */

/* What needs root is asked of the keeper, by one who is not. */
static void get_help(struct keeper_link *keeper)
{
    int theirs[HOST_HELPERS], ret;

    if (!host_help_is_wanted() || !(keeper_link_welcome(keeper)->flags & VGPU_KEEPER_HELPS)) {
        return;
    }
    ret = host_help_new(theirs);
    if (ret == 0) {
        ret = keeper_link_help(keeper, theirs);
        close(theirs[0]);
        close(theirs[1]);
    }
    if (ret < 0) {
        log_warning("vgpu-keeper can't be asked for what needs root: %s; sockets are not made in "
                    "QEMUs' chroots",
                    strerror(-ret));
    }
}

/* Before there is a second thread, and before the list of system calls. */
static bool start_reset_launcher(void)
{
    char *argv[] = {(char *)mediator.options.gpu_reset_command, NULL};
    const struct launcher_program program = {.argv = argv,
                                             .argument = true,
                                             .as_fd = STDOUT_FILENO,
                                             .timeout_s = GPU_RESET_TIMEOUT_MS / 1000};
    int ret = argv[0] ? launcher_start(&program, 1) : -ENOENT;

    reset_launcher = argv[0] ? ret : -1;
    if (argv[0] && ret < 0) {
        log_error("cannot start the process that runs %s: %s", argv[0], strerror(-ret));
        return false;
    }
    return true;
}

static int ask_for_reset(UNUSED void *opaque, const char *uuid, const int fds[LAUNCHER_FDS])
{
    return launcher_ask(reset_launcher, 0, uuid, fds);
}

static int ask_keeper_for_reset(UNUSED void *opaque, const char *uuid, const int fds[LAUNCHER_FDS])
{
    return keeper_link_reset(mediator.keeper, uuid, fds);
}

/* The keeper's administrator has said how, or ours has; else nobody resets GPUs. */
static const struct gpu_reset_way *find_reset_way(void)
{
    static struct gpu_reset_way way;

    if (keeper_link_welcome(mediator.keeper)->flags & VGPU_KEEPER_RESETS) {
        way = (struct gpu_reset_way){"of vgpu-keeper", ask_keeper_for_reset, NULL};
        return &way;
    }
    if (!mediator.options.gpu_reset_command) {
        return NULL;
    }
    if (geteuid() != 0) {
        log_warning("--gpu-reset-command: vgpu-mediator is not root, and so is not the command; to "
                    "run it as root give the option to vgpu-keeper instead");
    }
    way = (struct gpu_reset_way){mediator.options.gpu_reset_command, ask_for_reset, NULL};
    return &way;
}

static bool open_keeper(void)
{
    struct keeper_link_config config = {
        .socket_path = mediator.options.keeper_socket,
        .program = mediator.options.keeper_path,
        .there = get_help,
    };
    char error[512];

    options_for_keeper(&mediator.options, config.args);
    if (keeper_link_open(&config, &mediator.keeper, error, sizeof(error)) < 0) {
        log_error("%s; without it no worker can be started", error);
        return false;
    }
    return true;
}

static bool find_gpus(void)
{
    char error[512];

    if (gpus_probe(&mediator.options, mediator.keeper, &gpus, error, sizeof(error)) < 0) {
        log_error("%s", error);
        return false;
    }
    strcpy(mediator.backend, gpus.backend);
    if (strcmp(gpus.backend, "cpu") == 0 && gpus.reason[0]) {
        log_notice("backend cpu, because: %s", gpus.reason);
    } else {
        log_notice("backend %s", gpus.backend);
    }
    return true;
}

/* Without --qemu-user those that the packages of libvirt and QEMU make, where they are. */
static bool find_qemu_users(void)
{
    static const char *const usual[] = {"libvirt-qemu", "qemu"};
    const struct options *options = &mediator.options;
    bool given = options->qemu_user_count > 0;
    const char *const *names = given ? options->qemu_users : usual;
    uint32_t count = given ? options->qemu_user_count : sizeof(usual) / sizeof(usual[0]);

    for (uint32_t i = 0; i < count; i++) {
        const struct passwd *user = getpwnam(names[i]);

        if (user) {
            qemu_users[qemu_user_count++] = user->pw_uid;
        } else if (given) {
            log_error("--qemu-user: there is no user %s", names[i]);
            return false;
        }
    }
    return true;
}

/* What stands around the core. */
static bool make_parts(void)
{
    mediator.sessions = session_io_new(&mediator.loop, mediator.core, mediator.events);
    mediator.identities = identity_cache_new(&mediator.loop, mediator.options.proc_path);
    mediator.listeners = listeners_new(&(struct listeners_uses){
        .loop = &mediator.loop,
        .events = mediator.events,
        .sessions = mediator.sessions,
        .identities = mediator.identities,
        .trust_claims = mediator.options.trust_claims,
        .qemu_users = qemu_users,
        .qemu_user_count = qemu_user_count,
    });
    mediator.session_park = session_park_new(&(struct session_park_uses){
        .loop = &mediator.loop,
        .core = mediator.core,
        .sessions = mediator.sessions,
        .listeners = mediator.listeners,
        .keeper = mediator.keeper,
    });
    mediator.channel_memory = channel_memory_new();
    mediator.supervisor = supervisor_new(&(struct supervisor_uses){
        .loop = &mediator.loop,
        .core = mediator.core,
        .config = &mediator.options.core,
        .keeper = mediator.keeper,
        .backend = mediator.backend,
    });
    mediator.shares = shares_new(&mediator.loop, mediator.core);
    mediator.stats_log = stats_log_new(&mediator.loop, mediator.core);
    mediator.health = health_new();
    mediator.health_watch = health_watch_new(&mediator);
    return mediator.health && mediator.health_watch && mediator.sessions && mediator.identities &&
           mediator.listeners && mediator.session_park && mediator.supervisor && mediator.shares &&
           mediator.stats_log;
}

static bool add_gpus(void)
{
    for (uint32_t i = 0; i < gpus.count; i++) {
        if (core_gpu_add(mediator.core, gpus.gpus[i].uuid) < 0) {
            log_error("GPU %s cannot be used", gpus.gpus[i].uuid);
            return false;
        }
        log_info("GPU %" PRIu32 ": %s (%s)", i, gpus.gpus[i].name, gpus.gpus[i].uuid);
    }
    return true;
}

static bool make_core(void)
{
    struct core_effects effects;
    struct core_config *config = &mediator.options.core;

    config->allow_unregistered = mediator.options.unregistered == UNREGISTERED_DEFAULT
                                     ? !mediator.options.use_db
                                     : mediator.options.unregistered == UNREGISTERED_ALLOW;
    effects_table(&mediator, &effects);
    mediator.events = events_new();
    mediator.trace = job_trace_new();
    mediator.core = core_new(config, &effects);
    if (!mediator.events || !mediator.trace || !mediator.core || !make_parts()) {
        log_error("out of memory");
        return false;
    }
    events_set_core(mediator.events, mediator.core);
    if (!add_gpus()) {
        return false;
    }
    mediator.gpus = &gpus;
    return true;
}

static bool read_configuration(void)
{
    char error[CONFIG_STORE_ERROR_BYTES];
    const char *path;

    if (!mediator.options.use_db) {
        config_apply_default_pools(mediator.core, "AB");
        return true;
    }
    path = vgpu_db_path(mediator.options.db_path);
    if (config_store_open(&mediator.loop, mediator.core, path, &mediator.config, error,
                          sizeof(error)) < 0) {
        log_error("database %s: %s (--no-db runs without one)", path, error);
        return false;
    }
    return true;
}

/* Behind the configuration, and before anybody can connect. */
static bool take_kept_state(void)
{
    if (!mediator.options.state_path) {
        return true;
    }
    mediator.kept_state =
        kept_state_new(&mediator.loop, mediator.core, mediator.options.state_path);
    if (!mediator.kept_state) {
        log_error("out of memory");
        return false;
    }
    kept_state_take(mediator.kept_state);
    return true;
}

static void fill_external(void *opaque, struct metrics_external *external)
{
    external_fill(opaque, external);
}

static const struct health *look_at_health(void *opaque)
{
    struct mediator *self = opaque;

    health_watch_look(self->health_watch);
    return self->health;
}

/* Without its metrics the mediator still does its work: only who asked for them is refused. */
static bool start_metrics(void)
{
    char error[SOCKET_ERROR_BYTES];

    mediator.own_metrics = own_metrics_start(&mediator.loop);
    if (mediator.options.metrics.off ||
        http_metrics_start(
            &(struct http_metrics_uses){
                .loop = &mediator.loop,
                .core = mediator.core,
                .stopping = &mediator.stopping,
                .opaque = &mediator,
                .fill = fill_external,
                .health = look_at_health,
            },
            &mediator.options.metrics, &mediator.http, error, sizeof(error)) == 0) {
        return true;
    }
    if (mediator.options.metrics_given) {
        log_error("--metrics-listen: cannot listen on %s", error);
        return false;
    }
    log_warning("no metrics over HTTP: cannot listen on %s", error);
    return true;
}

/* A mediator without news about its GPUs' health is better than none. */
static void start_gpu_health(void)
{
    int ret;

    if (!mediator.options.use_nvml ||
        (strcmp(mediator.backend, "cuda") != 0 && !mediator.options.nvml_path)) {
        return;
    }
    mediator.gpu_health = gpu_health_new(
        &(struct gpu_health_uses){&mediator.loop, mediator.core, mediator.events, mediator.gpus},
        mediator.options.nvml_path, find_reset_way());
    ret = mediator.gpu_health ? gpu_health_start(mediator.gpu_health) : -ENOMEM;
    if (ret < 0) {
        log_warning("the GPUs' health is not watched: %s", strerror(-ret));
        return;
    }
    mediator.memory_watch = memory_watch_new(&(struct memory_watch_uses){
        &mediator.loop, mediator.core, mediator.supervisor, mediator.gpu_health});
    if (!mediator.memory_watch) {
        log_warning("the workers' GPU memory is not compared with their VMs' limits: no memory");
    }
}

/* The driver works by now: as if its GPUs had been there from the beginning. */
static void on_gpus_found(void)
{
    log_notice("the GPU driver works: its GPUs are taken up");
    if (!add_gpus()) {
        return;
    }
    admin_command_apply_holds(&mediator);
    if (!mediator.config) {
        config_apply_default_pools(mediator.core, "AB");
    } else if (config_store_reload(mediator.config, NULL, NULL) < 0) {
        log_error("the configuration was not read again: the database is too slow");
    }
    start_gpu_health();
}

static int start_discovery(UNUSED void *opaque)
{
    int ret;

    mediator.discovery = discovery_new(&(struct discovery_uses){
        .loop = &mediator.loop,
        .listeners = mediator.listeners,
        .identities = mediator.identities,
        .proc_path = mediator.options.proc_path,
        .qemu_users = qemu_users,
        .qemu_user_count = qemu_user_count,
    });
    ret = mediator.discovery ? discovery_start(mediator.discovery) : -ENOMEM;
    if (ret < 0) {
        log_error("cannot start to look for QEMUs: %s", strerror(-ret));
    }
    return ret;
}

/* One mediator of a host does it.  Another --proc is another world. */
static int start_discovery_in_turn(void)
{
    if (!mediator.options.discovery) {
        return 0;
    }
    if (strcmp(mediator.options.proc_path, "/proc") != 0) {
        return start_discovery(NULL);
    }
    mediator.discovery_lock = discovery_lock_new(&mediator.loop, DISCOVERY_LOCK_PATH);
    if (!mediator.discovery_lock) {
        log_error("out of memory");
        return -ENOMEM;
    }
    return discovery_lock_start(mediator.discovery_lock, DISCOVERY_LOCK_AGAIN_MS, start_discovery,
                                NULL);
}

static bool start_parts(void)
{
    char error[SOCKET_ERROR_BYTES];
    int ret;

    if (supervisor_start(mediator.supervisor) < 0 || effects_start(&mediator) < 0 ||
        shares_start(mediator.shares) < 0 ||
        stats_log_start(mediator.stats_log, mediator.options.stats_log_ns) < 0 ||
        events_start(mediator.events, &mediator.loop) < 0) {
        log_error("cannot start the event loop's parts");
        return false;
    }
    if (mediator.options.test_mode) {
        mediator.test_mode = test_mode_start(&mediator, &test_plan);
        if (!mediator.test_mode) {
            log_error("out of memory");
            return false;
        }
    }
    if (!sockets_open(&mediator.options, mediator.listeners)) {
        return false;
    }
    if (gpus.count > 0) {
        start_gpu_health();
    }
    mediator.driver_watch = driver_watch_new(&mediator, &gpus, on_gpus_found);
    if (!mediator.driver_watch || driver_watch_start(mediator.driver_watch) < 0) {
        log_error("cannot watch over the GPU driver");
        return false;
    }
    if (admin_server_start(&mediator, mediator.options.admin_path, &mediator.admin, error,
                           sizeof(error)) < 0) {
        log_error(
            "cannot listen on the admin socket %s: %s (--admin-socket PATH puts it elsewhere)",
            mediator.options.admin_path, error);
        return false;
    }
    log_info("vgpu-admin's socket is %s", mediator.options.admin_path);
    if (!start_metrics()) {
        return false;
    }
    if (start_discovery_in_turn() < 0) {
        return false;
    }
    if (health_watch_start(mediator.health_watch) < 0) {
        log_error("cannot start to watch over the health");
        return false;
    }
    /* Last: a second mediator, which gets no socket, must not write over the first one's file. */
    if (mediator.kept_state && kept_state_start(mediator.kept_state) < 0) {
        log_error("cannot start to keep the VMs' accounts");
        return false;
    }
    /* They are answered again when all else is there. */
    ret = session_park_start(mediator.session_park);
    if (ret < 0) {
        log_warning("vgpu-keeper can't be asked for the connections that were there before: %s",
                    strerror(-ret));
    }
    if (mediator.options.trust_claims) {
        log_warning("--trust-claims: peers that are no QEMU may say which VM they are; this is "
                    "for laboratories only");
    }
    return true;
}

/* NVML is of the driver: another version's calls are to fail, and not to end all VMs' service. */
static bool enter_sandbox(void)
{
    const struct options *options = &mediator.options;
    bool has_nvml =
        options->use_nvml && (strcmp(mediator.backend, "cuda") == 0 || options->nvml_path);
    enum sandbox_mode mode =
        !options->seccomp_text && has_nvml ? SANDBOX_REFUSE : (enum sandbox_mode)options->seccomp;
    int ret = SANDBOX_ENTER(sandbox_mediator, mode);

    if (ret < 0) {
        log_error("the list of system calls can't be set up: %s; --seccomp none does without",
                  strerror(-ret));
    }
    return ret == 0;
}

static void free_all(void)
{
    admin_server_free(mediator.admin);
    discovery_free(mediator.discovery);
    discovery_lock_free(mediator.discovery_lock);
    listeners_free(mediator.listeners);
    host_help_stop();
    session_park_free(mediator.session_park);
    session_io_free(mediator.sessions);
    identity_cache_free(mediator.identities);
    supervisor_free(mediator.supervisor);
    keeper_link_free(mediator.keeper);
    channel_memory_free(mediator.channel_memory);
    config_store_close(mediator.config);
    shares_free(mediator.shares);
    stats_log_free(mediator.stats_log);
    kept_state_free(mediator.kept_state);
    test_mode_free(mediator.test_mode);
    health_watch_free(mediator.health_watch);
    driver_watch_free(mediator.driver_watch);
    health_free(mediator.health);
    memory_watch_free(mediator.memory_watch);
    gpu_health_free(mediator.gpu_health);
    http_metrics_free(mediator.http);
    own_metrics_free(mediator.own_metrics);
    if (mediator.core) {
        core_free(mediator.core);
    }
    job_trace_free(mediator.trace);
    events_free(mediator.events);
}

static bool ask_for_the_test(void)
{
    if (!isatty(STDIN_FILENO)) {
        fprintf(stderr, "vgpu-mediator: --test-mode asks on a terminal, and standard input is "
                        "none; \"vgpu-admin test-mode\" does the same while the mediator "
                        "runs.\n");
        return false;
    }
    if (!test_mode_ask(stdin, stderr, &test_plan)) {
        fprintf(stderr, "\nvgpu-mediator: --test-mode: no answer, nothing is started.\n");
        return false;
    }
    return true;
}

int main(int argc, char **argv)
{
    enum options_result parsed = options_parse(&mediator.options, argc, argv);
    bool started;
    int ret;

    if (parsed != OPTIONS_RUN) {
        return parsed == OPTIONS_EXIT_OK ? EXIT_SUCCESS : EXIT_USAGE;
    }
    if (mediator.options.test_mode && !ask_for_the_test()) {
        return EXIT_USAGE;
    }
    own_process_fill_standard_fds();
    log_init("vgpu-mediator", mediator.options.log_level, mediator.options.log_json);
    umask(0007);
    own_process_explain_abort();
    mediator.started_ns = clock_now_ns();

    ret = uv_loop_init(&mediator.loop);
    if (ret < 0) {
        log_error("cannot make an event loop: %s", uv_strerror(ret));
        return EXIT_FAILED;
    }
    if (!stop_prepare(&mediator)) {
        return EXIT_FAILED;
    }
    started = find_qemu_users() && start_reset_launcher() && open_keeper() && find_gpus();
    /* What was started has the limit that we were given. */
    own_process_raise_file_limit(FILES_WANTED);
    if (started && !make_core()) {
        return EXIT_FAILED; /* some of its parts are there: nothing runs that would have to stop */
    }
    started =
        started && read_configuration() && take_kept_state() && start_parts() && enter_sandbox();
    mediator.started = started;
    if (started) {
        log_notice("vgpu-mediator " VGPU_VERSION " is ready");
        notify_manager("READY=1");
    } else if (mediator.core) {
        mediator_stop(&mediator);
    } else {
        stop_before_the_core();
    }
    uv_run(&mediator.loop, UV_RUN_DEFAULT);
    stop_end();
    uv_run(&mediator.loop, UV_RUN_DEFAULT);
    free_all();
    ret = uv_loop_close(&mediator.loop);
    if (ret < 0) {
        log_warning("the event loop did not end cleanly: %s", uv_strerror(ret));
    }
    if (started) {
        log_notice("stopped");
    }
    return started ? EXIT_SUCCESS : EXIT_FAILED;
}
