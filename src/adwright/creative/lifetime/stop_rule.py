"""When to stop: what it is worth to keep a unit for one period more, and see how well it does.

At the close of a period a unit of age a runs on with the probability q = S(a), and then for m'
periods more; it brings r a cost of 1, give or take (`Rates`), and its cost would bring b elsewhere,
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

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from adwright.core.artifacts import Artifact, save_artifact
from adwright.core.config import Count, Natural, NotNegative, Positive, settings, to_jsonable
from adwright.core.config.declared import Finite
from adwright.core.errors import ConfigError, DataError
from adwright.creative.lifetime.lives import LifeLog, LifeRecord
from adwright.creative.lifetime.spell_table import SpellTable
from adwright.creative.lifetime.survival_curves import LifeCurves
from adwright.creative.lifetime.survival_network import LifeTerms
from adwright.training.loop.loop import train
from adwright.training.loop.run_folder import RunPosition
from adwright.training.loop.trainee import LoopConfig, Trainee
from adwright.training.model_artifacts import load_trained, load_weights, weights_of
from adwright.training.search import seeded

# --------------------------------------------------------------------------------------------------
# What a unit will bring for its cost: a Poisson regression of the periods to come.
#
# Credibility reads what a unit and its like have brought. Its features say more: how the
# product sells elsewhere, how many come to the store. So a small network is trained on units as
# they were known at past periods, stacked as for the curves of survival, with their numbers and
# with what credibility said of them then:
#
#     y = value, c = cost of a unit's periods to come, as far as they were known
#     f = log r + the network    r of credibility, so that the network only says what is more
#     loss = exp(f) c - y f      the expected value per cost is exp(f)
#
# The loss is Poisson's, whose minimum is the mean of any value that is not negative. The network
# begins at 0: where there is little to learn from, r stands. Numbers go in as sign(x) log(1 + |x|),
# standardised, a gap as 0 with a column that says so; value per cost as logs.
#
# Letters: N units, F numbers, K inputs.
#
# How well a unit does: its value per cost by credibility, from rows up to a period and no later.
#
# Buehlmann and Straub (1970), with pools inside the whole as in Jewell (1975). X_it = value / cost
# of
# life i in period t, d = 2^(-(P - t) / half-life) at the close of period P, weights w_it = d cost:
#
#     X_i = sum_t w_it X_it / w_i,  w_i = sum_t w_it
#     noise    s2 = sum_it w_it (X_it - X_i)^2 / sum_i (sum_t d - sum_t d^2 cost / w_i)
#     lives    t2 = (sum_i w_i (X_i - X_p)^2 - s2 (I - P)) / sum_p (w_p - sum_i w_i^2 / w_p)
#     X_p = sum_i u_i X_i / u_p,  u_i = 1 / (t2 + s2 / w_i),  u_p = sum_i u_i
#     pools    o2 = (sum_p u_p (X_p - X)^2 - (P - 1)) / (sum_p u_p - sum_p u_p^2 / sum_p u_p)
#     m_p = y X_p + (1 - y) m,  y = o2 u_p / (1 + o2 u_p),  m = the mean of X_p with weights y
#     r_i = z X_i + (1 - z) m_p,  z = t2 / (t2 + s2 / w_i)
#     variance of what r_i estimates: (t2 (1 - z) + (1 - z)^2 o2 (1 - y)) r_i / m
#
# The last factor is that of counts: value comes in single purchases or clicks, whose number varies
# in
# proportion to its mean. With gamma rates and Poisson counts, for which the credibility of one
# level
# is exact, the variance that is left is t2 (1 - z) r_i / m. Without it whoever sells little would
# seem to have as much left to show as who sells most.
#
# Negative t2 and o2 count as 0. With an infinite half-life d is 1, and s2 is the usual one; else
# its
# divisor makes up for weights that are no longer the precisions of the X_it. Periods without cost
# say
# nothing of value per cost: they are left out, and what came in them is told (`value_left_out`).
#
# Letters: R lives, M rows of a life and a period, N units that are asked for, G pools.

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
    if half_life is not None and not half_life > 0:
        raise ConfigError("a half-life is above 0 periods", where=f"half_life {half_life}")
    if len(asked) and not 0 <= asked.min() <= asked.max() < len(log):
        raise ConfigError(
            "a life is none of the log", where=f"{asked.min()} to {asked.max()} of {len(log):,}"
        )
    if (late := asked[log.first[asked] > period]).size:
        raise ConfigError(
            f"a life has not begun by {log.unit} {period}",
            where=f"life {late[0]}, first {log.unit} {log.first[late[0]]}",
        )
    rows = _rows_until(log, period)
    if half_life is None:
        errors = [_next_error(rows, each) for each in HALF_LIVES]
        # Of equal ones, the longest.
        half_life = HALF_LIVES[len(errors) - 1 - int(np.argmin(errors[::-1]))]
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
    counts = np.bincount(log.whose[kept], minlength=len(log))
    starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
    left_out = 1 - float(value.sum()) / came if came > 0 else 0.0
    return _Rows(
        log.whose[kept], log.period[kept], log.cost[kept], value, starts, pool, period, left_out
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
    # s2 and its divisor: within lives.
    off = rows.rate - own[rows.life]
    free = float(fade.sum() - (fade * w / weight[rows.life]).sum())
    free = free if free > 1e-9 * fade.sum() else 0.0  # rounding leaves a little
    s2 = float((w * off * off).sum()) / free if free else 0.0
    t2, spread_out = _between_lives(x, w_i, pool, pools, s2)
    if not free:  # no life had two periods: what differs between them is taken for noise
        s2, t2 = spread_out, 0.0
    # Without any noise the pools' means are exact: a noise too small to matter says so.
    u = 1 / (t2 + max(s2, 1e-12 * (t2 + float(np.var(x)))) / w_i) if np.var(x) > 0 else w_i
    centre, mean, var, o2 = _pool_means(x, u, pool, pools, exact=s2 == 0 and t2 == 0)
    z = np.zeros(lives)
    z[there] = t2 / (t2 + s2 / w_i) if t2 > 0 else 0.0
    return _Fitted(centre, s2, t2, o2, weight, own, z, mean, var)


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


KIND = "lifetime-values"
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

#: Of credibility: r, m_p and z.
_OWN = 3
#: Standard deviations beyond which an input is cut off, and bounds of what the network says.
_FAR, _RANGE = 5.0, 3.0


@settings
class ValueConfig:
    """hidden: width of the one layer. rows: units that are trained on at most, from every k-th
    period. learning_rate, weight_decay: AdamW's. half_life: see `credibility`."""

    hidden: Count = 32
    epochs: Count = 4
    batch: Count = 1024
    rows: Count = 500_000
    learning_rate: Positive = 2e-3
    weight_decay: NotNegative = 1e-2
    half_life: float | None = None
    seed: Natural = 0


@dataclass(frozen=True, eq=False)
class ValueModel:
    """names: F numbers that it reads. centre, scale: of the inputs, float64 [K]. before: the period
    before which it was trained. config: of the training, plain values."""

    network: nn.Sequential
    names: tuple[str, ...]
    centre: Floats
    scale: Floats
    before: int
    config: dict[str, Any] = field(default_factory=dict, repr=False)

    def rates(self, table: SpellTable, rates: Rates) -> Rates:
        """`rates` of the units of a table [N], with what is expected of them as their mean; the
        square of the spread goes with it, as in `credibility`."""
        x = _inputs(table, rates, self.names)
        with torch.inference_mode():
            scaled = torch.from_numpy(_scaled(x, self.centre, self.scale))
            more = self.network(scaled).squeeze(1).double().numpy()
        mean = np.exp(x[:, -_OWN] + more) * rates.overall
        ratio = np.divide(mean, rates.mean, out=np.ones_like(mean), where=rates.mean > 0)
        return replace(rates, mean=mean, spread=rates.spread * np.sqrt(ratio))

    def save(self, folder: str | Path, *, overwrite: bool = False) -> str:
        """Write the artifact, whole or not at all; returns its id."""
        config = {"names": list(self.names), "before": self.before, "fit": self.config}
        tensors = {**weights_of(self.network, "network."), "centre": self.centre}
        return save_artifact(
            folder,
            kind=KIND,
            config=config,
            tensors={**tensors, "scale": self.scale},
            overwrite=overwrite,
        )

    @classmethod
    def load(cls, source: str | Path | Artifact) -> ValueModel:
        """Of a folder; raises as `load_trained`."""
        return load_trained(source, _built, kind=KIND, name="model of values")


def fit_values(lives: LifeRecord, before: int, config: ValueConfig | None = None) -> ValueModel:
    """Trained on what was known before the period `before`.

    Raises DataError where no unit had a further period by then, or none of them brought anything.
    """
    config = config or ValueConfig()
    log = lives.log
    periods = _periods(log, before, config.rows)
    half_life, names = config.half_life, None
    inputs, cost, value = [], [], []
    for period in reversed(periods):
        ran = lives.running(period)
        rates = credibility(log, period, ran.life, half_life=half_life)
        half_life = rates.half_life  # of the last period: all of it was known before `before`
        names = ran.table.number_names
        c, y = (_after(log, of, ran.life, period, before - 1) for of in (log.cost, log.value))
        on = c > 0
        inputs.append(_inputs(ran.table, rates, names)[on])
        cost.append(c[on])
        value.append(y[on] / rates.overall)
    x, c, y = (np.concatenate(each) for each in (inputs, cost, value))
    if not (len(c) and y.sum() > 0):
        raise DataError(
            "nothing is known of what units went on to bring",
            value=f"{len(c)} units before {before}",
            hint="take a longer record",
        )
    centre, scale = x.mean(0), x.std(0) + 1e-6
    network = seeded(config.seed, lambda: _network(x.shape[1], config.hidden))
    log_r = x[:, -_OWN]
    start = math.log(y.sum() / (c * np.exp(log_r)).sum())
    with torch.no_grad():
        weight, bias = network[-1].parameters()
        weight.zero_()
        bias.fill_(start)
    model = ValueModel(network, tuple(names or ()), centre, scale, before, to_jsonable(config))
    parts = (_scaled(x, centre, scale), log_r, c, y)
    data = [torch.from_numpy(each.astype(np.float32)) for each in parts]
    train(_Values(network, data, start, config))
    network.eval()
    return model


class _Values(Trainee[Tensor]):
    """The regression in training; `fit_values` is its only user."""

    kind: ClassVar[str] = "lifetime-values-checkpoint"

    def __init__(
        self, network: nn.Sequential, data: list[Tensor], start: float, config: ValueConfig
    ) -> None:
        self.network, self.data, self.start, self.config = network, data, start, config
        optimiser = torch.optim.AdamW(
            network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        loop = LoopConfig(config.epochs, patience=config.epochs, seed=config.seed, clip_norm=10.0)
        super().__init__(network, {"adamw": optimiser}, loop, {"fit": to_jsonable(config)})

    def epoch(self, at: RunPosition) -> Iterator[Tensor]:
        """The units of each step that is left."""
        rng = np.random.default_rng([self.config.seed, at.epoch])
        order = torch.from_numpy(rng.permutation(len(self.data[0])))
        batch = self.config.batch
        return (order[i : i + batch] for i in range(at.step * batch, len(order), batch))

    def left(self, at: RunPosition) -> int:
        """Steps that are left of the epoch."""
        return math.ceil(len(self.data[0]) / self.config.batch) - at.step

    def loss(self, rows: Tensor) -> tuple[Tensor, int]:
        """Poisson's, over the units `rows`."""
        x, log_r, cost, value = (each[rows] for each in self.data)
        more = self.network(x).squeeze(1).clamp(self.start - _RANGE, self.start + _RANGE)
        f = log_r + more
        return (f.exp() * cost - value * f).sum(), len(rows)

    def validate(self, at: RunPosition) -> tuple[float | None, dict[str, Any]]:
        """None: the last weights are kept."""
        return None, {}


def _network(inputs: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, 1))


def _scaled(x: Floats, centre: Floats, scale: Floats) -> npt.NDArray[np.float32]:
    return np.clip((x - centre) / scale, -_FAR, _FAR).astype(np.float32)


def _inputs(table: SpellTable, rates: Rates, names: tuple[str, ...]) -> Floats:
    """[N, K]: the numbers `names`, a column the table lacks as gaps; whether each is one; r and
    m_p over the value per cost of all, as logs, and z."""
    place = {name: at for at, name in enumerate(table.number_names)}
    x = np.full((len(table), len(names)), np.nan)
    for at, name in enumerate(names):
        if name in place:
            x[:, at] = table.numbers[:, place[name]]
    gaps = np.isnan(x)
    x = np.sign(x) * np.log1p(np.abs(x))
    own = [
        np.log(np.maximum(each / max(rates.overall, 1e-300), 1e-4))
        for each in (rates.mean, rates.pool)
    ]
    return np.column_stack([np.where(gaps, 0.0, x), gaps, *own, rates.trust])


def _periods(log: LifeLog, before: int, rows: int) -> list[int]:
    """Every k-th period, the last before `before` - 1 among them, from the second of the record."""
    found, counts = np.unique(log.period[log.period < before - 1], return_counts=True)
    found, counts = found[1:], counts[1:]
    if not len(found):
        raise DataError("the record is too short to learn from", value=f"before {before}")
    step = max(1, -(-int(counts.sum()) // rows))
    chosen: list[int] = found[::-1][::step][::-1].tolist()
    return chosen


def _after(log: LifeLog, of: Floats, life: Ints, period: int, until: int) -> Floats:
    """[N]: sums of a column over the rows of lives after `period`, up to `until`."""
    counted = np.where((log.period > period) & (log.period <= until), of, 0.0)
    found: Floats = np.bincount(log.whose, counted, len(log)).astype(np.float64)[life]
    return found


def _built(artifact: Artifact) -> ValueModel:
    values, tensors = artifact.config, artifact.tensors
    names = tuple(values["names"])
    network = _network(2 * len(names) + _OWN, int(values["fit"]["hidden"]))
    load_weights(
        network, {n: t for n, t in tensors.items() if n.startswith("network.")}, "network."
    )
    network.eval()
    return ValueModel(
        network,
        names,
        np.array(tensors["centre"], np.float64),
        np.array(tensors["scale"], np.float64),
        int(values["before"]),
        values["fit"],
    )


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
    None takes the curve's last edge. half_life: of past periods, see `credibility`.
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


def decide(
    config: RetireConfig,
    curves: LifeCurves,
    rates: Rates,
    sooner: npt.NDArray[np.bool_] | None = None,
) -> Decisions:
    """What to do with N units, by their curves (entry: the age less the period that closes).
    sooner: bool [N], those of whose kind more end than of all, as was measured: they alone wear
    out, or are cut out; None where nobody measured it."""
    terms, units = curves.terms, len(curves)
    if len(rates) != units:
        raise ConfigError("each curve needs a rate", where=f"{units} curves, {len(rates)} rates")
    ahead, horizon = config.ahead_of(terms), config.horizon_of(terms)
    outlook = outlook_of(curves, horizon, ages=ahead + 1)
    break_even = break_even_of(config, rates)
    score, ends = keeping_value(rates, outlook, break_even), outlook.ends_within(ahead)
    old = curves.entry + 1 > terms.short[-1] if terms.long else np.zeros(units, np.bool_)
    told = np.ones(units, np.bool_) if sooner is None else sooner
    keep = np.where(old & (ends >= 0.5) & told, "refresh", "keep")
    ending = np.full(units, "")
    if len(curves.causes) > 1 and units:
        ending = np.array(curves.causes)[curves.incidence[:, -1].argmax(1)]
    saving = rates.recent * outlook.further
    loss = rates.mean * saving
    return Decisions(
        score=score,
        action=np.where(score < config.threshold, "stop", keep),
        cause=np.where(told, np.where(old, "wear-out", "cut-out" if terms.long else ""), ""),
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
