from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("PIL", reason="the extra creative is not installed")

from PIL import Image

from adwright.creative.faces.sheets import as_pixels, save_sheet


def test_a_sheet(tmp_path: Path) -> None:
    pictures = torch.stack([torch.full((3, 4, 4), v) for v in (-1.0, 0.0, 2.0)])
    assert as_pixels(pictures)[:, 0, 0, 0].tolist() == [0, 128, 255]
    path = tmp_path / "samples" / "one.png"
    save_sheet(path, pictures, zoom=3)
    with Image.open(path) as image:
        sheet = np.asarray(image)
    assert sheet.shape == (24, 24, 3)
    assert sheet[0, 0, 0] == 0
    assert sheet[23, 0, 0] == 255
    assert sheet[23, 23, 0] == 255
    save_sheet(path, pictures, columns=3, zoom=1)
    with Image.open(path) as image:
        assert image.size == (12, 4)
