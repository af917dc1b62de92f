"""Honest texts of five formats, and attacks on them that no guard is fitted on."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from adwright.audit.attacks.search import templates
from adwright.audit.defences.guard.guard import GuardText, inserted
from adwright.authoring.instructions.sources import read_matches
from benchmarks.audit._unseen_attacks import FLUENT, gradient_strings

#: The merchants whose formats there are.
FORMATS = ("abt-buy", "walmart-amazon", "pricerunner", "dummyjson", "visibility")
#: gradient: what published searches ended in. tokens: random ones of a vocabulary. fluent:
#: families of which the guard knows none. templates: those of the audit's first tier, of families
#: that guards are fitted on, in other words.
ATTACKS = ("gradient", "tokens", "fluent", "templates")
_TOKENS = 25
_READ = ("override", "authority", "fake_review", "flooding", "comparison")


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


@dataclass(frozen=True)
class UnseenAttacks:
    """vocabulary: tokens of a model, each as the text that it stands for."""

    vocabulary: Sequence[str]

    def of(self, texts: Sequence[GuardText], kind: str, seed: int) -> list[GuardText]:
        """Each text with an attack of a kind of `ATTACKS` in it, behind it most often."""
        rng = np.random.default_rng([seed, ATTACKS.index(kind)])
        return [
            replace(one, text=inserted(one.text, self._attack(one, kind, row, rng), rng))
            for row, one in enumerate(texts)
        ]

    def _attack(self, one: GuardText, kind: str, row: int, rng: np.random.Generator) -> str:
        match kind:
            case "gradient":
                strings = gradient_strings()
                return strings[row % len(strings)]
            case "tokens":
                drawn = rng.integers(0, len(self.vocabulary), _TOKENS)
                return "".join(self.vocabulary[at] for at in drawn).strip()
            case "templates":
                some = [text for name in _READ for text in templates()[name]]
                text = some[int(rng.integers(len(some)))]
            case _:
                some = [text for family in FLUENT.values() for text in family]
                text = " ".join(some[at] for at in rng.permutation(len(some))[: rng.integers(1, 3)])
        words = [word for word in one.name.split() if word.isalpha()] or ["product"]
        given = {"name": one.name, "kind": words[-1], "other": "the other", "third": "the third"}
        text = text.format(**given)
        return text.lower() if one.text == one.text.lower() and rng.random() < 0.6 else text
