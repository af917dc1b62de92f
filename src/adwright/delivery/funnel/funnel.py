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
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from adwright.core.artifacts import Artifact, Fitted, load_artifact, save_artifact
from adwright.core.clock import Clock
from adwright.core.config import from_jsonable, settings, to_jsonable
from adwright.core.errors import ArtifactError, ConfigError
from adwright.data.tasks.negatives import Draws
from adwright.delivery.calibrated import Calibration
from adwright.delivery.cascade.cascade import Cascade, CascadeConfig
from adwright.delivery.cascade.deployment import KIND, Deployment
from adwright.delivery.funnel.mixture import MixedScorer, ScoreMixture
from adwright.delivery.funnel.parts import FunnelParts, OpenParts, SourceName
from adwright.delivery.item_item import item_table
from adwright.delivery.stages.histories import Histories
from adwright.training.ranking.ranker import Ranker
from adwright.training.retrieval.artifact import RetrieverArtifact
from adwright.training.retrieval.item_item import ItemItemArtifact
from adwright.training.sequential.artifact import KIND as SEQUENCE
from adwright.training.sequential.artifact import SequenceArtifact

__all__ = ["Funnel", "Serving", "load_cascade"]

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
