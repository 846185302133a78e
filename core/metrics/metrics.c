/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/metrics/metrics.h"

#include <assert.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "common/ns.h"
#include "core/metrics/metrics_label.h"
#include "core/metrics/quantile.h"

const uint64_t metrics_bucket_ns[METRICS_BUCKETS] = {
    10 * NS_PER_US,  25 * NS_PER_US,   50 * NS_PER_US,   100 * NS_PER_US, 250 * NS_PER_US,
    500 * NS_PER_US, 1 * NS_PER_MS,    2500 * NS_PER_US, 5 * NS_PER_MS,   10 * NS_PER_MS,
    25 * NS_PER_MS,  50 * NS_PER_MS,   100 * NS_PER_MS,  250 * NS_PER_MS, 500 * NS_PER_MS,
    1 * NS_PER_S,    2500 * NS_PER_MS, 5 * NS_PER_S,     10 * NS_PER_S,   30 * NS_PER_S,
    60 * NS_PER_S,
};

/* GPU time by the second in which it was used, in METRICS_SAMPLE_NS. */
struct ring {
    uint64_t second; /* the latest that has a place */
    uint32_t used[METRICS_SHARE_SECONDS];
};

/* Three of the four parts; the total is their sum. */
struct sample {
    uint32_t queue, transport, gpu;
};

struct counters {
    struct metrics_kept kept;
    uint32_t samples_next; /* in the window */
    uint32_t samples_have;
};

struct metrics_vm {
    char label[METRICS_LABEL_BYTES];
    uint64_t serial;
    uint32_t ring_gpu; /* whose time the ring holds */
    struct ring ring;
    struct counters counters;
    /* Last, and not cleared: its pages are not touched before they are needed. */
    struct sample window[METRICS_WINDOW];
};

struct metrics_gpu {
    uint64_t context_switches;
    uint64_t resets;
    struct ring ring;
};

struct metrics {
    uint32_t max_vms;
    uint64_t last_serial;
    uint8_t bucket_start[65]; /* by the bit length of a time: the first bucket that may hold it */
    struct metrics_gpu gpus[METRICS_GPUS_MAX];
    uint32_t scratch[2][METRICS_WINDOW];
    struct counters all;
    struct sample all_window[METRICS_WINDOW];
    struct metrics_vm *vms[];
};

/* ---- life ---- */

static unsigned bit_length(uint64_t value)
{
    return value ? 64u - (unsigned)__builtin_clzll(value) : 0;
}

struct metrics *metrics_new(uint32_t max_vms)
{
    struct metrics *metrics = calloc(1, sizeof(*metrics) + max_vms * sizeof(metrics->vms[0]));

    if (!metrics) {
        return NULL;
    }
    metrics->max_vms = max_vms;
    for (unsigned bits = 1; bits <= 64; bits++) {
        uint64_t smallest = 1ull << (bits - 1);
        uint8_t bucket = 0;

        while (bucket < METRICS_BUCKETS && metrics_bucket_ns[bucket] < smallest) {
            bucket++;
        }
        metrics->bucket_start[bits] = bucket;
    }
    return metrics;
}

void metrics_free(struct metrics *metrics)
{
    if (!metrics) {
        return;
    }
    for (uint32_t vm = 0; vm < metrics->max_vms; vm++) {
        free(metrics->vms[vm]);
    }
    free(metrics);
}

static struct metrics_vm *find(const struct metrics *metrics, uint32_t vm)
{
    return vm < metrics->max_vms ? metrics->vms[vm] : NULL;
}

static bool label_taken(const struct metrics *metrics, uint32_t except, const char *label)
{
    for (uint32_t vm = 0; vm < metrics->max_vms; vm++) {
        if (vm != except && metrics->vms[vm] && strcmp(metrics->vms[vm]->label, label) == 0) {
            return true;
        }
    }
    return false;
}

static void choose_label(struct metrics *metrics, uint32_t vm, const char *name, uint32_t vm_id)
{
    char label[METRICS_LABEL_BYTES];

    /* One of max_vms + 1 different labels is free. */
    for (uint32_t attempt = 0; attempt <= metrics->max_vms; attempt++) {
        metrics_label(label, name, vm_id, attempt);
        if (!label_taken(metrics, vm, label)) {
            break;
        }
    }
    memcpy(metrics->vms[vm]->label, label, sizeof(label));
    metrics->vms[vm]->serial = ++metrics->last_serial;
}

void metrics_vm_add(struct metrics *metrics, uint32_t vm, const char *name, uint32_t vm_id)
{
    assert(vm < metrics->max_vms && !metrics->vms[vm]);
    metrics->vms[vm] = malloc(sizeof(*metrics->vms[vm]));
    if (!metrics->vms[vm]) {
        return;
    }
    memset(metrics->vms[vm], 0, offsetof(struct metrics_vm, window));
    metrics->vms[vm]->ring_gpu = UINT32_MAX;
    choose_label(metrics, vm, name, vm_id);
}

void metrics_vm_rename(struct metrics *metrics, uint32_t vm, const char *name, uint32_t vm_id)
{
    if (find(metrics, vm)) {
        choose_label(metrics, vm, name, vm_id);
    }
}

void metrics_vm_remove(struct metrics *metrics, uint32_t vm)
{
    if (find(metrics, vm)) {
        free(metrics->vms[vm]);
        metrics->vms[vm] = NULL;
    }
}

/* ---- GPU time by the second ---- */

static void ring_advance(struct ring *ring, uint64_t second)
{
    if (second >= ring->second + METRICS_SHARE_SECONDS) {
        memset(ring->used, 0, sizeof(ring->used));
        ring->second = second;
    }
    while (ring->second < second) {
        ring->second++;
        ring->used[ring->second % METRICS_SHARE_SECONDS] = 0;
    }
}

static void ring_add(struct ring *ring, uint64_t second, uint64_t used)
{
    uint32_t *at = &ring->used[second % METRICS_SHARE_SECONDS];

    *at = used > UINT32_MAX - *at ? UINT32_MAX : *at + (uint32_t)used;
}

/* What a long job used belongs to the seconds before its end, too; older ones are forgotten. */
static void ring_charge(struct ring *ring, uint64_t end_ns, uint64_t used_ns)
{
    uint64_t second = end_ns / NS_PER_S;
    uint64_t room_ns = end_ns % NS_PER_S;

    ring_advance(ring, second);
    for (uint32_t i = 1; used_ns > room_ns && i < METRICS_SHARE_SECONDS && second > 0; i++) {
        ring_add(ring, second--, room_ns / METRICS_SAMPLE_NS);
        used_ns -= room_ns;
        room_ns = NS_PER_S;
    }
    ring_add(ring, second, (used_ns < room_ns ? used_ns : room_ns) / METRICS_SAMPLE_NS);
}

static uint64_t ring_sum(struct ring *ring, uint64_t now_ns)
{
    uint64_t sum = 0;

    ring_advance(ring, now_ns / NS_PER_S);
    for (uint32_t i = 0; i < METRICS_SHARE_SECONDS; i++) {
        sum += ring->used[i];
    }
    return sum;
}

/* ---- recording ---- */

static unsigned bucket_of(const struct metrics *metrics, uint64_t time_ns)
{
    unsigned bucket = metrics->bucket_start[bit_length(time_ns)];

    while (bucket < METRICS_BUCKETS && time_ns > metrics_bucket_ns[bucket]) {
        bucket++;
    }
    return bucket;
}

static uint32_t to_sample(uint64_t time_ns)
{
    uint64_t units = (time_ns + METRICS_SAMPLE_NS / 2) / METRICS_SAMPLE_NS;

    return units > UINT32_MAX ? UINT32_MAX : (uint32_t)units;
}

static void count_job(struct counters *counters, struct sample *window, const uint64_t *parts_ns,
                      const uint8_t *buckets, const struct sample *sample, uint64_t charged_ns)
{
    counters->kept.counts[METRICS_JOBS]++;
    counters->kept.counts[METRICS_GPU_TIME_NS] += charged_ns;
    for (unsigned part = 0; part < METRICS_PART_COUNT; part++) {
        struct metrics_histogram *histogram = &counters->kept.histograms[part];

        histogram->count++;
        histogram->sum_ns += parts_ns[part];
        histogram->buckets[buckets[part]]++;
    }
    window[counters->samples_next] = *sample;
    counters->samples_next = (counters->samples_next + 1) % METRICS_WINDOW;
    counters->samples_have += counters->samples_have < METRICS_WINDOW;
}

/* a - b, but clocks of two processes are compared: never below 0. */
static uint64_t since(uint64_t a_ns, uint64_t b_ns)
{
    return a_ns > b_ns ? a_ns - b_ns : 0;
}

void metrics_record_job(struct metrics *metrics, uint32_t vm, uint32_t gpu,
                        const struct metrics_job *job)
{
    struct metrics_vm *state = find(metrics, vm);
    uint64_t parts_ns[METRICS_PART_COUNT];
    uint8_t buckets[METRICS_PART_COUNT];
    struct sample sample;
    uint64_t left_ns;

    parts_ns[METRICS_TOTAL] = since(job->ended_ns, job->accepted_ns);
    left_ns = parts_ns[METRICS_TOTAL];
    parts_ns[METRICS_QUEUE] = since(job->turn_ns, job->accepted_ns);
    if (parts_ns[METRICS_QUEUE] > left_ns) {
        parts_ns[METRICS_QUEUE] = left_ns;
    }
    left_ns -= parts_ns[METRICS_QUEUE];
    parts_ns[METRICS_GPU] = job->gpu_ns < left_ns ? job->gpu_ns : left_ns;
    parts_ns[METRICS_TRANSPORT] = left_ns - parts_ns[METRICS_GPU];

    for (unsigned part = 0; part < METRICS_PART_COUNT; part++) {
        buckets[part] = (uint8_t)bucket_of(metrics, parts_ns[part]);
    }
    sample = (struct sample){
        .queue = to_sample(parts_ns[METRICS_QUEUE]),
        .transport = to_sample(parts_ns[METRICS_TRANSPORT]),
        .gpu = to_sample(parts_ns[METRICS_GPU]),
    };
    count_job(&metrics->all, metrics->all_window, parts_ns, buckets, &sample, job->charged_ns);
    if (gpu < METRICS_GPUS_MAX) {
        ring_charge(&metrics->gpus[gpu].ring, job->ended_ns, job->charged_ns);
    }
    if (!state) {
        return;
    }
    count_job(&state->counters, state->window, parts_ns, buckets, &sample, job->charged_ns);
    if (state->ring_gpu != gpu) {
        memset(&state->ring, 0, sizeof(state->ring));
        state->ring_gpu = gpu;
    }
    ring_charge(&state->ring, job->ended_ns, job->charged_ns);
}

void metrics_record_error(struct metrics *metrics, uint32_t vm, enum vgpu_error reason)
{
    struct metrics_vm *state = find(metrics, vm);

    assert(reason < VGPU_ERR_COUNT);
    metrics->all.kept.errors[reason]++;
    if (state) {
        state->counters.kept.errors[reason]++;
    }
}

void metrics_record_rejection(struct metrics *metrics, uint32_t vm, enum vgpu_error reason)
{
    struct metrics_vm *state = find(metrics, vm);

    assert(reason < VGPU_ERR_COUNT);
    metrics->all.kept.rejections[reason]++;
    if (state) {
        state->counters.kept.rejections[reason]++;
    }
}

void metrics_record_context_switch(struct metrics *metrics, uint32_t vm, uint32_t gpu)
{
    metrics_record_count(metrics, vm, METRICS_CONTEXT_SWITCHES, 1);
    if (gpu < METRICS_GPUS_MAX) {
        metrics->gpus[gpu].context_switches++;
    }
}

void metrics_record_gpu_reset(struct metrics *metrics, uint32_t gpu)
{
    if (gpu < METRICS_GPUS_MAX) {
        metrics->gpus[gpu].resets++;
    }
}

static void count_refused(struct metrics_refused *refused, uint32_t name_hash, uint64_t count)
{
    uint32_t i = 0;

    while (i < METRICS_REFUSED_MAX - 1 && refused[i].count && refused[i].name_hash != name_hash) {
        i++;
    }
    refused[i].name_hash = i < METRICS_REFUSED_MAX - 1 ? name_hash : 0;
    refused[i].count += count;
}

void metrics_record_refused(struct metrics *metrics, uint32_t vm, uint32_t name_hash)
{
    struct metrics_vm *state = find(metrics, vm);

    count_refused(metrics->all.kept.refused, name_hash, 1);
    if (state) {
        count_refused(state->counters.kept.refused, name_hash, 1);
    }
}

void metrics_record_count(struct metrics *metrics, uint32_t vm, enum metrics_counter counter,
                          uint64_t amount)
{
    struct metrics_vm *state = find(metrics, vm);

    assert(counter < METRICS_COUNTER_COUNT);
    metrics->all.kept.counts[counter] += amount;
    if (state) {
        state->counters.kept.counts[counter] += amount;
    }
}

/* ---- reading ---- */

const char *metrics_vm_label(const struct metrics *metrics, uint32_t vm)
{
    const struct metrics_vm *state = find(metrics, vm);

    return state ? state->label : NULL;
}

uint64_t metrics_vm_serial(const struct metrics *metrics, uint32_t vm)
{
    const struct metrics_vm *state = find(metrics, vm);

    return state ? state->serial : 0;
}

uint32_t metrics_vm_gpu(const struct metrics *metrics, uint32_t vm)
{
    const struct metrics_vm *state = find(metrics, vm);

    return state ? state->ring_gpu : UINT32_MAX;
}

static const struct counters *counters_of(const struct metrics *metrics, uint32_t vm)
{
    static const struct counters zero;
    const struct metrics_vm *state = find(metrics, vm);

    if (vm == METRICS_NO_VM) {
        return &metrics->all;
    }
    return state ? &state->counters : &zero;
}

uint64_t metrics_count(const struct metrics *metrics, uint32_t vm, enum metrics_counter counter)
{
    assert(counter < METRICS_COUNTER_COUNT);
    return counters_of(metrics, vm)->kept.counts[counter];
}

void metrics_export_kept(const struct metrics *metrics, uint32_t vm, struct metrics_kept *kept)
{
    *kept = counters_of(metrics, vm)->kept;
}

static void add_all(uint64_t *to, const uint64_t *from, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        to[i] += from[i];
    }
}

void metrics_import_kept(struct metrics *metrics, uint32_t vm, const struct metrics_kept *kept)
{
    struct metrics_vm *state = find(metrics, vm);
    struct metrics_kept *to = state ? &state->counters.kept : &metrics->all.kept;

    if (!state && vm != METRICS_NO_VM) {
        return;
    }
    add_all(to->counts, kept->counts, METRICS_COUNTER_COUNT);
    add_all(to->errors, kept->errors, VGPU_ERR_COUNT);
    add_all(to->rejections, kept->rejections, VGPU_ERR_COUNT);
    for (uint32_t part = 0; part < METRICS_PART_COUNT; part++) {
        to->histograms[part].count += kept->histograms[part].count;
        to->histograms[part].sum_ns += kept->histograms[part].sum_ns;
        add_all(to->histograms[part].buckets, kept->histograms[part].buckets, METRICS_BUCKETS + 1);
    }
    for (uint32_t i = 0; i < METRICS_REFUSED_MAX; i++) {
        if (kept->refused[i].count) {
            count_refused(to->refused, kept->refused[i].name_hash, kept->refused[i].count);
        }
    }
}

const struct metrics_refused *metrics_refused_of(const struct metrics *metrics, uint32_t vm)
{
    return counters_of(metrics, vm)->kept.refused;
}

uint64_t metrics_errors(const struct metrics *metrics, uint32_t vm, enum vgpu_error reason)
{
    assert(reason < VGPU_ERR_COUNT);
    return counters_of(metrics, vm)->kept.errors[reason];
}

uint64_t metrics_rejections(const struct metrics *metrics, uint32_t vm, enum vgpu_error reason)
{
    assert(reason < VGPU_ERR_COUNT);
    return counters_of(metrics, vm)->kept.rejections[reason];
}

uint64_t metrics_gpu_context_switches(const struct metrics *metrics, uint32_t gpu)
{
    return gpu < METRICS_GPUS_MAX ? metrics->gpus[gpu].context_switches : 0;
}

uint64_t metrics_gpu_resets(const struct metrics *metrics, uint32_t gpu)
{
    return gpu < METRICS_GPUS_MAX ? metrics->gpus[gpu].resets : 0;
}

const struct metrics_histogram *metrics_histogram_of(const struct metrics *metrics, uint32_t vm,
                                                     enum metrics_part part)
{
    assert(part < METRICS_PART_COUNT);
    return &counters_of(metrics, vm)->kept.histograms[part];
}

static uint32_t part_of_sample(const struct sample *sample, enum metrics_part part)
{
    uint64_t total;

    switch (part) {
    case METRICS_QUEUE: return sample->queue;
    case METRICS_TRANSPORT: return sample->transport;
    case METRICS_GPU: return sample->gpu;
    default:
        total = (uint64_t)sample->queue + sample->transport + sample->gpu;
        return total > UINT32_MAX ? UINT32_MAX : (uint32_t)total;
    }
}

void metrics_quantiles_of(struct metrics *metrics, uint32_t vm, enum metrics_part part,
                          struct metrics_quantiles *out)
{
    const struct counters *counters = counters_of(metrics, vm);
    const struct metrics_vm *state = find(metrics, vm);
    const struct sample *window = state ? state->window : metrics->all_window;
    uint32_t *values = metrics->scratch[0];
    uint32_t count = counters->samples_have;

    assert(part < METRICS_PART_COUNT);
    *out = (struct metrics_quantiles){.samples = count};
    if (count == 0) {
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        values[i] = part_of_sample(&window[i], part);
    }
    quantile_sort(values, metrics->scratch[1], count);
    out->p50_ns = (uint64_t)quantile_of_sorted(values, count, 50) * METRICS_SAMPLE_NS;
    out->p95_ns = (uint64_t)quantile_of_sorted(values, count, 95) * METRICS_SAMPLE_NS;
    out->p99_ns = (uint64_t)quantile_of_sorted(values, count, 99) * METRICS_SAMPLE_NS;
    out->max_ns = (uint64_t)values[count - 1] * METRICS_SAMPLE_NS;
}

double metrics_share_received(struct metrics *metrics, uint32_t vm, uint32_t gpu, uint64_t now_ns)
{
    struct metrics_vm *state = find(metrics, vm);
    uint64_t all;

    if (!state || gpu >= METRICS_GPUS_MAX || state->ring_gpu != gpu) {
        return 0;
    }
    all = ring_sum(&metrics->gpus[gpu].ring, now_ns);
    return all ? (double)ring_sum(&state->ring, now_ns) / (double)all : 0;
}
