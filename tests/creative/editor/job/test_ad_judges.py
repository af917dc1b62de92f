from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adwright.core.errors import ConfigError
from adwright.creative.editor.edits.plan import EditPlan
from adwright.creative.editor.edits.tones import Exposure
from adwright.creative.editor.job.ad_judges import (
    AdOnPictures,
    PictureEyes,
    Unlikeness,
    sees_pictures,
)
from adwright.creative.editor.search.population import edited_batch
from adwright.creative.judges import open_judge
from adwright.creative.judging.ad_vectors import IMAGE
from adwright.creative.judging.judgement import Judgements
from adwright.creative.records.seeing.colours import colours_of
from adwright.creative.records.verbal.record import AdRecord, Scene
from adwright.creative.response.fit import ClickRateConfig, fit_click_rate
from adwright.creative.response.inputs.texts import encoded_texts
from tests.support.data.judged_pictures import Brightness, shop_windows
from tests.support.data.small_creatives import small_creatives

PICTURES = shop_windows(3, seed=1)
RECORD = AdRecord(
    kind="image", title="Bread", scenes=(Scene(tone="cool", words=("38% off",), faces=2),)
)


class Tones:
    """Says 1 of a warm ad, and keeps what it was asked."""

    name = "recall"

    def __init__(self) -> None:
        self.asked: list[AdRecord] = []

    def judge(self, ads: Sequence[AdRecord], /) -> Judgements:
        self.asked += ads
        value = np.array([ad.scenes[0].tone == "warm" for ad in ads], np.float32)
        return Judgements(value, value, value, value > 0)


def test_every_picture_is_encoded_once_and_judged_as_the_judge_would(
    bright_runs: dict[str, Path],
) -> None:
    judge, encoder = open_judge(bright_runs["a"]), Brightness()
    eyes = PictureEyes(encoder, colours=False)
    asked = AdOnPictures("click_rate", judge, RECORD, eyes)
    found = asked.judge(PICTURES[[0, 1, 0]])
    vectors = encoder.encode_pictures([Image.fromarray(one) for one in PICTURES[[0, 1, 0]]], 3)
    wanted = judge.judge([RECORD] * 3, {IMAGE: vectors}).value  # type: ignore[call-arg]
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
    assert found[0] != found[1]
    assert eyes.looked == 2
    again = AdOnPictures("click_rate", open_judge(bright_runs["b"]), RECORD, eyes)
    assert not np.allclose(again.judge(PICTURES), asked.judge(PICTURES), rtol=1e-9)
    assert eyes.looked == 3


def test_the_record_shows_the_new_colours_and_keeps_its_words() -> None:
    judge = Tones()
    asked = AdOnPictures("recall", judge, RECORD, PictureEyes(None))
    warm = np.full((32, 32, 3), (220, 120, 40), np.uint8)
    cool = np.full((32, 32, 3), (40, 90, 200), np.uint8)
    assert asked.judge(np.stack([warm, cool, warm])).tolist() == [1, 0, 1]
    assert len(judge.asked) == 2
    (scene,) = judge.asked[0].scenes
    seen = colours_of(Image.fromarray(warm))
    assert (scene.foreground, scene.tone) == (seen.foreground, "warm")
    assert (scene.words, scene.faces, judge.asked[0].title) == (("38% off",), 2, "Bread")
    assert asked.unlike(np.stack([cool, warm])).tolist() == [False, True]
    blank = AdOnPictures("recall", Tones(), AdRecord(title="Bread"), PictureEyes(None))
    assert blank.judge(warm[None]).tolist() == [1]


def test_an_edit_that_makes_it_unlike_costs() -> None:
    class Bright(Tones):
        def judge(self, ads: Sequence[AdRecord], /) -> Judgements:
            value = np.zeros(len(ads), np.float32)
            odd = ["white" in ad.scenes[0].foreground for ad in ads]
            return Judgements(value, value, value, np.array(odd, bool))

    picture = np.full((32, 32, 3), 185, np.uint8)
    white = AdOnPictures("recall", Bright(), RECORD, PictureEyes(None))
    never = AdOnPictures("recall", Tones(), RECORD, PictureEyes(None))
    batch = edited_batch(EditPlan((Exposure(),)), np.array([[0.0], [1.0]]), picture)
    penalty = Unlikeness((white, never))
    lost = penalty.of(batch)
    seen = white.unlike(np.stack([batch.unedited, *batch.pictures]))
    np.testing.assert_array_equal(lost, (seen[1:].astype(float) - float(seen[0])).clip(0) / 2)
    assert lost.tolist() == [0.0, 0.5]
    assert penalty.name == "unlikeness"


def test_a_judge_of_texts_alone_is_blind(bright_runs: dict[str, Path]) -> None:
    seen = sees_pictures(open_judge(bright_runs["a"]), "a")
    assert seen == {"vectors": True, "colours": False}
    assert sees_pictures(Tones(), "b") == {"vectors": False, "colours": True}
    config = ClickRateConfig(network=None)
    words = fit_click_rate(small_creatives(), config, texts=encoded_texts("hashed"))
    with pytest.raises(ConfigError, match="does not look at pictures"):
        sees_pictures(words, "runs/words")
