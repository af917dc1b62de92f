"""What edits leave of posters with price, logo, legal line, headline and face.

Posters are drawn over photographs and grounds, in layouts that nobody was developed on (seeds 200
to 259, a third to each seed of the kit; of 100 to 159, of before, one lost a chin: margins of faces
were mended on it); `adwright creative edit` is asked, by its own function and
defaults, with crop, blur, light and text allowed, by judges that want the middle of the picture
alone and lines of black and white over it. What is left is looked for in the files: each part, as
it was drawn, at any place (its mean difference at most 3 of 255; of a face, whose light may change,
a correlation of .95), and each text by OCR. The contrast of a laid line is measured between its ink
and what lies around it. Photographs and pages of packages stand beside, whose texts are looked for.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from adwright.creative.editor.fitness import EnsembleJudge, PictureJudge
from adwright.creative.editor.job_judges import AskedJudges, JudgesOfAd
from adwright.creative.records.ad_record import AdRecord
from adwright.creative.records.looking import WordReader

Pixels = NDArray[np.uint8]
Box = tuple[int, int, int, int]
_LINE = "Now in stores"
_EDITS = "exposure,contrast,saturation,temperature,crop,background_blur,text"
_EACH, _FIRST = 20, 200
_PHOTOS = ("astronaut", "astronaut", "coffee", "chelsea", "rocket", "retina", "motorcycle_left")
#: Of the astronaut's picture: her face.
_FACE = (172, 62, 278, 196)
_HEADS = ("Reach higher", "Fresh roast", "Cat week", "Summer starts here", "New every day")
_PRICES = ("$ 19.99", "2 for 9.50", "-25%", "only 4.99", "from 129")
_LEGALS = (
    "Offer ends 31 Dec. Terms apply.",
    "Prices incl. VAT. While stocks last.",
    "Only in participating stores. See website.",
)
_LOGOS = ("NOVA", "Kite & Co", "BREZ")


@dataclass(frozen=True, eq=False)
class Poster:
    """picture: uint8 [H, W, 3]. parts: boxes by name; texts: of parts that have one."""

    picture: Pixels
    parts: dict[str, Box]
    texts: dict[str, str]


def poster(seed: int) -> Poster:
    """A poster by its seed."""
    from PIL import Image, ImageDraw, ImageFont

    rng = np.random.default_rng([seed, 77])
    wide, high = ((1080, 1080), (1080, 1350), (1200, 628), (800, 1000))[rng.integers(4)]
    ground = tuple(int(one) for one in rng.integers(10, 90, 3))
    image = Image.new("RGB", (wide, high), ground)
    short = min(wide, high)
    parts: dict[str, Box] = {}
    # The photograph: the whole ground, or a window of it; the face is always there.
    face = Image.fromarray(_photo("astronaut"))
    if rng.random() < 0.5:
        other = Image.fromarray(_photo(_PHOTOS[rng.integers(2, len(_PHOTOS))]))
        image.paste(other.resize((wide, high)), (0, 0))
    side = int(short * rng.uniform(0.45, 0.62))
    left = int(rng.uniform(0.05, 0.95) * (wide - side))
    top = int(rng.uniform(0.2, 0.6) * (high - side))
    image.paste(face.resize((side, side)), (left, top))
    by = side / 512
    parts["face"] = (
        left + int(_FACE[0] * by),
        top + int(_FACE[1] * by),
        left + int(_FACE[2] * by),
        top + int(_FACE[3] * by),
    )
    draw = ImageDraw.Draw(image)

    def written(name: str, text: str, size: float, x: float, y: float, plate: str) -> None:
        font = ImageFont.load_default(max(13, int(size * short)))
        box = draw.textbbox((0, 0), text, font=font)
        pad = int(0.4 * (box[3] - box[1])) if plate else 0
        w, h = box[2] - box[0] + 2 * pad, box[3] - box[1] + 2 * pad
        if plate == "disc":
            w = h = max(w, h)
        at_x, at_y = int(x * (wide - w)), int(y * (high - h))
        colour = tuple(int(one) for one in rng.integers(0, 256, 3))
        light = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]
        ink = "black" if light > 140 else "white"
        where = (at_x, at_y, at_x + int(w), at_y + int(h))
        if plate == "disc":
            draw.ellipse(where, fill=colour)
        elif plate == "box":
            draw.rectangle(where, fill=colour)
        else:
            seen = np.asarray(image.crop(where)).reshape(-1, 3).mean()
            ink = "black" if seen > 140 else "white"
        draw.text(
            (at_x + w / 2, at_y + h / 2), text, font=font, fill=ink, anchor="mm",
            stroke_width=0 if plate else 1, stroke_fill="white" if ink == "black" else "black",
        )  # fmt: skip
        parts[name], texts[name] = where, text

    texts: dict[str, str] = {}
    written("headline", _HEADS[rng.integers(len(_HEADS))], 0.07, rng.uniform(0.1, 0.9), 0.03, "")
    right = rng.random() < 0.5
    price = ("disc", "box", "disc")[rng.integers(3)]
    written("price", _PRICES[rng.integers(len(_PRICES))], 0.05, 0.95 if right else 0.04,
            rng.uniform(0.78, 0.9), price)  # fmt: skip
    words = _LOGOS[rng.integers(len(_LOGOS))]
    written("logo", words, 0.04, 0.03 if right else 0.97, rng.uniform(0.84, 0.93), "box")
    legal = _LEGALS[rng.integers(len(_LEGALS))]
    written("legal", legal, 0.02, rng.uniform(0.2, 0.8), 0.985, "")
    return Poster(np.asarray(image, np.uint8), parts, texts)


def _photo(name: str) -> Pixels:
    from pathlib import Path as _Path

    import skimage
    from PIL import Image

    folder = _Path(skimage.__file__).parent / "data"
    path = next(one for one in folder.glob(f"{name}.*"))
    return np.asarray(Image.open(path).convert("RGB"), np.uint8)


@dataclass(eq=False)
class MiddleJudge:
    """Wants the middle of the first picture that it saw, and black and white over it."""

    wants: float
    name: str = "click_rate"
    first: NDArray[np.float64] | None = None

    def judge(self, pictures: Pixels) -> NDArray[np.float64]:
        """float64 [N]."""
        import cv2

        small = np.stack(
            [cv2.resize(one, (96, 96), interpolation=cv2.INTER_AREA) for one in pictures]
        ).astype(np.float64)
        if self.first is None:
            middle = small[0, 19:77, 19:77]
            whole = cv2.resize(middle, (96, 96), interpolation=cv2.INTER_LINEAR)
            self.first = np.asarray(whole, np.float64)
        away = np.abs(small - self.first).mean((1, 2, 3)) / 255
        pure = ((pictures < 6) | (pictures > 249)).all(3).mean((1, 2))
        return np.asarray(1 - self.wants * away + np.minimum(pure, 0.2))


class _Judges(AskedJudges):
    def of(self, record: AdRecord) -> JudgesOfAd:
        """Three that differ a little, and a second one."""
        some: Sequence[PictureJudge] = [MiddleJudge(wants) for wants in (1.0, 1.05, 0.95)]
        return JudgesOfAd((EnsembleJudge("click_rate", some),), MiddleJudge(1.1), ())


class _Opened:
    """Stands for `opened_judges`."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __enter__(self) -> AskedJudges:
        judges: Any = [MiddleJudge(1.0)] * 3
        return _Judges((("click_rate", tuple(judges)),), judges[0], None, colours=False)

    def __exit__(self, *_: object) -> None:
        pass


def edited(pictures: dict[str, Pixels], folder: Path) -> dict[str, dict[str, Any]]:
    """Edit pictures by the verb's function: of each its outcome, and `file`, uint8 [H, W, 3]."""
    from PIL import Image

    from adwright.cli.creative.ads import edit

    shop = folder / "shop"
    shop.mkdir(parents=True)
    for name, picture in pictures.items():
        Image.fromarray(picture).save(shop / f"{name}.png")
    rows = ["id,headline,image", *(f"{name},An ad,{name}.png" for name in pictures)]
    (shop / "ads.csv").write_text("\n".join(rows) + "\n", "utf-8")
    out = folder / "edits"
    with patch("adwright.creative.editor.job.opened_judges", _Opened):
        edit(shop / "ads.csv", judge=[folder], approver="Ada", edits=_EDITS, line=_LINE, out=out)
    found = {}
    for one in json.loads((out / "edits.json").read_text("utf-8"))["ads"]:
        path = out / one["output"] if one["output"] else shop / f"{one['ad']}.png"
        found[one["ad"]] = one | {"file": np.asarray(Image.open(path).convert("RGB"), np.uint8)}
    return found


def lost_parts(made: Poster, file: Pixels, reader: WordReader) -> list[str]:
    """Parts that are not in the file as they were drawn."""
    import cv2
    from PIL.Image import fromarray

    lost = []
    for name, (left, top, right, bottom) in made.parts.items():
        part = made.picture[max(top, 0) : bottom, max(left, 0) : right]
        if part.shape[0] > file.shape[0] or part.shape[1] > file.shape[1]:
            lost.append(name)
            continue
        if name == "face":
            if cv2.matchTemplate(file, part, cv2.TM_CCOEFF_NORMED).max() < 0.95:
                lost.append(name)
            continue
        off = cv2.matchTemplate(file, part, cv2.TM_SQDIFF).min() / part.size
        if off > 9:
            lost.append(name)
    read = [one.text for one in reader.found(fromarray(file))]
    before = [one.text for one in reader.found(fromarray(made.picture))]
    for name, text in made.texts.items():
        # What no reader finds in the original cannot be asked of the file.
        if _reads(text, before) and not _reads(text, read):
            lost.append(f"{name} text")
    return lost


def _reads(text: str, lines: Sequence[str]) -> bool:
    plain = ["".join(filter(str.isalnum, one.casefold())) for one in (text, *lines)]
    return plain[0] in "".join(plain[1:]) or any(
        SequenceMatcher(None, plain[0], one).ratio() >= 0.8 for one in plain[1:]
    )


def line_contrast(file: Pixels, reader: WordReader) -> float:
    """WCAG's, of the laid line: its ink against the worst of what is around; 0 unread."""
    import cv2
    from PIL.Image import fromarray

    lines = [one for one in reader.found(fromarray(file)) if _reads(_LINE, [one.text])]
    if not lines:
        return 0.0
    left, top, right, bottom = (int(one) for one in lines[0].box)
    inner = int(0.15 * (bottom - top))  # the box of a reader may reach beyond the plate
    left, top, right, bottom = left + inner, top + inner, right - inner, bottom - inner
    part = file[max(top, 0) : bottom + 1, max(left, 0) : right + 1].astype(np.float64) / 255
    light = np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)
    luminance = light @ [0.2126, 0.7152, 0.0722]
    worst = 0.0
    for ink in (0.0, 1.0):
        mask = np.abs(luminance - ink) < 0.02
        if mask.mean() < 0.03:
            continue
        near = cv2.dilate(mask.astype(np.uint8), np.ones((5, 5))) > 0
        ground = luminance[~near] if (~near).any() else luminance[~mask]
        if not ground.size:
            continue
        high, low = np.maximum(ground, ink) + 0.05, np.minimum(ground, ink) + 0.05
        worst = max(worst, float(np.quantile(high / low, 0.02)))
    return worst


def figures(name: str, seed: int, folder: Path) -> dict[str, Any]:
    """Counts of the posters of a seed; see the module."""
    return _counted(range(_FIRST + _EACH * seed, _FIRST + _EACH * (seed + 1)), folder)


def _counted(seeds: Sequence[int], folder: Path) -> dict[str, Any]:
    made = {f"p{seed}": poster(seed) for seed in seeds}
    reader = WordReader()
    counts = dict.fromkeys(
        ("posters", "posters_edited", "posters_cropped", "posters_intact", "overlays",
         "overlays_legible", "real", "real_intact"), 0,
    )  # fmt: skip
    for ad, one in edited({key: own.picture for key, own in made.items()}, folder / "p").items():
        whole = made[ad]
        counts["posters"] += 1
        counts["posters_edited"] += one["status"] == "edited"
        counts["posters_cropped"] += one["file"].shape != whole.picture.shape
        lost = lost_parts(whole, one["file"], reader)
        counts["posters_intact"] += not lost
        if lost:
            print(ad, "lost", lost)
        laid = _laid(one)
        counts["overlays"] += laid
        contrast = line_contrast(one["file"], reader) if laid else 0.0
        counts["overlays_legible"] += laid and contrast >= 4.5
        if laid and contrast < 4.5:
            print(ad, "contrast", contrast)
    for key, one in edited(
        {key: _photo(key) for key in ("page", "text", "rocket")}, folder / "r"
    ).items():
        whole = Poster(_photo(key), {}, {})
        from PIL.Image import fromarray

        texts = [each.text for each in reader.found(fromarray(whole.picture)) if each.sure > 0.9]
        whole = replace(whole, texts={str(at): text for at, text in enumerate(texts)})
        counts["real"] += 1
        counts["real_intact"] += not lost_parts(whole, one["file"], reader)
    return {"command": f'adwright creative edit ads.csv --edits {_EDITS} --overlay-text "{_LINE}" '
            "--approver Ada", **counts}  # fmt: skip


def _laid(outcome: dict[str, Any]) -> bool:
    if outcome["status"] != "edited":
        return False
    edits = json.loads(outcome["plan"])["edits"]
    skipped = any(one.startswith("text") for one in outcome["skipped"])
    return any(one["kind"] == "text" and one["opacity"] >= 0.5 for one in edits) and not skipped


if __name__ == "__main__":
    import sys
    import tempfile

    with tempfile.TemporaryDirectory() as place:
        print(_counted(range(*map(int, sys.argv[1:3])), Path(place)))
