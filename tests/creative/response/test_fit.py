"""Training: it learns which words and fields are clicked, and keeps what predicts best."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import Ridge

from adwright.core.artifacts import save_artifact
from adwright.core.clock import FixedClock
from adwright.core.errors import (
    ArtifactCorruptError,
    ArtifactError,
    DataError,
    MissingExtraError,
    ResourceError,
    SchemaError,
)
from adwright.creative.judging import AdJudge
from adwright.creative.records.ad_record import AdRecord, Scene
from adwright.creative.response.fit import (
    KIND,
    ClickRateConfig,
    FittedClickRate,
    fit_click_rate,
    train_clicks,
)
from adwright.creative.response.inputs import (
    BAGS,
    CATEGORIES,
    FORM_WIDTH,
    NUMBERS,
    SLOTS,
    AdReader,
    EncodedTexts,
    bags_of,
    categories_of,
    encoded_texts,
    form_of,
    numbers_of,
    texts_of,
)
from adwright.creative.response.learners import (
    Taught,
    components_of,
    fit_ridge,
    fit_trees,
    joined,
)
from adwright.creative.response.outcomes import (
    CreativeOutcomes,
    OutcomeColumns,
    clock_of,
    fields_of,
    read_outcomes,
    read_times,
)
from tests.support.data.small_creatives import small_creatives

TEXTS = encoded_texts("hashed")
OUTCOMES = small_creatives(films=True)
ADS = [
    AdRecord(title="bread soap you no 99", words="bread and more"),
    AdRecord(title="bread soap quarterly no 99", words="bread and more"),
]
FILMS = small_creatives(10, seed=9, films=True).records


@pytest.fixture(scope="module")
def model() -> FittedClickRate:
    return fit_click_rate(OUTCOMES, texts=TEXTS)


def test_it_learns_which_words_are_clicked(model: FittedClickRate) -> None:
    found = model.judge(ADS)
    assert found.value[0] > 1.5 * found.value[1]
    assert model.told["measure"] == "pairs"
    assert model.told["told"][0] > 0.75
    assert model.told["kept"] in ("tf-idf", "linear", "boosting", "mixture")
    assert {"constant", "length", "tf-idf", "boosting", "mixture"} <= set(model.told["values"])


def _cells(seed: int = 0, *, signal: float = 0.8) -> pl.DataFrame:
    """An export of cells without a word, a day a row; the last month is at another level."""
    rng = np.random.default_rng(seed)
    rows = 500
    age, gender = rng.choice(["18-24", "25-34", "35-44"], rows), rng.choice(["F", "M"], rows)
    campaign = rng.choice([f"c{at}" for at in range(12)], rows)
    day = np.sort(rng.integers(0, 120, rows))
    own = {name: rng.normal(0, 0.3) for name in sorted(set(campaign))}
    effect = signal * ((age == "35-44") * 1.0 - (gender == "F") * 0.7)
    effect = effect + (signal > 0) * np.array([own[one] for one in campaign]) + 0.5 * (day > 95)
    shown = rng.integers(500, 4000, rows)
    return pl.DataFrame(
        {
            "Date": [f"2026-{1 + one // 30:02d}-{1 + one % 30 % 28:02d}" for one in day],
            "Campaign": campaign,
            "Age": age,
            "Gender": gender,
            "Impressions": shown,
            "Clicks": rng.binomial(shown, 0.02 * np.exp(effect)),
        }
    )


def test_a_table_of_cells_without_a_word_is_learned_from() -> None:
    outcomes = read_outcomes(_cells(), OutcomeColumns(impressions="Impressions", clicks="Clicks"))
    assert "Campaign, Age, Gender are taken as fields" in outcomes.notes
    assert "Date is taken as when they ran" in outcomes.notes
    model = fit_click_rate(outcomes, texts=TEXTS)
    assert model.told["folds"] == "time"
    assert model.told["kept"] in ("fields", "boosting", "mixture", "linear")
    assert model.told["told"][1] > 0
    names = ("Age", "Gender", "Campaign")
    fields = {
        name: np.array([[one], [other]])
        for name, one, other in zip(
            names, ("35-44", "M", "new"), ("18-24", "F", "new"), strict=True
        )
    }
    high, low = model.judge([AdRecord()] * 2, fields).value
    assert high > 2 * low
    # The level is that of the latest days.
    rows = np.flatnonzero(outcomes.times > np.nanquantile(outcomes.times, 0.9))
    late = outcomes.take(rows)
    expected = model.judge(late.records, late.fields).value @ late.impressions
    assert expected == pytest.approx(late.clicks.sum(), rel=0.15)


def test_of_nothing_it_says_so(tmp_path: Path) -> None:
    outcomes = read_outcomes(
        _cells(signal=0), OutcomeColumns(impressions="Impressions", clicks="Clicks", date="")
    )
    run = train_clicks(outcomes, tmp_path / "run", texts=TEXTS)
    assert run.sentences()[0].startswith("nothing here predicts this")
    report = json.loads((tmp_path / "run" / "report.json").read_text("utf-8"))
    assert report["kept"] is None
    value = FittedClickRate.load(run.folder).judge([AdRecord(title="a"), AdRecord()]).value
    assert (
        value[0]
        == value[1]
        == pytest.approx(outcomes.clicks.sum() / outcomes.impressions.sum(), rel=0.1)
    )
    with pytest.raises(ResourceError):
        train_clicks(outcomes, tmp_path / "run", texts=TEXTS)


def test_a_score_without_impressions_is_learned(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    words = rng.choice(["gratis", "normal"], 300)
    table = pl.DataFrame(
        {
            "title": [f"{word} thing {at:03d}" for at, word in enumerate(words)],
            "points": np.rint(np.exp(rng.normal(2 + (words == "gratis"), 1))).astype(int),
            "created_at": [f"{1 + at // 28}/{1 + at % 28}/2016 10:00" for at in range(300)],
        }
    )
    outcomes = read_outcomes(table, OutcomeColumns(score="points"))
    assert np.isfinite(outcomes.times).all()
    model = fit_click_rate(outcomes, texts=TEXTS)
    assert model.told["measure"] == "spearman"
    made = [AdRecord(title="gratis thing 999"), AdRecord(title="normal thing 999")]
    high, low = model.judge(made).value
    assert high > 1.5 * low > 2
    model.save(tmp_path / "model")
    assert FittedClickRate.load(tmp_path / "model").judge(made).value.tolist() == [high, low]


@pytest.mark.parametrize(
    ("texts", "days"),
    [
        (["30-05-2019", "02-06-2019"], (18046, 18049)),
        (["01/02/2019", "31/12/2019"], (17928, 18261)),
        (["01/02/2019", "12/31/2019"], (17898, 18261)),
        (["1.2.2019", "3.4.2019"], (17928, 17989)),
        (["2019-01-05", "2019-02-07"], (17901, 17934)),
        (["1559347200", "1559433600"], (18048, 18049)),
        ([20190105, 20190107], (17901, 17903)),
        (["April", "May"], (93, 124)),
        ([201440, 201441], (201440, 201441)),
    ],
)
def test_dates_are_read_as_they_are_written(texts: list[object], days: tuple[int, int]) -> None:
    times = read_times(pl.DataFrame({"date": texts}), "date")
    assert tuple(times) == days
    # A week is no day, and has no weekday.
    assert bool(clock_of(times, every=True)["weekday"][0, 0]) == (3_650 < days[0] < 40_000)


def test_whole_numbers_that_repeat_are_names_too() -> None:
    frame = pl.DataFrame(
        {
            "ids": [1000 * (row % 100) for row in range(300)],
            "prices": [row / 2 for row in range(300)],
            "counts": list(range(300)),
            "missing": [7.0, None] * 150,
        }
    )
    made = fields_of(frame, list(frame.columns))
    assert set(made) == {f"{name} as number" for name in frame.columns} | {"ids", "missing"}
    assert made["missing"][:2, 0].tolist() == ["7", ""]


def test_ids_are_learned_one_by_one() -> None:
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 60, 600)
    shown, own = rng.integers(500, 900, 600), rng.normal(0, 0.5, 60)
    table = pl.DataFrame(
        {
            "keyword": 1000 + 7 * ids,
            "impressions": shown,
            "clicks": rng.binomial(shown, 0.02 * np.exp(own[ids])),
        }
    )
    model = fit_click_rate(read_outcomes(table, OutcomeColumns()), texts=TEXTS)
    assert model.told["values"]["fields"][0] > 0.6


def test_a_field_that_tells_the_outcome_is_refused() -> None:
    table = _cells().with_columns((pl.col("Clicks") / pl.col("Impressions")).alias("quality"))
    named = OutcomeColumns(impressions="Impressions", clicks="Clicks", fields=("quality",))
    with pytest.raises(SchemaError, match="ranks agree"):
        read_outcomes(table, named)
    with pytest.raises(SchemaError, match="is known of an ad before"):
        read_outcomes(_cells(), replace(named, fields=(), date=""))


def test_images_are_learnt_from() -> None:
    rng = np.random.default_rng(0)
    images = rng.normal(size=(200, 2)).astype(np.float32)
    shown = np.full(200, 5000)
    outcomes = CreativeOutcomes(
        records=tuple(AdRecord(kind="image", title=f"Window {at}") for at in range(200)),
        ids=tuple(map(str, range(200))),
        impressions=shown,
        clicks=rng.binomial(shown, 0.02 * np.exp(images[:, 0] / 2)),
        tests=np.full(200, -1),
    )
    found = fit_click_rate(outcomes, texts=TEXTS, vectors={"image": images})
    assert found.reads("image")
    ads = [AdRecord(kind="image", title="Window")] * 2
    low, high = found.judge(ads, {"image": np.array([[-1.0, 0.0], [1.0, 0.0]], np.float32)}).value
    assert high > 1.5 * low
    with pytest.raises(DataError, match="as wide"):
        found.judge(ads, {"image": np.zeros((2, 3), np.float32)})


def test_what_is_too_little_is_refused() -> None:
    with pytest.raises(DataError, match="folds take"):
        fit_click_rate(small_creatives(4), texts=TEXTS)
    none = small_creatives(20)
    none = replace(none, clicks=np.zeros(len(none), np.int64))
    with pytest.raises(DataError, match="0 or 1 alone"):
        fit_click_rate(none, texts=TEXTS)
    with pytest.raises(DataError, match="2 folds at least"):
        fit_click_rate(OUTCOMES, ClickRateConfig(folds=1), texts=TEXTS)


def test_it_is_a_judge(model: FittedClickRate) -> None:
    assert isinstance(model, AdJudge)
    found = model.judge(FILMS)
    assert model.name == KIND
    assert len(found) == 30
    assert found.coverage == 0.9
    assert (found.value > 0).all()
    assert (found.high <= 1).all()
    order = np.argsort(found.value, kind="stable")
    assert (np.diff(found.low[order]) > -1e-5).all()
    assert len(model.judge([])) == 0


def test_an_ad_from_elsewhere_is_unlike(model: FittedClickRate) -> None:
    odd = AdRecord(title="Приходите к нам завтра, мы вас ждём!", words="Ω" * 400, seconds=9000)
    found = model.judge([*FILMS, odd]).unlike
    assert found[-1]
    assert found[:-1].mean() < 0.3


def test_the_nearest_ads_are_told_with_their_rates(model: FittedClickRate) -> None:
    (own,) = model.nearest(OUTCOMES.records[:1], 2)
    assert own[0].id == "c0"
    assert own[0].distance < 0.05
    assert own[0].value == pytest.approx(OUTCOMES.rate[0])
    assert own[1].distance > own[0].distance


def test_it_is_loaded_with_the_same_bits(model: FittedClickRate, tmp_path: Path) -> None:
    identity = model.save(tmp_path / "model", clock=FixedClock())
    again = FittedClickRate.load(tmp_path / "model")
    one, other = model.judge(FILMS), again.judge(FILMS)
    for name in ("value", "low", "high"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-6)
    np.testing.assert_array_equal(one.unlike, other.unlike)
    for name in ("told", "data_hash", "seed", "prior", "fields", "weights"):
        assert getattr(again, name) == getattr(model, name), name
    assert again.nearest(FILMS[:1]) == model.nearest(FILMS[:1])
    assert again.save(tmp_path / "twice", clock=FixedClock()) == identity
    with pytest.raises(ResourceError):
        model.save(tmp_path / "twice")
    assert repr(again) == repr(model)


def test_what_was_changed_or_is_something_else_is_refused(
    model: FittedClickRate, tmp_path: Path
) -> None:
    model.save(tmp_path / "model")
    (tmp_path / "model" / "reference.json").write_text("{}")
    with pytest.raises(ArtifactCorruptError):
        FittedClickRate.load(tmp_path / "model")
    save_artifact(tmp_path / "other", kind="lifetime", config={})
    with pytest.raises(ArtifactError, match="kind"):
        FittedClickRate.load(tmp_path / "other")
    save_artifact(tmp_path / "old", kind=KIND, config={"share": 0.5})
    with pytest.raises(ArtifactError, match="older adwright"):
        FittedClickRate.load(tmp_path / "old", texts=TEXTS)


# --------------------------------------------------------------------------------------------------
# What is learned, against scikit-learn.


def _taught(outcomes: CreativeOutcomes, y: np.ndarray) -> Taught:
    rows = np.arange(len(y))
    return Taught(y, np.ones(len(y)), np.full(len(y), -1), rows, None)


def test_grams_are_those_of_scikit_learn() -> None:
    titles = [one.title for one in OUTCOMES.records]
    read = AdReader.of(OUTCOMES.records, TEXTS)
    rows = np.arange(0, len(titles), 2)
    found = read.fitted(rows).blocks(read)["title words"]
    theirs = TfidfVectorizer(
        token_pattern=r"(?u)\b\w+\b", ngram_range=(1, 2), min_df=2, sublinear_tf=True
    ).fit([titles[row] for row in rows])
    np.testing.assert_allclose(found.toarray(), theirs.transform(titles).toarray())
    letters = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), min_df=2, sublinear_tf=True)
    theirs = letters.fit([titles[row] for row in rows])
    found_letters = read.fitted(rows).blocks(read)["title letters"]
    np.testing.assert_allclose(found_letters.toarray(), theirs.transform(titles).toarray())
    # A reader of other ads, which counts the known terms alone.
    other = AdReader.of(OUTCOMES.records[:5], TEXTS)
    again = read.fitted(rows).blocks(other)["title words"]
    np.testing.assert_allclose(again.toarray(), found[:5].toarray())


def test_a_ridge_with_tests_is_a_ridge_with_a_place_for_each() -> None:
    read = AdReader.of(OUTCOMES.records, TEXTS)
    every = np.arange(len(OUTCOMES))
    blocks = read.fitted(every).blocks(read)
    y = np.log(OUTCOMES.rate)
    taught = _taught(OUTCOMES, y)._replace(tests=OUTCOMES.tests, kin=OUTCOMES.tests)
    names = ["form title", "title words"]
    part = fit_ridge(joined(blocks, names), names, taught, every)
    x = np.hstack([blocks["form title"], blocks["title words"].toarray()])
    tests = np.eye(OUTCOMES.tests.max() + 1)[OUTCOMES.tests]
    for penalty in (0.1, 1.0, 3.0, 10.0, 30.0):
        wide = np.hstack([x, tests * np.sqrt(3 * penalty)])
        theirs = Ridge(penalty).fit(wide, y)
        if np.allclose(theirs.coef_[: x.shape[1]], part.weight, atol=2e-3):
            break
    else:
        raise AssertionError("no penalty gives these weights")
    np.testing.assert_allclose(part.predict(blocks), x @ part.weight + part.bias, atol=1e-9)


def test_trees_are_those_of_scikit_learn() -> None:
    read = AdReader.of(OUTCOMES.records, TEXTS)
    every = np.arange(len(OUTCOMES))
    blocks = read.fitted(every).blocks(read)
    without = {name: block for name, block in blocks.items() if not name.startswith("level ")}
    alike, y = components_of(without, seed=0), np.log(OUTCOMES.rate)
    part = fit_trees(without, _taught(OUTCOMES, y), every, alike, seed=0)
    theirs = HistGradientBoostingRegressor(
        learning_rate=0.06, max_iter=150, max_leaf_nodes=15, l2_regularization=1.0,
        early_stopping=False, random_state=0,
    ).fit(part.inputs(without), y)  # fmt: skip
    # Quantiles of inputs are cut a little otherwise.
    assert np.corrcoef(part.predict(without), theirs.predict(part.inputs(without)))[0, 1] > 0.97


# --------------------------------------------------------------------------------------------------
# What is read.


def test_what_teaches_nothing_and_other_texts_are_refused() -> None:
    same = AdReader.of([AdRecord(title="same")] * 4, TEXTS)
    with pytest.raises(DataError, match="nothing can be learnt"):
        same.fitted(np.arange(4))
    read = AdReader.of(FILMS, TEXTS)
    other = replace(read, texts="other")
    with pytest.raises(DataError, match="otherwise than in training"):
        read.fitted(np.arange(len(FILMS))).blocks(other)
    with pytest.raises(DataError, match="expected vectors of"):
        AdReader.of(FILMS[:3], TEXTS, {"image": np.zeros((2, 2))})


FILM = AdRecord(
    kind="video",
    brand="Mill  Lane",
    title="Fresh <b>bread</b>",
    words="<p>Baked at six.</p>\n\nTwo for 3.\nTea &amp; milk.",
    speech="come in",
    seconds=30.0,
    pace="high",
    scenes=(
        Scene(caption="a loaf", foreground=("Red", "red"), tone="warm", faces=2, words=("six",)),
        Scene(caption="a shop", tags=("shop",), words=("open", "now")),
    ),
)


def test_texts_by_slot_without_markup() -> None:
    assert texts_of(FILM) == {
        "title": "Fresh bread",
        "words": "Baked at six.",
        "more": "Two for 3. Tea & milk.",
        "shown": "six open now",
        "speech": "come in",
        "scenes": "a loaf a shop",
    }
    assert set(texts_of(AdRecord())) == set(SLOTS)
    assert not any(texts_of(AdRecord()).values())
    assert texts_of(AdRecord(title="3 < 5 and 7 > 6"))["title"] == "3 < 5 and 7 > 6"


def test_how_a_text_is_written() -> None:
    assert len(form_of("")) == FORM_WIDTH
    plain, asked = form_of("is it so"), form_of("Is it SO?! “5”...")
    assert plain[0] == math.log1p(8)
    assert plain[1] == math.log1p(3)
    assert [plain[place] for place in (7, 8, 9, 11, 12, 18, 19)] == [0] * 7
    assert [asked[place] for place in (7, 8, 9, 11, 12)] == [1] * 5
    assert asked[5] == 3
    assert asked[17] > plain[17] == 0
    assert form_of("")[19] == 1


def test_numbers_levels_and_bags() -> None:
    numbers = dict(zip(NUMBERS, numbers_of(FILM), strict=True))
    assert numbers == {
        "seconds": math.log1p(30),
        "scene count": math.log1p(2),
        "scenes a minute": 4.0,
        "faces": 2.0,
        "share of scenes with faces": 1.0,
    }
    assert all(math.isnan(one) for one in numbers_of(AdRecord()))
    assert categories_of(FILM) == ["video", "mill lane", "", "high", ""]
    assert len(categories_of(FILM)) == len(CATEGORIES)
    bags = dict(zip(BAGS, bags_of(FILM), strict=True))
    assert bags["foreground"] == ("red", "red")
    assert bags["tone"] == ("warm",)
    assert bags["tags"] == ("shop",)
    assert bags["emotions"] == ()


class Counting:
    """Remembers what it was asked for."""

    name, width = "lengths", 2

    def __init__(self) -> None:
        self.asked: list[str] = []

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        self.asked += texts
        return np.array([[len(text), 1 / 3] for text in texts], np.float32)


def test_equal_texts_are_encoded_once(tmp_path: Path) -> None:
    encoder, again = Counting(), Counting()
    texts = ["a", "", "bb", "a"]
    free = EncodedTexts(encoder).vectors(texts)
    kept = EncodedTexts(again, tmp_path).vectors(texts)
    np.testing.assert_array_equal(free, kept)
    assert encoder.asked == again.asked == ["a", "bb"]
    assert np.isnan(free[1]).all()
    assert free[0, 0] == 1
    EncodedTexts(again, tmp_path).vectors(texts)
    assert len(again.asked) == 2


def test_without_the_extra_n_grams_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    found = encoded_texts()
    assert found.name == encoded_texts("hashed").name
    assert found.vectors(["fresh bread", ""]).shape == (2, 1024)
    with pytest.raises(MissingExtraError):
        encoded_texts("minilm")
