"""Whether the fine stage of three serves goes by validation visits."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from adwright.delivery.cascade.build import Deployment
from adwright.delivery.cascade.cascade import CascadeConfig
from adwright.delivery.decision import Candidates, Request
from adwright.delivery.funnel.choice import measured_fine
from tests.support.data.small_next_basket import small_task

TASK = small_task(people=20)
IDS = TASK.items.ids
VALID = TASK.visits("valid")


def order_of(request: Request, *, good: bool) -> list[str]:
    """What the visit takes before all else, or after it."""
    visit = int(request.request_id.removeprefix("visit-"))
    taken = TASK.targets[TASK.target_offsets[visit] : TASK.target_offsets[visit + 1]]
    mine = [IDS[code - 1] for code in taken.tolist()]
    rest = [item for item in IDS if item not in mine]
    return [*mine, *rest] if good else [*rest, *mine]


def deployment(monkeypatch: pytest.MonkeyPatch, *, fine: bool, coarse: bool) -> Deployment:
    """One whose orders are good ones or bad ones."""

    def cascade(built: Deployment) -> Any:
        good = coarse if built.fine is None else fine

        def recommend_many(requests: list[Request]) -> list[Candidates]:
            orders = [order_of(request, good=good) for request in requests]
            score = np.arange(len(IDS), 0, -1.0)
            return [Candidates(tuple(one), score, False, "fine") for one in orders]

        return SimpleNamespace(recommend_many=recommend_many)

    monkeypatch.setattr(Deployment, "cascade", cascade)
    any_part = cast("Any", object())
    return Deployment(any_part, any_part, any_part, config=CascadeConfig())


def test_a_fine_stage_that_is_ahead_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    built = deployment(monkeypatch, fine=True, coarse=False)
    found = measured_fine(built, TASK, draws=20)
    assert found.deployment is built
    assert found.ahead is not None
    assert found.ahead.low > 0
    assert "the fine stage serves" in found.why
    assert f"{len(VALID):,} validation visits" in found.why


@pytest.mark.parametrize("coarse", [True, False])
def test_one_that_is_behind_or_level_is_left_out(
    monkeypatch: pytest.MonkeyPatch, coarse: bool
) -> None:
    built = deployment(monkeypatch, fine=False, coarse=coarse)
    found = measured_fine(built, TASK, draws=20)
    assert found.deployment.fine is None
    assert found.deployment.coarse is built.coarse
    assert "is left out" in found.why
    assert found.ahead is not None
    assert (found.ahead.value < 0) == coarse


def test_the_distance_is_that_of_a_slow_count(monkeypatch: pytest.MonkeyPatch) -> None:
    built = deployment(monkeypatch, fine=True, coarse=False)
    found = measured_fine(built, TASK, draws=20)
    gain = []
    for visit in VALID.tolist():
        size = int(TASK.target_offsets[visit + 1] - TASK.target_offsets[visit])
        last = np.arange(len(IDS) - size + 1, len(IDS) + 1)
        discount = 1 / np.log2(np.arange(2, size + 2))
        gain.append(1 - (1 / np.log2(last + 1))[last <= 10].sum() / discount[:10].sum())
    assert found.ahead is not None
    assert found.ahead.value == pytest.approx(np.mean(gain))


def test_fewer_visits_may_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    built = deployment(monkeypatch, fine=True, coarse=False)
    whys = [measured_fine(built, TASK, most=5, draws=20, seed=seed).why for seed in (0, 1)]
    assert all("on 5 validation visits" in why for why in whys)
    draws = [measured_fine(built, TASK, draws=n).ahead for n in (2, 200)]
    assert draws[0] != draws[1]


def test_where_nothing_can_be_measured_nothing_changes(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    built = deployment(monkeypatch, fine=True, coarse=False)
    without = replace(built, fine=None)
    assert measured_fine(without, TASK).deployment is without
    assert not caplog.text
    empty = replace(TASK, split=np.zeros_like(TASK.split))
    found = measured_fine(built, empty)
    assert (found.deployment, found.ahead) == (built, None)
    assert "serves unmeasured" in caplog.text
