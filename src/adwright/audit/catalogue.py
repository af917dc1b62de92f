"""The products that a shop shows, whose texts are whose, and the orders that they are shown in."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

import numpy as np
import polars as pl

from adwright.core.errors import ConfigError, DataError, ValueInvalidError
from adwright.core.hashing import content_hash, sha256_bytes
from adwright.data.sources.frames import Tabular, as_frame, name_of
from adwright.data.table_door import bare_name, find_column, synonyms, table_specs

# --------------------------------------------------------------------------------------------------
# One product as a shop shows it: facts that the shop vouches for, and what its seller writes.
#
#     one = ShopListing("Kettle", {"Price": "$19", "Rating": 4.1}, {"Description": "Boils water."})
#     one.with_text("Description", "Boils water fast.").shown()
#
# The difference between attributes and texts is what an audit is about: an attack writes into texts
# alone, and a bound on what texts can do holds only where attributes are facts. A claim that a
# seller may write into a field is text, whatever the field is called (`as_text`).

#: The value of an attribute.
Fact = str | float | int | bool | None


@dataclass(frozen=True)
class ShopListing:
    """A product.

    name: what the shopper is told, unique in its catalogue. attributes: facts of the catalogue's
    schema, which the shop vouches for. texts: what the seller writes, by the name of the field.
    merchant: who that is; empty where nobody says. fields: the names of all fields in the order of
    the source, the field of the name too; empty for the name, the attributes, the texts.
    name_field: what the source calls the name.

    Raises ConfigError where a field is both, or `fields` names others than there are.
    """

    name: str
    attributes: Mapping[str, Fact] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
    merchant: str = ""
    fields: tuple[str, ...] = ()
    name_field: str = "Name"

    def __post_init__(self) -> None:
        there = [self.name_field, *self.attributes, *self.texts]
        twice = sorted({one for one in there if there.count(one) > 1})
        if twice:
            raise ConfigError(
                "a field is more than one of name, attribute and text",
                where=f"{self.name}: {twice[0]}",
                hint="a field that its seller may write is a text",
            )
        if not self.fields:
            object.__setattr__(self, "fields", tuple(there))
        elif sorted(self.fields) != sorted(there):
            raise ConfigError(
                "fields has to name the name, the attributes and the texts, each once",
                where=f"{self.name}: {sorted(set(self.fields) ^ set(there))}",
                hint="leave it out for the usual order",
            )

    def __hash__(self) -> int:
        return hash((self.name, self.merchant, self.shown()))

    @property
    def text_fields(self) -> tuple[str, ...]:
        """The fields that its seller writes, in the order in which they are shown."""
        return tuple(one for one in self.fields if one in self.texts)

    def with_text(self, field: str, text: str) -> ShopListing:
        """The listing with another text in a field of its texts. Raises ConfigError for a field
        that is none of them: facts are not for a seller to write."""
        if field not in self.texts:
            raise ConfigError(
                "this is no text of the listing",
                where=f"{self.name}: {field!r}",
                hint=f"its texts are {', '.join(self.texts) or 'none'}",
            )
        return replace(self, texts={**self.texts, field: text})

    def without_texts(self) -> ShopListing:
        """The listing as its facts alone show it: every text is empty."""
        return replace(self, texts=dict.fromkeys(self.texts, ""))

    def as_text(self, field: str) -> ShopListing:
        """The listing in which an attribute counts as a text of the seller. Raises ConfigError for
        a field that is no attribute."""
        if field not in self.attributes:
            raise ConfigError(
                "this is no attribute of the listing",
                where=f"{self.name}: {field!r}",
                hint=f"its attributes are {', '.join(self.attributes) or 'none'}",
            )
        value = self.attributes[field]
        rest = {one: held for one, held in self.attributes.items() if one != field}
        text = "" if value is None else str(value)
        return replace(self, attributes=rest, texts={**self.texts, field: text})

    def shown(self) -> str:
        """One line of JSON with the fields in the order of the source, as the released code of
        "Manipulating LLMs to Increase Product Visibility" shows it to the model."""
        held = {self.name_field: self.name, **self.attributes, **self.texts}
        return json.dumps({one: held[one] for one in self.fields}, ensure_ascii=False)

    def digest(self) -> str:
        """SHA-256 of what is shown and whose it is."""
        return sha256_bytes(f"{self.merchant}\n{self.shown()}".encode("utf-8", "surrogatepass"))


# --------------------------------------------------------------------------------------------------
# A catalogue: the products that compete for one list, and what the shopper asks for.
#
#     shop = ShopCatalogue("kettles", "I want a kettle.", listings, own=True)
#
# Attacks run only against catalogues that are declared as one's own (`require_own`): the audit
# measures a shop's own weakness, and is no tool for listings in the shops of others.


@dataclass(frozen=True)
class CatalogueSchema:
    """Which column is what. name: of the name. attributes: facts that the shop vouches for. texts:
    what sellers write. merchant: who they are, empty where no column says. order: all that is
    shown, in the order of the source. guessed: the columns whose kind was not given."""

    name: str
    attributes: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    merchant: str = ""
    order: tuple[str, ...] = ()
    guessed: tuple[str, ...] = ()

    def in_words(self) -> str:
        """One sentence for a reader, with what was guessed."""
        parts = [f"name: {self.name}", f"facts of the shop: {', '.join(self.attributes) or 'none'}"]
        parts.append(f"texts of sellers: {', '.join(self.texts) or 'none'}")
        if self.merchant:
            parts.append(f"merchant: {self.merchant}")
        said = "; ".join(parts)
        return f"{said} (guessed: {', '.join(self.guessed)})" if self.guessed else said


@dataclass(frozen=True)
class ShopCatalogue:
    """Products that compete for one list.

    name: of the catalogue. request: what the shopper asks, one sentence. wordings: other ways to
    ask the same. own: whether who audits has declared it as the own one. schema: which field is
    what, where it came out of a table.

    Raises ValueInvalidError for fewer than two listings, an empty name and a name given twice.
    """

    name: str
    request: str
    listings: tuple[ShopListing, ...]
    own: bool = False
    wordings: tuple[str, ...] = ()
    schema: CatalogueSchema | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if len(self.listings) < 2:
            raise ValueInvalidError(
                "a list needs at least two products",
                file=self.name,
                value=len(self.listings),
                hint="add products that compete for the same list",
            )
        first: dict[str, int] = {}
        for row, one in enumerate(self.listings):
            if not one.name.strip():
                raise ValueInvalidError(
                    "a product has no name", file=self.name, row=row, hint="name it"
                )
            if first.setdefault(one.name, row) != row:
                raise ValueInvalidError(
                    f"two products have one name, the other is in row {first[one.name]}",
                    file=self.name,
                    row=row,
                    value=one.name,
                    hint="a list could not tell them apart: name the variant too",
                )
        if not self.request.strip():
            raise ConfigError(
                "there is no request", where=self.name, hint="say what a shopper asks, one sentence"
            )

    def __len__(self) -> int:
        return len(self.listings)

    @property
    def names(self) -> tuple[str, ...]:
        """The names, in the order of the catalogue."""
        return tuple(one.name for one in self.listings)

    @property
    def requests(self) -> tuple[str, ...]:
        """What the shopper asks, in all wordings."""
        return (self.request, *self.wordings)

    def index(self, name: str) -> int:
        """The row of a product. Raises ConfigError for another name."""
        try:
            return self.names.index(name)
        except ValueError:
            raise ConfigError(
                "the catalogue has no such product",
                where=f"{self.name}: {name!r}",
                hint=f"its products are {', '.join(self.names[:10])}",
            ) from None

    def require_own(self) -> None:
        """Raise ConfigError where nobody has declared the catalogue as the own one."""
        if not self.own:
            raise ConfigError(
                "this catalogue is not declared as your own",
                where=self.name,
                hint="attacks run against your own catalogue only; declare it with --own",
            )

    def with_listing(self, row: int, listing: ShopListing) -> ShopCatalogue:
        """The catalogue in which a row shows another listing."""
        return self.with_listings({row: listing})

    def with_listings(self, changed: Mapping[int, ShopListing]) -> ShopCatalogue:
        """The catalogue in which some rows, counted from 0, show other listings."""
        listings = [changed.get(row, one) for row, one in enumerate(self.listings)]
        return replace(self, listings=tuple(listings))

    def only(self, rows: Iterable[int]) -> ShopCatalogue:
        """The catalogue of some rows, in the order given."""
        return replace(self, listings=tuple(self.listings[row] for row in rows))

    def digest(self) -> str:
        """SHA-256 of what is shown and asked."""
        shown: Sequence[str] = [one.digest() for one in self.listings]
        return content_hash([self.request, list(self.wordings), list(shown)])

    def digest_of_set(self) -> str:
        """The same whatever the order of the rows, for a certificate, in which it has no say."""
        return content_hash([self.request, sorted(one.digest() for one in self.listings)])


# --------------------------------------------------------------------------------------------------
# Which column of a catalogue is the name, a fact of the shop, or a text of its seller.
#
#     schema_of(frame, attributes=("Price",), texts=("Description",))
#
# What is given is taken. What is left open is guessed, and the guess is said: the name by its usual
# names, the merchant likewise, and every other column as a fact where
#
# - it holds numbers, times or truth values, or has the usual name of what a shop sets (price, stock
#   ..), or
# - its cells are short: at most three words and 30 characters each; and there is one;
#
# and has none of the names of what sellers write (brand, colour, material, type, author ..);
#
# else as a text. A column that is taken for a text although it is a fact makes an audit look worse
# than the shop is; the other way round would hide a hole, and so what is in doubt is a text.

_WORDS, _CHARACTERS = 3, 30


def schema_of(
    frame: pl.DataFrame,
    *,
    name: str = "",
    attributes: Sequence[str] | None = None,
    texts: Sequence[str] | None = None,
    merchant: str = "",
    file: str = "",
) -> CatalogueSchema:
    """The schema of a table.

    attributes, texts: None guesses. Where one of the two is given, all other columns are of the
    other kind; where both are, columns that neither names are not shown. file: for errors.

    Raises SchemaError for a column that is not there, and where no column is the name; ConfigError
    where one column is to be two things.
    """
    columns, spec = frame.columns, table_specs("catalogue")["catalogue"]
    told = {field: one for field, one in (("name", name), ("merchant", merchant)) if one}
    named = spec.name(columns, told, once=False, file=file).columns
    spec.require(named, columns, file=file)
    name, merchant = named["name"], named.get("merchant", "")
    facts, prose = (
        None if given is None else [find_column(one, columns, file=file) for one in given]
        for given in (attributes, texts)
    )
    every = (name, *(facts or []), *(prose or []))
    for column in every:
        if every.count(column) > 1:
            raise ConfigError(
                f"column {column!r} was given two roles",
                where=file or column,
                hint="it is the name, a fact of the shop, or a text of its seller",
            )
    taken = {name, merchant, *(facts or []), *(prose or [])}
    rest = [one for one in columns if one not in taken]
    guessed = [column for field, column in named.items() if field not in told]
    if facts is None or prose is None:
        guessed += rest
    if facts is None and prose is None:
        facts = [one for one in rest if _is_fact(frame[one])]
        prose = [one for one in rest if one not in facts]
    facts, prose = rest if facts is None else facts, rest if prose is None else prose
    order = tuple(one for one in columns if one in {name, *facts, *prose})
    return CatalogueSchema(name, tuple(facts), tuple(prose), merchant, order, tuple(guessed))


def _is_fact(column: pl.Series) -> bool:
    bare, usual, kind = bare_name(column.name), synonyms("catalogue")["kinds"], column.dtype
    if bare in usual["texts"]:
        return False
    if bare in usual["facts"] or kind.is_numeric() or kind.is_temporal() or kind == pl.Boolean:
        return True
    if kind != pl.String:
        return False
    cells = [cell for cell in column.to_list() if cell and cell.strip()]
    return bool(cells) and all(
        len(cell) <= _CHARACTERS and len(cell.split()) <= _WORDS for cell in cells
    )


_SHOWN = 3
_NEVER_NEGATIVE = frozenset(("price", "rating", "stars", "stock", "weight", "capacity"))


@dataclass(frozen=True)
class OpenedCatalogue:
    """catalogue: as it was read. said: what was guessed and what was left out, in sentences."""

    catalogue: ShopCatalogue
    said: tuple[str, ...] = ()


def open_catalogue(
    source: Tabular,
    *,
    request: str = "",
    wordings: Sequence[str] = (),
    name: str = "",
    attributes: Sequence[str] | None = None,
    texts: Sequence[str] | None = None,
    merchant: str = "",
    where: Mapping[str, str] | None = None,
    most: int | None = None,
    own: bool = False,
) -> OpenedCatalogue:
    """The catalogue of a table.

    request: what the shopper asks; empty makes a sentence of the file's name, and says so. name,
    attributes, texts, merchant: columns, see `schema_of`. where: only rows with these cells, by
    column. most: only so many first rows. own: declares it as one's own.

    Raises as `as_frame` and `schema_of`; SchemaError where `where` names no column; DataError where
    fewer than two products are left.
    """
    table = as_frame(source, text=lambda names: _text_columns(names, name, where))
    frame, file = table.frame.collect(), table.name
    for told, value in (where or {}).items():
        cells = frame[find_column(told, frame.columns, file=file)]
        shown = cells.map_elements(_shown_cell, return_dtype=pl.String).fill_null("")
        frame = frame.filter(shown == value)
    frame = frame if most is None else frame.head(most)
    schema = schema_of(
        frame, name=name, attributes=attributes, texts=texts, merchant=merchant, file=file
    )
    said = [schema.in_words(), *_below_zero(frame, schema.attributes)]
    listings = _listings(frame, schema, said)
    if len(listings) < 2:
        raise DataError(
            f"{len(listings)} of {frame.height} rows is a product that can compete",
            file=file,
            hint="a list needs at least two products with names of their own",
        )
    if not request:
        request = usual_request(name_of(source))
        said.append(f"the shopper asks, by the file's name: {request}")
    made = ShopCatalogue(
        name_of(source), request, listings, own=own, wordings=tuple(wordings), schema=schema
    )
    return OpenedCatalogue(made, tuple(said))


def usual_request(name: str) -> str:
    """What somebody asks a shop for, by the name of a catalogue: "I am looking for coffee
    machines. Can I get some recommendations?" """
    words = name.replace("_", " ").replace("-", " ").strip() or "a product"
    return f"I am looking for {words}. Can I get some recommendations?"


def _text_columns(names: Sequence[str], name: str, where: Mapping[str, str] | None) -> list[str]:
    """Columns of a CSV file that stay as they are written: a name 007 is no number."""
    kept = {bare_name(one) for one in (name, *(where or {}))} - {""}
    usual = ("name", "title", "product", "item", "id", "sku")
    return [
        one for one in names if bare_name(one) in kept or any(word in one.lower() for word in usual)
    ]


def _listings(
    frame: pl.DataFrame, schema: CatalogueSchema, said: list[str]
) -> tuple[ShopListing, ...]:
    known: dict[str, ShopListing] = {}
    nameless, twice = 0, []
    for cells in frame.iter_rows(named=True):
        name = _shown_cell(cells[schema.name]).strip()
        if not name:
            nameless += 1
        elif name in known:
            twice.append(name)
        else:
            known[name] = ShopListing(
                name,
                {one: _fact(cells[one]) for one in schema.attributes},
                {one: _shown_cell(cells[one]) for one in schema.texts},
                _shown_cell(cells[schema.merchant]) if schema.merchant else "",
                schema.order,
                schema.name,
            )
    if nameless:
        said.append(f"{nameless} rows have no name and are left out")
    if twice:
        few = ", ".join(repr(one[:60]) for one in twice[:_SHOWN])
        said.append(
            f"{len(twice)} rows have a name that an earlier row has, and are left out: {few}"
        )
    return tuple(known.values())


def _below_zero(frame: pl.DataFrame, facts: Sequence[str]) -> list[str]:
    """What is to be said of facts that are no such numbers: a sentence a column."""
    named = [one for one in facts if one.strip().lower() in _NEVER_NEGATIVE]
    cells = ((one, frame[one].cast(pl.String).str.contains(r"^\D*[-\u2212]\D*\d")) for one in named)
    return [
        f"{name}: {number:,} of {frame.height:,} are below 0, and are shown as they are"
        for name, below in cells
        if (number := int(below.sum()))
    ]


def _fact(cell: Any) -> Fact:
    if isinstance(cell, float) and not math.isfinite(cell):
        return None
    return cell if isinstance(cell, str | int | float | bool | None) else _shown_cell(cell)


def _shown_cell(cell: Any) -> str:
    """A cell as text; lists and objects as JSON."""
    if cell is None:
        return ""
    if isinstance(cell, pl.Series):
        cell = cell.to_list()
    if isinstance(cell, list | dict):
        return json.dumps(cell, ensure_ascii=False, default=str)
    return str(cell)


# --------------------------------------------------------------------------------------------------
# The orders in which a catalogue is shown: seeded permutations.
#
#     chosen = draw_orders(10, 20, seed=0, purpose="choose")
#     fresh = draw_orders(10, 20, seed=0, purpose="score", avoid=chosen)
#
# Where a product stands in the prompt moves its rank more than most texts do, so a text is tried in
# many orders; and what was chosen on some orders is scored on others, which `purpose` and `avoid`
# see to.

#: Rows of a catalogue, in the order in which they are shown.
Order = tuple[int, ...]
#: choose: to find or choose a text on. score: to measure it on. average: for what averages over
#: orders by itself.
OrderPurpose = Literal["choose", "score", "average"]
_FEW = 20  # of so few products the orders can be counted


def draw_orders(
    n: int,
    count: int,
    *,
    seed: int,
    purpose: OrderPurpose = "score",
    balanced: bool = False,
    avoid: Iterable[Sequence[int]] = (),
) -> tuple[Order, ...]:
    """`count` orders of n products, each different from the others and from those of `avoid`.

    The same arguments give the same orders; each purpose draws from a stream of its own. balanced:
    in each run of n orders every product stands in every place once (a cyclic Latin square of a
    random order), which spreads the places evenly.

    Raises ConfigError for fewer than two products, no orders, an unknown purpose, and where there
    are not so many orders.
    """
    if purpose not in get_args(OrderPurpose):
        raise ConfigError(
            f"unknown purpose {purpose!r}",
            where="purpose",
            hint=f"use one of {', '.join(get_args(OrderPurpose))}",
        )
    if n < 2 or count < 1:
        raise ConfigError(
            "orders need at least two products, and at least one order is drawn",
            where=f"{n} products, {count} orders",
            hint="correct the numbers",
        )
    taken = {tuple(one) for one in avoid}
    if n <= _FEW and count > math.factorial(n) - sum(len(one) == n for one in taken):
        raise ConfigError(
            f"{n} products do not have {count} orders more",
            where="count",
            hint=f"they have {math.factorial(n)} in all",
        )
    rng = np.random.default_rng([seed, get_args(OrderPurpose).index(purpose), n])
    found: list[Order] = []
    while len(found) < count:
        base = rng.permutation(n)
        for turn in range(n if balanced else 1):
            order = tuple(int(one) for one in np.roll(base, turn))
            if order not in taken and len(found) < count:
                taken.add(order)
                found.append(order)
    return tuple(found)
