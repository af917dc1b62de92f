from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from adwright.core.clock import FixedClock
from adwright.core.errors import ConfigError, ResourceError, ResumeError
from adwright.training.search import (
    SearchResult,
    Settings,
    begun_runs,
    check_ranges,
    draw_settings,
    near_power_of_two,
    require_free,
    require_writable,
    search,
    seeded,
    within,
)


@pytest.mark.parametrize(("value", "found"), [(0, 2), (2.0, 2), (2.1, 3), (9, 8), (1e12, 8)])
def test_within_rounds_up_and_keeps_the_bounds(value: float, found: int) -> None:
    assert within(value, 2, 8) == found


@pytest.mark.parametrize(("value", "found"), [(1, 16), (16, 16), (17, 32), (100, 128), (999, 512)])
def test_powers_of_two(value: float, found: int) -> None:
    assert near_power_of_two(value, 16, 512) == found


@dataclass(frozen=True)
class Numbers:
    """One field of each kind."""

    epochs: int = 1
    rate: float = 0.1
    decay: float = 0.0


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"rate": 0.0}, "rate must be positive"),
        ({"rate": math.nan}, "rate must be positive"),
        ({"rate": math.inf}, "rate must be positive"),
        ({"decay": -0.1}, "decay must not be negative"),
        ({"decay": math.inf}, "decay must not be negative"),
    ],
)
def test_ranges_are_checked_field_by_field(wrong: dict[str, float], message: str) -> None:
    names = {"counts": ("epochs",), "positive": ("rate",), "not_negative": ("decay",)}
    check_ranges(Numbers(), **names)
    with pytest.raises(ConfigError, match=message):
        check_ranges(Numbers(**wrong), **names)  # type: ignore[arg-type]
    # Fields that are not named are not looked at.
    check_ranges(Numbers(**wrong))  # type: ignore[arg-type]


def test_a_folder_that_is_there_is_not_replaced(tmp_path: Path) -> None:
    require_free(tmp_path / "new", "a model")
    with pytest.raises(ResourceError, match="already holds a model") as caught:
        require_free(tmp_path, "a model")
    assert caught.value.where == str(tmp_path)


def test_first_weights_depend_on_the_seed_alone() -> None:
    torch.manual_seed(7)
    before = torch.get_rng_state()
    one, same, other = (seeded(seed, lambda: torch.rand(3)) for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_folders_that_cannot_be_written_are_refused(tmp_path: Path) -> None:
    require_writable(tmp_path / "new" / "folder")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    for folder in (Path("/proc/x/y"), tmp_path / "file", tmp_path / "file" / "x"):
        with pytest.raises(ResourceError, match="choose another") as caught:
            require_writable(folder)
        assert str(folder) in str(caught.value)


def test_what_is_taken_up(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folders = {"DIN": tmp_path / "din", "Base": tmp_path / "base"}
    assert begun_runs(folders, resume=False, stop_now=False) == set()
    assert not caplog.text
    assert begun_runs(folders, resume=True, stop_now=False) == set()
    assert f"nothing to resume in {tmp_path / 'din'}" in caplog.text
    with pytest.raises(ResumeError, match="no run to close"):
        begun_runs(folders, resume=True, stop_now=True)
    (tmp_path / "din").mkdir()
    (tmp_path / "din" / "config.json").touch()
    caplog.clear()
    assert begun_runs(folders, resume=True, stop_now=False) == {"DIN"}
    assert not caplog.text
    assert begun_runs(folders, resume=True, stop_now=True) == {"DIN"}
    assert "Base was not begun" in caplog.text


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
