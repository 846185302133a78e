/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Threads of a program that wait for the worker: no wake-up is lost.
 *
 * What has come between a thread's look and its sleep must be seen.  That moment is reached by
 * taking the place of the lock that it takes there.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>
#include <time.h>

static int lock_in_test(pthread_mutex_t *mutex);

#define pthread_mutex_lock lock_in_test
#include "guest/cuda/call.c"
#undef pthread_mutex_lock

#define PATIENCE_S 120

struct cuda_process cuda_process = {.state = CUDA_READY};
bool cuda_process_is_small;
static VGPUControl control;
static sem_t signals, asleep;
static __thread bool is_second;
static bool second_may_end;

CUresult cuda_state_result(void)
{
    return CUDA_ERROR_NOT_INITIALIZED;
}

void cuda_lose(CUresult result, const char *why)
{
    fail_msg("%d: %s", result, why);
}

bool cuda_in_host_func(void)
{
    return false;
}

struct cuda_context *cuda_current(void)
{
    return NULL;
}

struct cuda_thread *cuda_thread(void)
{
    return NULL;
}

struct cuda_object *cuda_object(uint64_t handle, unsigned kind)
{
    (void)handle;
    (void)kind;
    return NULL;
}

void cuda_take_output(void)
{
}

/* What the worker does after a record is over. */
static void retire(uint64_t records)
{
    VGPU_STORE_RELEASE(&control.retired, records);
    if (vgpu_must_wake(&control.process_parked)) {
        sem_post(&signals);
    }
}

static uint32_t sleep_on_signals(struct vgpu *v, int rest_ms)
{
    (void)v;
    (void)rest_ms;
    sem_post(&asleep);
    while (sem_wait(&signals) != 0) {
    }
    return VGPU_ERR_NONE;
}

/* The second thread has looked and found nothing; now its record is over, the first thread wakes
 * up for it, finds nothing of its own, and sleeps again. */
static int lock_in_test(pthread_mutex_t *mutex)
{
    if (is_second && !second_may_end) {
        second_may_end = true;
        retire(1);
        while (sem_wait(&asleep) != 0) {
        }
    }
    return (pthread_mutex_lock)(mutex);
}

static void *first_thread(void *unused)
{
    (void)unused;
    cuda_wait_over(2);
    return NULL;
}

static void *second_thread(void *unused)
{
    (void)unused;
    is_second = true;
    cuda_wait_over(1);
    return NULL;
}

static bool joins_in_time(pthread_t thread)
{
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += PATIENCE_S;
    return pthread_timedjoin_np(thread, NULL, &until) == 0;
}

static void an_answer_between_the_look_and_the_sleep(void **state)
{
    static const struct channel_way way = {.sleep = sleep_on_signals};
    static struct channel_link link = {.way = &way, .spins = 1};
    pthread_t first, second;

    (void)state;
    sem_init(&signals, 0, 0);
    sem_init(&asleep, 0, 0);
    cuda_process.link = &link;
    cuda_process.control = &control;
    VGPU_STORE_RELEASE(&control.state, (uint32_t)VGPU_CHANNEL_OPEN);
    pthread_create(&first, NULL, first_thread, NULL);
    while (sem_wait(&asleep) != 0) {
    }
    pthread_create(&second, NULL, second_thread, NULL);
    assert_true(joins_in_time(second));
    retire(2);
    assert_true(joins_in_time(first));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_between_the_look_and_the_sleep),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
