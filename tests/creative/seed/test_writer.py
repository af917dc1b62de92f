"""?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from adwright.core.errors import AdwrightError, ArtifactError, ConfigError, DataError, ResumeError
from adwright.core.journal import append_rows, read_rows
from adwright.creative.records.ad_record import AdRecord
from adwright.creative.records.ads_table import read_ads
from adwright.creative.seed import improve as writer_run
from adwright.creative.seed.improve import rewrite, train_writer
from adwright.creative.seed.rounds import run_seed
from adwright.creative.seed.texts import AdBrief, SeedConfig, SeedData, known_ads
from adwright.creative.seed.writer import TunedWriter, WriterRow, write_ads
from adwright.lm.engine.generation import GenerationConfig, LanguageModel, Usage
from adwright.tuning.reparameterised.lora import LoRA
from tests.support.creative.seed_rounds import CONFIG, WordJudge, seed_data
from tests.support.lm.tiny_llama import save_tiny
from tests.support.writing import Teller

pytest.importorskip("transformers", reason="the extra lm is not installed")


BRIEF = AdBrief("b", brand="tea")
ROWS = [WriterRow(BRIEF.messages(), f"a cup of tea {at}", f"g{at}", "s") for at in range(12)]
ASKED = GenerationConfig(max_tokens=8)


@pytest.fixture(scope="module")
def writer(tmp_path_factory: pytest.TempPathFactory) -> TunedWriter:
    base = save_tiny(tmp_path_factory.mktemp("base") / "model")
    return TunedWriter(str(base), settings={"rank": 2}, batch=4, tokens=200, valid=0.2, rows=8)


def test_it_tunes_and_then_writes_as_tuned(writer: TunedWriter, tmp_path: Path) -> None:
    cost = replace(writer, rate=0.05, epochs=4).tune(ROWS, tmp_path / "a", seed=0)
    assert cost.tokens > 500
    assert not list((tmp_path / "a" / "run").glob("checkpoint-*"))
    assert cost.loss is not None
    assert cost.before is not None
    assert cost.loss < cost.before
    writer.tune(ROWS, tmp_path / "b", seed=1)
    texts = []
    for name in ("a", "b"):
        with writer.opened(tmp_path / name) as model:
            found = model.generate([BRIEF.messages()] * 2, ASKED)
            texts.append(found.texts)
    assert texts[0] != texts[1]


def test_a_tuning_that_ended_is_not_done_again(
    writer: TunedWriter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = writer.tune(ROWS, tmp_path, seed=0)
    monkeypatch.setattr("adwright.training.tuning.run.run_tuning", None)
    assert writer.tune(ROWS, tmp_path, seed=0) == first


def test_a_tuning_that_was_cut_off_goes_on(
    writer: TunedWriter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = writer.tune(ROWS, tmp_path / "whole", seed=0)
    saved = "adwright.tuning.tuned.Tuned.save"
    with monkeypatch.context() as patch:
        patch.setattr(saved, lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            writer.tune(ROWS, tmp_path / "cut", seed=0)
    asked: list[bool] = []
    from adwright.training.tuning import run

    def noting(tuning: Any, *, resume: bool) -> Any:
        asked.append(resume)
        return original(tuning, resume=resume)

    original = run.run_tuning
    monkeypatch.setattr(run, "run_tuning", noting)
    again = writer.tune(ROWS, tmp_path / "cut", seed=0)
    assert asked == [True]
    assert (again.tokens, again.loss) == (whole.tokens, whole.loss)


def test_settings_reach_the_tuning(tmp_path: Path) -> None:
    writer = TunedWriter("m", settings={"rank": 3}, epochs=2, rate=0.1, batch=2, tokens=99)
    asked = replace(writer, valid=0.3, checkpoint_every=7, device="meta").tuning(tmp_path, seed=4)
    assert asked.method == LoRA(rank=3)
    assert (asked.tune.epochs, asked.tune.learning_rate, asked.tune.batch) == (2, 0.1, 2)
    assert (asked.data.max_length, asked.data.valid) == (99, 0.3)
    assert (asked.tune.checkpoint_every, asked.device, asked.seed) == (7, "meta", 4)
    assert asked.data.path == tmp_path / "rows.jsonl"
    assert TunedWriter("m", "IA3", {}, rate=None).name == "m, IA3 (batch 8, epochs 1)"
    assert writer.name == "m, LoRA (batch 2, epochs 2, rank 3, rate 0.1)"


def test_what_cannot_be_tuned_is_refused(writer: TunedWriter, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no rows"):
        writer.tune([], tmp_path, seed=0)
    with pytest.raises(ConfigError):
        TunedWriter("m", "LoRAA").tuning(tmp_path, seed=0)
    with pytest.raises(ConfigError, match="rows"):
        TunedWriter(rows=0)
    with pytest.raises(AdwrightError), writer.opened(tmp_path / "none"):
        pass


def test_a_whole_run_on_a_tiny_model(writer: TunedWriter, tmp_path: Path) -> None:
    """It writes nothing of use; what counts is that all of it goes through, and comes back."""
    config = replace(
        CONFIG, rounds=1, samples=2, measured=1, briefs=4, tokens=12, held_most=3, watch_most=3
    )
    judges = WordJudge("zing"), WordJudge("calm")
    data = seed_data(24, pool=4)
    report = run_seed(config, data, writer, *judges, tmp_path)
    assert (report.end, len(report.rounds)) == ("rounds", 2)
    assert report.after is not None
    assert all(one.tune.loss is not None for one in report.rounds)
    assert sum(one.written for one in report.costs) > 0
    assert (
        run_seed(config, seed_data(24, pool=4), writer, *judges, tmp_path).rounds == report.rounds
    )


BRIEFS = [AdBrief(f"b{at}", brand=f"Brand {at}") for at in range(5)]
ASKED_SAMPLING = replace(CONFIG, batch=2, tokens=40)


def opening(model: Teller) -> Callable[[], contextmanager[LanguageModel]]:  # type: ignore[valid-type]
    @contextmanager
    def opened() -> Iterator[LanguageModel]:
        yield model

    return opened


def echoing() -> Teller:
    return Teller(lambda prompt, call: prompt.splitlines()[1].removeprefix("Brand: ") + " is warm")


def test_each_brief_gets_its_ads_in_batches(tmp_path: Path) -> None:
    model, told = echoing(), list[Usage]()
    found = write_ads(
        BRIEFS, opening(model), ASKED_SAMPLING, tmp_path / "x", samples=3, seed=7, told=told.append
    )
    assert found is not None
    assert [one.brief.id for one in found] == [one.id for one in BRIEFS]
    assert found[3].texts == ("Brand 3 is warm",) * 3
    assert found[3].cut == (False,) * 3
    assert [(count, config.seed) for count, config in model.calls] == [(6, 7), (6, 13), (3, 19)]
    assert {config.temperature for _, config in model.calls} == {ASKED_SAMPLING.temperature}
    assert sum(one.completion_tokens for one in told) == 15 * len("Brand 3 is warm ")


def test_what_has_no_end_is_noted(tmp_path: Path) -> None:
    short = replace(ASKED_SAMPLING, tokens=5)
    found = write_ads(BRIEFS[:1], opening(echoing()), short, tmp_path / "x", samples=1, seed=0)
    assert found is not None
    assert (found[0].texts, found[0].cut) == (("Brand",), (True,))


def test_only_what_is_missing_is_written(tmp_path: Path) -> None:
    """Whole batches stay; a batch that was cut off is asked for again as it was."""
    whole, parts = tmp_path / "a", tmp_path / "b"
    write_ads(BRIEFS, opening(echoing()), ASKED_SAMPLING, whole, samples=2, seed=1)
    parts.write_bytes(b"\n".join(whole.read_bytes().split(b"\n")[:3]) + b"\n{")
    model = echoing()
    found = write_ads(BRIEFS, opening(model), ASKED_SAMPLING, parts, samples=2, seed=1)
    assert [(count, config.seed) for count, config in model.calls] == [(4, 5), (2, 9)]
    assert parts.read_bytes() == whole.read_bytes()
    never = Teller(lambda prompt, call: 1 / 0)  # type: ignore[arg-type, return-value]
    assert write_ads(BRIEFS, opening(never), ASKED_SAMPLING, parts, samples=2, seed=1) == found


def test_a_spent_budget_ends_it_between_batches(tmp_path: Path) -> None:
    lines, calls = tmp_path / "x", list[int]()

    def spent() -> bool:
        calls.append(1)
        return len(calls) > 2

    asked = {"samples": 1, "seed": 0}
    assert (
        write_ads(BRIEFS, opening(echoing()), ASKED_SAMPLING, lines, spent=spent, **asked) is None
    )
    assert len(read_rows(lines, dict)) == 4
    assert write_ads(BRIEFS, opening(echoing()), ASKED_SAMPLING, lines, **asked) is not None


def test_a_file_of_other_briefs_is_refused(tmp_path: Path) -> None:
    lines = tmp_path / "x"
    append_rows(lines, [{"brief": "other", "texts": [], "cut": []}])
    with pytest.raises(ResumeError, match="'other' where 'b0' is due"):
        write_ads(BRIEFS, opening(echoing()), ASKED_SAMPLING, lines, samples=1, seed=0)


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
