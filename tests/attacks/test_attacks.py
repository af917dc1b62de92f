"""The attacks in their quick form. The whole is `make bench-attacks`."""

from __future__ import annotations

import pytest

from tests.attacks.areas import every_area
from tests.attacks.attack import run_area

AREAS = {area.name: area for area in every_area()}
QUICK = [area.name for area in AREAS.values() if any(each.quick for each in area.attacks)]


def test_every_area_has_a_name_of_its_own() -> None:
    assert len(AREAS) == len(every_area())


@pytest.mark.parametrize("name", QUICK)
def test_the_attacks_of_an_area_hold(name: str) -> None:
    outcomes = list(run_area(AREAS[name], quick=True))
    assert outcomes
    broke = {o.attack.name: o.broke for o in outcomes if o.broke and not o.attack.accepted}
    assert broke == {}
