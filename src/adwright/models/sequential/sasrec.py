"""SASRec, the Transformer of sequential recommendation: what HSTU is compared with.

Kang and McAuley, "Self-Attentive Sequential Recommendation", ICDM 2018. A block:

    x <- x + Dropout(W_o softmax(Q K^T / sqrt(Dh)) V),   Q, K, V = W_q LN(x), W_k LN(x), W_v LN(x)
    x <- x + Dropout(W_2 Dropout(ReLU(W_1 LN(x))))

causal, and a last LN after the blocks. Input, head and loss are those of `sequence_model`, with
a softmax over items instead of the paper's one negative and binary loss (SASRec* of Zhai et
al., ICML 2024, who took FFN width D). The paper normalises the queries alone; here, as usual
since, keys and values are normalised too.

Sequences stay ragged; attention pads them in groups of about equal length. There is no time:
what a person does next is predicted from what was done before alone.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from adwright.core.config import Natural, settings
from adwright.core.errors import ConfigError
from adwright.data.sequences.item_sequences import SequenceBatch
from adwright.models.kernels.attention_spec import dropout
from adwright.models.kernels.bucketed import by_group
from adwright.models.kernels.dropped_attention import dropped_attention
from adwright.models.sequential.sequence_model import Encoded, SequenceConfig, SequenceModel


@settings
class SASRecConfig(SequenceConfig):
    """hidden: width of the FFN, 0 for that of the model. attention_dropout: of the softmax's
    weights, None for `dropout`; on a CPU `dropped_attention` computes it, as torch's flash kernel
    knows none there.
    """

    kind: ClassVar[str] = "sasrec"
    title: ClassVar[str] = "SASRec"

    hidden: Natural = 0
    attention_dropout: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width % self.heads:
            raise ConfigError(
                "width must be a multiple of heads", where=f"{self.width}, {self.heads}"
            )
        if not 0 <= (self.attention_dropout or 0.0) < 1:
            raise ConfigError(
                "attention_dropout is from 0 to below 1", where=str(self.attention_dropout)
            )


def causal_attention(
    q: Tensor, k: Tensor, v: Tensor, offsets: Tensor, *, dropout: float = 0.0
) -> Tensor:
    """softmax(q k^T / sqrt(D)) v of sequences that lie end to end, each token seeing itself
    and what is before it: q, k, v [T, H, D] and offsets int64 [U + 1] to [T, H, D].

    dropout: of the softmax's weights.
    """
    if not len(q):
        return v

    def attend(operands: list[Tensor], *_: Tensor) -> Tensor:
        # Places beyond the end come after every real token, so none of these sees them.
        queries, keys, values = operands
        if dropout and q.device.type == "cpu":
            return dropped_attention(queries, keys, values, dropout)
        return functional.scaled_dot_product_attention(
            queries, keys, values, dropout_p=dropout, is_causal=True
        )

    return by_group([q, k, v], offsets[:-1], offsets.diff(), attend)


class SASRecBlock(nn.Module):
    """Attention and FFN, each normed before and added after."""

    def __init__(self, config: SASRecConfig) -> None:
        super().__init__()
        width, hidden = config.width, config.hidden or config.width
        self.heads, self.dropout = config.heads, config.dropout
        weights = config.attention_dropout
        self.attention_dropout = config.dropout if weights is None else weights
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.wide, self.narrow = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x: Tensor, offsets: Tensor) -> Tensor:
        """x [T, D] of sequences at `offsets` to [T, D]."""
        rate, training = self.dropout, self.training
        q, k, v = self.qkv(self.norms[0](x)).unflatten(-1, (3, self.heads, -1)).unbind(1)
        weights = self.attention_dropout if training else 0.0
        seen = causal_attention(q, k, v, offsets, dropout=weights).flatten(1)
        x = x + dropout(self.out(seen), rate, training)
        hidden = dropout(functional.relu(self.wide(self.norms[1](x))), rate, training)
        return x + dropout(self.narrow(hidden), rate, training)


class SASRec(SequenceModel):
    """A retriever of the next item."""

    config: SASRecConfig

    def __init__(
        self,
        config: SASRecConfig,
        items: int,
        *,
        count: NDArray[np.int64] | None = None,
        context_sizes: tuple[int, ...] = (),
    ) -> None:
        super().__init__(config, items, count=count, context_sizes=context_sizes)
        self.blocks = nn.ModuleList(SASRecBlock(config) for _ in range(config.blocks))
        self.norm = nn.LayerNorm(config.width)

    def encode(self, batch: SequenceBatch) -> Encoded:
        """Unit vectors [E, D] of all events."""
        tokens = self.input(batch, None)
        x = tokens.x
        for block in self.blocks:
            x = block(x, tokens.offsets)
        return self.spoken(replace(tokens, x=self.norm(x)))
