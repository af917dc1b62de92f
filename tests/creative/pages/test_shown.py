from adwright.creative.pages.shown import ShownAd, ShownAnswer
from adwright.creative.records.verbal.record import AdRecord


def test_answers_are_said_in_their_unit() -> None:
    rate = ShownAnswer("click_rate", 0.1, 0.0, 1.0)
    score = ShownAnswer("d", 0.1, 0, 1, percent=False)
    assert (rate.said(0.01234), score.said(1.23456)) == ("1.23%", "1.23")
    ad = ShownAd("a", AdRecord(), answers=(rate, score))
    assert ad.answer("d") is score
    assert ad.answer("none") is None
