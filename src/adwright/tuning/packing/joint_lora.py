"""Several LoRA jobs over one frozen base in one step.

The form of BatchLoRA (ASPEN, later mLoRA; Ye et al., 2023, arXiv 2312.02515). The texts of all
jobs lie end to end, those of job j in the rows [s_j, e_j) of the T tokens. At each map the base's
product runs once for all of them, and each job adds its own update to its own rows:

    Y = X W';    Y[s_j:e_j] += s_j (X[s_j:e_j] A_j') B_j'
    dX = dY W;   dX[s_j:e_j] += s_j (dY[s_j:e_j] B_j) A_j

A_j and B_j see the rows of job j alone, in the loss as in the gradient, so one backward pass of
the sum of all losses leaves each job the gradient that it would have had alone, up to the
rounding of larger products. Ranks, targets, scales and dropout may differ from job to job.

A job's products with A_j and B_j are so small that the call costs more than the arithmetic, so
neighbours share one: in [X (A_1 | A_2)'] the columns of another job are set to zero in each row.
As many jobs share it as pay for the multiplied zeros: the more rows they have, the fewer.

A joint step saves reading the base's weights once per job, and the fixed costs of a step (hundreds
of small operations, the ends of small products). It does not save each job's own products with A
and B, nor its optimizer. The more texts a job has in a step, the less there is to save.

Every job is also a `Tuned` over the same weights (`share_base`), which draws, validates, saves and
loads as it does alone; the base is in memory once.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from adwright.core.errors import ConfigError, ValueInvalidError
from adwright.tuning.methods import METHODS, Method, apply
from adwright.tuning.modules import LINEAR, TunedLinear, head_logits, places
from adwright.tuning.packing.texts import (
    Blocks,
    Packed,
    PreemptionHook,
    answer_losses,
    attends_fully,
    attends_in_blocks,
)
from adwright.tuning.reparameterised.lora import LoRALinear
from adwright.tuning.tuned import Tuned

#: The methods that can share a step.
JOINT = tuple(method for method in METHODS.values() if method.plain_lora)
#: sqrt(CALL_COST / (n r)) jobs of n rows and rank r share one product, where calls and zeros
#: together cost least. The cost of a call over that of one multiplication, about 30 us to 4 ns.
CALL_COST = 8000
_Model = TypeVar("_Model", bound=nn.Module)


def share_base(model: _Model) -> _Model:
    """Copy the tree of modules, but share the parameters and buffers.

    Modules put into the copy, and changes of its config, do not affect `model`; the tensors are the
    same, so they are in memory once, and a change of one is seen in both.
    """
    shared = (*model.parameters(), *model.buffers())
    return copy.deepcopy(model, {id(tensor): tensor for tensor in shared})


@dataclass(frozen=True)
class _Group:
    """Rows [start, end) of neighbours, whose matrices are columns [low, high) of all matrices side
    by side. own: [rows, columns], 1 where row and column are of one job, None for a single job.
    keep: 0 or 1 / (1 - p) for each value that A sees, None without dropout."""

    start: int
    end: int
    low: int
    high: int
    own: Tensor | None
    keep: Tensor | None


@dataclass
class _Live:
    """What all maps of a step share: the rows of each job, and its random generator.

    groups: of each set of jobs and ranks, made once per step. device: of the texts.
    """

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    rows: dict[str, tuple[int, int]] = field(default_factory=dict)
    random: Mapping[str, torch.Generator] = field(default_factory=dict)
    groups: dict[tuple[tuple[str, int, bool], ...], tuple[_Group, ...]] = field(
        default_factory=dict
    )

    def grouped(self, adapters: Mapping[str, LoRALinear]) -> tuple[_Group, ...]:
        """Find the groups of the jobs that have an adapter at a map, without dropout."""
        key = tuple((name, len(one.a), one.dropout > 0) for name, one in adapters.items())
        if key not in self.groups:
            self.groups[key] = tuple(self._made(key))
        return self.groups[key]

    def _made(self, jobs: Sequence[tuple[str, int, bool]]) -> Iterator[_Group]:
        """Put neighbours together while that is cheaper, see `CALL_COST`."""
        work = [
            (end - start) * rank for (start, end), rank in ((self.rows[n], r) for n, r, _ in jobs)
        ]
        most = max(1, round(math.sqrt(CALL_COST * len(work) / sum(work))))
        at, first = 0, 0
        while first < len(jobs):
            last = first + 1
            while (
                last < min(first + most, len(jobs))
                and self.rows[jobs[last][0]][0] == self.rows[jobs[last - 1][0]][1]
                and not (jobs[last][2] or jobs[first][2])
            ):
                last += 1
            yield (group := self._group(jobs[first:last], at))
            at, first = group.high, last

    def _group(self, jobs: Sequence[tuple[str, int, bool]], low: int) -> _Group:
        rows = [self.rows[name] for name, _, _ in jobs]
        start, end, width = rows[0][0], rows[-1][1], sum(rank for _, rank, _ in jobs)
        own = None
        if len(jobs) > 1:
            # 0 and 1 are exact in any type.
            shape = end - start, width
            own, at = torch.zeros(shape, dtype=torch.bfloat16, device=self.device), 0
            for (_, rank, _), (begin, stop) in zip(jobs, rows, strict=True):
                own[begin - start : stop - start, at : at + rank] = 1
                at += rank
        return _Group(start, end, low, low + width, own, None)


class JointJobs:
    """Jobs over one base.

    model: a plain causal LM; it is frozen and otherwise left as it is. methods: by name of the
    job, its method and the seed of what it draws.

        jobs = JointJobs(model, {"shop-1": (LoRA(rank=8), 0), "shop-2": (LoRA(rank=4), 1)})
        losses = jobs.losses({"shop-1": packed, "shop-2": other})      # summed over answers
        sum(loss / answers[name] for name, loss in losses.items()).backward()
        jobs.tuned["shop-1"].save(folder)

    Raises ConfigError where there is no job, a method is none of `JOINT`, or the model is of
    another type or tuned already.
    """

    def __init__(self, model: nn.Module, methods: Mapping[str, tuple[Method, int]]) -> None:
        if not methods:
            raise ConfigError("there are no jobs", hint="name at least one")
        for name, (method, _) in methods.items():
            if not method.plain_lora:
                kinds = " and ".join(kind.__name__ for kind in JOINT)
                raise ConfigError(
                    f"{type(method).__name__} cannot share a step with other jobs",
                    where=name,
                    hint=f"only {kinds} can; tune this one alone",
                )
        self.tuned: dict[str, Tuned] = {
            name: apply(share_base(model), method, seed=seed)
            for name, (method, seed) in methods.items()
        }
        self._causal: list[Any] = [share_base(model)]
        self._live = _Live()
        own = {
            name: {
                place.name: place.linear
                for place in places(tuned.causal, LINEAR)
                if isinstance(place.linear, LoRALinear)
            }
            for name, tuned in self.tuned.items()
        }
        for place in places(self.causal, LINEAR):
            found = {name: maps[place.name] for name, maps in own.items() if place.name in maps}
            if found:
                joint = JointLinear(place.linear, cast(dict[str, LoRALinear], found), self._live)
                place.put(joint)

    @property
    def causal(self) -> Any:
        """The causal LM that computes all jobs together."""
        return self._causal[0]

    def losses(
        self,
        texts: Mapping[str, Packed],
        *,
        random: Mapping[str, torch.Generator] | None = None,
        border: PreemptionHook | None = None,
    ) -> dict[str, Tensor]:
        """By job, the cross-entropy [] in nats, summed over the tokens of its answers.

        texts: of the jobs of this step, each with at least one token. random: the generators of the
        jobs' dropout, needed for those that have one; it is always on, as the losses are those of
        training. border: called between chunks of the head's work, which takes longer than a
        layer's; see `preemption`. The backward pass needs no context.

        Raises ValueInvalidError for an unknown job or texts without tokens.
        """
        whole = joined(texts, known=self.tuned)
        self._live.rows, self._live.device = whole.rows, whole.texts.ids.device
        self._live.random, self._live.groups = random or {}, {}
        config = self.causal.config
        heads = int(config.num_attention_heads), int(config.num_key_value_heads)
        apart = {}
        if attends_fully(config):
            apart["blocks"] = Blocks.of(whole.texts.offsets, *heads)
        with attends_in_blocks(self.causal):
            hidden = self.causal.get_decoder()(
                input_ids=whole.texts.ids[None],
                position_ids=whole.texts.places()[None],
                use_cache=False,
                **apart,
            ).last_hidden_state[0]
        each = answer_losses(
            hidden, self.causal.lm_head, whole.texts, border, scaled=head_logits(config)
        )
        answers = [packed.answers for packed in texts.values()]
        return {
            name: part.sum() for name, part in zip(texts, torch.split(each, answers), strict=True)
        }


@dataclass(frozen=True)
class _Joined:
    """Texts of all jobs end to end, and the rows of each job."""

    texts: Packed
    rows: dict[str, tuple[int, int]]


def joined(texts: Mapping[str, Packed], *, known: Mapping[str, object]) -> _Joined:
    """Lay texts end to end, in the order given. known: the names that there may be.

    Raises ValueInvalidError for no texts, an unknown name, or texts without tokens.
    """
    rows: dict[str, tuple[int, int]] = {}
    offsets, at = list[Tensor](), 0
    for name, packed in texts.items():
        if name not in known or not len(packed.ids):
            what = "no job has this name" if name not in known else "a job has no tokens"
            raise ValueInvalidError(what, value=name, hint="leave it out of the step")
        offsets.append((packed.offsets[1:] if rows else packed.offsets) + at)
        rows[name] = (at, at + len(packed.ids))
        at += len(packed.ids)
    if not rows:
        raise ValueInvalidError("no job takes part in the step")
    all_texts = list(texts.values())
    ids = torch.cat([packed.ids for packed in all_texts])
    marks = torch.cat([packed.answer for packed in all_texts])
    return _Joined(Packed(ids, torch.cat(offsets), marks), rows)


class JointLinear(TunedLinear):
    """The base's map for all rows, and each job's update for its own rows. adapters: by job."""

    def __init__(self, base: nn.Linear, adapters: Mapping[str, LoRALinear], live: _Live) -> None:
        super().__init__(base)
        # In a dict torch does not register them: they belong to the jobs.
        self._adapters, self._live = dict(adapters), live

    def forward(self, x: Tensor) -> Tensor:
        """x [1, T, in] to [1, T, out]."""
        adapters = {
            name: self._adapters[name] for name in self._live.rows if name in self._adapters
        }
        y: Tensor
        if not adapters:
            y = self.base(x)
            return y
        groups = self._live.grouped(adapters)
        if any(adapter.dropout for adapter in adapters.values()):
            groups = self._with_dropout(x, adapters, groups)
        scales = [adapter.scale for adapter in adapters.values()]
        low = [tensor for adapter in adapters.values() for tensor in (adapter.a, adapter.b)]
        y = _LowRanks.apply(x, self.base.weight, self.base.bias, groups, scales, *low)  # type: ignore[no-untyped-call]
        return y

    def _with_dropout(
        self, x: Tensor, adapters: Mapping[str, LoRALinear], groups: tuple[_Group, ...]
    ) -> tuple[_Group, ...]:
        """Draw what dropout keeps in each group, as `functional.dropout` does."""
        begins = {
            self._live.rows[name][0]: name for name, adapter in adapters.items() if adapter.dropout
        }
        found = []
        for group in groups:
            name = begins.get(group.start)
            if name is not None:
                random = self._live.random.get(name)
                if random is None:
                    raise ValueInvalidError(
                        "a job with dropout needs a generator", value=name, hint="give `random` one"
                    )
                left = 1 - adapters[name].dropout
                keep = torch.empty_like(x[0, group.start : group.end])
                keep.bernoulli_(left, generator=random).div_(left)
                group = replace(group, keep=keep)  # noqa: PLW2901
            found.append(group)
        return tuple(found)


class _LowRanks(torch.autograd.Function):
    """Y = X W' + bias, and (X (s A)') B' on the rows of each job, a group of jobs at a time."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        groups: tuple[_Group, ...],
        scales: list[float],
        *low: Tensor,
    ) -> Tensor:
        y = functional.linear(x, weight, bias)
        flat, into = x.reshape(-1, x.shape[-1]), y.view(-1, y.shape[-1])
        ctx.ranks = [len(a) for a in low[::2]]
        factors = [a * s if s != 1 else a for a, s in zip(low[::2], scales, strict=True)]
        a, b = torch.cat(factors).to(y.dtype), torch.cat(low[1::2], 1).to(y.dtype)
        kept: list[Tensor] = []
        for group in groups:
            rows, columns = slice(group.start, group.end), slice(group.low, group.high)
            seen = flat[rows] if group.keep is None else flat[rows] * group.keep
            narrow = functional.linear(seen, a[columns]).to(y.dtype)
            if group.own is not None:
                narrow.mul_(group.own)
            into[rows].addmm_(narrow, b[:, columns].T)
            kept.append(narrow)
        ctx.save_for_backward(x, weight, a, b, *kept)
        ctx.groups, ctx.scales = groups, scales
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, a, b, *kept = ctx.saved_tensors
        near = above.reshape(-1, above.shape[-1])
        flat = x.reshape(-1, x.shape[-1]).to(near.dtype)
        a, b = a.to(near.dtype), b.to(near.dtype)
        d_x = near @ weight.to(near.dtype) if ctx.needs_input_grad[0] else None
        of_a, of_b = [], []
        for group, narrow in zip(ctx.groups, kept, strict=True):
            rows, columns = slice(group.start, group.end), slice(group.low, group.high)
            d_narrow = near[rows] @ b[:, columns]
            if group.own is not None:
                d_narrow.mul_(group.own)
            if d_x is not None and group.keep is None:
                d_x[rows].addmm_(d_narrow, a[columns])
            elif d_x is not None:
                d_x[rows] += (d_narrow @ a[columns]) * group.keep
            seen = flat[rows] if group.keep is None else flat[rows] * group.keep
            # What is kept has the type of x, which under autocast is not that of the products.
            of_a.append(d_narrow.T @ seen.to(near.dtype))
            of_b.append(narrow.to(near.dtype).T @ near[rows])
        scales = torch.tensor(ctx.scales).repeat_interleave(torch.tensor(ctx.ranks))
        each_a = torch.split(torch.cat(of_a).float().mul_(scales[:, None]), ctx.ranks)
        each_b = torch.split(torch.cat(of_b).float(), ctx.ranks)
        found: list[Tensor | None] = []
        for number, (d_a, d_b) in enumerate(zip(each_a, each_b, strict=True)):
            found += [d_a if ctx.needs_input_grad[5 + 2 * number] else None, d_b.T]
        if d_x is not None:
            d_x = d_x.view(x.shape).to(x.dtype)
        return d_x, None, None, None, None, *found
