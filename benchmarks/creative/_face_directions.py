"""Named directions of the generator of drawn portraits: fitted to what a reader of attributes sees.

SeFa's directions have no names, and another training has others. So what ships beside the weights
is fitted: of each attribute the slope over drawn latents. What may be moved is made orthogonal to
the skin's direction, which is locked.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from adwright.core.atomic import atomic_write_text
from adwright.creative.faces.stylegan import Generator
from benchmarks.creative.faces_training.measures import AttributeReader, fitted_direction

#: Attribute of `faces.portraits` to the name and the group that it is moved by.
_ALLOWED = {"smile": ("smile", "expression"), "background": ("backdrop", "light")}
_LOCKED, _VECTORS = "skin", "vectors.safetensors"
_HEAD = f"""# Fitted to attributes of {{count:,}} drawn latents; what is allowed spares the skin.
vectors = "{_VECTORS}"
# No label of a drawn portrait tells these.
unknown = ["gender", "age", "ethnicity"]
"""


@torch.no_grad()
def put_directions(
    folder: Path, generator: Generator, reader: AttributeReader, *, count: int, seed: int = 0
) -> None:
    """Write directions.toml and its file of vectors. count: latents that they are fitted on."""
    random = torch.Generator().manual_seed(seed)
    w = generator.latents(torch.randn(count, generator.config.wide, generator=random))
    seen = reader.read(torch.cat([generator.pictures(some) for some in torch.split(w, 64)]))

    def fitted(attribute: str) -> Tensor:
        return fitted_direction(w, seen[:, reader.names.index(attribute)])

    skin = fitted(_LOCKED)
    vectors, text = {_LOCKED: skin}, _HEAD.format(count=count)
    for attribute, (name, group) in _ALLOWED.items():
        found = fitted(attribute)
        found = found - (found @ skin) * skin
        vectors[name] = found / found.norm()
        text += f'\n[[allowed]]\nname = "{name}"\ngroup = "{group}"\nvector = "{name}"\n'
    text += f'\n[[locked]]\ngroup = "{_LOCKED}"\nvector = "{_LOCKED}"\n'
    save_file({name: one.contiguous() for name, one in vectors.items()}, folder / _VECTORS)
    atomic_write_text(folder / "directions.toml", text)
