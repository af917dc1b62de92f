"""What a folder of a writer keeps; the rounds themselves are tested in seed/."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from adwright.core.errors import ArtifactError, DataError, ResumeError
from adwright.creative.records.ad_record import AdRecord
from adwright.creative.records.ads_table import read_ads
from adwright.creative.seed import improve as writer_run
from adwright.creative.seed.improve import rewrite, train_writer
from adwright.creative.seed.texts import SeedConfig, SeedData, known_ads
from tests.support.lm.tiny_llama import save_tiny

pytest.importorskip("transformers", reason="the extra lm is not installed")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The base: what it reads out of ads is not looked at here."""
    return str(save_tiny(tmp_path_factory.mktemp("base") / "model"))


def data(extra: str = "") -> SeedData:
    records = [AdRecord(brand=f"b{at}", title=f"Taste of number {at}{extra}") for at in range(80)]
    scores = [at / 80 for at in range(80)]
    ids = [str(at) for at in range(80)]
    return SeedData(known_ads(records, ids, "slogan", source="ads", scores=scores))


@pytest.fixture
def stopped(monkeypatch: pytest.MonkeyPatch) -> list[SeedData]:
    """Runs of rounds that end at once, with what they were asked for."""
    asked: list[SeedData] = []

    def run(config: SeedConfig, given: SeedData, *rest: object) -> str:
        asked.append(given)
        return "report"

    monkeypatch.setattr(writer_run, "run_seed", run)
    return asked


def test_a_folder_belongs_to_its_data(tmp_path: Path, stopped: list[SeedData], tiny: str) -> None:
    config = SeedConfig(watch=0.1, held=0.1)
    assert train_writer(data(), "slogan", tmp_path, config, model=tiny) == "report"
    assert train_writer(data(), "slogan", tmp_path, config, model=tiny) == "report"
    assert len(stopped) == 2
    with pytest.raises(ResumeError, match="another data"):
        train_writer(data("!"), "slogan", tmp_path, config, model=tiny)
    with pytest.raises(ResumeError, match="another kind"):
        train_writer(data(), "headline", tmp_path, config, model=tiny)
    with pytest.raises(ResumeError, match="another model"):
        train_writer(data(), "slogan", tmp_path, config)


def test_what_cannot_be_rewritten(tmp_path: Path, stopped: list[SeedData], tiny: str) -> None:
    table = read_ads(pl.DataFrame({"id": ["a"], "title": ["Just tea"]}))
    with pytest.raises(ArtifactError, match="no writer"):
        rewrite(table, tmp_path)
    train_writer(data(), "description", tmp_path, SeedConfig(watch=0.1, held=0.1), model=tiny)
    with pytest.raises(DataError, match="what a description needs"):
        rewrite(table, tmp_path)
