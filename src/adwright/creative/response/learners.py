"""The candidates of a click rate that are learned, and what is kept of each.

    made = fit_ridge(blocks, names, y, weights, rows, inner)       # RidgePart
    made = fit_trees(blocks, y, weights, rows, inner)              # TreesPart
    made.predict(blocks)                                           # float64 [N]

A ridge reads blocks side by side. What a test's audience, day and story do to all its creatives is
a random intercept: a further place for each test, which is learned beside the others, shrunk, and
forgotten, so that weights come mostly from what differs within tests. A category is a place for
each value: an advertiser is shrunk towards all by n / (n + p), and a new one is at their level. The
penalty p is that of the least squared error on an inner part, the latest rows where there are
times, else other stories; errors are within tests where there are tests.

Boosting (scikit-learn) reads the dense blocks, what is alike among texts (components of their
TF-IDF and of vectors) and of each category the shrunken mean of others. It is kept as arrays of its
nodes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from adwright.creative.response.inputs import Block, Floats, Rows
from adwright.metrics.choosing import dealt

#: Penalties that are tried; of the intercept of a test, how much more its variance is than that of
#: a creative.
_PENALTIES, _TESTS = (0.1, 1.0, 3.0, 10.0, 30.0), 3.0
_INNER, _COMPONENTS, _ROUNDS = 4, 24, 150
_SHRUNK = 5.0
_TREE = ("value", "feature_idx", "num_threshold", "left", "right", "is_leaf")


class Taught(NamedTuple):
    """What N creatives teach. y, weights: [N]. tests: [N], below 0 for none. kin: [N], what is told
    together. times: [N], or None."""

    y: Floats
    weights: Floats
    tests: Rows
    kin: Rows
    times: Floats | None


@dataclass(frozen=True, eq=False)
class RidgePart:
    """blocks: what is read, in this order. weight: [D], bias: of them."""

    blocks: tuple[str, ...]
    weight: Floats
    bias: float

    def predict(self, blocks: Mapping[str, Block]) -> Floats:
        """[N] of N ads."""
        start, found = 0, np.zeros(next(iter(blocks.values())).shape[0])
        for name in self.blocks:
            end = start + blocks[name].shape[1]
            found += np.asarray(blocks[name] @ self.weight[start:end]).ravel()
            start = end
        return found + self.bias


@dataclass(frozen=True, eq=False)
class TreesPart:
    """Boosted trees. blocks: read as they are. grams: read by their components [C, V]. levels:
    of each category the effect of each value. nodes: of all trees, one after another; children are
    numbered within all. roots: where trees begin. base: what they are added to."""

    blocks: tuple[str, ...]
    grams: tuple[str, ...]
    components: Floats
    levels: Mapping[str, Floats]
    nodes: Mapping[str, npt.NDArray[Any]]
    roots: Rows
    base: float

    def predict(self, blocks: Mapping[str, Block]) -> Floats:
        """[N] of N ads."""
        x = self.inputs(blocks)
        found = np.full(len(x), self.base)
        for root in self.roots.tolist():
            at = np.full(len(x), root)
            while True:
                inner = np.flatnonzero(~self.nodes["is_leaf"][at])
                if not len(inner):
                    break
                now = at[inner]
                low = x[inner, self.nodes["feature_idx"][now]] <= self.nodes["num_threshold"][now]
                at[inner] = np.where(low, self.nodes["left"][now], self.nodes["right"][now])
            found += self.nodes["value"][at]
        return found

    def inputs(self, blocks: Mapping[str, Block]) -> Floats:
        """[N, D]."""
        parts = [np.asarray(blocks[name]) for name in self.blocks]
        if self.grams:
            parts.append(_joined(blocks, self.grams) @ self.components.T)
        parts += [np.asarray(blocks[n] @ effect)[:, None] for n, effect in self.levels.items()]
        return np.hstack(parts)


@dataclass(frozen=True, eq=False)
class ConstantPart:
    """The level of all."""

    level: float
    blocks: tuple[str, ...] = field(default=())

    def predict(self, blocks: Mapping[str, Block]) -> Floats:
        """[N] of N ads."""
        return np.full(next(iter(blocks.values())).shape[0], self.level)


Part = RidgePart | TreesPart | ConstantPart


def fit_ridge(
    blocks: Mapping[str, Block], names: Sequence[str], taught: Taught, rows: Rows
) -> RidgePart:
    """A ridge of the blocks `names` on these rows."""
    x = _joined(blocks, names)
    inner = _inner(taught, rows)
    errors = []
    for penalty in _PENALTIES:
        made = _ridge(x, taught, rows[~inner], penalty)
        held = rows[inner]
        errors.append(_error(taught, held, np.asarray(x[held] @ made[0]).ravel()))
    weight, bias = _ridge(x, taught, rows, _PENALTIES[int(np.argmin(errors))])
    return RidgePart(tuple(names), weight, bias)


def _ridge(x: Block, taught: Taught, rows: Rows, penalty: float) -> tuple[Floats, float]:
    from scipy.sparse import csr_matrix, hstack
    from sklearn.linear_model import Ridge

    some, tests = x[rows], taught.tests[rows]
    there = np.flatnonzero(tests >= 0)
    if len(there):
        _, code = np.unique(tests[there], return_inverse=True)
        size = np.full(len(there), np.sqrt(penalty * _TESTS))
        some = hstack(
            [some, csr_matrix((size, (there, code)), (len(rows), code.max() + 1))]
        ).tocsr()
    model = Ridge(penalty, solver="sparse_cg", tol=1e-4, max_iter=300)
    model.fit(some, taught.y[rows], taught.weights[rows])
    return np.asarray(model.coef_[: x.shape[1]], np.float64), float(model.intercept_)


def _inner(taught: Taught, rows: Rows) -> npt.NDArray[np.bool_]:
    """[n]: those of the rows that penalties are chosen by, about a quarter."""
    if taught.times is not None:
        times = taught.times[rows]
        cut = np.nanquantile(times, 1 - 1 / _INNER) if np.isfinite(times).any() else np.nan
        held = times >= cut
        if held.any() and not held.all():
            return np.asarray(held)
    kin = taught.kin[rows]
    several = min(_INNER, len(np.unique(kin)))
    return np.asarray(dealt(kin, several) == 0) if several > 1 else np.arange(len(rows)) % 2 == 0


def _error(taught: Taught, rows: Rows, found: Floats) -> float:
    """Mean squared error less that of the level: of each test where there are any, else of all."""
    off, weight = taught.y[rows] - found, taught.weights[rows]
    tests = taught.tests[rows]
    code = np.unique(tests if (tests >= 0).any() else np.zeros(len(rows)), return_inverse=True)[1]
    mean = np.bincount(code, weight * off) / np.bincount(code, weight)
    return float(np.average((off - mean[code]) ** 2, weights=weight))


def fit_trees(blocks: Mapping[str, Block], taught: Taught, rows: Rows, *, seed: int) -> TreesPart:
    """Boosting on all blocks, on these rows."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.ensemble import HistGradientBoostingRegressor

    dense = tuple(n for n in blocks if n.startswith(("length", "form ", "number ")))
    grams = tuple(n for n in blocks if n.endswith((" words", " letters")))
    vectors = tuple(n for n in blocks if n.startswith("vector "))
    read = grams + vectors
    components = np.zeros((0, 0))
    if read:
        joined = _joined(blocks, read)[rows]
        many = min(_COMPONENTS, joined.shape[1] - 1, len(rows) - 1)
        read = read if many > 0 else ()
        if read:
            components = TruncatedSVD(many, n_iter=2, random_state=seed).fit(joined).components_
    names = [name for name in blocks if name.startswith("level ")]
    levels = {name: _effects(blocks[name][rows], taught, rows) for name in names}
    part = TreesPart(dense, read, components, levels, {}, np.zeros(0, np.int64), 0.0)
    x = part.inputs({name: block[rows] for name, block in blocks.items()})
    # What a value does to a row comes from other rows.
    fold = dealt(taught.kin[rows], min(5, len(np.unique(taught.kin[rows]))), seed=seed)
    for at, name in enumerate(names, x.shape[1] - len(names)):
        for one in np.unique(fold):
            kept = fold != one
            effect = _effects(blocks[name][rows[kept]], taught, rows[kept])
            x[~kept, at] = np.asarray(blocks[name][rows[~kept]] @ effect).ravel()
    model = HistGradientBoostingRegressor(
        learning_rate=0.06, max_iter=_ROUNDS, max_leaf_nodes=15, l2_regularization=1.0,
        early_stopping=False, random_state=seed,
    )  # fmt: skip
    model.fit(x, taught.y[rows], taught.weights[rows])
    trees = [one.nodes for (one,) in model._predictors]
    roots = np.cumsum([0, *(len(one) for one in trees)])
    nodes = {name: np.concatenate([one[name] for one in trees]) for name in _TREE}
    shift = np.repeat(roots[:-1], np.diff(roots))
    for name in ("left", "right"):
        nodes[name] = nodes[name].astype(np.int64) + shift
    nodes["feature_idx"] = nodes["feature_idx"].astype(np.int64)
    nodes["is_leaf"] = nodes["is_leaf"].astype(np.bool_)
    base = float(np.ravel(model._baseline_prediction)[0])
    return TreesPart(dense, read, components, levels, nodes, roots[:-1].astype(np.int64), base)


def _effects(block: Block, taught: Taught, rows: Rows) -> Floats:
    """[V]: of each value the shrunken mean of its rows, less that of all."""
    y, weight = taught.y[rows], taught.weights[rows]
    off = weight * (y - np.average(y, weights=weight))
    total = np.asarray(block.T @ weight).ravel()
    return np.asarray(np.asarray(block.T @ off).ravel() / (total + _SHRUNK))


def _joined(blocks: Mapping[str, Block], names: Sequence[str]) -> Block:
    from scipy.sparse import csr_matrix, hstack

    return hstack([csr_matrix(blocks[name]) for name in names]).tocsr()
