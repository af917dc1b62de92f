"""M-FALCON in compiled tiles, see `mfalcon_loops`.

K of a history is packed into the panels that the products read, V as it is; both in float32 or in
bfloat16. Sums, LN and SiLU's argument are float32 in either case, and so are the candidates
between two layers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from adwright.core.errors import ValueInvalidError
from adwright.models.sequential.hstu import HSTULayer
from adwright.models.sequential.hstu_ranker import HSTURanker
from adwright.models.sequential.mfalcon_cache import History, LayerHistory, SeenTokens, layers_of
from adwright.models.sequential.mfalcon_torch import LayerMask, own_bias

if TYPE_CHECKING:
    from adwright.models.kernels.mfalcon_loops import Columns, LayerSizes, Weights

__all__ = ["FusedScorer", "PackedHistory", "fused_for"]

#: Vectors of 16 numbers, and blocks of 8 candidates: see `hstu_product`.
_LANES, _BLOCK = 16, 8


def fused_for(model: HSTURanker) -> bool:
    """Whether the loops can be compiled here, and the model computes in float32."""
    parameters = model.parameters()
    known = all(p.device.type == "cpu" and p.dtype == torch.float32 for p in parameters)
    return known and find_spec("numba") is not None


@dataclass(frozen=True)
class PackedHistory:
    """`SeenTokens`, packed. keys: float32 [n / 16, H, Dqk, 16], or of bfloat16 [n / 16, H, Dqk / 2,
    16, 2]; values: [n, H, Dv], or [n / 2, H, Dv, 2]; n and Dv rounded up to 16 by zeros, Dqk to
    2. length, size, width: n, Dqk and Dv as they are."""

    keys: Tensor
    values: Tensor
    time: Tensor | None
    length: int
    size: int
    width: int

    def __len__(self) -> int:
        return self.length

    @property
    def k(self) -> Tensor:
        """[n, H, Dqk], unpacked; of bfloat16 as it was rounded."""
        keys = self.keys if self.keys.dim() == 4 else self.keys.transpose(3, 4).flatten(2, 3)
        found = keys.permute(0, 3, 1, 2).flatten(0, 1)
        return found[: self.length, :, : self.size].float()

    @property
    def v(self) -> Tensor:
        """[n, H, Dv], unpacked."""
        values = self.values
        if values.dim() == 4:
            values = values.permute(0, 3, 1, 2).flatten(0, 1)
        return values[: self.length, :, : self.width].float()

    @classmethod
    def of(cls, seen: SeenTokens, dtype: torch.dtype) -> PackedHistory:
        """Pack what candidates see of a layer."""
        length, heads, size = seen.k.shape
        width, n = seen.v.shape[2], length + -length % _LANES
        words = size + size % 2 if dtype == torch.bfloat16 else size
        k = functional.pad(seen.k, (0, words - size, 0, 0, 0, n - length)).to(dtype)
        v = functional.pad(seen.v, (0, -width % _LANES, 0, 0, 0, n - length)).to(dtype)
        if dtype == torch.float32:
            keys = k.reshape(n // _LANES, _LANES, heads, words).permute(0, 2, 3, 1)
        else:
            keys = k.reshape(n // _LANES, _LANES, heads, words // 2, 2).permute(0, 2, 3, 1, 4)
            v = v.reshape(n // 2, 2, heads, v.shape[2]).permute(0, 2, 3, 1)
        return cls(keys.contiguous(), v.contiguous(), seen.time, length, size, width)


class FusedScorer:
    """Scores candidates with one model, whose weights are packed at construction.

    bfloat16: multiply in it where the processor can.
    """

    def __init__(self, model: HSTURanker, *, bfloat16: bool = False) -> None:
        from adwright.core.vector_code import has_pairs

        self.model = model
        self.dtype = torch.bfloat16 if bfloat16 and has_pairs() else torch.float32
        self._layers = [self._packed(layer) for layer in layers_of(model)]

    def pack(self, history: History) -> History:
        """The history as `score` reads it."""
        packed = (PackedHistory.of(seen, self.dtype) for seen in history.layers)
        return replace(history, layers=tuple(packed))

    def score(self, history: History, codes: Tensor, masks: list[LayerMask]) -> Tensor:
        """Vectors [m, D] of candidates int64 [m] before the model's head, of a packed history;
        masks: of `mfalcon_torch.layer_masks`."""
        from adwright.models.kernels.mfalcon_loops import through_layer

        width = self.model.config.width
        with torch.no_grad():
            rows = functional.pad(codes, (0, -len(codes) % _BLOCK))
            x = self.model.candidates(rows, history.events)
            x = functional.pad(x, (0, -width % _LANES)).contiguous()
            chain = zip(self._layers, history.layers, masks, strict=True)
            for (layer, sizes, weights), seen, mask in chain:
                columns = _columns(layer, seen, mask, history.contexts)
                through_layer(x.numpy(), sizes, weights, columns)
            return x[: len(codes), :width]

    def _packed(self, layer: HSTULayer) -> tuple[HSTULayer, LayerSizes, Weights]:
        from adwright.models.kernels.mfalcon_loops import LayerSizes, Weights

        config = layer.config
        sizes = LayerSizes(
            heads=config.heads,
            q_size=config.qk_width,
            v_size=config.v_width,
            width=config.width,
            group=config.norm == "group",
            concat=config.concat,
            alpha=np.float32(layer.alpha),
            scale=np.float32(1 / layer.longest),
            pairs=self.dtype == torch.bfloat16,
        )
        with torch.no_grad():
            own = np.float32(own_bias(layer)[0])
            w1, w2 = (_panels(weight, self.dtype) for weight in (layer.w1, layer.w2.weight))
        return layer, sizes, Weights(w1, w2, own)


def _columns(layer: HSTULayer, seen: SeenTokens, of_layer: LayerMask, contexts: int) -> Columns:
    from adwright.models.kernels.mfalcon_loops import Columns

    if not isinstance(seen, PackedHistory):
        raise ValueInvalidError("a history is packed before it is asked", hint="call `pack`")
    config, n = layer.config, len(seen)
    filled = -n % _LANES
    stretches = [[0, n + filled]] if n else []
    mask = torch.zeros(0)
    if config.window and n:
        mask = functional.pad(of_layer.admitted.float(), (0, filled))
        always = max(contexts, config.prefix)
        early = always + -always % _LANES
        late = max(0, n - config.window + 1) // _LANES * _LANES
        if early < late:
            stretches = [[0, early], [late, n + filled]]
    return Columns(
        k=_words(seen.keys),
        v=_words(seen.values),
        bias=functional.pad(of_layer.bias(layer), (0, filled)).numpy(),
        mask=mask.numpy(),
        masked=config.window > 0,
        stretches=np.array(stretches, np.int64).reshape(-1, 2),
    )


def _panels(weight: Tensor, dtype: torch.dtype) -> Any:
    """[outputs, inputs] as int32 [outputs / 16, words, 16]: as the keys of one head."""
    rows = weight[:, None]
    return _words(PackedHistory.of(LayerHistory(rows, rows, None), dtype).keys)[:, 0]


def _words(x: Tensor) -> Any:
    """float32, or bfloat16 [.., 2], as int32 words."""
    words = x.contiguous().view(torch.int32)
    return (words if x.dtype == torch.float32 else words.squeeze(-1)).numpy()
