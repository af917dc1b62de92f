"""Variables come back to what they were."""

from __future__ import annotations

import os

import pytest

from adwright.core.environment import environment


def test_the_environment_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_NAME_THAT_IS_SET", "old")
    with environment({"A_NAME_THAT_IS_SET": "new", "ANOTHER_NAME": "new"}):
        assert os.environ["A_NAME_THAT_IS_SET"] == "old"
        assert os.environ["ANOTHER_NAME"] == "new"
    assert "ANOTHER_NAME" not in os.environ
