"""A judge of memorability in its encoder form, and its artifact, kind "memorability".

    fitted = fit_memory(read_recall(Path("slogans.csv")))
    fitted.judge(ads)                              # Judgements: recall between 0 and 1
    fitted.save(Path("memory"));  FittedMemory.load(Path("memory"))

manifest.json         what encodes, measure, interval, the brands' effects
tensors.safetensors   scales and coefficients of each block, vectors of the training texts
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adwright.core.artifacts import Artifact, save_artifact
from adwright.core.clock import Clock
from adwright.core.config import from_jsonable, settings, to_jsonable
from adwright.core.errors import DataError
from adwright.core.hashing import content_hash
from adwright.creative.judging.conformal import ConformalInterval, ResidualScale
from adwright.creative.judging.judgement import Judgements
from adwright.creative.judging.novelty import Novelty
from adwright.creative.memory.ad_blocks import AdBlocks, BlockConfig
from adwright.creative.memory.block_ridge import BlockRidge, ScaledBlock
from adwright.creative.memory.encoder import MemoryHead, MemoryParts, fit_head
from adwright.creative.memory.lift import BrandPart, brand_key
from adwright.creative.memory.outcomes import Measure, RecallTable, scores_of_d_prime
from adwright.creative.memory.protocol import cross_fitted
from adwright.creative.records.encoders.store import VectorStore
from adwright.creative.records.verbal.record import AdRecord
from adwright.training.model_artifacts import load_trained

__all__ = ["KIND", "FittedMemory", "fit_memory"]

KIND = "memorability"
_LEAST = 40
_SENTENCE = "sentence"
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
        """Recall of N ads, 0 to 1; of a judge of d' its score, see `outcomes`. The interval is that
        of an ad whose brand is new. An ad without a text is unlike anything seen.

        Raises as the encoders do.
        """
        if not ads:
            none = np.empty(0, np.float32)
            return Judgements(none, none, none, np.empty(0, bool), self.interval.coverage)
        blocks = self.encoders.of(ads)
        value = self._parts(blocks, ads).value
        low, high = self.interval.bounds(value, self.scale(value))
        texts = blocks.get(_SENTENCE)
        width = self.novelty.kept.shape[1]
        if texts is None:
            texts = np.full((len(ads), width), np.nan, np.float32)
        lacks = ~np.isfinite(texts).all(axis=1)
        unlike = self.novelty.unlike(np.nan_to_num(texts)) | lacks
        middle, least, most = (self._scores(one).astype(np.float32) for one in (value, low, high))
        return Judgements(middle, least, most, unlike, self.interval.coverage)

    def parts(self, ads: Sequence[AdRecord]) -> MemoryParts:
        """What the brand of each of N ads is worth, and what the ad adds, in the unit of the
        targets: recall, or d'."""
        if not ads:
            return MemoryParts(np.empty(0), np.empty(0))
        return self._parts(self.encoders.of(ads), ads)

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
                "ridges": {name: _told(own) for name, own in ridges.items()},
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

    def _parts(
        self, blocks: Mapping[str, NDArray[np.float32]], ads: Sequence[AdRecord]
    ) -> MemoryParts:
        return self.head.parts(blocks, [brand_key(ad.brand) for ad in ads])

    def _scores(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        if self.measure == "d_prime":
            return scores_of_d_prime(values)
        return np.clip(values, 0.0, 1.0)


def fit_memory(
    table: RecallTable,
    config: BlockConfig | None = None,
    *,
    store: VectorStore | None = None,
    coverage: float = 0.9,
    seed: int = 0,
) -> FittedMemory:
    """The encoder form, fitted on all ads of a table; its interval comes from five folds of whole
    brands, in which every ad is judged by a head that had not seen its brand.

    store: where vectors are kept between runs. coverage: of the interval. Raises DataError for
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
        interval=ConformalInterval.fit(unseen, table.targets, scale(unseen), coverage=coverage),
        novelty=Novelty.fit(texts, groups, seed=seed),
        measure=table.measure,
        ads=len(table),
        brands=len(np.unique(groups)),
        data_hash=content_hash([*map(asdict, table.records), table.targets.tolist()]),
        seed=seed,
    )


def _told(ridge: BlockRidge) -> dict[str, Any]:
    return {
        "intercept": ridge.intercept,
        "weights": dict(ridge.weights),
        "sizes": {name: block.size for name, block in ridge.blocks.items()},
    }


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
