"""The fine rankers: the closed union of what can be trained on impressions, saved and served.

A ranker is called with a `Batch` and gives logits [T], has a `loss`, its item embedding as
`item` and its config as `config`. In a run file `kind` names it; without one it is DIN:

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
from adwright.models.ranking.din import DIN, DINConfig
from adwright.models.ranking.hstu_target import HSTUTarget, HSTUTargetConfig

__all__ = ["RankerConfig", "RankerModel", "name_of", "ranker_config", "ranker_model"]


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
    """A table as the config that its kind names; by itself pydantic would try each in turn, and
    its errors would speak of all of them."""
    return ranker_config(values) if isinstance(values, Mapping) else values


RankerConfig = Annotated[DINConfig | HSTUTargetConfig, BeforeValidator(_read)]
RankerModel = DIN | HSTUTarget


def ranker_model(
    config: DINConfig | HSTUTargetConfig, spec: FeatureSpec, items: ItemTable
) -> RankerModel:
    """A new network, for the features of `spec` and the catalogue `items`."""
    match config:
        case DINConfig():
            return DIN(config, spec, items)
        case HSTUTargetConfig():
            return HSTUTarget(config, spec, items)


def name_of(config: DINConfig | HSTUTargetConfig) -> str:
    """What tables of results call it."""
    match config:
        case DINConfig(interest="attention"):
            return "DIN"
        case DINConfig():
            return "Base"
        case HSTUTargetConfig():
            return "HSTU"
