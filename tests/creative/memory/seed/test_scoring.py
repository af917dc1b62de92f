from __future__ import annotations

from adwright.creative.memory.seed.sampling import WrittenAds
from adwright.creative.memory.seed.scoring import judged, scored
from adwright.creative.memory.seed.texts.brief import AdBrief
from adwright.creative.memory.seed.texts.copying import CopyIndex
from adwright.creative.memory.seed.texts.filters import AdFilterConfig, AdFilters
from adwright.creative.records.ad_record import AdRecord
from tests.support.creative.seed_rounds import WordJudge

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


def test_what_is_unlike_may_be_kept() -> None:
    own = WordJudge("zing", strange="odd")
    found = scored(WRITTEN, own, AdFilters(AdFilterConfig(unlike=False), CopyIndex([])))
    assert found.usable == [(0, 0), (0, 2)]


def test_many_ads_are_judged_some_at_a_time() -> None:
    ads = [AdRecord(title="zing " * (at % 3)) for at in range(600)]
    values, unlike = judged(WordJudge("zing"), ads)
    assert values.tolist() == [1.0 + at % 3 for at in range(600)]
    assert not unlike.any()
    assert judged(WordJudge("zing"), [])[0].shape == (0,)
