from __future__ import annotations

import importlib
import importlib.util

import pytest

import adwright.campaigns
from adwright.core.errors import MissingExtraError


@pytest.mark.parametrize("name", ["sqlalchemy", "alembic"])
def test_without_the_extra_the_room_says_what_to_install(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda asked: None if asked == name else found(asked)
    )
    with pytest.raises(MissingExtraError, match=r"adwright\[service\]"):
        importlib.reload(adwright.campaigns)
