"""How alike variants of a text for A/B tests are: the ROUGE-L of each pair (`metrics.text.rouge`).

alikeness(["Tea for you", "Tea for you!", "A quiet cup"])      # [3, 3]
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from adwright.metrics.text.rouge import rouge_l
from adwright.metrics.text.words import require_texts


def alikeness(texts: Sequence[str]) -> npt.NDArray[np.float64]:
    """ROUGE-L of each pair: [N, N], symmetric, with ones on the diagonal.

    Raises DataError that names the row which is no text.
    """
    require_texts(texts, "texts")
    found = np.eye(len(texts))
    for one in range(len(texts)):
        for other in range(one):
            same = texts[one].casefold().split() == texts[other].casefold().split()
            found[one, other] = 1.0 if same else rouge_l(texts[one], texts[other])
    return np.maximum(found, found.T)
