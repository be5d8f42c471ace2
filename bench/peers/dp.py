"""Grouped sums under differential privacy: diffprivlib, PipelineDP and Redoubt.

One job: from a Parquet file of visits (patient, ward, cost), the sum of costs a
ward, epsilon 1, delta 1e-6, a patient in at most 3 wards with 2 rows in each,
costs clamped to [0, 5000], wards named from the data. Each is timed from the file
to the result, reading included. diffprivlib bounds no contributions and selects no
wards: one row does the bounding in pandas beside it, one leaves it out, which is
not private per patient.
"""

import argparse, json, os, subprocess, tempfile, time

import numpy as np
import pandas as pd

QUERY = """dataset: visits
unit: patient
person: patient
adjacency: add-remove
epsilon: 1
delta: 1e-6
group_by: [ward]
groups_per_person: 3
rows_per_group: 2
statistics:
  - {of: sum, column: cost, low: 0, high: 5000}
"""


def make(path, rows):
    rng = np.random.default_rng(1)
    ward = np.minimum(rng.zipf(1.3, rows), 1000)
    pd.DataFrame({
        "patient": rng.integers(0, rows // 4, rows),
        "ward": pd.Series(ward).map(lambda w: f"ward-{w}"),
        "cost": rng.exponential(1000, rows),
    }).to_parquet(path, row_group_size=1 << 19)


def diffprivlib(path, bounded):
    from diffprivlib import tools
    data = pd.read_parquet(path)
    limit = 1
    if bounded:
        data = data.sample(frac=1)
        data = data[data.groupby(["patient", "ward"]).cumcount() < 2]
        pairs = data[["patient", "ward"]].drop_duplicates()
        pairs = pairs[pairs.groupby("patient").cumcount() < 3]
        data = data.merge(pairs, on=["patient", "ward"])
        limit = 6  # rows of a patient: epsilon is split over them
    return {w: tools.sum(g.to_numpy(), epsilon=1 / limit, bounds=(0, 5000)) for w, g in data.groupby("ward")["cost"]}


def pipeline_dp(path):
    import pipeline_dp as p
    data = pd.read_parquet(path)
    rows = list(zip(data["patient"].tolist(), data["ward"].tolist(), data["cost"].tolist()))
    accountant = p.NaiveBudgetAccountant(total_epsilon=1, total_delta=1e-6)
    engine = p.DPEngine(accountant, p.LocalBackend())
    params = p.AggregateParams(metrics=[p.Metrics.SUM], noise_kind=p.NoiseKind.LAPLACE, max_partitions_contributed=3,
                               max_contributions_per_partition=2, min_value=0, max_value=5000)
    out = engine.aggregate(rows, params, p.DataExtractors(
        privacy_id_extractor=lambda r: r[0], partition_extractor=lambda r: r[1], value_extractor=lambda r: r[2]))
    accountant.compute_budgets()
    return dict(out)


def redoubt(binary, path, folder):
    query, ledger, out = (os.path.join(folder, n) for n in ("query.yaml", "ledger.db", "out.json"))
    with open(query, "w") as f:
        f.write(QUERY)
    if not os.path.exists(ledger):
        subprocess.run([binary, "dp", "ledger", "create", "visits", "--unit", "patient", "--epsilon", "100", "--delta", "1e-3",
                        "--adjacency", "add-remove", "--ledger", ledger], check=True, stdout=subprocess.DEVNULL)
    start = time.perf_counter()
    subprocess.run([binary, "--quiet", "dp", "release", query, "--data", path, "--ledger", ledger, "--format", "json", "--out", out], check=True)
    took = time.perf_counter() - start
    with open(out) as f:
        return {r["group"][0]: r["value"] for r in json.load(f)["rows"]}, took


def timed(do, *args):
    start = time.perf_counter()
    return do(*args), time.perf_counter() - start


def main():
    a = argparse.ArgumentParser()
    a.add_argument("--redoubt", required=True)
    a.add_argument("--rows", type=int, default=1_000_000)
    a.add_argument("--runs", type=int, default=3)
    a = a.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "visits.parquet")
        make(path, a.rows)
        truth = pd.read_parquet(path).assign(cost=lambda d: d["cost"].clip(0, 5000)).groupby("ward")["cost"].sum()
        jobs = {
            "Redoubt": lambda: redoubt(a.redoubt, path, folder),
            "diffprivlib, contributions bounded in pandas": lambda: timed(diffprivlib, path, True),
            "diffprivlib, not bounded": lambda: timed(diffprivlib, path, False),
            "PipelineDP, local": lambda: timed(pipeline_dp, path),
        }
        print(f"{a.rows:,} rows, load {os.getloadavg()[0]:.1f}, best of {a.runs} (PipelineDP: once)\n")
        print("| library | seconds | rows a second | / Redoubt's | wards | ward-1, of what is there |\n| --- | ---: | ---: | ---: | ---: | ---: |")
        base = None
        for name, job in jobs.items():
            try:
                results = [job() for _ in range(1 if name.startswith("PipelineDP") else a.runs)]
            except ImportError as e:
                print(f"| {name} | not installed: {e} | | | | |")
                continue
            result, _ = results[-1]
            took = min(t for _, t in results)
            base = base or took
            first = result["ward-1"]
            first = first if isinstance(first, float) else float(getattr(first, "sum", first))
            print(f"| {name} | {took:.2f} | {a.rows / took:,.0f} | {took / base:.1f} | {len(result)} | {100 * first / truth['ward-1']:.1f} % |", flush=True)


main()
