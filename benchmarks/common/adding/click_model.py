"""Add a made-up candidate of click rates, by how long a text is, to a copy of src."""

from __future__ import annotations

from benchmarks.common.adding.copied import Copied

CANDIDATE = '''"""A click rate by how long a text is."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from adwright.creative.response.inputs import Block, Rows
from adwright.creative.response.learners import RidgePart, Taught


def fit_weighed(blocks: Mapping[str, Block], taught: Taught, rows: Rows) -> RidgePart:
    """One weight for all places of how long a text is."""
    x = np.asarray(blocks["length"])[rows].sum(1)
    slope, level = np.polyfit(x, taught.y[rows], 1)
    return RidgePart(("length",), np.full(blocks["length"].shape[1], slope), float(level))
'''


def put_click_model(copy: Copied) -> None:
    """Make the addition in `copy`."""
    copy.add("adwright/creative/response/weighed.py", CANDIDATE)
    copy.change(
        "adwright/creative/response/fit.py",
        (
            "from adwright.creative.response.outcomes import CreativeOutcomes, stories_of\n",
            "from adwright.creative.response.outcomes import CreativeOutcomes, stories_of\n"
            "from adwright.creative.response.weighed import fit_weighed\n",
        ),
        (
            "    if len(taught.y) <= config.most and blocks:\n",
            '    made["weighed"] = lambda rows: fit_weighed(blocks, taught, rows)\n'
            "    if len(taught.y) <= config.most and blocks:\n",
        ),
    )
