"""An ad that shows a drawn portrait, which nobody's consent is needed for, and its manifest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from adwright.creative.editor.provenance import picture_hash
from benchmarks.creative.faces_training.portraits import draw_portraits


def face_ad(folder: Path) -> tuple[Path, Path]:
    """A table of one ad of 96 x 64 pixels, and a manifest that names the face in it by its box."""
    folder.mkdir()
    picture = np.full((64, 96, 3), (90, 130, 170), np.uint8)
    picture[16:48, 40:72] = draw_portraits(1, seed=3).pictures[0]
    Image.fromarray(picture).save(folder / "ad.png")
    (folder / "ads.csv").write_text("id,headline,image\nface,Fresh bread,ad.png\n", "utf-8")
    lines = ["[[entries]]", 'kind = "synthetic"', 'adult = "declared"']
    lines += [f'picture = "{picture_hash(picture)}"', "box = [40, 16, 72, 48]"]
    (folder / "consent.toml").write_text("\n".join(lines) + "\n", "utf-8")
    return folder / "ads.csv", folder / "consent.toml"
