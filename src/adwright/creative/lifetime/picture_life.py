"""Expected life of ads by their pictures: a lifetime model as a judge of ads.

    judge = PictureLife.load("runs/lifetime")
    judge.judge(records, {"image": vectors})      # Judgements, in the weeks or days of the model

The model is a `FittedLifetime` that was trained with vectors of images beside its spells, as
`fit_lifetime(table, vectors={"image": ...})` and `train_retirement` take them. Of an ad that has
not run nothing else is known, so numbers, categories and words are missing, for which networks
have learned defaults. The value is the mean time lived up to the last edge T of the curves,

    t_0 + integral from t_0 to T of S(t) dt

by the trapezoid of each bin, with t_0 the first edge, up to which S is 1: a life that goes on
beyond T counts T. The interval is of a life, not of the mean: the ages at which 5% and 95% of such
lives have ended, at most T.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adwright.core.artifacts import Artifact
from adwright.core.errors import ArtifactError, SchemaError
from adwright.creative.judging.ad_vectors import IMAGE
from adwright.creative.judging.judgement import Judgements
from adwright.creative.judging.nearest import PastAd
from adwright.creative.lifetime.hazards.curves import LifeCurves
from adwright.creative.lifetime.hazards.fitted import FittedLifetime
from adwright.creative.lifetime.spell_table import SpellTable
from adwright.creative.records.verbal.record import AdRecord

__all__ = ["PictureLife", "mean_life"]

_LOW, _HIGH = 0.05, 0.95
Floats = NDArray[np.float32]


class PictureLife:
    """See the module. model: trained with vectors of images; raises ArtifactError for another."""

    name = "expected_life"

    def __init__(self, model: FittedLifetime) -> None:
        if IMAGE not in {one.name for one in model.network.spec.vectors}:
            raise ArtifactError(
                "this lifetime model reads no pictures, so it judges no ad that has not run",
                hint=f'train it with vectors={{"{IMAGE}": ...}}',
            )
        self._model = model

    @classmethod
    def load(cls, source: str | Path | Artifact) -> PictureLife:
        """Of an artifact of kind "lifetime", or its folder. Raises as `FittedLifetime.load`."""
        return cls(FittedLifetime.load(source))

    @property
    def unit(self) -> str:
        """Of the values: "week" or "day"."""
        return self._model.unit

    def reads(self, name: str) -> bool:
        """Whether it reads vectors of this name."""
        return name == IMAGE

    def judge(
        self, ads: Sequence[AdRecord], vectors: Mapping[str, Floats] | None = None
    ) -> Judgements:
        """The answers on N ads by their vectors, IMAGE -> float32 [N, D]; records are not read.
        That an ad is unlike all others is never said. Raises SchemaError without vectors, and for
        vectors of another length or width."""
        if vectors is None or IMAGE not in vectors:
            raise SchemaError(
                "an expected life is judged by the picture", column=IMAGE, hint="pass its vectors"
            )
        table = self._unknown(len(ads))
        curves = self._model.predict(table, {IMAGE: vectors[IMAGE]})
        value, last = mean_life(curves), curves.edges[-1]
        low, high = (np.minimum(curves.remaining(share), last) for share in (_LOW, _HIGH))
        return Judgements(
            value,
            np.minimum(low, value),
            np.maximum(high, value),
            np.zeros(len(ads), bool),
            _HIGH - _LOW,
        )

    def nearest(
        self,
        ads: Sequence[AdRecord],
        count: int = 3,
        vectors: Mapping[str, Floats] | None = None,
    ) -> Sequence[tuple[PastAd, ...]]:
        """None of any ad: the model keeps no past ones."""
        return [()] * len(ads)

    def _unknown(self, count: int) -> SpellTable:
        """So many lives at their beginning, of which nothing is known."""
        spec, model = self._model.network.spec, self._model
        names = tuple(one.name for one in spec.categories)
        ids = np.zeros(count, np.int32)
        return SpellTable(
            entry=np.zeros(count, np.float32),
            time=np.ones(count, np.float32),
            cause=np.zeros(count, np.int8),
            causes=model.causes,
            unit="week" if model.unit == "week" else "day",
            numbers=np.full((count, len(spec.numbers)), np.nan, np.float32),
            number_names=tuple(one.name for one in spec.numbers),
            categories=np.full((count, len(names)), -1, np.int32),
            category_names=names,
            category_values=((),) * len(names),
            words=np.zeros(0, np.int32),
            offsets=np.zeros(count + 1, np.int64),
            vocabulary=(),
            clicks=None,
            shown=None,
            owner=ids,
            group=ids,
            start=ids,
            landmark=1,
        )


def mean_life(curves: LifeCurves) -> Floats:
    """float32 [N]: see the module; of units alive at age 0."""
    survival, edges = curves.survival, curves.edges
    middle = (survival[:, :-1] + survival[:, 1:]) / 2
    # Not by @: for so few numbers it may warn of invalid ones where there are none.
    return np.asarray(edges[0] + (middle * np.diff(edges)).sum(1), np.float32)
