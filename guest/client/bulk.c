/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Work on buffers, over a channel: sgemm, vadd, bandwidth, latency.  Everything is in pieces, so
 * that a progress bar has something to show and any size fits a little memory.
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client.h"
#include "common/clock.h"
#include "common/histogram.h"

#define VADD_PIECE (4u << 20) /* elements */
#define SGEMM_PIECES 32u
#define COPY_BYTES (64u << 20)
#define PINNED_BYTES_MIN (1u << 20)
#define COPY_TIMES 8u
#define LATENCY_JOBS 100000u
#define BAR_NS (100 * NS_PER_MS)
#define BAR_WIDTH 40u

struct bulk_run {
    struct vgpu *v;
    const struct client_options *options;
    bool bar;
    uint64_t bar_ns;
};

/* ---- the bar ---- */

static void show_bar(struct bulk_run *run, double done)
{
    uint64_t now_ns = clock_now_ns();
    unsigned full = (unsigned)(done * BAR_WIDTH);

    if (!run->bar || (done < 1 && now_ns < run->bar_ns)) {
        return;
    }
    run->bar_ns = now_ns + BAR_NS;
    fprintf(stderr, "\r[%.*s%*s] %3.0f %%", (int)full, "########################################",
            (int)(BAR_WIDTH - full), "", done * 100);
    if (done >= 1) {
        fprintf(stderr, "\r%*s\r", (int)BAR_WIDTH + 10, "");
    }
}

/* ---- results ---- */

static double seconds_since(uint64_t start_ns)
{
    return (double)(clock_now_ns() - start_ns) / NS_PER_S;
}

static int failed(struct bulk_run *run)
{
    if (run->bar) {
        fprintf(stderr, "\n");
    }
    return client_report_error(run->options, vgpu_error_code(run->v), vgpu_last_error(run->v),
                               client_exit_status(run->v, VGPU_FAILED));
}

static int no_memory(struct bulk_run *run)
{
    return client_report_error(run->options, VGPU_ERR_SYSTEM, "out of memory", EXIT_FAILED);
}

static int wrong(struct bulk_run *run, const char *what)
{
    char text[160];

    snprintf(text, sizeof(text), "%s: the result is wrong", what);
    return client_report_error(run->options, VGPU_ERR_BAD_RESPONSE, text, EXIT_FAILED);
}

/* ---- vadd ---- */

/* Small whole numbers: their sums are exact. */
static float element(uint64_t index, unsigned of)
{
    return (float)((index * (of ? 7u : 13u) + of) % 4096u);
}

static bool vadd_piece(struct vgpu *v, const uint64_t buffers[3], float *memory, uint64_t first,
                       uint64_t count, bool *right)
{
    for (unsigned of = 0; of < 2; of++) {
        for (uint64_t i = 0; i < count; i++) {
            memory[i] = element(first + i, of);
        }
        if (vgpu_upload(v, buffers[of], 0, memory, count * 4) < 0) {
            return false;
        }
    }
    if (vgpu_buffer_add_f32(v, buffers[2], buffers[0], buffers[1], count) < 0 ||
        vgpu_download(v, buffers[2], 0, memory, count * 4) < 0) {
        return false;
    }
    for (uint64_t i = 0; i < count; i++) {
        *right &= memory[i] == element(first + i, 0) + element(first + i, 1);
    }
    return true;
}

static int run_vadd(struct bulk_run *run)
{
    uint64_t n = run->options->n ? run->options->n : 1000000, start_ns = clock_now_ns();
    uint64_t piece = n < VADD_PIECE ? n : VADD_PIECE, buffers[3];
    float *memory = malloc(piece * 4);
    bool right = true;
    double seconds;

    if (!memory) {
        return no_memory(run);
    }
    for (unsigned i = 0; i < 3; i++) {
        if (vgpu_buffer_new(run->v, piece * 4, &buffers[i]) < 0) {
            free(memory);
            return failed(run);
        }
    }
    for (uint64_t first = 0; first < n && right; first += piece) {
        uint64_t count = n - first < piece ? n - first : piece;

        if (!vadd_piece(run->v, buffers, memory, first, count, &right)) {
            free(memory);
            return failed(run);
        }
        show_bar(run, (double)(first + count) / (double)n);
    }
    free(memory);
    if (!right) {
        return wrong(run, "vadd");
    }
    seconds = seconds_since(start_ns);
    if (run->options->json) {
        printf("{\"event\":\"vadd\",\"elements\":%" PRIu64 ",\"seconds\":%.6f,\"gb_per_s\":%.3f,"
               "\"checked\":%" PRIu64 "}\n",
               n, seconds, (double)n * 12 / seconds / 1e9, n);
    } else {
        printf("vadd of %" PRIu64 " elements: %.3f s, %.2f GB/s there and back, every element "
               "right\n",
               n, seconds, (double)n * 12 / seconds / 1e9);
    }
    return EXIT_OK;
}

/* ---- sgemm ---- */

struct product {
    uint32_t n, rows; /* of a piece of a and c */
    unsigned pieces;
    float *a, *b, *c;
    uint64_t b_buffer, a_buffers[SGEMM_PIECES], c_buffers[SGEMM_PIECES];
};

static uint32_t rows_of(const struct product *p, unsigned piece)
{
    uint32_t first = piece * p->rows;

    return p->n - first < p->rows ? p->n - first : p->rows;
}

static void fill_randomly(float *matrix, uint64_t count, uint64_t *random)
{
    for (uint64_t i = 0; i < count; i++) {
        matrix[i] = (float)(int32_t)(client_random(random) >> 40 & 0xFFFF) / 32768 - 1;
    }
}

static bool upload_product(struct vgpu *v, struct product *p)
{
    uint64_t row_bytes = (uint64_t)p->n * 4;

    if (vgpu_buffer_new(v, row_bytes * p->n, &p->b_buffer) < 0 ||
        vgpu_upload(v, p->b_buffer, 0, p->b, row_bytes * p->n) < 0) {
        return false;
    }
    for (unsigned i = 0; i < p->pieces; i++) {
        uint64_t bytes = row_bytes * rows_of(p, i);

        if (vgpu_buffer_new(v, bytes, &p->a_buffers[i]) < 0 ||
            vgpu_buffer_new(v, bytes, &p->c_buffers[i]) < 0 ||
            vgpu_upload(v, p->a_buffers[i], 0, p->a + (uint64_t)i * p->rows * p->n, bytes) < 0) {
            return false;
        }
    }
    return vgpu_wait_posted(v, 0) == VGPU_OK;
}

static bool multiply(struct bulk_run *run, struct product *p)
{
    for (unsigned i = 0; i < p->pieces; i++) {
        if (vgpu_sgemm(run->v, rows_of(p, i), p->n, p->n, 1, p->a_buffers[i], p->b_buffer, 0,
                       p->c_buffers[i]) < 0) {
            return false;
        }
    }
    for (unsigned left = p->pieces; left > 0; left--) {
        if (vgpu_wait_posted(run->v, left - 1) < 0) {
            return false;
        }
        show_bar(run, (double)(p->pieces - left + 1) / p->pieces);
    }
    return true;
}

/*
 * Freivalds: c = a b, then c x = a (b x) for any x; a wrong c passes a random x of signs with
 * a probability of one half at most, so 32 of them.  Sums of n products in single precision
 * may be off by about n times its last bit.
 */
static bool freivalds(const struct product *p, uint64_t *random)
{
    uint32_t n = p->n;
    double *x = malloc(3ull * n * sizeof(*x)), *bx = x + n, *abx = bx + n;
    bool right = x != NULL;

    for (unsigned round = 0; round < 32 && right; round++) {
        for (uint32_t i = 0; i < n; i++) {
            x[i] = client_random(random) & 1 ? 1 : -1;
        }
        for (uint32_t i = 0; i < n; i++) {
            bx[i] = 0;
            for (uint32_t j = 0; j < n; j++) {
                bx[i] += (double)p->b[(uint64_t)i * n + j] * x[j];
            }
        }
        for (uint32_t i = 0; i < n; i++) {
            double cx = 0;

            abx[i] = 0;
            for (uint32_t j = 0; j < n; j++) {
                abx[i] += (double)p->a[(uint64_t)i * n + j] * bx[j];
                cx += (double)p->c[(uint64_t)i * n + j] * x[j];
            }
            right &= fabs(abx[i] - cx) <= 1e-6 * (double)n * sqrt((double)n) + 1e-6;
        }
    }
    free(x);
    return right;
}

static bool download_product(struct vgpu *v, struct product *p)
{
    for (unsigned i = 0; i < p->pieces; i++) {
        if (vgpu_download(v, p->c_buffers[i], 0, p->c + (uint64_t)i * p->rows * p->n,
                          (uint64_t)rows_of(p, i) * p->n * 4) < 0) {
            return false;
        }
    }
    return true;
}

static int report_sgemm(struct bulk_run *run, uint32_t n, double seconds)
{
    double gflops = 2.0 * n * n * n / seconds / 1e9;

    if (run->options->json) {
        printf("{\"event\":\"sgemm\",\"n\":%" PRIu32 ",\"seconds\":%.6f,\"gflop_per_s\":%.3f,"
               "\"checked\":%s}\n",
               n, seconds, gflops, run->options->check ? "true" : "false");
    } else {
        printf("sgemm %" PRIu32 " x %" PRIu32 ": %.3f s, %.2f GFLOP/s%s\n", n, n, seconds, gflops,
               run->options->check ? ", the product is right" : "");
    }
    return EXIT_OK;
}

static int run_sgemm(struct bulk_run *run)
{
    uint32_t n = (uint32_t)(run->options->n ? run->options->n : 1024);
    uint64_t count = (uint64_t)n * n, random = clock_now_ns(), start_ns;
    struct product p = {.n = n, .rows = (n + SGEMM_PIECES - 1) / SGEMM_PIECES};
    int status = EXIT_OK;

    p.pieces = (n + p.rows - 1) / p.rows;
    p.a = malloc(count * 4);
    p.b = malloc(count * 4);
    p.c = malloc(count * 4);
    if (!p.a || !p.b || !p.c) {
        status = no_memory(run);
    } else {
        fill_randomly(p.a, count, &random);
        fill_randomly(p.b, count, &random);
        if (!upload_product(run->v, &p)) {
            status = failed(run);
        }
    }
    if (status == EXIT_OK) {
        double seconds;

        start_ns = clock_now_ns();
        status = multiply(run, &p) ? EXIT_OK : failed(run);
        seconds = seconds_since(start_ns);
        if (status == EXIT_OK && run->options->check) {
            status = !download_product(run->v, &p) ? failed(run)
                     : freivalds(&p, &random)      ? EXIT_OK
                                                   : wrong(run, "sgemm");
        }
        status = status == EXIT_OK ? report_sgemm(run, n, seconds) : status;
    }
    free(p.a);
    free(p.b);
    free(p.c);
    return status;
}

/* ---- bandwidth, latency ---- */

/* Up and down, from `memory` to `back`; 0 where it fails. */
static bool copy_speeds(struct bulk_run *run, uint64_t buffer, const uint8_t *memory, uint8_t *back,
                        uint32_t bytes, double done, double *up, double *down)
{
    const double step = 1.0 / (4 * COPY_TIMES), amount = (double)COPY_TIMES * bytes;
    uint64_t start_ns = clock_now_ns();

    for (unsigned i = 0; i < COPY_TIMES; i++) {
        if (vgpu_upload(run->v, buffer, 0, memory, bytes) < 0) {
            return false;
        }
        show_bar(run, done + (i + 1) * step);
    }
    if (vgpu_wait_posted(run->v, 0) < 0) {
        return false;
    }
    *up = amount / seconds_since(start_ns) / 1e9;
    start_ns = clock_now_ns();
    for (unsigned i = 0; i < COPY_TIMES; i++) {
        if (vgpu_download(run->v, buffer, 0, back, bytes) < 0) {
            return false;
        }
        show_bar(run, done + (COPY_TIMES + i + 1) * step);
    }
    *down = amount / seconds_since(start_ns) / 1e9;
    return true;
}

struct speeds {
    double up, down, pinned_up, pinned_down; /* GB/s */
    bool pinned;
};

/* Two pieces of pinned memory.  0, or the library's error and there are none. */
static uint32_t pinned_pair(struct bulk_run *run, uint32_t bytes, void **there, void **back)
{
    uint32_t code;

    if (vgpu_pinned_new(run->v, bytes, there) < 0) {
        return vgpu_error_code(run->v);
    }
    if (vgpu_pinned_new(run->v, bytes, back) < 0) {
        code = vgpu_error_code(run->v);
        vgpu_pinned_free(run->v, *there);
        return code;
    }
    return VGPU_ERR_NONE;
}

/*
 * Through memory that the GPU reaches by itself, where the channel has such memory.  A guest of
 * little memory has a smaller piece.
 */
static int pinned_speeds(struct bulk_run *run, uint64_t buffer, const uint8_t *memory,
                         struct speeds *speeds)
{
    uint32_t bytes = COPY_BYTES, code;
    void *there, *back;
    int status = EXIT_OK;

    while ((code = pinned_pair(run, bytes, &there, &back)) == VGPU_ERR_MEMORY_LIMIT &&
           bytes > PINNED_BYTES_MIN) {
        bytes /= 2;
    }
    if (code != VGPU_ERR_NONE) {
        show_bar(run, 1);
        return code == VGPU_ERR_UNSUPPORTED_OP || code == VGPU_ERR_MEMORY_LIMIT ? EXIT_OK
                                                                                : failed(run);
    }
    speeds->pinned = true;
    memcpy(there, memory, bytes);
    if (!copy_speeds(run, buffer, there, back, bytes, 0.5, &speeds->pinned_up,
                     &speeds->pinned_down)) {
        return failed(run);
    }
    if (memcmp(memory, back, bytes) != 0) {
        status = wrong(run, "bandwidth of pinned memory");
    }
    if (vgpu_pinned_free(run->v, there) < 0 || vgpu_pinned_free(run->v, back) < 0) {
        return failed(run);
    }
    return status;
}

static void report_bandwidth(const struct bulk_run *run, const struct speeds *speeds)
{
    if (run->options->json) {
        printf("{\"event\":\"bandwidth\",\"bytes\":%u,\"upload_gb_per_s\":%.3f,"
               "\"download_gb_per_s\":%.3f",
               COPY_BYTES, speeds->up, speeds->down);
        if (speeds->pinned) {
            printf(",\"pinned_upload_gb_per_s\":%.3f,\"pinned_download_gb_per_s\":%.3f",
                   speeds->pinned_up, speeds->pinned_down);
        }
        printf("}\n");
        return;
    }
    printf("to the GPU %.2f GB/s, back %.2f GB/s, in pieces of %u MiB, every byte right\n",
           speeds->up, speeds->down, COPY_BYTES >> 20);
    if (speeds->pinned) {
        printf("pinned memory: to the GPU %.2f GB/s, back %.2f GB/s\n", speeds->pinned_up,
               speeds->pinned_down);
    }
}

static int run_bandwidth(struct bulk_run *run)
{
    struct speeds speeds = {.pinned = false};
    uint8_t *memory = malloc(COPY_BYTES), *back = malloc(COPY_BYTES);
    uint64_t buffer = 0;
    int status = EXIT_OK;

    if (!memory || !back) {
        status = no_memory(run);
    } else {
        uint64_t random = clock_now_ns();

        for (size_t i = 0; i < COPY_BYTES; i += 8) {
            uint64_t word = client_random(&random);

            memcpy(memory + i, &word, sizeof(word));
        }
        if (vgpu_buffer_new(run->v, COPY_BYTES, &buffer) < 0 ||
            !copy_speeds(run, buffer, memory, back, COPY_BYTES, 0, &speeds.up, &speeds.down)) {
            status = failed(run);
        }
    }
    if (memory && back && status == EXIT_OK && memcmp(memory, back, COPY_BYTES) != 0) {
        status = wrong(run, "bandwidth");
    }
    if (status == EXIT_OK) {
        status = pinned_speeds(run, buffer, memory, &speeds);
    }
    if (status == EXIT_OK) {
        report_bandwidth(run, &speeds);
    }
    free(memory);
    free(back);
    return status;
}

static int run_latency(struct bulk_run *run)
{
    static struct histogram trips;
    uint64_t count = run->options->n ? run->options->n : LATENCY_JOBS;

    histogram_reset(&trips);
    for (uint64_t i = 0; i < count; i++) {
        uint64_t start_ns = clock_now_ns();

        if (vgpu_nop(run->v) < 0) {
            return failed(run);
        }
        histogram_add(&trips, clock_now_ns() - start_ns);
        show_bar(run, (double)(i + 1) / (double)count);
    }
    if (run->options->json) {
        printf("{\"event\":\"latency\",\"jobs\":%" PRIu64 ",\"p50_us\":%.3f,\"p99_us\":%.3f,"
               "\"max_us\":%.3f}\n",
               count, (double)histogram_quantile_ns(&trips, 0.5) / 1e3,
               (double)histogram_quantile_ns(&trips, 0.99) / 1e3, (double)trips.max_ns / 1e3);
    } else {
        printf("%" PRIu64 " NOPs, one at a time: p50 %.2f us, p99 %.2f us, longest %.0f us\n",
               count, (double)histogram_quantile_ns(&trips, 0.5) / 1e3,
               (double)histogram_quantile_ns(&trips, 0.99) / 1e3, (double)trips.max_ns / 1e3);
    }
    return EXIT_OK;
}

int client_run_bulk(struct vgpu *v, const struct client_options *options)
{
    struct bulk_run run = {
        .v = v, .options = options, .bar = options->progress || isatty(STDERR_FILENO)};

    switch (options->bulk) {
    case BULK_SGEMM: return run_sgemm(&run);
    case BULK_VADD: return run_vadd(&run);
    case BULK_BANDWIDTH: return run_bandwidth(&run);
    default: return run_latency(&run);
    }
}

int client_show_channel(struct vgpu *v, const struct client_options *options)
{
    struct vgpu_channel_info info;

    if (vgpu_get_channel(v, &info) < 0) {
        return client_report_error(options, vgpu_error_code(v), vgpu_last_error(v),
                                   client_exit_status(v, VGPU_FAILED));
    }
    if (options->json) {
        printf("{\"event\":\"channel\",\"device\":");
        client_print_json_string(vgpu_describe(v));
        printf(",\"transport\":\"%s\",\"bytes\":%" PRIu64 ",\"command_bytes\":%" PRIu32
               ",\"arena_bytes\":%" PRIu64 ",\"lanes\":%" PRIu32 "}\n",
               info.transport, info.bytes, info.command_bytes, info.arena_bytes, info.lanes);
    } else {
        printf("%s, transport %s: %" PRIu64 " KiB shared with the worker, of which %" PRIu32
               " KiB command ring, %" PRIu64 " KiB arena, %" PRIu32 " lanes\n",
               vgpu_describe(v), info.transport, info.bytes >> 10, info.command_bytes >> 10,
               info.arena_bytes >> 10, info.lanes);
    }
    return EXIT_OK;
}
