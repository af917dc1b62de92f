from pathlib import Path

import pytest

from adwright.cli.creative.ads import LOOK_FOR, ad_columns, look_at, opened_ads
from adwright.core.errors import ConfigError


def test_columns_are_guessed_or_told(shop: Path) -> None:
    table = opened_ads(shop / "ads.csv", ad_columns(None))
    assert table.records[0].words == "Baked at six."
    assert table.media[2] is None
    told = opened_ads(shop / "ads.csv", ad_columns("title=BODY,words=headline,image="))
    assert (told.records[0].title, told.records[0].words) == ("Baked at six.", "Fresh bread")
    assert set(told.media) == {None}
    with pytest.raises(ConfigError, match="an ad has no column 'slogan'"):
        ad_columns("slogan=body")


def test_nothing_is_looked_for(shop: Path) -> None:
    table = opened_ads(shop / "ads.csv", ad_columns(None))
    assert look_at(table, "nothing", offline=True).looked == 0
    assert LOOK_FOR.count(",") == 3
