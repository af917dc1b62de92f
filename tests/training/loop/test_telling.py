"""What a person reads while a run goes on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from adwright.core.clock import FixedClock
from adwright.core.progress import Progress
from adwright.training.loop.loop import Telling, train
from adwright.training.loop.run_folder import RunPosition
from adwright.training.loop.trainee import StepLoss
from tests.training.loop.test_loop import CONFIG, Interrupted, Line, stop_at


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


def test_the_last_epoch_leaves_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    train(Line(replace(CONFIG, epochs=1), goals=(0.5,)))
    assert lines(capsys)[-1] == "epoch 1/1, step 5: goal 0.5000, the best so far"


def test_the_line_of_an_epoch_has_the_loss_and_the_last_measure(
    capsys: pytest.CaptureFixture[str],
) -> None:
    train(Line(replace(CONFIG, epochs=2), goals=(0.5, 0.75)))
    first, second = (line for line in lines(capsys) if "batches in" in line)
    assert first.startswith("epoch 1/2: 5 batches in")
    assert ", loss " in first
    assert "goal" not in first
    assert second.endswith("goal 0.5000")


def test_a_measure_is_named_by_its_trainee(capsys: pytest.CaptureFixture[str]) -> None:
    line = Line(replace(CONFIG, epochs=1), goals=(7.0,))
    line.goal = "valid_share"
    train(line)
    assert "valid_share 5.0000, the best so far" in lines(capsys)[-1]


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


def test_an_epoch_of_which_nothing_is_left_has_no_bar(
    capsys: pytest.CaptureFixture[str], clock: FixedClock
) -> None:
    line = Line()
    telling, at = Telling(line, (), clock), RunPosition(step=5)
    with telling.bar(at, lambda: at) as bar:
        assert isinstance(bar, Progress)
    assert lines(capsys) == []
