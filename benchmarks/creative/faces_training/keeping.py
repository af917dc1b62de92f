"""What the trainings of faces keep and measure: artifacts, samples, and latents that come nearer.

    save_faces(faces, "runs/faces/model")           # FittedFaces.load reads it
    save_encoder(encoder, "runs/encoder/model")     # FittedEncoder.load reads it
    sample(faces, 16, seed=3)                       # float [16, 3, side, side], -1 to 1
    errors(faces, encoder, pictures)                # L2 [N]

A few optimisation steps on W+ after the encoder, against one picture each.

    found = refine(generator, pictures, plus, steps=30)
    found.plus, found.before, found.after        # W+ and the L2 of each picture

What is lowered, of each picture for itself: L2, `features` times the distance of the
discriminator's features where one is given, and `stay` times the mean squared way from the start.
Of all steps the one with the lowest L2 is kept, so no picture is worse than before.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from adwright.core.artifacts import save_artifact
from adwright.core.config import to_jsonable
from adwright.core.errors import ConfigError
from adwright.creative.faces.stylegan import (
    ENCODER_KIND,
    FACES_KIND,
    Discriminator,
    FittedEncoder,
    FittedFaces,
    Generator,
)
from adwright.training.model_artifacts import weights_of

_AT_A_TIME = 64


def save_faces(
    faces: FittedFaces, folder: str | Path, *, half: bool = False, discriminator: bool = True
) -> str:
    """Write the artifact, whole or not at all; returns its id. half: float16, of half the size;
    discriminator: whether to keep it. Raises as `save_artifact`."""
    parts: dict[str, nn.Module] = {"generator": faces.generator}
    if discriminator and faces.discriminator is not None:
        parts["discriminator"] = faces.discriminator
    tensors: dict[str, NDArray[Any]] = {}
    for part, network in parts.items():
        tensors |= weights_of(network, f"{part}.")
    config = {"generator": to_jsonable(faces.generator.config), "parts": sorted(parts)}
    return _saved(faces, folder, FACES_KIND, config, tensors, half=half)


def save_encoder(encoder: FittedEncoder, folder: str | Path, *, half: bool = False) -> str:
    """As `save_faces`."""
    config = {
        "generator": to_jsonable(encoder.encoder.config),
        "generator_hash": encoder.generator_hash,
        "width": encoder.width,
        "unlocked": encoder.unlocked,
    }
    return _saved(encoder, folder, ENCODER_KIND, config, weights_of(encoder.encoder), half=half)


def _saved(
    model: FittedFaces | FittedEncoder,
    folder: str | Path,
    kind: str,
    config: Mapping[str, Any],
    tensors: Mapping[str, NDArray[Any]],
    *,
    half: bool,
) -> str:
    halves = {
        name: value.astype(np.float16) if half and value.dtype == np.float32 else value
        for name, value in tensors.items()
    }
    return save_artifact(
        folder,
        kind=kind,
        config={**config, "fit": dict(model.config), "about": model.about},
        tensors=halves,
        files={"records.json": json.dumps(list(model.records), indent=1)},
        data_hash=model.data_hash,
        seed=model.seed,
    )


@torch.no_grad()
def sample(faces: FittedFaces, count: int, *, seed: int) -> Tensor:
    """So many pictures [N, 3, side, side] with the fixed noise."""
    random = torch.Generator().manual_seed(seed)
    z = torch.randn(count, faces.generator.config.wide, generator=random)
    each = torch.split(z, _AT_A_TIME)
    return torch.cat([faces.generator.pictures(faces.generator.latents(some)) for some in each])


def refined(faces: FittedFaces, encoder: FittedEncoder, pictures: Tensor, *, steps: int) -> Tensor:
    """W+ [N, rows, D] of pictures, as of `invert`, after so many steps of `refine`."""
    return torch.cat(
        [
            refine(
                faces.generator,
                some,
                encoder.invert(faces, some),
                steps=steps,
                discriminator=faces.discriminator,
            ).plus
            for some in torch.split(pictures, _AT_A_TIME)
        ]
    )


@torch.no_grad()
def errors(faces: FittedFaces, encoder: FittedEncoder, pictures: Tensor) -> Tensor:
    """L2 [N] between pictures, as for `invert`, and what the generator makes of their W+."""
    found = []
    for some in torch.split(pictures, _AT_A_TIME):
        found.append(pixel_error(faces.generator.pictures(encoder.invert(faces, some)), some))
    return torch.cat(found)


_EPS = 1e-10


def pixel_error(made: Tensor, real: Tensor) -> Tensor:
    """[B], the L2 of each: of pictures [B, 3, H, W], the mean over colours and pixels."""
    return (made - real).square().mean((1, 2, 3))


def feature_distance(made: Sequence[Tensor], real: Sequence[Tensor]) -> Tensor:
    """[B] of feature maps [B, C, H, W], one of each layer."""
    found = []
    for one, other in zip(made, real, strict=True):
        a, b = (some / (some.square().sum(1, keepdim=True) + _EPS).sqrt() for some in (one, other))
        found.append((a - b).square().sum(1).mean((1, 2)))
    return torch.stack(found).mean(0)


@dataclass(frozen=True, eq=False)
class Refined:
    """W+ plus [N, rows, D], and the L2 [N] of each picture before and after."""

    plus: Tensor
    before: Tensor
    after: Tensor


@torch.enable_grad()  # type: ignore[no-untyped-call,untyped-decorator,unused-ignore]
def refine(
    generator: Generator,
    pictures: Tensor,
    plus: Tensor,
    *,
    steps: int = 30,
    rate: float = 0.02,
    stay: float = 0.01,
    discriminator: Discriminator | None = None,
    features: float = 0.4,
) -> Refined:
    """See the module. pictures: [N, 3, side, side], -1 to 1. plus: W+ [N, rows, D] to start from.
    rate: of Adam. Raises ConfigError for fewer than no steps, and for a rate that is not above 0.
    """
    if steps < 0 or not rate > 0:
        raise ConfigError(
            f"{steps} steps at rate {rate}", where="steps", hint="take 30 steps at .02"
        )
    start, found = plus.detach(), plus.detach().clone().requires_grad_()
    optimiser = torch.optim.Adam([found], lr=rate)
    with torch.no_grad():
        wanted = None if discriminator is None else discriminator.features(pictures)
    best, before, lowest = start.clone(), torch.empty(0), torch.full((len(start),), torch.inf)
    for step in range(steps + 1):
        made = generator.pictures(found)
        error = pixel_error(made, pictures)
        with torch.no_grad():
            before = error.detach().clone() if step == 0 else before
            better = error < lowest
            best[better], lowest[better] = found.detach()[better], error.detach()[better]
        if step == steps:
            break
        loss = error + stay * (found - start).square().mean((1, 2))
        if discriminator is not None and wanted is not None:
            loss = loss + features * feature_distance(discriminator.features(made), wanted)
        (found.grad,) = torch.autograd.grad(loss.sum(), found)
        optimiser.step()
    return Refined(best, before, lowest)
