"""?"""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest

from adwright.authoring.checks.limits import limit_named
from adwright.authoring.writer.config import (
    WriteBudget,
    WriteConfig,
    WriterPlatform,
    WriterPrices,
    slot_named,
    slots,
)
from adwright.authoring.writer.drafts import Draft, Drafts
from adwright.authoring.writer.recipe import (
    check_configs,
    limit_name,
    limit_of,
    recipe_of,
    require_same_recipe,
    voice_text,
)
from adwright.core.errors import ConfigError
from tests.support.writing import Teller, opened, table_of


def test_prices_are_for_a_million_tokens() -> None:
    prices = WriterPrices(prompt=2.0, answer=8.0, cached=0.5)
    assert prices.of(1_000_000, 400_000, 500_000) == pytest.approx(1.2 + 0.2 + 4.0)
    assert WriterPrices(prompt=2.0).of(1_000_000, 400_000, 5) == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"slots": ()}, "slots are named"),
        ({"slots": ("headline", "headline")}, "each once"),
        ({"slots": ("nothing",)}, "no slot"),
        ({"slots": ("category",)}, "needs a closed list"),
        ({"labels": ("a",)}, "no slot takes them"),
        ({"variants": 0}, "variants must be at least 1"),
        ({"batch": 0}, "batch must be at least 1"),
        ({"attempts": 0}, "attempts must be at least 1"),
        ({"sample": -1}, "sample must not be negative"),
        ({"temperature": -1.0}, "temperature must not be negative"),
        ({"variants": 2, "variety": 0.0}, "needs variety"),
        ({"budget": WriteBudget(money=1.0)}, "needs prices"),
        ({"instructions": (("title", "x"),)}, "no slot of the job"),
        ({"seed": "1"}, "seed"),
    ],
)
def test_what_makes_no_job_is_refused(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        WriteConfig(**({"slots": ("headline",)} | fields))


def test_budgets_and_prices_are_not_below_zero() -> None:
    with pytest.raises(ConfigError, match="tokens must not be negative"):
        WriteBudget(tokens=-1)
    with pytest.raises(ConfigError, match="prompt must not be negative"):
        WriterPrices(prompt=-1.0)


def test_each_slot_has_its_task_and_its_words() -> None:
    for name, slot in slots().items():
        assert slot.name == (name if name != "ad_text" else "description")
        assert slot.task.name == slot.task_name
        if slot.characters:
            assert f"at most {slot.characters} characters" in slot.instruction()
            assert "at most 17 characters" in slot.instruction(17)


def test_a_description_is_an_ad_on_a_platform() -> None:
    assert slot_named("description").task_name == "descriptions"
    assert slot_named("description", "google-rsa").task_name == "ads"
    assert slot_named("headline", "google-rsa") is slot_named("headline")


def test_an_unknown_slot_is_told_with_the_closest() -> None:
    with pytest.raises(ConfigError, match="did you mean headline"):
        slot_named("headlines")


def test_each_slot_has_the_limit_of_its_platform() -> None:
    google = WriteConfig(("headline", "description", "title"), platform="google-rsa")
    found = check_configs(google, brands=("Acme",))
    assert {name: one.limit for name, one in found.items()} == {
        "headline": "google.headline",
        "description": "google.description",
        "title": "",
    }
    assert found["title"].brands == frozenset(("Acme",))
    assert limit_of(google, slot_named("headline")) == 30
    assert limit_of(WriteConfig(("headline",)), slot_named("headline")) == 0
    meta = WriteConfig(("primary_text",), platform="meta")
    assert limit_of(meta, slot_named("primary_text")) == 125


@pytest.mark.parametrize("platform", get_args(WriterPlatform))
def test_all_limits_are_known(platform: WriterPlatform) -> None:
    config = WriteConfig(("headline",), platform=platform)
    names = [
        limit_name(config, slot_named(slot, platform)) for slot in slots() if slot != "ad_text"
    ]
    assert any(names)
    assert all(limit_named(name).most for name in names if name)


def test_the_voice_of_a_brand_is_read(tmp_path: Path) -> None:
    path = tmp_path / "voice.toml"
    path.write_text('tone = "calm"\nbanned = ["cheap"]\n')
    config = WriteConfig(("headline",), voice=path)
    assert "calm" in voice_text(config)
    voice = check_configs(config)["headline"].voice
    assert voice is not None
    assert voice.banned == ("cheap",)
    assert voice_text(WriteConfig(("headline",))) == ""
    path.write_text("tune = 1\n")
    with pytest.raises(ConfigError, match="tone"):
        check_configs(config)


MODEL = opened(Teller(lambda prompt, call: ""))
CONFIG = WriteConfig(("headline",))


def test_what_texts_follow_from_changes_their_hash() -> None:
    one = recipe_of(CONFIG, MODEL)
    assert set(one.digests) == {"headline"}
    told = replace(CONFIG, instructions=(("headline", "Shout."),))
    for other in (
        recipe_of(replace(CONFIG, seed=1), MODEL),
        recipe_of(replace(CONFIG, temperature=0.5), MODEL),
        recipe_of(replace(CONFIG, repair=False), MODEL),
        recipe_of(told, MODEL),
        recipe_of(CONFIG, replace(MODEL, name="other")),
        recipe_of(CONFIG, replace(MODEL, adapter_hash="x")),
    ):
        assert other.digests != one.digests
    assert recipe_of(told, MODEL).prompts["headline"].instruction == "Shout."


def test_what_they_do_not_follow_from_leaves_it() -> None:
    one = recipe_of(CONFIG, MODEL)
    for other in (
        replace(CONFIG, sample=3),
        replace(CONFIG, batch=5),
        replace(CONFIG, slots=("headline", "title")),
    ):
        found = recipe_of(other, MODEL)
        assert found.digests["headline"] == one.digests["headline"]
        assert found.job != one.job


def test_a_folder_holds_texts_of_one_recipe(tmp_path: Path) -> None:
    table, one = table_of(tmp_path, "Tea"), recipe_of(CONFIG, MODEL)
    with closing(Drafts.open(tmp_path)) as drafts:
        drafts.note_job(one.job, one.job_line(table))
        other = recipe_of(replace(CONFIG, seed=1, temperature=0.5), MODEL)
        require_same_recipe(drafts, other, rewrite=False)  # nothing is written yet
        drafts.write([Draft("p0", "headline", 0, "x")])
        require_same_recipe(drafts, one, rewrite=False)
        require_same_recipe(drafts, other, rewrite=True)
        more = recipe_of(replace(CONFIG, slots=("headline", "title")), MODEL)
        require_same_recipe(drafts, more, rewrite=False)
        with pytest.raises(ConfigError, match=r"another temperature, seed .*--rewrite"):
            require_same_recipe(drafts, other, rewrite=False)
