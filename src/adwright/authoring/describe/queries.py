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
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from adwright.authoring.describe.echo import normal_query
from adwright.core.errors import DataError, FileUnreadableError, SchemaError, ValueInvalidError
from adwright.data.sources.frames import Tabular, as_frame

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
