"""Crops of faces moved along directions of a generator's W+.

    mover = GeneratorMover(generator, invert, directions, names=("smile", "turn"))
    moved = mover.moved(crops, amounts)          # uint8 [N, S, S, 3] of amounts float [N, K]

Each crop x is inverted to W+, w = invert(x), and moved by its amounts a along the directions n:

    x' = x + G(w + sum_k a_k n_k) - G(w)

so what the inversion lost is not lost from the crop, and an amount of 0 changes nothing (our
choice; AdSEE puts G(w + ...) itself in place). A search asks about one
face in batch after batch: of the crops of the last call w and G(w) are remembered.

A trained generator with its encoder and its named directions, ready to edit crops of faces.

    opened = OpenedFaces.load("faces", "directions.toml")
    opened.mover.moved(crops, amounts)        # see `aligning.mover`
    opened.plus(crops)                        # float64 [N, rows, D], W+
    opened.embedding(crops)                   # float64 [N, E], of whom it shows
    opened.realness(crops)                    # float64 [N], or None

The folder holds "faces" and "encoder", artifacts as benchmarks/creative/faces.py makes them; or it
is a file: weights that e4e's authors published, see `e4e_file`.
What a crop is to the encoder (its W+, less the mean latent) serves as the embedding, for want of a
network of identities that may ship; it is none of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from adwright.core.config import require_count
from adwright.core.errors import ArtifactError, ConfigError, DataError
from adwright.creative.faces.directions import Directions, NamedDirections, named_directions
from adwright.creative.faces.e4e_file import PublicEncoder, load_e4e
from adwright.creative.faces.fitted import FittedEncoder, FittedFaces, as_pictures
from adwright.creative.faces.stylegan import Generator


class GeneratorMover:
    """See the module. invert: from pictures float [N, 3, S, S], -1 to 1, to W+ [N, rows, D].

    names: of the K directions. Raises ConfigError where there are more or fewer, or one twice.
    """

    def __init__(
        self,
        generator: Generator,
        invert: Callable[[Tensor], Tensor],
        directions: Directions,
        *,
        names: Sequence[str],
    ) -> None:
        if len(names) != len(directions) or len(set(names)) != len(names):
            raise ConfigError(
                f"{len(set(names))} different names for {len(directions)} directions",
                where="names",
                hint="name each direction once",
            )
        self.names, self.side = tuple(names), generator.config.side
        self._generator, self._invert = generator, invert
        self._directions = directions
        self._known: dict[bytes, tuple[Tensor, Tensor]] = {}

    def vector(self, name: str) -> NDArray[np.float64]:
        """float64 [D]: the direction of a name, of length 1. Raises ConfigError for another."""
        if name not in self.names:
            raise ConfigError(
                f"there is no direction {name!r}", where="name", hint=f"one of {self.names}"
            )
        found = self._directions.vectors[self.names.index(name)]
        return np.asarray(found.double().numpy())

    @torch.no_grad()
    def moved(self, crops: NDArray[np.uint8], amounts: NDArray[np.float64]) -> NDArray[np.uint8]:
        """uint8 [N, S, S, 3] of crops of that shape and amounts [N, K]; S is the generator's side.

        Raises DataError for other shapes.
        """
        shape = (len(crops), self.side, self.side, 3)
        if crops.shape != shape or amounts.shape != (len(crops), len(self.names)):
            raise DataError(
                f"crops of shape {crops.shape}, amounts of shape {amounts.shape}",
                hint=f"pass {shape} and ({len(crops)}, {len(self.names)})",
            )
        made, busy = crops.copy(), np.flatnonzero(amounts.any(1))
        if not len(busy):
            return made
        self._generator.eval()
        # A population asks about one face many times over: it is inverted once.
        each, which = np.unique(crops[busy], axis=0, return_inverse=True)
        rows = torch.from_numpy(which.reshape(-1))
        plus, lost = self._inverted(each)
        told = torch.from_numpy(amounts[busy]).to(plus.dtype)
        new = self._generator.pictures(self._directions.edited(plus[rows], told))
        new = new + lost[rows]
        values = ((new + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        made[busy] = values.permute(0, 2, 3, 1).numpy()
        return made

    def _inverted(self, crops: NDArray[np.uint8]) -> tuple[Tensor, Tensor]:
        """W+ [N, rows, D] of crops [N, S, S, 3], and what the inversion lost, [N, 3, S, S]."""
        keys = [crop.tobytes() for crop in crops]
        new = [at for at, key in enumerate(keys) if key not in self._known]
        found = dict(self._known)
        if new:
            x = torch.from_numpy(crops[new]).permute(0, 3, 1, 2).float() / 127.5 - 1
            plus = self._invert(x)
            lost = x - self._generator.pictures(plus)
            found |= dict(zip((keys[at] for at in new), zip(plus, lost, strict=True), strict=True))
        self._known = {key: found[key] for key in keys}
        every = self._known.values()
        return torch.stack([one for one, _ in every]), torch.stack([one for _, one in every])


_FACES, _ENCODER = "faces", "encoder"


@dataclass(frozen=True, eq=False)
class OpenedFaces:
    """See the module. id: of the generator's artifact. named: its directions."""

    faces: FittedFaces
    encoder: FittedEncoder | PublicEncoder
    named: NamedDirections
    id: str = ""

    @classmethod
    def load(
        cls, folder: str | Path, directions: str | Path, *, accept_noncommercial: bool = False
    ) -> OpenedFaces:
        """Of a folder, or of a file of weights of e4e, and a file of directions.

        Raises ArtifactError where a part is missing, and as the parts and `load_e4e` do.
        """
        place = Path(folder)
        faces: FittedFaces
        encoder: FittedEncoder | PublicEncoder
        if place.is_file():
            faces, encoder = load_e4e(place, accept_noncommercial=accept_noncommercial)
        else:
            for name in (_FACES, _ENCODER):
                if not (place / name).is_dir():
                    raise ArtifactError(
                        f"there is no {name!r} in it",
                        where=str(place),
                        hint="a folder with the artifacts faces and encoder; "
                        "python -m benchmarks.creative.faces trains one of drawn portraits",
                    )
            faces = FittedFaces.load(place / _FACES)
            encoder = FittedEncoder.load(place / _ENCODER)
        named = named_directions(directions, faces.generator)
        return cls(faces, encoder, named, faces.data_hash)

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
