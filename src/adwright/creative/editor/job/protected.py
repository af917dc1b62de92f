"""What must stay of each ad: boxes out of a table, or masks out of a folder.

    ad,left,top,right,bottom,what          # pixels of the upright picture, edges as in slices
    spring,4,4,44,24,logo
    ,0,430,512,512,legal                   # without an ad: of all

    regions = read_protected("protected.csv", ids)
    regions.mask("spring", (512, 512, 3))  # bool [H, W]; None where nothing is protected

A folder holds a picture for each ad, named by its id (or, where ids are paths, by the path with
another ending): white is protected, black is not.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from adwright.core.errors import DataError, FileUnreadableError, SchemaError, ValueInvalidError
from adwright.core.hashing import content_hash, sha256_file
from adwright.creative.editor.edits.context import ProtectedBox, protected_mask
from adwright.creative.records.encoders.images import opened_image
from adwright.data.sources.bounds import reading
from adwright.data.sources.frames import as_frame

__all__ = ["ProtectedRegions", "read_protected"]

_EDGES = ("left", "top", "right", "bottom")
_WHAT = ("logo", "price", "legal", "other")
_ALL = ""


@dataclass(frozen=True, eq=False)
class ProtectedRegions:
    """boxes: of each ad, those of all ads under "". masks: of each ad, a picture's file. name: of
    where it was read. digest: of all that it says."""

    boxes: Mapping[str, tuple[ProtectedBox, ...]] = field(default_factory=dict)
    masks: Mapping[str, Path] = field(default_factory=dict)
    name: str = ""
    digest: str = ""

    def mask(self, ad: str, shape: tuple[int, ...]) -> NDArray[np.bool_] | None:
        """bool [H, W] of an ad's picture of shape (H, W, ...); None where nothing is protected.

        Raises DataError where a box ends outside, or a mask has another size; FileUnreadableError
        where a mask cannot be read.
        """
        boxes = (*self.boxes.get(_ALL, ()), *self.boxes.get(ad, ()))
        made = protected_mask(boxes, shape) if boxes else None
        path = self.masks.get(ad)
        if path is None:
            return made
        seen = np.asarray(opened_image(path.read_bytes(), str(path)))
        if seen.shape[:2] != tuple(shape[:2]):
            raise DataError(
                f"the mask has {seen.shape[1]} x {seen.shape[0]} pixels",
                file=str(path),
                hint=f"the picture of {ad} has {shape[1]} x {shape[0]}",
            )
        drawn = np.asarray(seen.mean(2) >= 128)
        return drawn if made is None else made | drawn


def read_protected(path: str | Path, ids: Collection[str]) -> ProtectedRegions:
    """The regions of a table or a folder. ids: of the ads.

    Raises FileUnreadableError where it cannot be read or holds nothing; SchemaError for a column
    that is missing; ValueInvalidError, naming the row, for edges that are no box, for another
    `what`, and for an ad that is not among the ids: what is protected by mistake of a name is not.
    """
    place = Path(path)
    if place.is_dir():
        return _of_folder(place, ids)
    table = as_frame(place, text=lambda names: [n for n in names if n in ("ad", "what")])
    frame = reading(place, table.frame.collect)
    if missing := [name for name in _EDGES if name not in frame.columns]:
        raise SchemaError(
            "a column of boxes is missing",
            file=table.name,
            column=missing[0],
            hint="ad,left,top,right,bottom,what; only ad and what may be left out",
        )
    if not frame.height:
        raise FileUnreadableError("there is no box in it", file=table.name, hint="write a row each")
    found: dict[str, list[ProtectedBox]] = {}
    for at in range(frame.height):
        ad = _cell(frame, "ad", at)
        if ad and ad not in ids:
            raise ValueInvalidError(
                "there is no such ad", file=table.name, row=at, column="ad", value=ad,
                hint=f"ids are such as {', '.join(sorted(ids)[:3])}",
            )  # fmt: skip
        found.setdefault(ad, []).append(_box(frame, at, table.name))
    boxes = {ad: tuple(some) for ad, some in found.items()}
    return ProtectedRegions(boxes, {}, str(path), sha256_file(place))


def _cell(frame: pl.DataFrame, name: str, at: int) -> str:
    value = frame[name][at] if name in frame.columns else None
    return "" if value is None else str(value).strip()


def _box(frame: pl.DataFrame, at: int, file: str) -> ProtectedBox:
    edges: list[int] = []
    for name in _EDGES:
        try:
            edges.append(_whole(frame[name][at]))
        except (TypeError, ValueError) as error:
            raise ValueInvalidError(
                "an edge is a whole number of pixels", file=file, row=at, column=name,
                value=frame[name][at], hint="0 or more",
            ) from error  # fmt: skip
    what = _cell(frame, "what", at) or "other"
    if what not in _WHAT or not (edges[0] < edges[2] and edges[1] < edges[3]):
        raise ValueInvalidError(
            "this is no protected box", file=file, row=at, value=(*edges, what),
            hint=f"left < right, top < bottom, what one of {', '.join(_WHAT)}",
        )  # fmt: skip
    named = next(one for one in ("logo", "price", "legal", "other") if one == what)
    return ProtectedBox(edges[0], edges[1], edges[2], edges[3], named)


def _whole(value: object) -> int:
    number = float(str(value))
    if not number.is_integer() or number < 0:
        raise ValueError(number)
    return int(number)


def _of_folder(place: Path, ids: Collection[str]) -> ProtectedRegions:
    masks: dict[str, Path] = {}
    for ad in ids:
        name = Path(ad).with_suffix("") if Path(ad).suffix else Path(ad)
        inside = [place / f"{one}.png" for one in (ad, name) if ".." not in Path(one).parts]
        path = next((one for one in inside if one.is_file()), None)
        if path is not None:
            masks[ad] = path
    used = {path.resolve() for path in masks.values()}
    left = [path for path in sorted(place.rglob("*.png")) if path.resolve() not in used]
    if not masks or left:
        raise FileUnreadableError(
            "a mask belongs to no ad" if left else "there is no mask of any ad in it",
            file=str(left[0] if left else place),
            hint=f"name them ID.png; ids are such as {', '.join(sorted(ids)[:3])}",
        )
    return ProtectedRegions({}, masks, str(place), _digest(masks))


def _digest(masks: Mapping[str, Path]) -> str:
    names: Sequence[str] = sorted(masks)
    return content_hash([[name, sha256_file(masks[name])] for name in names])
