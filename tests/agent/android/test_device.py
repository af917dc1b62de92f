"""Acts on phones as plain data."""

from __future__ import annotations

import pytest

from adwright.agent.android.phone_driver import PhoneAct, PhoneDevice, app_address
from adwright.core.errors import ConfigError
from tests.support.agent.phone_app import ShopPhone


def test_acts_are_of_a_kind() -> None:
    assert PhoneAct("tap", x=1, y=2) == PhoneAct("tap", "", 1, 2)
    with pytest.raises(ConfigError, match="kind"):
        PhoneAct("push")  # type: ignore[arg-type]


def test_apps_have_addresses() -> None:
    phone: PhoneDevice = ShopPhone()
    assert phone.address("com.shop.ads") == app_address("com.shop.ads")
    assert app_address("com.shop.ads") == "android-app://com.shop.ads/"
