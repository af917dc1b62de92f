"""Where instruction data come from: public data sets, and catalogues of products."""

from __future__ import annotations

import csv
import hashlib
import html
import json
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import polars as pl

from adwright.authoring.instructions.rows import AuthoringExample
from adwright.authoring.tasks import AuthoringRequest, Product, pairs_text, task_named
from adwright.core.config import settings
from adwright.core.errors import ConfigError, DataError, FileUnreadableError, ValueInvalidError
from adwright.data.sources.complete_journey import CompleteJourney
from adwright.data.sources.frames import Tabular, as_frame, id_text, name_of
from adwright.data.table_door import find_column, table_specs

# --------------------------------------------------------------------------------------------------
# Records of DeepMatcher and Ditto: pairs of products, and whether they are the same one.
#
#     COL name VAL speck seethru case COL price VAL 9.99 \t COL name VAL ... \t 1
#
# A file holds each product as often as it is paired. `read_matches` gives each once, with a cluster
# that it shares with the products that it is matched with, across all files of a folder.

_COLUMN = re.compile(r"(?:^|(?<=\s))COL\s+(\S+)\s+VAL(?=\s|$)")
_PARTS = 3
_DIGITS = 12
#: Files of a folder, in this order, then others that end so.
_FIRST = ("train.txt", "valid.txt", "test.txt")


@dataclass(frozen=True)
class MatchRecord:
    """One product. id: of its side and text. fields: as in the file. side: 0 or 1, the shop.
    cluster: shared with its matches. source: the folder's or the file's name."""

    id: str
    fields: dict[str, str]
    side: int
    cluster: str
    source: str


def read_matches(path: str | Path) -> Iterator[MatchRecord]:
    """The products of a file, or of all .txt files of a folder, each once, in order.

    Raises DataError, naming file and row, for a line that is no pair; FileUnreadableError where
    there is nothing to read.
    """
    path = Path(path)
    files = _files(path)
    source = path.name if path.is_dir() else path.stem
    texts: dict[tuple[int, str], int] = {}
    above: list[int] = []
    for left, right, same in (pair for file in files for pair in _pairs(file)):
        places = []
        for key in ((0, left), (1, right)):
            place = texts.setdefault(key, len(texts))
            if place == len(above):
                above.append(place)
            places.append(place)
        if same:
            low, high = sorted(_top(above, place) for place in places)
            above[high] = low
    ids = [f"{source}-{side}-{_digest(text)}" for side, text in texts]
    for (side, text), place in texts.items():
        cluster = ids[_top(above, place)]
        yield MatchRecord(ids[place], record_fields(text), side, cluster, source)


def record_fields(text: str) -> dict[str, str]:
    """The fields of one record.

    >>> record_fields("COL name VAL tea, 80 bags COL price VAL ")
    {'name': 'tea, 80 bags', 'price': ''}
    """
    found = list(_COLUMN.finditer(text))
    ends = [*(one.start() for one in found[1:]), len(text)][: len(found)]
    return {one[1]: text[one.end() : end].strip() for one, end in zip(found, ends, strict=True)}


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = sorted(path.glob("*.txt"), key=lambda file: (file.name not in _FIRST, file.name))
    if not found:
        raise FileUnreadableError(
            "the folder has no .txt file of matches",
            file=str(path),
            hint="put train.txt, valid.txt and test.txt there",
        )
    return found


def _pairs(file: Path) -> Iterator[tuple[str, str, bool]]:
    try:
        with file.open(encoding="utf-8") as stream:
            for number, line in enumerate(stream):
                if not line.strip():
                    continue
                parts = line.rstrip("\n").split("\t")
                good = len(parts) == _PARTS and parts[2].strip() in ("0", "1")
                if not (good and all(_COLUMN.search(part) for part in parts[:2])):
                    raise DataError(
                        "a line is no pair of records",
                        file=str(file),
                        row=number,
                        value=line[:60],
                        hint="COL name VAL ..., a tab, the other record, a tab, and 0 or 1",
                    )
                yield parts[0].strip(), parts[1].strip(), parts[2].strip() == "1"
    except (OSError, UnicodeDecodeError) as error:
        raise FileUnreadableError(
            f"the matches cannot be read: {error}", file=str(file), hint="check the path"
        ) from error


def _top(above: list[int], one: int) -> int:
    while above[one] != one:
        above[one] = above[above[one]]
        one = above[one]
    return one


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]


# --------------------------------------------------------------------------------------------------
# Products to write for, out of a catalogue: a table with named columns, or Complete Journey.
#
#     columns = ProductColumns(id="sku", title="name", attributes=("size", "colour"))
#     for listing in catalogue_products("catalogue.parquet", columns): ...
#     for listing in journey_products(): ...
#
# Both go row by row in batches, so that a catalogue of millions is never in memory at once.

_BATCH = 10_000


@dataclass(frozen=True)
class Listing:
    """A product of a catalogue. cluster: of those that are the same product in other words.
    source: the catalogue's name. query: what a customer searched when looking for it, if known."""

    product: Product
    cluster: str
    source: str
    query: str = ""


@settings
class ProductColumns:
    """Which columns of a table hold what; empty for none. An id or title that is not there by this
    name has one of its usual names.

    attributes: columns whose name and value are an attribute each. cluster: of the same product in
    other words; by default each row is one of its own. query: what was searched.
    """

    id: str = "id"
    title: str = "title"
    description: str = ""
    brand: str = ""
    category: str = ""
    price: str = ""
    currency: str = ""
    attributes: tuple[str, ...] = ()
    cluster: str = ""
    query: str = ""

    def __post_init__(self) -> None:
        if not self.id or not self.title:
            raise ConfigError(
                "a product needs an id and a title", where="ProductColumns", hint="name the columns"
            )

    def named(self) -> dict[str, str]:
        """Column by field of those that are named, attributes aside."""
        fields = ("id", "title", "description", "brand", "category", "price", "currency")
        every = {name: str(getattr(self, name)) for name in (*fields, "cluster", "query")}
        return {name: column for name, column in every.items() if column}


def catalogue_products(
    source: Tabular,
    columns: ProductColumns | None = None,
    *,
    name: str = "",
    locale: str = "en",
    skipped: Counter[str] | None = None,
) -> Iterator[Listing]:
    """The products of a table: CSV, JSON lines, Parquet, or one in memory.

    name: of the catalogue; by default the file's. locale: of its texts. skipped: counts rows that
    are no product, such as one without an id, by reason; None raises for the first of them. Rows
    without a title are passed over in any case.
    Raises as `as_frame`; SchemaError for a column that is not there; ValueInvalidError for a locale
    that is none, and with its row for a row that is no product.
    """
    Product("p", "a check of the locale", locale=locale)
    table = as_frame(source)
    frame = table.frame
    columns = _found(columns or ProductColumns(), frame.collect_schema().names(), table.name)
    wanted = [*columns.named().values(), *columns.attributes]
    texts = {column: pl.col(column).cast(pl.String, strict=False) for column in wanted}
    texts[columns.id] = id_text(frame, columns.id).cast(pl.String)
    row, catalogue = 0, name or name_of(source)
    for batch in _batches(frame.select(**texts)):
        for cells in batch.iter_rows(named=True):
            try:
                if (cells[columns.title] or "").strip():
                    yield _listing(cells, columns, catalogue, locale)
                elif skipped is not None:
                    skipped["no title"] += 1
            except ValueInvalidError as error:
                if skipped is None:
                    raise _in_row(error, table.name, row) from error
                skipped[error.what] += 1
            row += 1


def journey_products(path: Path | None = None, *, offline: bool = False) -> Iterator[Listing]:
    """The described products of Complete Journey: type and size as title, category, department.

    Products of one type are a cluster. The data set's brand says National or Private, which is no
    name of a brand, and is left out. Raises as `CompleteJourney.open`.
    """
    table = CompleteJourney.open(path, offline=offline).products()
    for batch in _batches(table):
        for cells in batch.iter_rows(named=True):
            kind, size = cells["product_type"] or "", cells["package_size"] or ""
            if not kind.strip():
                continue
            pairs = (("Size", size.strip()), ("Department", (cells["department"] or "").title()))
            product = Product(
                f"journey-{cells['product_id']}",
                f"{kind} {size}".strip().title(),
                category=(cells["product_category"] or "").capitalize(),
                attributes=tuple(pair for pair in pairs if pair[1].strip()),
            )
            yield Listing(product, f"journey-{kind}", "complete-journey")


def _found(columns: ProductColumns, names: Sequence[str], file: str) -> ProductColumns:
    """The columns as the table writes them."""
    usual, own = ProductColumns(), table_specs("shops")["table"]
    told = columns.named()
    left = [one for one in ("id", "title") if told[one] == getattr(usual, one) not in names]
    for which in left:
        told[which] = next(iter(own.guesses(which, names)), told[which])
    found = {which: find_column(one, names, which, file=file) for which, one in told.items()}
    facts = tuple(find_column(one, names, "an attribute", file=file) for one in columns.attributes)
    return ProductColumns(**found, attributes=facts)


def _listing(
    cells: dict[str, Any], columns: ProductColumns, catalogue: str, locale: str
) -> Listing:
    found = {name: (cells[column] or "").strip() for name, column in columns.named().items()}
    cluster, query = found.pop("cluster", ""), found.pop("query", "")
    pairs = tuple((name, (cells[name] or "").strip()) for name in columns.attributes)
    product = Product(**found, attributes=tuple(pair for pair in pairs if pair[1]), locale=locale)
    return Listing(product, f"{catalogue}-{cluster or product.id}", catalogue, query)


def _in_row(error: ValueInvalidError, file: str, row: int) -> ValueInvalidError:
    return ValueInvalidError(
        error.what, file=file, row=row, column=error.column, value=error.value, hint=error.hint
    )


def _batches(frame: pl.LazyFrame) -> Iterator[pl.DataFrame]:
    """The rows in order; in polars that cannot give batches, the whole table is collected."""
    if hasattr(frame, "collect_batches"):
        yield from frame.collect_batches(chunk_size=_BATCH, maintain_order=True)
    else:
        yield from frame.collect(engine="streaming").iter_slices(_BATCH)


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
        request = AuthoringRequest(task_named("attributes"), product)
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


# --------------------------------------------------------------------------------------------------
# All sources that a user gives, as one stream of examples and one of products.
#
#     sources = DataSources.in_folder("data")       # the public sets that lie there
#     for example in given_examples(sources, ("classify", "intent")): ...
#     for listing in given_listings(sources): ...
#
# Each set is optional. A catalogue of one's own gives products to write for, and where it has
# categories or descriptions also examples of these.

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
