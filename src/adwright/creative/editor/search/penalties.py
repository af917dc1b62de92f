"""Penalties: what an edit costs beside what it gains, so that a search stays where judges know.

LatentDistance    how much further the face lies from all faces, in W+ (Mahalanobis)
IdentityDistance  how much another person it became, 1 - cosine of embeddings
RealnessDrop      how much less real a scorer finds the picture, such as a discriminator
FineNoise         how much the share of fine detail grew, as of grain and rims

All are 0 for no edit, and count only what an edit makes worse (our choice), in the units that their
classes say; see `fitness.Weighted` for their weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from adwright.core.errors import ConfigError, DataError, MissingExtraError
from adwright.creative.editor.edits.plan import EditPlan
from adwright.creative.editor.search.latent_cloud import LatentCloud
from adwright.creative.editor.search.picture_judge import (
    Floats,
    Pixels,
)
from adwright.creative.editor.search.population import EditedBatch

__all__ = ["FineNoise", "IdentityDistance", "LatentDistance"]

_WEIGHTS = np.array([0.2126, 0.7152, 0.0722])
#: Pictures that are blurred by one call of OpenCV, which takes so many channels.
_CHANNELS = 512


@dataclass(frozen=True, eq=False)
class LatentDistance:
    """The largest of the faces, of

        max(0, d(w + sum_k a_k n_k) - d(w)),    d of `LatentCloud`

    faces: W+ of each face of the picture, float [F, R, D]. vectors: of each direction float [D], as
    the mover's. rows: of W+ that directions move. Directions without a vector raise DataError.
    """

    cloud: LatentCloud
    faces: Floats
    vectors: Mapping[str, Floats]
    rows: tuple[int, ...]
    name: str = "latent_distance"

    def __post_init__(self) -> None:
        if self.faces.ndim != 3 or not all(0 <= row < self.faces.shape[1] for row in self.rows):
            raise ConfigError(
                f"faces of shape {self.faces.shape}, rows {self.rows}",
                where="LatentDistance",
                hint="faces [F, R, D], rows below R",
            )

    def of(self, batch: EditedBatch) -> Floats:
        """float64 [N]."""
        if not len(self.faces):
            return np.zeros(len(batch))
        moved = np.stack([self._moved(plan) for plan in batch.plans])
        count, faces, rows, wide = moved.shape
        after = self.cloud.distance(moved.reshape(-1, rows, wide)).reshape(count, faces)
        return np.asarray(np.maximum(after - self.cloud.distance(self.faces), 0).max(1))

    def _moved(self, plan: EditPlan) -> Floats:
        made = np.array(self.faces, np.float64)
        for move in plan.face_moves():
            for face in move.moved_faces:
                for name, amount in zip(move.names, move.amounts[face], strict=True):
                    if name not in self.vectors or face >= len(made):
                        raise DataError(f"the latent of face {face}, or {name!r}, is not known")
                    made[face, list(self.rows)] += amount * self.vectors[name]
        return made


@dataclass(frozen=True, eq=False)
class IdentityDistance:
    """The largest 1 - cosine of the embeddings of a face before and after, 0 to 2.

    embed: float [N, D] of crops uint8 [N, side, side, 3]; of all faces of all edits in one call.
    """

    embed: Callable[[Pixels], Floats]
    side: int = 64
    name: str = "identity_distance"

    def of(self, batch: EditedBatch) -> Floats:
        """float64 [N]."""
        places = batch.context.places
        if not places or not len(batch):
            return np.zeros(len(batch))
        before = [place.cut(batch.original, self.side) for place in places]
        after = [
            place.cut(one.picture, self.side) for one in batch.done for place in one.context.places
        ]
        found = np.asarray(self.embed(np.stack(before + after)), np.float64)
        if found.ndim != 2 or len(found) != len(before) + len(after):
            raise DataError(f"the embedding of faces has shape {found.shape}", hint="[N, D]")
        unit = found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)
        first, second = unit[: len(places)], unit[len(places) :]
        second = second.reshape(len(batch), len(places), -1)
        cosine = np.einsum("nfd,fd->nf", second, first)
        return np.asarray(np.clip(1 - cosine, 0, 2).max(1))


@dataclass(frozen=True)
class FineNoise:
    """max(0, log(share(edited) / share(original))), with the luma Y of Rec. 709 and

        share = (mean (Y - G Y)^2 + e) / (var Y + e),   e = 1

    G is a Gaussian. A change of contrast or exposure alone changes no share, until values are cut
    off. sigma: of the Gaussian, pixels of what is judged.
    """

    sigma: float = 1.0
    name: str = "fine_noise"

    def __post_init__(self) -> None:
        if not self.sigma > 0:
            raise ConfigError(f"sigma is {self.sigma}", where="FineNoise.sigma", hint="above 0")

    def of(self, batch: EditedBatch) -> Floats:
        """float64 [N]."""
        shares = self.shares(np.concatenate([batch.unedited[None], batch.pictures]))
        return np.asarray(np.maximum(np.log(shares[1:]) - np.log(shares[0]), 0.0))

    def shares(self, pictures: Pixels) -> Floats:
        """float64 [N]: the share of fine detail of each picture, uint8 [N, H, W, 3]."""
        try:
            import cv2
        except ImportError as error:
            raise MissingExtraError("edits of pictures", "creative") from error
        found = [np.zeros(0)]
        for some in range(0, len(pictures), _CHANNELS):
            part = pictures[some : some + _CHANNELS].astype(np.float64) @ _WEIGHTS
            # A channel a picture: all of them are blurred by one call.
            luma = np.moveaxis(part, 0, -1)
            fine = luma - cv2.GaussianBlur(luma, (0, 0), self.sigma).reshape(luma.shape)
            found.append(((fine**2).mean((0, 1)) + 1) / (luma.var((0, 1)) + 1))
        return np.concatenate(found)
