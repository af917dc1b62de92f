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

How well recall is predicted: brands seen, brands held out, and content beyond the brand.

    report = measure_memory(table, AdBlocks(BlockConfig()).of(table.records), rng=rng)
    report.brands_out.text(".2f")                  # "0.81 (0.77 to 0.84)"

Of each seed, five folds; every ad is predicted once, by a head that saw none of its fold.
Spearman's rho is that of all these predictions together with what was found, and the mean of it
over seeds.

    brands_seen    folds of single ads: the brand's other ads may have been seen
    brands_out     folds of whole brands: what to expect of a new advertiser
    content_lift   folds of single ads: the content's part with what the brand's part leaves
    brand_share    of the variance that brand and content explain, the part that the brand alone
                   explains, both out of fold: r2_brand / r2_both, from 0 to 1

Where every brand has one ad, the two kinds of folds are one. Intervals resample brands, and are
widened by what the seeds show (`metrics.two_level`). Nothing is chosen by these folds: the ridges'
strengths and the members' weights come from inner folds of the training ads.

A run that trains a judge of recall in its encoder form, measures it, and keeps both.

    run = train_recall(read_recall("slogans.csv"), Path("runs/recall"))
    print("
".join(run.sentences()))

RUN/model is the artifact, RUN/report.json what folds said of it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from adwright.core.artifacts import Artifact, save_artifact
from adwright.core.atomic import atomic_write_text
from adwright.core.clock import Clock
from adwright.core.config import from_jsonable, require_count, settings, to_jsonable
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
    group_folds,
    near_numbers,
)
from adwright.creative.memory.outcomes import Measure, RecallTable, scores_of_d_prime
from adwright.creative.records.ad_record import AdRecord
from adwright.creative.records.encoders import VectorStore
from adwright.metrics.bootstrap import Interval, MethodInterval, draw_counts, with_seeds
from adwright.metrics.ranking import spearman
from adwright.training.model_artifacts import load_trained
from adwright.training.search import require_free

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
_SENTENCE = "sentence"
_SENTENCE, _NEAR = "sentence", "near"


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


Split = Literal["brands_seen", "brands_out"]
_FOLDS, _SEEDS = 5, (0, 1, 2)


@dataclass(frozen=True)
class MemoryReport:
    """What the module's head lists. ads, brands: how many. brand_share: NaN where nothing is
    explained. brand_rho: of the brand's part alone, brands held out. seeds: of the folds."""

    ads: int
    brands: int
    brands_seen: MethodInterval
    brands_out: MethodInterval
    content_lift: MethodInterval
    brand_rho: MethodInterval
    brand_share: float
    seeds: tuple[int, ...]


def cross_fitted(
    table: RecallTable,
    blocks: Blocks,
    *,
    split: Split = "brands_out",
    folds: int = _FOLDS,
    seed: int = 0,
) -> MemoryParts:
    """Both parts of each of N ads, by a head that had not seen its fold.

    Raises DataError for fewer brands (ads, where `split` is brands_seen) than folds.
    """
    groups = table.groups
    apart = groups if split == "brands_out" else np.arange(len(table))
    of, keys = group_folds(apart, folds, seed=seed), [brand_key(one) for one in table.brands]
    brand, content = np.empty(len(table)), np.empty(len(table))
    weights = table.weights
    for fold in range(folds):
        kept, held = np.flatnonzero(of != fold), np.flatnonzero(of == fold)
        head = fit_head(
            _rows(blocks, kept),
            [keys[row] for row in kept],
            table.targets[kept],
            groups[kept],
            weights=weights[kept],
            seed=seed,
        )
        parts = head.parts(_rows(blocks, held), [keys[row] for row in held])
        brand[held], content[held] = parts.brand, parts.content
    return MemoryParts(brand, content)


def measure_memory(
    table: RecallTable,
    blocks: Blocks,
    *,
    rng: np.random.Generator,
    seeds: Sequence[int] = _SEEDS,
    draws: int = 1000,
) -> MemoryReport:
    """The report on N ads. blocks: of `AdBlocks`. rng: draws brands for the intervals.

    Raises DataError for fewer brands than folds and inner folds take.
    """
    require_count("draws", draws)
    if not seeds:
        raise DataError("folds need a seed", hint="seeds=(0, 1, 2)")
    out = [cross_fitted(table, blocks, seed=seed) for seed in seeds]
    single = len(np.unique(table.groups)) == len(table)
    seen = out
    if not single:
        seen = [cross_fitted(table, blocks, split="brands_seen", seed=seed) for seed in seeds]
    found, groups = table.targets, table.groups

    def interval(predicted: Sequence[Floats], left: Sequence[Floats]) -> MethodInterval:
        return rho_interval(np.stack(predicted), np.stack(left), groups, rng, draws=draws)

    every = [found] * len(seeds)
    return MemoryReport(
        ads=len(table),
        brands=len(np.unique(groups)),
        brands_seen=interval([one.value for one in seen], every),
        brands_out=interval([one.value for one in out], every),
        content_lift=interval([one.content for one in seen], [found - one.brand for one in seen]),
        brand_rho=interval([one.brand for one in out], every),
        brand_share=brand_share_of(seen, found),
        seeds=tuple(seeds),
    )


def rho_interval(
    predicted: Floats, found: Floats, groups: Ints, rng: np.random.Generator, *, draws: int = 1000
) -> MethodInterval:
    """Mean over S seeds of Spearman's rho of `predicted` [S, N] with `found` [S, N] or [N].

    groups: int64 [N], whose members are drawn together. A prediction that never varies has rho 0.
    """
    target = np.broadcast_to(found, predicted.shape)
    values = np.array([_rho(*pair) for pair in zip(predicted, target, strict=True)])
    _, codes = np.unique(groups, return_inverse=True)
    order = np.argsort(codes, kind="stable")
    ends = np.cumsum(np.bincount(codes))
    members = np.split(order, ends[:-1])
    counts = np.concatenate(list(draw_counts(len(members), draws, rng)))
    drawn = np.empty(len(counts))
    for at, count in enumerate(counts):
        rows = np.concatenate(
            [np.tile(members[one], int(count[one])) for one in np.flatnonzero(count)]
        )
        drawn[at] = np.mean(
            [_rho(one[rows], two[rows]) for one, two in zip(predicted, target, strict=True)]
        )
    low, high = np.quantile(drawn, [0.025, 0.975])
    people = Interval(float(values.mean()), float(low), float(high))
    return with_seeds(people, values)


def _rho(predicted: Floats, found: Floats) -> float:
    rho = spearman(predicted, found)
    return 0.0 if np.isnan(rho) else rho


def brand_share_of(parts: Sequence[MemoryParts], found: Floats) -> float:
    """r2 of the brand's part over that of both, from 0 to 1, both means over seeds; NaN where both
    explain nothing.

    r2 is the squared correlation, 0 where it is negative: what a line of best fit would explain, so
    that too wide or too narrow a prediction does not count against its order.
    """
    brand = float(np.mean([_explained(one.brand, found) for one in parts]))
    explained = max(brand, float(np.mean([_explained(one.value, found) for one in parts])))
    return brand / explained if explained > 0 else float("nan")


def _explained(predicted: Floats, found: Floats) -> float:
    if np.ptp(predicted) == 0 or np.ptp(found) == 0:
        return 0.0
    return max(float(np.corrcoef(predicted, found)[0, 1]), 0.0) ** 2


def _rows(blocks: Blocks, rows: Ints) -> dict[str, Block]:
    return {name: block[rows] for name, block in blocks.items()}


KIND = "memorability"
_LEAST = 40
_FIELDS = ("mean", "spread", "coefficients")


@settings(eq=False)
class FittedMemory:
    """A head with what encodes for it.

    head: what was learned. encoders: of the blocks that it reads. scale, interval: how far off it
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
        value = self.head.parts(blocks, [brand_key(ad.brand) for ad in ads]).value
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
        return self.head.parts(self.encoders.of(ads), [brand_key(ad.brand) for ad in ads])

    def save(
        self, folder: str | Path, *, overwrite: bool = False, clock: Clock | None = None
    ) -> str:
        """Write the artifact, whole or not at all; returns its id. Raises as `save_artifact`."""
        tensors: dict[str, NDArray[Any]] = {
            "texts": self.head.texts,
            "novelty.kept": self.novelty.kept,
            "novelty.rows": self.novelty.rows,
        }
        ridges = {"name": self.head.brand.name, "content": self.head.content}
        for ridge, own in ridges.items():
            for block, scaled in own.blocks.items():
                for field in _FIELDS:
                    tensors[f"{ridge}.{block}.{field}"] = getattr(scaled, field)
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
            },
            tensors=tensors,
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
    """The encoder form, fitted on all ads of a table; its interval comes from five folds of whole
    brands, in which every ad is judged by a head that had not seen its brand.

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
    unseen = cross_fitted(table, blocks, seed=seed).value
    keys, groups = [brand_key(brand) for brand in table.brands], table.groups
    head = fit_head(blocks, keys, table.targets, groups, weights=table.weights, seed=seed)
    scale = ResidualScale.fit(unseen, table.targets)
    texts = np.nan_to_num(blocks.get(_SENTENCE, np.zeros((len(table), 1), np.float32)))
    return FittedMemory(
        head=head,
        encoders=encoders,
        scale=scale,
        interval=ConformalInterval.fit(unseen, table.targets, scale(unseen)),
        novelty=Novelty.fit(texts, groups, seed=seed),
        measure=table.measure,
        ads=len(table),
        brands=len(np.unique(groups)),
        data_hash=content_hash([*map(asdict, table.records), table.targets.tolist()]),
        seed=seed,
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
    novelty = told["novelty"]
    return FittedMemory(
        head=head,
        encoders=AdBlocks(from_jsonable(BlockConfig, told["blocks"])),
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
    )


_MODEL, _REPORT = "model", "report.json"


@dataclass(frozen=True, eq=False)
class RecallRun:
    """model: trained on all ads. id: of its artifact. report: of folds, as `measure_memory`."""

    model: FittedMemory
    id: str
    folder: Path
    report: MemoryReport

    def sentences(self) -> list[str]:
        """What the folds say of it."""
        found = self.report
        said = [
            f"{found.ads:,} ads of {found.brands:,} brands; Spearman's rho by five folds, "
            f"{len(found.seeds)} times:",
            (
                f"brands held out: {found.brands_out.text('.3f')}"
                if found.brands < found.ads
                else f"ads held out (each brand has one): {found.brands_out.text('.3f')}"
            ),
        ]
        if found.brands < found.ads:
            said += [
                f"brands seen: {found.brands_seen.text('.3f')}",
                f"of the brand's name alone, brands held out: {found.brand_rho.text('.3f')}",
                f"of the content, beyond its brand: {found.content_lift.text('.3f')}",
            ]
            if not math.isnan(found.brand_share):
                said.append(f"the brand explains {found.brand_share:.0%} of what is explained")
            if not found.content_lift.excludes(0) or found.content_lift.value < 0:
                said.append("beyond the brand, nothing of the content was found that holds")
        if not found.brands_out.excludes(0) or found.brands_out.value < 0:
            said.append(
                "nothing here predicts recall: for a new brand this is no better than chance"
            )
        return said


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
    blocks = AdBlocks(config or BlockConfig(), store).of(table.records)
    report = measure_memory(table, blocks, rng=np.random.default_rng(seed))
    identity = model.save(out / _MODEL, overwrite=overwrite)
    told = {"model": identity, **to_jsonable(report)}
    if math.isnan(report.brand_share):
        told["brand_share"] = None
    atomic_write_text(out / _REPORT, json.dumps(told, indent=1, allow_nan=False) + "\n")
    return RecallRun(model, identity, out / _MODEL, report)
