"""A product's name as a plan says it, and the table of a shop's codes.

    naming = Naming(expansions={"plstc": "plastic"})
    found = naming.name(product)
    found.within(30)            # "Bose Acoustimass 5", of "Bose Acoustimass 5 - AM53BK"
    found.why                   # why there is none, such as codes that nobody has expanded

Names of tills are codes ("PLSTC CTLRYTBLCLTH"): words that nobody can say. A table that a person
approves expands them; a product whose name still has one is left out, which is said.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from adwright.authoring.checks.names import (
    WORD,
    code_words,
    full_name,
    is_part_number,
    language_of_product,
    last_forms,
    name_forms,
)
from adwright.authoring.tasks import Product
from adwright.core.atomic import atomic_write_text
from adwright.core.config import read_toml
from adwright.core.errors import FileUnreadableError, SchemaError


@cache
def grammar() -> Mapping[str, Any]:
    """How facts are read and said, and the frames: grammar.toml."""
    return read_toml(Path(__file__).with_name("grammar.toml"))


@dataclass(frozen=True)
class SayableName:
    """forms: the name, then shorter ones, the longest first; none where it cannot be said, and
    `why` says why. last: for where none of these fits. language: of its words, "" where that cannot
    be told."""

    forms: tuple[str, ...]
    language: str = "en"
    why: str = ""
    last: tuple[str, ...] = ()

    def within(self, most: int) -> tuple[str, ...]:
        """Its forms of at most so many characters, the longest first; of the last the longest."""
        found = tuple(one for one in self.forms if len(one) <= most)
        return found or tuple(one for one in self.last if len(one) <= most)[:1]

    def spoken(self, most: int) -> tuple[str, ...]:
        """Those that stand well in a sentence, where there are such: short, without marks and
        numbers of parts."""
        every = self.within(most)
        plain = [one for one in every if len(one) <= _SPOKEN and not _WRITTEN.search(one)]
        best = [one for one in plain if not is_part_number(one.split(" ")[-1])] or plain
        return tuple(best) or every


#: Share and number of the names with a word in which it is the first, for a brand.
_FRONT, _FRONTS = 0.8, 4
#: Characters of a name in a sentence, and marks that such a name should not have.
_SPOKEN = 60
_WRITTEN = re.compile(r"[()\[\]|,;:]|\s[-–—]\s")


@dataclass(frozen=True)
class Naming:
    """Makes names. expansions: what codes mean, in small letters, that a person has approved.
    brands: of the catalogue, with which a name may begin."""

    expansions: Mapping[str, str] = field(default_factory=dict)
    brands: frozenset[str] = frozenset()

    def name(self, product: Product) -> SayableName:
        """The name of a product, in its forms; of one that was `read`."""
        language = language_of_product(product)
        title = full_name(product, language)
        if not any(one.isalpha() for one in title):
            return SayableName((), language, "its name has no word")
        codes = code_words(product.title)
        if codes:
            said = ", ".join(codes[:3])
            why = f"its name has codes that nobody has expanded ({said}): adwright author codes"
            return SayableName((), language, why)
        forms = name_forms(product)
        why = "" if forms else "its name has marks that stand alone"
        return SayableName(forms, language, why, last_forms(product) if forms else ())

    def read(self, product: Product) -> Product:
        """The product with its title's codes in words, and with its brand where its title begins
        with one of the catalogue's."""
        if not product.brand.strip() and self.brands:
            words = product.title.split()
            most = min(len(words) - 1, 3)
            fronts = (" ".join(words[:many]).casefold() for many in range(most, 0, -1))
            own = {one.casefold(): one for one in self.brands if len(one) > 2}
            brand = next((own[one] for one in fronts if one in own), "")
            product = replace(product, brand=brand)
        if not self.expansions:
            return product

        def put(found: re.Match[str]) -> str:
            word = found.group()
            told = self.expansions.get(word.casefold())
            if told is None:
                return word
            return told.upper() if word.isupper() else told

        return replace(product, title=WORD.sub(put, product.title))


def fronts_of(products: Sequence[Product]) -> frozenset[str]:
    """Brands of a catalogue: those that it names, and first words of several names that hardly
    stand anywhere else in one."""
    first: Counter[str] = Counter()
    every: Counter[str] = Counter()
    for product in products:
        words = product.title.casefold().split()
        first.update(words[:1])
        every.update(set(words))
    fronts = (one for one, count in first.items() if count >= max(_FRONT * every[one], _FRONTS))
    named = (product.brand.strip() for product in products)
    return frozenset((*filter(None, named), *(one for one in fronts if one.isalpha())))


# --------------------------------------------------------------------------------------------------
# The table of a shop's codes: proposed from its own names, approved by a person.
#
#     code,expansion,count,approved
#     plstc,plastic,14,yes
#     frzn,frozen,9,

_COLUMNS = ("code", "expansion", "count", "approved")
_YES = frozenset(("yes", "y", "1", "true", "x", "ja", "oui"))


def proposed_codes(products: Sequence[Product]) -> list[tuple[str, str, int]]:
    """(code, what it may mean, in how many names it stands), the most frequent first.

    What it may mean is the commonest word of the catalogue that has all its letters in their
    order and begins with its first; "" where there is none.
    """
    counts: Counter[str] = Counter()
    words: Counter[str] = Counter()
    for product in products:
        codes = {one.casefold() for one in code_words(product.title)}
        counts.update(codes)
        texts = (product.title, product.description[:2000], product.category)
        every = (one.casefold() for text in texts for one in WORD.findall(text))
        words.update(one for one in every if one not in codes and len(one) > 3)
    found = []
    for code, count in counts.most_common():
        letters = re.compile(".*".join(map(re.escape, code)))
        fits = [one for one in words if one[0] == code[0] and letters.match(one)]
        near = [one for one in fits if len(one) <= 2 * len(code) + 1 and one not in counts]
        best = min(near, key=lambda one: (one[-1] != code[-1], -words[one], len(one)), default="")
        found.append((code, best, count))
    return found


def write_codes(path: Path, rows: Sequence[tuple[str, str, int]], kept: Mapping[str, str]) -> None:
    """Write the table for a person to approve; what was approved before stays so."""
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(_COLUMNS)
    for code, expansion, count in rows:
        table.writerow([code, kept.get(code, expansion), count, "yes" if code in kept else ""])
    for code in kept.keys() - {one for one, _, _ in rows}:
        table.writerow([code, kept[code], 0, "yes"])
    atomic_write_text(path, out.getvalue())


def read_codes(path: Path) -> dict[str, str]:
    """The expansions that a person has approved, by their codes in small letters.

    Raises FileUnreadableError where there is no such file, SchemaError without a needed column.
    """
    try:
        rows = list(csv.DictReader(io.StringIO(path.read_text("utf-8-sig"))))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise FileUnreadableError(
            f"the table of codes cannot be read: {error}",
            file=str(path),
            hint="`adwright author codes` writes one",
        ) from error
    missing = [name for name in ("code", "expansion", "approved") if rows and name not in rows[0]]
    if missing:
        raise SchemaError("the table of codes lacks a column", file=str(path), column=missing[0])
    return {
        (row["code"] or "").strip().casefold(): " ".join((row["expansion"] or "").split())
        for row in rows
        if (row["approved"] or "").strip().casefold() in _YES and (row["expansion"] or "").strip()
    }
