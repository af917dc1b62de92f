"""AutoInt against its equations, written out field by field and head by head."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from adwright.core.errors import ConfigError
from adwright.creative.response.autoint import AutoInt, AutoIntConfig, InteractingLayer
from adwright.creative.response.inputs import AdFeatures, AdInputs, FieldValues, VectorField

FEATURES = AdFeatures(
    texts="none",
    vectors=(VectorField("title", 5), VectorField("image", 3)),
    numbers=("seconds", "faces"),
    number_means=(0.0, 0.0),
    number_scales=(1.0, 1.0),
    categories=(FieldValues("brand", ("a", "b")),),
    bags=(FieldValues("tags", ("x", "y", "z")),),
)
CONFIG = AutoIntConfig(width=4, layers=2, heads=2, dropout=0.0)


def _inputs(rows: int = 6) -> AdInputs:
    g = torch.Generator().manual_seed(1)
    vectors = (torch.randn(rows, 5, generator=g), torch.randn(rows, 3, generator=g))
    vectors[1][0] = torch.nan
    numbers = torch.randn(rows, 2, generator=g)
    numbers[1, 1] = torch.nan
    bags = torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.0, 0.0], [1.0, 0.0, 0.0]]).repeat(2, 1)
    return AdInputs(vectors, numbers, torch.tensor([[0], [1], [2], [3], [2], [1]]), (bags,))


def _network(config: AutoIntConfig = CONFIG) -> AutoInt:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = AutoInt(config, FEATURES)
        for weight in network.parameters():
            torch.nn.init.normal_(weight, std=0.5)
    return network.eval()


def _literal(network: AutoInt, inputs: AdInputs, row: int) -> float:
    """y of one ad, without one operation on more than a vector."""
    fields = []
    for place, vector in enumerate(inputs.vectors):
        missing = bool(vector[row].isnan().any())
        layer = network.vectors[place].get_parameter("weight")
        fields.append(network.vector_defaults[place] if missing else layer @ vector[row])
    for place in range(2):
        x = inputs.numbers[row, place]
        level = network.number_levels[place] + x * network.numbers[place]
        fields.append(network.number_defaults[place] if bool(x.isnan()) else level)
    fields.append(network.categories[0].get_parameter("weight")[inputs.codes[row, 0]])
    table, share = network.bags[0].get_parameter("weight"), inputs.bags[0][row]
    active = [value for value in range(3) if share[value] > 0]
    mean = sum(table[value] for value in active) / max(len(active), 1)
    fields.append(mean if active else network.bag_defaults[0])
    for layer in network.layers:
        q, k, v, r = (
            layer.get_submodule(name).get_parameter("weight")
            for name in ("query", "key", "value", "residual")
        )
        new = []
        for e in fields:
            joined = []
            for head in (slice(0, 2), slice(2, 4)):
                scores = [math.exp(float((q @ e)[head] @ (k @ other)[head])) for other in fields]
                parts = [
                    score / sum(scores) * (v @ other)[head]
                    for score, other in zip(scores, fields, strict=True)
                ]
                joined.append(sum(parts))
            new.append(torch.relu(torch.cat(joined) + r @ e))
        fields = new
    return float(network.out(torch.cat(fields)))


def test_it_is_its_equations() -> None:
    network, inputs = _network(), _inputs()
    with torch.no_grad():
        found = network(inputs)
        literal = [_literal(network, inputs, row) for row in range(6)]
    np.testing.assert_allclose(found.numpy(), literal, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_no_ad_changes_the_answer_on_another() -> None:
    network, inputs = _network(), _inputs()
    order = torch.tensor([4, 2, 5])
    torch.testing.assert_close(network(inputs.take(order)), network(inputs)[order])


@torch.no_grad()
def test_dense_vectors_attend_or_go_deep() -> None:
    inputs = _inputs()
    moved = replace(inputs, vectors=(inputs.vectors[0] + 1, inputs.vectors[1]))
    attends = _network()
    beside = _network(replace(CONFIG, dense="deep", deep=(6,)))
    assert (attends.fields, beside.fields) == (6, 4)
    for network in (attends, beside):
        assert (network(moved) != network(inputs)).all()
    torch.testing.assert_close(beside.embed(moved), beside.embed(inputs))
    assert not torch.equal(attends.embed(moved), attends.embed(inputs))
    joined = _network(replace(CONFIG, deep=(6,)))
    assert joined.deep is not None
    assert not torch.equal(joined(inputs), attends(inputs))


@torch.no_grad()
def test_training_begins_at_the_linear_part() -> None:
    fresh, inputs = AutoInt(replace(CONFIG, deep=(6,)), FEATURES).eval(), _inputs()
    offset = torch.arange(6.0)
    torch.testing.assert_close(fresh(inputs, offset), offset)
    network = _network()
    torch.testing.assert_close(network(inputs, offset), network(inputs) + offset)


@torch.no_grad()
def test_each_setting_changes_something() -> None:
    inputs = _inputs()
    base = _network()(inputs)
    for change in ({"layers": 1}, {"heads": 1}, {"scaled": True}, {"layers": 0}):
        assert not torch.allclose(_network(replace(CONFIG, **change))(inputs), base), change
    dropped = _network(replace(CONFIG, dropout=0.5)).train()
    assert not torch.allclose(dropped(inputs), dropped(inputs))
    assert _network(replace(CONFIG, width=8)).out.in_features == 48
    layer = InteractingLayer(CONFIG)
    assert layer(torch.randn(2, 3, 4)).shape == (2, 3, 4)


@pytest.mark.parametrize("change", [{"heads": 3}, {"dense": "deep"}])
def test_settings_that_cannot_be_are_refused(change: dict) -> None:
    with pytest.raises(ConfigError):
        AutoIntConfig(**change)
