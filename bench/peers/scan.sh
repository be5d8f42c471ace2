#!/bin/sh
# Makes a folder of model files and has Redoubt, picklescan, fickling and
# modelscan look at all of them, in one run.
#
#   bench/peers/scan.sh [REDOUBT]
#
# REDOUBT is the binary, by default bin/redoubt. The malicious files are inert
# and come from the generator in supply/scan; the benign ones are written by the
# frameworks (scan_files.py). SCAN_VENV names a virtual environment to keep
# between runs; without it a throw-away one is made. SCAN_TORCH=1 and SCAN_TF=1
# add PyTorch's and TensorFlow's own files, where these are installed in the
# environment: their wheels bring gigabytes along.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$here/../..
redoubt=${1:-$root/bin/redoubt}
if [ ! -x "$redoubt" ]; then
	echo "scan.sh: no binary at $redoubt; run make build, or name it" >&2
	exit 2
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM
venv=${SCAN_VENV:-$work/venv}
if [ ! -x "$venv/bin/python" ] || ! "$venv/bin/python" -c 'import picklescan, fickling, modelscan, sklearn, xgboost, lightgbm' 2>/dev/null; then
	python3 -m venv "$venv"
	"$venv/bin/pip" install --quiet --requirement "$here/scan_requirements.txt" >&2
fi
(cd "$root" && go test ./supply/scan -count=1 -run 'TestWrite$' -write "$work/files" >&2)
"$venv/bin/python" "$here/scan_files.py" "$work/files/frameworks" >&2
"$venv/bin/python" "$here/scan_peers.py" --redoubt "$redoubt" --files "$work/files"
