"""The fields of an ad for a click rate, fitted on training ads alone.

    features = AdFeatures.fit(train, SentenceTexts.of())       # or `EncodedTexts`, of a folder
    inputs = features.encode(test)                             # AdInputs

Fields are: of each text slot a vector of what it says and one of how it is written; of the
headline, the title or else the first paragraph, also its n-grams, since among titles of one story
it matters how something is put; a vector of the image where one is given; numbers; categories;
bags. A field that is the same in all training ads is left out. Values that fewer than `min_count`
training ads have are unknown.

The texts of an ad by slot, and the numbers, levels and words of its record.

    texts_of(record)["title"]             # "They're Being Called 'Walmart's Worst Nightmare.'"
    form_of("Is it 5?")                   # [18] numbers of how it is written
    numbers_of(record), categories_of(record), bags_of(record)

Only fields of the record are read, so nothing that says how an ad did can enter. What is empty is
missing, which is a value of its own: NaN for a number, "" for a level, no entry in a bag.

Makers of text vectors for a click rate: MiniLM where transformers are installed, else n-grams.

    texts = encoded_texts()                     # says which; folder keeps what was encoded before
    texts.vectors(["Fresh bread", ""])          # float32 [2, 384], NaN for the empty one

Equal texts are encoded once.

Ads as arrays: dense vectors, numbers, categories and bags of values, of B ads each.
"""

from __future__ import annotations

import html
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from adwright.core.errors import DataError, MissingExtraError
from adwright.core.progress import say
from adwright.creative.records.ad_record import AdRecord
from adwright.creative.records.encoders import Encoder, HashedText, VectorStore

#: title; words: the first paragraph of its text; more: the others; shown: text on the screen;
#: speech; scenes: what their captions say.
SLOTS = ("title", "words", "more", "shown", "speech", "scenes")
NUMBERS = ("seconds", "scene count", "scenes a minute", "faces", "share of scenes with faces")
CATEGORIES = ("kind", "brand", "orientation", "pace", "motion")
BAGS = ("foreground", "background", "tone", "style", "complexity", "emotions", "tags")
#: Numbers of `form_of`.
FORM_WIDTH = 20

#: A question, an exclamation, quotes, an apostrophe; an ellipsis, a colon, a bracket, a hyphen.
_SIGNS = ("?", "!", '"“”', "'’", ("...", "…"), ":", "(", "-")
Array = npt.NDArray[np.float32]
_TAG = re.compile(r"</?[a-zA-Z!][^<>]*>")
_SPACE = re.compile(r"\s+")


def texts_of(record: AdRecord) -> dict[str, str]:
    """The text of each of `SLOTS`, without markup, in single spaces; "" where there is none."""
    paragraphs = [part for part in record.words.split("\n") if part.strip()]
    shown = [line for scene in record.scenes for line in scene.words]
    found = {
        "title": record.title,
        "words": paragraphs[0] if paragraphs else "",
        "more": " ".join(paragraphs[1:]),
        "shown": " ".join(shown),
        "speech": record.speech,
        "scenes": " ".join(scene.caption for scene in record.scenes),
    }
    return {name: _plain(text) for name, text in found.items()}


def form_of(text: str) -> list[float]:
    """How a text is written, `FORM_WIDTH` numbers: its length in letters and in words (log, and
    their squares), letters a word, full stops, commas, whether it has a question mark, an
    exclamation mark, double quotes, an apostrophe, a digit, an ellipsis, a colon, a bracket, a
    hyphen, begins with a digit; share of capitals, words in capitals, and whether it is empty."""
    words = text.split()
    letters, count = math.log1p(len(text)), math.log1p(len(words))
    return [
        letters,
        count,
        letters**2,
        count**2,
        len(text) / (len(words) + 1),
        float(text.count(".")),
        float(text.count(",")),
        *(float(any(sign in text for sign in signs)) for signs in _SIGNS[:4]),
        float(any(sign.isdigit() for sign in text)),
        *(float(any(sign in text for sign in signs)) for signs in _SIGNS[4:]),
        float(text[:1].isdigit()),
        sum(sign.isupper() for sign in text) / (len(text) + 1),
        float(sum(len(word) > 2 and word.isupper() for word in words)),
        float(not text),
    ]


def numbers_of(record: AdRecord) -> list[float]:
    """`NUMBERS` of a record, NaN where nobody counted."""
    scenes, nan = record.scenes, math.nan
    faces = [scene.faces for scene in scenes if scene.faces is not None]
    minutes = (record.seconds or 0.0) / 60
    return [
        nan if record.seconds is None else math.log1p(record.seconds),
        math.log1p(len(scenes)) if scenes else nan,
        len(scenes) / minutes if scenes and minutes > 0 else nan,
        sum(faces) / len(faces) if faces else nan,
        sum(one > 0 for one in faces) / len(faces) if faces else nan,
    ]


def categories_of(record: AdRecord) -> list[str]:
    """`CATEGORIES` of a record, "" where there is none."""
    brand = _plain(record.brand).casefold()
    return [record.kind, brand, record.orientation, record.pace, record.motion]


def bags_of(record: AdRecord) -> list[tuple[str, ...]]:
    """`BAGS` of a record: the values over all scenes, as often as they occur."""
    found = []
    for name in BAGS:
        of_scenes = (getattr(scene, name) for scene in record.scenes)
        values = (one for each in of_scenes for one in ((each,) if isinstance(each, str) else each))
        found.append(tuple(plain for one in values if (plain := _plain(one).casefold())))
    return found


def _plain(text: str) -> str:
    """Without markup, entities and repeated spaces."""
    return _SPACE.sub(" ", html.unescape(_TAG.sub(" ", text))).strip()


#: "auto" is MiniLM where its extra is installed, else n-grams.
TextEncoding = Literal["auto", "minilm", "hashed"]


class EncodedTexts:
    """Vectors by an encoder. folder: where they are kept by the hash of their text; None keeps
    nothing."""

    def __init__(self, encoder: Encoder[str], folder: str | Path | None = None) -> None:
        self.encoder = encoder
        self._store = None if folder is None else VectorStore(folder)

    @property
    def name(self) -> str:
        """Of the encoder."""
        return self.encoder.name

    def vectors(self, texts: Sequence[str]) -> Array:
        """float32 [N, W], NaN for an empty text."""
        if self._store is not None:
            return self._store.vectors(texts, self.encoder)
        # Rounded as the store rounds them, so that keeping vectors changes no answer.
        return encoded_once(self.encoder, texts).astype(np.float16).astype(np.float32)


def encoded_once(encoder: Encoder[str], texts: Sequence[str]) -> Array:
    """float32 [N, W], NaN for an empty text; equal ones are encoded once."""
    names = list(dict.fromkeys(filter(None, texts)))
    made = np.full((len(names) + 1, encoder.width), np.nan, np.float32)
    if names:
        made[:-1] = encoder.encode(names)
    place = {name: at for at, name in enumerate(names)} | {"": len(names)}
    return made[[place[text] for text in texts]]


def encoded_texts(
    encoding: TextEncoding = "auto", folder: str | Path | None = None, *, offline: bool = False
) -> EncodedTexts:
    """The maker of text vectors that is asked for.

    Raises MissingExtraError where "minilm" is asked for without the extra `lm`, and as
    `core.assets.asset` where its weights cannot be had.
    """
    if encoding == "hashed":
        return EncodedTexts(HashedText(_PLACES), folder)
    try:
        from adwright.lm.sentence_encoder import SentenceEncoder

        return EncodedTexts(SentenceEncoder(offline=offline), folder)
    except MissingExtraError:
        if encoding == "minilm":
            raise
        say("texts are read by their n-grams: pip install 'adwright[lm]' for vectors of sentences")
        return EncodedTexts(HashedText(_PLACES), folder)


@dataclass(frozen=True, eq=False)
class AdInputs:
    """B ads as a model reads them.

    vectors: float32 [B, W_v] each, NaN in all places of an ad that lacks it. numbers: float32
    [B, N], standardised, NaN where missing. codes: int64 [B, C], of each category 0 where missing,
    1 where its value is unknown, else from 2 on. bags: float32 [B, V_b] each, the share of each
    value among those of the ad, all 0 where it has none.
    """

    vectors: tuple[Tensor, ...]
    numbers: Tensor
    codes: Tensor
    bags: tuple[Tensor, ...]

    def __len__(self) -> int:
        """B."""
        return len(self.numbers)

    def take(self, rows: Tensor | slice) -> AdInputs:
        """The ads `rows`, in their order."""
        return AdInputs(
            tuple(one[rows] for one in self.vectors),
            self.numbers[rows],
            self.codes[rows],
            tuple(one[rows] for one in self.bags),
        )

    def flat(self, sizes: tuple[int, ...]) -> Tensor:
        """float32 [B, D], what a linear rule reads. sizes: codes of each category.

        In this order: the vectors and the numbers, 0 where they are missing, each with a column
        that says so; a column of 0 and 1 for each code of a category; the bags.
        """
        columns = []
        for vector in self.vectors:
            missing = vector.isnan().any(1, keepdim=True)
            columns += [torch.where(missing, 0.0, vector), missing.float()]
        missing = self.numbers.isnan()
        columns += [torch.where(missing, 0.0, self.numbers), missing.float()]
        codes = torch.zeros(len(self), sum(sizes))
        start = 0
        for place, size in enumerate(sizes):
            codes.scatter_(1, self.codes[:, place : place + 1] + start, 1.0)
            start += size
        return torch.cat([*columns, codes, *self.bags], 1)


Vectors = Mapping[str, Array]
#: Values of a category or bag that are kept, the most frequent ones.
_MOST_VALUES = 512
_FORM = " form"
_GRAMS = "headline grams"
#: Places of the headline's n-grams.
_PLACES = 1024


@dataclass(frozen=True)
class VectorField:
    """A dense vector. mean, scale: of each place in training, for those of how a text is written,
    else empty and one number, so that its mean squared length is 1."""

    name: str
    width: int
    mean: tuple[float, ...] = ()
    scale: tuple[float, ...] = (1.0,)


@dataclass(frozen=True)
class FieldValues:
    """The known values of a category or bag."""

    name: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class AdFeatures:
    """What is read of an ad. texts: name of the maker of text vectors. number_means, number_scales:
    of `numbers`, in training. Plain values: `to_jsonable` and `from_jsonable` store it."""

    texts: str
    vectors: tuple[VectorField, ...]
    numbers: tuple[str, ...]
    number_means: tuple[float, ...]
    number_scales: tuple[float, ...]
    categories: tuple[FieldValues, ...]
    bags: tuple[FieldValues, ...]

    @classmethod
    def fit(
        cls,
        ads: Sequence[AdRecord],
        texts: EncodedTexts,
        *,
        vectors: Vectors | None = None,
        min_count: int = 5,
    ) -> AdFeatures:
        """Of training ads [N]. vectors: further ones, name -> float32 [N, W], NaN where missing, of
        images for example. Raises DataError where nothing differs among the ads."""
        raw = _Raw.of(ads, texts, vectors or {})
        fields = []
        for name, array in raw.vectors.items():
            there = ~np.isnan(array).any(1)
            if there.any() and (np.ptp(array[there], 0).any() or not there.all()):
                fields.append(_field(name, array[there].astype(np.float64)))
        means, scales, numbers = [], [], []
        for name, column in zip(NUMBERS, raw.numbers.T, strict=True):
            there = ~np.isnan(column)
            if there.any() and (np.ptp(column[there]) > 0 or not there.all()):
                numbers.append(name)
                means.append(float(column[there].mean()))
                scales.append(float(column[there].std()) or 1.0)
        categories = [
            FieldValues(name, _frequent(Counter(v for v in column if v), min_count))
            for name, column in raw.categories.items()
            if len(set(column)) > 1
        ]
        bags = [
            FieldValues(name, known)
            for name, column in raw.bags.items()
            if (known := _frequent(Counter(v for bag in column for v in set(bag)), min_count))
        ]
        if not (fields or numbers or categories or bags):
            raise DataError(
                "these ads say and show the same, so nothing can be learnt of them",
                value=f"{len(ads)} ads",
                hint="see whether the columns of titles and texts are the right ones",
            )
        return cls(
            texts.name,
            tuple(fields),
            tuple(numbers),
            tuple(means),
            tuple(scales),
            tuple(categories),
            tuple(bags),
        )

    @property
    def further(self) -> tuple[str, ...]:
        """Names of the vectors that are not made of the record."""
        own = {*SLOTS, *(slot + _FORM for slot in SLOTS), _GRAMS}
        return tuple(field.name for field in self.vectors if field.name not in own)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Codes of each category, missing and unknown among them."""
        return tuple(len(one.values) + 2 for one in self.categories)

    def without(self, name: str) -> AdFeatures:
        """The same without the vector `name`."""
        return replace(self, vectors=tuple(one for one in self.vectors if one.name != name))

    def encode(
        self, ads: Sequence[AdRecord], texts: EncodedTexts, vectors: Vectors | None = None
    ) -> AdInputs:
        """The ads as arrays; further vectors that are not given are missing.

        Raises DataError for a maker of text vectors other than in training, and for vectors of
        another width or number.
        """
        if texts.name != self.texts:
            raise DataError(
                "the texts are encoded otherwise than in training",
                value=texts.name,
                hint=f"training had {self.texts}",
            )
        given = {name: one for name, one in (vectors or {}).items() if name in self.further}
        slots = [one.name.removesuffix(_FORM) for one in self.vectors]
        raw = _Raw.of(ads, texts, given, slots=[slot for slot in SLOTS if slot in slots])
        places = [NUMBERS.index(name) for name in self.numbers]
        numbers = (raw.numbers[:, places] - self.number_means) / np.array(self.number_scales)
        codes = np.zeros((len(ads), len(self.categories)), np.int64)
        for place, known in enumerate(self.categories):
            code = {value: at for at, value in enumerate(known.values, 2)} | {"": 0}
            codes[:, place] = [code.get(value, 1) for value in raw.categories[known.name]]
        return AdInputs(
            tuple(_scaled(one, raw.vectors.get(one.name), len(ads)) for one in self.vectors),
            torch.from_numpy(numbers.astype(np.float32)),
            torch.from_numpy(codes),
            tuple(_shares(one, raw.bags[one.name]) for one in self.bags),
        )


@dataclass(frozen=True, eq=False)
class _Raw:
    """What stands in N records."""

    vectors: dict[str, Array]
    numbers: npt.NDArray[np.float64]
    categories: dict[str, list[str]]
    bags: dict[str, list[tuple[str, ...]]]

    @classmethod
    def of(
        cls,
        ads: Sequence[AdRecord],
        texts: EncodedTexts,
        further: Vectors,
        *,
        slots: Sequence[str] = SLOTS,
    ) -> _Raw:
        vectors: dict[str, Array] = {}
        read = [texts_of(ad) for ad in ads]
        for slot in slots:
            lines = [one[slot] for one in read]
            if any(lines):
                vectors[slot] = texts.vectors(lines)
                forms = [form_of(line) for line in lines]
                vectors[slot + _FORM] = np.array(forms, np.float32)
        headlines = [one["title"] or one["words"] for one in read]
        vectors[_GRAMS] = encoded_once(HashedText(_PLACES), headlines)
        for name, array in further.items():
            if array.ndim != 2 or len(array) != len(ads):
                raise DataError(
                    f"expected vectors of {len(ads)} ads", column=name, value=array.shape
                )
            vectors[name] = array.astype(np.float32)
        numbers = np.array([numbers_of(ad) for ad in ads], np.float64).reshape(-1, len(NUMBERS))
        levels, bags = [categories_of(ad) for ad in ads], [bags_of(ad) for ad in ads]
        return cls(
            vectors,
            numbers,
            {name: [row[place] for row in levels] for place, name in enumerate(CATEGORIES)},
            {name: [row[place] for row in bags] for place, name in enumerate(BAGS)},
        )


def _field(name: str, array: npt.NDArray[np.float64]) -> VectorField:
    if name.endswith(_FORM):
        # Each place has a variance of 1 / width, so that the vector has a length of about 1.
        # One that never differed has told nothing, and stays small where it does.
        spread = np.where(np.ptp(array, 0) > 0, array.std(0), 1.0)
        scale = spread * np.sqrt(FORM_WIDTH)
        mean = tuple(array.mean(0).tolist())
        return VectorField(name, array.shape[1], mean, tuple(scale.tolist()))
    length = float(np.sqrt((array**2).sum(1).mean())) or 1.0
    return VectorField(name, array.shape[1], scale=(length,))


def _scaled(field: VectorField, array: Array | None, ads: int) -> torch.Tensor:
    if array is None:
        empty = form_of("") if field.name.endswith(_FORM) else [np.nan] * field.width
        array = np.tile(np.array(empty, np.float32), (ads, 1))
    if array.shape[1] != field.width:
        raise DataError(
            "vectors are as wide as in training",
            column=field.name,
            value=array.shape[1],
            hint=f"training had {field.width}",
        )
    centred = array - np.array(field.mean, np.float32) if field.mean else array
    return torch.from_numpy((centred / np.array(field.scale)).astype(np.float32))


def _shares(known: FieldValues, bags: Sequence[Sequence[str]]) -> torch.Tensor:
    """float32 [N, V]: of each ad the share of each known value."""
    place = {value: at for at, value in enumerate(known.values)}
    made = np.zeros((len(bags), len(place)), np.float32)
    for row, bag in enumerate(bags):
        for value in bag:
            if value in place:
                made[row, place[value]] += 1
    total = made.sum(1, keepdims=True)
    return torch.from_numpy(made / np.where(total > 0, total, 1))


def _frequent(counts: Counter[str], min_count: int) -> tuple[str, ...]:
    """The known values, by name."""
    often = [value for value, count in counts.most_common(_MOST_VALUES) if count >= min_count]
    return tuple(sorted(often))
