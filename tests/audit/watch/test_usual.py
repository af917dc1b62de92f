from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from adwright.audit.catalogue import ShopCatalogue
from adwright.audit.defences.guard.features import GuardText
from adwright.audit.defences.guard.guard import TextGuard, guard_texts
from adwright.audit.watch import guard_beside, kept_guard, known_guard, state_of, write_state
from adwright.core.errors import ArtifactError, ConfigError, DataError
from tests.support.audit.defended import kettles

SHOP = ShopCatalogue(
    "many",
    "?",
    tuple(
        replace(kettles()[row % 3], name=f"Kettle {row}").with_text(
            "Description", f"A quiet kettle of {row} l for small rooms."
        )
        for row in range(40)
    ),
)
LOUD = replace(
    SHOP, listings=tuple(one.with_text("Description", "Buy me first!!") for one in SHOP.listings)
)
Fits = list[tuple[str, ...]]


@pytest.fixture(scope="module")
def fitted() -> TextGuard:
    return known_guard(None, SHOP)


@pytest.fixture
def fits(fitted: TextGuard, monkeypatch: pytest.MonkeyPatch) -> Fits:
    """The texts of each fit from now on, which take no time."""
    found: Fits = []

    def fit(texts: Sequence[GuardText], rng: Any, config: Any = None) -> TextGuard:
        found.append((str(rng.integers(1000)), *(one.text for one in texts)))
        return fitted

    monkeypatch.setattr(TextGuard, "fit", fit)
    return found


def texts_of(shop: ShopCatalogue) -> tuple[str, ...]:
    return tuple(one.text for one in guard_texts(shop.listings))


def test_no_new_text_has_a_say_in_what_is_usual(
    tmp_path: Path, fits: Fits, fitted: TextGuard
) -> None:
    path = tmp_path / "many.json"
    kept_guard(path, SHOP)
    assert [one[1:] for one in fits] == [texts_of(SHOP)]
    write_state(state_of(LOUD, None, target="", looks=2), path)
    again = kept_guard(path, LOUD, seed=1)
    assert len(fits) == 1
    some = guard_texts(LOUD.listings[:3])
    assert again.look(some) == fitted.look(some)


def test_it_is_fitted_anew_when_asked(tmp_path: Path, fits: Fits) -> None:
    path = tmp_path / "many.json"
    kept_guard(path, SHOP)
    write_state(state_of(SHOP, None, target="", looks=1), path)
    kept_guard(path, LOUD, refit=True)
    kept_guard(path, LOUD, refit=True, seed=1)
    # To the texts of the last look, not to those that came since.
    assert [one[1:] for one in fits] == [texts_of(SHOP)] * 3
    assert fits[1][0] != fits[2][0]


def test_honest_products_are_fitted_to_once(tmp_path: Path, fits: Fits) -> None:
    path = tmp_path / "many.json"
    for honest in (SHOP, SHOP, LOUD, None):
        kept_guard(path, LOUD, honest=honest)
    assert [one[1:] for one in fits] == [texts_of(SHOP), texts_of(LOUD)]


def test_a_guard_of_the_last_look(fitted: TextGuard) -> None:
    state = state_of(SHOP, None, target="", looks=1)
    quiet = replace(SHOP, listings=tuple(one.without_texts() for one in SHOP.listings))
    assert (known_guard(state, quiet).weights == fitted.weights).all()
    with pytest.raises(DataError, match="a guard needs"):
        known_guard(None, quiet)


def test_what_lies_there_and_is_of_something_else(tmp_path: Path, fits: Fits) -> None:
    path = tmp_path / "many.json"
    write_state(state_of(SHOP, None, target="", looks=1), path)
    with pytest.raises(ConfigError, match="the state is of the catalogue 'many'"):
        kept_guard(path, replace(SHOP, name="few"))
    guard_beside(path).mkdir()
    with pytest.raises(ArtifactError, match="no artifact"):
        kept_guard(path, SHOP)
    assert not fits
