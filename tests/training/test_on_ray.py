from __future__ import annotations

import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from adwright.core.errors import ConfigError, MissingExtraError, ResumeError
from adwright.data.tasks.task import Task
from adwright.models.calibration import EmbeddingConfig
from adwright.models.ranking.din import DIN, DINConfig
from adwright.training.on_ray import _cause, fit_on_ray, tune_on_ray
from adwright.training.ranking.fit import FitConfig, fit
from adwright.training.tuning.texts import Texts
from adwright.training.tuning.tune import TuneConfig, tune
from adwright.tuning.methods import apply
from adwright.tuning.reparameterised.lora import LoRA
from adwright.tuning.tuned import Tuned
from tests.support.ray_nodes import nodes

Config = Callable[..., FitConfig]


def maker(marker: Path | None = None) -> Callable[[Task], nn.Module]:
    """Builds a small DIN; with a marker, the first process to reach batch 12 takes a SIGKILL.

    A function made here travels by value: the workers cannot import this module.
    """

    def make(task: Task) -> nn.Module:
        torch.manual_seed(0)
        embedding = EmbeddingConfig(width=4)
        config = DINConfig(attention_hidden=8, mlp_hidden=(16, 8), embedding=embedding)
        model = DIN(config, task.spec, task.item_table)
        whole, calls = model.loss, [0]

        def loss(batch: Any) -> Tensor:
            calls[0] += 1
            if marker is not None and calls[0] == 12 and not marker.exists():
                marker.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return whole(batch)

        model.loss = loss  # type: ignore[method-assign]
        return model

    return make


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """One that both tests train on: only to start it takes ten seconds of processor time. What
    `ray_cluster` starts by itself is seen where `recommend` divides its parts."""
    pytest.importorskip("ray")
    settings = {"RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0", "RAY_TRAIN_METRICS_ENABLED": "0"}
    settings["RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"] = "300"
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, value in settings.items():
            patch.setenv(name, value)
        with nodes(patch, 1, cpus=2):
            yield


# Ray warns of settings of its own that it will drop.
@pytest.mark.usefixtures("cluster")
@pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")
def test_workers_that_die_are_replaced_and_the_result_is_that_of_one_process(
    task: Task, config: Config, tmp_path: Path, compare: Any
) -> None:
    settings = config(learning_rate=2e-3, decay=0.5, checkpoint_every=5)
    marker, run = tmp_path / "killed", tmp_path / "ray"
    model, found = fit_on_ray(maker(marker), task.folder, settings, run, retries=1)
    assert marker.exists()
    # Ctrl-C is what it was, so that a training that follows here leaves its checkpoint.
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert {path.name for path in run.iterdir()} == {
        *("config.json", "metrics.jsonl", "curves.svg", "checkpoint-000000023-0002")
    }
    one = maker()(task)
    expected = fit(one, task, settings, tmp_path / "one")
    assert found.gauc == pytest.approx(expected.gauc, rel=1e-4)
    assert found.log_loss == pytest.approx(expected.log_loss, rel=1e-4)
    assert (found.epoch, found.batches) == (expected.epoch, expected.batches)
    assert found.metrics == run / "metrics.jsonl"
    weights = [{k: v.clone() for k, v in each.state_dict().items()} for each in (model, one)]
    for each in weights:
        # This row sees only 1 - 1: its gradient is rounding noise, which Adam makes large.
        each["unit.first"][2, -1] = 0
    assert compare.distance(*weights) < 1e-4


def test_what_fit_refuses_is_refused_before_ray_starts(
    task: Task, config: Config, tmp_path: Path
) -> None:
    def stop(_: int) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        fit(maker()(task), task, config(), tmp_path, on_step=stop)
    with pytest.raises(ConfigError, match=r"already holds a run.*resume it"):
        fit_on_ray(maker(), task.folder, config(), tmp_path)
    other = config(learning_rate=0.5)
    with pytest.raises(ResumeError, match=r"learning_rate was 0.005 and is now 0.5"):
        fit_on_ray(maker(), task.folder, other, tmp_path, resume=True)
    with pytest.raises(ResumeError, match=r"holds no run"):
        fit_on_ray(maker(), task.folder, other, tmp_path / "run", resume=True)


@pytest.mark.parametrize("changes", [{"workers": 0}, {"retries": -1}])
def test_settings_out_of_range_are_refused(
    task: Task, config: Config, tmp_path: Path, changes: dict[str, int]
) -> None:
    with pytest.raises(ConfigError, match="workers must be at least 1"):
        fit_on_ray(maker(), task.folder, config(), tmp_path / "run", **changes)


def test_without_ray_the_extra_is_named(
    task: Task, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    before = dict(os.environ)
    with pytest.raises(MissingExtraError, match=r"adwright\[ray\]"):
        fit_on_ray(maker(), task.folder, config(), tmp_path / "run")
    assert dict(os.environ) == before
    assert not (tmp_path / "run").exists()


def tuned_maker(marker: Path | None = None) -> Callable[[], Tuned]:
    """Builds a tiny language model with LoRA; with a marker, the first process to reach its
    seventh step takes a SIGKILL. It travels by value, as `maker` says."""

    def make() -> Tuned:
        import transformers

        torch.manual_seed(0)
        config = transformers.LlamaConfig(
            vocab_size=64,
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=2,
            max_position_embeddings=64,
        )
        tuned = apply(transformers.LlamaForCausalLM(config), LoRA(rank=2), seed=0)
        before = tuned.before_step

        def before_step(step: int, steps: int) -> None:
            if marker is not None and step == 6 and not marker.exists():
                marker.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            before(step, steps)

        tuned.before_step = before_step  # type: ignore[method-assign]
        return tuned

    return make


def pairs(number: int, seed: int) -> Texts:
    rng = np.random.default_rng(seed)
    prompts = [tuple(rng.integers(2, 40, 4).tolist()) for _ in range(number)]
    return Texts(tuple(prompts), tuple((prompt[0], 1) for prompt in prompts))


TUNE = TuneConfig(epochs=2, batch=4, micro=4, learning_rate=0.01, checkpoint_every=2)


@pytest.mark.usefixtures("cluster")
@pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")
def test_tuning_goes_on_where_a_worker_died(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    marker, run, data, valid = tmp_path / "killed", tmp_path / "ray", pairs(18, 0), pairs(6, 1)
    # One worker: what two divide is looked at above and where torchrun starts them.
    found, result = tune_on_ray(
        tuned_maker(marker), data, TUNE, run, valid=valid, workers=1, retries=1
    )
    assert marker.exists()
    assert {path.name for path in run.iterdir()} == {
        *("config.json", "metrics.jsonl", "checkpoint-000000010-0002", "curves.svg")
    }
    one = tuned_maker()()
    wanted = tune(one, data, TUNE, valid=valid)
    assert (result.steps, result.best_step) == (wanted.steps, wanted.best_step)
    assert result.best == pytest.approx(wanted.best, rel=1e-5)
    for key, value in one.state().items():
        torch.testing.assert_close(found.state()[key], value, rtol=1e-3, atol=1e-5)
    # What tune() would refuse is refused before Ray starts.
    with pytest.raises(ConfigError, match="already holds a run"):
        tune_on_ray(tuned_maker(), data, TUNE, run, valid=valid)
    with pytest.raises(ResumeError, match="another config"):
        tune_on_ray(tuned_maker(), data, replace(TUNE, batch=2), run, valid=valid, resume=True)
    with pytest.raises(ConfigError, match="workers must be at least 1"):
        tune_on_ray(tuned_maker(), data, TUNE, run, workers=0)


class WorkersFailed(Exception):
    def __init__(self, worker_failures: dict[int, Exception]) -> None:
        super().__init__("workers failed")
        self.worker_failures = worker_failures


def test_the_error_behind_an_error_of_ray_is_found() -> None:
    mine, other = ConfigError("mine"), ConfigError("other")
    wrapped = RuntimeError("wrapped")
    wrapped.__cause__ = mine
    assert _cause(WorkersFailed({1: other, 0: mine})) is mine
    assert _cause(WorkersFailed({0: RuntimeError("lost"), 1: other})) is other
    assert _cause(wrapped) is mine
    assert _cause(WorkersFailed({0: wrapped})) is mine
    assert _cause(RuntimeError("of ray alone")) is None
