"""MAM, mix and match: a prefix in the attention and a parallel adapter beside the MLP.

He et al., ICLR 2022, arXiv 2110.04366: of all mixtures that the paper tries the best is a short
prefix (L = 30) and a large adapter (m = 512, s = 4).

    count = 2 N L K + N (2 m D + m + D)

Ours: keys and values of the prefix are learned directly; the paper's prefix is made by an MLP
while it trains (`PrefixTuning` with made_by="mlp").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from adwright.tuning.additive.parallel import ParallelAdapter
from adwright.tuning.additive.prefix import PrefixTuning
from adwright.tuning.sizes import Sizes
from adwright.tuning.tuned import Family, Tuned, TuningMethod, at_least

__all__ = ["MAM"]


@dataclass(frozen=True)
class MAM(TuningMethod):
    """length: L. size: m. scale: s. Defaults are the paper's, but for m: a small model has no
    512. Memory and place: those of `PrefixTuning` and `ParallelAdapter` together.
    """

    family: ClassVar[Family] = "hybrid"
    exact_start: ClassVar[bool] = False
    length: int = 30
    size: int = 64
    scale: float = 4.0

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 1, "length", "size")

    @property
    def parts(self) -> tuple[PrefixTuning, ParallelAdapter]:
        """The two methods that it is made of."""
        return (
            PrefixTuning(length=self.length),
            ParallelAdapter(size=self.size, scale=self.scale),
        )

    def count(self, sizes: Sizes) -> int:
        """The sum of both."""
        return sum(part.count(sizes) for part in self.parts)

    def attach(self, tuned: Tuned) -> None:
        """Both, one after the other."""
        for part in self.parts:
            part.attach(tuned)
