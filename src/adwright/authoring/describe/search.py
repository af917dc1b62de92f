"""Judged by search: is a product found better by the description that was written for it?

    found = compare_search(products, [written], judged, [Bm25Ranker()])
    found.row("BM25 (k1 1.2, b 0.75)", "unseen", "both").lead

One catalogue is indexed four times: by titles alone, titles with the original description, with the
written one, and with both. The same rankers answer the same queries from each; NDCG@k by graded
judgements, and each index less the original one as a paired interval over queries (and over seeds,
where descriptions were written more than once). This is the protocol that "Leveraging Large
Language Models for Enhanced Product Descriptions in eCommerce" (Zhou et al., arXiv 2310.18357)
names in words; its data and settings are not public, so k, gains, rankers and intervals are ours.

Apart stand queries that the writer had seen, which prove nothing, and cold products: those without
an original description, or without a history. A description that echoes a query is left out.

Letters: S seeds, Q queries, C products.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal, Protocol

import numpy as np
import numpy.typing as npt

from adwright.authoring.describe.queries import DescriptionEcho, EchoConfig, EchoGuard, Judged
from adwright.authoring.tasks import Product
from adwright.core.config import Count, Gt, Lt, settings
from adwright.core.errors import DataError
from adwright.metrics.bootstrap import MethodInterval, two_level_difference, two_level_ratio
from adwright.metrics.ranking import Gain, graded_ndcg_per_query

Floats = npt.NDArray[np.float64]
Index = Literal["title", "original", "written", "both"]
INDEXES: tuple[Index, ...] = ("title", "original", "written", "both")
#: unseen: queries that the writer had not seen. cold: the same, and only cold products count as
#: answers. seen: the others; they are shown, and prove nothing.
Part = Literal["unseen", "cold", "seen"]
#: drop: they are indexed as if they had not been written. keep: they count.
Echoes = Literal["drop", "keep"]


class DocumentRanker(Protocol):
    """What answers queries. name: for a table."""

    @property
    def name(self) -> str:
        """See the class."""
        ...

    def lists(
        self, documents: Sequence[Sequence[str]], queries: Sequence[str], k: int, /
    ) -> npt.NDArray[np.int64]:
        """The k best documents of each query, [Q, k], -1 where there are no more."""
        ...


@settings
class SearchConfig:
    """k: of NDCG@k. gain: see `metrics.graded`. echo: what counts as an echo, and echoes: what
    becomes of such descriptions. draws, confidence, seed: of the intervals.

    Raises ConfigError that names the setting.
    """

    k: Count = 10
    gain: Gain = "exponential"
    echo: EchoConfig = field(default_factory=EchoConfig)
    echoes: Echoes = "drop"
    draws: Count = 1000
    confidence: Annotated[float, Gt(0), Lt(1)] = 0.95
    seed: int = 0


@settings
class SearchRow:
    """A number of the table. ndcg: of this index; lead: its distance from the original index,
    paired, None for that one itself. queries: that count here."""

    ranker: str
    part: Part
    index: Index
    queries: int
    ndcg: MethodInterval
    lead: MethodInterval | None


@dataclass(frozen=True)
class DescriptionSearch:
    """rows: of each ranker, part and index. k: of NDCG@k. echoes: by seed, what was found by the
    guard. written: products that have a written description, by seed. cold: cold products.
    seen, unanswered, unknown: see `Judged`."""

    rows: tuple[SearchRow, ...]
    k: int
    products: int
    cold: int
    written: tuple[int, ...]
    echoes: tuple[tuple[DescriptionEcho, ...], ...]
    seen: int
    unanswered: int
    unknown: int

    def row(self, ranker: str, part: Part, index: Index) -> SearchRow:
        """The row of that name; KeyError where there is none."""
        for one in self.rows:
            if (one.ranker, one.part, one.index) == (ranker, part, index):
                return one
        raise KeyError((ranker, part, index))


def compare_search(
    products: Sequence[Product],
    written: Sequence[Mapping[str, str]],
    judged: Judged,
    rankers: Sequence[DocumentRanker],
    config: SearchConfig | None = None,
    *,
    history: Collection[str] | None = None,
) -> DescriptionSearch:
    """Compare the indexes.

    products: of the catalogue, in the order of `judged`. written: of each seed, product id to
    description; a product without one stands in the written index by its title. history: ids of
    products that somebody bought or clicked; the others are cold, too. None: not known.

    Raises DataError where every query was seen, or nothing was written.
    """
    config = config or SearchConfig()
    if not written or not any(any(one.values()) for one in written):
        raise DataError("there are no written descriptions", hint="write some, then judge them")
    seen = judged.seen()
    if seen.all():
        raise DataError(
            "the writer has seen every query",
            column="query",
            value=judged.queries[0].text,
            hint="judge by queries that were not given to it: what echoes them would win",
        )
    guard = EchoGuard((one.text for one in judged.queries), config.echo, catalogue=products)
    echoes = tuple(guard.echoes(products, one) for one in written)
    if config.echoes == "drop":
        written = [
            {key: text for key, text in one.items() if key not in {e.product for e in found}}
            for one, found in zip(written, echoes, strict=True)
        ]
    cold = np.array([_is_cold(one, history) for one in products], np.bool_)
    rows: list[SearchRow] = []
    for ranker in rankers:
        lists = _lists(products, written, judged, ranker, config.k)
        for part, where, worth in _parts(judged, seen, cold):
            rows += _measured(ranker.name, part, lists, judged, where, worth, config)
    return DescriptionSearch(
        rows=tuple(rows),
        k=config.k,
        products=len(products),
        cold=int(cold.sum()),
        written=tuple(sum(bool(one.get(each.id)) for each in products) for one in written),
        echoes=echoes,
        seen=int(seen.sum()),
        unanswered=judged.unanswered,
        unknown=judged.unknown,
    )


def _is_cold(product: Product, history: Collection[str] | None) -> bool:
    return not product.description.strip() or (history is not None and product.id not in history)


def _lists(
    products: Sequence[Product],
    written: Sequence[Mapping[str, str]],
    judged: Judged,
    ranker: DocumentRanker,
    k: int,
) -> dict[Index, list[npt.NDArray[np.int64]]]:
    """Of each index, the lists [Q, k] of each seed; one where no seed has a part in it."""
    queries = [one.text for one in judged.queries]

    def listed(index: Index, texts: Mapping[str, str]) -> npt.NDArray[np.int64]:
        documents = [_passages(one, index, texts.get(one.id, "")) for one in products]
        return ranker.lists(documents, queries, k)

    found: dict[Index, list[npt.NDArray[np.int64]]] = {}
    for index in INDEXES:
        of = written if index in ("written", "both") else ({},)
        found[index] = [listed(index, texts) for texts in of]
    return found


def _passages(product: Product, index: Index, text: str) -> tuple[str, ...]:
    """The title and each description that the index holds: a text by words, passages by vectors."""
    bodies = []
    if index in ("original", "both"):
        bodies.append(product.description)
    if index in ("written", "both"):
        bodies.append(text)
    bodies = [one for one in bodies if one.strip()]
    return (product.title, *bodies)


def _parts(
    judged: Judged, seen: npt.NDArray[np.bool_], cold: npt.NDArray[np.bool_]
) -> list[tuple[Part, npt.NDArray[np.bool_], Floats]]:
    """Each part that there is: which queries [Q], and the grades [J] that count."""
    grades_cold = judged.grades_of(cold)
    owner = np.repeat(np.arange(len(judged.queries)), np.diff(judged.offsets))
    has_cold = np.bincount(owner, grades_cold, minlength=len(judged.queries)) > 0
    every: list[tuple[Part, npt.NDArray[np.bool_], Floats]] = [
        ("unseen", ~seen, judged.grades),
        ("cold", ~seen & has_cold, grades_cold),
        ("seen", seen, judged.grades),
    ]
    return [one for one in every if one[1].any()]


def _measured(
    ranker: str,
    part: Part,
    lists: Mapping[Index, Sequence[npt.NDArray[np.int64]]],
    judged: Judged,
    where: npt.NDArray[np.bool_],
    worth: Floats,
    config: SearchConfig,
) -> list[SearchRow]:
    """The rows of a part; every interval draws the same queries."""
    values: dict[Index, Floats] = {}
    for index, of_seeds in lists.items():
        found = np.stack(
            [
                graded_ndcg_per_query(
                    one, judged.offsets, judged.items, worth, k=config.k, gain=config.gain
                )
                for one in of_seeds
            ]
        )[:, where]
        # Nothing was drawn to make the indexes of what was there before.
        values[index] = found if index in ("written", "both") else found[0]
    ones = np.ones(int(where.sum()))
    rows = []
    for index, found in values.items():
        rng = np.random.default_rng(config.seed)
        ndcg = two_level_ratio(found, ones, rng, config.draws, confidence=config.confidence)
        lead = None
        if index != "original":
            lead = two_level_difference(
                found,
                values["original"],
                ones,
                np.random.default_rng(config.seed),
                config.draws,
                confidence=config.confidence,
            )
        rows.append(SearchRow(ranker, part, index, len(ones), ndcg, lead))
    return rows
