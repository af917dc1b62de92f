"""What a judge of ads answers: a value, an interval, and whether the ad is unlike all it knows.

class ClickRate:                       # any judge: click rate, memorability, another
    name = "click_rate"
    def judge(self, ads): ...          # Judgements of N records

What became of the ads that are most like this one: nearest past creatives, with outcomes.

    past = PastAds(novelty, ids, titles, values, weights)     # of the ads that `novelty` kept
    past.nearest(vectors, 3)[0]         # (PastAd(id="7", title=..., value=.021, ...), ...)

It explains a value by examples: a value that is far from those of the nearest ads, or ads that have
nothing in common with the one that is asked about, are reasons to doubt it.

Is an ad unlike anything seen in training? Its distance to the nearest vectors says so.

    novelty = Novelty.fit(vectors, stories, seed=0)      # of training ads
    novelty.unlike(new_vectors)                          # bool [N]

The distance of an ad is that to its k-th nearest of the kept training ads, Euclidean (Ramaswamy et
al., SIGMOD 2000). It is unlike them where that is above the `quantile` of the distances that the
training ads have to those of other groups: variants of one story lie close together, and a new ad
has no variants in training. At most `most` ads are kept, drawn at random.

Intervals that cover: split conformal prediction on residuals of ads that were held out.

    scale = ResidualScale.fit(values, found)                    # how far off, by the value itself
    interval = ConformalInterval.fit(values, found, scale(values), coverage=0.9)
    low, high = interval.bounds(new_values, scale(new_values))

Of n held-out ads with value v, outcome y and scale c, r = (y - v) / c. With a = 1 - coverage the
interval is [v + c r_(k), v + c r_(n + 1 - k)], k = floor((n + 1) a / 2), r_(k) the k-th smallest.
An ad drawn as they were is below it with probability at most a / 2, and above likewise, whatever
the model (Vovk, Gammerman and Shafer 2005; normalised: Papadopoulos et al., ECAI 2008). Taking the
tails one by one instead of |r| is our choice, since outcomes of ads are skewed.

What is covered is what y was: if y is a measured rate, its sampling noise counts.

What moved a judge: how its value changes when a part of the ad is left out.

    for effect in ablate(judge, record):
        effect.part, effect.change        # "title", +0.004: with it, the value is higher by so much

Any `AdJudge` is asked, in one call, about the ad and about the ad without each part that it has:
a field, a paragraph of its words, a scene, or a field of all scenes. The changes need not add up
to the value: parts that say the same stand in for each other.

Vectors of what ads show, for judges that were trained with them.

    vectors = image_vectors(table.media, store)           # {"image": float32 [N, 1280]}, or {}
    judge = WithVectors(fitted, vectors)                   # answers on these N ads, in their order

A judge that was trained with vectors is asked with those of the ads; `of_row` answers on variants
of one ad, whose vectors stay.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

from adwright.core.config import require_count
from adwright.core.errors import AdwrightError, ConfigError, DataError, ValueInvalidError
from adwright.creative.records.ad_record import AdRecord, Scene
from adwright.creative.records.ads_table import media_kind
from adwright.creative.records.encoders import ImageEncoder, VectorStore, opened_image


@dataclass(frozen=True, eq=False)
class Judgements:
    """Answers of one judge on N ads.

    value, low, high: float32 [N], low <= value <= high, in the judge's unit. unlike: bool [N],
    whether the ad is unlike anything seen in training. coverage: share of such ads that the
    interval is made to cover. Raises ValueInvalidError for other shapes and for NaN.
    """

    value: NDArray[np.float32]
    low: NDArray[np.float32]
    high: NDArray[np.float32]
    unlike: NDArray[np.bool_]
    coverage: float = 0.9

    def __post_init__(self) -> None:
        for name in ("value", "low", "high", "unlike"):
            array = getattr(self, name)
            if array.shape != self.value.shape or array.ndim != 1:
                raise _refused(name, array.shape, f"pass an array of shape {self.value.shape}")
            if name != "unlike" and np.isnan(array).any():
                raise _refused(name, "NaN", "answer each ad with a number")
        if not (self.low <= self.value).all() or not (self.value <= self.high).all():
            raise _refused("low", "outside", "give low <= value <= high")

    def __len__(self) -> int:
        """N."""
        return len(self.value)


@runtime_checkable
class AdJudge(Protocol):
    """Anything that judges ads by their records. name: of what is judged, for tables."""

    @property
    def name(self) -> str:
        """See the class."""
        ...

    def judge(self, ads: Sequence[AdRecord], /) -> Judgements:
        """The answers on N ads, each by itself: no ad changes the answer on another."""
        ...


def _refused(name: str, value: object, hint: str) -> ValueInvalidError:
    return ValueInvalidError("these are no judgements", column=name, value=value, hint=hint)


_AT_ONCE = 1024


@dataclass(frozen=True, eq=False)
class Novelty:
    """kept: float16 [K, W] of training ads. rows: int64 [K], which of them. k: of the nearest.
    threshold: distances above it are unlike."""

    kept: npt.NDArray[np.float16]
    rows: npt.NDArray[np.int64]
    k: int
    threshold: float

    @classmethod
    def fit(
        cls,
        vectors: npt.NDArray[np.float32],
        groups: npt.NDArray[np.int64] | None = None,
        *,
        k: int = 5,
        quantile: float = 0.99,
        most: int = 4096,
        seed: int = 0,
    ) -> Novelty:
        """Of vectors [N, W] of training ads. groups: [N], of which each ad is; by default each is
        alone. Raises ConfigError for settings out of range, DataError for other lengths and where
        too few ads are of other groups."""
        for name, value in (("k", k), ("most", most)):
            require_count(name, value)
        if not 0 < quantile <= 1:
            raise ConfigError("a quantile lies in (0, 1]", where=f"quantile {quantile}")
        own = np.arange(len(vectors)) if groups is None else groups
        if len(own) != len(vectors):
            raise DataError("expected a group of each ad", value=(len(own), len(vectors)))
        drawn = np.random.default_rng(seed).permutation(len(vectors))[:most]
        rows = np.sort(drawn).astype(np.int64)
        kept = vectors[rows].astype(np.float16)
        distances = _distances(kept.astype(np.float32), kept, own[rows], own[rows])
        fewest = min((np.isfinite(one).sum() for one in distances), default=0)
        if fewest < k:
            raise DataError(
                f"{k} nearest ads of other stories are looked for",
                value=int(fewest),
                hint="pass more ads, or a smaller k",
            )
        nearest = np.concatenate([_kth(one, k) for one in _parts(distances)])
        return cls(kept, rows, k, float(np.quantile(nearest, quantile)))

    def distance(self, vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """float32 [N], to the k-th nearest of the kept ads."""
        made = np.empty(len(vectors), np.float32)
        for start in range(0, len(vectors), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            made[part] = _kth(_distances(vectors[part], self.kept), self.k)
        return made

    def unlike(self, vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
        """bool [N]."""
        found: npt.NDArray[np.bool_] = self.distance(vectors) > self.threshold
        return found

    def nearest(
        self, vectors: npt.NDArray[np.float32], count: int
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """(places among the kept ads, distances), [N, count] each, the nearest first."""
        require_count("count", count)
        distances = _distances(vectors, self.kept)
        order = np.argsort(distances, axis=1, kind="stable")[:, :count]
        return order.astype(np.int64), np.take_along_axis(distances, order, 1)


def _distances(
    left: npt.NDArray[np.float32],
    right: npt.NDArray[np.float16],
    left_groups: npt.NDArray[np.int64] | None = None,
    right_groups: npt.NDArray[np.int64] | None = None,
) -> npt.NDArray[np.float32]:
    """float32 [N, K]; infinite between ads of one group."""
    other = right.astype(np.float32)
    squares = (left**2).sum(1)[:, None] + (other**2).sum(1) - 2 * left @ other.T
    found: npt.NDArray[np.float32] = np.sqrt(np.maximum(squares, 0))
    if left_groups is not None and right_groups is not None:
        found[left_groups[:, None] == right_groups] = np.inf
    return found


def _parts(distances: npt.NDArray[np.float32]) -> list[npt.NDArray[np.float32]]:
    return [distances[start : start + _AT_ONCE] for start in range(0, len(distances), _AT_ONCE)]


def _kth(distances: npt.NDArray[np.float32], k: int) -> npt.NDArray[np.float32]:
    """[N]."""
    k = min(k, distances.shape[1])
    found: npt.NDArray[np.float32] = np.partition(distances, k - 1, axis=1)[:, k - 1]
    return found


@dataclass(frozen=True)
class PastAd:
    """An ad of the training data. value: what became of it, in the judge's unit. weight: of how
    many impressions, answers or views that is. distance: to the ad that was asked about."""

    id: str
    title: str
    value: float
    weight: float
    distance: float


@dataclass(frozen=True, eq=False)
class PastAds:
    """The K ads that `novelty` kept: their ids, titles, values and weights, [K] each.

    Raises DataError for another number of them."""

    novelty: Novelty
    ids: tuple[str, ...]
    titles: tuple[str, ...]
    values: npt.NDArray[np.float64]
    weights: npt.NDArray[np.float64]

    def __post_init__(self) -> None:
        for name in ("ids", "titles", "values", "weights"):
            if len(getattr(self, name)) != len(self.novelty.kept):
                raise DataError(
                    f"expected {len(self.novelty.kept)} of the ads that are kept",
                    column=name,
                    value=len(getattr(self, name)),
                )

    def nearest(
        self, vectors: npt.NDArray[np.float32], count: int = 3
    ) -> Sequence[tuple[PastAd, ...]]:
        """The `count` nearest of each of N ads, the nearest first; an ad of the same title as a
        nearer one is left out, so that variants of one ad do not fill the list."""
        places, distances = self.novelty.nearest(vectors, len(self.ids))
        found = []
        for row, far in zip(places, distances, strict=True):
            titles: set[str] = set()
            some: list[PastAd] = []
            for place, distance in zip(row.tolist(), far.tolist(), strict=True):
                if len(some) == count:
                    break
                if self.titles[place] in titles:
                    continue
                titles.add(self.titles[place])
                some.append(self._ad(place, distance))
            found.append(tuple(some))
        return tuple(found)

    def _ad(self, place: int, distance: float) -> PastAd:
        return PastAd(
            self.ids[place],
            self.titles[place],
            float(self.values[place]),
            float(self.weights[place]),
            distance,
        )


Floats = npt.NDArray[np.float64]

#: Of the mean absolute residual: no scale is smaller.
_LEAST_SHARE = 0.2


@dataclass(frozen=True)
class ResidualScale:
    """How far off a value is expected to be: max(level + slope * value, least)."""

    level: float
    slope: float
    least: float

    @classmethod
    def fit(cls, values: npt.ArrayLike, found: npt.ArrayLike) -> ResidualScale:
        """The line of least squares of |found - value| on the value. values, found: [N], finite.

        least is a fifth of the mean absolute residual, our choice. Raises DataError without ads.
        """
        value, y = _pair(values, found)
        off = np.abs(y - value)
        mean, centred = float(off.mean()), value - value.mean()
        spread = float((centred**2).sum())
        slope = float((centred * off).sum()) / spread if spread > 0 else 0.0
        least = max(_LEAST_SHARE * mean, 1e-12)
        return cls(mean - slope * float(value.mean()), slope, least)

    def __call__(self, values: npt.ArrayLike) -> Floats:
        """float64 [N], above 0."""
        found: Floats = self.level + self.slope * np.asarray(values, np.float64)
        return np.maximum(found, self.least)


@dataclass(frozen=True)
class ConformalInterval:
    """below, above: r_(k) and r_(n + 1 - k). coverage: 1 - a. count: n."""

    below: float
    above: float
    coverage: float
    count: int

    @classmethod
    def fit(
        cls,
        values: npt.ArrayLike,
        found: npt.ArrayLike,
        scales: npt.ArrayLike | None = None,
        *,
        coverage: float = 0.9,
    ) -> ConformalInterval:
        """Of values and outcomes [N] of ads that the model was not fitted on. scales: [N], above 0;
        1 by default.

        Raises ConfigError for a coverage outside (0, 1), DataError for fewer ads than it takes: 19
        for 0.9.
        """
        if not 0 < coverage < 1:
            raise ConfigError("a coverage lies between 0 and 1", where=f"coverage {coverage}")
        value, y = _pair(values, found)
        count = len(y)
        place = math.floor((count + 1) * (1 - coverage) / 2 + 1e-9)
        if place < 1:
            least = math.ceil(2 / (1 - coverage) - 1 - 1e-9)
            raise DataError(
                f"an interval that covers {coverage:g} takes {least} held-out ads",
                value=count,
                hint="hold out more ads, or ask for less coverage",
            )
        ratio = np.sort((y - value) / _scales(scales, count))
        return cls(float(ratio[place - 1]), float(ratio[count - place]), coverage, count)

    def bounds(
        self, values: npt.ArrayLike, scales: npt.ArrayLike | None = None
    ) -> tuple[Floats, Floats]:
        """(low, high), float64 [N] each, around values [N]; the value is always inside."""
        value = np.asarray(values, np.float64)
        scale = _scales(scales, len(value))
        low = np.minimum(value + scale * self.below, value)
        return low, np.maximum(value + scale * self.above, value)


def _pair(values: npt.ArrayLike, found: npt.ArrayLike) -> tuple[Floats, Floats]:
    value, y = np.asarray(values, np.float64), np.asarray(found, np.float64)
    if value.shape != y.shape or value.ndim != 1 or not len(y):
        raise DataError(
            "expected values and outcomes of the same ads", value=(value.shape, y.shape)
        )
    for name, array in (("values", value), ("found", y)):
        if not np.isfinite(array).all():
            row = int(np.argmin(np.isfinite(array)))
            raise ValueInvalidError("not a finite number", row=row, column=name, value=array[row])
    return value, y


def _scales(scales: npt.ArrayLike | None, count: int) -> Floats:
    if scales is None:
        return np.ones(count)
    scale = np.asarray(scales, np.float64)
    if scale.shape != (count,) or not (scale > 0).all():
        raise DataError("scales are above 0, one an ad", column="scales", value=scale.shape)
    return scale


_FIELDS = ("brand", "title", "words", "speech", "seconds", "orientation", "pace", "motion")
_PLACES = ("start", "seconds")
_PARAGRAPH, _SCENE, _OF_SCENES = "paragraph ", "scene ", "scenes: "


@dataclass(frozen=True)
class PartEffect:
    """part: as `parts_of` names it. value: of the whole ad; without: of the ad without the part.
    Both in the judge's unit."""

    part: str
    value: float
    without: float

    @property
    def change(self) -> float:
        """How much higher the value is with the part than without."""
        return self.value - self.without


def parts_of(record: AdRecord) -> tuple[str, ...]:
    """Names of the parts that an ad has: "title", "paragraph 2" of its words where there are
    several, "scene 3" likewise, "scenes: tags" where any scene has tags."""
    found = [name for name in _FIELDS if getattr(record, name) not in ("", None)]
    paragraphs = _paragraphs(record)
    if len(paragraphs) > 1:
        found += [f"{_PARAGRAPH}{place}" for place in range(1, len(paragraphs) + 1)]
    if len(record.scenes) > 1:
        found += [f"{_SCENE}{place}" for place in range(1, len(record.scenes) + 1)]
    return (*found, *(_OF_SCENES + name for name in _scene_fields(record)))


def leave_out(record: AdRecord, part: str) -> AdRecord:
    """The ad without a part, as `parts_of` names it. Raises ConfigError where it has none."""
    if part not in parts_of(record):
        raise ConfigError(
            "the ad has no such part", where=part, hint=", ".join(parts_of(record)) or "it is empty"
        )
    if part.startswith(_OF_SCENES):
        name = part.removeprefix(_OF_SCENES)
        empty: dict[str, Any] = {name: getattr(Scene(), name)}
        return replace(record, scenes=tuple(replace(one, **empty) for one in record.scenes))
    if part.startswith(_PARAGRAPH):
        place = int(part.removeprefix(_PARAGRAPH)) - 1
        left = [one for at, one in enumerate(_paragraphs(record)) if at != place]
        return replace(record, words="\n".join(left))
    if part.startswith(_SCENE):
        place = int(part.removeprefix(_SCENE)) - 1
        scenes = record.scenes[:place] + record.scenes[place + 1 :]
        return replace(record, scenes=scenes)
    whole: dict[str, Any] = {part: getattr(AdRecord(), part)}
    return replace(record, **whole)


def ablate(
    judge: AdJudge, record: AdRecord, parts: Sequence[str] | None = None
) -> tuple[PartEffect, ...]:
    """The effect of each part, the largest change first.

    parts: as `parts_of` names them; None takes all. Raises ConfigError for one that the ad lacks.
    """
    asked = parts_of(record) if parts is None else tuple(parts)
    if not asked:
        return ()
    found = judge.judge([record, *(leave_out(record, part) for part in asked)]).value.tolist()
    effects = [
        PartEffect(part, found[0], without) for part, without in zip(asked, found[1:], strict=True)
    ]
    return tuple(sorted(effects, key=lambda one: -abs(one.change)))


def _paragraphs(record: AdRecord) -> list[str]:
    return [part for part in record.words.split("\n") if part.strip()]


def _scene_fields(record: AdRecord) -> list[str]:
    names = [field.name for field in fields(Scene) if field.name not in _PLACES]
    empty = Scene()
    return [
        name
        for name in names
        if any(getattr(one, name) != getattr(empty, name) for one in record.scenes)
    ]


#: Name of the vectors of images.
IMAGE = "image"

#: Vectors of N ads [N, W], and fields, [N, 1].
Vectors = Mapping[str, NDArray[Any]]


class VectorJudge(Protocol):
    """A judge that may be given vectors. name: of what is judged."""

    @property
    def name(self) -> str:
        """See the class."""
        ...

    def judge(self, ads: Sequence[AdRecord], vectors: Vectors | None = None) -> Judgements:
        """The answers on N ads with their vectors, name -> float32 [N, W]."""
        ...

    def nearest(
        self, ads: Sequence[AdRecord], count: int = 3, vectors: Vectors | None = None
    ) -> Sequence[Sequence[PastAd]]:
        """Of each ad the nearest past ones."""
        ...


class WithVectors:
    """`judge` with the vectors of N ads, about which alone, in their order, it is asked."""

    def __init__(self, judge: VectorJudge, vectors: Vectors) -> None:
        self._judge, self._vectors = judge, vectors
        self.name = judge.name

    def judge(self, ads: Sequence[AdRecord], /) -> Judgements:
        """The answers on all N ads."""
        return self._judge.judge(ads, self._vectors)

    def nearest(self, ads: Sequence[AdRecord], /, count: int = 3) -> Sequence[Sequence[PastAd]]:
        """Of the first ads the nearest past ones."""
        some = {name: one[: len(ads)] for name, one in self._vectors.items()}
        return self._judge.nearest(ads, count, some)

    def of_row(self, row: int) -> AdJudge:
        """A judge of variants of one ad."""
        return _OfRow(self._judge, {name: some[row] for name, some in self._vectors.items()})


class _OfRow:
    def __init__(self, judge: VectorJudge, own: Vectors) -> None:
        self._judge, self._own, self.name = judge, own, judge.name

    def judge(self, ads: Sequence[AdRecord], /) -> Judgements:
        """The answers on variants of the ad."""
        repeated = {name: np.tile(one, (len(ads), 1)) for name, one in self._own.items()}
        return self._judge.judge(ads, repeated)


def image_vectors(
    media: Sequence[Path | None], store: VectorStore, *, offline: bool = False
) -> dict[str, NDArray[np.float32]]:
    """Vectors of the images among N files, NaN for other ads and for images that cannot be read;
    empty where there is no image. Raises as `VectorStore.vectors` and `core.assets.asset`."""
    files = [_image(path) for path in media]
    if not any(files):
        return {}
    return {IMAGE: store.vectors(files, ImageEncoder(offline=offline))}


def _image(path: Path | None) -> bytes | None:
    if path is None or media_kind(path) != "image":
        return None
    try:
        data = path.read_bytes()
        opened_image(data, str(path))
    except (OSError, AdwrightError):
        return None
    return data
