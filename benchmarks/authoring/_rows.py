"""The rows of authoring.json: seven parts to tune on, and one that nothing is tuned on.

    part = part_named("pricerunner")
    rows = rows_of(part)             # train, valid, test: examples
    rows.train[0].request.product

A cluster of products is on one side in all parts, and a training row whose title is nearly that of
a row to test with is left out. Which rows are taken is drawn once, whatever the seed of a training.

    pricerunner   10 categories, one offer of each product
    walmart       14 categories of Walmart and Amazon, those with 100 products or more
    intent        IntentionQA, cleaned: why two products were bought together, one of four reasons
    attributes    AE-110k: names and values out of a title
    descriptions  Abt-Buy, as people wrote them, with what the title lacks as an attribute Details,
                  so that a model learns to tell facts and not to make them up; up to 60 words
    ads, answers  put together from Walmart-Amazon's products without a model, see
                  `instructions.recombine`
    titles        the same; kept out of every tuning, for what a model does without it
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np

from adwright.authoring.instructions.build import Side, split_of
from adwright.authoring.instructions.recombine import recombined
from adwright.authoring.instructions.rows import AuthoringExample, facts_of, with_details
from adwright.authoring.instructions.sources import (
    Listing,
    categorised_products,
    described_products,
    intentions,
    pricerunner,
    product_of,
    read_matches,
    title_attributes,
)
from adwright.authoring.tasks import Form, task_named
from adwright.core.hashing import content_hash
from adwright.metrics.text.grounding import grounded

_VALID, _TEST = 0.1, 0.25
_LEAST_PRODUCTS = 100
_MOST_WORDS = 60
#: Share of the words of two titles from which on they are nearly the same.
_ALIKE = 0.8
Examples = tuple[AuthoringExample, ...]


@dataclass(frozen=True)
class Part:
    """train, valid, test: rows at most. tokens: of an answer at most, for what is generated. limit:
    of a platform, see `checks.limits`, which what is generated should keep."""

    name: str
    form: Form
    train: int
    valid: int
    test: int
    tokens: int = 0
    limit: str = ""


#: Short answers of closed lists learn from many rows, which are cheap: 39 tokens each.
PARTS: tuple[Part, ...] = (
    Part("pricerunner", "label", 2200, 80, 300),
    Part("walmart", "label", 480, 40, 120),
    Part("intent", "label", 540, 60, 240),
    Part("attributes", "pairs", 450, 60, 150, 48),
    Part("descriptions", "text", 350, 50, 150, 72),
    Part("ads", "text", 200, 40, 150, 48, "meta.primary"),
    Part("answers", "text", 200, 40, 100, 48),
    Part("titles", "text", 0, 0, 150, 40, "amazon.title"),
)
#: What is tuned on.
TUNED: tuple[Part, ...] = tuple(part for part in PARTS if part.train)


@dataclass(frozen=True)
class Rows:
    """The three sides of a part."""

    train: Examples
    valid: Examples
    test: Examples


def part_named(name: str) -> Part:
    """The part of that name; KeyError where there is none."""
    return {part.name: part for part in PARTS}[name]


@cache
def rows_of(part: Part) -> Rows:
    """The rows of a part."""
    order = np.random.default_rng(0)
    every = sorted(_READERS[part.name](), key=lambda one: one.request.product.id)
    drawn = [every[at] for at in order.permutation(len(every)).tolist()]
    if part.name == "pricerunner":
        drawn = list({one.cluster: one for one in drawn}.values())
    sides: dict[Side, list[AuthoringExample]] = {"train": [], "valid": [], "test": []}
    for one in drawn:
        # What is not tuned on is the same catalogue's, so that its products are test ones, too.
        sides[split_of(one.cluster, seed=0, valid=_VALID, test=_TEST)].append(one)
    test, valid = sides["test"][: part.test], sides["valid"][: part.valid]
    train = _apart(sides["train"], [*valid, *test], part.train)
    return Rows(tuple(train), tuple(valid), tuple(test))


def data_hash() -> str:
    """Hash of all rows."""
    return content_hash(
        [
            [part.name, side, [[one.request.product.id, one.answer] for one in rows]]
            for part in PARTS
            for side, rows in vars(rows_of(part)).items()
        ]
    )


def _apart(
    train: Iterable[AuthoringExample], held: Sequence[AuthoringExample], most: int
) -> list[AuthoringExample]:
    """The first `most` whose title is not nearly one of those held out."""
    titles = [_words(one) for one in held]
    found: list[AuthoringExample] = []
    for one in train:
        if len(found) == most:
            break
        own = _words(one)
        if not any(len(own & other) >= _ALIKE * len(own | other) for other in titles):
            found.append(one)
    return found


def _words(example: AuthoringExample) -> frozenset[str]:
    given = " ".join(value for _, value in example.request.values if example.source == "intention")
    return frozenset(f"{example.request.product.title} {given}".casefold().split())


def _described() -> Iterator[AuthoringExample]:
    for example in described_products(_data() / "abt-buy"):
        if len(example.answer.split()) > _MOST_WORDS:
            continue
        detailed = with_details(example)
        if grounded(detailed.answer, facts_of(detailed.request)):
            yield detailed


def _recombined(task: str) -> Callable[[], Iterator[AuthoringExample]]:
    def made() -> Iterator[AuthoringExample]:
        for record in read_matches(_data() / "walmart-amazon"):
            product = product_of(record)
            category = record.fields.get("category", "").strip()
            product = replace(product, category=category, currency="USD" if product.price else "")
            listing = Listing(product, record.cluster, record.source)
            example = recombined(listing, task_named(task)) if product.title else None
            if example is not None and grounded(example.answer, facts_of(example.request)):
                yield example

    return made


def _attributes() -> Iterator[AuthoringExample]:
    for name in ("train", "test"):
        yield from title_attributes(_data() / "attributes" / f"{name}.jsonl")


def _data() -> Path:
    return Path(os.environ["ADWRIGHT_DATA"])


_READERS: dict[str, Callable[[], Iterator[AuthoringExample]]] = {
    "pricerunner": lambda: pricerunner(_data() / "pricerunner" / "offers.csv"),
    "walmart": lambda: categorised_products(_data() / "walmart-amazon", least=_LEAST_PRODUCTS),
    "intent": lambda: intentions(_data() / "intention" / "task1.jsonl"),
    "attributes": _attributes,
    "descriptions": _described,
    "ads": _recombined("ads"),
    "answers": _recombined("answers"),
    "titles": _recombined("titles"),
}
