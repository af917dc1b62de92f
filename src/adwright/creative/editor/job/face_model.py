"""What an edit of faces needs beside the picture: who may be moved, along what, and what it costs.

    tools = FaceTools.of(OpenedFaces.load("faces", "directions.toml"), manifest)
    tools.guard(log)                      # an EditGuard with these rules
    tools.penalties(picture, places, job) # of a search over moves of these faces

Without it the guard has no manifest, so no face is moved.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from adwright.core.errors import DataError
from adwright.creative.editor.guards.ages import AgeCheck
from adwright.creative.editor.guards.consent import ConsentManifest
from adwright.creative.editor.guards.drift import DriftCheck
from adwright.creative.editor.guards.guard import EditGuard
from adwright.creative.editor.guards.locks import DirectionCard, DirectionRules
from adwright.creative.editor.guards.skin import SKIN_LIMITS, skin_tone
from adwright.creative.editor.job.settings import EditJob
from adwright.creative.editor.provenance.edit_log import EditLog
from adwright.creative.editor.search.fitness import Weighted
from adwright.creative.editor.search.latent_cloud import LatentCloud
from adwright.creative.editor.search.penalties import IdentityDistance, LatentDistance
from adwright.creative.editor.search.picture_judge import Floats, Pixels
from adwright.creative.editor.search.population import EditedBatch
from adwright.creative.faces.aligning.align import FaceAligner
from adwright.creative.faces.aligning.places import FacePlace

if TYPE_CHECKING:
    from adwright.creative.faces.opened_faces import OpenedFaces

__all__ = ["FaceRealnessDrop", "FaceTools", "plain_guard"]

_SAMPLE = 2000


def plain_guard(log: EditLog) -> EditGuard:
    """The guard of a job without faces: words are checked, and nobody's face is moved."""
    unknown = DirectionRules((), {}, ("gender", "age", "skin", "ethnicity"))
    return EditGuard(unknown, None, log=log)


@dataclass(frozen=True, eq=False)
class FaceTools:
    """opened: the model. manifest: of consent. aligner: finds faces. cloud: of the generator's
    latents. ages: without an estimate, as none ships, a face is moved only where the manifest
    declares an adult."""

    opened: OpenedFaces
    manifest: ConsentManifest
    aligner: FaceAligner
    cloud: LatentCloud
    ages: AgeCheck = field(default_factory=AgeCheck)

    @classmethod
    def of(
        cls,
        opened: OpenedFaces,
        manifest: ConsentManifest,
        aligner: FaceAligner | None = None,
        *,
        ages: AgeCheck | None = None,
        offline: bool = False,
    ) -> FaceTools:
        """With adwright's own finder of faces by default."""
        cloud = LatentCloud.of(opened.latents(_SAMPLE, seed=0))
        aligner = aligner or FaceAligner(offline=offline)
        return cls(opened, manifest, aligner, cloud, ages or AgeCheck())

    def sentence(self) -> str:
        """How ages are known."""
        if self.ages.estimate is None:
            return "no estimate of ages is asked: a face that nobody declared an adult's stays"
        limit = self.ages.adult + self.ages.margin
        return f"ages are estimated too: below {limit:g} years a face that is not declared stays"

    def rules(self) -> DirectionRules:
        """Which directions may be used."""
        named = self.opened.named
        cards = tuple(
            DirectionCard.of(name, group, named.vector(name))
            for name, group in zip(named.names, named.groups, strict=True)
        )
        return DirectionRules(cards, named.locked, named.unknown)

    def guard(self, log: EditLog) -> EditGuard:
        """With the manifest, ages, drift of the skin, and a look for faces that a request leaves
        out."""
        return EditGuard(
            self.rules(),
            self.manifest,
            self.ages,
            drift=DriftCheck(skin_tone, SKIN_LIMITS),
            log=log,
            finder=self.aligner.places,
        )

    def penalties(
        self, picture: Pixels, places: Sequence[FacePlace], job: EditJob
    ) -> tuple[Weighted, ...]:
        """Of a search over moves of the faces at these places of the picture."""
        opened, side = self.opened, self.opened.side
        crops = np.stack([place.cut(picture, side) for place in places])
        named = opened.named
        vectors = {name: named.vector(name) for name in named.names}
        rows = tuple(named.directions.rows)
        distance = LatentDistance(self.cloud, opened.plus(crops), vectors, rows)
        made = [Weighted(distance, job.latent)]
        made.append(Weighted(IdentityDistance(opened.embedding, side), job.latent))
        if opened.faces.discriminator is not None:
            made.append(Weighted(FaceRealnessDrop(opened), job.realness))
        return tuple(made)


@dataclass(frozen=True, eq=False)
class FaceRealnessDrop:
    """A penalty: how much less real the discriminator finds the face that lost most by the edit,
    max(0, s(before) - s(after)), 0 without a discriminator."""

    opened: OpenedFaces
    name: str = "face_realness_drop"

    def of(self, batch: EditedBatch) -> Floats:
        """float64 [N]."""
        places, side = batch.context.places, self.opened.side
        if not places or not len(batch):
            return np.zeros(len(batch))
        before = [place.cut(batch.original, side) for place in places]
        after = [place.cut(one.picture, side) for one in batch.done for place in one.context.places]
        said = self.opened.realness(np.stack(before + after))
        if said is None:
            return np.zeros(len(batch))
        if len(said) != len(places) * (1 + len(batch)):
            raise DataError("an edit lost a face", hint="report this plan")
        later = said[len(places) :].reshape(len(batch), len(places))
        return np.asarray(np.maximum(said[: len(places)] - later, 0).max(1))
