"""Fields are fitted on training ads alone, and missing is a value of its own."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
import torch

from adwright.core.config import from_jsonable, to_jsonable
from adwright.core.errors import DataError
from adwright.creative.records.verbal.record import AdRecord, Scene
from adwright.creative.response.inputs.features import AdFeatures
from adwright.creative.response.inputs.texts import encoded_texts
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


def test_no_ad_changes_how_another_is_read(features: AdFeatures) -> None:
    flat = features.encode(FILMS, TEXTS).flat(features.sizes)
    alone = features.encode(FILMS[7:8], TEXTS).flat(features.sizes)
    torch.testing.assert_close(alone[0], flat[7])


def test_nothing_but_the_record_can_be_read() -> None:
    """Outcomes have no way in: a record has no field for them."""
    names = {field.name for field in fields(AdRecord)} | {field.name for field in fields(Scene)}
    assert not names & {"clicks", "impressions", "ctr", "significance", "winner", "first_place"}


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
