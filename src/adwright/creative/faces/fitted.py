"""Pictures as networks read them.

A trained generator of portraits with its discriminator: an artifact of kind "faces".

    faces = FittedFaces.load("runs/faces/model")

manifest.json         the generator's config, the training's, its records, what it was trained on
tensors.safetensors   weights in float32 or float16

A trained encoder of portraits into W+: an artifact of kind "faces_encoder".

    encoder = FittedEncoder.load("runs/encoder/model")
    plus = encoder.invert(faces, pictures)               # W+ [N, rows, D]

Pictures are aligned as those that it was trained on: an unaligned face comes back as another
person. An encoder belongs to one generator, whose weights it knows by their hash.

manifest.json         the encoder's config, the training's, and the generator's hash
tensors.safetensors   weights in float32 or float16
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
from torch import Tensor

from adwright.core.artifacts import Artifact
from adwright.core.assets import shipped
from adwright.core.config import from_jsonable
from adwright.core.errors import ConfigError
from adwright.core.hashing import content_hash, sha256_bytes
from adwright.creative.faces.encoder import FaceEncoder
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

    @torch.no_grad()
    def invert(self, faces: FittedFaces, pictures: Tensor) -> Tensor:
        """W+ [N, rows, D] of pictures [N, 3, side, side], -1 to 1.

        Raises ConfigError for another generator than it was trained on, and for pictures of another
        size.
        """
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
        mean, unlocked = faces.generator.mean, self.unlocked
        each = torch.split(pictures, _AT_A_TIME)
        return torch.cat([self.encoder(some, mean=mean, unlocked=unlocked) for some in each])

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
