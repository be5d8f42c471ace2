"""Times attacks of several kinds in Python libraries and in Redoubt.

The same network, images and settings as far as each library has them, in one
run on one machine. An attack that looks for the smallest perturbation is judged
by how many images stand at a radius. Redoubt stops such a search where an image
has fallen, which the others cannot; its time here is that of a search to the
end, at a radius that no image falls at. Prints JSON lines; suite_table.py makes
the table.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time

import numpy as np
import torch

from peers import check, network, read_idx


def parse():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--data", required=True, help="the folder of the test data")
    p.add_argument("--redoubt", required=True, help="the binary")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--only", default="", help="run jobs whose name holds this")
    return p.parse_args()


class Single(torch.nn.Module):
    """A network that takes float64 as well, which some of ART's attacks send."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model(x.float())


def classifier(model, x):
    from art.estimators.classification import PyTorchClassifier

    return PyTorchClassifier(Single(model), torch.nn.CrossEntropyLoss(), x.shape[1:], 10, clip_values=(0, 1), device_type="cpu")


def through_art(make):
    """A job for one of ART's attacks, made for a classifier."""
    return lambda model, x, y, eps: torch.from_numpy(make(classifier(model, x), eps).generate(x.numpy(), y.numpy()))


def through_foolbox(make):
    """A job for one of Foolbox's attacks; the smallest perturbation it finds."""

    def run(model, x, y, eps):
        import foolbox

        return make(foolbox.attacks)(foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu"), x, y, epsilons=None)[0]

    return run


def auto_attack(model, x, y, eps):
    from autoattack import AutoAttack

    return AutoAttack(model, norm="Linf", eps=eps, version="standard", device="cpu", verbose=False).run_standard_evaluation(x, y, bs=len(x))


def adv_lib(name, **settings):
    def run(model, x, y, eps):
        import adv_lib.attacks

        return getattr(adv_lib.attacks, name)(model, x, y, **settings)

    return run


def art(name, **settings):
    def make(c, eps):
        import art.attacks.evasion

        return getattr(art.attacks.evasion, name)(c, **settings)

    return through_art(make)


# name, network, norm, radius, images, Redoubt's flags, libraries
JOBS = [
    ("AutoAttack, Linf", "mnist_cnn_pgd_s1", "linf", 0.25, 100, ["--attacks", "autoattack"], {
        "fra31/auto-attack": auto_attack,
    }),
    ("FMN, L2, 100 steps", "mnist_cnn_std_s1", "l2", 1.0, 200, ["--attacks", "fmn", "--steps", "100"], {
        "adv-lib": adv_lib("fmn", norm=2, steps=100),
        "Foolbox": through_foolbox(lambda f: f.L2FMNAttack(steps=100)),
    }),
    ("DDN, L2, 100 steps", "mnist_cnn_std_s1", "l2", 1.0, 200, ["--attacks", "ddn", "--steps", "100"], {
        "adv-lib": adv_lib("ddn", steps=100),
        "Foolbox": through_foolbox(lambda f: f.DDNAttack(steps=100)),
    }),
    ("Carlini-Wagner, L2, 9 x 200 steps", "mnist_cnn_std_s1", "l2", 1.0, 20, ["--attacks", "cw", "--steps", "200"], {
        "adv-lib": adv_lib("carlini_wagner_l2", binary_search_steps=9, max_iterations=200, learning_rate=0.01),
        "Foolbox": through_foolbox(lambda f: f.L2CarliniWagnerAttack(binary_search_steps=9, steps=200, stepsize=0.01)),
        "ART": art("CarliniL2Method", max_iter=200, binary_search_steps=9, learning_rate=0.01, batch_size=20, verbose=False),
    }),
    ("Carlini-Wagner, Linf", "mnist_cnn_std_s1", "linf", 0.08, 5, ["--attacks", "cw-linf"], {
        "adv-lib": adv_lib("carlini_wagner_linf"),
        "ART": art("CarliniLInfMethod", max_iter=1000, learning_rate=0.005, batch_size=10, verbose=False),
    }),
    ("HopSkipJump, L2, about 5,000 queries", "mnist_cnn_std_s1", "l2", 2.0, 10, ["--attacks", "hopskipjump", "--queries", "5000"], {
        "Foolbox": through_foolbox(lambda f: f.HopSkipJumpAttack(steps=15)),
        "ART": art("HopSkipJump", max_iter=15, verbose=False, batch_size=10),
    }),
    ("Boundary, L2, about 15,000 queries", "mnist_cnn_std_s1", "l2", 2.0, 10, ["--attacks", "boundary", "--queries", "15000"], {
        "Foolbox": through_foolbox(lambda f: f.BoundaryAttack(steps=14000)),
        "ART": art("BoundaryAttack", targeted=False, max_iter=500, verbose=False, batch_size=10),
    }),
]


def distances(norm, d):
    d = d.flatten(1).abs()
    return d.max(1).values if norm == "linf" else d.square().sum(1).sqrt()


def measure(job, library, attack, model, x, y):
    name, _, norm, eps, n = job[:5]
    asked = {"answers": 0, "gradients": 0}

    def count(_, inputs):
        asked["gradients" if inputs[0].requires_grad else "answers"] += len(inputs[0])

    hook = model[0].register_forward_pre_hook(count)
    start = time.perf_counter()
    adv = attack(model, x, y, eps)
    seconds = time.perf_counter() - start
    hook.remove()
    adv = adv.detach().float().clamp(0, 1)
    with torch.no_grad():
        right, fooled = model(x).argmax(1) == y, model(adv).argmax(1) != y
    d = distances(norm, adv - x)
    stands = right & ~(fooled & (d <= eps * (1 + 1e-5)))
    found = d[right & fooled]
    return {"job": name, "library": library, "seconds": seconds, "robust": int(stands.sum()), "n": n, **asked,
            "median": float(found.median()) if len(found) else None}


def redoubt(job, a, model_file, images, labels):
    name, _, norm, eps, n, flags, _ = job

    def run(radius):
        with tempfile.TemporaryDirectory() as folder:
            out = folder + "/out.json"
            command = [a.redoubt, "assess", model_file, "--data", f"{images},{labels}", "--norm", norm, "--eps", str(radius), *flags,
                       "--limit", str(n), "--threads", str(a.threads), "--checks", "off", "--quiet", "--json", out]
            done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            if done.returncode not in (0, 1):
                sys.exit(f"{' '.join(command)}: {done.stderr}")
            return json.load(open(out))["threat_models"][0]

    judged = run(eps)
    minimal = "autoattack" not in flags
    timed = run(1e-3) if minimal else judged
    answers, gradients = (sum(x[k] for x in timed["attacks"]) for k in ("forwards", "gradients"))
    return {"job": name, "library": "Redoubt", "seconds": sum(x["seconds"] for x in timed["attacks"]), "robust": judged["robust"], "n": n,
            "answers": answers - gradients, "gradients": gradients, "median": None,
            "decides": sum(x["seconds"] for x in judged["attacks"]) if minimal else None}


def main():
    a = parse()
    torch.set_num_threads(a.threads)
    images, labels = (os.path.join(a.data, "mnist", f) for f in ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"))
    for job in JOBS:
        if a.only not in job[0]:
            continue
        path = os.path.join(a.data, "models", "mnist", job[1] + ".onnx")
        model = network(path)
        x = torch.from_numpy(read_idx(images)[: job[4]].astype(np.float32) / 255).unsqueeze(1)
        y = torch.from_numpy(read_idx(labels)[: job[4]].astype(np.int64))
        check(path, model, x[:8])
        print(json.dumps(redoubt(job, a, path, images, labels)), flush=True)
        for library, attack in job[6].items():
            torch.manual_seed(0)
            np.random.seed(0)
            try:
                print(json.dumps(measure(job, library, attack, model, x, y)), flush=True)
            except ImportError as e:
                print(f"{library}: {e}; skipped", file=sys.stderr)


if __name__ == "__main__":
    main()
