#!/bin/sh
# Pipes generated text into "pii scan -" and prints, for each gigabyte that it has read,
# the memory that it holds (Linux: /proc).
#
#   bench/pii/memory.sh [GIGABYTES]      # 10 by default
#
# FLAGS are more flags of the scan (--no-names), KIND is text, or line for text without
# an end of a line.
set -eu

cd "$(dirname "$0")/../.."
total=${1:-10} flags=${FLAGS:---no-names} kind=${KIND:-text}
dir=$(mktemp -d)
pid=
trap 'kill $pid 2>/dev/null || true; rm -rf "$dir"' EXIT
trap 'exit 1' INT TERM

go build -trimpath -o "$dir/redoubt" ./cmd/redoubt
mkfifo "$dir/in"
text="Note of the day: from mail.example.com ([64.161.22.236]) by relay.example.net; Wed, 11 Sep 2002 17:39:21 +0100. Dear all, please call 541-714-1388 before the weekend, and do not forget that all of us have to bring something along: last year there was nothing left for those who came late, and nobody wants to see that again. Write to bob@example.com about order 20020911-77; the card 4111 1111 1111 1111 was charged 12.50. So much for today; the rest of it can wait until we meet, as it has waited for so long."
if [ "$kind" = line ]; then
	yes "$text" | tr '\n' ' ' | head -c "$total"G >"$dir/in" &
else
	yes "$text" | head -c "$total"G >"$dir/in" &
fi
"$dir/redoubt" pii scan - --json --quiet $flags <"$dir/in" >/dev/null &
pid=$!
start=$(date +%s)
next=0
while [ -r /proc/$pid/io ]; do
	# What is read is empty when the process ends between the test and the reading.
	read=$(awk '/^rchar/ { print int($2 / 1e9) }' /proc/$pid/io 2>/dev/null || true)
	held=$(awk '/^VmRSS/ { print int($2 / 1024) }' /proc/$pid/status 2>/dev/null || true)
	if [ -n "$read" ] && [ -n "$held" ] && [ "$read" -ge "$next" ]; then
		echo "$read GB read, $held MB held, $(($(date +%s) - start)) s"
		next=$((read + 1))
	fi
	sleep 0.2
done
wait $pid
