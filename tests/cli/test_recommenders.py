from __future__ import annotations

from pathlib import Path

import pytest

from adwright.cli.recommenders import evaluate_recommender, opened_task
from adwright.core.errors import AdwrightError


def test_what_was_decided_for_a_log_is_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        f"u{user},i{(user + step) % 7},{1_700_000_000 + 90_000 * step + user}"
        for user in range(30)
        for step in range(6)
    ]
    log = tmp_path / "log.csv"
    log.write_text("\n".join(["user_id,item_id,time", *rows]) + "\n")
    found = opened_task(str(log), offline=True)
    assert len(found.task.users) == 30
    assert "Default: " in capsys.readouterr().out
    with pytest.raises(AdwrightError, match="artifact"):
        evaluate_recommender(tmp_path, str(log), split="test", draws=10, seed=0)
