"""A job whose model is scripted, and its table."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from adwright.authoring.writer import asking as opening
from adwright.authoring.writer.asking import OpenedWriter
from adwright.authoring.writer.config import WriteConfig
from adwright.authoring.writer.job import run_job
from adwright.authoring.writer.products import read_products
from adwright.lm.open_model import LmSpec
from tests.support.writing import Teller, opened

TABLE = "id,title,colour\np1,Tea,green\np2,Cup,red\n"


@pytest.fixture
def teller(monkeypatch: pytest.MonkeyPatch) -> Teller:
    """What answers in the place of any model."""
    model = Teller(lambda prompt, call: "Fresh cup" if "Title: Cup" in prompt else "Fresh tea")

    @contextmanager
    def open_it(config: LmSpec, *, scores: bool = False) -> Iterator[OpenedWriter]:
        yield opened(model)

    monkeypatch.setattr(opening, "open_writer", open_it)
    return model


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Two products."""
    path = tmp_path / "shop.csv"
    path.write_text(TABLE)
    return path


@pytest.fixture
def job(table: Path, tmp_path: Path) -> Path:
    """A folder with a headline of each."""
    model = Teller(lambda prompt, call: "Fresh cup" if "Title: Cup" in prompt else "Fresh tea")
    run_job(
        read_products(table), tmp_path / "out", WriteConfig(("headline",), by="free"), opened(model)
    )
    return tmp_path / "out"
