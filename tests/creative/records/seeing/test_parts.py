from __future__ import annotations

import sys
from typing import Any

import pytest

from adwright.creative.records.seeing.parts import Absent, SeeingParts
from adwright.creative.records.seeing.settings import PARTS, SeeingSettings, SeenPart
from tests.support.creative.drawn_ads import Shot, drawn, photograph, portrait

PLAIN = drawn(Shot("white", "red"))
FACE = drawn(Shot("ivory", pasted=portrait(120)))


def test_findings_of_several_pictures_become_one() -> None:
    parts = SeeingParts(SeeingSettings())
    pictures = [PLAIN, FACE, photograph("coffee.png")]
    assert parts.look("faces", pictures) == 1
    assert parts.look("faces", [PLAIN]) == 0
    assert parts.look("tags", [*pictures, pictures[-1]]) == ["espresso", "cup"]
    assert parts.look("colours", pictures)["background"] == ["off white"]
    words = [drawn(Shot("ivory", words=text), (360, 160)) for text in ("Fresh bread", "Two for $3")]
    assert parts.look("words", [words[0], *words]) == ["Fresh bread", "Two for $3"]


@pytest.mark.parametrize(
    ("part", "setting"),
    [
        ("words", {"word_confidence": 0.5}),
        ("faces", {"face_score": 0.5}),
        ("tags", {"tag_probability": 0.5}),
    ],
)
def test_the_version_follows_what_the_finding_depends_on(part: SeenPart, setting: Any) -> None:
    before, after = SeeingParts(SeeingSettings()), SeeingParts(SeeingSettings(**setting))
    assert before.version(part) != after.version(part)
    for other in set(PARTS) - {part}:
        assert before.version(other) == after.version(other)


@pytest.mark.parametrize(
    ("part", "module"), [("words", "rapidocr"), ("faces", "ai_edge_litert.interpreter")]
)
def test_a_part_without_its_package_is_absent(
    part: SeenPart, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    found = SeeingParts(SeeingSettings()).look(part, [PLAIN])
    assert isinstance(found, Absent)
    assert "pip install 'adwright[creative]'" in found.why


def test_a_part_without_its_model_is_absent(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("ADWRIGHT_CACHE", str(tmp_path))
    parts = SeeingParts(SeeingSettings(offline=True))
    for part in ("faces", "tags"):
        found = parts.look(part, [PLAIN])
        assert isinstance(found, Absent)
        assert "downloads are switched off" in found.why
