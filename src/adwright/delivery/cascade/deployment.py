"""All the models of a cascade in one folder: an artifact of kind "cascade".

    manifest.json    sizes of the stages, and the hash of every file below
    retriever/       the two towers, or HSTU         (an artifact of kind "retriever" or "sequence")
    coarse/          HCN                             (the same)
    fine/            DIN, where there is a fine stage (kind "ranker", or "sequence" for HSTU)
    histories/       what users did until then      (kind "histories", where asked for)

Loading reads every file once, checks it against the manifest and against that of its part, whose
kind says what it is, and makes the models of the bytes that were checked.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import field, replace
from pathlib import Path
from typing import TypeVar

from adwright.core.artifacts import Artifact, load_artifact, save_artifact
from adwright.core.clock import Clock
from adwright.core.config import from_jsonable, settings, to_jsonable
from adwright.core.errors import ArtifactError, ConfigError
from adwright.data.features import ItemTable
from adwright.data.tasks.negatives import Draws
from adwright.delivery.calibrated import Calibration
from adwright.delivery.cascade.cascade import Cascade, CascadeConfig
from adwright.delivery.decision import Request
from adwright.delivery.index.index import IndexKind
from adwright.delivery.stages.blend import Blend, BlendedScorer, fit_blend
from adwright.delivery.stages.histories import Histories
from adwright.delivery.stages.protocols import Scorer
from adwright.delivery.stages.row_ranker import FineRanker
from adwright.delivery.stages.sequence_batch import items_of
from adwright.delivery.stages.sequence_ranker import FalconRanker
from adwright.delivery.stages.sequence_source import SequenceQueries
from adwright.delivery.stages.vector_source import PastSource, QueryVectors, catalogue_index
from adwright.training.ranking.ranker import Ranker
from adwright.training.retrieval.artifact import RetrieverArtifact
from adwright.training.sequential.artifact import KIND as SEQUENCE
from adwright.training.sequential.artifact import SequenceArtifact

__all__ = ["KIND", "Deployment", "Ranking", "Retrieving"]

#: Models that find items by vectors, and models that order the few that are left.
Retrieving = RetrieverArtifact | SequenceArtifact
Ranking = Ranker | SequenceArtifact

Model = TypeVar("Model", RetrieverArtifact, Ranker)

KIND = "cascade"
_PARTS = ("retriever", "coarse", "fine", "histories")


@settings
class _Config:
    """The part of the manifest that is not about files."""

    cascade: CascadeConfig
    draws: Draws | None
    index: IndexKind
    blend: Blend | None = None
    calibration: Calibration = field(default_factory=dict)


@settings(eq=False)
class Deployment:
    """The trained parts of a cascade.

    retriever, coarse: may be one and the same model; a sequential one is an HSTU or SASRec.
    fine: a ranker of rows, or an HSTU ranker of sequences (`FalconRanker`); None serves the
    coarse order. draws: of the choices that the fine ranker was trained on. index: how the
    retriever is searched. blend: of the coarse order with counts of the user's past, see
    `blended`. calibration: what the scores of each stage are worth.
    histories: saved with it; None for no user known. artifact_id: of what was loaded.
    """

    retriever: Retrieving
    coarse: Retrieving
    fine: Ranking | None
    draws: Draws | None = None
    config: CascadeConfig = field(default_factory=CascadeConfig)
    index: IndexKind = "exact"
    histories: Histories | None = None
    blend: Blend | None = None
    calibration: Calibration = field(default_factory=dict)
    artifact_id: str = ""

    def cascade(
        self,
        histories: Histories | None = None,
        *,
        clock: Clock | None = None,
        kept: int = 1024,
    ) -> Cascade:
        """The recommender.

        histories: instead of those saved. kept: histories that an HSTU ranker keeps as it read
        them, see `FalconRanker`. Raises ConfigError where a part is of another catalogue,
        MissingExtraError where the index needs a package that is not installed.
        """
        known = self.histories if histories is None else histories
        known = Histories(_items_of(self.retriever)) if known is None else known
        queries = _queries(self.retriever, known)
        same = self.coarse is self.retriever
        coarse = (queries if same else _queries(self.coarse, known)).scorer()
        return Cascade(
            known,
            vectors=queries.source(catalogue_index(self.retriever, self.index)),
            coarse=coarse if self.blend is None else BlendedScorer(coarse, self.blend),
            fine=self._fine(known, kept),
            count=self.retriever.count,
            past=PastSource(),
            config=self.config,
            calibration=self.calibration,
            clock=clock,
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
        with tempfile.TemporaryDirectory(prefix="adwright-deployment-") as scratch:
            root = Path(scratch)
            known = self.histories if histories else None
            parts = zip(_PARTS, (self.retriever, self.coarse, self.fine, known), strict=True)
            ids = [part.save(root / name, clock=clock) for name, part in parts if part is not None]
            files = {
                path.relative_to(root).as_posix(): path.read_bytes()
                for path in sorted(root.rglob("*"))
                if path.is_file()
            }
        return save_artifact(
            folder,
            kind=KIND,
            config=to_jsonable(
                _Config(self.config, self.draws, self.index, self.blend, self.calibration)
            ),
            files=files,
            data_hash=self.retriever.data_hash,
            seed=self.retriever.seed,
            parents=ids,
            overwrite=overwrite,
            clock=clock,
        )

    @classmethod
    def load(cls, source: str | Path | Artifact) -> Deployment:
        """The parts of a deployment, after every byte was checked.

        source: its folder, or the artifact where it was read already.
        Raises ArtifactError where it is none or a part is missing, ArtifactCorruptError where a
        file was changed, ArtifactUnsafeError for a pickle.
        """
        artifact = load_artifact(source, kind=KIND)
        parts = {name.partition("/")[0] for name in artifact.files}
        for part in _PARTS[:2]:
            if part not in parts:
                raise ArtifactError(f"the deployment lacks its {part}", where=str(artifact.folder))
        config = from_jsonable(_Config, artifact.config)
        retriever = _model(artifact, "retriever", RetrieverArtifact)
        return cls(
            retriever=retriever,
            coarse=_model(artifact, "coarse", RetrieverArtifact),
            fine=_model(artifact, "fine", Ranker) if "fine" in parts else None,
            draws=config.draws,
            config=config.cascade,
            index=config.index,
            blend=config.blend,
            calibration=config.calibration,
            histories=Histories.load(artifact.part("histories"), _items_of(retriever))
            if "histories" in parts
            else None,
            artifact_id=artifact.id,
        )

    def blended(self, requests: Sequence[Request]) -> Deployment:
        """The same models, the coarse order blended with counts so that it comes nearest to the
        fine one for these requests: some hundred from before the validation baskets will do.

        Raises ConfigError without a fine stage or histories, and as `fit_blend`.
        """
        if self.fine is None or self.histories is None:
            raise ConfigError(
                "a blend needs a fine stage to come near to, and users' histories",
                where="fine" if self.fine is None else "histories",
            )
        plain = replace(self, blend=None).cascade()
        if plain.fine is None:
            return self
        batch = self.histories.batch(requests)
        return replace(
            self, blend=fit_blend(plain.coarse, plain.fine, batch, plain.retrieve(batch))
        )

    def _fine(self, known: Histories, kept: int) -> Scorer | None:
        match self.fine:
            case None:
                return None
            case SequenceArtifact() as ranker:
                return FalconRanker(ranker, known, self.draws, capacity=kept)
            case ranker:
                return FineRanker(ranker, known, self.draws)


def _items_of(artifact: Retrieving) -> ItemTable:
    return items_of(artifact) if isinstance(artifact, SequenceArtifact) else artifact.items


def _queries(artifact: Retrieving, known: Histories) -> QueryVectors | SequenceQueries:
    match artifact:
        case RetrieverArtifact():
            return QueryVectors(artifact, known)
        case SequenceArtifact():
            return SequenceQueries(artifact, known)


def _model(artifact: Artifact, name: str, other: type[Model]) -> Model | SequenceArtifact:
    """The model of a part: by its own manifest a sequential one, or one of the class `other`."""
    part = artifact.part(name)
    cls = SequenceArtifact if part.kind == SEQUENCE else other
    return cls.load(part)
