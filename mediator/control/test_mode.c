/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "mediator/control/test_mode.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/parse.h"
#include "core/core.h"
#include "mediator/control/commands.h"
#include "mediator/control/holds.h"
#include "mediator/mediator.h"

#define LOOK_MS 50
#define ANSWER_BYTES 64

struct test_mode {
    struct mediator *mediator;
    struct test_mode_plan plan;
    uv_timer_t timer;
};

/* ---- asking ---- */

/* A number within the limits, or `otherwise` for an empty line.  False: `in` has ended. */
static bool ask_number(FILE *in, FILE *out, const char *question, uint32_t max, uint32_t otherwise,
                       uint32_t *number)
{
    char answer[ANSWER_BYTES];

    for (;;) {
        fputs(question, out);
        fflush(out);
        if (!fgets(answer, sizeof(answer), in)) {
            return false;
        }
        answer[strcspn(answer, "\r\n")] = '\0';
        if (answer[0] == '\0') {
            *number = otherwise;
            return true;
        }
        if (parse_u32(answer, 1, max, number)) {
            return true;
        }
        fprintf(out, "That is no number from 1 to %" PRIu32 ".\n", max);
    }
}

bool test_mode_ask(FILE *in, FILE *out, struct test_mode_plan *plan)
{
    char question[128];

    snprintf(question, sizeof(question),
             "How many requests are to wait before the first is served? [%u] ",
             TEST_MODE_REQUESTS_DEFAULT);
    return ask_number(in, out, question, TEST_MODE_REQUESTS_MAX, TEST_MODE_REQUESTS_DEFAULT,
                      &plan->requests) &&
           ask_number(in, out, "Which VM is preferred, by its vm_id? [none] ", CORE_NONE - 1,
                      CORE_NONE, &plan->prefer);
}

/* ---- doing it ---- */

static struct admin_who ourselves(void)
{
    return (struct admin_who){.pid = getpid(), .uid = geteuid()};
}

static uint32_t waiting(const struct core *core)
{
    uint64_t now_ns = clock_now_ns();
    struct core_vm_stats stats;
    uint32_t count = 0;

    for (uint32_t slot = 0; slot < CORE_VMS_MAX; slot++) {
        count += core_vm_stats(core, slot, now_ns, &stats) ? stats.queue_depth : 0;
    }
    return count;
}

static bool any_paused(const struct holds *holds)
{
    for (uint32_t gpu = 0; gpu < CORE_GPUS_MAX; gpu++) {
        if (holds_paused(holds, gpu)) {
            return true;
        }
    }
    return false;
}

static void let_go(struct test_mode *test, uint32_t count)
{
    struct mediator *mediator = test->mediator;
    struct admin_who who = ourselves();

    if (test->plan.prefer != CORE_NONE && core_prefer_vm(mediator->core, test->plan.prefer) < 0) {
        log_warning("test mode: VM %" PRIu32 " is not known here, none is preferred",
                    test->plan.prefer);
    }
    log_notice("test mode: %" PRIu32 " requests wait, they are served now", count);
    holds_resume(&mediator->holds, CORE_NONE, &who);
    admin_command_apply_holds(mediator);
}

static void on_timer(uv_timer_t *timer)
{
    struct test_mode *test = timer->data;
    uint32_t count = waiting(test->mediator->core);

    if (!any_paused(&test->mediator->holds)) {
        log_notice("test mode: ended by an administrator, with %" PRIu32 " requests waiting",
                   count);
    } else if (count >= test->plan.requests) {
        let_go(test, count);
    } else {
        return;
    }
    uv_timer_stop(timer);
}

struct test_mode *test_mode_start(struct mediator *mediator, const struct test_mode_plan *plan)
{
    struct test_mode *test = calloc(1, sizeof(*test));
    struct admin_who who = ourselves();

    if (!test) {
        return NULL;
    }
    test->mediator = mediator;
    test->plan = *plan;
    test->timer.data = test;
    holds_pause(&mediator->holds, CORE_NONE, &who, false, (int64_t)time(NULL));
    admin_command_apply_holds(mediator);
    uv_timer_init(&mediator->loop, &test->timer); /* neither can fail */
    uv_timer_start(&test->timer, on_timer, LOOK_MS, LOOK_MS);
    log_notice("test mode: nothing is served before %" PRIu32 " requests wait (vgpu-admin resume "
               "ends that)",
               plan->requests);
    return test;
}

void test_mode_stop(struct test_mode *test)
{
    if (test) {
        uv_close((uv_handle_t *)&test->timer, NULL);
    }
}

void test_mode_free(struct test_mode *test)
{
    free(test);
}
