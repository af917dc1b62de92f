"""The parts of an HSTU layer, each alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from adwright.models.sequential.hstu import HSTULayer, HSTUStack, normed
from adwright.models.sequential.sequence_model import SequenceTokens
from tests.models.sequential.test_hstu import ALL, CONFIG


def _layer(**changes: object) -> HSTULayer:
    torch.manual_seed(1)
    return HSTULayer(replace(CONFIG, **changes), longest=6)


def test_biases_are_added_by_distance_and_by_bucket() -> None:
    layer = _layer()
    scores = torch.randn(2, 3, 4)
    distance, bucket = torch.randint(0, 9, (3, 4)), torch.randint(0, 129, (3, 4))
    found = layer.biased(scores, distance, bucket)
    assert layer.rab_p is not None
    assert layer.rab_t is not None
    for i in range(3):
        for j in range(4):
            # Distances beyond the longest sequence take the last entry.
            near = layer.rab_p[min(int(distance[i, j]), 5)]
            late = layer.rab_t[int(bucket[i, j])]
            torch.testing.assert_close(found[:, i, j], scores[:, i, j] + near + late)
    assert torch.equal(
        layer.biased(scores, distance, None), scores + layer.rab_p[distance.clamp(max=5)]
    )


@pytest.mark.parametrize(
    ("changes", "given"),
    [({"position": False}, "bucket"), ({"time": False}, "distance")],
)
def test_a_layer_without_a_table_adds_nothing_of_it(changes: dict[str, bool], given: str) -> None:
    layer, scores = _layer(**changes), torch.zeros(3)
    at = torch.tensor([0, 2, 5])
    nothing = torch.zeros(3, dtype=torch.int64)
    moved = layer.biased(scores, at if given == "bucket" else nothing, nothing)
    other = layer.biased(scores, nothing, at if given == "distance" else nothing)
    assert torch.equal(moved, other)
    neither = _layer(position=False, time=False)
    assert torch.equal(neither.biased(scores, at, at), scores)


def test_the_norm_has_neither_weight_nor_bias() -> None:
    x = torch.randn(5, 8, dtype=torch.float64)
    wanted = (x - x.mean(1, keepdim=True)) / (x.var(1, keepdim=True, unbiased=False) + 1e-6).sqrt()
    torch.testing.assert_close(normed(x), wanted)
    assert torch.equal(normed(torch.ones(2, 8)), torch.zeros(2, 8))


@pytest.mark.parametrize("norm", ["layer", "group"])
@pytest.mark.parametrize("concat", [False, True])
def test_the_gate_multiplies_what_was_attended_to(norm: str, concat: bool) -> None:
    layer = _layer(norm=norm, concat=concat)
    u, attended = torch.randn(3, 8), torch.randn(3, 2, 4)
    known = normed(attended.flatten(1)) if norm == "layer" else normed(attended).flatten(1)
    wanted = torch.cat([u, known, known * u], 1) if concat else known * u
    assert torch.equal(layer.gate(u, attended), wanted)
    # A closed gate leaves the input as it was.
    x = torch.randn(3, 8)
    if not concat:
        assert torch.equal(layer.merge(torch.zeros(3, 8), attended, x), x)


def test_the_stack_says_who_sees_whom() -> None:
    config = replace(ALL, context=False)
    tokens = SequenceTokens(
        torch.zeros(4, 8), torch.tensor([0, 1, 4]), 2, torch.arange(4), None, None
    )
    spec = HSTUStack(config, 20).spec(tokens)
    assert spec.contexts is not None
    assert spec.contexts.tolist() == [2, 2]
    assert (spec.targets, spec.window, spec.prefix) == (None, 5, 3)
    assert HSTUStack(config, 20).spec(replace(tokens, contexts=0)).contexts is None
