"""The candidates of a click rate that are learned, and what is kept of each.

    made = fit_ridge(joined(blocks, names), names, taught, rows)         # RidgePart
    made = fit_trees(blocks, taught, rows, components_of(blocks, seed=0), seed=0)      # TreesPart
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
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from adwright.creative.response.inputs import Block, Floats, Rows
from adwright.metrics.choosing import dealt

#: Penalties that are tried; of the intercept of a test, how much more its variance is than that of
#: a creative.
_PENALTIES, _TESTS = (0.1, 1.0, 3.0, 10.0, 30.0), 3.0
_INNER, _COMPONENTS, _ROUNDS = 4, 24, 150
#: Steps of a ridge at most, and what is left at its end; rows that tell its penalty at most; cuts
#: of an input of trees.
_STEPS, _ENOUGH, _MOST, _CUTS = 60, 1e-3, 6_000, 128
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

    def inputs(self, blocks: Mapping[str, Block], alike: Floats | None = None) -> Floats:
        """[N, D]. alike: [N, C], the components of the grams where they are known."""
        parts = [np.asarray(blocks[name]) for name in self.blocks]
        if self.grams:
            parts.append(joined(blocks, self.grams) @ self.components.T if alike is None else alike)
        parts += [np.asarray(blocks[n] @ effect)[:, None] for n, effect in self.levels.items()]
        return np.hstack(parts)


class Components(NamedTuple):
    """blocks: that are read. weights: [C, V]. values: [N, C] of the rows they were made of."""

    blocks: tuple[str, ...]
    weights: Floats
    values: Floats


@dataclass(frozen=True, eq=False)
class ConstantPart:
    """The level of all."""

    level: float
    blocks: tuple[str, ...] = field(default=())

    def predict(self, blocks: Mapping[str, Block]) -> Floats:
        """[N] of N ads."""
        return np.full(next(iter(blocks.values())).shape[0], self.level)


Part = RidgePart | TreesPart | ConstantPart


def fit_ridge(x: Block, names: Sequence[str], taught: Taught, rows: Rows) -> RidgePart:
    """A ridge on these rows of x [N, D], the blocks `names` that are `joined`."""
    # A penalty is a share of variances, whatever the number of rows: some are enough to find it.
    some = _some(taught, rows)
    inner = _inner(taught, some)
    held = some[inner]
    tried = x[held] @ _path(x[some[~inner]], taught, some[~inner])[0]
    errors = [_error(taught, held, one) for one in tried.T]
    weights, biases = _path(x[rows], taught, rows)
    best = int(np.argmin(errors))
    return RidgePart(tuple(names), weights[:, best], float(biases[best]))


def _path(x: Block, taught: Taught, rows: Rows) -> tuple[Floats, Floats]:
    """Weights [D, P] and biases [P] of ridges with each of `_PENALTIES`, of one Krylov space.

    A random intercept of variance T times that of a creative makes errors of a test have the
    covariance 1 / w + T; rows are turned (R, below) so that they have that of the identity, the
    level is taken out (P), and P R x x' R' P is brought to a tridiagonal form by Lanczos' steps, in
    which all penalties are solved at once. Steps end where the residual of the least penalty does.
    """
    from scipy.linalg import eigh_tridiagonal

    weight, tests = taught.weights[rows], taught.tests[rows]
    alone = np.where(tests >= 0, tests, -1 - np.arange(len(tests)))
    code = np.unique(alone, return_inverse=True)[1]
    root = np.sqrt(weight)
    size = np.bincount(code, weight)
    shared = np.bincount(code, tests >= 0) > 0
    # (1 - share)^2 = 1 / (1 + T size), of what is common to a test.
    share = np.where(shared, 1 - 1 / np.sqrt(1 + _TESTS * size), 0.0)

    def turned(values: Floats, *, back: bool = False) -> Floats:
        """R values, R = (I - share u u') W^1/2, u = W^1/2 1 / |.| of each test; or R' values."""
        scaled = values if back else root * values
        common = np.bincount(code, root * scaled) / size * share
        left = scaled - root * common[code]
        return np.asarray(root * left if back else left)

    level = turned(np.ones(len(rows)))
    level /= np.linalg.norm(level)

    def straight(values: Floats) -> Floats:
        return values - level * (level @ values)

    y = taught.y[rows]
    off = straight(turned(y))
    first = float(np.linalg.norm(off))
    width = x.shape[1]
    if first < 1e-12 * max(1.0, float(np.linalg.norm(turned(y)))):
        return np.zeros((width, len(_PENALTIES))), np.full(len(_PENALTIES), float(y.mean()))
    steps = min(_STEPS, len(rows) - 1, width)
    basis, seen = np.zeros((steps, len(rows))), np.zeros((steps, width), np.float32)
    diagonal, beside = np.zeros(steps), np.zeros(steps)
    now, many, transposed = off / first, 0, x.T
    ratio, left = 0.0, first
    for step in range(steps):
        basis[step], many = now, step + 1
        seen[step] = transposed @ turned(now, back=True).astype(np.float32)
        following = straight(turned(np.asarray(x @ seen[step], np.float64)))
        diagonal[step] = following @ now
        # The last place of what solves the system of the least penalty, by its elimination.
        pivot = diagonal[step] + _PENALTIES[0] - ratio * beside[step - 1] * (step > 0)
        left *= -ratio if step else 1.0
        # Twice, since rounding brings back what was taken out.
        for _ in range(2):
            following -= basis[:many].T @ (basis[:many] @ following)
        beside[step] = np.linalg.norm(following)
        if beside[step] * abs(left / pivot) < _ENOUGH * first:
            break
        now, ratio = following / beside[step], beside[step] / pivot
    values, vectors = eigh_tridiagonal(diagonal[:many], beside[: many - 1])
    solved = vectors @ (vectors[0][:, None] * first / (values[:, None] + np.array(_PENALTIES)))
    weights = np.asarray(seen[:many].T @ solved, np.float64)
    # The level: what is left, by the same weights of rows.
    gain = turned(turned(np.ones(len(rows))), back=True)
    said = np.asarray(x @ weights)
    return weights, (gain @ y - gain @ said) / gain.sum()


def _some(taught: Taught, rows: Rows) -> Rows:
    """The latest `_MOST` of the rows, or about as many of whole stories."""
    if len(rows) <= _MOST:
        return rows
    if taught.times is not None:
        order = np.argsort(np.nan_to_num(taught.times[rows], nan=-np.inf), kind="stable")
        return np.sort(rows[order[-_MOST:]])
    return np.asarray(rows[dealt(taught.kin[rows], -(-len(rows) // _MOST)) == 0])


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


def components_of(blocks: Mapping[str, Block], *, seed: int) -> Components:
    """What is alike among texts: the first components of their TF-IDF and vectors."""
    from sklearn.decomposition import TruncatedSVD

    names = [n for n in blocks if n.endswith((" words", " letters")) or n.startswith("vector ")]
    none = Components((), np.zeros((0, 0)), np.zeros((next(iter(blocks.values())).shape[0], 0)))
    if not names:
        return none
    x = joined(blocks, names)
    many = min(_COMPONENTS, x.shape[1] - 1, x.shape[0] - 1)
    if many < 1:
        return none
    found = TruncatedSVD(many, n_iter=2, random_state=seed).fit(x).components_.astype(np.float64)
    return Components(tuple(names), found, np.asarray(x @ found.T))


def fit_trees(
    blocks: Mapping[str, Block], taught: Taught, rows: Rows, alike: Components, *, seed: int
) -> TreesPart:
    """Boosting on all blocks, on these rows."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    dense = tuple(n for n in blocks if n.startswith(("length", "form ", "number ")))
    names = [name for name in blocks if name.startswith("level ")]
    levels = {name: _effects(blocks[name][rows], taught, rows) for name in names}
    part = TreesPart(dense, alike.blocks, alike.weights, levels, {}, np.zeros(0, np.int64), 0.0)
    some = {name: blocks[name][rows] for name in (*dense, *names)}
    x = part.inputs(some, alike.values[rows])
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
    model.fit(np.stack([_cut(one) for one in x.T], 1), taught.y[rows], taught.weights[rows])
    trees = [one.nodes for (one,) in model._predictors]
    roots = np.cumsum([0, *(len(one) for one in trees)])
    nodes = {name: np.concatenate([one[name] for one in trees]) for name in _TREE}
    shift = np.repeat(roots[:-1], np.diff(roots))
    for name in ("left", "right"):
        nodes[name] = nodes[name].astype(np.int64) + shift
    nodes["feature_idx"] = nodes["feature_idx"].astype(np.int64)
    nodes["is_leaf"] = nodes["is_leaf"].astype(np.bool_)
    base = float(np.ravel(model._baseline_prediction)[0])
    return replace(part, nodes=nodes, roots=roots[:-1].astype(np.int64), base=base)


def _cut(column: Floats) -> Floats:
    """Each value as the nearest of a few that occur, so that scikit-learn, which cuts half way
    between values, need not look for weighted quantiles, which takes it most of its time."""
    if len(known := np.unique(column)) <= _CUTS:
        return column
    known = np.unique(np.quantile(column, np.linspace(0, 1, _CUTS), method="nearest"))
    return np.asarray(known[np.searchsorted((known[1:] + known[:-1]) / 2, column)])


def _effects(block: Block, taught: Taught, rows: Rows) -> Floats:
    """[V]: of each value the shrunken mean of its rows, less that of all."""
    y, weight = taught.y[rows], taught.weights[rows]
    off = weight * (y - np.average(y, weights=weight))
    total = np.asarray(block.T @ weight).ravel()
    return np.asarray(np.asarray(block.T @ off).ravel() / (total + _SHRUNK))


def joined(blocks: Mapping[str, Block], names: Sequence[str]) -> Block:
    """Blocks side by side, sparse float32 [N, D]."""
    from scipy.sparse import csr_matrix, hstack

    return hstack([csr_matrix(blocks[name], dtype=np.float32) for name in names]).tocsr()
