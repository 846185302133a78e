/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/sched/virtual_time.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

int vt_init(struct virtual_time *vt, uint32_t count)
{
    memset(vt, 0, sizeof(*vt));
    vt->accounts = calloc(count, sizeof(*vt->accounts));
    vt->idlers = calloc(count, sizeof(*vt->idlers));
    if (!vt->accounts || !vt->idlers) {
        vt_destroy(vt);
        return -ENOMEM;
    }
    vt->count = count;
    vt->idler_min = HUGE_VAL;
    return 0;
}

void vt_destroy(struct virtual_time *vt)
{
    free(vt->accounts);
    free(vt->idlers);
    memset(vt, 0, sizeof(*vt));
}

static void find_idler_min(struct virtual_time *vt)
{
    vt->idler_min = HUGE_VAL;
    for (uint32_t i = 0; i < vt->idler_count; i++) {
        double start = vt->accounts[vt->idlers[i]].start;

        if (start < vt->idler_min) {
            vt->idler_min = start;
        }
    }
}

static void idler_remove(struct virtual_time *vt, uint32_t vm)
{
    for (uint32_t i = 0; i < vt->idler_count; i++) {
        if (vt->idlers[i] == vm) {
            vt->idlers[i] = vt->idlers[--vt->idler_count];
            break;
        }
    }
    find_idler_min(vt);
}

/* It is outside, or suspended with the debt that was put by. */
static void expel(struct virtual_time *vt, struct vt_account *account)
{
    vt->phi_sum -= account->phi;
    account->standing = account->owes ? VT_SUSPENDED : VT_OUTSIDE;
    account->start = vt->v + account->debt_ns / account->phi;
    account->debt_ns = 0;
    account->owes = false;
}

/* Idle members whose S has been reached by V leave the set, even. */
static void release_idlers(struct virtual_time *vt)
{
    for (uint32_t i = 0; i < vt->idler_count;) {
        struct vt_account *account = &vt->accounts[vt->idlers[i]];

        if (account->start <= vt->v) {
            expel(vt, account);
            vt->idlers[i] = vt->idlers[--vt->idler_count];
        } else {
            i++;
        }
    }
    find_idler_min(vt);
}

void vt_advance_far(struct virtual_time *vt, double ns)
{
    if (ns <= 0) {
        if (vt->phi_sum > 0) {
            vt->v += ns / vt->phi_sum;
        }
        return;
    }
    while (ns > 0 && vt->phi_sum > 0) {
        double target = vt->v + ns / vt->phi_sum;

        if (target < vt->idler_min) {
            vt->v = target;
            return;
        }
        /* Serve the fluid up to where the next idle member is done with. */
        ns -= (vt->idler_min - vt->v) * vt->phi_sum;
        vt->v = vt->idler_min;
        release_idlers(vt);
    }
}

void vt_reset(struct virtual_time *vt, uint32_t vm, double phi)
{
    vt->accounts[vm] = (struct vt_account){.start = vt->v, .phi = phi};
}

void vt_set_share(struct virtual_time *vt, uint32_t vm, double phi)
{
    struct vt_account *account = &vt->accounts[vm];
    double ahead_ns = (account->start - vt->v) * account->phi;

    if (vt_member(vt, vm)) {
        vt->phi_sum = vt->phi_sum - account->phi + phi;
    }
    if (vt_member(vt, vm) || ahead_ns > 0) {
        account->start = vt->v + ahead_ns / phi;
    }
    account->phi = phi;
    if (account->standing == VT_AHEAD) {
        find_idler_min(vt);
    }
}

/* Nobody will make good `debt_ns` to those who are owed it. */
static void forgive(struct virtual_time *vt, double debt_ns)
{
    double owed_ns = 0, part;

    for (uint32_t vm = 0; vm < vt->count; vm++) {
        double lag_ns = vt_lag_ns(vt, vm);

        owed_ns += lag_ns > 0 ? lag_ns : 0;
    }
    part = owed_ns > debt_ns ? debt_ns / owed_ns : 1;
    for (uint32_t vm = 0; vm < vt->count; vm++) {
        if (vt_lag_ns(vt, vm) > 0) {
            vt->accounts[vm].start += (vt->v - vt->accounts[vm].start) * part;
        }
    }
    /* Estimates of what is in flight are on accounts already, V has not moved for it yet. */
    vt_advance(vt, part * owed_ns - debt_ns);
}

void vt_forget(struct virtual_time *vt, uint32_t vm)
{
    struct vt_account *account = &vt->accounts[vm];
    double owed_ns = vt_lag_ns(vt, vm);

    if (!vt_member(vt, vm)) {
        account->standing = VT_OUTSIDE; /* the others have been paid by its absence */
        return;
    }
    if (account->standing == VT_AHEAD) {
        idler_remove(vt, vm);
    }
    account->owes = false;
    account->debt_ns = 0;
    expel(vt, account);
    if (owed_ns < 0) {
        forgive(vt, -owed_ns);
    } else {
        vt_advance(vt, owed_ns);
    }
}

bool vt_join(struct virtual_time *vt, uint32_t vm)
{
    struct vt_account *account = &vt->accounts[vm];
    enum vt_standing before = account->standing;

    if (before == VT_WORKING || (before == VT_SUSPENDED && account->start > vt->v)) {
        return false;
    }
    account->standing = VT_WORKING;
    if (before == VT_PAUSING) {
        return true;
    }
    if (before == VT_AHEAD) {
        idler_remove(vt, vm);
        return false;
    }
    /* Also when S > V: a correction has moved V back since it left, and even it was. */
    account->start = vt->v;
    vt->phi_sum += account->phi;
    return true;
}

void vt_leave(struct virtual_time *vt, uint32_t vm)
{
    struct vt_account *account = &vt->accounts[vm];
    double owed_ns;

    if (account->standing != VT_WORKING && account->standing != VT_PAUSING) {
        return;
    }
    if (account->start > vt->v) {
        account->standing = VT_AHEAD;
        vt->idlers[vt->idler_count++] = vm;
        if (account->start < vt->idler_min) {
            vt->idler_min = account->start;
        }
        return;
    }
    owed_ns = (vt->v - account->start) * account->phi;
    expel(vt, account);
    vt_advance(vt, owed_ns);
}

bool vt_pause(struct virtual_time *vt, uint32_t vm)
{
    struct vt_account *account = &vt->accounts[vm];

    if (account->standing != VT_WORKING || account->start >= vt->v || account->owes) {
        return false;
    }
    account->standing = VT_PAUSING;
    return true;
}

void vt_give_up(struct virtual_time *vt, const uint32_t *vms, double *ns, uint32_t count)
{
    double v = vt->v, given_ns = 0;
    double phi = 0;

    for (uint32_t i = 0; i < count; i++) {
        double owed_ns = vt_lag_ns(vt, vms[i]);

        ns[i] = ns[i] < owed_ns ? ns[i] : owed_ns;
        ns[i] = ns[i] > 0 ? ns[i] : 0;
        given_ns += ns[i];
        phi += vt->accounts[vms[i]].phi;
    }
    vt->phi_sum -= phi;
    vt_advance(vt, given_ns);
    vt->phi_sum += phi;
    for (uint32_t i = 0; i < count; i++) {
        struct vt_account *account = &vt->accounts[vms[i]];

        account->start += vt->v - v + ns[i] / account->phi;
    }
}

void vt_suspend(struct virtual_time *vt, uint32_t vm)
{
    struct vt_account *account = &vt->accounts[vm];

    if (account->standing == VT_OUTSIDE) {
        account->standing = VT_SUSPENDED;
        account->start = vt->v;
    } else if (account->standing != VT_SUSPENDED) {
        account->owes = true;
        vt_leave(vt, vm);
    }
}

void vt_owe(struct virtual_time *vt, uint32_t vm, double ns)
{
    struct vt_account *account = &vt->accounts[vm];

    if (account->standing == VT_SUSPENDED) {
        account->start += ns / account->phi;
    } else {
        account->debt_ns += ns;
    }
}

void vt_lend(struct virtual_time *vt, uint32_t vm)
{
    struct vt_account *account = &vt->accounts[vm];

    account->debt_ns = account->start > vt->v ? (account->start - vt->v) * account->phi : 0;
    account->owes = account->debt_ns > 0;
    account->start = vt->v;
    account->standing = VT_WORKING;
    vt->phi_sum += account->phi;
}

void vt_recheck_idler(struct virtual_time *vt, uint32_t vm)
{
    idler_remove(vt, vm);
    vt->accounts[vm].standing = VT_WORKING;
    vt_leave(vt, vm); /* it may be owed now: then it gives that up */
}

void vt_advance_outside(struct virtual_time *vt, uint32_t vm, double ns)
{
    struct vt_account *account = &vt->accounts[vm];

    if (vt->phi_sum == 0) {
        vt->v += ns / account->phi;
    }
}

double vt_rebase_now(struct virtual_time *vt)
{
    double base = vt->v;

    for (uint32_t i = 0; i < vt->count; i++) {
        struct vt_account *account = &vt->accounts[i];

        /* Those outside the set that lie behind V would join at V anyway. */
        account->start = account->standing != VT_OUTSIDE ? account->start - base : 0;
    }
    vt->v = 0;
    find_idler_min(vt);
    return base;
}
