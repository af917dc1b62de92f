"""P-values that need no model to be right: conformal calibration by group, with fallback.

    calibration = Calibration.of(scores, groups)               # of honest texts, none fitted on
    found = calibration.p_value(3.1, ("acme", "title"), alpha=0.01)
    found.value, found.group, found.rows

A text's p-value is the share of honest texts of its group, itself included, that look at least as
suspicious:

    p = (1 + #{i in group: s_i >= s}) / (n + 1)

Where the text is exchangeable with them, p <= alpha happens with a probability of at most alpha,
whatever the scores are (Vovk, Gammerman and Shafer 2005; by group: Mondrian). The groups are, from
the narrowest: merchant and field, the field, all. A group of n texts knows no p below 1 / (n + 1);
so the narrowest group that can reach alpha is taken. A wider one is right on average over it, and
not for each merchant: `group` says which it was.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from adwright.core.errors import ConfigError, DataError

#: Merchant and field of a text.
TextGroup = tuple[str, str]


@dataclass(frozen=True)
class PValue:
    """value: in (0, 1]. group: "merchant and field", "field" or "all". rows: honest texts in it."""

    value: float
    group: str
    rows: int


@dataclass(frozen=True)
class Calibration:
    """Scores of honest texts by group, each list ascending; the group of all has the key ()."""

    scores: Mapping[tuple[str, ...], tuple[float, ...]]

    @classmethod
    def of(
        cls, scores: npt.NDArray[np.float64] | Sequence[float], groups: Sequence[TextGroup]
    ) -> Calibration:
        """The calibration of texts that nothing was fitted on. Raises DataError without any, for
        unequal lengths and scores that are no numbers."""
        if len(scores) != len(groups) or not len(scores):
            raise DataError(
                f"there are {len(scores)} scores and {len(groups)} groups",
                hint="give honest texts to calibrate on, each with its group",
            )
        found: defaultdict[tuple[str, ...], list[float]] = defaultdict(list)
        for row, (score, group) in enumerate(zip(scores, groups, strict=True)):
            if not np.isfinite(score):
                raise DataError("a score is no finite number", row=row, column="scores")
            for _, key in _keys(group):
                found[key].append(float(score))
        return cls({key: tuple(sorted(some)) for key, some in found.items()})

    def p_value(self, score: float, group: TextGroup, *, alpha: float) -> PValue:
        """Of a text by the narrowest group that can reach `alpha`, or else by the largest there
        is. Raises ConfigError for an alpha outside of (0, 1)."""
        require_alpha(alpha)
        best: PValue | None = None
        for name, key in _keys(group):
            some = self.scores.get(key, ())
            rows = len(some)
            if best is None or rows > best.rows:
                value = (1 + rows - bisect_left(some, score)) / (rows + 1)
                best = PValue(value, name, rows)
            if (rows + 1) * alpha >= 1 - 1e-9:
                break
        return best if best is not None else PValue(1.0, "all", 0)


def require_alpha(alpha: float) -> None:
    """Raise ConfigError for a share of false alarms that is not between 0 and 1."""
    if not 0 < alpha < 1:
        raise ConfigError("alpha is between 0 and 1", where=f"alpha {alpha!r}", hint="such as 0.01")


def _keys(group: TextGroup) -> Iterator[tuple[str, tuple[str, ...]]]:
    merchant, field = group
    yield "merchant and field", ("merchant", merchant, field)
    yield "field", ("field", field)
    yield "all", ()
