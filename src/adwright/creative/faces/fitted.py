"""Pictures as networks read them.

A trained generator of portraits with its discriminator: an artifact of kind "faces".

    faces = FittedFaces.load("runs/faces/model")
    pictures = faces.sample(16, seed=3)             # float [16, 3, side, side], -1 to 1

manifest.json         the generator's config, the training's, its records, what it was trained on
tensors.safetensors   weights, float16 where `save(half=True)`

A trained encoder of portraits into W+: an artifact of kind "faces_encoder".

    encoder = FittedEncoder.load("runs/encoder/model")
    plus = encoder.invert(faces, pictures)               # W+ [N, rows, D]
    plus = encoder.invert(faces, pictures, refine_steps=30)
    encoder.errors(faces, pictures)                      # L2 [N]

Pictures are aligned as those that it was trained on: an unaligned face comes back as another
person. An encoder belongs to one generator, whose weights it knows by their hash.

manifest.json         the encoder's config, the training's, and the generator's hash
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
from adwright.core.assets import shipped
from adwright.core.clock import Clock
from adwright.core.config import from_jsonable, to_jsonable
from adwright.core.errors import ConfigError
from adwright.core.hashing import content_hash, sha256_bytes
from adwright.creative.faces.encoder import FaceEncoder, pixel_error, refine
from adwright.creative.faces.stylegan import Discriminator, Generator, GeneratorConfig
from adwright.training.model_artifacts import load_trained, load_weights, weights_of


def as_pictures(pixels: NDArray[np.uint8]) -> Tensor:
    """float [N, 3, S, S], -1 to 1, of uint8 [N, S, S, 3]."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1


FACES_KIND = "faces"
#: The folder of the portraits that ship with the package: "faces", and "encoder" where it is there.
DRAWN = shipped("drawn_faces")


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
        return load_trained(source, _faces_of, kind=FACES_KIND, name="generator of faces")


def _faces_of(artifact: Artifact) -> FittedFaces:
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


ENCODER_KIND = "faces_encoder"
_AT_A_TIME = 64


@dataclass(frozen=True, eq=False)
class FittedEncoder:
    """encoder: of pictures. generator_hash: see `FittedFaces.weights_hash`. width: of the encoder.
    unlocked: rows that have an offset, those that its training had let in; None for all.

    config: of the training, plain values. records: one mapping a validation. data_hash: of the
    pictures. about: of what it was trained on, in words.
    """

    encoder: FaceEncoder
    generator_hash: str
    width: int
    unlocked: int | None = None
    config: Mapping[str, Any] = field(default_factory=dict, repr=False)
    records: Sequence[Mapping[str, Any]] = field(default=(), repr=False)
    data_hash: str = ""
    about: str = ""
    seed: int = 0

    def __post_init__(self) -> None:
        self.encoder.eval()

    def invert(self, faces: FittedFaces, pictures: Tensor, *, refine_steps: int = 0) -> Tensor:
        """W+ [N, rows, D] of pictures [N, 3, side, side], -1 to 1. refine_steps: of `refine`,
        with the discriminator's features where there is one.

        Raises ConfigError for another generator than it was trained on, and for pictures of another
        size.
        """
        self._require(faces, pictures)
        found = []
        for some in torch.split(pictures, _AT_A_TIME):
            with torch.no_grad():
                mean = faces.generator.mean
                plus = self.encoder(some, mean=mean, unlocked=self.unlocked)
            if refine_steps:
                plus = refine(
                    faces.generator,
                    some,
                    plus,
                    steps=refine_steps,
                    discriminator=faces.discriminator,
                ).plus
            found.append(plus)
        return torch.cat(found)

    def errors(self, faces: FittedFaces, pictures: Tensor, *, refine_steps: int = 0) -> Tensor:
        """L2 [N] between pictures, as for `invert`, and what the generator makes of their W+."""
        plus = self.invert(faces, pictures, refine_steps=refine_steps)
        parts = zip(torch.split(plus, _AT_A_TIME), torch.split(pictures, _AT_A_TIME), strict=True)
        with torch.no_grad():
            return torch.cat([pixel_error(faces.generator.pictures(w), x) for w, x in parts])

    def _require(self, faces: FittedFaces, pictures: Tensor) -> None:
        if faces.weights_hash != self.generator_hash:
            raise ConfigError(
                "the encoder was trained on another generator",
                where="faces",
                hint="pass the generator that it was trained on, or train it again",
            )
        side = self.encoder.config.side
        if pictures.dim() != 4 or pictures.shape[1:] != (3, side, side) or not len(pictures):
            raise ConfigError(
                f"pictures have shape {tuple(pictures.shape)}",
                where="pictures",
                hint=f"pass one or more of 3 x {side} x {side}",
            )

    def save(
        self,
        folder: str | Path,
        *,
        half: bool = False,
        overwrite: bool = False,
        clock: Clock | None = None,
    ) -> str:
        """Write the artifact, whole or not at all; returns its id. half: weights in float16, of
        half the size. Raises as `save_artifact`."""
        tensors = weights_of(self.encoder)
        if half:
            tensors = {
                name: value.astype(np.float16) if value.dtype == np.float32 else value
                for name, value in tensors.items()
            }
        config = {
            "generator": to_jsonable(self.encoder.config),
            "generator_hash": self.generator_hash,
            "width": self.width,
            "unlocked": self.unlocked,
            "fit": dict(self.config),
            "about": self.about,
        }
        return save_artifact(
            folder,
            kind=ENCODER_KIND,
            config=config,
            tensors=tensors,
            files={"records.json": json.dumps(list(self.records), indent=1)},
            data_hash=self.data_hash,
            seed=self.seed,
            overwrite=overwrite,
            clock=clock,
        )

    @classmethod
    def load(cls, source: str | Path | Artifact) -> FittedEncoder:
        """The model of an artifact, or of its folder; raises as `load_trained`."""
        return load_trained(source, _encoder_of, kind=ENCODER_KIND, name="encoder of faces")


def _encoder_of(artifact: Artifact) -> FittedEncoder:
    config = artifact.config
    encoder = FaceEncoder(
        from_jsonable(GeneratorConfig, config["generator"]), width=config["width"]
    )
    tensors = {
        name: value.astype(np.float32) if value.dtype == np.float16 else value
        for name, value in artifact.tensors.items()
    }
    load_weights(encoder, tensors)
    return FittedEncoder(
        encoder,
        config["generator_hash"],
        config["width"],
        config["unlocked"],
        config=config["fit"],
        records=tuple(json.loads(artifact.text("records.json"))),
        data_hash=artifact.data_hash,
        about=config["about"],
        seed=artifact.seed,
    )
