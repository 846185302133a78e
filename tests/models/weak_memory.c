/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Threads are coroutines.  A run repeats the choices of `path`, and then takes the first
 * choice at each new point; afterwards the last choice that has an alternative is changed.
 * States that were seen before end a run.
 */
#include "tests/models/weak_memory.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#define WORDS_MAX 24u
#define VALUES_MAX 32u /* stores to one word in one run */
#define PATH_MAX_STEPS 4096u
#define STACK_BYTES 65536u
#define SEEN_FIRST (1u << 16)

/* For each word the oldest value that may be read. */
struct view {
    uint8_t at[WORDS_MAX];
};

struct value {
    uint64_t value;
    struct view view; /* what its store hands on */
};

struct word {
    const void *address;
    size_t bytes;
    unsigned count;
    struct value values[VALUES_MAX];
};

enum step { STEP_START, STEP_LOAD, STEP_STORE, STEP_FENCE, STEP_SIGNAL, STEP_WAIT, STEP_OVER };

struct thread {
    ucontext_t context;
    uint8_t *stack;
    enum step step; /* what it is about to do */
    struct word *word;
    uint64_t value; /* to be stored, or what was loaded */
    bool strong;    /* release or acquire */
    unsigned event;
    uint64_t local; /* hash of all that its future depends on */
    struct view current, acquired, released;
};

static struct {
    const struct model *model;
    struct model_result *result;
    struct thread threads[MODEL_THREADS_MAX];
    unsigned running;
    ucontext_t scheduler;
    struct word words[WORDS_MAX];
    unsigned word_count;
    struct view common; /* of sequentially consistent fences */
    unsigned events[MODEL_EVENTS_MAX];
    unsigned path[PATH_MAX_STEPS], choices[PATH_MAX_STEPS], length;
    uint64_t *seen;
    size_t seen_size, seen_count;
} m;

/* ---- small tools ---- */

static uint64_t mix(uint64_t hash, const void *bytes, size_t count)
{
    const uint8_t *b = bytes;

    for (size_t i = 0; i < count; i++) {
        hash = (hash ^ b[i]) * 0x100000001b3ull;
        hash ^= hash >> 29;
    }
    return hash;
}

static void join(struct view *into, const struct view *other)
{
    for (unsigned i = 0; i < WORDS_MAX; i++) {
        if (other->at[i] > into->at[i]) {
            into->at[i] = other->at[i];
        }
    }
}

static bool add_seen(uint64_t hash);

static void grow_seen(void)
{
    uint64_t *old = m.seen;
    size_t old_size = m.seen_size;

    m.seen_size = old_size ? old_size * 2 : SEEN_FIRST;
    m.seen = calloc(m.seen_size, sizeof(*m.seen));
    m.seen_count = 0;
    if (!m.seen) {
        abort();
    }
    for (size_t i = 0; i < old_size; i++) {
        if (old[i]) {
            add_seen(old[i]);
        }
    }
    free(old);
}

/* False: it was there already. */
static bool add_seen(uint64_t hash)
{
    size_t at;

    if (m.seen_count * 2 >= m.seen_size) {
        grow_seen();
    }
    hash += hash == 0;
    for (at = hash & (m.seen_size - 1); m.seen[at]; at = (at + 1) & (m.seen_size - 1)) {
        if (m.seen[at] == hash) {
            return false;
        }
    }
    m.seen[at] = hash;
    m.seen_count++;
    return true;
}

/* How old a value anybody may still read: what is older is forgotten, so that loops close. */
static struct view oldest_view(void)
{
    struct view oldest = m.threads[0].current;

    for (unsigned i = 1; i < m.model->thread_count; i++) {
        for (unsigned word = 0; word < m.word_count; word++) {
            if (m.threads[i].current.at[word] < oldest.at[word]) {
                oldest.at[word] = m.threads[i].current.at[word];
            }
        }
    }
    return oldest;
}

static uint64_t mix_view(uint64_t hash, const struct view *view, const struct view *oldest)
{
    uint8_t age[WORDS_MAX];

    for (unsigned i = 0; i < m.word_count; i++) {
        age[i] = view->at[i] > oldest->at[i] ? (uint8_t)(view->at[i] - oldest->at[i]) : 0;
    }
    return mix(hash, age, m.word_count);
}

static uint64_t state_hash(void)
{
    const struct view oldest = oldest_view();
    uint64_t hash = 0xcbf29ce484222325ull;

    for (unsigned i = 0; i < m.model->thread_count; i++) {
        const struct thread *t = &m.threads[i];
        uint64_t about[] = {t->local,
                            t->step,
                            t->word ? (uint64_t)(t->word - m.words) : 99,
                            t->step == STEP_STORE ? t->value : 0,
                            t->strong,
                            t->event};

        hash = mix(hash, about, sizeof(about));
        hash = mix_view(hash, &t->current, &oldest);
        hash = mix_view(hash, &t->acquired, &oldest);
        hash = mix_view(hash, &t->released, &oldest);
    }
    for (unsigned i = 0; i < m.word_count; i++) {
        const struct word *word = &m.words[i];

        hash = mix(hash, &word->address, sizeof(word->address));
        for (unsigned v = oldest.at[i]; v < word->count; v++) {
            hash = mix(hash, &word->values[v].value, sizeof(word->values[v].value));
            hash = mix_view(hash, &word->values[v].view, &oldest);
        }
        hash = mix(hash, "", 1);
    }
    hash = mix_view(hash, &m.common, &oldest);
    return mix(hash, m.events, sizeof(m.events));
}

/* ---- the threads' side ---- */

static struct thread *self(void)
{
    return &m.threads[m.running];
}

static const struct model_mutant *mutant(void)
{
    return &m.model->mutants[m.running];
}

/* Stops before the step; comes back when the scheduler has chosen it. */
static void offer(enum step step)
{
    self()->step = step;
    swapcontext(&self()->context, &m.scheduler);
}

static struct word *find_word(const void *address, size_t bytes)
{
    struct word *word;

    for (unsigned i = 0; i < m.word_count; i++) {
        if (m.words[i].address == address) {
            assert(m.words[i].bytes == bytes);
            return &m.words[i];
        }
    }
    assert(m.word_count < WORDS_MAX);
    word = &m.words[m.word_count++];
    memset(word, 0, sizeof(*word));
    word->address = address;
    word->bytes = bytes;
    word->count = 1; /* 0, from the start, known to all */
    return word;
}

uint64_t model_load(const void *address, size_t bytes, bool acquire)
{
    struct thread *t = self();

    t->word = find_word(address, bytes);
    t->strong = acquire && !mutant()->no_acquire;
    offer(STEP_LOAD);
    t->local = mix(t->local, &t->value, sizeof(t->value));
    return t->value;
}

void model_store(void *address, size_t bytes, uint64_t value, bool release)
{
    struct thread *t = self();

    t->word = find_word(address, bytes);
    t->value = value;
    t->strong = release && !mutant()->no_release;
    offer(STEP_STORE);
    t->local = mix(t->local, "s", 1);
}

void model_fence(void)
{
    if (!mutant()->no_fence) {
        offer(STEP_FENCE);
        self()->local = mix(self()->local, "f", 1);
    }
}

void model_copy(void *to, const void *from, size_t bytes, bool from_is_shared)
{
    uint64_t word;

    assert(bytes % sizeof(word) == 0);
    for (size_t i = 0; i < bytes; i += sizeof(word)) {
        if (from_is_shared) {
            word = model_load((const uint8_t *)from + i, sizeof(word), false);
            memcpy((uint8_t *)to + i, &word, sizeof(word));
        } else {
            memcpy(&word, (const uint8_t *)from + i, sizeof(word));
            model_store((uint8_t *)to + i, sizeof(word), word, false);
        }
    }
}

void model_signal(unsigned event)
{
    self()->event = event;
    offer(STEP_SIGNAL);
    self()->local = mix(self()->local, "g", 1);
}

void model_wait(unsigned event)
{
    self()->event = event;
    offer(STEP_WAIT);
    self()->local = mix(self()->local, "w", 1);
}

void model_checkpoint(unsigned place, const void *known, size_t bytes)
{
    self()->local = mix(mix(0, &place, sizeof(place)), known, bytes);
}

void model_require(bool well, const char *text)
{
    if (!well && !m.result->error[0]) {
        snprintf(m.result->error, sizeof(m.result->error), "%s", text);
    }
}

/* ---- the scheduler's side ---- */

static void thread_main(void)
{
    m.model->threads[m.running]();
    self()->local = 0;
    offer(STEP_OVER);
}

/* In how many ways can this thread go on? */
static unsigned ways(const struct thread *t)
{
    unsigned word = t->word ? (unsigned)(t->word - m.words) : 0;

    switch (t->step) {
    case STEP_LOAD: return t->word->count - t->current.at[word];
    case STEP_WAIT: return m.events[t->event] > 0;
    case STEP_OVER: return 0;
    default: return 1;
    }
}

static void do_load(struct thread *t, unsigned way)
{
    unsigned word = (unsigned)(t->word - m.words);
    unsigned at = t->current.at[word] + way;
    const struct value *value = &t->word->values[at];

    t->value = value->value;
    t->current.at[word] = (uint8_t)at;
    join(&t->acquired, &value->view);
    if (t->strong) {
        join(&t->current, &value->view);
    }
    join(&t->acquired, &t->current);
}

static void do_store(struct thread *t)
{
    unsigned word = (unsigned)(t->word - m.words);
    struct value *value = &t->word->values[t->word->count];

    assert(t->word->count < VALUES_MAX);
    t->current.at[word] = (uint8_t)t->word->count++;
    join(&t->acquired, &t->current);
    value->value = t->value;
    value->view = t->strong ? t->current : t->released;
    value->view.at[word] = t->current.at[word];
}

static void do_fence(struct thread *t)
{
    join(&t->acquired, &m.common);
    t->current = t->acquired;
    m.common = t->current;
    t->released = t->current;
}

static void go_on(unsigned index, unsigned way)
{
    struct thread *t = &m.threads[index];

    switch (t->step) {
    case STEP_LOAD: do_load(t, way); break;
    case STEP_STORE: do_store(t); break;
    case STEP_FENCE: do_fence(t); break;
    case STEP_SIGNAL: m.events[t->event] = 1; break; /* how often doesn't matter */
    case STEP_WAIT: m.events[t->event] = 0; break;
    default: break;
    }
    m.running = index;
    swapcontext(&m.scheduler, &t->context);
}

static void begin_run(void)
{
    m.word_count = 0;
    memset(&m.common, 0, sizeof(m.common));
    memset(m.events, 0, sizeof(m.events));
    m.model->reset();
    for (unsigned i = 0; i < m.model->thread_count; i++) {
        struct thread *t = &m.threads[i];
        uint8_t *stack = t->stack ? t->stack : malloc(STACK_BYTES);

        if (!stack) {
            abort();
        }
        memset(t, 0, sizeof(*t));
        t->stack = stack;
        getcontext(&t->context);
        t->context.uc_stack.ss_sp = stack;
        t->context.uc_stack.ss_size = STACK_BYTES;
        makecontext(&t->context, thread_main, 0);
    }
    /* What comes before its first access is private: it need not be interleaved. */
    for (unsigned i = 0; i < m.model->thread_count; i++) {
        go_on(i, 0);
    }
}

static bool all_over(void)
{
    for (unsigned i = 0; i < m.model->thread_count; i++) {
        if (m.threads[i].step != STEP_OVER) {
            return false;
        }
    }
    return true;
}

/* One run.  It ends at a state that is known, at an error, or when nothing can go on. */
static void run(void)
{
    unsigned step = 0;

    begin_run();
    m.result->runs++;
    for (;; step++) {
        unsigned total = 0, choice, index;

        if (m.result->error[0]) {
            return;
        }
        if (step >= m.length && !add_seen(state_hash())) {
            return;
        }
        for (unsigned i = 0; i < m.model->thread_count; i++) {
            total += ways(&m.threads[i]);
        }
        if (total == 0) {
            model_require(all_over(), "a sleeper is never woken");
            return;
        }
        if (step >= m.length) {
            assert(step < PATH_MAX_STEPS);
            m.path[step] = 0;
            m.choices[step] = total;
            m.length = step + 1;
        }
        choice = m.path[step];
        for (index = 0; choice >= ways(&m.threads[index]); index++) {
            choice -= ways(&m.threads[index]);
        }
        go_on(index, choice);
    }
}

void model_explore(const struct model *model, struct model_result *result)
{
    memset(result, 0, sizeof(*result));
    m.model = model;
    m.result = result;
    m.length = 0;
    m.seen_size = 0;
    m.seen_count = 0;
    free(m.seen);
    m.seen = NULL;
    do {
        run();
        while (m.length > 0 && m.path[m.length - 1] + 1 == m.choices[m.length - 1]) {
            m.length--;
        }
        if (m.length > 0) {
            m.path[m.length - 1]++;
        }
    } while (m.length > 0 && !result->error[0]);
    result->states = m.seen_count;
}
