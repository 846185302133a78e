/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is made of vgpu-worker --probe: a script of the test answers in its place, as one
 * with a good driver, a broken one, or none, would, and as none should.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "mediator/workers/gpus.h"

#define EACH(array) (sizeof(array) / sizeof((array)[0]))

static char folder[] = "/tmp/vgpu-gpus-XXXXXX";
static char worker[64], asked[64];
static struct options options;
static struct gpu_list list;
static char error[512];
static struct keeper_link *keeper;

static void write_worker(const char *script)
{
    FILE *f = fopen(worker, "w");

    assert_non_null(f);
    fprintf(f, "#!/bin/sh\necho \"$*\" > %s\n%s\n", asked, script);
    fclose(f);
    assert_int_equal(chmod(worker, 0755), 0);
}

static int setup_group(void **state)
{
    if (!mkdtemp(folder)) {
        return -1;
    }
    snprintf(worker, sizeof(worker), "%s/worker", folder);
    snprintf(asked, sizeof(asked), "%s/asked", folder);
    write_worker("");
    return keeper_link_open(
        &(struct keeper_link_config){.program = getenv("VGPU_TEST_KEEPER"),
                                     .args = {"--worker", worker, "--log-level", "warning"}},
        &keeper, error, sizeof(error));
}

static int teardown_group(void **state)
{
    keeper_link_free(keeper);
    unlink(worker);
    unlink(asked);
    return rmdir(folder);
}

/* A worker that does what the script says. */
static int probe(enum backend_choice backend, const char *script)
{
    write_worker(script);
    options = (struct options){.backend = backend, .cpu_gpus = 2};
    error[0] = '\0';
    memset(&list, 0xff, sizeof(list)); /* nothing of before is left */
    return gpus_probe(&options, keeper, &list, error, sizeof(error));
}

#define CUDA_REPORT                                                                                \
    "echo '{\"backend\": \"cuda\", \"gpus\": [{\"uuid\": \"GPU-1\", \"name\": \"H200\","           \
    " \"memory_bytes\": 150754820096}, {\"uuid\": \"GPU-2\", \"name\": \"H100\"}]}'"
#define CPU_REPORT                                                                                 \
    "echo '{\"backend\": \"cpu\", \"reason\": \"there is no NVIDIA driver\","                      \
    " \"gpus\": [{\"uuid\": \"CPU-0\", \"name\": \"16 cores\", \"memory_bytes\": 4096}]}'"

static void test_gpus(void **state)
{
    assert_int_equal(probe(BACKEND_CHOICE_AUTO, CUDA_REPORT), 0);
    assert_string_equal(list.backend, "cuda");
    assert_string_equal(list.reason, "");
    assert_int_equal(list.count, 2);
    assert_string_equal(list.gpus[0].uuid, "GPU-1");
    assert_string_equal(list.gpus[0].name, "H200");
    assert_true(list.gpus[0].memory_bytes == 150754820096);
    assert_string_equal(list.gpus[1].uuid, "GPU-2");
    assert_true(list.gpus[1].memory_bytes == 0);
}

static void test_what_the_worker_is_asked(void **state)
{
    static const struct {
        enum backend_choice backend;
        const char *asked;
    } cases[] = {
        {BACKEND_CHOICE_AUTO, "--probe --backend auto\n"},
        {BACKEND_CHOICE_CPU, "--probe --backend cpu\n"},
        {BACKEND_CHOICE_CUDA, "--probe --backend auto\n"}, /* so that the reason is known */
    };
    char text[64];

    for (size_t i = 0; i < EACH(cases); i++) {
        FILE *f;

        assert_int_equal(probe(cases[i].backend, CUDA_REPORT), 0);
        f = fopen(asked, "r");
        assert_non_null(f);
        assert_non_null(fgets(text, sizeof(text), f));
        fclose(f);
        assert_string_equal(text, cases[i].asked);
    }
}

/* The CPU stands for as many GPUs as were asked for, each with a name of its own. */
static void test_cpu(void **state)
{
    assert_int_equal(probe(BACKEND_CHOICE_AUTO, CPU_REPORT), 0);
    assert_string_equal(list.backend, "cpu");
    assert_string_equal(list.reason, "there is no NVIDIA driver");
    assert_int_equal(list.count, 2);
    assert_string_equal(list.gpus[1].uuid, "CPU-1");
    assert_string_equal(list.gpus[1].name, "16 cores");
    assert_true(list.gpus[1].memory_bytes == 4096);
    assert_int_equal(probe(BACKEND_CHOICE_CPU, "echo '{\"backend\": \"cpu\"}'"), 0);
    assert_int_equal(list.count, 2);
    assert_string_equal(list.gpus[0].uuid, "CPU-0");
    assert_string_equal(list.gpus[0].name, "CPU");
}

/* A driver that fails, or is wanted and missing: never the CPU in its place, and never an end. */
static void test_no_silent_cpu(void **state)
{
    static const struct {
        enum backend_choice backend;
        const char *script, *reason;
    } cases[] = {
        {BACKEND_CHOICE_CUDA, CPU_REPORT, "there is no NVIDIA driver"},
        {BACKEND_CHOICE_AUTO,
         "echo '{\"backend\": \"cuda\", \"reason\": \"cuInit: error 999\", \"gpus\": []}'",
         "cuInit: error 999"},
        {BACKEND_CHOICE_AUTO, "echo '{\"backend\": \"cuda\", \"gpus\": []}'",
         "the CUDA driver finds no GPU"},
        {BACKEND_CHOICE_AUTO, "kill -SEGV $$", "crashed: the GPU driver is broken"},
        {BACKEND_CHOICE_CUDA, "kill -KILL $$", "crashed: the GPU driver is broken"},
    };

    for (size_t i = 0; i < EACH(cases); i++) {
        assert_int_equal(probe(cases[i].backend, cases[i].script), 0);
        assert_string_equal(list.backend, "cuda");
        assert_int_equal(list.count, 0);
        assert_non_null(strstr(list.reason, cases[i].reason));
        assert_string_equal(error, "");
    }
}

/* What is no report is an error with a sentence, and nobody is served by it. */
static void test_no_report(void **state)
{
    static const struct {
        enum backend_choice backend;
        const char *script;
        int result;
        const char *error;
    } cases[] = {
        {BACKEND_CHOICE_AUTO, "", -EPROTO, "no usable answer"},
        {BACKEND_CHOICE_AUTO, "echo nonsense", -EPROTO, "no usable answer"},
        {BACKEND_CHOICE_AUTO, "echo '[]'", -EPROTO, "no usable answer"},
        {BACKEND_CHOICE_AUTO, "echo '{\"backend\": 7}'", -EPROTO, "no usable answer"},
        {BACKEND_CHOICE_AUTO, "echo '{\"backend\": \"rocm\"}'", -EPROTO, "no usable answer"},
        {BACKEND_CHOICE_AUTO, "echo '{\"backend\": \"cudacuda\"}'", -EPROTO, "no usable answer"},
        {BACKEND_CHOICE_AUTO, "echo '{\"backend\": \"cuda\"'", -EPROTO, "no usable answer"},
        {BACKEND_CHOICE_AUTO, CUDA_REPORT "; exit 3", -ENODEV, "--backend cpu needs no GPU"},
        {BACKEND_CHOICE_CPU, "kill -SEGV $$", -ENODEV, "--probe failed"},
    };

    for (size_t i = 0; i < EACH(cases); i++) {
        assert_int_equal(probe(cases[i].backend, cases[i].script), cases[i].result);
        if (!strstr(error, cases[i].error)) {
            fail_msg("\"%s\" is not in \"%s\"", cases[i].error, error);
        }
    }
    unlink(worker);
    assert_int_equal(gpus_probe(&options, keeper, &list, error, sizeof(error)), -ENOENT);
    assert_non_null(strstr(error, "cannot run vgpu-worker --probe: No such file"));
}

/* Entries that are none, too long, or too many. */
static void test_strange_gpus(void **state)
{
    char script[4096] = "echo '{\"backend\": \"cuda\", \"gpus\": [7, {}, {\"uuid\": 3}, "
                        "{\"uuid\": \"\"}, {\"uuid\": \"";
    size_t used = strlen(script);

    memset(script + used, 'u', CORE_NAME_BYTES + 10);
    strcpy(script + used + CORE_NAME_BYTES + 10,
           "\", \"name\": null, \"memory_bytes\": \"much\"}]}'");
    assert_int_equal(probe(BACKEND_CHOICE_AUTO, script), 0);
    assert_int_equal(list.count, 1);
    assert_int_equal(strlen(list.gpus[0].uuid), CORE_NAME_BYTES - 1);
    assert_string_equal(list.gpus[0].name, "");
    assert_true(list.gpus[0].memory_bytes == 0);

    strcpy(script, "echo '{\"backend\": \"cuda\", \"gpus\": [{\"uuid\": \"GPU-0\"}");
    for (unsigned i = 1; i <= CORE_GPUS_MAX; i++) {
        used = strlen(script);
        snprintf(script + used, sizeof(script) - used, ", {\"uuid\": \"GPU-%u\"}", i);
    }
    strcat(script, "]}'");
    assert_int_equal(probe(BACKEND_CHOICE_AUTO, script), 0);
    assert_int_equal(list.count, CORE_GPUS_MAX);
    assert_string_equal(list.gpus[CORE_GPUS_MAX - 1].uuid, "GPU-15");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gpus),      cmocka_unit_test(test_what_the_worker_is_asked),
        cmocka_unit_test(test_cpu),       cmocka_unit_test(test_no_silent_cpu),
        cmocka_unit_test(test_no_report), cmocka_unit_test(test_strange_gpus),
    };

    return cmocka_run_group_tests_name("gpus", tests, setup_group, teardown_group);
}
