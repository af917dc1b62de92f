"""A trained model that serves alone, with the histories that it is asked with.

A cascade needs several models; one is enough to serve:

    two towers, HCN, HSTU, SASRec   search the catalogue, and order what they find
    DIN                             orders the items that a request names, or else the most
                                    popular ones and the user's own

Saved as an artifact of kind "served":

    manifest.json    whether items are offered again
    model/           the artifact as training wrote it: kind "retriever", "sequence" or "ranker"
    histories/       what users did until then          (kind "histories")

A model that was published without histories is served too; it knows of its users what they do
from then on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import polars as pl

from adwright.core.artifacts import Artifact, load_artifact, save_artifact
from adwright.core.clock import Clock
from adwright.core.config import from_jsonable, to_jsonable
from adwright.core.errors import ArtifactError, ConfigError
from adwright.data.features import ItemTable
from adwright.data.schema import ACTION_KINDS
from adwright.data.tasks.own.next_item import profiles_as_trained
from adwright.delivery.calibrated import Calibration, fit_to_histories
from adwright.delivery.cascade.build import queries_of
from adwright.delivery.cascade.cascade import Cascade, CascadeConfig, SimilarSource
from adwright.delivery.stages.histories import Histories, packed
from adwright.delivery.stages.protocols import Scorer
from adwright.delivery.stages.row_ranker import FineRanker
from adwright.delivery.stages.sequence import items_of
from adwright.delivery.stages.sources import PastSource, PopularScorer, PopularSource
from adwright.models.sequential.hstu_ranker import HSTURanker
from adwright.training.ranking.ranker import KIND as RANKER
from adwright.training.ranking.ranker import Ranker
from adwright.training.retrieval.fit import KIND as RETRIEVER
from adwright.training.retrieval.fit import RetrieverArtifact, embed_catalogue
from adwright.training.retrieval.item_item import ItemItemArtifact
from adwright.training.sequential.artifact import KIND as SEQUENCE
from adwright.training.sequential.artifact import SequenceArtifact

KIND = "served"
#: Kinds of artifacts that serve alone.
ALONE = (RANKER, RETRIEVER, SEQUENCE)
Alone = Ranker | RetrieverArtifact | SequenceArtifact
_LOADERS: Mapping[str, Callable[[Artifact], Alone]] = {
    RANKER: Ranker.load,
    RETRIEVER: RetrieverArtifact.load,
    SEQUENCE: SequenceArtifact.load,
}
#: A ranker that serves alone orders all that a request names; else so many popular and own items,
#: which it can within the deadline of a decision.
_NAMED, _FOUND = 5_000, 100


@dataclass(frozen=True)
class _ServedConfig:
    unseen: bool
    calibration: Calibration = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class ServedModel:
    """A model, and the histories that it is asked with.

    unseen: what a user had is not offered again, see `CascadeConfig`. calibration: what the scores
    of each stage are worth. artifact_id: of what was loaded.
    """

    model: Alone
    histories: Histories
    unseen: bool = False
    calibration: Calibration = field(default_factory=dict)
    artifact_id: str = ""

    @classmethod
    def of_log(
        cls, model: Alone, events: pl.DataFrame, profiles: pl.DataFrame | None = None
    ) -> ServedModel:
        """The model with the histories of a log; what takes an item off a user's list, follows
        from how often users took an item again after an event of its kind.

        events: user_id, item_id, time and kind of the kinds that are history. profiles: user_id and
        text columns. Raises as `Histories.from_events`.
        """
        kinds, profiles = history_kinds_of(model), as_trained(profiles, model)
        known = Histories.from_events(events, catalogue_of(model), profiles=profiles, kinds=kinds)
        return cls(model, known, bool(known.final))

    def calibrated(self) -> ServedModel:
        """The same, which knows from the latest visits of its histories what its scores are worth.

        Raises as `cascade`.
        """
        plain = replace(self, calibration={}).cascade()
        return replace(self, calibration=fit_to_histories(plain, self.histories))

    @classmethod
    def load(cls, source: str | Path | Artifact) -> ServedModel:
        """What `save` wrote; or the model of an artifact that training wrote, without histories.

        source: its folder, or the artifact where it was read already. Raises ArtifactError for
        another kind, and as `load_artifact`.
        """
        artifact = load_artifact(source)
        if artifact.kind != KIND:
            model = load_alone(artifact)
            kinds = history_kinds_of(model)
            return cls(model, Histories(catalogue_of(model), kinds=kinds), artifact_id=artifact.id)
        config = from_jsonable(_ServedConfig, artifact.config)
        model = load_alone(artifact.part("model"))
        known = Histories.load(artifact.part("histories"), catalogue_of(model))
        return cls(model, known, config.unseen, config.calibration, artifact.id)

    def save(
        self, folder: str | Path, *, overwrite: bool = False, clock: Clock | None = None
    ) -> str:
        """Write the folder, whole or not at all; returns its id. What the histories hold is
        personal. Raises as `save_artifact`."""
        ids, files = packed({"model": self.model, "histories": self.histories}, clock)
        return save_artifact(
            folder,
            kind=KIND,
            config=to_jsonable(_ServedConfig(self.unseen, self.calibration)),
            files=files,
            data_hash=self.model.data_hash,
            seed=self.model.seed,
            parents=ids,
            overwrite=overwrite,
            clock=clock,
        )

    def cascade(self, *, clock: Clock | None = None) -> Cascade:
        """The recommender: a cascade of one model.

        Raises ConfigError for a ranker of sequences, which needs a model that finds items for it,
        and for a model that reads what a request cannot say.
        """
        known, model = self.histories, self.model
        source: SimilarSource
        coarse: Scorer
        if isinstance(model, Ranker):
            count, fine = known.count.copy(), FineRanker(model, known)
            items = embed_catalogue(model.model.item, len(model.items)).float().numpy()
            source, coarse = PopularSource(count, items), PopularScorer(count)
            config = CascadeConfig(_FOUND, _FOUND, coarse=_NAMED, unseen=self.unseen)
        else:
            if isinstance(model.model, HSTURanker):
                raise ConfigError(
                    "a ranker of sequences does not serve alone: it finds no items",
                    where=model.name,
                    hint="make it the fine stage of a cascade",
                )
            queries, count, fine = queries_of(model, known), model.count, None
            source, coarse = queries.source(), queries.scorer()
            config = CascadeConfig(unseen=self.unseen)
        again = not self.unseen and not isinstance(model, SequenceArtifact)
        return Cascade(
            known,
            vectors=source,
            coarse=coarse,
            fine=fine,
            count=count,
            past=PastSource() if again else None,
            config=config,
            calibration=self.calibration,
            clock=clock,
        )


def as_trained(
    profiles: pl.DataFrame | None, *models: Alone | ItemItemArtifact
) -> pl.DataFrame | None:
    """Profiles of a log's users with the columns that the models read (`profiles_as_trained`)."""
    if profiles is None:
        return None
    specs = [model.spec for model in models if isinstance(model, Ranker | RetrieverArtifact)]
    return profiles_as_trained(profiles, [one for spec in specs for one in spec.features])


def load_alone(artifact: Artifact) -> Alone:
    """The model of an artifact that serves alone. Raises ArtifactError for another kind."""
    if artifact.kind not in ALONE:
        raise ArtifactError(
            f"a model of kind {artifact.kind!r} does not serve alone",
            where=str(artifact.folder),
            hint=f"those of kind {', '.join(ALONE)} do",
        )
    return _LOADERS[artifact.kind](artifact)


def catalogue_of(model: Alone) -> ItemTable:
    """The items that a model knows, by whose codes histories are kept."""
    return items_of(model) if isinstance(model, SequenceArtifact) else model.items


def history_kinds_of(model: Alone) -> tuple[str, ...]:
    """The kinds of events that a model's histories are made of: as it was trained."""
    match model:
        case Ranker():
            return model.history_kinds
        case SequenceArtifact() | RetrieverArtifact():
            return ACTION_KINDS
