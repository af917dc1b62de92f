"""Which creative of an item is shown, with the exact chance of each.

    uniform    all alike
    greedy     the highest expected rate of responses
    epsilon    (1 - e) [highest] + e / C
    Thompson   P(a creative's draw is the highest), by quadrature, the draws
               from beliefs that are `sharpness` times as sure

What is believed of a creative is a Beta distribution about its rate: Beta(S p, S (1 - p)) before
it was shown, and its impressions and responses on top. p is the level of its item times what a
judge says of it relative to the item's others, and S how many impressions that is worth. The level
of an item is shrunk to its campaign's, that to the tenant's: each is what stands below it, weighted
by how well that is known. So a new creative starts where its item is.

How much is shrunk, and how far the judge is believed, is learnt from past tests: items with several
creatives that were shown enough. With y the log-odds of a creative's rate, v their variance,

    y_ij = a_i + slope d_ij + u_ij + e_ij,    u ~ N(0, spread^2),   e ~ N(0, v_ij)

where d_ij is what the judge says, in log-odds less the mean of its item. spread and slope maximise
the marginal likelihood, a_i integrated out; y and v are those of the quadratic that touches the
likelihood of the counts, so that tests count as they are which a policy of this kind has run. A
slope within its error of 0 is 0: a poor judge is not heard.

Stops, campaigns that are closed and caps rule creatives out before the draw, a floor raises the
chances before it; then the creative is drawn from these very numbers.

Letters: T items, C creatives of an item, N creatives in all, K items of a slate.
"""

from __future__ import annotations

import json
import math
import threading
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray

from adwright.core.clock import Clock
from adwright.core.config import Ge, Le, Natural, NotNegative, Positive, settings
from adwright.data.schema import EventKind
from adwright.delivery.decision import Decision, Request, ShownCreative
from adwright.delivery.policy.pacing import FrequencyCap, FrequencyCapConfig, PolicyRecords
from adwright.delivery.policy.rules import LEAST_COUNT, log_odds

Floats = NDArray[np.float64]
Whole = NDArray[np.integer[Any]]

#: Expected responses from which on an item tells something of spreads; how often the likelihood is
#: made quadratic anew, and how far its top may move each time.
_ENOUGH, _ROUNDS, _STRIDE = 5.0, 4, 2.0
#: Spreads that are tried, and how far from the usual one they are believed to lie, in its log.
_SPREADS = np.geomspace(0.05, 2.0, 41)
_DOUBT = 0.7
#: A rate before anything was seen, and how many impressions it is worth.
_RATE, _WORTH = 0.01, 50.0
#: Steps of a grid to the smallest spread, its points at most, the spreads and the -log of the mass
#: beyond which a belief counts as 0, the farthest log-odds, and cells that are worked on at once.
_STEPS, _POINTS, _REACH, _TAIL, _FARTHEST, _CELLS = 4.0, 4096, 7.1, 28.0, 700.0, 2e5
#: Times from which on it makes no difference how often a person has seen a creative.
_OFTEN = 9
#: Counts are learnt from anew once there are so many more impressions.
_GROWTH = 1.02


@settings
class CreativeSettings:
    """How the creative of a place is chosen.

    sharpness: of kind "thompson"; in draws a belief counts as if from so many times the impressions
    and responses, 1 is Thompson's own, more explores less. epsilon: of kind "epsilon". response:
    the kind of event that counts as a success. prior_trust: impressions that a judge's word is
    worth; None learns it from past tests. memorability: what is added to the log-odds of a draw for
    a recall that is 1 above the mean of the item's creatives. floor: the least share of each
    creative, as far as they fit. cap: impressions of a creative to a person in any `cap_hours`; 0
    for no limit. wear: what a creative loses of the log-odds of a draw, times log(1 + n), where the
    person has seen it n times in `cap_hours`. segment: key of a request's context by which
    responses are told apart as well.
    """

    kind: Literal["thompson", "greedy", "epsilon", "uniform"] = "thompson"
    sharpness: Positive = 5.0
    epsilon: Annotated[float, Ge(0), Le(1)] = 0.1
    response: EventKind = "click"
    prior_trust: Positive | None = None
    memorability: NotNegative = 0.0
    floor: Annotated[float, Ge(0), Le(1)] = 0.0
    cap: Natural = 0
    cap_hours: Positive = 24.0
    wear: NotNegative = 0.0
    segment: str = ""


@dataclass(frozen=True)
class LiveCreative:
    """A creative that may be shown for its item. told: the rate that a judge expects, above 0 and
    below 1; recall: the share that remembers it. None where nobody said."""

    creative_id: str
    item_id: str
    campaign_id: str = ""
    told: float | None = None
    recall: float | None = None


# --------------------------------------------------------------------------------------------------
# What past tests say of the spread of rates, and of a judge.


@dataclass(frozen=True)
class Trust:
    """How alike rates are, and how far a judge is believed.

    creative, item, campaign: spreads in log-odds, of creatives within their item, of items within
    their campaign, of campaigns. slope: log-odds of rates by log-odds of the judge, within an item;
    0 does not hear it. error: of the slope as it was found. tests: items that it was learnt from.
    impressions: what a creative's prior is worth; None follows from the spread.
    """

    creative: float = 0.3
    item: float = 0.5
    campaign: float = 0.5
    slope: float = 0.0
    error: float = math.inf
    tests: int = 0
    impressions: float | None = None


def learn_trust(
    shown: Floats, responses: Floats, told: Floats, items: Whole, campaigns: Whole
) -> Trust:
    """Learn from the impressions, responses, judge's log-odds (NaN for none), item and campaign
    [N] of creatives that were shown. Where there is little to learn from, Trust() is what is left.
    """
    usual = Trust()
    if not shown.any():
        return usual
    seen, told = shown > 0, np.where(shown > 0, told, np.nan)
    rate = _share(responses, shown, items)
    expected = np.bincount(items, shown) * responses.sum() / shown.sum()
    tested = (expected >= _ENOUGH) & (np.bincount(items, seen) > 1)
    kept = seen & tested[items]
    counts = shown[kept], responses[kept], rate[kept], items[kept]
    d = centred(told[kept], items[kept])
    spread, slope, error = _among(*counts, d, usual.creative)
    # Positive-part James-Stein: what lies within its error of 0 is 0.
    slope = slope * max(0.0, 1 - (error / slope) ** 2) if slope > 0 else 0.0
    spread, _, _ = _among(*counts, 0 * d, usual.creative, slope * d)
    cell, of_cell = np.unique(np.stack([campaigns, items]), axis=1, return_inverse=True)
    parts = _damped(shown, responses, worth(spread, rate), of_cell.ravel(), cell.shape[1])
    between, parts = _between(*parts, cell[0], usual.item)
    of_campaigns, _ = _between(*parts, np.zeros(len(parts[0]), np.int64), usual.campaign)
    return Trust(spread, between, of_campaigns, slope, error, int(tested.sum()))


def _among(
    shown: Floats,
    responses: Floats,
    rate: Floats,
    items: Whole,
    x: Floats,
    usual: float,
    offset: Floats | float = 0.0,
) -> tuple[float, float, float]:
    """Spread of creatives within items, the slope of their log-odds less `offset` on x, and its
    error: by penalised quasi-likelihood (Breslow and Clayton 1993). Of each creative its likelihood
    counts near what is believed of it; so it matters little that who did badly at first was shown
    no more, which would bias rates as they were observed. rate: that of the item."""
    logs = log_odds(rate)
    spread, slope, error = usual, 0.0, math.inf
    for _ in range(_ROUNDS if len(shown) else 0):
        p = 1 / (1 + np.exp(-logs))
        v = 1 / (shown * p * (1 - p))
        y = logs + np.clip((responses - shown * p) * v, -_STRIDE, _STRIDE) - offset
        spread, slope, error, believed = _within(y, v, items, usual, x)
        logs = believed + offset
    return spread, slope, error


def _between(
    shown: Floats, responses: Floats, groups: Whole, usual: float
) -> tuple[float, tuple[Floats, Floats]]:
    """Spread of parts within their groups, and the damped counts of the groups."""
    rate = _share(responses, shown, groups)
    kept = shown * rate >= _ENOUGH
    v = 1 / (shown * rate * (1 - rate))[kept]
    spread = usual
    if kept.any():
        y = log_odds((responses[kept] + 0.5) / (shown[kept] + 1))
        spread = _within(y, v, groups[kept], usual, 0 * y)[0]
    number = int(groups.max(initial=-1)) + 1
    return spread, _damped(shown, responses, worth(spread, rate), groups, number)


def _within(
    y: Floats, v: Floats, groups: Whole, usual: float, x: Floats
) -> tuple[float, float, float, Floats]:
    """Spread within groups, slope on x and its error, by restricted maximum likelihood, and what is
    believed of each y then [N]."""
    best = (-math.inf, usual, 0.0, math.inf)
    _, code = np.unique(groups, return_inverse=True)

    def less_mean(z: Floats, w: Floats) -> Floats:
        found: Floats = z - (np.bincount(code, w * z) / np.bincount(code, w))[code]
        return found

    for spread in _SPREADS.tolist():
        w = 1 / (v + spread**2)
        yc, xc = less_mean(y, w), less_mean(x, w)
        steep = float(w @ (xc * xc))
        told = steep > 1e-12
        slope = float(w @ (xc * yc)) / steep if told else 0.0
        likelihood = (
            float(np.log(w).sum() - np.log(np.bincount(code, w)).sum() - w @ (yc - slope * xc) ** 2)
            / 2
        )
        likelihood -= math.log(steep) / 2 if told else 0.0
        likelihood -= (math.log(spread / usual) / _DOUBT) ** 2 / 2
        best = max(best, (likelihood, spread, slope, steep**-0.5 if told else math.inf))
    _, spread, slope, error = best
    w = 1 / (v + spread**2)
    missed = less_mean(y - slope * x, w)
    return spread, slope, error, y - missed + spread**2 * w * missed


def _damped(
    shown: Floats, responses: Floats, strength: Floats, groups: Whole, number: int
) -> tuple[Floats, Floats]:
    """Impressions and responses of groups, of no part more than `strength` impressions."""
    w = strength / (strength + shown)
    sums = [np.bincount(groups, w * each, number) for each in (shown, responses)]
    return np.asarray(sums[0], np.float64), np.asarray(sums[1], np.float64)


def _share(responses: Floats, shown: Floats, groups: Whole) -> Floats:
    """[N], the rate of each one's group, a little from 0."""
    rate = (np.bincount(groups, responses) + 0.5) / (np.bincount(groups, shown) + 1)
    found: Floats = rate[groups]
    return found


def centred(told: Floats, items: Whole) -> Floats:
    """[N] of [N]: what is told less the mean of the item; 0 where nothing is."""
    said = np.isfinite(told)
    total = np.bincount(items, np.where(said, told, 0.0))
    mean = total / np.maximum(np.bincount(items, said), 1)
    return np.where(said, told - mean[items], 0.0)


# --------------------------------------------------------------------------------------------------
# Beliefs and chances.


def worth(spread: float, rate: Floats) -> Floats:
    """How many impressions it is worth to know that a rate lies about `rate`, log-odds spread so
    far."""
    found: Floats = 1 / (spread**2 * rate * (1 - rate))
    return found


def beliefs(
    shown: Floats, responses: Floats, offset: Floats, parent: Floats, trust: Trust
) -> tuple[Floats, Floats]:
    """Successes and failures [..., C] of the Beta beliefs about the creatives of items.

    shown, responses, offset: [..., C], impressions, responses, and what is added to the log-odds of
    the item's level. parent: [...], the level that the items' levels are shrunk to.
    """
    level = parent
    for _ in range(2):  # what a prior is worth follows from the level, and the level from that
        p = _moved(level, offset)
        strength, weight = _strength(trust, p), worth(trust.item, level)
        damped = strength / (strength + shown)
        alike = (damped * responses * level[..., None] / p).sum(-1)
        level = (weight * parent + alike) / (weight + (damped * shown).sum(-1))
        level = np.clip(level, 1e-6, 1 - 1e-6)
    p = _moved(level, offset)
    strength = _strength(trust, p)
    return strength * p + responses, strength * (1 - p) + shown - responses


def _strength(trust: Trust, rate: Floats) -> Floats:
    if trust.impressions is not None:
        return np.full(rate.shape, trust.impressions)
    return worth(trust.creative, rate)


def _moved(level: Floats, offset: Floats) -> Floats:
    odds = (level / (1 - level))[..., None] * np.exp(offset)
    found: Floats = odds / (1 + odds)
    return found


def creative_chances(
    config: CreativeSettings, successes: Floats, failures: Floats, shift: Floats
) -> Floats:
    """[..., C], summing to 1, of [..., C] Beta beliefs. shift: added to the log-odds of each."""
    number = successes.shape[-1]
    if number == 1:
        return np.ones(successes.shape)
    match config.kind:
        case "uniform":
            found = np.full(successes.shape, 1 / number)
        case "thompson":
            times = config.sharpness
            found = best_of_betas(times * successes, times * failures, shift)
        case "greedy" | "epsilon":
            best = np.argmax(np.log(successes / failures) + shift, -1)
            found = np.eye(number)[best]
            if config.kind == "epsilon":
                found = (1 - config.epsilon) * found + config.epsilon / number
    floor = min(config.floor, 1 / number)
    raised: Floats = floor + (1 - number * floor) * found
    return raised


def best_of_betas(successes: Floats, failures: Floats, shift: Floats) -> Floats:
    """[..., C], the chance that each one's draw is the highest of its row.

    The quadrature of `rules.beta_chances` for many rows at once: those that need a grid about as
    fine share its number of points.
    """
    a, b = (
        np.maximum(each, LEAST_COUNT).reshape(-1, each.shape[-1]) for each in (successes, failures)
    )
    moved = np.broadcast_to(shift, successes.shape).reshape(a.shape)
    spread, start, end, wins = _reach(a, b, moved)
    least = np.where(wins, spread, np.inf).min(1)
    finest = (end - start) * _STEPS / _POINTS
    if (least < finest).any():  # too narrow for the grid: read as wider
        share = np.minimum(1, (spread / np.maximum(least, finest)[:, None]) ** 2)
        a, b = share * a, share * b
        least = np.maximum(least, finest)
        _, start, end, _ = _reach(a, b, moved)
    points = np.ceil(2 ** (np.ceil(3 * np.log2((end - start) * _STEPS / least)) / 3))
    found = np.empty(a.shape)
    for size in sorted(set(points.tolist())):
        rows = np.flatnonzero(points == size)
        at_once = max(1, int(_CELLS / (size * a.shape[1])))
        for first in range(0, len(rows), at_once):
            some = rows[first : first + at_once]
            step = ((end - start)[some] / size)[:, None]
            x = start[some, None] + step * np.arange(size + 1)
            found[some] = _won(a[some], b[some], moved[some], x, step[..., None])
    return found.reshape(successes.shape)


def _reach(a: Floats, b: Floats, shift: Floats) -> tuple[Floats, Floats, Floats, NDArray[np.bool_]]:
    """Of beliefs [T, C] on log-odds: their spreads, the ends [T] of what matters, and which of them
    can win at all."""
    spread = np.sqrt(1 / a + 1 / b)
    centre = np.log(a / b) + shift
    start = (centre - _REACH * spread - _TAIL / a).max(1)
    high = centre + _REACH * spread + _TAIL / b
    return spread, start, high.max(1), high > start[:, None]


def _won(a: Floats, b: Floats, shift: Floats, x: Floats, step: Floats) -> Floats:
    """[T, C] of beliefs [T, C] on the even grids [T, X]. step: [T, 1, 1]."""
    norm = _log_gamma(a) + _log_gamma(b) - _log_gamma(a + b)
    t = x[:, None] - shift[..., None]
    odds = np.exp(np.minimum(t, _FARTHEST))
    height = np.exp(a[..., None] * t - (a + b)[..., None] * np.log1p(odds) - norm[..., None])
    slope = height * (a[..., None] - (a + b)[..., None] * (odds / (1 + odds)))
    piece = step / 2 * (height[..., :-1] + height[..., 1:])
    piece += step**2 / 12 * (slope[..., :-1] - slope[..., 1:])
    above = np.zeros_like(height)
    above[..., :-1] = piece[..., ::-1].cumsum(-1)[..., ::-1]
    logs = np.log(np.clip(1.0 - above, 1e-300, 1.0))
    won = (height * np.exp(logs.sum(1, keepdims=True) - logs)).sum(-1)
    found: Floats = won / won.sum(1, keepdims=True)
    return found


def _log_gamma(x: Floats) -> Floats:
    found = np.array([math.lgamma(each) for each in x.ravel().tolist()])
    return found.reshape(x.shape)


# --------------------------------------------------------------------------------------------------
# The policy: what is live, what was counted, and the draw.

#: Creatives, their chances and the running sum of these.
_Ladder = tuple[tuple[LiveCreative, ...], Floats, list[float]]
#: Of an item: the segment, the creatives where not all are offered, and how often each was seen.
_LadderKey = tuple[str, tuple[LiveCreative, ...], tuple[int, ...]]


class CreativePolicy:
    """Chooses creatives for the items of slates; may be shared by threads.

    `put` says what is live, `observe` counts, `refresh` learns from the counts, each as often as
    one likes; chances are kept until the counts of their item have changed by more than noise.
    """

    def __init__(self, config: CreativeSettings, *, clock: Clock | None = None) -> None:
        self.config = config
        self._lock = threading.Lock()
        self._cap = FrequencyCap(FrequencyCapConfig(max(1, config.cap), config.cap_hours))
        #: Whether it matters what each person has seen.
        self._follows = bool(config.cap or config.wear)
        self._capped = PolicyRecords([self._cap] if self._follows else [], clock=clock)
        self._live: dict[str, tuple[LiveCreative, ...]] = {}
        self._paying: dict[str, frozenset[str]] = {}  # campaigns of the creatives of items
        self._known: tuple[LiveCreative, ...] = ()
        self._counts: dict[tuple[str, str], list[int]] = {}
        self._kept: dict[str, dict[_LadderKey, _Ladder]] = {}
        # Impressions and responses of items when their chances were computed, and since.
        self._since: dict[str, list[float]] = {}
        self._total, self._learnt = 0, -1.0
        self.version = -1
        self._levels: dict[str, float] = {}
        self._level = _RATE
        self.trust = Trust(impressions=config.prior_trust, slope=float(bool(config.prior_trust)))

    @property
    def kinds(self) -> frozenset[str]:
        """Kinds of the events that are to be observed."""
        return frozenset({"impression", self.config.response})

    @property
    def since(self) -> datetime | None:
        """The first instant whose events matter: all do."""
        return None

    def begin(self, counts: Mapping[str, Mapping[str, int]]) -> None:
        """Add creative_id -> kind -> events to what was counted: of events whose segments nobody
        knows any more."""
        with self._lock:
            for creative_id, kinds in counts.items():
                count = self._counts.setdefault((creative_id, ""), [0, 0])
                count[0] += kinds.get("impression", 0)
                count[1] += kinds.get(self.config.response, 0)
                self._total += kinds.get("impression", 0)
            self._kept = {}

    def put(
        self,
        live: Iterable[LiveCreative],
        past: Iterable[LiveCreative] = (),
        *,
        version: int = 0,
    ) -> None:
        """What may be shown from now on, in place of what could be. past: creatives that may not
        be, of whose counts is learnt. version: the owner's own number of this state of things."""
        by_item: dict[str, list[LiveCreative]] = {}
        for one in sorted(live, key=lambda each: each.creative_id):
            by_item.setdefault(one.item_id, []).append(one)
        offered = {item_id: tuple(some) for item_id, some in by_item.items()}
        every = {one.creative_id: one for one in past}
        every |= {one.creative_id: one for some in offered.values() for one in some}
        with self._lock:
            self._live, self._known, self._kept = offered, tuple(every.values()), {}
            self._paying = {
                item_id: frozenset(one.campaign_id for one in some)
                for item_id, some in offered.items()
            }
            self._learnt = -1.0
            self.version = version
        self.refresh()

    def observe(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Count stored events in EVENT_SCHEMA columns that name a creative; each must come once."""
        kinds = self.kinds
        named = [one for one in events if one.get("creative_id") and one["kind"] in kinds]
        key, counts = self.config.segment, self._counts
        with self._lock:
            for event in named:
                creative_id, place = event["creative_id"], int(event["kind"] != "impression")
                count = counts.get((creative_id, ""))
                if count is None:
                    count = counts[creative_id, ""] = [0, 0]
                count[place] += 1
                if key and (segment := _segment_of(event.get("context"), key)):
                    counts.setdefault((creative_id, segment), [0, 0])[place] += 1
                self._total += 1 - place
                self._outdated(event["item_id"], place)
        if self._follows:
            self._capped.observe([{**each, "item_id": each["creative_id"]} for each in named])

    def _outdated(self, item_id: str, place: int) -> None:
        """Chances are computed anew after a fiftieth more impressions, or responses."""
        since = self._since.get(item_id)
        if since is not None:
            since[2 + place] += 1
            if since[2 + place] >= (_GROWTH - 1) * since[place]:
                self._kept.pop(item_id, None)
                del self._since[item_id]

    def refresh(self) -> None:
        """Learn levels and trust from the counts, where they have grown by a fiftieth."""
        with self._lock:
            if self._total <= _GROWTH * self._learnt:
                return
            self._learnt, known = float(self._total), self._known
            pairs = [self._counts.get((one.creative_id, ""), (0, 0)) for one in known]
        counts = np.array(pairs, np.float64).reshape(-1, 2)
        shown, responses = counts[:, 0], np.minimum(counts[:, 0], counts[:, 1])
        told = log_odds(np.array([math.nan if c.told is None else c.told for c in known]))
        _, items = np.unique([one.item_id for one in known], return_inverse=True)
        names, campaigns = np.unique([one.campaign_id for one in known], return_inverse=True)
        trust = self.trust
        if self.config.prior_trust is None:
            trust = learn_trust(shown, responses, told, items, campaigns)
        level, levels = levels_of(shown, responses, items, campaigns, trust)
        with self._lock:
            self.trust, self._level, self._kept = trust, level, {}
            self._levels = dict(zip(names.tolist(), levels.tolist(), strict=True))

    def level_of(self, campaign_id: str) -> float:
        """The rate of responses at which a new item of a campaign starts; the tenant's for an
        unknown one."""
        return self._levels.get(campaign_id, self._level)

    def chances(
        self,
        item_id: str,
        request: Request,
        *,
        stopped: Collection[str] = (),
        closed: Container[str] = (),
    ) -> tuple[tuple[LiveCreative, ...], Floats]:
        """The creatives that may be shown for an item, and the chance of each, summing to 1; none
        where none may be. stopped: creative_ids, closed: campaign_ids that are ruled out."""
        with self._lock:
            offered, found, _ = self._ladder(item_id, request, stopped, closed)
        return offered, found

    def choose(
        self,
        item_ids: Sequence[str],
        request: Request,
        rng: np.random.Generator,
        *,
        stopped: Collection[str] = (),
        closed: Container[str] = (),
        placed: Callable[[str], None] = lambda _: None,
    ) -> tuple[ShownCreative | None, ...]:
        """The creative of each of K places, None where none may be shown; () where all are None.

        Takes one uniform number from rng for each place that has one. placed: told the campaign of
        each, after which `closed` may rule out others.
        """
        shown: list[ShownCreative | None] = []
        with self._lock:
            for item_id in item_ids:
                if item_id not in self._live:
                    shown.append(None)
                    continue
                offered, chances, ladder = self._ladder(item_id, request, stopped, closed)
                if not offered:
                    shown.append(None)
                    continue
                row = bisect_right(ladder, rng.random() * ladder[-1])
                row = min(row, bisect_left(ladder, ladder[-1]))  # the last that has a chance
                one = offered[row]
                chance = min(1.0, float(chances[row]))
                shown.append(ShownCreative(one.creative_id, one.campaign_id, chance))
                placed(one.campaign_id)
        return tuple(shown) if any(shown) else ()

    def reserve(self, decision: Decision) -> None:
        """Count what a decision shows for the caps, until `settle`."""
        if self._follows and decision.shown:
            ids = [one.creative_id for one in decision.shown if one is not None]
            with self._capped.lock:
                self._capped.reserve(decision.request, ids)

    def settle(self, request_id: str) -> None:
        """The decision was written or was not; what is still reserved for it is taken back."""
        self._capped.settle(request_id)

    def _ladder(
        self, item_id: str, request: Request, stopped: Collection[str], closed: Container[str]
    ) -> _Ladder:
        whole = offered = self._live.get(item_id, ())
        shut = closed and any(one in closed for one in self._paying.get(item_id, ()))
        if stopped or shut or self.config.cap:
            offered = tuple(
                one
                for one in whole
                if one.creative_id not in stopped
                and one.campaign_id not in closed
                and not self._is_capped(one.creative_id, request)
            )
        if not offered:
            return (), np.empty(0), []
        seen: tuple[int, ...] = ()
        if self.config.wear:
            seen = tuple(
                min(_OFTEN, self._cap.count(request.user_id, one.creative_id, request.time))
                for one in offered
            )
        segment = str(request.context.get(self.config.segment, ""))
        kept = self._kept.setdefault(item_id, {})
        key = segment, offered if len(offered) < len(whole) else (), seen if any(seen) else ()
        found = kept.get(key)
        if found is None:
            if item_id not in self._since:
                total = (float(one.sum()) for one in self._counted(whole, ""))
                self._since[item_id] = [*total, 0, 0]
            chances = self._chances(offered, segment, seen)
            found = kept[key] = offered, chances, list(accumulate(chances.tolist()))
        return found

    def _is_capped(self, creative_id: str, request: Request) -> bool:
        if not self.config.cap:
            return False
        return self._cap.count(request.user_id, creative_id, request.time) >= self.config.cap

    def _chances(
        self, offered: Sequence[LiveCreative], segment: str, seen: Sequence[int]
    ) -> Floats:
        one = np.zeros(len(offered), np.int64)
        told = np.array([math.nan if each.told is None else each.told for each in offered])
        recall = np.array([math.nan if each.recall is None else each.recall for each in offered])
        offset = self.trust.slope * centred(log_odds(told), one)
        parents = [self.level_of(each.campaign_id) for each in offered]
        parent = np.array(sum(parents) / len(parents))
        shown, responses = self._counted(offered, "")
        ours, answered = self._counted(offered, segment) if segment else (shown * 0, shown * 0)
        a, b = beliefs(shown - ours, responses - answered, offset, parent, self.trust)
        if segment:
            # What others did is worth no more than a creative's prior is.
            share = np.minimum(1.0, _strength(self.trust, a / (a + b)) / (a + b))
            a, b = share * a + answered, share * b + ours - answered
        shift = self.config.memorability * centred(recall, one)
        if seen:
            shift = shift - self.config.wear * np.log1p(seen)
        return creative_chances(self.config, a, b, shift)

    def _counted(self, offered: Sequence[LiveCreative], segment: str) -> tuple[Floats, Floats]:
        pairs = [self._counts.get((one.creative_id, segment), (0, 0)) for one in offered]
        counts = np.array(pairs, np.float64)
        return counts[:, 0], np.minimum(counts[:, 0], counts[:, 1])


def levels_of(
    shown: Floats, responses: Floats, items: Whole, campaigns: Whole, trust: Trust
) -> tuple[float, Floats]:
    """The level of the tenant and of each campaign, from counts of creatives [N]."""
    if not len(shown):
        return _RATE, np.empty(0)
    rate = _share(responses, shown, np.zeros(len(shown), np.int64))
    cell, of_cell = np.unique(np.stack([campaigns, items]), axis=1, return_inverse=True)
    number = int(campaigns.max()) + 1
    counts = _damped(shown, responses, _strength(trust, rate), of_cell.ravel(), cell.shape[1])
    shown, responses = _damped(*counts, worth(trust.item, rate[:1]), cell[0], number)
    strength = worth(trust.campaign, rate[:1])
    whole = np.zeros(number, np.int64)
    (all_shown,), (all_responses,) = _damped(shown, responses, strength, whole, 1)
    level = (all_responses + _WORTH * _RATE) / (all_shown + _WORTH)
    found: Floats = (responses + strength * level) / (shown + strength)
    return float(level), found


def _segment_of(context: object, key: str) -> str:
    said = json.loads(context) if isinstance(context, str) and context else context
    return str(said.get(key, "")) if isinstance(said, Mapping) else ""
