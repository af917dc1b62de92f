"""adwright agent policy."""

from __future__ import annotations

from pathlib import Path

from adwright.agent.operate.policy_file import load_policy
from tests.support.commands import call


def test_an_example_is_a_policy_that_can_be_checked(tmp_path: Path) -> None:
    text = call("agent", "policy", "--example", "http://127.0.0.1:8000/dashboard/?a=1")
    path = tmp_path / "a.toml"
    path.write_text(text, "utf-8")
    assert load_policy(path).reach.origins == ("http://127.0.0.1:8000",)
    said = call("agent", "policy", path)
    assert "commit, message, spend, destructive, unknown" in said
    assert "refused" in said
    path.write_text(text.replace("bulk = 5", "bulks = 5"), "utf-8")
    said = call("agent", "policy", path, code=2)
    assert "confirm.bulks" in said
    assert "did you mean bulk?" in said


def test_one_of_both_is_asked_for(tmp_path: Path) -> None:
    assert "give one" in call("agent", "policy", code=2)
    assert "give one" in call("agent", "policy", "a", "--example", "http://h", code=2)
    assert "is no origin" in call("agent", "policy", "--example", "ftp://h", code=2)
