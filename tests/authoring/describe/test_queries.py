"""Queries and judgements from files, and what falls away when they meet a catalogue."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adwright.authoring.describe.queries import (
    EchoConfig,
    EchoGuard,
    GradedJudgement,
    Judged,
    SearchQuery,
    judged_by,
    normal_query,
    read_judgements,
    read_queries,
)
from adwright.authoring.describe.rankers import Bm25, Bm25Ranker, VectorRanker, grams_of, words_of
from adwright.authoring.describe.search import INDEXES, SearchConfig, compare_search
from adwright.authoring.tasks import Product
from adwright.core.errors import AdwrightError, DataError, SchemaError, ValueInvalidError
from benchmarks.common.matches import read_matches


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_tables_are_read(tmp_path: Path) -> None:
    path = written(tmp_path / "q.csv", "query_id,query,seen\n1,red tea,\n2,cup,true\n")
    assert read_queries(path) == (SearchQuery("1", "red tea"), SearchQuery("2", "cup", seen=True))
    lines = '{"query_id": 1, "item_id": "a", "grade": 2}\n'
    path = written(tmp_path / "j.jsonl", lines)
    assert read_judgements(path) == (GradedJudgement("1", "a", 2.0),)


def test_judgements_of_trec(tmp_path: Path) -> None:
    path = written(tmp_path / "run.qrels", "1 0 a 3\n\n1 0 b -2\n2\t0\tc\t0\n")
    assert [one.grade for one in read_judgements(path)] == [3, 0, 0]
    with pytest.raises(AdwrightError, match="line 1 has 3 fields"):
        read_judgements(written(tmp_path / "bad.qrels", "1 a 3\n"))
    with pytest.raises(AdwrightError, match="cannot be read"):
        read_judgements(tmp_path / "gone.qrels")


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("query_id,text\n1,tea\n", SchemaError, "column is missing"),
        ("query_id,query\n1,\n", ValueInvalidError, "is empty"),
        ("query_id,query\n,tea\n", ValueInvalidError, "is empty"),
        ("query_id,query\n1,tea\n1,cup\n", ValueInvalidError, "one id"),
        ("query_id,query,seen\n1,tea,maybe\n", ValueInvalidError, "true or false"),
    ],
)
def test_broken_queries(tmp_path: Path, text: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        read_queries(written(tmp_path / "q.csv", text))


@pytest.mark.parametrize("grade", ["", "good", "-1", "31", "nan"])
def test_broken_grades(tmp_path: Path, grade: str) -> None:
    path = written(tmp_path / "j.csv", f"query_id,item_id,grade\n1,a,2\n1,b,{grade}\n")
    with pytest.raises(ValueInvalidError, match="0 to 30") as raised:
        read_judgements(path)
    assert raised.value.row == 1
    with pytest.raises(ValueInvalidError, match="is empty"):
        read_judgements(written(path, "query_id,item_id,grade\n,a,2\n"))


QUERIES = (SearchQuery("1", "Red Tea"), SearchQuery("2", "cup"), SearchQuery("3", "gold"))
JUDGED = (
    GradedJudgement("1", "a", 2),
    GradedJudgement("1", "b", 0),
    GradedJudgement("1", "a", 1),
    GradedJudgement("2", "b", 1),
    GradedJudgement("3", "b", 0),
    GradedJudgement("9", "a", 1),
    GradedJudgement("1", "gone", 1),
)


def test_what_falls_away_is_counted() -> None:
    found = judged_by(QUERIES, JUDGED, ["a", "b"], seen=["red tea!"])
    assert [one.id for one in found.queries] == ["1", "2"]
    assert found.offsets.tolist() == [0, 2, 3]
    grades = dict(zip(found.items[:2].tolist(), found.grades[:2].tolist(), strict=True))
    assert grades == {0: 2.0, 1: 0.0}
    assert (found.unknown, found.unanswered, found.repeated) == (2, 1, 1)
    assert found.seen().tolist() == [True, False]
    assert found.grades_of(np.array([False, True])).sum() == 1


def test_nothing_is_left_or_ids_are_repeated() -> None:
    with pytest.raises(DataError, match="no query is answered"):
        judged_by(QUERIES, JUDGED, ["z"])
    with pytest.raises(DataError, match="one id"):
        judged_by(QUERIES, JUDGED, ["a", "a"])


WORDS = st.lists(st.sampled_from(["red", "blue", "tea", "pot", "cup"]), max_size=6)


def literal(query: list[str], documents: list[list[str]], at: int, k1: float, b: float) -> float:
    mean = sum(map(len, documents)) / len(documents)
    document, total = documents[at], 0.0
    for word in query:
        holds = sum(word in one for one in documents)
        idf = math.log(1 + (len(documents) - holds + 0.5) / (holds + 0.5))
        times = document.count(word)
        norm = k1 * (1 - b + b * len(document) / mean) if mean else 1
        total += idf * times * (k1 + 1) / (times + norm) if times else 0
    return total


@settings(max_examples=60)
@given(
    st.lists(WORDS, min_size=1, max_size=6),
    WORDS,
    st.sampled_from([0.0, 0.9, 1.2, 2.0]),
    st.sampled_from([0.0, 0.4, 0.75, 1.0]),
)
def test_equals_the_formula(
    documents: list[list[str]], query: list[str], k1: float, b: float
) -> None:
    index = Bm25([" ".join(one) for one in documents], k1=k1, b=b)
    want = [literal(query, documents, at, k1, b) for at in range(len(documents))]
    np.testing.assert_allclose(index.scores(" ".join(query)), want, atol=1e-9)


def test_lists_hold_what_has_a_word_and_end_there() -> None:
    documents = [("red tea", "a tea for red pots"), ("blue pot",), ("cup",)]
    lists = Bm25Ranker().lists(documents, ["tea", "pot", "gold", "red pot"], 3)
    assert lists[0].tolist() == [0, -1, -1]
    assert lists[1].tolist() == [1, -1, -1]
    assert lists[2].tolist() == [-1, -1, -1]
    assert set(lists[3][:2]) == {0, 1}


def test_k1_and_b_change_the_order() -> None:
    documents = [("tea tea tea filler filler filler filler filler filler",), ("tea cup",)]
    assert Bm25Ranker(k1=2, b=0).lists(documents, ["tea"], 1)[0, 0] == 0
    assert Bm25Ranker(k1=2, b=1).lists(documents, ["tea"], 1)[0, 0] == 1
    once = Bm25([one for (one,) in documents], k1=0).scores("tea")
    assert once[0] == once[1]
    assert Bm25Ranker(k1=2, b=0).name == "BM25 (k1 2, b 0)"


def test_nothing_to_search_in() -> None:
    assert Bm25Ranker().lists([], ["tea"], 2).tolist() == [[-1, -1]]
    assert Bm25Ranker().lists([("",)], ["tea"], 2).tolist() == [[-1, -1]]
    assert Bm25Ranker().lists([("tea",)], [], 2).shape == (0, 2)


def test_ties_favour_nobody() -> None:
    lists = Bm25Ranker().lists([("tea",)] * 40, ["tea"] * 40, 1)
    assert len(set(lists[:, 0])) > 10


TEA = Product("t", "Assam tea bags", brand="Mill Lane", attributes=(("size", "80 bags"),))


def test_words_of_the_facts_are_no_echo() -> None:
    guard = EchoGuard(["mill lane tea", "tea for mother's day"])
    assert guard.echo_of(TEA, "Tea by Mill Lane: mill lane tea, 80 bags.") is None


def test_a_description_that_repeats_a_query_is_found() -> None:
    guard = EchoGuard(["mill lane tea", "best gift for mother"])
    found = guard.echo_of(TEA, "The best gift for mother: Assam tea.")
    assert found is not None
    assert (found.product, found.query, found.share) == ("t", "best gift for mother", 1.0)
    assert found.words == ("best", "gift", "for", "mother")


@given(
    st.lists(st.sampled_from(["tea", "gift", "bags", "cosy", "warm"]), max_size=8),
    st.lists(st.sampled_from(["tea", "gift", "bags", "cosy", "warm"]), min_size=1, max_size=5),
    st.integers(1, 3),
)
def test_the_share_is_that_of_the_definition(
    description: list[str], query: list[str], n: int
) -> None:
    facts = {word for fact in TEA.facts() for word in words_of(fact)}
    grams, there = grams_of(query, n), grams_of(description, n)
    echoed = [one for one in grams if one in there and set(one) - facts]
    found = EchoGuard([" ".join(query)], EchoConfig(words=n, share=0.001)).echo_of(
        TEA, " ".join(description)
    )
    assert (found is None) == (not echoed)
    if found is not None:
        assert found.share == pytest.approx(len(echoed) / len(grams))


def test_settings_decide_what_is_an_echo() -> None:
    text, query = "a cosy evening", "cosy evening with friends at home"
    assert EchoGuard([query]).echo_of(TEA, text) is None
    assert EchoGuard([query], EchoConfig(share=0.2)).echo_of(TEA, text) is not None
    assert EchoGuard(["cosy"]).echo_of(TEA, text) is None
    assert EchoGuard(["cosy"], EchoConfig(words=1)).echo_of(TEA, text) is not None


def test_of_several_products_those_with_a_description_are_looked_at() -> None:
    other = Product("u", "Blue cup")
    guard = EchoGuard(["warm winter gift"])
    found = guard.echoes([TEA, other], {"t": "Tea", "u": "A warm winter gift", "gone": "warm"})
    assert [one.product for one in found] == ["u"]


def test_words_that_many_products_have_are_no_sign() -> None:
    text, query = "a cup for the desk", "cup for the desk"
    cup = Product("c", "desk cup")
    others = [Product(f"o{at}", "a bowl for the kitchen") for at in range(5)]
    assert EchoGuard([query]).echo_of(cup, text) is not None
    assert EchoGuard([query], catalogue=[cup, *others]).echo_of(cup, text) is None
    strict = EchoGuard([query], EchoConfig(common=0.9), catalogue=[cup, *others])
    assert strict.echo_of(cup, text) is not None


def test_queries_of_the_same_words_are_one() -> None:
    assert normal_query("Gold  CUP!") == normal_query("gold cup")


def test_words_are_letters_and_digits_in_one_form() -> None:
    assert words_of('Dish-washer, 24" WIDE') == ("dish", "washer", "24", "wide")
    assert words_of("ﬁne ＴＥＡ Straße") == ("fine", "tea", "strasse")
    assert words_of("snake_case …") == ("snake", "case")
    assert words_of("") == ()


@given(st.text())
def test_words_are_found_again_where_they_stand_apart(text: str) -> None:
    words = words_of(text)
    assert all(words)
    assert len(words_of(" | ".join(words))) >= len(words)


@given(st.lists(st.sampled_from("abc")), st.integers(1, 4))
def test_runs_are_those_that_stand_there(words: list[str], n: int) -> None:
    grams = grams_of(words, n)
    assert all(len(gram) == n for gram in grams)
    assert len(grams) <= max(len(words) - n + 1, 0)
    text = " ".join(words)
    assert all(" ".join(gram) in text for gram in grams)


class Letters:
    """Vectors of how often each of four letters stands in a text."""

    name = "letters"

    def __init__(self) -> None:
        self.asked: list[str] = []

    def encode(self, texts: Sequence[str], /) -> npt.NDArray[np.float32]:
        self.asked += texts
        counts = np.array([[one.count(c) + 0.01 for c in "abcd"] for one in texts], np.float32)
        return counts / np.linalg.norm(counts, axis=1, keepdims=True)


def test_the_nearest_passage_decides() -> None:
    ranker = VectorRanker(Letters())
    documents = [("aaab",), ("cccc", "aaaa"), ("dddd",)]
    lists = ranker.lists(documents, ["aa", "d"], 3)
    assert lists[0].tolist() == [1, 0, 2]
    assert lists[1, 0] == 2
    assert ranker.name == "vectors (letters)"


def test_equals_going_through_all_passages() -> None:
    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice(list("abcd"), 5)) for _ in range(60)]
    documents = [tuple(texts[at : at + 1 + at % 3]) for at in range(0, 57, 3)]
    queries = texts[40:50]
    lists = VectorRanker(Letters()).lists(documents, queries, 1)
    encode = Letters().encode
    for query, listed in zip(queries, lists[:, 0], strict=True):
        best = [float((encode(one) @ encode([query])[0]).max()) for one in documents]
        assert best[listed] == pytest.approx(max(best), abs=1e-6)


def test_a_text_is_encoded_once() -> None:
    encoder = Letters()
    ranker = VectorRanker(encoder)
    ranker.lists([("ab", "ab"), ("cd",)], ["ab"], 2)
    ranker.lists([("ab",), ("cd", "dd")], ["ab"], 2)
    assert sorted(encoder.asked) == ["ab", "cd", "dd"]


def test_ends_and_mistakes() -> None:
    ranker = VectorRanker(Letters())
    assert ranker.lists([("a",)], ["a"], 2).tolist() == [[0, -1]]
    assert ranker.lists([], ["a"], 2).tolist() == [[-1, -1]]
    assert ranker.lists([("a",)], [], 2).shape == (0, 2)
    with pytest.raises(DataError, match="no passage"):
        ranker.lists([("a",), ()], ["a"], 1)


RANKER = Bm25Ranker()
FAST = SearchConfig(draws=60)
COUNT = 24


def catalogue() -> tuple[list[Product], dict[str, str], Judged]:
    """Products of one title, whose colour stands in the original description of every second one
    and in every written one; a query asks for a colour and a number that is an attribute."""
    products, written, queries, judged = [], {}, [], []
    for at in range(COUNT):
        mark = f"shade{at}"
        body = f"comes in {mark}" if at % 2 else ""
        known = (("colour", mark),)
        products.append(Product(f"p{at}", "plain cup", description=body, attributes=known))
        written[f"p{at}"] = f"a cup in {mark} for the table"
        queries.append(SearchQuery(f"q{at}", f"cup in {mark}"))
        judged.append(GradedJudgement(f"q{at}", f"p{at}", 2))
    return products, written, judged_by(queries, judged, [one.id for one in products])


def test_the_index_with_the_words_is_ahead() -> None:
    products, written, judged = catalogue()
    found = compare_search(products, [written], judged, [RANKER], FAST)
    ndcg = {index: found.row(RANKER.name, "unseen", index).ndcg.value for index in INDEXES}
    assert ndcg["written"] == ndcg["both"] == 1
    assert ndcg["title"] < ndcg["original"] < 1
    lead = found.row(RANKER.name, "unseen", "both").lead
    assert lead is not None
    assert lead.excludes(0)
    assert lead.value == pytest.approx(1 - ndcg["original"])
    assert found.row(RANKER.name, "unseen", "original").lead is None
    assert (found.products, found.cold, found.written, found.seen) == (COUNT, 12, (COUNT,), 0)
    with pytest.raises(KeyError):
        found.row("another", "unseen", "both")


def test_cold_products_stand_apart() -> None:
    products, written, judged = catalogue()
    found = compare_search(products, [written], judged, [RANKER], FAST)
    cold = found.row(RANKER.name, "cold", "original")
    assert cold.queries == 12
    assert cold.ndcg.value < found.row(RANKER.name, "unseen", "original").ndcg.value
    known = {f"p{at}" for at in range(0, COUNT, 3)}
    with_history = compare_search(products, [written], judged, [RANKER], FAST, history=known)
    assert with_history.cold == 20


def test_what_the_writer_had_seen_is_no_evidence() -> None:
    products, written, judged = catalogue()
    seen = [replace(one, seen=at < 5) for at, one in enumerate(judged.queries)]
    told = replace(judged, queries=tuple(seen))
    found = compare_search(products, [written], told, [RANKER], FAST)
    assert found.seen == 5
    assert found.row(RANKER.name, "unseen", "both").queries == COUNT - 5
    assert found.row(RANKER.name, "seen", "both").queries == 5
    whole = replace(judged, queries=tuple(replace(one, seen=True) for one in judged.queries))
    with pytest.raises(DataError, match="has seen every query"):
        compare_search(products, [written], whole, [RANKER], FAST)


def test_a_description_that_echoes_queries_wins_nothing() -> None:
    products, _, judged = catalogue()
    bare = [replace(one, attributes=(), description="") for one in products]
    echoing = {one.id: query.text for one, query in zip(products, judged.queries, strict=True)}
    # Every run of two words has one that no fact knows.
    guarded = compare_search(bare, [echoing], judged, [RANKER], FAST)
    assert len(guarded.echoes[0]) == COUNT
    assert guarded.written == (0,)
    title = guarded.row(RANKER.name, "unseen", "title").ndcg
    assert guarded.row(RANKER.name, "unseen", "written").ndcg.value == title.value
    kept = compare_search(bare, [echoing], judged, [RANKER], replace(FAST, echoes="keep"))
    assert kept.row(RANKER.name, "unseen", "written").ndcg.value == 1
    blind = replace(FAST, echo=EchoConfig(words=4))
    assert not compare_search(bare, [echoing], judged, [RANKER], blind).echoes[0]


def test_seeds_widen_the_interval() -> None:
    products, written, judged = catalogue()
    half = {key: text for key, text in written.items() if int(key[1:]) % 3}
    one = compare_search(products, [written], judged, [RANKER], FAST)
    three = compare_search(products, [written, half, half], judged, [RANKER], FAST)
    row = three.row(RANKER.name, "unseen", "written")
    assert one.row(RANKER.name, "unseen", "written").ndcg.seeds == 1
    assert row.ndcg.seeds == 3
    assert three.row(RANKER.name, "unseen", "original").ndcg.seeds == 0
    assert row.ndcg.width > one.row(RANKER.name, "unseen", "written").ndcg.width


@pytest.mark.parametrize(
    "change", [{"k": 1}, {"gain": "linear"}, {"confidence": 0.5}, {"draws": 30}, {"seed": 3}]
)
def test_settings_change_the_table(change: dict[str, Any]) -> None:
    products, written, judged = catalogue()
    more = judged_by(
        judged.queries,
        [
            *(GradedJudgement(f"q{at}", f"p{at}", 2) for at in range(COUNT)),
            *(GradedJudgement(f"q{at}", f"p{(at + 1) % COUNT}", 1) for at in range(COUNT)),
        ],
        [one.id for one in products],
    )
    usual = compare_search(products, [written], more, [RANKER], FAST)
    other = compare_search(products, [written], more, [RANKER], replace(FAST, **change))
    assert usual.rows != other.rows


def test_nothing_was_written() -> None:
    products, _, judged = catalogue()
    for written in ([], [{}], [{"p1": ""}]):
        with pytest.raises(DataError, match="no written descriptions"):
            compare_search(products, written, judged, [RANKER], FAST)


def test_on_abt_buy_the_right_descriptions_beat_those_of_other_products(shared_data: Path) -> None:
    """Buy's names are the queries, and Buy's descriptions the written ones."""
    records = list(read_matches(shared_data / "abt-buy" / "test.txt"))
    shop = {one.cluster: one for one in records if one.side == 0}
    asked = [one for one in records if one.side == 1 and one.cluster in shop]
    products = [
        Product(one.id, one.fields["name"], description=one.fields["description"])
        for one in shop.values()
    ]
    written = {
        shop[one.cluster].id: one.fields["description"]
        for one in asked
        if one.fields["description"]
    }
    judged = judged_by(
        [SearchQuery(one.id, one.fields["name"]) for one in asked],
        [GradedJudgement(one.id, shop[one.cluster].id, 1) for one in asked],
        [one.id for one in products],
    )
    turned = dict(
        zip(written, [*list(written.values())[1:], *list(written.values())[:1]], strict=True)
    )
    keep = replace(FAST, echoes="keep")
    right = compare_search(products, [written], judged, [RANKER], keep)
    wrong = compare_search(products, [turned], judged, [RANKER], keep)
    title = right.row(RANKER.name, "unseen", "title").ndcg
    assert title.value > 0.6
    for index in ("written", "both"):
        good = right.row(RANKER.name, "unseen", index).ndcg.value
        assert good > wrong.row(RANKER.name, "unseen", index).ndcg.value
