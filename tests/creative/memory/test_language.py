"""?"""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from adwright.core.errors import (
    ArtifactError,
    ConfigError,
    DataError,
    SchemaError,
    ValueInvalidError,
)
from adwright.creative.judging import AdJudge
from adwright.creative.memory.block_ridge import ad_facts, surprisal_numbers, text_numbers
from adwright.creative.memory.language import (
    Digits,
    LanguageConfig,
    LanguageMemory,
    answer_of,
    content_answer,
    content_prompt,
    digit_tokens,
    load_language_memory,
    recall_prompt,
    tune_memory,
    tune_run_of,
    write_rows,
)
from adwright.creative.memory.outcomes import (
    RecallTable,
    ScoreColumns,
    d_prime,
    read_recall,
    scores_of_d_prime,
)
from adwright.creative.records.ad_record import AdRecord, Scene, verbalised
from adwright.lm.engine.generation import Message, TokenPrompt
from tests.support.lm.digit_llama import digit_model, digit_tokenizer
from tests.support.lm.tiny_llama import tiny_llama, tiny_tokens

pytest.importorskip("transformers", reason="the extra lm is not installed")


ADS = (AdRecord(brand="Mill", title="fresh bread"), AdRecord(title="tea with a friend"), AdRecord())


def table(rows: int = 100) -> RecallTable:
    ads = tuple(AdRecord(brand=f"b{row}", title=("bread", "tea")[row % 2]) for row in range(rows))
    scores = np.array([(0.95, 0.05)[row % 2] for row in range(rows)])
    return RecallTable(tuple(map(str, range(rows))), ads, scores, scores)


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> tuple[LanguageConfig, LanguageMemory]:
    folder = tmp_path_factory.mktemp("henry")
    tiny_llama().save_pretrained(folder / "base")
    digit_tokenizer().save_pretrained(folder / "base")
    config = LanguageConfig(
        str(folder / "base"),
        tasks=("recall",),
        rate=1e-2,
        epochs=3,
        tokens=220,
        words=30,
        out=folder / "out",
    )
    return config, tune_memory(table(), config)


def test_an_untuned_model_judges_without_an_interval() -> None:
    judge = LanguageMemory(digit_model())
    assert isinstance(judge, AdJudge)
    found = judge.judge(ADS)
    assert found.unlike.tolist() == [False, False, True]
    assert (found.low == 0).all()
    assert (found.high == 1).all()
    np.testing.assert_allclose(judge.judge(ADS[1:2]).value, found.value[1:2], atol=1e-5)
    assert len(judge.judge([])) == 0


def test_examples_and_words_change_the_answer() -> None:
    model = digit_model()
    plain = LanguageMemory(model).judge(ADS).value
    shown = LanguageMemory(model, examples=[(ADS[0], 0.9)], words=6).judge(ADS).value
    short = LanguageMemory(model, words=4).judge(ADS).value
    assert not np.allclose(plain, shown)
    assert not np.allclose(plain, short)


def test_tuning_teaches_the_answers(tuned: tuple[LanguageConfig, LanguageMemory]) -> None:
    config, judge = tuned
    found = judge.judge(table(2).records)
    assert found.value[0] > found.value[1] + 0.3
    assert (found.low < found.high).all()
    told = json.loads((config.out / "memory.json").read_text("utf-8"))
    assert told["form"] == "language"
    lines = (config.out / "rows.jsonl").read_text("utf-8").splitlines()
    groups = {json.loads(line)["group"] for line in lines}
    held = {f"brand b{one}" for one in told["held"]}
    assert len(held) == 20
    assert not groups & held, "held-out brands are not learned from"


def test_a_tuned_judge_is_loaded_again(tuned: tuple[LanguageConfig, LanguageMemory]) -> None:
    config, judge = tuned
    loaded = load_language_memory(config.out)
    one, other = judge.judge(ADS), loaded.judge(ADS)
    np.testing.assert_allclose(one.value, other.value, atol=1e-5)
    np.testing.assert_allclose(one.high, other.high, atol=1e-5)
    loaded.close()
    with pytest.raises(ArtifactError, match="no language form"):
        load_language_memory(config.out / "base")


def test_settings_reach_the_tuning() -> None:
    asked = tune_run_of(LanguageConfig(rank=4, rate=1e-3, epochs=3, batch=2, tokens=99, seed=5))
    assert asked.method.rank == 4  # type: ignore[union-attr]
    assert (asked.tune.learning_rate, asked.tune.epochs, asked.tune.batch) == (1e-3, 3, 2)
    assert (asked.data.max_length, asked.seed) == (99, 5)
    assert type(tune_run_of(LanguageConfig(method="BitFit", rate=None)).method).__name__ == "BitFit"


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError, match="task recall"):
        LanguageConfig(tasks=("content",))


pytest.importorskip("transformers", reason="the extra lm is not installed")


PROMPTS = [(Message("user", "the best tea"),), (Message("user", "fresh bread, ripe cheese"),)]


class Scoring:
    """A model that scores, and does not branch."""

    def __init__(self) -> None:
        self._model = digit_model()
        self.tokens = self._model.tokens
        self.score = self._model.score


@given(st.floats(0, 1))
def test_the_answer_is_the_published_formula(score: float) -> None:
    answer = int(answer_of(score))
    assert 0 <= answer <= 99
    assert abs(answer - (100 * score - 1)) <= 1 + 1e-6
    if not math.isclose(100 * score, round(100 * score), abs_tol=1e-6):
        assert answer == min(max(math.ceil(100 * score - 1), 0), 99)


def test_the_expectation_is_the_sum_over_a_hundred_answers() -> None:
    model = digit_model()
    found = Digits(model).expected(PROMPTS)
    tokens = digit_tokens(model.tokens)
    for row, prompt in enumerate(PROMPTS):
        pairs = [(a, b) for a in range(10) for b in range(10)]
        answers = [TokenPrompt((tokens[a], tokens[b])) for a, b in pairs]
        logs = model.score([prompt] * 100, answers).token_logprobs
        first = {a: math.exp(logs[10 * a][0]) for a in range(10)}
        total, most = 0.0, (0.0, -1)
        for at, (a, b) in enumerate(pairs):
            after = [math.exp(logs[10 * a + other][1]) for other in range(10)]
            share = first[a] / sum(first.values()) * math.exp(logs[at][1]) / sum(after)
            total += share * (10 * a + b)
            most = max(most, (share, 10 * a + b))
        assert found.expectation[row] == pytest.approx(total, abs=1e-4)
        assert found.likeliest[row] == most[1]
        assert found.digits[row] == pytest.approx(sum(first.values()), abs=1e-4)
    np.testing.assert_allclose(found.scores, (found.expectation + 0.5) / 100)


def test_engines_that_only_score_give_the_same() -> None:
    model = digit_model()
    assert hasattr(model, "branches")
    plain = Scoring()
    one = Digits(model).expected(PROMPTS)
    other = Digits(plain).expected(PROMPTS)  # type: ignore[arg-type]
    np.testing.assert_allclose(one.expectation, other.expectation, atol=1e-4)
    assert (one.likeliest == other.likeliest).all()
    assert len(Digits(model).expected([]).scores) == 0


def test_a_tokenizer_that_merges_digits_is_refused() -> None:
    with pytest.raises(ConfigError, match="does not split numbers into digits"):
        digit_tokens(tiny_tokens())


FILM = AdRecord(
    kind="video",
    brand="Mill Lane",
    title="Fresh bread",
    seconds=16,
    orientation="landscape",
    pace="high",
    scenes=(Scene(caption="a loaf on a table", tags=("bread", "table")),),
)
SLOGAN = AdRecord(brand="Mill Lane", title="Baked at six")


def table_ad_tasks(rows: int = 6) -> RecallTable:
    scores = np.linspace(0, 1, rows)
    ads = tuple(AdRecord(brand=f"b{row // 2}", title=f"slogan {row}") for row in range(rows))
    return RecallTable(tuple(map(str, range(rows))), ads, scores, scores)


def test_the_question_comes_first_and_the_ad_whole() -> None:
    prompt = recall_prompt(FILM)
    assert prompt.startswith("How well is this ad remembered after one to three days")
    assert prompt.endswith(verbalised(FILM))
    shown = recall_prompt(FILM, examples=[(SLOGAN, 0.655)])
    assert "Baked at six" in shown
    assert "Answer: 65" in shown
    assert shown.index("Answer: 65") < shown.index("Fresh bread")
    assert len(recall_prompt(FILM, words=5).split()) < len(prompt.split())


def test_the_brief_and_the_ad_share_nothing_that_gives_it_away() -> None:
    assert content_prompt(FILM).endswith("Brand: Mill Lane. Seconds: 16. Title: Fresh bread")
    answer = content_answer(FILM)
    assert answer.startswith("The ad is shot in landscape orientation, at a high pace.")
    assert "a loaf on a table" in answer
    assert "Mill Lane" not in answer
    assert "Fresh bread" not in answer
    assert content_answer(FILM, words=3) == "The ad is"


def test_an_ad_of_text_alone_is_its_title() -> None:
    assert content_answer(SLOGAN) == "Baked at six"
    assert "Baked at six" not in content_prompt(SLOGAN)


def test_rows_of_both_tasks_keep_brands_together(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    assert write_rows(path, table_ad_tasks()) == 12
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert {row["task"] for row in rows} == {"recall", "content"}
    recall = [row for row in rows if row["task"] == "recall"]
    assert [row["answer"] for row in recall] == ["00", "19", "39", "59", "79", "99"]
    assert len({row["group"] for row in rows}) == 3
    assert write_rows(path, table_ad_tasks(), tasks=["recall"]) == 6
    bare = RecallTable(("0",), (AdRecord(title="no brief"),), np.array([0.5]), np.array([0.5]))
    assert write_rows(path, bare) == 1
    with pytest.raises(DataError, match="nothing to learn"):
        write_rows(path, bare, tasks=["content"])


SCENES = (
    Scene(complexity="low", tone="warm", faces=2, words=("MILL bread",)),
    Scene(complexity="high", tone="cool", faces=0, emotions=("happy", "warm")),
)
SHOT = AdRecord(
    kind="video",
    brand="Mill",
    title="The Mill",
    speech="come in",
    orientation="landscape",
    seconds=10,
    pace="high",
    scenes=SCENES,
)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (
            text_numbers("Don't Stop, 2 go!"),
            [17, 2.8332, 4, 1.3863, 3, 5, 0.1176, 0.5, 1, 0, 1, 0, 1, 1, 0, 0.1765, 1, 0.5, 1],
        ),
        (text_numbers("  "), [0] * 19),
        (
            surprisal_numbers(np.array([-1.0, -2.0, -6.0]), [0, 9, 99]),
            [-3, -9, -6, -1, 2.1602, -1, -6, -4, -4, 1.0986, 2.3026, 4.6052, 1.8801],
        ),
        (surprisal_numbers(np.array([-2.0]), [4])[[0, 7, 8]], [-2, -2, -2]),
        (
            ad_facts(SHOT),
            [10, 2.3979, 2, 1.0986, 0.2, 2, 1, 1, *[0.5] * 2, 1, *[0.5] * 3, 2, 0.2, *[1] * 4],
        ),
    ],
)
def test_numbers_are_what_they_are_named(found: np.ndarray, expected: list[float]) -> None:
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert np.isfinite(ad_facts(AdRecord())).all()


OUTCOMES_ADS = {"title": ["Just bread", "Only tea", "More coats"], "brand": ["Mill", " mill ", ""]}


def outcomes_table(**columns: object) -> pl.DataFrame:
    return pl.DataFrame({**OUTCOMES_ADS, **columns})


@given(st.integers(1, 300), st.integers(1, 300), st.data())
def test_d_prime_is_its_formula_and_finite(old: int, new: int, data: st.DataObject) -> None:
    hits, alarms = data.draw(st.integers(0, old)), data.draw(st.integers(0, new))
    found = d_prime([hits], [old], [alarms], [new])[0]
    expected = norm.ppf((hits + 0.5) / (old + 1)) - norm.ppf((alarms + 0.5) / (new + 1))
    assert found == pytest.approx(expected, abs=1e-6)
    score = scores_of_d_prime([found])[0]
    assert score == pytest.approx(norm.cdf(found / np.sqrt(2)), abs=1e-9)


@pytest.mark.parametrize(
    ("values", "scale", "expected", "measure"),
    [
        ([0.0, 0.5, 1.0], "", [0, 0.5, 1], "share"),
        ([0.0, 50.0, 80.5], "", [0, 0.5, 0.805], "share"),
        ([0, 65, 99], "", [0.005, 0.655, 0.995], "share"),
        ([0, 65, 99], "percent", [0, 0.65, 0.99], "share"),
        ([0.0, 1.0, 2.0], "d_prime", list(norm.cdf(np.arange(3) / np.sqrt(2))), "d_prime"),
    ],
)
def test_scores_of_any_scale(
    values: list[float], scale: str, expected: list[float], measure: str
) -> None:
    told = ScoreColumns("score", scale=scale)  # type: ignore[arg-type]
    found = read_recall(outcomes_table(score=values), scores=told)
    np.testing.assert_allclose(found.scores, expected, atol=1e-9)
    assert found.measure == measure
    np.testing.assert_allclose(found.targets, values if scale == "d_prime" else expected)
    guessed = any("are read as" in said for said in found.said)
    assert guessed == (not scale)


def test_counts_of_tries_and_people_weigh() -> None:
    frame = outcomes_table(
        recalled=[1, 4, 9], tries=[10, 40, 10], score=[0.1, 0.2, 0.3], n=[10, 10, 1000]
    )
    found = read_recall(frame, scores=ScoreColumns("recalled", of="tries"))
    np.testing.assert_allclose(found.scores, [0.1, 0.1, 0.9])
    assert found.counts is not None
    assert found.counts.tolist() == [10, 40, 10]
    assert found.weights.tolist() == pytest.approx([0.5, 2.0, 0.5])
    assert read_recall(frame).weights.tolist() == [1.0, 1.0, 1.0]


def test_brands_are_groups_and_no_brand_is_one_of_its_own() -> None:
    found = read_recall(outcomes_table(score=[0.1, 0.2, 0.3]))
    assert found.groups[0] == found.groups[1] != found.groups[2]
    part = found.some([2, 0])
    assert part.ids == ("2", "0")
    assert part.scores.tolist() == pytest.approx([0.3, 0.1])


def test_ads_without_a_score_are_left_out_and_said() -> None:
    found = read_recall(outcomes_table(score=[0.1, None, 0.3]))
    assert found.ids == ("0", "2")
    assert "1 ads without a score are left out" in found.said
    with pytest.raises(DataError, match="no ad has a score"):
        read_recall(outcomes_table(score=pl.Series([None] * 3, dtype=pl.Float64)))


def test_a_row_that_cannot_be_is_named(tmp_path: Path) -> None:
    path = tmp_path / "ads.csv"
    path.write_text("title,score\nBread,0.2\nTea,good\n", "utf-8")
    with pytest.raises(ValueInvalidError) as caught:
        read_recall(path)
    assert (caught.value.row, caught.value.column) == (1, "score")
    with pytest.raises(ValueInvalidError, match="between 0 and 1") as out:
        read_recall(
            outcomes_table(score=[0.1, 1.2, 0.3]), scores=ScoreColumns("score", scale="share")
        )
    assert out.value.row == 1
    counts = {"hits": [1, 9, 3], "old": [5, 5, 5], "false_alarms": [0, 0, 0], "new": [5, 5, 5]}
    with pytest.raises(ValueInvalidError, match="at most as many as old") as more:
        read_recall(outcomes_table(**counts))
    assert more.value.row == 1
    with pytest.raises(ValueInvalidError, match="whole number"):
        read_recall(outcomes_table(**{**counts, "hits": [1.0, 2.5, 3.0]}))


def test_what_is_not_there_is_refused() -> None:
    with pytest.raises(SchemaError, match="no column that says"):
        read_recall(outcomes_table(price=[1, 2, 3]))
    with pytest.raises(SchemaError, match="no column 'recal'"):
        read_recall(outcomes_table(score=[0.1, 0.2, 0.3]), scores=ScoreColumns("recal"))
    with pytest.raises(SchemaError, match="a score is a number"):
        read_recall(outcomes_table(score=[True, False, True]))
    with pytest.raises(ConfigError, match="count of successes"):
        ScoreColumns(of="tries")


def test_real_tables_are_read_as_they_are(shared_data: Path) -> None:
    slogans = read_recall(shared_data / "slogans" / "slogans.csv")
    assert (len(slogans), slogans.measure) == (470, "d_prime")
    assert "column d_prime agrees with it" in slogans.said
    sentences = read_recall(shared_data / "sentences" / "sentences.csv")
    assert (len(sentences), sentences.measure) == (2014, "share")
    assert "column accuracy is taken as how well an ad was remembered" in sentences.said
    ads = read_recall(shared_data / "lambda" / "ads.jsonl")
    assert len(np.unique(ads.groups)) == 56
    assert ads.scores.max() == pytest.approx(0.995)
    assert any(record.scenes for record in ads.records)


def test_a_file_whose_d_prime_is_another_one_is_told() -> None:
    counts = {"hits": [1, 2, 3], "old": [5] * 3, "false_alarms": [0, 1, 0], "new": [5] * 3}
    found = read_recall(outcomes_table(**counts, d_prime=[0.1, 0.2, 0.3]))
    assert any("differs from it in 3 rows" in said for said in found.said)
