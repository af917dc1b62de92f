"""Two earlier ways from a history to K interest vectors: ComiRec-SA and MIND.

Item tower, head and loss are those of `multi_interest`, so that they differ from HCN in the
extraction alone. b_j are the item vectors of the history, in any order.

ComiRec-SA (Cen et al., "Controllable Multi-Interest Framework for Recommendation", KDD 2020,
equations 7 and 8), self-attention with one softmax over the behaviours for each interest:

    a_kj = softmax over j of (w_k . tanh(W b_j) + t_k(age_j)),   v_k = sum_j a_kj b_j

The paper adds a learned position to b_j; here the age of the event takes its place, as the bias
t_k, so that the method knows of time what HCN knows. W is [attention, D], 4 D rows in the paper.

MIND (Li et al., "Multi-Interest Network with Dynamic Routing", CIKM 2019, section 3.3): with
one matrix S for all pairs and routing logits r_kj that start at random, three times:

    w_kj = softmax over k of r_kj,  z_k = sum_j w_kj S b_j,
    u_k = |z|^2 / (1 + |z|^2) z / |z|,  r_kj <- r_kj + u_k . S b_j

Only the last round is differentiated. The random start is drawn once for each place of a
history and kept, so that a person has the same vectors every time. All K vectors are used,
where the paper gives fewer to short histories.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from adwright.core.config import Count, settings
from adwright.core.errors import ConfigError
from adwright.data.features import FeatureSpec, ItemTable
from adwright.models.retrieval.multi_interest import (
    AGE_BUCKETS,
    Behaviours,
    InterestConfig,
    MultiInterest,
    attend,
)


@settings
class ComiRecConfig(InterestConfig):
    """attention: rows of W. ages: whether the attention knows how old an event is."""

    attention: Count = 256
    ages: bool = True


@settings
class MINDConfig(InterestConfig):
    """rounds: of the routing. spread: standard deviation of the logits it starts from."""

    rounds: int = 3
    spread: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rounds < 1 or self.spread <= 0:
            raise ConfigError(
                "rounds is at least 1, spread above 0", where=f"{self.rounds}, {self.spread}"
            )


class ComiRec(MultiInterest):
    """ComiRec-SA; see the module."""

    config: ComiRecConfig

    def __init__(
        self,
        config: ComiRecConfig,
        spec: FeatureSpec,
        items: ItemTable,
        count: NDArray[np.int64],
    ) -> None:
        super().__init__(config, spec, items, count)
        self.hidden = nn.Linear(config.width, config.attention, bias=False)
        self.heads = nn.Linear(config.attention, config.interests, bias=False)
        self.of_age = nn.Parameter(torch.zeros(AGE_BUCKETS, config.interests))

    def interests(self, behaviours: Behaviours, person: Tensor) -> Tensor:
        """[U, K, D]. person is not used."""
        logits = behaviours.spread(self.heads(torch.tanh(self.hidden(behaviours.items))))
        if self.config.ages:
            logits = logits + self.of_age[behaviours.bucket]
        weight = attend(logits.transpose(1, 2), behaviours.mask[:, None])
        return weight @ behaviours.vectors


class MIND(MultiInterest):
    """MIND; see the module."""

    config: MINDConfig

    def __init__(
        self,
        config: MINDConfig,
        spec: FeatureSpec,
        items: ItemTable,
        count: NDArray[np.int64],
    ) -> None:
        super().__init__(config, spec, items, count)
        self.shared = nn.Linear(config.width, config.width, bias=False)
        nn.init.eye_(self.shared.weight)
        start = torch.randn(config.events, config.interests) * config.spread
        self.register_buffer("start", start)

    def interests(self, behaviours: Behaviours, person: Tensor) -> Tensor:
        """[U, K, D]. person is not used."""
        mapped = behaviours.spread(self.shared(behaviours.items))
        constant = mapped.detach()
        logits = self.get_buffer("start")[behaviours.back].transpose(1, 2)
        for _ in range(self.config.rounds - 1):
            capsules = _squash(self._share(logits, behaviours.mask) @ constant)
            logits = logits + capsules @ constant.transpose(1, 2)
        return _squash(self._share(logits, behaviours.mask) @ mapped)

    def _share(self, logits: Tensor, mask: Tensor) -> Tensor:
        return torch.softmax(logits, 1) * mask[:, None]


def _squash(vectors: Tensor) -> Tensor:
    """|z|^2 / (1 + |z|^2) z / |z| along the last axis; 0 stays 0."""
    squared = (vectors**2).sum(-1, keepdim=True)
    return vectors * torch.sqrt(squared + 1e-12) / (1 + squared)
