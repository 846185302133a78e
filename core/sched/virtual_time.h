/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Virtual time tells who is owed GPU time, and how much.
 *
 * Theory of operation.  In the ideal fluid system (generalised processor
 * sharing, GPS) all VMs that have work are served at the same time, each at a
 * rate proportional to its share phi.  V is the service that one unit of share
 * has received there; a VM's account S is what it has really received, per unit
 * of share.  S < V: the VM is owed phi * (V - S) nanoseconds of GPU time;
 * S > V: it has had that much ahead of time.
 *
 *   dV = service / sum of phi over the fluid set,   dS_i = service_i / phi_i
 *
 * The fluid set is: VMs that have work, VMs that pause for a moment while they are
 * owed, and VMs without work whose S is still beyond V (in the fluid system their
 * last job is still being served).  So
 *
 *   sum over the set of phi_i * (S_i - V) = 0                    (zero sum)
 *
 * holds at every moment: what somebody is ahead, others are owed.
 *   - A VM joins at S = max(S, V): idle time earns nothing, but what a VM had
 *     ahead when it went idle is not forgotten before V has reached it.
 *   - A VM that leaves while it is owed gives that up: V moves on by it, as if
 *     the fluid system had served it, so the others' accounts stay zero-sum.
 *   - A VM that is forgotten while it is ahead leaves the others with less that
 *     they are owed: each of those who are owed loses the same part of it.  (To
 *     move V back instead would set back those who are owed nothing, too.)
 *   - A VM that pauses stays with what it is owed, and gives up a part of that for each
 *     moment of its pause: those who don't pause get it in proportion.
 *   - A VM may have a debt: what it used in a way that was not to be shared.  With that it is
 *     suspended, outside the set, until V has reached its S.  While it is a member still, being
 *     ahead, its debt is put by, in nanoseconds; it is suspended when V has reached its S there.
 *   - A suspended VM that may run, because nobody else can, is lent its place in the set: it is
 *     a member and even, and what it is charged from then on is ahead of the others as any other
 *     member's.  Its debt is put by meanwhile.
 *   - A change of share keeps phi * (S - V), the nanoseconds.
 *
 * phi is base_mult * weight, 1 to 400 in steps of 2^-16: so a sum of all VMs' has no
 * rounding, and is 0 again when the last one has gone.  V and S are doubles in
 * nanoseconds per unit of share; they are rebased when V grows large, so they
 * keep a resolution far below a nanosecond however long the program runs.
 */
#ifndef CORE_SCHED_VIRTUAL_TIME_H
#define CORE_SCHED_VIRTUAL_TIME_H

#include <stdbool.h>
#include <stdint.h>

enum vt_standing {
    VT_OUTSIDE,   /* no work, and even */
    VT_SUSPENDED, /* outside with a debt, S beyond V; it may have work */
    /* The fluid set: */
    VT_AHEAD,   /* no work, but S is still beyond V */
    VT_PAUSING, /* no work for a moment, and owed */
    VT_WORKING,
};

struct vt_account {
    double start;   /* S */
    double debt_ns; /* of a member that owes: put by */
    double phi;
    enum vt_standing standing;
    bool owes; /* a member that is suspended when it has been reached, or leaves */
};

struct virtual_time {
    double v;
    double phi_sum; /* of the members; exact, see above */
    struct vt_account *accounts;
    uint32_t count;
    uint32_t *idlers; /* those with VT_AHEAD: slot numbers */
    uint32_t idler_count;
    double idler_min; /* smallest S among them, HUGE_VAL if none */
};

/* Returns 0 or -ENOMEM. */
int vt_init(struct virtual_time *vt, uint32_t count);
void vt_destroy(struct virtual_time *vt);

/* A new VM with share phi: even, not a member. */
void vt_reset(struct virtual_time *vt, uint32_t vm, double phi);
void vt_set_share(struct virtual_time *vt, uint32_t vm, double phi);
/* Forget the VM; what it is owed or ahead goes to the others, whose S may change. */
void vt_forget(struct virtual_time *vt, uint32_t vm);

/* Is it in the fluid set? */
static inline bool vt_member(const struct virtual_time *vt, uint32_t vm)
{
    return vt->accounts[vm].standing >= VT_AHEAD;
}

/* Is it suspended, or will it be when V has reached its S? */
static inline bool vt_in_debt(const struct virtual_time *vt, uint32_t vm)
{
    return vt->accounts[vm].standing == VT_SUSPENDED || vt->accounts[vm].owes;
}

/*
 * It has work now.  Returns whether it has come back without being ahead.  A suspended VM stays
 * so until V has reached its S.
 */
bool vt_join(struct virtual_time *vt, uint32_t vm);
/* It has none any more, or its pause is over. */
void vt_leave(struct virtual_time *vt, uint32_t vm);
/* It has none for a moment.  False, and nothing happens, when it is not owed anything. */
bool vt_pause(struct virtual_time *vt, uint32_t vm);
/*
 * Each of these VMs, which pause, gives up as much of what it is owed as ns[] says, or all of it;
 * ns[] then says how much that was.  Those who don't pause have it, in proportion: one that pauses
 * could not use it either.
 */
void vt_give_up(struct virtual_time *vt, const uint32_t *vms, double *ns, uint32_t count);
/*
 * It is suspended, at once or when V has reached its S.  What it is owed goes to the others, and
 * so does its absence: its debt shrinks as V moves.
 */
void vt_suspend(struct virtual_time *vt, uint32_t vm);
/* The debt of one that is suspended, or will be, grows. */
void vt_owe(struct virtual_time *vt, uint32_t vm, double ns);
/* One that is suspended becomes a member, even.  vt_suspend() ends that. */
void vt_lend(struct virtual_time *vt, uint32_t vm);

/*
 * What follows happens with each job, so the usual case of it is inline; the other one is
 * behind it.
 */

/* The account of `vm`, which has no work and was ahead, has changed. */
void vt_recheck_idler(struct virtual_time *vt, uint32_t vm);
/* vt_advance() where V reaches the S of VMs that have no work, or the fluid set is empty. */
void vt_advance_far(struct virtual_time *vt, double ns);
/* vt_advance_for() for a VM outside the fluid set. */
void vt_advance_outside(struct virtual_time *vt, uint32_t vm, double ns);
/* vt_rebase() where it is due. */
double vt_rebase_now(struct virtual_time *vt);

/* `vm` is charged `ns` (negative: a correction).  Its account alone. */
static inline void vt_charge(struct virtual_time *vt, uint32_t vm, double ns)
{
    struct vt_account *account = &vt->accounts[vm];

    account->start += ns / account->phi;
    if (account->standing == VT_AHEAD) {
        vt_recheck_idler(vt, vm);
    }
}

/* The fluid system served `ns`. Corrections may be negative. */
static inline void vt_advance(struct virtual_time *vt, double ns)
{
    if (vt->phi_sum > 0) {
        double target = vt->v + ns / vt->phi_sum;

        if (target < vt->idler_min) {
            vt->v = target;
            return;
        }
    }
    vt_advance_far(vt, ns);
}

/* The same for what `vm` used.  One that is not a member moves V only if there is none. */
static inline void vt_advance_for(struct virtual_time *vt, uint32_t vm, double ns)
{
    if (vt_member(vt, vm)) {
        vt_advance(vt, ns);
    } else {
        vt_advance_outside(vt, vm, ns);
    }
}

/* `vm` is charged `ns`, and V moves for it. */
static inline void vt_charge_all(struct virtual_time *vt, uint32_t vm, double ns)
{
    bool member = vt_member(vt, vm);

    vt_charge(vt, vm, ns);
    if (member) {
        vt_advance(vt, ns); /* it may have left by that, but V moves as for a member */
    } else {
        vt_advance_for(vt, vm, ns);
    }
}

/* GPU time owed to it (> 0) or had ahead (< 0); 0 for those that are outside and even. */
static inline double vt_lag_ns(const struct virtual_time *vt, uint32_t vm)
{
    const struct vt_account *account = &vt->accounts[vm];
    bool counts = account->standing >= VT_AHEAD ||
                  (account->standing == VT_SUSPENDED && account->start > vt->v);

    return counts ? (vt->v - account->start) * account->phi : 0;
}

/* What it owes beside what it may have ahead as a member. */
static inline double vt_debt_ns(const struct virtual_time *vt, uint32_t vm)
{
    return vt->accounts[vm].standing == VT_SUSPENDED ? -vt_lag_ns(vt, vm)
                                                     : vt->accounts[vm].debt_ns;
}

/* 2^40 ns per unit of share leaves 2^-12 ns of resolution in a double. */
#define VT_REBASE_LIMIT 1099511627776.0

/*
 * Subtracts V from all times when it has grown past a limit.  Returns what was
 * subtracted (0: nothing), for copies of S that are kept elsewhere.
 */
static inline double vt_rebase(struct virtual_time *vt)
{
    return vt->v < VT_REBASE_LIMIT ? 0 : vt_rebase_now(vt);
}

#endif /* CORE_SCHED_VIRTUAL_TIME_H */
