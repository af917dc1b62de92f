"""The fine rankers: the closed union of what can be trained on impressions, saved and served.

Adding one takes its own file and this one: its config and network in the two unions, its kind in
`ranker_config`, its constructor in `ranker_model`. What other files ask of a ranker is here, or
an attribute of it:

    config    `title`, its name in run folders, tables and pages; `embedding`, `mlp_hidden` and
              `activation`, which its base model shares
    network   called with a `Batch` it gives logits [T]; `loss`; `config`; `item`, its item
              embedding; `mlp`, see `row_mlp`; `history_cost`

In a run file `kind` names a ranker; without one it is DIN:

    [model]
    kind = "hstu"
    blocks = 2

What is saved of DIN and its base model: the mean of their logits, or one of them alone.

Both are trained anyway. They differ in what they learn by heart, so the mean of their logits is
nearly always ahead of both where they are alike, and a little behind the better one where they are
not. So the mean is saved, unless validation rows tell one of them apart from it: ahead in group AUC
by more than the interval of the paired difference. The mean is one network (`DINConfig.base_share`)
for all that scores, serves and exports.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BeforeValidator
from torch import Tensor, nn
from torch.nn import functional

from adwright.core.config import from_jsonable
from adwright.core.errors import ConfigError
from adwright.data.features import FeatureSpec, ItemTable
from adwright.metrics.bootstrap import Interval
from adwright.metrics.reports.report import compare_response
from adwright.models.calibration import (
    Calibrator,
    IdentityCalibrator,
    IsotonicCalibrator,
    PlattCalibrator,
    TemperatureCalibrator,
)
from adwright.models.ranking.din import DIN, EPS, DINConfig, LocalActivationUnit
from adwright.models.ranking.hstu_target import HSTUTarget, HSTUTargetConfig

# --------------------------------------------------------------------------------------------------
# DIN as a plain network over padded tensors, for export: one person, T ads, L past items.
#
# It computes what `din` does, by the formula as it stands in the paper: every pair of ad
# and past item is formed, [T, L, H] numbers at once. Training never does that; a server that
# scores a few hundred ads for one person can. Nothing here depends on the data, so torch.export
# and ONNX can trace it with T and L left open.
#
#     x = [k, q, q - k, q * k] W + b,   a = w2 . act(x) + b2,   interest = sum_l c_l a_l k_l
#
# Item vectors are computed once, for the whole catalogue, and looked up.


class DenseScorer(nn.Module):
    """The trained network of `model` in inference form; weights are copied.

    spec: the features that the model was built for, which name the columns of the inputs:
    coded_rows those of `codes`, multi_rows those of `lists`, numeric_rows those of `numeric`.
    """

    vectors: Tensor

    def __init__(self, model: DIN, spec: FeatureSpec) -> None:
        super().__init__()
        self.config = model.config
        self.n_coded = len(spec.coded_rows)
        with torch.no_grad():
            known = torch.arange(len(model.item.get_buffer("item_codes")))
            self.register_buffer("vectors", model.item(known).detach().clone())
        self.tables = nn.ModuleList(_plain(table) for table in model.row.tables)
        self.mlp = copy.deepcopy(model.mlp)
        if model.config.interest == "attention":
            self.unit = _Pairs(model.unit)
        if model.config.base_share:
            self.base = DenseScorer(model.base, spec)
        self.eval()

    def forward(
        self,
        item: Tensor,
        history: Tensor,
        count: Tensor,
        codes: Tensor,
        lists: Tensor,
        numeric: Tensor,
    ) -> Tensor:
        """Logits [T].

        item: int64 [T]. history: int64 [L] items of the person, 0 where padded; count: float
        [L], how often each was met, 0 where padded. codes: int64 [T, F]. lists: int64
        [T, G, M], each feature's codes padded with 0. numeric: float [T, N].
        """
        q, k = self.vectors[item], self.vectors[history]
        interest = self._interest(q, k, count)
        parts = [q, interest]
        for column, table in enumerate(self.tables):
            if column < self.n_coded:
                parts.append(table(codes[:, column]))
            else:
                parts.append(_mean(table, lists[:, column - self.n_coded]))
        logits: Tensor = self.mlp(torch.cat([*parts, numeric], 1)).squeeze(1)
        if not self.config.base_share:
            return logits
        share = self.config.base_share
        base: Tensor = self.base(item, history, count, codes, lists, numeric)
        return (1 - share) * logits + share * base

    def _interest(self, q: Tensor, k: Tensor, count: Tensor) -> Tensor:
        """q [T, D], k [L, D], count [L] to the pooled history [T, D] (D + 1 with intensity)."""
        if self.config.intensity:
            q, k = functional.pad(q, (0, 1), value=1.0), functional.pad(k, (0, 1), value=1.0)
        if self.config.interest == "sum":
            pooled = count[None, :] @ (k / self.config.history_scale)
            return pooled + torch.zeros_like(q)
        scores = self.unit(q, k)
        if self.config.weight == "softmax":
            # Padding weighs nothing, and an empty history pools to zero.
            seen = count > 0
            masked = scores.masked_fill(~seen, -1e30)
            top = functional.pad(masked, (0, 1), value=-1e30).amax(1, keepdim=True)
            weights = torch.exp(masked - top) * count
            weights = weights / weights.sum(1, keepdim=True).clamp(min=1e-30)
        else:
            weights = scores * count
        interest: Tensor = weights @ k
        return interest


class CalibratedScorer(nn.Module):
    """A DenseScorer with the way from its logits to probabilities of the full data.

    negative_rate: share of label-0 rows that training kept; undoing it shifts a logit by
    log(rate). calibrator: applied afterwards, as in a ranker.
    """

    knots: Tensor
    levels: Tensor

    def __init__(self, scorer: DenseScorer, negative_rate: float, calibrator: Calibrator) -> None:
        super().__init__()
        self.scorer = scorer
        self.shift = math.log(negative_rate)
        self.slope, self.intercept = 1.0, 0.0
        self.stepped = isinstance(calibrator, IsotonicCalibrator)
        match calibrator:
            case IdentityCalibrator():
                pass
            case PlattCalibrator(slope=slope, intercept=intercept):
                self.slope, self.intercept = slope, intercept
            case TemperatureCalibrator(temperature=temperature):
                self.slope = 1 / temperature
            case IsotonicCalibrator(knots=knots, levels=levels):
                self.register_buffer("knots", torch.tensor(knots, dtype=torch.float64))
                self.register_buffer("levels", torch.tensor(levels, dtype=torch.float64))
        self.eval()

    def forward(
        self,
        item: Tensor,
        history: Tensor,
        count: Tensor,
        codes: Tensor,
        lists: Tensor,
        numeric: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """(logits [T] of the network, calibrated probabilities [T]); inputs as DenseScorer."""
        logits = self.scorer(item, history, count, codes, lists, numeric)
        probability = torch.sigmoid(self.slope * (logits + self.shift) + self.intercept)
        return logits, self._steps(probability) if self.stepped else probability

    def _steps(self, probability: Tensor) -> Tensor:
        """The rising line through (knots, levels), as a sum of its pieces."""
        width = self.knots[1:] - self.knots[:-1]
        rise = (self.levels[1:] - self.levels[:-1]) / width.clamp(min=1e-300)
        inside = (probability.double()[:, None] - self.knots[:-1]).clamp(min=0)
        pieces = torch.minimum(inside, width) * rise
        return (self.levels[0] + pieces.sum(1)).to(probability.dtype)


class _Pairs(nn.Module):
    """The local activation unit, pair by pair: a(q, k) [T, L]."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, unit: LocalActivationUnit) -> None:
        super().__init__()
        self.unit = copy.deepcopy(unit).requires_grad_(False)
        mean, variance = (part.detach().clone().float() for part in unit.moments())
        self.register_buffer("mean", mean)
        self.register_buffer("deviation", torch.sqrt(variance + EPS))

    def forward(self, q: Tensor, k: Tensor) -> Tensor:
        """q [T, D], k [L, D] to [T, L]."""
        unit, first = self.unit, self.unit.first
        a, b = q[:, None, :], k[None, :, :]
        x = (
            b @ (first[0] - first[2])  # [1, L, H]
            + a @ (first[1] + first[2])  # [T, 1, H]
            + (a * b) @ first[3]  # [T, L, H]
            + unit.bias
        )
        if unit.activation == "dice":
            gate = torch.sigmoid((x - self.mean) / self.deviation)
        else:
            gate = (x > 0).to(x.dtype)
        opened = x * (gate + unit.alpha * (1 - gate))
        return opened @ unit.second + unit.second_bias


def _plain(table: nn.Module) -> nn.Embedding:
    """A copy of an embedding table without sparse gradients, which cannot be exported."""
    if not isinstance(table, nn.Embedding):
        raise TypeError(f"expected an embedding table, found {type(table).__name__}")
    plain = nn.Embedding(*table.weight.shape)
    plain.load_state_dict(table.state_dict())
    return plain


def _mean(table: nn.Module, codes: Tensor) -> Tensor:
    """Mean of the embeddings of the codes [T, M] that are not 0: [T, W]; zero without any."""
    mask = (codes > 0).to(torch.float32)[:, :, None]
    sums: Tensor = (table(codes) * mask).sum(1)
    return sums / mask.sum(1).clamp(min=1)


def ranker_config(values: Mapping[str, Any]) -> DINConfig | HSTUTargetConfig:
    """The config of a table in a run file, or that `to_jsonable` made `values` from.

    Raises ConfigError for an unknown kind, and as `from_jsonable`.
    """
    match values.get("kind", "din"):
        case "din":
            # DIN was there before there was a kind: its config has none.
            return from_jsonable(DINConfig, {k: v for k, v in values.items() if k != "kind"})
        case "hstu":
            return from_jsonable(HSTUTargetConfig, dict(values))
        case other:
            raise ConfigError(
                f"there is no ranker {other!r}", where="kind", hint='use "din" or "hstu"'
            )


def _read(values: object) -> object:
    """Read a table as the config that its kind names; left alone, pydantic tries each config in
    turn, and its errors speak of all of them."""
    return ranker_config(values) if isinstance(values, Mapping) else values


RankerConfig = Annotated[DINConfig | HSTUTargetConfig, BeforeValidator(_read)]
RankerModel = DIN | HSTUTarget


def ranker_model(config: RankerConfig, spec: FeatureSpec, items: ItemTable) -> RankerModel:
    """A new network, for the features of `spec` and the catalogue `items`."""
    match config:
        case DINConfig():
            return DIN(config, spec, items)
        case HSTUTargetConfig():
            return HSTUTarget(config, spec, items)


def base_config(config: RankerConfig) -> DINConfig:
    """The base model that a ranker is compared with: the same embeddings and MLP."""
    if isinstance(config, DINConfig):
        return config.base()
    shared = DINConfig(
        mlp_hidden=config.mlp_hidden, activation=config.activation, embedding=config.embedding
    )
    return shared.base()


def dense_scorer(model: RankerModel, spec: FeatureSpec) -> DenseScorer:
    """The network over padded tensors that is exported to ONNX.

    Raises ConfigError for a ranker that has none.
    """
    match model:
        case DIN():
            return DenseScorer(model, spec)
        case _:
            raise ConfigError(
                "only DIN and its base model can be exported",
                where=type(model).__name__,
                hint="serve this ranker with adwright, or train DIN",
            )


def explaining(model: RankerModel) -> DIN | None:
    """The network, where one weight per past event says what its logit looked at; else None."""
    return model if isinstance(model, DIN) and model.config.interest == "attention" else None


#: Name of the mean in tables.
MIXED = "DIN+Base"
#: Of the base model's logit in the mean.
SHARE = 0.5
#: Probabilities are kept so far from 0 and 1 that their logits are finite.
EDGE = 1e-15

Floats = NDArray[np.float64]


def is_mixable(config: RankerConfig) -> bool:
    """Whether it is DIN, to which a base model has not yet been added."""
    return isinstance(config, DINConfig) and config.title == "DIN"


def choose(
    labels: NDArray[np.int8],
    users: NDArray[np.int64],
    valid: Mapping[str, Floats],
    *,
    draws: int = 500,
    seed: int = 0,
) -> tuple[str, str]:
    """What is saved by what validation rows say: its name and a sentence that says why.

    labels, users: [N] of the rows. valid: probabilities [N] of DIN and of its base model, by their
    names. draws: of the bootstrap over users.
    """
    mean = mean_of_logits(list(valid.values()))
    leads: dict[str, Interval] = {}
    for name, found in valid.items():
        rng = np.random.default_rng(seed)
        leads[name] = compare_response(labels, found, mean, users, rng=rng, draws=draws)["gauc"]
    told = ", ".join(f"{name} by {lead.text('+.4f')}" for name, lead in leads.items())
    best = max(leads, key=lambda name: leads[name].value)
    if leads[best].low > 0:
        return best, f"saved is {best} alone: ahead of the mean on validation rows ({told})"
    return MIXED, (
        f"saved is the mean of the logits of {' and '.join(valid)}: neither alone is told apart "
        f"as better on validation rows (ahead of the mean: {told})"
    )


def mean_of_logits(probabilities: list[Floats]) -> Floats:
    """Probabilities [N] of the mean logit of some models' probabilities [N]."""
    kept = [np.clip(p, EDGE, 1 - EDGE) for p in probabilities]
    mean = np.mean([np.log(p) - np.log1p(-p) for p in kept], axis=0)
    found: Floats = 1 / (1 + np.exp(-mean))
    return found


def mixed_model(din: DIN, base: DIN, spec: FeatureSpec, items: ItemTable) -> DIN:
    """One network of the weights of both, which are copied; spec, items: as they were built for.

    Raises ConfigError where they are not a DIN and its base model.
    """
    if din.config.base() != base.config or not is_mixable(din.config):
        raise ConfigError(
            "these are not DIN and its base model",
            where=f"{din.config.title}, {base.config.title}",
            hint="train both with the same embeddings and MLP",
        )
    config = replace(din.config, base_share=SHARE)
    with torch.random.fork_rng(devices=[]):
        model = DIN(config, spec, items)
    weights = {f"base.{name}": value for name, value in base.state_dict().items()}
    model.load_state_dict(din.state_dict() | weights)
    return model.eval()
