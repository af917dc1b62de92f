"""All sources that a user gives, as one stream of examples and one of products.

    sources = DataSources.in_folder("data")       # the public sets that lie there
    for example in given_examples(sources, ("classify", "intent")): ...
    for listing in given_listings(sources): ...

Each set is optional. A catalogue of one's own gives products to write for, and where it has
categories or descriptions also examples of these.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, MutableMapping
from dataclasses import field, replace
from pathlib import Path
from typing import Any

from adwright.authoring.instructions.rows import AuthoringExample
from adwright.authoring.instructions.sources.data_sets import (
    Skipped,
    categorised_products,
    described_products,
    intentions,
    pricerunner,
    pricerunner_listings,
    product_of,
    title_attributes,
)
from adwright.authoring.instructions.sources.match_records import read_matches
from adwright.authoring.instructions.sources.products import (
    Listing,
    ProductColumns,
    catalogue_products,
    journey_products,
)
from adwright.authoring.tasks.task import AuthoringRequest, task_named
from adwright.core.config import settings
from adwright.core.errors import ConfigError

#: How many rows were left out, by source and reason.
SkippedBySource = MutableMapping[str, Counter[str]]

#: Where `in_folder` looks for each set.
_PLACES = {
    "pricerunner": "pricerunner/offers.csv",
    "intention": "intention/task1.jsonl",
    "attributes": "attributes",
    "abt_buy": "abt-buy",
    "walmart_amazon": "walmart-amazon",
}
#: A catalogue's category is a label from so many products on; a description an answer from so many
#: characters on.
_LEAST_PRODUCTS, _SHORTEST = 20, 40


@settings
class DataSources:
    """Where the data are; None for none.

    pricerunner: `offers.csv`. intention: `task1.jsonl`. attributes: a file of JSON lines, or a
    folder of them. abt_buy, walmart_amazon: a folder of matches, or one file. catalogue: a table of
    products, whose columns are named in `columns`. locale: the language of
    the catalogue. complete_journey: its products, too, fetched on first use.

    Raises ConfigError where there is no source at all.
    """

    pricerunner: Path | None = None
    intention: Path | None = None
    attributes: Path | None = None
    abt_buy: Path | None = None
    walmart_amazon: Path | None = None
    catalogue: Path | None = None
    columns: ProductColumns = field(default_factory=ProductColumns)
    locale: str = "en"
    complete_journey: bool = False

    def __post_init__(self) -> None:
        if not (self.complete_journey or any(self._files())):
            raise ConfigError(
                "there is nothing to make instruction data of",
                where="DataSources",
                hint="name a data set or a catalogue",
            )

    @classmethod
    def in_folder(cls, folder: str | Path) -> DataSources:
        """The public sets that lie in a folder, each under its usual name. Raises ConfigError where
        there is none."""
        found: dict[str, Any] = {
            name: Path(folder) / place
            for name, place in _PLACES.items()
            if (Path(folder) / place).exists()
        }
        if not found:
            raise ConfigError(
                "there is no data set that is known",
                where=str(folder),
                hint=f"there may be {', '.join(_PLACES.values())}",
            )
        return cls(**found)

    def _files(self) -> tuple[Path | None, ...]:
        return (
            *(self.pricerunner, self.intention, self.attributes),
            *(self.abt_buy, self.walmart_amazon, self.catalogue),
        )


def given_examples(
    sources: DataSources, tasks: Collection[str], *, skipped: SkippedBySource | None = None
) -> Iterator[AuthoringExample]:
    """Examples whose answers people wrote, of these tasks, source after source.

    skipped: counts what is left out. Raises as the importers in `data_sets` and
    `catalogue_products`.
    """
    counts: SkippedBySource = defaultdict(Counter) if skipped is None else skipped
    if sources.pricerunner and "classify" in tasks:
        yield from pricerunner(sources.pricerunner, skipped=_of(counts, "pricerunner"))
    if sources.walmart_amazon and "classify" in tasks:
        own = _of(counts, "walmart-amazon")
        yield from categorised_products(sources.walmart_amazon, skipped=own)
    if sources.intention and "intent" in tasks:
        yield from intentions(sources.intention, skipped=_of(counts, "intention"))
    if sources.attributes and "attributes" in tasks:
        for file in _json_files(sources.attributes):
            yield from title_attributes(file, skipped=_of(counts, "attributes"))
    if sources.abt_buy and "descriptions" in tasks:
        yield from described_products(sources.abt_buy, skipped=_of(counts, "abt-buy"))
    if sources.catalogue:
        yield from _catalogue_examples(sources, tasks, _of(counts, "catalogue"))


def given_listings(
    sources: DataSources, *, skipped: SkippedBySource | None = None
) -> Iterator[Listing]:
    """Products to write for, source after source. skipped: counts rows of the catalogue that are no
    product."""
    counts: SkippedBySource = defaultdict(Counter) if skipped is None else skipped
    if sources.pricerunner:
        yield from pricerunner_listings(sources.pricerunner)
    for place in (sources.abt_buy, sources.walmart_amazon):
        for record in read_matches(place) if place else ():
            product = replace(
                product_of(record), category=record.fields.get("category", "").strip()
            )
            yield Listing(product, record.cluster, record.source)
    if sources.attributes:
        for file in _json_files(sources.attributes):
            for example in title_attributes(file):
                yield Listing(example.request.product, example.cluster, example.source)
    if sources.catalogue:
        own = _of(counts, "catalogue, products")
        yield from catalogue_products(
            sources.catalogue, sources.columns, locale=sources.locale, skipped=own
        )
    if sources.complete_journey:
        yield from journey_products()


def _catalogue_examples(
    sources: DataSources, tasks: Collection[str], skipped: Skipped
) -> Iterator[AuthoringExample]:
    """Categories and descriptions of the user's own catalogue."""
    columns, path = sources.columns, sources.catalogue
    categories = bool(columns.category) and "classify" in tasks
    descriptions = bool(columns.description) and "descriptions" in tasks
    if path is None or not (categories or descriptions):
        return
    counts = Counter[str]()
    if categories:
        # Rows that are no product are counted where they are read again.
        unread = Counter[str]()
        listings = catalogue_products(path, columns, locale=sources.locale, skipped=unread)
        counts.update(one.product.category for one in listings)
    labels = tuple(sorted(one for one, n in counts.items() if one and n >= _LEAST_PRODUCTS))
    for listing in catalogue_products(path, columns, locale=sources.locale, skipped=skipped):
        product = listing.product
        if categories and len(labels) > 1 and product.category in labels:
            request = AuthoringRequest(task_named("classify"), product, (), labels)
            yield AuthoringExample(request, product.category, listing.cluster, listing.source)
        elif categories:
            skipped["a rare category"] += 1
        if descriptions and len(product.description) >= _SHORTEST:
            request = AuthoringRequest(task_named("descriptions"), replace(product, description=""))
            yield AuthoringExample(request, product.description, listing.cluster, listing.source)


def _json_files(path: Path) -> list[Path]:
    return sorted(path.glob("*.jsonl")) if path.is_dir() else [path]


def _of(counts: SkippedBySource, source: str) -> Skipped:
    if source not in counts:
        counts[source] = Counter()
    return counts[source]
