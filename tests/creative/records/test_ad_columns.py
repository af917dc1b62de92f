"""Which column is which: as it is told, else by usual names, and never one of outcomes."""

from __future__ import annotations

import pytest

from adwright.core.errors import ConfigError, SchemaError
from adwright.creative.records.ads_table import AdColumns, name_ads, usual_parts

PARTS = ("id", "title", "words", "brand", "seconds", "image", "video", "text")


def named(
    names: list[str], columns: AdColumns | None = None, *, unfit: tuple[str, ...] = ()
) -> tuple[AdColumns, tuple[str, ...]]:
    fit = frozenset(set(names) - set(unfit))
    return name_ads(names, columns or AdColumns(), dict.fromkeys(PARTS, fit), file="ads.csv")


def test_usual_names_are_known_however_they_are_written() -> None:
    found, said = named(
        ["Ad ID", "Headline", "Body", "Description", "BRAND", "clicks", "image_path"]
    )
    assert found == AdColumns(
        "Ad ID", "Headline", ("Body", "Description"), "BRAND", "", "image_path", "", ""
    )
    assert said == (
        "Ad ID is taken as id",
        "Headline is taken as title",
        "image_path is taken as image",
        "Body, Description are taken as words",
    )
    assert usual_parts(["Ad ID", "clicks", "Headline 2", "CTA"]) == ["Ad ID", "Headline 2", "CTA"]


def test_of_two_usual_names_the_other_is_said_too() -> None:
    found, said = named(["title", "headline", "id"])
    assert found.title == "headline"
    assert said == ("headline is taken as title (and not title)",)


@pytest.mark.parametrize("part", PARTS)
def test_what_is_told_is_taken_and_empty_means_none(part: str) -> None:
    names = ["id", "title", "body", "brand", "seconds", "image", "video", "text", "mine"]
    mine: object = ("mine",) if part == "words" else "mine"
    told, _ = named(names, AdColumns(**{part: mine}))  # type: ignore[arg-type]
    assert getattr(told, part) == mine
    none: object = () if part == "words" else ""
    bare, _ = named(names, AdColumns(**{part: none}))  # type: ignore[arg-type]
    assert getattr(bare, part) == none
    guessed, _ = named(names)
    assert getattr(guessed, part) not in (mine, none)


def test_values_that_do_not_fit_are_not_guessed() -> None:
    found, said = named(["headline", "title", "body"], unfit=("headline",))
    assert (found.title, found.words) == ("title", ("body",))
    assert said == (
        "body is taken as words",
        "headline is left apart: no part of an ad has such values",
    )
    # What is told is taken, whatever its values look like.
    told, _ = named(["headline", "body"], AdColumns(title="headline"), unfit=("headline",))
    assert told.title == "headline"


def test_capitals_do_not_count_in_what_is_told() -> None:
    found, said = named(["Claim", "Text 1"], AdColumns(title="claim", words=("text 1",)))
    assert (found.title, found.words, said) == ("Claim", ("Text 1",), ())


def test_a_column_that_is_not_there() -> None:
    with pytest.raises(SchemaError, match=r"'slogn'.*title.*is it 'slogan'"):
        named(["slogan", "brand"], AdColumns(title="slogn"))
    with pytest.raises(SchemaError, match="no column 'x'"):
        named(["slogan", "brand"], AdColumns(words=("x",)))


def test_a_table_of_no_ads() -> None:
    with pytest.raises(
        SchemaError, match=r"no column is known .*user, item, f0.* and 30 more"
    ) as caught:
        named(["user", "item", *(f"f{n}" for n in range(48))][:50])
    assert caught.value.file == "ads.csv"


def test_a_column_is_one_part() -> None:
    with pytest.raises(ConfigError, match="'a' is two parts"):
        AdColumns(title="a", words=("b", "a"))
    with pytest.raises(ConfigError, match="tuple of texts"):
        AdColumns(words="body")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="tuple of texts"):
        AdColumns(words=(3,))  # type: ignore[arg-type]
