"""Trainings without pictures, which take seconds each."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from adwright.training.loop.run_folder import RunFolder


@pytest.fixture(scope="package", autouse=True)
def _no_pictures() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunFolder, "draw", lambda *_: None)
        yield
