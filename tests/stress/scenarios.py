# SPDX-License-Identifier: GPL-2.0-or-later
"""The five scenarios.  Each registers VMs of its own, makes a load, and compares what the
mediator counted to what the load was."""
import time

from lab import Delta, LabError

BASELINE_REQUESTS = 50
WEIGHTS = (20, 40, 60, 80)
RATE, RATE_BURST, FLOOD_HZ = 50, 5, 500
QUEUE_DEPTH, BURST = 4, 128
# The tolerance is wider for jobs shorter than this, and for guests that have one request at a
# time and lose their turn while they make the next one.
TINY_JOB_US = 100
REFUSED_REQUESTS = 20
FAULTS_MAX = 64
# Histograms of vgpu-loadgen are within 1/64; clocks of two processes are compared.
LATENCY_TOLERANCE = 1.03


def warm_up(loads, vm):
    """Starts the VM's worker, so that its start is in no figure."""
    load = loads.sequential(vm, 1, "nop")
    if load["well"] != 1:
        raise LabError(f"{vm.name} is not served ({load}). On a running mediator the VMs of a "
                       "stress test must be believed: start it with --trust-claims, or use "
                       "--vms qemu")


def all_answered(s, load, count):
    s.check(load["sent"] == count and load["well"] == count and not load["errors"],
            f"all {count} requests are answered well",
            f"{load['sent']} sent, {load['well']} well, {load['busy']} busy, "
            f"errors {load['errors'] or 'none'}")
    s.check(load["wrong"] == 0 and load["missing"] == 0, "no answer is wrong or missing",
            f"{load['wrong']} wrong, {load['missing']} missing")


def baseline(s, lab, loads):
    vm = lab.register("baseline")
    warm_up(loads, vm)
    delta = Delta(lab, vm)
    load = loads.sequential(vm, BASELINE_REQUESTS)
    delta.end()
    s.number_of("requests_per_second", load["sent"] / load["seconds"])
    for quantile in ("p50", "p95"):
        s.number_of(f"{quantile}_us_seen_by_the_vm", load[f"{quantile}_us"])
    all_answered(s, load, BASELINE_REQUESTS)
    s.equal("jobs in the metrics", delta["completed"], BASELINE_REQUESTS)
    s.equal("requests in the metrics", delta.requests, load["sent"])
    s.equal("errors in the metrics", delta["errors"], 0)
    total = delta.after.get("latency", {}).get("total")
    if total:
        # Each request takes the VM at least as long as it takes the mediator.  The metrics have
        # the warm-up's job too, so their quantile is one rank further up: the next one bounds it.
        for quantile, bound in (("p50", "p95"), ("p95", "max")):
            inside = total[f"{quantile}_ns"] / 1000
            s.number_of(f"{quantile}_us_in_the_metrics", inside)
            s.check(0 < inside <= load[f"{bound}_us"] * LATENCY_TOLERANCE,
                    f"{quantile} in the metrics is below the {bound} that the VM saw",
                    f"metrics {inside:.1f} us, VM {load[f'{bound}_us']:.1f} us")


def fairness(s, lab, loads):
    seconds = lab.options.seconds
    op = lab.options.work
    vms = [lab.register(f"weight-{weight}", weight) for weight in WEIGHTS]
    loads.boot(vms)
    for vm in vms:
        warm_up(loads, vm)
    deltas = [Delta(lab, vm) for vm in vms]
    result, ahead = loads.saturate(vms, op, seconds)
    for delta in deltas:
        delta.end()
    used = sum(delta["gpu_time_ns"] for delta in deltas)
    job_us = used / max(sum(delta["completed"] for delta in deltas), 1) / 1000
    tiny = job_us < TINY_JOB_US
    tolerance = 0.10 if loads.name != "wire" or tiny else 0.03
    s.number_of("gpu_seconds", used / 1e9, "s")
    s.number_of("us_of_a_job", job_us)
    if tiny:
        s.say("the jobs are too short to load a GPU and answers count whole microseconds: shares "
              "are rough (a mediator with --enable-test-ops allows longer ones)")
    for vm, delta in zip(vms, deltas):
        load = result[vm.vm_id]
        due = vm.weight / sum(WEIGHTS)
        got = delta["gpu_time_ns"] / used if used else 0
        s.number_of(f"weight_{vm.weight}_share", round(100 * got, 2), f"% (due {100 * due:.0f} %)")
        s.check(abs(got - due) <= tolerance,
                f"weight {vm.weight} has its share within {100 * tolerance:.0f} points",
                f"{100 * got:.1f} %, due {100 * due:.1f} %", of_times=True)
        s.check(load["wrong"] == 0 and load["missing"] == 0 and not load["errors"],
                f"weight {vm.weight}: no answer is wrong, missing or an error",
                f"{load['wrong']} wrong, {load['missing']} missing, errors {load['errors']}")
        # Answers after the end are no longer in the load's figures, at most those in flight.
        s.check(delta["completed"] == load["sent"] and
                load["well"] <= delta["completed"] <= load["well"] + ahead,
                f"weight {vm.weight}: jobs in the metrics",
                f"metrics {delta['completed']}, load {load['sent']} sent and "
                f"{load['well']} answered in time")
        if "share" in load and not tiny:
            s.check(abs(load["share"] - got) <= 0.01,
                    f"weight {vm.weight}: share in the metrics is what the answers add up to",
                    f"metrics {100 * got:.2f} %, answers {100 * load['share']:.2f} %",
                    of_times=True)


def rate_limit(s, lab, loads):
    count = FLOOD_HZ * 4 if loads.name == "wire" else 60
    rate = RATE if loads.name == "wire" else 2
    burst = RATE_BURST if loads.name == "wire" else 1
    vm = lab.register("rate")
    warm_up(loads, vm)
    lab.set(vm, "set-rate-limit", f"--rate={rate}", f"--burst={burst}", "--queue-depth=0")
    delta = Delta(lab, vm)
    began = time.monotonic()
    load = loads.flood(vm, FLOOD_HZ, count)
    took = time.monotonic() - began
    delta.end()
    s.number_of("requests", load["sent"])
    s.number_of("accepted", load["well"])
    s.number_of("refused", load["busy"])
    s.number_of("accepted_per_second", load["well"] / load["seconds"], f"(limit {rate})")
    s.check(load["sent"] == count and load["well"] + load["busy"] == count and not load["errors"],
            "each request is either served or refused as busy",
            f"{load['sent']} sent, {load['well']} served, {load['busy']} busy, "
            f"errors {load['errors'] or 'none'}")
    s.check(load["busy"] > 0, "the flood is refused", f"{load['busy']} refusals", of_times=True)
    most = burst + rate * took + 1
    s.check(load["well"] <= most, "no more than the limit is accepted",
            f"{load['well']} accepted, at most {most:.1f} in {took:.2f} s")
    least = rate * load["seconds"] * 0.8 - 1
    s.check(load["well"] >= least, "what the limit allows is accepted",
            f"{load['well']} accepted, at least {least:.1f}", of_times=True)
    s.equal("accepted requests in the metrics", delta["submitted"], load["well"])
    s.equal("jobs in the metrics", delta["completed"], load["well"])
    s.equal("refusals in the metrics", delta["rejected_rate"], load["busy"])
    s.equal("other refusals in the metrics", delta["rejected_queue"], 0)


def back_pressure(s, lab, loads):
    if loads.name != "wire":
        s.say("a guest of protocol 1.0 has one request at a time and can fill no queue: a "
              "wire-level VM does this one")
        loads = loads.wire
    vm = lab.register("queue")
    warm_up(loads, vm)
    lab.set(vm, "set-rate-limit", "--rate=0", f"--queue-depth={QUEUE_DEPTH}")
    delta = Delta(lab, vm)
    load = loads.burst(vm, lab.options.work, BURST)
    delta.end()
    s.number_of("requests", load["sent"])
    s.number_of("accepted", load["well"])
    s.number_of("refused", load["busy"])
    s.check(load["sent"] == BURST and load["well"] + load["busy"] == BURST and not load["errors"],
            "each request is either served or refused as busy",
            f"{load['sent']} sent, {load['well']} served, {load['busy']} busy, "
            f"errors {load['errors'] or 'none'}")
    s.check(load["busy"] > 0, "the burst is refused in part", f"{load['busy']} refusals",
            of_times=True)
    s.check(load["well"] >= QUEUE_DEPTH, "the queue was filled",
            f"{load['well']} accepted, queue depth {QUEUE_DEPTH}")
    s.equal("accepted requests in the metrics", delta["submitted"], load["well"])
    s.equal("jobs in the metrics", delta["completed"], load["well"])
    s.equal("refusals in the metrics", delta["rejected_queue"], load["busy"])
    s.equal("other refusals in the metrics", delta["rejected_rate"], 0)
    follow_up = loads.sequential(vm, 10)
    all_answered(s, follow_up, 10)


def quarantine_by_faults(s, lab, loads, vm):
    """Faults until the mediator has had enough; how many there were, None if it allows none."""
    for faults in range(1, FAULTS_MAX + 1):
        load = loads.sequential(vm, 1, "fail")
        if "UNSUPPORTED_OP" in load["errors"]:
            return None
        if lab.live_vm(vm)["quarantined"]:
            return faults
    s.check(False, "the mediator quarantines it", f"not after {FAULTS_MAX} faults "
            "(--fault-threshold 0?)")
    return FAULTS_MAX


def in_database(lab, vm):
    return next(v for v in lab.admin("list-vms")["vms"] if v["uuid"] == vm.uuid)


def quarantine(s, lab, loads):
    vm = lab.register("quarantine")
    warm_up(loads, vm)
    delta = Delta(lab, vm)
    faults = quarantine_by_faults(s, lab, loads, vm)
    if faults is None:
        s.say("the mediator allows no test operations (--enable-test-ops), so no fault can be "
              "made: quarantined by the administrator instead")
        lab.set(vm, "quarantine-vm", "--reason=stress test")
        delta.end()
    else:
        delta.end()
        s.number_of("faults_until_quarantine", faults)
        s.equal("errors in the metrics", delta["errors"], faults)
        s.equal("faults that the mediator blames it for", delta.after["fault_count"], faults)
    s.check(lab.live_vm(vm)["state"] == "quarantined", "its state is quarantined",
            lab.live_vm(vm)["state"])
    # The mediator writes to the database behind its back.
    end = time.monotonic() + 10
    while not in_database(lab, vm)["quarantined"] and time.monotonic() < end:
        time.sleep(0.05)
    s.check(in_database(lab, vm)["quarantined"], "the database says so too",
            f"quarantined: {in_database(lab, vm)['quarantined']}")
    delta = Delta(lab, vm)
    load = loads.sequential(vm, REFUSED_REQUESTS)
    delta.end()
    refused = load["errors"].get("VM_QUARANTINED", 0)
    s.check(refused == REFUSED_REQUESTS and load["well"] == 0, "every request is refused",
            f"{refused} of {REFUSED_REQUESTS} refused, {load['well']} served")
    s.equal("refusals in the metrics", delta["rejected_quarantined"], refused)
    s.equal("jobs in the metrics meanwhile", delta["completed"], 0)
    lab.set(vm, "clear-quarantine")
    delta = Delta(lab, vm)
    load = loads.sequential(vm, 10)
    delta.end()
    all_answered(s, load, 10)
    s.equal("jobs in the metrics after its release", delta["completed"], 10)
    s.equal("fault count after its release", delta.after["fault_count"], 0)


SCENARIOS = (
    ("baseline", baseline, f"{BASELINE_REQUESTS} requests of one VM, one after the other"),
    ("fairness", fairness, f"{len(WEIGHTS)} VMs with the weights {', '.join(map(str, WEIGHTS))}, "
                           "all with more work than there is time"),
    ("rate limit", rate_limit, "a low rate, and a flood"),
    ("back-pressure", back_pressure, f"a queue for {QUEUE_DEPTH} jobs, and a burst of {BURST}"),
    ("quarantine", quarantine, "faults until it is quarantined; refusals; release"),
)
