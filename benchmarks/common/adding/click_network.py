"""Add a made-up network of click rates, which weighs vectors of texts, to a copy of src."""

from __future__ import annotations

from benchmarks.common.adding.copied import Copied

NETWORK = '''"""A click rate by a weighted sum of the vectors of an ad's texts."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from adwright.core.config import Positive, settings
from adwright.creative.response.inputs import AdFeatures, AdInputs


@settings
class WeighedConfig:
    """scale: of the answer."""

    kind: Literal["weighed"] = "weighed"
    scale: Positive = 1.0

    def network(self, features: AdFeatures) -> Weighed:
        """A new network that reads what `features` says."""
        return Weighed(self, features)


class Weighed(nn.Module):
    """Encoded ads [B] to log click rates [B], beside a linear part."""

    def __init__(self, config: WeighedConfig, features: AdFeatures) -> None:
        super().__init__()
        self.config = config
        self.weight = nn.Linear(sum(one.width for one in features.vectors), 1)

    def forward(self, inputs: AdInputs, offset: Tensor | None = None) -> Tensor:
        """Log click rates [B]. offset: [B], of the linear part."""
        read = torch.nan_to_num(torch.cat(inputs.vectors, 1))
        y: Tensor = self.config.scale * self.weight(read).squeeze(1)
        return y if offset is None else y + offset
'''


def put_click_network(copy: Copied) -> None:
    """Make the addition in `copy`."""
    copy.add("adwright/creative/response/weighed.py", NETWORK)
    copy.change(
        "adwright/creative/response/fit.py",
        (
            "from adwright.creative.response.outcomes import ",
            "from adwright.creative.response.weighed import WeighedConfig\n"
            "from adwright.creative.response.outcomes import ",
        ),
        (
            "NetworkConfig: TypeAlias = AutoIntConfig\n",
            "NetworkConfig: TypeAlias = AutoIntConfig | WeighedConfig\n",
        ),
    )
