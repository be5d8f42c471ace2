#!/bin/sh
# How many calls MLServer answers with the model that bench/load/run.sh measures,
# in the clear (it needs a proxy for TLS) and without guards.
#
#   bench/peers/mlserver/run.sh [WORKERS]
#
# WORKERS is MLServer's parallel_workers: 0, everything in one process, or more,
# which is its default (1). MLSERVER_VENV keeps the environment for the next run.
# SECONDS_EACH, ROUNDS and CALLERS are as there.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../../.."
dir=$(mktemp -d)
server=
trap 'kill $server 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$dir"' EXIT
trap 'exit 1' INT TERM
venv=${MLSERVER_VENV:-$dir/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"

go build -o "$dir/load" ./bench/load
go run ./bench/bare -write -data "$dir"
cp "$here/onnx_runtime.py" "$dir"
cat >"$dir/settings.json" <<JSON
{"host": "127.0.0.1", "http_port": 19080, "grpc_port": 19081, "metrics_port": 19082, "parallel_workers": ${1:-1}, "debug": false}
JSON
cat >"$dir/model-settings.json" <<JSON
{"name": "simple", "implementation": "onnx_runtime.OnnxModel", "parameters": {"uri": "$dir/simple.onnx", "version": "1"}}
JSON
(cd "$dir" && PATH="$venv/bin:$PATH" exec mlserver start . >"$dir/log" 2>&1) &
server=$!
url=http://127.0.0.1:19080/v2/models/simple
n=0
until curl -sf -o /dev/null $url/ready; do
	n=$((n + 1))
	[ $n -lt 300 ] || { cat "$dir/log" >&2; exit 1; }
	sleep 0.1
done
send() { "$dir/load" -url $url/infer -callers "${CALLERS:-64}" "$@" <bench/load/simple.json; }
send -for 2s >/dev/null
for i in $(seq "${ROUNDS:-3}"); do
	send -for "${SECONDS_EACH:-10}s"
done
