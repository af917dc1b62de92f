"""Typed extraction: of a seller's text only facts of the catalogue's schema reach the ranker.

    schema = FactSchema.of(shop.listings)
    ExtractionCleaner(schema).clean(listing)    # "The best! 16 MP, in black" -> "16 mp, black"

Kept are quantities whose unit some attribute of the catalogue has (cups, MP, GB), colours and
materials out of the tables of `metrics.text`, and values that at least two products of the
catalogue have in one attribute (a genre, a category). All else is left out, whatever it says: an
order or a claim to be the best has no type. Where a product's own attributes state the same kind of
quantity, only an equal one is kept.

What passes is still a claim: "64 GB" is a fact in form, and false or true. So what is kept counts
as text, under the bound of a certificate.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from adwright.audit.catalogue.listing import ShopListing
from adwright.audit.defences.normalise import normalised
from adwright.core.errors import DataError
from adwright.metrics.text.mentions import Mention, brand_table, lexicon, scan
from adwright.metrics.text.words import words_of

#: Products that share a value of an attribute, from which on it is a category.
_SHARED = 2
#: Words of a category, and characters of one written fact.
_MOST_WORDS, _MOST_WRITTEN = 4, 24
#: Facts of a text; a flood of them is cut.
_MOST_FACTS = 12
_BLANK = re.compile(r"\s+")

Quantity = tuple[Fraction, str]


@dataclass(frozen=True)
class FactSchema:
    """families: kinds of quantities that attributes of the catalogue have. categories: values that
    several of its products share, as words."""

    families: frozenset[str]
    categories: frozenset[tuple[str, ...]]

    @classmethod
    def of(cls, listings: Sequence[ShopListing]) -> FactSchema:
        """What the attributes of these listings are like; texts say nothing here. Raises DataError
        where no listing has an attribute."""
        families: set[str] = set()
        shared: defaultdict[str, Counter[tuple[str, ...]]] = defaultdict(Counter)
        for one in listings:
            families.update(family for _, family in _stated(one))
            for name, value in one.attributes.items():
                words = tuple(words_of(value)) if isinstance(value, str) else ()
                if 0 < len(words) <= _MOST_WORDS and not any(map(str.isdigit, words)):
                    shared[name][words] += 1
        if not any(one.attributes for one in listings):
            raise DataError(
                "no listing has an attribute, so that there is no schema",
                hint="say which columns are facts of the shop",
            )
        categories = {
            words for some in shared.values() for words, count in some.items() if count >= _SHARED
        }
        return cls(frozenset(families), frozenset(categories))


def extracted(text: str, schema: FactSchema, listing: ShopListing | None = None) -> tuple[str, ...]:
    """The facts of a text, each once, in its order. listing: whose attributes a quantity must not
    contradict."""
    plain = normalised(text).text
    stated: defaultdict[str, set[Fraction]] = defaultdict(set)
    for value, family in _stated(listing) if listing is not None else ():
        stated[family].add(value)
    found: list[tuple[int, str]] = []
    for mention in scan(plain, lexicon("en"), brand_table(frozenset())).mentions:
        match mention.kind:
            case "number" if (fact := _quantity(mention)) and fact[1] in schema.families:
                agrees = fact[1] not in stated or fact[0] in stated[fact[1]]
                written = _BLANK.sub(" ", plain[mention.start : mention.end]).lower()
                if agrees and len(written) <= _MOST_WRITTEN:
                    found.append((mention.start, written))
            case "colour" | "material" if isinstance(mention.keys[0], str):
                found.append((mention.start, mention.keys[0]))
    found += _categories(plain, schema)
    kept = dict.fromkeys(written for _, written in sorted(found))
    return tuple(kept)[:_MOST_FACTS]


@dataclass(frozen=True)
class ExtractionCleaner:
    """The defence by itself."""

    schema: FactSchema

    @property
    def name(self) -> str:
        """Of the defence."""
        return "typed extraction"

    def clean(self, listing: ShopListing) -> ShopListing:
        """The listing with the facts of its texts in their place."""
        for field, text in listing.texts.items():
            listing = listing.with_text(field, ", ".join(extracted(text, self.schema, listing)))
        return listing


def _stated(listing: ShopListing) -> Iterator[Quantity]:
    """The quantities of its attributes."""
    for name, value in listing.attributes.items():
        if value is None or isinstance(value, bool):
            continue
        # "Capacity: 4 cups" and "Weight (kg): 4" alike.
        for mention in scan(f"{name}: {value}", lexicon("en"), brand_table(frozenset())).mentions:
            fact = _quantity(mention)
            if fact is not None:
                yield fact


def _quantity(mention: Mention) -> Quantity | None:
    """Value and kind of a number with a unit that is no price."""
    key = mention.keys[0]
    if mention.kind != "number" or not isinstance(key, tuple) or len(key) != 2:
        return None
    value, family = key
    if not isinstance(value, Fraction) or not isinstance(family, str) or not family:
        return None
    return value, family


def _categories(text: str, schema: FactSchema) -> Iterator[tuple[int, str]]:
    """Where in the text, and which."""
    lower = text.lower()
    said = set(words_of(text))
    for words in sorted(schema.categories):
        if said.issuperset(words):
            pattern = r"\W{1,3}".join(map(re.escape, words))
            place = re.search(rf"(?<!\w){pattern}(?!\w)", lower)
            if place:
                yield place.start(), " ".join(words)
