"""A funnel, saved and served: its models, sources and orders, in an artifact of kind "cascade".

    manifest.json        sources and orders, and the hash of every file below
    tensors.safetensors  training events of each item, and the tables that serve
    item-item/, linear/, alike/    each where it serves     (artifacts of kind "item-item")
    sequence/, sasrec/   HSTU, SASRec                       (kind "sequence")
    two-tower/, hcn/     vectors                            (kind "retriever")
    fine/                DIN, or HSTU over choices          (kind "ranker" or "sequence")
    histories/           what users did until then          (kind "histories", where asked for)

`load_cascade` opens these and the cascades of three fixed stages alike.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from adwright.core.artifacts import Artifact, Fitted, load_artifact, save_artifact
from adwright.core.clock import Clock
from adwright.core.config import from_jsonable, settings, to_jsonable
from adwright.core.errors import ArtifactError, ConfigError
from adwright.data.tasks.negatives import Draws
from adwright.delivery.calibrated import Calibration
from adwright.delivery.cascade.build import KIND, Deployment, fine_scorer, queries_of
from adwright.delivery.cascade.cascade import Cascade, CascadeConfig, SimilarSource
from adwright.delivery.counted import item_table
from adwright.delivery.funnel.columns import (
    CandidateColumns,
    CategoryColumn,
    ColumnName,
    ItemColumns,
    MixedScorer,
    OwnColumns,
    ScoreMixture,
    ScorerColumn,
)
from adwright.delivery.served import load_alone
from adwright.delivery.stages.histories import Histories, packed
from adwright.delivery.stages.protocols import CandidateSource, Scorer
from adwright.delivery.stages.sequence import SequenceQueries
from adwright.delivery.stages.sources import (
    NeighbourScorer,
    NeighbourSource,
    PastSource,
    QueryVectors,
    RankedSource,
)
from adwright.models.retrieval.item_item import ItemItem
from adwright.training.ranking.ranker import Ranker
from adwright.training.retrieval.fit import RetrieverArtifact
from adwright.training.retrieval.item_item import KIND as ITEM_ITEM
from adwright.training.retrieval.item_item import ItemItemArtifact
from adwright.training.sequential.artifact import SequenceArtifact

# --------------------------------------------------------------------------------------------------
# What a funnel is made of: trained models, counted tables, and what they are asked through.
#
# FunnelParts          models and tables, as training left them
# FunnelParts.opened   the same with histories: sources of candidates, and columns of an order

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
SourceName = Literal[
    "sequence",
    "sasrec",
    "two-tower",
    "item-item",
    "linear",
    "alike",
    "past",
    "lately",
    "popularity",
    "hcn",
]
#: All sources, in the order in which reports name them.
SOURCES: tuple[SourceName, ...] = get_args(SourceName)
FunnelModel = ItemItemArtifact | SequenceArtifact | RetrieverArtifact | Ranker
_TABLES: tuple[ColumnName, ...] = ("item-item", "linear", "alike")
_MODELS: tuple[ColumnName, ...] = (*_TABLES, "sequence", "sasrec", "two-tower", "hcn", "fine")


@dataclass(frozen=True, eq=False)
class FunnelParts:
    """Models and tables of one catalogue of N items.

    ids: of the item codes 1 to N. count: int64 [N + 1], training events of each. repeats: whether
    what a user had is offered again. models: those that were trained, or serve: item-item, the
    rule; linear, item-item by regression; alike, what is known of items; sequence and sasrec, HSTU
    and SASRec; two-tower and hcn, vectors; fine, DIN or HSTU over choices, whose negatives were
    drawn as `draws` says.
    lately: float64 [N + 1], decayed events; None without times. category: int64 [N + 1];
    None without any.
    Raises ConfigError for a model of another catalogue.
    """

    ids: tuple[str, ...]
    count: Ints
    repeats: bool
    models: Mapping[str, FunnelModel] = field(default_factory=dict)
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

    def neighbours(self, name: str) -> ItemItem | None:
        """The rule, or the linear model, where there is one."""
        found = self.models.get(name)
        return found.model if isinstance(found, ItemItemArtifact) else None

    def with_models(self, models: Mapping[str, FunnelModel]) -> FunnelParts:
        """With these beside the others, or in their places."""
        return replace(self, models={**self.models, **models})

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
            case "item-item" | "linear" | "alike":
                table = parts.neighbours(name)
                return None if table is None else NeighbourSource(table)
            case "sequence" | "sasrec" | "two-tower" | "hcn":
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
        for name in _MODELS:
            if name in wanted and (scorer := self._scorer(name)) is not None:
                found.append(ScorerColumn(name, scorer))
        return found

    @property
    def similar(self) -> SimilarSource:
        """What says which items are alike: vectors where there are any, else item-item.

        Raises ConfigError where there is neither.
        """
        for name in ("two-tower", "sasrec", "sequence", "hcn"):
            if (queries := self._queries(name)) is not None:
                return queries.source()
        table = self.parts.neighbours("item-item")
        if table is None:
            raise ConfigError("a funnel has item-item or a model", where=", ".join(self.sources))
        return NeighbourSource(table)

    def _scorer(self, name: ColumnName) -> Scorer | None:
        if name == "fine":
            return self._fine
        if (table := self.parts.neighbours(name)) is not None:
            return NeighbourScorer(table)
        queries = self._queries(name)
        return None if queries is None else queries.scorer()

    @cached_property
    def _fine(self) -> Scorer | None:
        fine = self.parts.models.get("fine")
        ranker = fine if isinstance(fine, Ranker | SequenceArtifact) else None
        return fine_scorer(ranker, self.histories, self.parts.draws, self.kept)

    def _queries(self, name: str) -> QueryVectors | SequenceQueries | None:
        """The vectors of a model, kept for its source and its order alike."""
        model = self.parts.models.get(name)
        if name not in self._made and isinstance(model, RetrieverArtifact | SequenceArtifact):
            self._made[name] = queries_of(model, self.histories)
        return self._made.get(name)


_FORMAT = 1
_IDS = "items.json"


@settings
class Serving:
    """What serves. sources: name -> how many items it finds. coarse: the order of what they find;
    fine: of the `cascade.coarse` best of these, or None. cascade: sizes. calibration: what the
    scores of each stage are worth."""

    sources: Mapping[SourceName, int]
    coarse: ScoreMixture
    fine: ScoreMixture | None = None
    cascade: CascadeConfig = field(default_factory=CascadeConfig)
    calibration: Calibration = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.sources:
            raise ConfigError("a funnel has a source", where="sources", hint='use "popularity"')

    @property
    def asked(self) -> set[str]:
        """Names of the sources and columns that serve."""
        fine = self.fine.names if self.fine is not None else ()
        return {*self.sources, *self.coarse.names, *fine}


@dataclass(frozen=True)
class _SavedFunnel:
    """The part of the manifest that is not about files."""

    format: int
    serving: Serving
    repeats: bool
    draws: Draws | None = None


@dataclass(frozen=True, eq=False)
class Funnel:
    """The trained parts of a cascade, with what serves of them.

    histories: saved with it; None for no user known. data_hash: of the task. seed: of the
    trainings. artifact_id: of what was loaded or saved. fitted: on which events the part that knows
    most was; None for what an older version saved.
    """

    parts: FunnelParts
    serving: Serving
    histories: Histories | None = None
    data_hash: str = ""
    seed: int = 0
    artifact_id: str = ""
    fitted: Fitted | None = None

    def cascade(
        self,
        histories: Histories | None = None,
        *,
        clock: Clock | None = None,
        kept: int = 1024,
    ) -> Cascade:
        """The recommender. histories: instead of those saved. kept: see `FunnelParts.opened`."""
        known = self.histories if histories is None else histories
        return self.opened_cascade(self.parts.opened(known, kept=kept), clock=clock)

    def opened_cascade(self, parts: OpenParts, *, clock: Clock | None = None) -> Cascade:
        """The recommender of parts that are open already. Raises ConfigError where a source that
        serves is not among them."""
        serving, sources = self.serving, []
        for name, k in serving.sources.items():
            source = parts.source(name)
            if source is None:
                raise ConfigError("a source that serves lacks its model", where=name)
            sources.append((source, k))
        fine = None
        if serving.fine is not None:
            fine = MixedScorer(serving.fine, parts.columns(serving.fine.names))
        return Cascade(
            parts.histories,
            vectors=parts.similar,
            coarse=MixedScorer(serving.coarse, parts.columns(serving.coarse.names)),
            fine=fine,
            count=parts.parts.count,
            sources=sources,
            config=replace(
                serving.cascade, unseen=parts.histories.leave_out(repeats=parts.parts.repeats)
            ),
            calibration=serving.calibration,
            clock=clock,
        )

    def serving_alone(self) -> Funnel:
        """Without the models and tables that nothing asks for; item-item stays, as it says which
        items are alike where no vectors do."""
        asked, parts = self.serving.asked, self.parts
        return replace(
            self,
            parts=replace(
                parts,
                models={n: one for n, one in parts.models.items() if n in {"item-item", *asked}},
                lately=parts.lately if "lately" in asked else None,
                category=parts.category if "category" in asked else None,
            ),
        )

    def save(
        self,
        folder: str | Path,
        *,
        histories: bool = True,
        overwrite: bool = False,
        clock: Clock | None = None,
    ) -> str:
        """Write the folder, whole or not at all; returns its id.

        histories: write them too; what they hold is personal. Raises as `save_artifact`.
        """
        parts = self.parts
        known = self.histories if histories else None
        ids, files = packed({**parts.models, "histories": known}, clock)
        tables = {"count": parts.count, "lately": parts.lately, "category": parts.category}
        return save_artifact(
            folder,
            kind=KIND,
            config={
                "funnel": to_jsonable(
                    _SavedFunnel(_FORMAT, self.serving, parts.repeats, parts.draws)
                )
            },
            tensors={name: table for name, table in tables.items() if table is not None},
            files={**files, _IDS: json.dumps(parts.ids)},
            data_hash=self.data_hash,
            seed=self.seed,
            parents=ids,
            fitted=self.fitted,
            overwrite=overwrite,
            clock=clock,
        )

    @classmethod
    def load(cls, source: str | Path | Artifact) -> Funnel:
        """What `save` wrote, after every byte was checked.

        source: its folder, or the artifact where it was read already.
        Raises ArtifactError where it is none, ArtifactCorruptError where a file was changed,
        ArtifactUnsafeError for a pickle.
        """
        artifact = load_artifact(source, kind=KIND)
        if "funnel" not in artifact.config:
            raise ArtifactError(
                "this cascade has three fixed stages",
                where=str(artifact.folder),
                hint="open it with load_cascade or Deployment.load",
            )
        saved = from_jsonable(_SavedFunnel, artifact.config["funnel"])
        there = {name.partition("/")[0] for name in artifact.files}
        tables = artifact.tensors
        ids = tuple(str(one) for one in json.loads(artifact.text(_IDS)))
        parts = FunnelParts(
            ids=ids,
            count=tables["count"].astype(np.int64),
            repeats=saved.repeats,
            models={name: _model(artifact.part(name)) for name in _MODELS if name in there},
            draws=saved.draws,
            lately=tables.get("lately"),
            category=tables.get("category"),
        )
        known = None
        if "histories" in there:
            known = Histories.load(artifact.part("histories"), item_table(ids))
        return cls(
            parts,
            saved.serving,
            known,
            artifact.data_hash,
            artifact.seed,
            artifact.id,
            artifact.fitted,
        )


def load_cascade(source: str | Path | Artifact) -> Deployment | Funnel:
    """A saved cascade of either form; both have `cascade()` and `histories`. Raises as their
    `load`."""
    artifact = load_artifact(source, kind=KIND)
    return Funnel.load(artifact) if "funnel" in artifact.config else Deployment.load(artifact)


def _model(part: Artifact) -> FunnelModel:
    return ItemItemArtifact.load(part) if part.kind == ITEM_ITEM else load_alone(part)
