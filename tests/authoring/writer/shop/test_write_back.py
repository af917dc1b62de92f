from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from adwright.authoring.writer.products import (
    Change,
    ProductTable,
    changes_of,
    read_products,
    write_back,
)
from adwright.core.errors import SchemaError

SHOPIFY = (
    "Handle,Title,Body (HTML),Vendor,Variant SKU,Variant Price,SEO Title\n"
    'tee,"Cotton, tee",<p>Soft</p>,Acme,T1,10.00,\ntee,,,,T2,12.00,\nmug,Mug,A mug,Acme,M1,5.00,\n'
)


def shop(path: Path, text: str, encoding: str = "utf-8") -> ProductTable:
    path.write_bytes(text.encode(encoding))
    return read_products(path)


def test_texts_go_to_the_columns_of_the_shop(tmp_path: Path) -> None:
    table = shop(tmp_path / "a.csv", SHOPIFY)
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
    table = shop(tmp_path / "a.csv", SHOPIFY)
    assert write_back(table, {}, tmp_path / "b.csv") == 0
    assert (tmp_path / "b.csv").read_text() == SHOPIFY
    marked = shop(tmp_path / "a.csv", "id;title\n1;Käse\n", "utf-8-sig")
    write_back(marked, {}, tmp_path / "b.csv")
    assert (tmp_path / "b.csv").read_bytes() == "id;title\n1;Käse\n".encode("utf-8-sig")


def test_changes_are_told_before(tmp_path: Path) -> None:
    table = shop(tmp_path / "a.csv", SHOPIFY)
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
