"""Directions in W+ that a trained generator knows: SeFa in closed form, and one fitted to labels.

SeFa (Shen and Zhou, CVPR 2021): what a direction n, |n| = 1, changes first is A n, with A the
affine weights of the chosen layers. The directions that change most are the eigenvectors of

    M = sum over layers of A_l^T A_l, each row of A_l scaled to length 1

with the largest eigenvalues. M is symmetric, so `eigh` is exact, and sorted. The sign is free; ours
makes the largest number of a direction positive.

A layer is named by the row of W+ that its convolution reads, see `generator`: AdSEE's layers 3 to 5
are the rows 3 to 5, two of 16 pixels and the first of 32. Rows of colours are left out.

`fitted_direction` is what labels would give: the slope of a ridge regression of an attribute on
latents. It is the upper bound beside which unsupervised directions stand.

Directions of a generator that have names: which may be used, and which never.

    # directions.toml
    rows = [3, 4, 5]                  # of W+ that a direction moves; left out: all
    unknown = ["gender", "age", "ethnicity"]

    [[allowed]]
    name = "smile"
    group = "expression"              # expression, gaze, pose, light
    sefa = 3                          # the fourth direction of SeFa on these rows

    [[locked]]
    group = "skin"                    # gender, age, skin, ethnicity
    vector = "skin"                   # of the file `vectors`, safetensors beside this one

    named = named_directions("directions.toml", faces.generator)

SeFa finds directions without a name: what each of them moves, `attributes.moved_attributes` tells,
or a person who looks. A group that is locked and of which nobody has a direction stands in
`unknown`, so that no group is forgotten unseen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from adwright.core.config import load_toml, settings
from adwright.core.errors import ConfigError
from adwright.creative.faces.stylegan import Generator


@dataclass(frozen=True, eq=False)
class Directions:
    """K directions. vectors: float [K, D], each of length 1. rows: of W+ that an edit moves.
    strength: float [K], how much each changes the styles, the largest first; 0 where unknown."""

    vectors: Tensor
    rows: tuple[int, ...]
    strength: Tensor

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
    values, vectors = torch.linalg.eigh(summed)
    order = torch.arange(wide - 1, wide - 1 - count, -1)
    found = vectors[:, order].T
    return Directions(_signed(found).float(), chosen, values[order].clamp_min(0).sqrt().float())


def _signed(vectors: Tensor) -> Tensor:
    largest = vectors.abs().argmax(1, keepdim=True)
    turned: Tensor = vectors * vectors.gather(1, largest).sign()
    return turned


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
        Directions(
            torch.stack([of(one) for one in told.allowed]),
            found.rows,
            torch.zeros(len(told.allowed)),
        ),
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
