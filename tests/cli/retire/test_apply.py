"""Where the events of a list go; the way through is in test_app.py."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from adwright.cli import app
from tests.support.data.small_stop_list import small_stop_list


def test_units_that_share_an_item_are_held_back_and_said(tmp_path: Path) -> None:
    rows = [
        ("u1", "tea", None, "stop"),
        ("u2", "jam", "c2", "stop"),
        ("u3", "tea", None, "keep"),
    ]
    small_stop_list(rows).save(tmp_path / "list")
    out = tmp_path / "stops.jsonl"
    said = CliRunner().invoke(
        app, ["retire", "apply", f"{tmp_path / 'list'}", "--events", f"{out}"]
    )
    assert said.exit_code == 0, said.output
    assert "held back: 1 units" in said.output
    assert [json.loads(line)["item_id"] for line in out.read_text().splitlines()] == ["jam"]
