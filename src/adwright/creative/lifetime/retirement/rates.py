"""How well a unit does: its value per cost by credibility, from rows up to a period and no later.

Buehlmann and Straub (1970), with pools inside the whole as in Jewell (1975). X_it = value / cost of
life i in period t, d = 2^(-(P - t) / half-life) at the close of period P, weights w_it = d cost:

    X_i = sum_t w_it X_it / w_i,  w_i = sum_t w_it
    noise    s2 = sum_it w_it (X_it - X_i)^2 / sum_i (sum_t d - sum_t d^2 cost / w_i)
    lives    t2 = (sum_i w_i (X_i - X_p)^2 - s2 (I - P)) / sum_p (w_p - sum_i w_i^2 / w_p)
    X_p = sum_i u_i X_i / u_p,  u_i = 1 / (t2 + s2 / w_i),  u_p = sum_i u_i
    pools    o2 = (sum_p u_p (X_p - X)^2 - (P - 1)) / (sum_p u_p - sum_p u_p^2 / sum_p u_p)
    m_p = y X_p + (1 - y) m,  y = o2 u_p / (1 + o2 u_p),  m = the mean of X_p with weights y
    r_i = z X_i + (1 - z) m_p,  z = t2 / (t2 + s2 / w_i)
    variance of what r_i estimates: (t2 (1 - z) + (1 - z)^2 o2 (1 - y)) r_i / m

The last factor is that of counts: value comes in single purchases or clicks, whose number varies in
proportion to its mean. With gamma rates and Poisson counts, for which the credibility of one level
is exact, the variance that is left is t2 (1 - z) r_i / m. Without it whoever sells little would
seem to have as much left to show as who sells most.

Negative t2 and o2 count as 0. With an infinite half-life d is 1, and s2 is the usual one; else its
divisor makes up for weights that are no longer the precisions of the X_it. Periods without cost say
nothing of value per cost: they are left out, and what came in them is told (`value_left_out`).

Letters: R lives, M rows of a life and a period, N units that are asked for, G pools.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from adwright.core.errors import ConfigError, DataError
from adwright.creative.lifetime.retirement.lives import LifeLog

__all__ = ["HALF_LIVES", "Rates", "credibility"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

#: What a half-life is chosen among, in periods of the log.
HALF_LIVES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, np.inf)


@dataclass(frozen=True, eq=False)
class Rates:
    """What N units bring for their cost, as known at the close of a period.

    mean: r, expected value per cost in the periods to come. spread: standard deviation of what it
    estimates. own: X_i, NaN of a unit without cost. pool: m_p. trust: z, from 0 (the pool alone) to
    1 (the unit alone). recent: expected cost of a period. All float64 [N].
    overall: value per cost of all that ran so far. half_life: in periods. noise, lives, pools: the
    variances s2, t2 and o2. value_left_out: share of the value that came in periods without cost.
    """

    mean: Floats
    spread: Floats
    own: Floats
    pool: Floats
    trust: Floats
    recent: Floats
    overall: float
    half_life: float
    noise: float
    lives: float
    pools: float
    value_left_out: float = 0.0

    def __len__(self) -> int:
        return len(self.mean)

    @property
    def learned(self) -> Floats:
        """[N]: standard deviation of what r will be one period later, as far as it is known now.

        A period of the unit's cost c has the noise s2 / c, in proportion to r as the spread v^2 is;
        so of v^2 it tells v^2 / (v^2 + s2 r / (c overall)).
        """
        level = np.maximum(self.mean, 0.0) / self.overall if self.overall > 0 else 1.0
        total = self.spread**2 + level * self.noise / np.maximum(self.recent, 1e-300)
        told = (total > 0) & (self.recent > 0)
        found: Floats = np.divide(
            self.spread**2, np.sqrt(total), out=np.zeros_like(total), where=told
        )
        return found


def credibility(
    log: LifeLog, period: int, life: npt.ArrayLike, *, half_life: float | None = None
) -> Rates:
    """Rates of the lives at the places `life` (int [N] of the log) at the close of `period`.

    Rows of later periods are not read. half_life: in periods, infinite to weigh all periods alike;
    None takes that of `HALF_LIVES` whose rates, each from what came before, were nearest to the
    value per cost of each further period: the least squared error, weighted by cost.

    Raises ConfigError for a life that has not begun and a half-life that is not above 0, DataError
    where nothing cost anything up to the period.
    """
    asked = np.asarray(life, np.int64)
    _check(log, period, asked, half_life)
    rows = _rows_until(log, period)
    if half_life is None:
        half_life = _best_half_life(rows)
    fitted = _fit(rows, half_life)
    # Cost by period of a life so far, also of periods in which it had none.
    steps = np.arange(1, period - int(log.first[asked].min(initial=period)) + 2)
    fading = np.cumsum(_decay(steps - 1, half_life))
    ages = period - log.first[asked]
    weight = fitted.weight[asked]
    trust = fitted.trust[asked]
    pool = fitted.pool_mean[rows.pool[asked]]
    own = fitted.own[asked]
    mean = np.where(trust > 0, trust * np.where(trust > 0, own, 0.0), 0.0) + (1 - trust) * pool
    variance = fitted.lives * (1 - trust) + (1 - trust) ** 2 * fitted.pool_var[rows.pool[asked]]
    if fitted.centre > 0:
        variance *= mean / fitted.centre
    return Rates(
        mean=mean,
        spread=np.sqrt(np.maximum(variance, 0.0)),
        own=own,
        pool=pool,
        trust=trust,
        recent=weight / fading[ages] if len(asked) else weight,
        overall=float(rows.value.sum() / rows.cost.sum()),
        half_life=float(half_life),
        noise=fitted.noise,
        lives=fitted.lives,
        pools=fitted.pools,
        value_left_out=rows.left_out,
    )


class _Rows(NamedTuple):
    """Rows up to `until` that cost something, by life; starts: int64 [R + 1], of each life's rows.
    pool: int64 [R], 0 to G - 1."""

    life: Ints
    period: Ints
    cost: Floats
    value: Floats
    starts: Ints
    pool: Ints
    until: int
    left_out: float

    @property
    def rate(self) -> Floats:
        return self.value / self.cost


class _Fitted(NamedTuple):
    """Constants, and by life [R] or pool [G] what follows from them. centre: m."""

    centre: float
    noise: float
    lives: float
    pools: float
    weight: Floats
    own: Floats
    trust: Floats
    pool_mean: Floats
    pool_var: Floats


def _rows_until(log: LifeLog, period: int) -> _Rows:
    lives = len(log)
    life = np.repeat(np.arange(lives), np.diff(log.offsets))
    seen = log.period <= period
    kept = np.flatnonzero(seen & (log.cost > 0))
    if not len(kept):
        raise DataError(
            f"nothing cost anything up to {log.unit} {period}",
            column="cost",
            value=log.cost_name,
            hint="take a later period, or another column as the cost",
        )
    came = float(log.value[seen].sum())
    value = log.value[kept]
    _, pool = np.unique(log.pool, return_inverse=True)
    counts = np.bincount(life[kept], minlength=lives)
    starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
    left_out = 1 - float(value.sum()) / came if came > 0 else 0.0
    return _Rows(
        life[kept], log.period[kept], log.cost[kept], value, starts, pool, period, left_out
    )


def _decay(periods: Ints, half_life: float) -> Floats:
    """The weight of what was so many periods ago; never so small that it vanishes."""
    found: Floats = np.exp2(-np.minimum(periods / half_life, 500.0))
    return found


def _sums(place: Ints, values: Floats, size: int) -> Floats:
    """[size]: sums of the values by place."""
    return np.bincount(place, values, size).astype(np.float64)


def _fit(rows: _Rows, half_life: float) -> _Fitted:
    lives, pools = len(rows.pool), int(rows.pool.max()) + 1
    fade = _decay(rows.until - rows.period, half_life)
    w = fade * rows.cost
    weight = _sums(rows.life, w, lives)
    there = np.flatnonzero(weight > 0)
    own = np.full(lives, np.nan)
    own[there] = _sums(rows.life, fade * rows.value, lives)[there] / weight[there]
    x, w_i, pool = own[there], weight[there], rows.pool[there]
    s2, free = _noise(rows, fade, weight, own)
    t2, spread_out = _between_lives(x, w_i, pool, pools, s2)
    if not free:  # no life had two periods: what differs between them is taken for noise
        s2, t2 = spread_out, 0.0
    # Without any noise the pools' means are exact: a noise too small to matter says so.
    u = 1 / (t2 + max(s2, 1e-12 * (t2 + float(np.var(x)))) / w_i) if np.var(x) > 0 else w_i
    centre, mean, var, o2 = _pool_means(x, u, pool, pools, exact=s2 == 0 and t2 == 0)
    z = np.zeros(lives)
    z[there] = t2 / (t2 + s2 / w_i) if t2 > 0 else 0.0
    return _Fitted(centre, s2, t2, o2, weight, own, z, mean, var)


def _noise(rows: _Rows, fade: Floats, weight: Floats, own: Floats) -> tuple[float, float]:
    """(s2, its divisor): within lives."""
    w = fade * rows.cost
    off = rows.rate - own[rows.life]
    squares = float((w * off * off).sum())
    free = float(fade.sum() - (fade * w / weight[rows.life]).sum())
    known = free > 1e-9 * fade.sum()  # rounding leaves a little
    return (squares / free, free) if known else (0.0, 0.0)


def _between_lives(x: Floats, w: Floats, pool: Ints, pools: int, s2: float) -> tuple[float, float]:
    """(t2, squares by degree of freedom within pools, in the whole where each pool is of one)."""
    total = _sums(pool, w, pools)
    centre = _sums(pool, w * x, pools) / np.where(total > 0, total, 1)
    squares = float((w * (x - centre[pool]) ** 2).sum())
    free = len(x) - int((total > 0).sum())
    share = _sums(pool, w * w, pools) / np.where(total > 0, total, 1)
    size = float((total - share).sum())
    t2 = max((squares - s2 * free) / size, 0.0) if free and size > 0 else 0.0
    if not free:
        free, squares = len(x) - 1, float((w * (x - np.average(x, weights=w)) ** 2).sum())
    return t2, squares / free if free else 0.0


def _pool_means(
    x: Floats, u: Floats, pool: Ints, pools: int, *, exact: bool
) -> tuple[float, Floats, Floats, float]:
    """(m, m_p [G], its variance [G], o2). exact: the pools' means have no noise."""
    u_p = _sums(pool, u, pools)
    there = u_p > 0
    own = _sums(pool, u * x, pools) / np.where(there, u_p, 1)
    known, total = own[there], u_p[there]
    centre = float((total * known).sum() / total.sum())
    squares = float((total * (known - centre) ** 2).sum())
    size = float(total.sum() - (total**2).sum() / total.sum())
    free = 0 if exact else len(known) - 1
    o2 = max((squares - free) / size, 0.0) if size > 1e-12 * total.sum() else 0.0
    y = np.zeros(pools)
    y[there] = 1.0 if exact and o2 > 0 else o2 * total / (1 + o2 * total)
    if y.sum() > 0:
        centre = float((y * own).sum() / y.sum())
    return centre, y * own + (1 - y) * centre, o2 * (1 - y), o2


def _best_half_life(rows: _Rows) -> float:
    errors = [_next_error(rows, half_life) for half_life in HALF_LIVES]
    # Of equal ones, the longest.
    return HALF_LIVES[len(errors) - 1 - int(np.argmin(errors[::-1]))]


def _next_error(rows: _Rows, half_life: float) -> float:
    """sum of cost (X_t - r_t)^2 over the rows of lives but their first, r_t from rows before t."""
    fitted = _fit(rows, half_life)
    counts = np.diff(rows.starts)
    order = np.argsort(-counts, kind="stable")
    longest = int(counts.max(initial=0))
    alive = len(counts) - np.searchsorted(np.sort(counts), np.arange(1, longest + 1), side="left")
    place = rows.starts[order]
    prior = fitted.pool_mean[rows.pool[order]]
    cost, value, period = rows.cost, rows.value, rows.period
    weight, sums, error = np.zeros(len(counts)), np.zeros(len(counts)), 0.0
    for step, lives in enumerate(alive.tolist()):  # all lives that have a row more, at once
        row = place[:lives] + step
        w, b = weight[:lives], sums[:lives]
        if step:
            fade = _decay(period[row] - 1 - period[row - 1], half_life)
            w, b = w * fade, b * fade
            z = fitted.lives * w / (fitted.lives * w + fitted.noise) if fitted.lives > 0 else 0.0
            found = z * b / w + (1 - z) * prior[:lives]
            error += float((cost[row] * (value[row] / cost[row] - found) ** 2).sum())
            one = float(_decay(np.ones(1, np.int64), half_life)[0])
            w, b = w * one, b * one
        weight[:lives], sums[:lives] = w + cost[row], b + value[row]
    return error


def _check(log: LifeLog, period: int, life: Ints, half_life: float | None) -> None:
    if half_life is not None and not half_life > 0:
        raise ConfigError("a half-life is above 0 periods", where=f"half_life {half_life}")
    if len(life) and not 0 <= life.min() <= life.max() < len(log):
        raise ConfigError(
            "a life is none of the log", where=f"{life.min()} to {life.max()} of {len(log):,}"
        )
    late = log.first[life] > period
    if late.any():
        raise ConfigError(
            f"a life has not begun by {log.unit} {period}",
            where=f"life {life[late][0]}, first {log.unit} {log.first[life][late][0]}",
        )
