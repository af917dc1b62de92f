"""The score that a certificate speaks of: facts, and a bounded term of the product's own text.

    s_i = a_i + clip(t_i, -eps, eps)

a_i comes from attributes that the marketplace has verified, t_i from the text of product i alone.
Whatever a seller writes, s_i stays in [a_i - eps, a_i + eps], and no other score moves. So t_i must
not depend on the texts of others: score each product by itself (`audit.defences.isolated`).

    scores = BoundedScores(facts, texts, eps=0.5)
    scores.honest                       # [C], of the texts as they are

Letters: C products of a list.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from adwright.core.errors import ConfigError, ValueInvalidError

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class BoundedScores:
    """facts: a [C], texts: t [C], both finite; eps: the bound, 0 or more.

    Raises ValueInvalidError naming the row of a score that is no finite number, ConfigError for an
    eps that is none or below 0.
    """

    facts: Floats
    texts: Floats
    eps: float

    def __post_init__(self) -> None:
        facts = checked_scores(self.facts, "facts")
        texts = checked_scores(self.texts, "texts")
        if len(facts) != len(texts):
            raise ValueInvalidError(
                f"there are {len(facts)} scores of facts and {len(texts)} of texts",
                column="texts",
                hint="give one of each a product",
            )
        require_eps(self.eps)
        object.__setattr__(self, "facts", facts)
        object.__setattr__(self, "texts", texts)

    def __len__(self) -> int:
        return len(self.facts)

    @property
    def honest(self) -> Floats:
        """s [C]: the scores of the texts as they are."""
        return self.facts + np.clip(self.texts, -self.eps, self.eps)

    @property
    def highest(self) -> Floats:
        """a + eps [C]: what the best text brings."""
        return self.facts + self.eps

    @property
    def lowest(self) -> Floats:
        """a - eps [C]: what a text that lowers its own product as far as it can leaves."""
        return self.facts - self.eps

    def ranks(self) -> npt.NDArray[np.int64]:
        """[C] ranks of the texts as they are, from 1; of equal scores all get the best of their
        ranks."""
        ordered = np.sort(self.honest)
        return len(self) + 1 - np.searchsorted(ordered, self.honest, side="right")


def checked_scores(values: npt.ArrayLike, column: str) -> Floats:
    """[C] as float64. Raises ValueInvalidError where it is no row of finite numbers."""
    try:
        found = np.asarray(values, np.float64)
    except (TypeError, ValueError) as error:
        raise ValueInvalidError(
            "the scores are no numbers", column=column, value=values, hint="give one a product"
        ) from error
    if found.ndim != 1:
        raise ValueInvalidError(
            f"the scores have shape {found.shape}", column=column, hint="give one a product"
        )
    wrong = np.flatnonzero(~np.isfinite(found))
    if len(wrong):
        row = int(wrong[0])
        raise ValueInvalidError(
            "a score is no finite number",
            row=row,
            column=column,
            value=float(found[row]),
            hint="leave the product out, or score it anew",
        )
    return found


def require_eps(eps: float) -> None:
    """Raise ConfigError for a bound that is no finite number from 0 on."""
    is_number = isinstance(eps, int | float | np.floating) and not isinstance(eps, bool)
    if not is_number or not (math.isfinite(eps) and eps >= 0):
        raise ConfigError(
            "eps is a finite number, 0 or more", where=f"eps {eps!r}", hint="such as 0.5"
        )
