"""tune_jobs(): several jobs in a step, against each of them through `tune`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from adwright.core.errors import ConfigError, ResumeError, ValueInvalidError
from adwright.training.tuning.texts import Texts
from adwright.training.tuning.tune import TuneConfig

pytest.importorskip("transformers")

from adwright.training.tuning.jobs import Job, tune_jobs
from adwright.training.tuning.tune import tune
from adwright.tuning.additive.adapters import IA3
from adwright.tuning.efficient import LoRAFA
from adwright.tuning.methods import apply, load_tuned
from adwright.tuning.reparameterised.lora import LoRA
from tests.support.lm.tiny_llama import tiny_llama


def texts(number: int = 10, seed: int = 0) -> Texts:
    """Texts whose answer says the first token of the prompt again."""
    rng = np.random.default_rng(seed)
    prompts = [tuple(rng.integers(2, 40, rng.integers(2, 7)).tolist()) for _ in range(number)]
    return Texts(tuple(prompts), tuple((prompt[0], 1) for prompt in prompts))


def three(**changes: object) -> list[Job]:
    """Jobs that differ in all that may differ."""
    one = TuneConfig(epochs=3, batch=4, micro=4, learning_rate=0.01, checkpoint_every=2)
    other = replace(one, learning_rate=0.02, batch=3, micro=2, seed=1, clip_norm=0.0)
    last = replace(one, epochs=1, steps=5, validate_every=2, weight_decay=0.1, seed=2)
    jobs = [
        Job("a", LoRA(rank=4, rate_ratio=4.0), texts(10, 0), one, texts(4, 9)),
        Job("b", LoRA(rank=2, alpha=4.0, dropout=0.3, targets=("q_proj",)), texts(7, 1), other),
        Job("c", LoRAFA(rank=3), texts(12, 2), last, texts(4, 8)),
    ]
    return [replace(job, config=replace(job.config, **changes)) for job in jobs]  # type: ignore[arg-type]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """What a job saved."""
    return load_tuned(tiny_llama(), folder / "tuned").state()


def test_each_job_ends_where_it_ends_alone(tmp_path: Path) -> None:
    jobs = three()
    found = tune_jobs(tiny_llama(), jobs, tmp_path)
    for job in jobs:
        single = apply(tiny_llama(), job.method, seed=job.config.seed)
        wanted = tune(single, job.texts, job.config, valid=job.valid)
        got = found[job.name]
        assert (got.steps, got.tokens) == (wanted.steps, wanted.tokens)
        for mine, theirs in zip(got.records, wanted.records, strict=True):
            assert mine.keys() == theirs.keys()
            for key in ("step", "tokens", "train_loss", "valid_nll"):
                if key in theirs:
                    assert mine[key] == pytest.approx(theirs[key], rel=1e-3)
        for name, value in weights(tmp_path / job.name).items():
            torch.testing.assert_close(value, single.state()[name], rtol=2e-2, atol=2e-3)


class _Cut(Exception):
    pass


@pytest.mark.parametrize("at", [3, 7])
def test_a_run_that_was_cut_off_ends_with_the_same_bits(tmp_path: Path, at: int) -> None:
    wanted = tune_jobs(tiny_llama(), three(), tmp_path / "whole")

    def cut(step: int) -> None:
        if step == at:
            raise _Cut

    with pytest.raises(_Cut):
        tune_jobs(tiny_llama(), three(), tmp_path / "half", on_step=cut)
    found = tune_jobs(tiny_llama(), three(), tmp_path / "half", resume=True)
    for name, result in wanted.items():
        assert found[name].steps == result.steps
        assert [line.get("valid_nll") for line in found[name].records] == [
            line.get("valid_nll") for line in result.records
        ]
        mine, theirs = weights(tmp_path / "half" / name), weights(tmp_path / "whole" / name)
        assert all(torch.equal(mine[key], theirs[key]) for key in theirs)


def test_a_finished_run_is_read_back(tmp_path: Path) -> None:
    wanted = tune_jobs(tiny_llama(), three(), tmp_path)
    found = tune_jobs(tiny_llama(), three(), tmp_path, resume=True)
    assert {n: r.records for n, r in found.items()} == {n: r.records for n, r in wanted.items()}
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert {line["job"] for line in lines} == {"a", "b", "c"}
    own = (tmp_path / "a" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in own] == list(wanted["a"].records)


def test_a_job_that_ends_early_is_saved_while_others_go_on(tmp_path: Path) -> None:
    seen = []

    def look(step: int) -> None:
        seen.append((step, (tmp_path / "c" / "tuned").exists(), (tmp_path / "a").exists()))

    tune_jobs(tiny_llama(), three(), tmp_path, on_step=look)
    assert (4, False, False) in seen
    assert (5, True, False) in seen
    assert seen[-1] == (9, True, True)


def test_a_job_that_explodes_leaves_the_others_alone(tmp_path: Path) -> None:
    calm, _, other = three()
    wild = Job("wild", LoRA(rank=4), texts(), replace(calm.config, learning_rate=1e30))
    with pytest.raises(ConfigError, match="finite number in wild") as caught:
        tune_jobs(tiny_llama(), [calm, wild, other], tmp_path / "with")
    assert "step 2 of" in (caught.value.where or "")
    assert not (tmp_path / "with" / "wild").exists()
    tune_jobs(tiny_llama(), [calm, other], tmp_path / "without")
    for name in ("a", "c"):
        mine, theirs = (weights(tmp_path / run / name) for run in ("with", "without"))
        for key, value in theirs.items():
            torch.testing.assert_close(mine[key], value, rtol=2e-2, atol=2e-3)


def test_bfloat16_and_dropout_over_a_base_in_float32() -> None:
    """What dropout keeps has the type of the base, the gradient that of the products."""
    config = TuneConfig(steps=3, batch=2, bfloat16=True, learning_rate=0.02)
    found = tune_jobs(tiny_llama(), [Job("a", LoRA(rank=2, dropout=0.2), texts(), config)])
    assert found["a"].steps == 3


def test_a_run_that_is_told_to_stop_saves_its_step(tmp_path: Path) -> None:
    config = TuneConfig(steps=6, batch=2, learning_rate=0.02)
    jobs = [Job("a", LoRA(rank=2), texts(), config), Job("b", LoRA(rank=2), texts(), config)]
    steps: list[int] = []
    found = tune_jobs(
        tiny_llama(), jobs, tmp_path, on_step=steps.append, stop=lambda: len(steps) == 2
    )
    assert (found, steps) == ({}, [1, 2, 3])
    tune_jobs(tiny_llama(), jobs, tmp_path, resume=True, on_step=steps.append)
    assert steps == [1, 2, 3, 4, 5, 6]


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    jobs = three()
    model = tiny_llama()
    with pytest.raises(ConfigError, match="no jobs"):
        tune_jobs(model, [])
    with pytest.raises(ConfigError, match="one name"):
        tune_jobs(model, [jobs[0], jobs[0]])
    with pytest.raises(ConfigError, match="no name of a folder"):
        tune_jobs(model, [replace(jobs[0], name="../a")])
    with pytest.raises(ConfigError, match="IA3 cannot share"):
        tune_jobs(model, [replace(jobs[0], method=IA3())])
    with pytest.raises(ConfigError, match="one type"):
        tune_jobs(model, [jobs[0], three(bfloat16=True)[1]])
    with pytest.raises(ValueInvalidError, match="no texts"):
        tune_jobs(model, [replace(jobs[0], texts=Texts((), ()))])
    with pytest.raises(ResumeError, match="no run"):
        tune_jobs(model, jobs, tmp_path / "none", resume=True)
    (tmp_path / "taken" / "a").mkdir(parents=True)
    with pytest.raises(ConfigError, match="there already"):
        tune_jobs(model, jobs, tmp_path / "taken")
    tune_jobs(model, jobs[:1], tmp_path / "run")
    with pytest.raises(ConfigError, match="already holds a run"):
        tune_jobs(model, jobs[:1], tmp_path / "run")
    with pytest.raises(ResumeError, match="another config"):
        tune_jobs(model, jobs, tmp_path / "run", resume=True)
