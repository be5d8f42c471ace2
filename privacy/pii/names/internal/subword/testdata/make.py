"""Makes the tokenizers and the answers that subword_test.go compares with.

    pip install tokenizers==0.23.3 && python make.py

Each answer is what Hugging Face's library says: numbers, and the bytes of the
text that each stands for.
"""
import glob
import json
import os

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

here = os.path.dirname(os.path.abspath(__file__))
lines = []
for path in sorted(glob.glob(os.path.join(here, "../../../train/templates/*.txt"))):
    lines += open(path, encoding="utf-8").read().splitlines()
lines += ["Straße Müller Ærø Łódź Ñandú Ελλάδα Москва 東京 naïve café"] * 4

texts = [
    "", " ", "a", "Hello, my name is Anna Berg.", "ANNA BERG lives in Oslo!", "Dr. J. Müller-Lüdenscheidt, Straße 12",
    "it's don't we'll I'd they've 's ' ''", "  leading and trailing  ", "tabs\tand\nnew\n\nlines \n ", "1234567890 12,5 3.14 €5",
    "東京都 is 日本", "Ελλάδα Αθήνα ΑΘΗΝΑ", "Москва и Санкт-Петербург", "café cafe\u0301 naïve", "İstanbul Iğdır ıI", "e-mail: a.b@c.de (x)",
    "emoji 👩‍👩‍👧 and 🇳🇴", "zero\u200bwidth \u00a0nbsp\u2028sep", "שלום עולם مرحبا", "한국어 가나다", "x" * 120, "y" * 100, "ab " * 50,
    "^^ || ~~ `` $$ ++ == <<>>", "„Anführung“ – ‘so’ … ¿que?", "control\x01\x7f\x85chars", "ﬁ ligature Ⅷ ½ ²", "A\u0300\u0301\u0302B", "ǅ ß ẞ ŉ ΐ",
    "UNKNOWNWORD zzzqqqxxx ☃ snow", "line one\r\nline two\r\n", "name:\t{P}", "don’t O’Brien", "a" * 600 + " b",
]


def offsets(text, spans):
    at = [0]
    for c in text:
        at.append(at[-1] + len(c.encode()))
    return [[at[a], at[b]] for a, b in spans]


def save(name, tokenizer):
    tokenizer.save(os.path.join(here, name + ".json"))
    answers = []
    for text in texts:
        e = tokenizer.encode(text)
        answers.append({"text": text, "ids": e.ids, "offsets": offsets(text, e.offsets)})
    with open(os.path.join(here, name + ".answers.json"), "w", encoding="utf-8") as f:
        rows = (json.dumps(a, ensure_ascii=False, separators=(",", ":")) for a in answers)
        f.write("[\n" + ",\n".join(rows) + "\n]\n")


for name, lower in ("bert-uncased", True), ("bert-cased", False):
    t = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    t.normalizer = normalizers.BertNormalizer(lowercase=lower)
    t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    t.train_from_iterator(lines, trainers.WordPieceTrainer(
        vocab_size=500, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]))
    t.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(s, t.token_to_id(s)) for s in ("[CLS]", "[SEP]")])
    save(name, t)

for name, prefix in ("roberta", False), ("roberta-prefix", True):
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    t.train_from_iterator(lines, trainers.BpeTrainer(
        vocab_size=500, special_tokens=["<s>", "<pad>", "</s>", "<unk>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    t.post_processor = processors.RobertaProcessing(
        ("</s>", t.token_to_id("</s>")), ("<s>", t.token_to_id("<s>")), trim_offsets=False, add_prefix_space=prefix)
    t.decoder = decoders.ByteLevel()
    save(name, t)
