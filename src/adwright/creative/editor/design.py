"""What of a picture is design, found by itself: texts, such as prices, logos and legal lines, with
the plates that they stand on, plates without words, and faces. An edit keeps all of it.

    finder = DesignFinder()
    design = finder.found(picture)
    context = design.context(picture)          # an EditContext with masks
    finder.lost(design, picture, done)         # what an edited picture has no more

Texts are read by `WordReader`, faces found by `FaceFinder`. A plate is a patch of one colour,
joined, compact, and small beside the picture. Every box has a margin. Texts and plates are
protected: their pixels stay. Faces stay whole: no frame cuts them and nothing covers them.

A tone that ends at the edge of a box shows. So it ends where nobody sees it: even grounds on which
something protected stands stay as they were, whole, and elsewhere it falls off over some pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adwright.core.errors import needing
from adwright.creative.editor.edit_kinds import EditContext, Mask, Pixels
from adwright.creative.editor.edit_plan import EditedPicture
from adwright.creative.records.looking import Box, FaceFinder, WordReader

#: To look for it, as a command takes it.
AUTO = "auto"
#: A line is protected from this sureness on, and has to be read again from the second on.
_SURE, _READ = 0.5, 0.8
#: Margins, shares of the shorter side: of all, of faces beside their height.
_MARGIN, _FACE_MARGIN = 0.012, 0.15
#: Of a plate: difference of neighbours, standard deviation of all, longest side while it is looked
#: for, least and most area, least share of its box; most share of the picture of one with words.
_EVEN, _ONE, _LOOKED, _LEAST, _MOST, _FULL, _WORDED = 3, 2.0, 540, 0.0006, 0.12, 0.45, 0.3
#: Standard deviation of the fall of a tone, share of the shorter side.
_FALL = 0.02
#: Likeness of two readings of one text; correlation of the pixels of a face.
_ALIKE, _WASHED = 0.75, 0.97


@dataclass(frozen=True, eq=False)
class Design:
    """texts: that were read surely. boxes: int [B, 4] left, top, right and bottom of texts and
    plates, faces: int [F, 4], all with margins. still: bool [H, W], even grounds of the boxes."""

    texts: tuple[str, ...]
    boxes: NDArray[np.int64]
    faces: NDArray[np.int64]
    still: Mask

    def context(self, protected: Mask | None = None) -> EditContext:
        """Of the picture. protected: bool [H, W], what was named beside."""
        shape = self.still.shape
        own = _mask(self.boxes, shape)
        kept = own if protected is None else own | protected
        faces = _mask(self.faces, shape)
        return EditContext(kept, whole=faces, still=softened(kept | self.still))


@dataclass(eq=False)
class DesignFinder:
    """Loads its models when they are first needed. offline: never download."""

    offline: bool = False
    _reader: WordReader | None = None
    _faces: FaceFinder | None = None

    def found(self, picture: Pixels) -> Design:
        """The design of uint8 [H, W, 3]. Raises MissingExtraError and AssetError as its finders."""
        with needing("edits of pictures", "creative"):
            from PIL.Image import fromarray
        image = fromarray(picture)
        self._reader = self._reader or WordReader()
        self._faces = self._faces or FaceFinder(offline=self.offline)
        lines = [one for one in self._reader.found(image) if one.sure >= _SURE]
        high, wide = picture.shape[:2]
        margin = max(2.0, _MARGIN * min(high, wide))
        words = [one.box for one in lines if any(map(str.isalnum, one.text))]
        plates, still = _plates(picture, words)
        faces = []
        for left, top, right, bottom in self._faces.boxes(image).tolist():
            more = margin + _FACE_MARGIN * (bottom - top)
            # The box of a finder ends at the brows and at the lip.
            faces.append((left - more, top - 2 * more, right + more, bottom + 2 * more))
        grown = [_grown(box, max(margin, 0.2 * (box[3] - box[1]))) for box in words]
        grown += [_grown(box, margin) for box in plates]
        return Design(
            tuple(one.text for one in lines if one.sure >= _READ),
            _whole(grown, picture.shape),
            _whole(faces, picture.shape),
            still,
        )

    def lost(self, design: Design, picture: Pixels, done: EditedPicture) -> list[str]:
        """What an edited picture has no more: texts that are not read, faces that are washed out,
        whose pixels correlate less than .97 with what they were."""
        with needing("edits of pictures", "creative"):
            from PIL.Image import fromarray
        self._reader = self._reader or WordReader()
        read = [_plain(one.text) for one in self._reader.found(fromarray(done.picture))]
        lost = [f"{text!r}" for text in design.texts if not _among(_plain(text), read)]
        before, after = _mask(design.faces, picture.shape), done.context.whole
        if after is not None and before.any():
            pair = picture[before].ravel(), done.picture[after].ravel()
            same = pair[0].shape == pair[1].shape and pair[0].std() > 0 < pair[1].std()
            if not same or np.corrcoef(*pair)[0, 1] < _WASHED:
                lost.append("a face")
        return lost


def _plain(text: str) -> str:
    return "".join(one for one in text.casefold() if one.isalnum())


def _among(text: str, read: Sequence[str]) -> bool:
    """Whether a text was read, alone, in a longer line, or cut into several."""
    joined = "".join(read)
    if not text or text in joined:
        return True
    return any(SequenceMatcher(None, text, one).ratio() >= _ALIKE for one in read)


def _grown(box: Box, margin: float) -> Box:
    return box[0] - margin, box[1] - margin, box[2] + margin, box[3] + margin


def _whole(boxes: Sequence[Box], shape: tuple[int, ...]) -> NDArray[np.int64]:
    """[B, 4] of whole pixels inside the picture."""
    made = np.array(boxes, float).reshape(-1, 4)
    made = np.concatenate([np.floor(made[:, :2]), np.ceil(made[:, 2:])], 1)
    return np.asarray(np.clip(made, 0, [shape[1], shape[0]] * 2), np.int64)


def _mask(boxes: NDArray[np.int64], shape: tuple[int, ...]) -> Mask:
    made = np.zeros(shape[:2], bool)
    for left, top, right, bottom in boxes.tolist():
        made[top:bottom, left:right] = True
    return made


def _plates(picture: Pixels, words: Sequence[Box]) -> tuple[list[Box], Mask]:
    """Boxes of plates, and the even grounds bool [H, W] of words and of plates."""
    with needing("edits of pictures", "creative"):
        import cv2
    high, wide = picture.shape[:2]
    by = min(1.0, _LOOKED / max(high, wide))
    size = max(1, round(by * wide)), max(1, round(by * high))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA).astype(np.int16)
    even = np.ones(small.shape[:2], bool)
    even[:, 1:] &= np.abs(np.diff(small, axis=1)).max(2) <= _EVEN
    even[1:] &= np.abs(np.diff(small, axis=0)).max(2) <= _EVEN
    count, label, stats, _ = cv2.connectedComponentsWithStats(even.astype(np.uint8), connectivity=4)
    area, flat = np.bincount(label.ravel(), minlength=count), label.ravel()
    spread = np.zeros(count)
    for channel in small.reshape(-1, 3).T.astype(np.float64):
        mean = np.bincount(flat, channel, count) / np.maximum(area, 1)
        square = np.bincount(flat, (channel - mean[flat]) ** 2, count) / np.maximum(area, 1)
        spread = np.maximum(spread, np.sqrt(square))
    one = (spread <= _ONE) & (area >= _LEAST * even.size)
    one[0] = False
    plates: list[Box] = []
    grounds = np.zeros(count, bool)
    for left, top, right, bottom in (np.array(box) * by for box in words):
        around = label[
            max(0, int(top) - 2) : int(bottom) + 3, max(0, int(left) - 2) : int(right) + 3
        ]
        near = np.bincount(around.ravel(), minlength=count)
        grounds[one & (near > 0.15 * around.size)] = True
    for at in np.flatnonzero(one).tolist():
        x, y, across, down, many = (int(edge) for edge in stats[at])
        box = across * down
        if many < _FULL * box:
            continue
        most = _WORDED if grounds[at] else _MOST
        edge = x == 0 or y == 0 or x + across == size[0] or y + down == size[1]
        if box / even.size <= most and (grounds[at] or not edge):
            plates.append((x / by, y / by, (x + across) / by, (y + down) / by))
            grounds[at] = True
    still = cv2.resize(grounds[label].astype(np.uint8), (wide, high), interpolation=0) > 0
    return plates, np.asarray(still)


def softened(mask: Mask) -> NDArray[np.float32]:
    """float32 [H, W]: 1 inside, falling to 0 outside."""
    with needing("edits of pictures", "creative"):
        import cv2
    if not mask.any():
        return np.zeros(mask.shape, np.float32)
    far: Any = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 3)
    spread = max(1.0, _FALL * min(mask.shape))
    made = np.exp(-0.5 * (far / spread) ** 2).astype(np.float32)
    return np.asarray(np.where(made < 0.01, 0, made), np.float32)
