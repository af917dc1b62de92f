"""Hierarchical Multi-Interest Co-Network (HCN) for coarse ranking.

Reconstructed from the abstract of "Hierarchical Multi-Interest Co-Network For Coarse-Grained
Ranking" (arXiv 2210.10547); its body and its code were not available. The abstract states:
interest vectors of earlier models are too much alike, and long and short histories are mixed;
a hierarchical layer updates the centres of a person's diverse interests step by step; a
Co-Interest Network joins long- and short-term interests. What follows is our choice.

- K centres start from K learned queries, shared by the long and the short history so that
  centre k of both means the same, and moved by the profile.
- A level lets the centres compete for each behaviour, takes weighted means and moves the
  centres by a gate; the next level sees what is left of the behaviours (`interest`). Because of
  the competition and of the residual, two centres cannot settle on the same behaviours.
- The short history is what is both at most `short_days` old and among the last `short_events`;
  the long history is the rest, or all with `overlap`.
- A behaviour is its item's vector; there is no Transformer block before the levels. Its age
  acts on its weight in each centre, not on the vector.
- The centres of both attend to each other, and a gate for each number joins them. The head of
  `multi_interest` adds what the profile says.

An item's vector does not depend on the person, so scoring N candidates is one product of
[K, D + 1] and [D + 1, N]. Cost of a training step, 128 visits of 200 events: 80 CPU-ms, of which
the item tower over the 9,000 distinct items is the largest part.

>>> from adwright.models.retrieval.hcn import HCNConfig
>>> HCNConfig(interests=8).levels
2
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from adwright.core.config import settings
from adwright.core.errors import ConfigError
from adwright.data.features import FeatureSpec, ItemTable
from adwright.models.retrieval.interest import Behaviours, CoInterest, HierarchicalExtraction
from adwright.models.retrieval.multi_interest import InterestConfig, MultiInterest

__all__ = ["HCN", "HCNConfig"]


@settings
class HCNConfig(InterestConfig):
    """What HCN adds to the sizes and losses of `InterestConfig`.

    levels: of competition. residual: rho, the share of the explained part of a behaviour that
    the next level does not see. competition: beta at the start; higher, a behaviour goes more to
    one centre alone. split: long and short history apart; without, one list and no Co-Interest
    Network. short_days, short_events: what is short. overlap: the long history has the short
    one's events too.
    """

    levels: int = 2
    residual: float = 1.0
    competition: float = 20.0
    split: bool = True
    short_days: float = 14.0
    short_events: int = 50
    overlap: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.levels < 1 or self.short_events < 1 or self.competition <= 0:
            raise ConfigError("levels and short_events are at least 1, competition is above 0")
        if not 0 <= self.residual <= 1 or self.short_days < 0:
            raise ConfigError("residual lies in [0, 1], short_days is not negative")


class HCN(MultiInterest):
    """A retriever with K vectors per user; see the module.

    >>> model = HCN(HCNConfig(), task.spec, task.items, task.count)  # doctest: +SKIP
    >>> model.queries(task.batch(visits)).shape  # doctest: +SKIP
    torch.Size([128, 4, 65])
    """

    config: HCNConfig

    def __init__(
        self,
        config: HCNConfig,
        spec: FeatureSpec,
        items: ItemTable,
        count: NDArray[np.int64],
    ) -> None:
        super().__init__(config, spec, items, count)
        k, d = config.interests, config.width
        self.start = nn.Parameter(functional.normalize(torch.randn(k, d), dim=1))
        self.personal = nn.Linear(self.person_width, k * d, bias=False)
        nn.init.normal_(self.personal.weight, std=0.01)
        self.extraction = HierarchicalExtraction(
            d,
            lists=2 if config.split else 1,
            interests=k,
            levels=config.levels,
            residual=config.residual,
            sharpness=config.competition,
        )
        self.co_interest = CoInterest(d) if config.split else None

    def interests(self, behaviours: Behaviours, person: Tensor) -> Tensor:
        """[U, K, D] of the histories and person [U, P]."""
        moved = self.start + self.personal(person).view(len(person), *self.start.shape)
        start = functional.normalize(moved, dim=2)
        masks = self.lists(behaviours)
        centres: Tensor = self.extraction(behaviours, masks, start)
        if self.co_interest is None:
            return centres[:, 0]
        vectors: Tensor = self.co_interest(centres[:, 0], centres[:, 1], masks.any(2))
        return vectors

    def lists(self, behaviours: Behaviours) -> Tensor:
        """Which events belong to the long and to the short history: bool [U, G, L]."""
        if not self.config.split:
            return behaviours.mask[:, None]
        short = (
            behaviours.mask
            & (behaviours.age <= self.config.short_days)
            & (behaviours.back < self.config.short_events)
        )
        long = behaviours.mask if self.config.overlap else behaviours.mask & ~short
        return torch.stack([long, short], 1)
