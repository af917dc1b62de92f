from __future__ import annotations

from pathlib import Path

import pytest

from adwright.authoring.checks.limits import BrandVoice, CheckConfig, brands_of, facts_of
from adwright.authoring.tasks import AuthoringRequest, Product, task_named
from adwright.core.config import from_jsonable, load_toml, to_jsonable
from adwright.core.errors import ConfigError

TEA = Product("1", "Assam tea", brand="Mill Lane", locale="en-GB")
REQUEST = AuthoringRequest(
    task_named("ads"), TEA, (("occasion", "Christmas"), ("audience", "students"))
)


def test_a_config_comes_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "checks.toml"
    file.write_text(
        'checks = ["grounding", "limits"]\nlimit = "google.path"\nbrands = ["Acme"]\n'
        'competitors = ["Other"]\n[voice]\nbanned = ["cheap"]\n'
    )
    config = load_toml(file, CheckConfig)
    assert config.brands == {"Acme"}
    assert config.voice == BrandVoice(banned=("cheap",))
    assert from_jsonable(CheckConfig, to_jsonable(config)) == config


def test_brands_of_a_catalogue() -> None:
    assert brands_of([TEA, TEA, Product("2", "a", brand=" "), Product("3", "a", brand="B")]) == {
        "Mill Lane",
        "B",
    }


def test_facts_are_those_of_the_product_and_of_some_values() -> None:
    assert facts_of(REQUEST, CheckConfig()) == ("Assam tea", "Mill Lane", "Christmas", "students")
    assert facts_of(REQUEST, CheckConfig(fact_slots=())) == ("Assam tea", "Mill Lane")
    long = AuthoringRequest(task_named("ads"), Product("1", "a" * 5_000_000, brand="b"))
    assert [len(one) for one in facts_of(long, CheckConfig())] == [50_000]


def test_the_locale_is_the_nearest_one_set() -> None:
    voice = BrandVoice(locale="de")
    assert CheckConfig().locale_of(REQUEST) == "en-GB"
    assert CheckConfig(voice=voice).locale_of(REQUEST) == "de"
    assert CheckConfig(voice=voice, locale="fr").locale_of(REQUEST) == "fr"


@pytest.mark.parametrize(
    ("values", "what"),
    [
        ({"checks": ("gravity",)}, "CheckConfig.checks"),
        ({"limit": "google.headlines"}, "google.headline"),
        ({"most_characters": 0}, "most_characters"),
        ({"locale": 3}, "CheckConfig.locale"),
    ],
)
def test_bad_settings_are_refused(values: dict[str, object], what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        CheckConfig(**values)  # type: ignore[arg-type]
