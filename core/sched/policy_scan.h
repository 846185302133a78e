/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * These are the scans of policy_scan.c, for vectors of SCAN_LANES doubles.  The header is
 * included once for each width, with these defined:
 *   SCAN_LANES       2, 4: what one register of the machine holds
 *   SCAN_ATTRIBUTES  of the functions, such as the instruction set
 *   SCAN(name)       makes the names of this width
 * and, where the machine has them:
 *   SCAN_BITS(mask)  bit i of the result: is lane i of the mask set?
 *   SCAN_MAX(a, b)   a > b ? a : b in each lane
 *   SCAN_MIN(a, b)   a < b ? a : b
 * It has no include guard, since it is meant to be included several times.
 */

typedef double SCAN(lanes) __attribute__((vector_size(SCAN_LANES * sizeof(double))));
typedef int64_t SCAN(mask) __attribute__((vector_size(SCAN_LANES * sizeof(int64_t))));

SCAN_ATTRIBUTES static inline SCAN(lanes) SCAN(load)(const double *from)
{
    SCAN(lanes) value;

    memcpy(&value, from, sizeof(value));
    return value;
}

/* a where the mask is set, else b. */
SCAN_ATTRIBUTES static inline SCAN(lanes)
    SCAN(select)(SCAN(mask) mask, SCAN(lanes) a, SCAN(lanes) b)
{
    return (SCAN(lanes))((mask & (SCAN(mask))a) | (~mask & (SCAN(mask))b));
}

SCAN_ATTRIBUTES static inline SCAN(lanes) SCAN(greater)(SCAN(lanes) a, SCAN(lanes) b)
{
#ifdef SCAN_MAX
    return SCAN_MAX(a, b);
#else
    return SCAN(select)((SCAN(mask))(a > b), a, b);
#endif
}

SCAN_ATTRIBUTES static inline SCAN(lanes) SCAN(less)(SCAN(lanes) a, SCAN(lanes) b)
{
#ifdef SCAN_MIN
    return SCAN_MIN(a, b);
#else
    return SCAN(select)((SCAN(mask))(a < b), a, b);
#endif
}

SCAN_ATTRIBUTES static inline unsigned SCAN(bits)(SCAN(mask) mask)
{
#ifdef SCAN_BITS
    return (unsigned)SCAN_BITS(mask);
#else
    unsigned bits = 0;

    for (unsigned lane = 0; lane < SCAN_LANES; lane++) {
        bits |= (unsigned)(mask[lane] & 1) << lane;
    }
    return bits;
#endif
}

/* Urgencies of one group; 0 where the VM is not eligible, and no VM has that. */
SCAN_ATTRIBUTES static inline SCAN(lanes)
    SCAN(urgency)(const struct policy_view *view, uint32_t at, SCAN(lanes) now, SCAN(mask) eligible)
{
    SCAN(lanes) bonus = (now - SCAN(load)(view->arrival_ns + at)) * POLICY_WAIT_PER_NS;

    return (SCAN(lanes))((SCAN(mask))(SCAN(load)(view->urgency0 + at) * (bonus + 1)) & eligible);
}

/* The earliest arrival of `winner` and those of the group that are set in the mask. */
SCAN_ATTRIBUTES static inline uint32_t SCAN(earlier)(const struct policy_view *view, uint32_t at,
                                                     SCAN(mask) mask, uint32_t winner)
{
    for (unsigned bits = SCAN(bits)(mask); bits != 0; bits &= bits - 1) {
        uint32_t i = at + (uint32_t)__builtin_ctz(bits);

        if (winner == view->count || view->sequence[i] < view->sequence[winner]) {
            winner = i;
        }
    }
    return winner;
}

SCAN_ATTRIBUTES static inline uint32_t SCAN(sum)(SCAN(mask) count)
{
    uint32_t sum = 0;

    for (uint32_t lane = 0; lane < SCAN_LANES; lane++) {
        sum += (uint32_t)count[lane];
    }
    return sum;
}

/* The largest of the lanes: of the two halves first, so that less waits for each other. */
SCAN_ATTRIBUTES static inline double SCAN(top)(SCAN(lanes) values)
{
    double top = values[0], top2 = values[1];

    for (uint32_t lane = 2; lane < SCAN_LANES; lane += 2) {
        top = values[lane] > top ? values[lane] : top;
        top2 = values[lane + 1] > top2 ? values[lane + 1] : top2;
    }
    return top > top2 ? top : top2;
}

SCAN_ATTRIBUTES static inline double SCAN(bottom)(SCAN(lanes) values)
{
    double bottom = values[0], bottom2 = values[1];

    for (uint32_t lane = 2; lane < SCAN_LANES; lane += 2) {
        bottom = values[lane] < bottom ? values[lane] : bottom;
        bottom2 = values[lane + 1] < bottom2 ? values[lane + 1] : bottom2;
    }
    return bottom < bottom2 ? bottom : bottom2;
}

/* How many of those that start at the limit or before it. */
SCAN_ATTRIBUTES static uint32_t SCAN(count_eligible)(const struct policy_view *view, double v_limit)
{
    const SCAN(lanes) limit = (SCAN(lanes)){0} + v_limit;
    SCAN(mask) count = {0}, count2 = {0};

    for (uint32_t at = 0; at < view->count; at += 2 * SCAN_LANES) {
        count -= (SCAN(mask))(SCAN(load)(view->start + at) <= limit); /* true is -1 */
        count2 -= (SCAN(mask))(SCAN(load)(view->start + at + SCAN_LANES) <= limit);
    }
    return SCAN(sum)(count + count2);
}

SCAN_ATTRIBUTES static uint32_t SCAN(most_urgent)(const struct policy_view *view, double v_limit,
                                                  uint32_t *eligible)
{
    const SCAN(lanes) zero = {0};
    const SCAN(lanes) limit = zero + v_limit, now = zero + view->now_ns;
    SCAN(mask) count = {0}, count2 = {0};
    SCAN(lanes) most = zero;               /* in each lane */
    SCAN(lanes) first = zero, last = zero; /* blocks, where each lane has that */
    double top;
    uint32_t begin, end, winner = view->count;

    for (begin = 0; begin < view->count; begin += SCAN_BLOCK) {
        const SCAN(lanes) block = zero + begin;
        SCAN(lanes) best = zero, best2 = zero;

        end = begin + SCAN_BLOCK < view->count ? begin + SCAN_BLOCK : view->count;
        /* Two at a time, so that one's latency hides the other's. */
        for (uint32_t at = begin; at < end; at += 2 * SCAN_LANES) {
            uint32_t at2 = at + SCAN_LANES;
            SCAN(mask) mask = (SCAN(mask))(SCAN(load)(view->start + at) <= limit);
            SCAN(mask) mask2 = (SCAN(mask))(SCAN(load)(view->start + at2) <= limit);

            count -= mask; /* true is -1 */
            count2 -= mask2;
            best = SCAN(greater)(SCAN(urgency)(view, at, now, mask), best);
            best2 = SCAN(greater)(SCAN(urgency)(view, at2, now, mask2), best2);
        }
        best = SCAN(greater)(best, best2);
        first = SCAN(select)((SCAN(mask))(best > most), block, first);
        last = SCAN(select)((SCAN(mask))(best >= most), block, last);
        most = SCAN(greater)(best, most);
    }
    *eligible = SCAN(sum)(count + count2);
    top = SCAN(top)(most);
    if (top <= 0) {
        return view->count;
    }
    begin = 0;
    end = view->count;
    if (end > SCAN_BLOCK) {
        /* Lanes that do not have it have it nowhere. */
        first = SCAN(select)((SCAN(mask))(most == top), first, zero + HUGE_VAL);
        last = SCAN(select)((SCAN(mask))(most == top), last, zero);
        begin = (uint32_t)SCAN(bottom)(first);
        end = (uint32_t)SCAN(top)(last) + SCAN_BLOCK;
        end = end < view->count ? end : view->count;
    }
    for (uint32_t at = begin; at < end; at += SCAN_LANES) {
        SCAN(mask) mask = (SCAN(mask))(SCAN(load)(view->start + at) <= limit);

        mask = (SCAN(mask))(SCAN(urgency)(view, at, now, mask) == top);
        winner = SCAN(earlier)(view, at, mask, winner);
    }
    return winner;
}

/* The smallest of the values, which are padded with +infinity. */
SCAN_ATTRIBUTES static double SCAN(least)(const double *values, uint32_t count)
{
    const SCAN(lanes) none = (SCAN(lanes)){0} + HUGE_VAL;
    SCAN(lanes) least[] = {none, none, none, none};

    for (uint32_t at = 0; at < count; at += 4 * SCAN_LANES) {
        for (uint32_t i = 0; i < 4; i++) {
            least[i] = SCAN(less)(SCAN(load)(values + at + i * SCAN_LANES), least[i]);
        }
    }
    least[0] = SCAN(less)(SCAN(less)(least[0], least[1]), SCAN(less)(least[2], least[3]));
    return SCAN(bottom)(least[0]);
}

/* The finishes of one group; +infinity where the VM is not eligible. */
SCAN_ATTRIBUTES static inline SCAN(lanes)
    SCAN(finish)(const struct policy_view *view, uint32_t at, SCAN(mask) eligible)
{
    return SCAN(select)(eligible, SCAN(load)(view->finish + at), (SCAN(lanes)){0} + HUGE_VAL);
}

SCAN_ATTRIBUTES static uint32_t SCAN(first_finish)(const struct policy_view *view, double v_limit,
                                                   uint32_t *eligible)
{
    const SCAN(lanes) limit = (SCAN(lanes)){0} + v_limit;
    SCAN(lanes) least = (SCAN(lanes)){0} + HUGE_VAL, least2 = least;
    SCAN(mask) count = {0}, count2 = {0};
    uint32_t winner = view->count;
    double first;

    for (uint32_t at = 0; at < view->count; at += 2 * SCAN_LANES) {
        uint32_t at2 = at + SCAN_LANES;
        SCAN(mask) mask = (SCAN(mask))(SCAN(load)(view->start + at) <= limit);
        SCAN(mask) mask2 = (SCAN(mask))(SCAN(load)(view->start + at2) <= limit);

        count -= mask; /* true is -1 */
        count2 -= mask2;
        least = SCAN(less)(SCAN(finish)(view, at, mask), least);
        least2 = SCAN(less)(SCAN(finish)(view, at2, mask2), least2);
    }
    *eligible = SCAN(sum)(count + count2);
    first = SCAN(bottom)(SCAN(less)(least, least2));
    for (uint32_t at = 0; at < view->count; at += SCAN_LANES) {
        SCAN(mask) mask = (SCAN(mask))(SCAN(load)(view->finish + at) == first);

        if (SCAN(bits)(mask) != 0) {
            mask &= (SCAN(mask))(SCAN(load)(view->start + at) <= limit);
            winner = SCAN(earlier)(view, at, mask, winner);
        }
    }
    return winner;
}

/* Who is late has its start before the limit, too: its finish lies behind that. */
SCAN_ATTRIBUTES static uint32_t SCAN(first_late)(const struct policy_view *view, double v_limit,
                                                 uint32_t *eligible)
{
    const SCAN(lanes) zero = {0};
    SCAN(lanes) least = zero + HUGE_VAL;   /* in each lane */
    SCAN(lanes) first = zero, last = zero; /* blocks, where each lane has that */
    uint32_t begin, end, winner = view->count;
    double bottom;

    for (begin = 0; begin < view->count; begin += SCAN_BLOCK) {
        const SCAN(lanes) block = zero + begin;
        SCAN(lanes) best = zero + HUGE_VAL, best2 = best;

        end = begin + SCAN_BLOCK < view->count ? begin + SCAN_BLOCK : view->count;
        for (uint32_t at = begin; at < end; at += 2 * SCAN_LANES) {
            best = SCAN(less)(SCAN(load)(view->finish + at), best);
            best2 = SCAN(less)(SCAN(load)(view->finish + at + SCAN_LANES), best2);
        }
        best = SCAN(less)(best, best2);
        first = SCAN(select)((SCAN(mask))(best < least), block, first);
        last = SCAN(select)((SCAN(mask))(best <= least), block, last);
        least = SCAN(less)(best, least);
    }
    bottom = SCAN(bottom)(least);
    if (bottom > view->v) {
        return view->count;
    }
    *eligible = SCAN(count_eligible)(view, v_limit);
    first = SCAN(select)((SCAN(mask))(least == bottom), first, zero + HUGE_VAL);
    last = SCAN(select)((SCAN(mask))(least == bottom), last, zero);
    begin = (uint32_t)SCAN(bottom)(first);
    end = (uint32_t)SCAN(top)(last) + SCAN_BLOCK;
    end = end < view->count ? end : view->count;
    for (uint32_t at = begin; at < end; at += SCAN_LANES) {
        winner =
            SCAN(earlier)(view, at, (SCAN(mask))(SCAN(load)(view->finish + at) == bottom), winner);
    }
    return winner;
}

#undef SCAN_LANES
#undef SCAN_ATTRIBUTES
#undef SCAN
#undef SCAN_BITS
#undef SCAN_MAX
#undef SCAN_MIN
