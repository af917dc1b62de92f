from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from adwright.authoring.writer.products import read_products
from adwright.core.errors import FileUnreadableError, SchemaError

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
    with pytest.raises(FileUnreadableError, match="no such file"):
        read_products(tmp_path / "none.csv")
    with pytest.raises(FileUnreadableError, match="empty"):
        read_products(write(tmp_path / "a.csv", ""))
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
