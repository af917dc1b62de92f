"""Names as texts may say them: letter for letter, shorter, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from adwright.authoring.plan.names import (
    Naming,
    code_words,
    proposed_codes,
    read_codes,
    recased,
    write_codes,
)
from adwright.authoring.tasks import Product
from adwright.core.errors import FileUnreadableError, SchemaError


def name(title: str, most: int = 30, brand: str = "", **codes: str) -> str:
    return Naming(codes).name(Product("1", title, brand=brand)).within(most)


@pytest.mark.parametrize(
    ("title", "short"),
    [
        ("Steel tea tin", "Steel tea tin"),
        ("STAINLESS STEEL KETTLE 1.7L", "Stainless Steel Kettle 1.7L"),
        ("Hyrax 2G8 Rock Tent with 3 poles and a bag", "Hyrax 2G8 Rock Tent"),
        ("sony black active speaker system srsa212bk", "speaker system srsa212bk"),
        ("casio exilim ex-zs10 14.1 mp digital camera black w 5x zoom", "digital camera black"),
        ("case logic 72 capacity heavy duty cd wallet", "heavy duty cd wallet"),
        ("compatible hp q5421a kit for the maintenance of printers", "hp q5421a kit"),
        ("Tea &amp; <b>biscuits</b>", "Tea & biscuits"),
        ("iPhone 5s", "iPhone 5s"),
        ("日本製 急須 400ml", "日本製 急須 400ml"),
    ],
)
def test_a_name_is_a_part_of_the_title(title: str, short: str) -> None:
    if short.startswith("hp"):
        assert name(title) != short  # compatible with it is not it
    else:
        assert name(title) == short


@pytest.mark.parametrize(
    ("title", "codes"),
    [
        ("PLSTC CTLRYTBLCLTHSTTHPKSST", ("PLSTC", "CTLRYTBLCLTHSTTHPKSST")),
        ("Plastic ctlrytblclthstthpksst", ("ctlrytblclthstthpksst",)),
        ("FRZN SS PREMIUM ENTREES", ("FRZN",)),
        ("Sony HDTV DKNY LCD 40 inch TV dvpfx820", ()),
        ("Knightsbridge catchphrase strengths rhythm", ()),
        ("peerless sglb01 flat panel tv stand", ()),
    ],
)
def test_codes_are_words_that_nobody_can_say(title: str, codes: tuple[str, ...]) -> None:
    assert code_words(title) == codes


def test_a_name_with_codes_is_left_out_until_a_person_has_expanded_them(tmp_path: Path) -> None:
    found = Naming().name(Product("1", "PLSTC FORKS"))
    assert found.forms == ()
    assert "PLSTC" in found.why
    assert name("PLSTC FORKS", plstc="plastic") == "Plastic Forks"
    products = [Product("1", "PLSTC FORKS"), Product("2", "Plastic cups"), Product("3", "BRKFST")]
    rows = proposed_codes(products)
    assert rows == [("plstc", "plastic", 1), ("brkfst", "", 1)]
    path = tmp_path / "codes.csv"
    write_codes(path, rows, {})
    assert read_codes(path) == {}
    path.write_text(path.read_text().replace("plastic,1,", "plastic,1,yes"))
    assert read_codes(path) == {"plstc": "plastic"}
    write_codes(path, rows[1:], read_codes(path))
    assert read_codes(path) == {"plstc": "plastic"}
    with pytest.raises(FileUnreadableError, match="cannot be read"):
        read_codes(tmp_path / "none.csv")
    path.write_text("code,meaning\na,b\n")
    with pytest.raises(SchemaError, match="lacks a column"):
        read_codes(path)


def test_other_languages_are_told() -> None:
    german = Naming().name(Product("1", "Teekanne aus Porzellan mit Sieb"))
    assert german.language != "en"
    assert Naming().name(Product("1", "日本製 急須", locale="en")).language == ""
    assert Naming().name(Product("1", "Steel tea tin")).language == "en"
    assert recased("USB CABLE FOR LG TV") == "USB Cable for LG TV"
