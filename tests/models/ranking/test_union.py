from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from adwright.core.config import from_jsonable, to_jsonable
from adwright.core.errors import ConfigError
from adwright.data.sequences.stochastic_length import StochasticLength
from adwright.models.embeddings import EmbeddingConfig
from adwright.models.ranking.din import DIN, DINConfig
from adwright.models.ranking.hstu_target import HSTUTarget, HSTUTargetConfig
from adwright.models.ranking.union import (
    RankerConfig,
    base_config,
    dense_scorer,
    explaining,
    ranker_config,
    ranker_model,
)
from tests.support.models.small_batch import small_batch, small_spec

DIN_SMALL = DINConfig(mlp_hidden=(8,), embedding=EmbeddingConfig(width=4))
HSTU_SMALL = HSTUTargetConfig(width=8, max_length=10, stochastic_length=StochasticLength(1.5))


@dataclass(frozen=True)
class Asked:
    """A config with a ranker in it."""

    model: RankerConfig = field(default_factory=DINConfig)


@pytest.mark.parametrize("config", [DIN_SMALL, HSTU_SMALL], ids=["din", "hstu"])
def test_a_config_comes_back_as_it_was_written(config: RankerConfig) -> None:
    assert ranker_config(to_jsonable(config)) == config
    assert from_jsonable(Asked, to_jsonable(Asked(config))) == Asked(config)


def test_the_kind_names_the_ranker_and_din_may_go_without() -> None:
    assert ranker_config({}) == DINConfig() == from_jsonable(Asked, {}).model
    assert ranker_config({"kind": "din", "interest": "sum"}) == DINConfig(interest="sum")
    assert ranker_config({"kind": "hstu", "blocks": 3}) == HSTUTargetConfig(blocks=3)
    assert from_jsonable(Asked, {"model": {"kind": "hstu"}}).model == HSTUTargetConfig()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "gru"}, "no ranker 'gru'"),
        ({"blocks": 3}, "DINConfig, key blocks"),
        ({"kind": "hstu", "interest": "sum"}, "HSTUTargetConfig, key interest"),
        ({"kind": "hstu", "blocks": "3"}, "HSTUTargetConfig, key blocks"),
        ({"kind": "hstu", "stochastic_length": {"alpha": 3.0}}, "alpha"),
    ],
)
def test_errors_are_of_the_ranker_that_is_named(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        from_jsonable(Asked, {"model": values})


def test_a_model_is_built_and_named() -> None:
    spec, items = small_spec()
    din, hstu = (ranker_model(config, spec, items) for config in (DIN_SMALL, HSTU_SMALL))
    assert isinstance(din, DIN)
    assert isinstance(hstu, HSTUTarget)
    for model, config in ((din, DIN_SMALL), (hstu, HSTU_SMALL)):
        assert model.config == config
        assert model(small_batch()).shape == (7,)
    assert (DIN_SMALL.title, base_config(DIN_SMALL).title, HSTU_SMALL.title) == (
        *("DIN", "Base", "HSTU"),
    )


@pytest.mark.parametrize("config", [DIN_SMALL, HSTU_SMALL], ids=["din", "hstu"])
def test_the_base_model_shares_embeddings_and_mlp(config: RankerConfig) -> None:
    base = base_config(config)
    assert (base.interest, base.mlp_hidden, base.activation) == (
        *("sum", config.mlp_hidden, config.activation),
    )
    assert base.embedding == replace(config.embedding, scale=0.05)
    assert base_config(base) == base


def test_din_is_exported_and_explains_and_others_do_not() -> None:
    spec, items = small_spec()
    din, base, hstu = (
        ranker_model(config, spec, items)
        for config in (DIN_SMALL, base_config(DIN_SMALL), HSTU_SMALL)
    )
    assert explaining(din) is din
    assert (explaining(base), explaining(hstu)) == (None, None)
    assert dense_scorer(base, spec).config == base.config
    with pytest.raises(ConfigError, match="only DIN"):
        dense_scorer(hstu, spec)


def test_the_cost_of_a_history_follows_candidates_and_events() -> None:
    spec, items = small_spec()
    two, one, none = (np.array(sizes) for sizes in ([2, 2], [1, 1], [0, 0]))
    for config in (DIN_SMALL, HSTU_SMALL):
        model = ranker_model(config, spec, items)
        assert model.history_cost(two, two)[0] > model.history_cost(one, two)[0] > 0
        assert model.history_cost(two, none)[0] < model.history_cost(two, one)[0]
    pairs, width = ranker_model(DIN_SMALL, spec, items).history_cost(np.array([3]), np.array([5]))
    # A pair: two products with the hidden layer's width columns, its activation, the pooled sum.
    assert pairs == 3 * 5 * (2 * width * 16 + 4 * 16 + 2 * width)
