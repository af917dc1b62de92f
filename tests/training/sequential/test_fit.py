"""fit_sequential(): learns, and a run that was cut off ends with the same bits."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import fields, replace
from itertools import product
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from adwright.core.artifacts import load_artifact
from adwright.core.errors import ConfigError, ResumeError
from adwright.data.sequences.item_sequences import ItemSequences
from adwright.data.sequences.stochastic_length import StochasticLength
from adwright.metrics.ranking import ndcg
from adwright.models.sequential.hstu import HSTU, HSTUConfig, SASRec, SASRecConfig
from adwright.models.sequential.hstu_ranker import HSTURanker, HSTURankerConfig
from adwright.models.sequential.losses import LossConfig
from adwright.models.sequential.sequence_model import SequenceModel
from adwright.training.sequential.fit import (
    SequenceCost,
    SequenceSamples,
    SequentialConfig,
    balanced_batches,
    cost_of,
    divided,
    fit_sequential,
    optimisers_of,
    people_of,
)
from adwright.training.sequential.ranks import rank_next
from tests.support.data.small_sequences import small_sequences
from tests.support.training import fit_sequences

Run = Callable[..., subprocess.CompletedProcess[str]]
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
DATA = small_sequences(people=60, items=30)
LOSS = LossConfig(temperature=0.2)
MODEL = HSTUConfig(
    width=16,
    max_length=16,
    blocks=1,
    qk_width=8,
    v_width=8,
    dropout=0.1,
    loss=LOSS,
    kernel="bucketed",
)
CONFIG = SequentialConfig(epochs=3, batch=16, learning_rate=0.02, patience=20)


def _model(seed: int = 0, config: HSTUConfig = MODEL) -> HSTU:
    torch.manual_seed(seed)
    return HSTU(config, DATA.items, count=DATA.count)


def _weights(model: SequenceModel) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


class _Stopped(Exception):
    pass


def _sasrec() -> SASRec:
    torch.manual_seed(0)
    config = SASRecConfig(width=16, blocks=1, dropout=0.1, loss=LOSS)
    return SASRec(config, DATA.items)


@pytest.mark.parametrize(
    ("name", "optimiser"), [("hstu", "adamw"), ("hstu", "rowwise"), ("sasrec", "adamw")]
)
def test_it_learns_what_people_take_next(name: str, optimiser: Literal["adamw", "rowwise"]) -> None:
    model: SequenceModel = _model() if name == "hstu" else _sasrec()
    before = ndcg(rank_next(model, DATA, "test").ranks, 10)
    result = fit_sequential(model, DATA, replace(CONFIG, epochs=15, optimiser=optimiser))
    after = ndcg(rank_next(model, DATA, "test").ranks, 10)
    # Three in four go to the next item but one.
    assert after > max(0.5, 1.5 * before)
    assert len(result.records) == 15
    assert result.steps == 15 * 4
    assert result.best == max(line["valid_ndcg@10"] for line in result.records)
    assert result.records[-1]["train_loss"] < result.records[0]["train_loss"]
    found = rank_next(model, DATA, "valid").ranks
    assert ndcg(found, 10) == result.best
    assert not model.training


@pytest.mark.parametrize(("cut", "optimiser"), [(3, "rowwise"), (4, "adamw"), (9, "adamw")])
def test_a_run_that_was_cut_off_ends_with_the_same_bits(
    tmp_path: Path, cut: int, optimiser: Literal["adamw", "rowwise"]
) -> None:
    config = replace(CONFIG, stochastic_length=StochasticLength(1.0), optimiser=optimiser)
    whole = _model()
    straight = fit_sequential(whole, DATA, config)

    def stop(step: int) -> None:
        if step == cut:
            raise _Stopped

    run = tmp_path / "run"
    with pytest.raises(_Stopped):
        fit_sequential(_model(), DATA, config, run, checkpoint_every=3, on_step=stop)
    again = _model(seed=3)
    result = fit_sequential(again, DATA, config, run, resume=True, checkpoint_every=3)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    assert result == straight
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert lines == list(result.records)
    assert len(list(run.glob("checkpoint-*"))) == 1


def test_it_stops_where_validation_no_longer_improves() -> None:
    config = replace(CONFIG, epochs=40, patience=2, learning_rate=1e-9)
    result = fit_sequential(_model(), DATA, config)
    assert len(result.records) < 40
    assert result.epoch == len(result.records) - 2


def test_the_final_training_reads_the_validation_targets_and_validates_nothing() -> None:
    one, other = _model(), _model()
    result = fit_sequential(one, DATA, replace(CONFIG, train_on_validation=True))
    assert result.records == ()
    assert result.best != result.best
    assert result.epoch == 3
    fit_sequential(other, DATA, replace(CONFIG, train_on_validation=True, validate_every=3))
    assert torch.equal(_weights(one), _weights(other))


def test_rows_of_metrics_are_written_where_validated() -> None:
    result = fit_sequential(_model(), DATA, replace(CONFIG, validate_every=2))
    assert [line["epoch"] for line in result.records] == [2, 3]
    few = fit_sequential(_model(), DATA, replace(CONFIG, epochs=1, validation_people=5, k=3))
    assert "valid_ndcg@3" in few.records[0]
    every = fit_sequential(_model(), DATA, replace(CONFIG, epochs=1, k=3))
    assert few.records[0] != every.records[0]
    again = fit_sequential(_model(), DATA, replace(CONFIG, epochs=1, k=3, exclude_seen=False))
    assert again.records[0] != every.records[0]


@pytest.mark.parametrize(
    "change",
    [
        {"batch": 8},
        {"learning_rate": 0.01},
        {"betas": (0.8, 0.98)},
        {"weight_decay": 0.1},
        {"optimiser": "rowwise"},
        {"schedule": "linear"},
        {"clip_norm": 0.01},
        {"train_on_validation": True},
        {"stochastic_length": StochasticLength(1.0)},
        {"precision": "bfloat16"},
        {"seed": 1},
        {"epochs": 2},
    ],
)
def test_every_field_changes_the_weights(change: dict[str, object]) -> None:
    one, other = _model(), _model()
    config = replace(CONFIG, epochs=1, validation_people=5)
    fit_sequential(one, DATA, config)
    fit_sequential(other, DATA, replace(config, **change))  # type: ignore[arg-type]
    assert not torch.equal(_weights(one), _weights(other))
    assert bool(_weights(other).isfinite().all())


def test_the_rate_falls_in_a_line_also_after_a_run_was_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates: list[float] = []
    before = torch.optim.AdamW.step

    def step(self: torch.optim.AdamW) -> None:
        rates.append(self.param_groups[0]["lr"])
        if len(rates) == 6:
            raise _Stopped
        before(self)

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    config = replace(CONFIG, schedule="linear", epochs=2)
    with pytest.raises(_Stopped):
        fit_sequential(_model(), DATA, config, tmp_path, checkpoint_every=1)
    found = fit_sequential(_model(), DATA, config, tmp_path, resume=True)
    rates.pop(5)
    expected = [config.learning_rate * (1 - n / found.steps) for n in range(found.steps)]
    assert rates == pytest.approx(expected)


@pytest.mark.parametrize("ranker", [False, True])
def test_tables_take_the_rowwise_optimiser_where_asked(ranker: bool) -> None:
    torch.manual_seed(0)
    size = {f.name: getattr(MODEL, f.name) for f in fields(MODEL)} | {"context": True}
    sizes = DATA.context_sizes
    model: HSTU | HSTURanker
    if ranker:
        config = HSTURankerConfig(**size, actions=3, tasks=(("followed", (2,)),))
        model = HSTURanker(config, DATA.items, context_sizes=sizes)
    else:
        model = HSTU(HSTUConfig(**size), DATA.items, count=DATA.count, context_sizes=sizes)
    mine = {
        name: {id(p) for group in one.param_groups for p in group["params"]}
        for name, one in optimisers_of(model, replace(CONFIG, optimiser="rowwise")).items()
    }
    tables = [model.input.item.weight, *(one.weight for one in model.input.context)]
    tables += [model.action.weight] if isinstance(model, HSTURanker) else []
    assert mine["rows"] == {id(table) for table in tables}
    assert mine["rows"] | mine["adam"] == {id(p) for p in model.parameters()}
    assert not mine["rows"] & mine["adam"]


def test_a_ranker_learns_what_people_do() -> None:
    size = {f.name: getattr(MODEL, f.name) for f in fields(MODEL)}
    tasks = (("followed", (2,)),)
    torch.manual_seed(0)
    ranker = HSTURanker(HSTURankerConfig(**size, actions=3, tasks=tasks), DATA.items)
    # What is done depends on the item alone.
    data = replace(DATA, action=1 + DATA.item % 2)
    result = fit_sequential(ranker, data, replace(CONFIG, epochs=8))
    assert max(line["valid_auc_followed"] for line in result.records) > 0.9
    assert result.best == -min(line["valid_log_loss"] for line in result.records)


def test_whole_sequences_are_read_where_asked() -> None:
    short = replace(MODEL, max_length=4)
    steps = [
        fit_sequential(
            _model(config=short), DATA, replace(CONFIG, epochs=1, all_windows=whole)
        ).steps
        for whole in (False, True)
    ]
    assert steps[0] < steps[1]


def _by_time() -> ItemSequences:
    """DATA where the last two events of each person are the spans of validation and test."""
    end = DATA.offsets[1:]
    return replace(DATA, train_ends=(end - 2, end - 1))


def test_data_split_by_time_is_validated_by_what_the_caller_measures() -> None:
    model, goals = _model(), iter([0.5, 2.0, 1.0])
    seen: list[torch.Tensor] = []

    def validate() -> tuple[float, dict[str, float]]:
        assert not model.training
        seen.append(_weights(model))
        goal = next(goals)
        return goal, {"valid_share": 10 * goal}

    result = fit_sequential(model, _by_time(), CONFIG, validate=validate)
    assert (result.best, result.epoch, len(seen)) == (2.0, 2, 3)
    assert [line["valid_share"] for line in result.records] == [5.0, 20.0, 10.0]
    assert torch.equal(_weights(model), seen[1])
    assert not torch.equal(seen[1], seen[2])


def test_a_validation_of_ones_own_is_a_run_of_its_own(tmp_path: Path) -> None:
    def stop(step: int) -> None:
        if step == 5:
            raise _Stopped

    def validate() -> tuple[float, dict[str, float]]:
        return -1.0, {}

    run = tmp_path / "run"
    with pytest.raises(_Stopped):
        fit_sequential(_model(), DATA, CONFIG, run, validate=validate, on_step=stop)
    with pytest.raises(ResumeError, match="another"):
        fit_sequential(_model(), DATA, CONFIG, run, resume=True)
    again = fit_sequential(_model(), DATA, CONFIG, run, validate=validate, resume=True)
    assert again == fit_sequential(_model(), DATA, CONFIG, validate=validate)
    assert again.best == -1.0


def test_data_split_by_time_is_not_validated_by_itself() -> None:
    with pytest.raises(ConfigError, match="pass validate, or train with train_on_validation=True"):
        fit_sequential(_model(), _by_time(), CONFIG)
    final = replace(CONFIG, epochs=1, train_on_validation=True)

    def never() -> tuple[float, dict[str, float]]:
        raise AssertionError

    one, other = _model(), _model()
    fit_sequential(one, _by_time(), final, validate=never)
    fit_sequential(other, _by_time(), final)
    assert torch.equal(_weights(one), _weights(other))


def test_a_goal_that_is_not_finite_is_refused() -> None:
    with pytest.raises(ConfigError, match="nan after epoch 1"):
        fit_sequential(_model(), DATA, CONFIG, validate=lambda: (np.nan, {}))


def test_runs_are_never_mixed_up(tmp_path: Path) -> None:
    config = replace(CONFIG, epochs=1)
    run = tmp_path / "run"
    with pytest.raises(ResumeError, match="holds no run"):
        fit_sequential(_model(), DATA, config, run, resume=True)
    fit_sequential(_model(), DATA, config, run)
    with pytest.raises(ConfigError, match="already holds a run"):
        fit_sequential(_model(), DATA, config, run)
    with pytest.raises(ResumeError, match="another config"):
        fit_sequential(_model(), DATA, replace(config, seed=1), run, resume=True)
    with pytest.raises(ResumeError, match=r"another config, model or data: model\.class was"):
        fit_sequential(_sasrec(), DATA, config, run, resume=True)


def test_two_processes_of_torchrun_equal_one(tmp_path: Path, run_script: Run, compare: Any) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    fit_sequences.main(one)
    together = run_script("fit_sequences", two, launcher=TORCHRUN)
    assert together.returncode == 0, together.stderr
    for name in ("plain", "ranker", "cut", "few"):
        weights = [
            {k: torch.from_numpy(v.copy()) for k, v in load_artifact(folder).tensors.items()}
            for folder in (one / name / "final-0", two / name / "final-0", two / name / "final-1")
        ]
        assert compare.distance(weights[0], weights[1]) < 1e-5, name
        assert compare.equal(weights[1], weights[2]), name
        results = [
            json.loads(path.read_text())
            for path in (one / f"{name}-0.json", two / f"{name}-0.json", two / f"{name}-1.json")
        ]
        assert json.dumps(results[1]) == json.dumps(results[2])
        assert results[0]["steps"] == results[1]["steps"]
        assert len(results[0]["records"]) == len(results[1]["records"]) == 2 * (name != "few")
        for a, b in zip(results[0]["records"], results[1]["records"], strict=True):
            assert b == pytest.approx(a, rel=1e-4)
        lines = (two / name / "run" / "metrics.jsonl").read_text().splitlines()
        assert [json.loads(line) for line in lines] == results[1]["records"]
    # A run that was cut off ends as one that was not.
    straight, cut = (json.loads((two / f"{name}-0.json").read_text()) for name in ("plain", "cut"))
    assert straight == cut
    final = [load_artifact(two / name / "final-0").tensors for name in ("plain", "cut")]
    assert all(np.array_equal(value, final[1][key]) for key, value in final[0].items())
    # Only the first process shows what is done.
    assert together.stderr.count("epoch 2/2: 3 batches in") == 2
    said = [json.loads((two / f"refused-{rank}.json").read_text()) for rank in (0, 1)]
    assert said[0]["again"].startswith("ConfigError: this folder already holds a run")
    assert said[0]["validate"] == "DataError: nothing to measure"
    assert "nan after epoch 1" in said[0]["goal"]
    for name in ("again", "validate", "goal"):
        assert said[1][name].startswith("ResourceError: the first process"), name
    for name in ("seeds", "folders"):
        for rank in (0, 1):
            expected = "ConfigError: the processes were asked for different runs"
            assert said[rank][name].startswith(expected), name


def largest(cost: np.ndarray, parts: list[np.ndarray]) -> float:
    """The largest load, relative to the mean."""
    loads = [cost[part].sum() for part in parts]
    return float(max(loads) / np.mean(loads))


@given(st.lists(st.floats(0, 100), max_size=20).map(np.array), st.integers(1, 5))
def test_every_sequence_goes_to_one_process(cost: np.ndarray, processes: int) -> None:
    cost = cost.astype(np.float64)
    parts = divided(cost, processes)
    assert len(parts) == processes
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(cost)))
    assert all(np.array_equal(part, np.sort(part)) for part in parts)
    again = divided(cost, processes)
    assert all(np.array_equal(a, b) for a, b in zip(parts, again, strict=True))


@pytest.mark.parametrize("seed", range(8))
def test_no_division_is_better_by_more_than_the_bound(seed: int) -> None:
    cost, processes = np.random.default_rng(seed).integers(1, 30, 7).astype(np.float64), 3
    best = min(
        max(cost[np.array(owner) == p].sum() for p in range(processes))
        for owner in product(range(processes), repeat=len(cost))
    )
    loads = [cost[part].sum() for part in divided(cost, processes)]
    assert max(loads) <= best * (4 / 3 - 1 / (3 * processes)) + 1e-9


@pytest.mark.parametrize("name", ["hstu", "sasrec", "ranker"])
def test_the_cost_of_a_model_follows_its_sizes(name: str) -> None:
    def cost(blocks: int = 2, width: int = 16, items: int = 9, **loss: object) -> SequenceCost:
        kind = LossConfig(**loss)  # type: ignore[arg-type]
        size = {"blocks": blocks, "width": width, "loss": kind}
        heads = {**size, "qk_width": width, "v_width": width}
        match name:
            case "hstu":
                return cost_of(HSTU(HSTUConfig(**heads), items))  # type: ignore[arg-type]
            case "sasrec":
                return cost_of(SASRec(SASRecConfig(**size), items))  # type: ignore[arg-type]
            case _:
                return cost_of(HSTURanker(HSTURankerConfig(**heads), items))  # type: ignore[arg-type]

    base = cost()
    assert 0 < base.pair < base.event
    assert cost(blocks=4).pair == 2 * base.pair
    assert cost(blocks=4).event > base.event
    assert cost(width=32).pair == 2 * base.pair
    assert cost(width=32).event > 2 * base.event
    more = cost(items=1000).event - base.event
    assert more == (0 if name == "ranker" else 991 * 16)
    if name != "ranker":
        for kind, candidates in (("shared", 50), ("per_position", 7), ("exact", 9)):
            found = cost(kind=kind, shared=50, negatives=7).event - base.event
            assert found == (candidates - 9) * 16
        large = cost(items=50_000, shared=50).event - base.event
        assert large == (50 - 9) * 16


def test_the_chosen_sequences_are_the_same_as_before() -> None:
    data = small_sequences()
    first, end = data.windows(10)
    batch = data.batch(first[:6], end[:6])
    rows = np.array([1, 4, 5])
    ours, theirs = people_of(batch, rows), data.batch(first[rows], end[rows])
    for name in ("target", "time", "next_time", "action", "context"):
        assert torch.equal(getattr(ours, name), getattr(theirs, name)), name
    assert torch.equal(ours.items.values, theirs.items.values)
    assert torch.equal(ours.items.offsets, theirs.items.offsets)
    none = people_of(batch, rows[:0])
    assert len(none) == 0
    assert none.items.values.numel() == 0


DATA_SAMPLES = small_sequences()


@pytest.mark.parametrize(("samples", "batch"), [(103, 8), (7, 7), (7, 50), (1, 3), (16, 4)])
def test_every_sample_is_in_one_batch(samples: int, batch: int) -> None:
    lengths = np.random.default_rng(0).integers(1, 200, samples)
    batches = balanced_batches(lengths, batch, np.random.default_rng(1))
    assert sorted(np.concatenate(batches).tolist()) == list(range(samples))
    sizes = [len(one) for one in batches]
    assert max(sizes) <= batch
    assert max(sizes) - min(sizes) <= 1


def test_epochs_differ_and_repeat() -> None:
    samples = SequenceSamples(DATA_SAMPLES, 10)
    one, again = samples.epoch(0, 5), SequenceSamples(DATA_SAMPLES, 10).epoch(0, 5)
    assert all(np.array_equal(a, b) for a, b in zip(one, again, strict=True))
    other = [samples.epoch(1, 5), SequenceSamples(DATA_SAMPLES, 10, seed=1).epoch(0, 5)]
    for kind in other:
        assert any(not np.array_equal(a, b) for a, b in zip(one, kind, strict=True))


def test_settings_decide_what_is_read() -> None:
    chosen = np.arange(3)
    plain = SequenceSamples(DATA_SAMPLES, 4).read(chosen, 0)
    assert plain.items.lengths.tolist() == [4, 4, 4]
    assert len(SequenceSamples(DATA_SAMPLES, 4, all_windows=True).first) > len(DATA_SAMPLES)
    final = SequenceSamples(DATA_SAMPLES, 4, train_on_validation=True).read(chosen, 0)
    assert final.target[3] == DATA_SAMPLES.targets(np.array([0]), "valid")[0]
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
