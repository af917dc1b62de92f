"""How far a run is."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from adwright.training.loop.run_folder import RunPosition


def test_steps_validations_and_epochs_are_counted() -> None:
    at = RunPosition().after(3.0, 10).after(5.0, 10)
    assert (at.step, at.steps, at.mean_loss) == (2, 2, 0.4)
    better = at.validated(0.7, {"goal": 0.7}, better=True)
    assert (better.best, better.best_epoch, better.best_step) == (0.7, 1, 2)
    assert (better.loss_count, better.worse, better.records) == (0, 0, ({"goal": 0.7},))
    worse = better.next_epoch().after(1.0, 1).validated(0.6, {"goal": 0.6}, better=False)
    assert (worse.best, worse.best_epoch, worse.worse, len(worse.records)) == (0.7, 1, 1, 2)
    assert (worse.epoch, worse.step, worse.steps) == (1, 1, 3)
    assert RunPosition().mean_loss == 0


def test_a_position_comes_back_from_plain_values() -> None:
    at = RunPosition(epoch=2, steps=9, best=0.5, records=({"a": 1},))
    plain = {**asdict(at), "records": [{"a": 1}]}
    assert RunPosition.from_plain(plain) == at
    with pytest.raises(TypeError):
        RunPosition.from_plain({**plain, "later": 1})


def test_checkpoints_of_the_last_release_are_understood() -> None:
    """As the trainers of rankers, retrievers and adapters each wrote them."""
    ranker = {
        "position": {"epoch": 1, "window": 2, "batch": 3},
        **{"batches": 7, "rows": 70, "loss_sum": 0.5, "loss_rows": 10, "best_gauc": 0.6},
        **{"best_epoch": 1, "worse": 1, "records": [{"valid_gauc": 0.6}], "curve": [[3, 0.5]]},
    }
    names = {"batches": "steps", "loss_rows": "loss_count", "best_gauc": "best"}
    at, own = RunPosition.from_last_release(ranker, names)
    assert at == RunPosition(
        epoch=1,
        steps=7,
        loss_sum=0.5,
        loss_count=10,
        best=0.6,
        best_epoch=1,
        worse=1,
        records=({"valid_gauc": 0.6},),
    )
    assert own == {"position": ranker["position"], "rows": 70, "curve": [[3, 0.5]]}
    retriever = {"epoch": 1, "step": 2, "steps": 12, "pairs": 5, "records": []}
    at, own = RunPosition.from_last_release(retriever, {"pairs": "loss_count"})
    assert (at, own) == (RunPosition(epoch=1, step=2, steps=12, loss_count=5), {})
    adapter = {"step": 4, "answers": 9, "tokens": 99, "seconds": 1.5, "failed": "", "records": []}
    at, own = RunPosition.from_last_release(adapter, {"step": "steps", "answers": "loss_count"})
    assert at == RunPosition(steps=4, loss_count=9)
    assert own == {"tokens": 99, "seconds": 1.5, "failed": ""}
