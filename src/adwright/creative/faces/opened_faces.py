"""A trained generator with its encoder and its named directions, ready to edit crops of faces.

    opened = OpenedFaces.load("faces", "directions.toml")
    opened.mover.moved(crops, amounts)        # see `aligning.mover`
    opened.plus(crops)                        # float64 [N, rows, D], W+
    opened.embedding(crops)                   # float64 [N, E], of whom it shows
    opened.realness(crops)                    # float64 [N], or None

The folder holds "faces" and "encoder", artifacts as `fit_faces` and `fit_encoder` leave them.
What a crop is to the encoder (its W+, less the mean latent) serves as the embedding, for want of a
network of identities that may ship; it is none of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from adwright.core.config import require_count
from adwright.core.errors import ArtifactError
from adwright.creative.faces.aligning.mover import GeneratorMover
from adwright.creative.faces.fit import as_pictures
from adwright.creative.faces.fitted_faces import FittedFaces
from adwright.creative.faces.inversion.fitted_encoder import FittedEncoder
from adwright.creative.faces.named_directions import NamedDirections, named_directions

__all__ = ["OpenedFaces"]

_FACES, _ENCODER = "faces", "encoder"


@dataclass(frozen=True, eq=False)
class OpenedFaces:
    """See the module. id: of the generator's artifact. named: its directions."""

    faces: FittedFaces
    encoder: FittedEncoder
    named: NamedDirections
    id: str = ""

    @classmethod
    def load(cls, folder: str | Path, directions: str | Path) -> OpenedFaces:
        """Of a folder and a file of directions. Raises ArtifactError where a part is missing, and
        as the parts do."""
        place = Path(folder)
        for name in (_FACES, _ENCODER):
            if not (place / name).is_dir():
                raise ArtifactError(
                    f"there is no {name!r} in it",
                    where=str(place),
                    hint="a folder with the artifacts faces and encoder; "
                    "python -m benchmarks.creative.faces trains one of drawn portraits",
                )
        faces = FittedFaces.load(place / _FACES)
        return cls(
            faces,
            FittedEncoder.load(place / _ENCODER),
            named_directions(directions, faces.generator),
            faces.data_hash,
        )

    @property
    def side(self) -> int:
        """Of the crops, pixels."""
        return self.faces.generator.config.side

    @property
    def mover(self) -> GeneratorMover:
        """Moves crops along the named directions."""
        return GeneratorMover(
            self.faces.generator,
            lambda pictures: self.encoder.invert(self.faces, pictures),
            self.named.directions,
            names=self.named.names,
        )

    def plus(self, crops: NDArray[np.uint8]) -> NDArray[np.float64]:
        """float64 [N, rows, D] of crops uint8 [N, side, side, 3], one or more."""
        found = self.encoder.invert(self.faces, as_pictures(crops))
        return np.asarray(found.double().numpy())

    def embedding(self, crops: NDArray[np.uint8]) -> NDArray[np.float64]:
        """float64 [N, rows D]: W+ less the mean latent."""
        mean = self.faces.generator.mean.double().numpy()
        return np.asarray((self.plus(crops) - mean).reshape(len(crops), -1))

    @torch.no_grad()
    def realness(self, crops: NDArray[np.uint8]) -> NDArray[np.float64] | None:
        """float64 [N]: of the discriminator, each crop by itself; None where the artifact has
        none."""
        if self.faces.discriminator is None:
            return None
        self.faces.discriminator.eval()
        said = self.faces.discriminator(as_pictures(crops), group=1)
        return np.asarray(said.double().numpy())

    @torch.no_grad()
    def latents(self, count: int, *, seed: int) -> NDArray[np.float64]:
        """float64 [N, D]: w of so many faces that the generator draws."""
        require_count("count", count)
        random = torch.Generator().manual_seed(seed)
        z = torch.randn(count, self.faces.generator.config.wide, generator=random)
        return np.asarray(self.faces.generator.latents(z).double().numpy())
