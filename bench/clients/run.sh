#!/bin/sh
# Runs the Python clients of Triton and KServe against a gateway.
#
#   bench/clients/run.sh --http HOST:PORT --grpc HOST:PORT --token-file FILE [--ca FILE] [--only WORD]
#
# The gateway must serve the models of Triton's examples: simple,
# simple_string, simple_identity, identity_fp32 and identity_fp16 (README.md).
# CLIENTS_VENV names a virtual environment to keep between runs; without it a
# throw-away one is made.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
venv=${CLIENTS_VENV:-}
if [ -z "$venv" ]; then
	venv=$(mktemp -d)
	trap 'rm -rf "$venv"' EXIT
fi
if [ ! -x "$venv/bin/python" ]; then
	python3 -m venv "$venv"
fi
"$venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"
status=0
"$venv/bin/python" "$here/with_triton.py" "$@" || status=1
"$venv/bin/python" "$here/with_kserve.py" "$@" || status=1
exit $status
