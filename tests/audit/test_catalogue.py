"""Catalogues of a shop: their columns, their listings and their requests."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path

import jsonschema_rs
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.audit.assistant import (
    AssistantAnswer,
    ShopAssistant,
    document,
    facts_of,
    found_by_words,
    reason_schema,
    supported,
    write_reasons,
)
from adwright.audit.catalogue import (
    CatalogueSchema,
    OrderPurpose,
    ShopCatalogue,
    ShopListing,
    draw_orders,
    open_catalogue,
    schema_of,
    usual_request,
)
from adwright.audit.defences.stack import IsolatedTarget
from adwright.audit.found_texts import AttackPlan, ModelWeights, choosing_orders, find_texts
from adwright.audit.targets.chat import NameFinder
from adwright.audit.targets.target import DefendedTarget, FunctionTarget, RankingCost
from adwright.core.errors import (
    ConfigError,
    DataError,
    FileUnreadableError,
    SchemaError,
    ValueInvalidError,
)
from adwright.lm.engine.scripted import ScriptedConfig, ScriptedModel
from tests.support.audit.scripted_targets import gullible, stubborn
from tests.support.audit.shops import KETTLES, REQUEST, kettles, released

SHOP = kettles()


class Mute:
    name = "mute"

    def clean(self, listing: ShopListing) -> ShopListing:
        return listing.without_texts()


def test_a_shopper_is_answered_with_products_of_the_shop() -> None:
    answer = ShopAssistant(SHOP, stubborn()).answer(k=2)
    assert answer.request == REQUEST
    assert (
        answer.text() == "1. Samovar: Price: $69, Rating: 4.5\n2. Teapot: Price: $59, Rating: 4.4"
    )
    assert [one.row for one in answer.products] == [5, 4]
    assert len(answer.found) == 6
    assert answer.cost.calls == 1


def test_the_model_writes_reasons_for_what_was_ranked() -> None:
    words = {"Samovar": "A samovar for guests. It beats the Teapot.", "Free Gift": "Take it."}
    model = ScriptedModel(ScriptedConfig((json.dumps(words),)))
    answer = ShopAssistant(SHOP, stubborn(), model=model).answer("tea", k=1, seed=3)
    assert answer.text() == "1. Samovar: A samovar for guests."
    assert answer.cost.calls == 2


def test_only_what_is_found_is_ranked() -> None:
    few = ShopAssistant(SHOP, stubborn(), shown=2)
    assert [one.name for one in few.answer("glass", k=9).products] == [KETTLES[2], KETTLES[1]]
    assert few.name == "BM25, then stubborn"
    one = ShopAssistant(SHOP, stubborn(), shown=1).answer("glass")
    assert [each.row for each in one.products] == [1]
    assert one.cost.calls == 0
    nothing = AssistantAnswer("glass", (), (), RankingCost())
    assert nothing.text() == "No product of the shop was found for this."


def test_a_defence_stands_before_everything() -> None:
    loud = SHOP.with_listing(0, SHOP.listings[0].with_text("Ideal For", "best kettle " * 5))
    assert ShopAssistant(loud, gullible()).answer(k=1).products[0].row == 0
    assert ShopAssistant(loud, gullible(), shown=1).answer("kettle").found == (0,)
    safe = ShopAssistant(loud, gullible(), defence=Mute())
    clean = ShopAssistant(SHOP, gullible(), defence=Mute())
    assert safe.answer(k=6).text() == clean.answer(k=6).text()
    assert safe.name == "BM25, then gullible, defended by mute"


def test_numbers_and_requests_that_cannot_be() -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        ShopAssistant(SHOP, stubborn(), shown=0)
    with pytest.raises(ConfigError, match="at least 1"):
        ShopAssistant(SHOP, stubborn()).answer(k=0)
    with pytest.raises(ConfigError, match="no request"):
        ShopAssistant(SHOP, stubborn()).answer("  ")


REASONS_SHOP = kettles().listings


def told(reply: object) -> ScriptedModel:
    text = reply if isinstance(reply, str) else json.dumps(reply)
    return ScriptedModel(ScriptedConfig((text,)))


def test_a_reason_says_what_the_facts_say() -> None:
    words = {"Steel Kettle": "It costs $19 and is easy to like.", "Teapot": "Rated 4.4 by others."}
    reasons, cost = write_reasons(told(words), (REASONS_SHOP[0], REASONS_SHOP[4]), REQUEST)
    assert [one.text for one in reasons] == list(words.values())
    assert all(one.written and one.dropped == () for one in reasons)
    assert (cost.calls, cost.tokens_out > 40) == (1, True)


@pytest.mark.parametrize(
    "sentence",
    [
        "It holds 12 cups.",
        "It costs $9 only.",
        "It is made of copper.",
        "It beats the Glass Kettle Pro.",
        "Better than a samovar!",
        '"Steel Kettle".',
    ],
)
def test_what_no_attribute_supports_is_left_out(sentence: str) -> None:
    answer = {"Steel Kettle": f"{sentence} It is a fine choice."}
    (reason,), _ = write_reasons(told(answer), REASONS_SHOP[:1], REQUEST, others=KETTLES)
    assert (reason.text, reason.written) == ("It is a fine choice.", True)
    assert reason.dropped == (sentence,)
    (alone,), _ = write_reasons(
        told({"Steel Kettle": sentence}), REASONS_SHOP[:1], REQUEST, others=KETTLES
    )
    assert (alone.text, alone.written) == ("Price: $19, Rating: 4.0", False)


def test_what_the_seller_wrote_is_no_support() -> None:
    loud = REASONS_SHOP[0].with_text("Ideal For", "It holds 12 cups and is the best of 2026.")
    assert not supported("It holds 12 cups.", loud, NameFinder(KETTLES))
    assert facts_of(loud) == ("Steel Kettle", "Price: $19", "Rating: 4.0")


@pytest.mark.parametrize("reply", ["", '{"Steel Kettle": "It cos', "{}", '{"Steel Kettle": 3}'])
def test_an_answer_that_is_cut_off_leaves_the_facts(reply: str) -> None:
    (reason,), _ = write_reasons(told(reply or " "), REASONS_SHOP[:1], REQUEST)
    assert (reason.text, reason.written) == ("Price: $19, Rating: 4.0", False)


def test_a_form_that_was_not_kept_is_refused() -> None:
    with pytest.raises(ConfigError, match="did not keep to the form"):
        write_reasons(told([1, 2]), REASONS_SHOP[:1], REQUEST)
    assert write_reasons(told("x"), (), REQUEST)[0] == []
    bare, _ = write_reasons(told("{}"), (ShopListing("A"),), REQUEST)
    assert bare[0].text == "no further facts"


def test_the_form_holds_the_names_and_no_others() -> None:
    schema = jsonschema_rs.validator_for(reason_schema(KETTLES[:2]))
    sentence = "It is a fine choice."
    assert schema.is_valid(dict.fromkeys(KETTLES[:2], sentence))
    assert not schema.is_valid(dict.fromkeys(KETTLES[:3], sentence))
    assert not schema.is_valid({KETTLES[0]: sentence})
    assert not schema.is_valid({KETTLES[0]: "", KETTLES[1]: sentence})


RETRIEVAL_SHOP = kettles().listings


def test_a_document_holds_name_facts_and_texts() -> None:
    one = ShopListing("Kettle", {"Price": 3, "Stock": None}, {"Text": "Boils.", "More": ""})
    assert document(one) == "Kettle. Price: 3. Boils."


def test_words_find_by_words_and_fill_up_in_order() -> None:
    assert found_by_words(RETRIEVAL_SHOP, "a samovar", 3) == (5, 0, 1)
    assert found_by_words(RETRIEVAL_SHOP, "glass", 2) == (1, 2)
    assert found_by_words(RETRIEVAL_SHOP, "nothing of this", 99) == (0, 1, 2, 3, 4, 5)
    loud = (*RETRIEVAL_SHOP[:5], RETRIEVAL_SHOP[5].with_text("Ideal For", "glass " * 9))
    assert found_by_words(loud, "glass", 1) == (5,)


def test_at_least_one_is_found() -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        found_by_words(RETRIEVAL_SHOP, "glass", 0)


def test_names_and_rows() -> None:
    shop = kettles()
    assert (shop.names, len(shop)) == (KETTLES, 6)
    assert shop.index("Teapot") == 4
    with pytest.raises(ConfigError, match="no such product"):
        shop.index("teapot")


@pytest.mark.parametrize(
    ("names", "what"),
    [(("A",), "at least two"), (("A", " "), "no name"), (("A", "B", "A"), "one name")],
)
def test_products_that_no_list_could_tell_apart_are_refused(
    names: tuple[str, ...], what: str
) -> None:
    with pytest.raises(ValueInvalidError, match=what):
        ShopCatalogue("shop", REQUEST, tuple(ShopListing(name) for name in names))


def test_a_shopper_asks_something() -> None:
    listings = (ShopListing("A"), ShopListing("B"))
    with pytest.raises(ConfigError, match="no request"):
        ShopCatalogue("shop", " ", listings)
    assert ShopCatalogue("shop", "A?", listings, wordings=("B?",)).requests == ("A?", "B?")


def test_attacks_need_a_catalogue_of_ones_own() -> None:
    kettles(own=True).require_own()
    with pytest.raises(ConfigError, match="not declared as your own"):
        kettles(own=False).require_own()


def test_rows_are_exchanged_and_chosen() -> None:
    shop = kettles()
    other = shop.listings[1].with_text("Ideal For", "everyone")
    changed = shop.with_listing(1, other)
    assert changed.listings == (shop.listings[0], other, *shop.listings[2:])
    assert shop.only((3, 1)).names == ("Travel Mug", "Glass Kettle")
    assert shop.with_listings({}) == shop


def test_the_digest_depends_on_all_that_is_shown_and_asked() -> None:
    shop = kettles()
    others = [
        shop.only((1, 0, 2, 3, 4, 5)),
        shop.with_listing(0, shop.listings[0].with_text("Ideal For", "")),
        dataclasses.replace(shop, request="Another?"),
        dataclasses.replace(shop, wordings=("Another?",)),
    ]
    assert len({shop.digest(), *(one.digest() for one in others)}) == 5
    assert shop.digest() == kettles(own=False).digest()


def test_a_schema_in_words_says_what_was_guessed() -> None:
    given = CatalogueSchema("Name", ("Price",), ("Text",), "Seller")
    assert given.in_words() == (
        "name: Name; facts of the shop: Price; texts of sellers: Text; merchant: Seller"
    )
    guessed = CatalogueSchema("Name", guessed=("Name",)).in_words()
    assert guessed.endswith("texts of sellers: none (guessed: Name)")


TABLE = pl.DataFrame(
    {
        "Seller": ["m", "n"],
        "Title": ["Kettle", "Pot"],
        "Price": ["$1", "$2"],
        "Rating": [4.0, 4.5],
        "New": [True, None],
        "Colour": ["red", "blue and black"],
        "Blurb": ["It boils water in a very short time.", "A pot."],
        "Ideal For": ["tea", "soup"],
    }
)


def test_columns_are_guessed_and_said() -> None:
    found = schema_of(TABLE)
    assert found.name == "Title"
    assert found.merchant == "Seller"
    assert found.attributes == ("Price", "Rating", "New")
    assert found.texts == ("Colour", "Blurb", "Ideal For")
    assert set(found.guessed) == set(TABLE.columns)
    assert found.order == tuple(TABLE.columns[1:])


def test_in_doubt_a_column_is_a_text() -> None:
    long = pl.DataFrame({"name": ["a", "b"], "size": ["x " * 9] * 2, "origin": ["x " * 9] * 2})
    found = schema_of(long)
    assert (found.attributes, found.texts) == (("size",), ("origin",))
    lists = pl.DataFrame({"name": ["a", "b"], "tags": [["x"], ["y"]]})
    assert schema_of(lists).texts == ("tags",)


def test_what_is_given_is_taken() -> None:
    found = schema_of(TABLE, name="blurb", attributes=("price",), texts=("Colour",), merchant="New")
    assert (found.name, found.merchant) == ("Blurb", "New")
    assert (found.attributes, found.texts) == (("Price",), ("Colour",))
    assert found.order == ("Price", "Colour", "Blurb")
    assert found.guessed == ()


def test_where_one_kind_is_given_the_rest_is_the_other() -> None:
    facts = schema_of(TABLE, attributes=("Price",), merchant="Seller", name="Title")
    assert facts.texts == ("Rating", "New", "Colour", "Blurb", "Ideal For")
    texts = schema_of(TABLE, texts=(), merchant="Seller", name="Title")
    assert texts.attributes == ("Price", "Rating", "New", "Colour", "Blurb", "Ideal For")
    assert "Blurb" in texts.guessed


def test_mistakes_are_named() -> None:
    with pytest.raises(SchemaError, match=r"'Prise'.*Price"):
        schema_of(TABLE, attributes=("Prise",))
    with pytest.raises(SchemaError, match=r"missing: name.*--columns name="):
        schema_of(TABLE.select("Price", "Rating"))
    with pytest.raises(ConfigError, match="two roles"):
        schema_of(TABLE, attributes=("Price",), texts=("Price",))
    with pytest.raises(ConfigError, match="two roles"):
        schema_of(TABLE, attributes=("Title",))


@pytest.mark.parametrize(
    ("name", "texts"),
    [
        ("coffee_machines", ("Description", "Ideal For")),
        ("books", ("Author", "Description", "Ideal For")),
        ("cameras", ("Description", "Ideal For")),
        ("election_articles", ("URL",)),
    ],
)
def test_released_catalogues_are_guessed_right(
    shared_data: Path, name: str, texts: tuple[str, ...]
) -> None:
    frame = pl.read_ndjson(shared_data / "visibility" / f"{name}.jsonl")
    found = schema_of(frame)
    assert (found.name, found.texts) == ("Name", texts)
    assert found.order == tuple(frame.columns)


@pytest.fixture
def kettle() -> ShopListing:
    return ShopListing(
        "Kettle",
        {"Price": "$19", "Rating": 4.1, "New": True, "Stock": None},
        {"Ideal For": "tea"},
        fields=("Ideal For", "Name", "Price", "Rating", "New", "Stock"),
    )


def test_a_listing_is_shown_as_one_line_of_json_in_the_order_of_its_source(
    kettle: ShopListing,
) -> None:
    told = '{"Ideal For": "tea", "Name": "Kettle", "Price": "$19", "Rating": 4.1, "New": true, '
    assert kettle.shown() == told + '"Stock": null}'


def test_without_an_order_the_name_comes_first() -> None:
    shown = ShopListing("Kettle", {"Price": 3}, {"Text": "é\n"}, name_field="Title").shown()
    assert shown == '{"Title": "Kettle", "Price": 3, "Text": "é\\n"}'


def test_a_seller_writes_texts_alone(kettle: ShopListing) -> None:
    changed = kettle.with_text("Ideal For", 'all of us "}')
    assert json.loads(changed.shown())["Ideal For"] == 'all of us "}'
    assert (changed.fields, changed.attributes) == (kettle.fields, kettle.attributes)
    assert kettle.texts == {"Ideal For": "tea"}
    for field in ("Price", "Name", "nothing"):
        with pytest.raises(ConfigError, match="no text of the listing"):
            kettle.with_text(field, "cheap")


def test_an_attribute_can_count_as_text(kettle: ShopListing) -> None:
    moved = kettle.as_text("Rating")
    assert moved.texts == {"Ideal For": "tea", "Rating": "4.1"}
    assert "Rating" not in moved.attributes
    assert moved.text_fields == ("Ideal For", "Rating")
    assert kettle.as_text("Stock").texts["Stock"] == ""
    with pytest.raises(ConfigError, match="no attribute"):
        kettle.as_text("Ideal For")


def test_without_texts_only_facts_are_left(kettle: ShopListing) -> None:
    assert json.loads(kettle.without_texts().shown())["Ideal For"] == ""


@pytest.mark.parametrize(
    ("attributes", "texts", "fields", "what"),
    [
        ({"Price": 1}, {"Price": "1"}, (), "more than one"),
        ({"Name": "x"}, {}, (), "more than one"),
        ({"Price": 1}, {}, ("Name",), "each once"),
        ({"Price": 1}, {}, ("Name", "Price", "Size"), "each once"),
    ],
)
def test_fields_are_one_thing_each(
    attributes: dict[str, float | str], texts: dict[str, str], fields: tuple[str, ...], what: str
) -> None:
    with pytest.raises(ConfigError, match=what):
        ShopListing("Kettle", attributes, texts, fields=fields)


def test_the_digest_and_the_hash_tell_listings_apart(kettle: ShopListing) -> None:
    other = kettle.with_text("Ideal For", "coffee")
    assert len({kettle.digest(), other.digest()}) == len({kettle, other}) == 2
    assert hash(kettle) == hash(other.with_text("Ideal For", "tea"))
    assert kettle.digest() != ShopListing("Kettle", merchant="m").digest()
    assert len(kettle.with_text("Ideal For", "\ud800").digest()) == 64


ROWS = [
    {"Name": "Kettle", "Price": "$1", "Rating": 4.0, "Description": "It boils water in no time."},
    {"Name": "Pot", "Price": "$2", "Rating": 4.5, "Description": "For all the soups of the world."},
]


def test_released_lines_are_shown_as_they_stand(shared_data: Path) -> None:
    for name in ("coffee_machines", "books", "cameras", "election_articles"):
        source = (shared_data / "visibility" / f"{name}.jsonl").read_text("utf-8")
        shop = released(shared_data, name)
        assert len(shop) == 10
        shown = [json.loads(one.shown()) for one in shop.listings]
        assert shown == [json.loads(line) for line in source.splitlines()]
        keys = [list(one) for one in shown]
        assert keys == [list(json.loads(line)) for line in source.splitlines()]


def test_a_price_below_zero_is_told() -> None:
    cheap = [{**ROWS[0], "Price": "$-1", "Rating": -4.0}, ROWS[1]]
    said = open_catalogue(pl.DataFrame(cheap), request="Pots?").said
    for column in ("Price", "Rating"):
        assert f"{column}: 1 of 2 are below 0, and are shown as they are" in said


@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
def test_files_of_all_kinds(tmp_path: Path, ending: str) -> None:
    path, frame = tmp_path / f"kitchen_things.{ending}", pl.DataFrame(ROWS)
    match ending:
        case "jsonl":
            frame.write_ndjson(path)
        case "csv":
            frame.write_csv(path)
        case _:
            frame.write_parquet(path)
    opened = open_catalogue(path, own=True)
    shop = opened.catalogue
    assert (shop.name, shop.names, shop.own) == ("kitchen_things", ("Kettle", "Pot"), True)
    assert shop.request == usual_request("kitchen_things")
    assert "kitchen things" in shop.request
    assert shop.listings[1].attributes == {"Price": "$2", "Rating": 4.5}
    assert "guessed" in opened.said[0]
    assert any("by the file's name" in one for one in opened.said)


def test_one_bad_row_harms_no_other() -> None:
    rows = [*ROWS, {"Name": " "}, {"Name": None}, {"Name": "Pot ", "Price": "$3"}]
    opened = open_catalogue(pl.DataFrame(rows), request="A pot?")
    assert opened.catalogue.names == ("Kettle", "Pot")
    assert opened.catalogue.listings[1].attributes["Price"] == "$2"
    assert [one for one in opened.said if "left out" in one] == [
        "2 rows have no name and are left out",
        "1 rows have a name that an earlier row has, and are left out: 'Pot'",
    ]


def test_cells_of_any_kind_become_facts_or_texts() -> None:
    rows = [
        {"name": "a", "tags": ["x", "é"], "score": float("nan"), "made": {"in": 1}},
        {"name": "b", "tags": None, "score": 1.5, "made": None},
    ]
    first, second = open_catalogue(pl.DataFrame(rows), request="?").catalogue.listings
    assert first.texts == {"tags": '["x", "é"]', "made": '{"in": 1}'}
    assert second.texts == {"tags": "", "made": ""}
    assert (first.attributes["score"], second.attributes["score"]) == (None, 1.5)


def test_rows_are_chosen_by_a_cell_and_counted() -> None:
    table = pl.DataFrame({"name": list("abcde"), "kind": ["x", "y", "x", "x", "y"], "n": range(5)})
    assert open_catalogue(table, request="?", where={"kind": "x"}).catalogue.names == tuple("acd")
    assert open_catalogue(table, request="?", where={"kind": "x"}, most=2).catalogue.names == (
        "a",
        "c",
    )
    with pytest.raises(SchemaError, match="no column 'sort'"):
        open_catalogue(table, request="?", where={"sort": "x"})
    with pytest.raises(DataError, match="1 of 1 rows"):
        open_catalogue(table, request="?", where={"n": "3"})


def test_names_that_look_like_numbers_stay_text(tmp_path: Path) -> None:
    path = tmp_path / "shop.csv"
    path.write_text("sku,title,price\n007,0100,1.5\n008,0200,2\n", "utf-8")
    shop = open_catalogue(path, merchant="sku", wordings=("Again?",)).catalogue
    assert shop.names == ("0100", "0200")
    assert [one.merchant for one in shop.listings] == ["007", "008"]
    assert shop.listings[1].attributes == {"price": 2.0}
    assert shop.wordings == ("Again?",)


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(FileUnreadableError, match="no such file"):
        open_catalogue(tmp_path / "none.jsonl")
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"Name": "a"}\nnot json\n', "utf-8")
    with pytest.raises(FileUnreadableError, match="line 2"):
        open_catalogue(broken)


@given(n=st.integers(2, 12), count=st.integers(1, 24), seed=st.integers(0, 9), even=st.booleans())
def test_orders_are_permutations_and_differ(n: int, count: int, seed: int, even: bool) -> None:
    count = min(count, math.factorial(n))
    found = draw_orders(n, count, seed=seed, balanced=even)
    assert len(set(found)) == count
    assert all(sorted(order) == list(range(n)) for order in found)
    assert found == draw_orders(n, count, seed=seed, balanced=even)


def test_seed_and_purpose_choose_the_stream() -> None:
    def of(seed: int, purpose: OrderPurpose) -> object:
        return draw_orders(10, 5, seed=seed, purpose=purpose)

    drawn = [of(seed, purpose) for seed in (0, 1) for purpose in ("choose", "score", "average")]
    assert len(set(map(str, drawn))) == 6


def test_fresh_orders_avoid_those_that_were_chosen_on() -> None:
    chosen = draw_orders(3, 3, seed=0, purpose="choose")
    fresh = draw_orders(3, 3, seed=0, avoid=chosen)
    assert set(chosen) | set(fresh) == set(draw_orders(3, 6, seed=1))
    with pytest.raises(ConfigError, match="do not have 4 orders more"):
        draw_orders(3, 4, seed=0, avoid=chosen)


def test_balanced_orders_put_every_product_in_every_place() -> None:
    found = draw_orders(5, 10, seed=3, balanced=True)
    for run in (found[:5], found[5:]):
        assert all(sorted(order[place] for order in run) == list(range(5)) for place in range(5))


@pytest.mark.parametrize(("n", "count"), [(1, 1), (5, 0), (3, 7)])
def test_numbers_that_cannot_be(n: int, count: int) -> None:
    with pytest.raises(ConfigError):
        draw_orders(n, count, seed=0)
    with pytest.raises(ConfigError, match="unknown purpose"):
        draw_orders(5, 1, seed=0, purpose="guess")  # type: ignore[arg-type]


class Same:
    name = "same"

    def clean(self, listing: ShopListing) -> ShopListing:
        return listing


def test_templates_and_controls_are_written_without_a_look() -> None:
    asked: list[str] = []
    target = stubborn(asked.append)
    texts = find_texts(SHOP, target, AttackPlan(products=("Teapot", "Samovar")))
    assert asked == []
    assert [one.product for one in texts] == ["Teapot"] * 9 + ["Samovar"] * 9
    tiers = [one.tier for one in texts[:9]]
    assert tiers == ["T0"] * 6 + ["control random", "control name", "control truthful"]
    assert len({one.run for one in texts[:6]}) == 6
    assert texts[0].text.startswith("people who drink 5 cups ")
    every = find_texts(SHOP, target, AttackPlan(tiers=("T0",)))
    assert {one.product for one in every} == set(KETTLES)


def test_searches_are_jobs_that_go_on(tmp_path: Path) -> None:
    plan = AttackPlan(("T1",), ("Steel Kettle",), runs=2, calls=60, orders=2, seed=5)
    texts = find_texts(SHOP, gullible(), plan, folder=tmp_path)
    assert [(one.tier, one.run) for one in texts] == [("T1", "5"), ("T1", "6")]
    assert {path.name for path in (tmp_path / "attacks").iterdir()} == {"T1-0-5", "T1-0-6"}
    assert any("best" in one.text for one in texts)
    asked: list[str] = []
    assert find_texts(SHOP, gullible(), plan, folder=tmp_path) == texts
    assert asked == []
    other = find_texts(SHOP, gullible(), AttackPlan(("T1",), ("Steel Kettle",), calls=12))
    assert [one.run for one in other] == ["0"]


def test_the_adaptive_search_goes_through_the_defence() -> None:
    plan = AttackPlan(("T4",), ("Steel Kettle",), calls=40, orders=2)
    (text,) = find_texts(SHOP, DefendedTarget(gullible(), Same()), plan)
    assert text.tier == "T4"
    with pytest.raises(ConfigError, match="T4 knows the defence"):
        find_texts(SHOP, gullible(), plan)


def test_attacks_by_gradient_need_weights() -> None:
    pytest.importorskip("transformers", reason="the extra lm is not installed")
    from tests.support.lm.tiny_llama import tiny_llama, tiny_tokens

    network = tiny_llama()
    network.config.max_position_embeddings = 2048
    few = SHOP.only((0, 1))
    plan = AttackPlan(("T2", "T3"), ("Steel Kettle",), calls=8, orders=1)
    with pytest.raises(ConfigError, match="T2 needs the weights"):
        find_texts(few, gullible(), plan)
    weights = ModelWeights(network, tiny_tokens(), "tiny")
    texts = find_texts(few, gullible(), plan, weights=weights)
    assert [one.tier for one in texts] == ["T2", "T3"]
    assert all(one.text.startswith("people who drink 1 cups") for one in texts)


class Wordless(Same):
    """Leaves no text."""

    def clean(self, listing: ShopListing) -> ShopListing:
        return listing.without_texts()


def test_with_weights_the_adaptive_attack_goes_by_gradient_too(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="the extra lm is not installed")
    from tests.support.lm.tiny_llama import tiny_llama, tiny_tokens

    network = tiny_llama()
    network.config.max_position_embeddings = 2048
    weights = ModelWeights(network, tiny_tokens(), "tiny")
    few, plan = SHOP.only((0, 1)), AttackPlan(("T4",), ("Steel Kettle",), calls=20, orders=1)
    alone = DefendedTarget(IsolatedTarget(gullible()), Same())
    texts = find_texts(few, alone, plan, folder=tmp_path, weights=weights)
    assert [(one.tier, one.run) for one in texts] == [("T4", "0"), ("T4", "0 gradient")]
    jobs = {path.name for path in (tmp_path / "attacks").iterdir()}
    assert jobs == {"T4-0-0", "T4-gradient-0-0"}
    together = find_texts(few, DefendedTarget(gullible(), Same()), plan, weights=weights)
    assert together[1] != texts[1]
    deaf = DefendedTarget(gullible(), Wordless())
    (none,) = find_texts(few, deaf, plan, weights=weights)
    assert none.run == "0 without a text that gets through"


def test_attacks_need_a_catalogue_of_ones_own_and_its_products() -> None:
    with pytest.raises(ConfigError, match="not declared as your own"):
        find_texts(kettles(own=False), gullible(), AttackPlan())
    with pytest.raises(ConfigError, match="no such product"):
        find_texts(SHOP, gullible(), AttackPlan(products=("Pot",)))


def test_orders_that_attacks_choose_on_are_told() -> None:
    shown: list[tuple[str, ...]] = []

    def looks(listings: Sequence[ShopListing], request: str) -> list[str]:
        shown.append(tuple(one.name for one in listings))
        return [one.name for one in listings]

    plan = AttackPlan(("T1",), ("Steel Kettle",), runs=2, calls=60, orders=2, seed=5)
    find_texts(SHOP, FunctionTarget(looks, name="as shown"), plan)
    told = {tuple(SHOP.names[row] for row in one) for one in choosing_orders(plan, len(SHOP))}
    assert set(shown) <= told
    assert choosing_orders(AttackPlan(("T0", "control")), 6) == []
    assert len(choosing_orders(AttackPlan(("T2",)), 2)) == 2


def test_attacks_by_gradient_choose_on_told_orders_too() -> None:
    pytest.importorskip("transformers", reason="the extra lm is not installed")
    from adwright.audit.attacks.gradient import spread_orders

    told = set(choosing_orders(AttackPlan(("T2",), seed=3), 6))
    assert all(set(spread_orders(6, row, 3, 3)) <= told for row in range(6))


def test_a_search_with_too_few_calls_is_refused_and_finds_nothing_in_silence() -> None:
    few = AttackPlan(("T1",), ("Steel Kettle",), calls=3, orders=2)
    with pytest.raises(ConfigError, match="at least 4 calls"):
        find_texts(SHOP, gullible(), few)
    (text,) = find_texts(SHOP, gullible(), AttackPlan(("T1",), few.products, calls=4, orders=2))
    assert text.tier == "T1"
    assert find_texts(SHOP, gullible(), AttackPlan(("T0",), calls=1))


def test_plans_that_cannot_be() -> None:
    with pytest.raises(ConfigError, match="unknown tier 'T9'"):
        AttackPlan(("T0", "T9"))
    with pytest.raises(ConfigError, match="no tier"):
        AttackPlan(())
    for name in ("runs", "calls", "orders"):
        with pytest.raises(ConfigError, match="at least 1"):
            AttackPlan(**{name: 0})
