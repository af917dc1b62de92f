from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from adwright.core.config import from_jsonable
from adwright.core.errors import DataError
from adwright.creative.memory.seed.measures import Measured, compared, measure
from adwright.creative.memory.seed.sampling import WrittenAds
from adwright.creative.memory.seed.texts.copying import CopyIndex
from adwright.creative.memory.seed.texts.filters import AdFilterConfig, AdFilters
from tests.support.creative.seed_rounds import WordJudge, seed_ads

ORIGINALS = seed_ads(3)
TEXTS = (("zing calm zing", "zing soft rye"), ("calm soft rye", ""), ("red zing rye", "x"))
OWN, SECOND = WordJudge("zing"), WordJudge("calm")
FILTERS = AdFilters(AdFilterConfig(), CopyIndex(["calm soft rye"]))


def written(texts: tuple[tuple[str, ...], ...] = TEXTS) -> list[WrittenAds]:
    pairs = zip(ORIGINALS, texts, strict=True)
    return [WrittenAds(ad.brief, each, (False,) * len(each)) for ad, each in pairs]


def measured(**asked: int) -> Measured:
    return measure(written(), ORIGINALS, OWN, SECOND, FILTERS, at=2, **asked)


def test_the_gain_is_that_of_the_sums_over_briefs_with_a_usable_ad() -> None:
    found = measured()
    first = [1 + ad.answer.split().count("zing") for ad in ORIGINALS]
    assert found.original_own == tuple(first)
    # The first brief: 3 and 2. The second: copied or empty. The third: a colour, or too short.
    assert found.counts == (2, 0, 0)
    assert found.own_values == (2.5, 0.0, 0.0)
    assert found.own is not None
    assert found.second is not None
    assert found.own.value == pytest.approx(2.5 / first[0] - 1)
    assert found.own.low <= found.own.value <= found.own.high
    assert (found.at, found.answered) == (2, pytest.approx(1 / 3))
    assert found.goal == found.second.value


def test_a_writer_that_writes_nothing_of_use_is_the_worst() -> None:
    nothing = measure(written((("",),) * 3), ORIGINALS, OWN, SECOND, FILTERS, at=1)
    assert (nothing.own, nothing.second, nothing.answered, nothing.goal) == (None, None, 0.0, -1.0)
    assert compared(nothing, measured()) is None


def test_texts_are_told_apart_from_judges() -> None:
    texts = measured().texts
    assert texts.reasons == {"copied": 1, "empty": 1, "ungrounded": 1, "short": 1}
    assert texts.usable == pytest.approx(2 / 6)
    assert texts.grounded == pytest.approx(4 / 5)
    assert texts.delivered == 1.0
    assert texts.copied == pytest.approx(1 / 5)
    assert texts.words == pytest.approx((3 + 3 + 3 + 3 + 1) / 5)
    assert 0 < texts.distinct1 < texts.distinct2 <= 1


def test_what_is_measured_comes_back_from_json() -> None:
    found = measured()
    assert from_jsonable(Measured, json.loads(json.dumps(asdict(found)))) == found


def test_draws_and_seed_change_the_interval_alone() -> None:
    one, other = measured(seed=1), measured(seed=2, draws=50)
    assert one.own is not None
    assert other.own is not None
    assert one.own.value == other.own.value
    assert one.own_values == other.own_values


def test_originals_without_a_score_have_no_relative_gain() -> None:
    class Low(WordJudge):
        def judge(self, ads, /):  # type: ignore[no-untyped-def]
            found = super().judge(ads)
            return type(found)(found.value - 9, found.low - 9, found.high - 9, found.unlike)

    found = measure(written(), ORIGINALS, Low("zing"), SECOND, FILTERS, at=0)
    assert found.own is None
    assert found.second is not None
    both = measure(written(), ORIGINALS, OWN, Low("calm"), FILTERS, at=0)
    assert compared(both, both) is None
    assert both.goal == both.second_values[0] - both.original_second[0]


def test_two_writers_are_compared_brief_by_brief() -> None:
    before = measure(written((("a soft rye",),) * 3), ORIGINALS, OWN, SECOND, FILTERS, at=0)
    after = measure(written((("calm warm rye",),) * 3), ORIGINALS, OWN, SECOND, FILTERS, at=1)
    found = compared(after, before)
    assert found is not None
    assert found.value == pytest.approx(3 / sum(before.original_second))
    assert found.low > 0
    assert after.agreement is None, "all scores are the same"


def test_other_briefs_are_refused() -> None:
    with pytest.raises(DataError, match="other briefs"):
        measure(written()[:2], ORIGINALS, OWN, SECOND, FILTERS, at=0)
    with pytest.raises(DataError, match="other briefs"):
        measure([], [], OWN, SECOND, FILTERS, at=0)
    fewer = measure(written()[:2], ORIGINALS[:2], OWN, SECOND, FILTERS, at=0)
    with pytest.raises(DataError, match="same briefs"):
        compared(fewer, measured())
