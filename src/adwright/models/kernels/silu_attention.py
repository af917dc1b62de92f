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

from itertools import pairwise
from typing import Literal

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
from adwright.models.kernels.bucketed import bucketed, compiled
from adwright.models.kernels.fused import fused, fused_for
from adwright.models.kernels.triton_attention import on_triton

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
