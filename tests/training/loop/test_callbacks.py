"""What callbacks are told."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from adwright.core.errors import ConfigError
from adwright.training.loop.callbacks import (
    Callback,
    RunBegins,
    RunEnds,
    StepDone,
    ValidationDone,
    WritesDown,
)
from adwright.training.loop.loop import train
from adwright.training.loop.run_folder import RunPosition
from adwright.training.loop.trainee import StepLoss
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


def test_the_loss_is_the_mean_of_the_step() -> None:
    class Fixed(Line):
        def gradients(self, batch: Tensor, at: RunPosition) -> StepLoss:
            return replace(super().gradients(batch, at), loss=6.0, count=4)

    notes = Notes()
    train(Fixed(replace(CONFIG, epochs=1)), callbacks=[notes])
    assert {one.loss for one in notes.of(StepDone)} == {1.5}


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
