"""?"""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from adwright.authoring.writer.products import (
    Change,
    ProductTable,
    changes_of,
    format_of,
    name_columns,
    read_products,
    shop_formats,
    write_back,
)
from adwright.core.errors import ConfigError, FileUnreadableError, SchemaError
from adwright.data.table_door import bare_name

SHOPIFY = (
    "Handle,Title,Body (HTML),Vendor,Type,Option1 Name,Option1 Value,Variant SKU,Variant Price\n"
    "tee,Cotton tee,<p>Soft &amp; light</p>,Acme,Shirts,Size,S,T1,10.00\n"
    "tee,,,,,,M,T2,12.00\n"
    "mug,Mug,A mug,Acme,Cups,Title,Default Title,M1,5.00\n"
)


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


def test_variants_of_a_shopify_product_are_one(tmp_path: Path) -> None:
    table = read_products(write(tmp_path / "a.csv", SHOPIFY), currency="EUR")
    tee, mug = table.products
    assert (tee.id, tee.description, tee.brand) == ("tee", "Soft & light", "Acme")
    assert tee.attributes == (("Size", "S, M"),)
    assert (tee.price, mug.price, mug.currency, mug.attributes) == ("", "5.00", "EUR", ())
    assert table.rows == {"tee": 0, "mug": 2}
    assert any("fields of 1 products" in one for one in table.said)
    assert any("1 rows of variants" in one for one in table.said)


def test_variations_of_woocommerce_are_left_out(tmp_path: Path) -> None:
    text = (
        "ID,Type,SKU,Name,Visibility in catalog,Regular price,Attribute 1 name,"
        "Attribute 1 value(s)\n"
        '41,variable,TEE,Tee,visible,20,Colour,"Red, Blue"\n42,variation,TEE-R,Tee Red,,20,,\n'
    )
    table = read_products(write(tmp_path / "a.csv", text))
    assert [(one.id, one.attributes) for one in table.products] == [
        ("41", (("Colour", "Red, Blue"),))
    ]
    assert any("variations" in one for one in table.said)


def test_a_google_feed_has_currencies_in_its_prices(tmp_path: Path) -> None:
    text = (
        "id\ttitle\tprice\tgtin\tavailability\tcolor\n"
        '1\t2.5" nail\t19.99 USD\t1\tin_stock\tgrey\n2\tSaw\tGBP 1,200\t2\tin_stock\t\n'
    )
    table = read_products(write(tmp_path / "a.tsv", text))
    nail, saw = table.products
    assert (nail.title, nail.price, nail.currency) == ('2.5" nail', "19.99", "USD")
    assert (saw.price, saw.currency, saw.attributes) == ("1,200", "GBP", ())
    assert table.separator == "\t"


def test_a_price_below_zero_is_no_price(tmp_path: Path) -> None:
    prices = ("-3.49 GBP", "GBP -3.49", "\u22121", "0.00", "4.00 - 5.00", "10.00")
    lines = "".join(f"{n},Tea {n},{price}\n" for n, price in enumerate(prices))
    table = read_products(write(tmp_path / "a.csv", f"id,title,price\n{lines}"))
    assert [one.price for one in table.products] == ["", "", "", "0.00", "4.00 - 5.00", "10.00"]
    assert "prices below 0 are left out of 3 products" in table.said
    assert "1 products have a price of 0, which is kept" in table.said


def test_a_google_feed_as_xml_is_read_as_the_same_as_text(tmp_path: Path) -> None:
    text = (
        "id\ttitle\tdescription\tprice\tcolor\tgtin\tavailability\tproduct_detail\n"
        "1\tNail\t<p>Steel &amp; zinc</p>\t19.99 USD\tgrey\t1\tin_stock\tSize:Length:5 cm\n"
    )
    detail = (
        "<g:product_detail><g:section_name>Size</g:section_name><g:attribute_name>Length"
        "</g:attribute_name><g:attribute_value>5 cm</g:attribute_value></g:product_detail>"
    )
    items = (
        "<item><g:id>1</g:id><title>Nail</title><g:color>grey</g:color>"
        "<g:description><![CDATA[<p>Steel &amp; zinc</p>]]></g:description>"
        f"<g:price>19.99 USD</g:price><g:gtin>1</g:gtin>{detail}</item>"
        "<item><g:id>2</g:id><title>Broken & more</title></item>"
        "<item><g:id>3</g:id></item><item><g:id>1</g:id><title>Twice</title></item>"
    )
    space = 'xmlns:g="http://base.google.com/ns/1.0"'
    feed = write(tmp_path / "a.xml", f"<rss {space}><channel>{items}</channel></rss>")
    table, plain = read_products(feed), read_products(write(tmp_path / "a.tsv", text))
    assert table.products == plain.products
    assert (table.shop.name, table.rows) == ("google-feed", {"1": 0})
    assert [(one.row, one.product) for one in table.bad] == [(1, "2"), (2, "3"), (3, "1")]
    assert "first in row 0" in table.bad[2].reason
    assert "not well-formed" in table.bad[0].reason


def test_parquet_and_json_lines_are_read(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {"sku": [1, 2], "name": ["Tea", "Cup"], "price": [3.0, 2.5], "size": [["S"], ["M", "L"]]}
    )
    frame.write_parquet(tmp_path / "a.parquet")
    frame.write_ndjson(tmp_path / "a.jsonl")
    for name in ("a.parquet", "a.jsonl"):
        tea, cup = read_products(tmp_path / name, locale="de").products
        assert (tea.id, tea.price, tea.locale) == ("1", "3", "de")
        assert (cup.price, cup.attributes) == ("2.5", (("size", "M, L"),))


def test_a_bad_row_harms_no_other(tmp_path: Path) -> None:
    text = (
        "id,title,currency,description\n1,Tea,GBP,fine\n,No id,GBP,\n1,Twice,GBP,\n3,,GBP,\n"
        f"4,Cup,pounds,\n5,Long,GBP,{'x' * 5_000_000}\n6,Pot,GBP,fine\n"
    )
    table = read_products(write(tmp_path / "a.csv", text))
    assert [one.id for one in table.products] == ["1", "6"]
    reasons = {bad.row: bad.reason for bad in table.bad}
    assert sorted(reasons) == [1, 2, 3, 4, 5]
    assert "no id" in reasons[1]
    assert "stands twice, first in row 0" in reasons[2]
    assert "no title" in reasons[3]
    assert "currency" in reasons[4]
    assert "5,000,000 characters" in reasons[5]
    assert "5 rows cannot be used" in table.said[-1]


def test_fifty_languages_and_encodings_pass(tmp_path: Path) -> None:
    line = (
        "tea thé Tee té chá чай čaj tee2 thee herbata ceai tsai çay שלום شاي چای چاي चाय চা சாய் టీ "
        "ಚಹಾ ചായ ចាំ ชา ຊາ တီး 茶 お茶 차 trà teh chai shayi itiye tii ti arbata tēja čaj2 чај шай "
        "ჩაი թեյ ሻይ ሻሂ tae te téa tí tsaa bubuka ชาดำ"
    )
    words = line.split()
    text = "id,title\n" + "".join(f"{n},{word}\n" for n, word in enumerate(words))
    assert len(words) >= 50
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        for end in ("\n", "\r"):
            table = read_products(write(tmp_path / "a.csv", text.replace("\n", end), encoding))
            assert [one.title for one in table.products] == words
    table = read_products(write(tmp_path / "b.csv", "id;title\n1;Käse\n", "cp1252"))
    assert (table.products[0].title, table.separator) == ("Käse", ";")
    assert "Windows-1252" in table.said[0]


def test_scripts_in_titles_are_taken_out(tmp_path: Path) -> None:
    text = "id,title\n1,<script>alert(1)</script>Tea <b>bold</b>\n"
    table = read_products(write(tmp_path / "a.csv", text))
    assert table.products[0].title == "Tea bold"
    assert "markup" in table.said[0]


def test_what_is_no_table_of_products_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match="missing: title"):
        read_products(write(tmp_path / "a.csv", "id,colour\n1,red\n"))
    with pytest.raises(FileUnreadableError, match="no rows"):
        read_products(write(tmp_path / "a.csv", "id,title\n"))
    with pytest.raises(SchemaError, match="tables end in"):
        read_products(write(tmp_path / "a.pdf", "<rss/>"))
    with pytest.raises(FileUnreadableError, match="no <item> or <entry>"):
        read_products(write(tmp_path / "a.xml", "<rss/>"))
    mapped = read_products(
        write(tmp_path / "a.csv", "nr,naam,kleur\n1,Thee,groen\n"),
        shop="table",
        columns={"id": "nr", "title": "naam"},
        attributes=("kleur",),
    )
    assert mapped.products[0].attributes == (("kleur", "groen"),)


def names_of(text: str) -> list[str]:
    return text.split("|")


OLD_SHOPIFY = names_of(
    "Handle|Title|Body (HTML)|Vendor|Product Category|Type|Tags|Published|Option1 Name|"
    "Option1 Value|Variant SKU|Variant Price|SEO Title|SEO Description|Status"
)
NEW_SHOPIFY = names_of(
    "Title|URL handle|Description|Vendor|Product category|Type|Tags|Published on online store|"
    "Status|SKU|Option1 name|Option1 value|Price|SEO title|SEO description"
)
WOO = names_of(
    "ID|Type|SKU|Name|Published|Is featured?|Visibility in catalog|Short description|Description|"
    "In stock?|Regular price|Categories|Tags|Attribute 1 name|Attribute 1 value(s)|Brands"
)
GOOGLE = names_of(
    "id|title|description|link|image link|availability|price|brand|gtin|"
    "google product category|color|size"
)


@pytest.mark.parametrize(
    ("names", "shop"),
    [
        (OLD_SHOPIFY, "shopify"),
        (NEW_SHOPIFY, "shopify"),
        (WOO, "woocommerce"),
        (GOOGLE, "google-feed"),
        (["id", "title", "price"], "table"),
    ],
)
def test_the_columns_tell_the_shop(names: list[str], shop: str) -> None:
    assert format_of(names).name == shop
    found = name_columns(names, format_of(names))
    assert set(found.fields.values()) <= set(names)


def test_each_shop_has_its_columns() -> None:
    old = name_columns(OLD_SHOPIFY, format_of(OLD_SHOPIFY))
    assert old.fields["description"] == "Body (HTML)"
    assert old.pairs == (("Option1 Name", "Option1 Value"),)
    assert old.texts["meta_description"] == "SEO Description"
    new = name_columns(NEW_SHOPIFY, format_of(NEW_SHOPIFY))
    assert (new.fields["id"], new.fields["price"]) == ("URL handle", "Price")
    assert new.texts["description"] == "Description"
    woo = name_columns(WOO, format_of(WOO))
    assert (woo.fields["id"], woo.fields["brand"]) == ("ID", "Brands")
    assert woo.pairs == (("Attribute 1 name", "Attribute 1 value(s)"),)
    google = name_columns(GOOGLE, format_of(GOOGLE))
    assert google.fields["category"] == "google product category"
    assert google.attributes == ("color", "size")


def test_what_is_given_wins() -> None:
    names = ["sku", "Naam", "merk", "kleur"]
    table = format_of(names, "table")
    found = name_columns(
        names, table, given={"title": "naam", "brand": "merk"}, attributes=("kleur",)
    )
    assert found.fields == {"id": "sku", "title": "Naam", "brand": "merk"}
    assert found.attributes == ("kleur",)
    assert found.used == ("Naam", "merk", "sku", "kleur")
    assert found.texts["title"] == "Naam"


def test_what_is_missing_is_named() -> None:
    table = format_of(["x"], "table")
    with pytest.raises(SchemaError, match=r"missing: id.*--columns id=skunr"):
        name_columns(["titles", "skunr"], table, given={"title": "titles"}, file="a.csv")
    with pytest.raises(SchemaError, match="is it 'title'"):
        name_columns(["id", "title"], table, given={"title": "titel"})
    with pytest.raises(SchemaError, match="no column 'size'"):
        name_columns(["id", "title"], table, attributes=("size",))
    with pytest.raises(ConfigError, match="no column 'colour'"):
        name_columns(["id", "title"], table, given={"colour": "id"})
    with pytest.raises(ConfigError, match="no format"):
        format_of(["id"], "ebay")  # type: ignore[arg-type]


def test_signs_are_bare_names() -> None:
    signs = [sign for one in shop_formats().values() for sign in one.spec.signs]
    assert [sign for sign in signs if bare_name(sign) != sign] == []


WRITE_BACK_SHOPIFY = (
    "Handle,Title,Body (HTML),Vendor,Variant SKU,Variant Price,SEO Title\n"
    'tee,"Cotton, tee",<p>Soft</p>,Acme,T1,10.00,\ntee,,,,T2,12.00,\nmug,Mug,A mug,Acme,M1,5.00,\n'
)


def shop(path: Path, text: str, encoding: str = "utf-8") -> ProductTable:
    path.write_bytes(text.encode(encoding))
    return read_products(path)


def test_texts_go_to_the_columns_of_the_shop(tmp_path: Path) -> None:
    table = shop(tmp_path / "a.csv", WRITE_BACK_SHOPIFY)
    texts = {
        ("tee", "description"): ["Soft <3 cotton\nfor all"],
        ("tee", "headline"): ["One", "Two"],
        ("mug", "meta_title"): ["Mug"],
        ("gone", "title"): ["x"],
    }
    assert write_back(table, texts, tmp_path / "b.csv") == 4
    assert (tmp_path / "b.csv").read_text() == (
        "Handle,Title,Body (HTML),Vendor,Variant SKU,Variant Price,SEO Title,headline_1,"
        "headline_2\n"
        'tee,"Cotton, tee",<p>Soft &lt;3 cotton</p><p>for all</p>,Acme,T1,10.00,,One,Two\n'
        "tee,,,,T2,12.00,,,\n"
        "mug,Mug,A mug,Acme,M1,5.00,Mug,,\n"
    )
    again = read_products(tmp_path / "b.csv").products[0]
    assert again.description == "Soft <3 cotton\nfor all"


def test_without_texts_the_table_comes_back_as_it_was(tmp_path: Path) -> None:
    table = shop(tmp_path / "a.csv", WRITE_BACK_SHOPIFY)
    assert write_back(table, {}, tmp_path / "b.csv") == 0
    assert (tmp_path / "b.csv").read_text() == WRITE_BACK_SHOPIFY
    marked = shop(tmp_path / "a.csv", "id;title\n1;Käse\n", "utf-8-sig")
    write_back(marked, {}, tmp_path / "b.csv")
    assert (tmp_path / "b.csv").read_bytes() == "id;title\n1;Käse\n".encode("utf-8-sig")


def test_changes_are_told_before(tmp_path: Path) -> None:
    table = shop(tmp_path / "a.csv", WRITE_BACK_SHOPIFY)
    texts = {("tee", "title"): ["Tee"], ("mug", "title"): ["Mug"], ("mug", "headline"): ["Sip"]}
    assert list(changes_of(table, texts)) == [
        Change("tee", "Title", "Cotton, tee", "Tee"),
        Change("mug", "headline_1", "", "Sip"),
    ]


def test_a_feed_has_no_line_ends_in_its_fields(tmp_path: Path) -> None:
    text = 'id\ttitle\tgtin\tavailability\n1\t2.5" nail\t1\tin_stock\n'
    table = shop(tmp_path / "a.tsv", text)
    write_back(table, {("1", "description"): ['A 2.5"\tnail\nof steel']}, tmp_path / "b.tsv")
    assert (tmp_path / "b.tsv").read_text() == (
        "id\ttitle\tgtin\tavailability\tdescription\n"
        '1\t2.5" nail\t1\tin_stock\tA 2.5" nail of steel\n'
    )


def test_parquet_and_json_lines_keep_their_types(tmp_path: Path) -> None:
    frame = pl.DataFrame({"id": [1, 2], "title": ["Tea", "Cup"], "tags": [["a"], []]})
    frame.write_parquet(tmp_path / "a.parquet")
    table = read_products(tmp_path / "a.parquet")
    texts = {("2", "headline"): ["Sip"]}
    write_back(table, texts, tmp_path / "b.parquet")
    wanted = frame.with_columns(headline_1=pl.Series([None, "Sip"]))
    assert pl.read_parquet(tmp_path / "b.parquet").equals(wanted)
    write_back(table, texts, tmp_path / "b.jsonl")
    assert pl.read_ndjson(tmp_path / "b.jsonl")["headline_1"].to_list() == [None, "Sip"]
    with pytest.raises(SchemaError, match="cannot hold lists"):
        write_back(table, texts, tmp_path / "b.csv")
    with pytest.raises(SchemaError, match=r"not as \.xlsx"):
        write_back(table, texts, tmp_path / "b.xlsx")
