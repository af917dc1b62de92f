"""Trainings by command; the way through is in conftest.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.commands import call


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("train", "{}/ads", "--out", "{}/run"), "exists already"),
        (("train", "{}/ads", "--before", "2020-01-01", "--out", "{}/new"), "early"),
        (("train", "{}/ads", "--value", "conversions", "--out", "{}/new"), "none of this value"),
        (("train", "{}/ads", "--currency", "USD", "--out", "{}/new"), "none of this currency"),
    ],
)
def test_mistakes_are_named(
    runs: Path,
    arguments: tuple[str, ...],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    text = call("retire", *(each.format(runs) for each in arguments), code=2)
    assert said in text.replace("\n", " ")
    assert "to do:" in text or "where:" in text
    assert not (runs / "new" / "model").exists()
