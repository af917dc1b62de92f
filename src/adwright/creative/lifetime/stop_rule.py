"""When to stop: what it is worth to keep a unit for one period more, and see how well it does.

At the close of a period a unit of age a runs on with the probability q = S(a), and then for m'
periods more; it brings r a cost of 1, give or take (`rates`), and its cost would bring b elsewhere,
the break-even. One period later r will be R, as that period tells, and who is then worth less can
still be stopped:

    V = q [(r - b) + m' E max(R - b, 0)],   R normal, with mean r and deviation l (`Rates.learned`)
    E max(R - b, 0) = l phi(u) + (r - b) Phi(u),   u = (r - b) / l

Stop where V is below 0 (`threshold`): a unit that does badly for certain goes, one that may yet do
well stays while there is time to find out. V is 0 at one b, the break-even up to which a unit is
worth keeping (`keeping_index`): r + x l, where x = m' (phi(x) - x Phi(-x)) depends on m' alone.
So a list for any break-even is one order of the units.

With m the expected periods to come, the sum of S over the ages from a on:

    saving = recent cost of a period x m      loss = r x saving      net = b x saving - loss

Beyond the last edge of the curve the hazard of its last bin goes on, and m counts `horizon`
periods at most. The rule without a model, which stands beside, has q = 1 and one m' for all units:
what follows from the share of past periods that were a life's last.

Letters: N units, K ages.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import numpy.typing as npt
import torch

from adwright.core.config import Count, NotNegative, Positive, settings
from adwright.core.config.declared import Finite
from adwright.core.errors import ConfigError
from adwright.creative.lifetime.lives import LifeLog
from adwright.creative.lifetime.stop_values import Rates
from adwright.creative.lifetime.survival_curves import LifeCurves
from adwright.creative.lifetime.survival_network import LifeTerms

Floats = npt.NDArray[np.float64]
Texts = npt.NDArray[np.str_]

#: Shares of units like one that have ended, at which its periods left are told.
SHARES = (0.1, 0.5, 0.9)


@settings
class RetireConfig:
    """How to decide.

    break_even: value per cost below which a unit does not pay; None takes `floor` times the value
    per cost of all that ran so far. threshold: stop where keeping is worth less, in value per cost.
    ahead: a unit in the long term of which half end within so many periods is to be refreshed; None
    takes a quarter of the curve's last edge. horizon: periods to come that are counted at most;
    None takes the curve's last edge. half_life: of past periods, see `rates.credibility`.
    """

    break_even: NotNegative | None = None
    floor: NotNegative = 0.5
    threshold: Annotated[float, Finite] = 0.0
    ahead: Count | None = None
    horizon: Count | None = None
    half_life: Positive | None = None

    def ahead_of(self, terms: LifeTerms) -> int:
        """`ahead`, or what follows from the edges."""
        return self.ahead or max(round(terms.joined[-1] / 4), 1)

    def horizon_of(self, terms: LifeTerms) -> int:
        """`horizon`, or what follows from the edges."""
        return self.horizon or int(np.ceil(terms.joined[-1]))


@dataclass(frozen=True, eq=False)
class Outlook:
    """What lies ahead of N units. next: q [N], that there is one more period. further: m [N],
    expected periods to come. survival: float64 [N, K], S at the ages a, a + 1, ..., None without a
    model; reach: int64 [N], how many of its columns lie on the curve, not beyond."""

    next: Floats
    further: Floats
    survival: Floats | None = None
    reach: npt.NDArray[np.int64] | None = None

    @property
    def later(self) -> Floats:
        """m' [N]: expected periods after the next, if that comes."""
        ratio = np.where(self.next > 0, self.further / np.maximum(self.next, 1e-300) - 1, 0.0)
        found: Floats = np.maximum(ratio, 0.0)
        return found

    def left(self, share: float) -> Floats:
        """[N]: whole periods to come until so great a share of such units has ended; infinite where
        fewer have by the last edge of the curve."""
        if self.survival is None or self.reach is None:
            return np.full(len(self.next), np.nan)
        on_curve = np.arange(self.survival.shape[1]) < self.reach[:, None]
        periods = ((self.survival > 1 - share) & on_curve).sum(1)
        return np.where(periods < self.reach, periods, np.inf)

    def ends_within(self, periods: int) -> Floats:
        """[N]: the probability that at most so many periods come; NaN without a model."""
        if self.survival is None:
            return np.full(len(self.next), np.nan)
        return 1 - self.survival[:, min(periods, self.survival.shape[1] - 1)]


def outlook_of(curves: LifeCurves, horizon: int, *, ages: int = 0) -> Outlook:
    """From curves whose entry is a - 1, the age less the period that closes. ages: columns of
    `survival` at least; there are as many as the horizon, and as the curve is long."""
    edges = np.asarray(curves.edges, np.float64)
    wide = max(horizon, ages, int(np.ceil(edges[-1])))
    hazard = curves.hazard.sum(2, dtype=np.float64)
    steps = np.log1p(-np.minimum(hazard, 1 - 1e-12))
    log_s = np.concatenate([np.zeros((len(steps), 1)), np.cumsum(steps, 1)], 1)
    entry = np.asarray(curves.entry, np.float64)
    row = np.arange(len(entry))

    def at(age: Floats) -> Floats:
        """log S at an age of each unit; beyond the last edge the last bin goes on."""
        bin_ = np.clip(np.searchsorted(edges, age, side="left") - 1, 0, len(edges) - 2)
        part = (np.maximum(age, edges[0]) - edges[bin_]) / np.diff(edges)[bin_]
        found: Floats = log_s[row, bin_] + steps[row, bin_] * part
        return found

    now = at(entry)
    survival = np.empty((len(entry), wide))
    for column in range(wide):
        survival[:, column] = np.exp(at(entry + 1 + column) - now)
    reach = np.clip(np.floor(edges[-1] - entry), 0, wide).astype(np.int64)
    return Outlook(survival[:, 0], survival[:, :horizon].sum(1), survival, reach)


def flat_outlook(log: LifeLog, period: int, units: int, *, horizon: int | None = None) -> Outlook:
    """The same for all units, without a model: q = 1 and m' = (1 - h) / h, where h is the share of
    the periods of lives that were their last, of those of which that is known by then: before
    `period`, less the gap that a life bridges. horizon: bound of m'; as many periods as the record
    has had by then where None."""
    known = period - log.gap
    begun = log.first < known
    lived = np.minimum(log.last[begun], known - 1) - log.first[begun] + 1
    ends = int((log.last[begun] < known).sum())
    most = horizon or period - int(log.first.min(initial=period)) + 1
    further = min(float(lived.sum()) / ends - 1, most) if ends else float(most)
    return Outlook(np.ones(units), np.full(units, 1 + further))


def keeping_value(rates: Rates, outlook: Outlook, break_even: float) -> Floats:
    """V [N], in value per cost: lower is stopped sooner."""
    over, spread = rates.mean - break_even, rates.learned
    found: Floats = outlook.next * (over + outlook.later * _expected_above(over, spread))
    return found


def keeping_index(rates: Rates, outlook: Outlook) -> Floats:
    """[N]: the break-even at which keeping is worth nothing; a unit below it is stopped."""
    x = np.linspace(0.0, 8.0, 4001)
    normal = torch.from_numpy(x)
    gain = np.exp(-x * x / 2) / np.sqrt(2 * np.pi) - x * torch.special.ndtr(-normal).numpy()
    found: Floats = rates.mean + np.interp(outlook.later, x / gain, x) * rates.learned
    return found


def break_even_of(config: RetireConfig, rates: Rates) -> float:
    """The break-even given, or the floor times the value per cost of all that ran so far."""
    return config.floor * rates.overall if config.break_even is None else config.break_even


@dataclass(frozen=True, eq=False)
class Decisions:
    """Of N units. score: V. action: text, "stop", "refresh" or "keep". cause: "cut-out" up to the
    last edge of the short head, "wear-out" later, "" where the model has one head. ending: the
    likeliest of several causes of ending, "" where the model knows one. left: [N, 3], periods left
    by `SHARES`. ends: chance to end within `ahead`. saving, in cost, loss and net, in value:
    expected."""

    score: Floats
    action: Texts
    cause: Texts
    ending: Texts
    left: Floats
    ends: Floats
    saving: Floats
    loss: Floats
    net: Floats


def decide(config: RetireConfig, curves: LifeCurves, rates: Rates) -> Decisions:
    """What to do with N units, by their curves (entry: the age less the period that closes)."""
    terms, units = curves.terms, len(curves)
    if len(rates) != units:
        raise ConfigError("each curve needs a rate", where=f"{units} curves, {len(rates)} rates")
    ahead, horizon = config.ahead_of(terms), config.horizon_of(terms)
    outlook = outlook_of(curves, horizon, ages=ahead + 1)
    break_even = break_even_of(config, rates)
    score, ends = keeping_value(rates, outlook, break_even), outlook.ends_within(ahead)
    old = curves.entry + 1 > terms.short[-1] if terms.long else np.zeros(units, np.bool_)
    keep = np.where(old & (ends >= 0.5), "refresh", "keep")
    ending = np.full(units, "")
    if len(curves.causes) > 1 and units:
        ending = np.array(curves.causes)[curves.incidence[:, -1].argmax(1)]
    saving = rates.recent * outlook.further
    loss = rates.mean * saving
    return Decisions(
        score=score,
        action=np.where(score < config.threshold, "stop", keep),
        cause=np.where(old, "wear-out", "cut-out" if terms.long else ""),
        ending=ending,
        left=np.stack([outlook.left(share) for share in SHARES], 1),
        ends=ends,
        saving=saving,
        loss=loss,
        net=break_even * saving - loss,
    )


def _expected_above(over: Floats, spread: Floats) -> Floats:
    """E max(X, 0) of X normal with mean `over`."""
    some = spread > 0
    u = np.divide(over, spread, out=np.zeros_like(over), where=some)
    density = np.exp(-u * u / 2) / np.sqrt(2 * np.pi)
    below = torch.special.ndtr(torch.from_numpy(u)).numpy()
    return np.where(some, spread * density + over * below, np.maximum(over, 0.0))
