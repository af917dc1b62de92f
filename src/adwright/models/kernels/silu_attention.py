"""The attention of HSTU over ragged sequences: SiLU in the place of softmax.

For a token i of a sequence, with the tokens j that its mask admits,

    o_i = sum_j SiLU(alpha q_i . k_j + rab_p[i - j] + rab_t[bucket(t_i - t_j)]) scale v_j

Zhai et al., "Actions Speak Louder than Words", ICML 2024, arXiv 2402.17152, equation 2. There
is no softmax: how strong an interest is stays in the sum. So rows share nothing, a kernel
needs one pass over the keys, and the mask multiplies after SiLU, as SiLU of minus infinity
would be no number that a kernel can count on.

`silu_attention` is the operator. Its kernels compute the same in different ways:

    reference  one sequence after another, dense, from the formula: what the others must equal
    bucketed   sequences of about equal length as one batched product; runs everywhere
    compiled   the same, compiled by torch at the first calls, a minute; needs a C++ compiler,
               without one it warns and is bucketed
    fused      tiles that stay in the cache, forward and backward; processors, with the extra
               `fast`; compiled at the first call, some 12 seconds, and kept beside the code
    triton     the same on CUDA
"""

from __future__ import annotations

import os
import shutil
import sysconfig
import warnings
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from adwright.core.errors import ConfigError, ValueInvalidError
from adwright.models.kernels.attention_spec import (
    CAUSAL,
    TIME_BUCKETS,
    AttentionSpec,
    Bounds,
    Terms,
    pairs,
    time_bucket,
)
from adwright.models.kernels.fused import fused, fused_for
from adwright.models.kernels.triton_attention import on_triton

# --------------------------------------------------------------------------------------------------
# HSTU attention as batched products over sequences of about equal length.
#
# Sequences are sorted by length and padded by at most an eighth; each
# group is one batched product, with the matrix of pairs in memory. Plain operations: every
# device, every type, differentiable any number of times, and what `torch.compile` can fuse.
#
# `compiled` lets it: bias, mask and SiLU of a group become one loop between the two products, for
# lengths and numbers of sequences that differ. Each of a single sequence or several, type, choice
# of biases and with or without gradients is compiled once, a minute of one core in all; after eight
# of them in a process torch goes on without. Differentiable once.

#: What computes a group: q, k, v [G, H, L, ..], index, bounds and terms to [G, H, L, Dv].
Group = Callable[[Tensor, Tensor, Tensor, Tensor, Bounds, Terms], Tensor]

#: Lengths are padded to a multiple of a sixteenth of their power of two, and of this.
LEAST_STEP = 8
#: Pairs of tokens in one group, at most, unless a single sequence has more.
GROUP_PAIRS = 1 << 22


def length_groups(lengths: Tensor) -> list[tuple[int, Tensor]]:
    """(padded length, sequences int64 [G]) for lengths int64 [U]; no sequence of length 0.

    Padding is at most an eighth of a length, or LEAST_STEP - 1 tokens.
    """
    rows = lengths.nonzero()[:, 0]
    power = torch.floor(torch.log2(lengths[rows].double())).long()
    step = torch.bitwise_left_shift(torch.ones_like(power), (power - 3).clamp(min=0))
    step = step.clamp(min=LEAST_STEP)
    padded = (lengths[rows] + step - 1) // step * step
    groups: list[tuple[int, Tensor]] = []
    for length in sorted(set(padded.tolist())):
        parts = torch.split(rows[padded == length], max(1, GROUP_PAIRS // length**2))
        groups += [(length, part) for part in parts]
    return groups


def bucketed(q: Tensor, k: Tensor, v: Tensor, offsets: Tensor, terms: Terms) -> Tensor:
    """Arguments and result as of `silu_attention`, whose checks have been made."""
    return _in_groups(q, k, v, offsets, terms, _group)


def compiled(q: Tensor, k: Tensor, v: Tensor, offsets: Tensor, terms: Terms) -> Tensor:
    """`bucketed` compiled by torch; where that is not possible it warns, and does not compile."""
    if missing := missing_to_compile():
        warnings.warn(
            f'kernel="compiled" needs {missing}, which is not here: batched products are computed '
            'as with kernel="bucketed", more slowly',
            stacklevel=3,
        )
        return bucketed(q, k, v, offsets, terms)
    return _in_groups(q, k, v, offsets, terms, _compiled_group())


def missing_to_compile() -> str:
    """What torch would need to compile and does not find; nothing where all is there."""
    name = os.environ.get("CXX", "g++")
    if shutil.which(name) is None:
        return f"a C++ compiler ({name})"
    if not (Path(sysconfig.get_path("include")) / "Python.h").is_file():
        return "Python's C headers (Python.h)"
    return ""


@cache
def _compiled_group() -> Group:
    made: Group = torch.compile(_group, dynamic=True)
    return made


def _in_groups(
    q: Tensor, k: Tensor, v: Tensor, offsets: Tensor, terms: Terms, group: Group
) -> Tensor:
    bounds = Bounds.of(offsets, terms.spec)
    if not int(bounds.length.sum()):
        # Nothing, yet a path to everything: processes that train together wait for gradients.
        given = (q, k, terms.position_bias, terms.time_bias)
        nothing = torch.stack([x.sum().to(v.dtype) for x in given if x is not None]).sum() * 0
        return v[:0] + nothing

    def attend(operands: list[Tensor], index: Tensor, rows: Tensor) -> Tensor:
        queries, keys, values = operands
        mine = Bounds(*(x[rows].to(q.device) for x in bounds))
        return group(queries, keys, values, index.to(q.device), mine, terms)

    return by_group([q, k, v], bounds.start, bounds.length, attend)


def by_group(
    operands: list[Tensor],
    start: Tensor,
    length: Tensor,
    attend: Callable[[list[Tensor], Tensor, Tensor], Tensor],
) -> Tensor:
    """Attend in groups of about equal length: [E, H, Dv] of the E tokens.

    operands: [E, H, ..]. start, length: int64 [U] of the sequences, not all empty.
    attend(operands, index, rows): [G, H, L, Dv] of the G sequences `rows`, whose tokens are
    index int64 [G, L]; it gets the operands as [G, H, L, ..]. Beyond the end of a sequence the
    index is E, and the operands are zero.
    """
    tokens, heads, *_ = operands[0].shape
    device, head = operands[0].device, torch.arange(heads, device=length.device)
    shapes, order, groups = [], [], []
    for longest, rows in length_groups(length):
        local = torch.arange(longest, device=length.device)
        index = torch.where(local < length[rows, None], start[rows, None] + local, tokens)
        place = torch.where(index < tokens, index * heads, tokens * heads)[:, None]
        order.append(place + head[:, None] * (index < tokens)[:, None])  # [G, H, L]
        shapes.append(order[-1].shape)
        groups.append((index, rows))
    # All groups are laid out at once, and their results back, by one look-up each.
    there = torch.cat([one.flatten() for one in order])
    back = torch.empty(tokens * heads + 1, dtype=torch.int64, device=length.device)
    back[there] = torch.arange(len(there), device=length.device)
    there, back = there.to(device), back[:-1].to(device)
    sizes = [one.numel() for one in order]
    parts = [torch.split(_laid_out(x, there, back), sizes) for x in operands]
    out = []
    for shape, (index, rows), *mine in zip(shapes, groups, *parts, strict=True):
        found = attend([one.view(*shape, -1) for one in mine], index, rows)
        out.append(found.flatten(0, 2))
    result: Tensor = _Unpadded.apply(torch.cat(out), there, back)  # type: ignore[no-untyped-call]
    return result.view(tokens, heads, -1)


def _laid_out(x: Tensor, there: Tensor, back: Tensor) -> Tensor:
    found: Tensor = _Padded.apply(x.flatten(0, 1), there, back)  # type: ignore[no-untyped-call]
    return found


class _Padded(torch.autograd.Function):
    """Rows of x [N, D] at `there` int64 [P], zeros where that is N. back int64 [N]: where each row
    went, so that the gradient too is looked up, and nothing is added row by row."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, there: Tensor, back: Tensor) -> Tensor:
        ctx.save_for_backward(there, back)
        found = x.index_select(0, there.clamp(max=len(x) - 1))
        return found.index_fill_(0, (there == len(x)).nonzero()[:, 0], 0)

    @staticmethod
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor, None, None]:
        return _Unpadded.apply(above, *ctx.saved_tensors), None, None  # type: ignore[no-untyped-call]


class _Unpadded(torch.autograd.Function):
    """The way back: rows of x [P, D] at `back`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, there: Tensor, back: Tensor) -> Tensor:
        ctx.save_for_backward(there, back)
        return x.index_select(0, back)

    @staticmethod
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor, None, None]:
        return _Padded.apply(above, *ctx.saved_tensors), None, None  # type: ignore[no-untyped-call]


def _group(q: Tensor, k: Tensor, v: Tensor, index: Tensor, bounds: Bounds, terms: Terms) -> Tensor:
    """Attention of q, k and v [G, H, L, ..], whose tokens are index [G, L], to [G, H, L, Dv]."""
    scores = (q @ k.transpose(2, 3)).mul(terms.alpha)
    scores = scores.to(torch.promote_types(v.dtype, torch.float32))
    bias, admitted = _bias(index, bounds, terms, scores.dtype)
    if bias is not None:
        scores = scores + bias
    weights = torch.nn.functional.silu(scores) * (admitted * terms.scale)
    return weights.to(v.dtype) @ v


def _bias(
    index: Tensor, bounds: Bounds, terms: Terms, dtype: torch.dtype
) -> tuple[Tensor | None, Tensor]:
    """The sum of both biases [G or 1, 1, L, L], and what is admitted, 0 or 1, in that shape."""
    length = index.shape[1]
    if terms.spec.contexts is None and terms.spec.targets is None:
        # Nothing differs between the sequences: one matrix for all of them.
        bounds = Bounds(*(x[:1] for x in bounds))
        bounds = bounds._replace(history=torch.full_like(bounds.history, length))
    place = torch.arange(length, device=index.device)
    admitted, distance = pairs(place, place, bounds, terms.spec.window)
    bias: Tensor | None = None
    if (table := terms.position_bias) is not None:
        at = distance.clamp(max=len(table) - 1)
        bias = table.to(dtype).index_select(0, at.flatten()).view(at.shape)
    if terms.time_bias is not None and terms.time is not None and terms.query_time is not None:
        at = index.clamp(max=len(terms.time) - 1)
        elapsed = terms.query_time[at][:, :, None] - terms.time[at][:, None, :]
        bucket = time_bucket(elapsed)  # [G, L, L]
        late = terms.time_bias.to(dtype).index_select(0, bucket.flatten()).view(bucket.shape)
        bias = late if bias is None else bias + late
    return None if bias is None else bias[:, None], admitted[:, None].to(dtype)


Kernel = Literal["auto", "reference", "bucketed", "compiled", "fused", "triton"]


def silu_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    offsets: Tensor,
    *,
    scale: float,
    alpha: float = 1.0,
    spec: AttentionSpec = CAUSAL,
    position_bias: Tensor | None = None,
    time_bias: Tensor | None = None,
    time: Tensor | None = None,
    query_time: Tensor | None = None,
    kernel: Kernel = "auto",
) -> Tensor:
    """Attention of U sequences of E tokens in all, laid end to end: [E, H, Dv], v's type.

    q, k: [E, H, Dqk]. v: [E, H, Dv]. offsets: int64 [U + 1], as of `Jagged`.
    scale: 1 / N with N the longest sequence of the model, whatever the batch holds.
    alpha: factor of q . k; 1 in the research code, Dqk ** -0.5 in the ranking model.
    spec: who sees whom.
    position_bias: [N] by distance, for all heads; a longer distance takes the last. Context
        tokens, which look forward too, have distance 0 there; candidates stand all at the
        place after the history.
    time_bias: [129] by bucket of the seconds between, for all heads: bucket(s) =
        floor(ln(max(1, |s|)) / 0.301), at most 128. Needs time and query_time.
    time: int64 [E] seconds, when each token happened.
    query_time: int64 [E] seconds, what a token knows of the time: that of the next event where
        the time of a request is known when it is answered, else its own.
    kernel: see the module's docstring. "auto" takes fused where it can, else bucketed; triton
        only when asked for, as it has been checked in triton's interpreter alone.

    Products are summed in float32 at least, also for bfloat16 inputs and under autocast.

    Raises ValueInvalidError where shapes or types do not fit each other, ConfigError for an
    unknown kernel or one that cannot compute the tensors, MissingExtraError for "fused" without
    the extra `fast`.
    """
    _check(q, k, v, offsets)
    _check_biases(len(q), position_bias, time_bias, time, query_time)
    if time_bias is None:
        time = query_time = None
    terms = Terms(scale, alpha, spec, position_bias, time_bias, time, query_time)
    with torch.autocast(q.device.type, enabled=False):
        match kernel:
            case "reference":
                return reference(q, k, v, offsets, terms)
            case "bucketed":
                return bucketed(q, k, v, offsets, terms)
            case "compiled":
                return compiled(q, k, v, offsets, terms)
            case "fused":
                return fused(q, k, v, offsets, terms)
            case "triton":
                return on_triton(q, k, v, offsets, terms)
            case "auto":
                best = fused if fused_for(q) else bucketed
                return best(q, k, v, offsets, terms)
    raise ConfigError(f"there is no kernel {kernel!r}", where="kernel", hint=f"one of {Kernel}")


def reference(q: Tensor, k: Tensor, v: Tensor, offsets: Tensor, terms: Terms) -> Tensor:
    """The formula, one sequence after another, with the whole matrix of pairs."""
    wide = torch.promote_types(v.dtype, torch.float32)
    out = []
    bounds = Bounds.of(offsets, terms.spec)
    for u, (start, end) in enumerate(pairwise(offsets.tolist())):
        mine = Bounds(*(x[u].to(q.device) for x in bounds))
        place = torch.arange(end - start, device=q.device)
        admitted, distance = pairs(place, place, mine, terms.spec.window)
        queries, keys, values = (x[start:end].to(wide) for x in (q, k, v))
        scores = terms.alpha * torch.einsum("ihd,jhd->hij", queries, keys)  # [H, L, L]
        if terms.position_bias is not None:
            table = terms.position_bias.to(wide)
            scores = scores + table[distance.clamp(max=len(table) - 1)]
        if terms.time_bias is not None and terms.time is not None and terms.query_time is not None:
            elapsed = terms.query_time[start:end, None] - terms.time[None, start:end]
            scores = scores + terms.time_bias.to(wide)[time_bucket(elapsed)]
        weights = scores * torch.sigmoid(scores) * terms.scale * admitted
        out.append(torch.einsum("hij,jhd->ihd", weights, values))
    return torch.cat([*out, v[:0].to(wide)]).to(v.dtype)


def _check(q: Tensor, k: Tensor, v: Tensor, offsets: Tensor) -> None:
    """Raise ValueInvalidError unless the tensors fit each other."""
    if q.dim() != 3 or q.shape != k.shape or v.dim() != 3 or q.shape[:2] != v.shape[:2]:
        raise ValueInvalidError(
            "q and k must be [E, H, Dqk] and v [E, H, Dv]",
            value=f"{list(q.shape)}, {list(k.shape)}, {list(v.shape)}",
        )
    if not q.dtype == k.dtype == v.dtype or not q.is_floating_point():
        raise ValueInvalidError(
            "q, k and v must be of one floating type", value=f"{q.dtype}, {k.dtype}, {v.dtype}"
        )
    if offsets.dtype != torch.int64 or offsets.dim() != 1 or not len(offsets):
        raise ValueInvalidError(
            "offsets must be a one-dimensional int64 tensor of at least one element",
            value=f"{offsets.dtype} {list(offsets.shape)}",
        )
    falls = bool((offsets[1:] < offsets[:-1]).any())
    if int(offsets[0]) != 0 or int(offsets[-1]) != len(q) or falls:
        raise ValueInvalidError(
            "offsets must run from 0 to the number of tokens without falling",
            value=f"{len(q)} tokens, offsets to {int(offsets[-1])}",
        )


def _check_biases(
    tokens: int,
    position_bias: Tensor | None,
    time_bias: Tensor | None,
    time: Tensor | None,
    query_time: Tensor | None,
) -> None:
    """Raise ValueInvalidError unless the tables and times have their shapes."""
    if position_bias is not None and (position_bias.dim() != 1 or not len(position_bias)):
        raise ValueInvalidError("position_bias must be [N]", value=list(position_bias.shape))
    if time_bias is None:
        return
    if time_bias.shape != (TIME_BUCKETS,):
        raise ValueInvalidError(f"time_bias must be [{TIME_BUCKETS}]", value=list(time_bias.shape))
    for name, one in (("time", time), ("query_time", query_time)):
        if one is None or one.dtype != torch.int64 or one.shape != (tokens,):
            raise ValueInvalidError(
                "time_bias needs the seconds of each token",
                column=name,
                value=None if one is None else f"{one.dtype} {list(one.shape)}",
                hint=f"an int64 tensor [{tokens}]",
            )
