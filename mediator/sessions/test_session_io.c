/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Connections on real sockets, with a real core: bytes in, answers out, and who is turned away. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "core/no_effects.h"
#include "mediator/events.h"
#include "mediator/sessions/session_io.h"
#include "mediator/test_loop.h"

#define PAIRS_MAX (SESSION_SILENT_LISTENER_MAX + 8)
#define FLOOD_FRAMES 40000u

static uv_loop_t loop;
static struct core *core;
static struct events *events;
static struct session_io *io;
static int peers[PAIRS_MAX]; /* the other ends */
static uint32_t peer_count;
static uint32_t happened[CORE_EVENT_KIND_COUNT], notes;
static uint32_t sent_to[CORE_SESSIONS_MAX]; /* frames */
static struct core_event last_event;
static char last_note[EVENTS_TEXT_BYTES];

/* Listeners are only told apart here. */
static char first_one, second_one;
#define FIRST ((const struct listener *)&first_one)
#define SECOND ((const struct listener *)&second_one)

static void send_frame(UNUSED void *opaque, uint32_t session, const VGPUSocketHeader *header,
                       const void *payload)
{
    sent_to[session]++;
    session_io_send(io, session, header, payload);
}

static void close_session(UNUSED void *opaque, uint32_t session,
                          UNUSED enum core_close_reason reason)
{
    session_io_close(io, session);
}

static void take_event(UNUSED void *opaque, const struct core_event *event)
{
    happened[event->kind]++;
    last_event = *event;
}

static void take_record(UNUSED void *opaque, const struct event_record *record)
{
    notes++;
    memcpy(last_note, record->text, sizeof(last_note));
}

static int setup(void **state)
{
    struct core_effects effects = no_effects;
    struct core_config config;

    effects.send = send_frame;
    effects.close_session = close_session;
    effects.event = take_event;
    core_config_defaults(&config);
    config.allow_unregistered = true;
    uv_loop_init(&loop);
    core = core_new(&config, &effects);
    events = events_new();
    events_set_core(events, core);
    events_subscribe(events, take_record, NULL);
    io = session_io_new(&loop, core, events);
    memset(happened, 0, sizeof(happened));
    memset(sent_to, 0, sizeof(sent_to));
    peer_count = notes = 0;
    return core && events && io ? 0 : -1;
}

static int teardown(void **state)
{
    session_io_close_all(io);
    session_io_flush(io);
    assert_int_equal(session_io_count(io), 0);
    end_loop(&loop);
    session_io_free(io);
    events_free(events);
    core_free(core);
    while (peer_count) {
        close(peers[--peer_count]);
    }
    return 0;
}

/* As the daemon does it: a turn of the loop, then what waits is written. */
static void turn(void)
{
    uv_run(&loop, UV_RUN_NOWAIT);
    session_io_flush(io);
}

static void turns(void)
{
    for (int i = 0; i < 8; i++) {
        turn();
    }
}

static int connect_to(const struct listener *listener, pid_t pid,
                      const struct core_identity *identity)
{
    const struct session_peer peer = {.pid = pid};
    int pair[2];

    assert_true(peer_count < PAIRS_MAX);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    peers[peer_count++] = pair[1];
    session_io_accept(io, listener, "/run/first", pair[0], &peer, identity);
    return pair[1];
}

static int claimant(pid_t pid)
{
    const struct core_identity claim = {.kind = CORE_IDENTITY_CLAIM};

    return connect_to(FIRST, pid, &claim);
}

static VGPUSocketHeader header_of(uint32_t type, uint32_t request_id, uint32_t length)
{
    return (VGPUSocketHeader){.magic = VGPU_SOCKET_MAGIC,
                              .msg_type = type,
                              .vm_id = 7,
                              .request_id = request_id,
                              .pool_id = 'A',
                              .payload_len = length};
}

static void write_all(int fd, const void *bytes, size_t length)
{
    assert_int_equal(write(fd, bytes, length), length);
}

static void ping(int fd, uint32_t request_id)
{
    const VGPUSocketHeader header = header_of(VGPU_MSG_PING, request_id, 0);

    write_all(fd, &header, sizeof(header));
}

/* Makes the connection vm_id 7's. */
static void ask(int fd)
{
    struct {
        VGPUSocketHeader header;
        VGPURequest request;
    } frame = {header_of(VGPU_MSG_REQUEST, 1, sizeof(frame.request)),
               {.version = VGPU_PROTOCOL_VERSION, .opcode = VGPU_OP_NOP}};

    write_all(fd, &frame, sizeof(frame));
    turns();
}

static void assert_pong(int fd, uint32_t request_id)
{
    VGPUSocketHeader header;

    assert_int_equal(read(fd, &header, sizeof(header)), sizeof(header));
    assert_int_equal(header.msg_type, VGPU_MSG_PONG);
    assert_int_equal(header.request_id, request_id);
    assert_int_equal(header.payload_len, 0);
}

static bool is_closed(int fd)
{
    char byte;

    return read(fd, &byte, 1) == 0;
}

static void assert_silent(int fd)
{
    char byte;

    assert_int_equal(read(fd, &byte, 1), -1);
    assert_int_equal(errno, EAGAIN);
}

/* ---- frames ---- */

static void test_a_frame_may_come_byte_by_byte(void **state)
{
    struct {
        VGPUSocketHeader header;
        char payload[5];
    } __attribute__((packed)) frame = {header_of(VGPU_MSG_PING, 9, 5), "echo"}, back;
    int fd = claimant(1);

    for (size_t i = 0; i < sizeof(frame); i++) {
        turns();
        assert_silent(fd);
        write_all(fd, (const char *)&frame + i, 1);
    }
    turns();
    assert_int_equal(read(fd, &back, sizeof(back)), sizeof(back));
    assert_int_equal(back.header.msg_type, VGPU_MSG_PONG);
    assert_string_equal(back.payload, "echo");
}

static void test_several_frames_and_a_half_may_come_at_once(void **state)
{
    VGPUSocketHeader frames[3] = {header_of(VGPU_MSG_PING, 1, 0), header_of(VGPU_MSG_PING, 2, 0),
                                  header_of(VGPU_MSG_PING, 3, 0)};
    int fd = claimant(1);

    write_all(fd, frames, sizeof(frames) - 7);
    turns();
    assert_pong(fd, 1);
    assert_pong(fd, 2);
    assert_silent(fd);
    write_all(fd, (const char *)frames + sizeof(frames) - 7, 7);
    turns();
    assert_pong(fd, 3);
}

static void test_nonsense_ends_the_connection_after_what_was_right(void **state)
{
    VGPUSocketHeader frames[3] = {header_of(VGPU_MSG_PING, 1, 0), header_of(VGPU_MSG_PING, 2, 0),
                                  header_of(VGPU_MSG_PING, 3, 0)};
    int fd = claimant(1), other = claimant(1);

    frames[1].magic ^= 1;
    write_all(fd, frames, sizeof(frames));
    turns();
    assert_pong(fd, 1);
    assert_true(is_closed(fd));
    assert_int_equal(happened[CORE_EVENT_SESSION_REFUSED], 1);
    assert_int_equal(last_event.code, CORE_CLOSE_PROTOCOL);
    assert_int_equal(happened[CORE_EVENT_SESSION_CLOSED], 0);
    assert_int_equal(session_io_count(io), 1);
    ping(other, 4);
    turns();
    assert_pong(other, 4);
}

static void test_a_payload_that_no_frame_has_ends_the_connection(void **state)
{
    const VGPUSocketHeader most = header_of(VGPU_MSG_PING, 1, VGPU_SOCKET_PAYLOAD_MAX + 1);
    const VGPUSocketHeader huge = header_of(VGPU_MSG_PING, 1, UINT32_MAX);
    int first = claimant(1), second = claimant(1);

    write_all(first, &most, sizeof(most));
    write_all(second, &huge, sizeof(huge));
    turns();
    assert_true(is_closed(first));
    assert_true(is_closed(second));
    assert_int_equal(happened[CORE_EVENT_SESSION_REFUSED], 2);
}

/* ---- floods, and peers that don't read ---- */

static void test_a_flood_leaves_the_others_their_turn(void **state)
{
    static VGPUSocketHeader flood[2000];
    int loud = claimant(1), quiet = claimant(2);
    uint32_t loud_session = 0, quiet_session = 1;

    for (size_t i = 0; i < 2000; i++) {
        flood[i] = header_of(VGPU_MSG_PING, (uint32_t)i, 0);
    }
    _Static_assert(sizeof(flood) > 2 * SESSION_READ_BYTES, "more than one turn takes");
    write_all(loud, flood, sizeof(flood));
    ping(quiet, 1);
    turn();
    assert_int_equal(sent_to[quiet_session], 1);
    assert_in_range(sent_to[loud_session], 1, SESSION_READ_BYTES / sizeof(flood[0]));
    assert_pong(quiet, 1);
    turns();
    assert_int_equal(sent_to[loud_session], 2000);
}

static size_t push(int fd, const uint8_t *bytes, size_t length)
{
    size_t used = 0;

    /* Until nothing more is taken, though the loop had its turns. */
    for (int idle = 0; idle < 8;) {
        ssize_t n = used < length ? write(fd, bytes + used, length - used) : -1;

        idle = n > 0 ? 0 : idle + 1;
        used += n > 0 ? (size_t)n : 0;
        turn();
    }
    return used;
}

static void test_who_takes_no_answers_is_not_read_and_loses_nothing(void **state)
{
    VGPUSocketHeader *flood = calloc(FLOOD_FRAMES, sizeof(*flood)), answer;
    size_t length = FLOOD_FRAMES * sizeof(*flood), used, got = 0;
    int fd = claimant(1), other = claimant(2), small = 4096;
    uint32_t answered = 0;

    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
    for (uint32_t i = 0; i < FLOOD_FRAMES; i++) {
        flood[i] = header_of(VGPU_MSG_PING, i, 0);
    }
    used = push(fd, (const uint8_t *)flood, length);
    assert_true(used > SESSION_OUT_PAUSE_BYTES && used < length);
    /* Nobody is disconnected for being slow, and others are served. */
    assert_int_equal(notes, 0);
    assert_int_equal(session_io_count(io), 2);
    ping(other, 1);
    turns();
    assert_pong(other, 1);
    /* It begins to read: all is there, in order. */
    while (used < length || answered < FLOOD_FRAMES) {
        ssize_t n = read(fd, (char *)&answer + got, sizeof(answer) - got);

        if (n > 0 && (got += (size_t)n) == sizeof(answer)) {
            assert_int_equal(answer.request_id, answered++);
            got = 0;
        }
        assert_true(n != 0);
        if (n < 0) {
            n = write(fd, (const char *)flood + used, length - used);
            used += n > 0 ? (size_t)n : 0;
            turn();
        }
    }
    free(flood);
}

static void test_who_lets_too_much_wait_is_disconnected_and_reported_once(void **state)
{
    static const uint8_t payload[VGPU_SOCKET_PAYLOAD_MAX];
    const VGPUSocketHeader header = header_of(VGPU_MSG_PONG, 1, sizeof(payload));
    struct core_session_stats stats;
    int fd = claimant(1);

    ask(fd);
    claimant(2);
    /* Nothing is written until the loop has its turn. */
    for (uint32_t i = 0; i < SESSION_OUT_MAX_BYTES / sizeof(payload) + 1; i++) {
        session_io_send(io, 0, &header, payload);
    }
    assert_int_equal(notes, 1);
    assert_non_null(strstr(last_note, "does not take its answers"));
    session_io_send(io, 0, &header, payload); /* to nobody */
    assert_int_equal(notes, 1);
    assert_int_equal(happened[CORE_EVENT_SESSION_CLOSED], 0); /* not within an effect */
    assert_true(session_io_flush(io));
    assert_false(session_io_flush(io));
    assert_int_equal(happened[CORE_EVENT_SESSION_CLOSED], 1);
    assert_false(core_session_stats(core, 0, &stats));
    assert_int_equal(session_io_count(io), 1);
}

/* ---- ends ---- */

static void test_an_end_with_many_causes_is_reported_once(void **state)
{
    int fd = claimant(1);

    ask(fd);
    assert_int_equal(happened[CORE_EVENT_SESSION_BOUND], 1);
    close(peers[--peer_count]);
    uv_run(&loop, UV_RUN_NOWAIT);
    session_io_listener_gone(io, FIRST);
    session_io_close_all(io);
    assert_true(session_io_flush(io));
    assert_false(session_io_flush(io));
    turns();
    assert_int_equal(happened[CORE_EVENT_SESSION_CLOSED], 1);
    assert_int_equal(session_io_count(io), 0);
}

static void test_what_a_closed_session_is_sent_goes_nowhere(void **state)
{
    const VGPUSocketHeader header = header_of(VGPU_MSG_PONG, 1, 0);
    int fd = claimant(1);

    session_io_close(io, 0);
    session_io_close(io, 0);
    session_io_send(io, 0, &header, NULL);
    session_io_send(io, CORE_SESSIONS_MAX - 1, &header, NULL);
    session_io_close(io, CORE_SESSIONS_MAX - 1);
    assert_false(session_io_flush(io)); /* it was the core that closed it */
    assert_true(is_closed(fd));
}

struct visited {
    uint32_t count, without_path;
    pid_t pid;
};

static void visit(void *opaque, const struct session_info *info)
{
    struct visited *visited = opaque;

    visited->count++;
    visited->without_path += info->path[0] == '\0';
    visited->pid = info->peer.pid;
}

static void test_a_listener_takes_its_connections_with_it(void **state)
{
    const struct core_identity claim = {.kind = CORE_IDENTITY_CLAIM};
    int first = claimant(1), second = connect_to(SECOND, 2, &claim);
    struct visited before = {0}, between = {0}, after = {0};

    session_io_each(io, visit, &before);
    assert_int_equal(before.count, 2);
    assert_int_equal(before.without_path, 0);
    session_io_listener_gone(io, FIRST);
    session_io_each(io, visit, &between); /* its path is gone with it */
    assert_int_equal(between.count - between.without_path, 1);
    turns();
    session_io_each(io, visit, &after);
    assert_int_equal(after.count, 1);
    assert_int_equal(after.pid, 2);
    assert_true(is_closed(first));
    assert_silent(second);
}

/* ---- who is turned away ---- */

static void test_a_process_may_have_so_many_silent_connections(void **state)
{
    const struct session_peer loud = {.pid = 5}, other = {.pid = 6}, unknown = {.pid = 0};

    for (uint32_t i = 0; i < SESSION_SILENT_PROCESS_MAX; i++) {
        assert_true(session_io_admit(io, FIRST, &loud));
        claimant(5);
    }
    assert_false(session_io_admit(io, FIRST, &loud));
    assert_int_equal(notes, 1);
    assert_true(session_io_admit(io, FIRST, &other));
    assert_true(session_io_admit(io, FIRST, &unknown));
    assert_true(session_io_admit(io, SECOND, &loud));
    /* One that has spoken is silent no more. */
    ping(peers[0], 1);
    turns();
    assert_true(session_io_admit(io, FIRST, &loud));
    /* A process that says half a frame has said nothing. */
    claimant(5);
    write_all(peers[1], "U", 1);
    turns();
    assert_false(session_io_admit(io, FIRST, &loud));
}

static void test_a_listener_may_have_so_many_silent_connections(void **state)
{
    const struct session_peer next = {.pid = 5000};

    for (uint32_t i = 0; i < SESSION_SILENT_LISTENER_MAX; i++) {
        assert_true(session_io_admit(io, FIRST, &next));
        claimant((pid_t)i + 1);
    }
    assert_false(session_io_admit(io, FIRST, &next));
    assert_non_null(strstr(last_note, "too many connections that say nothing"));
    assert_true(session_io_admit(io, SECOND, &next));
    close(peers[--peer_count]);
    turns();
    assert_true(session_io_admit(io, FIRST, &next));
}

static void test_a_vm_may_have_so_many_connections_that_serve_nothing(void **state)
{
    struct core_identity vm = {.kind = CORE_IDENTITY_UUID, .uuid = {1}};
    const struct core_identity other = {.kind = CORE_IDENTITY_UUID, .uuid = {2}};

    ask(connect_to(FIRST, 1, &vm)); /* this one serves it */
    for (uint32_t i = 0; i < SESSION_SPARE_VM_MAX; i++) {
        connect_to(i % 2 ? FIRST : SECOND, 1, &vm);
    }
    assert_int_equal(session_io_count(io), SESSION_SPARE_VM_MAX + 1);
    assert_true(is_closed(connect_to(FIRST, 1, &vm)));
    assert_int_equal(notes, 1);
    assert_non_null(strstr(last_note, "its VM has too many connections"));
    assert_silent(connect_to(FIRST, 1, &other));
    /* Who only claims may be many. */
    for (uint32_t i = 0; i < 2 * SESSION_SPARE_VM_MAX; i++) {
        assert_silent(claimant(1));
    }
}

static void test_when_all_sessions_are_taken_it_is_said_and_closed(void **state)
{
    const struct core_identity claim = {.kind = CORE_IDENTITY_CLAIM};
    uint32_t session;
    int fd;

    while (core_session_open(core, &claim, 1, &session) == 0) {
        ;
    }
    fd = claimant(1);
    assert_non_null(strstr(last_note, "all sessions are taken"));
    turns();
    assert_true(is_closed(fd));
    assert_int_equal(session_io_count(io), 0);
    core_session_closed(core, session, 1);
    assert_silent(claimant(1));
}

/* ---- over a restart ---- */

static struct {
    struct session_left left;
    uint8_t in[VGPU_SOCKET_FRAME_MAX], out[SESSION_OUT_MAX_BYTES];
    struct core_session_kept kept;
    struct core_identity identity;
    uint32_t count;
    bool refuse;
} moved;

static bool take_left(UNUSED void *opaque, const struct session_left *left)
{
    moved.count++;
    if (moved.refuse || !core_session_export(core, left->session, &moved.kept)) {
        return false;
    }
    moved.left = *left;
    moved.left.fd = fcntl(left->fd, F_DUPFD_CLOEXEC, 0);
    memcpy(moved.in, left->in, left->in_bytes);
    memcpy(moved.out, left->out, left->out_bytes);
    moved.left.in = moved.in;
    moved.left.out = moved.out;
    moved.identity = *core_session_identity(core, left->session);
    return true;
}

/* All that one mediator does to stop, and the next one to start. */
static int move_over(void)
{
    moved.count = 0;
    session_io_read_no_more(io);
    session_io_hand_over(io, take_left, NULL);
    session_io_close_all(io);
    session_io_flush(io);
    assert_int_equal(session_io_count(io), 0);
    end_loop(&loop);
    session_io_free(io);
    events_free(events);
    core_free(core);
    return setup(NULL);
}

static void test_a_connection_goes_on_where_it_was(void **state)
{
    const struct core_identity known = {.kind = CORE_IDENTITY_UUID, .uuid = {7}};
    VGPUSocketHeader frames[2] = {header_of(VGPU_MSG_PING, 1, 0), header_of(VGPU_MSG_PING, 2, 0)};
    int fd = connect_to(FIRST, 1, &known);
    uint32_t their_count;

    write_all(fd, frames, sizeof(frames) - 7);
    turns();
    assert_pong(fd, 1);
    their_count = peer_count;
    assert_int_equal(move_over(), 0);
    peer_count = their_count;
    assert_int_equal(moved.count, 1);
    assert_int_equal(moved.left.in_bytes, sizeof(frames[1]) - 7);
    assert_silent(fd); /* it was not told of any end */
    assert_int_equal(session_io_take_over(io, FIRST, &moved.left, &moved.identity, &moved.kept), 0);
    turns();
    assert_silent(fd);
    write_all(fd, (const char *)frames + sizeof(frames) - 7, 7);
    turns();
    assert_pong(fd, 2);
}

static void test_what_a_peer_has_not_taken_yet_goes_on_with_it(void **state)
{
    const struct core_identity known = {.kind = CORE_IDENTITY_UUID, .uuid = {7}};
    int fd = connect_to(FIRST, 1, &known);
    uint32_t sent = 0, their_count;

    /* Until neither the socket nor we take more. */
    for (uint32_t quiet = 0; quiet < 16; quiet++) {
        const VGPUSocketHeader header = header_of(VGPU_MSG_PING, sent + 1, 0);

        if (write(fd, &header, sizeof(header)) == sizeof(header)) {
            sent++;
            quiet = 0;
        }
        turn();
    }
    their_count = peer_count;
    assert_int_equal(move_over(), 0);
    peer_count = their_count;
    assert_true(moved.left.out_bytes > 0);
    assert_int_equal(session_io_take_over(io, FIRST, &moved.left, &moved.identity, &moved.kept), 0);
    for (uint32_t i = 1; i <= sent; i++) {
        struct pollfd look = {.fd = fd, .events = POLLIN};

        while (poll(&look, 1, 0) == 0) {
            turn();
        }
        assert_pong(fd, i); /* each once, in their order */
    }
    turns();
    assert_silent(fd);
}

static void test_a_connection_that_nobody_takes_ends(void **state)
{
    const struct core_identity known = {.kind = CORE_IDENTITY_UUID, .uuid = {7}};
    int fd = connect_to(FIRST, 1, &known), gone = connect_to(FIRST, 2, &known);
    uint32_t their_count = peer_count;

    session_io_listener_gone(io, SECOND);
    close(gone);
    moved.refuse = true;
    assert_int_equal(move_over(), 0);
    moved.refuse = false;
    peer_count = their_count - 1;
    assert_true(is_closed(fd));
}

static void test_nonsense_is_not_taken_over(void **state)
{
    const struct core_identity known = {.kind = CORE_IDENTITY_UUID, .uuid = {7}};
    struct session_left left = {.path = "/run/first", .in = moved.in};
    int pair[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    peers[peer_count++] = pair[1];
    left.fd = pair[0];
    left.in_bytes = VGPU_SOCKET_FRAME_MAX + 1;
    assert_int_equal(session_io_take_over(io, FIRST, &left, &known, &moved.kept), -EINVAL);
    session_io_flush(io);
    turns();
    assert_true(is_closed(pair[1]));
}

static void test_each_reason_for_a_close_has_words(void **state)
{
    for (int reason = CORE_CLOSE_PROTOCOL; reason <= CORE_CLOSE_REMOVED; reason++) {
        assert_string_not_equal(session_close_reason_name((enum core_close_reason)reason),
                                "unknown");
    }
    assert_string_equal(session_close_reason_name((enum core_close_reason)99), "unknown");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_frame_may_come_byte_by_byte),
        TEST(test_several_frames_and_a_half_may_come_at_once),
        TEST(test_nonsense_ends_the_connection_after_what_was_right),
        TEST(test_a_payload_that_no_frame_has_ends_the_connection),
        TEST(test_a_flood_leaves_the_others_their_turn),
        TEST(test_who_takes_no_answers_is_not_read_and_loses_nothing),
        TEST(test_who_lets_too_much_wait_is_disconnected_and_reported_once),
        TEST(test_an_end_with_many_causes_is_reported_once),
        TEST(test_what_a_closed_session_is_sent_goes_nowhere),
        TEST(test_a_listener_takes_its_connections_with_it),
        TEST(test_a_process_may_have_so_many_silent_connections),
        TEST(test_a_listener_may_have_so_many_silent_connections),
        TEST(test_a_vm_may_have_so_many_connections_that_serve_nothing),
        TEST(test_when_all_sessions_are_taken_it_is_said_and_closed),
        TEST(test_a_connection_goes_on_where_it_was),
        TEST(test_what_a_peer_has_not_taken_yet_goes_on_with_it),
        TEST(test_a_connection_that_nobody_takes_ends),
        TEST(test_nonsense_is_not_taken_over),
        cmocka_unit_test(test_each_reason_for_a_close_has_words),
    };

    return cmocka_run_group_tests_name("session_io", tests, NULL, NULL);
}
