"""Examples out of public data sets, from files that the user has and points at.

    examples = list(pricerunner("offers.csv"))                    # classification
    examples = list(intentions("task1.jsonl"))                    # intent
    examples = list(title_attributes("train.jsonl"))              # attributes out of titles
    examples = list(described_products("abt-buy"))                # descriptions
    examples = list(categorised_products("walmart-amazon"))       # classification

The forms are those in which the sets are published, and any file of the same form can be read:
PriceRunner's offers (UCI product classification and clustering), IntentionQA, AE-110k as processed
for ExtractGPT, Abt-Buy and Walmart-Amazon in DeepMatcher's records. Rows that cannot be used, such
as a question with three options, are left out and counted in `skipped`; a row that has not the form
of the file raises DataError with its number.
"""

from __future__ import annotations

import csv
import html
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from adwright.authoring.instructions.rows import AuthoringExample
from adwright.authoring.instructions.sources.match_records import MatchRecord, read_matches
from adwright.authoring.instructions.sources.products import Listing
from adwright.authoring.tasks.answers import pairs_text
from adwright.authoring.tasks.product import Product
from adwright.authoring.tasks.task import PAIRS_TASK, AuthoringRequest, task_named
from adwright.core.errors import DataError, FileUnreadableError

#: How many rows were left out, by reason.
Skipped = Counter[str]

_OFFER_FIELDS = 7
_OPTIONS = 4
_ABSENT = "n/a"


def pricerunner(path: str | Path, *, skipped: Skipped | None = None) -> Iterator[AuthoringExample]:
    """Offers with their category, out of `offers.csv`: id, title, merchant, cluster, name of the
    cluster, category id, category, without a header.

    The labels are all categories of the file, sorted. The cluster is the product. The file is read
    twice, row by row.
    """
    labels = tuple(sorted({row[6].strip() for _, row in _offers(path)}))
    for _, row in _offers(path):
        if not row[1].strip():
            _count(skipped, "no title")
            continue
        listing = _offered(row)
        request = AuthoringRequest(task_named("classify"), listing.product, (), labels)
        yield AuthoringExample(request, row[6].strip(), listing.cluster, listing.source)


def pricerunner_listings(path: str | Path) -> Iterator[Listing]:
    """The offers of the same file as products; the name of the cluster, as a shop for comparison
    has it, is what a customer searches."""
    return (_offered(row) for _, row in _offers(path) if row[1].strip())


def intentions(path: str | Path, *, skipped: Skipped | None = None) -> Iterator[AuthoringExample]:
    """Questions why two products were bought together, out of IntentionQA's `task1.jsonl`.

    The first product is the one that is bought, and the second the customer's behaviour. Left out:
    questions with fewer than four different options, and those that are flagged as having a second
    right one. A cluster holds all products that are linked by questions.
    """
    rows = [(number, row) for number, row in _json_rows(path)]
    groups = _Groups()
    for number, row in rows:
        first, second = (_need(row, key, str, path, number) for key in ("item_a_id", "item_b_id"))
        groups.join(first, second)
    for number, row in rows:
        options = _need(row, "options", dict, path, number)
        right = _need(row, "gold_ind", str, path, number)
        labels = tuple(_capital(str(one)) for one in options.values())
        if row.get("hadFalseNegative"):
            _count(skipped, "flagged as having a second right option")
        elif len(labels) < _OPTIONS or len({one.casefold() for one in labels}) < len(labels):
            _count(skipped, "fewer than four different options")
        elif right not in options:
            _count(skipped, "the right option is not there")
        else:
            first, second = (
                html.unescape(_need(row, key, str, path, number)).strip()
                for key in ("item_a_name", "item_b_name")
            )
            product = Product(f"intention-{row.get('id', number)}", first)
            values = (("behaviour", f"also bought {second}"),)
            request = AuthoringRequest(task_named("intent"), product, values, labels)
            cluster = f"intention-{groups.of(row['item_a_id'])}"
            yield AuthoringExample(request, _capital(str(options[right])), cluster, "intention")


def title_attributes(
    path: str | Path, *, skipped: Skipped | None = None
) -> Iterator[AuthoringExample]:
    """Titles with the attributes in them, out of AE-110k in ExtractGPT's JSON lines: `input`,
    `category`, `target_scores` {name: {value: 1}}, where the value "n/a" is none.

    Left out: titles without an attribute. The set has no products: titles that begin with the same
    four words make a cluster.
    """
    for number, row in _json_rows(path):
        title = html.unescape(_need(row, "input", str, path, number)).strip()
        pairs = tuple(
            (name.strip(), html.unescape(value).strip())
            for name, values in _need(row, "target_scores", dict, path, number).items()
            for value in values
            if value.strip().casefold() != _ABSENT and value.strip() and name.strip()
        )
        if not pairs or not title:
            _count(skipped, "no attribute")
            continue
        category = row.get("category")
        product = Product(
            f"attributes-{Path(path).stem}-{number}",
            title,
            category=category if isinstance(category, str) else "",
            attributes=pairs,
        )
        request = AuthoringRequest(PAIRS_TASK, product)
        cluster = " ".join(title.casefold().split()[:4])
        yield AuthoringExample(request, pairs_text(pairs), f"attributes-{cluster}", "attributes")


def described_products(
    path: str | Path, *, shortest: int = 40, skipped: Skipped | None = None
) -> Iterator[AuthoringExample]:
    """Products with their descriptions, out of Abt-Buy: a folder of files of matches, or one file.

    A description loses the title that it repeats at its beginning. Left out: products whose
    description is then shorter than `shortest` characters. Matched products are one cluster.
    """
    for record in read_matches(path):
        product, text = _described(record)
        if len(text) < shortest:
            _count(skipped, "no description")
            continue
        request = AuthoringRequest(task_named("descriptions"), product)
        yield AuthoringExample(request, text, record.cluster, record.source)


def categorised_products(
    path: str | Path, *, least: int = 20, skipped: Skipped | None = None
) -> Iterator[AuthoringExample]:
    """Products with their category, out of Walmart-Amazon: a folder of files of matches, or one.

    Both shops name categories in their own way; the labels are those with at least `least`
    products, and products of others are left out. Matched products are one cluster.
    """
    records = [one for one in read_matches(path) if one.fields.get("title", "").strip()]
    counts = Counter(one.fields.get("category", "").strip() for one in records)
    labels = tuple(sorted(name for name, count in counts.items() if name and count >= least))
    for record in records:
        category = record.fields.get("category", "").strip()
        if category not in labels:
            _count(skipped, "a rare category")
            continue
        product = product_of(record)
        request = AuthoringRequest(task_named("classify"), product, (), labels)
        yield AuthoringExample(request, category, record.cluster, record.source)


def product_of(record: MatchRecord) -> Product:
    """The product of a record: its title or name, brand, price and model number."""
    fields = record.fields
    model = fields.get("modelno", "").strip()
    return Product(
        record.id,
        (fields.get("title") or fields.get("name") or "").strip(),
        brand=(fields.get("brand") or fields.get("manufacturer") or "").strip(),
        price=fields.get("price", "").strip(),
        attributes=(("Model", model),) if model else (),
    )


def _described(record: MatchRecord) -> tuple[Product, str]:
    product, text = product_of(record), record.fields.get("description", "").strip()
    if text.casefold().startswith(product.title.casefold()):
        text = text[len(product.title) :].strip(" -:,;")
    return product, text


def _offered(row: list[str]) -> Listing:
    product = Product(f"pricerunner-{row[0].strip()}", row[1].strip())
    return Listing(product, f"pricerunner-{row[3].strip()}", "pricerunner", row[4].strip())


class _Groups:
    """Things that are linked share a group, named by the least of them."""

    def __init__(self) -> None:
        self._above: dict[str, str] = {}

    def of(self, one: str) -> str:
        self._above.setdefault(one, one)
        while self._above[one] != one:
            self._above[one] = self._above[self._above[one]]
            one = self._above[one]
        return one

    def join(self, one: str, other: str) -> None:
        low, high = sorted((self.of(one), self.of(other)))
        self._above[high] = low


def _offers(path: str | Path) -> Iterator[tuple[int, list[str]]]:
    try:
        with open(path, encoding="utf-8-sig", newline="") as stream:
            for number, row in enumerate(csv.reader(stream)):
                if len(row) != _OFFER_FIELDS:
                    raise DataError(
                        f"an offer has {_OFFER_FIELDS} fields, this one {len(row)}",
                        file=str(path),
                        row=number,
                        hint="id, title, merchant, cluster, its name, category id, category",
                    )
                yield number, row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise _unreadable(path, error) from error


def _json_rows(path: str | Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        with open(path, encoding="utf-8") as stream:
            for number, line in enumerate(stream):
                if not line.strip():
                    continue
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise DataError("a line is no object", file=str(path), row=number)
                yield number, row
    except json.JSONDecodeError as error:
        hint = "write one JSON object a line"
        raise DataError(f"a line is no JSON: {error}", file=str(path), hint=hint) from error
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, error) from error


def _need(row: dict[str, Any], key: str, kind: type[Any], path: str | Path, number: int) -> Any:
    value = row.get(key)
    if not isinstance(value, kind):
        raise DataError(
            f"a row needs the field {key}", file=str(path), row=number, column=key, value=value
        )
    return value


def _unreadable(path: str | Path, error: Exception) -> FileUnreadableError:
    return FileUnreadableError(
        f"the file cannot be read: {error}", file=str(path), hint="it must be a text file in UTF-8"
    )


def _capital(text: str) -> str:
    text = html.unescape(text).strip()
    return text[:1].upper() + text[1:]


def _count(skipped: Skipped | None, reason: str) -> None:
    if skipped is not None:
        skipped[reason] += 1
