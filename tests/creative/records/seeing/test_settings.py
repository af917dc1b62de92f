from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from adwright.core.errors import ConfigError
from adwright.creative.records.seeing.settings import PARTS, SeeingSettings


def test_all_parts_look_by_default() -> None:
    assert SeeingSettings().parts == PARTS == ("colours", "words", "faces", "tags")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("parts", ("colors",)),
        ("parts", ("faces", "faces")),
        ("word_confidence", 0.0),
        ("face_score", 1.5),
        ("tag_probability", -1.0),
        ("tag_probability", float("nan")),
        ("pictures_a_scene", 0),
        ("most_scenes", 0),
        ("samples", -3),
        ("threads", 0),
        ("most_seconds", 0.0),
        ("most_seconds", float("inf")),
        ("offline", "yes"),
    ],
)
def test_what_is_out_of_range_is_refused_by_name(name: str, value: Any) -> None:
    assert name in {one.name for one in fields(SeeingSettings)}
    with pytest.raises(ConfigError, match=name):
        SeeingSettings(**{name: value})
