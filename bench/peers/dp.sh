#!/bin/sh
# Times grouped sums under differential privacy in diffprivlib, PipelineDP's local
# runner and Redoubt, one job in one run; see dp.py.
#
#   bench/peers/dp.sh [REDOUBT [ROWS]]
#
# REDOUBT is the binary, by default bin/redoubt; ROWS by default a million and
# ten million, which take PipelineDP minutes and gigabytes. DP_VENV names a virtual
# environment to keep between runs; without it a throw-away one is made.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
redoubt=${1:-$here/../../bin/redoubt}
if [ ! -x "$redoubt" ]; then
	echo "dp.sh: no binary at $redoubt: run make build, or name it" >&2
	exit 2
fi
venv=${DP_VENV:-}
if [ -z "$venv" ]; then
	venv=$(mktemp -d)
	trap 'rm -rf "$venv"' EXIT INT TERM
fi
if ! "$venv/bin/python" -c 'import diffprivlib, pipeline_dp, pyarrow' 2>/dev/null; then
	python3 -m venv "$venv"
	"$venv/bin/pip" install --quiet --requirement "$here/dp_requirements.txt" >&2
fi
for rows in ${2:-1000000 10000000}; do
	"$venv/bin/python" "$here/dp.py" --redoubt "$redoubt" --rows "$rows"
	echo
done
