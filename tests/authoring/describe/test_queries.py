"""Queries and judgements from files, and what falls away when they meet a catalogue."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adwright.authoring.describe.queries import (
    EchoConfig,
    EchoGuard,
    GradedJudgement,
    SearchQuery,
    judged_by,
    normal_query,
    read_judgements,
    read_queries,
)
from adwright.authoring.describe.rankers import Bm25, Bm25Ranker, VectorRanker, grams_of, words_of
from adwright.authoring.tasks import Product
from adwright.core.errors import (
    AdwrightError,
    ConfigError,
    DataError,
    SchemaError,
    ValueInvalidError,
)


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


@pytest.mark.parametrize("options", [{"k1": -1.0}, {"b": 1.5}, {"b": float("nan")}])
def test_other_settings_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        Bm25Ranker(**options)


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


@pytest.mark.parametrize("options", [{"words": 0}, {"common": 0.0}, {"share": 0.0}, {"share": 1.5}])
def test_echo_other_settings_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        EchoConfig(**options)  # type: ignore[arg-type]


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
