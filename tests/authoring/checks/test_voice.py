from __future__ import annotations

from pathlib import Path

import pytest

from adwright.authoring.checks.limits import BrandVoice, check_voice
from adwright.core.config import load_toml
from adwright.core.errors import ConfigError


def test_a_voice_comes_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "voice.toml"
    file.write_text(
        'tone = "warm"\nbanned = ["cheap", "buy now"]\nrequired = ["Mill Lane"]\n'
        'examples = ["A quiet cup."]\nlocale = "en-GB"\n'
    )
    voice = load_toml(file, BrandVoice)
    assert voice.prompt().splitlines() == [
        "Tone: warm.",
        "Never use: cheap, buy now.",
        "Always use: Mill Lane.",
        "Write in en-GB.",
        "Example: A quiet cup.",
    ]
    found = check_voice("Buy  now, cheaps and cheaply", voice)
    assert [(one.rule, one.severity) for one in found] == [
        ("voice/banned", "error"),
        ("voice/banned", "error"),
        ("voice/required", "warning"),
    ]
    assert check_voice("By mill lane", voice) == ()
    file.write_text('tones = "warm"')
    with pytest.raises(ConfigError, match="did you mean tone"):
        load_toml(file, BrandVoice)


def test_an_empty_voice_asks_nothing() -> None:
    assert check_voice("anything", BrandVoice()) == ()
    assert BrandVoice().prompt() == ""


def test_bad_words_are_refused() -> None:
    with pytest.raises(ConfigError, match="must not be empty"):
        BrandVoice(banned=(" ",))
    with pytest.raises(ConfigError, match="banned and required"):
        BrandVoice(banned=("Tea",), required=("tea",))
