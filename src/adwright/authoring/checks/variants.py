"""Variants of a text for A/B tests: different enough, and readable in any order.

    diverse(["Tea for you", "Tea for you!", "A quiet cup"], most=2)   # (0, 2)

A platform puts headlines side by side in an order of its own, so they must not repeat one another,
nor refer to one another ("And there is more"). Two variants are as alike as their ROUGE-L
(`metrics.text.rouge`); a set is as diverse as 1 minus the mean over its pairs. No figure depends on
the order in which variants are given.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from adwright.authoring.checks.finding import Finding
from adwright.core.config import require_count
from adwright.core.errors import ConfigError
from adwright.metrics.text.rouge import rouge_l
from adwright.metrics.text.words import require_texts

__all__ = ["alikeness", "check_variants", "diverse", "diversity"]

#: A beginning that needs the text before it.
_LEANS = re.compile(
    r"\s*(?:and|but|or|so|also|then|plus|moreover|besides|this one|that[’']s why|because|und|aber"
    r"|et|mais|y|pero)\b",
    re.IGNORECASE,
)
_ALIKE = 0.7


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


def diversity(texts: Sequence[str]) -> float:
    """1 minus the mean alikeness over pairs, 0 to 1; NaN for fewer than two texts."""
    pairs = alikeness(texts)[np.tril_indices(len(texts), -1)]
    return float(1 - pairs.mean()) if len(pairs) else float("nan")


def check_variants(
    texts: Sequence[str], *, alike: float = _ALIKE
) -> tuple[tuple[Finding, ...], ...]:
    """For each variant its findings: that another one is too like it, that it leans on another.

    alike: ROUGE-L from which on two are too alike, above 0. Both of a pair are named, so that a
    person may choose. Raises ConfigError for another `alike`.
    """
    _require_share(alike)
    pairs = alikeness(texts)
    np.fill_diagonal(pairs, 0)
    rows: list[tuple[Finding, ...]] = []
    for row, text in enumerate(texts):
        found: list[Finding] = []
        others = np.flatnonzero(pairs[row] >= alike)
        if others.size:
            message = f"it is too like {len(others)} other variant" + "s" * (others.size > 1)
            found.append(
                Finding("variants/alike", 0, len(text), "warning", message, "keep one of them")
            )
        leans = _LEANS.match(text)
        if leans:
            message = "it leans on a text before it, and platforms choose the order"
            found.append(
                Finding("variants/order", 0, leans.end(), "warning", message, "begin otherwise")
            )
        rows.append(tuple(found))
    return tuple(rows)


def diverse(texts: Sequence[str], *, most: int, alike: float = _ALIKE) -> tuple[int, ...]:
    """Rows of at most `most` variants none of which is too like another, in ascending order.

    Greedy: first the text that is least like all others, then always the one whose nearest chosen
    text is farthest; the text itself decides between equals, so that the choice does not depend on
    the order given (of equal texts the first row is taken). Raises ConfigError for a `most` below 1
    or an `alike` that is not above 0.
    """
    require_count("most", most)
    _require_share(alike)
    if not len(texts):
        return ()
    pairs = alikeness(texts)
    left = sorted(range(len(texts)), key=lambda row: (texts[row], row))
    totals = {row: round(float(pairs[row].sum()), 9) for row in left}
    first = min(left, key=lambda row: (totals[row], texts[row], row))
    chosen = [first]
    left.remove(first)
    while left and len(chosen) < most:
        nearest = {row: float(pairs[row, chosen].max()) for row in left}
        best = min(left, key=lambda row: (nearest[row], texts[row], row))
        if nearest[best] >= alike:
            break
        chosen.append(best)
        left.remove(best)
    return tuple(sorted(chosen))


def _require_share(alike: float) -> None:
    if not 0 < alike <= 1:
        raise ConfigError("alike must be above 0 and at most 1", where=f"alike {alike}")
