from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("transformers", reason="the extra lm is not installed")

from adwright.core.errors import ArtifactError, ConfigError
from adwright.creative.judging.judgement import AdJudge
from adwright.creative.memory.ad_tasks import Example
from adwright.creative.memory.language import (
    LanguageConfig,
    LanguageMemory,
    load_language_memory,
    tune_memory,
    tune_run_of,
)
from adwright.creative.memory.outcomes import RecallTable
from adwright.creative.records.verbal.record import AdRecord
from tests.support.lm.digit_llama import digit_model, digit_tokenizer
from tests.support.lm.tiny_llama import tiny_llama

ADS = (
    AdRecord(brand="Mill", title="fresh bread"),
    AdRecord(title="tea with a friend"),
    AdRecord(),
)


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
    shown = LanguageMemory(model, examples=[Example(ADS[0], 0.9)], words=6).judge(ADS).value
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
    with pytest.raises(ConfigError, match="one in two brands"):
        LanguageConfig(held=1)
    with pytest.raises(ConfigError, match="tasks"):
        LanguageConfig(tasks=("recall", "write"))  # type: ignore[arg-type]
