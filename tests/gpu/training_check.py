#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Measures a training step and inference of a GPT-2-small on PyTorch, natively and through us in
turns, and two VMs that train at the same time with weights 80 and 20.

  tests/gpu/training_check.py [--bin-dir build/bin] [--out FILE.json] [--only NAME]...

Needs PyTorch in the Python that runs this.  Without a usable GPU it says so and exits with 77."""

import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
from lab import Lab, use_packages_libraries  # noqa: E402
from report import Report, parser_of, skip, skipped_without_gpu  # noqa: E402

UUID = "00000000-0000-4000-8000-%012d"
ROUNDS = 2
# The most that the issue of PyTorch allows, as ratios to native.
WANTED = {"step_ms": 1.02, "inference_ms": 1.00}

PROGRAM = """
import json, statistics, sys, time, torch
from torch import nn
from torch.nn import functional as F
from_s, until_s = map(float, sys.argv[1:])
torch.manual_seed(1)


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.one, self.two = heads, nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(approximate='tanh'),
                                 nn.Linear(4 * width, width))

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = (y.view(b, t, self.heads, -1).transpose(1, 2)
                   for y in self.qkv(self.one(x)).split(c, 2))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).reshape(b, t, c))
        return x + self.mlp(self.two(x))


class Small(nn.Module):
    def __init__(self, words=50304, width=768, layers=12, heads=12, length=1024):
        super().__init__()
        self.words, self.place = nn.Embedding(words, width), nn.Embedding(length, width)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(layers)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, words, bias=False)
        self.head.weight = self.words.weight

    def forward(self, tokens):
        x = self.words(tokens) + self.place.weight[:tokens.shape[1]]
        return self.head(self.norm(self.blocks(x)))


model = Small().cuda()
best = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
tokens = torch.randint(0, 50000, (8, 1025), device='cuda')


def step():
    with torch.autocast('cuda', torch.bfloat16):
        logits = model(tokens[:, :-1])
        loss = F.cross_entropy(logits.view(-1, logits.shape[-1]), tokens[:, 1:].reshape(-1))
    loss.backward()
    best.step()
    best.zero_grad(set_to_none=True)
    return loss


def timed(work, rounds):
    took = []
    for _ in range(rounds):
        torch.cuda.synchronize()
        begin = time.perf_counter()
        work()
        torch.cuda.synchronize()
        took.append((time.perf_counter() - begin) * 1e3)
    return statistics.median(took)


losses = [step().item() for _ in range(4)]
if until_s:
    steps, late = 0, time.monotonic() > from_s
    time.sleep(max(0, from_s - time.monotonic()))
    while time.monotonic() < until_s:
        step().item()
        steps += 1
    print(json.dumps({'steps': steps, 'late': late, 'loss': step().item()}))
    sys.exit(0)
found = {'step_ms': timed(step, 25)}
losses.append(step().item())
with torch.no_grad(), torch.autocast('cuda', torch.bfloat16):
    prompt = tokens[:1, :128]
    for _ in range(5):
        model(prompt)
    found['inference_ms'] = timed(lambda: model(prompt), 50)
print(json.dumps({**found, 'losses': losses}))
"""


class Suite:
    def __init__(self, report, bin_dir):
        self.report = report
        self.bin_dir = bin_dir
        tree = os.path.dirname(os.path.abspath(bin_dir))
        self.tool = os.path.join(tree, "guest", "cuda", "vgpu-run")

    def start(self, lab, vm, from_s=0.0, until_s=0.0):
        before = [self.tool, "--socket", lab.socket, "--vm-id", str(vm), "--"] if lab else []
        return subprocess.Popen([*before, sys.executable, "-c", PROGRAM, str(from_s),
                                 str(until_s)],
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def result(self, process):
        out, err = process.communicate(timeout=200)
        if process.returncode:
            raise RuntimeError("the program ended with %d: %s" % (process.returncode, err[-900:]))
        return json.loads(out.splitlines()[-1])

    def steps(self):
        rows = {"native": [], "us": []}
        with Lab(self.bin_dir, test_ops=False) as lab:
            for _ in range(ROUNDS):
                rows["native"].append(self.result(self.start(None, 0)))
                rows["us"].append(self.result(self.start(lab, 1)))
        for name, most in WANTED.items():
            native, us = (statistics.median(row[name] for row in rows[who])
                          for who in ("native", "us"))
            self.report.measure(name, {"native": round(native, 3), "us": round(us, 3),
                                       "ratio": round(us / native, 4), "wanted": most})
        native, us = rows["native"][0]["losses"], rows["us"][0]["losses"]
        self.report.check("the losses are the native ones",
                          all(abs(a - b) <= 2e-3 * abs(b) for a, b in zip(us, native)),
                          "%s, natively %s" % (us, native))

    def pair(self):
        weights = (80, 20)
        vms = [("--vm-name=w%d" % w, "--vm-uuid=" + UUID % w, "--vm-id=%d" % (i + 1),
                "--weight=%d" % w) for i, w in enumerate(weights)]  # fmt: skip
        with Lab(self.bin_dir, db=vms, test_ops=False) as lab:
            now = time.monotonic()
            both = [self.start(lab, vm, now + 20, now + 40) for vm in (1, 2)]
            rows = [self.result(process) for process in both]
        share = rows[0]["steps"] / max(1, sum(row["steps"] for row in rows))
        self.report.measure("two that train", {
            "steps": [row["steps"] for row in rows], "loss": [row["loss"] for row in rows],
            "share": round(share, 4), "share_error_points": round(abs(share - 0.8) * 100, 2)})
        self.report.check("both trained, and began at one time",
                          all(row["steps"] > 5 and not row["late"] for row in rows))


def main():
    args = parser_of(__doc__, ("steps", "pair")).parse_args()
    skipped = skipped_without_gpu(args)
    if skipped is not None:
        return skipped
    if not importlib.util.find_spec("torch"):
        return skip(args.out, "no PyTorch in this Python")
    use_packages_libraries()
    report = Report()
    suite = Suite(report, args.bin_dir)
    sections = (("steps", suite.steps), ("pair", suite.pair))
    report.run([s for s in sections if not args.only or s[0] in args.only])
    return report.finish(args.out)


if __name__ == "__main__":
    sys.exit(main())
