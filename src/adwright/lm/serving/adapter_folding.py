"""Fold one adapter into weights of its own while most requests ask for it.

The rows of a folded adapter cost no more than those of the base, but rows of other adapters cannot
be in the same pass. dLoRA (Wu et al., OSDI 2024) switches between the two states by credits; ours
are counted in passes. With N requests that are live or waiting, m of them for the most frequent
adapter n that can be folded, and w of them for others than the folded one,

    apart    credit <- credit + 1  where m >= share N and n is the same as before, else 0
             fold n      once credit >= to_merge
    folded   debt <- debt + w
             go apart    once debt >= to_unmerge, or no request for n can run

So passes that would have gained from a fold pay for it, and a single request for another adapter
waits for at most `to_unmerge` passes. Each switch sets both counts to 0.

W + s B A - s B A is not W in bfloat16. So W is never written to: folded weights

    W' = f W + B A        (f of DoRA, else 1; in float32, then rounded)

are tensors of their own that the maps use instead; unfolding drops them. The base stays exact, and
may be shared with a loop that tunes. Folded weights lie outside the pool and take as much memory as
the maps that the adapter changes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated

import torch
from torch import Tensor

from adwright.core.config import Count, Gt, Le, settings
from adwright.core.errors import ConfigError
from adwright.lm.serving.adapter_cache import MatrixName, PooledAdapter
from adwright.lm.serving.adapter_model import PagedLinear
from adwright.lm.serving.prefixes import PagePool
from adwright.lm.serving.scheduler import Row
from adwright.tuning.modules import Target


@settings
class MergePolicy:
    """When to switch; see the module. Raises ConfigError that names the setting."""

    to_merge: Count = 32
    share: Annotated[float, Gt(0.5), Le(1)] = 0.75
    to_unmerge: Count = 64


class Merger:
    """The state of one network. maps: by dotted name. grain: u, of `layout`.

    merged: the folded adapter, or None. merges: folds so far.
    """

    def __init__(
        self, policy: MergePolicy, maps: Mapping[str, PagedLinear], pool: PagePool, grain: int
    ) -> None:
        self._policy, self._maps, self._pool, self._grain = policy, maps, pool, grain
        self.merged: str | None = None
        self.merges = 0
        self._credit = 0
        self._debt = 0
        self._favourite: str | None = None

    def state(self) -> tuple[str | None, int, int]:
        """The folded adapter, folds so far, and bytes of the folded weights."""
        own = [linear.merged for linear in self._maps.values()]
        size = sum(w.numel() * w.element_size() for w in own if w is not None)
        return self.merged, self.merges, size

    def decide(self, live: Sequence[Row], waiting: Sequence[Row]) -> Callable[[Row], bool] | None:
        """Count, perhaps switch; return which rows the next pass may take, or None for all."""
        queue = list(waiting)
        rows = [*live, *queue]
        if self.merged is not None and rows:
            self._debt += sum(row.adapter != self.merged for row in rows)
            # Those in the queue behind another wait for it, so they cannot run.
            can_run = any(map(self._is_own, [*live, *queue[:1]]))
            if not can_run or self._debt >= self._policy.to_unmerge:
                self.unmerge()
        elif rows:
            self._count(rows)
            hot = next((row.hot for row in live if row.adapter == self._favourite), None)
            if self._credit >= self._policy.to_merge and hot is not None:
                self.merge(hot)
        return None if self.merged is None else self._is_own

    def merge(self, hot: PooledAdapter) -> None:
        """Fold an adapter, which has to be in the pool. Raises ConfigError where it cannot be."""
        if not hot.layout.foldable:
            raise ConfigError(
                "the adapter cannot be folded", where=hot.name, hint="LoRA, LoRAFA and DoRA can"
            )
        self.unmerge()
        with torch.inference_mode():
            for name, weight in folded_weights(hot, self._maps, self._pool, self._grain).items():
                self._maps[name].merged = weight
        self.merged = hot.name
        self.merges += 1

    def unmerge(self) -> None:
        """Go back to the weights of the base, which were never written to."""
        for linear in self._maps.values():
            linear.merged = None
        self.merged, self._favourite = None, None
        self._credit = self._debt = 0

    def _is_own(self, row: Row) -> bool:
        return row.adapter == self.merged

    def _count(self, rows: Sequence[Row]) -> None:
        foldable = {row.adapter for row in rows if row.hot is not None and row.hot.layout.foldable}
        counts = Counter(row.adapter for row in rows if row.adapter in foldable)
        name, number = next(iter(counts.most_common(1)), (None, 0))
        if name is None or number < self._policy.share * len(rows):
            self._favourite, self._credit = None, 0
        elif name != self._favourite:
            self._favourite, self._credit = name, 1
        else:
            self._credit += 1


def folded_weights(
    hot: PooledAdapter, maps: Mapping[str, PagedLinear], pool: PagePool, grain: int
) -> dict[str, Tensor]:
    """W' [out, in] of each map that the adapter changes, by dotted name, in the base's type."""
    found: dict[str, Tensor] = {}
    for name, linear in maps.items():
        parts = name.split(".")
        layer, target = int(parts[-3]), parts[-1]
        a = _matrix(hot, pool, grain, layer, target, "a")
        b = _matrix(hot, pool, grain, layer, target, "b")
        if a is None or b is None:
            continue
        weight = linear.base.weight.float()
        factor = _matrix(hot, pool, grain, layer, target, "factor")
        if factor is not None:
            # The factor scales the bias by f, and the adapter's shift adds (1 - f) of it: together
            # they leave the bias as it is.
            weight = weight * (1 + factor.T)
        found[name] = (weight + b.T @ a).to(linear.base.weight.dtype)
    return found


def _matrix(
    hot: PooledAdapter, pool: PagePool, grain: int, layer: int, target: str, name: MatrixName
) -> Tensor | None:
    """A stored matrix float32 [rows, width], out of the pool; None where there are none."""
    at: tuple[Target, MatrixName] = (target, name)  # type: ignore[assignment]
    slot = hot.layout.matrices.get(at)
    if slot is None:
        return None
    own = hot.grains[slot.first : slot.first + slot.rows * slot.grains]
    own = (own + layer * (pool.shape.slice // grain)).to(pool.tensor.device)
    return pool.grains(grain).index_select(0, own).view(slot.rows, -1).float()
