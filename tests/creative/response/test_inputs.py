"""Fields are fitted on training ads alone, and missing is a value of its own."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from adwright.core.config import from_jsonable, to_jsonable
from adwright.core.errors import DataError, MissingExtraError
from adwright.creative.records.ad_record import AdRecord, Scene
from adwright.creative.response.inputs import (
    BAGS,
    CATEGORIES,
    FORM_WIDTH,
    NUMBERS,
    SLOTS,
    AdFeatures,
    AdInputs,
    EncodedTexts,
    bags_of,
    categories_of,
    encoded_texts,
    form_of,
    numbers_of,
    texts_of,
)
from tests.support.data.small_creatives import small_creatives

TEXTS = encoded_texts("hashed")
FILMS = small_creatives(20, films=True).records


@pytest.fixture(scope="module")
def features() -> AdFeatures:
    return AdFeatures.fit(FILMS, TEXTS, min_count=3)


def test_fields_are_those_that_differ(features: AdFeatures) -> None:
    names = [one.name for one in features.vectors]
    assert "title" in names
    assert "title form" in names
    assert "headline grams" in names
    assert "speech" not in names
    assert features.numbers == ("seconds", "scenes a minute")
    assert [one.name for one in features.categories] == ["pace"]
    assert {one.name: one.values for one in features.bags}["tags"] == ("shop", "street")


def test_no_vector_of_training_ads_outweighs_the_others(features: AdFeatures) -> None:
    inputs = features.encode(FILMS, TEXTS)
    for field, vector in zip(features.vectors, inputs.vectors, strict=True):
        length = float((torch.nan_to_num(vector) ** 2).sum(1).mean())
        # How a text is written differs in some places only.
        assert 0 < length < 1.01 if field.mean else length == pytest.approx(1, abs=0.01)
    assert abs(float(inputs.numbers.mean())) < 1e-5


def test_a_sign_that_no_training_ad_has_stays_small(features: AdFeatures) -> None:
    inputs = features.encode([AdRecord(title="(new): what? 5-a-day!")], TEXTS)
    place = [one.name for one in features.vectors].index("title form")
    assert float(inputs.vectors[place].abs().max()) < 30


def test_missing_and_unknown_are_told_apart(features: AdFeatures) -> None:
    ads = [AdRecord(), AdRecord(pace="medium"), AdRecord(pace="low", scenes=(Scene(),))]
    inputs = features.encode(ads, TEXTS)
    assert inputs.codes[:, 0].tolist() == [0, 1, 3]
    title = [one.name for one in features.vectors].index("title")
    assert inputs.vectors[title].isnan().all()
    assert inputs.numbers.isnan().all()
    assert not inputs.flat(features.sizes).isnan().any()
    assert all((bag == 0).all() for bag in inputs.bags)


def test_images_are_a_field_where_they_are_given() -> None:
    images = np.random.default_rng(0).normal(size=(len(FILMS), 6)).astype(np.float32)
    images[0] = np.nan
    made = AdFeatures.fit(FILMS, TEXTS, vectors={"image": images})
    assert made.further == ("image",)
    inputs = made.encode(FILMS, TEXTS, {"image": images, "other": images})
    place = [one.name for one in made.vectors].index("image")
    assert inputs.vectors[place][0].isnan().all()
    assert made.encode(FILMS, TEXTS).vectors[place].isnan().all()
    assert made.without("image").further == ()
    with pytest.raises(DataError, match="as wide"):
        made.encode(FILMS, TEXTS, {"image": images[:, :2]})
    with pytest.raises(DataError, match="expected vectors of"):
        made.encode(FILMS[:3], TEXTS, {"image": images})


def test_it_is_stored_as_plain_values(features: AdFeatures) -> None:
    assert from_jsonable(AdFeatures, to_jsonable(features)) == features


def test_what_teaches_nothing_and_other_texts_are_refused(features: AdFeatures) -> None:
    with pytest.raises(DataError, match="nothing can be learnt"):
        AdFeatures.fit([AdRecord(title="same")] * 4, TEXTS)

    class Other:
        name = "other"

        def vectors(self, texts: list[str]) -> np.ndarray:
            return np.zeros((len(texts), 2), np.float32)

    with pytest.raises(DataError, match="otherwise than in training"):
        features.encode(FILMS, Other())


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


NAN = torch.nan
INPUTS = AdInputs(
    (torch.tensor([[1.0, 2.0], [NAN, NAN]]),),
    torch.tensor([[NAN], [3.0]]),
    torch.tensor([[2, 0], [1, 1]]),
    (torch.tensor([[0.5, 0.5], [0.0, 0.0]]),),
)


def test_what_is_missing_has_a_column_of_its_own() -> None:
    flat = INPUTS.flat((3, 2))
    assert flat.tolist() == [
        [1, 2, 0, 0, 1, 0, 0, 1, 1, 0, 0.5, 0.5],
        [0, 0, 1, 3, 0, 0, 1, 0, 0, 1, 0, 0],
    ]


def test_rows_are_taken_in_their_order() -> None:
    assert len(INPUTS) == 2
    turned = INPUTS.take(torch.tensor([1, 0]))
    torch.testing.assert_close(turned.flat((3, 2)), INPUTS.flat((3, 2))[[1, 0]])
    assert len(INPUTS.take(slice(0, 1))) == 1
