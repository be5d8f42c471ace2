"""Writes stdnum.json: numbers that python-stdnum holds for valid, and such that it
refuses after one sign was changed. Usage: stdnum_vectors.py > stdnum.json"""

import importlib
import json
import random
import re

# Our recogniser: stdnum's module.
MODULES = {
    "credit-card": "luhn:4111111111111111", "iban": "iban", "imei": "imei", "us-ssn": "us.ssn:536904399", "us-itin": "us.itin", "us-aba": "us.rtn",
    "au-tfn": "au.tfn", "au-abn": "au.abn", "au-acn": "au.acn", "de-tax-id": "de.idnr", "de-vat": "de.vat:DE136695976", "es-nif": "es.dni", "es-nie": "es.nie",
    "it-fiscal-code": "it.codicefiscale", "it-vat": "it.iva:00743110157", "fi-hetu": "fi.hetu", "se-personnummer": "se.personnummer", "se-organisationsnummer": "se.orgnr",
    "no-fodselsnummer": "no.fodselsnummer:15108695088", "dk-cpr": "dk.cpr", "pl-pesel": "pl.pesel", "fr-nir": "fr.nir", "nl-bsn": "nl.bsn", "be-nrn": "be.nn:85073003328",
    "pt-nif": "pt.nif:501964843", "ch-ahv": "ch.ssn", "hr-oib": "hr.oib:33392005961", "cz-birth-number": "cz.rc", "ro-cnp": "ro.cnp", "ie-pps": "ie.pps",
    "in-aadhaar": "in_.aadhaar", "in-gstin": "in_.gstin", "kr-rrn": "kr.rrn", "sg-uen": "sg.uen", "th-tnin": "th.pin", "tr-national-id": "tr.tckimlik",
    "cn-id": "cn.ric", "il-id": "il.idnr:039337423", "ca-sin": "ca.sin", "br-cpf": "br.cpf", "br-cnpj": "br.cnpj", "mx-curp": "mx.curp", "cl-rut": "cl.rut:125319092",
    "ar-cuit": "ar.cuit", "za-id": "za.idnr", "uk-nhs": "gb.nhs", "ethereum": None, "bitcoin": "bitcoin",
}

# What stdnum also takes for valid and we do not look for: other lengths, prefixes that
# are not given out, dates that are none.
FORMS = {
    "imei": r"\d{15}$", "us-aba": r"(0[1-9]|1[0-2]|2[1-9]|3[0-2]|6[1-9]|7[0-2]|80)", "it-fiscal-code": r"[A-Z]", "se-organisationsnummer": r"[1-35-9]\d[2-9]", "fr-nir": r"[12]\d\d(0[1-9]|1[0-2])",
    "be-nrn": r"\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|30)", "cz-birth-number": r"\d\d([05][1-9]|[1267][0-2]|[27][1-9]|[38][0-2])\d{6}$", "cn-id": r"\d{6}(18|19|20)", "kr-rrn": r"\d{6}[1-4]", "pt-nif": r"[1-9]", "sg-uen": r"(\d{8}[A-Z]|(18|19|20)\d{7}[A-Z]|[RST])",
}

random.seed(7)


def examples(module, text):
    out = []
    for m in re.finditer(r">>> (?:validate|compact|format|is_valid)\('([^']+)'", text or ""):
        try:
            out.append(module.validate(m.group(1)))
        except Exception:
            pass
    return list(dict.fromkeys(out))


def holds(module, n, form=""):
    try:
        return module.is_valid(n) and bool(re.match(form, n))
    except Exception:  # one of its tables lacks a place
        return None


def changed(number, signs):
    s = list(number)
    for i in random.sample(range(len(s)), min(signs, len(s))):
        if s[i].isdigit():
            s[i] = str((int(s[i]) + random.randrange(1, 10)) % 10)
    return "".join(s)


result = {}
for name, spec in MODULES.items():
    if spec is None:
        continue
    path, _, base = spec.partition(":")
    module = importlib.import_module("stdnum." + path)
    valid = [base] if base and holds(module, base) else examples(module, module.__doc__)
    invalid = []
    tries = 0
    valid = [n for n in valid if re.match(FORMS.get(name, ""), n)]
    seeds = list(valid)
    while seeds and tries < 200000 and (len(valid) < 12 or len(invalid) < 12):
        tries += 1
        n = changed(random.choice(seeds), random.choice([1, 2, 3, 4]))
        if holds(module, n, FORMS.get(name, "")):
            if len(valid) < 12 and n not in valid:
                valid.append(n)
        elif len(invalid) < 12 and valid:  # groups 50 to 65 of ITINs are given out since 2012
            one = changed(random.choice(valid), 1)
            if holds(module, one) is False and not (name == "us-itin" and re.match(r"9\d\d(5|6[0-5])", one)):
                invalid.append(one)
    result[name] = {"valid": valid, "invalid": list(dict.fromkeys(invalid))}
print(json.dumps(result, indent=1))
