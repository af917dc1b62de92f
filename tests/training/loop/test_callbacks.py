"""What callbacks are told."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from adwright.core.clock import FixedClock
from adwright.core.errors import ConfigError, MissingExtraError
from adwright.training.loop.loop import train
from adwright.training.loop.stage_timer import Stages
from adwright.training.loop.threads import torch_threads
from adwright.training.loop.trainee import (
    Callback,
    MLflow,
    RunBegins,
    RunEnds,
    StepDone,
    StepLoss,
    TensorBoard,
    ValidationDone,
    WritesDown,
    trackers,
)
from tests.training.loop.test_loop import CONFIG, Interrupted, Line, stop_at


class Notes(Callback):
    """Notes all that it is told."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def on_begin(self, run: RunBegins) -> None:
        self.told.append(run)

    def on_step(self, step: StepDone) -> None:
        self.told.append(step)

    def on_validation(self, found: ValidationDone) -> None:
        self.told.append(found)

    def on_end(self, run: RunEnds) -> None:
        self.told.append(run)

    def of(self, kind: type[Any]) -> list[Any]:
        return [one for one in self.told if isinstance(one, kind)]


def test_a_run_is_told_from_its_beginning_to_its_end(tmp_path: Path) -> None:
    notes, line = Notes(), Line(goals=(1.0, 3.0, 2.0), width=8)
    train(line, line.folder(tmp_path / "mine"), callbacks=[notes])
    (begins,), (ends,) = notes.of(RunBegins), notes.of(RunEnds)
    assert (begins.name, begins.folder) == ("mine", tmp_path / "mine")
    assert (begins.settings["width"], begins.epochs, begins.step) == (8, 3, 0)
    steps, found = notes.of(StepDone), notes.of(ValidationDone)
    assert [(one.epoch, one.step) for one in steps] == [(1 + n // 5, n + 1) for n in range(15)]
    assert {one.learning_rate for one in steps} == {0.1}
    assert [(one.epoch, one.step, one.value, one.best) for one in found] == [
        (1, 5, 1.0, 1.0),
        (2, 10, 3.0, 3.0),
        (3, 15, 2.0, 3.0),
    ]
    assert [one.is_best for one in found] == [True, True, False]
    assert found[0].measures == {"valid_share": 5}
    assert (ends.epoch, ends.step, ends.best, ends.best_epoch) == (3, 15, 3.0, 2)
    assert ends.outcome == "all epochs"
    assert notes.told[0] is begins
    assert notes.told[-1] is ends
    with pytest.raises(FrozenInstanceError):
        begins.epochs = 4


def test_each_way_to_end_is_told(tmp_path: Path) -> None:
    def outcome(line: Line, **given: Any) -> str:
        notes = Notes()
        with suppress(ConfigError, KeyboardInterrupt, Interrupted):
            train(line, callbacks=[notes], **given)
        (ends,) = notes.of(RunEnds)
        return ends.outcome

    assert outcome(Line(replace(CONFIG, patience=1), goals=(2.0, 1.0, 3.0))) == "early stop"
    assert outcome(Line(bad=(7,))) == "failed"
    pressed = Line()
    pressed.counted = lambda _: signal.raise_signal(signal.SIGINT)  # type: ignore[method-assign]
    assert outcome(pressed) == "interrupted"
    first, second = Line(), Line()
    assert outcome(first, run=first.folder(tmp_path), on_step=stop_at(7)) == "failed"
    closed = {"run": second.folder(tmp_path), "resume": True, "stop_now": True}
    assert outcome(second, **closed) == "closed"


class Pauses(Notes):
    """Asks for a pause after a step."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.step = step

    def on_step(self, step: StepDone) -> None:
        self.pauses = step.step >= self.step


@pytest.mark.parametrize(("step", "measured"), [(3, [3]), (5, [5]), (7, [5, 7]), (15, [5, 10, 15])])
def test_a_pause_is_measured_and_goes_on_with_the_same_bits(
    tmp_path: Path, step: int, measured: list[int]
) -> None:
    whole, cut, on = Line(), Line(), Line()
    train(whole)
    pauses, notes = Pauses(step), Notes()
    at = train(cut, cut.folder(tmp_path), callbacks=[pauses])
    assert at.steps == step
    assert [one.step for one in pauses.of(ValidationDone)] == measured
    assert pauses.of(RunEnds)[0].outcome == ("all epochs" if step == 15 else "paused")
    train(on, on.folder(tmp_path), resume=True, callbacks=[notes])
    assert notes.of(RunEnds)[0].outcome == "all epochs"
    for mine, theirs in zip(on.model.parameters(), whole.model.parameters(), strict=True):
        assert mine.equal(theirs)


def test_a_pause_uses_up_no_patience(tmp_path: Path) -> None:
    config, outcomes = replace(CONFIG, patience=1), []
    for step in (2, 4, 6, 20):
        line = Line(config, goals=(3.0,) if step == 2 else (1.0, 1.0))
        pauses = Pauses(step)
        train(line, line.folder(tmp_path), resume=step > 2, callbacks=[pauses])
        outcomes.append((pauses.of(RunEnds)[0].step, pauses.of(RunEnds)[0].outcome))
    # The first whole epoch that is no better ends it.
    assert outcomes[:2] == [(2, "paused"), (4, "paused")]
    assert outcomes[2:] == [(5, "early stop"), (5, "early stop")]


def test_a_resumed_run_says_from_where(tmp_path: Path) -> None:
    first, second, notes = Line(), Line(), Notes()
    with pytest.raises(Interrupted):
        train(first, first.folder(tmp_path), on_step=stop_at(8))
    train(second, second.folder(tmp_path), resume=True, callbacks=[notes])
    assert notes.of(RunBegins)[0].step == 8
    assert [one.step for one in notes.of(StepDone)] == list(range(9, 16))


def test_one_method_is_enough_and_an_error_ends_the_run() -> None:
    class Brief(Callback):
        def on_step(self, step: StepDone) -> None:
            raise OSError("no more")

    with pytest.raises(OSError, match="no more"):
        train(Line(), callbacks=[Brief()])


def test_only_those_that_were_told_of_the_beginning_are_told_of_the_end() -> None:
    class Refusing(Callback):
        def on_begin(self, run: RunBegins) -> None:
            raise OSError("no place")

    before, after = Notes(), Notes()
    with pytest.raises(OSError, match="no place"):
        train(Line(), callbacks=[before, Refusing(), after])
    assert [len(one.of(RunEnds)) for one in (before, after)] == [1, 0]


@pytest.fixture(autouse=True)
def _handler() -> Iterator[None]:
    yield
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_what_was_asked_is_written_once_a_run_begins(tmp_path: Path) -> None:
    noted = WritesDown(tmp_path / "asked.json", "{}\n")
    line = Line()
    train(line, line.folder(tmp_path / "run"), callbacks=[noted])
    assert (tmp_path / "asked.json").read_text() == "{}\n"
    (tmp_path / "asked.json").unlink()
    with pytest.raises(ConfigError, match="already holds a run"):
        train(line, line.folder(tmp_path / "run"), callbacks=[noted])
    assert not (tmp_path / "asked.json").exists()


Call = tuple[Any, ...]


@pytest.fixture
def board(monkeypatch: pytest.MonkeyPatch) -> list[Call]:
    """The calls of a SummaryWriter."""
    calls: list[Call] = []

    class SummaryWriter:
        def __init__(self, folder: str, purge_step: int | None) -> None:
            calls.append(("open", folder, purge_step))

        def add_scalar(self, name: str, value: float, step: int) -> None:
            calls.append((name, value, step))

        def flush(self) -> None:
            calls.append(("flush",))

        def close(self) -> None:
            calls.append(("close",))

    module: Any = ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = SummaryWriter
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    return calls


@pytest.fixture
def flow(monkeypatch: pytest.MonkeyPatch) -> list[Call]:
    """The calls of mlflow."""
    calls: list[Call] = []
    module: Any = ModuleType("mlflow")
    module.active_run = lambda: None
    module.start_run = lambda run_name, nested: calls.append(("start", run_name, nested))
    module.log_params = lambda values: calls.append(("params", values))
    module.log_metrics = lambda values, step: calls.append(("metrics", values, step))
    module.end_run = lambda status: calls.append(("end", status))
    monkeypatch.setitem(sys.modules, "mlflow", module)
    return calls


def test_tensorboard_gets_losses_rates_and_measures(board: list[Call], tmp_path: Path) -> None:
    line = Line(goals=(1.0, 3.0, 2.0))
    (tracker,) = trackers(["tensorboard", "tensorboard"], tmp_path / "out")
    train(line, line.folder(tmp_path / "din"), callbacks=[tracker])
    assert board[0] == ("open", str(tmp_path / "out" / "tensorboard" / "din"), None)
    assert board[-1] == ("close",)
    assert [call[2] for call in board if call[0] == "train/loss"] == list(range(1, 16))
    assert ("train/learning_rate", 0.1, 1) in board
    assert [call for call in board if call[0] == "valid/share"] == [
        ("valid/share", 5.0, 5),
        ("valid/share", 10.0, 10),
        ("valid/share", 15.0, 15),
    ]


def test_steps_that_a_resumed_run_takes_again_are_hidden(board: list[Call]) -> None:
    tracker = TensorBoard("there")
    tracker.on_begin(RunBegins("din", None, {}, 3, step=40))
    assert board == [("open", "there/din", 41)]


def test_mlflow_gets_settings_losses_and_measures(flow: list[Call], tmp_path: Path) -> None:
    line = Line(goals=(1.0, 3.0, 2.0), fit={"rate": 0.5, "deep": {"er": True}})
    train(line, line.folder(tmp_path / "din"), callbacks=[MLflow(every=5)])
    assert flow[0] == ("start", "din", False)
    (params,) = (call[1] for call in flow if call[0] == "params")
    assert params == {"data_hash": "x", "fit.rate": "0.5", "fit.deep.er": "True", "from_step": "0"}
    losses = [call[2] for call in flow if call[0] == "metrics" and "train_loss" in call[1]]
    assert losses == [5, 10, 15]
    assert ("metrics", {"valid_share": 10.0}, 10) in flow
    assert flow[-1] == ("end", "FINISHED")


def test_mlflow_takes_no_at_and_no_text(flow: list[Call]) -> None:
    measures = {"valid_ndcg@10": 0.5, "time": "now", "flag": True}
    MLflow().on_validation(ValidationDone(1, 3, "goal", 0.5, 0.5, measures, True, False))
    assert flow == [("metrics", {"valid_ndcg_at_10": 0.5}, 3)]


@pytest.mark.parametrize(
    ("outcome", "status"),
    [("interrupted", "KILLED"), ("failed", "FAILED"), ("early stop", "FINISHED")],
)
def test_mlflow_knows_how_a_run_ended(flow: list[Call], outcome: Any, status: str) -> None:
    MLflow().on_end(RunEnds(1, 3, None, 0, outcome))
    assert flow == [("end", status)]


@pytest.mark.parametrize(
    ("name", "module"), [("tensorboard", "torch.utils.tensorboard"), ("mlflow", "mlflow")]
)
def test_a_missing_extra_is_named_before_anything_begins(
    name: Any, module: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=rf"pip install 'adwright\[{name}\]'"):
        trackers([name], tmp_path)
    assert trackers([], tmp_path) == ()


@pytest.mark.parametrize("name", ["tensorboard", "mlflow"])
def test_the_real_ones_take_it(name: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip(name)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'flow.db'}")
    line = Line()
    train(line, line.folder(tmp_path / "din"), callbacks=trackers([name], tmp_path))
    written = tmp_path / ("tensorboard" if name == "tensorboard" else "flow.db")
    assert written.exists()


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err.splitlines()


def test_each_validation_is_a_line(capsys: pytest.CaptureFixture[str], clock: FixedClock) -> None:
    class Slow(Line):
        def counted(self, found: StepLoss) -> None:
            clock.advance(6)

    train(Slow(replace(CONFIG, epochs=9, patience=2), goals=(0.5, 2.0, 1.0, 1.5)), clock=clock)
    told = [line for line in lines(capsys) if ", step " in line]
    assert told == [
        "epoch 1/9, step 5: goal 0.5000, the best so far; at most 4 min left",
        "epoch 2/9, step 10: goal 2.0000, the best so far; at most 4 min left",
        "epoch 3/9, step 15: goal 1.0000, best 2.0000 in epoch 2 (1 of 2 without a better one); "
        "at most 3 min left",
        "epoch 4/9, step 20: goal 1.5000, best 2.0000 in epoch 2; stops after 2 validations "
        "without a better one",
    ]


def test_the_line_of_an_epoch_has_the_loss_and_the_last_measure(
    capsys: pytest.CaptureFixture[str],
) -> None:
    train(Line(replace(CONFIG, epochs=2), goals=(0.5, 0.75)))
    first, second = (line for line in lines(capsys) if "batches in" in line)
    assert first.startswith("epoch 1/2: 5 batches in")
    assert ", loss " in first
    assert "goal" not in first
    assert second.endswith("goal 0.5000")


def test_without_a_goal_nothing_is_compared(capsys: pytest.CaptureFixture[str]) -> None:
    train(Line(goals=(None, None, None)))
    assert not [line for line in lines(capsys) if ", step " in line]


def test_long_epochs_speak_in_between(
    capsys: pytest.CaptureFixture[str], clock: FixedClock
) -> None:
    class Slow(Line):
        def counted(self, found: StepLoss) -> None:
            clock.advance(15)

    train(Slow(replace(CONFIG, epochs=1)), clock=clock)
    told = [line for line in lines(capsys) if "left" in line]
    assert [line.split(",")[0] for line in told] == [
        f"epoch 1/1: {n}/5 batches ({n * 20}%)" for n in (1, 2, 3, 4)
    ]
    assert all("loss" in line for line in told)


def test_what_is_closed_and_what_goes_on_for_longer_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = Line(fit={"epochs": 3})
    with pytest.raises(Interrupted):
        train(first, first.folder(tmp_path), on_step=stop_at(7))
    longer = Line(replace(CONFIG, epochs=4), fit={"epochs": 4})
    longer.grows, longer.when_longer = ("fit.epochs",), "; and all the rest"  # type: ignore[misc]
    lines(capsys)
    with pytest.raises(Interrupted):
        train(longer, longer.folder(tmp_path), resume=True, on_step=stop_at(8))
    assert lines(capsys)[0] == (
        "the run goes on for longer: fit.epochs is now 4 and was 3; and all the rest"
    )
    closed = Line(replace(CONFIG, epochs=4), fit={"epochs": 4})
    train(closed, closed.folder(tmp_path), resume=True, stop_now=True)
    assert lines(capsys)[-1] == "closed after step 8: the weights of epoch 1 are kept"


def test_stages_add_up_and_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    clock = FixedClock()
    stages = Stages(clock)
    with caplog.at_level(logging.INFO, "adwright"):
        for _ in range(2):
            with stages.stage("wait"):
                clock.advance(1.5)
    assert stages.seconds == {"wait": 3.0}
    assert [record.getMessage() for record in caplog.records] == ["wait: 1.5 s"] * 2


def test_the_number_holds_until_the_block_ends() -> None:
    before = torch.get_num_threads()
    with torch_threads(before + 1):
        assert torch.get_num_threads() == before + 1
        with torch_threads(0):
            assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


def test_it_is_given_back_after_an_error() -> None:
    before = torch.get_num_threads()

    def fail() -> None:
        with torch_threads(before + 1):
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert torch.get_num_threads() == before
