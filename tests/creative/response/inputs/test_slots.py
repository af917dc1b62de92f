"""What is read of a record, and that nothing else is."""

from __future__ import annotations

import math

from adwright.creative.records.verbal.record import AdRecord, Scene
from adwright.creative.response.inputs.slots import (
    BAGS,
    CATEGORIES,
    FORM_WIDTH,
    NUMBERS,
    SLOTS,
    bags_of,
    categories_of,
    form_of,
    numbers_of,
    texts_of,
)

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
