"""Queries and graded judgements: what somebody searches for, and which products answer it how well.

    queries = read_queries("queries.csv")            # query_id, query; seen where known
    judged = read_judgements("judgements.csv")       # query_id, item_id, grade
    judged = read_judgements("run.qrels")            # TREC: query 0 item grade

Tables may be CSV, TSV, JSON lines or Parquet. `Judged` brings both and a catalogue together, with
what falls away counted.

Letters: Q queries, J judgements, C products.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import polars as pl

from adwright.authoring.describe.rankers import grams_of, words_of
from adwright.authoring.tasks import Product
from adwright.core.config import Count, Gt, Le, settings
from adwright.core.errors import DataError, FileUnreadableError, SchemaError, ValueInvalidError
from adwright.data.sources.frames import Tabular, as_frame

# --------------------------------------------------------------------------------------------------
# The guard against echoes: a description that repeats a query that somebody asks is found by it
# and tells nobody anything.
#
#     E(q, d) = share of the runs of n words of q that stand in d and hold a word that no fact of
# the
#               product has
#
# A description may use the words of a query where the product's facts have them: that is what a
# good
# one does. What the facts have not, it has from the query, or has made up. Words that the facts of
# many products have, such as "in" and "for", are no sign of either, in whatever language. n, the
# share from which on a description counts as an echo, and how many are many, are our choice.


@settings
class EchoConfig:
    """words: n, of a run; queries of fewer words are not looked at. share: from which on a
    description counts as an echo, above 0 to 1. common: share of the products whose facts have a
    word, from which on the word is no sign.

    Raises ConfigError that names the setting.
    """

    words: Count = 2
    share: Annotated[float, Gt(0), Le(1)] = 0.5
    common: Annotated[float, Gt(0), Le(1)] = 0.05


@dataclass(frozen=True)
class DescriptionEcho:
    """product: whose description echoes. query: the one that it echoes most. share: E, 0 to 1.
    words: of the query, which no fact has."""

    product: str
    query: str
    share: float
    words: tuple[str, ...]


class EchoGuard:
    """Finds descriptions that echo one of `queries`; those are looked up, not gone through, so a
    long log of them costs no more than a short one.

    catalogue: by whose facts it is told which words are common; without it none is.
    """

    def __init__(
        self,
        queries: Iterable[str],
        config: EchoConfig | None = None,
        *,
        catalogue: Sequence[Product] = (),
    ) -> None:
        self.config = config or EchoConfig()
        self._common = _common_words(catalogue, self.config.common)
        self._queries: list[str] = []
        self._sizes: list[int] = []
        self._of_gram: dict[tuple[str, ...], list[int]] = defaultdict(list)
        for query in dict.fromkeys(queries):
            grams = grams_of(words_of(query), self.config.words)
            for gram in grams:
                self._of_gram[gram].append(len(self._queries))
            self._queries.append(query)
            self._sizes.append(len(grams))

    def echo_of(self, product: Product, description: str) -> DescriptionEcho | None:
        """The query that the description echoes most, where it counts as an echo."""
        known = _fact_words(product) | self._common
        taken: dict[int, set[str]] = defaultdict(set)
        number: dict[int, int] = defaultdict(int)
        for gram in grams_of(words_of(description), self.config.words):
            new = set(gram) - known
            if new:
                for query in self._of_gram.get(gram, ()):
                    number[query] += 1
                    taken[query] |= new
        if not number:
            return None
        most = max(number, key=lambda query: (number[query] / self._sizes[query], -query))
        share = number[most] / self._sizes[most]
        if share < self.config.share:
            return None
        text = self._queries[most]
        order = [word for word in dict.fromkeys(words_of(text)) if word in taken[most]]
        return DescriptionEcho(product.id, text, share, tuple(order))

    def echoes(
        self, products: Sequence[Product], descriptions: Mapping[str, str]
    ) -> tuple[DescriptionEcho, ...]:
        """Those among the descriptions, by product id."""
        found = (
            self.echo_of(product, descriptions[product.id])
            for product in products
            if descriptions.get(product.id)
        )
        return tuple(one for one in found if one is not None)


def _fact_words(product: Product) -> set[str]:
    return {word for fact in product.facts() for word in words_of(fact)}


def _common_words(catalogue: Sequence[Product], share: float) -> set[str]:
    number = Counter(word for product in catalogue for word in _fact_words(product))
    # Of a handful of products any word is in many.
    least = max(share * len(catalogue), 2)
    return {word for word, count in number.items() if count >= least}


def normal_query(text: str) -> str:
    """Two queries of the same words are one, whatever their case and signs."""
    return " ".join(words_of(text))


_ENDING = ".qrels"
_TRUE, _FALSE = ("true", "1", "yes"), ("false", "0", "no", "")


@dataclass(frozen=True)
class SearchQuery:
    """seen: whether whoever wrote the descriptions had this query before."""

    id: str
    text: str
    seen: bool = False


@dataclass(frozen=True)
class GradedJudgement:
    """grade: from 0, not relevant, on."""

    query: str
    product: str
    grade: float


@dataclass(frozen=True, eq=False)
class Judged:
    """Queries that a judged product answers, and the judgements as arrays.

    queries: Q of them. offsets [Q + 1], items [J], grades [J]: of each query; items are places in
    the catalogue. unknown: judgements of products or queries that there are not. unanswered:
    queries that no product of a grade above 0 answers; they are left out. repeated: judgements that
    were given twice, of which the highest counts.
    """

    queries: tuple[SearchQuery, ...]
    offsets: npt.NDArray[np.int64]
    items: npt.NDArray[np.int64]
    grades: npt.NDArray[np.float64]
    unknown: int = 0
    unanswered: int = 0
    repeated: int = 0

    def seen(self) -> npt.NDArray[np.bool_]:
        """[Q], the `seen` of each."""
        return np.array([one.seen for one in self.queries], np.bool_)

    def grades_of(self, among: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
        """The grades [J], 0 for products that are not `among` [C]; they stay candidates."""
        return np.where(among[self.items], self.grades, 0.0)


def judged_by(
    queries: Sequence[SearchQuery],
    judgements: Iterable[GradedJudgement],
    products: Sequence[str],
    *,
    seen: Collection[str] = (),
) -> Judged:
    """Bring them together.

    products: ids of the catalogue, in its order. seen: texts of queries that the generator was
    given; a query of the same words is one of them.
    Raises DataError where two products have one id, or nothing is left.
    """
    place = {product: at for at, product in enumerate(products)}
    if len(place) < len(products):
        raise DataError("two products have one id", hint="give each product an id of its own")
    known = {normal_query(text) for text in seen}
    ids = {query.id for query in queries}
    best: dict[str, dict[int, float]] = {}
    unknown = repeated = 0
    for each in judgements:
        at = place.get(each.product)
        if at is None or each.query not in ids:
            unknown += 1
            continue
        found = best.setdefault(each.query, {})
        repeated += at in found
        found[at] = max(each.grade, found.get(at, 0.0))
    kept = [query for query in queries if any(best.get(query.id, {}).values())]
    if not kept:
        raise DataError(
            "no query is answered by a product of the catalogue",
            hint=f"{unknown:,} judgements are of unknown queries or products: compare the ids",
        )
    of_each = [best[query.id] for query in kept]
    return Judged(
        tuple(
            SearchQuery(query.id, query.text, query.seen or normal_query(query.text) in known)
            for query in kept
        ),
        np.cumsum([0, *map(len, of_each)]),
        np.array([at for one in of_each for at in one], np.int64),
        np.array([grade for one in of_each for grade in one.values()], np.float64),
        unknown=unknown,
        unanswered=len(queries) - len(kept),
        repeated=repeated,
    )


def read_queries(source: Tabular) -> tuple[SearchQuery, ...]:
    """Queries of a table with the columns query_id and query, and seen (true or false) if known.

    Raises SchemaError for a column that is missing, ValueInvalidError for an empty or repeated id,
    an empty text, and a `seen` that is neither.
    """
    name, rows = _rows(source, ("query_id", "query"))
    found: dict[str, SearchQuery] = {}
    for row, one in enumerate(rows):
        query = SearchQuery(_text(one["query_id"]), _text(one["query"]), _truth(one, name, row))
        if not query.id or not query.text:
            column = "query" if query.id else "query_id"
            raise ValueInvalidError("a query is empty", file=name, row=row, column=column)
        if query.id in found:
            raise ValueInvalidError(
                "two queries have one id", file=name, row=row, column="query_id", value=query.id
            )
        found[query.id] = query
    return tuple(found.values())


def read_judgements(source: Tabular) -> tuple[GradedJudgement, ...]:
    """Judgements of a table with the columns query_id, item_id and grade, or of a file NAME.qrels
    with four fields a line (query, anything, item, grade), as TREC has them.

    Raises SchemaError for a column that is missing, ValueInvalidError for an id that is empty and
    a grade that is no number from 0 to 30, FileUnreadableError for another line in a .qrels.
    """
    if isinstance(source, str | Path) and Path(source).suffix == _ENDING:
        name, rows = str(source), _qrels(Path(source))
    else:
        name, rows = _rows(source, ("query_id", "item_id", "grade"))
    found = []
    for row, one in enumerate(rows):
        query, product = _text(one["query_id"]), _text(one["item_id"])
        if not query or not product:
            column = "item_id" if query else "query_id"
            raise ValueInvalidError("an id is empty", file=name, row=row, column=column)
        found.append(GradedJudgement(query, product, _grade(one["grade"], name, row)))
    return tuple(found)


def _rows(source: Tabular, wanted: Sequence[str]) -> tuple[str, Iterable[Mapping[str, object]]]:
    table = as_frame(source, whole=True)
    names = table.frame.collect_schema().names()
    for column in wanted:
        if column not in names:
            raise SchemaError(
                "a column is missing",
                file=table.name,
                column=column,
                hint=f"it needs {', '.join(wanted)} and has {', '.join(names[:20])}",
            )
    frame: pl.DataFrame = table.frame.collect()
    return table.name, frame.iter_rows(named=True)


def _qrels(path: Path) -> Iterable[Mapping[str, object]]:
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise FileUnreadableError(
            f"the judgements cannot be read: {error}", file=str(path), hint="check the path"
        ) from error
    for row, line in enumerate(lines):
        fields = line.split()
        if not fields:
            continue
        if len(fields) != 4:
            raise FileUnreadableError(
                f"line {row + 1} has {len(fields)} fields and not 4",
                file=str(path),
                value=line[:60],
                hint="write: query 0 item grade",
            )
        # A negative grade is TREC's for what is worse than nothing: spam.
        grade = fields[3].lstrip("-") and ("0" if fields[3].startswith("-") else fields[3])
        yield {"query_id": fields[0], "item_id": fields[2], "grade": grade}


def _text(value: object) -> str:
    return "" if value is None else str(value).strip()


def _grade(value: object, name: str, row: int) -> float:
    try:
        grade = float(str(value))
    except ValueError:
        grade = math.nan
    if not 0 <= grade <= 30:
        raise ValueInvalidError(
            "a grade is a number from 0 to 30",
            file=name,
            row=row,
            column="grade",
            value=value,
            hint="0 is not relevant; 3 or 4 is usually the best",
        )
    return grade


def _truth(one: Mapping[str, object], name: str, row: int) -> bool:
    value = _text(one.get("seen")).casefold()
    if value in (*_TRUE, *_FALSE):
        return value in _TRUE
    raise ValueInvalidError(
        "seen is true or false", file=name, row=row, column="seen", value=one.get("seen")
    )
