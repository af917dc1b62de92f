"""What all retrieval models share: user vectors, item vectors and a loss.

A retriever gives a user K vectors and an item one, so that the score of an item is the best of K
inner products and item vectors can be computed once for all users. Trained by softmax
over the distinct items of the batch, corrected for how often an item is such a candidate:

    s'(u, i) = s(u, i) / tau - log q_i
    L = - sum over (u, i) of log [ e^s'(u,i) / (e^s'(u,i) + sum over j of e^s'(u,j)) ]

q_i is the probability that item i is among the candidates (Yi et al., RecSys 2019, equation 3).
j runs over the candidates that u did not take: other items that u took are no negatives.

Which features to hide from which view of an item, for contrastive learning.

Two views of an item hide complementary sets of its features. Hidden at random (RFM), a view may
be recognised by a feature that is nearly the same as a hidden one. Correlated feature masking (CFM)
hides a feature together with those that it shares most information with:

    MI(V_i, V_j) = sum over (v_i, v_j) of P(v_i, v_j) log [ P(v_i, v_j) / (P(v_i) P(v_j)) ]

estimated over the catalogue, each item once (Yao et al., CIKM 2021, section 3.3).

What the paper leaves open is our choice:

- A feature that names single items shares all there is to know with every other feature, so it
  would be hidden with each of them. The item id, and a feature of at least nine tenths of the
  entropy that an id of the catalogue has, take no part in the correlation: each is hidden from a
  side drawn at random.
- Features that are copies of each other (one is a function of the other, and tells at least 19/20
  of it: the words of a type beside the type) are hidden together and count as one.
- Which of the two sets is the first view's is drawn at random: one set is often the poorer.
- Raw information, as the paper has it, prefers features of many values. "normalised" divides it by
  the mean of both entropies (symmetric uncertainty; Witten and Frank, "Data Mining", 2005).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from adwright.core.config import settings
from adwright.core.errors import ConfigError
from adwright.data.batches.batch import QueryBatch
from adwright.data.batches.jagged import Jagged
from adwright.data.features import ItemTable


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
