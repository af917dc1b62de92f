from pathlib import Path

from adwright.cli.creative.ads import LOOK_FOR, ChosenColumns, look_at, opened_ads


def chosen(**named: object) -> ChosenColumns:
    none = dict.fromkeys(("id", "title", "words", "brand", "seconds", "image", "video", "text"))
    return ChosenColumns(**{**none, **named})


def test_columns_are_guessed_or_told(shop: Path) -> None:
    table = opened_ads(shop / "ads.csv", chosen())
    assert table.records[0].words == "Baked at six."
    assert table.media[2] is None
    told = opened_ads(shop / "ads.csv", chosen(title="body", words=["headline"], image=""))
    assert (told.records[0].title, told.records[0].words) == ("Baked at six.", "Fresh bread")
    assert set(told.media) == {None}


def test_nothing_is_looked_for(shop: Path) -> None:
    table = opened_ads(shop / "ads.csv", chosen())
    assert look_at(table, "nothing", offline=True).looked == 0
    assert LOOK_FOR.count(",") == 3
