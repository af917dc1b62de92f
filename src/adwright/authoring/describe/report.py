"""What was found of descriptions, as a table, a JSON file and a picture.

Each number stands with its interval and with how many queries or pairs it is of.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import polars as pl

from adwright.authoring.describe.queries import judged_by, read_judgements, read_queries
from adwright.authoring.describe.rankers import Bm25Ranker, VectorRanker
from adwright.authoring.describe.review import (
    PairReview,
    WrittenTexts,
    read_pair_judgements,
    review_pairs,
    seen_in_columns,
    written_texts,
)
from adwright.authoring.describe.search import (
    DescriptionSearch,
    DocumentRanker,
    SearchConfig,
    compare_search,
)
from adwright.authoring.writer.products import ProductTable, read_products
from adwright.core.config import settings, to_jsonable
from adwright.core.errors import ConfigError, SchemaError
from adwright.data.schema import ACTION_KINDS
from adwright.data.sources.frames import as_frame
from adwright.data.sources.tables import read_events
from adwright.metrics.bootstrap import Interval
from adwright.metrics.text.agreement import Agreement

_FORMAT = 1
_SHOWN = 5  # echoes that the text names
_NAMES = {
    "title": "titles alone",
    "original": "original",
    "written": "written",
    "both": "original + written",
}
_PARTS = {
    "unseen": "queries the writer had not seen",
    "cold": "cold products, queries not seen",
    "seen": "queries the writer had seen: no evidence",
}


@dataclass(frozen=True)
class DescriptionReport:
    """All that was judged; what was not is None or empty.

    settings: of the run, for the file. said: what was left out or passed over, in sentences.
    """

    search: DescriptionSearch | None = None
    review: PairReview | None = None
    settings: Mapping[str, Any] | None = None
    said: tuple[str, ...] = ()

    def text(self) -> str:
        """Tables in plain text, one a way of judging."""
        parts = []
        if self.search is not None:
            parts.append(_search_text(self.search))
        if self.review is not None:
            parts.append(_review_text(self.review))
        if self.said:
            parts.append("\n".join(f"note: {one}" for one in self.said))
        return "\n\n".join(parts)

    def to_json(self) -> str:
        """All figures as JSON, with their settings."""
        told: dict[str, Any] = {"format": _FORMAT, "settings": dict(self.settings or {})}
        if self.search is not None:
            told["search"] = asdict(self.search)
        if self.review is not None:
            told["review"] = asdict(self.review)
        told["said"] = list(self.said)
        return json.dumps(told, indent=1, allow_nan=False, ensure_ascii=False) + "\n"

    def svg(self) -> str:
        """The leads as a picture: of search where that was judged, else of wins."""
        from adwright.metrics.reports.charts import interval_chart, to_svg

        values, title, axis, reference = self._drawn()
        return to_svg(interval_chart(values, title=title, x_title=axis, reference=reference))

    def _drawn(self) -> tuple[dict[str, Interval], str, str, float]:
        if self.search is not None:
            leads = {
                f"{_NAMES[row.index]}, {row.part}, {row.ranker.split(' ')[0]}": row.lead
                for row in self.search.rows
                if row.lead is not None and row.part != "seen"
            }
            title = "Is a product found better by its description?"
            return dict(leads), title, f"NDCG@{self.search.k} above the original descriptions", 0.0
        if self.review is not None:
            title = "Share of comparisons won"
            return dict(self.review.wins), title, "share won, a tie counts one half", 0.5
        return {}, "Nothing was judged", "", 0.0


def _search_text(found: DescriptionSearch) -> str:
    lines = []
    for ranker, part in dict.fromkeys((row.ranker, row.part) for row in found.rows):
        rows = [row for row in found.rows if (row.ranker, row.part) == (ranker, part)]
        cells = [(f"NDCG@{found.k}", "value", "above original")]
        for row in rows:
            lead = "" if row.lead is None else row.lead.text("+.4f")
            cells.append((_NAMES[row.index], row.ndcg.text(), lead))
        lines += [f"{ranker}: {_PARTS[part]} ({rows[0].queries:,})", *_aligned(cells), ""]
    echoes = [one for seed in found.echoes for one in seed]
    lines.append(
        f"{found.products:,} products, {found.cold:,} of them cold; written descriptions: "
        + ", ".join(f"{number:,}" for number in found.written)
    )
    if echoes:
        lines.append(f"{len(echoes):,} descriptions echo a query:")
        lines += [
            f"  {one.product}: {one.query!r} by {', '.join(one.words)}" for one in echoes[:_SHOWN]
        ]
    for number, what in (
        (found.unanswered, "queries that no product answers are left out"),
        (found.unknown, "judgements are of products or queries that there are not"),
    ):
        if number:
            lines.append(f"{number:,} {what}")
    return "\n".join(lines)


def _review_text(found: PairReview) -> str:
    head = (
        f"Blind review: {found.judgements:,} judgements of {found.pairs:,} pairs by "
        f"{found.raters:,} raters; ties {found.ties:.0%}"
    )
    wins = [found.wins[source].text(".3f") for source in found.sources]
    cells = [
        ["", *found.sources, f"{found.sources[1]} above", "alpha ordinal", "interval"],
        ["comparisons won", *wins, "", "", ""],
    ]
    for one in found.rubric:
        means = [one.means[source].text(".2f") for source in found.sources]
        alphas = [_alpha(one.ordinal), _alpha(one.interval)]
        cells.append([one.name, *means, one.lead.text("+.2f"), *alphas])
    lines = [head, *_aligned(cells), f"alpha of the choices (nominal): {_alpha(found.choice)}"]
    if found.left is not None:
        lines.append(f"left text chosen: {found.left.text('.3f')}, one half without a habit")
    return "\n".join(lines)


def _alpha(found: Agreement | None) -> str:
    return "one rater a pair" if found is None else found.text()


def _aligned(cells: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[at]) for row in cells) for at in range(len(cells[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]


# --------------------------------------------------------------------------------------------------
# What `adwright author evaluate` does: read all that it is given, judge, and report.
#
# sources = DescribeSources(Path("products.csv"), Path("queries.csv"), Path("judgements.csv"),
#                           drafts=(Path("out"),))
# report = judge_descriptions(sources)
# print(report.text())

RankerName = Literal["bm25", "vectors"]


@settings
class DescribeSources:
    """Where everything is.

    catalogue: table of products with their original descriptions. queries, judgements: see
    `queries`. drafts: folders of writing jobs, one a seed. seen: table with a column `query` of
    what the writer was given. log: events, by which products without an action are cold. reviews: a
    file of pairwise judgements.

    Raises ConfigError where there is no folder.
    """

    catalogue: Path
    queries: Path
    judgements: Path
    drafts: tuple[Path, ...]
    seen: Path | None = None
    log: Path | None = None
    reviews: Path | None = None

    def __post_init__(self) -> None:
        if not self.drafts:
            raise ConfigError(
                "descriptions to judge lie in the folder of a writing job",
                where="drafts",
                hint="name it: --drafts FOLDER",
            )


@settings
class DescribeConfig:
    """slot, variant: of the texts that are judged. rankers: that answer the queries. k1, b: of
    BM25. offline: never download."""

    slot: str = "description"
    variant: int = 0
    rankers: tuple[RankerName, ...] = ("bm25", "vectors")
    k1: float = 1.2
    b: float = 0.75
    search: SearchConfig = field(default_factory=SearchConfig)
    offline: bool = False

    def __post_init__(self) -> None:
        if not self.rankers or len(set(self.rankers)) < len(self.rankers):
            raise ConfigError("name rankers, each once", where="rankers", hint="bm25,vectors")


def judge_descriptions(
    sources: DescribeSources, config: DescribeConfig | None = None
) -> DescriptionReport:
    """Read, judge and report.

    Raises what the readers and judges do, naming file and row; MissingExtraError for vectors
    without transformers.
    """
    config = config or DescribeConfig()
    rankers = _rankers(config)
    table = read_products(sources.catalogue)
    written = [
        written_texts(folder, slot=config.slot, variant=config.variant) for folder in sources.drafts
    ]
    judged = judged_by(
        read_queries(sources.queries),
        read_judgements(sources.judgements),
        [one.id for one in table.products],
        seen=_seen(sources, table, written),
    )
    history = None if sources.log is None else _bought(read_events(sources.log))
    found = compare_search(
        table.products,
        [one.texts for one in written],
        judged,
        rankers,
        config.search,
        history=history,
    )
    review = None
    if sources.reviews is not None:
        review = review_pairs(
            read_pair_judgements(sources.reviews),
            seed=config.search.seed,
            draws=config.search.draws,
            confidence=config.search.confidence,
        )
    return DescriptionReport(
        search=found,
        review=review,
        settings=_settings(sources, config),
        said=tuple(_said(table, written, found)),
    )


def _rankers(config: DescribeConfig) -> list[DocumentRanker]:
    made: list[DocumentRanker] = []
    for name in config.rankers:
        if name == "bm25":
            made.append(Bm25Ranker(config.k1, config.b))
        else:
            from adwright.lm.sentence_encoder import SentenceEncoder

            made.append(VectorRanker(SentenceEncoder(offline=config.offline)))
    return made


def _seen(
    sources: DescribeSources, table: ProductTable, written: Sequence[WrittenTexts]
) -> set[str]:
    """Texts of queries that the writer had, as far as anything tells."""
    known = {query for one in written for query in one.queries}
    for one in written:
        known |= set(seen_in_columns(table.frame, one.columns))
    if sources.seen is not None:
        known |= set(_column(sources.seen, "query"))
    return known


def _bought(events: pl.LazyFrame) -> frozenset[str]:
    """Products that somebody did something with."""
    kinds = pl.col("kind").cast(pl.String).is_in(list(ACTION_KINDS))
    return frozenset(events.filter(kinds).select("item_id").unique().collect()["item_id"])


def _column(path: Path, name: str) -> list[str]:
    table = as_frame(path, whole=True)
    names = table.frame.collect_schema().names()
    if name not in names:
        raise SchemaError(
            "a column is missing",
            file=str(path),
            column=name,
            hint=f"the table has {', '.join(names[:20])}",
        )
    values = table.frame.select(pl.col(name).cast(pl.String, strict=False)).collect()[name]
    return [value or "" for value in values]


def _settings(sources: DescribeSources, config: DescribeConfig) -> Mapping[str, object]:
    return {"sources": to_jsonable(sources), "config": to_jsonable(config)}


def _said(
    table: ProductTable, written: Sequence[WrittenTexts], found: DescriptionSearch
) -> list[str]:
    """What a reader of the figures has to know."""
    said = list(table.said)
    if table.bad:
        said.append(f"{len(table.bad):,} rows of the catalogue make no product and are left out")
    for one in written:
        if one.rejected:
            said.append(f"{one.rejected:,} rejected texts are left out")
        if one.edited:
            said.append(
                f"{one.edited:,} texts were edited by people, and count as they edited them"
            )
    if found.seen:
        said.append(f"the writer had {found.seen:,} of the queries; they stand apart")
    if len(written) == 1:
        said.append("one job was judged: the intervals are over queries, not over what it drew")
    return said
