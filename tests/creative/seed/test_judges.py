"""?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from adwright.core.clock import FixedClock
from adwright.core.errors import (
    AdwrightError,
    ArtifactError,
    ConfigError,
    DataError,
    FileUnreadableError,
    ResumeError,
)
from adwright.core.journal import append_rows, read_rows
from adwright.creative.judging import AdJudge
from adwright.creative.records.ad_record import AdRecord, Scene
from adwright.creative.records.ads_table import read_ads
from adwright.creative.records.encoders import HashedText
from adwright.creative.seed import improve as writer_run
from adwright.creative.seed.improve import rewrite, train_writer
from adwright.creative.seed.measures import (
    CostLedger,
    Measured,
    ModelEncoder,
    RidgeJudge,
    best_of,
    best_round,
    compared,
    judged,
    kept_of,
    measure,
    scored,
    should_stop,
    text_of,
    two_judges,
)
from adwright.creative.seed.rounds import run_seed
from adwright.creative.seed.texts import (
    AdBrief,
    AdFilterConfig,
    AdFilters,
    CopyIndex,
    KnownAd,
    SeedBudget,
    SeedConfig,
    SeedData,
    known_ads,
)
from adwright.creative.seed.writer import TunedWriter, WriterRow, WrittenAds, write_ads
from adwright.lm.engine.generation import GenerationConfig, LanguageModel, Usage
from adwright.lm.engine.scripted import ScriptedConfig, ScriptedModel
from adwright.tuning.reparameterised.lora import LoRA
from tests.support.creative.seed_rounds import CONFIG, WordJudge, seed_ads, seed_data
from tests.support.lm.tiny_llama import save_tiny
from tests.support.writing import Teller


class Lengths:
    """Two numbers of a text: its words, and its letters by hundred."""

    name, width = "lengths", 2

    def encode(self, texts: list[str], /) -> NDArray[np.float32]:
        told = [[len(text.split()), len(text) / 100] for text in texts]
        return np.array(told, np.float32).reshape(-1, 2)


def ads_of(texts: list[str], scores: list[float]) -> tuple[KnownAd, ...]:
    records = [AdRecord(brand=f"B{at}", title=text) for at, text in enumerate(texts)]
    ids = [str(at) for at in range(len(texts))]
    return known_ads(records, ids, "slogan", source="j", scores=scores)


def linear(count: int = 60) -> tuple[KnownAd, ...]:
    rng = np.random.default_rng(0)
    words = rng.integers(1, 9, count)
    texts = [" ".join(["ab"] * n) + f" {at}" for at, n in enumerate(words)]
    return ads_of(texts, (words + rng.normal(0, 0.1, count)).tolist())


def test_intervals_cover_as_they_say() -> None:
    rng = np.random.default_rng(1)
    words = rng.integers(1, 30, 3000)
    texts = [" ".join(["ab"] * n) + f" {at}" for at, n in enumerate(words)]
    ads = ads_of(texts, (words + rng.normal(0, 2, 3000)).tolist())
    judge = RidgeJudge(ads[:1000], Lengths(), name="j")
    found = judge.judge([ad.record for ad in ads[1000:]])
    scores = np.array([ad.score for ad in ads[1000:]])
    cover = ((found.low <= scores) & (scores <= found.high)).mean()
    assert abs(cover - 0.9) < 0.03
    assert found.coverage == 0.9
    assert isinstance(judge, AdJudge)


def test_an_ad_far_from_all_is_unlike_them() -> None:
    judge = RidgeJudge(linear(), Lengths(), name="j")
    found = judge.judge([AdRecord(title="ab ab 1"), AdRecord(title="ab " * 300)])
    assert found.unlike.tolist() == [False, True]
    assert len(judge.judge([])) == 0
    assert judge.name == "j (lengths)"


def test_judges_share_no_brand_and_see_none_that_is_held_out() -> None:
    config = SeedConfig(watch=0.2, held=0.3)
    seen: dict[str, list[str]] = {"a": [], "b": []}

    class Noting(HashedText):
        def __init__(self, key: str) -> None:
            super().__init__(64)
            self.name, self.key = f"{self.name}-{key}", key

        def encode(self, texts: list[str]) -> NDArray[np.float32]:  # type: ignore[override]
            seen[self.key] += texts
            return super().encode(texts)

    ads = ads_of([f"slogan {at} of many" for at in range(120)], [float(at) for at in range(120)])
    two_judges(ads, config, Noting("a"), Noting("b"))
    assert not set(seen["a"]) & set(seen["b"])
    assert min(len(seen["a"]), len(seen["b"])) > 15
    assert len(seen["a"]) + len(seen["b"]) < 80
    with pytest.raises(ConfigError, match="one encoder"):
        two_judges(ads, config, HashedText(64), HashedText(64))


def test_ads_that_teach_nothing_are_refused() -> None:
    same = tuple(replace(ad, score=1.0) for ad in linear())
    for ads in (linear(19), same, seed_ads(20, scored=False)):
        with pytest.raises(DataError, match="cannot be fitted"):
            RidgeJudge(ads, Lengths(), name="j")


def test_a_language_model_judges_by_its_own_vectors() -> None:
    model = ScriptedModel(ScriptedConfig(("x",), name="tiny"))
    encoder = ModelEncoder(model)
    texts = ["one", "two", "", "three"]
    vectors = encoder.encode(texts)
    assert vectors.shape == (4, encoder.width)
    assert encoder.name == "tiny vectors"
    np.testing.assert_array_equal(vectors[3], model.embed(["three"])[0])
    np.testing.assert_array_equal(vectors[2], np.zeros(encoder.width))
    assert encoder.encode([]).shape == (0, encoder.width)


def test_a_judge_reads_what_was_written() -> None:
    assert text_of(AdRecord(brand="B", title="Tea", words="Text")) == "Tea\nText"
    assert text_of(AdRecord(brand="B", title="Line")) == "Line"
    film = AdRecord(kind="video", title="T", pace="low", scenes=(Scene(caption="a loaf"),))
    assert "The scene shows a loaf." in text_of(film)


WRITTEN = [
    WrittenAds(AdBrief("a", brand="A"), ("warm and calm", "", "odd zing here"), (False,) * 3),
    WrittenAds(AdBrief("b", brand="B"), ("zing and zing again",), (True,)),
]


def test_only_usable_ads_are_shown_to_the_judge() -> None:
    own = WordJudge("zing", strange="odd")
    found = scored(WRITTEN, own, AdFilters(AdFilterConfig(), CopyIndex([])))
    assert own.asked == ["warm and calm", "odd zing here"]
    assert found.reasons == [["", "empty", "unlike"], ["cut"]]
    assert found.scores == [[1.0, None, 2.0], [None]]
    assert found.usable == [(0, 0)]


def test_many_ads_are_judged_some_at_a_time() -> None:
    ads = [AdRecord(title="zing " * (at % 3)) for at in range(600)]
    values, unlike = judged(WordJudge("zing"), ads)
    assert values.tolist() == [1.0 + at % 3 for at in range(600)]
    assert not unlike.any()
    assert judged(WordJudge("zing"), [])[0].shape == (0,)


ORIGINALS = seed_ads(3)
TEXTS = (("zing calm zing", "zing soft rye"), ("calm soft rye", ""), ("red zing rye", "x"))
OWN, SECOND = WordJudge("zing"), WordJudge("calm")
FILTERS = AdFilters(AdFilterConfig(), CopyIndex(["calm soft rye"]))


def written(texts: tuple[tuple[str, ...], ...] = TEXTS) -> list[WrittenAds]:
    pairs = zip(ORIGINALS, texts, strict=True)
    return [WrittenAds(ad.brief, each, (False,) * len(each)) for ad, each in pairs]


def measured(**asked: int) -> Measured:
    return measure(written(), ORIGINALS, OWN, SECOND, FILTERS, at=2, **asked)


def test_the_gain_is_that_of_the_sums_over_briefs_with_a_usable_ad() -> None:
    found = measured()
    first = [1 + ad.answer.split().count("zing") for ad in ORIGINALS]
    assert found.original_own == tuple(first)
    # The first brief: 3 and 2. The second: copied or empty. The third: a colour, or too short.
    assert found.counts == (2, 0, 0)
    assert found.own_values == (2.5, 0.0, 0.0)
    assert found.own is not None
    assert found.second is not None
    assert found.own.value == pytest.approx(2.5 / first[0] - 1)
    assert found.own.low <= found.own.value <= found.own.high
    assert (found.at, found.answered) == (2, pytest.approx(1 / 3))
    assert found.goal == found.second.value


def test_a_writer_that_writes_nothing_of_use_is_the_worst() -> None:
    nothing = measure(written((("",),) * 3), ORIGINALS, OWN, SECOND, FILTERS, at=1)
    assert (nothing.own, nothing.second, nothing.answered, nothing.goal) == (None, None, 0.0, -1.0)
    assert compared(nothing, measured()) is None


def test_texts_are_told_apart_from_judges() -> None:
    texts = measured().texts
    assert texts.reasons == {"copied": 1, "empty": 1, "ungrounded": 1, "short": 1}
    assert texts.usable == pytest.approx(2 / 6)
    assert texts.grounded == pytest.approx(4 / 5)
    assert texts.delivered == 1.0
    assert texts.copied == pytest.approx(1 / 5)
    assert texts.words == pytest.approx((3 + 3 + 3 + 3 + 1) / 5)
    assert 0 < texts.distinct1 < texts.distinct2 <= 1


def test_originals_without_a_score_have_no_relative_gain() -> None:
    class Low(WordJudge):
        def judge(self, ads, /):  # type: ignore[no-untyped-def]
            found = super().judge(ads)
            return type(found)(found.value - 9, found.low - 9, found.high - 9, found.unlike)

    found = measure(written(), ORIGINALS, Low("zing"), SECOND, FILTERS, at=0)
    assert found.own is None
    assert found.second is not None
    both = measure(written(), ORIGINALS, OWN, Low("calm"), FILTERS, at=0)
    assert compared(both, both) is None
    assert both.goal == both.second_values[0] - both.original_second[0]


def test_two_writers_are_compared_brief_by_brief() -> None:
    before = measure(written((("a soft rye",),) * 3), ORIGINALS, OWN, SECOND, FILTERS, at=0)
    after = measure(written((("calm warm rye",),) * 3), ORIGINALS, OWN, SECOND, FILTERS, at=1)
    found = compared(after, before)
    assert found is not None
    assert found.value == pytest.approx(3 / sum(before.original_second))
    assert found.low > 0
    assert after.agreement is None, "all scores are the same"


def test_other_briefs_are_refused() -> None:
    with pytest.raises(DataError, match="other briefs"):
        measure(written()[:2], ORIGINALS, OWN, SECOND, FILTERS, at=0)
    with pytest.raises(DataError, match="other briefs"):
        measure([], [], OWN, SECOND, FILTERS, at=0)
    fewer = measure(written()[:2], ORIGINALS[:2], OWN, SECOND, FILTERS, at=0)
    with pytest.raises(DataError, match="same briefs"):
        compared(fewer, measured())


def test_the_best_of_each_collection_are_chosen_in_order() -> None:
    ads = seed_ads(4, source="a") + seed_ads(4, source="b")
    scores = [1.0, 4.0, 2.0, 3.0, 10.0, 40.0, 20.0, 30.0]
    assert best_of(ads, scores, share=0.5) == (ads[1], ads[3], ads[5], ads[7])
    assert best_of(ads, scores, share=0.5, most=2) == (ads[1], ads[5])
    assert best_of(ads, scores, share=0.0) == ()
    assert best_of((), [], share=0.5, most=3) == ()


def written_choosing(*texts: tuple[str, ...]) -> list[WrittenAds]:
    return [
        WrittenAds(AdBrief(f"b{at}", brand=f"B{at}"), each, (False,) * len(each))
        for at, each in enumerate(texts)
    ]


def test_the_best_ad_of_a_brief_is_kept_by_its_lift_alone() -> None:
    """The second brief has higher scores, the first one the larger lift."""
    ads = written_choosing(("warm rye now", "cold rye then"), ("sweet tea here", "plain tea there"))
    why = [["", ""], ["", ""]]
    scores: list[list[float | None]] = [[1.0, 3.0], [90.0, 91.0]]
    first, second = kept_of(ads, why, scores, share=1.0)
    assert (first.answer, first.score, first.lift) == ("cold rye then", 3.0, 1.0)
    assert (second.answer, second.lift) == ("plain tea there", 0.5)
    assert kept_of(ads, why, scores, share=0.5) == (first,)


def test_what_has_a_reason_is_out() -> None:
    ads = written_choosing(
        ("one two three", "four five six", "seven eight nine"), ("a b c", "d e f")
    )
    why = [["", "", "copied"], ["", "cut"]]
    (kept,) = kept_of(ads, why, [[1.0, 2.0, 99.0], [50.0, None]], share=1.0)
    assert (kept.answer, kept.lift) == ("four five six", 0.5)


def test_one_ad_in_many_names_is_kept_once() -> None:
    ads = written_choosing(*((f"the best of all days, {name}", f"x {name} y") for name in "abc"))
    why, scores = [["", ""]] * 3, [[9.0 - at, 0.0] for at in range(3)]
    assert [one.brief.id for one in kept_of(ads, why, scores, share=1.0)] == ["b0"]


@pytest.mark.parametrize(
    ("values", "patience", "stops"),
    [
        ([1.0], 1, False),
        ([1.0, 1.1], 1, False),
        ([1.0, 1.0], 1, True),
        ([1.0, 1.1, 1.05], 2, False),
        ([1.0, 1.1, 1.05, 1.08], 2, True),
        ([1.0, 0.9, 1.2], 2, False),
    ],
)
def test_patience_counts_rounds_without_a_gain(
    values: list[float], patience: int, stops: bool
) -> None:
    assert should_stop(values, patience=patience) == stops


def test_a_gain_may_have_to_be_large() -> None:
    assert should_stop([1.0, 1.04], patience=1, gain=0.05)
    assert not should_stop([1.0, 1.06], patience=1, gain=0.05)
    assert not should_stop([-1.0, -0.9], patience=1, gain=0.05)


@given(st.lists(st.floats(-5, 5), min_size=1))
def test_the_best_round_is_the_earliest_of_the_best(values: list[float]) -> None:
    assert best_round(values) == values.index(max(values))


def ledger_of(
    path: Path, clock: FixedClock, *, minutes: float = 0.0, tokens: int = 0
) -> CostLedger:
    return CostLedger(path / "costs.jsonl", SeedBudget(minutes, tokens), clock)


def test_steps_are_summed_and_kept(tmp_path: Path, clock: FixedClock) -> None:
    ledger = ledger_of(tmp_path, clock)
    with ledger.step(1, "write") as cost:
        cost.add(read=10, written=5)
        cost.add(written=2)
    with ledger.step(1, "tune") as cost:
        cost.add(tuned=100)
        sum(at * at for at in range(200_000))
    with ledger.step(2, "score") as cost:
        cost.add(judged=9)
    with ledger.step(2, "nothing"):
        pass
    again = ledger_of(tmp_path, clock)
    assert [one.step for one in again.steps] == ["write", "tune", "score"]
    assert again.tokens == 117
    assert sum(one.cpu_seconds for one in again.steps) > 0
    first = again.steps[0]
    assert (first.round, first.read, first.written, again.steps[2].judged) == (1, 10, 7, 9)


def test_a_step_that_fails_is_written_down(tmp_path: Path, clock: FixedClock) -> None:
    ledger = ledger_of(tmp_path, clock)

    def fail() -> None:
        with ledger.step(0, "write") as cost:
            cost.add(written=3)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert ledger_of(tmp_path, clock).tokens == 3


def test_budgets_are_of_tokens_of_all_calls_and_minutes_of_this_one(
    tmp_path: Path, clock: FixedClock
) -> None:
    ledger = ledger_of(tmp_path, clock, minutes=2, tokens=10)
    assert not ledger.spent()
    with ledger.step(0, "write") as cost:
        cost.add(written=10)
        assert ledger.spent(), "also within a step"
    assert ledger_of(tmp_path, clock, tokens=10).spent()
    timed = ledger_of(tmp_path, clock, minutes=2)
    assert not timed.spent()
    clock.advance(120)
    assert timed.spent()
    assert not ledger_of(tmp_path, clock, minutes=2).spent()


def test_a_line_that_was_cut_off_is_forgotten(tmp_path: Path, clock: FixedClock) -> None:
    ledger = ledger_of(tmp_path, clock)
    with ledger.step(0, "write") as cost:
        cost.add(written=3)
    path = tmp_path / "costs.jsonl"
    path.write_text(path.read_text() + '{"round": 1')
    again = ledger_of(tmp_path, clock)
    with again.step(1, "tune") as cost:
        cost.add(tuned=1)
    assert ledger_of(tmp_path, clock).tokens == 4
    path.write_text('{"other": 1}\n')
    with pytest.raises(FileUnreadableError, match="costs"):
        ledger_of(tmp_path, clock)


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
