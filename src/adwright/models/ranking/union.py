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

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BeforeValidator

from adwright.core.config import from_jsonable
from adwright.core.errors import ConfigError
from adwright.data.features import FeatureSpec, ItemTable
from adwright.metrics.bootstrap import Interval
from adwright.metrics.reports.report import compare_response
from adwright.models.ranking.dense_din import DenseScorer
from adwright.models.ranking.din import DIN, DINConfig
from adwright.models.ranking.hstu_target import HSTUTarget, HSTUTargetConfig


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
