"""Folding one hot part into weights of its own while most requests ask for it.

A part that is folded costs its rows nothing beside the base's maps, but rows of other parts cannot
be in the same pass. dLoRA (Wu et al., OSDI 2024) switches between the two states by credits; ours
are counted in passes. With N requests that are live or waiting, m of them for the most frequent
part n that can be folded, and w of them for others than the folded one,

    apart    credit <- credit + 1  where m >= share N and n is the same as before, else 0
             fold n      once credit >= to_merge
    folded   debt <- debt + w
             go apart    once debt >= to_unmerge, or no request for n can run

So a fold is paid for by passes that would have gained from it, and a single request for another
part waits for at most `to_unmerge` passes. After either switch both counts begin at 0.

W + s B A - s B A is not W in bfloat16. So W is never written to: folded weights

    W' = f W + B A        (f of DoRA, else 1; in float32, then rounded)

are tensors of their own that the maps look at instead, and going apart lets go of them: the base
is exact by construction, and may be shared with a loop that tunes. They lie outside of the pool
and take as much memory as the maps that the part changes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from adwright.core.errors import ConfigError
from adwright.lm.serving.adapter_cache import Hot
from adwright.lm.serving.adapter_layout import PieceName
from adwright.lm.serving.page_pool import PagePool
from adwright.lm.serving.paged_network import PagedLinear
from adwright.lm.serving.rows import Job
from adwright.tuning.efficient.lora_fa import LoRAFA
from adwright.tuning.reparameterised.dora import DoRA
from adwright.tuning.reparameterised.lora import LoRA
from adwright.tuning.sizes import Target

__all__ = ["MergePolicy", "Merger", "folded_weights"]


@dataclass(frozen=True)
class MergePolicy:
    """When to switch; see the module. Raises ConfigError that names the setting."""

    to_merge: int = 32
    share: float = 0.75
    to_unmerge: int = 64

    def __post_init__(self) -> None:
        for name in ("to_merge", "to_unmerge"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1", where=name, hint="correct it")
        if not 0.5 < self.share <= 1:
            raise ConfigError("share must be above 0.5, at most 1", where="share", hint="0.75")


class Merger:
    """The state of one network. maps: by dotted name. grain: u, of `layout`.

    merged: the folded part, or None. merges: folds so far.
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
        """The folded part, folds so far, and bytes of the folded weights."""
        own = [linear.merged for linear in self._maps.values()]
        size = sum(w.numel() * w.element_size() for w in own if w is not None)
        return self.merged, self.merges, size

    def decide(self, live: Sequence[Job], waiting: Sequence[Job]) -> Callable[[Job], bool] | None:
        """Count, perhaps switch, and say which jobs the next pass may take; None is all."""
        queue = list(waiting)
        jobs = [*live, *queue]
        if self.merged is not None and jobs:
            self._debt += sum(job.adapter != self.merged for job in jobs)
            # Those in the queue behind another wait for it, so they cannot run.
            can_run = any(map(self._is_own, [*live, *queue[:1]]))
            if not can_run or self._debt >= self._policy.to_unmerge:
                self.unmerge()
        elif jobs:
            self._count(jobs)
            hot = next((job.hot for job in live if job.adapter == self._favourite), None)
            if self._credit >= self._policy.to_merge and hot is not None:
                self.merge(hot)
        return None if self.merged is None else self._is_own

    def merge(self, hot: Hot) -> None:
        """Fold a part, which has to be in the pool. Raises ConfigError where it cannot be."""
        if not _foldable(hot):
            raise ConfigError(
                "the part cannot be folded", where=hot.name, hint="LoRA, LoRAFA and DoRA can"
            )
        self.unmerge()
        with torch.inference_mode():
            for name, weight in folded_weights(hot, self._maps, self._pool, self._grain).items():
                self._maps[name].merged = weight
        self.merged = hot.name
        self.merges += 1

    def unmerge(self) -> None:
        """Back to the base's weights, which nobody has touched."""
        for linear in self._maps.values():
            linear.merged = None
        self.merged, self._favourite = None, None
        self._credit = self._debt = 0

    def _is_own(self, job: Job) -> bool:
        return job.adapter == self.merged

    def _count(self, jobs: Sequence[Job]) -> None:
        foldable = {job.adapter for job in jobs if job.hot is not None and _foldable(job.hot)}
        counts = Counter(job.adapter for job in jobs if job.adapter in foldable)
        name, number = next(iter(counts.most_common(1)), (None, 0))
        if name is None or number < self._policy.share * len(jobs):
            self._favourite, self._credit = None, 0
        elif name != self._favourite:
            self._favourite, self._credit = name, 1
        else:
            self._credit += 1


def folded_weights(
    hot: Hot, maps: Mapping[str, PagedLinear], pool: PagePool, grain: int
) -> dict[str, Tensor]:
    """W' [out, in] of each map that the part changes, by dotted name, in the base's type."""
    found: dict[str, Tensor] = {}
    for name, linear in maps.items():
        parts = name.split(".")
        layer, target = int(parts[-3]), parts[-1]
        a = _piece(hot, pool, grain, layer, target, "a")
        b = _piece(hot, pool, grain, layer, target, "b")
        if a is None or b is None:
            continue
        weight = linear.base.weight.float()
        factor = _piece(hot, pool, grain, layer, target, "factor")
        if factor is not None:
            # (1 - f) of a bias is a shift of the part, and f of it comes with the factor: what is
            # left of both is the bias itself.
            weight = weight * (1 + factor.T)
        found[name] = (weight + b.T @ a).to(linear.base.weight.dtype)
    return found


def _foldable(hot: Hot) -> bool:
    return isinstance(hot.layout.method, LoRA | LoRAFA | DoRA)


def _piece(
    hot: Hot, pool: PagePool, grain: int, layer: int, target: str, name: PieceName
) -> Tensor | None:
    """Rows of a piece float32 [rows, width], out of the pool; None where there are none."""
    at: tuple[Target, PieceName] = (target, name)  # type: ignore[assignment]
    piece = hot.layout.pieces.get(at)
    if piece is None:
        return None
    own = hot.grains[piece.first : piece.first + piece.rows * piece.grains]
    own = (own + layer * (pool.shape.slice // grain)).to(pool.tensor.device)
    return pool.grains(grain).index_select(0, own).view(piece.rows, -1).float()
