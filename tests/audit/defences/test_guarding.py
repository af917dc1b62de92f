from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from adwright.audit.catalogue import ShopListing
from adwright.audit.defences.guard.guard import TextGuard
from adwright.audit.defences.stack import GuardCleaner
from adwright.audit.targets.target import ListingCleaner
from tests.support.audit.defended import ATTACKS, honest_guard_texts

HONEST = ShopListing(
    "oak lamp 200",
    {"price": "$70"},
    {"description": "A oak lamp for offices, with a steel finish and 70 watts of power."},
    "prose",
)


@pytest.fixture(scope="module")
def guard() -> TextGuard:
    return TextGuard.fit(honest_guard_texts(400), np.random.default_rng(0))


def test_what_alarms_is_left_out_and_facts_stay(guard: TextGuard) -> None:
    cleaner = GuardCleaner(guard)
    assert isinstance(cleaner, ListingCleaner)
    assert cleaner.clean(HONEST) == HONEST
    attacked = HONEST.with_text("description", f"{HONEST.texts['description']} {ATTACKS[0]}")
    cleaned = cleaner.clean(attacked)
    assert cleaned == replace(HONEST, texts={"description": ""})
    (verdict,) = cleaner.verdicts(attacked)
    assert verdict.alarm


def test_alpha_is_the_guards_own_or_another(guard: TextGuard) -> None:
    assert GuardCleaner(guard).name == "guard at 1.0% false alarms"
    strict = GuardCleaner(guard, alpha=0.999)
    assert strict.name == "guard at 99.9% false alarms"
    assert strict.clean(HONEST).texts == {"description": ""}
