"""A funnel, saved and served: its models, sources and orders, in an artifact of kind "cascade".

    manifest.json        sources and orders, and the hash of every file below
    tensors.safetensors  training events of each item, and the tables that serve
    item-item/, linear/  each of these where it serves      (artifacts of kind "item-item")
    sequence/            HSTU or SASRec                     (kind "sequence")
    two-tower/, hcn/     vectors                            (kind "retriever")
    fine/                DIN, or HSTU over choices          (kind "ranker" or "sequence")
    histories/           what users did until then          (kind "histories", where asked for)

`load_cascade` opens these and the cascades of three fixed stages alike.
"""

from __future__ import annotations

import json
import tempfile
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
from adwright.delivery.cascade.build import KIND, Deployment
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
from adwright.delivery.stages.histories import Histories
from adwright.delivery.stages.protocols import CandidateSource, Scorer
from adwright.delivery.stages.row_ranker import FineRanker
from adwright.delivery.stages.sequence import FalconRanker, SequenceQueries
from adwright.delivery.stages.sources import (
    NeighbourScorer,
    NeighbourSource,
    PastSource,
    QueryVectors,
    RankedSource,
)
from adwright.training.ranking.ranker import Ranker
from adwright.training.retrieval.fit import RetrieverArtifact
from adwright.training.retrieval.item_item import ItemItemArtifact
from adwright.training.sequential.artifact import KIND as SEQUENCE
from adwright.training.sequential.artifact import SequenceArtifact

# --------------------------------------------------------------------------------------------------
# What a funnel is made of: trained models, counted tables, and what they are asked through.
#
# FunnelParts          models and tables, as training left them
# FunnelParts.opened   the same with histories: sources of candidates, and columns of an order

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
                linear=parts.linear if "linear" in asked else None,
                sequence=parts.sequence if "sequence" in asked else None,
                two_tower=parts.two_tower if "two-tower" in asked else None,
                hcn=parts.hcn if "hcn" in asked else None,
                fine=parts.fine if "fine" in asked else None,
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
        with tempfile.TemporaryDirectory(prefix="adwright-funnel-") as scratch:
            root = Path(scratch)
            ids = [model.save(root / name, clock=clock) for name, model in parts.models.items()]
            if histories and self.histories is not None:
                ids.append(self.histories.save(root / "histories", clock=clock))
            files: dict[str, bytes | str] = {
                path.relative_to(root).as_posix(): path.read_bytes()
                for path in sorted(root.rglob("*"))
                if path.is_file()
            }
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

        def part(name: str) -> Artifact | None:
            return artifact.part(name) if name in there else None

        item_item, linear, sequence = part("item-item"), part("linear"), part("sequence")
        two_tower, hcn = part("two-tower"), part("hcn")
        parts = FunnelParts(
            ids=ids,
            count=tables["count"].astype(np.int64),
            repeats=saved.repeats,
            item_item=None if item_item is None else ItemItemArtifact.load(item_item),
            linear=None if linear is None else ItemItemArtifact.load(linear),
            sequence=None if sequence is None else SequenceArtifact.load(sequence),
            two_tower=None if two_tower is None else RetrieverArtifact.load(two_tower),
            hcn=None if hcn is None else RetrieverArtifact.load(hcn),
            fine=_fine(part("fine")),
            draws=saved.draws,
            lately=tables.get("lately"),
            category=tables.get("category"),
        )
        known = part("histories")
        return cls(
            parts,
            saved.serving,
            None if known is None else Histories.load(known, item_table(ids)),
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


def _fine(part: Artifact | None) -> Ranker | SequenceArtifact | None:
    if part is None:
        return None
    return SequenceArtifact.load(part) if part.kind == SEQUENCE else Ranker.load(part)
