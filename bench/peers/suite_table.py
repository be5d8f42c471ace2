"""Reads the JSON lines of suite.py and prints a Markdown table."""

import json
import sys

rows = [json.loads(line) for line in sys.stdin if line.startswith("{")]  # libraries print warnings
ours = {r["job"]: r["seconds"] for r in rows if r["library"] == "Redoubt"}
print("| attack | library | seconds | answers | gradients | stand | seconds / Redoubt's |")
print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
for r in rows:
    ratio = f"{r['seconds'] / ours[r['job']]:.1f}" if ours.get(r["job"]) else ""
    print(f"| {r['job']} | {r['library']} | {r['seconds']:.2f} | {r['answers']:,} | {r['gradients']:,} | {r['robust']}/{r['n']} | {ratio} |")
