"""Successive halving against goals that are known."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from adwright.core.clock import FixedClock
from adwright.core.errors import ConfigError, ResumeError
from adwright.training.search import SearchResult, Settings, draw_settings, search

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


def test_one_trial_is_the_defaults(tmp_path: Path) -> None:
    result = found(tmp_path / "t.json", trials=1)
    assert (result.best.settings, len(result.trials), result.best.epochs) == ({}, 1, 9)


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
