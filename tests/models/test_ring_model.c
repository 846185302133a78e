/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vgpu_ring.h itself, run in every way that a weak memory allows: no wake-up is lost, no byte
 * is read before it was written or after it was overwritten.  Then with each fence, each
 * release and each acquire taken out, and with the second look before sleeping left out: the
 * model must find that out, or it would show nothing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "tests/models/weak_memory.h"

#define VGPU_ATOMICS
#define VGPU_LOAD_RELAXED(p) ((__typeof__(*(p)))model_load((p), sizeof(*(p)), false))
#define VGPU_LOAD_ACQUIRE(p) ((__typeof__(*(p)))model_load((p), sizeof(*(p)), true))
#define VGPU_STORE_RELAXED(p, value) model_store((p), sizeof(*(p)), (value), false)
#define VGPU_STORE_RELEASE(p, value) model_store((p), sizeof(*(p)), (value), true)
#define VGPU_FULL_FENCE() model_fence()
#define VGPU_COPY_IN(to, from, bytes) model_copy((to), (from), (bytes), true)
#define VGPU_COPY_OUT(to, from, bytes) model_copy((to), (from), (bytes), false)
#include "vgpu/vgpu_ring.h"

enum { WRITER = 0, READER = 1 };
enum { DOORBELL = 0, INTERRUPT = 1 };

/* Shared; the model keeps what is in it. */
static VGPUControl control;
static uint64_t ring_bytes[4];
static VGPUMailbox mailbox;

/* What a run is about. */
static unsigned ring_size, messages;
static bool second_look;

static struct vgpu_ring writer_ring, reader_ring;

static void reset(void)
{
    vgpu_ring_init(&writer_ring, ring_bytes, ring_size, &control.command_tail,
                   &control.command_head, &control.worker_parked, &control.process_parked);
    vgpu_ring_init(&reader_ring, ring_bytes, ring_size, &control.command_tail,
                   &control.command_head, &control.worker_parked, &control.process_parked);
}

/* What a side knows of its ring, and one number more. */
static void checkpoint(unsigned place, const struct vgpu_ring *ring, uint64_t number)
{
    uint64_t known[] = {ring->tail, ring->head, ring->published, number};

    model_checkpoint(place, known, sizeof(known));
}

/* ---- a stream of messages ---- */

static void wait_for_room(void)
{
    int room;

    while ((room = vgpu_ring_room(&writer_ring, 8)) != VGPU_RING_OK) {
        model_require(room == VGPU_RING_FULL, "a true position was found broken");
        vgpu_park(&control.process_parked);
        if (!second_look || vgpu_ring_room(&writer_ring, 8) == VGPU_RING_FULL) {
            model_wait(INTERRUPT);
        }
        vgpu_unpark(&control.process_parked);
        checkpoint(1, &writer_ring, 0);
    }
}

static void write_messages(void)
{
    for (uint64_t i = 1; i <= messages; i++) {
        checkpoint(2, &writer_ring, i);
        wait_for_room();
        vgpu_ring_put(&writer_ring, &i, 8);
        if (vgpu_ring_publish(&writer_ring)) {
            model_signal(DOORBELL);
        }
    }
}

static void wait_for_bytes(void)
{
    int look;

    while ((look = vgpu_ring_look(&reader_ring)) != VGPU_RING_OK) {
        model_require(look == VGPU_RING_EMPTY, "a true position was found broken");
        vgpu_park(&control.worker_parked);
        if (!second_look || vgpu_ring_look(&reader_ring) == VGPU_RING_EMPTY) {
            model_wait(DOORBELL);
        }
        vgpu_unpark(&control.worker_parked);
        checkpoint(3, &reader_ring, 0);
    }
}

static void read_messages(void)
{
    for (uint64_t i = 1; i <= messages; i++) {
        uint64_t message = 0;

        checkpoint(4, &reader_ring, i);
        wait_for_bytes();
        vgpu_ring_get(&reader_ring, &message, 8);
        model_require(message == i, "stale bytes were read");
        if (vgpu_ring_release(&reader_ring)) {
            model_signal(INTERRUPT);
        }
    }
}

static struct model_result explore(void (*writer)(void), void (*reader)(void),
                                   const struct model_mutant *of_writer,
                                   const struct model_mutant *of_reader)
{
    struct model model = {
        .thread_count = 2, .threads = {[WRITER] = writer, [READER] = reader}, .reset = reset};
    struct model_result result;

    if (of_writer) {
        model.mutants[WRITER] = *of_writer;
    }
    if (of_reader) {
        model.mutants[READER] = *of_reader;
    }
    model_explore(&model, &result);
    print_message("ring of %u, %u messages: %s, %llu states, %llu runs\n", ring_size / 8, messages,
                  result.error[0] ? result.error : "all well", (unsigned long long)result.states,
                  (unsigned long long)result.runs);
    return result;
}

static void set_up(unsigned slots, unsigned count)
{
    ring_size = slots * 8;
    messages = count;
    second_look = true;
}

static void stream_is_well(void **state)
{
    set_up(4, 1);
    assert_string_equal(explore(write_messages, read_messages, NULL, NULL).error, "");
    set_up(4, 3);
    assert_string_equal(explore(write_messages, read_messages, NULL, NULL).error, "");
    /* The writer sleeps for want of room, and bytes are overwritten. */
    set_up(1, 2);
    assert_string_equal(explore(write_messages, read_messages, NULL, NULL).error, "");
    set_up(2, 3);
    assert_string_equal(explore(write_messages, read_messages, NULL, NULL).error, "");
}

static const struct model_mutant no_fence = {.no_fence = true};
static const struct model_mutant no_release = {.no_release = true};
static const struct model_mutant no_acquire = {.no_acquire = true};

static void mutants_are_found(void **state)
{
    set_up(4, 1);
    assert_string_equal(explore(write_messages, read_messages, &no_fence, NULL).error,
                        "a sleeper is never woken");
    assert_string_equal(explore(write_messages, read_messages, NULL, &no_fence).error,
                        "a sleeper is never woken");
    assert_string_equal(explore(write_messages, read_messages, &no_release, NULL).error,
                        "stale bytes were read");
    assert_string_equal(explore(write_messages, read_messages, NULL, &no_acquire).error,
                        "stale bytes were read");
    second_look = false;
    assert_string_equal(explore(write_messages, read_messages, NULL, NULL).error,
                        "a sleeper is never woken");
}

/* The other direction of the same ring: the writer sleeps for room. */
static void mutants_of_room_are_found(void **state)
{
    set_up(1, 2);
    assert_string_equal(explore(write_messages, read_messages, NULL, NULL).error, "");
    assert_string_equal(explore(write_messages, read_messages, &no_fence, NULL).error,
                        "a sleeper is never woken");
    assert_string_equal(explore(write_messages, read_messages, NULL, &no_fence).error,
                        "a sleeper is never woken");
}

/* ---- a call: a record one way, an answer in a mailbox back ---- */

static void wait_for_answer(uint32_t seq)
{
    while (!vgpu_mailbox_has(&mailbox, seq)) {
        vgpu_park(&control.process_parked);
        if (!second_look || !vgpu_mailbox_has(&mailbox, seq)) {
            model_wait(INTERRUPT);
        }
        vgpu_unpark(&control.process_parked);
        checkpoint(5, &writer_ring, seq);
    }
}

static void call(void)
{
    for (uint64_t i = 1; i <= messages; i++) {
        checkpoint(6, &writer_ring, i);
        vgpu_ring_put(&writer_ring, &i, 8);
        if (vgpu_ring_publish(&writer_ring)) {
            model_signal(DOORBELL);
        }
        wait_for_answer((uint32_t)i);
        model_require(VGPU_LOAD_RELAXED(&mailbox.gpu_time_ns) == i * 10, "a stale answer was read");
    }
}

static void serve(void)
{
    for (uint64_t i = 1; i <= messages; i++) {
        uint64_t message = 0;

        checkpoint(7, &reader_ring, i);
        wait_for_bytes();
        vgpu_ring_get(&reader_ring, &message, 8);
        model_require(message == i, "stale bytes were read");
        VGPU_STORE_RELAXED(&mailbox.gpu_time_ns, message * 10);
        vgpu_mailbox_answer(&mailbox, (uint32_t)message);
        /* One fence for both: the answer, and the room. */
        if (vgpu_ring_release(&reader_ring)) {
            model_signal(INTERRUPT);
        }
    }
}

static void calls_are_well(void **state)
{
    set_up(4, 1);
    assert_string_equal(explore(call, serve, NULL, NULL).error, "");
    set_up(4, 2);
    assert_string_equal(explore(call, serve, NULL, NULL).error, "");
}

static void mutants_of_calls_are_found(void **state)
{
    set_up(4, 1);
    assert_string_equal(explore(call, serve, &no_fence, NULL).error, "a sleeper is never woken");
    assert_string_equal(explore(call, serve, NULL, &no_fence).error, "a sleeper is never woken");
    assert_string_equal(explore(call, serve, NULL, &no_release).error, "a stale answer was read");
    assert_string_equal(explore(call, serve, &no_acquire, NULL).error, "a stale answer was read");
    second_look = false;
    assert_string_equal(explore(call, serve, NULL, NULL).error, "a sleeper is never woken");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stream_is_well),
        cmocka_unit_test(mutants_are_found),
        cmocka_unit_test(mutants_of_room_are_found),
        cmocka_unit_test(calls_are_well),
        cmocka_unit_test(mutants_of_calls_are_found),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
