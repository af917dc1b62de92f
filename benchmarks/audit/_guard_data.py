"""Honest texts of five formats."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from adwright.audit.defences.guard.guard import GuardText
from benchmarks.common.matches import read_matches

#: The merchants whose formats there are.
FORMATS = ("abt-buy", "walmart-amazon", "pricerunner", "dummyjson", "visibility")
#: A text, and the product that it shares with others in other words.
Clustered = tuple[str, GuardText]


def honest_texts(data: Path) -> dict[str, list[Clustered]]:
    """The texts of each format, in the order of its files, each with its product."""
    return {name: list(_READERS[name](data / name)) for name in FORMATS}


def _rest(fields: Mapping[str, object], text: str) -> str:
    return " ".join(str(value) for name, value in fields.items() if name != text and value)


def _abt(folder: Path) -> Iterator[Clustered]:
    for one in read_matches(folder):
        if len(text := one.fields.get("description", "")) > 20:
            rest = _rest(one.fields, "description")
            name = one.fields.get("name", "")
            yield one.cluster, GuardText(text, rest, name, "abt-buy", "description")


def _walmart(folder: Path) -> Iterator[Clustered]:
    for one in read_matches(folder):
        if text := one.fields.get("title", ""):
            rest = _rest(one.fields, "title")
            yield one.cluster, GuardText(text, rest, text, "walmart-amazon", "title")


def _pricerunner(folder: Path) -> Iterator[Clustered]:
    with (folder / "offers.csv").open(encoding="utf-8", newline="") as stream:
        for row in csv.reader(stream):
            if len(row) == 7 and row[0].isdecimal():
                yield row[3], GuardText(row[1], row[6], row[4], "pricerunner", "title")


def _dummyjson(folder: Path) -> Iterator[Clustered]:
    keys = ("title", "brand", "category", "price", "warrantyInformation", "shippingInformation")
    for one in json.loads((folder / "products.json").read_text("utf-8")):
        rest = " ".join(str(one.get(key, "")) for key in keys)
        text = GuardText(one["description"], rest, one["title"], "dummyjson", "description")
        yield one["title"], text


def _visibility(folder: Path) -> Iterator[Clustered]:
    for name in ("books", "cameras", "coffee_machines", "election_articles"):
        for line in (folder / f"{name}.jsonl").read_text("utf-8").splitlines():
            fields = json.loads(line)
            for field in ("Description", "Ideal For"):
                if field in fields:
                    rest = _rest(fields, field)
                    text = GuardText(fields[field], rest, fields["Name"], "visibility", field)
                    yield fields["Name"], text


_READERS = {
    "abt-buy": _abt,
    "walmart-amazon": _walmart,
    "pricerunner": _pricerunner,
    "dummyjson": _dummyjson,
    "visibility": _visibility,
}
