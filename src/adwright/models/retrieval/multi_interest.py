"""What models with K interest vectors per user share: item tower, head, scores and loss.

An item's score is the best of its K logits, or their mean weighted by their softmax:

    l_k = v_k . x_i / tau + log p_i,   s(u, i) = max_k l_k   or   sum_k softmax_k(gamma l_k) l_k

with unit vectors v_k and x_i and the item's share p_i of the training events, which is in
the vectors as a coordinate of its own. Trained by the softmax of `retriever.softmax_loss` over the
distinct targets of the batch, corrected by log q_i. A subclass says how a history becomes K
vectors, and nothing else, so that a comparison of two is a comparison of that.

Operators that turn a history into K interest centres: competition, levels, co-interest.

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

Hierarchical Multi-Interest Co-Network (HCN) for coarse ranking.

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

>>> from adwright.models.retrieval.multi_interest import HCNConfig
>>> HCNConfig(interests=8).levels
2
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from adwright.core.config import Count, Gt, settings
from adwright.core.errors import ConfigError, ValueInvalidError
from adwright.data.batches.batch import QueryBatch
from adwright.data.batches.jagged import Jagged, lengths_to_offsets
from adwright.data.features import FeatureSpec, ItemTable
from adwright.models.calibration import EmbeddingConfig
from adwright.models.retrieval.two_tower import (
    RETRIEVAL_EMBEDDING,
    ItemTower,
    Popularity,
    TwoTowerConfig,
    counts_tensor,
    inclusion_log_probability,
    layers,
    log_share,
    softmax_loss,
)

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


Weighting = Literal["max", "softmax"]


@settings
class InterestConfig:
    """Sizes and losses.

    width: D. hidden: of the towers' MLPs. interests: K. events: latest events of a history that
    are read. temperature: tau. weighting, sharpness: how K logits become a score; gamma.
    popularity: as in `TwoTowerConfig`: added to the score, or corrected for, or ignored.
    orthogonality: weight of the mean squared cosine between a person's vectors.
    distillation, teacher_temperature: weight of the teacher's loss, and its temperature.
    """

    width: Count = 64
    hidden: Count = 128
    interests: Count = 4
    events: Count = 500
    temperature: Annotated[float, Gt(0)] = 0.07
    weighting: Weighting = "max"
    sharpness: Annotated[float, Gt(0)] = 1.0
    popularity: Popularity = "prior"
    orthogonality: float = 0.0
    distillation: float = 1.0
    teacher_temperature: Annotated[float, Gt(0)] = 1.0
    embedding: EmbeddingConfig = RETRIEVAL_EMBEDDING

    def __post_init__(self) -> None:
        if min(self.orthogonality, self.distillation) < 0:
            raise ConfigError("weights of losses are not negative")


@dataclass(frozen=True)
class Teacher:
    """A finer model's scores of some candidates of each query.

    candidates: Jagged item codes, one list per query. scores: float [P], the finer model's logits.
    """

    candidates: Jagged
    scores: Tensor

    def __post_init__(self) -> None:
        if self.scores.shape != self.candidates.values.shape:
            raise ValueInvalidError(
                "a teacher gives one score per candidate",
                value=f"{self.scores.numel()} scores, {self.candidates.values.numel()} candidates",
            )


class MultiInterest(nn.Module):
    """Base of the multi-interest retrievers.

    count: int64 [N + 1], training events of each item code, for the logQ correction.
    """

    def __init__(
        self,
        config: InterestConfig,
        spec: FeatureSpec,
        items: ItemTable,
        count: NDArray[np.int64],
    ) -> None:
        super().__init__()
        self.config = config
        towers = TwoTowerConfig(
            width=config.width, hidden=config.hidden, embedding=config.embedding
        )
        self.item = ItemTower(spec, items, towers)
        self.tables = nn.ModuleList(config.embedding.table(f) for f in spec.coded_rows)
        self.person_width = 1 + sum(config.embedding.of(f) for f in spec.coded_rows)
        self.head = layers([config.width + self.person_width, config.hidden, config.width])
        self.register_buffer("count", counts_tensor(count))
        prior = log_share(count) if config.popularity == "prior" else torch.zeros(len(count))
        self.register_buffer("prior", prior)

    def interests(self, behaviours: Behaviours, person: Tensor) -> Tensor:
        """Raw interests [U, K, D]. person: [U, P], see `person`."""
        raise NotImplementedError

    def person(self, batch: QueryBatch) -> Tensor:
        """Profile, context and log length of the history: [U, P]."""
        length = torch.log1p(batch.history.lengths.float())[:, None] / 8
        profile = [table(batch.profile[:, i]) for i, table in enumerate(self.tables)]
        return torch.cat([length, *profile], 1)

    def directions(self, batch: QueryBatch) -> Tensor:
        """Unit vectors [U, K, D] of the users' interests."""
        batch = recent(batch, self.config.events)
        codes, place = torch.unique(batch.history.values, return_inverse=True)
        return self._directions(batch, self.item(codes), place)

    def queries(self, batch: QueryBatch) -> Tensor:
        """The directions over tau, and 1: [U, K, D + 1]."""
        return functional.pad(self.directions(batch) / self.config.temperature, (0, 1), value=1.0)

    def item_vectors(self, codes: Tensor) -> Tensor:
        """Unit vectors, and the log of the item's share: [N, D + 1]."""
        return torch.cat([self.item(codes), self.get_buffer("prior")[codes, None]], 1)

    def loss(self, batch: QueryBatch, teacher: Teacher | None = None) -> Tensor:
        """[] summed over the batch's pairs of query and target.

        teacher: adds `distillation` times its loss, averaged over the queries, per pair.
        """
        config = self.config
        batch = recent(batch, config.events)
        parts = [batch.history.values, batch.targets.values]
        if teacher is not None:
            parts.append(teacher.candidates.values)
        codes, place = torch.unique(torch.cat(parts), return_inverse=True)
        events, pairs = batch.history.values.numel(), batch.targets.values.numel()
        vectors = self.item(codes)
        queries = self._directions(batch, vectors, place[:events])
        candidates, column = torch.unique(place[events : events + pairs], return_inverse=True)
        logits = self._logits(queries, vectors[candidates])
        logits = logits + self.get_buffer("prior")[codes[candidates]]
        if config.popularity != "ignored":
            count = self.get_buffer("count")
            logits = logits - inclusion_log_probability(count, codes[candidates], pairs)
        total = softmax_loss(logits, Jagged(column, batch.targets.offsets))
        if config.orthogonality and config.interests > 1:
            total = total + config.orthogonality * pairs * redundancy(queries, squared=True)
        if teacher is not None:
            owner = teacher.candidates.owner()
            each = queries[owner] @ vectors[place[events + pairs :], :, None] / config.temperature
            student = combine(each[:, :, 0], config.weighting, config.sharpness, dim=1)
            apart = distillation_loss(
                student + self.get_buffer("prior")[teacher.candidates.values],
                teacher.scores / config.teacher_temperature,
                teacher.candidates.offsets,
            )
            total = total + config.distillation * pairs * apart
        return total

    def _logits(self, directions: Tensor, vectors: Tensor) -> Tensor:
        """Scores without the prior, [U, N], of unit vectors [U, K, D] and [N, D]."""
        people, interests, width = directions.shape
        cosines = (directions.reshape(-1, width) @ vectors.T).view(people, interests, -1)
        each = cosines / self.config.temperature
        return combine(each, self.config.weighting, self.config.sharpness, dim=1)

    def _directions(self, batch: QueryBatch, vectors: Tensor, place: Tensor) -> Tensor:
        person = self.person(batch)
        raw = self.interests(Behaviours.of(batch, vectors, place), person)
        near = functional.normalize(raw, dim=2)
        wide = person[:, None].expand(-1, near.shape[1], -1)
        return functional.normalize(near + self.head(torch.cat([near, wide], 2)), dim=2)


def combine(scores: Tensor, weighting: Weighting, sharpness: float, *, dim: int) -> Tensor:
    """K scores along `dim` to one: the best, or the mean weighted by their softmax."""
    if scores.shape[dim] == 1:
        return scores.squeeze(dim)
    if weighting == "max":
        return scores.amax(dim)
    return (torch.softmax(sharpness * scores, dim) * scores).sum(dim)


def distillation_loss(student: Tensor, teacher: Tensor, offsets: Tensor) -> Tensor:
    """Mean over the queries with candidates of KL(softmax teacher || softmax student): [].

    student, teacher: logits [P]. offsets: int64 [U + 1], the candidates of each query.
    """
    taught, mask = Jagged(teacher, offsets).to_padded()
    learned, _ = Jagged(student, offsets).to_padded()
    wanted = torch.log_softmax(taught.masked_fill(~mask, -torch.inf), 1)
    given = torch.log_softmax(learned.masked_fill(~mask, -torch.inf), 1)
    apart = (wanted.exp() * (wanted - given)).masked_fill(~mask, 0.0).sum(1)
    filled = mask.any(1)
    return apart[filled].sum() / filled.sum().clamp(min=1)


def redundancy(queries: Tensor, *, squared: bool = False) -> Tensor:
    """Mean cosine, or squared cosine, of the pairs of a user's unit vectors [U, K, D]: []."""
    cosines = queries @ queries.transpose(1, 2)
    if squared:
        cosines = cosines**2
    count = queries.shape[1]
    off = cosines.sum((1, 2)) - cosines.diagonal(dim1=1, dim2=2).sum(1)
    return (off / max(count * (count - 1), 1)).mean()


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
