"""Makes the networks of TestPyTorch: small ones with random weights, exported
as PyTorch exports them, each with PyTorch's own gradient for comparison.

    pip install torch==2.* onnx numpy && python make.py

A file is the exported model with three tensors added to its initializers: a
point "test.x", weights of the outputs "test.w", and "test.g", the gradient of
<w, y> in x, computed in float64.
"""

import copy

import onnx
import torch
import torch.nn as nn
import torch.nn.functional as F
from onnx import numpy_helper

torch.manual_seed(7)


class Residual(nn.Module):
    """The stem and one block of a ResNet."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 7, 2, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
        self.body = nn.Sequential(nn.Conv2d(8, 12, 3, 2, 1), nn.BatchNorm2d(12), nn.ReLU(), nn.Conv2d(12, 12, 3, 1, 1), nn.BatchNorm2d(12))
        self.short = nn.Sequential(nn.Conv2d(8, 12, 1, 2), nn.BatchNorm2d(12))
        self.head = nn.Linear(12, 10)

    def forward(self, x):
        x = self.stem(x)
        x = F.relu(self.body(x) + self.short(x))
        return self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))


class Mobile(nn.Module):
    """A depthwise block with squeeze and excitation, as in MobileNetV3."""

    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(3, 16, 3, 2, 1)
        self.depth = nn.Conv2d(16, 16, 5, 1, 2, groups=16)
        self.s1, self.s2 = nn.Conv2d(16, 4, 1), nn.Conv2d(4, 16, 1)
        self.p = nn.Conv2d(16, 8, 1)
        self.head = nn.Linear(8, 10)

    def forward(self, x):
        x = F.relu6(self.depth(F.hardswish(self.a(x))))
        x = x * F.hardsigmoid(self.s2(F.relu(self.s1(F.adaptive_avg_pool2d(x, 1)))))
        return self.head(F.silu(self.p(x)).mean((2, 3)))


class Decoder(nn.Module):
    """What segmentation and detection networks enlarge with."""

    def __init__(self):
        super().__init__()
        self.down, self.dilated = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, 1, 2, 2)
        self.up = nn.ConvTranspose2d(8, 4, 4, 2, 1)
        self.group, self.inst, self.prelu = nn.GroupNorm(2, 4), nn.InstanceNorm2d(8, affine=True), nn.PReLU(8)

    def forward(self, x):
        a = self.prelu(self.inst(self.down(x)))
        b = F.interpolate(F.elu(self.dilated(a)), scale_factor=2, mode="bilinear", align_corners=False)
        c = self.group(self.up(a))
        d = F.interpolate(F.avg_pool2d(x, 3, 2, 1), size=x.shape[2:], mode="nearest")
        e = F.interpolate(a, scale_factor=2, mode="bicubic")
        return torch.cat([b, c, d, e], 1)


class Vision(nn.Module):
    """A vision transformer of one layer: patches, class token, positions."""

    def __init__(self, d=16):
        super().__init__()
        self.patch = nn.Conv2d(3, d, 4, 4)
        self.token, self.place = nn.Parameter(torch.randn(1, 1, d)), nn.Parameter(torch.randn(1, 10, d))
        self.n1, self.n2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.attention = nn.MultiheadAttention(d, 2, batch_first=True)
        self.f1, self.f2 = nn.Linear(d, 32), nn.Linear(32, d)
        self.head = nn.Linear(d, 10)

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.place
        n = self.n1(x)
        x = x + self.attention(n, n, n)[0]
        x = x + self.f2(F.gelu(self.f1(self.n2(x))))
        return self.head(x[:, 0])


class Text(nn.Module):
    """A BERT layer over embeddings, with a mask and a pooler."""

    def __init__(self, d=16, heads=2):
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(d, d) for _ in range(4))
        self.n1, self.n2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.f1, self.f2 = nn.Linear(d, 32), nn.Linear(32, d)
        self.heads = heads
        self.register_buffer("mask", torch.triu(torch.full((6, 6), -1e9), 1))

    def split(self, x):
        n, t, d = x.shape
        return x.view(n, t, self.heads, d // self.heads).permute(0, 2, 1, 3)

    def forward(self, x):
        q, k, v = self.split(self.q(x)), self.split(self.k(x)), self.split(self.v(x))
        a = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5 + self.mask).softmax(-1) @ v
        x = self.n1(x + self.o(a.permute(0, 2, 1, 3).reshape(x.shape)))
        return torch.tanh(self.n2(x + self.f2(F.gelu(self.f1(x), approximate="tanh")))[:, 0])


class Sequence(nn.Module):
    """A two-layer bidirectional LSTM and a GRU on top."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(6, 5, 2, bidirectional=True, batch_first=True)
        self.gru = nn.GRU(10, 4, batch_first=True)

    def forward(self, x):
        return self.gru(self.lstm(x)[0])[0][:, -1]


def make(name, net, *shape):
    net.eval()
    for m in net.modules():  # statistics that are not 0 and 1
        if isinstance(m, nn.BatchNorm2d):
            m.running_mean.normal_()
            m.running_var.uniform_(0.5, 2)
            m.weight.data.uniform_(0.5, 2)
    x = torch.randn(2, *shape)
    torch.onnx.export(net, (x,), name + ".onnx", opset_version=17, dynamo=False, input_names=["x"], output_names=["y"],
                      dynamic_axes={"x": {0: "n"}, "y": {0: "n"}})
    exact, point = copy.deepcopy(net).double(), x.double().requires_grad_(True)
    y = exact(point)
    w = torch.randn_like(y).float()
    (g,) = torch.autograd.grad((y * w.double()).sum(), point)
    model = onnx.load(name + ".onnx")
    for key, value in {"test.x": x, "test.w": w, "test.g": g.float()}.items():
        model.graph.initializer.append(numpy_helper.from_array(value.numpy(), key))
    model.graph.doc_string = "made by testdata/make.py with PyTorch " + torch.__version__
    onnx.save(model, name + ".onnx")


make("residual", Residual(), 3, 24, 24)
make("mobile", Mobile(), 3, 12, 12)
make("decoder", Decoder(), 3, 8, 8)
make("vision", Vision(), 3, 12, 12)
make("text", Text(), 6, 16)
make("sequence", Sequence(), 5, 6)
