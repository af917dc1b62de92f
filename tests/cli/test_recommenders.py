from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from adwright.cli import app
from adwright.cli.ranker import evaluate_recommender, opened_task
from adwright.core.errors import AdwrightError
from adwright.metrics.reports.report import RankingComparison


def test_what_was_decided_for_a_log_is_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = opened_task(str(written(tmp_path / "log.csv", 6)), offline=True)
    assert len(found.task.users) == 30
    assert "Default: " in capsys.readouterr().out
    with pytest.raises(AdwrightError, match="no model here"):
        evaluate_recommender(tmp_path, "log.csv", split="test", draws=10, seed=0)


def written(log: Path, steps: int) -> Path:
    """A log in which each of thirty people takes so many things."""
    rows = [
        f"u{user},i{(user + step) % 7 if step < 6 else 'new'},"
        f"{1_700_000_000 + 90_000 * step + user}"
        for user in range(30)
        for step in range(steps)
    ]
    log.write_text("\n".join(["user_id,item_id,time", *rows]) + "\n")
    return log


@pytest.mark.parametrize(
    "train", [("item-item",), ("popularity",), ("two-tower", "--epochs", "1"), ("cascade",)]
)
def test_a_model_is_judged_by_what_it_has_not_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, train: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    written(tmp_path / "log.csv", 6)
    written(tmp_path / "newer.csv", 7)
    more = ("--minutes", "0") if train == ("cascade",) else ()
    run("train", train[0], "log.csv", *train[1:], *more, "--out", "a")
    assert "before anything was fitted to that" in run("evaluate", "a", "--out", "told.json")
    assert (tmp_path / "told.json").read_text() == (tmp_path / "a" / "report.json").read_text()
    if train[0] in ("item-item", "popularity"):
        text = run("evaluate", "a", "--log", "log.csv", code=2)
        assert "seen" in text
        assert "without --log" in text
    text = run("evaluate", "a", "--log", "newer.csv", "--out", "newer.json")
    assert "of 1 items that the model does not know, and count as misses" in text
    assert "of 30 users after 2023-11-" in text
    assert RankingComparison.from_json((tmp_path / "newer.json").read_text()).reports
    run("publish", "a", "--tenant", "shop", "--no-histories")
    assert "there is no report of the run" in run("evaluate", "models/shop/v1", code=2)
    assert "of 30 users after" in run("evaluate", "models/shop/v1", "--log", "newer.csv")
    assert "leave it out" in run("evaluate", "a", "--log", "newer.csv", "--split", "valid", code=2)


def run(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["--quiet", *arguments])
    assert result.exit_code == code, result.output
    return result.output
