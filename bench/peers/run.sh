#!/bin/sh
# Times PGD-40 in ART, Foolbox, torchattacks, adv-lib and Redoubt, and then
# attacks of other kinds in those that have them.
#
#   bench/peers/run.sh [DATA [REDOUBT]]
#
# DATA is the folder with mnist/ and models/, by default where the tests look:
# $REDOUBT_TESTDATA or ../shared/data beside the checkout. REDOUBT is the binary, by
# default bin/redoubt; where there is none, only the peers run.
# PEERS_VENV names a virtual environment to keep between runs (the first
# installation downloads gigabytes); without it a throw-away one is made.
# PEERS_AUTOATTACK names a checkout of fra31/auto-attack, which no package index
# carries; without it AutoAttack has no peer.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$here/../..
data=${1:-${REDOUBT_TESTDATA:-$root/../shared/data}}
redoubt=${2:-}
if [ -z "$redoubt" ] && [ -x "$root/bin/redoubt" ]; then
	redoubt=$root/bin/redoubt
fi
if [ ! -e "$data/models/mnist/mnist_cnn_std_s1.onnx" ]; then
	echo "run.sh: no models/mnist/mnist_cnn_std_s1.onnx in $data; name the folder of the test data" >&2
	exit 2
fi

venv=${PEERS_VENV:-}
if [ -z "$venv" ]; then
	venv=$(mktemp -d)
	trap 'rm -rf "$venv"' EXIT INT TERM
fi
if [ ! -x "$venv/bin/python" ] || ! "$venv/bin/python" -c 'import art, foolbox, torchattacks, adv_lib, onnx' 2>/dev/null; then
	python3 -m venv "$venv"
	PIP_CONSTRAINT=$here/build.txt "$venv/bin/pip" install --quiet --requirement "$here/requirements.txt" >&2
fi

for threads in 1 2; do
	# Waiting threads sleep: on a machine with other work, spinning ones slow
	# PyTorch with two threads down tenfold.
	OMP_WAIT_POLICY=passive OMP_NUM_THREADS=$threads MKL_NUM_THREADS=$threads "$venv/bin/python" "$here/peers.py" \
		--model "$data/models/mnist/mnist_cnn_std_s1.onnx" \
		--images "$data/mnist/t10k-images-idx3-ubyte.gz" \
		--labels "$data/mnist/t10k-labels-idx1-ubyte.gz" \
		--threads $threads ${redoubt:+--redoubt "$redoubt"}
done | "$venv/bin/python" "$here/table.py"

if [ -n "$redoubt" ]; then
	echo
	OMP_WAIT_POLICY=passive OMP_NUM_THREADS=2 MKL_NUM_THREADS=2 PYTHONPATH=${PEERS_AUTOATTACK:-} "$venv/bin/python" "$here/suite.py" \
		--data "$data" --redoubt "$redoubt" --threads 2 | "$venv/bin/python" "$here/suite_table.py"
fi
