"""A trained generator of portraits with its discriminator: an artifact of kind "faces".

    faces = FittedFaces.load("runs/faces/model")
    pictures = faces.sample(16, seed=3)             # float [16, 3, side, side], -1 to 1

manifest.json         the generator's config, the training's, its records, what it was trained on
tensors.safetensors   weights, float16 where `save(half=True)`
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from adwright.core.artifacts import Artifact, save_artifact
from adwright.core.clock import Clock
from adwright.core.config import from_jsonable, to_jsonable
from adwright.core.hashing import content_hash, sha256_bytes
from adwright.creative.faces.discriminator import Discriminator
from adwright.creative.faces.generator import Generator, GeneratorConfig
from adwright.training.model_artifacts import load_trained, load_weights, weights_of

__all__ = ["DRAWN", "FACES_KIND", "FittedFaces"]

FACES_KIND = "faces"
#: The folder of the portraits that ship with the package: "faces", and "encoder" where it is there.
DRAWN = Path(__file__).parent / "drawn"


@dataclass(frozen=True, eq=False)
class FittedFaces:
    """generator: with the mean weights of the training. discriminator: None where it was left out.

    config: of the training, plain values. records: one mapping a validation. data_hash: of the
    pictures. about: of what it was trained on, in words.
    """

    generator: Generator
    discriminator: Discriminator | None = None
    config: Mapping[str, Any] = field(default_factory=dict, repr=False)
    records: Sequence[Mapping[str, Any]] = field(default=(), repr=False)
    data_hash: str = ""
    about: str = ""
    seed: int = 0

    def __post_init__(self) -> None:
        self.generator.eval()

    @cached_property
    def weights_hash(self) -> str:
        """Of the generator's weights as float16, which half of an artifact keeps. Taken once: a
        search asks a thousand times over whether an encoder belongs to it."""
        weights = weights_of(self.generator).items()
        halves = {name: value.astype(np.float16).tobytes() for name, value in weights}
        return content_hash({name: sha256_bytes(half) for name, half in halves.items()})

    @torch.no_grad()
    def sample(self, count: int, *, seed: int, truncation: float = 1.0) -> Tensor:
        """So many pictures [N, 3, side, side] with the fixed noise; see `Generator.latents`."""
        random = torch.Generator().manual_seed(seed)
        z = torch.randn(count, self.generator.config.wide, generator=random)
        made = [
            self.generator.pictures(self.generator.latents(some, truncation=truncation))
            for some in torch.split(z, 64)
        ]
        return torch.cat(made)

    def save(
        self,
        folder: str | Path,
        *,
        half: bool = False,
        discriminator: bool = True,
        overwrite: bool = False,
        clock: Clock | None = None,
    ) -> str:
        """Write the artifact, whole or not at all; returns its id.

        half: float16, of half the size; discriminator: whether to keep it. Raises as
        `save_artifact`.
        """
        parts: dict[str, nn.Module] = {"generator": self.generator}
        if discriminator and self.discriminator is not None:
            parts["discriminator"] = self.discriminator
        tensors: dict[str, NDArray[Any]] = {}
        for part, network in parts.items():
            tensors |= weights_of(network, f"{part}.")
        if half:
            tensors = {name: value.astype(np.float16) for name, value in tensors.items()}
        config = {
            "generator": to_jsonable(self.generator.config),
            "fit": dict(self.config),
            "parts": sorted(parts),
            "about": self.about,
        }
        return save_artifact(
            folder,
            kind=FACES_KIND,
            config=config,
            tensors=tensors,
            files={"records.json": json.dumps(list(self.records), indent=1)},
            data_hash=self.data_hash,
            seed=self.seed,
            overwrite=overwrite,
            clock=clock,
        )

    @classmethod
    def load(cls, source: str | Path | Artifact) -> FittedFaces:
        """The model of an artifact, or of its folder; raises as `load_trained`."""
        return load_trained(source, _built, kind=FACES_KIND, name="generator of faces")


def _built(artifact: Artifact) -> FittedFaces:
    config = artifact.config
    shape = from_jsonable(GeneratorConfig, config["generator"])
    tensors = {name: value.astype(np.float32) for name, value in artifact.tensors.items()}
    generator, discriminator = Generator(shape), None
    load_weights(generator, tensors, "generator.")
    if "discriminator" in config["parts"]:
        discriminator = Discriminator(shape)
        load_weights(discriminator, tensors, "discriminator.")
    return FittedFaces(
        generator,
        discriminator,
        config=config["fit"],
        records=tuple(json.loads(artifact.text("records.json"))),
        data_hash=artifact.data_hash,
        about=config["about"],
        seed=artifact.seed,
    )
