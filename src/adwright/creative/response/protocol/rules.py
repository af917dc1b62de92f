"""Simple rules that tell click rates: what a model has to beat, and what is served where it cannot.

    rule = TfidfRule().fit(outcomes)          # FittedRule
    rule.rates(records)                       # float64 [N]
    rule_of(*rule.state())                    # the same, out of arrays and plain values

- `ConstantRule`: one rate for all.
- `LengthRule`: the length of the title and of the other text.
- `TfidfRule`: ridge regression on the words and pairs of words of each field.

All learn the smoothed log rate ln((clicks + 1/2) / (impressions + 1)), each creative alike, and
are scaled so that the clicks of training are as many as they expect. Strengths are chosen on one
fifth of the stories of training, never on what is tested.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from adwright.core.errors import ArtifactError, ConfigError
from adwright.creative.records.verbal.record import AdRecord
from adwright.creative.response.protocol.ngrams import NgramSpace, ridge
from adwright.creative.response.protocol.outcomes import CreativeOutcomes
from adwright.creative.response.protocol.stories import check_split, stories_of, story_folds

__all__ = [
    "ClickRule",
    "ConstantRule",
    "FittedRule",
    "LengthRule",
    "TfidfRule",
    "log_rates",
    "rule_of",
]

Floats = NDArray[np.float64]
_INNER_FOLDS = 5


def log_rates(outcomes: CreativeOutcomes) -> Floats:
    """float64 [N], ln((clicks + 1/2) / (impressions + 1)): finite where nobody clicked."""
    rates: Floats = np.log((outcomes.clicks + 0.5) / (outcomes.impressions + 1.0))
    return rates


class FittedRule(Protocol):
    """A rule that has learnt. name: of the rule."""

    @property
    def name(self) -> str:
        """See the class."""
        ...

    def rates(self, records: Sequence[AdRecord], /) -> Floats:
        """float64 [N], the click rate expected of each; no record changes that of another."""
        ...

    def state(self) -> tuple[dict[str, Floats], dict[str, object]]:
        """Arrays and plain values that `rule_of` makes the rule of again."""
        ...


class ClickRule(Protocol):
    """Learns from outcomes. name: of the rule, for tables."""

    @property
    def name(self) -> str:
        """See the class."""
        ...

    def fit(self, outcomes: CreativeOutcomes, /, *, seed: int = 0) -> FittedRule:
        """Learn. seed: of the part of the stories on which settings are chosen."""
        ...


@dataclass(frozen=True)
class ConstantRule:
    """The click rate of all training together, for every ad."""

    name: str = field(default="constant", init=False)

    def fit(self, outcomes: CreativeOutcomes, /, *, seed: int = 0) -> FittedRule:
        """Sum the clicks; the seed is of no use."""
        return _Linear("constant", np.empty(0), _level(np.zeros(len(outcomes)), outcomes))


@dataclass(frozen=True)
class LengthRule:
    """Least squares on ln(1 + characters) of the title and of the other text, and their squares."""

    name: str = field(default="length", init=False)

    def fit(self, outcomes: CreativeOutcomes, /, *, seed: int = 0) -> FittedRule:
        """Five weights; the seed is of no use."""
        x = _lengths(outcomes.records)
        target = log_rates(outcomes)
        centre = np.concatenate([np.ones((len(x), 1)), x], 1)
        found = np.linalg.lstsq(centre, target, rcond=None)[0]
        return _Linear("length", found[1:], _level(x @ found[1:], outcomes))


@dataclass(frozen=True)
class TfidfRule:
    """Ridge regression on TF-IDF of words and pairs of words, by field (`ngrams`).

    strengths: of which that of the smallest squared error on a fifth of the stories is taken.
    least: records that must have a word. Raises ConfigError for no strength, or one not above 0.
    """

    strengths: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0)
    least: int = 2
    name: str = field(default="tfidf", init=False)

    def __post_init__(self) -> None:
        if not self.strengths or not all(0 < one < float("inf") for one in self.strengths):
            raise ConfigError(
                f"strengths are numbers above 0, not {self.strengths!r}",
                where="strengths",
                hint="pass some, such as (1.0, 2.0, 4.0)",
            )
        if self.least < 1:
            raise ConfigError(
                f"least cannot be {self.least!r}", where="least", hint="pass 1 or more"
            )

    def fit(self, outcomes: CreativeOutcomes, /, *, seed: int = 0) -> FittedTfidf:
        """Choose the strength on some of the stories, then learn from all of them. The order of
        the rows changes nothing: they are learnt from in the order of their ids."""
        outcomes = outcomes.take(np.argsort(np.array(outcomes.ids), kind="stable"))
        space = NgramSpace.fit(outcomes.records, least=self.least)
        rows, target = space.rows(outcomes.records), log_rates(outcomes)
        strength, tried = self.strengths[0], dict[float, float]()
        stories = stories_of(outcomes)
        if len(self.strengths) > 1 and stories.max() + 1 >= _INNER_FOLDS:
            fold = story_folds(stories, _INNER_FOLDS, seed=seed)
            train, held = np.flatnonzero(fold != 0), np.flatnonzero(fold == 0)
            check_split(train, held, stories)
            near: Floats | None = None
            mean = target[train].mean()
            some, others = rows.take(train), rows.take(held)
            for one in self.strengths:
                near = ridge(some, target[train] - mean, strength=one, start=near)
                tried[one] = float(np.mean((others.times(near) + mean - target[held]) ** 2))
            strength = min(tried, key=lambda one: (tried[one], one))
        weights = ridge(rows, target - target.mean(), strength=strength)
        level = _level(rows.times(weights), outcomes)
        return FittedTfidf(space, weights, level, strength=strength, tried=tried)


@dataclass(frozen=True, eq=False)
class FittedTfidf:
    """exp(level + x w) of the entries of `space`. strength: chosen. tried: the squared error of
    each strength that was tried."""

    space: NgramSpace
    weights: Floats
    level: float
    strength: float
    tried: Mapping[float, float] = field(default_factory=dict)
    name: str = field(default="tfidf", init=False)

    def rates(self, records: Sequence[AdRecord], /) -> Floats:
        """float64 [N], at most 1."""
        return _rates(self.level + self.space.rows(records).times(self.weights))

    def strongest(self, number: int = 20) -> list[tuple[str, float]]:
        """The entries of the largest weights in size, with them: what the rule has learnt."""
        order = np.argsort(-np.abs(self.weights), kind="stable")[:number]
        return [(self.space.entries[at], float(self.weights[at])) for at in order]

    def state(self) -> tuple[dict[str, Floats], dict[str, object]]:
        """See `FittedRule`."""
        plain: dict[str, object] = {
            "rule": self.name,
            "entries": list(self.space.entries),
            "strength": self.strength,
        }
        arrays = {"idf": self.space.idf, "weights": self.weights, "level": np.array([self.level])}
        return arrays, plain


def rule_of(arrays: Mapping[str, Floats], plain: Mapping[str, object]) -> FittedRule:
    """The rule whose `state` this is. Raises ArtifactError for what is the state of none."""
    try:
        weights = np.asarray(arrays["weights"], np.float64)
        level = float(np.asarray(arrays["level"]).reshape(1)[0])
        name = plain["rule"]
        if name == "tfidf":
            entries, strength = plain["entries"], plain["strength"]
            if not isinstance(entries, Sequence) or not isinstance(strength, int | float):
                raise TypeError("entries or strength")
            space = NgramSpace(tuple(str(one) for one in entries), np.asarray(arrays["idf"]))
            if not len(space.entries) == len(space.idf) == len(weights):
                raise ValueError("the entries are not as many as the weights")
            return FittedTfidf(space, weights, level, float(strength))
        if name in _SIZES and len(weights) == _SIZES[str(name)]:
            return _Linear(str(name), weights, level)
        raise ValueError(f"there is no rule {name!r}")
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(
            f"this is the state of no rule: {error}", hint="save the rule again"
        ) from error


_SIZES = {"constant": 0, "length": 4}


@dataclass(frozen=True, eq=False)
class _Linear:
    """exp(level + x w), x the lengths or nothing."""

    name: str
    weights: Floats
    level: float

    def rates(self, records: Sequence[AdRecord], /) -> Floats:
        told = np.zeros(len(records))
        if len(self.weights):
            told = _lengths(records) @ self.weights
        return _rates(self.level + told)

    def state(self) -> tuple[dict[str, Floats], dict[str, object]]:
        return {"weights": self.weights, "level": np.array([self.level])}, {"rule": self.name}


def _lengths(records: Sequence[AdRecord]) -> Floats:
    """float64 [N, 4]."""
    size = np.array([(len(one.title), len(one.words)) for one in records], np.float64)
    log = np.log1p(size.reshape(len(records), 2))
    return np.concatenate([log, log**2], 1)


def _level(told: Floats, outcomes: CreativeOutcomes) -> float:
    """The level at which exp(level + told) expects the clicks of training."""
    expected = float(outcomes.impressions @ np.exp(told))
    # Half a click where there is none, or the level would be infinite.
    return float(np.log(max(float(outcomes.clicks.sum()), 0.5) / expected))


def _rates(logs: Floats) -> Floats:
    return np.minimum(np.exp(logs), 1.0)
