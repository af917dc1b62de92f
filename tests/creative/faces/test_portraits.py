import numpy as np
import pytest

pytest.importorskip("dicebear", reason="the extra creative is not installed")
pytest.importorskip("resvg_py", reason="the extra creative is not installed")

from adwright.core.errors import ConfigError
from adwright.creative.faces import portraits
from adwright.creative.faces.portraits import LABELS, draw_portraits, redrawn


@pytest.fixture(scope="module")
def drawn() -> portraits.DrawnPortraits:
    return draw_portraits(60, seed=0)


def picture(options: dict[str, object]) -> np.ndarray:
    return portraits.draw_one(options, 32)


def test_the_same_seed_draws_the_same(drawn: portraits.DrawnPortraits) -> None:
    assert len(drawn) == 60
    assert drawn.pictures.shape == (60, 32, 32, 3)
    fewer = draw_portraits(5, seed=0)
    assert np.array_equal(fewer.pictures, drawn.pictures[:5])
    assert not np.array_equal(draw_portraits(5, seed=1).pictures, fewer.pictures)
    assert draw_portraits(1, seed=0, side=64).pictures.shape == (1, 64, 64, 3)


def test_edges_are_soft(drawn: portraits.DrawnPortraits) -> None:
    """Enlarged from squares, whose edges a generator would have to hit to the pixel."""
    halves = drawn.pictures[:, :, ::2].astype(int) - drawn.pictures[:, :, 1::2]
    assert np.count_nonzero(halves) > halves.size / 10
    plain = portraits.draw_one(drawn.options[0], 16)
    assert np.array_equal(plain, draw_portraits(1, seed=0, side=16).pictures[0])


def test_every_label_takes_several_values(drawn: portraits.DrawnPortraits) -> None:
    assert tuple(drawn.labels) == LABELS
    for name, values in drawn.labels.items():
        assert values.shape == (60,)
        assert 0 <= values.min() < values.max() <= 1, name


@pytest.mark.parametrize(
    ("label", "values", "rows"),
    [
        ("smile", (False, True), (14, 27)),
        ("glasses", (False, True), (5, 21)),
        ("beard", (False, True), (7, 30)),
    ],
)
def test_one_change_moves_one_part(
    drawn: portraits.DrawnPortraits, label: str, values: tuple[bool, bool], rows: tuple[int, int]
) -> None:
    moved = 0
    for options in drawn.options[:8]:
        one, other = (picture(redrawn(options, label, value)) for value in values)
        where = np.flatnonzero((one != other).any((1, 2)))
        moved += len(where)
        assert not len(where) or rows[0] <= where.min() <= where.max() <= rows[1]
    assert moved


def test_colours_and_hair(drawn: portraits.DrawnPortraits) -> None:
    options = drawn.options[0]
    for label, value in (("background", "#102030"), ("skin", "#8d5524"), ("clothes", "#5bc0de")):
        changed = redrawn(options, label, value)
        assert not np.array_equal(picture(changed), picture(options)) or changed == options
    assert redrawn(options, "long_hair", True)["hairVariant"][0].startswith("long")
    dark = redrawn(options, "dark_glasses", True)
    assert (dark["glassesProbability"], dark["glassesVariant"][0][:4]) == (100, "dark")
    assert redrawn(options, "hat", False)["hatProbability"] == 0


def test_what_is_refused(drawn: portraits.DrawnPortraits) -> None:
    with pytest.raises(ConfigError, match="no label 'age'"):
        redrawn(drawn.options[0], "age", 30)
    with pytest.raises(ConfigError, match="below 16"):
        draw_portraits(1, seed=0, side=8)
