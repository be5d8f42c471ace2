#!/bin/sh
# Measures the gateway against two handlers that ask the same model, on loopback and
# over TLS (bench/bare): "plain" is what one would write with net/http, encoding/json
# and a run of ONNX Runtime for each call, "bare" has the gateway's own decoder and
# engine, and lacks its guards alone. First as many calls as each answers, then an
# open loop at half of what the gateway can, or at RATE calls a second, which latency
# alone cannot do without. How busy the processors are is printed with each: the
# callers are on the same ones. In the end come the medians of the rounds, with their
# ranges.
#
#   bench/load/run.sh [throughput|latency|soak]      # the first two by default
#
# SECONDS_EACH is how long each measurement takes (10), ROUNDS how often it is
# repeated (3), CALLERS how many call at once (64) and OPEN how many connections the
# open loop has (16), WAIT is what inferences wait for of the audit log: flush, write
# (the default) or none. soak runs for SOAK (30m) at RATE calls a second (500) and
# prints the memory that the server holds every minute. PORT is the first of five that
# are used (19443). SERVER_CPUS and CALLER_CPUS (lists for taskset) keep the servers
# and the generator of the load off each other's processors; the generator runs on
# CALLER_THREADS threads (as many as half of the processors).
set -eu

cd "$(dirname "$0")/../.."
what=${1:-both}
each=${SECONDS_EACH:-10}s rounds=${ROUNDS:-3} callers=${CALLERS:-64} wait=${WAIT:-write} port=${PORT:-19443}
dir=$(mktemp -d)
pids=
server=${SERVER_CPUS:+taskset -c $SERVER_CPUS} caller=${CALLER_CPUS:+taskset -c $CALLER_CPUS}
threads=${CALLER_THREADS:-$((($(nproc) + 1) / 2))}
trap 'kill $pids 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$dir"' EXIT
trap 'exit 1' INT TERM

go build -trimpath -o "$dir/redoubt" ./cmd/redoubt
go build -o "$dir/bare" ./bench/bare
go build -o "$dir/load" ./bench/load
export XDG_CACHE_HOME="${XDG_CACHE_HOME:-$HOME/.cache}"

reachable() { # waits for a server to answer
	n=0
	until curl -sk -o /dev/null "$1"; do
		n=$((n + 1))
		[ $n -lt 100 ] || { echo "nothing answers at $1" >&2; cat "$dir"/*.log >&2; exit 1; }
		sleep 0.1
	done
}

mkdir "$dir/b"
$server "$dir/bare" -listen 127.0.0.1:$port -data "$dir/b" >"$dir/bare.log" 2>&1 &
pids="$pids $!"
reachable https://127.0.0.1:$port/
mkdir "$dir/p"
$server "$dir/bare" -plain -listen 127.0.0.1:$((port + 4)) -data "$dir/p" >"$dir/plain.log" 2>&1 &
pids="$pids $!"
reachable https://127.0.0.1:$((port + 4))/
cat >"$dir/gateway.yaml" <<YAML
data: $dir/g
listen: {rest: "127.0.0.1:$((port + 1))", grpc: "127.0.0.1:$((port + 2))", admin: "127.0.0.1:$((port + 3))"}
limits: {principal: 10000000/hour, address: 10000000/hour, everyone: 10000000/hour, concurrent: 4096, concurrent_each: 4096}
audit: {wait: $wait}
models: [{name: simple, path: $dir/b/simple.onnx, limits: "10000000/hour, 10000000/day"}]
YAML
$server "$dir/redoubt" serve --config "$dir/gateway.yaml" >"$dir/gateway.log" 2>&1 &
served=$!
pids="$pids $served"
reachable https://127.0.0.1:$((port + 1))/v2/health/live
"$dir/redoubt" user add --data "$dir/g" --service ci --role model_user >/dev/null
TOKEN=$("$dir/redoubt" token create --data "$dir/g" --account ci load)
export TOKEN

bare="-url https://127.0.0.1:$port/v2/models/simple/infer -ca $dir/b/tls.crt"
plain="-url https://127.0.0.1:$((port + 4))/v2/models/simple/infer -ca $dir/p/tls.crt"
gateway="-url https://127.0.0.1:$((port + 1))/v2/models/simple/infer -ca $dir/g/tls.crt"
send() {
	before=$(spent)
	GOMAXPROCS=$threads $caller "$dir/load" "$@" <bench/load/simple.json || return
	echo "$before $(spent)" | awk '{ printf "processors %.0f %% busy\n", 100 * ($3 - $1) / ($3 - $1 + $4 - $2) }'
}
spent() { awk '/^cpu /{ print $2 + $3 + $4 + $7 + $8, $5 + $6 }' /proc/stat; } # of time, busy and idle

if [ "$what" = soak ]; then
	send $gateway -rate "${RATE:-500}" -callers 64 -for "${SOAK:-30m}" -watch $served
	exit
fi
send $bare -for 2s >/dev/null
send $plain -for 2s >/dev/null
send $gateway -for 2s >/dev/null
# each server of a round in turn, and what became of it for the summary
round() {
	for server in bare plain gateway; do
		eval "address=\$$server"
		echo "== $server, $*"
		send $address "$@" -for "$each" >"$dir/out" || { cat "$dir/out"; exit 1; }
		cat "$dir/out"
		sed -n 's/.* s, \([0-9]*\) a second.*/\1/p' "$dir/out" >>"$dir/rate.$server"
		sed -n 's/.*p99 \([^ ]*\) .*/\1/p' "$dir/out" | awk '/µs/{ print $0 / 1000; next } /ms/{ print $0 + 0; next } { print $0 * 1000 }' >>"$dir/p99.$server"
	done
}
median() { sort -n | awk '{ v[NR] = $1 } END { printf "%.2f (%.2f to %.2f, %d rounds)", (v[int((NR + 1) / 2)] + v[int(NR / 2) + 1]) / 2, v[1], v[NR], NR }'; }
half=${RATE:-}
[ "$what$half" != latency ] || { echo "latency alone needs RATE" >&2; exit 1; }
if [ "$what" != latency ]; then
	for i in $(seq "$rounds"); do round -callers "$callers"; done
	for base in plain bare; do
		echo "calls a second, gateway to $base: $(paste "$dir/rate.gateway" "$dir/rate.$base" | awk '{ print $1 / $2 }' | median)"
	done
	half=${RATE:-$(sort -n "$dir/rate.gateway" | awk '{ v[NR] = $1 } END { print int(v[int((NR + 1) / 2)] / 2) }')}
	rm "$dir"/p99.*
fi
if [ "$what" != throughput ]; then
	for i in $(seq "$rounds"); do round -rate "$half" -callers "${OPEN:-16}"; done
	for base in plain bare; do
		echo "p99 at $half a second, gateway less $base, ms: $(paste "$dir/p99.gateway" "$dir/p99.$base" | awk '{ print $1 - $2 }' | median)"
	done
fi
