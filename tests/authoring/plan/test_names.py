"""Names as texts may say them: letter for letter, shorter, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from adwright.authoring.checks.names import (
    code_words,
    is_part_number,
    name_forms,
    recased,
    says_name,
    titled,
)
from adwright.authoring.plan.names import (
    Naming,
    fronts_of,
    proposed_codes,
    read_codes,
    write_codes,
)
from adwright.authoring.tasks import Product
from adwright.core.errors import FileUnreadableError, SchemaError


def name(title: str, most: int = 30, brand: str = "", **codes: str) -> str:
    naming = Naming(codes)
    forms = naming.name(naming.read(Product("1", title, brand=brand))).within(most)
    return forms[0] if forms else ""


@pytest.mark.parametrize(
    ("title", "brand", "short"),
    [
        ("Steel tea tin", "", "Steel Tea Tin"),
        ("STAINLESS STEEL KETTLE 1.7L", "", "Stainless Steel Kettle 1.7L"),
        ("Hyrax 2G8 Rock Tent with 3 poles and a bag", "", "Hyrax 2G8 Rock Tent"),
        ("sony black active speaker system srsa212bk", "sony", ""),
        ("sony black active speaker box srsa212bk", "sony", "Sony Black Active Speaker Box"),
        ("sony black active speaker and amplifier srsa212bk", "", ""),
        ("olympus fe-370 digital camera silver 226420", "", "Olympus Digital Camera Silver"),
        ("case logic 72 capacity heavy duty cd wallet", "case logic", "Case Logic CD Wallet"),
        ("Oak Shelf Board With Four Drawers", "", "Oak Shelf Board"),
        ("canon compatible pgi-220 black ink cartridge 2945b001", "canon", ""),
        ("netgear prosafe 24 port smart switch fs726tp", "netgear", "Netgear Smart Switch"),
        ("avery shipping labels 5.5 x 8.5 inches white 05126", "", "Avery Shipping Labels White"),
        ("speck seethru case for apple 13 ' macbook mb13-clr", "", "Speck Seethru Case for Apple"),
        ("adobe acrobat 8 - td not auth to sell", "adobe", "Adobe Acrobat 8"),
        ("Leather case, compatible with phones of any size", "", "Leather Case"),
        ("Tea &amp; <b>biscuits</b>", "", "Tea & Biscuits"),
        ("iPhone 5s", "", "iPhone 5s"),
        ("日本製 急須 400ml", "", "日本製 急須 400ml"),
    ],
)
def test_a_shorter_name_keeps_its_front_and_its_noun(title: str, brand: str, short: str) -> None:
    assert name(title, brand=brand) == short


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("Shop Bose Acoustimass 5 Speaker Box today.", True),
        ("The Bose Acoustimass 5 in a speaker box.", True),
        ("It is good.", False),
        ("A box that is a speaker, by Bose.", True),
        ("Meet 5 Speaker Box", False),
        ("Meet Acoustimass 5 Speaker Box AM53BK", False),
    ],
)
def test_a_name_without_its_front_or_noun_is_none(text: str, says: bool) -> None:
    product = Product("1", "Bose Acoustimass 5 Speaker Box - AM53BK", brand="Bose")
    assert says_name(text, product) == says


@pytest.mark.parametrize(
    ("word", "is_one"),
    [
        ("AM53BK", True),
        ("226420", True),
        ("931633-0403", True),
        ("120gb", False),
        ("1080p", False),
        ("8-port", False),
        ("office2007", False),
        ("CS3", False),
        ("15.6-inch", False),
    ],
)
def test_numbers_of_parts_are_told_from_measures(word: str, is_one: bool) -> None:
    assert is_part_number(word) == is_one


def test_brands_are_what_names_begin_with() -> None:
    titles = ["sony red tripod", "sony camera", "sony radio", "sony lens", "red shoe", "red hat"]
    products = [Product(str(at), one) for at, one in enumerate(titles)]
    assert fronts_of(products) == {"sony"}
    assert Naming(brands=fronts_of(products)).read(products[0]).brand == "sony"
    assert titled("8-port usb hub for the mac os x") == "8-Port USB Hub for the Mac OS X"
    assert name_forms(Product("1", "lg 2.0 cu . ft. oven")) == ()


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
