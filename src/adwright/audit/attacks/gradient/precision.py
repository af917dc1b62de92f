"""In which type this processor reads many tokens faster: measured, in a tenth of a second.

    dtype = faster_dtype()          # torch.float32 or torch.bfloat16

`fitting_dtype` of the engine answers for one token at a time, where half the bytes are twice as
fast. Here products of hundreds of tokens count: bfloat16 is several times faster with tile
instructions (AMX), and slower than float32 on processors that have only the older ones.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch.nn import functional

#: Tokens, and the width and inner width of a layer of a small model.
_SHAPE = (512, 576, 1536)
_TIMES = 3


def faster_dtype(cpu: Callable[[], float] = time.process_time) -> torch.dtype:
    """The faster of bfloat16 and float32 for matrix products of a few hundred tokens; float32 of
    equals, since its losses are finer. cpu: seconds of this process so far."""
    seconds = {one: _seconds(one, cpu) for one in (torch.float32, torch.bfloat16)}
    halved = seconds[torch.bfloat16] < 0.8 * seconds[torch.float32]
    return torch.bfloat16 if halved else torch.float32


@torch.inference_mode()
def _seconds(dtype: torch.dtype, cpu: Callable[[], float]) -> float:
    tokens, width, inner = _SHAPE
    x, weight = torch.ones(tokens, width, dtype=dtype), torch.ones(inner, width, dtype=dtype)
    functional.linear(x, weight)  # what is made once is not counted
    found = []
    for _ in range(_TIMES):
        began = cpu()
        functional.linear(x, weight)
        found.append(cpu() - began)
    return min(found)
