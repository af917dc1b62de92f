"""Operators that turn a history into K interest centres: competition, levels, co-interest.

Histories are padded to the longest of the batch; lists are padded nowhere else. Letters: U users, L
events, D width, G lists of one history (long and short), K centres.

A level, for one list of behaviours r_j and centres c_k:

    a_kj = softmax over k of (beta c_k . r_j)             competition: one centre explains r_j
    w_kj = a_kj e^s_kj / sum_j a_kj e^s_kj                normalised over the behaviours
    m_k  = sum_j w_kj r_j
    z_k  = sigmoid(W [c_k, m_k] + b)
    c_k <- unit((1 - z_k) c_k + z_k lambda m_k)           gated update
    r_j <- r_j - rho sum_k a_kj (c_k . r_j) c_k           what is left for the next level

s_kj is how much a behaviour counts by its age and by its item. The residuals are never formed:
they are b_j minus a combination of earlier centres, so every product with them is a product
with b_j less a product of small matrices.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from adwright.data.batches.jagged import Jagged, lengths_to_offsets
from adwright.data.batches.queries import QueryBatch

__all__ = [
    "AGE_BUCKETS",
    "Behaviours",
    "CoInterest",
    "HierarchicalExtraction",
    "Level",
    "Salience",
    "age_bucket",
    "attend",
    "recent",
]

#: Half-octaves of 1 + days; the last holds all that is older than two years.
AGE_BUCKETS = 20
_NEVER = -1e9


@dataclass(frozen=True)
class Behaviours:
    """Padded histories over the N distinct items of a batch.

    items: float [N, D]. place: int64 [U, L], rows of `items`, N where padded.
    vectors: float [U, L, D], zero where padded. bucket: int64 [U, L], see `age_bucket`.
    age: float [U, L] days. back: int64 [U, L], 0 is the latest event. mask: bool [U, L].
    """

    items: Tensor
    place: Tensor
    vectors: Tensor
    bucket: Tensor
    age: Tensor
    back: Tensor
    mask: Tensor

    @classmethod
    def of(cls, batch: QueryBatch, items: Tensor, place: Tensor) -> Behaviours:
        """The batch's histories. items [N, D]; place int64 [E], the row of each event."""
        padded, mask = Jagged(place, batch.history.offsets).to_padded(fill=len(items))
        age, _ = Jagged(batch.age, batch.history.offsets).to_padded()
        back = (batch.history.lengths[:, None] - 1 - torch.arange(padded.shape[1])).clamp(min=0)
        vectors = _spread(items, padded)
        return cls(items, padded, vectors, age_bucket(age), age, back, mask)

    def spread(self, values: Tensor) -> Tensor:
        """Values [N, H] of the items to [U, L, H] of the events, zero where padded."""
        return _spread(values, self.place)


def recent(batch: QueryBatch, events: int) -> QueryBatch:
    """The batch with only the latest `events` events of each history."""
    lengths = batch.history.lengths
    if not lengths.numel() or int(lengths.max()) <= events:
        return batch
    kept = lengths.clamp(max=events)
    offsets = lengths_to_offsets(kept)
    start = batch.history.offsets[1:] - kept
    at = torch.arange(int(offsets[-1])) + torch.repeat_interleave(start - offsets[:-1], kept)
    history = Jagged(batch.history.values[at], offsets)
    return QueryBatch(history, batch.age[at], batch.profile, batch.targets)


def age_bucket(age: Tensor) -> Tensor:
    """int64 bucket of an age in days: floor(2 log2(1 + age)), at most AGE_BUCKETS - 1."""
    return (2 * torch.log2(1 + age)).to(torch.int64).clamp(max=AGE_BUCKETS - 1)


def attend(logits: Tensor, mask: Tensor) -> Tensor:
    """Softmax over the last axis of what `mask` admits; all zero where it admits nothing."""
    return torch.softmax(logits.masked_fill(~mask, _NEVER), -1) * mask


class Salience(nn.Module):
    """s: how much a behaviour counts for each of `heads` centres, from its age and its item."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.of_age = nn.Parameter(torch.zeros(AGE_BUCKETS, heads))
        self.of_item = nn.Parameter(torch.zeros(heads, width))

    def forward(self, behaviours: Behaviours) -> Tensor:
        """[U, heads, L]."""
        by_item = behaviours.spread(behaviours.items @ self.of_item.T)
        return (by_item + self.of_age[behaviours.bucket]).transpose(1, 2)


class Level(nn.Module):
    """The parameters of one level: beta, lambda and the gate."""

    def __init__(self, width: int, *, sharpness: float, openness: float) -> None:
        super().__init__()
        self.log_sharpness = nn.Parameter(torch.tensor(math.log(sharpness)))
        self.log_scale = nn.Parameter(torch.tensor(0.0))
        self.gate = nn.Linear(2 * width, width)
        nn.init.zeros_(self.gate.weight)
        nn.init.constant_(self.gate.bias, openness)

    def update(self, centres: Tensor, means: Tensor, filled: Tensor) -> Tensor:
        """New centres [..., D]; where a list is empty (filled [..., 1] is 0) they stay."""
        gate = torch.sigmoid(self.gate(torch.cat([centres, means], -1))) * filled
        moved = (1 - gate) * centres + gate * self.log_scale.exp() * means
        return functional.normalize(moved, dim=-1)


class HierarchicalExtraction(nn.Module):
    """G lists of behaviours to K centres each, in levels of competition (see the module).

    Lists are masks over one padded history, so all of them share two products per level.
    residual: rho, 0 passes every behaviour on whole, 1 takes off all that was explained.
    sharpness: beta at the start.
    """

    def __init__(
        self,
        width: int,
        *,
        lists: int,
        interests: int,
        levels: int,
        residual: float,
        sharpness: float,
    ) -> None:
        super().__init__()
        self.lists, self.interests, self.residual = lists, interests, residual
        self.salience = Salience(width, lists * interests)
        self.levels = nn.ModuleList(
            Level(width, sharpness=sharpness, openness=2.0 if level == 0 else -1.0)
            for level in range(levels)
        )

    def forward(self, behaviours: Behaviours, masks: Tensor, start: Tensor) -> Tensor:
        """masks: bool [U, G, L]. start: level-0 centres [U, K, D]. Returns [U, G, K, D]."""
        b = behaviours.vectors
        shape = len(b), self.lists, self.interests
        centres = start[:, None].expand(-1, self.lists, -1, -1)
        salience = self.salience(behaviours).view(*shape, -1)
        each = masks[:, :, None]
        filled = masks.any(2)[:, :, None, None].to(b.dtype)
        dots = self._products(centres, b)
        explained: list[tuple[Tensor, Tensor]] = []
        for number, level in enumerate(self._levels()):
            share = torch.log_softmax(level.log_sharpness.exp() * dots, 2)
            weight = attend(share + salience, each)
            means = (weight.flatten(1, 2) @ b).view(*shape, -1)
            for amount, at in explained:
                means = means - (weight @ amount.transpose(2, 3)) @ at
            centres = level.update(centres, means, filled)
            if number + 1 == len(self.levels):
                break
            dots = self._products(centres, b)
            for amount, at in explained:
                dots = dots - (centres @ at.transpose(2, 3)) @ amount
            amount = self.residual * share.exp() * dots
            explained.append((amount, centres))
            dots = dots - (centres @ centres.transpose(2, 3)) @ amount
        return centres

    def _levels(self) -> list[Level]:
        return [level for level in self.levels if isinstance(level, Level)]

    def _products(self, centres: Tensor, b: Tensor) -> Tensor:
        """Inner products [U, G, K, L] of centres and behaviours."""
        flat = centres.flatten(1, 2) @ b.transpose(1, 2)
        return flat.view(*centres.shape[:3], -1)


class CoInterest(nn.Module):
    """Co-Interest Network: centres of the long and of the short history, K vectors of both.

        S = beta long A short^T;  l_k = long_k + mu softmax(S)_k short;
        s_k = short_k + mu softmax(S^T)_k long;  v_k = g_k l_k + (1 - g_k) s_k

    with g_k a sigmoid of both centres and of what each drew from the other. Where one history
    is empty the other stands alone.
    """

    def __init__(self, width: int, *, openness: float = 1.0) -> None:
        super().__init__()
        self.log_sharpness = nn.Parameter(torch.tensor(math.log(8.0)))
        self.affinity = nn.Parameter(torch.eye(width))
        self.mix = nn.Parameter(torch.tensor(0.3))
        self.gate = nn.Linear(4 * width, width)
        nn.init.zeros_(self.gate.weight)
        nn.init.constant_(self.gate.bias, openness)

    def forward(self, long: Tensor, short: Tensor, filled: Tensor) -> Tensor:
        """long, short: [U, K, D]. filled: bool [U, 2], which of them has events. [U, K, D]."""
        affinity = self.log_sharpness.exp() * (long @ self.affinity) @ short.transpose(1, 2)
        of_short = torch.softmax(affinity, 2) @ short
        of_long = torch.softmax(affinity.transpose(1, 2), 2) @ long
        gate = torch.sigmoid(self.gate(torch.cat([long, of_short, short, of_long], 2)))
        both = gate * (long + self.mix * of_short) + (1 - gate) * (short + self.mix * of_long)
        alone = torch.where(filled[:, :1, None], long, short)
        return torch.where(filled.all(1)[:, None, None], both, alone)


def _spread(values: Tensor, place: Tensor) -> Tensor:
    padded = torch.cat([values, values.new_zeros(1, values.shape[1])])
    return padded.index_select(0, place.flatten()).view(*place.shape, -1)
