/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The scan of policy_urgency.c, for vectors of SCAN_LANES doubles.  Included
 * once for each width, with these defined:
 *   SCAN_LANES       2, 4: what one register of the machine holds
 *   SCAN_ATTRIBUTES  of the functions, such as the instruction set
 *   SCAN(name)       makes the names of this width
 * No include guard: it is meant to be included several times.
 */

typedef double SCAN(lanes) __attribute__((vector_size(SCAN_LANES * sizeof(double))));
typedef int64_t SCAN(mask) __attribute__((vector_size(SCAN_LANES * sizeof(int64_t))));

SCAN_ATTRIBUTES static inline SCAN(lanes) SCAN(load)(const double *from)
{
    SCAN(lanes) value;

    memcpy(&value, from, sizeof(value));
    return value;
}

/* Urgencies of one group; 0 where the VM is not eligible, and no VM has that. */
SCAN_ATTRIBUTES static inline SCAN(lanes)
    SCAN(urgency)(const struct policy_view *view, uint32_t at, SCAN(lanes) now, SCAN(mask) eligible)
{
    SCAN(lanes) bonus = (now - SCAN(load)(view->arrival_ns + at)) * POLICY_WAIT_PER_NS;

    return (SCAN(lanes))((SCAN(mask))(SCAN(load)(view->urgency0 + at) * (bonus + 1)) & eligible);
}

SCAN_ATTRIBUTES static inline SCAN(lanes) SCAN(greater)(SCAN(lanes) a, SCAN(lanes) b)
{
    SCAN(mask) mask = (SCAN(mask))(a > b);

    return (SCAN(lanes))((mask & (SCAN(mask))a) | (~mask & (SCAN(mask))b));
}

/* The earliest arrival among those from begin to end whose urgency is `most`. */
SCAN_ATTRIBUTES static inline uint32_t SCAN(earliest)(const struct policy_view *view,
                                                      uint32_t begin, uint32_t end,
                                                      SCAN(lanes) limit, SCAN(lanes) now,
                                                      double most, uint32_t winner)
{
    for (uint32_t at = begin; at < end; at += SCAN_LANES) {
        SCAN(lanes) start = SCAN(load)(view->start + at);
        SCAN(lanes) urgency = SCAN(urgency)(view, at, now, (SCAN(mask))(start <= limit));

        for (uint32_t lane = 0; lane < SCAN_LANES; lane++) {
            if (urgency[lane] == most &&
                (winner == view->count || view->sequence[at + lane] < view->sequence[winner])) {
                winner = at + lane;
            }
        }
    }
    return winner;
}

SCAN_ATTRIBUTES static uint32_t SCAN(most_urgent)(const struct policy_view *view, double v_limit,
                                                  uint32_t *eligible)
{
    const SCAN(lanes) zero = {0};
    const SCAN(lanes) limit = zero + v_limit, now = zero + view->now_ns;
    SCAN(mask) count = {0}, count2 = {0};
    double most = 0;
    uint32_t first = 0, last = 0, winner = view->count;

    for (uint32_t begin = 0; begin < view->count; begin += SCAN_BLOCK) {
        uint32_t end = begin + SCAN_BLOCK < view->count ? begin + SCAN_BLOCK : view->count;
        SCAN(lanes) best = zero, best2 = zero;
        double block_most = 0;

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
        for (uint32_t lane = 0; lane < SCAN_LANES; lane++) {
            block_most = best[lane] > block_most ? best[lane] : block_most;
        }
        first = block_most > most ? begin : first;
        last = block_most >= most ? begin : last;
        most = block_most > most ? block_most : most;
    }
    count += count2;
    *eligible = 0;
    for (uint32_t lane = 0; lane < SCAN_LANES; lane++) {
        *eligible += (uint32_t)count[lane];
    }
    if (most <= 0) {
        return view->count;
    }
    for (uint32_t begin = first; begin <= last; begin += SCAN_BLOCK) {
        uint32_t end = begin + SCAN_BLOCK < view->count ? begin + SCAN_BLOCK : view->count;

        winner = SCAN(earliest)(view, begin, end, limit, now, most, winner);
    }
    return winner;
}

#undef SCAN_LANES
#undef SCAN_ATTRIBUTES
#undef SCAN
