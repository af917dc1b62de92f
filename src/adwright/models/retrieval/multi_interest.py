"""What models with K interest vectors per user share: item tower, head, scores and loss.

An item's score is the best of its K logits, or their mean weighted by their softmax:

    l_k = v_k . x_i / tau + log p_i,   s(u, i) = max_k l_k   or   sum_k softmax_k(gamma l_k) l_k

with unit vectors v_k and x_i and the item's share p_i of the training events, which is in
the vectors as a coordinate of its own. Trained by the softmax of `retriever.softmax_loss` over the
distinct targets of the batch, corrected by log q_i. A subclass says how a history becomes K
vectors, and nothing else, so that a comparison of two is a comparison of that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from adwright.core.config import Count, Gt, settings
from adwright.core.errors import ConfigError, ValueInvalidError
from adwright.data.batches.jagged import Jagged
from adwright.data.batches.queries import QueryBatch
from adwright.data.features import FeatureSpec, ItemTable
from adwright.models.embeddings import EmbeddingConfig
from adwright.models.retrieval.interest import Behaviours, recent
from adwright.models.retrieval.retriever import (
    counts_tensor,
    inclusion_log_probability,
    layers,
    log_share,
    softmax_loss,
)
from adwright.models.retrieval.two_tower import (
    RETRIEVAL_EMBEDDING,
    ItemTower,
    Popularity,
    TwoTowerConfig,
)

__all__ = [
    "InterestConfig",
    "MultiInterest",
    "Teacher",
    "Weighting",
    "combine",
    "distillation_loss",
    "redundancy",
    "score_candidates",
]

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


def score_candidates(
    queries: Tensor, vectors: Tensor, weighting: Weighting = "max", sharpness: float = 1.0
) -> Tensor:
    """Scores [N] of candidate vectors [N, D] for one user's [K, D], as one product."""
    return combine(queries @ vectors.T, weighting, sharpness, dim=0)


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
