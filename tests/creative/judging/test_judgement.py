from collections.abc import Sequence

import numpy as np
import pytest

from adwright.core.errors import ValueInvalidError
from adwright.creative.judging.judgement import AdJudge, Judgements
from adwright.creative.records.verbal.record import AdRecord

ONE, TWO = np.ones(1, np.float32), np.ones(2, np.float32)


class Length:
    name = "length"

    def judge(self, ads: Sequence[AdRecord]) -> Judgements:
        value = np.array([len(ad.text) for ad in ads], np.float32)
        return Judgements(value, value - 1, value + 1, value == 0)


def test_a_judge() -> None:
    judge = Length()
    assert isinstance(judge, AdJudge)
    found = judge.judge([AdRecord(title="Bread"), AdRecord()])
    assert len(found) == 2
    assert found.unlike.tolist() == [False, True]


@pytest.mark.parametrize(
    ("low", "value", "high", "says"),
    [
        (ONE, TWO, TWO, "low"),
        (TWO, TWO, TWO[:, None], "high"),
        (2 * ONE, ONE, ONE, "low"),
        (ONE, 2 * ONE, ONE, "low"),
        (ONE, np.full(1, np.nan, np.float32), ONE, "value"),
    ],
)
def test_what_is_no_judgement(
    low: np.ndarray, value: np.ndarray, high: np.ndarray, says: str
) -> None:
    with pytest.raises(ValueInvalidError, match=says):
        Judgements(value, low, high, np.zeros(len(value), bool))
