/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Channels of devices, whose memory is a guest's: shared, or copied. */
#include "core/test_channel_world.h"

static uint32_t device_session(uint32_t vm_id)
{
    const VGPUHello hello = {.version = VGPU_PROTOCOL_VERSION, .features = VGPU_FEATURE_CHANNELS};
    uint32_t session = connect_as(CORE_IDENTITY_UUID, vm_id);

    w.frame_fd = 0;
    frame_in(session, VGPU_MSG_HELLO, vm_id, 0, &hello, sizeof(hello));
    return session;
}

static VGPUChannelOpen shared_frame(uint32_t number)
{
    VGPUChannelOpen open = open_frame(number);

    open.transports = 1u << VGPU_TRANSPORT_SHARED;
    return open;
}

/* Chunk 0 of open_frame(): control page, mailbox, notices, commands. */
#define CHUNK_BYTES (3 * 4096ull + 131072)

static void part(uint32_t session, uint32_t number, uint32_t chunk, uint64_t bytes, uint32_t flags)
{
    const struct {
        VGPUChunkAdd add;
        VGPUPiece piece;
    } frame = {
        .add = {.channel = number,
                .chunk = chunk,
                .flags = flags,
                .piece_count = 1,
                .bytes = CHUNK_BYTES,
                .page_bytes = 4096},
        .piece = {.address = 0x10000, .bytes = bytes},
    };

    frame_in(session, VGPU_MSG_CHUNK_ADD, 7, 0, &frame, sizeof(frame));
}

static void ask_shared(uint32_t session, uint32_t number)
{
    const VGPUChannelOpen open = shared_frame(number);

    w.frame_fd = 40;
    ask(session, 7, &open);
}

static void test_shared_memory_starts_when_all_of_it_is_named(void **state)
{
    uint32_t session;

    world_begin(small_memory);
    session = device_session(7);
    ask_shared(session, 5);
    assert_int_equal(w.lease_fd, 40);
    worker_ready(w.starts[w.start_count - 1].worker);
    assert_int_equal(w.channel.state, WORLD_CHANNEL_NONE);
    part(session, 5, 0, CHUNK_BYTES - 8192, VGPU_CHUNK_MORE);
    assert_int_equal(w.channel.state, WORLD_CHANNEL_NONE);
    part(session, 5, 0, 8192, 0);
    assert_int_equal(w.part_count, 2);
    assert_int_equal(w.part_fd, 40);
    assert_int_equal(w.last_piece.bytes, 8192);
    assert_int_equal(w.channel.state, WORLD_CHANNEL_STARTED);
    assert_int_equal(w.channel.transport, VGPU_TRANSPORT_SHARED);
    assert_int_equal(w.channel.handle, w.leased);
    core_channel_opened(w.core, w.channel.worker, w.channel.handle, VGPU_ERR_NONE, w.now_ns);
    assert_int_equal(last_sent()->opened.transport, VGPU_TRANSPORT_SHARED);
    assert_int_equal(last_sent()->opened.chunk0_bytes, CHUNK_BYTES);
    ask_shared(session, 6); /* the host's memory is not charged for it */
    part(session, 6, 0, CHUNK_BYTES, 0);
    assert_int_equal(w.channel.state, WORLD_CHANNEL_STARTED);
    world_end();
}

static void test_a_guests_own_chunk(void **state)
{
    uint32_t session;

    world_begin(small_memory);
    session = device_session(7);
    ask_shared(session, 0);
    worker_ready(w.starts[w.start_count - 1].worker);
    part(session, 0, 0, CHUNK_BYTES, 0);
    core_channel_opened(w.core, w.channel.worker, w.channel.handle, VGPU_ERR_NONE, w.now_ns);
    part(session, 0, 1, 8192, VGPU_CHUNK_MORE);
    assert_int_equal(w.channel.chunk, 1);
    chunk_added(1, VGPU_ERR_NONE); /* too early */
    assert_int_equal(w.channel.chunk_sent, 0);
    part(session, 0, 1, CHUNK_BYTES - 8192, 0);
    chunk_added(1, VGPU_ERR_NONE);
    assert_int_equal(w.channel.chunk_sent, 1);
    assert_int_equal(last_sent()->added.bytes, CHUNK_BYTES);
    remove_chunk(session, 1);
    core_chunk_removed(w.core, w.channel.worker, w.channel.handle, 1);
    assert_int_equal(last_sent()->header.msg_type, VGPU_MSG_CHUNK_REMOVED);
    part(session, 0, 1, CHUNK_BYTES, 0);
    chunk_added(1, VGPU_ERR_MEMORY_LIMIT);
    assert_int_equal(last_sent()->added.status, VGPU_ERR_MEMORY_LIMIT);
    w.channel.chunk_result = -22; /* no memory: the device lies */
    part(session, 0, 1, CHUNK_BYTES, 0);
    assert_int_equal(w.channel.stop_reason, VGPU_CLOSED_SESSION);
    world_end();
}

static void test_copied_memory_is_charged_and_starts_at_once(void **state)
{
    VGPUChannelOpen open = open_frame(5);
    uint32_t session;

    world_begin(small_memory);
    session = device_session(7);
    open.transports = 1u << VGPU_TRANSPORT_COPIED;
    w.frame_fd = 40;
    ask(session, 7, &open);
    worker_ready(w.starts[w.start_count - 1].worker);
    assert_int_equal(w.channel.state, WORLD_CHANNEL_STARTED);
    assert_int_equal(w.channel.transport, VGPU_TRANSPORT_COPIED);
    core_channel_opened(w.core, w.channel.worker, w.channel.handle, VGPU_ERR_NONE, w.now_ns);
    assert_int_equal(last_sent()->opened.transport, VGPU_TRANSPORT_COPIED);
    assert_int_equal(core_session_transports(w.core, session), 1u << VGPU_TRANSPORT_COPIED);
    open.channel = 6;
    ask(session, 7, &open);
    assert_int_equal(last_sent()->opened.status, VGPU_ERR_MEMORY_LIMIT);
    open.transports |= 1u << VGPU_TRANSPORT_SHARED; /* preferred where both are offered */
    ask(session, 7, &open);
    part(session, 6, 0, CHUNK_BYTES, 0);
    assert_int_equal(w.channel.transport, VGPU_TRANSPORT_SHARED);
    core_channel_opened(w.core, w.channel.worker, w.channel.handle, VGPU_ERR_NONE, w.now_ns);
    assert_int_equal(core_session_transports(w.core, session),
                     1u << VGPU_TRANSPORT_COPIED | 1u << VGPU_TRANSPORT_SHARED);
    assert_int_equal(core_session_channels(w.core, session), 2);
    open.channel = 7;
    open.transports = 1u << VGPU_TRANSPORT_COPIED;
    open.profile = VGPU_PROFILE_CUDA;
    ask(session, 7, &open);
    assert_int_equal(last_sent()->opened.status, VGPU_ERR_UNSUPPORTED_OP);
    world_end();
}

static void test_what_a_device_sends_can_not_be_kept(void **state)
{
    uint32_t session;

    world_begin(NULL);
    session = device_session(7);
    w.lease_result = -24;
    ask_shared(session, 1);
    assert_int_equal(last_sent()->opened.status, VGPU_ERR_QUEUE_FULL);
    w.lease_result = 0;
    w.part_result = -22;
    ask_shared(session, 1);
    part(session, 1, 0, CHUNK_BYTES, 0);
    assert_int_equal(last_sent()->opened.status, VGPU_ERR_INVALID_REQUEST);
    w.part_result = 0;
    part(session, 1, 0, CHUNK_BYTES, 0); /* crosses the refusal: ignored */
    assert_int_equal(w.closed_session, CORE_NONE);
    ask_shared(session, 1);
    part(session, 1, 0, CHUNK_BYTES, 0);
    worker_ready(w.starts[w.start_count - 1].worker);
    assert_int_equal(w.channel.state, WORLD_CHANNEL_STARTED);
    world_end();
}

static void test_a_reset_is_answered_when_nothing_is_left(void **state)
{
    uint32_t session;

    world_begin(NULL);
    session = device_session(7);
    ask_shared(session, 1);
    part(session, 1, 0, CHUNK_BYTES, 0);
    worker_ready(w.starts[w.start_count - 1].worker);
    core_channel_opened(w.core, w.channel.worker, w.channel.handle, VGPU_ERR_NONE, w.now_ns);
    ask_shared(session, 2); /* half named */
    part(session, 2, 0, 4096, VGPU_CHUNK_MORE);
    w.frame_fd = 0;
    frame_in(session, VGPU_MSG_CHANNEL_RESET, 7, 0, NULL, 0);
    assert_int_equal(w.channel.stop_reason, VGPU_CLOSED_RESET);
    assert_int_equal(last_sent()->opened.channel, 2);
    assert_int_not_equal(last_sent()->opened.status, VGPU_ERR_NONE);
    closed_by_worker(VGPU_CLOSED_RESET);
    assert_int_equal(last_sent()->header.msg_type, VGPU_MSG_CHANNEL_RESET);
    assert_int_equal(w.last[CORE_EVENT_CHANNEL_CLOSED].code, VGPU_CLOSED_RESET);
    world_end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shared_memory_starts_when_all_of_it_is_named),
        cmocka_unit_test(test_a_guests_own_chunk),
        cmocka_unit_test(test_copied_memory_is_charged_and_starts_at_once),
        cmocka_unit_test(test_what_a_device_sends_can_not_be_kept),
        cmocka_unit_test(test_a_reset_is_answered_when_nothing_is_left),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
