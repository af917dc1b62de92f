from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from adwright.authoring.writer.config import WriteConfig, WriterPrices
from adwright.authoring.writer.exporting import guessed_tokens, rehearse
from adwright.authoring.writer.job import run_job
from adwright.core.errors import AssetError, ConfigError
from adwright.lm.engine.generation import Message
from adwright.lm.open_model import LmSpec
from tests.support.writing import Teller, opened, table_of

CONFIG = WriteConfig(("headline",))


def test_tokens_are_guessed_from_characters() -> None:
    assert guessed_tokens((Message("user", "a" * 40),)) == 15
    assert guessed_tokens((Message("user", "茶" * 30),)) == 25


def test_what_a_job_would_do_is_told(tmp_path: Path) -> None:
    table, writer = table_of(tmp_path, "Tea", "Cup"), LmSpec("teller")
    prices = WriterPrices(prompt=1e6, answer=1e6)
    config = replace(CONFIG, slots=("headline", "title"), prices=prices)
    found = rehearse(table, tmp_path / "out", config, writer)
    assert (found.texts, found.unasked, found.products) == (2, 2, 2)
    assert found.cost == found.prompt_tokens + found.answer_tokens > 100
    assert "query" in found.facts()["would fail"]
    assert not (tmp_path / "out").exists()
    run_job(table, tmp_path / "out", CONFIG, opened(Teller(lambda p, c: "Fresh")))
    after = rehearse(table, tmp_path / "out", CONFIG, writer)
    assert (after.texts, after.same) == (0, 2)
    with pytest.raises(ConfigError, match="another seed"):
        rehearse(table, tmp_path / "out", replace(CONFIG, seed=1), writer)
    with pytest.raises(AssetError, match="no adapter"):
        rehearse(table, tmp_path / "out", CONFIG, LmSpec(adapter=str(tmp_path)))
