import pytest

from adwright.core.errors import ValueInvalidError
from adwright.creative.records.verbal.record import AdRecord, Scene


def test_all_that_is_to_be_read() -> None:
    scenes = (Scene(words=("38% off", "today")), Scene(caption="a loaf"))
    assert AdRecord(title="Bread", words="At six.", scenes=scenes).text == (
        "Bread\nAt six.\n38% off\ntoday"
    )
    assert AdRecord().text == ""


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (Scene, {"tags": "bread"}),
        (Scene, {"words": (1,)}),
        (Scene, {"caption": None}),
        (Scene, {"complexity": "huge"}),
        (Scene, {"faces": -1}),
        (Scene, {"start": float("nan")}),
        (AdRecord, {"kind": "audio"}),
        (AdRecord, {"brand": 3}),
        (AdRecord, {"orientation": "round"}),
        (AdRecord, {"pace": "Low"}),
        (AdRecord, {"motion": "none"}),
        (AdRecord, {"seconds": -0.1}),
        (AdRecord, {"scenes": ("a loaf",)}),
    ],
)
def test_what_is_no_part_of_an_ad(kind: type, wrong: dict[str, object]) -> None:
    name = next(iter(wrong))
    with pytest.raises(ValueInvalidError, match=name):
        kind(**wrong)
