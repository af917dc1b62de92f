"""Certificates: bounds that are exact, signed, and checked by anybody."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adwright.audit.certificate.certificate import (
    FORMAT,
    AuditKey,
    BoundedScores,
    RankBounds,
    RankCertificate,
    checked_scores,
    colluding_bounds,
    honest_gain,
    make_certificate,
    make_key,
    rank_bounds,
    read_certificate,
    read_key,
    read_signed,
    require_eps,
    signed_text,
    usual_eps,
    verifier_source,
    write_signed,
)
from adwright.audit.certificate.curve import (
    BoundPoint,
    GradedList,
    bound_curve,
    curve_picture,
    curve_table,
    epsilons,
    write_curve,
)
from adwright.core.errors import (
    ConfigError,
    DataError,
    FileUnreadableError,
    ResourceError,
    ValueInvalidError,
)

#: Few values, so that there are ties.
LEVELS = st.sampled_from([-1.0, -0.5, 0.0, 0.25, 0.5, 1.0, 1.5])


@st.composite
def small(draw: st.DrawFn) -> BoundedScores:
    count = draw(st.integers(1, 4))
    rows = st.lists(LEVELS, min_size=count, max_size=count)
    return BoundedScores(
        np.array(draw(rows)), np.array(draw(rows)), draw(st.sampled_from([0.0, 0.25, 0.5, 1.0]))
    )


def choices(scores: BoundedScores, row: int) -> list[float]:
    """Every score that matters which a text can give a product: its ends, and all that tie."""
    low, high = float(scores.lowest[row]), float(scores.highest[row])
    return [low, high, *(float(s) for s in scores.honest if low <= s <= high)]


def rank(values: list[float], row: int, *, worst: bool) -> int:
    """By the definition; ties count against or for the product."""
    others = [value for at, value in enumerate(values) if at != row]
    return 1 + sum(o >= values[row] if worst else o > values[row] for o in others)


def by_trying(scores: BoundedScores) -> tuple[list[int], list[int]]:
    """Best and worst ranks over all assignments of scores."""
    honest = scores.honest.tolist()
    best, worst = [], []
    for row in range(len(scores)):
        tries = [[*honest[:row], one, *honest[row + 1 :]] for one in choices(scores, row)]
        best.append(min(rank(values, row, worst=False) for values in tries))
        free = [[one] if at == row else choices(scores, at) for at, one in enumerate(honest)]
        worst.append(max(rank(list(vs), row, worst=True) for vs in itertools.product(*free)))
    return best, worst


@given(small())
def test_bounds_are_what_trying_everything_finds(scores: BoundedScores) -> None:
    bounds = rank_bounds(scores)
    assert (bounds.best.tolist(), bounds.worst.tolist()) == by_trying(scores)
    assert bounds.rank.tolist() == scores.ranks().tolist()


def test_a_wider_bound_lets_no_rank_come_closer() -> None:
    rng = np.random.default_rng(0)
    facts, texts = rng.normal(size=(2, 50))
    narrow, wide = (rank_bounds(BoundedScores(facts, texts, eps)) for eps in (0.0, 0.5))
    assert (narrow.gain == 0).all()
    assert wide.gain.sum() > 0
    assert (narrow.worst <= rank_bounds(BoundedScores(facts, 0 * texts, 0.5)).worst).all()


def test_a_hundred_thousand_attacks_stay_inside() -> None:
    """Random and adversarial texts: of one product, then of all others together."""
    rng = np.random.default_rng(1)
    inside = 0
    for count, eps in itertools.product((2, 10, 25), (0.1, 1.0)):
        facts, texts = rng.normal(size=(2, count)).round(1)
        scores = BoundedScores(facts, texts, eps)
        bounds = rank_bounds(scores)
        tries = 17_000
        attacked = facts + np.clip(attacks(rng, tries, count), -eps, eps)
        row = rng.integers(0, count, tries)
        at = np.arange(tries)
        mine = attacked[at, row]
        others = np.broadcast_to(scores.honest, (tries, count)).copy()
        others[at, row] = -np.inf
        found = 1 + (others > mine[:, None]).sum(1)
        assert (found >= bounds.best[row]).all()
        attacked[at, row] = -np.inf
        found = 1 + (attacked >= scores.honest[row][:, None]).sum(1)
        assert (found <= bounds.worst[row]).all()
        inside += tries
    assert inside >= 100_000


def attacks(rng: np.random.Generator, tries: int, count: int) -> np.ndarray:
    """Scores that an attacker might reach: anything, extremes, and right at the bound."""
    kind = rng.integers(0, 3, (tries, count))
    drawn = rng.normal(scale=10, size=(tries, count))
    ends = rng.choice([-1e300, 1e300, -0.1, 0.1, -1.0, 1.0], size=(tries, count))
    return np.where(kind == 0, drawn, np.where(kind == 1, ends, np.sign(drawn) * 1e9))


def test_a_claim_that_counts_as_a_text_widens_the_certificate() -> None:
    """A field that sellers may write is no fact: its share of the score moves over to the text."""
    rng = np.random.default_rng(2)
    verified, claimed, texts = rng.normal(size=(3, 40))
    trusted = rank_bounds(BoundedScores(verified + claimed, texts, 0.3))
    moved = rank_bounds(BoundedScores(verified, texts + claimed, 0.3 + np.abs(claimed).max()))
    assert width(moved) > width(trusted)


def width(bounds: RankBounds) -> int:
    return int((bounds.worst - bounds.best).sum())


def test_a_million_products_have_bounds() -> None:
    rng = np.random.default_rng(3)
    scores = BoundedScores(*rng.normal(size=(2, 1_000_000)), 0.2)
    bounds = rank_bounds(scores)
    assert (bounds.best <= bounds.worst).all()
    assert (int(bounds.best.min()), int(bounds.worst.max())) == (1, 1_000_000)


WHEN = datetime(2026, 1, 1, tzinfo=UTC)
SCORES = BoundedScores(np.array([1.0, 1.1, 3.0]), np.array([0.1, 7.0, -0.2]), 0.25)


def made(colluders: int = 2) -> RankCertificate:
    return make_certificate(
        "kettles", "I want a kettle.", ("A", "B", "C"), SCORES, ranker="rules", made=WHEN,
        colluders=colluders, digest="d" * 64,
    )  # fmt: skip


def test_it_holds_scores_and_bounds() -> None:
    one = made()
    assert (one.rank, one.best, one.worst) == ((3, 2, 1), (3, 2, 1), (3, 2, 1))
    assert one.best_together == (2, 2, 1)
    assert made(colluders=1).best_together == one.best
    payload = one.payload()
    assert payload["format"] == FORMAT
    assert payload["products"][1]["text"] == 7.0


def test_it_speaks_plainly() -> None:
    said = made().in_words()
    assert "3 products of kettles, ranked by rules" in said
    assert "at most 0.25" in said
    assert "ranks on average over no text" in said
    empty = make_certificate(
        "none", "?", (), BoundedScores(np.zeros(0), np.zeros(0), 1.0), ranker="r", made=WHEN
    )
    assert "0 products" in empty.in_words()


@given(small())
@settings(max_examples=60, deadline=None)
def test_what_texts_bring_is_the_rank_with_each_less_that_without(scores: BoundedScores) -> None:
    found = honest_gain(scores)
    for row in range(len(scores)):
        texts = scores.texts.copy()
        texts[row] = 0.0
        without = BoundedScores(scores.facts, texts, scores.eps).ranks()[row]
        assert found[row] == without - scores.ranks()[row]


def test_the_usual_bound_is_in_the_unit_of_the_facts() -> None:
    facts = np.array([1.0, 2.0, np.nan, 3.0])
    assert usual_eps(facts) == pytest.approx(np.std([1, 2, 3]) / 4)
    assert usual_eps(1000 * facts) == pytest.approx(1000 * usual_eps(facts))
    for alike in (np.full(3, 0.1), np.zeros(2), np.zeros(0), np.full(2, np.nan)):
        with pytest.raises(ConfigError, match="no bound follows"):
            usual_eps(alike)


def test_it_comes_back_from_json() -> None:
    again = read_certificate(json.loads(json.dumps(made().payload())))
    assert again == made()


@pytest.mark.parametrize("key", ["rank", "best", "worst", "best_together", "worst_together"])
def test_a_bound_that_does_not_follow_is_named(key: str) -> None:
    payload = made().payload()
    payload["products"][1][key] += 1
    with pytest.raises(ValueInvalidError, match=f"row 1, column {key}"):
        read_certificate(payload)


def test_what_is_no_certificate_is_refused() -> None:
    with pytest.raises(ValueInvalidError, match="no certificate of this format"):
        read_certificate({"format": "other"})
    payload = made().payload()
    del payload["products"][0]["facts"]
    with pytest.raises(ValueInvalidError, match="lacks something"):
        read_certificate(payload)


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueInvalidError, match="2 names and 3 scores"):
        make_certificate("c", "r", ("A", "B"), SCORES, ranker="r", made=WHEN)
    with pytest.raises(ValueInvalidError, match="two products have one name"):
        make_certificate("c", "r", ("A", "B", "A"), SCORES, ranker="r", made=WHEN)
    with pytest.raises(ConfigError, match="no zone"):
        make_certificate(
            "c", "r", ("A", "B", "C"), SCORES, ranker="r", made=WHEN.replace(tzinfo=None)
        )


def reached(scores: BoundedScores, free: set[int], row: int) -> tuple[int, int]:
    """Best and worst rank of a product over all scores of those who are free."""
    each = [
        choices(scores, at) if at in free else [float(one)] for at, one in enumerate(scores.honest)
    ]
    tries = [list(values) for values in itertools.product(*each)]
    return (
        min(rank(values, row, worst=False) for values in tries),
        max(rank(values, row, worst=True) for values in tries),
    )


@settings(max_examples=60)
@given(small(), st.integers(1, 4))
def test_collusion_is_what_trying_everything_finds(scores: BoundedScores, m: int) -> None:
    found = colluding_bounds(scores, m)
    for row in range(len(scores)):
        others = [at for at in range(len(scores)) if at != row]
        with_me = itertools.combinations(others, min(m - 1, len(others)))
        against = itertools.combinations(others, min(m, len(others)))
        assert found.best[row] == min(reached(scores, {row, *some}, row)[0] for some in with_me)
        assert found.worst[row] == max(reached(scores, set(some), row)[1] for some in against)


def test_one_alone_and_all_together_are_the_plain_bounds() -> None:
    rng = np.random.default_rng(0)
    scores = BoundedScores(*rng.normal(size=(2, 200)), 0.3)
    plain = rank_bounds(scores)
    assert colluding_bounds(scores, 1).best.tolist() == plain.best.tolist()
    assert colluding_bounds(scores, 199).worst.tolist() == plain.worst.tolist()


def test_each_helper_brings_one_rank_until_the_rest_cannot_step_aside() -> None:
    # Three that can step aside, then one far above whom no text brings down.
    scores = BoundedScores(np.array([0.0, 0.375, 0.4375, 0.5, 9.0]), np.full(5, 0.125), 0.25)
    assert [int(colluding_bounds(scores, m).best[0]) for m in (1, 2, 3, 4, 9)] == [5, 4, 3, 2, 2]


def test_bad_arguments_are_named() -> None:
    scores = BoundedScores(np.zeros(3), np.zeros(3), 0.1)
    with pytest.raises(ConfigError, match="m must be at least 1"):
        colluding_bounds(scores, 0)


def lists(count: int = 6, seed: int = 0) -> list[GradedList]:
    """Grades follow facts and texts alike, so that a bound costs something."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        facts, texts = rng.normal(size=(2, 12))
        made.append(GradedList(facts, texts, np.maximum(facts + texts, 0)))
    return made


def test_ends_of_the_curve() -> None:
    some = lists()
    tried = epsilons(some)
    none, *_, most = bound_curve(some, tried)
    assert tried[0] == 0
    assert (none.eps, none.mean_gain, none.most_gain, none.mean_loss) == (0, 0, 0, 0)
    assert none.loss_percent > 5
    assert most.loss_percent == 0
    assert most.mean_gain > 1
    assert most.most_gain >= most.mean_gain


def test_ndcg_is_that_of_a_slow_definition() -> None:
    some = lists(3)
    (point,) = bound_curve(some, (0.4,))
    values = []
    for one in some:
        scores = one.facts + np.clip(one.texts, -0.4, 0.4)
        discount = 1 / np.log2(np.arange(2, 12))
        found = one.grades[np.argsort(-scores)][:10] @ discount
        values.append(found / (np.sort(one.grades)[::-1][:10] @ discount))
    assert point.ndcg == pytest.approx(np.mean(values))


def test_lists_of_unequal_length_and_without_grades() -> None:
    some = [
        GradedList(np.array([1.0, 0.0]), np.array([0.0, 2.0]), np.array([1.0, 0.0])),
        GradedList(np.zeros(1), np.zeros(1), np.zeros(1)),
    ]
    small, large = bound_curve(some, (0.5, 2.0))
    assert (small.ndcg, large.ndcg) == (1.0, pytest.approx(1 / np.log2(3)))
    with pytest.raises(DataError, match="no list has a grade above 0"):
        bound_curve(some[1:], (0.5,))
    with pytest.raises(DataError, match="there is no list"):
        bound_curve([], (0.5,))


def test_bad_lists_are_refused() -> None:
    with pytest.raises(ValueInvalidError, match="as many facts, texts and grades"):
        GradedList(np.zeros(2), np.zeros(2), np.zeros(3))
    with pytest.raises(ValueInvalidError, match="grades from 0 on"):
        GradedList(np.zeros(1), np.zeros(1), np.array([-1.0]))
    with pytest.raises(ConfigError, match="eps"):
        bound_curve(lists(1), (-1.0,))


POINTS = (BoundPoint(0.0, 0.0, 0, 0.0, 0.91, 3.2), BoundPoint(0.5, 1.25, 4, 2.0, 0.94, 0.0))


def test_the_table_has_a_line_a_bound_and_marks_the_chosen() -> None:
    header, first, second = curve_table(POINTS, chosen=0.5).splitlines()
    assert header.split()[0] == "eps"
    assert first.split() == ["0", "0.00", "0", "0.00", "0.9100", "3.20"]
    assert second.split()[0] == "0.5*"
    assert "*" not in curve_table(POINTS)


def test_the_picture_names_bounds_and_axes() -> None:
    svg = curve_picture(POINTS, chosen=0.5)
    assert svg.startswith("<svg")
    for word in ("NDCG with honest texts", "Ranks that a text can win", "chosen", "0.5"):
        assert word in svg
    assert curve_picture(POINTS) != svg
    with pytest.raises(DataError, match="no point"):
        curve_picture(())


def test_both_are_written(tmp_path: Path) -> None:
    folder = write_curve(POINTS, tmp_path / "curve", chosen=0.5)
    found = json.loads((folder / "curve.json").read_text())
    assert found["chosen"] == 0.5
    assert found["points"][1]["mean_gain"] == 1.25
    assert (folder / "curve.svg").read_text().startswith("<svg")


def test_text_moves_a_score_by_eps_at_most() -> None:
    scores = BoundedScores(np.array([1.0, 2.0, 3.0]), np.array([9.0, -9.0, 0.25]), 0.5)
    assert scores.honest.tolist() == [1.5, 1.5, 3.25]
    assert scores.highest.tolist() == [1.5, 2.5, 3.5]
    assert scores.lowest.tolist() == [0.5, 1.5, 2.5]
    assert scores.ranks().tolist() == [2, 2, 1]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_no_number_is_named(value: float) -> None:
    with pytest.raises(ValueInvalidError, match="row 1, column texts"):
        BoundedScores(np.zeros(2), np.array([0.0, value]), 0.5)


def test_other_shapes_and_lengths_are_refused() -> None:
    with pytest.raises(ValueInvalidError, match="2 scores of facts and 1 of texts"):
        BoundedScores(np.zeros(2), np.zeros(1), 0.5)
    with pytest.raises(ValueInvalidError, match="shape"):
        checked_scores(np.zeros((2, 2)), "facts")
    with pytest.raises(ValueInvalidError, match="no numbers"):
        checked_scores(["good"], "facts")


@pytest.mark.parametrize("eps", [-0.1, np.nan, np.inf, "1", True, None])
def test_an_impossible_bound_is_refused(eps: object) -> None:
    with pytest.raises(ConfigError, match="eps"):
        require_eps(eps)  # type: ignore[arg-type]


@pytest.fixture
def key(tmp_path: Path) -> AuditKey:
    return make_key(tmp_path / "key.pem")


def certificate(count: int = 60, eps: float = 0.3) -> RankCertificate:
    """Scores with ties, and names that are no ASCII."""
    rng = np.random.default_rng(0)
    scores = BoundedScores(rng.normal(size=count).round(1), rng.normal(size=count), eps)
    names = [f"Kännchen {row}" for row in range(count)]
    when = datetime(2026, 1, 1, tzinfo=UTC)
    return make_certificate("cups", "A cup?", names, scores, ranker="rules", made=when, colluders=3)


def test_a_key_is_kept_to_its_owner(tmp_path: Path) -> None:
    key = make_key(tmp_path / "keys" / "one.pem")
    assert os.stat(tmp_path / "keys" / "one.pem").st_mode & 0o777 == 0o600
    assert read_key(tmp_path / "keys" / "one.pem") == key
    assert "private" not in repr(key)
    with pytest.raises(ResourceError, match="there is a file already"):
        make_key(tmp_path / "keys" / "one.pem")
    os.chmod(tmp_path / "keys" / "one.pem", 0o644)
    with pytest.raises(ConfigError, match="others may read"):
        read_key(tmp_path / "keys" / "one.pem")


def test_what_is_no_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_key(tmp_path / "none.pem")
    (tmp_path / "text.pem").write_text("hello")
    (tmp_path / "text.pem").chmod(0o600)
    with pytest.raises(ConfigError, match="no private key"):
        read_key(tmp_path / "text.pem")


def test_it_comes_back_as_it_was(tmp_path: Path, key: AuditKey) -> None:
    one = certificate()
    path = write_signed(one, key, tmp_path / "cups.json")
    assert read_signed(path) == one
    assert read_signed(path, public_key=key.public.upper()) == one
    with pytest.raises(ValueInvalidError, match="signed by another key"):
        read_signed(path, public_key="00" * 32)


def test_any_change_is_found(tmp_path: Path, key: AuditKey) -> None:
    whole = json.loads(signed_text(certificate(), key))
    path = tmp_path / "cups.json"
    for change in ("eps", "made", "catalogue"):
        other = json.loads(json.dumps(whole))
        other["certificate"][change] = 9
        path.write_text(json.dumps(other))
        with pytest.raises(ValueInvalidError, match="does not hold"):
            read_signed(path)
    # The form of the file is free.
    path.write_text(json.dumps(whole, sort_keys=True))
    assert read_signed(path) == certificate()


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"certificate": {}, "signature": {}}', "[" * 9999]
)
def test_signed_what_is_no_certificate_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "cups.json").write_text(text)
    with pytest.raises(FileUnreadableError, match="no signed certificate"):
        read_signed(tmp_path / "cups.json")


def test_a_key_that_is_given_twice_is_refused(tmp_path: Path, key: AuditKey) -> None:
    text = signed_text(certificate(), key).replace('"eps": 0.3,', '"eps": 0.3, "eps": 0.3,')
    (tmp_path / "cups.json").write_text(text)
    with pytest.raises(FileUnreadableError, match="given twice"):
        read_signed(tmp_path / "cups.json")


def verified(tmp_path: Path, text: str, *more: str) -> tuple[int, str]:
    """What a third party sees: a Python that knows nothing of this package."""
    (tmp_path / "verify.py").write_text(verifier_source())
    (tmp_path / "cups.json").write_text(text)
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    found = subprocess.run(
        [sys.executable, "-I", "verify.py", "cups.json", *more],
        cwd=tmp_path, env=clean, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return found.returncode, found.stdout + found.stderr


def test_a_third_party_verifies_with_fifty_lines(tmp_path: Path, key: AuditKey) -> None:
    assert len(verifier_source().splitlines()) <= 50
    assert "adwright" not in verifier_source().replace("adwright-rank-certificate", "")
    text = signed_text(certificate(), key)
    assert verified(tmp_path, text, key.public) == (
        0,
        f"VALID: 60 products, eps 0.3, signed by {key.public}\n",
    )
    code, said = verified(tmp_path, text, "00" * 32)
    assert (code, said) == (1, f"INVALID: signed by another key, {key.public}\n")
    code, said = verified(tmp_path, text.replace('"eps": 0.3', '"eps": 0.4'))
    assert (code, said) == (1, "INVALID: the file was changed after it was signed\n")


def test_a_third_party_finds_a_signed_lie(tmp_path: Path, key: AuditKey) -> None:
    from dataclasses import replace

    one = certificate()
    lie = replace(one, best=(1, *one.best[1:]), worst=(1, *one.worst[1:]))
    code, said = verified(tmp_path, signed_text(lie, key))
    assert code == 1
    assert said.startswith("INVALID: Kännchen 0: stated")
    with pytest.raises(ValueInvalidError, match="does not follow"):
        read_signed(write_signed(lie, key, tmp_path / "lie.json"))
