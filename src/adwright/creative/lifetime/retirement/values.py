"""What a unit will bring for its cost: a Poisson regression of the periods to come.

Credibility (`rates`) reads what a unit and its like have brought. Its features say more: how the
product sells elsewhere, how many come to the store. So a small network is trained on units as they
were known at past periods, stacked as for the curves of survival, with their numbers and with what
credibility said of them then:

    y = value, c = cost of a unit's periods to come, as far as they were known
    f = log r + the network    r of credibility, so that the network only says what is more
    loss = exp(f) c - y f      the expected value per cost is exp(f)

The loss is Poisson's, whose minimum is the mean of any value that is not negative. The network
begins at 0: where there is little to learn from, r stands. Numbers go in as sign(x) log(1 + |x|),
standardised, a gap as 0 with a column that says so; value per cost as logs.

Letters: N units, F numbers, K inputs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from adwright.core.artifacts import Artifact, save_artifact
from adwright.core.config import Count, Natural, NotNegative, Positive, settings, to_jsonable
from adwright.core.errors import DataError
from adwright.creative.lifetime.retirement.lives import LifeLog, LifeRecord
from adwright.creative.lifetime.retirement.rates import Rates, credibility
from adwright.creative.lifetime.spell_table import SpellTable
from adwright.training.loop.loop import train
from adwright.training.loop.run_folder import RunPosition
from adwright.training.loop.trainee import LoopConfig, Trainee
from adwright.training.model_artifacts import load_trained, load_weights, weights_of
from adwright.training.run_settings import seeded

__all__ = ["KIND", "ValueConfig", "ValueModel", "fit_values"]

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
            more = self.network(torch.from_numpy(self._standard(x))).squeeze(1).double().numpy()
        mean = np.exp(x[:, -_OWN] + more) * rates.overall
        ratio = np.divide(mean, rates.mean, out=np.ones_like(mean), where=rates.mean > 0)
        return replace(rates, mean=mean, spread=rates.spread * np.sqrt(ratio))

    def _standard(self, x: Floats) -> npt.NDArray[np.float32]:
        return np.clip((x - self.centre) / self.scale, -_FAR, _FAR).astype(np.float32)

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
    rows = np.clip((x - centre) / scale, -_FAR, _FAR).astype(np.float32)
    data = [torch.from_numpy(each.astype(np.float32)) for each in (rows, log_r, c, y)]
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
    whose = np.repeat(np.arange(len(log)), np.diff(log.offsets))
    found: Floats = np.bincount(whose, counted, len(log)).astype(np.float64)[life]
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
