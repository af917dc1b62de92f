from pathlib import Path

import pytest

from adwright.cli.creative.ads import LOOK_FOR, ChosenColumns, look_at, opened_ads
from adwright.core.errors import ConfigError


def chosen(**named: object) -> ChosenColumns:
    none = dict.fromkeys(
        ("pairs", "id", "title", "words", "brand", "seconds", "image", "video", "text")
    )
    return ChosenColumns(**{**none, **named})


def test_columns_are_guessed_or_told(shop: Path) -> None:
    table = opened_ads(shop / "ads.csv", chosen())
    assert table.records[0].words == "Baked at six."
    assert table.media[2] is None
    told = opened_ads(shop / "ads.csv", chosen(title="body", words=["headline"], image=""))
    assert (told.records[0].title, told.records[0].words) == ("Baked at six.", "Fresh bread")
    assert set(told.media) == {None}
    both = chosen(pairs="title=BODY,words=headline,image=", title="headline")
    assert opened_ads(shop / "ads.csv", both).records == told.records
    with pytest.raises(ConfigError, match="an ad has no column 'slogan'"):
        chosen(pairs="slogan=body").columns()


def test_nothing_is_looked_for(shop: Path) -> None:
    table = opened_ads(shop / "ads.csv", chosen())
    assert look_at(table, "nothing", offline=True).looked == 0
    assert LOOK_FOR.count(",") == 3
