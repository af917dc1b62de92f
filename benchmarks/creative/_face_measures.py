"""What the benchmark of faces measures of a trained generator and its encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from adwright.creative.faces.e4e_file import Named, rosinality_generator
from adwright.creative.faces.opened import Directions, sefa
from adwright.creative.faces.stylegan import (
    FittedEncoder,
    FittedFaces,
    Generator,
    ModulatedConv,
    as_pictures,
)
from adwright.metrics.bootstrap import Interval, interval_of
from benchmarks.common.result import Figure
from benchmarks.creative._face_layouts import (
    literal_modulated,
    nvidia_pictures,
    random_nvidia,
    random_rosinality,
    rosinality_pictures,
)
from benchmarks.creative.faces_training.keeping import refined as refined_plus
from benchmarks.creative.faces_training.measures import (
    AttributeReader,
    MovedAttributes,
    fit_reader,
    fitted_direction,
    moved_attributes,
    random_directions,
)
from benchmarks.creative.faces_training.nvidia import nvidia_generator
from benchmarks.creative.faces_training.portraits import DrawnPortraits

_DRAWS = 2000
_WORDS = {"sefa": "", "random": "_random", "fitted": "_fitted"}


@dataclass(frozen=True)
class DirectionSizes:
    """directions: of each kind. latents: that each is tried on. labelled: latents to fit on.
    epochs: of the reader. seeds: of reader, latents and random directions."""

    directions: int = 10
    latents: int = 200
    labelled: int = 4000
    epochs: int = 6
    seeds: tuple[int, ...] = (0, 1, 2)


def mean_of(values: Sequence[float] | NDArray[np.float64], *, seed: int = 0) -> Interval:
    """The mean with its bootstrap interval over the values."""
    every = np.asarray(values, float)
    drawn = np.random.default_rng(seed).integers(len(every), size=(_DRAWS, len(every)))
    return interval_of(float(every.mean()), every[drawn].mean(1))


def _ends(name: str, found: Interval) -> dict[str, Figure]:
    return {name: found.value, f"{name}_ci": [found.low, found.high]}


@torch.no_grad()
def exactness() -> dict[str, Figure]:
    """The largest differences to the literal references: of a modulated convolution, and of random
    checkpoints of both layouts."""
    torch.manual_seed(0)
    worst = 0.0
    for demodulate, up, kernel in ((True, False, 3), (True, True, 3), (False, False, 1)):
        layer = ModulatedConv(6, 5, kernel, 8, demodulate=demodulate, up=up)
        x, w = torch.randn(4, 6, 9, 9), torch.randn(4, 8)
        weight, style = layer.weight * layer.scale, layer.affine(w)
        # A convolution that doubles is told here as the transposed one that it is.
        told = weight.flip(2, 3) if up else weight
        literal = literal_modulated(x, told, style, demodulate=demodulate, up=up)
        worst = max(worst, float((layer(x, w) - literal).abs().max()))
    found: dict[str, Figure] = {"modconv_max_diff": worst}
    plus, worst = torch.randn(4, 8, 16), 0.0
    rosinality, nvidia = random_rosinality(32, 16, 4), random_nvidia(32, 16, 2)
    for generator, literal in (
        (rosinality_generator(Named(rosinality)), rosinality_pictures(rosinality, plus)),
        (nvidia_generator(Named(nvidia)), nvidia_pictures(nvidia, plus)),
    ):
        worst = max(worst, float((generator.pictures(plus) - literal).abs().max()))
    return {**found, "loader_max_diff": worst}


@torch.no_grad()
def embedding(reader: AttributeReader, pictures: Tensor) -> Tensor:
    """[N, E]: what the reader of attributes knows of pictures before it names them."""
    reader.eval()
    parts = torch.split(pictures, 256)
    return torch.cat([reader.body(some).flatten(1) for some in parts])


def reconstruction(
    faces: FittedFaces,
    encoder: FittedEncoder,
    held: Tensor,
    reader: AttributeReader,
    *,
    refined: int = 100,
    steps: int = 30,
) -> tuple[dict[str, Figure], Tensor]:
    """Errors of held-out pictures [N, 3, S, S] through the encoder, and a sheet of some of them:
    the picture, what came back, and what came back after `steps` of refinement."""
    plus = encoder.invert(faces, held)
    again = _pictures(faces.generator, plus)
    errors = (again - held).square().mean((1, 2, 3)).numpy()
    real, made = embedding(reader, held), embedding(reader, again)
    near = 1 - torch.cosine_similarity(real, made, dim=1)
    others = 1 - torch.cosine_similarity(real, real.roll(1, 0), dim=1)
    some = held[:refined]
    better = _pictures(faces.generator, refined_plus(faces, encoder, some, steps=steps))
    after = (better - some).square().mean((1, 2, 3)).numpy()
    mean = held.mean(0, keepdim=True)
    found: dict[str, Figure] = {
        **_ends("inversion_l2", mean_of(errors)),
        **_ends("inversion_l2_refined", mean_of(after)),
        "inversion_l2_before_refining": float(errors[:refined].mean()),
        "inversion_l2_mean_picture": float((held - mean).square().mean()),
        **_ends("identity_distance", mean_of(near.double().numpy())),
        "identity_distance_others": float(others.mean()),
    }
    return found, torch.cat([held[:12], again[:12], better[:12]])


def direction_figures(
    faces: FittedFaces, drawn: DrawnPortraits, sizes: DirectionSizes
) -> tuple[dict[str, Figure], list[dict[str, Any]], AttributeReader]:
    """Hits and leaks of the first directions of SeFa, of random ones and of fitted ones, over the
    seeds; a row for each direction; and the first seed's reader.

    The difference to random directions is resampled over directions within the seeds.
    """
    rows: list[dict[str, Any]] = []
    hits: dict[str, list[list[float]]] = {kind: [] for kind in _WORDS}
    leaks: dict[str, list[list[float]]] = {kind: [] for kind in _WORDS}
    readers = []
    for seed in sizes.seeds:
        reader = fit_reader(
            as_pictures(drawn.pictures), drawn.labels, epochs=sizes.epochs, seed=seed
        )
        readers.append(reader)
        for kind, directions in _directions(faces.generator, reader, sizes, seed).items():
            found = moved_attributes(
                faces.generator, directions, reader, seed=seed, latents=sizes.latents
            )
            hits[kind].append([float(hit) for hit in found.hit])
            leaks[kind].append([float(leak) for leak in found.leak])
            rows += _rows(kind, seed, found, reader)
    return _summary(hits, leaks, readers), rows, readers[0]


def _directions(
    generator: Generator, reader: AttributeReader, sizes: DirectionSizes, seed: int
) -> Mapping[str, Directions]:
    first = sefa(generator, sizes.directions)
    random = torch.Generator().manual_seed(1000 + seed)
    with torch.no_grad():
        z = torch.randn(sizes.labelled, generator.config.wide, generator=random)
        w = generator.latents(z)
    named = reader.read(_pictures(generator, w))
    fitted = torch.stack([fitted_direction(w, named[:, at]) for at in range(len(reader.names))])
    return {
        "sefa": first,
        "random": random_directions(
            generator.config.wide, sizes.directions, first.rows, seed=2000 + seed
        ),
        "fitted": Directions(fitted, first.rows),
    }


def _rows(
    kind: str, seed: int, found: MovedAttributes, reader: AttributeReader
) -> list[dict[str, Any]]:
    return [
        {
            "table": "directions",
            "kind": kind,
            "seed": seed,
            "direction": at,
            "named": found.named[at],
            # A fitted direction is named before it is tried.
            **({"fitted_to": reader.names[at]} if kind == "fitted" else {}),
            "change": float(found.change[at]),
            "hit": bool(found.hit[at]),
            "leak": float(found.leak[at]),
            "reader_quality": reader.quality[found.named[at]],
        }
        for at in range(len(found.named))
    ]


def _summary(
    hits: Mapping[str, list[list[float]]],
    leaks: Mapping[str, list[list[float]]],
    readers: Sequence[AttributeReader],
) -> dict[str, Figure]:
    found: dict[str, Figure] = {
        "reader_quality": float(np.mean([list(one.quality.values()) for one in readers]))
    }
    for kind, word in _WORDS.items():
        found |= _ends(f"attribute_hit_rate{word}", mean_of(np.ravel(hits[kind])))
        found |= _ends(f"attribute_leak{word}", mean_of(np.ravel(leaks[kind])))
    rng = np.random.default_rng(0)
    drawn = {
        kind: [row[rng.integers(len(row), size=(_DRAWS, len(row)))].mean(1) for row in every]
        for kind, every in ((kind, [np.array(row) for row in hits[kind]]) for kind in _WORDS)
    }
    difference = np.mean(drawn["sefa"], 0) - np.mean(drawn["random"], 0)
    value = float(np.mean(hits["sefa"]) - np.mean(hits["random"]))
    return found | _ends("attribute_hit_rate_minus_random", interval_of(value, difference))


@torch.no_grad()
def _pictures(generator: Generator, latents: Tensor) -> Tensor:
    return torch.cat([generator.pictures(some) for some in torch.split(latents, 64)])
