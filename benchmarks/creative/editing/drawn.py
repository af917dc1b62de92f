"""Drawn ads whose click rate follows a rule, and judges that learned it from clicks.

The searched judge is an ensemble of three small networks on half of the ads; the second one reads
the means of a grid of 4 x 4 and their squares by a ridge, and learned from the other half. Both see
clicks, neither the rule. Two further rules stand for expected life and memorability: made up, so
that three judges disagree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from sklearn.linear_model import RidgeCV
from sklearn.preprocessing import StandardScaler

from adwright.creative.editor.fitness import EnsembleJudge, Floats, Pixels
from adwright.creative.faces.stylegan import as_pictures
from benchmarks.creative.editing.drawn_rule import DrawnAds, DrawnRule, RuleJudge, drawn_ads
from benchmarks.creative.faces_training.measures import AttributeReader, fit_reader

#: Of each judge the rule that it is to learn; the first is the click rate.
RULES: Mapping[str, DrawnRule] = {
    "click_rate": DrawnRule(),
    "expected_life": DrawnRule(
        0.05, {"hat": 0.3, "light": -0.8, "light squared": -3.0, "contrast": -1.5, "warmth": 0.3}
    ),
    "memorability": DrawnRule(
        0.05, {"glasses": 0.3, "contrast": 3.0, "warmth": -1.0, "light squared": -2.0}
    ),
}
_MEMBERS = 3


@dataclass(frozen=True, eq=False)
class Member:
    """One network as a judge: rate = exp(mean + sd read(picture))."""

    name: str
    reader: AttributeReader
    mean: float
    sd: float

    def judge(self, pictures: Pixels) -> Floats:
        """float64 [N]."""
        read = self.reader.read(as_pictures(pictures))[:, 0].double().numpy()
        return np.asarray(np.exp(self.mean + self.sd * read))


@dataclass(frozen=True, eq=False)
class NetworksJudge(EnsembleJudge):
    """An ensemble of networks with the slope of its lower bound."""

    judges: Sequence[Member]

    def slopes(self, pictures: Pixels) -> tuple[Floats, Floats]:
        """float64 [N] and [N, H, W, 3]: of the lower bound."""
        x = torch.from_numpy(pictures.astype(np.float32)).requires_grad_(True)
        seen = x.permute(0, 3, 1, 2) / 127.5 - 1
        said = torch.stack(
            [torch.exp(one.mean + one.sd * one.reader.eval()(seen)[:, 0]) for one in self.judges]
        )
        bound = said.mean(0) - self.k * said.std(0)
        (slope,) = torch.autograd.grad(bound.sum(), x)
        return bound.detach().double().numpy(), slope.double().numpy()


class GridJudge:
    """A ridge on the means of a grid of 4 x 4, their squares, and the spread of the luma."""

    name = "click_rate, second"

    def __init__(self, pictures: Pixels, log_rates: Floats) -> None:
        self._scaler = StandardScaler().fit(_grid(pictures))
        self._ridge = RidgeCV(np.logspace(-1, 4, 12))
        self._ridge.fit(self._scaler.transform(_grid(pictures)), log_rates)

    def judge(self, pictures: Pixels) -> Floats:
        """float64 [N]."""
        return np.asarray(np.exp(self._ridge.predict(self._scaler.transform(_grid(pictures)))))


@dataclass(frozen=True, eq=False)
class DrawnTask:
    """`count` ads to learn from, and `held` more. members: networks of each judge."""

    seed: int
    count: int = 3000
    held: int = 60
    epochs: int = 8
    impressions: int = 2000

    @cached_property
    def ads(self) -> DrawnAds:
        """All of them, by the first rule."""
        return drawn_ads(
            self.count + self.held, seed=1000 + self.seed, impressions=self.impressions
        )

    @property
    def held_rows(self) -> range:
        """Of the ads that nobody learned from."""
        return range(self.count, self.count + self.held)

    @cached_property
    def first(self) -> NetworksJudge:
        """The judge that is searched."""
        rows = slice(0, self.count // 2)
        rates = _log(self.ads.clicks[rows], self.impressions)
        return fitted_networks(
            "click_rate", self.ads.pictures[rows], rates, seed=self.seed, epochs=self.epochs
        )

    @cached_property
    def second(self) -> GridJudge:
        """The judge that no search asks."""
        rows = slice(self.count // 2, self.count)
        return GridJudge(self.ads.pictures[rows], _log(self.ads.clicks[rows], self.impressions))

    def others(self) -> tuple[NetworksJudge, ...]:
        """Of expected life and memorability, by clicks of their rules."""
        rows, made = slice(0, self.count // 2), []
        for at, (name, rule) in enumerate(list(RULES.items())[1:]):
            rng = np.random.default_rng([self.seed, at])
            rates = rule.rates(self.ads.pictures, self.ads.portraits.labels)
            seen = rng.binomial(self.impressions, rates)[rows]
            made.append(
                fitted_networks(
                    name,
                    self.ads.pictures[rows],
                    _log(seen, self.impressions),
                    seed=10 + self.seed,
                    epochs=self.epochs,
                )
            )
        return tuple(made)

    def truth(self, row: int, name: str = "click_rate") -> RuleJudge:
        """A rule as the judge of one ad's edits."""
        return RuleJudge(RULES[name], self.ads.labels_of(row), name=f"true {name}")


def fitted_networks(
    name: str, pictures: Pixels, log_rates: Floats, *, seed: int, epochs: int
) -> NetworksJudge:
    """Three networks on the pictures, each with a seed and nine tenths of its own."""
    seen, members = as_pictures(pictures), []
    mean, sd = float(log_rates.mean()), float(log_rates.std(ddof=1))
    for at in range(_MEMBERS):
        order = np.random.default_rng([seed, at]).permutation(len(seen))
        labels = {"log rate": log_rates[order].astype(np.float32)}
        reader = fit_reader(
            seen[torch.from_numpy(order)], labels, epochs=epochs, seed=100 * seed + at
        )
        members.append(Member(f"{name} {at}", reader, mean, sd))
    return NetworksJudge(name, tuple(members))


def _log(clicks: np.ndarray, impressions: int) -> Floats:
    return np.asarray(np.log((clicks + 0.5) / (impressions + 1.0)))


def grid_of(pictures: Pixels) -> Floats:
    """float64 [N, 48]: the means of a grid of 4 x 4, 0 to 1."""
    n, h, w, _ = pictures.shape
    v = pictures.astype(np.float64) / 255
    cells = v[:, : h - h % 4, : w - w % 4].reshape(n, 4, h // 4, 4, w // 4, 3).mean((2, 4))
    return np.asarray(cells.reshape(n, -1))


def _grid(pictures: Pixels) -> Floats:
    v = pictures.astype(np.float64) / 255
    luma = v @ np.array([0.2126, 0.7152, 0.0722])
    light = luma.mean((1, 2))[:, None]
    spread = luma.std((1, 2))[:, None]
    flat = grid_of(pictures)
    return np.hstack([flat, flat**2, light, light**2, spread, spread**2])
