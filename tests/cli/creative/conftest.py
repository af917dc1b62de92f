"""A small table of ads, some of them with pictures that a test draws."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("PIL", reason="the extra creative is not installed")

from PIL import Image


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A folder with ads.csv and what it names."""
    Image.new("RGB", (64, 48), "red").save(tmp_path / "red.png")
    (tmp_path / "broken.jpg").write_bytes(b"%PDF-1.7")
    rows = [
        "id,headline,body,brand,image",
        "a,Fresh bread,Baked at six.,Mill Lane,red.png",
        "b,Warm rolls,Two for 3.,Mill Lane,broken.jpg",
        "c,Blue mug,Holds 350 ml.,Kiln & Co,",
    ]
    (tmp_path / "ads.csv").write_text("\n".join(rows) + "\n", "utf-8")
    return tmp_path
