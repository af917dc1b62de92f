from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from adwright.core.errors import ConfigError, DataError, SchemaError, ValueInvalidError
from adwright.creative.memory.outcomes import (
    ScoreColumns,
    d_prime,
    read_recall,
    scores_of_d_prime,
)

ADS = {"title": ["Just bread", "Only tea", "More coats"], "brand": ["Mill", " mill ", ""]}


def table(**columns: object) -> pl.DataFrame:
    return pl.DataFrame({**ADS, **columns})


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
    found = read_recall(table(score=values), scores=told)
    np.testing.assert_allclose(found.scores, expected, atol=1e-9)
    assert found.measure == measure
    np.testing.assert_allclose(found.targets, values if scale == "d_prime" else expected)
    guessed = any("are read as" in said for said in found.said)
    assert guessed == (not scale)


def test_counts_of_tries_and_people_weigh() -> None:
    frame = table(recalled=[1, 4, 9], tries=[10, 40, 10], score=[0.1, 0.2, 0.3], n=[10, 10, 1000])
    found = read_recall(frame, scores=ScoreColumns("recalled", of="tries"))
    np.testing.assert_allclose(found.scores, [0.1, 0.1, 0.9])
    assert found.counts is not None
    assert found.counts.tolist() == [10, 40, 10]
    assert found.weights.tolist() == pytest.approx([0.5, 2.0, 0.5])
    assert read_recall(frame).weights.tolist() == [1.0, 1.0, 1.0]


def test_brands_are_groups_and_no_brand_is_one_of_its_own() -> None:
    found = read_recall(table(score=[0.1, 0.2, 0.3]))
    assert found.groups[0] == found.groups[1] != found.groups[2]
    part = found.some([2, 0])
    assert part.ids == ("2", "0")
    assert part.scores.tolist() == pytest.approx([0.3, 0.1])


def test_ads_without_a_score_are_left_out_and_said() -> None:
    found = read_recall(table(score=[0.1, None, 0.3]))
    assert found.ids == ("0", "2")
    assert "1 ads without a score are left out" in found.said
    with pytest.raises(DataError, match="no ad has a score"):
        read_recall(table(score=pl.Series([None] * 3, dtype=pl.Float64)))


def test_a_row_that_cannot_be_is_named(tmp_path: Path) -> None:
    path = tmp_path / "ads.csv"
    path.write_text("title,score\nBread,0.2\nTea,good\n", "utf-8")
    with pytest.raises(ValueInvalidError) as caught:
        read_recall(path)
    assert (caught.value.row, caught.value.column) == (1, "score")
    with pytest.raises(ValueInvalidError, match="between 0 and 1") as out:
        read_recall(table(score=[0.1, 1.2, 0.3]), scores=ScoreColumns("score", scale="share"))
    assert out.value.row == 1
    counts = {"hits": [1, 9, 3], "old": [5, 5, 5], "false_alarms": [0, 0, 0], "new": [5, 5, 5]}
    with pytest.raises(ValueInvalidError, match="at most as many as old") as more:
        read_recall(table(**counts))
    assert more.value.row == 1
    with pytest.raises(ValueInvalidError, match="whole number"):
        read_recall(table(**{**counts, "hits": [1.0, 2.5, 3.0]}))


def test_what_is_not_there_is_refused() -> None:
    with pytest.raises(SchemaError, match="no column that says"):
        read_recall(table(price=[1, 2, 3]))
    with pytest.raises(SchemaError, match="no column 'recal'"):
        read_recall(table(score=[0.1, 0.2, 0.3]), scores=ScoreColumns("recal"))
    with pytest.raises(SchemaError, match="a score is a number"):
        read_recall(table(score=[True, False, True]))
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
    found = read_recall(table(**counts, d_prime=[0.1, 0.2, 0.3]))
    assert any("differs from it in 3 rows" in said for said in found.said)
