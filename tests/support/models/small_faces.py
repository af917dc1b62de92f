"""A generator of faces that was never trained, its encoder, and a file of directions."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file

from adwright.creative.faces.stylegan import (
    Discriminator,
    FaceEncoder,
    FittedEncoder,
    FittedFaces,
    Generator,
    GeneratorConfig,
)
from benchmarks.creative.faces_training.keeping import save_encoder, save_faces

CONFIG = GeneratorConfig(side=16, wide=8, layers=1, base=64, most=8)
DIRECTIONS = """
rows = [1, 2]
vectors = "vectors.safetensors"
unknown = ["gender", "age", "ethnicity"]

[[allowed]]
name = "smile"
group = "expression"
vector = "smile"

[[allowed]]
name = "turn"
group = "pose"
sefa = 1

[[locked]]
group = "skin"
vector = "skin"
"""


def small_faces(home: Path, *, discriminator: bool = True) -> tuple[Path, Path]:
    """The folder with both artifacts, and the file of directions beside it."""
    torch.manual_seed(0)
    judge = Discriminator(CONFIG) if discriminator else None
    faces = FittedFaces(Generator(CONFIG).requires_grad_(False), judge, about="noise")
    save_faces(faces, home / "faces")
    encoder = FittedEncoder(FaceEncoder(CONFIG, width=8), faces.weights_hash, 8)
    save_encoder(encoder, home / "encoder")
    axes = torch.linalg.qr(torch.randn(8, 8))[0]
    save_file(
        {"smile": 2 * axes[0].contiguous(), "skin": axes[1].contiguous()},
        home / "vectors.safetensors",
    )
    path = home / "directions.toml"
    path.write_text(DIRECTIONS, "utf-8")
    return home, path
