from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from adwright.authoring.instructions.sources import (
    categorised_products,
    described_products,
    intentions,
    pricerunner,
    pricerunner_listings,
    title_attributes,
)
from adwright.authoring.tasks import read_answer
from adwright.core.errors import DataError, FileUnreadableError

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
