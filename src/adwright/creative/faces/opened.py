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
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from adwright.core.config import load_toml, require_count, settings
from adwright.core.errors import ArtifactError, ConfigError, DataError
from adwright.creative.faces.e4e_file import PublicEncoder, load_e4e
from adwright.creative.faces.stylegan import FittedEncoder, FittedFaces, Generator, as_pictures

# --------------------------------------------------------------------------------------------------
# Directions in W+ that a trained generator knows: SeFa in closed form, and one fitted to labels.
#
# SeFa (Shen and Zhou, CVPR 2021): what a direction n, |n| = 1, changes first is A n, with A the
# affine weights of the chosen layers. The directions that change most are the eigenvectors of
#
#     M = sum over layers of A_l^T A_l, each row of A_l scaled to length 1
#
# with the largest eigenvalues. M is symmetric, so `eigh` is exact, and sorted. The sign is free;
# ours
# makes the largest number of a direction positive.
#
# A layer is named by the row of W+ that its convolution reads, see `generator`: AdSEE's layers 3 to
# 5
# are the rows 3 to 5, two of 16 pixels and the first of 32. Rows of colours are left out.
#
# `fitted_direction` is what labels would give: the slope of a ridge regression of an attribute on
# latents. It is the upper bound beside which unsupervised directions stand.
#
# Directions of a generator that have names: which may be used, and which never.
#
#     # directions.toml
#     rows = [3, 4, 5]                  # of W+ that a direction moves; left out: all
#     unknown = ["gender", "age", "ethnicity"]
#
#     [[allowed]]
#     name = "smile"
#     group = "expression"              # expression, gaze, pose, light
#     sefa = 3                          # the fourth direction of SeFa on these rows
#
#     [[locked]]
#     group = "skin"                    # gender, age, skin, ethnicity
#     vector = "skin"                   # of the file `vectors`, safetensors beside this one
#
#     named = named_directions("directions.toml", faces.generator)
#
# SeFa finds directions without a name: what each of them moves, `attributes.moved_attributes`
# tells,
# or a person who looks. A group that is locked and of which nobody has a direction stands in
# `unknown`, so that no group is forgotten unseen.


@dataclass(frozen=True, eq=False)
class Directions:
    """K directions. vectors: float [K, D], each of length 1. rows: of W+ that an edit moves."""

    vectors: Tensor
    rows: tuple[int, ...]

    def __len__(self) -> int:
        """K."""
        return len(self.vectors)

    def edited(self, plus: Tensor, amounts: Tensor) -> Tensor:
        """W+ [B, rows, D] moved by amounts [B, K] along the directions, in `rows` alone.

        Raises ConfigError for amounts of another shape.
        """
        if amounts.shape != (len(plus), len(self)):
            raise ConfigError(
                f"amounts have shape {tuple(amounts.shape)}",
                where="amounts",
                hint=f"pass {len(plus)} times {len(self)}",
            )
        moved = plus.clone()
        moved[:, list(self.rows)] += (amounts @ self.vectors)[:, None]
        return moved


def sefa(generator: Generator, count: int, rows: Sequence[int] | None = None) -> Directions:
    """The first `count` directions of the convolutions that read these rows; None takes all.

    Raises ConfigError for a row that is none, and for more directions than there are.
    """
    chosen = tuple(range(len(generator.convs))) if rows is None else tuple(rows)
    if not chosen or not all(0 <= row < len(generator.convs) for row in chosen):
        raise ConfigError(
            f"rows {chosen} are not all of convolutions",
            where="rows",
            hint=f"choose among 0 to {len(generator.convs) - 1}",
        )
    wide = generator.config.wide
    if not 1 <= count <= wide:
        raise ConfigError(f"{count} directions", where="count", hint=f"take 1 to {wide}")
    state = generator.state_dict()
    summed = torch.zeros(wide, wide, dtype=torch.float64)
    for row in chosen:
        affine = state[f"convs.{row}.conv.affine.weight"].double()
        affine = affine / affine.norm(dim=1, keepdim=True).clamp_min(1e-12)
        summed += affine.T @ affine
    vectors = torch.linalg.eigh(summed).eigenvectors
    order = torch.arange(wide - 1, wide - 1 - count, -1)
    found = vectors[:, order].T
    signs = found.gather(1, found.abs().argmax(1, keepdim=True)).sign()
    return Directions((found * signs).float(), chosen)


_MOST_BYTES = 64 << 20


@settings
class AllowedDirection:
    """sefa: its number among SeFa's, from 0; or vector: its name in the file of vectors."""

    name: str
    group: Literal["expression", "gaze", "pose", "light"]
    sefa: int | None = None
    vector: str = ""

    def __post_init__(self) -> None:
        _check_one(self.sefa, self.vector, self.name)


@settings
class LockedDirection:
    """As `AllowedDirection`; a group may have several."""

    group: Literal["gender", "age", "skin", "ethnicity"]
    sefa: int | None = None
    vector: str = ""

    def __post_init__(self) -> None:
        _check_one(self.sefa, self.vector, self.group)


@settings
class DirectionsFile:
    """See the module. vectors: path of the file of vectors, beside this one."""

    allowed: tuple[AllowedDirection, ...]
    locked: tuple[LockedDirection, ...] = ()
    rows: tuple[int, ...] = ()
    unknown: tuple[Literal["gender", "age", "skin", "ethnicity"], ...] = ()
    vectors: str = ""

    def __post_init__(self) -> None:
        names = [one.name for one in self.allowed]
        if not names or len(set(names)) != len(names):
            raise ConfigError(
                "no direction is allowed, or one is named twice",
                where="allowed",
                hint="name each once",
            )


@settings(eq=False)
class NamedDirections:
    """names, groups: of the K directions that may be used. directions: these. locked: of each
    group, directions float64 [M, D]. unknown: groups of which nobody has one."""

    names: tuple[str, ...]
    groups: tuple[Literal["expression", "gaze", "pose", "light"], ...]
    directions: Directions
    locked: dict[Literal["gender", "age", "skin", "ethnicity"], NDArray[np.float64]]
    unknown: tuple[Literal["gender", "age", "skin", "ethnicity"], ...]

    def vector(self, name: str) -> NDArray[np.float64]:
        """float64 [D]: of a name. Raises ConfigError for another."""
        if name not in self.names:
            raise ConfigError(f"there is no direction {name!r}", where="name", hint=f"{self.names}")
        found = self.directions.vectors[self.names.index(name)]
        return np.asarray(found.double().numpy())


def named_directions(path: str | Path, generator: Generator) -> NamedDirections:
    """The directions of a file, for a generator. Raises ConfigError where it cannot be read, names
    a row, a number or a vector that is none, or a vector of another width."""
    told = load_toml(path, DirectionsFile)
    every: list[AllowedDirection | LockedDirection] = [*told.allowed, *told.locked]
    rows = told.rows or None
    most = max((one.sefa + 1 for one in every if one.sefa is not None), default=1)
    found = sefa(generator, most, rows)
    vectors = _vectors(Path(path), told.vectors, generator.config.wide)

    def of(one: AllowedDirection | LockedDirection) -> Tensor:
        if one.sefa is not None:
            return found.vectors[one.sefa]
        if one.vector not in vectors:
            raise ConfigError(
                f"there is no vector {one.vector!r}",
                where=str(path),
                hint=f"the file of vectors has {', '.join(sorted(vectors)) or 'none'}",
            )
        return vectors[one.vector]

    locked: dict[Literal["gender", "age", "skin", "ethnicity"], list[NDArray[np.float64]]] = {}
    for one in told.locked:
        locked.setdefault(one.group, []).append(np.asarray(of(one).double().numpy()))
    return NamedDirections(
        tuple(one.name for one in told.allowed),
        tuple(one.group for one in told.allowed),
        Directions(torch.stack([of(one) for one in told.allowed]), found.rows),
        {group: np.stack(some) for group, some in locked.items()},
        told.unknown,
    )


def _vectors(path: Path, name: str, wide: int) -> dict[str, Tensor]:
    """float [D], of length 1, of each name."""
    if not name:
        return {}
    place = path.parent / name
    try:
        if ".." in Path(name).parts or place.stat().st_size > _MOST_BYTES:
            raise ConfigError("it lies elsewhere, or is too large", where=f"{path}: vectors")
        loaded = load_file(place)
    except (OSError, SafetensorError) as error:
        raise ConfigError(
            f"the file of vectors cannot be read: {error}", where=str(place), hint="safetensors"
        ) from error
    made: dict[str, Tensor] = {}
    for key, value in loaded.items():
        length = value.float().norm()
        if value.shape != (wide,) or not bool(torch.isfinite(length)) or not bool(length > 0):
            raise ConfigError(
                f"the vector {key!r} has shape {tuple(value.shape)}, or no length",
                where=str(place),
                hint=f"[{wide}], the generator's width",
            )
        made[key] = value.float() / length
    return made


def _check_one(number: int | None, vector: str, name: str) -> None:
    if (number is None) == (not vector) or (number is not None and number < 0):
        raise ConfigError(
            "a direction is a number of SeFa's, or a vector",
            where=name,
            hint="give `sefa` or `vector`",
        )


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
