from typing import Any

import pytest
import torch

from adwright.core.errors import ConfigError
from adwright.creative.faces.augmenting.control import AugmentControl

SURE, UNSURE = torch.full((32,), 2.0), torch.tensor([1.0, -1.0] * 16)


def test_p_grows_where_the_discriminator_is_sure_and_falls_where_it_is_not() -> None:
    control = AugmentControl()
    for _ in range(3):
        control.seen(SURE)
    assert control.p == 0
    control.seen(SURE)
    assert control.p == pytest.approx(4 * 32 / 500_000)
    for _ in range(4):
        control.seen(UNSURE)
    assert control.p == 0
    for _ in range(4):
        control.seen(UNSURE)
    assert control.p == 0


def test_the_way_to_one_takes_so_many_pictures_and_ends_there() -> None:
    control = AugmentControl(kimg=1.0, every=1)
    for _ in range(31):
        control.seen(SURE)
    assert control.p == pytest.approx(31 * 32 / 1000)
    control.seen(SURE)
    assert control.p == 1.0


def test_the_target_is_held() -> None:
    half = torch.tensor([1.0] * 24 + [-1.0] * 8)  # mean sign .5
    low, high = AugmentControl(target=0.4, every=1), AugmentControl(target=0.6, every=1, p=0.5)
    low.seen(half)
    high.seen(half)
    assert low.p > 0
    assert high.p < 0.5
    same = AugmentControl(target=0.5, every=1, p=0.5)
    same.seen(half)
    assert same.p == 0.5


def test_the_state_goes_on() -> None:
    one, other = AugmentControl(), AugmentControl()
    for _ in range(6):
        one.seen(SURE)
    other.load_state(one.state())
    for _ in range(2):
        one.seen(SURE)
        other.seen(SURE)
    assert other.state() == one.state()
    with pytest.raises(KeyError):
        other.load_state({"p": 0.5})


@pytest.mark.parametrize("wrong", [{"target": 1.5}, {"p": -1.0}, {"every": 0}, {"kimg": 0.0}])
def test_settings_that_mean_nothing(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        AugmentControl(**wrong)
