"""A judge of memorability in its encoder form, and its artifact, kind "memorability".

    fitted = fit_memory(read_recall(Path("slogans.csv")))
    fitted.judge(ads)                              # Judgements: recall between 0 and 1
    fitted.save(Path("memory"));  FittedMemory.load(Path("memory"))

manifest.json         what encodes, measure, interval, the brands' effects
tensors.safetensors   scales and coefficients of each block, vectors of the training texts

The encoder form: frozen encoders and a small head, in two parts that add up.

    head = fit_head(blocks, keys, targets, groups)
    parts = head.parts(blocks, keys)
    parts.value                                     # brand + content, float64 [N]

First what the brand explains (`fit_brand`), then a stack of ridges on what it leaves: the content,
read by `AdBlocks` beside how near the text is to those of the training. An ad of a brand never
seen gets what the brand's name and its content say; that is what folds by brand measure.

What is served is chosen by `metrics.choosing` on brands held out: the length of the text, the
brand's part alone, a ridge on TF-IDF, one on vectors of sentences, both parts ("network"), or their
mixture; of ads in which nothing predicts recall, the mean of all.

    run = train_recall(read_recall("slogans.csv"), Path("runs/recall"))
    print("\n".join(run.sentences()))

RUN/model is the artifact, RUN/report.json what the validation says.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from adwright.core.artifacts import Artifact, save_artifact
from adwright.core.atomic import atomic_write_text
from adwright.core.clock import Clock
from adwright.core.config import from_jsonable, settings, to_jsonable
from adwright.core.errors import DataError
from adwright.core.hashing import content_hash
from adwright.creative.judging import ConformalInterval, Judgements, Novelty, ResidualScale
from adwright.creative.memory.block_ridge import (
    BRAND_BLOCKS,
    AdBlocks,
    Block,
    BlockConfig,
    BlockRidge,
    Blocks,
    BrandPart,
    ScaledBlock,
    brand_key,
    fit_blocks,
    fit_brand,
    near_numbers,
    seen_in,
)
from adwright.creative.memory.outcomes import Measure, RecallTable, scores_of_d_prime
from adwright.creative.records.ad_record import AdRecord
from adwright.creative.records.encoders import VectorStore
from adwright.metrics.choosing import (
    MIXTURE,
    Candidate,
    Fit,
    HonestChoice,
    choose,
    imitating_folds,
    spearman_of,
)
from adwright.training.model_artifacts import load_trained
from adwright.training.search import require_free

if TYPE_CHECKING:
    from sklearn.feature_extraction.text import TfidfVectorizer

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
_SENTENCE = "sentence"


@dataclass(frozen=True, eq=False)
class MemoryParts:
    """Of N ads, in the unit of the targets. brand: what the brand is worth, with the mean of all
    ads in it. content: what the ad adds. Both float64 [N]."""

    brand: Floats
    content: Floats

    @property
    def value(self) -> Floats:
        """float64 [N], their sum."""
        return self.brand + self.content


@dataclass(frozen=True, eq=False)
class MemoryHead:
    """What was learned. brand, content: the two parts. texts: float32 [M, D], vectors of the
    training texts, which nearness is measured to."""

    brand: BrandPart
    content: BlockRidge
    texts: Block

    def parts(self, blocks: Blocks, keys: Sequence[str]) -> MemoryParts:
        """Both parts of N ads. blocks: of `AdBlocks`. keys: of `brand_key`.

        Raises ValueInvalidError for a block of another width than in training.
        """
        vectors = blocks.get(BRAND_BLOCKS[0])
        brand = self.brand.predict(vectors, keys)
        content = _content(blocks, self.texts)
        if not content:
            return MemoryParts(brand, np.full(len(keys), self.content.intercept))
        return MemoryParts(brand, self.content.predict(content))


def fit_head(
    blocks: Blocks,
    keys: Sequence[str],
    targets: Floats,
    groups: Ints,
    *,
    weights: Floats | None = None,
    seed: int = 0,
) -> MemoryHead:
    """Fit the brand's part, and the content on what it leaves. blocks: of N ads. keys, groups: the
    brand of each. targets: float64 [N]. weights, seed: as in `fit_blocks`.

    Raises DataError with fewer brands than inner folds.
    """
    vectors = blocks.get(BRAND_BLOCKS[0])
    brand = fit_brand(vectors, keys, targets, groups, weights=weights, seed=seed)
    texts = blocks.get(_SENTENCE, np.zeros((0, 1), np.float32))
    content = _content(blocks, texts, own=True)
    left = targets - brand.unseen
    fitted = fit_blocks(content, left, groups, weights=weights, seed=seed)
    return MemoryHead(brand, fitted, texts[np.isfinite(texts).all(axis=1)])


def _content(blocks: Blocks, texts: Block, *, own: bool = False) -> dict[str, Block]:
    """The blocks without the brand's, and nearness."""
    found = {name: block for name, block in blocks.items() if name not in BRAND_BLOCKS}
    if _SENTENCE in found:
        found["near"] = near_numbers(found[_SENTENCE], texts, own=own)
    return found


def _rows(blocks: Blocks, rows: Ints) -> dict[str, Block]:
    return {name: block[rows] for name, block in blocks.items()}


@dataclass(frozen=True, eq=False)
class WordRidge:
    """A ridge on TF-IDF of words and pairs. terms: V of them. idf, weight: float64 [V]."""

    terms: tuple[str, ...]
    idf: Floats
    weight: Floats
    bias: float

    @classmethod
    def fit(cls, texts: Sequence[str], targets: Floats, weights: Floats) -> WordRidge:
        """Of N texts; its strength is that of the least error of rows left out, each in turn."""
        from sklearn.linear_model import RidgeCV

        try:
            made = _tf_idf().fit(texts)
        except ValueError:  # not a word in all of them
            return cls((), np.empty(0), np.empty(0), float(np.average(targets, weights=weights)))
        model = RidgeCV(_STRENGTHS).fit(made.transform(texts), targets, weights)
        terms = tuple(made.get_feature_names_out().tolist())
        return cls(terms, made.idf_, model.coef_, float(model.intercept_))

    def predict(self, texts: Sequence[str]) -> Floats:
        """float64 [N]."""
        if not self.terms:
            return np.full(len(texts), self.bias)
        made = _tf_idf(vocabulary=self.terms)
        made.idf_ = self.idf
        return np.asarray(made.transform(texts) @ self.weight + self.bias)


def _tf_idf(**more: Any) -> TfidfVectorizer:
    from sklearn.feature_extraction.text import TfidfVectorizer

    how = {"ngram_range": (1, 2), "sublinear_tf": True, "token_pattern": r"(?u)\b\w+\b"}
    return TfidfVectorizer(**how, **more)


def text_of(ad: AdRecord) -> str:
    """All that is written, seen and said in an ad, and whose it is."""
    return "\n".join(filter(None, (ad.brand, ad.text, seen_in(ad))))


def _lengths(texts: Sequence[str]) -> Block:
    sizes = [[np.log1p(len(one)), np.log1p(len(one.split()))] for one in texts]
    return np.array(sizes, np.float32).reshape(-1, 2)


@dataclass(frozen=True, eq=False)
class Recalled:
    """Ads of which recall is learned, and what is learned of some of them."""

    table: RecallTable
    blocks: Blocks
    seed: int

    @cached_property
    def keys(self) -> list[str]:
        return [brand_key(brand) for brand in self.table.brands]

    @cached_property
    def texts(self) -> list[str]:
        return [text_of(ad) for ad in self.table.records]

    def head(self, rows: Ints) -> MemoryHead:
        table, weights = self.table, self.table.weights
        return fit_head(
            _rows(self.blocks, rows),
            [self.keys[row] for row in rows],
            table.targets[rows],
            table.groups[rows],
            weights=weights[rows],
            seed=self.seed,
        )

    def ridge(self, block: Block, rows: Ints) -> BlockRidge:
        table, weights = self.table, self.table.weights
        return fit_blocks(
            {"own": block[rows]},
            table.targets[rows],
            table.groups[rows],
            weights=weights[rows],
            seed=self.seed,
        )

    def words(self, rows: Ints) -> WordRidge:
        texts = [self.texts[row] for row in rows]
        return WordRidge.fit(texts, self.table.targets[rows], self.table.weights[rows])

    def choice(self) -> HonestChoice:
        """Which is kept, by brands held out."""
        table, blocks, lengths = self.table, self.blocks, _lengths(self.texts)
        heads: dict[bytes, MemoryHead] = {}

        def parts(some: Ints, rows: Ints) -> MemoryParts:
            if (key := some.tobytes()) not in heads:
                heads[key] = self.head(some)
            return heads[key].parts(_rows(blocks, rows), [self.keys[row] for row in rows])

        def ridge(block: Block) -> Fit:
            def fit(some: Ints) -> Callable[[Ints], Floats]:
                made = self.ridge(block, some)
                return lambda rows: made.predict({"own": block[rows]})

            return fit

        def words(some: Ints) -> Callable[[Ints], Floats]:
            made = self.words(some)
            return lambda rows: made.predict([self.texts[row] for row in rows])

        several = len(np.unique(table.groups)) < len(table) or BRAND_BLOCKS[0] in blocks
        wanted = [Candidate("length", ridge(lengths), True)]
        if several:
            brand = Candidate("brand", lambda some: lambda rows: parts(some, rows).brand, True)
            wanted.append(brand)
        wanted.append(Candidate("tf-idf", words, True))
        if _SENTENCE in blocks:
            wanted.append(Candidate("sentences", ridge(blocks[_SENTENCE])))
        wanted.append(Candidate("network", lambda some: lambda rows: parts(some, rows).value))
        folds = imitating_folds(len(table), groups=table.groups, called="brand", seed=self.seed)
        measure = spearman_of(table.targets)
        return choose(wanted, table.targets, folds, measure, units=table.groups, seed=self.seed)


KIND = "memorability"
_LEAST = 40
_STRENGTHS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
_TERMS = "terms.json"
_FIELDS = ("mean", "spread", "coefficients")


@settings(eq=False)
class FittedMemory:
    """A head with what encodes for it.

    head: what was learned. shares: of what is served its weight, by name; offset: what is added.
    ridges, words: of those that are served beside the head. told: what the validation says, plain
    values. encoders: of the blocks that are read. scale, interval: how far off it
    is on ads of brands that it had not seen. novelty: of the training texts. measure: of the
    targets. ads, brands: how many it learned from. data_hash: of them.
    """

    head: MemoryHead
    encoders: AdBlocks
    scale: ResidualScale
    interval: ConformalInterval
    novelty: Novelty
    measure: Measure
    ads: int = 0
    brands: int = 0
    data_hash: str = ""
    seed: int = 0
    shares: Mapping[str, float] = field(default_factory=lambda: {"network": 1.0})
    offset: float = 0.0
    ridges: Mapping[str, BlockRidge] = field(default_factory=dict)
    words: WordRidge | None = None
    told: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Of what is judged."""
        return KIND

    def judge(self, ads: Sequence[AdRecord]) -> Judgements:
        """Recall of N ads, 0 to 1; of a judge of d' its score, see `scores_of_d_prime`. The
        interval is that of an ad whose brand is new. An ad without a text is unlike anything
        seen.

        Raises as the encoders do.
        """
        if not ads:
            none = np.empty(0, np.float32)
            return Judgements(none, none, none, np.empty(0, bool), self.interval.coverage)
        blocks = self.encoders.of(ads)
        value = self._parts(ads, blocks).value
        low, high = self.interval.bounds(value, self.scale(value))
        texts = blocks.get(_SENTENCE)
        width = self.novelty.kept.shape[1]
        if texts is None:
            texts = np.full((len(ads), width), np.nan, np.float32)
        lacks = ~np.isfinite(texts).all(axis=1)
        unlike = self.novelty.unlike(np.nan_to_num(texts)) | lacks
        answers = [
            scores_of_d_prime(one) if self.measure == "d_prime" else np.clip(one, 0.0, 1.0)
            for one in (value, low, high)
        ]
        middle, least, most = (one.astype(np.float32) for one in answers)
        return Judgements(middle, least, most, unlike, self.interval.coverage)

    def parts(self, ads: Sequence[AdRecord]) -> MemoryParts:
        """What the brand of each of N ads is worth, and what the ad adds, in the unit of the
        targets: recall, or d'."""
        if not ads:
            return MemoryParts(np.empty(0), np.empty(0))
        return self._parts(ads, self.encoders.of(ads))

    def _parts(self, ads: Sequence[AdRecord], blocks: Blocks) -> MemoryParts:
        own = self.head.parts(blocks, [brand_key(ad.brand) for ad in ads])
        network = self.shares.get("network", 0.0)
        brand = (network + self.shares.get("brand", 0.0)) * own.brand
        content = self.offset + network * own.content
        texts = [text_of(ad) for ad in ads]
        if self.words is not None:
            content = content + self.shares["tf-idf"] * self.words.predict(texts)
        read = {"length": _lengths(texts), "sentences": blocks.get(_SENTENCE)}
        for name, ridge in self.ridges.items():
            block = read[name]
            said = ridge.intercept if block is None else ridge.predict({"own": block})
            content = content + self.shares[name] * said
        return MemoryParts(brand, content)

    def save(
        self, folder: str | Path, *, overwrite: bool = False, clock: Clock | None = None
    ) -> str:
        """Write the artifact, whole or not at all; returns its id. Raises as `save_artifact`."""
        tensors: dict[str, NDArray[Any]] = {
            "texts": self.head.texts,
            "novelty.kept": self.novelty.kept,
            "novelty.rows": self.novelty.rows,
        }
        ridges = {"name": self.head.brand.name, "content": self.head.content, **self.ridges}
        files = {}
        if self.words is not None:
            tensors |= {"words.idf": self.words.idf, "words.weight": self.words.weight}
            files[_TERMS] = json.dumps({"terms": self.words.terms, "bias": self.words.bias})
        for ridge, own in ridges.items():
            for block, scaled in own.blocks.items():
                tensors |= {f"{ridge}.{block}.{key}": getattr(scaled, key) for key in _FIELDS}
        return save_artifact(
            folder,
            kind=KIND,
            config={
                "form": "encoder",
                "blocks": to_jsonable(self.encoders.config),
                "ridges": {
                    name: {
                        "intercept": own.intercept,
                        "weights": dict(own.weights),
                        "sizes": {block: scaled.size for block, scaled in own.blocks.items()},
                    }
                    for name, own in ridges.items()
                },
                "effects": dict(self.head.brand.effects),
                "scale": to_jsonable(self.scale),
                "interval": to_jsonable(self.interval),
                "novelty": {"k": self.novelty.k, "threshold": self.novelty.threshold},
                "measure": self.measure,
                "ads": self.ads,
                "brands": self.brands,
                "shares": dict(self.shares),
                "offset": self.offset,
                "told": dict(self.told),
            },
            tensors=tensors,
            files=files,
            data_hash=self.data_hash,
            seed=self.seed,
            overwrite=overwrite,
            clock=clock,
        )

    @classmethod
    def load(cls, source: str | Path | Artifact) -> FittedMemory:
        """The judge of an artifact, or of its folder; raises as `load_trained`."""
        return load_trained(source, _built, kind=KIND, name="judge of memorability")


def fit_memory(
    table: RecallTable,
    config: BlockConfig | None = None,
    *,
    store: VectorStore | None = None,
    seed: int = 0,
) -> FittedMemory:
    """The encoder form, fitted on all ads of a table; what is served and its interval come from
    five folds of whole brands, in which every ad is judged by what had not seen its brand.

    store: where vectors are kept between runs. Raises DataError for
    fewer than 40 ads or brands too few for the folds, and as the encoders do.
    """
    if len(table) < _LEAST:
        raise DataError(
            f"{len(table)} ads are too few to learn from",
            file=table.name,
            hint=f"give at least {_LEAST} ads with scores",
        )
    encoders = AdBlocks(config or BlockConfig(), store)
    blocks = encoders.of(table.records)
    made, every = Recalled(table, blocks, seed), np.arange(len(table))
    found = made.choice()
    shares = found.parts
    unseen = found.unseen if shares else np.full(len(table), table.targets.mean())
    scale = ResidualScale.fit(unseen, table.targets)
    texts = np.nan_to_num(blocks.get(_SENTENCE, np.zeros((len(table), 1), np.float32)))
    offset = 0.0 if shares else float(table.targets.mean())
    read = {"length": _lengths(made.texts), "sentences": blocks.get(_SENTENCE)}
    own = {name: one for name, one in read.items() if name in shares and one is not None}
    return FittedMemory(
        head=made.head(every),
        encoders=encoders,
        scale=scale,
        interval=ConformalInterval.fit(unseen, table.targets, scale(unseen)),
        novelty=Novelty.fit(texts, table.groups, seed=seed),
        measure=table.measure,
        ads=len(table),
        brands=len(np.unique(table.groups)),
        data_hash=content_hash([*map(asdict, table.records), table.targets.tolist()]),
        seed=seed,
        shares=shares,
        offset=float(found.offset) if found.kept == MIXTURE else offset,
        ridges={name: made.ridge(block, every) for name, block in own.items()},
        words=made.words(every) if "tf-idf" in shares else None,
        told={
            "kept": found.kept,
            "told": [found.told.value, found.told.low, found.told.high],
            "values": {name: [one.value, one.low, one.high] for name, one in found.values.items()},
            "weights": {name: one for name, one in found.weights.items() if one},
            "chance": found.chance,
            "sentences": found.sentences(),
        },
    )


def _ridge(name: str, artifact: Artifact) -> BlockRidge:
    told, found = artifact.config["ridges"][name], {}
    for block, size in told["sizes"].items():
        mean, spread, own = (artifact.tensors[f"{name}.{block}.{field}"] for field in _FIELDS)
        found[block] = ScaledBlock(mean, spread, float(size), own)
    return BlockRidge(found, float(told["intercept"]), told["weights"], np.empty(0))


def _built(artifact: Artifact) -> FittedMemory:
    told = artifact.config
    brand = BrandPart(_ridge("name", artifact), told["effects"], np.empty(0))
    head = MemoryHead(brand, _ridge("content", artifact), artifact.tensors["texts"])
    novelty, words = told["novelty"], None
    # Those of before served the head alone, and read the beginning of what is seen.
    shares = told.get("shares", {"network": 1.0})
    if "tf-idf" in shares:
        own = json.loads(artifact.text(_TERMS))
        idf, weight = (artifact.tensors[f"words.{name}"] for name in ("idf", "weight"))
        words = WordRidge(tuple(own["terms"]), idf, weight, float(own["bias"]))
    return FittedMemory(
        head=head,
        encoders=AdBlocks(from_jsonable(BlockConfig, {"seen": 300, **told["blocks"]})),
        scale=from_jsonable(ResidualScale, told["scale"]),
        interval=from_jsonable(ConformalInterval, told["interval"]),
        novelty=Novelty(
            artifact.tensors["novelty.kept"],
            artifact.tensors["novelty.rows"],
            int(novelty["k"]),
            float(novelty["threshold"]),
        ),
        measure=told["measure"],
        ads=int(told["ads"]),
        brands=int(told["brands"]),
        data_hash=artifact.data_hash,
        seed=artifact.seed,
        shares=shares,
        offset=float(told.get("offset", 0.0)),
        ridges={one: _ridge(one, artifact) for one in ("length", "sentences") if one in shares},
        words=words,
        told=told.get("told", {}),
    )


_MODEL, _REPORT = "model", "report.json"


@dataclass(frozen=True, eq=False)
class RecallRun:
    """model: trained on all ads. id: of its artifact. folder: the artifact's."""

    model: FittedMemory
    id: str
    folder: Path

    def sentences(self) -> list[str]:
        """What the validation says of it: what is kept, and what to expect of a new brand."""
        made = self.model
        return [*made.told["sentences"], f"{made.ads:,} ads of {made.brands:,} brands"]


def train_recall(
    table: RecallTable,
    out: Path,
    config: BlockConfig | None = None,
    *,
    store: VectorStore | None = None,
    seed: int = 0,
    overwrite: bool = False,
) -> RecallRun:
    """Train, measure and save. store: as of `fit_memory`. overwrite: replace a model.

    Raises ResourceError where there is a model (without `overwrite`), and as `fit_memory`.
    """
    if not overwrite:
        require_free(out / _MODEL, "a model")
    model = fit_memory(table, config, store=store, seed=seed)
    identity = model.save(out / _MODEL, overwrite=overwrite)
    told = {"model": identity, "ads": model.ads, "brands": model.brands, **model.told}
    atomic_write_text(out / _REPORT, json.dumps(told, indent=1, allow_nan=False) + "\n")
    return RecallRun(model, identity, out / _MODEL)
