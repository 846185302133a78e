# SPDX-License-Identifier: GPL-2.0-or-later
"""vgpu-loadgen against a mediator that misbehaves on demand: does it notice?"""
import json
import subprocess

import pytest

import fakemed
import wire
from mediator import Mediator, program


def loadgen(socket, *arguments):
    done = subprocess.run([program("vgpu-loadgen"), "--socket", str(socket), "--json", "-",
                           *arguments], capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, json.loads(done.stdout) if done.stdout else None, done.stderr


def against(lab, behaviour, *arguments, config=None):
    with fakemed.FakeMediator(lab / "fake.sock", behaviour, config) as mediator:
        status, result, errors = loadgen(lab / "fake.sock", "--hello", "--drain", "1", *arguments)
    return status, result, errors, mediator


def at(number, special):
    """Honest but for one request."""
    return lambda request: special(request) if request.number == number else fakemed.honest(request)


MIX = ("--op", "nop,add,info,vadd-i32:100,vadd-f32:100,spin:5")


def test_honest(lab):
    status, result, errors, mediator = against(lab, fakemed.honest, *MIX, "--vms", "3", "--depth",
                                               "7", "--count", "200")
    assert status == 0, errors
    assert result["total"]["jobs"] == 600 and len(mediator.requests) == 600
    assert [vm["jobs"] for vm in result["vms"]] == [200, 200, 200]
    assert result["total"]["gpu_us"] == 600 * 7
    assert {request.vm_id for request in mediator.requests} == {1, 2, 3}
    assert len({request.opcode for request in mediator.requests}) == 6


def wrong_sum(request):
    return fakemed.answer(request, [sum(request.params) + 1 & 0xFFFFFFFF])


def twice(request):
    return fakemed.honest(request) * 2


def for_nobody(request):
    return fakemed.honest(request) + fakemed.frame(
        wire.MSG_RESPONSE, request, fakemed.body(), request_id=request.request_id ^ 1)


def busy_as_response(request):
    return fakemed.answer(request, status=wire.QUEUE_FULL)


def too_few_results(request):
    return fakemed.answer(request)


def not_a_frame(request):
    return fakemed.frame(wire.MSG_RESPONSE, request, fakemed.body(), magic=7)


@pytest.mark.parametrize("special", [wrong_sum, twice, for_nobody, busy_as_response,
                                     too_few_results, not_a_frame])
def test_wrong_answers(lab, special):
    status, result, errors, _ = against(lab, at(40, special), "--op", "add", "--count", "100",
                                        "--depth", "3")
    assert status == 1
    assert result["total"]["wrong"] >= 1
    assert "VM 1" in errors


def test_a_missing_answer(lab):
    status, result, errors, _ = against(lab, at(40, lambda request: fakemed.SILENCE), "--op",
                                        "add", "--count", "100", "--depth", "3")
    assert status == 1
    assert result["total"]["missing"] == 1 and result["total"]["wrong"] == 0
    assert "never answered" in errors


def test_a_lost_connection(lab):
    status, result, errors, _ = against(lab, at(40, lambda request: fakemed.CLOSE), "--count",
                                        "100", "--depth", "3")
    assert status == 1
    assert result["total"]["missing"] >= 1
    assert "closed the connection" in errors


def test_reconnects(lab):
    status, result, errors, mediator = against(lab, at(40, lambda request: fakemed.CLOSE),
                                               "--count", "100", "--depth", "3", "--reconnect")
    assert status == 0, errors
    assert len(mediator.connections) == 2
    assert result["total"]["disconnects"] == 1 and result["total"]["lost"] >= 1
    assert result["total"]["answered"] + result["total"]["lost"] == 100


def test_errors_are_answers(lab):
    def behaviour(request):
        if request.number % 10 == 3:
            return fakemed.refuse(request, wire.QUEUE_FULL)
        if request.number % 10 == 5:
            return fakemed.answer(request, status=wire.TIMEOUT)
        return fakemed.honest(request)

    status, result, errors, _ = against(lab, behaviour, "--count", "100", "--busy-wait-ms", "1")
    assert status == 0, errors
    assert result["total"]["errors"] == {"QUEUE_FULL": 10, "TIMEOUT": 10}
    assert result["total"]["busy"] == 10 and result["total"]["jobs"] == 80


def test_config_is_followed(lab):
    status, _, errors, mediator = against(lab, fakemed.honest, "--count", "50",
                                          config=(77, "B", 2))
    assert status == 0, errors
    assert {(request.vm_id, request.pool, request.priority)
            for request in mediator.requests} == {(77, "B", 2)}
    assert wire.MSG_CONFIG in [kind for kind, _ in mediator.others]


def test_nobody_there(lab):
    status, result, errors = loadgen(lab / "nobody.sock", "--count", "1")
    assert status == 3 and result is None
    assert "Is vgpu-mediator running" in errors


@pytest.mark.parametrize("arguments", [["--op", "fly"], ["--vms", "0"], ["--vms", "n=2,cats=3"],
                                       ["--vms", "n=2,vm_id=1;n=2,vm_id=2"], ["--depth", "0"],
                                       ["--rate", "-1"], ["--pool", "AB"], ["surplus"]])
def test_usage(lab, arguments):
    status, result, errors = loadgen(lab / "nobody.sock", *arguments)
    assert status == 2 and result is None
    assert "vgpu-loadgen" in errors


def test_a_misspelt_option(lab):
    status, _, errors = loadgen(lab / "nobody.sock", "--secnds=3")
    assert status == 2 and "Did you mean --seconds? See vgpu-loadgen --help." in errors


def test_real_mediator(lab):
    with Mediator(lab, "--enable-test-ops", "--fault-threshold", "0") as mediator:
        groups = "n=3,op=" + MIX[1].replace(",", "+") + ",depth=8;n=1,vm_id=9,rate=200,op=add"
        status, result, errors = loadgen(mediator.socket, "--vms", groups, "--count", "300",
                                         "--seconds", "60")
    assert status == 0, errors
    assert result["total"]["answered"] == result["total"]["sent"] == 1200
    assert [vm["vm_id"] for vm in result["vms"]] == [1, 2, 3, 9]
