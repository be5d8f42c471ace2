"""Reads the JSON lines of peers.py and prints a Markdown table.

Seconds and the ratio are medians; microseconds a gradient are from the fastest
run, which other work on the machine disturbs least.
"""

import json
import sys

rows = [json.loads(line) for line in sys.stdin if line.strip()]
ours = {r["threads"]: r["seconds"] for r in rows if r["library"] == "Redoubt"}
print("| library | threads | seconds | fastest | gradients | µs a gradient | robust | seconds / Redoubt's |")
print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
for r in rows:
    ratio = f"{r['seconds'] / ours[r['threads']]:.2f}" if ours.get(r["threads"]) else ""
    each = 1e6 * r["best"] / max(r["gradients"], 1)
    print(f"| {r['library']} | {r['threads']} | {r['seconds']:.2f} | {r['best']:.2f} | {r['gradients']:,} | {each:.0f} | {r['robust']}/{r['n']} | {ratio} |")
for r in rows:
    if "wall" in r:
        print(f"\nRedoubt with {r['threads']} threads took {r['wall']:.2f} s from start to exit.")
