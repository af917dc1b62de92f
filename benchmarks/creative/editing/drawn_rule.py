"""Drawn ads whose click rate follows a printed rule: synthetic, so that a gain can be checked.

    rule = DrawnRule()
    print(rule.printed())              # log rate = log(0.025) + 0.4 smile - 0.3 dark_glasses ...
    ads = drawn_ads(2000, seed=0, rule=rule)
    ads.rates, ads.clicks              # true, and observed in so many impressions

No ad of the world follows such a rule. It is there for one question that no log can answer: is what
a search gained by a judge gained by the truth as well? Terms are attributes of `faces.portraits`,
which the drawing knows, and measures of the pixels, which are exact for every edited picture:

    light      mean luma, 0 to 1, less .5
    contrast   standard deviation of the luma, 0 to 1
    warmth     mean of red less blue, 0 to 1

A term is linear; light counts also by its square, so that too much of it does harm. Skin, hair, and
what tells people apart has no weight and cannot be given one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from adwright.core.config import require_count
from adwright.core.errors import ConfigError, DataError
from adwright.creative.editor.fitness import Floats, Pixels
from benchmarks.creative.faces_training.portraits import DrawnPortraits, draw_portraits

SYNTHETIC = "synthetic: drawn ads, whose click rate follows a rule that was made up"
#: Of pixels.
MEASURES = ("light", "contrast", "warmth", "light squared")
_ATTRIBUTES = ("smile", "glasses", "dark_glasses", "hat", "clothes", "background")
_WEIGHTS = np.array([0.2126, 0.7152, 0.0722])


def _default() -> dict[str, float]:
    return {
        "smile": 0.4,
        "dark_glasses": -0.3,
        "hat": 0.1,
        "light": 1.0,
        "light squared": -4.0,
        "contrast": 1.5,
        "warmth": 0.8,
    }


@dataclass(frozen=True)
class DrawnRule:
    """log rate = log(base) + sum of weight times term, at most log(most).

    Raises ConfigError for a term that is none, or one that tells people apart.
    """

    base: float = 0.025
    weights: Mapping[str, float] = field(default_factory=_default)
    most: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.base <= self.most < 1:
            raise ConfigError(
                f"base {self.base}, most {self.most}",
                where="DrawnRule",
                hint="0 < base <= most < 1",
            )
        for name, weight in self.weights.items():
            if name not in (*_ATTRIBUTES, *MEASURES) or not np.isfinite(weight):
                raise ConfigError(
                    f"the weight {weight} of {name!r} is none of a rule",
                    where="DrawnRule.weights",
                    hint=f"finite, of {', '.join((*_ATTRIBUTES, *MEASURES))}",
                )

    def printed(self) -> str:
        """The rule in one line, as the docs print it."""
        terms = [
            f"{'+' if weight >= 0 else '-'} {abs(weight):g} {name}"
            for name, weight in self.weights.items()
        ]
        return (
            " ".join([f"log rate = log({self.base:g})", *terms]) + f", at most log({self.most:g})"
        )

    def rates(self, pictures: Pixels, labels: Mapping[str, Floats | NDArray[np.float32]]) -> Floats:
        """float64 [N]: the true rate of pictures uint8 [N, H, W, 3], with labels [N] of each
        attribute that the rule names. Raises DataError where one is missing."""
        terms = {**measured(pictures), **labels}
        log = np.full(len(pictures), np.log(self.base))
        for name, weight in self.weights.items():
            if name not in terms:
                raise DataError("the rule names an attribute that is not known", column=name)
            log += weight * np.asarray(terms[name], np.float64)
        return np.asarray(np.exp(np.minimum(log, np.log(self.most))), np.float64)


@dataclass(frozen=True, eq=False)
class RuleJudge:
    """The rule as a judge of the edits of one ad: what it gains is gained in truth.

    labels: of the ad's attributes, which edits of light and colours leave alone. reader: instead,
    what reads the attributes of edited pictures, where faces are moved: then the truth is as good
    as the reader, and no better.
    """

    rule: DrawnRule
    labels: Mapping[str, float]
    reader: Callable[[Pixels], Mapping[str, Floats]] | None = None
    name: str = "true rate"

    def judge(self, pictures: Pixels) -> Floats:
        """float64 [N]."""
        labels = {name: np.full(len(pictures), value) for name, value in self.labels.items()}
        read = {} if self.reader is None else dict(self.reader(pictures))
        return self.rule.rates(pictures, {**labels, **read})


@dataclass(frozen=True, eq=False)
class DrawnAds:
    """N ads. rates: float64 [N], true. clicks: int64 [N], of so many impressions each."""

    portraits: DrawnPortraits
    rule: DrawnRule
    rates: Floats
    clicks: NDArray[np.int64]
    impressions: int

    @property
    def pictures(self) -> Pixels:
        """uint8 [N, side, side, 3]."""
        return self.portraits.pictures

    def labels_of(self, at: int) -> dict[str, float]:
        """Each attribute of one ad."""
        return {name: float(values[at]) for name, values in self.portraits.labels.items()}

    def truth_of(self, at: int) -> RuleJudge:
        """The rule as a judge of one ad's edits."""
        return RuleJudge(self.rule, self.labels_of(at))


def measured(pictures: Pixels) -> dict[str, Floats]:
    """float64 [N] of each of `MEASURES`, of pictures uint8 [N, H, W, 3]."""
    values = pictures.astype(np.float64) / 255
    luma = values @ _WEIGHTS
    light = luma.mean((1, 2)) - 0.5
    return {
        "light": light,
        "contrast": luma.std((1, 2)),
        "warmth": (values[..., 0] - values[..., 2]).mean((1, 2)),
        "light squared": light**2,
    }


def drawn_ads(
    count: int,
    *,
    seed: int,
    rule: DrawnRule | None = None,
    impressions: int = 2000,
    side: int = 32,
    reach: float = 0.35,
) -> DrawnAds:
    """So many ads: portraits with light and colours of their own, and clicks drawn by the rule.

    reach: light and the balance of red and blue are multiplied by 1 - reach to 1 + reach, so that
    their effect can be learnt. Raises as `draw_portraits`, and ConfigError for another reach.
    """
    rule = rule or DrawnRule()
    require_count("impressions", impressions)
    if not 0 <= reach < 1:
        raise ConfigError(f"reach {reach}", where="drawn_ads", hint="0 <= reach < 1")
    plain = draw_portraits(count, seed=seed, side=side)
    rng = np.random.default_rng([seed, 1])
    gains = 1 + reach * rng.uniform(-1, 1, (count, 1)) * np.ones(3)
    gains *= 1 + 0.5 * reach * rng.uniform(-1, 1, (count, 1)) * np.array([1, 0, -1])
    shown = np.rint(plain.pictures * gains[:, None, None]).clip(0, 255).astype(np.uint8)
    rates = rule.rates(shown, plain.labels)
    clicks = rng.binomial(impressions, rates).astype(np.int64)
    portraits = DrawnPortraits(shown, plain.labels, plain.options)
    return DrawnAds(portraits, rule, rates, clicks, impressions)
