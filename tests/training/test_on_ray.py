"""?"""

from __future__ import annotations

import builtins
import json
import math
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor, nn

from adwright.core.artifacts import Artifact, load_artifact, save_artifact
from adwright.core.clock import FixedClock
from adwright.core.errors import (
    ArtifactCorruptError,
    ArtifactError,
    AssetError,
    ConfigError,
    MissingExtraError,
    ResourceError,
    ResumeError,
    ValueInvalidError,
)
from adwright.data.sources.log import save_log
from adwright.data.tasks.task import Task
from adwright.models.calibration import EmbeddingConfig
from adwright.models.ranking.din import DIN, DINConfig
from adwright.models.sequential.hstu import SASRecConfig
from adwright.training.dry_run import plan_ranking, plan_sequence
from adwright.training.model_artifacts import (
    OnnxProgram,
    load_trained,
    load_weights,
    onnx_bytes,
    parquet_bytes,
    read_catalogue,
    saved_report,
    weights_of,
)
from adwright.training.on_ray import _cause, fit_on_ray, tune_on_ray
from adwright.training.ranking.config import RunConfig, TaskConfig
from adwright.training.ranking.fit import FitConfig, fit
from adwright.training.ranking.run import run
from adwright.training.search import (
    SearchResult,
    Settings,
    begun_runs,
    check_ranges,
    draw_settings,
    near_power_of_two,
    require_free,
    require_writable,
    search,
    seeded,
    within,
)
from adwright.training.sequential.fit import SequentialConfig
from adwright.training.sequential.run import run_sequence
from adwright.training.sequential.runfile import SequenceDataConfig, SequenceRun
from adwright.training.tuning.texts import Texts
from adwright.training.tuning.tune import TuneConfig, tune
from adwright.tuning.methods import apply
from adwright.tuning.reparameterised.lora import LoRA
from adwright.tuning.tuned import Tuned
from tests.broken.cases import contents
from tests.support.data.ranking_task import FIT, MODEL, shop_task, small_log, untrained
from tests.support.ray_nodes import nodes

EVENTS = "user_id,item_id,time\n" + "".join(
    f"u{n},i{(n + k) % 9},{k}\n" for n in range(8) for k in range(6)
)


def ranking(here: Path, **more: object) -> RunConfig:
    task = TaskConfig(kind="folder", folder=here / "task")
    config = RunConfig(task=task, model=MODEL, fit=FIT, draws=20, out=here / "out")
    return replace(config, **more)  # type: ignore[arg-type]


def sequence(here: Path, **more: object) -> SequenceRun:
    config = SequenceRun(
        data=SequenceDataConfig("events", here / "events.csv"),
        model=SASRecConfig(width=8, heads=2, max_length=16, blocks=1),
        fit=SequentialConfig(epochs=3, batch=4),
        threads=1,
        out=here / "out",
    )
    return replace(config, **more)  # type: ignore[arg-type]


@pytest.fixture
def here(tmp_path: Path) -> Path:
    shop_task(tmp_path / "task", users=8)
    (tmp_path / "events.csv").write_text(EVENTS)
    return tmp_path


def test_a_ranker_is_tried_and_nothing_is_written(here: Path) -> None:
    before = contents(here)
    facts = plan_ranking(ranking(here))
    assert contents(here) == before
    assert facts["trains"] == "DIN, Base"
    assert facts["data"] == str(here / "task")
    assert facts["rows"].startswith("train 1,088 (")
    assert facts["people"] == "train 8, valid 8, test 8"
    assert facts["items"] == "40"
    assert "store (categorical)" in facts["features"]
    task = shop_task(here / "again", users=8)
    size = sum(weight.numel() for weight in seeded(0, lambda: untrained(task)).parameters())
    assert facts["parameters"].startswith(f"DIN {size:,}, Base ")
    assert facts["memory"].endswith(" GB")
    assert "for 1 epochs" in facts["time"]


def test_a_sequence_model_is_tried_and_nothing_is_written(here: Path) -> None:
    before = contents(here)
    facts = plan_sequence(sequence(here))
    assert contents(here) == before
    assert (facts["trains"], facts["people"]) == ("SASRec", "8")
    assert facts["events"] == "48 of 9 items"
    assert facts["own items again"] == "are left out"
    assert "SASRec" in facts["parameters"]
    assert "for 3 epochs" in facts["time"]


def test_what_is_not_there_yet_is_not_fetched(
    here: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ADWRIGHT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("ADWRIGHT_OFFLINE", raising=False)
    for facts in (
        plan_ranking(ranking(here, task=TaskConfig())),
        plan_sequence(sequence(here, data=SequenceDataConfig())),
    ):
        assert "downloaded first (31 MB)" in facts["data"]
        assert "parameters" not in facts
    assert not (tmp_path / "cache").exists()
    with pytest.raises(AssetError):
        plan_ranking(ranking(here, task=TaskConfig(offline=True)))
    monkeypatch.setenv("ADWRIGHT_OFFLINE", "1")
    with pytest.raises(AssetError):
        plan_sequence(sequence(here, data=SequenceDataConfig()))


def test_of_a_log_the_source_is_read(here: Path) -> None:
    save_log(here / "log", small_log())
    before = contents(here)
    facts = plan_ranking(ranking(here, task=TaskConfig(kind="log", folder=here / "log")))
    assert contents(here) == before
    assert "6 people" in facts["data"]
    assert "impression 60" in facts["data"]
    assert "built first" in facts["task"]


def no_positives(here: Path) -> RunConfig:
    path = here / "task" / "task.json"
    text = path.read_text()
    begin = text.index('"positives"', text.index('"valid"'))
    end = text.index(",", begin)
    path.write_text(text[:begin] + '"positives": 0' + text[end:])
    return ranking(here)


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda here: ranking(here, out=Path("/proc/x")), ResourceError),
        (lambda here: ranking(here, out=here / "events.csv"), ResourceError),
        (no_positives, ValueInvalidError),
        (lambda here: sequence(here, out=Path("/proc/x")), ResourceError),
    ],
)
def test_what_the_run_would_refuse_is_refused(
    here: Path, make: Callable[[Path], RunConfig | SequenceRun], error: type[Exception]
) -> None:
    config = make(here)
    plan = plan_ranking if isinstance(config, RunConfig) else plan_sequence
    with pytest.raises(error):
        plan(config)  # type: ignore[arg-type]


def test_a_run_that_is_there_is_resumed_or_replaced(here: Path) -> None:
    config = ranking(here, base=False)
    run(config)
    with pytest.raises(ResourceError, match="holds a ranker"):
        plan_ranking(config)
    assert plan_ranking(config, overwrite=True)
    (here / "out" / "ranker").rename(here / "moved")
    with pytest.raises(ConfigError, match="already holds a run"):
        plan_ranking(config)
    assert plan_ranking(config, resume=True)
    other = replace(config, fit=replace(FIT, learning_rate=0.5))
    with pytest.raises(ResumeError, match="learning_rate was"):
        plan_ranking(other, resume=True)


def test_so_is_that_of_a_sequence_model(here: Path) -> None:
    config = sequence(here, draws=20)
    run_sequence(config)
    (here / "out" / "model").rename(here / "moved")
    with pytest.raises(ConfigError, match="already holds a run"):
        plan_sequence(config)
    longer = replace(config, fit=replace(config.fit, epochs=4))
    assert plan_sequence(longer, resume=True)
    other = replace(config, fit=replace(config.fit, batch=2))
    with pytest.raises(ResumeError, match=r"fit.batch was 4 and is now 2"):
        plan_sequence(other, resume=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    table = pl.DataFrame({"item_id": ["a", "b"]})
    save_artifact(
        tmp_path / "one",
        kind="thing",
        config={},
        tensors=weights_of(nn.Linear(2, 3), "model.") | {"count": np.arange(3)},
        files={"items.parquet": parquet_bytes(table)},
    )
    return tmp_path / "one"


def test_weights_come_back_and_others_are_left_alone(folder: Path) -> None:
    artifact = load_artifact(folder)
    model = nn.Linear(2, 3)
    load_weights(model, artifact.tensors, "model.")
    assert set(artifact.tensors) == {"model.weight", "model.bias", "count"}
    assert np.array_equal(model.weight.detach().numpy(), artifact.tensors["model.weight"])
    assert read_catalogue(artifact)["item_id"].to_list() == ["a", "b"]
    assert saved_report(artifact) is None


def test_building_leaves_the_random_numbers_alone(folder: Path) -> None:
    state = torch.get_rng_state()
    assert load_trained(folder, lambda _: torch.rand(3), kind="thing", name="thing").shape == (3,)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("error", [KeyError("x"), ConfigError("no"), RuntimeError("size")])
def test_what_another_version_wrote_is_told(folder: Path, error: Exception) -> None:
    def build(_: Artifact) -> None:
        raise error

    with pytest.raises(ArtifactError, match="the thing does not fit this version") as raised:
        load_trained(folder, build, kind="thing", name="thing")
    assert raised.value.where == str(folder)
    with pytest.raises(ArtifactError):
        load_trained(folder, build, kind="other", name="thing")


def test_an_error_of_the_artifact_keeps_its_kind_and_says_where(folder: Path) -> None:
    def build(_: Artifact) -> None:
        raise ArtifactCorruptError("broken")

    with pytest.raises(ArtifactCorruptError, match="broken") as raised:
        load_trained(folder, build, kind="thing", name="thing")
    assert raised.value.where == str(folder)


def test_bugs_are_no_misfits(folder: Path) -> None:
    def build(_: Artifact) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        load_trained(folder, build, kind="thing", name="thing")


pytest.importorskip("onnxruntime")


class Sums(nn.Module):
    """Two outputs of two inputs."""

    def forward(self, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
        return left + right, (left * right).sum(1)


def program() -> torch.export.ExportedProgram:
    rows = torch.export.Dim("rows", min=1)
    shapes = {"left": {0: rows}, "right": {0: rows}}
    return torch.export.export(Sums(), (torch.ones(3, 2), torch.ones(3, 2)), dynamic_shapes=shapes)


def test_a_program_runs_on_any_number_of_rows(capsys: pytest.CaptureFixture[str]) -> None:
    data = onnx_bytes(program(), ("a", "b"), ("sum", "product"))
    assert capsys.readouterr() == ("", "")
    run = OnnxProgram(data, {"a": ("rows",), "b": ("rows",)})
    assert run.signature == [
        {"name": name, "type": "tensor(float)", "dimensions": ["rows", 2]} for name in "ab"
    ]
    for rows in (1, 2, 9):
        left, right = np.random.default_rng(rows).random((2, rows, 2), np.float32)
        total, product = run({"a": left, "b": right, "unread": left})
        np.testing.assert_allclose(total, left + right)
        np.testing.assert_allclose(product, (left * right).sum(1), rtol=1e-6)


def test_a_program_that_torch_does_not_write_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.onnx, "export", lambda *_, **__: None)
    with pytest.raises(ArtifactError, match="no ONNX"):
        onnx_bytes(program(), ("a", "b"), ("sum", "product"))


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name in ("onnx", "onnxruntime"):
            raise ImportError(name)
        return real(name, *rest, **more)

    made = program()
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=r"adwright\[export\]"):
        onnx_bytes(made, ("a", "b"), ("sum", "product"))
    with pytest.raises(MissingExtraError, match=r"adwright\[export\]"):
        OnnxProgram(b"", {})


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


@pytest.mark.parametrize(("value", "found"), [(0, 2), (2.0, 2), (2.1, 3), (9, 8), (1e12, 8)])
def test_within_rounds_up_and_keeps_the_bounds(value: float, found: int) -> None:
    assert within(value, 2, 8) == found


@pytest.mark.parametrize(("value", "found"), [(1, 16), (16, 16), (17, 32), (100, 128), (999, 512)])
def test_powers_of_two(value: float, found: int) -> None:
    assert near_power_of_two(value, 16, 512) == found


@dataclass(frozen=True)
class Numbers:
    """One field of each kind."""

    epochs: int = 1
    rate: float = 0.1
    decay: float = 0.0


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"rate": 0.0}, "rate must be positive"),
        ({"rate": math.nan}, "rate must be positive"),
        ({"rate": math.inf}, "rate must be positive"),
        ({"decay": -0.1}, "decay must not be negative"),
        ({"decay": math.inf}, "decay must not be negative"),
    ],
)
def test_ranges_are_checked_field_by_field(wrong: dict[str, float], message: str) -> None:
    names = {"counts": ("epochs",), "positive": ("rate",), "not_negative": ("decay",)}
    check_ranges(Numbers(), **names)
    with pytest.raises(ConfigError, match=message):
        check_ranges(Numbers(**wrong), **names)  # type: ignore[arg-type]
    # Fields that are not named are not looked at.
    check_ranges(Numbers(**wrong))  # type: ignore[arg-type]


def test_a_folder_that_is_there_is_not_replaced(tmp_path: Path) -> None:
    require_free(tmp_path / "new", "a model")
    with pytest.raises(ResourceError, match="already holds a model") as caught:
        require_free(tmp_path, "a model")
    assert caught.value.where == str(tmp_path)


def test_first_weights_depend_on_the_seed_alone() -> None:
    torch.manual_seed(7)
    before = torch.get_rng_state()
    one, same, other = (seeded(seed, lambda: torch.rand(3)) for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_folders_that_cannot_be_written_are_refused(tmp_path: Path) -> None:
    require_writable(tmp_path / "new" / "folder")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    for folder in (Path("/proc/x/y"), tmp_path / "file", tmp_path / "file" / "x"):
        with pytest.raises(ResourceError, match="choose another") as caught:
            require_writable(folder)
        assert str(folder) in str(caught.value)


def test_what_is_taken_up(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folders = {"DIN": tmp_path / "din", "Base": tmp_path / "base"}
    assert begun_runs(folders, resume=False, stop_now=False) == set()
    assert not caplog.text
    assert begun_runs(folders, resume=True, stop_now=False) == set()
    assert f"nothing to resume in {tmp_path / 'din'}" in caplog.text
    with pytest.raises(ResumeError, match="no run to close"):
        begun_runs(folders, resume=True, stop_now=True)
    (tmp_path / "din").mkdir()
    (tmp_path / "din" / "config.json").touch()
    caplog.clear()
    assert begun_runs(folders, resume=True, stop_now=False) == {"DIN"}
    assert not caplog.text
    assert begun_runs(folders, resume=True, stop_now=True) == {"DIN"}
    assert "Base was not begun" in caplog.text


SPACE = {"rate": (0.1, 0.5, 1.0, 2.0), "width": (1.0, 2.0, 4.0)}


def goal(settings: Settings, epochs: int) -> float:
    """Best at rate .5 and width 4; more epochs help."""
    rate, width = settings.get("rate", 1.0), settings.get("width", 1.0)
    return -abs(math.log(rate / 0.5)) + width / 4 + epochs / 100


def found(file: Path, trials: int = 9, **more: object) -> SearchResult:
    asked = {"epochs": 9, "file": file, "goal": "AUC", "clock": FixedClock()} | more
    return search(goal, SPACE, trials=trials, **asked)  # type: ignore[arg-type]


def test_the_best_of_the_points_is_found(tmp_path: Path) -> None:
    result = found(tmp_path / "t.json", trials=13)
    every = draw_settings(SPACE, 13, 0)
    assert len(every) == 13
    assert result.best.settings == max(every, key=lambda s: goal(s, 9))
    assert result.best.epochs == 9
    assert result.best.goal == goal(result.best.settings, 9)


def test_rounds_keep_a_third_for_three_times_the_epochs(tmp_path: Path) -> None:
    result = found(tmp_path / "t.json", trials=9)
    rounds = [sum(t.epochs == n for t in result.trials) for n in (1, 3, 9)]
    # The defaults go along where they are not among the best.
    assert rounds[0] == 9
    assert rounds[1] in (3, 4)
    assert rounds[2] in (1, 2)
    assert {} in [t.settings for t in result.trials if t.epochs == 9]


def test_points_are_distinct_and_follow_the_seed() -> None:
    points = draw_settings(SPACE, 99, 0)
    assert points[0] == {}
    assert len(points) == 13
    assert len({tuple(point.items()) for point in points}) == 13
    assert draw_settings(SPACE, 5, 0) == points[:5]
    assert draw_settings(SPACE, 5, 1) != points[:5]


def test_a_search_goes_on_where_it_stood(tmp_path: Path) -> None:
    whole = found(tmp_path / "whole.json")
    done: list[tuple[Settings, int]] = []

    def stopping(settings: Settings, epochs: int) -> float:
        if len(done) == 4:
            raise KeyboardInterrupt
        done.append((settings, epochs))
        return goal(settings, epochs)

    file = tmp_path / "t.json"
    with pytest.raises(KeyboardInterrupt):
        search(stopping, SPACE, trials=9, epochs=9, file=file, goal="AUC", clock=FixedClock())
    assert len(json.loads(file.read_text())["trials"]) == 4

    def second(settings: Settings, epochs: int) -> float:
        assert (settings, epochs) not in done
        return goal(settings, epochs)

    asked = {"trials": 9, "epochs": 9, "file": file, "goal": "AUC", "clock": FixedClock()}
    again = search(second, SPACE, **asked)  # type: ignore[arg-type]
    assert again == whole


def test_trainings_that_go_wrong_lose(tmp_path: Path) -> None:
    def measure(settings: Settings, epochs: int) -> float:
        if settings.get("rate", 1.0) > 1:
            raise ConfigError("the loss is no longer a finite number")
        return math.nan if settings.get("width") == 4 else goal(settings, epochs)

    asked = {"trials": 13, "epochs": 3, "clock": FixedClock()}
    result = search(measure, SPACE, file=tmp_path / "t.json", **asked)  # type: ignore[arg-type]
    assert result.best.settings == {"rate": 0.5, "width": 2.0}

    def never(settings: Settings, epochs: int) -> float:
        raise ConfigError("the loss is no longer a finite number")

    with pytest.raises(ConfigError, match=r"no trial .* the loss is no longer"):
        search(never, SPACE, file=tmp_path / "n.json", **asked)  # type: ignore[arg-type]


def test_it_says_what_it_found(tmp_path: Path) -> None:
    result = found(tmp_path / "t.json", trials=13)
    assert result.header() == ("settings", "epochs", "AUC", "seconds")
    rows = result.rows()
    assert rows[0][0] == "rate 0.5, width 4"
    assert "the defaults" in [row[0] for row in rows]
    sentence = result.sentence()
    assert sentence.startswith(f"searched {len(rows)} trainings on validation: rate 0.5, width 4")
    assert "AUC 1.0900, the defaults" in sentence


def test_another_search_is_not_taken_up(tmp_path: Path) -> None:
    file = tmp_path / "t.json"
    found(file, trials=3)
    for change in ({"seed": 1}, {"about": {"task": "other"}}):
        with pytest.raises(ResumeError, match="another search"):
            found(file, trials=3, **change)
    file.write_text("{")
    with pytest.raises(ResumeError, match="cannot be read"):
        found(file, trials=3)
    with pytest.raises(ConfigError, match="at least one trial"):
        found(tmp_path / "n.json", trials=0)
