/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The exports.  With an argument, "prometheus" or "summary", it prints an
 * export of a core with some VMs instead: promtool and dashboards_check.py
 * look at that.
 */
#include <ctype.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "core/metrics/metrics_export.h"
#include "common/ns.h"
#include "core/no_effects.h"
#include "core/text_out.h"

#define MS NS_PER_MS
#define SECOND NS_PER_S
#define NOW (100 * SECOND)
#define LIMIT (64u << 20)

static struct core *make_core(void)
{
    struct core_config config;
    struct core *core;

    core_config_defaults(&config);
    core = core_new(&config, &no_effects);
    assert_non_null(core);
    assert_int_equal(core_gpu_add(core, "GPU-\"0\"\\"), 0);
    assert_int_equal(core_gpu_add(core, "GPU-1"), 1);
    core_pool_set_gpus(core, 'A', 1, NOW);
    core_pool_set_gpus(core, 'B', 3, NOW);
    return core;
}

static void apply(struct core *core, const char *const *names, uint32_t count)
{
    struct core_vm_config *vms = calloc(count + 1, sizeof(*vms));
    struct core_apply_result result;

    assert_non_null(vms);
    for (uint32_t i = 0; i < count; i++) {
        vms[i] = (struct core_vm_config){
            .vm_id = i + 1,
            .has_uuid = true,
            .pool = i % 2 ? 'B' : 'A',
            .priority = VGPU_PRIORITY_MEDIUM,
            .weight = 50,
        };
        vms[i].uuid[0] = (uint8_t)(i + 1);
        vms[i].uuid[1] = (uint8_t)((i + 1) >> 8);
        snprintf(vms[i].name, sizeof(vms[i].name), "%s", names ? names[i] : "");
    }
    assert_int_equal(core_apply_vms(core, vms, count, NOW, &result, NULL), 0);
    free(vms);
}

/* Every bucket, every reason, every counter. */
static void fill(struct metrics *metrics, uint32_t vm)
{
    for (uint32_t i = 0; i < METRICS_BUCKETS; i++) {
        const struct metrics_job job = {
            .accepted_ns = 0,
            .turn_ns = metrics_bucket_ns[i],
            .ended_ns = NOW - 1,
            .gpu_ns = metrics_bucket_ns[i] / 2,
            .charged_ns = MS + 1,
        };

        metrics_record_job(metrics, vm, 0, &job);
    }
    for (uint32_t reason = 1; reason < VGPU_ERR_COUNT; reason++) {
        metrics_record_error(metrics, vm, (enum vgpu_error)reason);
        metrics_record_rejection(metrics, vm, (enum vgpu_error)reason);
    }
    for (uint32_t counter = 0; counter < METRICS_COUNTER_COUNT; counter++) {
        metrics_record_count(metrics, vm, (enum metrics_counter)counter, UINT64_MAX / 4096);
    }
}

/* All at once, NUL-terminated; the caller frees it. */
static char *export_all(const struct core *core, enum metrics_format format,
                        const struct metrics_external *external, size_t *length)
{
    struct metrics_export *export = metrics_export_begin(core, format, external, NOW);
    char *text = malloc(LIMIT);
    size_t step;

    assert_non_null(export);
    assert_non_null(text);
    *length = 0;
    while ((step = metrics_export_step(export, text + *length, LIMIT - *length - 1)) > 0) {
        *length += step;
        assert_true(LIMIT - *length > METRICS_EXPORT_STEP_BYTES);
    }
    metrics_export_end(export);
    text[*length] = '\0';
    return text;
}

static char *prometheus(const struct core *core)
{
    struct metrics_external external;
    size_t length;
    char *text;

    metrics_external_init(&external);
    external.version = "1.2\"3\n";
    external.gpu_names[0] = "NVIDIA \"H200\"";
    external.gpus[0].temperature_celsius = 41;
    external.gpus[0].utilization_ratio = 0.125;
    external.sessions = 3;
    metrics_histogram_add(&external.loop, 30000);
    text = export_all(core, METRICS_FORMAT_PROMETHEUS, &external, &length);
    assert_int_equal(strlen(text), length);
    return text;
}

/* ---- the format, as strictly as a parser would take it ---- */

static const char *skip_name(const char *at)
{
    assert_true(isalpha((unsigned char)*at) || *at == '_');
    while (isalnum((unsigned char)*at) || *at == '_') {
        at++;
    }
    return at;
}

static const char *skip_labels(const char *at)
{
    assert_int_equal(*at++, '{');
    for (;;) {
        at = skip_name(at);
        assert_int_equal(*at++, '=');
        assert_int_equal(*at++, '"');
        while (*at != '"') {
            assert_true(*at != '\n' && *at != '\0');
            if (*at == '\\') {
                at++;
                assert_true(*at == '\\' || *at == '"' || *at == 'n');
            }
            at++;
        }
        at++;
        if (*at == '}') {
            return at + 1;
        }
        assert_int_equal(*at++, ',');
    }
}

/* Family of a series' name: without what a histogram appends. */
static void family_of(char *out, size_t size, const char *name, size_t length, bool histogram)
{
    static const char *const suffixes[] = {"_bucket", "_sum", "_count"};

    snprintf(out, size, "%.*s", (int)length, name);
    for (size_t i = 0; histogram && i < 3; i++) {
        size_t suffix = strlen(suffixes[i]);

        if (length > suffix && strcmp(out + length - suffix, suffixes[i]) == 0) {
            out[length - suffix] = '\0';
            return;
        }
    }
}

static int compare_lines(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Each series once, in its family's block; returns how many there are. */
static size_t check_format(const char *text)
{
    char *copy = strdup(text), *save, *line;
    char **series = calloc(strlen(text) / 4 + 1, sizeof(*series));
    char family[128] = "", type[32] = "", name[128];
    size_t count = 0;

    assert_non_null(copy);
    assert_non_null(series);
    for (line = strtok_r(copy, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        char *end;

        if (sscanf(line, "# HELP %127s", family) == 1) {
            continue;
        }
        if (sscanf(line, "# TYPE %127s %31s", name, type) == 2) {
            assert_string_equal(name, family);
            continue;
        }
        end = (char *)skip_name(line);
        family_of(name, sizeof(name), line, (size_t)(end - line), strcmp(type, "histogram") == 0);
        assert_string_equal(name, family);
        if (*end == '{') {
            end = (char *)skip_labels(end);
        }
        assert_int_equal(*end, ' ');
        *end++ = '\0';
        assert_true(*end != '\0');
        strtod(end, &end);
        assert_int_equal(*end, '\0');
        series[count++] = line;
    }
    qsort(series, count, sizeof(*series), compare_lines);
    for (size_t i = 1; i < count; i++) {
        assert_string_not_equal(series[i - 1], series[i]);
    }
    free(series);
    free(copy);
    return count;
}

static void assert_contains(const char *text, const char *wanted)
{
    if (!strstr(text, wanted)) {
        fail_msg("the export lacks: %s", wanted);
    }
}

static void test_values(void **state)
{
    static const char *const names[] = {"web", "db"};
    const struct metrics_job job = {
        .accepted_ns = NOW - 8 * MS,
        .turn_ns = NOW - 3 * MS,
        .ended_ns = NOW,
        .gpu_ns = 2 * MS,
        .charged_ns = 2 * MS,
    };
    struct core *core = make_core();
    struct metrics *metrics = core_metrics(core);
    char *text;

    apply(core, names, 2);
    metrics_record_job(metrics, 0, 0, &job);
    metrics_record_error(metrics, 0, VGPU_ERR_TIMEOUT);
    metrics_record_rejection(metrics, 1, VGPU_ERR_RATE_LIMITED);
    text = prometheus(core);
    check_format(text);
    assert_contains(text, "\nvgpu_jobs_total{vm=\"web\",pool=\"A\",gpu=\"0\"} 1\n");
    assert_contains(text, "\nvgpu_jobs_total{vm=\"db\",pool=\"B\",gpu=\"\"} 0\n");
    assert_contains(text, "\nvgpu_job_errors_total{vm=\"web\",pool=\"A\",gpu=\"0\","
                          "reason=\"timeout\"} 1\n");
    assert_contains(text, "\nvgpu_job_rejections_total{vm=\"db\",pool=\"B\",gpu=\"\","
                          "reason=\"rate_limited\"} 1\n");
    assert_contains(text, "\nvgpu_job_rejections_total{vm=\"web\",pool=\"A\",gpu=\"0\","
                          "reason=\"rate_limited\"} 0\n");
    assert_contains(text, "\nvgpu_job_seconds_bucket{vm=\"web\",pool=\"A\",gpu=\"0\","
                          "le=\"0.005\"} 0\n");
    assert_contains(text, "\nvgpu_job_seconds_bucket{vm=\"web\",pool=\"A\",gpu=\"0\","
                          "le=\"0.01\"} 1\n");
    assert_contains(text, "le=\"+Inf\"} 1\n");
    assert_contains(text, "\nvgpu_job_seconds_sum{vm=\"web\",pool=\"A\",gpu=\"0\"} 0.008\n");
    assert_contains(text, "\nvgpu_job_queue_seconds_sum{vm=\"web\",pool=\"A\",gpu=\"0\"} 0.005\n");
    assert_contains(text, "\nvgpu_job_gpu_seconds_sum{vm=\"web\",pool=\"A\",gpu=\"0\"} 0.002\n");
    assert_contains(text,
                    "\nvgpu_job_transport_seconds_sum{vm=\"web\",pool=\"A\",gpu=\"0\"} 0.001\n");
    assert_contains(text, "\nvgpu_gpu_seconds_total{vm=\"web\",pool=\"A\",gpu=\"0\"} 0.002\n");
    assert_contains(text, "\nvgpu_share_received_ratio{vm=\"web\",pool=\"A\",gpu=\"0\"} 1\n");
    assert_contains(text, "\nvgpu_mediator_jobs_total 1\n");
    assert_contains(text, "\nvgpu_mediator_sessions 3\n");
    assert_contains(text, "\nvgpu_gpu_temperature_celsius{gpu=\"0\"} 41\n");
    assert_contains(text, "\nvgpu_gpu_utilization_ratio{gpu=\"0\"} 0.125\n");
    assert_contains(text, "\nvgpu_gpu_info{gpu=\"0\",uuid=\"GPU-\\\"0\\\"\\\\\","
                          "name=\"NVIDIA \\\"H200\\\"\"} 1\n");
    assert_contains(text, "version=\"1.2\\\"3\\n\"");
    assert_contains(text, "\nvgpu_vm_info{vm=\"web\",vm_id=\"1\","
                          "uuid=\"01000000-0000-0000-0000-000000000000\"} 1\n");
    /* not known: no line, but the family is there */
    assert_contains(text, "# TYPE vgpu_gpu_power_watts gauge\n");
    assert_null(strstr(text, "\nvgpu_gpu_power_watts{"));
    assert_null(strstr(text, "NaN"));
    /* no job, no histogram */
    assert_null(strstr(text, "vgpu_job_seconds_count{vm=\"db\""));
    free(text);
    core_free(core);
}

static void test_hostile_names(void **state)
{
    static const char *const names[] = {
        "\"}\n# TYPE evil counter\nevil{vm=\"",
        "\\",
        "\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\""
        "\"\"\"",
        "",
        "\xFF\xFF\xFF",
        "same",
        "same",
        "vm 4",
    };
    struct core *core = make_core();
    char *text;

    apply(core, names, 8);
    for (uint32_t vm = 0; vm < 8; vm++) {
        fill(core_metrics(core), vm);
    }
    text = prometheus(core);
    check_format(text);
    assert_null(strstr(text, "\nevil"));
    assert_contains(text, "\nvgpu_jobs_total{vm=\"\\\\\",");
    assert_contains(text, "\nvgpu_jobs_total{vm=\"same\",");
    assert_contains(text, "\nvgpu_jobs_total{vm=\"same (vm 7)\",");
    free(text);
    core_free(core);
}

/* The longest pieces there can be: no assertion fails, and all of it is there. */
static void test_a_full_house(void **state)
{
    const char *names[CORE_VMS_MAX];
    struct metrics_external external;
    struct core *core = make_core();
    size_t length;
    char *text;

    for (uint32_t i = 0; i < CORE_VMS_MAX; i++) {
        names[i] =
            "\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\"
            "\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\";
    }
    apply(core, names, CORE_VMS_MAX);
    for (uint32_t vm = 0; vm < CORE_VMS_MAX; vm++) {
        fill(core_metrics(core), vm);
    }
    text = prometheus(core);
    assert_true(check_format(text) > CORE_VMS_MAX * 130);
    free(text);
    metrics_external_init(&external);
    free(export_all(core, METRICS_FORMAT_SUMMARY, &external, &length));
    core_free(core);
}

/* VMs come, go and change their names between steps: no series twice, none of the wrong VM. */
static void test_changes_between_steps(void **state)
{
    static const char *const before[] = {"a", "b", "c", "d"};
    static const char *const after[] = {"d", "b", "a"};
    char *text = malloc(LIMIT);

    assert_non_null(text);
    for (uint32_t change_at = 0; change_at < 12; change_at++) {
        struct core *core = make_core();
        struct metrics_external external;
        struct metrics_export *export;
        size_t used = 0, step;
        uint32_t steps = 0;

        apply(core, before, 4);
        for (uint32_t vm = 0; vm < 4; vm++) {
            fill(core_metrics(core), vm);
        }
        metrics_external_init(&external);
        export = metrics_export_begin(core, METRICS_FORMAT_PROMETHEUS, &external, NOW);
        assert_non_null(export);
        for (;;) {
            if (steps++ == change_at) {
                apply(core, after, 3);
            }
            step = metrics_export_step(export, text + used, METRICS_EXPORT_STEP_BYTES);
            if (step == 0) {
                break;
            }
            used += step;
        }
        text[used] = '\0';
        check_format(text);
        assert_contains(text, "\nvgpu_gpu_info{"); /* the rest came, too */
        metrics_export_end(export);
        core_free(core);
    }
    free(text);
}

/* Steps joined are the whole; each is whole lines. */
static void test_steps(void **state)
{
    static const char *const names[] = {"a", "b", "c", "d", "e"};
    struct core *core = make_core();
    struct metrics_external external;
    char buffer[METRICS_EXPORT_STEP_BYTES];
    size_t length, used = 0, step;
    uint32_t steps = 0;
    char *whole;

    apply(core, names, 5);
    for (uint32_t vm = 0; vm < 5; vm++) {
        fill(core_metrics(core), vm);
    }
    metrics_external_init(&external);
    for (int format = METRICS_FORMAT_PROMETHEUS; format <= METRICS_FORMAT_SUMMARY; format++) {
        struct metrics_export *export =
            metrics_export_begin(core, (enum metrics_format)format, &external, NOW);

        whole = export_all(core, (enum metrics_format)format, &external, &length);
        used = 0;
        while ((step = metrics_export_step(export, buffer, sizeof(buffer))) > 0) {
            assert_true(used + step <= length);
            assert_memory_equal(buffer, whole + used, step);
            if (format == METRICS_FORMAT_PROMETHEUS) {
                assert_int_equal(buffer[step - 1], '\n');
            }
            used += step;
            steps++;
        }
        assert_int_equal(used, length);
        assert_int_equal(metrics_export_step(export, buffer, sizeof(buffer)), 0); /* still */
        metrics_export_end(export);
        free(whole);
    }
    assert_true(steps > 3);
    core_free(core);
}

/* Counters stay over reloads that change everything about a VM but who it is. */
static void test_counters_over_reload(void **state)
{
    static const char *const before[] = {"a", "b"};
    static const char *const after[] = {"x", "b", "c"};
    struct core *core = make_core();
    struct metrics *metrics = core_metrics(core);
    char *text;

    apply(core, before, 2);
    metrics_record_count(metrics, 0, METRICS_ACCEPTED, 7);
    metrics_record_count(metrics, 1, METRICS_ACCEPTED, 5);
    apply(core, after, 3);
    text = prometheus(core);
    check_format(text);
    assert_contains(text, "\nvgpu_jobs_accepted_total{vm=\"x\",pool=\"A\",gpu=\"0\"} 7\n");
    assert_contains(text, "\nvgpu_jobs_accepted_total{vm=\"b\",pool=\"B\",gpu=\"\"} 5\n");
    assert_contains(text, "\nvgpu_jobs_accepted_total{vm=\"c\",pool=\"A\",gpu=\"0\"} 0\n");
    assert_null(strstr(text, "vm=\"a\""));
    free(text);
    apply(core, after, 1);
    text = prometheus(core);
    assert_null(strstr(text, "vm=\"b\""));
    assert_contains(text, "\nvgpu_mediator_jobs_accepted_total 12\n");
    free(text);
    core_free(core);
}

static void test_text(void **state)
{
    static const struct {
        uint64_t ns;
        const char *text;
    } seconds[] = {{0, "0"},
                   {1, "0.000000001"},
                   {30000, "0.00003"},
                   {1500000000, "1.5"},
                   {12000000000ull, "12"},
                   {UINT64_MAX, "18446744073.709551615"}};
    static const struct {
        double value;
        const char *text;
    } doubles[] = {{0, "0"},           {-1.5, "-1.5"},      {0.1, "0.1"},
                   {NAN, "NaN"},       {4e9, "4000000000"}, {INFINITY, "+Inf"},
                   {-INFINITY, "-Inf"}};
    char buffer[64];
    struct text_out out;

    for (size_t i = 0; i < sizeof(seconds) / sizeof(seconds[0]); i++) {
        text_init(&out, buffer, sizeof(buffer));
        text_seconds(&out, seconds[i].ns);
        buffer[out.used] = '\0';
        assert_string_equal(buffer, seconds[i].text);
    }
    for (size_t i = 0; i < sizeof(doubles) / sizeof(doubles[0]); i++) {
        text_init(&out, buffer, sizeof(buffer));
        text_double(&out, doubles[i].value);
        buffer[out.used] = '\0';
        assert_string_equal(buffer, doubles[i].text);
    }
    text_init(&out, buffer, 4);
    text_string(&out, "four");
    assert_false(out.overflow);
    text_char(&out, '5');
    assert_true(out.overflow);
    assert_memory_equal(buffer, "four", 4);
    text_init(&out, buffer, sizeof(buffer));
    text_quoted(&out, "a\"\\\n");
    assert_int_equal(out.used, 9);
    assert_memory_equal(buffer, "\"a\\\"\\\\\\n\"", out.used);
}

static int print(const char *format)
{
    static const char *const names[] = {"web", "db \"1\"", "caf\xC3\xA9\n", ""};
    struct metrics_external external;
    struct core *core = make_core();
    size_t length;
    char *text;

    apply(core, names, 4);
    fill(core_metrics(core), 0);
    fill(core_metrics(core), 2);
    metrics_external_init(&external);
    external.version = VGPU_VERSION;
    external.gpus[0].temperature_celsius = 41.5;
    text = export_all(
        core, strcmp(format, "summary") == 0 ? METRICS_FORMAT_SUMMARY : METRICS_FORMAT_PROMETHEUS,
        &external, &length);
    fputs(text, stdout);
    free(text);
    core_free(core);
    return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_hostile_names),
        cmocka_unit_test(test_a_full_house),
        cmocka_unit_test(test_changes_between_steps),
        cmocka_unit_test(test_steps),
        cmocka_unit_test(test_counters_over_reload),
    };

    if (argc > 1) {
        return print(argv[1]);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
