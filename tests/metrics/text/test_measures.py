"""Measures of texts, against their formulas and other libraries."""

from __future__ import annotations

from collections import Counter
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from adwright.core.errors import ConfigError, DataError, ValueInvalidError
from adwright.metrics.bootstrap import two_level_ratio
from adwright.metrics.text.agreement import (
    common_subsequence,
    distinct_n,
    krippendorff_alpha,
    ngrams,
    require_texts,
    rouge_l,
    singular,
    words_of,
)
from benchmarks.common.text_measures import (
    bert_score,
    chrf,
    chrf_per_text,
    distinct_n_per_text,
    label_score,
    pair_counts,
    pair_f1,
    pair_f1_per_text,
    query_coverage,
    query_coverage_per_text,
    right_per_text,
    rouge_l_per_text,
)

texts = st.text(st.sampled_from("ab c\n"), max_size=30)


def literal(output: str, reference: str, order: int, beta: float) -> float:
    """The formula of the paper, order by order."""
    one, other = (Counter[str](), Counter[str]())
    ratios: list[tuple[float, float]] = []
    mine, theirs = "".join(output.split()), "".join(reference.split())
    for n in range(1, order + 1):
        one = Counter(mine[i : i + n] for i in range(len(mine) - n + 1))
        other = Counter(theirs[i : i + n] for i in range(len(theirs) - n + 1))
        if one and other:
            both = (one & other).total()
            ratios.append((both / one.total(), both / other.total()))
    if not ratios:
        return 0.0
    p = sum(a for a, _ in ratios) / len(ratios)
    r = sum(b for _, b in ratios) / len(ratios)
    return (1 + beta**2) * p * r / (beta**2 * p + r) if p + r else 0.0


@given(texts, texts, st.integers(1, 7), st.sampled_from([0.5, 1.0, 2.0]))
def test_it_is_the_formula(one: str, other: str, order: int, beta: float) -> None:
    found = chrf(one, other, order=order, beta=beta)
    assert found == pytest.approx(literal(one, other, order, beta))


@given(st.lists(st.tuples(st.text(max_size=40), st.text(max_size=40)), max_size=5))
def test_it_is_that_of_sacrebleu(rows: list[tuple[str, str]]) -> None:
    peer = pytest.importorskip("sacrebleu").CHRF()
    found = chrf_per_text([one for one, _ in rows], [other for _, other in rows])
    wanted = [peer.sentence_score(one, [other]).score / 100 for one, other in rows]
    assert found == pytest.approx(wanted)


def test_order_and_beta_change_it() -> None:
    one, other = "a red shirt", "red shirts for men"
    assert len({chrf(one, other), chrf(one, other, order=2), chrf(one, other, beta=1)}) == 3
    assert chrf(one, one) == 1.0


def test_an_invalid_answer_stays_in_the_denominator() -> None:
    found = label_score(["a", None, None, "a"], ["a", "a", "b", "a"])
    assert (found.accuracy, found.n_invalid, found.n) == (0.5, 2, 4)
    assert found.macro_f1 == pytest.approx((2 * 2 / (2 + 3) + 0) / 2)
    assert right_per_text(["a", None], ["a", "b"]).tolist() == [1, 0]


labels = st.sampled_from("abc")


@given(st.lists(st.tuples(st.none() | st.sampled_from("abcd"), labels), min_size=1))
def test_macro_f1_is_that_of_scikit_learn(rows: list[tuple[str | None, str]]) -> None:
    given_, wanted = [one or "none" for one, _ in rows], [other for _, other in rows]
    classes = sorted(set(wanted))
    peer = f1_score(wanted, given_, labels=classes, average="macro", zero_division=0)
    assert label_score([one for one, _ in rows], wanted).macro_f1 == pytest.approx(peer)


def test_pairs() -> None:
    wanted = [[("Colour", "Red"), ("Size", "M")], [], [], [("a", "b")]]
    given_ = [[("colour ", "red"), ("colour", "red"), ("Size", "L")], [], None, None]
    assert pair_counts(given_, wanted).tolist() == [[1, 2, 2], [0, 0, 0], [0, 0, 0], [0, 0, 1]]
    assert pair_f1_per_text(given_, wanted).tolist() == [0.5, 1, 0, 0]
    assert pair_f1(given_, wanted) == pytest.approx(2 / 5)
    assert np.isnan(pair_f1([], []))


def test_the_counts_of_pairs_carry_an_interval() -> None:
    rng = np.random.default_rng(1)
    wanted = [[("a", str(row % 3)), ("b", "x")] for row in range(40)]
    given_ = [[("a", str(int(rng.integers(3)))), ("b", "x")] for _ in wanted]
    right, mine, theirs = pair_counts(given_, wanted).T
    found = two_level_ratio(2 * right, mine + theirs, rng, draws=200)
    assert found.value == pytest.approx(pair_f1(given_, wanted))
    assert found.low < found.value < found.high


def test_it_is_the_formula_similarity() -> None:
    rng = np.random.default_rng(1)
    one, other = rng.normal(size=(5, 8)), rng.normal(size=(3, 8))
    weights, more = rng.random(5), rng.random(3)

    def cosine(a: np.ndarray, b: np.ndarray) -> float:
        return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))

    r = sum(w * max(cosine(x, y) for y in one) for w, x in zip(more, other, strict=True))
    p = sum(w * max(cosine(x, y) for x in other) for w, y in zip(weights, one, strict=True))
    r, p = r / more.sum(), p / weights.sum()
    found = bert_score(one, other, output_weights=weights, reference_weights=more)
    assert (found.precision, found.recall) == pytest.approx((p, r))
    assert found.f1 == pytest.approx(2 * p * r / (p + r))
    plain = bert_score(one, other)
    assert plain != found
    raised = bert_score(one, other, baseline=0.2)
    assert raised.recall == pytest.approx((plain.recall - 0.2) / 0.8)


def test_known_values() -> None:
    found = query_coverage_per_text(
        ["Red cotton shirt for men", "Blue hat", "x"], ["red shirts for men", "the red hat", "--"]
    )
    assert found == pytest.approx([1, 0.5, np.nan], nan_ok=True)
    assert query_coverage("the", "the") == 1
    assert query_coverage("a hat", "the") == 0


@pytest.mark.parametrize(
    ("many", "one"),
    [
        ("shirts", "shirt"),
        ("berries", "berry"),
        ("dresses", "dress"),
        ("boxes", "box"),
        ("brushes", "brush"),
        ("glass", "glass"),
        ("bus", "bus"),
        ("shoes", "shoe"),
    ],
)
def test_plurals(many: str, one: str) -> None:
    assert singular(many) == singular(one) == one


words = st.lists(st.sampled_from("abcde"), max_size=90)


def literal_rouge(one: list[str], other: list[str]) -> int:
    """The textbook table of lengths."""
    table = np.zeros((len(one) + 1, len(other) + 1), int)
    for i, mine in enumerate(one):
        for j, theirs in enumerate(other):
            table[i + 1, j + 1] = (
                table[i, j] + 1 if mine == theirs else max(table[i, j + 1], table[i + 1, j])
            )
    return int(table[-1, -1])


@given(words, words)
def test_the_subsequence_is_that_of_the_table(one: list[str], other: list[str]) -> None:
    assert common_subsequence(one, other) == literal_rouge(one, other)


@given(words, words)
def test_f1_is_that_of_precision_and_recall(one: list[str], other: list[str]) -> None:
    length = literal_rouge(one, other)
    wanted = 0.0
    if length:
        p, r = length / len(one), length / len(other)
        wanted = 2 * p * r / (p + r)
    assert rouge_l(" ".join(one), " ".join(other)) == pytest.approx(wanted)


def test_known_values_rouge() -> None:
    # Lin 2004, section 3.1: "police killed the gunman" and its two candidates.
    reference = "police killed the gunman"
    assert rouge_l("police kill the gunman", reference) == 0.75
    assert rouge_l("the gunman kill police", reference) == 0.5
    found = rouge_l_per_text(["Red, shirt!", ""], ["red shirt", "a"])
    assert found.tolist() == [1.0, 0.0]


def test_known_values_distinct() -> None:
    texts = ["red red red", "a red shirt", ""]
    assert distinct_n_per_text(texts, 1) == pytest.approx([1 / 3, 1, np.nan], nan_ok=True)
    assert distinct_n_per_text(texts, 2) == pytest.approx([1 / 2, 1, np.nan], nan_ok=True)
    assert distinct_n(texts, 1) == 3 / 6
    assert np.isnan(distinct_n([], 1))


def test_bad_arguments_distinct() -> None:
    with pytest.raises(ConfigError, match="n must be at least 1"):
        distinct_n(["a"], 0)
    with pytest.raises(DataError, match="row 0"):
        distinct_n([1], 1)  # type: ignore[list-item]


def test_words_of_several_scripts() -> None:
    assert words_of("Grey T-shirt, 2.5_m") == ["grey", "t", "shirt", "2", "5", "m"]
    assert words_of("Größe für Mädchen") == ["größe", "für", "mädchen"]
    assert words_of("हिन्दी कपड़े") == ["हिन्दी", "कपड़े"]
    assert words_of("e\u0301te\u0301") == ["e\u0301te\u0301"]
    assert words_of("中文字") == ["中", "文", "字"]
    assert words_of("") == words_of(" ... ") == []


def test_ngrams() -> None:
    assert ngrams("abc", 2) == [("a", "b"), ("b", "c")]
    assert ngrams("a", 2) == []


def test_what_is_no_text_is_named() -> None:
    with pytest.raises(DataError, match="not one"):
        require_texts("one", "texts")
    with pytest.raises(DataError, match="row 1, column texts"):
        require_texts(["a", None], "texts")  # type: ignore[list-item]


NONE = np.nan
#: "Computing Krippendorff's Alpha-Reliability" (2011), part C: four observers, twelve units.
PUBLISHED = np.array(
    [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, NONE, NONE, NONE],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NONE, 3],
        [NONE, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NONE],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NONE],
    ]
)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def agreement_literal(table: np.ndarray, scale: str) -> float:
    """1 - mean difference of pairs within units / mean difference of all pairs of values."""
    units = [[v for v in column if not np.isnan(v)] for column in table.T]
    units = [unit for unit in units if len(unit) >= 2]
    every = [value for unit in units for value in unit]

    def difference(c: float, k: float) -> float:
        if scale == "nominal":
            return float(c != k)
        if scale == "interval":
            return (c - k) ** 2
        low, high = min(c, k), max(c, k)
        between = sum(low <= value <= high for value in every)
        return (between - (every.count(c) + every.count(k)) / 2) ** 2 if c != k else 0.0

    observed = sum(
        sum(difference(c, k) for c, k in permutations(unit, 2)) / (len(unit) - 1) for unit in units
    )
    expected = sum(difference(c, k) for c, k in permutations(every, 2)) / (len(every) - 1)
    return 1 - observed / expected


@pytest.mark.parametrize(
    ("scale", "published"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)]
)
def test_the_published_example(scale: str, published: float, rng: np.random.Generator) -> None:
    found = krippendorff_alpha(PUBLISHED, scale=scale, rng=rng)
    assert found.alpha is not None
    assert round(found.alpha.value, 3) == published
    assert found.alpha.low <= published <= found.alpha.high
    # The last unit has one observer.
    assert (found.units, found.values) == (11, 40)
    assert found.text().startswith(f"{published:.3f} (")


@settings(max_examples=40)
@given(
    st.integers(2, 4).flatmap(
        lambda raters: st.lists(
            st.lists(st.sampled_from([1.0, 2.0, 3.0, 5.0, NONE]), min_size=raters, max_size=raters),
            min_size=2,
            max_size=8,
        )
    ),
    st.sampled_from(["nominal", "ordinal", "interval"]),
)
def test_equals_the_definition(units: list[list[float]], scale: str) -> None:
    table = np.array(units).T
    paired = table[:, (~np.isnan(table)).sum(0) >= 2]
    if len(np.unique(paired[~np.isnan(paired)])) < 2:
        return
    found = krippendorff_alpha(table, scale=scale, rng=np.random.default_rng(0), draws=50)
    assert found.alpha is not None
    assert found.alpha.value == pytest.approx(agreement_literal(table, scale), abs=1e-9)


def test_agreement_in_everything_is_one_and_the_order_of_raters_is_nothing(
    rng: np.random.Generator,
) -> None:
    same = np.tile([1.0, 2, 3, 1, 2], (3, 1))
    found = krippendorff_alpha(same, scale="ordinal", rng=rng)
    assert found.alpha is not None
    assert found.alpha.value == pytest.approx(1)
    turned = krippendorff_alpha(PUBLISHED[::-1], scale="ordinal", rng=np.random.default_rng(1))
    again = krippendorff_alpha(PUBLISHED, scale="ordinal", rng=np.random.default_rng(1))
    assert turned == again


def test_draws_and_confidence_change_the_interval() -> None:
    def width(**options: float) -> float:
        rng = np.random.default_rng(0)
        found = krippendorff_alpha(PUBLISHED, scale="nominal", rng=rng, **options)
        assert found.alpha is not None
        return found.alpha.width

    assert width(confidence=0.5) < width() != width(draws=100)


def test_one_value_says_nothing_of_agreement(rng: np.random.Generator) -> None:
    found = krippendorff_alpha(np.ones((3, 4)), scale="nominal", rng=rng)
    assert found.alpha is None
    assert "the same" in found.text()


@pytest.mark.parametrize(
    ("table", "scale", "error"),
    [
        ([[1, 2], [NONE, NONE]], "nominal", DataError),
        ([1, 2, 3], "nominal", ValueInvalidError),
        ([[1, np.inf], [1, 2]], "nominal", ValueInvalidError),
        ([np.arange(70), np.arange(70)], "nominal", ValueInvalidError),
        ([[1, 2], [1, 2]], "ratio", ConfigError),
    ],
)
def test_what_cannot_be_judged(
    table: list[object], scale: str, error: type[Exception], rng: np.random.Generator
) -> None:
    with pytest.raises(error):
        krippendorff_alpha(table, scale=scale, rng=rng)
