"""Two towers with a self-supervised task on the items, to retrieve from a whole catalogue.

Yao et al., "Self-supervised Learning for Large-scale Item Recommendations", CIKM 2021. A query
tower and an item tower give unit vectors; an item's score is their cosine. The main loss is the
softmax of `retriever.softmax_loss` over the items of the batch. The self-supervised loss makes
two views of an item, each with some features hidden, find each other among the views of others:

    L_self = -1/N sum_i log [ exp(s(z_i, z'_i) / tau) / sum_j exp(s(z_i, z'_j) / tau) ]
    L = L_main + alpha L_self

A hidden feature is replaced by a learned default embedding; beside that, values of multi-valued
features are dropped. The views share tables and layers with the item tower (the paper's fully
shared variant). Their items are drawn uniformly from the catalogue, while the main loss sees
the log's power law: rare items get as much of the second task as frequent ones.

What the paper leaves open is our choice: the query tower adds decayed sums of the history's own
item vectors to an MLP of these, profile and context, so that what a person bought before is near
at once; `views` "spread_out" is the identity augmentation, the softmax form of the spread-out
regulariser; "feature_dropout" hides features from the item tower of the main loss and has no
second task.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from adwright.core.config import settings
from adwright.core.errors import ConfigError
from adwright.data.batches.batch import QueryBatch
from adwright.data.batches.jagged import Jagged
from adwright.data.features import FeatureSpec, ItemTable
from adwright.models.calibration import EmbeddingConfig, ItemEmbedding

# --------------------------------------------------------------------------------------------------
# What all retrieval models share: user vectors, item vectors and a loss.
#
# A retriever gives a user K vectors and an item one, so that the score of an item is the best of K
# inner products and item vectors can be computed once for all users. Trained by softmax
# over the distinct items of the batch, corrected for how often an item is such a candidate:
#
#     s'(u, i) = s(u, i) / tau - log q_i
#     L = - sum over (u, i) of log [ e^s'(u,i) / (e^s'(u,i) + sum over j of e^s'(u,j)) ]
#
# q_i is the probability that item i is among the candidates (Yi et al., RecSys 2019, equation 3).
# j runs over the candidates that u did not take: other items that u took are no negatives.
#
# Which features to hide from which view of an item, for contrastive learning.
#
# Two views of an item hide complementary sets of its features. Hidden at random (RFM), a view may
# be recognised by a feature that is nearly the same as a hidden one. Correlated feature masking
# (CFM)
# hides a feature together with those that it shares most information with:
#
#     MI(V_i, V_j) = sum over (v_i, v_j) of P(v_i, v_j) log [ P(v_i, v_j) / (P(v_i) P(v_j)) ]
#
# estimated over the catalogue, each item once (Yao et al., CIKM 2021, section 3.3).
#
# What the paper leaves open is our choice:
#
# - A feature that names single items shares all there is to know with every other feature, so it
#   would be hidden with each of them. The item id, and a feature of at least nine tenths of the
#   entropy that an id of the catalogue has, take no part in the correlation: each is hidden from a
#   side drawn at random.
# - Features that are copies of each other (one is a function of the other, and tells at least 19/20
#   of it: the words of a type beside the type) are hidden together and count as one.
# - Which of the two sets is the first view's is drawn at random: one set is often the poorer.
# - Raw information, as the paper has it, prefers features of many values. "normalised" divides it
# by
#   the mean of both entropies (symmetric uncertainty; Witten and Frank, "Data Mining", 2005).


class Retriever(Protocol):
    """Protocol of a retrieval model (also an nn.Module)."""

    def queries(self, batch: QueryBatch) -> Tensor:
        """Vectors [U, K, D] of the users of a batch."""

    def item_vectors(self, codes: Tensor) -> Tensor:
        """Vectors [N, D] of item codes int64 [N]."""

    def loss(self, batch: QueryBatch) -> Tensor:
        """Loss [] summed over the batch's pairs of query and target."""


def softmax_loss(logits: Tensor, positive: Jagged) -> Tensor:
    """The loss above, summed over the pairs.

    logits: [U, C] scores s' of the C candidates. positive: for each query its own candidates,
    as columns of `logits`.
    """
    rows, columns = positive.owner(), positive.values
    taken = torch.zeros(logits.shape, dtype=torch.bool)
    taken[rows, columns] = True
    others = torch.logsumexp(logits.masked_fill(taken, -torch.inf), 1)
    # log(e^s + e^o) - s, without overflow; a query that took every candidate has no negative.
    return functional.softplus(others[rows] - logits[rows, columns]).sum()


def inclusion_log_probability(count: Tensor, codes: Tensor, draws: int) -> Tensor:
    """log q [C] of items `codes` int64 [C]: of being among the distinct items of `draws`
    training events.

    count: training events of every item code, float [N + 1]. q = 1 - exp(-draws count / total).
    """
    share = count[codes] / count.sum()
    return torch.log(-torch.expm1(-draws * share.clamp(min=1e-12)))


def pool(vectors: Tensor, weight: Tensor, lists: Jagged) -> Tensor:
    """Weighted sums [U, D] of each list's vectors [E, D] with weights [E]."""
    sums = vectors.new_zeros(len(lists), vectors.shape[1])
    return sums.index_add(0, lists.owner(), vectors * weight[:, None])


def layers(widths: Sequence[int]) -> torch.nn.Sequential:
    """An MLP of these widths, the input first: ReLU between the layers, none at the end."""
    parts: list[torch.nn.Module] = []
    for before, after in pairwise(widths):
        parts += [torch.nn.Linear(before, after), torch.nn.ReLU()]
    return torch.nn.Sequential(*parts[:-1])


def log_share(count: NDArray[np.int64]) -> Tensor:
    """Log of each item's share of the training events, one added to each: float [N + 1]."""
    return torch.log((counts_tensor(count) + 1) / (int(count.sum()) + len(count)))


def counts_tensor(count: NDArray[np.int64]) -> Tensor:
    """Training events of each item code as float [N + 1]."""
    return torch.from_numpy(count.astype(np.float32))


Masking = Literal["random", "correlated"]
Information = Literal["raw", "normalised"]

#: Share of the entropy of an id, from which on a feature names single items.
NAMES_ITEMS = 0.9
#: Share of a feature that its function has to tell, to count as a copy.
COPY = 0.95
_ROUNDING = 1e-9


@settings(eq=False)
class FeatureMasks:
    """Draws which features the first view hides; the second one hides the others.

    names: of the F features, in the order of `single_codes`. groups: indices of features that are
    hidden together, copies of each other; most groups hold one. free: indices of features that
    name single items. information: [G, G] of the groups, each by its first feature.
    """

    kind: Masking
    names: tuple[str, ...]
    groups: tuple[tuple[int, ...], ...]
    free: tuple[int, ...]
    information: NDArray[np.float64]

    @classmethod
    def of(cls, kind: Masking, items: ItemTable, information: Information = "raw") -> FeatureMasks:
        """Count the masks' features over a catalogue. Raises ConfigError for fewer than two that
        are no copies of each other."""
        names = (*items.categorical, *items.multi)
        raw = mutual_information(single_codes(items))
        most = NAMES_ITEMS * math.log(max(len(items) - 1, 2))
        free = tuple(f for f, name in enumerate(names) if name == "item_id" or raw[f, f] >= most)
        groups = _copies(raw, [f for f in range(len(names)) if f not in free])
        if len(groups) + len(free) < 2:
            raise ConfigError(
                "complementary views need at least two item features",
                where=f"{len(names)} features: {', '.join(names)}",
                hint="declare more item features, or train without views",
            )
        first = [group[0] for group in groups]
        shared = raw if information == "raw" else normalised_information(raw)
        return cls(kind, names, groups, free, shared[np.ix_(first, first)])

    def draw(self, rng: np.random.Generator) -> NDArray[np.bool_]:
        """Features [F] that the first view hides.

        random: a half of the groups and free features, rounded down, drawn uniformly. correlated: a
        group drawn uniformly and the n = floor(G / 2) groups of largest information with it, at
        most G - 2 of them, so that a group is left; each free feature with probability 1/2; where
        there are fewer than two groups to be correlated, as random. Then, with probability 1/2,
        the sides change places.
        """
        hidden = np.zeros(len(self.names), dtype=bool)
        count = len(self.groups)
        if self.kind == "random" or count < 2:
            units = (*self.groups, *((f,) for f in self.free))
            for unit in rng.permutation(len(units))[: len(units) // 2]:
                hidden[list(units[unit])] = True
        else:
            seed = int(rng.integers(count))
            others = np.delete(np.arange(count), seed)
            nearest = others[np.argsort(-self.information[seed, others], kind="stable")]
            for group in (seed, *nearest[: min(count // 2, count - 2)]):
                hidden[list(self.groups[group])] = True
            hidden[list(self.free)] = rng.random(len(self.free)) < 0.5
        return hidden if rng.random() < 0.5 else ~hidden

    def notes(self) -> tuple[str, ...]:
        """What was found, a sentence each: copies, and features that name single items."""
        found = []
        for group in self.groups:
            if len(group) > 1:
                told = " and ".join(self.names[f] for f in group)
                found.append(f"{told} say the same: views hide them together")
        named = [self.names[f] for f in self.free if self.names[f] != "item_id"]
        if named:
            found.append(f"{' and '.join(named)} names single items: views hide it as they do ids")
        return tuple(found)


def mutual_information(codes: NDArray[np.int64]) -> NDArray[np.float64]:
    """MI in nats of each pair of features: [F, F], symmetric; the diagonal holds entropies.

    codes: [N, F], the value of each feature for each of N items.
    Raises ConfigError for an empty catalogue.
    """
    items, features = codes.shape
    if not items:
        raise ConfigError("mutual information needs at least one item", where=f"{codes.shape}")
    dense = [np.unique(codes[:, f], return_inverse=True)[1] for f in range(features)]
    entropy = [_entropy(column) for column in dense]
    found = np.diag(entropy)
    for i in range(features):
        for j in range(i):
            joint = _entropy(dense[i] * (dense[j].max() + 1) + dense[j])
            found[i, j] = found[j, i] = max(entropy[i] + entropy[j] - joint, 0.0)
    return found


def normalised_information(information: NDArray[np.float64]) -> NDArray[np.float64]:
    """2 MI / (H_i + H_j) of `mutual_information` [F, F], from 0 to 1; 0 between constants."""
    entropy = np.diag(information)
    both = entropy[:, None] + entropy[None]
    return 2 * information / np.where(both > 0, both, 1.0)


def single_codes(items: ItemTable) -> NDArray[np.int64]:
    """One code per feature for each item of the catalogue: [N, F], coded features first.

    A multi-valued feature counts as the set of its values (our choice; the paper leaves open
    how such a feature enters the mutual information).
    """
    columns = [codes[1:] for codes in items.categorical.values()]
    for values, offsets in items.multi.values():
        lists = [np.unique(values[a:b]).tobytes() for a, b in pairwise(offsets[1:])]
        number = {value: at for at, value in enumerate(dict.fromkeys(lists))}
        columns.append(np.array([number[value] for value in lists], dtype=np.int64))
    return np.stack(columns, 1)


def _copies(
    information: NDArray[np.float64], features: Sequence[int]
) -> tuple[tuple[int, ...], ...]:
    """The features in groups of copies, in order."""
    groups: list[list[int]] = []
    for feature in features:
        home = next((g for g in groups if any(_says(information, f, feature) for f in g)), None)
        if home is None:
            groups.append([feature])
        else:
            home.append(feature)
    return tuple(tuple(group) for group in groups)


def _says(information: NDArray[np.float64], a: int, b: int) -> bool:
    """Whether one of two features is a function of the other and tells nearly all of it."""
    shared, entropies = information[a, b], sorted((information[a, a], information[b, b]))
    return bool(
        entropies[0] > 0 and shared >= entropies[0] - _ROUNDING and shared >= COPY * entropies[1]
    )


def _entropy(values: NDArray[np.int64]) -> float:
    share = np.unique(values, return_counts=True)[1] / len(values)
    return float(-(share * np.log(share)).sum())


Popularity = Literal["prior", "corrected", "ignored"]
Sharing = Literal["full", "partial"]
UnseenItems = Literal["own", "default"]
Views = Literal["none", "feature_dropout", "spread_out", "random", "correlated"]


#: Widths and scale that suit both retrievers.
RETRIEVAL_EMBEDDING = EmbeddingConfig(
    width=8, widths=(("item_id", 32), ("type", 16), ("words", 16)), scale=0.1
)


@settings
class TwoTowerConfig:
    """Sizes and losses.

    width: D of the vectors. hidden: of each tower's MLP. days: half-lives of the decayed sums
    of the history; 0 stands for no decay. temperature: tau of the main loss.
    views: what the item tower learns beside the main loss (see the module); by default nothing,
    as it helped in few of the cases that were measured (`training.retrieval.run`).
    alpha, view_temperature, view_items: weight, tau and batch of the second task.
    information: how `views` "correlated" counts what features share, "raw" or "normalised"; see
    `masking`. sharing: "full", views and item tower share all layers; "partial", all but the last.
    value_dropout: share of the values of a multi-valued feature that a view lacks.
    feature_dropout: probability that a feature is hidden, for `views` "feature_dropout".
    popularity: "corrected", the main loss is corrected for the sampling of its candidates and
    the cosine has to carry how frequent an item is; "prior", beside that the log of the item's
    share of the events is added to the score, and the cosine is left to affinity; "ignored",
    neither. prior_weight: of that log where items are ranked (training has all of it); 1 ranks by
    probability, less lifts rare items (our choice: .7 keeps recall at 50 and finds more of the
    tail).
    unseen_items: the id of an item without a training event, where items are ranked: "own", what
    the table has for unknown ids; "default", hidden, the default embedding that views teach.
    """

    width: int = 64
    hidden: int = 128
    days: tuple[float, ...] = (0.0, 30.0, 5.0)
    temperature: float = 0.07
    views: Views = "none"
    alpha: float = 0.3
    view_temperature: float = 0.1
    view_items: int = 512
    information: Information = "raw"
    sharing: Sharing = "full"
    value_dropout: float = 0.2
    feature_dropout: float = 0.2
    popularity: Popularity = "prior"
    prior_weight: float = 0.7
    unseen_items: UnseenItems = "own"
    embedding: EmbeddingConfig = RETRIEVAL_EMBEDDING

    def __post_init__(self) -> None:
        if min(self.width, self.hidden, self.view_items) < 1 or not self.days:
            raise ConfigError("width, hidden and view_items are at least 1, days not empty")
        if min(self.temperature, self.view_temperature) <= 0 or self.alpha < 0:
            raise ConfigError(
                "temperatures are above 0, alpha is not negative",
                where=f"{self.temperature}, {self.view_temperature}, {self.alpha}",
            )
        if not (0 <= self.value_dropout < 1 and 0 <= self.feature_dropout < 1):
            raise ConfigError("dropouts lie in [0, 1)")


class ItemTower(nn.Module):
    """Item codes to unit vectors [N, D], with some features hidden where asked.

    count: int64 [V], training events of each item code, where ids of items without any may be
    hidden (`unseen_items`).
    """

    def __init__(
        self,
        spec: FeatureSpec,
        items: ItemTable,
        config: TwoTowerConfig,
        count: NDArray[np.int64] | None = None,
    ) -> None:
        super().__init__()
        self.embedding = ItemEmbedding(spec, items, config.embedding)
        self.default = nn.ParameterList(
            nn.Parameter(torch.randn(width) * config.embedding.scale)
            for width in self.embedding.widths
        )
        self.mlp = layers([sum(self.embedding.widths), config.hidden, config.width])
        self.unseen_items = config.unseen_items
        unseen = np.zeros(len(items), bool) if count is None else count == 0
        self.register_buffer("unseen", torch.from_numpy(unseen), persistent=False)
        own = config.sharing == "partial"
        self.view_head = nn.Linear(config.hidden, config.width) if own else None

    def forward(
        self,
        codes: Tensor,
        *,
        hidden: Tensor | None = None,
        keep: float = 1.0,
        view: bool = False,
    ) -> Tensor:
        """codes int64 [N] to [N, D].

        hidden: bool [F] or [N, F], features replaced by their default embedding.
        keep: probability of keeping a value of a multi-valued feature.
        view: through the last layer of the views, which may be a layer of their own.
        """
        parts = self.embedding.parts(codes, keep=keep)
        if self.unseen_items == "default" and not self.training:
            hidden = self._without_ids(codes, hidden)
        if hidden is not None:
            hidden = hidden.expand(len(codes), len(parts))
            parts = [
                torch.where(hidden[:, f, None], self.default[f], part)
                for f, part in enumerate(parts)
            ]
        head = self.mlp[-1] if self.view_head is None or not view else self.view_head
        return functional.normalize(head(self.mlp[:-1](torch.cat(parts, 1))), dim=1)

    def _without_ids(self, codes: Tensor, hidden: Tensor | None) -> Tensor | None:
        """`hidden`, and the ids of the items `unseen`: bool [N, F]."""
        if "item_id" not in self.embedding.names:
            return hidden
        alone = torch.zeros((len(codes), len(self.default)), dtype=torch.bool)
        alone[:, self.embedding.names.index("item_id")] = self.get_buffer("unseen")[codes]
        return alone if hidden is None else alone | hidden


class QueryTower(nn.Module):
    """History, profile and context to unit vectors [U, D]."""

    def __init__(self, spec: FeatureSpec, config: TwoTowerConfig) -> None:
        super().__init__()
        self.days = config.days
        features = spec.coded_rows
        self.tables = nn.ModuleList(config.embedding.table(f) for f in features)
        profile = sum(config.embedding.of(f) for f in features)
        pooled = len(config.days) * config.width
        self.gate = nn.Parameter(torch.full((len(config.days),), 1 / len(config.days)))
        self.mlp = layers([pooled + 1 + profile, config.hidden, config.width])

    def forward(self, batch: QueryBatch, vectors: Tensor, place: Tensor) -> Tensor:
        """vectors [N, D] of the batch's distinct items; place int64 [E]: the event's row."""
        events = vectors[place]
        sums = [pool(events, _decay(batch.age, days), batch.history) for days in self.days]
        units = [functional.normalize(one, dim=1) for one in sums]
        length = torch.log1p(batch.history.lengths.float())[:, None] / 8
        profile = [t(batch.profile[:, i]) for i, t in enumerate(self.tables)]
        learned = self.mlp(torch.cat([*units, length, *profile], 1))
        near = sum(self.gate[i] * unit for i, unit in enumerate(units))
        return functional.normalize(near + learned, dim=1)


class TwoTower(nn.Module):
    """A retriever with one vector per user; scores are inner products of D + 1 numbers:

    s(u, i) = cos(q_u, v_i) / tau + w log p_i

    where the last term, the log of the item's share of the training events with one event added
    to each, is there for `popularity` "prior" alone (else its place holds 0).

    count: int64 [N + 1], training events of each item code, for the logQ correction.

    >>> model = TwoTower(TwoTowerConfig(), task.spec, task.items, task.count)  # doctest: +SKIP
    >>> model.queries(task.batch(visits)).shape  # doctest: +SKIP
    torch.Size([128, 1, 64])
    """

    def __init__(
        self,
        config: TwoTowerConfig,
        spec: FeatureSpec,
        items: ItemTable,
        count: NDArray[np.int64],
    ) -> None:
        super().__init__()
        self.config = config
        self.item = ItemTower(spec, items, config, count)
        self.query = QueryTower(spec, config)
        self.register_buffer("count", counts_tensor(count))
        weight = config.prior_weight if config.popularity == "prior" else 0.0
        self.register_buffer("prior", weight * log_share(count))
        self.register_buffer("share", log_share(count), persistent=False)
        if config.views in ("random", "correlated"):
            self._masks = FeatureMasks.of(config.views, items, config.information)

    def rank_unseen_by(self, choice: UnseenItems) -> None:
        """Set the config's `unseen_items`, of a trained model."""
        self.config = replace(self.config, unseen_items=choice)
        self.item.unseen_items = choice

    def queries(self, batch: QueryBatch) -> Tensor:
        """Unit vectors over tau, and 1: [U, 1, D + 1]."""
        codes, place = torch.unique(batch.history.values, return_inverse=True)
        query = self.query(batch, self.item(codes), place) / self.config.temperature
        return functional.pad(query, (0, 1), value=1.0)[:, None]

    def item_vectors(self, codes: Tensor) -> Tensor:
        """Unit vectors, and the weighted log of the item's share: [N, D + 1]."""
        prior = self.get_buffer("prior")[codes, None]
        return torch.cat([self.item(codes), prior], 1)

    def loss(self, batch: QueryBatch) -> Tensor:
        """L_main, summed over the pairs, plus alpha L_self times their number: []."""
        config = self.config
        both = torch.cat([batch.history.values, batch.targets.values])
        codes, place = torch.unique(both, return_inverse=True)
        events = batch.history.values.numel()
        hide = None
        if self.training and config.views == "feature_dropout":
            shape = len(codes), len(self.item.embedding.widths)
            hide = torch.rand(shape) < config.feature_dropout
        vectors = self.item(codes, hidden=hide)
        query = self.query(batch, vectors, place[:events])
        candidates, column = torch.unique(place[events:], return_inverse=True)
        logits = query @ vectors[candidates].T / config.temperature
        if config.popularity == "prior":
            logits = logits + self.get_buffer("share")[codes[candidates]]
        if config.popularity != "ignored":
            count = self.get_buffer("count")
            draws = batch.targets.values.numel()
            logits = logits - inclusion_log_probability(count, codes[candidates], draws)
        main = softmax_loss(logits, Jagged(column, batch.targets.offsets))
        if not self.training or config.views in ("none", "feature_dropout"):
            return main
        return main + config.alpha * batch.targets.values.numel() * self.view_loss()

    def view_loss(self) -> Tensor:
        """L_self on items drawn uniformly from the catalogue, [] averaged over them."""
        config = self.config
        items = len(self.get_buffer("count")) - 1
        codes = 1 + torch.randperm(items)[: config.view_items]
        if config.views == "spread_out":
            vectors = self.item(codes, view=True)
            return contrastive_loss(vectors, vectors, config.view_temperature)
        rng = np.random.default_rng(int(torch.randint(2**62, (1,))))
        hidden = torch.from_numpy(self._masks.draw(rng))
        keep = 1 - config.value_dropout
        first = self.item(codes, hidden=hidden, keep=keep, view=True)
        second = self.item(codes, hidden=~hidden, keep=keep, view=True)
        return contrastive_loss(first, second, config.view_temperature)


def contrastive_loss(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """L_self of two sets of unit vectors [N, D], averaged over the N."""
    return functional.cross_entropy(first @ second.T / temperature, torch.arange(len(first)))


def _decay(age: Tensor, days: float) -> Tensor:
    """2^(-age / days), or 1 where days is 0."""
    return torch.exp2(-age / days) if days else torch.ones_like(age)
