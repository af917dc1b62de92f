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
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator

from adwright.core.config import from_jsonable
from adwright.core.errors import ConfigError
from adwright.data.features import FeatureSpec, ItemTable
from adwright.models.ranking.dense_din import DenseScorer
from adwright.models.ranking.din import DIN, DINConfig
from adwright.models.ranking.hstu_target import HSTUTarget, HSTUTargetConfig

__all__ = [
    "RankerConfig",
    "RankerModel",
    "base_config",
    "dense_scorer",
    "explaining",
    "ranker_config",
    "ranker_model",
]


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
