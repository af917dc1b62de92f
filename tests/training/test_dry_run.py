"""What a training would do, said without training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from adwright.core.errors import (
    AssetError,
    ConfigError,
    ResourceError,
    ResumeError,
    ValueInvalidError,
)
from adwright.data.sources.log import save_log
from adwright.models.sequential.hstu import SASRecConfig
from adwright.training.dry_run import plan_ranking, plan_sequence
from adwright.training.ranking.config import RunConfig, TaskConfig
from adwright.training.ranking.run import run
from adwright.training.search import seeded
from adwright.training.sequential.fit import SequentialConfig
from adwright.training.sequential.run import run_sequence
from adwright.training.sequential.runfile import SequenceDataConfig, SequenceRun
from tests.broken.cases import contents
from tests.support.data.ranking_task import FIT, MODEL, shop_task, small_log, untrained

EVENTS = "user_id,item_id,time\n" + "".join(
    f"u{n},i{(n + k) % 9},{k}\n" for n in range(8) for k in range(6)
)


def ranking(here: Path, **more: object) -> RunConfig:
    task = TaskConfig(kind="folder", folder=here / "task")
    config = RunConfig(task=task, model=MODEL, fit=FIT, draws=20, out=here / "out")
    return replace(config, **more)  # type: ignore[arg-type]


def sequence(here: Path, **more: object) -> SequenceRun:
    config = SequenceRun(
        data=SequenceDataConfig("events", here / "events.csv"),
        model=SASRecConfig(width=8, heads=2, max_length=16, blocks=1),
        fit=SequentialConfig(epochs=3, batch=4),
        threads=1,
        out=here / "out",
    )
    return replace(config, **more)  # type: ignore[arg-type]


@pytest.fixture
def here(tmp_path: Path) -> Path:
    shop_task(tmp_path / "task", users=8)
    (tmp_path / "events.csv").write_text(EVENTS)
    return tmp_path


def test_a_ranker_is_tried_and_nothing_is_written(here: Path) -> None:
    before = contents(here)
    facts = plan_ranking(ranking(here))
    assert contents(here) == before
    assert facts["trains"] == "DIN, Base"
    assert facts["data"] == str(here / "task")
    assert facts["rows"].startswith("train 1,088 (")
    assert facts["people"] == "train 8, valid 8, test 8"
    assert facts["items"] == "40"
    assert "store (categorical)" in facts["features"]
    task = shop_task(here / "again", users=8)
    size = sum(weight.numel() for weight in seeded(0, lambda: untrained(task)).parameters())
    assert facts["parameters"].startswith(f"DIN {size:,}, Base ")
    assert facts["memory"].endswith(" GB")
    assert "for 1 epochs" in facts["time"]


def test_a_sequence_model_is_tried_and_nothing_is_written(here: Path) -> None:
    before = contents(here)
    facts = plan_sequence(sequence(here))
    assert contents(here) == before
    assert (facts["trains"], facts["people"]) == ("SASRec", "8")
    assert facts["events"] == "48 of 9 items"
    assert facts["own items again"] == "are left out"
    assert "SASRec" in facts["parameters"]
    assert "for 3 epochs" in facts["time"]


def test_what_is_not_there_yet_is_not_fetched(
    here: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ADWRIGHT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("ADWRIGHT_OFFLINE", raising=False)
    for facts in (
        plan_ranking(ranking(here, task=TaskConfig())),
        plan_sequence(sequence(here, data=SequenceDataConfig())),
    ):
        assert "downloaded first (31 MB)" in facts["data"]
        assert "parameters" not in facts
    assert not (tmp_path / "cache").exists()
    with pytest.raises(AssetError):
        plan_ranking(ranking(here, task=TaskConfig(offline=True)))
    monkeypatch.setenv("ADWRIGHT_OFFLINE", "1")
    with pytest.raises(AssetError):
        plan_sequence(sequence(here, data=SequenceDataConfig()))


def test_of_a_log_the_source_is_read(here: Path) -> None:
    save_log(here / "log", small_log())
    before = contents(here)
    facts = plan_ranking(ranking(here, task=TaskConfig(kind="log", folder=here / "log")))
    assert contents(here) == before
    assert "6 people" in facts["data"]
    assert "impression 60" in facts["data"]
    assert "built first" in facts["task"]


def no_positives(here: Path) -> RunConfig:
    path = here / "task" / "task.json"
    text = path.read_text()
    begin = text.index('"positives"', text.index('"valid"'))
    end = text.index(",", begin)
    path.write_text(text[:begin] + '"positives": 0' + text[end:])
    return ranking(here)


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda here: ranking(here, out=Path("/proc/x")), ResourceError),
        (lambda here: ranking(here, out=here / "events.csv"), ResourceError),
        (no_positives, ValueInvalidError),
        (lambda here: sequence(here, out=Path("/proc/x")), ResourceError),
    ],
)
def test_what_the_run_would_refuse_is_refused(
    here: Path, make: Callable[[Path], RunConfig | SequenceRun], error: type[Exception]
) -> None:
    config = make(here)
    plan = plan_ranking if isinstance(config, RunConfig) else plan_sequence
    with pytest.raises(error):
        plan(config)  # type: ignore[arg-type]


def test_a_run_that_is_there_is_resumed_or_replaced(here: Path) -> None:
    config = ranking(here, base=False)
    run(config)
    with pytest.raises(ResourceError, match="holds a ranker"):
        plan_ranking(config)
    assert plan_ranking(config, overwrite=True)
    (here / "out" / "ranker").rename(here / "moved")
    with pytest.raises(ConfigError, match="already holds a run"):
        plan_ranking(config)
    assert plan_ranking(config, resume=True)
    other = replace(config, fit=replace(FIT, learning_rate=0.5))
    with pytest.raises(ResumeError, match="learning_rate was"):
        plan_ranking(other, resume=True)


def test_so_is_that_of_a_sequence_model(here: Path) -> None:
    config = sequence(here, draws=20)
    run_sequence(config)
    (here / "out" / "model").rename(here / "moved")
    with pytest.raises(ConfigError, match="already holds a run"):
        plan_sequence(config)
    longer = replace(config, fit=replace(config.fit, epochs=4))
    assert plan_sequence(longer, resume=True)
    other = replace(config, fit=replace(config.fit, batch=2))
    with pytest.raises(ResumeError, match=r"fit.batch was 4 and is now 2"):
        plan_sequence(other, resume=True)
