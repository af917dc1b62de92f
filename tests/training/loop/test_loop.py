"""The training loop, with the smallest trainee that there can be."""

from __future__ import annotations

import json
import math
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from adwright.core.errors import ConfigError, ResumeError
from adwright.data.tasks.task import Task
from adwright.training.loop.loop import require_startable, train
from adwright.training.loop.run_folder import RunPosition
from adwright.training.loop.trainee import LoopConfig, StepLoss, Trainee

CONFIG = LoopConfig(epochs=3, patience=9, seed=4, checkpoint_every=2)
SCENARIOS = (
    *("batch-1", "batch-6", "batch-12", "batch-19", "half-start", "half-tensors", "at-rename"),
    *("before-removal", "before-metrics", "disk-full", "random"),
)


class Line(Trainee[Tensor]):
    """Fits y = 3x + 1 from five batches per epoch; each step draws noise for its targets.

    goals: what the validations find, else minus the distance from the truth. bad: numbers of the
    steps of the run whose loss is not a number.
    """

    kind = "line-checkpoint"
    hint = "draw another line"

    def __init__(
        self,
        config: LoopConfig = CONFIG,
        *,
        goals: tuple[float | None, ...] = (),
        bad: tuple[int, ...] = (),
        rate: float = 0.1,
        **asked: Any,
    ) -> None:
        torch.manual_seed(0)
        model = nn.Linear(1, 1)
        optimiser = torch.optim.Adam(model.parameters(), lr=rate)
        super().__init__(model, {"adam": optimiser}, config, {"data_hash": "x", **asked})
        self.goals, self.bad, self.noise, self.calls = list(goals), set(bad), 0.0, [""]

    def epoch(self, at: RunPosition) -> Iterator[Tensor]:
        for number in range(at.step, 5):
            yield 4 * torch.arange(4.0)[:, None] + number

    def loss(self, batch: Tensor) -> tuple[Tensor, int]:
        noise = torch.randn(len(batch), 1)
        self.noise += float(noise.sum())
        error = self.model(batch / 20) - 3 * batch / 20 - 1 + 0.1 * noise
        self.calls.append("step")
        if len(self.calls) - 1 in self.bad:
            error = error * math.nan
        return error.square().sum(), len(batch)

    def validate(self, at: RunPosition) -> tuple[float | None, dict[str, Any]]:
        if self.goals:
            return self.goals.pop(0), {"valid_share": at.steps}
        weight, bias = self.model.weight, self.model.bias
        goal = -float(((weight - 3).abs().sum() + (bias - 1).abs().sum()).detach())
        return goal, {"goal": goal}

    def left(self, at: RunPosition) -> int:
        return 5 - at.step

    def state(self) -> dict[str, Any]:
        return {"noise": self.noise}

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.noise = float(state["noise"])

    def weights(self) -> list[float]:
        return nn.utils.parameters_to_vector(self.model.parameters()).tolist()


class Interrupted(Exception):
    """In place of a kill."""


def stop_at(step: int) -> Callable[[int], None]:
    def look(steps: int) -> None:
        if steps == step:
            raise Interrupted

    return look


def lines(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_it_learns_and_tells(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = Line(replace(CONFIG, epochs=40))
    seen: list[int] = []
    at = train(line, line.folder(tmp_path), on_step=seen.append)
    assert (at.epoch, at.steps, seen) == (40, 200, list(range(1, 201)))
    assert line.weights() == pytest.approx([3, 1], abs=0.3)
    assert not line.model.training
    found = lines(tmp_path)
    assert [one["steps"] for one in found] == list(range(5, 201, 5))
    assert found[-1]["train_loss"] < found[0]["train_loss"] / 10
    assert max(one["goal"] for one in found) == at.best
    assert "epoch 1/40: 5 batches in" in capsys.readouterr().err


@pytest.mark.parametrize("step", [1, 2, 3, 5, 6, 7, 14])
def test_a_run_that_was_cut_off_ends_with_the_same_bits(tmp_path: Path, step: int) -> None:
    whole = Line()
    train(whole, whole.folder(tmp_path / "whole"))
    first = Line()
    with pytest.raises(Interrupted):
        train(first, first.folder(tmp_path / "run"), on_step=stop_at(step))
    torch.manual_seed(99)
    second = Line()
    torch.nn.init.zeros_(second.model.weight)
    at = train(second, second.folder(tmp_path / "run"), resume=True)
    assert second.weights() == whole.weights()
    assert second.noise == whole.noise
    assert lines(tmp_path / "run") == lines(tmp_path / "whole") == list(at.records)
    last = sorted(path.name for path in (tmp_path / "run").iterdir())
    assert last == ["checkpoint-000000015-0006", "config.json", "metrics.jsonl"]
    # What is at its end stays there.
    again = Line()
    assert train(again, again.folder(tmp_path / "run"), resume=True).steps == 15
    assert again.weights() == whole.weights()


def test_the_random_numbers_of_the_caller_are_left_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    line = Line()
    torch.manual_seed(5)
    train(line)
    assert torch.equal(torch.rand(1), expected)
    other = Line(replace(CONFIG, seed=5))
    train(other)
    assert other.noise != line.noise


def test_the_best_weights_are_kept_and_patience_ends_it() -> None:
    line = Line(replace(CONFIG, epochs=9, patience=2), goals=(0.5, 2.0, 1.0, 1.5, 3.0))
    seen: list[list[float]] = []
    line.validated = lambda: seen.append(line.weights())  # type: ignore[method-assign]
    at = train(line)
    assert (at.epoch, at.best, at.best_epoch, at.best_step, at.worse) == (4, 2.0, 2, 10, 2)
    assert line.weights() == seen[1] != seen[3]
    assert [one["valid_share"] for one in at.records] == [5, 10, 15, 20]


def test_lower_may_be_better() -> None:
    line = Line(goals=(0.5, 2.0, 0.4))
    line.higher_is_better = False  # type: ignore[misc]
    at = train(line)
    assert (at.best, at.best_epoch) == (0.4, 3)


def test_without_a_goal_the_last_weights_stay() -> None:
    line, other = Line(goals=(None, None, None)), Line(goals=(3.0, 2.0, 1.0))
    at = train(line)
    assert (at.best, at.best_epoch, at.worse, len(at.records)) == (None, 3, 0, 3)
    train(other)
    assert line.weights() != other.weights()


def test_a_validation_in_the_midst_of_an_epoch() -> None:
    line = Line(replace(CONFIG, epochs=2), goals=(1.0, 2.0, 3.0, 2.5))
    line.is_due = lambda at: at.step == 2  # type: ignore[method-assign]
    at = train(line)
    assert [one["valid_share"] for one in at.records] == [2, 5, 7, 10]
    assert (at.best, at.best_step) == (3.0, 7)


def test_gradients_are_clipped() -> None:
    free, clipped = Line(rate=1.0), Line(replace(CONFIG, clip_norm=1e-9), rate=1.0)
    norms: dict[str, list[float]] = {"free": [], "clipped": []}
    for name, line in (("free", free), ("clipped", clipped)):
        step = line.optimisers["adam"].step

        def watched(step: Any = step, line: Line = line, name: str = name) -> None:
            grads = [p.grad for p in line.model.parameters() if p.grad is not None]
            norms[name].append(float(torch.stack([g.norm() for g in grads]).norm()))
            step()

        line.optimisers["adam"].step = watched  # type: ignore[method-assign, assignment]
        train(line)
    assert max(norms["clipped"]) <= 1.001e-9 < min(norms["free"])


def test_the_rate_follows_its_schedule() -> None:
    line, rates = Line(rate=0.5), []
    line.share_of_rate = lambda at: 1 / (1 + at.steps)  # type: ignore[method-assign]
    line.counted = lambda found: rates.append(  # type: ignore[method-assign]
        line.optimisers["adam"].param_groups[0]["lr"]
    )
    train(line)
    assert rates == pytest.approx([0.5 / (1 + step) for step in range(15)])


def test_a_loss_or_goal_that_is_not_finite_ends_it(tmp_path: Path) -> None:
    line = Line(bad=(7,))
    words = r"loss is no longer a finite number.*epoch 2, step 7.*draw another line"
    with pytest.raises(ConfigError, match=words):
        train(line, line.folder(tmp_path))
    # The step before it is not lost.
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-000000006-0002"]
    with pytest.raises(ConfigError, match=r"goal of the validation .*nan after epoch 1, step 5"):
        train(Line(goals=(math.nan,)))


def test_a_run_goes_back_where_it_may(tmp_path: Path) -> None:
    """And draws other numbers then; a run that was cut off goes back alike."""
    config, told = replace(CONFIG, rollbacks=2), []
    line = Line(config, bad=(8, 12))
    line.rolled_back = told.append  # type: ignore[method-assign]
    at = train(line, line.folder(tmp_path / "run"))
    assert told == [1, 2]
    assert (at.epoch, at.steps, at.rollbacks) == (3, 15, 2)
    assert [one["steps"] for one in lines(tmp_path / "run")] == [5, 10, 15]
    assert line.weights() != _plain().weights()
    first, second = Line(config, bad=(8,)), Line(config)
    with pytest.raises(Interrupted):
        train(first, first.folder(tmp_path / "cut"), on_step=stop_at(10))
    told.clear()
    second.rolled_back = told.append  # type: ignore[method-assign]
    train(second, second.folder(tmp_path / "cut"), resume=True)
    once = Line(config, bad=(8,))
    train(once)
    assert second.weights() == once.weights()
    assert told == [1]
    with pytest.raises(ConfigError, match="finite"):
        train(Line(config, bad=(8, 9, 10)))


def _plain() -> Line:
    line = Line()
    train(line)
    return line


def test_runs_are_never_mixed_up(tmp_path: Path) -> None:
    line = Line(width=3)
    folder = line.folder(tmp_path / "run")
    assert folder is not None
    require_startable(folder, resume=False)
    with pytest.raises(ResumeError, match="holds no run"):
        require_startable(folder, resume=True)
    train(line, folder)
    require_startable(folder, resume=True)
    with pytest.raises(ConfigError, match="already holds a run"):
        require_startable(folder, resume=False)
    with pytest.raises(ConfigError, match="already holds a run"):
        train(line, folder)
    other = Line(width=4)
    with pytest.raises(ResumeError, match="width was 3 and is now 4"):
        train(other, other.folder(tmp_path / "run"), resume=True)
    wide = Line(width=3)
    wide.model = nn.Linear(2, 1)
    with pytest.raises(ResumeError, match=r"another model.*build the model as at the start"):
        train(wide, wide.folder(tmp_path / "run"), resume=True)
    forgetful = Line(width=3)
    forgetful.load_state = lambda state: state["more"]  # type: ignore[method-assign]
    with pytest.raises(ResumeError, match="no checkpoint that can be read"):
        train(forgetful, forgetful.folder(tmp_path / "run"), resume=True)


def test_ctrl_c_leaves_the_last_step_behind(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, first, second = Line(), Line(), Line()
    train(whole)

    def press(_: StepLoss) -> None:
        if len(first.calls) - 1 == 7:
            signal.raise_signal(signal.SIGINT)

    first.counted = press  # type: ignore[method-assign]
    run = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        train(first, first.folder(run))
    assert [path.name for path in run.glob("checkpoint-*")] == ["checkpoint-000000007-0002"]
    assert f"checkpoint of step 7 in {run}" in capsys.readouterr().err
    train(second, second.folder(run), resume=True)
    assert second.weights() == whole.weights()
    assert second.noise == whole.noise


def test_ctrl_c_in_a_validation_loses_no_step(tmp_path: Path) -> None:
    whole, first, second = Line(), Line(), Line()
    train(whole)
    first.validated = lambda: signal.raise_signal(signal.SIGINT)  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        train(first, first.folder(tmp_path))
    at = train(second, second.folder(tmp_path), resume=True)
    assert second.weights() == whole.weights()
    assert [one["steps"] for one in at.records] == [5, 10, 15]


def test_ctrl_c_in_a_validation_within_an_epoch_goes_back_to_the_checkpoint(tmp_path: Path) -> None:
    def made() -> Line:
        line = Line(replace(CONFIG, checkpoint_every=0))
        line.is_due = lambda at: at.step == 2  # type: ignore[method-assign]
        return line

    def press(at: RunPosition) -> tuple[float, dict[str, Any]]:
        signal.raise_signal(signal.SIGINT)
        return 0.0, {}

    whole, first, second = made(), made(), made()
    train(whole, whole.folder(tmp_path / "whole"))
    first.validate = press  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        train(first, first.folder(tmp_path / "run"))
    (kept,) = (tmp_path / "run").glob("checkpoint-*")
    assert kept.name == "checkpoint-000000000-0000"
    train(second, second.folder(tmp_path / "run"), resume=True)
    assert lines(tmp_path / "run") == lines(tmp_path / "whole")


def grown(epochs: int) -> Line:
    line = Line(replace(CONFIG, epochs=epochs), fit={"epochs": epochs, "rate": 1})
    line.grows = ("fit.epochs",)  # type: ignore[misc]
    return line


def test_a_run_may_go_on_for_more_epochs(tmp_path: Path) -> None:
    whole, first, longer = grown(4), grown(2), grown(4)
    train(whole, whole.folder(tmp_path / "whole"))
    train(first, first.folder(tmp_path / "run"))
    train(longer, longer.folder(tmp_path / "run"), resume=True)
    assert longer.weights() == whole.weights()
    assert lines(tmp_path / "run") == lines(tmp_path / "whole")
    # From now on it is a run of four epochs.
    fewer = grown(3)
    with pytest.raises(ResumeError, match=r"fit.epochs was 4 and is now 3.*--stop-now ends the"):
        train(fewer, fewer.folder(tmp_path / "run"), resume=True)
    other = Line(replace(CONFIG, epochs=5), fit={"epochs": 5, "rate": 2})
    other.grows = ("fit.epochs",)  # type: ignore[misc]
    with pytest.raises(ResumeError, match=r"epochs was 4 and is now 5; fit.rate was 1 and is now"):
        train(other, other.folder(tmp_path / "run"), resume=True)


def test_a_run_can_be_closed(tmp_path: Path) -> None:
    """With the best weights so far; measured where that was not done yet."""
    for step, steps, best in ((3, 3, None), (12, 12, 5)):
        first, closed, run = Line(goals=(3.0, 2.0, 1.0)), Line(goals=(7.0,)), tmp_path / f"{step}"
        seen: dict[int, list[float]] = {}
        first.counted = lambda _, one=first, seen=seen: seen.update(  # type: ignore[method-assign]
            {len(one.calls) - 1: one.weights()}
        )
        with pytest.raises(Interrupted):
            train(first, first.folder(run), on_step=stop_at(step))
        at = train(closed, closed.folder(run), resume=True, stop_now=True)
        assert at.steps <= steps
        assert closed.weights() == seen[best or at.steps]
        assert len(closed.calls) == 1  # no step was taken
    with pytest.raises(ConfigError, match="only a run that is resumed"):
        train(Line(), stop_now=True)


def metrics(run: Path) -> list[dict[str, Any]]:
    return [{key: value for key, value in line.items() if key != "time"} for line in lines(run)]


def test_killed_and_resumed_ends_with_the_same_bits(
    task: Task, tmp_path: Path, run_script: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    # One test for all of them: the processes behind it take a quarter of a minute.
    done = run_script("kill_and_resume", task.folder, tmp_path)
    assert done.returncode == 0, done.stderr
    kills = json.loads(done.stdout)
    whole = tmp_path / "whole"
    assert len(metrics(whole / "run")) == 4
    for name in SCENARIOS:
        assert kills[name] >= 1, name
        # The file of the weights, and that of all state at the end.
        last = "checkpoint-000000024-0006"
        for file in ("final/tensors.safetensors", f"run/{last}/tensors.safetensors"):
            assert (tmp_path / name / file).read_bytes() == (whole / file).read_bytes(), name
        assert metrics(tmp_path / name / "run") == metrics(whole / "run"), name
        left = {path.name for path in (tmp_path / name / "run").iterdir()}
        assert left == {"config.json", "metrics.jsonl", last}, name
