from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adwright.core.errors import (
    AdwrightError,
    DataError,
    FileUnreadableError,
    SchemaError,
    ValueInvalidError,
)
from adwright.creative.editor.job.protected import ProtectedRegions, read_protected

IDS = ("spring", "summer/a.png")
HEAD = "ad,left,top,right,bottom,what\n"


def written(folder: Path, text: str) -> Path:
    path = folder / "stays.csv"
    path.write_text(text, "utf-8")
    return path


def test_boxes_of_one_ad_and_of_all(tmp_path: Path) -> None:
    path = written(tmp_path, HEAD + "spring,1,2,5,4,logo\n,0,8,10,10,legal\n")
    found = read_protected(path, IDS)
    mask = found.mask("spring", (10, 12, 3))
    assert mask is not None
    wanted = np.zeros((10, 12), bool)
    wanted[2:4, 1:5] = wanted[8:10, 0:10] = True
    np.testing.assert_array_equal(mask, wanted)
    other = found.mask("summer/a.png", (10, 12, 3))
    assert other is not None
    assert other.sum() == 20
    assert found.digest
    assert ProtectedRegions().mask("spring", (4, 4, 3)) is None


def test_ad_and_what_may_be_left_out(tmp_path: Path) -> None:
    found = read_protected(written(tmp_path, "left,top,right,bottom\n0,0,2,2\n"), IDS)
    assert found.boxes[""][0].what == "other"


def test_masks_of_a_folder(tmp_path: Path) -> None:
    seen = np.zeros((6, 8, 3), np.uint8)
    seen[2:4, 3:5] = 255
    Image.fromarray(seen).save(tmp_path / "spring.png")
    (tmp_path / "summer").mkdir()
    Image.fromarray(seen[:, ::-1].copy()).save(tmp_path / "summer" / "a.png")
    found = read_protected(tmp_path, IDS)
    for ad, columns in (("spring", slice(3, 5)), ("summer/a.png", slice(3, 5))):
        mask = found.mask(ad, (6, 8, 3))
        assert mask is not None
        assert mask[2:4, columns].all()
        assert mask.sum() == 4
    with pytest.raises(DataError, match="8 x 6"):
        found.mask("spring", (5, 8, 3))
    changed = found.digest
    seen[0] = 255
    Image.fromarray(seen).save(tmp_path / "spring.png")
    assert read_protected(tmp_path, IDS).digest != changed


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        (HEAD, FileUnreadableError, "no box|no rows|empty"),
        ("ad,left\nspring,1\n", SchemaError, "column"),
        (HEAD + "sprig,1,2,5,4,logo\n", ValueInvalidError, "no such ad"),
        (HEAD + "spring,1,2,5,4,hat\n", ValueInvalidError, "no protected box"),
        (HEAD + "spring,5,2,5,4,logo\n", ValueInvalidError, "no protected box"),
        (HEAD + "spring,1.5,2,5,4,logo\n", ValueInvalidError, "whole number"),
        (HEAD + "spring,-1,2,5,4,logo\n", ValueInvalidError, "whole number"),
        (HEAD + "spring,1,2,,4,logo\n", ValueInvalidError, "whole number"),
    ],
)
def test_what_is_no_region_is_refused(
    tmp_path: Path, text: str, error: type[AdwrightError], says: str
) -> None:
    with pytest.raises(error, match=says):
        read_protected(written(tmp_path, text), IDS)


def test_a_mask_of_no_ad_and_a_box_outside_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileUnreadableError, match="no mask"):
        read_protected(tmp_path, IDS)
    for name in ("spring", "sprig"):
        Image.new("RGB", (4, 4)).save(tmp_path / f"{name}.png")
    with pytest.raises(FileUnreadableError, match="belongs to no ad"):
        read_protected(tmp_path, IDS)
    away = tmp_path / "boxes"
    away.mkdir()
    found = read_protected(written(away, HEAD + "spring,1,2,50,4,logo\n"), IDS)
    with pytest.raises(DataError, match="outside"):
        found.mask("spring", (10, 10, 3))
