from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.core.errors import ConfigError, DataError
from benchmarks.common.text_measures import chrf, chrf_per_text

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


def test_bad_arguments() -> None:
    with pytest.raises(ConfigError, match="order 0"):
        chrf_per_text([], [], order=0)
    with pytest.raises(ConfigError, match="beta"):
        chrf_per_text([], [], beta=float("nan"))
    with pytest.raises(DataError, match="row 0, column references"):
        chrf_per_text(["a"], [None])  # type: ignore[list-item]
