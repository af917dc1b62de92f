"""What an edit of faces needs beside the picture: who may be moved, along what, and what it costs.

    tools = FaceTools.of(OpenedFaces.load("faces", "directions.toml"), manifest)
    tools.guard(log)                      # an EditGuard with these rules
    tools.penalties(picture, places, job) # of a search over moves of these faces

Without it the guard has no manifest, so no face is moved.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from adwright.creative.editor.search.population import EditedBatch, applied_to_all
from adwright.creative.faces.aligning import FaceAligner, FacePlace

if TYPE_CHECKING:
    from adwright.creative.faces.opened import OpenedFaces

__all__ = ["FaceDrift", "FaceRealnessDrop", "FaceTools", "plain_guard"]

_SAMPLE, _CROP = 2000, 64
#: Of its limit, from which on a drift counts; the whole picture differs a little from its copy.
_NEAR = 0.9
#: Weight of a drift: more than any gain.
_STOPPED = 10.0


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

    @property
    def drift(self) -> DriftCheck:
        """Of the skin of faces."""
        return DriftCheck(skin_tone, SKIN_LIMITS)

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
            drift=self.drift,
            log=log,
            finder=self.aligner.places,
        )

    def penalties(
        self,
        picture: Pixels,
        places: Sequence[FacePlace],
        job: EditJob,
        *,
        drifted: Sequence[Mapping[str, float]] = (),
    ) -> tuple[Weighted, ...]:
        """Of a search over moves of the faces at these places of the picture. drifted: of each face
        what earlier edits changed."""
        opened, side = self.opened, self.opened.side
        crops = np.stack([place.cut(picture, side) for place in places])
        named = opened.named
        vectors = {name: named.vector(name) for name in named.names}
        rows = tuple(named.directions.rows)
        distance = LatentDistance(self.cloud, opened.plus(crops), vectors, rows)
        made = [Weighted(distance, job.latent)]
        made.append(Weighted(IdentityDistance(opened.embedding, side), job.latent))
        made.append(Weighted(FaceDrift(self.drift, tuple(drifted)), _STOPPED))
        if opened.faces.discriminator is not None:
            made.append(Weighted(FaceRealnessDrop(opened), job.realness))
        return tuple(made)


@dataclass(frozen=True, eq=False)
class FaceDrift:
    """A penalty: of the face and the attribute that drift most, the drift as a share of its limit
    where that is above .9, else 0. So a search stays where the guard will not stop what it finds;
    measured as the guard does, against the same plan without moves of faces.

    check: of the guard. earlier: of each face what edits before changed; empty for nothing.
    """

    check: DriftCheck
    earlier: tuple[Mapping[str, float], ...] = ()
    name: str = "face_drift"

    def of(self, batch: EditedBatch) -> Floats:
        """float64 [N]."""
        moving = [at for at, plan in enumerate(batch.plans) if plan.face_moves()]
        rest = [batch.plans[at].without_faces() for at in moving]
        made = np.zeros(len(batch))
        still = applied_to_all(rest, batch.original, batch.context)
        for at, before in zip(moving, still, strict=True):
            after = batch.done[at]
            faces = {face for move in batch.plans[at].face_moves() for face in move.moved_faces}
            shares = [
                self._share(after.context.places[face], before.picture, after.picture, face)
                for face in faces
            ]
            made[at] = max(shares, default=0.0)
        return np.where(made > _NEAR, made, 0.0)

    def _share(self, place: FacePlace, before: Pixels, after: Pixels, face: int) -> float:
        earlier = self.earlier[face] if face < len(self.earlier) else {}
        drift = self.check.measured(place.cut(before, _CROP), place.cut(after, _CROP), earlier)
        return max(
            abs(drift.changes.get(name, np.inf)) / max(limit, 1e-12)
            for name, limit in self.check.limits.items()
        )


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
