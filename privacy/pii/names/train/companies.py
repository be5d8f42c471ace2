"""Prints the names of companies in FinanceDatabase's lists of equities.

    python companies.py FILE.csv
"""
import csv
import re
import sys

names = set()
with open(sys.argv[1], encoding="utf-8", errors="replace") as f:
    for row in csv.reader(f):
        if len(row) < 13 or row[0] == "symbol" or not row[10]:
            continue
        name = row[1].strip()
        if 4 <= len(name) <= 45 and not re.search(r"\d|%|\bNV?W\b|ETF", name):
            names.add(name)
print("\n".join(sorted(names)))
