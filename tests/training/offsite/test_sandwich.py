"""The ends of a model, its thinned middle, and how they come together again."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from adwright.core.errors import ArtifactError, ConfigError, DataError

pytest.importorskip("transformers")

from adwright.training.offsite.sandwich import (
    Sandwich,
    adapter_of,
    distil,
    emulator_of,
    kept_layers,
    plug_in,
)
from adwright.training.tuning.tune import TuneConfig, tune
from adwright.tuning.reparameterised.lora import LoRA
from adwright.tuning.tuned import Tuned
from tests.support.training.offsite_pair import model, tokens

CONFIG = TuneConfig(epochs=2, batch=4, micro=4, learning_rate=0.01)


@pytest.mark.parametrize(
    ("layers", "ends", "kept", "wanted"),
    [
        (8, 2, 4, (2, 3, 4, 5)),
        (8, 2, 2, (2, 5)),
        (8, 2, 1, (3,)),
        (30, 2, 8, (2, 6, 9, 13, 16, 20, 23, 27)),
    ],
)
def test_kept_layers_are_even(layers: int, ends: int, kept: int, wanted: tuple[int, ...]) -> None:
    assert kept_layers(layers, ends, kept) == wanted


@pytest.mark.parametrize(("ends", "kept"), [(0, 2), (2, 0), (2, 5), (4, 1)])
def test_layers_that_are_not_there_cannot_be_kept(ends: int, kept: int) -> None:
    with pytest.raises(ConfigError, match="8 layers have no such ends"):
        kept_layers(8, ends, kept)


def test_the_emulator_computes_ends_and_kept_layers_alone() -> None:
    whole = model()
    small = emulator_of(whole, 2, 2)
    ids, place = torch.arange(2, 12)[None], torch.arange(10)[None]
    with torch.no_grad():
        hidden = whole.model.embed_tokens(ids)
        angles = whole.model.rotary_emb(hidden, place)
        mask = torch.full((10, 10), -torch.inf).triu(1)[None, None]
        for number in (0, 1, 2, 5, 6, 7):
            layer = whole.model.layers[number]
            hidden = layer(hidden, attention_mask=mask, position_embeddings=angles)
        wanted = whole.lm_head(whole.model.norm(hidden))
        torch.testing.assert_close(small(ids).logits, wanted, rtol=1e-5, atol=1e-6)
    # A copy: what is done to it does not reach the model.
    assert small.model.layers[0].mlp.up_proj.weight is not whole.model.layers[0].mlp.up_proj.weight
    assert small.config.num_hidden_layers == 6
    assert whole.config.num_hidden_layers == 8


@pytest.mark.parametrize("rank", [0, 4])
def test_the_ends_are_trained_and_nothing_else(rank: int) -> None:
    tuned = Tuned(emulator_of(model(), 2, 2), Sandwich(ends=2, rank=rank))
    assert tuned.count() == tuned.method.count(tuned.sizes)
    names = {name for name, _ in tuned.named_parameters()}
    assert {name.split(".")[3] for name in names} == {"0", "1", "4", "5"}
    sent = adapter_of(tuned)
    assert len(sent) == len(names)
    assert {name.rsplit(".", 1)[0].split(".")[1] for name in sent} == {"0", "1"}


@pytest.mark.parametrize("rank", [0, 4])
def test_trained_ends_stand_in_the_whole_model(rank: int) -> None:
    method = Sandwich(ends=2, rank=rank)
    tuned = Tuned(emulator_of(model(), 2, 2), method)
    tune(tuned, tokens(), CONFIG)
    sent, whole = adapter_of(tuned), model()
    before = {name: value.clone() for name, value in whole.state_dict().items()}
    after = plug_in(whole, method, sent).merge().state_dict()
    at = {"first.0": 0, "first.1": 1, "last.0": 6, "last.1": 7}
    for name, value in before.items():
        layer = int(name.split(".")[2]) if name.startswith("model.layers.") else -1
        if layer not in at.values():
            assert torch.equal(after[name], value), name
    for side, number in at.items():
        name = "self_attn.q_proj"
        was = before[f"model.layers.{number}.{name}.weight"]
        if rank:
            a, b = sent[f"{side}.{name}.a"], sent[f"{side}.{name}.b"]
            wanted = was + 16.0 / 4 * b @ a
        else:
            wanted = sent[f"{side}.{name}.weight"]
        torch.testing.assert_close(after[f"model.layers.{number}.{name}.weight"], wanted)
        assert not torch.equal(wanted, was)


def test_an_adapter_that_does_not_fit_is_refused() -> None:
    method = Sandwich(ends=2, rank=4)
    sent = adapter_of(Tuned(emulator_of(model(), 2, 2), method))
    name = next(iter(sent))
    for wrong in ("first.2.self_attn.q_proj.a", "middle.0.x", "../x", "first.-1.x"):
        with pytest.raises(DataError, match="not of the ends"):
            plug_in(model(), method, {**sent, wrong: sent[name]})
    with pytest.raises(DataError, match="NaN or infinity"):
        plug_in(model(), method, {**sent, name: sent[name] * torch.nan})
    with pytest.raises(ArtifactError, match=r"is torch\.float32"):
        plug_in(model(), method, {**sent, name: torch.zeros(9, 9)})
    with pytest.raises(ArtifactError, match="are missing"):
        plug_in(model(), method, {name: sent[name]})
    with pytest.raises(ConfigError, match="no middle between ends of 4"):
        Tuned(model(), Sandwich(ends=4))
    with pytest.raises(ConfigError, match="only the ends"):
        adapter_of(Tuned(model(), LoRA(rank=1)))


def test_a_rank_or_an_alpha_that_cannot_be_is_refused() -> None:
    for alpha in (math.nan, math.inf, 0.0, -1.0):
        with pytest.raises(ConfigError, match="alpha is a finite number above 0"):
            Sandwich(alpha=alpha)
    # k_proj has 16 rows. A rank for which no memory would do is not tried.
    for rank in (17, 10_000_000, 1 << 70):
        with pytest.raises(ConfigError, match="a rank of at most 16"):
            plug_in(model(), Sandwich(ends=2, rank=rank), {})
        with pytest.raises(ConfigError, match="a rank of at most 16"):
            Tuned(model(), Sandwich(ends=2, rank=rank))


def test_a_model_that_refused_an_adapter_takes_the_next() -> None:
    method, whole = Sandwich(ends=2, rank=4), model()
    before = {name: value.clone() for name, value in whole.state_dict().items()}
    sent = adapter_of(Tuned(emulator_of(model(), 2, 2), method))
    name = next(name for name in sent if name.endswith(".b"))
    with pytest.raises(ArtifactError, match="the model wants"):
        plug_in(whole, method, {**sent, name: torch.zeros(9, 9)})
    # Finite as they are, and infinity in the model.
    for wrong in (sent[name] + 3e38, sent[name].double() + 1e300):
        with pytest.raises(DataError, match="NaN or infinity"):
            plug_in(whole, method, {**sent, name: wrong})
    with pytest.raises(DataError, match="NaN or infinity"):
        plug_in(whole, Sandwich(ends=2, rank=4, alpha=1e300), {**sent, name: sent[name] + 1})
    assert whole.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in whole.state_dict().items())
    assert plug_in(whole, method, sent).count() == Tuned(model(), method).count()


def test_distilling_moves_the_kept_layers_towards_the_model() -> None:
    whole, small = model(), emulator_of(model(), 2, 2)
    before = {name: value.clone() for name, value in small.state_dict().items()}
    first, last = distil(small, whole, tokens(), ends=2, steps=60, batch=8, rate=3e-3)
    assert last < 0.7 * first
    for name, value in small.state_dict().items():
        moved = name.startswith(("model.layers.2.", "model.layers.3."))
        assert torch.equal(value, before[name]) != moved, name
    assert not any(parameter.requires_grad for parameter in small.parameters())

    # The first loss, literally: layers 2 and 5 are kept, and stand for 2..4 and 5.
    rows = np.random.default_rng(0).integers(16, size=8)
    fresh, terms = emulator_of(model(), 2, 2), [0.0, 0.0]
    count = 0
    for row in rows:
        data = tokens()
        ids = torch.tensor([[*data.prompts[row], *data.answers[row]]])
        with torch.no_grad():
            given = whole.model(ids, output_hidden_states=True).hidden_states
            made = fresh.model(ids, output_hidden_states=True).hidden_states
        terms[0] += float((made[3] - given[5]).square().sum())
        terms[1] += float((made[4] - given[6]).square().sum())
        count += ids.numel() * 32
    assert first == pytest.approx(sum(terms) / (2 * count), rel=1e-4)
