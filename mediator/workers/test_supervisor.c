/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The supervisor with processes that behave as each test wants.  The worker is
 * this very program: with a worker's arguments it plays one (test_played_worker.c).  The core
 * and the keeper are real; requests come from sessions without sockets.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/test_open_files.h"
#include "core/no_effects.h"
#include "mediator/test_loop.h"
#include "mediator/workers/keeper_place.h"
#include "mediator/workers/supervisor.h"
#include "mediator/workers/test_played_worker.h"

static char self[4096];
static uv_loop_t loop;
static struct core_config config;
static struct core *core;
static struct keeper_link *keeper;
static struct supervisor_uses uses;
static struct supervisor *supervisor;
static uint32_t happened[CORE_EVENT_KIND_COUNT], answers, last_status;
static struct core_event last[CORE_EVENT_KIND_COUNT];
static uint64_t last_worker;
static bool is_empty;

static void take_answer(UNUSED void *opaque, UNUSED uint32_t session,
                        const VGPUSocketHeader *header, const void *payload)
{
    VGPUResponse response;

    if (header->payload_len >= sizeof(response)) {
        memcpy(&response, payload, sizeof(response));
        last_status = response.status;
        answers++;
    }
}

static void start_worker(UNUSED void *opaque, const struct core_worker_spec *spec)
{
    last_worker = spec->worker;
    supervisor_start_worker(supervisor, spec);
}

static void run_job(UNUSED void *opaque, uint64_t worker, uint64_t job_id,
                    const struct request_view *request)
{
    supervisor_run(supervisor, worker, job_id, request);
}

static void stop_worker(UNUSED void *opaque, uint64_t worker, bool kill_it)
{
    supervisor_stop_worker(supervisor, worker, kill_it);
}

static void take_event(UNUSED void *opaque, const struct core_event *event)
{
    happened[event->kind]++;
    last[event->kind] = *event;
}

static struct keeper_link *open_keeper(const char *worker)
{
    const struct keeper_link_config keeper_config = {
        .program = getenv("VGPU_TEST_KEEPER"),
        .args = {"--worker", worker, "--log-level", "warning"},
    };
    struct keeper_link *made;
    char error[512];

    if (keeper_link_open(&keeper_config, &made, error, sizeof(error)) < 0) {
        fail_msg("%s", error);
    }
    return made;
}

static int setup(void **state)
{
    const struct core_effects effects = {.send = take_answer,
                                         .close_session = no_close,
                                         .worker_start = start_worker,
                                         .worker_run = run_job,
                                         .worker_stop = stop_worker,
                                         .event = take_event};

    core_config_defaults(&config);
    config.allow_unregistered = true;
    config.test_ops = true;
    uv_loop_init(&loop);
    core = core_new(&config, &effects);
    assert_int_equal(core_gpu_add(core, "CPU-0"), 0);
    assert_int_equal(core_pool_set_gpus(core, 'A', 1, 1), 0);
    keeper = open_keeper(self);
    uses = (struct supervisor_uses){&loop, core, &config, keeper, "cpu"};
    supervisor = supervisor_new(&uses);
    assert_int_equal(supervisor_start(supervisor), 0);
    memset(happened, 0, sizeof(happened));
    answers = last_status = 0;
    is_empty = false;
    return 0;
}

static void note_empty(UNUSED void *opaque)
{
    assert_false(is_empty); /* it is said once */
    is_empty = true;
}

static int teardown(void **state)
{
    core_stop_workers(core, clock_now_ns());
    supervisor_when_empty(supervisor, note_empty, NULL);
    supervisor_settle(supervisor);
    run_until(&loop, is_empty);
    supervisor_close(supervisor);
    end_loop(&loop);
    assert_int_equal(supervisor_count(supervisor), 0);
    supervisor_free(supervisor);
    keeper_link_free(keeper);
    core_free(core);
    return 0;
}

static uint32_t connect_vm(uint32_t vm_id)
{
    const struct core_identity claim = {.kind = CORE_IDENTITY_CLAIM, .vm_ids = {vm_id}};
    uint32_t session;

    assert_int_equal(core_session_open(core, &claim, clock_now_ns(), &session), 0);
    return session;
}

static void ask(uint32_t session, uint32_t vm_id)
{
    const VGPURequest nop = {.version = VGPU_PROTOCOL_VERSION, .opcode = VGPU_OP_NOP};
    const struct frame frame = {
        .header = {.magic = VGPU_SOCKET_MAGIC,
                   .msg_type = VGPU_MSG_REQUEST,
                   .vm_id = vm_id,
                   .pool_id = 'A',
                   .priority = VGPU_PRIORITY_MEDIUM,
                   .payload_len = sizeof(nop)},
        .payload = (const uint8_t *)&nop,
    };

    core_session_frame(core, session, &frame, clock_now_ns());
}

static bool gets_ready(enum character character)
{
    unsigned kind = character % A_KIND;

    return kind == READY_TWICE || (kind >= DONE_OF_ANOTHER_JOB && kind < IS_NOT_READY_YET);
}

/* Its first request starts a worker of this character; returns when that has ended. */
static void expect_end(enum character character, enum core_worker_end end, uint32_t detail)
{
    uint32_t session = connect_vm(character);

    ask(session, character);
    if (!gets_ready(character)) {
        /* A job that waits would have the core try again, at once the first time. */
        core_session_closed(core, session, clock_now_ns());
    }
    run_until(&loop, happened[CORE_EVENT_WORKER_LOST] > 0);
    run_ready(&loop);
    assert_int_equal(happened[CORE_EVENT_WORKER_LOST], 1);
    assert_int_equal(last[CORE_EVENT_WORKER_LOST].vm_id, character);
    assert_int_equal(last[CORE_EVENT_WORKER_LOST].value, end);
    assert_int_equal(last[CORE_EVENT_WORKER_LOST].code, detail);
    assert_int_equal(supervisor_count(supervisor), 0);
    assert_int_equal(supervisor_pid(supervisor, last_worker), 0);
}

static void test_a_worker_answers_and_goes_when_told(void **state)
{
    uint32_t session = connect_vm(GOOD);

    ask(session, GOOD);
    assert_int_equal(supervisor_count(supervisor), 1);
    run_until(&loop, supervisor_pid(supervisor, last_worker) > 0);
    ask(session, GOOD);
    run_until(&loop, answers == 2);
    assert_int_equal(last_status, VGPU_ERR_NONE);
    assert_int_equal(happened[CORE_EVENT_WORKER_READY], 1);
    core_stop_workers(core, clock_now_ns());
    run_until(&loop, supervisor_count(supervisor) == 0);
    assert_int_equal(happened[CORE_EVENT_WORKER_LOST], 0);
    assert_int_equal(happened[CORE_EVENT_FAULT], 0);
}

static void test_a_worker_is_told_what_to_be(void **state)
{
    const struct core_vm_config vm = {.vm_id = WANTS_ITS_ARGUMENTS,
                                      .has_uuid = true,
                                      .uuid = {1},
                                      .pool = 'A',
                                      .priority = VGPU_PRIORITY_MEDIUM,
                                      .weight = 50,
                                      .memory_limit_bytes = 1048576};
    struct core_apply_result result;

    assert_int_equal(core_apply_vms(core, &vm, 1, 1, &result, NULL), 0);
    ask(connect_vm(WANTS_ITS_ARGUMENTS), WANTS_ITS_ARGUMENTS);
    run_until(&loop, answers || happened[CORE_EVENT_WORKER_LOST]);
    assert_int_equal(happened[CORE_EVENT_WORKER_LOST], 0);
}

static void test_a_program_that_is_gone_is_reported_afterwards(void **state)
{
    struct supervisor_uses elsewhere = uses;
    struct supervisor *usual = supervisor;
    char folder[] = "/tmp/vgpu-supervisor-XXXXXX", path[64];
    pid_t pid;

    assert_non_null(mkdtemp(folder));
    assert_int_equal(chmod(folder, 0755), 0);
    snprintf(path, sizeof(path), "%s/worker", folder);
    assert_int_equal(symlink(self, path), 0);
    elsewhere.keeper = open_keeper(path);
    assert_int_equal(unlink(path), 0);
    supervisor = supervisor_new(&elsewhere);
    assert_int_equal(supervisor_start(supervisor), 0);
    ask(connect_vm(GOOD), GOOD);
    assert_int_equal(supervisor_count(supervisor), 1);
    assert_int_equal(supervisor_pid(supervisor, last_worker), 0);
    assert_int_equal(happened[CORE_EVENT_WORKER_LOST], 0); /* not within an effect */
    /* The core tries again at once, then only after a while. */
    run_until(&loop, happened[CORE_EVENT_WORKER_LOST] == 2);
    assert_int_equal(last[CORE_EVENT_WORKER_LOST].value, CORE_WORKER_END_NOT_STARTED);
    assert_int_equal(last[CORE_EVENT_WORKER_LOST].code, ENOENT);
    assert_int_equal(supervisor_count(supervisor), 0);
    assert_int_equal(happened[CORE_EVENT_FAULT], 0);
    pid = (pid_t)keeper_link_welcome(elsewhere.keeper)->pid;
    supervisor_close(supervisor);
    run_until(&loop, kill(pid, 0) < 0);
    run_ready(&loop);
    supervisor_free(supervisor);
    keeper_link_free(elsewhere.keeper);
    supervisor = usual;
    rmdir(folder);
}

static unsigned living(const uint64_t *workers, unsigned count)
{
    unsigned n = 0;

    for (unsigned i = 0; i < count; i++) {
        n += supervisor_pid(supervisor, workers[i]) > 0;
    }
    return n;
}

/* Many VMs begin at once: their workers start one after the other, some at a time. */
static void test_only_some_workers_start_at_a_time(void **state)
{
    uint64_t workers[SUPERVISOR_STARTS_MAX + 2];
    const unsigned count = SUPERVISOR_STARTS_MAX + 2;

    for (unsigned i = 0; i < count; i++) {
        uint32_t vm_id = IS_NOT_READY_YET + A_KIND * i;

        ask(connect_vm(vm_id), vm_id);
        workers[i] = last_worker;
    }
    run_until(&loop, living(workers, count) == SUPERVISOR_STARTS_MAX);
    run_ready(&loop);
    assert_int_equal(living(workers, count), SUPERVISOR_STARTS_MAX);
    assert_int_equal(supervisor_count(supervisor), count);
    /* One that is gone makes room for the next, one that waits is just not started. */
    supervisor_stop_worker(supervisor, workers[0], true);
    run_until(&loop, supervisor_pid(supervisor, workers[count - 2]) > 0);
    assert_int_equal(supervisor_pid(supervisor, workers[count - 1]), 0);
    supervisor_stop_worker(supervisor, workers[count - 1], true);
    assert_true(supervisor_settle(supervisor));
    assert_int_equal(last[CORE_EVENT_WORKER_LOST].value, CORE_WORKER_END_NOT_STARTED);
    assert_int_equal(last[CORE_EVENT_WORKER_LOST].code, ECANCELED);
    core_stop_workers(core, clock_now_ns());
    for (unsigned i = 0; i < count; i++) {
        supervisor_stop_worker(supervisor, workers[i], true);
    }
    supervisor_stop_worker(supervisor, last_worker, true);
}

/* Its workers end with it, which is nobody's fault, and the next keeper starts new ones. */
static void test_a_keeper_that_is_lost_is_replaced(void **state)
{
    uint32_t session = connect_vm(GOOD), other = connect_vm(IS_DEAF_TO_QUIT);
    pid_t worker, first = (pid_t)keeper_link_welcome(keeper)->pid;

    ask(session, GOOD);
    ask(other, IS_DEAF_TO_QUIT);
    run_until(&loop, answers == 2 && supervisor_pid(supervisor, last_worker));
    worker = supervisor_pid(supervisor, last_worker);
    kill(first, SIGKILL);
    run_until(&loop, happened[CORE_EVENT_WORKER_LOST] == 2);
    assert_int_equal(last[CORE_EVENT_WORKER_LOST].value, CORE_WORKER_END_HOST);
    assert_int_equal(happened[CORE_EVENT_FAULT], 0);
    alarm(TEST_LOOP_PATIENCE_S);
    while (!worker_is_ending(worker)) {
        usleep(1000);
    }
    alarm(0);
    ask(session, GOOD);
    run_until(&loop, answers == 3);
    assert_int_equal(last_status, VGPU_ERR_NONE);
    assert_int_equal(keeper_link_losses(keeper), 1);
    assert_string_equal(keeper_link_trouble(keeper), "");
    assert_int_not_equal(keeper_link_welcome(keeper)->pid, first);
}

static void test_a_worker_that_never_is_ready_is_reported_with_its_status(void **state)
{
    expect_end(NEVER_READY, CORE_WORKER_END_EXITED, VGPU_WORKER_EXIT_BACKEND);
    assert_int_equal(happened[CORE_EVENT_WORKER_READY], 0);
    assert_int_equal(happened[CORE_EVENT_FAULT], 0);
}

static void test_a_worker_that_sends_nonsense_is_killed(void **state)
{
    static const enum character nonsense[] = {
        SAYS_TOO_LITTLE,   SAYS_NOTHING,    SAYS_TOO_MUCH,
        OTHER_MAGIC,       OTHER_VERSION,   OTHER_LENGTH,
        OTHER_TYPE,        READY_TOO_SHORT, READY_WITHOUT_END_OF_NAME,
        DONE_BEFORE_READY,
    };

    for (size_t i = 0; i < sizeof(nonsense) / sizeof(nonsense[0]); i++) {
        happened[CORE_EVENT_WORKER_LOST] = 0;
        expect_end(nonsense[i], CORE_WORKER_END_PROTOCOL, 0);
        assert_int_equal(happened[CORE_EVENT_WORKER_READY], 0);
    }
}

static void test_a_worker_that_is_ready_twice_is_killed(void **state)
{
    expect_end(READY_TWICE, CORE_WORKER_END_PROTOCOL, 0);
    assert_int_equal(happened[CORE_EVENT_WORKER_READY], 1);
}

static void test_a_wrong_answer_is_nobodys_answer(void **state)
{
    static const enum character wrong[] = {DONE_OF_ANOTHER_JOB, DONE_WITH_HUGE_COUNT,
                                           DONE_WITH_OTHER_LENGTH};

    for (size_t i = 0; i < 3; i++) {
        happened[CORE_EVENT_WORKER_LOST] = answers = 0;
        expect_end(wrong[i], CORE_WORKER_END_PROTOCOL, 0);
        assert_int_equal(answers, 1);
        assert_int_equal(last_status, VGPU_ERR_CUDA_ERROR);
    }
}

static void test_an_answer_that_comes_twice_counts_once(void **state)
{
    expect_end(DONE_TWICE, CORE_WORKER_END_PROTOCOL, 0);
    assert_int_equal(answers, 1);
    assert_int_equal(last_status, VGPU_ERR_NONE);
}

static void test_the_last_answer_counts_though_its_worker_is_gone(void **state)
{
    expect_end(DONE_THEN_GONE, CORE_WORKER_END_EXITED, VGPU_WORKER_EXIT_GPU_FAULT);
    assert_int_equal(answers, 1);
    assert_int_equal(last_status, VGPU_ERR_NONE);
}

static void test_a_worker_that_closes_its_socket_is_killed(void **state)
{
    expect_end(CLOSES_ITS_SOCKET, CORE_WORKER_END_PROTOCOL, 0);
}

static void test_a_job_whose_worker_leaves_is_answered_and_counts_as_a_fault(void **state)
{
    expect_end(LEAVES_A_JOB, CORE_WORKER_END_EXITED, VGPU_WORKER_EXIT_GPU_FAULT);
    assert_int_equal(answers, 1);
    assert_int_equal(last_status, VGPU_ERR_CUDA_ERROR);
    assert_int_equal(happened[CORE_EVENT_FAULT], 1);
}

static void test_a_crash_is_a_fault(void **state)
{
    expect_end(CRASHES_WITH_A_JOB, CORE_WORKER_END_SIGNALED, SIGSEGV);
    assert_int_equal(last_status, VGPU_ERR_CUDA_ERROR);
    assert_int_equal(happened[CORE_EVENT_FAULT], 1);
}

static void test_what_the_host_does_is_no_fault_of_the_vm(void **state)
{
    expect_end(IS_KILLED_BY_THE_HOST, CORE_WORKER_END_HOST, SIGKILL);
    assert_int_equal(answers, 1);
    assert_int_equal(happened[CORE_EVENT_FAULT], 0);
}

static void test_a_worker_that_takes_no_jobs_is_killed(void **state)
{
    static const uint8_t data[512];
    const struct request_view request = {
        .opcode = VGPU_OP_NOP, .data = data, .data_length = sizeof(data)};

    ask(connect_vm(READS_NOTHING), READS_NOTHING);
    run_until(&loop, happened[CORE_EVENT_WORKER_READY]);
    /* Far more than a socket holds. */
    for (uint64_t job = 1000; job < 100000; job++) {
        supervisor_run(supervisor, last_worker, job, &request);
    }
    assert_int_equal(happened[CORE_EVENT_WORKER_LOST], 0); /* not within an effect */
    run_until(&loop, happened[CORE_EVENT_WORKER_LOST]);
    assert_int_equal(last[CORE_EVENT_WORKER_LOST].value, CORE_WORKER_END_PROTOCOL);
    assert_int_equal(answers, 1);
}

static void test_a_kill_needs_nobodys_consent(void **state)
{
    ask(connect_vm(IS_DEAF_TO_QUIT), IS_DEAF_TO_QUIT);
    run_until(&loop, answers);
    supervisor_stop_worker(supervisor, last_worker, false);
    run_ready(&loop);
    assert_int_equal(supervisor_count(supervisor), 1);
    supervisor_stop_worker(supervisor, last_worker, true);
    supervisor_stop_worker(supervisor, last_worker, true);
    run_until(&loop, supervisor_count(supervisor) == 0);
}

static void test_handles_that_nobody_knows_do_nothing(void **state)
{
    const struct request_view request = {.opcode = VGPU_OP_NOP};

    supervisor_run(supervisor, 4711, 1, &request);
    supervisor_stop_worker(supervisor, 4711, true);
    assert_int_equal(supervisor_pid(supervisor, 4711), 0);
    assert_false(supervisor_settle(supervisor));
}

static void test_one_vms_bad_worker_leaves_the_others_alone(void **state)
{
    uint32_t session = connect_vm(GOOD), other = connect_vm(OTHER_MAGIC);

    ask(session, GOOD);
    run_until(&loop, answers == 1);
    ask(other, OTHER_MAGIC);
    core_session_closed(core, other, clock_now_ns());
    run_until(&loop, happened[CORE_EVENT_WORKER_LOST]);
    assert_int_equal(supervisor_count(supervisor), 1);
    ask(session, GOOD);
    run_until(&loop, answers == 2);
    assert_int_equal(last_status, VGPU_ERR_NONE);
}

/* It brings more of them than anybody asked for: none is kept. */
static void test_what_a_worker_brings_is_closed(void **state)
{
    uint32_t session = connect_vm(BRINGS_DESCRIPTORS);
    unsigned before;

    ask(session, BRINGS_DESCRIPTORS);
    run_until(&loop, answers == 1);
    before = open_files();
    for (uint32_t job = 2; job <= 4; job++) {
        ask(session, BRINGS_DESCRIPTORS);
        run_until(&loop, answers == job);
    }
    assert_int_equal(last_status, VGPU_ERR_NONE);
    assert_int_equal(open_files(), before);
}

static void test_what_comes_beside_nothing_is_closed(void **state)
{
    unsigned before;

    expect_end(SAYS_NOTHING_BESIDE_DESCRIPTORS, CORE_WORKER_END_PROTOCOL, 0);
    before = open_files();
    for (unsigned i = 1; i <= 3; i++) {
        happened[CORE_EVENT_WORKER_LOST] = 0;
        expect_end(SAYS_NOTHING_BESIDE_DESCRIPTORS + A_KIND * i, CORE_WORKER_END_PROTOCOL, 0);
    }
    assert_int_equal(open_files(), before);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_worker_answers_and_goes_when_told),
        TEST(test_a_worker_is_told_what_to_be),
        TEST(test_a_program_that_is_gone_is_reported_afterwards),
        TEST(test_only_some_workers_start_at_a_time),
        TEST(test_a_keeper_that_is_lost_is_replaced),
        TEST(test_a_worker_that_never_is_ready_is_reported_with_its_status),
        TEST(test_a_worker_that_sends_nonsense_is_killed),
        TEST(test_a_worker_that_is_ready_twice_is_killed),
        TEST(test_a_wrong_answer_is_nobodys_answer),
        TEST(test_an_answer_that_comes_twice_counts_once),
        TEST(test_the_last_answer_counts_though_its_worker_is_gone),
        TEST(test_a_worker_that_closes_its_socket_is_killed),
        TEST(test_a_job_whose_worker_leaves_is_answered_and_counts_as_a_fault),
        TEST(test_a_crash_is_a_fault),
        TEST(test_what_the_host_does_is_no_fault_of_the_vm),
        TEST(test_a_worker_that_takes_no_jobs_is_killed),
        TEST(test_a_kill_needs_nobodys_consent),
        TEST(test_handles_that_nobody_knows_do_nothing),
        TEST(test_one_vms_bad_worker_leaves_the_others_alone),
        TEST(test_what_a_worker_brings_is_closed),
        TEST(test_what_comes_beside_nothing_is_closed),
    };
    ssize_t length;

    if (argc > 1 && strcmp(argv[1], "--backend") == 0) {
        return played_worker_main(argc, argv);
    }
    length = readlink("/proc/self/exe", self, sizeof(self) - 1);
    if (length < 0) {
        return 1;
    }
    self[length] = '\0';
    return cmocka_run_group_tests_name("supervisor", tests, NULL, NULL);
}
