from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from adwright.core.errors import ConfigError, ResourceError, ResumeError
from adwright.training.run_settings import (
    begun_runs,
    check_ranges,
    check_run_settings,
    require_free,
    require_writable,
    seeded,
)


@pytest.mark.parametrize("wrong", [{"draws": 0}, {"threads": -1}, {"fit_seed": 1}])
def test_what_is_out_of_range_is_named(wrong: dict[str, int]) -> None:
    right = {"draws": 1, "threads": 0, "fit_seed": 0}
    check_run_settings(**right)
    (name,) = wrong
    with pytest.raises(ConfigError, match=name.replace("_", r"\.")):
        check_run_settings(**right | wrong)


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


def test_the_types_come_first() -> None:
    with pytest.raises(ConfigError, match="epochs is a whole number, not '3'"):
        check_ranges(Numbers("3"), counts=("epochs",))  # type: ignore[arg-type]
