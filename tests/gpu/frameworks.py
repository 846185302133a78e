# SPDX-License-Identifier: GPL-2.0-or-later
"""Small programs of PyTorch and JAX for torch_check.py: each prints numbers in lines of `= `."""

HEAD = """
import torch, sys
from torch.nn import functional as F
torch.manual_seed(7)
def say(*values):
    print("=", *(float(v) for v in values), flush=True)
def rand(*shape, **kwargs):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(3)).to("cuda", **kwargs)
"""

GPT = """
class Block(torch.nn.Module):
    def __init__(self, n, heads):
        super().__init__()
        self.a, self.b = torch.nn.LayerNorm(n), torch.nn.LayerNorm(n)
        self.qkv, self.out = torch.nn.Linear(n, 3 * n), torch.nn.Linear(n, n)
        self.up, self.down = torch.nn.Linear(n, 4 * n), torch.nn.Linear(4 * n, n)
        self.heads = heads
    def forward(self, x):
        b, t, n = x.shape
        q, k, v = self.qkv(self.a(x)).view(b, t, 3, self.heads, n // self.heads).permute(
            2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).reshape(b, t, n))
        return x + self.down(F.gelu(self.up(self.b(x))))
class Model(torch.nn.Module):
    def __init__(self, layers=4, n=256, heads=4, words=1000):
        super().__init__()
        self.e = torch.nn.Embedding(words, n)
        self.blocks = torch.nn.Sequential(*(Block(n, heads) for _ in range(layers)))
        self.head = torch.nn.Linear(n, words)
    def forward(self, x):
        return self.head(self.blocks(self.e(x)))
def train(steps, wrap=lambda m: m):
    torch.manual_seed(1)
    model = Model().cuda()
    step = wrap(model)
    best = torch.optim.AdamW(model.parameters(), 1e-3)
    x = torch.randint(0, 1000, (4, 129), generator=torch.Generator().manual_seed(2)).cuda()
    losses = []
    for _ in range(steps):
        with torch.autocast("cuda", torch.bfloat16):
            loss = F.cross_entropy(step(x[:, :-1]).flatten(0, 1).float(), x[:, 1:].flatten())
        best.zero_grad()
        loss.backward()
        best.step()
        losses.append(loss.item())
    return losses
"""

NO_CUDNN = "torch.backends.cudnn.enabled = False\ntorch.backends.cuda.enable_cudnn_sdp(False)\n"

TORCH = {name: HEAD + code for name, code in {
    "properties": """
p = torch.cuda.get_device_properties(0)
say(p.multi_processor_count, p.major, p.minor, torch.cuda.device_count())
free, total = torch.cuda.mem_get_info()
assert 0 < free <= total""",
    "elementwise": """
x = rand(100000); say((x * 2 + 1).sum(), torch.sin(x).mean(), x.max(), x.std())""",
    "sort": "x = rand(100000); y, i = torch.sort(x); say(y[0], y[-1], i[5], x.topk(5)[0].sum())",
    "random": """
torch.manual_seed(5)
say(*torch.rand(4, device="cuda"), torch.randn(1000, device="cuda").sum(),
    torch.randperm(1000, device="cuda")[:3].sum())""",
    "normalize": """
x = rand(64, 1000)
say(F.layer_norm(x, (1000,)).std(), torch.softmax(x, 1).sum(), F.rms_norm(x, (1000,)).mean())""",
    "index": """
x = rand(1000, 64)
say(x[torch.arange(0, 1000, 7, device="cuda")].sum(), x.cumsum(0)[-1].sum(),
    torch.unique((x * 9).int()).sum(), x.nonzero().shape[0],
    torch.bincount((x * 9).int().flatten()).max())""",
    "copies": """
x = torch.arange(1 << 20, dtype=torch.float32).pin_memory()
y = x.to("cuda", non_blocking=True); z = y.cpu()
s = torch.cuda.Stream()
with torch.cuda.stream(s):
    w = y * 2
s.synchronize()
e, f = torch.cuda.Event(True), torch.cuda.Event(True)
e.record(); (y + 1).sum(); f.record(); f.synchronize(); assert e.elapsed_time(f) > 0
say((z == x).all(), w[-1], y[::3].contiguous().sum() / 1e9)""",
    "matmul": """
a, b = rand(300, 200), rand(200, 100)
say((a @ b).sum(), (a.double() @ b.double()).sum(), (a.half() @ b.half()).float().mean(),
    (a.bfloat16() @ b.bfloat16()).float().mean(), torch.bmm(rand(5, 40, 30), rand(5, 30, 20)).sum(),
    torch.mv(a, b[:, 0]).sum())""",
    "dot": """
x, y = rand(5000), rand(5000)
say(torch.dot(x, y), x.norm(), torch.linalg.vector_norm(y), torch.vdot(x + 0j, y + 1j).real)""",
    "linear": """
l = torch.nn.Linear(256, 128).cuda(); torch.nn.init.constant_(l.weight, 0.01)
torch.nn.init.constant_(l.bias, 0.5)
y = l(rand(64, 256)); y.pow(2).sum().backward()
say(y.sum(), l.weight.grad.sum(), l.bias.grad.sum())
h = l.bfloat16()(rand(64, 256, dtype=torch.bfloat16)); say(h.float().mean())
say(F.gelu(torch.addmm(rand(128), rand(64, 256), rand(256, 128))).mean())""",
    "attention": """
q = rand(2, 4, 128, 64, dtype=torch.bfloat16).requires_grad_()
y = F.scaled_dot_product_attention(q, q, q, is_causal=True); y.sum().backward()
say(y.float().mean(), q.grad.float().abs().mean())""",
    "attention without cuDNN": NO_CUDNN + """
q = rand(2, 4, 128, 64, dtype=torch.bfloat16).requires_grad_()
y = F.scaled_dot_product_attention(q, q, q, is_causal=True); y.sum().backward()
say(y.float().mean(), q.grad.float().abs().mean())
say(F.scaled_dot_product_attention(*(rand(1, 2, 50, 32) for _ in range(3))).mean())""",
    "convolution": """
say(torch.backends.cudnn.version())
x, w = rand(4, 3, 32, 32).requires_grad_(), rand(8, 3, 3, 3).requires_grad_()
y = F.conv2d(x, w, padding=1); y.sum().backward()
say(y.mean(), x.grad.mean(), w.grad.mean())""",
    "convolution without cuDNN": NO_CUDNN + """
x, w = rand(4, 3, 32, 32).requires_grad_(), rand(8, 3, 3, 3).requires_grad_()
y = F.conv2d(x, w, padding=1); y.sum().backward()
say(y.mean(), x.grad.mean(), w.grad.mean(), F.max_pool2d(y, 2).mean())
say(F.batch_norm(y, None, None, training=True).std())""",
    "a convolutional net": """
net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.BatchNorm2d(8),
                          torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(8 * 256, 4)).cuda()
for p in net.parameters():
    torch.nn.init.constant_(p, 0.03)
x = rand(16, 3, 16, 16); best = torch.optim.SGD(net.parameters(), 0.01)
for _ in range(5):
    loss = net(x).pow(2).mean(); best.zero_grad(); loss.backward(); best.step()
say(loss, net[1].running_mean.mean(), net[1].running_var.mean(), net.eval()(x).sum())""",
    "transforms": """
x = rand(1000); say(torch.fft.rfft(x).abs().sum(), torch.fft.ifft(torch.fft.fft(x)).real.sum())""",
    "linear algebra": """
x = rand(50, 50) + 50 * torch.eye(50, device="cuda")
say(torch.linalg.inv(x).sum(), torch.linalg.det(x / 50), torch.linalg.cholesky(x @ x.T).sum(),
    torch.linalg.eigvalsh(x + x.T).max())""",
    "sparse": """
x = rand(50, 50); x = x * (x > 0.8); say((x.to_sparse_csr() @ rand(50, 7)).sum())""",
    "a graph": """
x = torch.ones(1000, device="cuda"); s = torch.cuda.Stream()
s.wait_stream(torch.cuda.current_stream())
with torch.cuda.stream(s):
    for _ in range(3):
        y = x * 2
torch.cuda.current_stream().wait_stream(s)
g = torch.cuda.CUDAGraph()
with torch.cuda.graph(g):
    y = x * 2 + 1
x.fill_(5); g.replay(); torch.cuda.synchronize(); say(y[0], y.sum())""",
    "a graph of layers": """
l = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 8)).cuda()
for p in l.parameters():
    torch.nn.init.constant_(p, 0.02)
x = torch.ones(16, 64, device="cuda")
f = torch.cuda.make_graphed_callables(l, (x,))
x = x * 3; say(f(x).sum(), l(x).sum())""",
    "Triton": """
import importlib, tempfile, os
folder = tempfile.mkdtemp()
open(os.path.join(folder, "doubling.py"), "w").write('''
import triton, triton.language as tl
@triton.jit
def double(x, y, n, B: tl.constexpr):
    i = tl.program_id(0) * B + tl.arange(0, B)
    tl.store(y + i, tl.load(x + i, mask=i < n) * 2, mask=i < n)
''')
sys.path.insert(0, folder)
import doubling
x = rand(10000); y = torch.empty_like(x)
doubling.double[(10,)](x, y, 10000, B=1024); say(y.sum(), (y == x * 2).all())""",
    "torch.compile": """
f = torch.compile(lambda x, w: F.gelu(torch.softmax(x @ w, 1) * 3).sum(0))
say(f(rand(64, 128), rand(128, 32)).sum())""",
    "training": GPT + """
losses = train(20); say(losses[0], losses[-1])""",
    "training without cuDNN": GPT + NO_CUDNN + """
losses = train(20); say(losses[0], losses[-1])""",
    "training, compiled": GPT + NO_CUDNN + """
losses = train(10, torch.compile); say(losses[0], losses[-1])""",
    "memory": """
x = [torch.empty(1 << 26, dtype=torch.uint8, device="cuda") for _ in range(4)]
say(torch.cuda.memory_allocated() >> 20); del x; torch.cuda.empty_cache()
try:
    torch.empty(1 << 45, dtype=torch.uint8, device="cuda")
except torch.OutOfMemoryError:
    say(1)""",
    "NVML": "import torch.cuda as c; say(c.device_count(), c.is_available())",
}.items()}

JAX_HEAD = """
import os
os.environ["JAX_PLATFORMS"] = "cuda"
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
import jax, jax.numpy as np
def say(*values):
    print("=", *(float(v) for v in values), flush=True)
"""

JAX = {name: JAX_HEAD + code for name, code in {
    "devices": "say(len(jax.devices()), jax.devices()[0].platform in ('gpu', 'cuda'))",
    "elementwise": "x = np.arange(1000.) / 999; say((x * 2 + 1).sum(), np.sin(x).mean())",
    "matmul": """
x = np.ones((256, 128)) * 0.5; say((x @ x.T)[3, 4], (x.astype(np.bfloat16) @ x.T)[0, 0])""",
    "grad": """
f = lambda w, x: (np.tanh(x @ w) ** 2).mean()
w, x = np.ones((64, 32)) * 0.01, np.arange(640.).reshape(10, 64) / 640
say(f(w, x), jax.grad(f)(w, x).sum())""",
    "training": """
f = lambda w, x, y: ((np.tanh(x @ w[0]) @ w[1] - y) ** 2).mean()
step = jax.jit(lambda w, x, y: [a - 0.1 * g for a, g in zip(w, jax.grad(f)(w, x, y))])
k = jax.random.split(jax.random.PRNGKey(0), 4)
w = [jax.random.normal(k[0], (32, 64)) * 0.1, jax.random.normal(k[1], (64, 8)) * 0.1]
x, y = jax.random.normal(k[2], (128, 32)), jax.random.normal(k[3], (128, 8))
first = f(w, x, y)
for _ in range(50):
    w = step(w, x, y)
say(first, f(w, x, y))""",
    "sort and random": """
x = jax.random.uniform(jax.random.PRNGKey(3), (10000,)); say(np.sort(x)[5], x.mean())""",
}.items()}
