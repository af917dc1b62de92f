"""What `adwright author evaluate` does: read all that it is given, judge, and report.

sources = DescribeSources(Path("products.csv"), Path("queries.csv"), Path("judgements.csv"),
                          drafts=(Path("out"),))
report = judge_descriptions(sources)
print(report.text())
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Literal

import polars as pl

from adwright.authoring.describe.bm25 import Bm25Ranker
from adwright.authoring.describe.clicks import ClickConfig, ClickResult, clicks_from_log
from adwright.authoring.describe.judgement_file import read_pair_judgements
from adwright.authoring.describe.queries import judged_by, read_judgements, read_queries
from adwright.authoring.describe.report import DescriptionReport
from adwright.authoring.describe.review import review_pairs
from adwright.authoring.describe.search import (
    DescriptionSearch,
    DocumentRanker,
    SearchConfig,
    compare_search,
)
from adwright.authoring.describe.simulated_clicks import SimulatedClickConfig, simulate_clicks
from adwright.authoring.describe.vectors import VectorRanker
from adwright.authoring.describe.written import WrittenTexts, seen_in_columns, written_texts
from adwright.authoring.writer.shop.products import ProductTable, read_products
from adwright.core.config import settings, to_jsonable
from adwright.core.errors import ConfigError, SchemaError
from adwright.data.schema import ACTION_KINDS
from adwright.data.sources.frames import as_frame
from adwright.data.sources.tables import read_events

RankerName = Literal["bm25", "vectors"]


@settings
class DescribeSources:
    """Where everything is.

    catalogue: table of products with their original descriptions. queries, judgements: see
    `queries`. drafts: folders of writing jobs, one a seed. seen: table with a column `query` of
    what the writer was given. log, arms: an EventLog with propensities, and a table of creative_id
    and arm (original or written). reviews: a file of pairwise judgements.

    Raises ConfigError where there is no folder, or only one of log and arms.
    """

    catalogue: Path
    queries: Path
    judgements: Path
    drafts: tuple[Path, ...]
    seen: Path | None = None
    log: Path | None = None
    arms: Path | None = None
    reviews: Path | None = None

    def __post_init__(self) -> None:
        if not self.drafts:
            raise ConfigError(
                "descriptions to judge lie in the folder of a writing job",
                where="drafts",
                hint="name it: --drafts FOLDER",
            )
        if self.arms is not None and self.log is None:
            raise ConfigError(
                "arms say which description each creative of a log shows",
                where=f"arms {self.arms}",
                hint="name the log, too: --log FILE",
            )


@settings
class DescribeConfig:
    """slot, variant: of the texts that are judged. rankers: that answer the queries. k1, b: of
    BM25. simulate_clicks: also by the position-based simulator. offline: never download."""

    slot: str = "description"
    variant: int = 0
    rankers: tuple[RankerName, ...] = ("bm25", "vectors")
    k1: float = 1.2
    b: float = 0.75
    search: SearchConfig = field(default_factory=SearchConfig)
    clicks: ClickConfig = field(default_factory=ClickConfig)
    simulate_clicks: bool = False
    simulation: SimulatedClickConfig = field(default_factory=SimulatedClickConfig)
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
    events, clicks = _clicks(sources, config)
    history = None if events is None else _bought(events)
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
        clicks=clicks,
        simulated=simulate_clicks(found, config.simulation) if config.simulate_clicks else (),
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


def _clicks(
    sources: DescribeSources, config: DescribeConfig
) -> tuple[pl.LazyFrame | None, ClickResult | None]:
    """The log, and what it says of clicks where the arms are known."""
    if sources.log is None:
        return None, None
    events = read_events(sources.log)
    if sources.arms is None:
        return events, None
    creatives, kinds = (_column(sources.arms, name) for name in ("creative_id", "arm"))
    return events, clicks_from_log(events, dict(zip(creatives, kinds, strict=True)), config.clicks)


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
