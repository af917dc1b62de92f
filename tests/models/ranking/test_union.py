from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import torch

from adwright.core.config import from_jsonable, to_jsonable
from adwright.core.errors import ConfigError
from adwright.data.sequences.stochastic_length import StochasticLength
from adwright.models.calibration import EmbeddingConfig
from adwright.models.ranking.din import DIN, DINConfig
from adwright.models.ranking.hstu_target import HSTUTarget, HSTUTargetConfig
from adwright.models.ranking.union import (
    MIXED,
    RankerConfig,
    base_config,
    choose,
    dense_scorer,
    explaining,
    is_mixable,
    mixed_model,
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


MODEL = DINConfig(attention_hidden=4, mlp_hidden=(8, 4), embedding=EmbeddingConfig(width=4))
USERS = np.repeat(np.arange(80), 30)
TRUE = np.random.default_rng(0).normal(size=len(USERS))
LABELS = (np.random.default_rng(9).random(len(USERS)) < 1 / (1 + np.exp(-TRUE))).astype(np.int8)


def seen(noise: float, seed: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Probabilities of a model that sees the truth through noise of its own."""
    logit = TRUE + noise * np.random.default_rng(seed).normal(size=len(USERS))
    found: np.ndarray[Any, np.dtype[np.float64]] = 1 / (1 + np.exp(-logit))
    return found


def test_the_mean_is_saved_where_both_are_alike() -> None:
    name, why = choose(LABELS, USERS, {"DIN": seen(1.0, 1), "Base": seen(1.0, 2)}, draws=100)
    assert name == MIXED
    assert why.startswith("saved is the mean of the logits of DIN and Base")
    assert "DIN by -0." in why


@pytest.mark.parametrize("better", ["DIN", "Base"])
def test_one_alone_is_saved_where_it_is_ahead(better: str) -> None:
    noise = {name: 0.1 if name == better else 20.0 for name in ("DIN", "Base")}
    valid = {name: seen(n, seed) for seed, (name, n) in enumerate(noise.items(), 1)}
    name, why = choose(LABELS, USERS, valid, draws=100)
    assert name == better
    assert f"saved is {better} alone" in why
    assert f"{better} by +0." in why


def test_one_network_says_the_mean_of_both() -> None:
    spec, items = small_spec()
    torch.manual_seed(0)
    din, base, batch = DIN(MODEL, spec, items), DIN(MODEL.base(), spec, items), small_batch()
    state = torch.get_rng_state()
    mixed = mixed_model(din, base, spec, items)
    assert torch.equal(state, torch.get_rng_state())
    assert mixed.config == replace(MODEL, base_share=0.5)
    mean = (din.eval()(batch) + base.eval()(batch)) / 2
    torch.testing.assert_close(mixed(batch), mean)
    with pytest.raises(ConfigError, match="not DIN and its base model"):
        mixed_model(base, din, spec, items)
    configs = (MODEL, MODEL.base(), mixed.config, HSTUTargetConfig())
    assert [is_mixable(config) for config in configs] == [True, False, False, False]
