from __future__ import annotations

import numpy as np
import pytest

from adwright.creative.records.encoders.classes import CLASSES, class_names
from adwright.creative.records.seeing.tags import GROUPS, TagFinder, tags_of
from tests.support.creative.drawn_ads import Shot, drawn, photograph

ENDS = {
    "dog": {"Chihuahua", "Mexican hairless"},
    "cat": {"tabby", "Egyptian cat"},
    "bird": {"cock", "great grey owl", "black grouse", "black swan", "white stork", "albatross"},
    "fish": {"tench", "stingray", "barracouta", "puffer"},
    "insect": {"tiger beetle", "lycaenid"},
    "motorcycle": {"moped", "motor scooter"},
    "bottle": {"beer bottle", "pill bottle", "pop bottle", "water bottle", "wine bottle"},
    "cup": {"coffee mug", "espresso", "cup"},
    "fruit": {"Granny Smith", "pomegranate"},
    "guitar": {"acoustic guitar", "electric guitar"},
    "airplane": {"airliner", "warplane"},
}


@pytest.fixture(scope="module")
def names() -> tuple[str, ...]:
    return class_names()


def test_photographs_are_named_and_what_is_not_sure_is_not(names: tuple[str, ...]) -> None:
    finder = TagFinder()
    assert finder.tags(photograph("chelsea.png")) == ("Egyptian cat", "cat")
    assert finder.tags(photograph("coffee.png")) == ("espresso", "cup")
    assert finder.tags(photograph("motorcycle_left.png")) == ("motorcycle",)
    for name in ("page.png", "rocket.jpg", "grass.png", "astronaut.png"):
        assert finder.tags(photograph(name)) == ()
    assert finder.tags(drawn(Shot("ivory", "orange", "Fresh bread"))) == ()


@pytest.mark.parametrize("group", ENDS)
def test_groups_hold_what_they_say(group: str, names: tuple[str, ...]) -> None:
    ends = {names[at] for one in GROUPS[group] for at in ((one,) if isinstance(one, int) else one)}
    assert ends == ENDS[group]


def test_each_class_belongs_to_one_group_at_most() -> None:
    places = [
        at
        for members in GROUPS.values()
        for one in members
        for at in ([one] if isinstance(one, int) else range(one[0], one[1] + 1))
    ]
    assert len(set(places)) == len(places)
    assert max(places) < CLASSES


def test_a_class_and_the_sum_of_its_group_have_to_be_sure(names: tuple[str, ...]) -> None:
    moped, scooter, wig = (names.index(one) for one in ("moped", "motor scooter", "wig"))
    odds = np.zeros(CLASSES)
    odds[[moped, scooter, wig]] = [0.45, 0.3, 0.25]
    assert tags_of(odds, names, 0.7) == ("motorcycle",)
    assert tags_of(odds, names, 0.76) == ()
    assert tags_of(odds, names, 0.4) == ("moped", "motorcycle")
    assert tags_of(odds, names, 0.2) == ("moped", "motor scooter", "wig", "motorcycle")


def test_of_the_probability_depends_what_is_named() -> None:
    photo = photograph("rocket.jpg")
    assert len(TagFinder(0.05).tags(photo)) > len(TagFinder(0.5).tags(photo)) > 0
