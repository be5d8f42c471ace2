"""Has each scanner look at the same files and prints two tables.

The Python scanners run in one process each, with their modules loaded before
the clock starts; Redoubt's time is that of its process from start to exit.
Processor time is given too, because other work on the
machine disturbs it less. A file takes a peer at most 20 seconds.
"""

import argparse
import contextlib
import io
import json
import logging
import os
import pathlib
import signal
import subprocess
import sys
import time

logging.disable(logging.CRITICAL)


def picklescan():
    from picklescan.scanner import scan_file_path

    def look(path):
        r = scan_file_path(path)
        return "flagged" if r.issues_count else "error" if r.scan_err else "clean"

    return "picklescan", look


def fickling():
    import fickling

    return "fickling", lambda path: "clean" if fickling.is_likely_safe(path) else "flagged"


def modelscan():
    from modelscan.modelscan import ModelScan
    from modelscan.settings import DEFAULT_SETTINGS

    def look(path):
        r = ModelScan(settings=DEFAULT_SETTINGS).scan(pathlib.Path(path))
        return "flagged" if r["summary"]["total_issues"] else "error" if r.get("errors") else "clean"

    return "modelscan", look


def redoubt(binary, folder):
    start, before = time.perf_counter(), os.times()
    r = subprocess.run([binary, "scan", "--quiet", "--json", folder], stdout=subprocess.PIPE)
    after = os.times()
    seconds = time.perf_counter() - start, after.children_user + after.children_system - before.children_user - before.children_system
    verdicts = {f["path"]: f["verdict"] for f in json.loads(r.stdout)["files"] if "!" not in f["path"]}
    return seconds, verdicts


class Late(Exception):
    pass


def late(*_):
    raise Late


def run(look, paths):
    signal.signal(signal.SIGALRM, late)
    out, start, cpu = {}, time.perf_counter(), time.process_time()
    for p in paths:
        signal.alarm(20)
        try:
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                out[p] = look(p)
        except Late:
            out[p] = "error"
        except (Exception, RecursionError, MemoryError, SystemExit):
            out[p] = "error"
        finally:
            signal.alarm(0)
    return (time.perf_counter() - start, time.process_time() - cpu), out


a = argparse.ArgumentParser()
a.add_argument("--redoubt", required=True)
a.add_argument("--files", required=True)
a = a.parse_args()
groups = {g: sorted(str(p) for p in pathlib.Path(a.files, g).rglob("*") if p.is_file()) for g in ("evil", "benign", "frameworks")}
size = {g: sum(os.path.getsize(p) for p in paths) for g, paths in groups.items()}

rows = {}
for g, paths in groups.items():
    seconds, verdicts = redoubt(a.redoubt, os.path.join(a.files, g))
    rows.setdefault("Redoubt", {})[g] = (seconds, verdicts)
for peer in (picklescan, fickling, modelscan):
    name, look = peer()
    for g, paths in groups.items():
        rows.setdefault(name, {})[g] = run(look, paths)
        print(name, g, [round(s, 1) for s in rows[name][g][0]], file=sys.stderr)


def n(verdicts, *words):
    return sum(v in words for v in verdicts.values())


print(f"{len(groups['evil'])} malicious files, inert; {len(groups['benign'])} benign layouts; {len(groups['frameworks'])} files of the frameworks, {size['frameworks'] / 1e6:.0f} MB.\n")
print("| scanner | malicious: flagged | error | **clean** | layouts: flagged | error | frameworks' files: flagged | error |")
print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
for name, r in rows.items():
    bad, good, real = (r[g][1] for g in ("evil", "benign", "frameworks"))
    if name == "Redoubt":
        print(f"| Redoubt | {n(bad, 'unsafe')} unsafe, {n(bad, 'unproven')} unproven | | {n(bad, 'safe')} | {n(good, 'unsafe')} unsafe, {n(good, 'unproven')} unproven | | {n(real, 'unsafe')} unsafe, {n(real, 'unproven')} unproven | |")
    else:
        print(f"| {name} | {n(bad, 'flagged')} | {n(bad, 'error')} | {n(bad, 'clean')} | {n(good, 'flagged')} | {n(good, 'error')} | {n(real, 'flagged')} | {n(real, 'error')} |")
print("\n| scanner | frameworks' files: s | MB/s | times Redoubt's | processor s | times Redoubt's | all files: s | times Redoubt's |")
print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
for name, r in rows.items():
    wall, cpu = r["frameworks"][0]
    ours, ours_cpu = rows["Redoubt"]["frameworks"][0]
    whole, all_ours = sum(x[0][0] for x in r.values()), sum(x[0][0] for x in rows["Redoubt"].values())
    print(f"| {name} | {wall:.2f} | {size['frameworks'] / 1e6 / wall:.0f} | {wall / ours:.1f} | {cpu:.2f} | {cpu / ours_cpu:.1f} | {whole:.2f} | {whole / all_ours:.1f} |")
