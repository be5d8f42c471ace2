"""Times one PGD attack in four Python libraries and in Redoubt.

The same network (rebuilt in PyTorch from the ONNX weights and checked against
ONNX's reference evaluator), the same images, the same attack: L-infinity PGD on
the cross-entropy from the clean image, without restarts, in one batch. Prints
JSON lines; table.py makes the table.
"""

import argparse
import gzip
import json
import statistics
import struct
import subprocess
import sys
import tempfile
import time

import numpy as np
import onnx
import onnx.numpy_helper
import onnx.reference
import torch


def parse():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--model", required=True)
    p.add_argument("--images", required=True, help="IDX, gzipped")
    p.add_argument("--labels", required=True, help="IDX, gzipped")
    p.add_argument("--redoubt", help="the binary; without it only the peers run")
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--limit", type=int, default=500)
    p.add_argument("--eps", type=float, default=0.1)
    p.add_argument("--steps", type=int, default=40)
    p.add_argument("--repeats", type=int, default=3, help="timed runs after the warm-up; the median counts")
    return p.parse_args()


def read_idx(path):
    with gzip.open(path, "rb") as f:
        b = f.read()
    dims = struct.unpack(f">{b[3]}I", b[4 : 4 + 4 * b[3]])
    return np.frombuffer(b, np.uint8, offset=4 + 4 * b[3]).reshape(dims)


def network(path):
    """Rebuilds a chain of Conv, Relu, Flatten and Gemm as a torch module."""
    graph = onnx.load(path).graph
    weights = {i.name: torch.from_numpy(onnx.numpy_helper.to_array(i).copy()) for i in graph.initializer}
    layers, value = [], graph.input[0].name
    for node in graph.node:
        attrs = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        if node.input[0] != value:
            sys.exit(f"{path}: {node.op_type} breaks the chain; this benchmark rebuilds chains only")
        value = node.output[0]
        if node.op_type == "Conv":
            w = weights[node.input[1]]
            pads, strides = attrs.get("pads", [0, 0, 0, 0]), attrs.get("strides", [1, 1])
            assert pads[:2] == pads[2:] and attrs.get("group", 1) == 1
            layer = torch.nn.Conv2d(w.shape[1], w.shape[0], tuple(w.shape[2:]), tuple(strides), tuple(pads[:2]))
        elif node.op_type == "Gemm":
            w = weights[node.input[1]]
            assert attrs.get("transB") == 1 and attrs.get("alpha", 1.0) == attrs.get("beta", 1.0) == 1.0
            layer = torch.nn.Linear(w.shape[1], w.shape[0])
        elif node.op_type == "Relu":
            layer = torch.nn.ReLU()
        elif node.op_type == "Flatten":
            layer = torch.nn.Flatten()
        else:
            sys.exit(f"{path}: {node.op_type} is not rebuilt by this benchmark")
        if node.op_type in ("Conv", "Gemm"):
            with torch.no_grad():
                layer.weight.copy_(w)
                layer.bias.copy_(weights[node.input[2]])
        layers.append(layer)
    return torch.nn.Sequential(*layers).eval()


def check(path, model, x):
    """The rebuilt network must be the one in the file."""
    want = onnx.reference.ReferenceEvaluator(path).run(None, {onnx.load(path).graph.input[0].name: x.numpy()})[0]
    with torch.no_grad():
        worst = np.abs(model(x).numpy() - want).max()
    if worst > 1e-3:
        sys.exit(f"{path}: the rebuilt network differs by {worst}")


def peers(model, a):
    """One function a library, from (x, y) to adversarial x."""
    step = 2.5 * a.eps / a.steps

    def art(x, y):
        from art.attacks.evasion import ProjectedGradientDescent
        from art.estimators.classification import PyTorchClassifier

        classifier = PyTorchClassifier(model, torch.nn.CrossEntropyLoss(), x.shape[1:], 10, clip_values=(0, 1), device_type="cpu")
        attack = ProjectedGradientDescent(classifier, norm=np.inf, eps=a.eps, eps_step=step, max_iter=a.steps,
                                          num_random_init=0, batch_size=len(x), verbose=False)
        return torch.from_numpy(attack.generate(x.numpy(), y.numpy()))

    def foolbox(x, y):
        import foolbox

        attack = foolbox.attacks.LinfPGD(abs_stepsize=step, steps=a.steps, random_start=False)
        return attack(foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu"), x, y, epsilons=a.eps)[1]

    def torchattacks(x, y):
        import torchattacks

        return torchattacks.PGD(model, eps=a.eps, alpha=step, steps=a.steps, random_start=False)(x, y)

    def adv_lib(x, y):
        from adv_lib.attacks import pgd_linf

        return pgd_linf(model, x, y, a.eps, steps=a.steps, random_init=False, absolute_step_size=step)

    return {"ART": art, "Foolbox": foolbox, "torchattacks": torchattacks, "adv-lib": adv_lib}


def measure(name, attack, model, x, y, a):
    gradients = 0

    def count(_, inputs):
        nonlocal gradients
        gradients += len(inputs[0]) if inputs[0].requires_grad else 0

    # The warm-up also counts: imports, caches and thread pools are not timed.
    hook = model[0].register_forward_pre_hook(count)  # ART calls the layers one by one
    attack(x, y)
    hook.remove()
    seconds = []
    for _ in range(a.repeats):
        start = time.perf_counter()
        adv = attack(x, y).detach()
        seconds.append(time.perf_counter() - start)
    if (adv - x).abs().max() > a.eps + 1e-5 or adv.min() < 0 or adv.max() > 1:
        sys.exit(f"{name} left the ball or the box")
    with torch.no_grad():
        right = (model(adv).argmax(1) == y) & (model(x).argmax(1) == y)
    return {"library": name, "threads": a.threads, "seconds": statistics.median(seconds), "best": min(seconds), "gradients": gradients,
            "robust": int(right.sum()), "n": len(x)}


def redoubt(a):
    """Redoubt reports the attack's own seconds; wall has loading and judging in."""
    seconds, wall = [], []
    with tempfile.TemporaryDirectory() as folder:
        out = folder + "/out.json"
        command = [a.redoubt, "assess", a.model, "--data", f"{a.images},{a.labels}", "--norm", "linf", "--eps", str(a.eps),
                   "--attacks", "pgd", "--steps", str(a.steps), "--step-size", str(2.5 * a.eps / a.steps),
                   "--limit", str(a.limit), "--threads", str(a.threads), "--seed", "0", "--checks", "off", "--json", out]
        for i in range(a.repeats + 1):
            start = time.perf_counter()
            done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            if done.returncode not in (0, 1):
                sys.exit(f"{' '.join(command)}: {done.stderr}")
            threat = json.load(open(out))["threat_models"][0]
            if i > 0:
                wall.append(time.perf_counter() - start)
                seconds.append(sum(x["seconds"] for x in threat["attacks"]))
    return {"library": "Redoubt", "threads": a.threads, "seconds": statistics.median(seconds), "best": min(seconds),
            "wall": statistics.median(wall), "gradients": sum(x["gradients"] for x in threat["attacks"]), "robust": threat["robust"], "n": threat["n"]}


def main():
    a = parse()
    torch.manual_seed(0)
    torch.set_num_threads(a.threads)
    x = torch.from_numpy(read_idx(a.images)[: a.limit].astype(np.float32) / 255).unsqueeze(1)
    y = torch.from_numpy(read_idx(a.labels)[: a.limit].astype(np.int64))
    model = network(a.model)
    check(a.model, model, x[:8])
    for name, attack in peers(model, a).items():
        print(json.dumps(measure(name, attack, model, x, y, a)), flush=True)
    if a.redoubt:
        print(json.dumps(redoubt(a)), flush=True)


if __name__ == "__main__":
    main()
