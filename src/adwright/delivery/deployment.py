"""Everything that serves a model, in one folder: an artifact of kind "cascade".

    manifest.json    sizes of the stages, and the hash of every file below
    retriever/       the two towers                  (an artifact of kind "retriever")
    coarse/          HCN                             (kind "retriever")
    fine/            DIN, where there is a fine stage (kind "ranker")
    histories/       what people did until then      (kind "histories", where asked for)

Loading checks every byte against the manifest, and each part against its own.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from adwright.core.artifacts import load_artifact, save_artifact
from adwright.core.clock import Clock
from adwright.core.config import from_jsonable, to_jsonable
from adwright.core.errors import ArtifactError, ConfigError
from adwright.data.draws import Draws
from adwright.delivery.blend import Blend, BlendedScorer, fit_blend
from adwright.delivery.cascade import Cascade, CascadeConfig
from adwright.delivery.coarse import VectorScorer
from adwright.delivery.decision import Request
from adwright.delivery.fine import FineRanker
from adwright.delivery.histories import Histories
from adwright.delivery.index import IndexKind
from adwright.delivery.retrieval import RetrieverArtifact
from adwright.delivery.sources import PastSource, QueryVectors, VectorSource, catalogue_index
from adwright.delivery.stages import Scorer
from adwright.training.ranker import Ranker

__all__ = ["KIND", "Deployment"]

KIND = "cascade"
_PARTS = ("retriever", "coarse", "fine", "histories")


@dataclass(frozen=True)
class _Config:
    """What the manifest says beside the parts."""

    cascade: CascadeConfig
    draws: Draws | None
    index: IndexKind
    blend: Blend | None = None


@dataclass(frozen=True, eq=False)
class Deployment:
    """The trained parts of a cascade.

    retriever, coarse: may be one and the same model. fine: None serves the coarse order. draws:
    of the choice task that the fine ranker was trained on. index: how the retriever is searched.
    blend: of the coarse order with counts of the person's past, see `blended`.
    histories: saved with it; None is nothing known of anybody. artifact_id: of what was loaded.
    """

    retriever: RetrieverArtifact
    coarse: RetrieverArtifact
    fine: Ranker | None
    draws: Draws | None = None
    config: CascadeConfig = field(default_factory=CascadeConfig)
    index: IndexKind = "exact"
    histories: Histories | None = None
    blend: Blend | None = None
    artifact_id: str = ""

    def cascade(self, histories: Histories | None = None, *, clock: Clock | None = None) -> Cascade:
        """The recommender.

        histories: instead of those saved. Raises ConfigError where a part is of another
        catalogue, MissingExtraError where the index needs a package that is not installed.
        """
        known = self.histories if histories is None else histories
        known = Histories(self.retriever.items) if known is None else known
        queries = QueryVectors(self.retriever, known)
        same = self.coarse is self.retriever
        coarse: Scorer = VectorScorer(queries if same else QueryVectors(self.coarse, known))
        return Cascade(
            known,
            vectors=VectorSource(queries, catalogue_index(self.retriever, self.index)),
            coarse=coarse if self.blend is None else BlendedScorer(coarse, self.blend),
            fine=None if self.fine is None else FineRanker(self.fine, known, self.draws),
            count=self.retriever.count,
            past=PastSource(),
            config=self.config,
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
            ids = [self.retriever.save(root / "retriever", clock=clock)]
            ids.append(self.coarse.save(root / "coarse", clock=clock))
            if self.fine is not None:
                ids.append(self.fine.save(root / "fine", clock=clock))
            if histories and self.histories is not None:
                ids.append(self.histories.save(root / "histories", clock=clock))
            files = {
                path.relative_to(root).as_posix(): path.read_bytes()
                for path in sorted(root.rglob("*"))
                if path.is_file()
            }
        return save_artifact(
            folder,
            kind=KIND,
            config=to_jsonable(_Config(self.config, self.draws, self.index, self.blend)),
            files=files,
            data_hash=self.retriever.data_hash,
            seed=self.retriever.seed,
            parents=ids,
            overwrite=overwrite,
            clock=clock,
        )

    @classmethod
    def load(cls, folder: str | Path) -> Deployment:
        """The parts of a deployment, after every byte was checked.

        Raises ArtifactError where it is none or a part is missing, ArtifactCorruptError where a
        file was changed, ArtifactUnsafeError for a pickle.
        """
        folder = Path(folder)
        artifact = load_artifact(folder, kind=KIND)
        parts = {name.partition("/")[0] for name in artifact.files}
        for part in _PARTS[:2]:
            if part not in parts:
                raise ArtifactError(f"the deployment lacks its {part}", where=str(folder))
        config = from_jsonable(_Config, artifact.config)
        retriever = RetrieverArtifact.load(folder / "retriever")
        return cls(
            retriever=retriever,
            coarse=RetrieverArtifact.load(folder / "coarse"),
            fine=Ranker.load(folder / "fine") if "fine" in parts else None,
            draws=config.draws,
            config=config.cascade,
            index=config.index,
            blend=config.blend,
            histories=Histories.load(folder / "histories", retriever.items)
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
                "a blend needs a fine stage to come near to, and people's histories",
                where="fine" if self.fine is None else "histories",
            )
        plain = replace(self, blend=None).cascade()
        if plain.fine is None:
            return self
        crowd = self.histories.crowd(requests)
        return replace(
            self, blend=fit_blend(plain.coarse, plain.fine, crowd, plain.retrieve(crowd))
        )

    def without_histories(self) -> Deployment:
        """The same models, knowing nothing of anybody."""
        return replace(self, histories=None)
