"""TensorBoard and MLflow: the glue to them, with modules in their place; the real ones where they
are installed."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from adwright.core.errors import MissingExtraError
from adwright.training.loop.callbacks import (
    MLflow,
    RunBegins,
    RunEnds,
    TensorBoard,
    ValidationDone,
    trackers,
)
from adwright.training.loop.loop import train
from tests.training.loop.test_loop import Line

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
    assert params == {
        "data_hash": "x",
        "fit.rate": "0.5",
        "fit.deep.er": "True",
        "from_step": "0",
    }
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
