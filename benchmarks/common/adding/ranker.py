"""Add a made-up fine ranker, which averages a user's history, to a copy of src."""

from __future__ import annotations

from benchmarks.common.adding.copied import Copied

RANKER = '''"""A fine ranker on the mean item vector of the history before a row."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from adwright.data.batches.batch import Batch
from adwright.data.features import FeatureSpec, ItemTable
from adwright.models.calibration import EmbeddingConfig, ItemEmbedding, RowEmbedding
from adwright.models.ranking.din import Activation
from adwright.models.ranking.din import row_mlp

__all__ = ["Mean", "MeanConfig"]


@dataclass(frozen=True)
class MeanConfig:
    """activation, mlp_hidden: of the MLP."""

    title: ClassVar[str] = "Mean"

    kind: Literal["mean"] = "mean"
    activation: Activation = "prelu"
    mlp_hidden: tuple[int, ...] = (16,)
    embedding: EmbeddingConfig = field(default_factory=EmbeddingConfig)


class Mean(nn.Module):
    """The ranker for the features of `spec` and the catalogue `items`."""

    def __init__(self, config: MeanConfig, spec: FeatureSpec, items: ItemTable) -> None:
        super().__init__()
        self.config = config
        self.item = ItemEmbedding(spec, items, config.embedding)
        self.row = RowEmbedding((*spec.coded_rows, *spec.multi_rows), config.embedding)
        known = 2 * self.item.width + self.row.width + len(spec.numeric_rows)
        self.mlp = row_mlp(known, config.mlp_hidden, config.activation)

    def forward(self, batch: Batch) -> Tensor:
        """Logits [T] of the batch's rows."""
        events = self.item(batch.history.values)
        before = torch.cat([events.new_zeros(1, self.item.width), events.cumsum(0)])
        first = batch.history.offsets[:-1].repeat_interleave(batch.group_sizes)
        seen = before[first + batch.end] - before[first + batch.begin]
        seen = seen / (batch.end - batch.begin).clamp(min=1)[:, None]
        features = [self.item(batch.item), seen, self.row(batch), batch.numeric]
        logits: Tensor = self.mlp(torch.cat(features, 1)).squeeze(1)
        return logits

    def loss(self, batch: Batch) -> Tensor:
        """Binary cross-entropy, summed over the rows."""
        logits = self(batch)
        return functional.binary_cross_entropy_with_logits(logits, batch.label, reduction="sum")

    def history_cost(
        self, candidates: NDArray[np.int64], events: NDArray[np.int64]
    ) -> tuple[float, int]:
        """FLOPs of the means, and the floats that are read per item."""
        return float(events.sum()) * self.item.width, self.item.width
'''


def put_ranker(copy: Copied) -> None:
    """Make the addition in `copy`."""
    copy.add("adwright/models/ranking/mean.py", RANKER)
    copy.change(
        "adwright/models/ranking/union.py",
        (
            "import HSTUTarget, HSTUTargetConfig\n",
            "import HSTUTarget, HSTUTargetConfig\n"
            "from adwright.models.ranking.mean import Mean, MeanConfig\n",
        ),
        (
            "[DINConfig | HSTUTargetConfig, BeforeValidator",
            "[DINConfig | HSTUTargetConfig | MeanConfig, BeforeValidator",
        ),
        ("RankerModel = DIN | HSTUTarget", "RankerModel = DIN | HSTUTarget | Mean"),
        (
            ") -> DINConfig | HSTUTargetConfig:\n",
            ") -> DINConfig | HSTUTargetConfig | MeanConfig:\n",
        ),
        (
            "        case other:\n",
            '        case "mean":\n'
            "            return from_jsonable(MeanConfig, dict(values))\n"
            "        case other:\n",
        ),
        (
            "            return HSTUTarget(config, spec, items)\n",
            "            return HSTUTarget(config, spec, items)\n"
            "        case MeanConfig():\n"
            "            return Mean(config, spec, items)\n",
        ),
    )
