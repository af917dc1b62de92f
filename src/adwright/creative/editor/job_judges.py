"""The judges of a job: those that are searched, one that is not, all on the pictures of one ad.

    with opened_judges(["runs/a", "runs/b"], second="runs/c") as judges:
        judges.of(record).objectives[0].judge(pictures)

Judges of one name are an ensemble, whose lower bound is searched and whose interval decides; of
other names they are objectives of their own, which only the method `pareto` takes. The second judge
is asked about what was found alone; one that is searched too, under whatever path, is refused.

Trained judges of ads, asked about edited pictures of one ad.

    eyes = PictureEyes(ImageEncoder())
    asked = AdOnPictures("click_rate", judge, record, eyes)
    asked.judge(pictures)       # float64 [N] of uint8 [N, H, W, 3]

A judge reads the ad's record and, where it was trained so, a vector of its picture. Both are made
anew for every edited picture: the vector by EfficientNet-Lite0, and of the record the colours, the
tone and the complexity. Title, words, faces and tags stay those of the ad: edits do not change
them. A judge that reads none of what an edit changes is blind to edits, and refused.

What was seen of a picture, and answered, is kept by its pixels, so that several judges, penalties
and the unedited picture cost one look.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import NormalDist
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from adwright.core.errors import ArtifactError, ConfigError, needing
from adwright.core.hashing import sha256_bytes, sha256_file
from adwright.creative.editor.fitness import (
    EditedBatch,
    EnsembleJudge,
    Floats,
    PictureJudge,
    Pixels,
)
from adwright.creative.judges import open_judge
from adwright.creative.judging import IMAGE, AdJudge, Judgements
from adwright.creative.lifetime.survival_curves import PictureLife
from adwright.creative.records.ad_record import AdRecord, Scene
from adwright.creative.records.encoders import ImageEncoder
from adwright.creative.records.looking import Colours, colours_of
from adwright.creative.response.fit import FittedClickRate

if TYPE_CHECKING:
    from collections.abc import Iterable

    from PIL.Image import Image


_COLOUR_BAGS = frozenset(("foreground", "background", "tone", "complexity"))


class Encodes(Protocol):
    """Makes vectors of pictures, as `ImageEncoder` does."""

    def encode_pictures(self, pictures: Iterable[Image], count: int, /) -> NDArray[np.float32]:
        """float32 [B, D] of B pictures, RGB."""
        ...


class PictureEyes:
    """Looks at pictures of one ad, at each once. encoder: None where no judge reads vectors.
    looked: pictures that were encoded so far."""

    def __init__(self, encoder: Encodes | None, *, colours: bool = True) -> None:
        self._encoder, self._colours = encoder, colours
        self._vectors: dict[str, NDArray[np.float32]] = {}
        self._seen: dict[str, Colours] = {}
        self.looked = 0

    def vectors(self, pictures: Pixels) -> NDArray[np.float32] | None:
        """float32 [N, D] of uint8 [N, H, W, 3]; None without an encoder."""
        if self._encoder is None:
            return None
        keys = [_key_of(picture) for picture in pictures]
        new = {key: at for at, key in enumerate(keys) if key not in self._vectors}
        if new:
            images = [_image(pictures[at]) for at in new.values()]
            found = self._encoder.encode_pictures(images, len(images))
            self._vectors |= dict(zip(new, found, strict=True))
            self.looked += len(new)
        return np.stack([self._vectors[key] for key in keys])

    def record(self, record: AdRecord, picture: Pixels) -> AdRecord:
        """The record of the ad with another picture uint8 [H, W, 3]."""
        if not self._colours:
            return record
        key = _key_of(picture)
        if key not in self._seen:
            self._seen[key] = colours_of(_image(picture))
        seen = self._seen[key]
        first, *rest = record.scenes or (Scene(),)
        scene = replace(
            first,
            foreground=seen.foreground,
            background=seen.background,
            tone=seen.tone,
            complexity=seen.complexity,
        )
        return replace(record, scenes=(scene, *rest))


class AdOnPictures:
    """A judge of the pictures that an ad might have. name: of what is judged. record: of the ad."""

    def __init__(self, name: str, trained: AdJudge, record: AdRecord, eyes: PictureEyes) -> None:
        self.name = name
        self._trained, self._record, self._eyes = trained, record, eyes
        self._known: dict[str, tuple[float, bool, float]] = {}

    def judge(self, pictures: Pixels) -> Floats:
        """float64 [N]: the judge's value."""
        return np.array([value for value, _, _ in self._answers(pictures)], np.float64)

    def unlike(self, pictures: Pixels) -> NDArray[np.bool_]:
        """bool [N]: whether the ad with each picture is unlike all that the judge knows."""
        return np.array([unlike for _, unlike, _ in self._answers(pictures)], bool)

    def error(self, picture: Pixels) -> float:
        """Its standard error on a picture uint8 [H, W, 3], by its interval as one of a normal, as a
        share of what it says."""
        ((value, _, error),) = self._answers(picture[None])
        return error / abs(value) if value else math.inf

    def _answers(self, pictures: Pixels) -> list[tuple[float, bool, float]]:
        keys = [_key_of(picture) for picture in pictures]
        new = {key: at for at, key in enumerate(keys) if key not in self._known}
        if new:
            found = self._asked(pictures[list(new.values())])
            reach = 2 * NormalDist().inv_cdf((1 + found.coverage) / 2)
            for at, key in enumerate(new):
                error = float(found.high[at] - found.low[at]) / reach
                self._known[key] = float(found.value[at]), bool(found.unlike[at]), error
        return [self._known[key] for key in keys]

    def _asked(self, pictures: Pixels) -> Judgements:
        records = [self._eyes.record(self._record, picture) for picture in pictures]
        vectors = self._eyes.vectors(pictures)
        if vectors is None or not isinstance(self._trained, FittedClickRate | PictureLife):
            return self._trained.judge(records)
        return self._trained.judge(records, {IMAGE: vectors})


@dataclass(frozen=True, eq=False)
class Unlikeness:
    """A penalty: the share of judges to which an edited picture is unlike all that they know, less
    that of the unedited one, 0 at least."""

    judges: Sequence[AdOnPictures]
    name: str = "unlikeness"

    def of(self, batch: EditedBatch) -> Floats:
        """float64 [N]."""
        if not self.judges:
            return np.zeros(len(batch))
        seen = np.concatenate([batch.original[None], batch.pictures])
        share = np.mean([judge.unlike(seen) for judge in self.judges], 0)
        return np.asarray(np.maximum(share[1:] - share[0], 0), np.float64)


def sees_pictures(judge: AdJudge, name: str) -> Mapping[str, bool]:
    """What a judge reads of a picture: "vectors" and "colours". name: of it, for the error.

    Raises ConfigError for one that reads neither: no edit changes what it says.
    """
    if isinstance(judge, PictureLife):
        return {"vectors": True, "colours": False}
    if not isinstance(judge, FittedClickRate):
        return {"vectors": False, "colours": True}
    found = {"vectors": judge.reads(IMAGE), "colours": bool(judge.marks & _COLOUR_BAGS)}
    if not any(found.values()):
        raise ConfigError(
            "this judge does not look at pictures, so no edit changes what it says",
            where=name,
            hint="train it on ads with pictures: adwright creative train clicks --image COLUMN",
        )
    return found


def _key_of(picture: Pixels) -> str:
    """Of its size and pixels."""
    return f"{picture.shape[0]}x{picture.shape[1]} {sha256_bytes(picture.tobytes())}"


def _image(picture: Pixels) -> Image:
    with needing("images of ads", "creative"):
        from PIL.Image import fromarray
    return fromarray(picture)


_RECORDS = (("model", "manifest.json"), ("manifest.json",), ("memory.json",))


@dataclass(frozen=True, eq=False)
class JudgesOfAd:
    """objectives: of the search, in their order, an ensemble where there are several of a name.
    second: asked about what was found. searched: every judge that the search asks."""

    objectives: tuple[PictureJudge, ...]
    second: PictureJudge | None
    searched: tuple[AdOnPictures, ...]


@dataclass(frozen=True, eq=False)
class AskedJudges:
    """groups: of each name the judges that are searched. second: see the module. encoder: None
    where none reads vectors. colours: whether one reads them. digest: of all their files."""

    groups: tuple[tuple[str, tuple[AdJudge, ...]], ...]
    second: AdJudge | None = None
    encoder: Encodes | None = field(default=None, repr=False)
    colours: bool = True
    digest: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Of the objectives."""
        return tuple(name for name, _ in self.groups)

    @property
    def several(self) -> bool:
        """Whether the first objective is an ensemble."""
        return len(self.groups[0][1]) > 1

    def of(self, record: AdRecord) -> JudgesOfAd:
        """On the pictures that the ad of a record might have."""
        eyes = PictureEyes(self.encoder, colours=self.colours)
        searched: list[AdOnPictures] = []
        objectives: list[PictureJudge] = []
        for name, judges in self.groups:
            asked = [AdOnPictures(name, judge, record, eyes) for judge in judges]
            searched += asked
            objectives.append(asked[0] if len(asked) == 1 else EnsembleJudge(name, tuple(asked)))
        second = None
        if self.second is not None:
            second = AdOnPictures(self.second.name, self.second, record, eyes)
        return JudgesOfAd(tuple(objectives), second, tuple(searched))


@contextmanager
def opened_judges(
    folders: Sequence[str | Path],
    second: str | Path | None = None,
    *,
    several_objectives: bool = False,
    offline: bool = False,
) -> Iterator[AskedJudges]:
    """The judges of these runs. several_objectives: whether the search takes more than one.

    Raises ArtifactError where a folder holds no judge, ConfigError for no folder, for one that is
    named twice, for a judge that is blind to pictures, for a second one that is searched too or
    judges something else, and for more or fewer objectives than the search takes.
    """
    ids = [_identity(folder) for folder in folders]
    if not ids or len(set(ids)) != len(ids):
        raise ConfigError(
            "no judge is named, or one twice", where="judges", hint="name each run once"
        )
    other = "" if second is None else _identity(second)
    if other in ids:
        raise ConfigError(
            "the second judge is one of those that are searched",
            where=str(second),
            hint="name one that was trained with another seed, fold or encoder",
        )
    with ExitStack() as stack:
        groups: dict[str, list[AdJudge]] = {}
        reads = {"vectors": False, "colours": False}

        def opened(folder: str | Path) -> AdJudge:
            judge = open_judge(folder)
            if callable(close := getattr(judge, "close", None)):
                stack.callback(close)
            for what, does in sees_pictures(judge, str(folder)).items():
                reads[what] |= does
            return judge

        for folder in folders:
            judge = opened(folder)
            groups.setdefault(judge.name, []).append(judge)
        last = None if second is None else opened(second)
        names = list(groups)
        if last is not None and last.name != names[0]:
            raise ConfigError(
                f"the second judge says {last.name}, the first one {names[0]}",
                where=str(second),
                hint="name a second judge of the same",
            )
        if several_objectives != (len(names) > 1):
            raise ConfigError(
                f"the judges say {', '.join(names)}",
                where="judges",
                hint="pareto takes judges of two things or more, every other method of one",
            )
        encoder = ImageEncoder(offline=offline) if reads["vectors"] else None
        yield AskedJudges(
            tuple((name, tuple(some)) for name, some in groups.items()),
            last,
            encoder,
            reads["colours"],
            (*ids, other),
        )


def _identity(folder: str | Path) -> str:
    """The hash of what names a judge's files."""
    for parts in _RECORDS:
        path = Path(folder).joinpath(*parts)
        if path.is_file():
            return sha256_file(path)
    raise ArtifactError(
        "there is no judge in this folder",
        where=str(folder),
        hint="name a run of `adwright creative train`",
    )
