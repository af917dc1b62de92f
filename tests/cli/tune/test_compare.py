"""adwright tune compare."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from adwright.cli import app
from adwright.training.tuning.run import TuningReport

NUMBERS: dict[str, Any] = {
    "base": "tiny",
    "trainable": 1_234_567,
    "share": 0.01,
    "steps": 3,
    "tokens": 100,
    "cpu_seconds": 2.0,
    "tokens_per_cpu_second": 50.0,
    "peak_bytes": 1_500_000_000,
    "texts": 9,
    "held": 3,
    "cut": 0,
    "base_nll": 4.5,
    "data_hash": "x",
}


def report_of(method: str, nll: float | None, **settings: Any) -> TuningReport:
    return TuningReport(method=method, settings=settings, valid_nll=nll, **NUMBERS)


def report(folder: Path, method: str, nll: float | None, **settings: Any) -> str:
    """The folder of a run, as before its rate was noted."""
    folder.mkdir(parents=True)
    values = NUMBERS | {"method": method, "settings": settings, "valid_nll": nll}
    (folder / "report.json").write_text(json.dumps(values), "utf-8")
    return str(folder)


def said(*arguments: str, code: int = 0) -> str:
    found = CliRunner().invoke(app, ["tune", "compare", *arguments])
    assert found.exit_code == code, found.output
    return found.output


def test_the_best_is_first_and_names_are_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    long = report(tmp_path / "a-run-with-quite-a-long-name", "ParallelAdapter", 2.5)
    wrapped = report(tmp_path / "loha", "Wrapped", 1.5, kind="loha")
    none = report(tmp_path / "none", "IA3", None)
    picture = tmp_path / "all.svg"
    lines = said(long, wrapped, none, "--picture", str(picture)).splitlines()
    assert [line.split()[:3] for line in lines] == [
        ["run", "method", "trainable"],
        ["loha", "peft:loha", "1,234,567"],
        ["a-run-with-quite-a-long-name", "ParallelAdapter", "1,234,567"],
        ["none", "IA3", "1,234,567"],
    ]
    assert lines[1].split()[3:] == ["1.5000", "4.5000", "50", "2", "1.50"]
    assert lines[3].split()[3] == "-"
    assert "held loss" in picture.read_text("utf-8")


def test_runs_of_one_name_are_told_apart(tmp_path: Path) -> None:
    runs = [report(tmp_path / place / "lora", "LoRA", 1.0) for place in ("here", "there")]
    found = said(*runs)
    assert all(run in found for run in runs)


def test_an_unfinished_folder_is_not_compared(tmp_path: Path) -> None:
    assert "no finished tuning" in said(str(tmp_path), code=2)


@pytest.mark.parametrize(("nll", "worse"), [(5.0, True), (4.0, False), (None, False)])
def test_worse_than_the_base_is_known(nll: float | None, worse: bool) -> None:
    assert report_of("LoRA", nll).worse == worse
