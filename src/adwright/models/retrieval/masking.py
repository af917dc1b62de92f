"""Which features to hide from which view of an item, for contrastive learning.

Two views of an item hide complementary sets of its features. Hidden at random (RFM), a view may
be recognised by a feature that is nearly the same as a hidden one. Correlated feature masking (CFM)
hides a feature together with those that it shares most information with:

    MI(V_i, V_j) = sum over (v_i, v_j) of P(v_i, v_j) log [ P(v_i, v_j) / (P(v_i) P(v_j)) ]

estimated over the catalogue, each item once (Yao et al., CIKM 2021, section 3.3).
"""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from adwright.core.errors import ConfigError
from adwright.data.features import ItemTable

__all__ = ["Masking", "hidden_features", "mutual_information", "single_codes"]

Masking = Literal["random", "correlated"]


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


def single_codes(items: ItemTable) -> NDArray[np.int64]:
    """One code per feature for each item of the catalogue: [N, F], coded features first.

    A multi-valued feature counts as the set of its values (our choice; the paper leaves open
    how such a feature enters the mutual information).
    """
    columns = [codes[1:] for codes in items.categorical.values()]
    for values, offsets in items.multi.values():
        lists = [values[a:b].tobytes() for a, b in pairwise(offsets[1:])]
        number = {value: at for at, value in enumerate(dict.fromkeys(lists))}
        columns.append(np.array([number[value] for value in lists], dtype=np.int64))
    return np.stack(columns, 1)


def hidden_features(
    kind: Masking, information: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Features [F] that the first view hides; the second view hides the others.

    random: a uniformly drawn half, rounded down. correlated: a seed feature drawn uniformly and
    the n = floor(F / 2) features of largest MI with it, at most F - 2 of them, so that the
    first view keeps a feature.
    information: [F, F]. Raises ConfigError for fewer than two features.
    """
    features = len(information)
    if features < 2:
        raise ConfigError(
            "complementary views need at least two item features",
            where=f"{features} features",
            hint="declare more item features, or train without views",
        )
    hidden = np.zeros(features, dtype=bool)
    if kind == "random":
        hidden[rng.permutation(features)[: features // 2]] = True
        return hidden
    seed = int(rng.integers(features))
    others = np.delete(np.arange(features), seed)
    nearest = others[np.argsort(-information[seed, others], kind="stable")]
    hidden[seed] = True
    hidden[nearest[: min(features // 2, features - 2)]] = True
    return hidden


def _entropy(values: NDArray[np.int64]) -> float:
    share = np.unique(values, return_counts=True)[1] / len(values)
    return float(-(share * np.log(share)).sum())
