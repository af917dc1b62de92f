from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from adwright.core.errors import ConfigError, DataError
from adwright.creative.judging import AdJudge
from adwright.creative.memory.seed.config import SeedConfig
from adwright.creative.memory.seed.judges import (
    ModelEncoder,
    RidgeJudge,
    text_of,
    two_judges,
)
from adwright.creative.memory.seed.pool import KnownAd, known_ads
from adwright.creative.records.ad_record import AdRecord, Scene
from adwright.creative.records.ads_table import read_ads
from adwright.creative.records.encoders import HashedText
from adwright.lm.engine.scripted import ScriptedConfig, ScriptedModel
from adwright.metrics.rank_correlation import spearman
from tests.support.creative.seed_rounds import seed_ads


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
    judge = RidgeJudge(ads[:1000], Lengths(), name="j", coverage=0.8)
    found = judge.judge([ad.record for ad in ads[1000:]])
    scores = np.array([ad.score for ad in ads[1000:]])
    cover = ((found.low <= scores) & (scores <= found.high)).mean()
    assert abs(cover - 0.8) < 0.04
    assert found.coverage == 0.8
    assert isinstance(judge, AdJudge)
    wider = RidgeJudge(ads[:1000], Lengths(), name="j", coverage=0.95, seed=1)
    assert (wider.judge([ads[0].record]).high > judge.judge([ads[0].record]).high).all()


def test_what_it_learned_is_what_it_answers() -> None:
    ads = linear(200)
    found = RidgeJudge(ads[:150], Lengths(), name="j").judge([ad.record for ad in ads[150:]])
    assert spearman(found.value, [ad.score or 0.0 for ad in ads[150:]]) > 0.95


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
    with pytest.raises(ConfigError, match="coverage"):
        RidgeJudge(linear(), Lengths(), name="j", coverage=1.0)


def test_a_language_model_judges_by_its_own_vectors() -> None:
    model = ScriptedModel(ScriptedConfig(("x",), name="tiny"))
    encoder = ModelEncoder(model, batch=2)
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


def test_slogans_of_other_brands_are_judged_better_than_by_chance(shared_data: Path) -> None:
    table = read_ads(shared_data / "slogans" / "slogans.csv")
    scores = table.frame["d_prime"].to_list()
    ads = known_ads(table.records, table.ids, "slogan", source="slogans", scores=scores)
    judge = RidgeJudge(ads[::2], HashedText(2048), name="j")
    found = judge.judge([ad.record for ad in ads[1::2]])
    assert spearman(found.value, [ad.score or 0.0 for ad in ads[1::2]]) > 0.15
