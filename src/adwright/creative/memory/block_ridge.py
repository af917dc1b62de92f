"""A ridge per block of numbers, and one of all, weighted by how well each predicts what it has not
seen.

    fitted = fit_blocks(blocks, targets, groups)
    fitted.predict(blocks)                          # float64 [N]
    fitted.unseen                                   # float64 [N], of the training rows, out of fold

Each column is standardised and clipped, each block divided by the size of its rows, so that a block
counts the same whatever its width. For a block X and targets y, both centred,

    b = argmin |y - X b|^2_W + alpha |b|^2

for alpha of a grid, chosen by the error in inner folds that keep groups whole. The members are each
block and all blocks side by side. With few ads only the last is taken; otherwise the members'
out-of-fold predictions are combined by the non-negative weights of least error (Wolpert 1992;
Breiman 1996). With few rows such weights are noisier than what they gain (our choice: below 300).

What the encoder form reads of ads: blocks of numbers by frozen encoders.

    blocks = AdBlocks(BlockConfig()).of(records)
    blocks["sentence"]                             # float32 [N, 384]

    block       of which text        what
    sentence    title and words,     vector of all-MiniLM-L6-v2, or of hashed n-grams
                else what is shown
    state       the same             mean hidden state of a middle layer of a language model
    surprisal   the same             how expected its tokens are, and how rare
    surface     the same             length, words, marks
    scenes      captions, speech,    vector of sentences
                emotions, tags, words
    facts       the record           seconds, scenes, pace, faces
    brand       the brand            vector of sentences

The language model reads the text once, between quotation marks that follow a few neutral words: on
slogans that predicts recall better than the bare text. An ad that lacks a text has NaN there; a
block that no ad has is left out.

What an ad's brand says about how well it is remembered, apart from what the ad does.

    brand = fit_brand(vectors, keys, targets, groups)
    brand.predict(vectors, keys)                   # float64 [N], of brands seen or not
    targets - brand.unseen                         # what is left for the content to explain

Brand is the main confounder of memorability: people remember ads of brands that they know. So it is
predicted first, in two parts. Of a brand never seen there is only its name, by a ridge on the
name's vector. To a brand with n ads of mean residual m that adds

    n / (n + k) m,    k = s_within^2 / s_between^2

the shrunken mean of a random effect (Searle, Casella and McCulloch, "Variance Components", 1992),
with both variances by the method of moments; 0 where brands differ by no more than their ads do.
For the training rows themselves all of it comes from other rows: the name's part from folds without
the brand, the mean from the brand's other ads.

How near a text is to those of the training: what stands apart is remembered otherwise.

near_numbers(vectors, train)                   # float32 [N, 4]
near_numbers(train, train, own=True)           # of the training itself, each without itself

Numbers of a text, and facts of an ad, that may tell how well it is remembered.

    text_numbers("Taste the rainbow.")              # float64 [19]: length, words, marks ...
    surprisal_numbers(log_probabilities, tokens)    # float64 [13]: how expected its tokens are
    ad_facts(record)                                # float64 [20]: seconds, scenes, pace, faces ...

Each is a plain count, share or mean; which of them matter is left to a ridge. An unknown pace is a
medium one, and what else is unknown counts as none (our choice).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from adwright.core.config import Count, Natural, settings
from adwright.core.errors import DataError, ValueInvalidError
from adwright.creative.records.ad_record import AdRecord
from adwright.creative.records.encoders import Encoder, HashedText, VectorStore
from adwright.creative.response.inputs import encoded_once
from adwright.creative.response.outcomes import story_folds
from adwright.lm.engine.weights import SMOLLM2
from adwright.lm.open_model import open_model
from adwright.lm.torch_engine.config import TorchConfig
from adwright.lm.torch_engine.model import fitting_dtype, quick_dtype

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
#: Numbers of N ads [N, D], NaN in rows that lack them; and such blocks by name.
Block = NDArray[np.float32]
Blocks = Mapping[str, Block]

_ALPHAS = 10.0 ** np.arange(-2, 4.1, 0.5)
_INNER = 5
_CLIP = 4.0
#: Fewer rows have the member of all blocks alone.
_FEW = 300
#: A column that moves less than this is constant.
_STILL = 1e-9


@dataclass(frozen=True, eq=False)
class ScaledBlock:
    """How a block is scaled, and what is learned of it. mean, spread, coefficients: float64 [D].
    size: the length of a usual row after `mean` and `spread`; what stands still has an endless
    spread."""

    mean: Floats
    spread: Floats
    size: float
    coefficients: Floats

    def scaled(self, block: Block) -> Floats:
        """float64 [N, D] of a block [N, D]; rows have on average a squared length of 1, and NaN is
        as the mean."""
        found = np.nan_to_num(np.clip((block - self.mean) / self.spread, -_CLIP, _CLIP))
        return np.asarray(found / self.size)


@dataclass(frozen=True, eq=False)
class BlockRidge:
    """Blocks -> a number. blocks: by name. intercept: at the mean of all. weights: of each member,
    a block's name or "all". unseen: float64 [N], of the training rows by folds that had not seen
    their groups; empty in one that was loaded."""

    blocks: Mapping[str, ScaledBlock]
    intercept: float
    weights: Mapping[str, float]
    unseen: Floats

    def predict(self, blocks: Blocks) -> Floats:
        """float64 [N] of N ads; a block that is missing counts as its mean.

        Raises ValueInvalidError for a block of another width.
        """
        rows = len(next(iter(blocks.values()))) if blocks else 0
        found = np.full(rows, self.intercept)
        for name, own in self.blocks.items():
            if name not in blocks:
                continue
            if blocks[name].shape[1] != len(own.mean):
                raise ValueInvalidError(
                    "a block has another width than in training",
                    column=name,
                    value=blocks[name].shape[1],
                    hint=f"encode with the same config; it had {len(own.mean)}",
                )
            found += own.scaled(blocks[name]) @ own.coefficients
        return found


def group_folds(groups: Ints, folds: int, *, seed: int = 0) -> Ints:
    """Fold of each of N rows, int64 [N]; the rows of a group share it, folds are of like size.

    Raises DataError where there are fewer groups than folds.
    """
    if len(np.unique(groups)) < folds:
        raise DataError(
            f"{len(np.unique(groups))} brands cannot stand in {folds} folds",
            hint="give ads of more brands, or ask for fewer folds",
        )
    return story_folds(groups, folds, seed=seed)


def fit_blocks(
    blocks: Blocks, targets: Floats, groups: Ints, *, weights: Floats | None = None, seed: int = 0
) -> BlockRidge:
    """Fit the members and their weights on N ads.

    blocks: name -> float32 [N, D], NaN in rows that lack it; a block that does not vary is left
    out. targets: float64 [N].
    groups: int64 [N], kept whole by the inner folds, which `seed` draws. weights: float64 [N] of
    the rows, None for equal ones.
    Raises DataError with fewer groups than inner folds.
    """
    from scipy.optimize import nnls

    share = np.ones(len(targets)) if weights is None else np.asarray(weights, float)
    centre = float(np.average(targets, weights=share))
    own = {name: made for name, block in blocks.items() if (made := _scales(block, share))}
    parts = {name: own[name].scaled(blocks[name]) for name in own}
    folds = group_folds(groups, _INNER, seed=seed)
    if not parts:
        return BlockRidge({}, centre, {}, _means(targets, share, folds))
    members = [*parts, "all"] if len(targets) >= _FEW and len(parts) > 1 else ["all"]
    fits = {}
    for name in members:
        matrix = np.hstack(list(parts.values())) if name == "all" else parts[name]
        fits[name] = _ridge(matrix, targets, share, folds)
    unseen = np.stack([fits[name].unseen for name in members], axis=1)  # [N, M]
    base = _means(targets, share, folds)
    found = np.ones(1)
    if len(members) > 1:
        root = np.sqrt(share)[:, None]
        found, _ = nnls((unseen - base[:, None]) * root, (targets - base) * root[:, 0])
    whole = _joined(parts, members, found, fits)
    return BlockRidge(
        {name: replace(own[name], coefficients=whole[name]) for name in own},
        centre,
        dict(zip(members, map(float, found), strict=True)),
        base + (unseen - base[:, None]) @ found,
    )


class _Fit(NamedTuple):
    """coefficients: [D]. unseen: [N]."""

    coefficients: Floats
    unseen: Floats


def _scales(block: Block, share: Floats) -> ScaledBlock | None:
    """How a block is scaled; None where nothing in it varies."""
    there = np.isfinite(block).all(axis=1)
    if not there.any():
        return None
    values, own = block[there].astype(np.float64), share[there]
    mean = np.average(values, axis=0, weights=own)
    spread = np.sqrt(np.average((values - mean) ** 2, axis=0, weights=own))
    moves = spread > _STILL
    if not moves.any():
        return None
    spread = np.where(moves, spread, np.inf)
    scaled = np.clip((values - mean) / spread, -_CLIP, _CLIP)
    size = np.sqrt(np.average((scaled**2).sum(1), weights=own))
    return ScaledBlock(mean, spread, float(size), np.zeros(len(mean)))


def _ridge(matrix: Floats, targets: Floats, share: Floats, folds: Ints) -> _Fit:
    """A ridge whose alpha has the least error in the folds."""
    guesses = np.empty((len(_ALPHAS), len(targets)))
    for fold in range(_INNER):
        held = folds == fold
        kept = ~held
        centre = np.average(targets[kept], weights=share[kept])
        middle = np.average(matrix[kept], axis=0, weights=share[kept])
        paths = _paths(matrix[kept] - middle, targets[kept] - centre, share[kept], _ALPHAS)
        guesses[:, held] = centre + paths @ (matrix[held] - middle).T
    errors = ((guesses - targets) ** 2) @ share
    best = int(errors.argmin())
    centre = np.average(targets, weights=share)
    (found,) = _paths(matrix, targets - centre, share, _ALPHAS[best : best + 1])
    return _Fit(found, guesses[best])


def _paths(matrix: Floats, targets: Floats, share: Floats, alphas: Floats) -> Floats:
    """Coefficients [A, D] of A alphas, by one eigendecomposition of the smaller side."""
    root = np.sqrt(share)
    left, right = matrix * root[:, None], targets * root
    if len(left) >= left.shape[1]:
        values, vectors = np.linalg.eigh(left.T @ left)
        shrunk = (vectors.T @ (left.T @ right)) / (np.maximum(values, 0) + alphas[:, None])
        return np.asarray(shrunk @ vectors.T)
    values, vectors = np.linalg.eigh(left @ left.T)
    shrunk = (vectors.T @ right) / (np.maximum(values, 0) + alphas[:, None])
    return np.asarray((shrunk @ vectors.T) @ left)


def _means(targets: Floats, share: Floats, folds: Ints) -> Floats:
    """The mean of the other folds, of each row."""
    found = np.empty(len(targets))
    for fold in range(_INNER):
        held = folds == fold
        found[held] = np.average(targets[~held], weights=share[~held])
    return found


def _joined(
    parts: Mapping[str, Floats], members: Sequence[str], weights: Floats, fits: Mapping[str, _Fit]
) -> dict[str, Floats]:
    """The coefficients of each block in the weighted sum of the members."""
    ends = np.cumsum([part.shape[1] for part in parts.values()])[:-1]
    found = {name: np.zeros(part.shape[1]) for name, part in parts.items()}
    for member, weight in zip(members, weights, strict=True):
        if member == "all":
            split = np.split(fits[member].coefficients, ends)
            for name, own in zip(parts, split, strict=True):
                found[name] += weight * own
        else:
            found[member] += weight * fits[member].coefficients
    return found


@dataclass(frozen=True, eq=False)
class BrandPart:
    """What a brand is worth. name: of its name's vector. effects: key of a brand -> what its ads
    add to that. unseen: float64 [N], of the training rows by other rows; empty where loaded."""

    name: BlockRidge
    effects: Mapping[str, float]
    unseen: Floats

    def predict(self, vectors: Block | None, keys: Sequence[str]) -> Floats:
        """float64 [N] of N ads. vectors: of their brands' names [N, D], None where there are
        none. keys: of `brand_key`."""
        blocks = {} if vectors is None else {"brand": vectors}
        base = self.name.predict(blocks) if blocks else np.full(len(keys), self.name.intercept)
        found: Floats = base + np.array([self.effects.get(key, 0.0) for key in keys])
        return found


def brand_key(brand: str) -> str:
    """A brand by what its name says: case and blanks around it do not count."""
    return brand.strip().casefold()


def fit_brand(
    vectors: Block | None,
    keys: Sequence[str],
    targets: Floats,
    groups: Ints,
    *,
    weights: Floats | None = None,
    seed: int = 0,
) -> BrandPart:
    """Fit both parts on N ads. vectors, keys: as in `predict`, NaN and "" for no brand. targets:
    float64 [N]. groups: int64 [N], whose folds the name's part is learned in. weights,
    seed: as in `fit_blocks`."""
    share = np.ones(len(targets)) if weights is None else weights
    blocks = {} if vectors is None else {"brand": vectors}
    name = fit_blocks(blocks, targets, groups, weights=share, seed=seed)
    left = targets - name.unseen
    rows: dict[str, list[int]] = {}
    for row, key in enumerate(keys):
        if key:
            rows.setdefault(key, []).append(row)
    ratio = shrinkage([left[at] for at in rows.values()])
    effects, others = {}, np.zeros(len(targets))
    for key, at in rows.items():
        own, total = left[at], float(left[at].sum())
        effects[key] = total / (len(at) + ratio)
        # Of a brand's only ad nothing is known from its others.
        others[at] = (total - own) / (len(at) - 1 + ratio) if len(at) > 1 else 0.0
    # The effects were found beside the part that had not seen the brand.
    told = {key: value for key, value in effects.items() if value}
    return BrandPart(name, told, name.unseen + others)


def shrinkage(residuals: Sequence[Floats]) -> float:
    """k = s_within^2 / s_between^2 of the residuals of each brand; infinite where brands do not
    differ beyond their ads, or none has two.

    By moments: s_between^2 = (MS_between - MS_within) / n0, n0 = (N - sum n_i^2 / N) / (B - 1), of
    B brands with n_i of N ads.
    """
    sizes = np.array([len(one) for one in residuals], float)
    total, brands = sizes.sum(), len(sizes)
    if brands < 2 or total <= brands:
        return float("inf")
    means = np.array([one.mean() for one in residuals])
    middle = float(sizes @ means / total)
    within = sum(float(((one - one.mean()) ** 2).sum()) for one in residuals) / (total - brands)
    between = float(sizes @ (means - middle) ** 2) / (brands - 1)
    usual = (total - (sizes**2).sum() / total) / (brands - 1)
    spread = (between - within) / usual
    return within / spread if spread > 0 else float("inf")


#: Mean similarity to so many nearest texts; the last number of four is that to all.
NEAREST = (1, 3, 10)


def near_numbers(vectors: Block, train: Block, *, own: bool = False) -> Block:
    """Mean cosine to the 1, 3 and 10 nearest training texts and to all: float32 [N, 4].

    vectors: [N, D] of length 1, NaN for no text, whose numbers are NaN. train: [M, D]. own:
    `vectors` is `train`, and a text is no neighbour of itself.
    """
    found = np.full((len(vectors), len(NEAREST) + 1), np.nan, np.float32)
    known = train[np.isfinite(train).all(axis=1)]
    there = np.isfinite(vectors).all(axis=1)
    if len(known) <= int(own):
        return found
    near = vectors[there] @ known.T  # [n, m]
    if own:
        np.fill_diagonal(near, np.nan)
    found[there, -1] = np.nanmean(near, axis=1)
    if own:
        np.fill_diagonal(near, -np.inf)
    most = min(max(NEAREST), near.shape[1] - int(own))
    nearest = -np.sort(-np.partition(near, -most, axis=1)[:, -most:], axis=1)  # [n, most]
    for place, many in enumerate(NEAREST):
        found[there, place] = nearest[:, :many].mean(1)
    return found


_WORD = re.compile(r"[\w']+")
#: A word of so few letters is seldom one that carries meaning.
_SHORT = 3

_TEXT_NUMBERS, SURPRISALS = 19, 13
_LEVELS = {"low": 0.0, "": 1.0, "medium": 1.0, "high": 2.0}


def text_numbers(text: str) -> Floats:
    """float64 [19]; of an empty text zeros.

    characters, log_characters, words, log_words, mean_word, longest_word, capitals,
    capitalised_words, commas, stops, exclamations, questions, digits, distinct_words, quotes,
    marks, ends_as_sentence, short_words, apostrophe.
    """
    words = _WORD.findall(text)
    if not text.strip():
        return np.zeros(_TEXT_NUMBERS)
    size, many = len(text), max(1, len(words))
    lengths = [len(word) for word in words] or [0]
    marks = sum(not one.isalnum() and not one.isspace() for one in text)
    return np.array(
        [
            size,
            np.log(size),
            len(words),
            np.log(many),
            float(np.mean(lengths)),
            max(lengths),
            sum(one.isupper() for one in text) / size,
            sum(word[0].isupper() for word in words) / many,
            text.count(","),
            text.count("."),
            text.count("!"),
            text.count("?"),
            sum(one.isdigit() for one in text),
            len({word.lower() for word in words}) / many,
            text.count('"'),
            marks / size,
            float(text.rstrip()[-1] in ".!?"),
            sum(length <= _SHORT for length in lengths) / many,
            float("'" in text or "’" in text),
        ],
        np.float64,
    )


def surprisal_numbers(log_probabilities: Floats, tokens: Sequence[int]) -> Floats:
    """float64 [13] of a text of T tokens: mean, sum, least, most, spread, first, last,
    mean_but_first, second_half, log_tokens, mean_rarity, most_rarity, spread_rarity.

    log_probabilities: float64 [T], in nats. tokens: their ids; a tokenizer of merged bytes numbers
    its merges from the most frequent on, so log(1 + id) stands for how rare a token is, without a
    list of word frequencies.
    """
    logs, rarity = np.asarray(log_probabilities, float), np.log1p(np.asarray(tokens, float))
    return np.array(
        [
            logs.mean(),
            logs.sum(),
            logs.min(),
            logs.max(),
            logs.std(),
            logs[0],
            logs[-1],
            logs[1:].mean() if len(logs) > 1 else logs[0],
            logs[len(logs) // 2 :].mean(),
            np.log(len(logs)),
            rarity.mean(),
            rarity.max(),
            rarity.std(),
        ]
    )


def ad_facts(record: AdRecord) -> Floats:
    """float64 [20]: seconds, log_seconds, scenes, log_scenes, scenes_a_second, pace, motion,
    landscape, low_complexity, high_complexity, faces, faced_scenes, warm, cool, spoken_words,
    spoken_words_a_second, shown_words_a_scene, emotions_a_scene, brand_in_title, brand_shown."""
    scenes = record.scenes
    many, seconds = max(1, len(scenes)), record.seconds or 0.0
    counted = [scene.faces for scene in scenes if scene.faces is not None]
    spoken, brand = len(record.speech.split()), record.brand.strip().casefold()
    shown = " ".join(line for scene in scenes for line in scene.words).casefold()
    return np.array(
        [
            seconds,
            np.log1p(seconds),
            len(scenes),
            np.log1p(len(scenes)),
            len(scenes) / seconds if seconds else 0.0,
            _LEVELS[record.pace],
            _LEVELS[record.motion],
            float(record.orientation == "landscape"),
            sum(scene.complexity == "low" for scene in scenes) / many,
            sum(scene.complexity == "high" for scene in scenes) / many,
            sum(counted) / many,
            sum(one > 0 for one in counted) / many,
            sum(scene.tone == "warm" for scene in scenes) / many,
            sum(scene.tone == "cool" for scene in scenes) / many,
            spoken,
            spoken / seconds if seconds else 0.0,
            len(shown.split()) / many,
            sum(len(scene.emotions) for scene in scenes) / many,
            float(bool(brand) and brand in record.title.casefold()),
            float(bool(brand) and brand in shown),
        ],
        np.float64,
    )


#: Blocks that tell the brand alone.
BRAND_BLOCKS = ("brand",)
_BEFORE = 'The slogan of a company: "'
#: Characters of a piece: no more than the encoder reads.
_PIECE = 900


@settings
class BlockConfig:
    """What reads ads.

    sentences: the encoder of sentences; hashed needs no extra. language: a causal model as
    `adwright lm generate --model` takes it, which torch runs; empty for none, and then the blocks
    state and surprisal are missing. layer: whose state is taken, from 0. longest: characters of a
    text that the language model reads. seen: those of what is seen and said in scenes, 0 for all,
    which is read in pieces. offline: never download.

    Raises ConfigError for other choices and for a `longest` below 1.
    """

    sentences: Literal["minilm", "hashed"] = "minilm"
    language: str = SMOLLM2
    layer: Natural = 16
    longest: Count = 200
    seen: Natural = 0
    offline: bool = False


class AdBlocks:
    """The encoders of a config, opened when they are first asked. store: where vectors are kept
    between runs; None computes them anew.

    Raises when first asked as `core.assets.asset` and `open_model` do; MissingExtraError without
    the extra `lm` where an encoder needs it.
    """

    def __init__(self, config: BlockConfig, store: VectorStore | None = None) -> None:
        self.config, self._store = config, store
        self._sentences: Encoder[str] | None = None
        self._language: _TextReader | None = None

    def of(self, ads: Sequence[AdRecord]) -> dict[str, Block]:
        """The blocks of N ads, float32 [N, D] each; NaN in the row of an ad that lacks what a block
        reads."""
        if not ads:
            return {}
        if self._sentences is None:
            self._sentences = HashedText()
            if self.config.sentences == "minilm":
                from adwright.lm.sentence_encoder import SentenceEncoder

                self._sentences = SentenceEncoder(offline=self.config.offline)
        sentences = self._sentences
        # What it says in writing; of one without title and words, what is on its pictures.
        written = ("\n".join(part for part in (ad.title, ad.words) if part).strip() for ad in ads)
        texts = [text or ad.text.strip() for text, ad in zip(written, ads, strict=True)]
        found: dict[str, NDArray[Any]] = {
            "sentence": self._by(sentences, texts),
            "surface": _rows([text_numbers(text) if text else None for text in texts]),
            "brand": self._by(sentences, [ad.brand.strip() for ad in ads]),
            "scenes": self._pieces(sentences, [seen_in(ad, self.config.seen) for ad in ads]),
            "facts": _rows([None if ad.kind == "text" else ad_facts(ad) for ad in ads]),
        }
        if self.config.language:
            if self._language is None:
                self._language = _TextReader(self.config)
            short = [text[: self.config.longest].strip() for text in texts]
            read = self._by(self._language, short)
            found["surprisal"], found["state"] = read[:, :SURPRISALS], read[:, SURPRISALS:]
        there = {name: block for name, block in found.items() if np.isfinite(block).any()}
        return {name: block.astype(np.float32) for name, block in there.items()}

    def close(self) -> None:
        """Free the language model. Any number of times."""
        if self._language is not None:
            self._language.close()
            self._language = None

    def _pieces(self, encoder: Encoder[str], texts: Sequence[str]) -> Block:
        """[N, D], of each text the mean of its pieces, of length 1; NaN for an empty one."""
        cut = [[t[at : at + _PIECE] for at in range(0, len(t), _PIECE)] or [""] for t in texts]
        vectors = self._by(encoder, [piece for own in cut for piece in own])
        ends = np.cumsum([len(own) for own in cut])[:-1]
        means = np.stack([part.mean(0) for part in np.split(vectors, ends)])
        sizes = np.linalg.norm(means, axis=1, keepdims=True)
        return np.asarray(means / np.where(sizes > 0, sizes, 1), np.float32)

    def _by(self, encoder: Encoder[str], texts: Sequence[str]) -> Block:
        """Vectors of N texts [N, D], each text encoded once; NaN for an empty one."""
        if self._store is None:
            return encoded_once(encoder, texts)
        return self._store.vectors(list(texts), encoder)


class _TextReader:
    """An `Encoder` of texts by what a language model makes of them: surprisals, then the state."""

    def __init__(self, config: BlockConfig) -> None:
        # Many rows are read at once, for which the type has to be the quick one.
        asked = TorchConfig(
            config.language,
            dtype="auto" if quick_dtype() == fitting_dtype() else "float32",
            offline=config.offline,
        )
        # Only the torch engine shows inner states, so the model is one of its.
        self._model = cast(Any, open_model(asked))
        self._layer = config.layer
        (first,) = self._model.read(["a"], before=_BEFORE, layer=config.layer)
        self.width = SURPRISALS + len(first.state)
        short = config.language.rstrip("/").rsplit("/", 1)[-1]
        self.name = f"read-{short}-{config.layer}-{config.longest}"

    def encode(self, texts: Sequence[str]) -> Block:
        """float32 [B, D]."""
        tokens = [self._model.tokens.encode(text, special=False) for text in texts]
        found = self._model.read(texts, before=_BEFORE, layer=self._layer)
        rows = [
            np.concatenate([surprisal_numbers(one.log_probabilities, ids), one.state])
            for one, ids in zip(found, tokens, strict=True)
        ]
        return np.stack(rows).astype(np.float32)

    def close(self) -> None:
        self._model.close()


def seen_in(ad: AdRecord, longest: int = 0) -> str:
    """What is seen and said, the captions of all scenes first; so many characters, 0 for all."""
    seen = [scene.caption for scene in ad.scenes]
    words = [" ".join((*one.emotions, *one.tags, *one.words)) for one in ad.scenes]
    parts = (*seen, ad.speech, *words)
    return "\n".join(filter(None, map(str.strip, parts)))[: longest or None].strip()


def _rows(found: Sequence[NDArray[np.float64] | None]) -> NDArray[np.float64]:
    """[N, D] of rows [D]; NaN where there is none."""
    width = next((len(row) for row in found if row is not None), 1)
    none = np.full(width, np.nan)
    return np.stack([none if row is None else row for row in found])
