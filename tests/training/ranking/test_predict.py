from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor, nn

from adwright.core.errors import ValueInvalidError
from adwright.data.batches.stream import StreamConfig
from adwright.data.tasks.task import Task, write_task
from adwright.models.ranking.din import DIN
from adwright.training.ranking.predict import open_stream, predict, predict_batches


def test_rows_come_in_file_order(task: Task, make_din: Callable[..., DIN]) -> None:
    model = make_din(task)
    found = predict(model, task, "valid")
    rows = task.rows("valid").collect()
    assert found.label.tolist() == rows["label"].to_list()
    # One code a person, in the order of the file.
    codes = {user: code for code, user in enumerate(rows["user_id"].unique().sort())}
    assert found.user.tolist() == [codes[user] for user in rows["user_id"]]
    assert found.probability.dtype == np.float64
    assert ((found.probability > 0) & (found.probability < 1)).all()


def test_equals_one_batch_a_person(task: Task, make_din: Callable[..., DIN]) -> None:
    model = make_din(task).eval()
    found = predict(model, task, "valid")
    config = StreamConfig(groups_per_batch=1, rows_per_group=1, window=3, shuffle=False)
    slow = np.full(len(found.label), np.nan)
    with torch.no_grad():
        for batch, _ in open_stream(task, "valid", config).epoch():
            slow[batch.row.numpy()] = torch.sigmoid(model(batch).double()).numpy()
    assert np.allclose(found.probability, slow, atol=1e-6)


def test_max_history_changes_scores(task: Task, make_din: Callable[..., DIN]) -> None:
    model = make_din(task)
    whole = predict(model, task, "valid").probability
    assert not np.allclose(whole, predict(model, task, "valid", max_history=1).probability)
    assert np.array_equal(whole, predict(model, task, "valid", max_history=10**6).probability)


def test_divided_is_the_same_in_one_process(task: Task, make_din: Callable[..., DIN]) -> None:
    model = make_din(task)
    whole, divided = (predict(model, task, "test", divided=flag) for flag in (False, True))
    assert np.array_equal(whole.probability, divided.probability)


@pytest.mark.parametrize("training", [True, False])
def test_the_model_keeps_its_mode(task: Task, make_din: Callable[..., DIN], training: bool) -> None:
    model = make_din(task).train(training)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    predict(model, task, "valid")
    assert model.training is training
    # Scoring takes nothing into the moving averages of Dice.
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    stream = open_stream(task, "valid", StreamConfig(shuffle=False))
    batches = predict_batches(model, stream)
    next(batches)
    assert not model.training
    batches.close()
    assert model.training is training


class Extreme(nn.Module):
    def forward(self, batch: object) -> Tensor:
        rows: int = len(batch)  # type: ignore[arg-type]
        return torch.full((rows,), -1e5)


def test_extreme_logits_do_not_overflow(task: Task) -> None:
    assert (predict(Extreme(), task, "valid").probability == 0).all()


def test_an_empty_split_is_refused(task: Task, tmp_path: Path) -> None:
    rows = task.rows("train").collect().with_columns(split=pl.lit("train"))
    empty = write_task(
        tmp_path / "no-valid",
        name="tiny",
        protocol="made up",
        data_hash="0" * 64,
        rows=rows.drop("visible", "frequency"),
        events=pl.read_parquet(task.events_path("train")),
        items=task.items,
        features=[replace(f, vocabulary=()) for f in task.spec.features],
    )
    with pytest.raises(ValueInvalidError, match=r"the valid split has no rows.*valid.rows.parquet"):
        predict(Extreme(), empty, "valid")
