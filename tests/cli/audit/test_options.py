from pathlib import Path

import pytest

pytest.importorskip("openai", reason="the extra lm is not installed")

from adwright.audit.catalogue import ShopCatalogue, ShopListing
from adwright.cli.audit import DefenceChoice, TargetChoice, language_model, open_shop
from adwright.core.errors import ConfigError
from tests.support.audit.chats import kettle_files


def test_options_choose_columns_and_rows(tmp_path: Path) -> None:
    file, _ = kettle_files(tmp_path)
    columns = "name=Name,facts=Price,texts=Ideal For,texts=Rating"
    with pytest.raises(Exception, match="1 of 1 rows"):
        open_shop(file, "A pot?", columns, where="Rating=4.5")
    found = open_shop(file, "A pot?", "texts=Rating", most=3, own=True)
    assert (len(found), found.own, found.request) == (3, True, "A pot?")
    assert list(found.listings[0].texts) == ["Rating"]
    pairs = "name=NAME,facts=price,texts=ideal_for,texts=rating"
    told = open_shop(file, "A pot?", pairs).listings[0]
    assert (list(told.attributes), list(told.texts)) == (["Price"], ["Ideal For", "Rating"])
    with pytest.raises(ConfigError, match=r"a product has no column 'fact'.*closest is facts"):
        open_shop(file, "A pot?", "fact=Price")


def test_options_choose_who_ranks() -> None:
    url = "http://127.0.0.1:9/v1"
    with_mean = TargetChoice(url=url, model="m", average=3).open(seed=2)
    assert with_mean.name == "m, free answer (temperature 0), mean of 3 orders"
    with_mean.close()
    with pytest.raises(ConfigError, match="asked for a list"):
        TargetChoice("likelihood", url=url, model="m").open()
    assert language_model("").engine == "torch"
    assert language_model("a+engine=paged").engine == "paged"
    with pytest.raises(ConfigError, match="which model"):
        language_model("", url)


def test_a_guard_that_cannot_alarm_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    listings = tuple(
        ShopListing(f"Kettle {row}", {}, {"For": f"boils {row} cups of water in a minute"})
        for row in range(60)
    )
    DefenceChoice(defend=True, eps=0.5, typed_facts=False).stack(
        ShopCatalogue("kettles", "A kettle?", listings)
    )
    assert "cannot alarm: it needs some 300 honest texts" in capsys.readouterr().err


def test_typed_facts_need_defences_and_facts() -> None:
    with pytest.raises(ConfigError, match="no defences"):
        DefenceChoice(defend=False, eps=0.5, typed_facts=True)
    listings = tuple(ShopListing(name, {}, {"For": "tea"}) for name in ("Kettle", "Pot"))
    bare = ShopCatalogue("kettles", "A kettle?", listings)
    with pytest.raises(ConfigError, match="no listing has an attribute") as caught:
        DefenceChoice(defend=True, eps=0.5, typed_facts=True).check(bare)
    assert caught.value.where == "--typed-facts"
