"""?"""

from __future__ import annotations

import json
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from adwright.authoring.instructions.sources import (
    DataSources,
    ProductColumns,
    catalogue_products,
    categorised_products,
    described_products,
    given_examples,
    given_listings,
    intentions,
    journey_products,
    pricerunner,
    pricerunner_listings,
    read_matches,
    record_fields,
    title_attributes,
)
from adwright.authoring.tasks import read_answer
from adwright.core.errors import (
    AdwrightError,
    ConfigError,
    DataError,
    FileUnreadableError,
    SchemaError,
    ValueInvalidError,
)

OFFER = '{n},"{title}",2,{cluster},Apple iPhone 8,2612,{category}\n'


def offers(folder: Path) -> Path:
    path = folder / "offers.csv"
    rows = [
        ("iphone 8, silver", 1, "Phones"),
        ("iphone 8 gold", 1, "Phones"),
        (" ", 2, "TVs"),
        ("tv", 3, "TVs "),
    ]
    path.write_text(
        "".join(
            OFFER.format(n=n, title=t, cluster=c, category=k) for n, (t, c, k) in enumerate(rows)
        )
    )
    return path


def test_offers_have_categories_and_clusters(tmp_path: Path) -> None:
    skipped = Counter[str]()
    one, two, three = pricerunner(offers(tmp_path), skipped=skipped)
    assert one.request.labels == ("Phones", "TVs")
    assert (one.answer, one.cluster, one.source, one.teacher) == (
        "Phones",
        "pricerunner-1",
        "pricerunner",
        "data",
    )
    assert one.cluster == two.cluster != three.cluster
    assert three.answer == "TVs"
    assert skipped == {"no title": 1}
    listing, *others = pricerunner_listings(offers(tmp_path))
    assert (listing.query, listing.cluster) == ("Apple iPhone 8", one.cluster)
    assert listing.product == one.request.product
    assert len(others) == 2


def test_an_offer_of_other_fields_is_refused(tmp_path: Path) -> None:
    path = offers(tmp_path)
    path.write_text(path.read_text() + "1,2,3\n")
    with pytest.raises(DataError, match="7 fields, this one 3") as caught:
        list(pricerunner(path))
    assert caught.value.row == 4
    path.write_text(f'1,"{"x" * 200_000}",1,1,a,1,b\n')
    with pytest.raises(FileUnreadableError, match="field larger"):
        list(pricerunner(path))
    with pytest.raises(FileUnreadableError):
        list(pricerunner(tmp_path / "absent.csv"))


def question(**changes: Any) -> dict[str, Any]:
    return {
        "id": "q",
        "item_a_id": "a",
        "item_b_id": "b",
        "item_a_name": "Cup &amp; saucer",
        "item_b_name": "Tea",
        "options": {"A": "because of tea.", "B": "because of x.", "C": "because of y.", "D": "z"},
        "gold_ind": "A",
        "hadFalseNegative": 0,
    } | changes


def write_lines(path: Path, rows: list[Any]) -> Path:
    path.write_text(
        "\n".join(one if isinstance(one, str) else json.dumps(one) for one in rows) + "\n"
    )
    return path


def test_questions_are_cleaned(tmp_path: Path) -> None:
    options = question()["options"]
    rows = [
        question(),
        question(item_a_id="b", item_b_id="c"),
        question(item_a_id="x", item_b_id="y", gold_ind="B"),
        question(hadFalseNegative=1),
        question(options={"A": "one", "B": "two"}),
        question(options={**options, "D": "Because of X."}),
        question(gold_ind="E"),
    ]
    skipped = Counter[str]()
    found = list(intentions(write_lines(tmp_path / "task1.jsonl", rows), skipped=skipped))
    assert [one.answer for one in found] == ["Because of tea.", "Because of tea.", "Because of x."]
    assert found[0].request.product.title == "Cup & saucer"
    assert found[0].request.values == (("behaviour", "also bought Tea"),)
    assert found[0].request.labels == ("Because of tea.", "Because of x.", "Because of y.", "Z")
    assert found[0].cluster == found[1].cluster != found[2].cluster
    assert skipped == {
        "flagged as having a second right option": 1,
        "fewer than four different options": 2,
        "the right option is not there": 1,
    }


@pytest.mark.parametrize(
    "wrong", ["{", "[1]", {"id": "q"}, question(options=[]), question(item_b_name=3)]
)
def test_a_question_of_another_form_is_refused(tmp_path: Path, wrong: Any) -> None:
    path = write_lines(tmp_path / "task1.jsonl", [question(), wrong])
    with pytest.raises(DataError) as caught:
        list(intentions(path))
    assert str(path) in str(caught.value)


def test_titles_have_attributes(tmp_path: Path) -> None:
    rows = [
        {
            "input": "Red 38&quot; guitar",
            "category": "Guitar",
            "target_scores": {"Colour": {"Red": 1}, "Size": {"38&quot;": 1}, "Wood": {"n/a": 1}},
        },
        {"input": "Nothing", "target_scores": {"Wood": {"N/A": 1}}},
        {
            "input": "red 38&quot; guitar with strap",
            "category": 3,
            "target_scores": {"Colour": {"red": 1}},
        },
        "",
    ]
    skipped = Counter[str]()
    one, other = title_attributes(write_lines(tmp_path / "train.jsonl", rows), skipped=skipped)
    assert one.request.product.title == 'Red 38" guitar'
    assert read_answer(one.request, one.answer).pairs == (("Colour", "Red"), ("Size", '38"'))
    assert one.request.product.attributes == (("Colour", "Red"), ("Size", '38"'))
    assert one.cluster != other.cluster
    assert (one.request.product.category, other.request.product.category) == ("Guitar", "")
    assert skipped == {"no attribute": 1}


def test_descriptions_lose_the_title_that_they_repeat(tmp_path: Path) -> None:
    path = tmp_path / "train.txt"
    path.write_text(
        "COL name VAL Red Tea COL description VAL red tea : it is a fine one COL price VAL 3 \t"
        "COL name VAL tea COL description VAL short COL price VAL \t1\n"
    )
    skipped = Counter[str]()
    (one,) = described_products(path, shortest=10, skipped=skipped)
    assert one.answer == "it is a fine one"
    assert (one.request.product.title, one.request.product.price) == ("Red Tea", "3")
    assert skipped == {"no description": 1}
    assert len(list(described_products(path, shortest=3))) == 2


def test_rare_categories_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "train.txt"
    text = "COL title VAL t{n} COL category VAL {kind} COL brand VAL b COL modelno VAL m1 "
    pairs = [("tea", "tea"), ("tea", "cup"), ("tea", "cup"), ("pot", "")]
    path.write_text(
        "".join(
            f"{text.format(n=2 * n, kind=a)}\t{text.format(n=2 * n + 1, kind=b)}\t0\n"
            for n, (a, b) in enumerate(pairs)
        )
    )
    skipped = Counter[str]()
    found = list(categorised_products(path, least=2, skipped=skipped))
    assert {one.request.labels for one in found} == {("cup", "tea")}
    assert len(found) == 6
    assert skipped == {"a rare category": 2}
    assert found[0].request.product.attributes == (("Model", "m1"),)
    assert found[0].request.product.brand == "b"
    assert {one.request.labels for one in categorised_products(path, least=1)} == {
        ("cup", "pot", "tea")
    }


def test_real_files(shared_data: Path) -> None:
    questions = list(intentions(shared_data / "intention" / "task1.jsonl"))
    assert len(questions) == 2217
    assert all(
        one.answer in one.request.labels and len(one.request.labels) >= 4 for one in questions
    )
    titles = list(title_attributes(shared_data / "attributes" / "test.jsonl"))
    assert len(titles) > 500
    described = list(described_products(shared_data / "abt-buy"))
    assert len(described) == 1410
    assert len({one.cluster for one in described}) == 1058
    categories = list(categorised_products(shared_data / "walmart-amazon"))
    assert len(categories) == 5157
    assert len(categories[0].request.labels) == 71


TABLE = pl.DataFrame(
    {
        "sku": ["a1", "b2", "c3"],
        "name": [" Red tea ", None, "Blue cup"],
        "text": ["Fine.", "x", None],
        "maker": ["Mill", "x", ""],
        "kind": ["Tea", "x", "Cup"],
        "cost": ["3.49", "x", "9"],
        "money": ["GBP", "EUR", ""],
        "size": ["80", "x", " "],
        "group": ["g", "x", ""],
        "words": ["tea bags", "x", ""],
    }
)
COLUMNS = ProductColumns(
    "sku", "name", "text", "maker", "kind", "cost", "money", ("size",), "group", "words"
)


@pytest.mark.parametrize("ending", ["csv", "parquet", "jsonl", "memory"])
def test_tables_of_all_kinds(tmp_path: Path, ending: str) -> None:
    path: Any = tmp_path / f"shop.{ending}"
    match ending:
        case "csv":
            TABLE.write_csv(path)
        case "parquet":
            TABLE.write_parquet(path)
        case "jsonl":
            TABLE.write_ndjson(path)
        case _:
            path = TABLE
    tea, cup = catalogue_products(path, COLUMNS, name="shop", locale="en-GB")
    product = tea.product
    assert (product.id, product.title, product.description) == ("a1", "Red tea", "Fine.")
    assert (product.brand, product.category, product.price, product.currency) == (
        "Mill",
        "Tea",
        "3.49",
        "GBP",
    )
    assert (product.attributes, product.locale) == ((("size", "80"),), "en-GB")
    assert (tea.cluster, tea.source, tea.query) == ("shop-g", "shop", "tea bags")
    assert (cup.cluster, cup.query, cup.product.attributes) == ("shop-c3", "", ())


def test_the_file_names_the_catalogue_and_columns_may_be_few(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("id,title\n1,Tea\n2,Cup\n")
    found = list(catalogue_products(path))
    assert [(one.source, one.product.id, one.cluster) for one in found] == [
        ("mine", "1", "mine-1"),
        ("mine", "2", "mine-2"),
    ]


def test_numbers_are_taken_as_they_are_written() -> None:
    table = pl.DataFrame({"id": [1.0, 2.0], "title": ["Tea", "Cup"], "price": [3.5, None]})
    one, other = catalogue_products(table, ProductColumns(price="price"))
    assert (one.product.id, one.product.price, other.product.price) == ("1", "3.5", "")


def test_many_rows_come_in_order_from_batches() -> None:
    table = pl.DataFrame({"id": range(25_000), "title": [f"t{n}" for n in range(25_000)]})
    found = [one.product.id for one in catalogue_products(table)]
    assert found == [str(number) for number in range(25_000)]


@pytest.mark.parametrize(
    ("changes", "kind", "what"),
    [
        ({"columns": ProductColumns(id="nr")}, SchemaError, "no column 'nr'"),
        (
            {"columns": ProductColumns("sku", "name", attributes=("hue",))},
            SchemaError,
            "no column 'hue'",
        ),
        (
            {"columns": ProductColumns("sku", "name", currency="cost")},
            ValueInvalidError,
            "three capital",
        ),
        ({"columns": ProductColumns("text", "name")}, ValueInvalidError, "needs an id"),
    ],
)
def test_what_is_no_product_is_refused_with_its_row(
    changes: dict[str, Any], kind: type[AdwrightError], what: str
) -> None:
    with pytest.raises(kind, match=what) as caught:
        list(catalogue_products(TABLE, **changes))
    if kind is ValueInvalidError:
        assert caught.value.row in (0, 2)  # type: ignore[attr-defined]


def test_one_bad_row_harms_no_other() -> None:
    table = pl.DataFrame(
        {
            "id": ["a", " ", "c", "d"],
            "title": ["Tea", "Cup", "Pot", ""],
            "money": ["GBP", "GBP", "pounds", "GBP"],
        }
    )
    skipped = Counter[str]()
    found = catalogue_products(table, ProductColumns(currency="money"), skipped=skipped)
    assert [one.product.id for one in found] == ["a"]
    assert skipped == {
        "a product needs an id": 1,
        "a currency is three capital letters": 1,
        "no title": 1,
    }
    with pytest.raises(ValueInvalidError, match="BCP 47"):
        list(catalogue_products(table, locale="?", skipped=skipped))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileUnreadableError):
        list(catalogue_products(tmp_path / "absent.csv"))
    with pytest.raises(ConfigError, match="an id and a title"):
        ProductColumns(title="")


def test_products_of_complete_journey() -> None:
    found = journey_products()
    first = [next(found) for _ in range(2000)]
    assert all(one.product.title and one.source == "complete-journey" for one in first)
    assert len({one.product.id for one in first}) == 2000
    ice = first[0].product
    assert (ice.title, ice.category) == ("Ice - Crushed/Cubed 22 Lb", "Frzn ice")
    assert ice.attributes == (("Size", "22 LB"), ("Department", "Grocery"))
    assert len({one.cluster for one in first}) < 2000


GIVEN_COLUMNS = ProductColumns(category="kind", description="text")
EVERY = ("classify", "intent", "attributes", "descriptions", "ads")


def catalogue(folder: Path) -> DataSources:
    count = 60
    table = pl.DataFrame(
        {
            "id": [f"s{n}" for n in range(count)],
            "title": [f"Thing {n}" for n in range(count)],
            "kind": ["tea" if n % 2 else "cup" for n in range(count - 1)] + ["pot"],
            "text": ["short" if n % 3 else f"{'A long text ' * 5}{n}" for n in range(count)],
        }
    )
    table.write_csv(folder / "shop.csv")
    return DataSources(catalogue=folder / "shop.csv", columns=GIVEN_COLUMNS)


def test_a_catalogue_gives_examples_of_what_it_has(tmp_path: Path) -> None:
    skipped: dict[str, Counter[str]] = {}
    found = list(given_examples(catalogue(tmp_path), EVERY, skipped=skipped))
    kinds = Counter(one.request.task.name for one in found)
    assert kinds == {"classify": 59, "descriptions": 20}
    assert skipped == {"catalogue": {"a rare category": 1}}
    labels = {one.request.labels for one in found if one.request.task.name == "classify"}
    assert labels == {("cup", "tea")}
    for one in found:
        if one.request.task.name == "descriptions":
            assert one.answer.startswith("A long text")
            assert one.request.product.description == ""


@pytest.mark.parametrize("task", ["classify", "descriptions"])
def test_only_tasks_that_are_asked_for(tmp_path: Path, task: str) -> None:
    found = list(given_examples(catalogue(tmp_path), (task,)))
    assert {one.request.task.name for one in found} == {task}
    assert list(given_examples(catalogue(tmp_path), ("ads",))) == []


def test_a_catalogue_gives_products(tmp_path: Path) -> None:
    found = list(given_listings(catalogue(tmp_path)))
    assert len(found) == 60
    assert found[0].source == "shop"


def test_nothing_is_no_source(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nothing to make instruction data of"):
        DataSources()
    with pytest.raises(ConfigError, match="no data set that is known"):
        DataSources.in_folder(tmp_path)


def test_public_sets_are_found_by_their_names(shared_data: Path) -> None:
    sources = DataSources.in_folder(shared_data)
    assert sources.pricerunner == shared_data / "pricerunner" / "offers.csv"
    assert None not in (
        sources.intention,
        sources.attributes,
        sources.abt_buy,
        sources.walmart_amazon,
    )


def test_each_set_gives_its_task(shared_data: Path) -> None:
    sources = DataSources.in_folder(shared_data)
    one_each: dict[str, Any] = {}
    for task in EVERY[:4]:
        one_each[task] = Counter(
            one.source for one in islice(given_examples(sources, (task,)), 40_000)
        )
    assert {task: set(found) for task, found in one_each.items()} == {
        "classify": {"pricerunner", "walmart-amazon"},
        "intent": {"intention"},
        "attributes": {"attributes"},
        "descriptions": {"abt-buy"},
    }


def test_products_of_every_set(shared_data: Path) -> None:
    sources = DataSources(
        abt_buy=shared_data / "abt-buy",
        attributes=shared_data / "attributes",
        complete_journey=True,
    )
    found = Counter(one.source for one in islice(given_listings(sources), 5000))
    assert set(found) == {"abt-buy", "attributes", "complete-journey"}


def line(left: str, right: str, same: int) -> str:
    return f"COL name VAL {left} COL price VAL 9 \tCOL name VAL {right} COL price VAL  \t{same}\n"


def test_each_product_stands_once_with_its_matches(tmp_path: Path) -> None:
    (tmp_path / "test.txt").write_text(line("a", "x", 0) + line("b", "y", 1))
    (tmp_path / "train.txt").write_text(line("a", "y", 0) + line("c", "y", 1) + "\n")
    found = list(read_matches(tmp_path))
    assert [(one.side, one.fields["name"]) for one in found] == [
        (0, "a"),
        (1, "x"),
        (0, "b"),
        (1, "y"),
        (0, "c"),
    ]
    cluster = {one.fields["name"]: one.cluster for one in found}
    assert cluster["b"] == cluster["y"] == cluster["c"]
    assert len(set(cluster.values())) == 3
    assert len({one.id for one in found}) == 5
    assert {one.source for one in found} == {tmp_path.name}


def test_one_file_will_do(tmp_path: Path) -> None:
    path = tmp_path / "pairs.txt"
    path.write_text(line("a", "a", 1))
    one, other = read_matches(path)
    assert one.cluster == other.cluster
    assert (one.side, other.side) == (0, 1)
    assert one.source == "pairs"


def test_fields_are_what_stands_between_the_marks() -> None:
    assert record_fields("COL a VAL x VAL y COL b VAL COL c VAL z COLD") == {
        "a": "x VAL y",
        "b": "",
        "c": "z COLD",
    }
    assert record_fields("nothing") == {}


@pytest.mark.parametrize(
    "wrong",
    [
        "no tabs at all",
        "COL a VAL x\tCOL a VAL y\t2",
        "COL a VAL x\tb\t1",
        "COL a VAL x\tCOL a VAL y",
    ],
)
def test_what_is_no_pair_is_refused_with_its_row(tmp_path: Path, wrong: str) -> None:
    path = tmp_path / "pairs.txt"
    path.write_text(line("a", "b", 0) + wrong + "\n")
    with pytest.raises(DataError, match="no pair of records") as caught:
        list(read_matches(path))
    assert caught.value.row == 1


def test_nothing_to_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileUnreadableError, match=r"no \.txt file"):
        list(read_matches(tmp_path))
    with pytest.raises(FileUnreadableError, match="cannot be read"):
        list(read_matches(tmp_path / "absent.txt"))
    (tmp_path / "latin.txt").write_bytes(b"COL a VAL \xff\n")
    with pytest.raises(FileUnreadableError, match="cannot be read"):
        list(read_matches(tmp_path / "latin.txt"))


def test_real_matches(shared_data: Path) -> None:
    found = list(read_matches(shared_data / "abt-buy"))
    assert len({one.id for one in found}) == len(found) == 2103
    assert all(one.fields["name"] for one in found)
    assert {one.side for one in found} == {0, 1}
