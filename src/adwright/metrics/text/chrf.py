"""chrF: the F-score of character n-grams, which needs no words and so serves all languages.

    chrf_per_text(["a red shirt"], ["red shirts"])

Popović, "chrF: character n-gram F-score for automatic MT evaluation", 2015. With chrP and chrR the
precision and recall of character n-grams, averaged over n = 1 to 6:

    chrF = (1 + beta^2) chrP chrR / (beta^2 chrP + chrR),     beta = 2

White space is left out. A text that is shorter than n has no n-grams: that n is left out of both
averages where either text has none. The paper leaves this open; sacrebleu does it too, whose
figures these are, divided by 100.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from adwright.core.errors import ConfigError
from adwright.metrics.text.words import require_pairs

__all__ = ["chrf", "chrf_per_text"]


def chrf_per_text(
    outputs: Sequence[str], references: Sequence[str], *, order: int = 6, beta: float = 2.0
) -> npt.NDArray[np.float64]:
    """chrF of each output with the reference of its row: [N], 0 to 1.

    order: the longest n-grams. beta: how many times recall counts precision.
    Raises DataError that names the row which is no text, or where there are not as many of both;
    ConfigError for an order below 1 or a beta that is not above 0.
    """
    require_pairs(outputs, references)
    if order < 1 or not beta > 0:
        raise ConfigError(
            "order must be at least 1 and beta above 0", where=f"order {order}, beta {beta}"
        )
    scores = [
        chrf(one, other, order=order, beta=beta)
        for one, other in zip(outputs, references, strict=True)
    ]
    return np.array(scores, np.float64)


def chrf(output: str, reference: str, *, order: int = 6, beta: float = 2.0) -> float:
    """chrF of one output, 0 to 1; 0 where either text is empty."""
    mine, theirs = "".join(output.split()), "".join(reference.split())
    precision = recall = 0.0
    orders = min(order, len(mine), len(theirs))
    for n in range(1, orders + 1):
        found, wanted = _counts(mine, n), _counts(theirs, n)
        if len(found) > len(wanted):
            both = sum(min(count, found[gram]) for gram, count in wanted.items() if gram in found)
        else:
            both = sum(min(count, wanted[gram]) for gram, count in found.items() if gram in wanted)
        precision += both / (len(mine) - n + 1)
        recall += both / (len(theirs) - n + 1)
    if not orders or not precision + recall:
        return 0.0
    precision, recall = precision / orders, recall / orders
    return (1 + beta**2) * precision * recall / (beta**2 * precision + recall)


def _counts(text: str, n: int) -> Counter[str]:
    return Counter(text[at : at + n] for at in range(len(text) - n + 1))
