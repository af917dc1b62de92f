"""Where the files of an app lie, and what words of options mean."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from adwright.cli.agent.options import AppFiles, ModelChoice, name_values, new_run_folder
from adwright.core.clock import FixedClock
from adwright.core.errors import ConfigError, ResourceError


def test_files_lie_beside_the_document() -> None:
    files = AppFiles(Path("a/shop.txt"))
    assert files.policy_path == Path("a/shop.policy.toml")
    assert files.caps_path == Path("a/shop.caps.json")
    assert files.records_path == Path("a/shop.records")
    own = AppFiles(Path("a/shop.txt"), Path("b/p.toml"), Path("c"), Path("d"))
    assert (own.policy_path, own.caps_path) == (Path("b/p.toml"), Path("b/p.caps.json"))
    assert own.records_path == Path("d")


def test_a_run_has_a_folder_of_its_own(tmp_path: Path) -> None:
    clock = FixedClock(datetime(2026, 1, 5, 10, 15, tzinfo=UTC))
    assert new_run_folder(None, clock) == Path("runs/agent/20260105-101500-000000")
    assert new_run_folder(tmp_path, clock) == tmp_path
    (tmp_path / "trace.jsonl").touch()
    with pytest.raises(ResourceError, match="a run already"):
        new_run_folder(tmp_path, clock)


def test_pairs_keep_what_stands_behind_the_sign() -> None:
    assert name_values(["a=b=c", "d="], "replay") == {"a": "b=c", "d": ""}
    assert name_values(None, "replay") == {}
    with pytest.raises(ConfigError, match="NAME=VALUE") as caught:
        name_values(["=hunter22"], "replay")
    assert "hunter22" not in str(caught.value)


def test_no_model_and_one_is_a_contradiction() -> None:
    assert ModelChoice().opener is not None
    with pytest.raises(ConfigError, match="one is named"):
        ModelChoice(none=True, adapter="a")
    with pytest.raises(ConfigError, match="one is named"):
        ModelChoice(none=True, writer="w")
    with pytest.raises(ConfigError, match="its own adapter"):
        ModelChoice(url="http://127.0.0.1:9/v1", writer="w")
