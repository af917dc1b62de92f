"""Samples of a training: balanced, and a function of seed, epoch and step."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from adwright.core.errors import ConfigError
from adwright.data.sequences.stochastic_length import StochasticLength
from adwright.training.sequential.fit import SequenceSamples, balanced_batches
from tests.support.data.small_sequences import small_sequences

DATA = small_sequences()


@pytest.mark.parametrize(("samples", "batch"), [(103, 8), (7, 7), (7, 50), (1, 3), (16, 4)])
def test_every_sample_is_in_one_batch(samples: int, batch: int) -> None:
    lengths = np.random.default_rng(0).integers(1, 200, samples)
    batches = balanced_batches(lengths, batch, np.random.default_rng(1))
    assert sorted(np.concatenate(batches).tolist()) == list(range(samples))
    sizes = [len(one) for one in batches]
    assert max(sizes) <= batch
    assert max(sizes) - min(sizes) <= 1


def test_batches_hold_about_the_same_number_of_events() -> None:
    lengths = np.minimum(np.random.default_rng(0).pareto(1, 4000) * 20 + 2, 200).astype(int)
    balanced = balanced_batches(lengths, 100, np.random.default_rng(1))
    plain = np.random.default_rng(1).permutation(4000).reshape(40, 100)
    spread = [np.std([lengths[one].sum() for one in kind]) for kind in (balanced, plain)]
    assert spread[0] < 0.1 * spread[1]


def test_epochs_differ_and_repeat() -> None:
    samples = SequenceSamples(DATA, 10)
    one, again = samples.epoch(0, 5), SequenceSamples(DATA, 10).epoch(0, 5)
    assert all(np.array_equal(a, b) for a, b in zip(one, again, strict=True))
    other = [samples.epoch(1, 5), SequenceSamples(DATA, 10, seed=1).epoch(0, 5)]
    for kind in other:
        assert any(not np.array_equal(a, b) for a, b in zip(one, kind, strict=True))


def test_settings_decide_what_is_read() -> None:
    chosen = np.arange(3)
    plain = SequenceSamples(DATA, 4).read(chosen, 0)
    assert plain.items.lengths.tolist() == [4, 4, 4]
    assert len(SequenceSamples(DATA, 4, all_windows=True).first) > len(DATA)
    final = SequenceSamples(DATA, 4, train_on_validation=True).read(chosen, 0)
    assert final.target[3] == DATA.targets(np.array([0]), "valid")[0]
    assert final.target[3] != plain.target[3] or final.items.to_lists() != plain.items.to_lists()


@pytest.mark.parametrize("times", [True, False])
def test_shortening_is_drawn_anew_each_step(times: bool) -> None:
    data = small_sequences(times=times)
    config = StochasticLength(1.0)
    samples = SequenceSamples(data, 16, stochastic_length=config)
    everyone = np.arange(len(data))
    whole = SequenceSamples(data, 16).read(everyone, 0)
    reads = [samples.read(everyone, step) for step in (0, 0, 1)]
    assert reads[0].items.values.numel() < whole.items.values.numel()
    assert reads[0].items.to_lists() == reads[1].items.to_lists() != reads[2].items.to_lists()
    latest = replace(config, choice="recency")
    recent = SequenceSamples(data, 16, stochastic_length=latest).read(everyone, 0)
    assert recent.items.to_lists() != reads[0].items.to_lists()


def test_nothing_to_predict_is_refused() -> None:
    with pytest.raises(ConfigError, match="nothing to predict"):
        SequenceSamples(small_sequences(shortest=2, longest=3), 4)
