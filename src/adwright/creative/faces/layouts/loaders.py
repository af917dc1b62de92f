"""Generators and encoders that others trained, read from their public layouts.

    faces = load_faces("ffhq.pt", accept_noncommercial=True)              # FittedFaces
    model = load_e4e("e4e_ffhq_encode.pt", accept_noncommercial=True)
    plus = model.invert(pictures)                                         # W+ of aligned pictures

    rosinality    generators that follow rosinality/stylegan2-pytorch, see `rosinality`
    nvidia        state dicts of NVlabs/stylegan2-ada-pytorch, see `nvidia`
    e4e           omertov/encoder4editing: its encoder, and a decoder in rosinality's layout

Nearly all such weights were trained on faces that may not be used to earn money (FFHQ: CC BY-NC-SA
4.0; NVIDIA's own: non-commercial). So a loader reads none before `accept_noncommercial` says that
their terms were read and are met. Nothing is downloaded.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional

from adwright.core.errors import ConfigError, DataError
from adwright.core.hashing import sha256_file
from adwright.creative.faces.fitted_faces import FittedFaces
from adwright.creative.faces.layouts.e4e_encoder import (
    E4E_MARKER,
    E4E_SIDE,
    E4eEncoder,
    e4e_encoder,
)
from adwright.creative.faces.layouts.nvidia import NVIDIA_MARKER, nvidia_generator
from adwright.creative.faces.layouts.reading import Named, prefix_before, read_checkpoint
from adwright.creative.faces.layouts.rosinality import ROSINALITY_MARKER, rosinality_generator

__all__ = ["Layout", "PublicEncoder", "load_e4e", "load_faces"]

Layout = Literal["auto", "rosinality", "nvidia"]
_AT_A_TIME = 8


@dataclass(frozen=True, eq=False)
class PublicEncoder:
    """e4e as its authors published it: encoder, and the generator with the mean latents [rows, D]
    that its offsets are added to."""

    encoder: E4eEncoder
    faces: FittedFaces
    mean: Tensor

    @torch.no_grad()
    def invert(self, pictures: Tensor, *, side: int = E4E_SIDE) -> Tensor:
        """W+ [N, rows, D] of pictures [N, 3, H, W], -1 to 1, aligned as FFHQ's are, which are
        brought to side x side first."""
        found = []
        for some in torch.split(pictures, _AT_A_TIME):
            sized = functional.interpolate(some, (side, side), mode="bilinear", antialias=True)
            found.append(self.mean + self.encoder(sized))
        return torch.cat(found)


def load_faces(
    path: str | Path, *, layout: Layout = "auto", accept_noncommercial: bool = False
) -> FittedFaces:
    """The generator of a checkpoint; its fixed noise is the checkpoint's.

    layout: "auto" finds out by the names. accept_noncommercial: see the module.
    Raises ConfigError without it, for a layout that is none and for a generator that ours cannot
    be; DataError where no generator is in the file, and as `read_checkpoint`.
    """
    _require_accepted(path, accept_noncommercial)
    if layout not in get_args(Layout):
        raise ConfigError(
            f"{layout!r} is no layout", where="layout", hint=f"choose among {get_args(Layout)}"
        )
    found = read_checkpoint(path)
    for name, marker in (("nvidia", NVIDIA_MARKER), ("rosinality", ROSINALITY_MARKER)):
        prefix = prefix_before(found.tensors, marker)
        if layout in (name, "auto") and prefix is not None:
            return _fitted(found, prefix, name, path)
    raise DataError(
        "the checkpoint holds no generator of a known layout",
        file=str(path),
        hint=f"one has a tensor whose name ends with {NVIDIA_MARKER} or {ROSINALITY_MARKER}",
    )


def load_e4e(path: str | Path, *, accept_noncommercial: bool = False) -> PublicEncoder:
    """The encoder and the generator of a checkpoint of e4e. Raises as `load_faces`."""
    _require_accepted(path, accept_noncommercial)
    found = read_checkpoint(path)
    prefix = prefix_before(found.tensors, E4E_MARKER)
    decoder = prefix_before(found.below("state_dict.").tensors, f"decoder.{ROSINALITY_MARKER}")
    before = "state_dict.decoder." if decoder is not None else "decoder."
    if prefix is None or f"{before}{ROSINALITY_MARKER}" not in found:
        raise DataError(
            "the checkpoint holds no encoder of e4e with its decoder",
            file=str(path),
            hint=f"it has tensors whose names end with {E4E_MARKER} and {ROSINALITY_MARKER}",
        )
    encoder, faces = (
        e4e_encoder(found.below(prefix)),
        _fitted(found, before, "rosinality", path),
    )
    generator = faces.generator
    rows, wide = generator.config.rows, generator.config.wide
    if len(encoder.styles) != rows:
        raise DataError(
            f"the encoder finds {len(encoder.styles)} rows, the decoder reads {rows}",
            file=str(path),
            hint="take both from one training",
        )
    mean = generator.mean.expand(rows, wide).clone()
    if "latent_avg" in found and found.tensors["latent_avg"].dim() == 2:
        mean = found.get("latent_avg", rows, wide)
    return PublicEncoder(encoder, faces, mean)


def _fitted(found: Named, prefix: str, layout: str, path: str | Path) -> FittedFaces:
    own = found.below(prefix)
    if layout == "nvidia":
        generator = nvidia_generator(own)
    else:
        mean = found.tensors["latent_avg"] if "latent_avg" in found else None
        generator = rosinality_generator(own, mean)
    return FittedFaces(
        generator.requires_grad_(False),
        config={"layout": layout, "file": Path(path).name},
        data_hash=sha256_file(path),
        about=f"weights of others in the layout {layout}: see their terms before any use",
    )


def _require_accepted(path: str | Path, accepted: bool) -> None:
    if not accepted:
        raise ConfigError(
            "weights of faces that others published are nearly always for non-commercial use only",
            where=str(path),
            hint="read their terms; where yours is such a use, set accept_noncommercial=True",
        )
