"""Add a made-up sequence model, which averages what came before, to a copy of src."""

from __future__ import annotations

from benchmarks.common.adding.copied import Copied

SEQUENCE_MODEL = '''"""A retriever of the next item by the mean of the events so far."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from adwright.data.sequences.item_sequences import SequenceBatch
from adwright.models.sequential.sequence_model import Encoded, SequenceConfig, SequenceModel

__all__ = ["MeanSequence", "MeanSequenceConfig"]


@dataclass(frozen=True)
class MeanSequenceConfig(SequenceConfig):
    """Sizes of `SequenceConfig`; blocks and heads are not read."""

    kind: ClassVar[str] = "mean"
    title: ClassVar[str] = "Mean"


class MeanSequence(SequenceModel):
    """A retriever of the next item."""

    config: MeanSequenceConfig

    def __init__(
        self,
        config: MeanSequenceConfig,
        items: int,
        *,
        count: NDArray[np.int64] | None = None,
        context_sizes: tuple[int, ...] = (),
    ) -> None:
        super().__init__(config, items, count=count, context_sizes=context_sizes)
        self.out = nn.Linear(config.width, config.width)

    def encode(self, batch: SequenceBatch) -> Encoded:
        """Unit vectors [E, D] of all events."""
        tokens = self.input(batch, None)
        lengths = tokens.offsets.diff()
        start = tokens.offsets[:-1].repeat_interleave(lengths)
        sums = torch.cat([tokens.x.new_zeros(1, self.config.width), tokens.x.cumsum(0)])
        place = torch.arange(len(tokens.x))
        mean = (sums[1:] - sums[start]) / (place - start + 1)[:, None]
        return self.spoken(replace(tokens, x=tokens.x + self.out(mean)))
'''


def put_sequence_model(copy: Copied) -> None:
    """Make the addition in `copy`."""
    copy.add("adwright/models/sequential/mean.py", SEQUENCE_MODEL)
    copy.change(
        "adwright/models/sequential/union.py",
        (
            "from adwright.models.sequential.hstu_ranker import HSTURanker",
            "from adwright.models.sequential.mean import MeanSequence, MeanSequenceConfig\n"
            "from adwright.models.sequential.hstu_ranker import HSTURanker",
        ),
        (
            "SequenceRetriever = HSTU | SASRec\n",
            "SequenceRetriever = HSTU | SASRec | MeanSequence\n",
        ),
        (
            "_RetrieverConfig = HSTUConfig | SASRecConfig\n",
            "_RetrieverConfig = HSTUConfig | SASRecConfig | MeanSequenceConfig\n",
        ),
        (
            '        case "hstu_ranker":\n',
            '        case "mean":\n            return MeanSequenceConfig\n'
            '        case "hstu_ranker":\n',
        ),
        (
            "            return SASRec(config, items, count=count, context_sizes=context_sizes)\n",
            "            return SASRec(config, items, count=count, context_sizes=context_sizes)\n"
            "        case MeanSequenceConfig():\n"
            "            return MeanSequence(\n"
            "                config, items, count=count, context_sizes=context_sizes\n"
            "            )\n",
        ),
    )
