/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The driver's look at the registers of a channel (guest/linux/vgpu_regs.c itself), while the
 * device goes on between any two of its accesses: every way in which a command can be overtaken
 * by what the host does.
 *
 * A life is a list of what the device does, one step after the other.  Each step may come before
 * any of the driver's accesses, and before none of them: then it comes when the driver waits.
 * Each sends an interrupt, which the driver serves when it is done with what it does.
 */
#include "guest/linux/vgpu_regs.c"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define STEPS_MAX 3u
#define ACCESSES_MAX 24u /* more than any command takes */
#define REFUSED VGPU_ERR_QUEUE_FULL
#define WHY VGPU_CLOSED_REMOVED

enum step {
    STEP_OPENED,
    STEP_REFUSED,
    STEP_LEAVES,  /* the host ends it: CLOSING */
    STEP_LETS_GO, /* CLOSING -> FREE */
};

unsigned long jiffies;

static struct device_state {
    u32 select, state, result, reason;
    bool changed, interrupt;
    unsigned accesses, done;
    unsigned count;
    enum step steps[STEPS_MAX];
    unsigned before[STEPS_MAX]; /* this access of the driver */
} device;

static u8 registers[VGPU_REG2_END];
static struct vgpu_dev dev;
static struct vgpu_channel channel;

/* ---- the device ---- */

static void go(enum step step)
{
    switch (step) {
    case STEP_OPENED:
        device.state = VGPU_REGISTER_OPEN;
        device.result = VGPU_ERR_NONE;
        break;
    case STEP_REFUSED:
        device.result = REFUSED;
        device.state = VGPU_REGISTER_FREE;
        break;
    case STEP_LEAVES:
        device.state = VGPU_REGISTER_CLOSING;
        device.reason = WHY;
        break;
    case STEP_LETS_GO:
        device.state = VGPU_REGISTER_FREE;
        if (device.result == VGPU_RESULT_PENDING) {
            device.result = VGPU_ERR_NONE;
        }
        break;
    }
    device.changed = device.interrupt = true;
}

static void overtake(void)
{
    while (device.done < device.count && device.before[device.done] <= device.accesses) {
        go(device.steps[device.done++]);
    }
    device.accesses++;
}

u32 ioread32(const void *address)
{
    overtake();
    switch ((const u8 *)address - registers) {
    case VGPU_REG2_ID: return VGPU_CHANNEL_ID;
    case VGPU_REG2_STATE: return device.state;
    case VGPU_REG2_REASON: return device.reason;
    case VGPU_REG2_RESULT: return device.result;
    case VGPU_REG2_TRANSPORT: return device.state == VGPU_REGISTER_OPEN ? VGPU_TRANSPORT_SHARED : 0;
    case VGPU_REG2_CHANGED:
        if (device.changed) {
            device.changed = false;
            return channel.number;
        }
        return VGPU_CHANGED_NONE;
    default: return 0;
    }
}

static void command(u32 value)
{
    device.result = VGPU_RESULT_PENDING;
    if (value == VGPU_COMMAND_OPEN) {
        device.state = VGPU_REGISTER_OPENING;
    } else if (device.state == VGPU_REGISTER_OPEN) {
        device.state = VGPU_REGISTER_CLOSING;
        device.reason = VGPU_CLOSED_ASKED;
    } else if (device.state == VGPU_REGISTER_FREE) {
        device.result = VGPU_ERR_NONE;
    }
}

void iowrite32(u32 value, void *address)
{
    overtake();
    if ((u8 *)address - registers == VGPU_REG2_COMMAND) {
        command(value);
    }
}

/* ---- the rest of the driver ---- */

void vgpu_channel_put(struct vgpu_channel *ch)
{
    ch->ref.count--;
}

/* What vgpu_channel.c's does to what is looked at here. */
void vgpu_channel_over(struct vgpu_channel *ch, u32 reason)
{
    if (ch->pending && ch->result == VGPU_RESULT_PENDING) {
        ch->result = VGPU_ERR_MEDIATOR_UNAVAILABLE;
    }
    ch->pending = 0;
    ch->phase = VGPU_PHASE_OVER;
    ch->reason = reason;
    vgpu_set_awaited(ch);
}

/* ---- lives ---- */

static void serve_interrupts(void)
{
    do {
        if (!device.interrupt && device.done < device.count) {
            go(device.steps[device.done++]);
        }
        while (device.interrupt) {
            device.interrupt = false;
            vgpu_regs_look(&dev);
        }
    } while (device.done < device.count);
}

static void begin(unsigned count, const enum step *steps, const unsigned *before)
{
    memset(&device, 0, sizeof(device));
    memset(&dev, 0, sizeof(dev));
    memset(&channel, 0, sizeof(channel));
    device.state = VGPU_REGISTER_FREE;
    device.count = count;
    memcpy(device.steps, steps, count * sizeof(steps[0]));
    memcpy(device.before, before, count * sizeof(before[0]));
    dev.regs = registers;
    dev.channel_count = 1;
    dev.vector_count = 2;
    dev.setup_dma = 0x1000;
    dev.channels[0] = &channel;
    channel.dev = &dev;
    channel.phase = VGPU_PHASE_OPENING;
}

/* COMMAND is the 5th access of vgpu_command_start(): nothing can come of it earlier. */
#define FIRST_AFTER_COMMAND 5u

/* Calls `live` for each way in which the steps can come between the driver's accesses. */
static void in_every_way(unsigned count, const enum step *steps, unsigned first, void (*live)(void))
{
    unsigned before[STEPS_MAX];
    unsigned i;

    for (i = 0; i < count; i++) {
        before[i] = first;
    }
    while (before[0] < ACCESSES_MAX) {
        begin(count, steps, before);
        live();
        assert_int_equal(channel.ref.count, 0);
        for (i = count - 1; i > 0 && before[i] == ACCESSES_MAX; i--) {
        }
        before[i]++;
        for (; i + 1 < count; i++) {
            before[i + 1] = before[i];
        }
    }
}

static void open_it(void)
{
    vgpu_command_start(&channel, VGPU_COMMAND_OPEN);
    serve_interrupts();
    assert_int_equal(channel.pending, 0);
}

static void is_open(void)
{
    open_it();
    assert_int_equal(channel.phase, VGPU_PHASE_OPEN);
    assert_int_equal(channel.result, VGPU_ERR_NONE);
    assert_int_equal(channel.transport, VGPU_TRANSPORT_SHARED);
}

static void test_opened(void **state)
{
    const enum step steps[] = {STEP_OPENED};

    (void)state;
    in_every_way(1, steps, FIRST_AFTER_COMMAND, is_open);
}

static void is_refused(void)
{
    open_it();
    assert_int_equal(channel.phase, VGPU_PHASE_OVER);
    assert_int_equal(channel.result, REFUSED);
}

static void test_refused(void **state)
{
    const enum step steps[] = {STEP_REFUSED};

    (void)state;
    in_every_way(1, steps, FIRST_AFTER_COMMAND, is_refused);
}

static void has_ended(void)
{
    open_it();
    assert_int_equal(channel.phase, VGPU_PHASE_OVER);
    assert_int_equal(channel.reason, WHY);
    assert_int_equal(dev.awaited, 0);
}

static void test_opened_and_ended_by_the_host(void **state)
{
    const enum step steps[] = {STEP_OPENED, STEP_LEAVES, STEP_LETS_GO};

    (void)state;
    in_every_way(3, steps, FIRST_AFTER_COMMAND, has_ended);
}

static void is_closed(void)
{
    channel.phase = VGPU_PHASE_OPEN;
    device.state = VGPU_REGISTER_OPEN;
    vgpu_command_close(&channel);
    serve_interrupts();
    assert_int_equal(channel.phase, VGPU_PHASE_OVER);
    assert_int_equal(channel.pending, 0);
    assert_int_equal(dev.awaited, 0);
}

static void test_closed(void **state)
{
    const enum step steps[] = {STEP_LETS_GO};

    (void)state;
    in_every_way(1, steps, FIRST_AFTER_COMMAND, is_closed);
}

/* The host ends it while the driver asks for that. */
static void test_closed_by_both(void **state)
{
    const enum step steps[] = {STEP_LEAVES, STEP_LETS_GO};

    (void)state;
    in_every_way(2, steps, 0, is_closed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_opened),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_opened_and_ended_by_the_host),
        cmocka_unit_test(test_closed),
        cmocka_unit_test(test_closed_by_both),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
