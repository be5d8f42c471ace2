#!/bin/sh
# Measures the gateway against two handlers that ask the same model, on loopback and
# over TLS (bench/bare): "plain" is what one would write with net/http, encoding/json
# and a run of ONNX Runtime for each call, "bare" has the gateway's own decoder and
# engine, and lacks its guards alone. First as many calls as each answers, then two
# open loops, as "half load" may mean either: one at the rate at which the gateway
# keeps the processors half busy, and one at half of what it answered before, where
# they are three quarters busy or more, since calls that wait are answered together
# and cost less. RATE, in calls a second, takes the place of both. How busy the
# processors are is printed with each, the server's if it has its own: otherwise the
# callers are on the same. In the end come the medians of the rounds, with what they
# are at 95 % confidence (the order statistics of a binomial, from six rounds on) and
# the rounds' ranges.
#
# On a virtual machine the host takes processors away now and then, for milliseconds,
# and a call of three processes meets that more often than one of two: where more than
# half of the hundredth that p99 leaves out is stolen, it tells of the host. So what is
# added comes twice, of all rounds and of those in which at most 0.5 % of the
# processors' time was stolen, each server's own: of a server that had fewer than half
# of its rounds so, more are taken, at most as many again. Those have no pairs, so what
# is added is the median of all differences between one server's and the other's (Hodges
# and Lehmann), and its interval the one that goes with Mann and Whitney's test.
#
#   bench/load/run.sh [throughput|latency|proxy|soak]      # the first two by default
#
# proxy measures both for a gateway in front of bare, which asks it over TLS, against
# bare itself, and against net/http's reverse proxy in front of it ("reverse"), which is
# the hop alone.
#
# SECONDS_EACH is how long each measurement takes (10), ROUNDS how often it is
# repeated (3), CALLERS how many call at once (64), WAIT is what inferences wait for
# of the audit log: flush, write (the default) or none. Many short rounds are better
# than few long ones on a machine whose speed changes. soak runs for SOAK (30m) at RATE
# calls a second (500) and prints the memory that the server holds every minute. PORT
# is the first of five that are used (19443). SERVER_CPUS and CALLER_CPUS (as in 0-3,5)
# keep the servers and the generator of the load off each other's processors.
set -eu

cd "$(dirname "$0")/../.."
what=${1:-both}
each=${SECONDS_EACH:-10}s rounds=${ROUNDS:-3} callers=${CALLERS:-64} wait=${WAIT:-write} port=${PORT:-19443}
dir=$(mktemp -d)
pids=
server=${SERVER_CPUS:+taskset -c $SERVER_CPUS} caller=${CALLER_CPUS:+taskset -c $CALLER_CPUS}
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
kind=-plain
[ "$what" != proxy ] || kind="-reverse https://127.0.0.1:$port -ca $dir/b/tls.crt"
$server "$dir/bare" $kind -listen 127.0.0.1:$((port + 4)) -data "$dir/p" >"$dir/other.log" 2>&1 &
pids="$pids $!"
reachable https://127.0.0.1:$((port + 4))/
listen="rest: '127.0.0.1:$((port + 1))', grpc: '127.0.0.1:$((port + 2))', admin: '127.0.0.1:$((port + 3))'"
model="path: $dir/b/simple.onnx"
if [ "$what" = proxy ]; then
	model="upstream: 'https://127.0.0.1:$port/v2/models/simple', ca: $dir/b/tls.crt"
fi
cat >"$dir/gateway.yaml" <<YAML
data: $dir/g
listen: {$listen}
limits: {principal: 10000000/hour, address: 10000000/hour, everyone: 10000000/hour, concurrent: 4096, concurrent_each: 4096}
audit: {wait: $wait}
models: [{name: simple, $model, limits: "10000000/hour, 10000000/day"}]
YAML
$server "$dir/redoubt" serve --config "$dir/gateway.yaml" >"$dir/gateway.log" 2>&1 &
served=$!
pids="$pids $served"
reachable https://127.0.0.1:$((port + 1))/v2/health/live
"$dir/redoubt" user add --data "$dir/g" --service ci --role model_user >/dev/null
TOKEN=$("$dir/redoubt" token create --data "$dir/g" --account ci load)
export TOKEN

bare="-url https://127.0.0.1:$port/v2/models/simple/infer -ca $dir/b/tls.crt"
other="-url https://127.0.0.1:$((port + 4))/v2/models/simple/infer -ca $dir/p/tls.crt"
gateway="-url https://127.0.0.1:$((port + 1))/v2/models/simple/infer -ca $dir/g/tls.crt"
servers=$(echo $pids | tr ' ' ,)
send() { $caller "$dir/load" -servers "$servers" "$@" <bench/load/simple.json; }

if [ "$what" = soak ]; then
	send $gateway -rate "${RATE:-500}" -callers 64 -for "${SOAK:-30m}" -watch $served
	exit
fi
send $bare -for 2s >/dev/null
send $other -for 2s >/dev/null
send $gateway -for 2s >/dev/null
busy() { sed -n 's/processors \([0-9]*\) % busy.*/\1/p'; }
rate() { sed -n 's/.* s, \([0-9]*\) a second.*/\1/p'; }
median() {
	sort -g | awk '{ v[NR] = $1 } END {
		printf "%.2f (", (v[int((NR + 1) / 2)] + v[int(NR / 2) + 1]) / 2
		p = below = exp(-NR * log(2)) # that fewer than k rounds lie below the median, which is to be 2.5 % at most
		for (k = 0; below <= 0.025; below += p) { k++; p *= (NR - k + 1) / k }
		if (k > 0) printf "95 %% confidence %.2f to %.2f; ", v[k], v[NR + 1 - k]
		printf "%.2f to %.2f, %d rounds)", v[1], v[NR], NR
	}'
}
# undisturbed SERVER BASE: what one adds to the p99 of the other
undisturbed() {
	paste "$dir/stolen.$1" "$dir/p99.$1" "$dir/stolen.$2" "$dir/p99.$2" | awk -F'\t' '
		$1 != "" && $1 <= 0.5 { a[m++] = $2 }
		$3 != "" && $3 <= 0.5 { b[n++] = $4 }
		END {
			for (i = 0; i < m; i++) for (j = 0; j < n; j++) print a[i] - b[j], m, n
		}' | sort -g | awk '{ v[NR] = $1; m = $2; n = $3 } END {
		if (!NR) { print "there were none"; exit }
		printf "%.2f (", (v[int((NR + 1) / 2)] + v[int(NR / 2) + 1]) / 2
		k = int(NR / 2 - 1.96 * sqrt(NR * (m + n + 1) / 12))
		if (k > 0) printf "95 %% confidence %.2f to %.2f; ", v[k], v[NR + 1 - k]
		printf "%d rounds and %d)", m, n
	}'
}
plain=$other reverse=$other bases="plain bare"
[ "$what" != proxy ] || bases="reverse bare"
# measure SERVER ...: one round of it, and what became of it for the summary
measure() {
	server=$1
	shift
	eval "address=\$$server"
	echo "== $server, $*"
	send $address "$@" -callers "$callers" -for "$each" >"$dir/out" || { cat "$dir/out"; exit 1; }
	cat "$dir/out"
	rate <"$dir/out" >>"$dir/rate.$server"
	busy <"$dir/out" >>"$dir/busy.$server"
	sed -n 's/.* busy, \([0-9.]*\) % stolen/\1/p' "$dir/out" >>"$dir/stolen.$server"
	sed -n 's/.*p99 \([^ ]*\) .*/\1/p' "$dir/out" | awk '/µs/{ print $0 / 1000; next } /ms/{ print $0 + 0; next } { print $0 * 1000 }' >>"$dir/p99.$server"
}
# each server of a round in turn
round() {
	for server in $bases gateway; do measure $server "$@"; done
}
# more rounds of servers that the host disturbed
again() {
	for server in $bases gateway; do
		for i in $(seq "$rounds"); do
			[ $((2 * $(awk '$1 <= 0.5' "$dir/stolen.$server" | wc -l))) -lt "$rounds" ] || break
			measure $server "$@"
		done
	done
}
if [ "$what" != latency ] && [ "$what${RATE:+ at a rate}" != "proxy at a rate" ]; then
	for i in $(seq "$rounds"); do round; done
	for base in $bases; do
		echo "calls a second, gateway to $base: $(paste "$dir/rate.gateway" "$dir/rate.$base" | awk '{ print $1 / $2 }' | median)"
	done
fi
# the rate at which the gateway keeps the processors half busy, below one that does not
half() {
	low=0 high=$1
	for i in 1 2 3 4 5 6; do
		rate=$(((low + high) / 2))
		if [ "$(send $gateway -rate $rate -for 2s -callers "$callers" | busy)" -lt 50 ]; then low=$rate; else high=$rate; fi
	done
	echo $(((low + high) / 2))
}
# latency RATE WHICH
latency() {
	rm -f "$dir"/p99.* "$dir"/busy.* "$dir"/stolen.*
	for i in $(seq "$rounds"); do round -rate "$1"; done
	for server in $bases gateway; do cp "$dir/p99.$server" "$dir/pairs.$server"; done
	again -rate "$1"
	for base in $bases; do
		echo "p99 at $1 a second, $2, gateway less $base, ms: $(paste "$dir/pairs.gateway" "$dir/pairs.$base" | awk '{ print $1 - $2 }' | median)"
		echo "    in rounds with at most 0.5 % stolen: $(undisturbed gateway $base)"
	done
	for server in $bases gateway; do
		echo "processors busy at $1 a second with $server, %: $(median <"$dir/busy.$server")"
		echo "processors stolen at $1 a second with $server, %: $(median <"$dir/stolen.$server")"
	done
}
if [ "$what" = throughput ]; then
	exit
fi
if [ -n "${RATE:-}" ]; then
	latency "$RATE" "as asked"
else
	[ -s "$dir/rate.gateway" ] || send $gateway -for 5s -callers "$callers" | rate >"$dir/rate.gateway"
	most=$(median <"$dir/rate.gateway" | sed 's/\..*//')
	latency "$(half "$most")" "processors half busy"
	latency $((most / 2)) "half of the most"
fi
