"""What candidates read of ads: grams of texts, form, numbers, categories, vectors, as blocks.

    reader = AdReader.of(ads, texts, further)          # what stands in N ads, once
    encoding = reader.fitted(train)                    # vocabulary, IDF, scales: of these rows
    encoding.blocks(reader)                            # name -> [N, D] of all rows

Blocks, each with rows of a squared length of about 1: words (one and two in a row) and letters (two
to five within a word) of the title and of all other text, TF-IDF; how both are written (form) and
how long they are (length); numbers; a place for each known value of a category; of each vector.
A value that is missing or unknown is at the level of all. Fields that a table has beside its ads
come as vectors of one place, [N, 1]: texts are categories, numbers are numbers.

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
"""

from __future__ import annotations

import html
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

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


#: Further vectors of N ads, [N, W]: float with NaN where missing, or text [N, 1], "" where missing.
Vectors = Mapping[str, npt.NDArray[Any]]
Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]
#: [N, D], an array or a sparse matrix of scipy.
Block: TypeAlias = Any
_PLACES = 1024
#: Values of a category that are kept, and how often each has to occur.
_MOST_VALUES, _LEAST_COUNT = 20_000, 2
#: Of each kind of gram: how it is cut, and terms that are kept at most, the most frequent ones.
_GRAMS: Mapping[str, tuple[Mapping[str, Any], int]] = {
    "words": ({"token_pattern": r"(?u)\b\w+\b", "ngram_range": (1, 2)}, 30_000),
    "letters": ({"analyzer": "char_wb", "ngram_range": (2, 5)}, 40_000),
}
_CLIP = 4.0


@dataclass(frozen=True, eq=False)
class AdReader:
    """What stands in N ads. docs: of title and rest, the text of each ad. numbers: name -> [N], NaN
    where missing. levels: name -> [N], "" where missing. vectors: name -> float32 [N, W]. texts:
    name of the maker of text vectors. rows: N."""

    docs: Mapping[str, tuple[str, ...]]
    numbers: Mapping[str, Floats]
    levels: Mapping[str, npt.NDArray[np.str_]]
    vectors: Mapping[str, Array]
    texts: str
    rows: int

    @classmethod
    def of(
        cls, ads: Sequence[AdRecord], texts: EncodedTexts, further: Vectors | None = None
    ) -> AdReader:
        """Of N ads. Raises DataError for further vectors of another number."""
        read = [texts_of(ad) for ad in ads]
        title = tuple(one["title"] for one in read)
        rest = [" ".join(one[slot] for slot in SLOTS[1:] if one[slot]) for one in read]
        docs = {"title": title, "rest": tuple(rest)}
        vectors = {name: texts.vectors(doc) for name, doc in docs.items() if any(doc)}
        marks = [
            " ".join(
                f"{name}_{value.replace(' ', '_')}"
                for name, bag in zip(BAGS, bags_of(ad), strict=True)
                for value in bag
            )
            for ad in ads
        ]
        docs["rest"] = tuple(f"{one} {mark}".strip() for one, mark in zip(rest, marks, strict=True))
        table = np.array([numbers_of(ad) for ad in ads], np.float64).reshape(-1, len(NUMBERS))
        numbers = dict(zip(NUMBERS, table.T, strict=True))
        found = np.array([categories_of(ad) for ad in ads], np.str_).reshape(-1, len(CATEGORIES))
        levels = dict(zip(CATEGORIES, found.T, strict=True))
        for name, array in (further or {}).items():
            if array.ndim != 2 or len(array) != len(ads):
                raise DataError(
                    f"expected vectors of {len(ads)} ads", column=name, value=array.shape
                )
            if array.dtype.kind in "US":
                levels[name] = array[:, 0]
            elif array.shape[1] == 1:
                numbers[name] = array[:, 0].astype(np.float64)
            else:
                vectors[name] = array.astype(np.float32)
        return cls(docs, numbers, levels, vectors, texts.name, len(ads))

    @cached_property
    def forms(self) -> Mapping[str, Floats]:
        """Of each text [N, FORM_WIDTH]."""
        return {name: np.array([form_of(one) for one in doc]) for name, doc in self.docs.items()}

    @cached_property
    def counts(self) -> Mapping[str, tuple[list[str], Any]]:
        """Of each text and kind of gram the terms, and their sparse counts [N, V]."""
        made = {}
        for name, doc in self.docs.items():
            for kind in _GRAMS:
                try:
                    made[f"{name} {kind}"] = _counted(doc, kind)
                except ValueError:  # no term occurs twice
                    continue
        return made

    def fitted(self, rows: Rows) -> AdEncoding:
        """What is learned of these rows alone. Raises DataError where nothing differs in them."""
        grams = {}
        for name, (terms, counted) in self.counts.items():
            some = counted[rows]
            often = np.bincount(some.indices, minlength=len(terms))
            kept = np.flatnonzero(often >= _LEAST_COUNT)
            if not (often[kept] < len(rows)).any():
                continue
            idf = np.log((1 + len(rows)) / (1 + often[kept])) + 1
            grams[name] = Grams(tuple(terms[at] for at in kept), idf)
        scales = {
            name: Scale.of(block[rows])
            for name, block in self.dense.items()
            if np.ptp(np.nan_to_num(block[rows]), axis=0).any()
        }
        levels = {}
        for name, column in self.levels.items():
            counted_values = Counter(value for value in column[rows].tolist() if value)
            often_values = counted_values.most_common(_MOST_VALUES)
            known = sorted(value for value, count in often_values if count >= _LEAST_COUNT)
            if len(known) > 1 or (known and len(counted_values) > 1):
                levels[name] = tuple(known)
        if not (grams or scales or levels):
            raise DataError(
                "these ads say and show the same, so nothing can be learnt of them",
                value=f"{len(rows)} ads",
                hint="see whether the columns of titles and texts are the right ones, or name "
                "others as fields",
            )
        return AdEncoding(self.texts, grams, scales, levels)

    @cached_property
    def dense(self) -> dict[str, npt.NDArray[Any]]:
        """Numbers by block [N, D], NaN where missing."""
        size = np.log1p(sum(np.expm1(one[:, 0]) for one in self.forms.values()))
        made: dict[str, npt.NDArray[Any]] = {"length": np.stack([size, size**2], 1)}
        made |= {f"form {name}": one for name, one in self.forms.items()}
        for name, one in self.numbers.items():
            made[f"number {name}"] = np.stack([one, np.isnan(one)], 1)
        return made | {f"vector {name}": one for name, one in self.vectors.items()}

    def counted(self, name: str, terms: tuple[str, ...]) -> Block:
        """Sparse counts [N, V] of these terms of a text and kind of gram."""
        from scipy.sparse import csr_matrix

        if "counts" in self.__dict__ and name in self.counts:
            known, counts = self.counts[name]
            if tuple(known) == terms:
                return counts
        doc, kind = name.split(" ")
        try:
            return _counted(self.docs[doc], kind, terms)[1]
        except ValueError:  # not a word in any
            return csr_matrix((self.rows, len(terms)))


@dataclass(frozen=True, eq=False)
class Grams:
    """Terms with their inverse document frequency [V]."""

    terms: tuple[str, ...]
    idf: Floats


@dataclass(frozen=True, eq=False)
class Scale:
    """mean, spread: [D] of a block; a place that stands still has an endless spread. size: the
    length of a usual row after them."""

    mean: Floats
    spread: Floats
    size: float

    @classmethod
    def of(cls, block: npt.NDArray[Any]) -> Scale:
        """Of rows [n, D], NaN where missing."""
        values = np.asarray(block, np.float64)
        there = np.isfinite(values)
        count = np.maximum(there.sum(0), 1)
        mean = np.where(there, values, 0).sum(0) / count
        spread = np.sqrt((np.where(there, values - mean, 0) ** 2).sum(0) / count)
        spread = np.where(spread > 1e-9, spread, np.inf)
        made = cls(mean, spread, 1.0)
        size = float(np.sqrt((made.scaled(values) ** 2).sum(1).mean())) or 1.0
        return cls(mean, spread, size)

    def scaled(self, block: npt.NDArray[Any]) -> Floats:
        """[N, D], a missing place at its mean."""
        found = np.clip((block - self.mean) / self.spread, -_CLIP, _CLIP)
        return np.asarray(np.nan_to_num(found) / self.size)


@dataclass(frozen=True, eq=False)
class AdEncoding:
    """How ads become blocks, of training ads alone. texts: name of the maker of text vectors."""

    texts: str
    grams: Mapping[str, Grams]
    scales: Mapping[str, Scale]
    levels: Mapping[str, tuple[str, ...]]

    def blocks(self, read: AdReader) -> dict[str, Block]:
        """Name -> [N, D] of all rows. Raises DataError for texts that are encoded otherwise than
        in training, and for vectors of another width."""
        from scipy.sparse import csr_matrix, diags

        if read.texts != self.texts:
            raise DataError(
                "the texts are encoded otherwise than in training",
                value=read.texts,
                hint=f"training had {self.texts}",
            )
        made: dict[str, Block] = {}
        for name, own in self.grams.items():
            counted = read.counted(name, own.terms).astype(np.float64)
            # A term of c times counts 1 + log c; rows have a length of 1.
            counted.data = (1 + np.log(counted.data)) * own.idf[counted.indices]
            size = np.sqrt(np.asarray(counted.multiply(counted).sum(1)).ravel())
            made[name] = diags(1 / np.where(size > 0, size, 1)) @ counted
        for name, scale in self.scales.items():
            block, width = read.dense.get(name), len(scale.mean)
            if block is not None and block.shape[1] != width:
                raise DataError(
                    "vectors are as wide as in training",
                    column=name,
                    value=block.shape[1],
                    hint=f"training had {width}",
                )
            made[name] = np.zeros((read.rows, width)) if block is None else scale.scaled(block)
        for name, known in self.levels.items():
            place = {value: at for at, value in enumerate(known)}
            column = read.levels.get(name, np.full(read.rows, ""))
            codes = np.array([place.get(value, -1) for value in column.tolist()], np.int64)
            there = np.flatnonzero(codes >= 0)
            ones = (np.ones(len(there)), (there, codes[there]))
            made[f"level {name}"] = csr_matrix(ones, (read.rows, len(known)))
        return made


def _counted(
    doc: Sequence[str], kind: str, terms: tuple[str, ...] | None = None
) -> tuple[list[str], Block]:
    """Terms and their sparse counts [N, V]: of these, or of the most frequent ones that occur
    twice. Raises ValueError where there is none."""
    from sklearn.feature_extraction.text import CountVectorizer

    how, most = _GRAMS[kind]
    counter = CountVectorizer(vocabulary=None if terms is None else list(terms), **how)
    if kind == "words":
        if terms is None:
            counter.set_params(min_df=_LEAST_COUNT, max_features=most)
        counted = counter.fit_transform(doc)
        return counter.get_feature_names_out().tolist(), counted
    # Grams lie within words: those of each word are counted once, by words of each text.
    between = CountVectorizer(token_pattern=r"(?u)\S+")
    words = between.fit_transform(doc)
    counted = words @ counter.fit_transform(between.get_feature_names_out())
    if terms is not None:
        return list(terms), counted
    often = np.bincount(counted.indices, minlength=counted.shape[1])
    total = np.asarray(counted.sum(0)).ravel()
    found = np.flatnonzero(often >= _LEAST_COUNT)
    found = np.sort(found[np.argsort(-total[found], kind="stable")[:most]])
    return counter.get_feature_names_out()[found].tolist(), counted[:, found]
