import pytest

from adwright.core.errors import AdwrightError, ConfigError, ValueInvalidError
from adwright.creative.records.verbal.record import AdRecord, Scene


def test_all_that_is_to_be_read() -> None:
    scenes = (Scene(words=("38% off", "today")), Scene(caption="a loaf"))
    assert AdRecord(title="Bread", words="At six.", scenes=scenes).text == (
        "Bread\nAt six.\n38% off\ntoday"
    )
    assert AdRecord().text == ""


@pytest.mark.parametrize(
    ("kind", "wrong", "error"),
    [
        (Scene, {"tags": "bread"}, ConfigError),
        (Scene, {"tags": ["bread"]}, ValueInvalidError),
        (Scene, {"words": (1,)}, ConfigError),
        (Scene, {"caption": None}, ConfigError),
        (Scene, {"complexity": "huge"}, ConfigError),
        (Scene, {"faces": -1}, ValueInvalidError),
        (Scene, {"faces": 1.5}, ConfigError),
        (Scene, {"start": float("nan")}, ValueInvalidError),
        (AdRecord, {"kind": "audio"}, ConfigError),
        (AdRecord, {"brand": 3}, ConfigError),
        (AdRecord, {"orientation": "round"}, ConfigError),
        (AdRecord, {"pace": "Low"}, ConfigError),
        (AdRecord, {"motion": "none"}, ConfigError),
        (AdRecord, {"seconds": -0.1}, ValueInvalidError),
        (AdRecord, {"scenes": ("a loaf",)}, ConfigError),
        (AdRecord, {"scenes": [Scene()]}, ValueInvalidError),
    ],
)
def test_what_is_no_part_of_an_ad(
    kind: type, wrong: dict[str, object], error: type[AdwrightError]
) -> None:
    name = next(iter(wrong))
    with pytest.raises(error, match=name):
        kind(**wrong)
