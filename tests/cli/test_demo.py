from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from adwright.cli import app
from adwright.cli.demo import show
from adwright.training import demo as training_demo
from adwright.training.demo import DemoConfig, demo
from tests.training.shop import shop_task


def test_options_reach_the_demonstration(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[DemoConfig] = []

    def record(config: DemoConfig) -> None:
        asked.append(config)
        raise SystemExit(0)

    monkeypatch.setattr(training_demo, "demo", record)
    arguments = ["--households", "0.2", "--epochs", "2", "--negative-rate", "0.1", "--seed", "3"]
    CliRunner().invoke(app, ["demo", *arguments, "--max-history", "9", "--offline", "--out", "x"])
    expected = DemoConfig(
        households=0.2,
        epochs=2,
        negative_rate=0.1,
        max_history=9,
        seed=3,
        offline=True,
        out=Path("x"),
    )
    CliRunner().invoke(app, ["demo"])
    assert asked == [expected, DemoConfig()]


def test_what_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    task = shop_task(tmp_path / "task", users=10)
    found = demo(DemoConfig(out=tmp_path / "out", negative_rate=0.5, k=2), task=task)
    show(found)
    text = capsys.readouterr().out
    for name in ("DIN", "Base", "popularity", "frequency", "logistic"):
        assert name in text
    for household in found.households:
        assert f"Household {household.user_id} on" in text
    assert f"The page to read: {found.page}" in text
