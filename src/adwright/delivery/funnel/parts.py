"""What a funnel is made of: trained models, counted tables, and what they are asked through.

FunnelParts          models and tables, as training left them
FunnelParts.opened   the same with histories: sources of candidates, and columns of an order
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from adwright.core.errors import ConfigError
from adwright.data.tasks.negatives import Draws
from adwright.delivery.cascade.cascade import SimilarSource
from adwright.delivery.funnel.columns import (
    CandidateColumns,
    CategoryColumn,
    ColumnName,
    ItemColumns,
    OwnColumns,
    ScorerColumn,
)
from adwright.delivery.item_item import item_table
from adwright.delivery.stages.histories import Histories
from adwright.delivery.stages.neighbour_source import NeighbourScorer, NeighbourSource
from adwright.delivery.stages.protocols import CandidateSource, Scorer
from adwright.delivery.stages.ranked_source import RankedSource
from adwright.delivery.stages.row_ranker import FineRanker
from adwright.delivery.stages.sequence_ranker import FalconRanker
from adwright.delivery.stages.sequence_source import SequenceQueries
from adwright.delivery.stages.vector_source import PastSource, QueryVectors
from adwright.training.ranking.ranker import Ranker
from adwright.training.retrieval.artifact import RetrieverArtifact
from adwright.training.retrieval.item_item import ItemItemArtifact
from adwright.training.sequential.artifact import SequenceArtifact

__all__ = ["SOURCES", "FunnelParts", "OpenParts", "SourceName"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
SourceName = Literal[
    "sequence", "two-tower", "item-item", "linear", "past", "lately", "popularity", "hcn"
]
#: All sources, in the order in which reports name them.
SOURCES: tuple[SourceName, ...] = get_args(SourceName)


@dataclass(frozen=True, eq=False)
class FunnelParts:
    """Models and tables of one catalogue of N items.

    ids: of the item codes 1 to N. count: int64 [N + 1], training events of each. repeats: whether
    what a user had is offered again. item_item: the rule; the other models are None where they
    were not trained, or do not serve. linear: item-item by regression. two_tower, hcn: vectors.
    sequence: HSTU or SASRec. fine: DIN or HSTU over choices, whose negatives were drawn as `draws`
    says. lately: float64 [N + 1], decayed events; None without times. category: int64 [N + 1];
    None without any.
    Raises ConfigError for a model of another catalogue.
    """

    ids: tuple[str, ...]
    count: Ints
    repeats: bool
    item_item: ItemItemArtifact | None = None
    linear: ItemItemArtifact | None = None
    sequence: SequenceArtifact | None = None
    two_tower: RetrieverArtifact | None = None
    hcn: RetrieverArtifact | None = None
    fine: Ranker | SequenceArtifact | None = None
    draws: Draws | None = None
    lately: Floats | None = None
    category: Ints | None = None

    def __post_init__(self) -> None:
        for name, model in self.models.items():
            ids = model.ids if isinstance(model, ItemItemArtifact | SequenceArtifact) else None
            known = ids or tuple(model.items.ids)  # type: ignore[union-attr]
            if known != self.ids:
                raise ConfigError(
                    "the models of a funnel count different items",
                    where=f"{name}: {len(known)} of {len(self.ids)} items",
                    hint="train them on one task",
                )

    @property
    def models(self) -> dict[str, ItemItemArtifact | SequenceArtifact | RetrieverArtifact | Ranker]:
        """The models that there are, by name."""
        every = {
            "item-item": self.item_item,
            "linear": self.linear,
            "sequence": self.sequence,
            "two-tower": self.two_tower,
            "hcn": self.hcn,
            "fine": self.fine,
        }
        return {name: model for name, model in every.items() if model is not None}

    def opened(self, histories: Histories | None = None, *, kept: int = 1024) -> OpenParts:
        """Make ready to be asked. histories: None for no user known. kept: histories that a fine
        HSTU keeps as it read them, see `FalconRanker`."""
        return OpenParts(self, histories or Histories(item_table(self.ids)), kept)


@dataclass(frozen=True, eq=False)
class OpenParts:
    """Parts with histories; what is asked for is made once."""

    parts: FunnelParts
    histories: Histories
    kept: int = 1024
    _made: dict[str, QueryVectors | SequenceQueries] = field(default_factory=dict, repr=False)

    @property
    def sources(self) -> tuple[SourceName, ...]:
        """The sources that these parts allow."""
        return tuple(name for name in SOURCES if self.source(name) is not None)

    def source(self, name: SourceName) -> CandidateSource | None:
        """A source, or None where its model or table is not there."""
        parts = self.parts
        match name:
            case "popularity":
                return RankedSource(parts.count)
            case "lately":
                return None if parts.lately is None else RankedSource(parts.lately)
            case "past":
                return PastSource() if parts.repeats else None
            case "item-item":
                return None if parts.item_item is None else NeighbourSource(parts.item_item.model)
            case "linear":
                return None if parts.linear is None else NeighbourSource(parts.linear.model)
            case "sequence" | "two-tower" | "hcn":
                queries = self._queries(name)
                return None if queries is None else queries.source()

    @cached_property
    def coarse_names(self) -> tuple[ColumnName, ...]:
        """All columns but that of the fine stage."""
        return tuple(
            name
            for one in self.columns(get_args(ColumnName))
            for name in one.names
            if name != "fine"
        )

    def columns(self, names: Iterable[ColumnName]) -> list[CandidateColumns]:
        """What says these columns, as far as the parts allow, and popularity for ties."""
        wanted, parts = {*names, "popularity"}, self.parts
        share = parts.count / max(int(parts.count.sum()), 1)
        tables: dict[ColumnName, Floats] = {"popularity": np.log1p(parts.count)}
        if parts.lately is not None and "lately" in wanted:
            whole = max(float(parts.lately.sum()), 1e-12)
            tables["lately"] = np.log(parts.lately / whole + 1e-3 * share + 1e-9)
        found: list[CandidateColumns] = [ItemColumns(tables)]
        if parts.category is not None and "category" in wanted:
            found.append(CategoryColumn(parts.category, parts.count))
        if parts.repeats and wanted & set(OwnColumns.names):
            found.append(OwnColumns())
        if parts.item_item is not None and "item-item" in wanted:
            found.append(ScorerColumn("item-item", NeighbourScorer(parts.item_item.model)))
        if parts.linear is not None and "linear" in wanted:
            found.append(ScorerColumn("linear", NeighbourScorer(parts.linear.model)))
        for name in ("sequence", "two-tower", "hcn"):
            queries = self._queries(name) if name in wanted else None
            if queries is not None:
                found.append(ScorerColumn(name, queries.scorer()))
        if "fine" in wanted and (fine := self._fine) is not None:
            found.append(ScorerColumn("fine", fine))
        return found

    @property
    def similar(self) -> SimilarSource:
        """What says which items are alike: vectors where there are any, else item-item.

        Raises ConfigError where there is neither.
        """
        for name in ("two-tower", "sequence", "hcn"):
            if (queries := self._queries(name)) is not None:
                return queries.source()
        if self.parts.item_item is None:
            raise ConfigError("a funnel has item-item or a model", where=", ".join(self.sources))
        return NeighbourSource(self.parts.item_item.model)

    @cached_property
    def _fine(self) -> Scorer | None:
        match self.parts.fine:
            case None:
                return None
            case SequenceArtifact() as ranker:
                return FalconRanker(ranker, self.histories, self.parts.draws, capacity=self.kept)
            case ranker:
                return FineRanker(ranker, self.histories, self.parts.draws)

    def _queries(
        self, name: Literal["sequence", "two-tower", "hcn"]
    ) -> QueryVectors | SequenceQueries | None:
        """The vectors of a model, kept for its source and its order alike."""
        if name not in self._made:
            match name:
                case "sequence":
                    if self.parts.sequence is None:
                        return None
                    self._made[name] = SequenceQueries(self.parts.sequence, self.histories)
                case "two-tower" | "hcn":
                    model = self.parts.two_tower if name == "two-tower" else self.parts.hcn
                    if model is None:
                        return None
                    self._made[name] = QueryVectors(model, self.histories)
        return self._made[name]
