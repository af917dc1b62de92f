"""Defaults of two towers and HCN that follow from the task."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from adwright.data.time import MICROSECONDS_PER_DAY
from adwright.training.retrieval.defaults import (
    hcn_defaults,
    hcn_search,
    two_tower_defaults,
    two_tower_search,
)
from adwright.training.retrieval.fit import RetrievalConfig
from adwright.training.search import Defaults
from tests.support.data.small_next_basket import small_task


def test_settings_follow_from_the_visits() -> None:
    task = small_task(people=20, days=12)
    found = two_tower_defaults(task)
    visits = task.visits("train")
    targets = int(np.diff(task.target_offsets)[visits].sum())
    assert found.fit.epochs == 20
    assert found.fit.batch == 1024
    assert found.fit.max_history == 50
    # Everybody comes every day.
    assert found.model.days == (0.0, 10.0, 1.5)
    assert found.model.views == "none"
    text = " ".join(found.why)
    assert f"{len(visits):,} visits with {targets:,} targets" in text
    assert "half-lives of 10 days and 1.5 days" in text
    assert dict(found.model.embedding.widths) == {"item_id": 32, "words": 16}


def test_half_lives_follow_the_gaps_from_a_day_on() -> None:
    task = small_task()
    quick = replace(
        task,
        visit_time=task.visit_time // 1440,
        time=task.time // 1440,
    )
    assert two_tower_defaults(quick).model.days == (0.0, 10.0, 1.5)
    assert hcn_defaults(quick).model.short_days == 5
    seldom = replace(task, visit_time=task.visit_time * 3, time=task.time * 3)
    assert two_tower_defaults(seldom).model.days == (0.0, 30.0, 4.5)
    assert hcn_defaults(seldom).model.short_days == 15
    at_once = replace(task, visit_time=np.zeros_like(task.visit_time))
    assert two_tower_defaults(at_once).model.days == (0.0, 30.0, 5.0)
    assert task.visit_time.max() > MICROSECONDS_PER_DAY


def test_places_stand_for_days_where_there_are_no_times() -> None:
    task = small_task()
    for unit in (MICROSECONDS_PER_DAY, 10**6):
        # Whether they were read as days or as seconds.
        visit = np.arange(len(task.visit_time)) * unit
        places = replace(task, visit_time=visit, time=np.arange(len(task.time)) * unit)
        assert places.timeless
        assert two_tower_defaults(places).model.days == (0.0, 10.0, 1.5)
        assert "half-lives of 10 places and 1.5 places" in two_tower_defaults(places).why
        assert "the short history reaches back 5 places" in hcn_defaults(places).why
    assert not task.timeless


def test_hcn_has_the_same_training() -> None:
    task = small_task()
    assert hcn_defaults(task).fit == two_tower_defaults(task).fit
    assert hcn_defaults(task).model.short_days == 5
    assert "the short history reaches back 5 days" in hcn_defaults(task).why


def _quick(epochs: int = 1) -> RetrievalConfig:
    return RetrievalConfig(epochs=epochs, batch=16, validation_visits=20, k=5)


def test_searches_change_the_defaults(tmp_path: Path) -> None:
    task = small_task()
    towers = two_tower_defaults(task)
    towers = Defaults(replace(towers.model, width=8, hidden=8), _quick(), towers.why)
    found, result = two_tower_search(task, towers, trials=2, folder=tmp_path / "a")
    assert result.goal == "recall@5"
    assert (tmp_path / "a" / "trials.json").exists()
    assert found.why[:-1] == towers.why
    hcn = hcn_defaults(task)
    hcn = Defaults(replace(hcn.model, width=8, hidden=8, interests=2), _quick(), hcn.why)
    assert len(hcn_search(task, hcn, trials=1, folder=tmp_path / "b")[1].trials) == 1
