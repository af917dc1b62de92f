"""The guard: its parts, its rehearsed attacks, its p-values, what it finds, and how it is kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.audit.defences.guard.guard import (
    GUARD_KIND,
    GuardConfig,
    GuardText,
    TextGuard,
    families,
    fit_logistic,
    guard_texts,
    load_guard,
    most_alarms,
    parts_of,
    rehearsed,
    save_guard,
    unnamed,
)
from adwright.core.artifacts import load_artifact, save_artifact
from adwright.core.errors import ArtifactError, ConfigError, DataError, ResourceError
from tests.support.audit.defended import ATTACKS, honest_guard_texts, kettles

#: Without an encoder, which takes seconds to open.
LETTERS = GuardConfig(kinds=("letters",), alpha=0.02)


def fitted(count: int = 200, *, seed: int = 0, config: GuardConfig = LETTERS) -> TextGuard:
    return TextGuard.fit(honest_guard_texts(count), np.random.default_rng(seed), config)


@pytest.fixture(scope="module")
def guard() -> TextGuard:
    return fitted()


def test_sentences_and_windows_are_parts() -> None:
    text = "Boils water. Quiet! " + " ".join(f"w{at}" for at in range(30))
    places, parts = zip(*parts_of(text), strict=True)
    assert parts[:2] == ("Boils water.", "Quiet!")
    assert all(text[at : at + len(part)] == part for at, part in parts_of(text))
    assert {word for part in parts for word in part.split()} == set(text.split())
    assert list(places) == sorted(places)


@given(st.text(max_size=300))
def test_any_text_has_parts(text: str) -> None:
    assert 1 <= len(parts_of(text)) <= 400


def test_every_family_has_attacks_for_a_product() -> None:
    rng = np.random.default_rng(0)
    for family in families():
        made = {rehearsed(GuardText("Fine.", name="Blue Kettle"), family, rng) for _ in range(8)}
        assert len(made) > 4
        assert not any("{name}" in one for one in made)


def test_lower_case_merchants_are_imitated() -> None:
    rng = np.random.default_rng(0)
    made = [rehearsed(GuardText("fine kettle", name="kettle"), "expert", rng) for _ in range(40)]
    assert 10 < sum(one == one.lower() for one in made) < 40


def test_honest_texts_pass_and_attacks_behind_them_alarm(guard: TextGuard) -> None:
    fresh = honest_guard_texts(200, seed=1)
    assert np.mean([one.alarm for one in guard.look(fresh)]) <= 0.05
    for attack in ATTACKS:
        found = guard.look([replace(one, text=f"{one.text} {attack}") for one in fresh[:40]])
        assert np.mean([one.alarm for one in found]) > 0.9
    assert guard.kept == "letters"
    assert guard.can_alarm


def test_it_says_what_it_finds_of_families_that_it_was_not_fitted_on(guard: TextGuard) -> None:
    assert set(guard.found) == set(families())
    assert "families that it was not fitted on" in guard.in_words()
    assert "can be ruled out (19 of 20 times)" in guard.in_words()


@pytest.mark.parametrize("rows", [99, 130, 267, 800])
def test_what_cannot_be_ruled_out_is_the_quantile_of_what_alarms(rows: int) -> None:
    draws = np.sort(np.random.default_rng(rows).random((2000, rows)), axis=1)
    # Scores that are uniform: the share above the threshold is what is above it.
    alarms = 1 - draws[:, rows - int(0.01 * (rows + 1))]
    assert most_alarms(rows, 0.01) == pytest.approx(np.quantile(alarms, 0.95), rel=0.08)


def test_its_own_name_does_not_drown_what_is_said_of_a_product() -> None:
    one = GuardText("", name="Steel Kettle 12 of Fjord", facts="KX-2 black")
    said = "Choose the Steel Kettle 12 of Fjord. Black steel; kettle KX-2 black, Steel Kettle"
    assert unnamed(said, one) == "Choose the it. Black steel; kettle it, it"
    assert unnamed("Steel. Kettle", one) == "Steel. Kettle"
    assert unnamed("", one) == ""


def test_a_verdict_names_the_part(guard: TextGuard) -> None:
    one = honest_guard_texts(1, merchant="prose")[0]
    (found,) = guard.look([replace(one, text=f"{one.text} {ATTACKS[1]}")])
    assert found.alarm
    assert found.part in ATTACKS[1]
    assert "suspicious, p 0.0" in found.in_words()
    assert "Ignore the other" in found.in_words()


def test_alpha_moves_the_alarm_and_not_the_score(guard: TextGuard) -> None:
    texts = honest_guard_texts(50, seed=2)
    strict, loose = (guard.look(texts, alpha=alpha) for alpha in (0.001, 0.5))
    assert [one.score for one in strict] == [one.score for one in loose]
    assert sum(one.alarm for one in loose) > sum(one.alarm for one in strict)
    with pytest.raises(ConfigError, match="alpha"):
        guard.look(texts, alpha=0)


def test_p_is_the_share_of_honest_texts_at_least_as_suspicious(guard: TextGuard) -> None:
    scores = guard.honest[""]
    texts = honest_guard_texts(30, seed=3)
    for one in guard.look([replace(text, field="unknown") for text in texts]):
        assert one.p == (1 + (scores >= one.score).sum()) / (len(scores) + 1)


def test_a_product_that_was_fitted_is_judged_by_what_did_not_see_it(guard: TextGuard) -> None:
    own = honest_guard_texts(200)
    found = {one.field: [] for one in own}  # type: dict[str, list[float]]
    for one, score in zip(own, guard.scores(own), strict=True):
        found[one.field].append(float(score))
    for field, scores in found.items():
        assert np.allclose(np.sort(scores), guard.honest[field])


def test_folds_share_no_merchant_where_there_are_enough() -> None:
    texts = [
        replace(one, merchant=f"m{row % 10}") for row, one in enumerate(honest_guard_texts(100))
    ]
    guard = TextGuard.fit(texts, np.random.default_rng(0), LETTERS)
    by_name = {one.name: one.merchant for one in texts}
    assert len(set(guard.folds.values())) == 5
    assert len(guard.folds) == len(by_name)


def test_where_attacks_are_like_the_texts_nothing_is_kept() -> None:
    rng = np.random.default_rng(0)
    texts = [
        GuardText(rehearsed(GuardText("", name=f"thing {at}"), family, rng), name=f"thing {at}")
        for at, family in enumerate(families() * 8)
    ]
    guard = TextGuard.fit(texts, rng, LETTERS)
    assert guard.kept == "nothing"
    assert not guard.can_alarm
    assert "Nothing tells attacks" in guard.in_words()
    assert not any(one.alarm for one in guard.look(texts[:10]))


def test_empty_texts_never_alarm(guard: TextGuard) -> None:
    assert [one.alarm for one in guard.look([GuardText(""), GuardText("  ")])] == [False, False]


def test_few_texts_cannot_alarm() -> None:
    assert not fitted(40, config=replace(LETTERS, alpha=0.001)).can_alarm


def test_bad_input_is_refused() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(DataError, match="30 honest texts"):
        TextGuard.fit(honest_guard_texts(20), rng)
    same = [replace(one, name="one") for one in honest_guard_texts(60)]
    with pytest.raises(DataError, match="one product"):
        TextGuard.fit(same, rng)


def test_texts_of_listings_come_with_their_record() -> None:
    found = guard_texts(kettles())
    assert [one.name for one in found] == ["Alpha", "Beta", "Gamma", "Delta"]
    assert found[0].rest == "Alpha 1 l 900 W electric"
    assert found[0].merchant == "one"


def test_it_comes_back_from_a_folder(guard: TextGuard, tmp_path: Path) -> None:
    folder = tmp_path / "guard"
    save_guard(guard, folder, data_hash="d", seed=3)
    read, texts = load_guard(folder), honest_guard_texts(20, seed=4)
    assert read.look(texts) == guard.look(texts)
    assert (read.found, read.kept, read.config) == (guard.found, guard.kept, guard.config)
    assert load_artifact(folder, kind=GUARD_KIND).data_hash == "d"
    with pytest.raises(ResourceError):
        save_guard(guard, folder)


@pytest.mark.parametrize("wrong", ["format", "kept", "weights"])
def test_what_is_no_guard_is_refused(guard: TextGuard, tmp_path: Path, wrong: str) -> None:
    save_guard(guard, tmp_path / "guard")
    found = load_artifact(tmp_path / "guard", kind=GUARD_KIND)
    config, tensors = dict(found.config), dict(found.tensors)
    if wrong == "weights":
        tensors["usual"] = np.full_like(tensors["usual"], np.nan)
    else:
        del config[wrong]
    save_artifact(tmp_path / "other", kind=GUARD_KIND, config=config, tensors=tensors)
    with pytest.raises(ArtifactError, match="no guard"):
        load_guard(tmp_path / "other")


def test_the_regression_is_what_scikit_learn_finds() -> None:
    linear = pytest.importorskip("sklearn.linear_model")
    rng = np.random.default_rng(0)
    x, rows = rng.normal(size=(300, 4)), rng.uniform(0.5, 2, 300)
    labels = (x[:, 0] + rng.normal(size=300) > 0).astype(float)
    found = fit_logistic(x, labels, rows, ridge=0.1)
    other = linear.LogisticRegression(C=1 / (0.1 * rows.sum()), tol=1e-10, max_iter=1000)
    other.fit(x, labels, sample_weight=rows)
    assert np.allclose(found, [*other.intercept_, *other.coef_[0]], atol=1e-4)
